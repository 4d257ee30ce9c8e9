"""Intensities as the net sees them: taken once per image, never per tile."""

from __future__ import annotations

import numpy as np

from ..image import Image, to_channels


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
    with np.errstate(over="ignore"):  # float64 beyond 3.4e38 becomes infinite, and is said below
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        nan, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
        raise ValueError(
            f"{nan} of {values.size} pixel values are NaN and {infinite} infinite: replace them, or leave the file out"
        )
    axes = tuple(range(1, values.ndim))
    mean = values.mean(axes, keepdims=True, dtype=np.float64).astype(np.float32)
    std = values.std(axes, keepdims=True, dtype=np.float64).astype(np.float32)
    values -= mean
    values /= np.where(std > 0, std, 1)
    return values


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
