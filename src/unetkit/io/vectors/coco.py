"""COCO: one JSON file for the images of a folder, drawn by pycocotools as COCO's own evaluation does.

Corners are points between pixels. File names in it are compared with the image's, and never opened.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pydantic import Field

from ..decoder_errors import Refused, warned
from ..filenames import name_key, stem_of
from ..grid import Grid
from .labelme import check_size, window_of
from .shapes import Outline, Shapes, Stamp, Strict, parsed

__all__ = ["Coco"]

_LONGEST = 4e6  # pixels of an outline: pycocotools takes 80 bytes for each
_NAMED = 8
_PARTS = 5  # of a pixel, in which pycocotools counts


class _Image(Strict):
    id: int | str
    file_name: str
    height: int | None = None
    width: int | None = None


class _Category(Strict):
    id: int
    name: str


class _Annotation(Strict):
    id: int | str | None = None
    image_id: int | str
    category_id: int | None = None
    segmentation: list[list[float]] | dict[str, Any] | None = None
    iscrowd: int | bool = 0
    bbox: list[float] | None = None


class _File(Strict):
    images: list[_Image]
    annotations: list[_Annotation] = Field(default_factory=list)
    categories: list[_Category] = Field(default_factory=list)


class Coco:
    """Annotations of a file by the names of their images."""

    def __init__(self, content: Any) -> None:
        file = parsed(_File, content, "a file of COCO")
        self._categories = {category.id: category.name for category in file.categories}
        self._by_image: dict[int | str, list[_Annotation]] = defaultdict(list)
        for annotation in file.annotations:
            self._by_image[annotation.image_id].append(annotation)
        self.names = [image.file_name for image in file.images]
        self._by_name: dict[str, list[_Image]] = defaultdict(list)
        for image in file.images:
            for key in dict.fromkeys((_base(image.file_name), _stem(image.file_name))):
                self._by_name[key].append(image)

    def _entries(self, path: Path) -> list[_Image]:
        """Images of the file that a path may be: of its name, else of its stem, the nearest by folders first."""
        for key in (name_key(path.name), _stem(path.name)):
            if fitting := self._by_name.get(key):
                shared = {id(image): _shared_folders(image.file_name, path) for image in fitting}
                most = max(shared.values())
                return [image for image in fitting if shared[id(image)] == most]
        return []

    def shapes(self, grid: Grid) -> Shapes:
        """The outlines of an image."""
        entries = self._entries(grid.path)
        if len(entries) != 1:
            listed = ", ".join(entry.file_name for entry in entries[:_NAMED])
            raise Refused(
                f"{len(entries)} of its images are named as {grid.path.name}{f' ({listed})' if listed else ''}"
            )
        check_size(entries[0].height, entries[0].width, grid)
        outlines, notes, empty = list[Outline](), list[str](), list[str]()
        for i, annotation in enumerate(self._by_image.get(entries[0].id, ())):
            where = f"annotation {i if annotation.id is None else annotation.id}"
            name = self._categories.get(annotation.category_id, "") if annotation.category_id is not None else ""
            if annotation.category_id is not None and not name:
                raise Refused(f"{where}: category {annotation.category_id} is not among its categories")
            if not annotation.segmentation:
                empty.append(where)
                outlines.append(Outline(stamp=_box(annotation, grid.size, where), is_unsure=True))
                continue
            stamp = _stamp(annotation.segmentation, grid.size, where)
            outlines.append(Outline(stamp=stamp, name=name, part_of=str(i), is_crowd=bool(annotation.iscrowd)))
        if empty and len(empty) == len(outlines):
            raise Refused(f"holds boxes only for {grid.path.name} ({len(empty)}): their pixels are not known")
        if empty:
            listed = ", ".join(empty[:_NAMED]) + (", ..." if len(empty) > _NAMED else "")
            notes.append(
                f"{len(empty)} objects have a box and no outline, as some programs write those one pixel wide: their "
                f"boxes are not labelled ({listed})"
            )
        # An object that is only known by its box is drawn first, below all others.
        return Shapes(sorted(outlines, key=lambda outline: not outline.is_unsure), notes=notes)


def _base(name: str) -> str:
    return name_key(PurePosixPath(name.replace("\\", "/")).name)


def _stem(name: str) -> str:
    return name_key(stem_of(Path(PurePosixPath(name.replace("\\", "/")).name)))


def _shared_folders(name: str, path: Path) -> int:
    """Folders above the file that a name of COCO's and a path have in common."""
    stated = PurePosixPath(name.replace("\\", "/")).parts[-2::-1]
    own = path.absolute().parts[-2::-1]
    equal = [first == second for first, second in zip(stated, own, strict=False)]
    return equal.index(False) if False in equal else len(equal)


