"""Images at another pixel size, read by region: a pixel does not depend on the region it is read in."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np

from .lazy import LazyImage, Region, Source
from .spacing import METRES

__all__ = ["Resampled", "resampled", "size_at", "to_size"]

_ALIKE = log(1.1)  # pixel sizes that differ by less than a tenth count as equal
_ABSURD = log(10.0)  # a larger factor is not another magnification but another unit
_THICK = 3.0  # along axes coarser than this many times the finest, interpolation would invent structure


def size_at(
    size: Sequence[int], spacing: Sequence[float], unit: str, target: Sequence[float], target_unit: str
) -> tuple[int, ...]:
    """Compute the size in pixels of an image at another spacing; its own where the two are alike or one is unknown.

    Parameters
    ----------
    size : sequence of int
        In pixels.
    spacing, target : sequence of float
        Present and wanted pixel size per axis.
    unit, target_unit : str

    Raises
    ------
    ValueError
        If the pixel sizes differ by more than a factor of 10: one of them is wrong.

    Examples
    --------
    >>> size_at((100, 80), (0.5, 0.5), "µm", (1000.0, 1000.0), "nm")
    (50, 40)
    >>> size_at((100, 80), (0.5, 0.5), "µm", (1.0, 1.0), "px")
    (100, 80)
    """
    if unit not in METRES or target_unit not in METRES or len(spacing) != len(target):
        return tuple(size)
    factors = [own * METRES[unit] / (wanted * METRES[target_unit]) for own, wanted in zip(spacing, target, strict=True)]
    if all(abs(log(factor)) <= _ALIKE for factor in factors):
        return tuple(size)
    if any(abs(log(factor)) > _ABSURD for factor in factors):
        own, wanted = (" x ".join(f"{step:g}" for step in steps) for steps in (spacing, target))
        raise ValueError(
            f"has pixels of {own} {unit}, where {wanted} {target_unit} are usual: correct its pixel size or unit, or "
            "train with --set resample=false, which takes pixels as they are"
        )
    return tuple(max(1, round(n * factor)) for n, factor in zip(size, factors, strict=True))


class Resampled:
    """A source of another size in pixels, and the same in the world.

    Interpolated linearly; where pixels become larger, the ones that they cover are averaged (with a triangle of their
    width), which prevents aliasing. Axes with steps more than three times the finest, and labels, take the nearest.

    Parameters
    ----------
    source : Source or LazyImage
    size : sequence of int
        Per spatial axis.
    nearest : bool
        Along all axes: for labels.
    """

    def __init__(self, source: Source | LazyImage, size: Sequence[int], *, nearest: bool = False) -> None:
        self._source, before = source, source.shape[1:]
        self.axes, self.shape = source.axes, (source.shape[0], *size)
        self.spacing = tuple(s * n / m for s, n, m in zip(source.spacing, before, size, strict=True))
        self.unit, self.notes = source.unit, source.notes
        self._nearest = [nearest or step > _THICK * min(source.spacing) for step in source.spacing]
        self.dtype = source.dtype if nearest else np.dtype(np.float32)

    def read(self, region: Region) -> np.ndarray:
        """Channels of a region."""
        channels, *box = region
        taps = [
            _nearest(part, n, m) if nearest else _linear(part, n, m)
            for part, n, m, nearest in zip(box, self._source.shape[1:], self.shape[1:], self._nearest, strict=True)
        ]
        hull = tuple(slice(first, first + weights.shape[1]) for first, weights in taps)
        values = self._read((channels, *hull))
        if all(self._nearest):
            return values[(slice(None), *np.ix_(*(weights.argmax(1) for _, weights in taps)))]
        values = values.astype(np.float32)
        for axis, (_, weights) in enumerate(taps, start=1):
            values = np.moveaxis(np.tensordot(weights, values, (1, axis)), 0, axis)
        return np.ascontiguousarray(values)

    def _read(self, region: Region) -> np.ndarray:
        return self._source[region] if isinstance(self._source, LazyImage) else self._source.read(region)

    def close(self) -> None:
        """Close the source."""
        self._source.close()


def _nearest(part: slice, n: int, m: int) -> tuple[int, np.ndarray]:
    """First of n pixels that is read for a part of m pixels, and a row of weights for each pixel of the part."""
    nearest = np.minimum(((np.arange(part.start, part.stop) + 0.5) * n / m).astype(int), n - 1)
    weights = np.zeros((len(nearest), nearest[-1] - nearest[0] + 1), np.float32)
    weights[np.arange(len(nearest)), nearest - nearest[0]] = 1
    return int(nearest[0]), weights


def _linear(part: slice, n: int, m: int) -> tuple[int, np.ndarray]:
    """The same with the weights of a triangle, cut at the border of the image."""
    centres = (np.arange(part.start, part.stop) + 0.5) * n / m - 0.5
    reach = max(1.0, n / m)
    first, last = max(int(np.floor(centres[0] - reach)), 0), min(int(np.ceil(centres[-1] + reach)), n - 1)
    weights = np.maximum(0, 1 - np.abs(np.arange(first, last + 1) - centres[:, None]) / reach)
    return first, (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def resampled(array: np.ndarray, size: Sequence[int], spacing: Sequence[float], *, nearest: bool = False) -> np.ndarray:
    """Resample an array (C, *spatial) to another size, as `Resampled` reads it."""
    if array.shape[1:] == tuple(size):
        return array
    source = Resampled(_Array(array, spacing), size, nearest=nearest)
    return source.read(tuple(slice(0, n) for n in source.shape))


def to_size(labels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resample labels (*spatial) to another size by the nearest pixel."""
    return resampled(labels[None], size, (1.0,) * labels.ndim, nearest=True)[0]


class _Array:
    """A source in memory."""

    unit: str = "px"
    notes: tuple[str, ...] = ()

    def __init__(self, array: np.ndarray, spacing: Sequence[float]) -> None:
        self._array, self.shape, self.dtype, self.spacing = array, array.shape, array.dtype, tuple(spacing)
        self.axes = "cyx" if array.ndim == 3 else "czyx"

    def read(self, region: Region) -> np.ndarray:
        return self._array[region]

    def close(self) -> None:
        pass
