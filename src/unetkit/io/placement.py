"""Where two images lie against each other: equal, the same grid stored another way round, or elsewhere.

An image may state its place in the body (NIfTI, DICOM), on the earth (GeoTIFF), on the stage (a translation in
OME-Zarr), or only the size of its pixels. What both of two images state is compared; what one of them alone states
turns neither.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..image import DIRECTIONS, Image, WorldAffine
from .lazy import LazyImage, Region
from .spacing import METRES

# Programs differ by half a voxel in what a position is, the middle or the edge; from here on it is another voxel.
ELSEWHERE_FROM = 0.75  # voxels
SAME_SIZE = 0.02  # relative: pixel sizes are rounded by hand

AnyImage = Image | LazyImage


@dataclass(frozen=True)
class Turn:
    """A signed permutation of the spatial axes, as of a volume stored in another orientation.

    Parameters
    ----------
    axes : tuple of int
        For every axis of the result the axis that it comes from.
    is_reversed : tuple of bool
        Whether the result runs against it.
    """

    axes: tuple[int, ...]
    is_reversed: tuple[bool, ...]

    @classmethod
    def of_matrix(cls, matrix: np.ndarray) -> Turn | None:
        """From a matrix over (x, y, ...) of -1, 0 and 1; None where it is not a signed permutation."""
        signs = matrix[::-1, ::-1].astype(int)  # arrays have the axes in the opposite order
        if not ((np.abs(signs).sum(0) == 1).all() and (np.abs(signs).sum(1) == 1).all()):
            return None
        axes = np.abs(signs).argmax(1)
        return cls(tuple(map(int, axes)), tuple(bool(row[axis] < 0) for row, axis in zip(signs, axes, strict=True)))

    @property
    def changes(self) -> bool:
        """Whether anything is turned."""
        return self.axes != tuple(range(len(self.axes))) or any(self.is_reversed)

    def permuted(self, values: Sequence) -> tuple:
        """Size, spacing: one entry per axis, in the order of the result."""
        return tuple(values[axis] for axis in self.axes)

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Turn the last axes of an array; a view."""
        lead = array.ndim - len(self.axes)
        turned = array.transpose(*range(lead), *(lead + axis for axis in self.axes))
        against = [lead + axis for axis, back in enumerate(self.is_reversed) if back]
        return np.flip(turned, tuple(against))

    def source(self, region: Region, size: Sequence[int]) -> Region:
        """The region of what is turned, of `size`, that becomes `region`."""
        parts = dict(zip(self.axes, zip(region, self.is_reversed, strict=True), strict=True))
        ends = ((parts[axis][0], parts[axis][1], length) for axis, length in enumerate(size))
        return tuple(slice(n - part.stop, n - part.start) if back else part for part, back, n in ends)


def turn_onto(image: AnyImage, onto: AnyImage) -> tuple[Turn, str]:
    """The turn that lays an image on another, and a note about it, "" where there is nothing to say.

    Raises
    ------
    ValueError
        If both state where they lie, and it is not the same place: by how many voxels, and what would mend it. One
        line that continues the name of `image`.
    """
    same = Turn(tuple(range(image.ndim)), (False,) * image.ndim)
    if image.ndim != onto.ndim:
        return same, ""
    grids = _grid(image), _grid(onto)
    if grids[0] is not None and grids[1] is not None and grids[0].world == grids[1].world:
        return _compared(grids[0], grids[1], image, onto)
    if grids[0] and grids[1] and {grids[0].kind, grids[1].kind} == {"map"}:
        raise ValueError(
            f"is a map in {grids[0].world}, its counterpart in {grids[1].world}: reproject one onto the other's grid "
            "(gdalwarp)"
        )
    turn, note = same, ""
    places = _body_place(image), _body_place(onto)
    if (places[0] is None) != (places[1] is None):
        turn = Turn.of_matrix(_from_stored(places[1]) @ _from_stored(places[0]).T) or same
        which = "its counterpart" if places[1] else "it"
        note = f"only {which} states a place in the body: laid on each other as they are stored, neither is turned"
    elif (grids[0] is None) != (grids[1] is None):
        which = "its counterpart" if grids[1] else "it"
        note = f"only {which} states where it lies: laid on each other as they are stored"
    _check_spacing(turn.permuted(image.spacing), image, onto)
    return turn, note


