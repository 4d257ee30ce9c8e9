"""One image as the net is given it, read by region: channels fitted, intensities scaled, planes of volumes folded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data.channels import open_channels
from ..data.normalise import Scaling, measure
from ..data.planes import fold
from ..geometry import mirror
from ..image import Image, to_channels
from ..io import LazyImage, valid_mask
from ..io.resample import Resampled, size_at
from ..model.card import Card
from ..nets.net import Net
from ..tiles import Slices
from .runner import Give

__all__ = ["InputImage"]


class InputImage:
    """An image on disk, checked and ready for a net; nothing of it is kept in memory unless its format asks for it.

    Every pixel is read once on opening, for the mean and deviation of each channel, so that damage is known before
    anything is computed. Use it as a context manager.

    Parameters
    ----------
    files : sequence of Path
        One file, or one per channel.
    net : Net
    card : Card
        Of the same model.
    scaling : Scaling, optional
        Of the same files, if it was measured before.

    Attributes
    ----------
    image : LazyImage
        As it is stored.
    size : tuple of int
        Pixels that the net is given: those of the image, or of another size where the net knows another (see
        `Card.resample`).
    scaling : Scaling
    missing : int
        Pixels of a map that hold no data: NaN, or the nodata value of its file.

    Raises
    ------
    ValueError
        If the files cannot be read, or their axes or channels cannot be made the net's, or a value is not finite.
    """

    def __init__(self, files: Sequence[Path], net: Net, card: Card, *, scaling: Scaling | None = None) -> None:
        self.image = image = open_channels(files)
        self._planes = card.planes
        try:
            _check_axes(image, net.ndim, card.planes)
            self.scaling = scaling or measure(image, self._is_valid if image.georeference else None)
            has = 1 if self.scaling.is_gray else image.shape[0]
            self.channels = net.in_channels // (card.planes or 1)
            _check_channels(has, self.channels)
            self.size = _size_for(image, card)
        except BaseException:
            image.close()
            raise
        self._resampled = None if self.size == image.size else Resampled(image, self.size)
        self.notes = image.notes
        if self._resampled:
            own, known = (" x ".join(f"{step:g}" for step in steps) for steps in (image.spacing, card.spacing))
            told = f"pixels of {own} {image.unit}, the net knows {known} {card.unit}"
            self.notes += (f"{told}: it is given {' x '.join(map(str, self.size))}, the mask has the image's size",)
        self.missing = self.scaling.missing
        if self.scaling.is_gray and self.channels == 1:
            self.notes += ("three equal channels: read as one",)

    def __call__(self, pixels: Slices) -> Tensor:
        """Read some pixels: (C, *pixels), float32."""
        return torch.from_numpy(self._read(pixels))

    def valid(self, pixels: Slices) -> np.ndarray:
        """Where some pixels of a map hold data, (*pixels); see `missing`."""
        return self._is_valid(self.image[(slice(None), *pixels)])

    def _is_valid(self, stored: np.ndarray, _: slice = slice(None)) -> np.ndarray:
        known = self.image.georeference
        return valid_mask(stored, known.nodata if known else None)

    def plane(self, z: int) -> Give:
        """What is read for plane `z` of a volume, given to a 2D net with its neighbours as channels."""
        planes, depth = self._planes or 1, self.size[0]
        at = mirror(z - planes // 2, planes, depth)
        low, high = int(at.min()), int(at.max()) + 1

        def give(pixels: Slices) -> Tensor:
            window = self._read((slice(low, high), *pixels))[:, at - low]
            return torch.from_numpy(np.ascontiguousarray(fold(window)))

        return give

    def _read(self, pixels: Slices) -> np.ndarray:
        if self._resampled:
            stored = self._resampled.read((slice(0, self.image.shape[0]), *pixels))
        else:
            stored = self.image[(slice(None), *pixels)]
        values = self.scaling(stored, self._is_valid(stored) if self.missing else None)
        if len(values) == self.channels:
            return values
        return np.repeat(values[:1], self.channels, axis=0)  # gray, in one channel or in three equal ones

    def close(self) -> None:
        """Close the files."""
        self.image.close()

    def __enter__(self) -> InputImage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _size_for(image: LazyImage, card: Card) -> tuple[int, ...]:
    """Pixels that a net is given of an image; of maps those that they have."""
    if not card.resample or image.georeference is not None:
        return image.size
    return size_at(image.size, image.spacing, image.unit, card.spacing, card.unit)


def _check_axes(image: LazyImage, ndim: int, planes: int | None) -> None:
    has = f"has {image.ndim} spatial axes, {' x '.join(map(str, image.size))}"
    if planes is not None and image.ndim != ndim + 1:
        raise ValueError(
            f"{has}; this net was trained on volumes, {planes} plane{'s'[: planes > 1]} at a time: give it volumes"
        )
    if planes is None and image.ndim != ndim:
        raise ValueError(f"{has}; this is a {ndim}D net")


def _check_channels(has: int, wanted: int) -> None:
    """Raise as `to_channels` does, without the pixels."""
    to_channels(Image(np.zeros((has, 1, 1), np.uint8), "cyx", (1.0, 1.0)), wanted)
