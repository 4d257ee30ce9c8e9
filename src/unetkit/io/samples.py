"""Samples of a file and the image they become: alpha, palettes, CMYK and gray, the same rules for every format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..georeference import GeoReference
from ..image import Image, WorldAffine


@dataclass(frozen=True, eq=False)
class Colour:
    """Meaning of the samples of a file; they become channels pixel by pixel, so that any region can be converted.

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


@dataclass(frozen=True, eq=False)
class Stored:
    """All samples of a file, before any rule about colour.

    Parameters
    ----------
    array : ndarray of shape (samples, *spatial)
    spatial : "yx" or "zyx"
    colour : Colour
    spacing : tuple of float
        Per spatial axis, in `unit`.
    unit : str
    notes : tuple of str
    is_lossy : bool
        Whether the compression changes values (JPEG).
    place : WorldAffine, optional
        Position of a volume in the world.
    georeference : GeoReference, optional
        Position of a map on the earth.
    origin : tuple of float, optional
        Position of the first pixel in `unit`.
    valid : ndarray of shape (*spatial), bool, optional
        Where a map holds data, by a mask of its own.
    names : mapping of int to str
        Of values, where a mask states those of its classes or objects.
    step : float
        Between the values that the file can hold, where it scales integers; 0 where it does not.
    """

    array: np.ndarray
    spatial: str
    colour: Colour
    spacing: tuple[float, ...]
    unit: str = "px"
    notes: tuple[str, ...] = ()
    is_lossy: bool = False
    place: WorldAffine | None = None
    georeference: GeoReference | None = None
    origin: tuple[float, ...] | None = None
    valid: np.ndarray | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    step: float = 0.0


def with_planes(stored: Stored, size: Sequence[int]) -> Stored:
    """Samples of a picture as planes, where a volume of the given size has as many."""
    if stored.spatial != "yx" or len(stored.array) < 2 or tuple(size) != stored.array.shape:
        return stored
    note = f"a picture of {len(stored.array)} samples per pixel: read as the planes that its image has"
    spacing, notes = (1.0, *stored.spacing), (*stored.notes, note)
    return Stored(stored.array[None], "zyx", Colour(), spacing, stored.unit, notes, stored.is_lossy)


def as_image(stored: Stored) -> Image:
    """Convert stored samples to an image: channels first, palette expanded, alpha dropped, gray as one channel."""
    colour = stored.colour
    array = colour.convert(stored.array)
    notes = [*stored.notes, *alpha_notes(stored)]
    if colour.kind != "plain":
        gray = gray_of_equal(array)
        if gray is not None:
            array = gray
            notes.append(f"gray stored as {colour_name(colour)}: read as one channel")
        elif colour.kind != "rgb":
            notes.append(f"{colour_name(colour)} read as RGB")
    return located(np.ascontiguousarray(array), "c" + stored.spatial, stored, notes)


def located(array: np.ndarray, axes: str, stored: Stored, notes: list[str]) -> Image:
    """Make an image with the spacing and the place of the stored samples."""
    return Image(
        array,
        axes,
        stored.spacing,
        stored.unit,
        tuple(notes),
        place=stored.place,
        georeference=stored.georeference,
        origin=stored.origin,
        valid=stored.valid,
    )


def alpha_notes(stored: Stored) -> list[str]:
    """A note on the dropped alpha channel, where there was one."""
    if stored.colour.alpha is None:
        return []
    alpha = stored.array[stored.colour.alpha]
    low, high = alpha.min(), alpha.max()
    if low == high:
        return [f"alpha is {low} everywhere: dropped"]
    return [f"alpha varies from {low} to {high}: dropped, the pixels keep the values stored under it"]


def colour_name(colour: Colour) -> str:
    """Name of a colour kind for the notes."""
    if colour.kind == "rgb":
        return "RGB" if colour.alpha is None else "RGBA"
    return {"palette": "a palette", "cmyk": "CMYK", "plain": "gray"}[colour.kind]


def _rgb_of_cmyk(inks: np.ndarray) -> np.ndarray:
    # White less the shares that black ink and then the colour inks absorb, in integers as Pillow does.
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
