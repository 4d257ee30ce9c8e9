"""LabelMe: a JSON file for every image.

Corners are the middles of pixels, and the pixels below an outline belong to the object, as LabelMe draws it.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections import Counter
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw
from PIL.PngImagePlugin import PngImageFile
from pydantic import Field

from ..decoder_errors import Refused
from ..grid import Grid
from .shapes import FARTHEST, Outline, Shapes, Stamp, Strict, parsed

__all__ = ["LabelMe", "check_size", "window_of"]

_LINES = ("line", "linestrip", "point", "points")


class _Shape(Strict):
    label: str | int | None = ""
    points: list[list[float]] = Field(default_factory=list)
    group_id: int | str | None = None
    shape_type: str | None = "polygon"
    mask: str | None = None
    flags: dict[str, Any] | None = None


class _File(Strict):
    shapes: list[_Shape]
    imageHeight: int | None = None
    imageWidth: int | None = None
    flags: dict[str, Any] | None = None


class LabelMe:
    """The content of a file."""

    def __init__(self, content: Any) -> None:
        self._file = parsed(_File, content, "a file of LabelMe")

    def shapes(self, grid: Grid) -> Shapes:
        """The shapes of a file that have an area; lines and points are named."""
        check_size(self._file.imageHeight, self._file.imageWidth, grid)
        outlines, left_out, notes = list[Outline](), Counter[str](), list[str]()
        for i, shape in enumerate(self._file.shapes):
            where = f"shape {i} ({shape.label})"
            kind = shape.shape_type or "polygon"
            if kind in _LINES:
                left_out[kind] += 1
                continue
            stamp = _stamp(shape, kind, grid.size, where)
            name = "" if shape.label is None else str(shape.label).strip()
            # Shapes of one label and group are one object.
            part_of = f"{i}" if shape.group_id is None else f"{name} of group {shape.group_id}"
            outlines.append(Outline(stamp=stamp, name=name, part_of=part_of))
        if left_out:
            listed = ", ".join(f"{n} {kind}" for kind, n in left_out.items())
            if not outlines:
                raise Refused(f"holds no shape with an area: {listed}")
            notes.append(f"shapes without an area, left out: {listed}")
        if flags := [str(name) for name, is_set in (self._file.flags or {}).items() if is_set]:
            notes.append(f"flags set in LabelMe, not used: {', '.join(flags[:8])}")
        return Shapes(outlines, notes=notes)


def check_size(height: int | None, width: int | None, grid: Grid) -> None:
    """Refuse outlines that were drawn on an image of another size."""
    if len(grid.size) != 2:
        raise Refused(f"outlines of a plane, its image {grid.path.name} is a volume of {grid.size} voxels")
    if height and width and (height, width) != grid.size:
        own, other = f"{width} x {height}", f"{grid.size[1]} x {grid.size[0]}"
        turned = "; was one of the two turned?" if (width, height) == grid.size else ""
        raise Refused(f"drawn on an image of {own} pixels (width x height), {grid.path.name} has {other}{turned}")


def window_of(points: np.ndarray, size: tuple[int, ...], where: str) -> tuple[int, int, int, int] | None:
    """Rows and columns of an image that hold some points, with a margin: top, left, height, width; None outside."""
    if not np.isfinite(points).all() or np.abs(points).max(initial=0) > FARTHEST:
        raise Refused(f"{where}: a point that is no place in an image ({points.ravel()[:4].tolist()}, ...)")
    low = np.maximum(np.floor(points.min(0)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(points.max(0)).astype(int) + 3, size[::-1])
    if (high <= low).any():
        return None
    return int(low[1]), int(low[0]), int(high[1] - low[1]), int(high[0] - low[0])


def _stamp(shape: _Shape, kind: str, size: tuple[int, ...], where: str) -> Stamp | None:
    """The pixels of a shape; None outside of the image."""
    try:
        points = np.array([point[:2] for point in shape.points], float).reshape(-1, 2)
    except ValueError:
        raise Refused(f"{where}: its points are not pairs of numbers") from None
    least = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 1}.get(kind, 3)
    if len(points) < least:
        raise Refused(f"{where}: a {kind} of {len(points)} points: expected {least} or more")
    if kind == "mask":
        return _stored(shape, points, where)
    if kind == "circle":  # its middle, and a point on it
        radius = math.dist(points[0], points[1])
        points = np.array([points[0] - radius, points[0] + radius])
    elif kind == "rectangle":
        points = np.array([points[:2].min(0), points[:2].max(0)])
    window = window_of(points, size, where)
    if window is None:
        return None
    top, left, height, width = window
    picture = Pillow.new("1", (width, height))
    corners = [(float(x), float(y)) for x, y in points - (left, top)]
    pen = ImageDraw.Draw(picture)
    draw: Any = {"circle": pen.ellipse, "rectangle": pen.rectangle}.get(kind, pen.polygon)
    draw(corners, outline=1, fill=1)
    return Stamp(np.array(picture, bool), (top, left))


def _stored(shape: _Shape, points: np.ndarray, where: str) -> Stamp:
    """A shape that is a small picture, with the corners of its place: the last pixel is part of it."""
    try:
        picture = PngImageFile(BytesIO(base64.b64decode(shape.mask or "", validate=False)))
    except (binascii.Error, SyntaxError, OSError, ValueError) as error:
        raise Refused(f"{where}: its mask is not a PNG ({error})") from None
    (left, top), (right, bottom) = points[0], points[-1]
    expected = round(right) - round(left) + 1, round(bottom) - round(top) + 1
    if picture.size != expected:
        raise Refused(f"{where}: a mask of {picture.size} pixels for a box of {expected} (width, height)")
    return Stamp(np.asarray(picture.convert("L")) > 0, (round(top), round(left)))
