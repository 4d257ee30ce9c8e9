"""Turn predicted maps of objects into one id per object: whole, or block by block with the same result.

A net for objects predicts where they are, and every pixel's distance to the border of its object: 0 there, 1 in the
middle, whatever the object's size. Objects that touch are one foreground, but a valley of distances lies between them:
where it is much lower than both peaks, each object has its own seed, and a watershed assigns every pixel to one.

Connected parts of the foreground do not depend on each other, so each is decoded by itself, once and whole, whichever
blocks it lies in: borders of blocks do not change the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from ..tiles import Slices

__all__ = ["InstanceThresholds", "decode", "decode_blocks", "distance_levels", "pack_maps", "unpack_maps"]

_SMOOTH = 1.0  # sigma in pixels: predictions of neighbours differ too much for one peak per object
CODE = np.dtype(np.uint16)  # of a pixel: probability of an object in the upper byte, distance in the lower

Maps = tuple[np.ndarray, np.ndarray]  # probability of foreground, distance; of one shape
Read = Callable[[Slices], Maps]
Allocate = Callable[[np.dtype], np.ndarray]  # an array of zeros as large as the image, in memory or on disk


@dataclass(frozen=True)
class InstanceThresholds:
    """Thresholds by which maps become objects.

    Attributes
    ----------
    foreground : float
        Probability above which a pixel is of an object, 0 to 1.
    split_ratio : float
        Two peaks of distance are of one object if the way between them stays above this share of the lower one, 0 to 1.
    min_size : int
        Pixels of the smallest object; smaller ones are background.
    confidence : float
        Least mean probability of the pixels of an object, 0 to 1; objects below it are background.
    """

    foreground: float = 0.5
    split_ratio: float = 0.55
    min_size: int = 10
    confidence: float = 0.0

    def __post_init__(self) -> None:
        for name in ("foreground", "split_ratio", "confidence"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 to 1")


def distance_levels(ids: np.ndarray, *, spacing: Sequence[float] | None = None) -> np.ndarray:
    """Measure every pixel's distance to the border of its object, as a share of the largest in that object.

    Parameters
    ----------
    ids : ndarray of shape (*spatial), integer
        0 is background.
    spacing : sequence of float, optional
        Pixel size per axis, in any unit.

    Returns
    -------
    ndarray of shape (*spatial), float32
        0 outside of objects, above 0 to 1 inside; 1 in the middle of each.

    Examples
    --------
    >>> distance_levels(np.array([[0, 4, 4, 4, 7, 7, 0]] * 5))[2].tolist()
    [0.0, 0.5, 1.0, 0.5, 1.0, 1.0, 0.0]
    """
    distances = np.zeros(ids.shape, np.float32)
    values, index = np.unique(ids, return_inverse=True)
    numbered = np.where(values == 0, 0, np.arange(1, len(values) + 1))[index.reshape(ids.shape)]
    for number, box in enumerate(ndimage.find_objects(numbered), start=1):
        if box is None:
            continue
        inside = np.pad(numbered[box] == number, 1)  # the image's border is a border of objects
        distance = ndimage.distance_transform_edt(inside, sampling=spacing)[(slice(1, -1),) * ids.ndim]
        distances[box] += (distance / distance.max()).astype(np.float32)
    return distances


def pack_maps(probabilities: np.ndarray) -> np.ndarray:
    """Pack predicted classes into two bytes per pixel: the probability of an object, and the mean distance.

    Parameters
    ----------
    probabilities : ndarray of shape (1 + L, *spatial), float
        Of background and of L levels of distance, from the border to the middle.

    Returns
    -------
    ndarray of shape (*spatial), uint16
        See `unpack_maps`.
    """
    levels = len(probabilities) - 1
    middles = (np.arange(levels, dtype=np.float32) + 0.5) / levels
    distance = np.tensordot(middles, probabilities[1:], 1)
    foreground = 1 - probabilities[0]
    upper, lower = (np.rint(part.clip(0, 1) * 255).astype(CODE) for part in (foreground, distance))
    return np.asarray(upper << 8 | lower, CODE)


def unpack_maps(codes: np.ndarray) -> Maps:
    """Foreground and distance, 0 to 1, float32, in steps of 1/255."""
    return (codes >> 8).astype(np.float32) / 255, (codes & 255).astype(np.float32) / 255


def decode(foreground: np.ndarray, distance: np.ndarray, thresholds: InstanceThresholds | None = None) -> np.ndarray:
    """Find the objects of an image.

    Parameters
    ----------
    foreground : ndarray of shape (*spatial), float
        Probability of an object, 0 to 1.
    distance : ndarray of shape (*spatial), float
        As `distance_levels` defines it, predicted.
    thresholds : InstanceThresholds, optional

    Returns
    -------
    ndarray of shape (*spatial), int32
        0 is background; objects are numbered 1 to n in the order of their first pixels.
    """
    thresholds = thresholds or InstanceThresholds()
    parts, _ = ndimage.label(foreground > thresholds.foreground)
    ids, n = np.zeros(foreground.shape, np.int32), 0
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        n = _add(ids[box], _split(parts[box] == number, foreground[box], distance[box], thresholds), n)
    return _in_order(ids)


def decode_blocks(
    read: Read,
    size: tuple[int, ...],
    block: tuple[int, ...],
    thresholds: InstanceThresholds | None = None,
    *,
    allocate: Allocate | None = None,
) -> np.ndarray:
    """Find the objects of an image that is read in blocks; the same ids as `decode` gives for the whole.

    Parameters
    ----------
    read : callable
        Called with pixels, a slice per axis; returns their foreground and distance.
    size, block : tuple of int
        Of the image, and of what is read at a time. A part of the foreground that does not fit into a block is read in
        one piece.
    thresholds : InstanceThresholds, optional
    allocate : callable, optional
        Called with a dtype, gives an array of the image's size, all 0: for images that do not fit into memory.

    Returns
    -------
    ndarray of shape (*spatial), uint16, or uint32 for more than 65535 objects
        From `allocate`.
    """
    thresholds, allocate = thresholds or InstanceThresholds(), allocate or (lambda dtype: np.zeros(size, dtype))
    parts = _Parts(read, size, block, thresholds.foreground, allocate(np.dtype(np.int32)))
    ids = allocate(np.dtype(np.int32))
    first = [np.zeros(0, np.int64)]  # pixel of every object, counted row by row
    n = 0
    for hull, members in parts.groups():
        foreground, distance = read(hull)
        for number, box in members:
            inside = tuple(slice(s.start - h.start, s.stop - h.start) for s, h in zip(box, hull, strict=True))
            objects = _split(parts.labels[box] == number, foreground[inside], distance[inside], thresholds)
            n = _add(ids[box], objects, n)
            first.append(_first_pixels(objects, box, size))
    order = np.zeros(n + 1, np.uint32)
    order[1 + np.argsort(np.concatenate(first))] = np.arange(1, n + 1)
    result = allocate(np.dtype(np.uint16 if len(order) <= 2**16 else np.uint32))
    for box in _boxes(size, block):
        result[box] = order[ids[box]]
    return result


def _first_pixels(ids: np.ndarray, box: Slices, size: tuple[int, ...]) -> np.ndarray:
    """First pixel of each of the ids 1 to n in a box, counted row by row in the whole image."""
    values, first = np.unique(ids, return_index=True)
    inside = np.unravel_index(first[values > 0], ids.shape)
    return np.ravel_multi_index(tuple(p + s.start for p, s in zip(inside, box, strict=True)), size).astype(np.int64)


def _split(
    inside: np.ndarray, foreground: np.ndarray, distance: np.ndarray, thresholds: InstanceThresholds
) -> np.ndarray:
    """Ids from 1 to n of one connected part of the foreground."""
    # The part alone, without its neighbours: ties are then decided alike in whichever block or box it is decoded.
    distance = ndimage.gaussian_filter(np.where(inside, distance, 0).clip(0), _SMOOTH, mode="constant")
    seeds, n = _seeds(distance, thresholds.split_ratio)
    ids = inside.astype(np.int32) if n < 2 else np.asarray(watershed(-distance, markers=seeds, mask=inside), np.int32)
    sizes = np.bincount(ids.ravel())
    sizes[0] = 0
    sums = np.bincount(ids.ravel(), foreground.ravel().astype(np.float64))
    is_kept = (sizes >= max(thresholds.min_size, 1)) & (sums >= thresholds.confidence * sizes)
    return np.where(is_kept, np.cumsum(is_kept), 0).astype(np.int32)[ids]


def _seeds(distance: np.ndarray, split_ratio: float) -> tuple[np.ndarray, int]:
    """Numbered peaks of distance, without those from which a higher one is reached above `split_ratio` of their own.

    Maxima of the reconstruction by dilation (Vincent, IEEE Trans. Image Process. 2, 1993, doi:10.1109/83.217222) of so
    much of the distance below it: the h-maxima, with a factor in place of a difference, since peaks of small objects
    are as high.
    """
    connected = np.ones((3,) * distance.ndim)
    peaks, n = ndimage.label(local_maxima(distance), connected)
    if n > 1:
        filled = reconstruction(distance * split_ratio, distance, footprint=connected)
        peaks, n = ndimage.label(local_maxima(filled), connected)
    return peaks, n


def _add(ids: np.ndarray, objects: np.ndarray, n: int) -> int:
    """Write objects 1 to m into `ids` as n + 1 to n + m, and return n + m."""
    ids[objects > 0] = objects[objects > 0] + n
    return n + int(objects.max(initial=0))


def _in_order(ids: np.ndarray) -> np.ndarray:
    """Ids 1 to n in the order of their first pixels."""
    values, first, index = np.unique(ids, return_index=True, return_inverse=True)
    order = np.zeros(len(values), np.int32)
    objects = np.flatnonzero(values != 0)
    order[objects[np.argsort(first[objects])]] = np.arange(1, len(objects) + 1)
    return order[index.reshape(ids.shape)]


class _Parts:
    """Connected parts of the foreground over all blocks.

    Attributes
    ----------
    labels : ndarray of shape (*spatial), int32
        A number for every part of the foreground, the same in whichever blocks it lies; 0 is background.
    """

    def __init__(
        self, read: Read, size: tuple[int, ...], block: tuple[int, ...], threshold: float, labels: np.ndarray
    ) -> None:
        self.labels, self._block = labels, block
        n = 0
        for box in _boxes(size, block):
            parts, n_parts = ndimage.label(read(box)[0] > threshold)
            self.labels[box] = np.where(parts > 0, parts + n, 0)
            n += n_parts
        same = _UnionFind(n + 1)
        for axis, step in enumerate(block):
            for border in range(step, size[axis], step):
                sides = ((slice(None),) * axis + (i,) for i in (border - 1, border))
                before, after = (np.asarray(self.labels[side]) for side in sides)
                touching = (before > 0) & (after > 0)
                for pair in np.unique(np.stack([before[touching], after[touching]], 1), axis=0):
                    same.join(*pair)
        roots = same.roots()
        for box in _boxes(size, block):
            self.labels[box] = roots[self.labels[box]]

    def groups(self) -> Iterator[tuple[Slices, list[tuple[int, Slices]]]]:
        """The box that holds all parts that begin in one block, and their numbers, each with its own box."""
        by_block: dict[tuple[int, ...], list[tuple[int, Slices]]] = {}
        for number, box in enumerate(ndimage.find_objects(self.labels), start=1):
            if box is not None:
                key = tuple(side.start // step for side, step in zip(box, self._block, strict=True))
                by_block.setdefault(key, []).append((number, box))
        for parts in by_block.values():
            sides = list(zip(*(box for _, box in parts), strict=True))
            yield tuple(slice(min(s.start for s in side), max(s.stop for s in side)) for side in sides), parts


class _UnionFind:
    """Sets of numbers that name the same part: a forest, each tree named by its root, its least number."""

    def __init__(self, n: int) -> None:
        self.parent = np.arange(n, dtype=np.int32)

    def root(self, i: int) -> int:
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]
            i = int(self.parent[i])
        return i

    def join(self, i: int, j: int) -> None:
        i, j = self.root(int(i)), self.root(int(j))
        self.parent[max(i, j)] = min(i, j)

    def roots(self) -> np.ndarray:
        return np.array([self.root(i) for i in range(len(self.parent))], np.int32)


def _boxes(size: tuple[int, ...], block: tuple[int, ...]) -> Iterator[Slices]:
    starts = (range(0, n, step) for n, step in zip(size, block, strict=True))
    for corner in product(*starts):
        yield tuple(slice(i, min(i + step, n)) for i, step, n in zip(corner, block, size, strict=True))
