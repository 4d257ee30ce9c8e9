"""From the samples of a file to an image, the same rules whatever the file format."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..georeference import GeoReference
from ..image import Image, WorldAffine
from .colour import Colour, gray_of_equal


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
    place : Place, optional
        Where a volume lies in the world.
    georeference : GeoReference, optional
        Where a map lies on the earth.
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


def as_image(stored: Stored) -> Image:
    """Image of the stored samples: channels first, palette expanded, alpha dropped, gray as one channel."""
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
    """An image where the stored samples lie."""
    return Image(
        array, axes, stored.spacing, stored.unit, tuple(notes), place=stored.place, georeference=stored.georeference
    )


def alpha_notes(stored: Stored) -> list[str]:
    """What the user should know about the dropped alpha channel: nothing where there was none."""
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
