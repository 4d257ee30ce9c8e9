"""What the stored samples of a pixel mean, and the channels an image gets from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True, eq=False)
class Colour:
    """How the samples of a file become channels; pixel by pixel, so that any region can be converted alone.

    Parameters
    ----------
    kind : "plain", "rgb", "palette" or "cmyk"
        "plain" samples are channels as they are, of any number.
    alpha : int, optional
        Index of the sample that is opacity. It is dropped.
    palette : ndarray of shape (entries, 3), optional
        Colour of every index, for "palette".
    """

    kind: Literal["plain", "rgb", "palette", "cmyk"] = "plain"
    alpha: int | None = None
    palette: np.ndarray | None = None

    @property
    def is_direct(self) -> bool:
        """Whether every channel is one stored sample, so that a channel can be read alone."""
        return self.kind in ("plain", "rgb")

    def kept(self, samples: int) -> tuple[int, ...]:
        """Indices of the samples that are not alpha."""
        return tuple(index for index in range(samples) if index != self.alpha)

    def channels(self, samples: int) -> int:
        """Number of channels that `samples` stored samples become."""
        return len(self.kept(samples)) if self.is_direct else 3

    def dtype(self, stored: np.dtype) -> np.dtype:
        """Dtype of the channels of samples of dtype `stored`."""
        return stored if self.palette is None else self.palette.dtype

    def convert(self, samples: np.ndarray) -> np.ndarray:
        """Channels of stored samples.

        Parameters
        ----------
        samples : ndarray of shape (samples, *spatial)

        Returns
        -------
        ndarray of shape (channels, *spatial)
        """
        kept = samples if self.alpha is None else samples[list(self.kept(len(samples)))]
        if self.palette is not None:
            return np.moveaxis(self.palette[kept[0]], -1, 0)
        return _rgb_of_cmyk(kept) if self.kind == "cmyk" else kept


def _rgb_of_cmyk(inks: np.ndarray) -> np.ndarray:
    """Light left by four inks: white less what black ink and then the colour inks take, in integers as Pillow does."""
    full = int(np.iinfo(inks.dtype).max)
    white = full - inks[3:].astype(np.uint64)
    return (white - (inks[:3] * white + full // 2) // full).astype(inks.dtype)


def gray_of_equal(array: np.ndarray) -> np.ndarray | None:
    """The one channel of three equal ones, of shape (1, *spatial); None where they differ."""
    if len(array) != 3:
        return None
    # NaN != NaN: floats are compared by their bits.
    bits = array if array.dtype.kind in "bui" else array.view(f"u{array.dtype.itemsize}")
    is_gray = np.array_equal(bits[0], bits[1]) and np.array_equal(bits[0], bits[2])
    return array[:1] if is_gray else None
