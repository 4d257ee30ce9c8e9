"""One image as the net reads it, by region: channels fitted, normalised, resampled, planes of volumes as channels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..data.channels import open_channels
from ..data.normalise import Normalisation, measure_normalisation
from ..data.planes import around, fold
from ..data.readable import Readable
from ..geometry import mirror
from ..image import Image, to_channels
from ..io import LazyImage
from ..io.decoder_errors import naming
from ..io.lazy import Region
from ..io.resample import Resampled, size_at
from ..model.card import Card
from ..nets.net import Net
from ..tiles import Slices
from .runner import Read

__all__ = ["ArrayInput", "InputImage", "NetInput", "SlicedArray"]


class NetInput(Protocol):
    """What a net reads: an image on disk, or an array.

    Attributes
    ----------
    size : tuple of int
        Spatial size in pixels.
    missing : int
        Pixels of a map that hold no data.
    """

    @property
    def size(self) -> tuple[int, ...]: ...

    @property
    def missing(self) -> int: ...

    def __call__(self, pixels: Slices) -> Tensor:
        """Pixels of the image, (C, *pixels), float32."""
        ...

    def plane(self, z: int) -> Read:
        """The reader of plane `z` of a volume, its neighbours as further channels."""
        ...

    def valid(self, pixels: Slices) -> np.ndarray:
        """Where some pixels hold data, (*pixels), bool."""
        ...


class SlicedArray:
    """An array of another library as a source that is read by region: Zarr, HDF5, a memory map.

    Parameters
    ----------
    array
        Of shape (C, *spatial), or (*spatial); it has a shape and a dtype, and can be sliced.
    has_channels : bool
        Whether the first axis is that of the channels.
    """

    unit: str = "px"
    notes: tuple[str, ...] = ()

    def __init__(self, array: Any, has_channels: bool) -> None:
        self._array, self._has_channels = array, has_channels
        self.shape = tuple(array.shape) if has_channels else (1, *array.shape)
        self.dtype = np.dtype(array.dtype)
        self.axes = {3: "cyx", 4: "czyx"}[len(self.shape)]
        self.spacing = (1.0,) * (len(self.shape) - 1)

    def read(self, region: Region) -> np.ndarray:
        """Channels of a region."""
        values = np.asarray(self._array[region if self._has_channels else region[1:]])
        return values if self._has_channels else values[None]

    def close(self) -> None:
        """Nothing: the array is its owner's."""


class ArrayInput:
    """An image that the net takes as it is, normalised before or never.

    Parameters
    ----------
    image : array of shape (C, *spatial), in memory or read by region
        Of any real dtype; regions are made float32 as they are read.
    planes : int, optional
        Of a volume for a 2D net: how many adjacent planes it reads.
    """

    missing = 0

    def __init__(self, image: Readable | LazyImage, planes: int | None = None) -> None:
        self._image, self._planes, self.size = image, planes or 1, image.shape[1:]

    def __call__(self, pixels: Slices) -> Tensor:
        """Pixels of the image; a view of float32 in memory."""
        values = np.asarray(self._image[(slice(None), *pixels)], np.float32)
        if isinstance(self._image, LazyImage) and self._image.dtype.kind == "f" and not np.isfinite(values).all():
            box = ", ".join(f"{part.start}:{part.stop}" for part in pixels)
            raise ValueError(f"values of the image at ({box}) are NaN or infinite: replace them first")
        return torch.from_numpy(values)

    def plane(self, z: int) -> Read:
        """The reader of plane `z`, its neighbours as further channels."""
        if isinstance(self._image, LazyImage):
            raise ValueError("a net that reads planes takes volumes in memory")
        return ArrayInput(around(self._image, z, self._planes))

    def valid(self, pixels: Slices) -> np.ndarray:
        """True everywhere."""
        return np.ones([part.stop - part.start for part in pixels], bool)


