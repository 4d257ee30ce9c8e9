"""Lay a part of a volume on the grid of its image: what the part does not cover is background."""

from __future__ import annotations

import itertools
from typing import Protocol

import numpy as np

from ...image import Image, WorldAffine
from ..decoder_errors import Refused
from ..placement import Turn
from ..spacing import METRES

__all__ = ["PlacedGrid", "from_body", "laid_on"]

_BESIDE = 0.25  # voxels: what fits any offset of whole voxels may be off by half a voxel at most
_SAME_SIZE = 0.02  # relative, as in `placement`


class PlacedGrid(Protocol):
    """The voxels of an image: `io.grid.Grid`, an image, or one that is read by region."""

    @property
    def size(self) -> tuple[int, ...]: ...

    @property
    def unit(self) -> str: ...

    @property
    def place(self) -> WorldAffine | None: ...


def from_body(grid: PlacedGrid) -> np.ndarray:
    """From right, anterior, superior in mm to indices (x, y, z) of an image; float64 of shape (4, 4).

    Raises
    ------
    ValueError
        If the image does not state its place in the body.
    """
    if grid.place is None or not grid.place.is_stated or len(grid.size) != 3:
        raise Refused(
            "states its place in the body, and its image none: expected the folder of its series, or a volume such as "
            "a NIfTI file with an affine"
        )
    affine = grid.place.affine_in_memory
    affine[:3] *= METRES.get(grid.unit, METRES["mm"]) / METRES["mm"]
    return np.linalg.inv(affine)


def laid_on(labels: Image, grid: PlacedGrid) -> np.ndarray:
    """A label image of a part of a volume as one of the whole.

    Parameters
    ----------
    labels : Image of shape (z, y, x)
        With its place in the body, in mm.
    grid : PlacedGrid

    Returns
    -------
    ndarray of shape `grid.size`

    Raises
    ------
    ValueError
        If the voxels of the part are not some of the image's, or lie outside of it: by how many voxels.
    """
    assert labels.place is not None, "labels without a place"
    relative = from_body(grid) @ labels.place.affine_in_memory  # index (x, y, z) of the part -> that of the image
    turn, first = _whole_voxels(relative, labels.size)
    turned, whole = turn(labels.array), np.zeros(grid.size, labels.array.dtype)
    bounds = list(zip(first, turned.shape, grid.size, strict=True))
    ends = [(max(at, 0), max(min(at + n, size), at, 0)) for at, n, size in bounds]
    own = tuple(slice(low - at, high - at) for (low, high), (at, *_) in zip(ends, bounds, strict=True))
    if lost := np.count_nonzero(turned) - np.count_nonzero(turned[own]):
        outside = {axis: max(-at, at + n - size, 0) for axis, (at, n, size) in zip("zyx", bounds, strict=True)}
        by = " and ".join(f"{n} along {axis}" for axis, n in outside.items() if n)
        raise Refused(f"{lost} of its voxels lie outside of its image, by up to {by} (voxels): is it of another one?")
    whole[tuple(slice(*pair) for pair in ends)] = turned[own]
    return whole


def _whole_voxels(relative: np.ndarray, size: tuple[int, ...]) -> tuple[Turn, tuple[int, ...]]:
    """The turn, and the index (z, y, x) of its first voxel, by which a part of `size` lies on whole voxels."""
    matrix, expected = relative[:3, :3], np.rint(relative[:3, :3])
    turn, steps = Turn.of_matrix(expected), np.linalg.norm(matrix, axis=0)
    if turn is None or np.abs(steps - 1).max() > _SAME_SIZE:
        times = " x ".join(f"{step:.3g}" for step in steps)
        raise Refused(f"is not on the grid of its image: voxels {times} times as large (along x, y, z), or turned")
    corners = np.array(list(itertools.product(*((0, n - 1) for n in size[::-1]))))
    places, exact = corners @ matrix.T + relative[:3, 3], corners @ expected.T
    first = np.rint(places.min(0))
    off = np.abs(places - (exact - exact.min(0) + first)).max(0)
    if off.max() > _BESIDE:
        listed = " and ".join(f"{by:.2g} along {axis}" for by, axis in zip(off, "xyz", strict=True) if by > _BESIDE)
        raise Refused(f"is not on the grid of its image: lies between its voxels, by up to {listed}")
    return turn, tuple(int(index) for index in first[::-1])