def turned_onto(image: Image, onto: AnyImage) -> Image:
    """Turn a label image or a channel so that it lies on another image, with a note where that is not as it was stored.

    Raises
    ------
    ValueError
        As `turn_onto`; images of other sizes pass as they are, since sizes are named where they are compared.
    """
    if sorted(image.size) != sorted(onto.size):
        return image
    turn, note = turn_onto(image, onto)
    notes = (*image.notes, note) if note else image.notes
    if not turn.changes or turn.permuted(image.size) != onto.size:
        return replace(image, notes=notes)
    georeference = onto.georeference
    if georeference is not None and image.georeference is not None:
        georeference = replace(georeference, nodata_text=image.georeference.nodata_text)
    return replace(
        image,
        array=turn(image.array),
        spacing=turn.permuted(image.spacing),
        notes=notes,
        place=onto.place,
        georeference=georeference,
        origin=onto.origin,
        valid=None if image.valid is None else turn(image.valid),
    )


def states_place(image: AnyImage) -> bool:
    """Whether an image states where it lies: in the body, on the earth, or on the stage."""
    return _grid(image) is not None


def shift_onto(image: AnyImage, onto: AnyImage) -> tuple[int, ...]:
    """Where the first pixel of `onto` lies in an image of the same grid that covers more or less, per spatial axis.

    Raises
    ------
    ValueError
        If they do not both state where they lie, or their pixels are not those of one grid.
    """
    own, other = _grid(image), _grid(onto)
    if own is None or other is None or own.world != other.world:
        worlds = " and ".join(grid.world if grid else "no place" for grid in (own, other))
        raise ValueError(f"states another place than its counterpart ({worlds}): reproject one onto the other's grid")
    relative, n = np.linalg.solve(own.matrix, other.matrix), image.ndim  # index of the other -> index of the image
    corners = np.array(list(itertools.product(*((0, length - 1) for length in onto.size[::-1]))))
    shift = np.rint(relative[:n, n])
    apart = np.abs(corners @ (relative[:n, :n] - np.eye(n)).T + relative[:n, n] - shift).max()
    if apart > ELSEWHERE_FROM:
        raise ValueError(f"its pixels are not on the grid of its counterpart, by up to {apart:.3g}; {_mend(own.kind)}")
    return tuple(map(int, shift[::-1]))


# --- what an image states ---


@dataclass(frozen=True, eq=False)
class _Grid:
    """An affine map from indices (x, y, ...) of an image in memory to positions of pixels' middles in a world."""

    kind: str  # "body", "map" or "stage"
    world: str
    matrix: np.ndarray


def _body_place(image: AnyImage) -> WorldAffine | None:
    """The place of a volume in the body, where its file states one."""
    return image.place if image.place is not None and image.place.is_stated and image.ndim == 3 else None


def _grid(image: AnyImage) -> _Grid | None:
    """The grid of an image; None where it does not state its place."""
    if place := _body_place(image):
        return _Grid("body", "the body", place.affine_in_memory)
    if image.georeference is not None and image.georeference.transform is not None and image.ndim == 2:
        a, b, c, d, e, f = image.georeference.transform
        matrix = np.array([[a, b, c + (a + b) / 2], [d, e, f + (d + e) / 2], [0, 0, 1]])
        code = image.georeference.epsg
        return _Grid("map", f"EPSG:{code}" if code else "coordinates without a code", matrix)
    if image.origin is not None:
        matrix = np.diag([*reversed(image.spacing), 1.0])
        matrix[:-1, -1] = tuple(reversed(image.origin))
        return _Grid("stage", "the stage", matrix)
    return None


