"""Facts of a data set that the rules need: sizes and channels for a net, thinness of lines, orientation."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from statistics import median

import numpy as np
from scipy import ndimage

from ...data.case import COUNTED_PIXELS, Case
from ...data.dataset import Dataset
from ...data.planes import check_planes
from ...data.readable import Readable, blocks

__all__ = ["Fingerprint", "fingerprint", "line_width", "mirrored_axes", "orientation"]

_CASES = 8  # measured, spread over the data
_SIDE = {2: 512, 3: 96}  # pixels per axis of the middle of each
_QUANTILE = 0.9
_LONG = 25.0
_SIDES = (("first", "last"), ("upper", "lower"), ("left", "right"))  # along z, y and x
_MOST_PIXELS = 2**28  # of all images, that are read for their sides: a second or two per class
_EVEN = 0.05  # a class leans to one side by less than this share: neither side is its own
_MANY = 16  # images from which one side of them may be told from the other
_ONE_SIDED, _ALIKE = 0.65, 0.9  # of a class on one side of an image, on average; in so many images on the same one


@dataclass(frozen=True)
class Fingerprint:
    """The data as the net gets them: all axes, or adjacent planes of volumes as channels of a 2D image.

    `typical` is the median size in pixels per axis, `spacing` the pixel size in `unit`.
    """

    ndim: int
    channels: int
    classes: int
    typical: tuple[float, ...]
    spacing: tuple[float, ...]
    unit: str


def fingerprint(dataset: Dataset, planes: int | None) -> Fingerprint:
    """Summarise the data for a 3D net, or for a 2D net of images or (with `planes`) of adjacent planes of volumes.

    Raises
    ------
    ValueError
        If `planes` is even or below 1, or the images are not volumes.
    """
    if planes is not None:
        check_planes(planes, dataset.ndim)
    ndim = dataset.ndim if planes is None else 2
    sizes = [case.size[-ndim:] for case in dataset.cases]
    typical = tuple(median(size[i] for size in sizes) for i in range(ndim))
    channels = dataset.channels * (planes or 1)
    return Fingerprint(ndim, channels, len(dataset.kind.values), typical, tuple(dataset.spacing[-ndim:]), dataset.unit)


def line_width(dataset: Dataset) -> float:
    """Half the width of the thinnest foreground class that consists of lines, in pixels of the finest axis, or inf.

    Nine tenths of a class lie nearer to its border than that, in up to 8 images. Lines are long: half of the class is
    in connected parts of more than `_LONG` times the square (in 3D the cube) of that.
    """
    step = max(1, len(dataset.cases) // _CASES)
    by_class: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    spacing = np.divide(dataset.spacing, min(dataset.spacing))
    for case in dataset.cases[::step][:_CASES]:
        side = _SIDE[dataset.ndim]
        labels = case.labels[tuple(slice(max(n - side, 0) // 2, max(n - side, 0) // 2 + side) for n in case.size)]
        for value in range(1, dataset.kind.n_classes):
            inside = labels == value
            if inside.any():
                distance = _to_border(inside, spacing)
                parts, _ = ndimage.label(inside, np.ones((3,) * inside.ndim))
                sizes = np.bincount(parts.ravel())[parts[inside]]  # of the connected part of every pixel
                by_class.setdefault(value, []).append((distance[inside], sizes))
    widths = [np.inf]
    for rows in by_class.values():
        distances, part_sizes = (np.concatenate(arrays) for arrays in zip(*rows, strict=True))
        width = float(np.quantile(distances, _QUANTILE))
        if np.median(part_sizes) > _LONG * width**dataset.ndim:
            widths.append(width)
    return float(min(widths))


def _to_border(inside: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Distance of every pixel of a class to the nearest outside of it; more than any where the class fills all."""
    if inside.all():  # scipy's transform would return distances to nothing
        return np.full(inside.shape, float(np.dot(inside.shape, spacing)))
    return ndimage.distance_transform_edt(inside, sampling=spacing)


def orientation(dataset: Dataset) -> str | None:
    """Evidence, in words, that all images are turned the same way; None without any.

    They are if some class lies mostly on the same side of nearly every image, as sky does, or the retina in OCT.
    """
    for axis, sides in enumerate(_sides(dataset)):
        for name, shares in sides:
            mean, first = float(np.mean(shares)), float(np.mean(shares > 0.5))
            if max(mean, 1 - mean) > _ONE_SIDED and max(first, 1 - first) > _ALIKE:
                side = _SIDES[axis - dataset.ndim][mean < 0.5]
                return f"{max(mean, 1 - mean):.0%} of {name} lie in the {side} half of the images"
    return None


def mirrored_axes(dataset: Dataset) -> tuple[bool, ...]:
    """Axes along which images may be flipped although they are all turned one way: no class lies more on one side."""
    known = [[abs(float(np.mean(shares)) - 0.5) for _, shares in sides] for sides in _sides(dataset)]
    return tuple(bool(leans) and max(leans) < _EVEN for leans in known)


def _sides(dataset: Dataset) -> list[list[tuple[str, np.ndarray]]]:
    """Per axis, the name of every class that nearly all images have, and its share in the first half of each image."""
    cases, names = _looked_at(dataset), dataset.class_names
    if len(cases) < _MANY:
        return [[] for _ in range(dataset.ndim)]
    shares = np.stack([_shares_before_middle(case.labels, len(names)) for case in cases])
    usual = [(i, name) for i, name in enumerate(names) if _is_usual(shares[:, i, 0])]
    return [[(name, _known(shares[:, i, axis])) for i, name in usual] for axis in range(dataset.ndim)]


def _is_usual(shares: np.ndarray) -> bool:
    return len(_known(shares)) >= max(_MANY, _ALIKE * len(shares))


def _known(shares: np.ndarray) -> np.ndarray:
    return shares[~np.isnan(shares)]


def _looked_at(dataset: Dataset) -> list[Case]:
    """All cases, or some of a set so large that they would take minutes to read."""
    total = sum(prod(case.size) for case in dataset.cases)
    step = min(-(-total // _MOST_PIXELS), max(len(dataset.cases) // _MANY, 1))
    return list(dataset.cases[::step])


def _shares_before_middle(labels: Readable, n: int) -> np.ndarray:
    """Shares of `n` classes in the first half of every axis, (n, axes); NaN of a class that is not there."""
    profiles = [np.zeros((n, side), np.int64) for side in labels.shape]
    for space in blocks(labels.shape, COUNTED_PIXELS):
        part = labels[space]
        for value in range(n):
            inside = part == value
            for axis, profile in enumerate(profiles):
                profile[value, space[axis]] += inside.sum(tuple(i for i in range(inside.ndim) if i != axis))
    total = profiles[0].sum(1)
    middles = [profile.shape[1] // 2 for profile in profiles]
    halves = [
        profile[:, :middle].sum(1) + profile[:, middle] * (profile.shape[1] % 2) / 2
        for profile, middle in zip(profiles, middles, strict=True)
    ]
    return np.where(total[:, None] > 0, np.stack(halves, 1) / np.maximum(total, 1)[:, None], np.nan)