class InputImage:
    """An image, checked and ready for a net; nothing of it is held in memory unless its format asks for it.

    Every pixel is read once on opening, for the mean and deviation of each channel, so that damage is known before
    anything is computed. Use it as a context manager.

    Parameters
    ----------
    image : LazyImage
        As it is stored; closed with this object, or where it cannot be used.
    net : Net
    card : Card
        Of the same model.
    scaling : Normalisation, optional
        Of the same image, if it was measured before.

    Attributes
    ----------
    size : tuple of int
        Pixels that the net is given: those of the image, or those at the pixel size of the training images (see
        `Card.resample`).
    scaling : Normalisation
    missing : int
        Pixels of a map that hold no data: NaN, or the nodata value of its file.

    Raises
    ------
    ValueError
        If the image cannot be read, its axes or channels cannot be made the net's, or a value is not finite.
    """

    def __init__(self, image: LazyImage, net: Net, card: Card, *, scaling: Normalisation | None = None) -> None:
        self.image = image
        self._planes = card.planes
        try:
            _check_axes(image, net.ndim, card.planes)
            self.scaling = scaling or measure_normalisation(image, self._holds_rows if image.georeference else None)
            self.channels = net.in_channels // (card.planes or 1)
            own_channels = 1 if self.scaling.is_gray else image.shape[0]
            to_channels(Image(np.zeros((own_channels, 1, 1), np.uint8), "cyx", (1.0, 1.0)), self.channels)  # or raises
            self.size = image.size
            if card.resample and image.georeference is None:  # maps keep their pixels
                self.size = size_at(image.size, image.spacing, image.unit, card.spacing, card.unit)
        except BaseException:
            image.close()
            raise
        self._resampled = None if self.size == image.size else Resampled(image, self.size)
        self.notes = image.notes
        if self._resampled:
            own, usual = (" x ".join(f"{step:g}" for step in steps) for steps in (image.spacing, card.spacing))
            self.notes += (
                f"pixels of {own} {image.unit}, the model was trained on {usual} {card.unit}: resampled to "
                f"{' x '.join(map(str, self.size))}, the mask has the image's size",
            )
        self.missing = self.scaling.missing
        if self.scaling.is_gray and self.channels == 1:
            self.notes += ("three equal channels: read as one",)

    @classmethod
    def open(cls, files: Sequence[Path], net: Net, card: Card, *, scaling: Normalisation | None = None) -> InputImage:
        """Open an image from one file, or from one file per channel."""
        with naming(*files):
            return cls(open_channels(files, card.read_options), net, card, scaling=scaling)

    def __call__(self, pixels: Slices) -> Tensor:
        """Read some pixels: (C, *pixels), float32."""
        return torch.from_numpy(self._read(pixels))

    def valid(self, pixels: Slices) -> np.ndarray:
        """Where some pixels of a map hold data, (*pixels); see `missing`."""
        return np.asarray(self.image.holds_data(self.image[(slice(None), *pixels)], pixels).any(0))

    def stored_box(self, pixels: Slices) -> Slices:
        """Pixels of the image as it is stored that some pixels are made of; more of them where it is resampled."""
        if self._resampled is None:
            return pixels
        sizes = zip(pixels, self.size, self.image.size, strict=True)
        return tuple(slice(max(p.start * m // n - 1, 0), min(-(-p.stop * m // n) + 1, m)) for p, n, m in sizes)

    def stored(self, box: Slices) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of a box as they are stored, (C, *box), and which of them hold data, (*box)."""
        values = self.image[(slice(None), *box)]
        held = self.image.holds_data(values, box).any(0) if self.missing else np.ones(values.shape[1:], bool)
        return values, np.asarray(held)

    def _holds_rows(self, stored: np.ndarray, rows: slice) -> np.ndarray:
        return self.image.holds_data(stored, (rows, *(slice(0, length) for length in self.image.size[1:])))

    def plane(self, z: int) -> Read:
        """The reader of plane `z` of a volume, its neighbours as further channels."""
        planes, depth = self._planes or 1, self.size[0]
        at = mirror(z - planes // 2, planes, depth)
        low, high = int(at.min()), int(at.max()) + 1

        def read(pixels: Slices) -> Tensor:
            window = self._read((slice(low, high), *pixels))[:, at - low]
            return torch.from_numpy(np.ascontiguousarray(fold(window)))

        return read

    def _read(self, pixels: Slices) -> np.ndarray:
        if self._resampled:
            stored = self._resampled.read((slice(0, self.image.shape[0]), *pixels))
        else:
            stored = self.image[(slice(None), *pixels)]
        values = self.scaling(stored, self.image.holds_data(stored, pixels) if self.scaling.has_gaps else None)
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


def _check_axes(image: LazyImage, ndim: int, planes: int | None) -> None:
    axes = f"has {image.ndim} spatial axes, {' x '.join(map(str, image.size))}"
    if planes is not None and image.ndim != ndim + 1:
        raise ValueError(
            f"{axes}; this net was trained on volumes, {planes} plane{'s'[: planes > 1]} at a time: give it volumes"
        )
    if planes is None and image.ndim != ndim:
        raise ValueError(f"{axes}; this is a {ndim}D net")