def _from_stored(place: WorldAffine | None) -> np.ndarray:
    """From axes of the file to (x, y, z) in memory, a signed permutation."""
    if place is None:
        return np.eye(3)
    matrix = np.zeros((3, 3))
    for column, letter in enumerate(place.orientation):
        matrix[DIRECTIONS[letter], column] = -1 if letter in "LPI" else 1
    return matrix


def _in_one_unit(image: AnyImage, onto: AnyImage) -> float:
    """Factor from the unit of an image to that of another; 1 where either is not stated."""
    units = [each.unit if each.place is None or each.place.units & 7 else "" for each in (image, onto)]
    return METRES[units[0]] / METRES[units[1]] if all(unit in METRES for unit in units) else 1.0


# --- compared ---


def _compared(own: _Grid, other: _Grid, image: AnyImage, onto: AnyImage) -> tuple[Turn, str]:
    """The turn from one grid to the other, or a ValueError where they are not the same voxels."""
    factor = 1.0 if own.kind == "map" else _in_one_unit(image, onto)
    matrix = own.matrix.copy()
    matrix[:-1] *= factor
    relative = np.linalg.solve(other.matrix, matrix)  # index of the image -> index of the other
    n = image.ndim
    turn = Turn.of_matrix(np.rint(relative[:n, :n]))
    if turn is None:
        raise ValueError(f"{_scale_text(relative[:n, :n])}, as they state their places; {_mend(own.kind)}")
    lengths = np.array(image.size[::-1])
    expected = np.rint(relative[:n, :n])
    shift = ((expected < 0) * (lengths - 1)).sum(1)
    # The farthest voxel is a corner, since the distance is that of an affine map.
    corners = np.array(list(itertools.product(*((0, length - 1) for length in lengths))))
    apart = np.abs(corners @ (relative[:n, :n] - expected).T + relative[:n, n] - shift).max(0)
    if apart.max() > ELSEWHERE_FROM:
        off = [(distance, axis) for distance, axis in zip(apart, "xyz", strict=False) if distance > apart.max() / 100]
        along = " and ".join(f"{distance:.3g} along {axis}" for distance, axis in off)
        stated = ""
        if image.place is not None and onto.place is not None and image.place.orientation != onto.place.orientation:
            stated = f" (stored {image.place.orientation} and {onto.place.orientation})"
        voxels = "voxels" if n == 3 else "pixels"
        raise ValueError(f"lies elsewhere than its counterpart{stated}, by up to {along} ({voxels}); {_mend(own.kind)}")
    note = "stored another way round than its counterpart: turned to lie on it" if turn.changes else ""
    return turn, note


def _scale_text(matrix: np.ndarray) -> str:
    steps = np.linalg.norm(matrix, axis=0)
    if np.abs(steps - 1).max() > SAME_SIZE:
        times = " x ".join(f"{step:.3g}" for step in steps)
        return f"has voxels {times} times as large as its counterpart's (along x, y, ...)"
    return "is turned against its counterpart by an angle that is not a right one"


def _mend(kind: str) -> str:
    name = {"body": "affine", "map": "transform", "stage": "translation and scale"}[kind]
    return (
        f"resample one onto the other's grid; or, where the arrays agree pixel by pixel, copy the {name} of the right "
        "one into the other"
    )


def _check_spacing(spacing: Sequence[float], image: AnyImage, onto: AnyImage) -> None:
    """Raise where both state the size of their pixels, and one is not that of the other."""
    if "px" in (image.unit, onto.unit):
        return
    ratios = np.array(spacing) * _in_one_unit(image, onto) / np.array(onto.spacing)
    if np.abs(ratios - 1).max() > SAME_SIZE:
        own, other = (
            f"{' x '.join(f'{step:.4g}' for step in steps)} {unit}"
            for steps, unit in ((spacing, image.unit), (onto.spacing, onto.unit))
        )
        raise ValueError(
            f"has pixels of {own}, its counterpart of {other}: resample one onto the other's grid; or, where the "
            "arrays agree pixel by pixel, correct the pixel size of the wrong one"
        )
