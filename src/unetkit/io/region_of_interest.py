"""The part of an image that matters: a mask on its grid, or outlines, read box by box as the image is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from .decoder_errors import Refused, naming
from .filenames import is_outlines, time_of
from .grid import Grid
from .lazy import LazyImage, Region, overlap, whole_lazy
from .placement import shift_onto, states_place, turn_onto
from .reading import needs_image, open_lazy, read_coded_labels, read_labels

if TYPE_CHECKING:
    from .vectors.shapes import Outline

__all__ = ["RegionOfInterest", "open_region"]

_CELL = 1024  # pixels per side of what is drawn together, whatever is asked for: no pixel then depends on the box
_KEPT_CELLS = 64

Inside = Callable[[Region], np.ndarray]


class RegionOfInterest:
    """Which pixels of one image lie inside of a region. Use it as a context manager.

    Attributes
    ----------
    size : tuple of int
        Of the image.
    notes : tuple of str
        What was decided, for the user.
    """

    def __init__(
        self, size: Sequence[int], inside: Inside, notes: Sequence[str] = (), close: Callable[[], None] | None = None
    ) -> None:
        self.size, self.notes, self._inside, self._close = tuple(size), tuple(notes), inside, close

    def inside(self, box: Region) -> np.ndarray:
        """Whether each pixel of a box lies inside, (*box), bool."""
        return self._inside(box)

    def inside_at(self, box: Region, size: Sequence[int]) -> np.ndarray:
        """The same for a box of the image at another size, by the nearest pixel."""
        if tuple(size) == self.size:
            return self.inside(box)
        at = [
            np.minimum(((np.arange(part.start, part.stop) + 0.5) * n / m).astype(int), n - 1)
            for part, n, m in zip(box, self.size, size, strict=True)
        ]
        hull = tuple(slice(int(index[0]), int(index[-1]) + 1) for index in at)
        return self.inside(hull)[np.ix_(*(index - index[0] for index in at))]

    def close(self) -> None:
        """Close the file."""
        if self._close is not None:
            self._close()

    def __enter__(self) -> RegionOfInterest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_region(path: Path, image: LazyImage, *, is_shared: bool = False) -> RegionOfInterest:
    """Open the region of an image.

    Parameters
    ----------
    path : Path
        A mask on the grid of the image, of which every value but 0 is inside; or outlines, each of which is, whatever
        its class, unless the file gives it the value 0.
    image : LazyImage
    is_shared : bool
        Whether the file is the region of images in other files too: it must then state where it lies, and may have no
        pixel of this one.

    Raises
    ------
    ValueError
        If the file cannot be read, or does not lie on the image; it is named.
    FileNotFoundError
        If there is no such file.
    """
    with naming(path):
        if is_outlines(path):
            return _of_outlines(path, image, is_shared=is_shared)
        if needs_image(path):
            labels, _ = read_coded_labels(path, grid=Grid.of(image.path, image))
            return RegionOfInterest(image.size, lambda box: labels.array[box] != 0, labels.notes)
        return _of_mask(path, image, is_shared=is_shared)


# --- a mask ---


def _of_mask(path: Path, image: LazyImage, *, is_shared: bool) -> RegionOfInterest:
    mask = _opened(path)
    try:
        if is_shared and not (states_place(mask) and states_place(image)):
            raise Refused(
                f"a mask for several images must state where it lies, and so must each of them ({image.path} is one): "
                "name a folder that has a region for every image"
            )
        inside, notes = _laid_on(mask, image, is_shared=is_shared)
    except BaseException:
        mask.close()
        raise
    return RegionOfInterest(image.size, inside, notes, mask.close)


def _opened(path: Path) -> LazyImage:
    """A mask of one channel of integers, read by region where its file can be."""
    mask = open_lazy(path)
    if mask.shape[0] == 1 and mask.dtype.kind in "bui":
        return mask
    mask.close()  # colours, palettes, floats: what they mean is said once, where labels are read
    labels = read_labels(path)
    return whole_lazy(path, replace(labels, array=labels.array[None], axes="c" + labels.axes))


def _laid_on(mask: LazyImage, image: LazyImage, *, is_shared: bool) -> tuple[Inside, tuple[str, ...]]:
    """How a box of the image is read from its mask."""
    if is_shared and sorted(mask.size) != sorted(image.size):  # a map of all images, each of which shows its part
        shift = shift_onto(mask, image)
        return lambda box: _shifted(mask, box, shift), ()
    if sorted(mask.size) == sorted(image.size):
        turn, note = turn_onto(mask, image)
        if turn.permuted(mask.size) == image.size:
            return lambda box: turn(_held(mask, turn.source(box, mask.size))), (note,) if note else ()
    raise Refused(f"is {mask.size} pixels, its image {image.path} {image.size}: they must have one grid")


def _held(mask: LazyImage, box: Region) -> np.ndarray:
    stored = mask[(slice(None), *box)]
    inside: np.ndarray = stored[0] != 0
    return inside & mask.holds_data(stored, box)[0] if mask.georeference is not None else inside


def _shifted(mask: LazyImage, box: Region, shift: Sequence[int]) -> np.ndarray:
    """A box of an image whose first pixel lies at `shift` in the mask: outside where the mask ends."""
    moved = tuple(slice(part.start + by, part.stop + by) for part, by in zip(box, shift, strict=True))
    inside = np.zeros([part.stop - part.start for part in box], bool)
    source, target = overlap((0,) * len(box), mask.size, moved)
    if all(part.start < part.stop for part in source):
        inside[target] = _held(mask, source)
    return inside


# --- outlines ---


def _of_outlines(path: Path, image: LazyImage, *, is_shared: bool) -> RegionOfInterest:
    from .vectors.labels import named_images, outlines_on

    if is_shared and named_images(path) is None and not (image.georeference and image.georeference.transform):
        raise Refused(
            f"outlines for several images must be those of a map, and the images maps, which {image.path} is not: name "
            "a folder that has outlines for every image"
        )
    grid, notes = Grid.of(image.path, image, is_one_of_many=is_shared), list[str]()
    outlines = [o for o in outlines_on(path, grid, notes) if (o.rings or o.stamp) and o.value != 0 and not o.is_unsure]
    if not outlines and not is_shared and not time_of(image.path):  # at one time there may be none
        raise Refused("holds no outline of an area")
    loose = sum(outline.plane is None for outline in outlines)
    planes = sorted({outline.plane + 1 for outline in outlines if outline.plane is not None})
    if image.ndim == 2 and len(planes) > 1:
        raise Refused(
            f"outlines on several planes of a stack ({', '.join(map(str, planes[:8]))}), but the image has one"
        )
    if image.ndim == 3 and loose:
        raise Refused(
            f"{loose} of {len(outlines)} outlines state no plane (position), and the image is a volume of {image.size}"
        )
    return RegionOfInterest(image.size, _Drawn(outlines, image.size), notes)


class _Drawn:
    """Outlines, drawn cell by cell where they are asked for."""

    def __init__(self, outlines: Sequence[Outline], size: tuple[int, ...]) -> None:
        self._outlines, self._size = outlines, size
        self._extents = [_extent(outline) for outline in outlines]
        self._cells: OrderedDict[tuple[int, ...], np.ndarray] = OrderedDict()

    def __call__(self, box: Region) -> np.ndarray:
        inside = np.zeros([part.stop - part.start for part in box], bool)
        *lead, rows, columns = box
        cells = (range(part.start // _CELL, -(-part.stop // _CELL)) for part in (rows, columns))
        for place in product(*(range(part.start, part.stop) for part in lead), *cells):
            cell = self._cell(place)
            start = (*place[:-2], *(index * _CELL for index in place[-2:]))
            source, target = overlap(start, (*(1 for _ in lead), *cell.shape), box)
            inside[target] = cell[source[-2:]]
        return inside

    def _cell(self, place: tuple[int, ...]) -> np.ndarray:
        if place not in self._cells:
            self._cells[place] = self._draw(place)
        self._cells.move_to_end(place)
        while len(self._cells) > _KEPT_CELLS:
            self._cells.popitem(last=False)
        return self._cells[place]

    def _draw(self, place: tuple[int, ...]) -> np.ndarray:
        from .vectors.drawing import covered

        top, left = (index * _CELL for index in place[-2:])
        height, width = min(_CELL, self._size[-2] - top), min(_CELL, self._size[-1] - left)
        is_on = [
            low[0] < left + width and high[0] > left and low[1] < top + height and high[1] > top
            for low, high in self._extents
        ]
        planes = [not place[:-2] or outline.plane == place[0] for outline in self._outlines]
        some = [o for o, on, in_plane in zip(self._outlines, is_on, planes, strict=True) if on and in_plane]
        return covered(some, (height, width), (top, left))


def _extent(outline: Outline) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest (x, y)."""
    corners = list(outline.rings)
    if outline.stamp is not None:
        (top, left), (height, width) = outline.stamp.at, outline.stamp.mask.shape
        corners.append(np.array([[left, top], [left + width, top + height]], float))
    points = np.concatenate(corners)
    return points.min(0), points.max(0)
