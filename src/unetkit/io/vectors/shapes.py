"""Outlines as every format gives them, and what is checked of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from ..decoder_errors import Refused

__all__ = ["Outline", "Shapes", "Stamp", "Strict", "parsed", "ring", "text_of"]

MOST_BYTES = 2**30  # COCO's own annotations of 118,000 images have 450 MB
FARTHEST = 1e7  # pixels: no image is wider, and drawing costs time with the length of an outline
_Model = TypeVar("_Model", bound=BaseModel)


class Strict(BaseModel):
    """A part of a JSON file of which these fields are used; numbers are finite."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


@dataclass(frozen=True, eq=False)
class Stamp:
    """Pixels of an object: a mask whose first pixel lies at (row, column) of the image."""

    mask: np.ndarray
    at: tuple[int, int] = (0, 0)


@dataclass(frozen=True, eq=False)
class Outline:
    """An object, or a part of it, as a file draws it.

    Attributes
    ----------
    rings : tuple of ndarray of shape (n, 2)
        Points (x, y). Inside is what an odd number of rings encloses, so that holes are holes.
    stamp : Stamp, optional
        The pixels, where the format draws them by rules of its own, or stores them.
    name : str
        Of the class; "" for none.
    part_of : str
        Outlines of one such word are one object; "" for an object of its own.
    value : int, optional
        The value that the file gives its pixels.
    plane : int, optional
        Of a volume, from 0.
    time : int, optional
        Of a series, from 0; None for all of them.
    is_crowd : bool
        Whether it marks several objects at once.
    is_unsure : bool
        Whether it only bounds an object, whose pixels are not known: not labelled.
    """

    rings: tuple[np.ndarray, ...] = ()
    stamp: Stamp | None = None
    name: str = ""
    part_of: str = ""
    value: int | None = None
    plane: int | None = None
    time: int | None = None
    is_crowd: bool = False
    is_unsure: bool = False


@dataclass(frozen=True, eq=False)
class Shapes:
    """The outlines of a file, or those of it that belong to an image.

    Attributes
    ----------
    outlines : list of Outline
        In the order of the file: where they overlap, the later ones win.
    system : Any
        Coordinate system of the points, as rasterio takes it; None for pixels, (0, 0) the corner of the first one.
    is_assumed : bool
        Whether the system is that of the format, as the file states none.
    notes : list of str
    """

    outlines: list[Outline]
    system: Any = None
    is_assumed: bool = False
    notes: list[str] = field(default_factory=list)


def ring(points: Sequence[Sequence[float]] | np.ndarray, where: str) -> np.ndarray | None:
    """Points of a ring as an array, closed; None where they enclose nothing.

    Raises
    ------
    Refused
        If a point has fewer than two numbers, or one that is not finite.
    """
    try:
        array = np.asarray(points, float)
    except (ValueError, TypeError):  # heights of some, or no numbers
        array = _first_two(points, where)
    if array.size and (array.ndim != 2 or array.shape[1] < 2):
        raise Refused(f"{where}: points of one number, expected x and y")
    array = array.reshape(len(array), -1)[:, :2]
    if not np.isfinite(array).all():
        raise Refused(f"{where}: a coordinate is not a finite number")
    if len(array) and not np.array_equal(array[0], array[-1]):
        array = np.concatenate([array, array[:1]])
    return array if len(array) >= 4 else None


def _first_two(points: Any, where: str) -> np.ndarray:
    try:
        return np.array([(float(x), float(y)) for x, y, *_ in points])
    except (ValueError, TypeError):
        raise Refused(f"{where}: points that are not two or more numbers each") from None


def check_extent(rings: Sequence[np.ndarray], where: str) -> None:
    """Refuse points in pixels that are farther away than an image can be."""
    for array in rings:
        if len(array) and np.abs(array).max() > FARTHEST:
            x, y = array[np.abs(array).max(1).argmax()]
            raise Refused(f"{where}: a point at ({x:g}, {y:g}), which is no place in an image")


def text_of(path: Path) -> bytes:
    """The bytes of a text file of bounded size."""
    if path.stat().st_size > MOST_BYTES:
        raise Refused(f"{path.stat().st_size / 2**30:.1f} GB of text: expected at most {MOST_BYTES / 2**30:g} GB")
    return path.read_bytes().removeprefix(b"\xef\xbb\xbf")


def parsed(model: type[_Model], content: Any, kind: str) -> _Model:
    """The fields of a JSON file; Refused, in one line, with the place of what is wrong."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise Refused(f"not {kind}: {where}: {first['msg'].lower()}{more}") from None
