"""Normalisation of intensities: measured once per image, never per tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from .readable import Readable

_CHUNK = 2**20  # values whose moments are taken at a time: few enough for the processor's cache
_BAND_BYTES = 2**26  # read at a time from a file
# No measurement is as large, but programs fill pixels without data so: -3.4e38 (the lowest), 1e38, 9.97e36 (netCDF).
_FILL_FROM = 1e36
_WIDE = 1e30  # a deviation from which on differences to the mean may not fit into float32


IsValid = Callable[[np.ndarray, slice], np.ndarray]


@dataclass(frozen=True, eq=False)
class Normalisation:
    """Scale and offset of one image, for zero mean and unit standard deviation.

    Attributes
    ----------
    mean, std : ndarray of shape (C,), float32
        Of each channel; a channel of one value has the deviation 1.
    is_gray : bool
        Whether there are three channels, equal everywhere.
    missing : int
        Pixels without data in any channel.
    has_gaps : bool
        Whether any sample is without data, as where one band of several has a hole.
    """

    mean: np.ndarray
    std: np.ndarray
    is_gray: bool = False
    missing: int = 0
    has_gaps: bool = False

    @property
    def is_wide(self) -> bool:
        """Whether differences to the mean may not fit into float32."""
        return bool(self.std.max(initial=0) > _WIDE)

    def __call__(self, values: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """Scale a region of the image, (C, *region), to float32, the mean where samples are not valid; a copy.

        Of an image of one channel whose gray is repeated, the one channel will do.
        """
        axes = (slice(None), *(None,) * (values.ndim - 1))
        with np.errstate(invalid="ignore"):  # of what is not valid
            if self.is_wide:
                wide = (values.astype(np.float64) - self.mean[axes]) / self.std[axes]
                scaled = wide.astype(np.float32)
            else:
                scaled = _float32(values) - self.mean[axes]
                scaled /= self.std[axes]
        if valid is not None:
            scaled[~np.broadcast_to(valid, scaled.shape)] = 0
        return scaled


def measure_normalisation(image: Readable, is_valid: IsValid | None = None) -> Normalisation:
    """Measure mean and standard deviation of every channel, read band by band so that any size will do.

    Parameters
    ----------
    image : array of shape (C, *spatial), any real dtype
        An ndarray, or an `io.LazyImage`.
    is_valid : callable, optional
        Called with some rows, (C, rows, *others) as stored, and their slice; returns which samples hold data, (C, rows,
        *others). The others count for nothing, and may have any value.

    Returns
    -------
    Normalisation
        The same numbers to the last bit for an image in memory and on disk.

    Raises
    ------
    ValueError
        If a valid pixel is NaN, infinite or a fill value; their number is given.
    """
    if image.dtype.kind in "ui" and image.dtype.itemsize <= 2:
        return _measure_by_counts(image, is_valid)
    channels = image.shape[0]
    missing = gaps = nan = infinite = filled = 0
    fills: set[float] = set()  # of a fill value there is one; measurements as large vary
    count, mean, squares = np.zeros(channels), np.zeros(channels), np.zeros(channels)
    is_gray = channels == 3
    for stored, rows in _chunks(image):
        flat = _float32(stored).reshape(channels, -1)
        parts = list(flat)
        if is_valid is not None:
            valid = is_valid(stored, rows).reshape(channels, -1)
            parts, flat, n_missing, n_gaps = _held(flat, valid)
            missing, gaps = missing + n_missing, gaps + n_gaps
        bad = [part for part in parts if not np.isfinite(part).all()]
        nan += sum(int(np.isnan(part).sum()) for part in bad)
        infinite += sum(int(np.isinf(part).sum()) for part in bad)
        if nan or infinite:  # once one is found the others are counted only
            continue
        for part in parts:
            large = part[np.abs(part) >= _FILL_FROM]
            filled += large.size
            fills.update(large[:2].tolist() if (large == large[:1]).all() else (0.0, 1.0))
        is_gray = is_gray and bool((flat == flat[:1]).all())
        for channel, part in enumerate(parts):
            n = part.size
            if not n:
                continue
            values, before = part.astype(np.float64), count[channel]
            own = values.mean()
            shift = own - mean[channel]
            # Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm for computing sample variances, 1979
            squares[channel] += ((values - own) ** 2).sum() + shift**2 * (before * n / (before + n))
            mean[channel] += shift * (n / (before + n))
            count[channel] += n
    if nan or infinite:
        raise ValueError(
            f"{nan} of {prod(image.shape)} pixel values are NaN and {infinite} infinite: replace them, or leave the "
            "file out"
        )
    if len(fills) == 1:
        raise ValueError(
            f"{filled} of {prod(image.shape)} pixel values are {fills.pop():.3g}, a fill value of pixels without data "
            "that the file does not state: state it as nodata (gdal_edit.py -a_nodata), or replace it"
        )
    std = np.sqrt(squares / np.maximum(count, 1)).astype(np.float32)
    return Normalisation(mean.astype(np.float32), np.where(std > 0, std, np.float32(1)), is_gray, missing, gaps > 0)


def _held(flat: np.ndarray, valid: np.ndarray) -> tuple[list[np.ndarray], np.ndarray, int, int]:
    """Samples (C, pixels) that hold data: by channel, where all do; pixels where none does, and samples that do not."""
    parts = [row[held] for row, held in zip(flat, valid, strict=True)]
    return parts, flat[:, valid.all(0)], int((~valid.any(0)).sum()), int((~valid).sum())


def _measure_by_counts(image: Readable, is_valid: IsValid | None) -> Normalisation:
    """The same of integers of 8 or 16 bits, exactly, from the pixels of every value: a third of the time."""
    channels, n_values = image.shape[0], 256**image.dtype.itemsize
    unsigned = image.dtype.str.replace("i", "u")  # in the byte order that it has
    counts = np.zeros((channels, n_values), np.int64)
    missing = gaps = 0
    is_gray = channels == 3
    for stored, rows in _chunks(image):
        flat = stored.reshape(channels, -1)
        parts = list(flat)
        if is_valid is not None:
            valid = is_valid(stored, rows).reshape(channels, -1)
            parts, flat, n_missing, n_gaps = _held(flat, valid)
            missing, gaps = missing + n_missing, gaps + n_gaps
        is_gray = is_gray and bool((flat == flat[:1]).all())
        for channel, part in enumerate(parts):
            counts[channel] += np.bincount(part.view(unsigned), minlength=n_values)
    values = np.arange(n_values, dtype=np.float64)
    if image.dtype.kind == "i":
        values[n_values // 2 :] -= n_values
    n = np.maximum(counts.sum(1), 1)
    mean = counts @ values / n
    std = np.sqrt((counts * (values - mean[:, None]) ** 2).sum(1) / n).astype(np.float32)
    return Normalisation(mean.astype(np.float32), np.where(std > 0, std, np.float32(1)), is_gray, missing, gaps > 0)


def _chunks(image: Readable) -> Iterator[tuple[np.ndarray, slice]]:
    """All pixels as stored, some rows (planes) at a time; the same rows whatever the dtype, in memory and on disk."""
    n = image.shape[1]
    row = max(image.shape[0] * prod(image.shape[2:]), 1)
    rows = max(_CHUNK // row, 1)
    band = max(_BAND_BYTES // (row * image.dtype.itemsize) // rows, 1) * rows
    for start in range(0, n, band):
        values = image[(slice(None), slice(start, min(start + band, n)))]
        for first in range(0, values.shape[1], rows):
            part = values[:, first : first + rows]
            yield part, slice(start + first, start + first + part.shape[1])


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # float64 beyond 3.4e38 becomes infinite, and is said by `measure_normalisation`
        return values.astype(np.float32, copy=False)


def standardise(array: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Scale each channel of one image to zero mean and unit standard deviation.

    Parameters
    ----------
    array : ndarray of shape (C, *spatial), any real dtype
        Finite where valid.
    valid : ndarray of shape (*spatial) or (C, *spatial), bool, optional
        Where the image holds data. Mean and deviation are those of these samples; the others become 0, the mean.

    Returns
    -------
    ndarray of shape (C, *spatial), float32
        A channel of one value becomes 0, and so does an image without a valid pixel.

    Raises
    ------
    ValueError
        If a valid pixel is NaN or infinite; their number is given.
    """
    if valid is None:
        return measure_normalisation(array)(array)
    held = np.broadcast_to(valid, array.shape)
    return measure_normalisation(array, lambda _, rows: held[:, rows])(array, held)