def _stamp(segmentation: list[list[float]] | dict[str, Any], size: tuple[int, ...], where: str) -> Stamp | None:
    if isinstance(segmentation, dict):
        return Stamp(_of_runs(segmentation, size, where))
    return _of_polygons(segmentation, size, where)


def _of_polygons(polygons: list[list[float]], size: tuple[int, ...], where: str) -> Stamp | None:
    """The pixels of some polygons; None outside of the image."""
    from pycocotools import mask as coco

    arrays = [np.array(polygon, float) for polygon in polygons]
    if any(len(array) < 6 or len(array) % 2 for array in arrays):
        raise Refused(f"{where}: polygons of {[len(array) for array in arrays][:8]} numbers: expected 6 or more, even")
    points = np.concatenate(arrays).reshape(-1, 2)
    window = window_of(points, size, where)
    if window is None:
        return None
    length = sum(float(np.abs(np.diff(array.reshape(-1, 2), axis=0)).sum()) for array in arrays)
    if length > _LONGEST:
        raise Refused(f"{where}: an outline of {length:g} pixels: expected at most {_LONGEST:g}")
    top, left, height, width = window
    moved = [_moved(array.reshape(-1, 2), (left, top)) for array in arrays]
    return Stamp(_decoded(coco.merge(coco.frPyObjects(moved, height, width))), (top, left))


def _moved(points: np.ndarray, by: tuple[int, int]) -> list[float]:
    """Points that pycocotools rounds in a window as it would in the whole image: to fifths, and towards 0."""
    fifths = np.trunc(_PARTS * points + 0.5) - _PARTS * np.array(by)
    return ((fifths + np.where(fifths < 0, -0.75, 0.25)) / _PARTS).ravel().tolist()


def _of_runs(segmentation: dict[str, Any], size: tuple[int, ...], where: str) -> np.ndarray:
    """The pixels of run lengths, as numbers or packed in a string."""
    from pycocotools import mask as coco

    counts, stated = segmentation.get("counts"), segmentation.get("size")
    if stated != list(size):
        raise Refused(f"{where}: runs for an image of size {stated}, expected {list(size)} (height, width)")
    if isinstance(counts, list):
        whole = [isinstance(count, int) and 0 <= count <= math.prod(size) for count in counts]
        if not all(whole) or sum(counts) != math.prod(size):
            raise Refused(f"{where}: its runs do not add up to {size[0]} x {size[1]} pixels")
        packed = coco.frPyObjects({"counts": counts, "size": list(size)}, *size)
    elif isinstance(counts, str) and counts.isascii() and counts.isprintable():
        packed = {"counts": counts.encode(), "size": list(size)}
    else:
        raise Refused(f"{where}: runs of {type(counts).__name__}: expected a list of numbers, or a packed string")
    try:
        return _decoded(packed)
    except ValueError as error:
        raise Refused(f"{where}: its runs do not fit {size[0]} x {size[1]} pixels ({error})") from None


def _decoded(runs: Any) -> np.ndarray:
    from pycocotools import mask as coco

    with warned(list[str]()):  # 2.0.11 warns of what numpy 2 deprecates
        return np.asarray(coco.decode(runs), bool)


def _box(annotation: _Annotation, size: tuple[int, ...], where: str) -> Stamp | None:
    if annotation.bbox is None or len(annotation.bbox) != 4:
        raise Refused(f"{where}: has neither an outline (segmentation) nor a box: where the object lies is not known")
    x, y, width, height = annotation.bbox
    corners = np.array([(x, y), (x + width, y + height)])
    if window_of(corners, size, where) is None:
        return None
    low = np.clip(np.floor(corners[0]), 0, size[::-1]).astype(int)
    high = np.clip(np.maximum(np.ceil(corners[1]), np.floor(corners[0]) + 1), 0, size[::-1]).astype(int)
    return Stamp(np.ones((high[1] - low[1], high[0] - low[0]), bool), (int(low[1]), int(low[0])))
