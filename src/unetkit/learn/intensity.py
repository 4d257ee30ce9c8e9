"""Intensities as the net sees them: taken once per image, never per tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np

from ..image import Image, to_channels

_CHUNK = 2**20  # values whose moments are taken at a time: few enough for the processor's cache
_BAND_BYTES = 2**26  # read at a time from a file


class Readable(Protocol):
    """An array of shape (C, *spatial), in memory or on disk, whose regions can be read."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, region: tuple[slice, ...], /) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Scaling:
    """How the intensities of one image become those that the net sees: zero mean, unit standard deviation.

    Attributes
    ----------
    mean, std : ndarray of shape (C,), float32
        Of each channel; a channel of one value has the deviation 1.
    is_gray : bool
        Whether there are three channels, equal everywhere.
    """

    mean: np.ndarray
    std: np.ndarray
    is_gray: bool = False

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Scale a region of the image, (C, *region), to float32; the values given are not changed."""
        axes = (slice(None), *(None,) * (values.ndim - 1))
        scaled = _float32(values) - self.mean[axes]
        scaled /= self.std[axes]
        return scaled


def measure(image: Readable) -> Scaling:
    """Mean and standard deviation of every channel, read band by band so that any size will do.

    Parameters
    ----------
    image : array of shape (C, *spatial), any real dtype
        An ndarray, or an `io.LazyImage`.

    Returns
    -------
    Scaling
        The same numbers to the last bit for an image in memory and on disk.

    Raises
    ------
    ValueError
        If a pixel is NaN or infinite; their number is given.
    """
    channels = image.shape[0]
    count = nan = infinite = 0
    mean, squares = np.zeros(channels), np.zeros(channels)
    is_gray = channels == 3
    for values in _chunks(image):
        finite = np.isfinite(values)
        if not finite.all():
            nan += int(np.isnan(values).sum())
            infinite += int(np.isinf(values).sum())
        if nan or infinite:  # only to be counted from here on
            continue
        is_gray = is_gray and bool((values == values[:1]).all())
        n = values[0].size
        flat = values.reshape(channels, -1).astype(np.float64)
        own = flat.mean(1)
        apart = own - mean
        # Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm for computing sample variances, 1979
        squares += ((flat - own[:, None]) ** 2).sum(1) + apart**2 * (count * n / (count + n))
        mean += apart * (n / (count + n))
        count += n
    if nan or infinite:
        raise ValueError(
            f"{nan} of {prod(image.shape)} pixel values are NaN and {infinite} infinite: replace them, or leave the "
            "file out"
        )
    std = np.sqrt(squares / max(count, 1)).astype(np.float32)
    return Scaling(mean.astype(np.float32), np.where(std > 0, std, np.float32(1)), is_gray)


def _chunks(image: Readable) -> Iterator[np.ndarray]:
    """All values as float32, some rows (planes) at a time; the same rows whatever the dtype, in memory and on disk."""
    n = image.shape[1]
    row = max(image.shape[0] * prod(image.shape[2:]), 1)
    rows = max(_CHUNK // row, 1)
    band = max(_BAND_BYTES // (row * image.dtype.itemsize) // rows, 1) * rows
    for start in range(0, n, band):
        values = image[(slice(None), slice(start, min(start + band, n)))]
        for first in range(0, values.shape[1], rows):
            yield _float32(values[:, first : first + rows])


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # float64 beyond 3.4e38 becomes infinite, and is said by `measure`
        return values.astype(np.float32, copy=False)


def standardise(array: np.ndarray) -> np.ndarray:
    """Zero mean and unit standard deviation for each channel of one image.

    Parameters
    ----------
    array : ndarray of shape (C, *spatial), any real dtype
        Finite.

    Returns
    -------
    ndarray of shape (C, *spatial), float32
        A channel of one value becomes 0.

    Raises
    ------
    ValueError
        If a pixel is NaN or infinite; their number is given.
    """
    return measure(array)(array)


def for_net(image: Image, *, channels: int, ndim: int) -> np.ndarray:
    """What a net of `channels` channels is given for one image: checked, converted, standardised.

    Raises
    ------
    ValueError
        If the image's axes or channels cannot be made the net's, or a value is not finite.
    """
    if image.ndim != ndim:
        raise ValueError(f"has {image.ndim} spatial axes, {' x '.join(map(str, image.size))}; this is a {ndim}D net")
    return standardise(to_channels(image, channels).array)
