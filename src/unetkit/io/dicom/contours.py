"""Draw the contours of a DICOM RTSTRUCT on the voxels of its image: a voxel is inside where its centre is.

Contours of one region on one plane are counted even and odd, so that a contour in another is a hole.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..decoder_errors import Refused, decoding
from .headers import import_pydicom
from .on_grid import PlacedGrid, from_body

__all__ = ["draw_contours", "inside"]

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_OFF_PLANE = 0.1  # voxels: contours are drawn on slices, and their places are rounded
_DECIMALS = 4  # of a voxel, in which coordinates are compared
_NAMED = 8

Outlines = dict[int, dict[int, list[np.ndarray]]]  # by region and plane: points (row, column) in voxels


def draw_contours(path: Path, grid: PlacedGrid) -> tuple[np.ndarray, dict[int, str], list[str]]:
    """Draw all regions of a file.

    Parameters
    ----------
    path : Path
        An RTSTRUCT.
    grid : PlacedGrid
        Of the image that it was drawn on.

    Returns
    -------
    ndarray of shape `grid.size`
        The number of a region in its voxels, 0 for background.
    dict of int to str
        Names of the regions by their numbers.
    list of str
        Notes on what is left out, or was decided.

    Raises
    ------
    ValueError
        If the image states no place, regions overlap, or no contour lies in the image.
    """
    notes: list[str] = []
    with decoding("DICOM RTSTRUCT"):
        plan = import_pydicom().dcmread(path)
        names = _names(plan, notes)
        contours = list(_contours(plan, names, from_body(grid) @ np.diag([-1.0, -1.0, 1.0, 1.0]), notes))
    if not contours:
        raise Refused("RTSTRUCT without a closed contour")
    spread = np.max([np.ptp(points, axis=0) for _, points in contours], axis=0)
    across = int(spread.argmin())  # of x, y, z
    if spread[across] > 2 * _OFF_PLANE:
        raise Refused(f"contours reach over {spread[across]:.2g} slices of its image: expected each on one slice")
    axis = 2 - across
    outlines = _by_plane(contours, across, grid.size[axis], names, notes)
    labels = np.zeros(grid.size, np.min_scalar_type(max(names)))
    _draw(np.moveaxis(labels, axis, 0), outlines, names)
    drawn = {number: names[number] for number in outlines}
    listed = ", ".join(f"{number} {name}" for number, name in list(drawn.items())[:_NAMED])
    more = ", ..." if len(drawn) > _NAMED else ""
    notes.insert(0, f"RTSTRUCT of {len(drawn)} region{'s'[: len(drawn) > 1]}: {listed}{more}")
    return labels, drawn, notes


def inside(polygons: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The pixels whose centres lie inside an odd number of polygons.

    A centre on an edge counts for the side of larger rows and columns, so that polygons that share an edge share no
    pixel.

    Parameters
    ----------
    polygons : sequence of ndarray of shape (n, 2)
        Corners (row, column); centres of pixels are whole numbers.
    shape : tuple of int

    Examples
    --------
    >>> square = np.array([(0.5, 0.5), (0.5, 2.5), (2.5, 2.5), (2.5, 0.5)])
    >>> inside([square], (3, 4)).astype(int)
    array([[0, 0, 0, 0],
           [0, 1, 1, 0],
           [0, 1, 1, 0]])
    """
    starts = np.concatenate([np.round(polygon, _DECIMALS) for polygon in polygons])
    ends = np.concatenate([np.round(np.roll(polygon, -1, axis=0), _DECIMALS) for polygon in polygons])
    # Every edge from its upper end on, so that it is the same edge for both of its polygons.
    is_upward = ends[:, 0] < starts[:, 0]
    upper, lower = np.where(is_upward[:, None], ends, starts), np.where(is_upward[:, None], starts, ends)
    first = np.ceil(upper[:, 0]).clip(0, shape[0]).astype(int)
    crossed = np.ceil(lower[:, 0]).clip(0, shape[0]).astype(int) - first  # rows
    edge = np.repeat(np.arange(len(upper)), crossed)
    rows = np.arange(len(edge)) - np.repeat(np.cumsum(crossed) - crossed, crossed) + first[edge]
    slope = (lower[edge, 1] - upper[edge, 1]) / (lower[edge, 0] - upper[edge, 0])
    at = np.round(upper[edge, 1] + (rows - upper[edge, 0]) * slope, _DECIMALS)
    crossings = np.zeros((shape[0], shape[1] + 1), np.int32)
    np.add.at(crossings, (rows, np.ceil(at).clip(0, shape[1]).astype(int)), 1)
    return np.asarray(np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1)


def _names(plan: Any, notes: list[str]) -> dict[int, str]:
    """Regions by number, without the outline of the patient, in which all others lie."""
    kinds = {
        int(item.ReferencedROINumber): str(item.get("RTROIInterpretedType", ""))
        for item in plan.get("RTROIObservationsSequence") or []
    }
    names: dict[int, str] = {}
    for item in plan.get("StructureSetROISequence") or []:
        number, name = int(item.ROINumber), str(item.get("ROIName") or f"region {item.ROINumber}")
        if kinds.get(number) == "EXTERNAL":
            notes.append(f"{name} is the outline of the patient (EXTERNAL): left out")
        elif number <= 0:
            raise Refused(f"region {name} has the number {number}: expected 1 or more, as 0 is background")
        else:
            names[number] = name
    return names


def _contours(
    plan: Any, names: dict[int, str], to_voxels: np.ndarray, notes: list[str]
) -> Iterator[tuple[int, np.ndarray]]:
    """Closed contours with the numbers of their regions, as points (x, y, z) in voxels."""
    others: Counter[str] = Counter()
    for item in plan.get("ROIContourSequence") or []:
        number = int(item.ReferencedROINumber)
        for contour in item.get("ContourSequence") or [] if number in names else []:
            kind = str(contour.get("ContourGeometricType", ""))
            if kind not in _CLOSED:
                others[f"{names[number]}, {kind}"] += 1
                continue
            numbers = np.array([float(value) for value in contour.ContourData])
            if len(numbers) % 3 or len(numbers) < 9 or not np.isfinite(numbers).all():
                raise Refused(f"damaged: a contour of {names[number]} has {len(numbers)} numbers, expected 3 a point")
            points = numbers.reshape(-1, 3)
            yield number, points @ to_voxels[:3, :3].T + to_voxels[:3, 3]
    if others:
        listed = "; ".join(f"{n} of {name}" for name, n in others.most_common(_NAMED))
        notes.append(f"contours that are points or open lines: left out ({listed})")


def _by_plane(
    contours: Sequence[tuple[int, np.ndarray]], across: int, n_planes: int, names: dict[int, str], notes: list[str]
) -> Outlines:
    """Contours by region and plane, and notes on those that lie outside or between planes."""
    outlines: Outlines = defaultdict(lambda: defaultdict(list))
    between, outside = 0, 0
    for number, points in contours:
        place = float(points[:, across].mean())
        if not 0 <= (index := round(place)) < n_planes:
            outside += 1
            continue
        between += abs(place - index) > _OFF_PLANE
        outlines[number][index].append(np.delete(points, across, axis=1)[:, ::-1])
    if not outlines:
        raise Refused("none of its contours lies on a slice of its image: is it that of another one?")
    if outside:
        notes.append(f"{outside} of {len(contours)} contours lie outside of the image's slices: left out")
    if between:
        notes.append(f"{between} of {len(contours)} contours lie between slices: drawn on the nearest one")
    for number, planes in outlines.items():
        if missing := max(planes) - min(planes) + 1 - len(planes):
            notes.append(f"{names[number]} has no contour on {missing} slices between its first and last: empty there")
    return outlines


def _draw(planes: np.ndarray, outlines: Outlines, names: dict[int, str]) -> None:
    """Draw regions into planes; ValueError where two overlap."""
    overlaps: Counter[tuple[int, int]] = Counter()
    for number, by_plane in outlines.items():
        for index, polygons in by_plane.items():
            pixels = inside(polygons, planes.shape[1:])
            below = planes[index][pixels]
            overlaps.update((int(other), number) for other in below[below > 0])
            planes[index][pixels] = number
    if overlaps:
        listed = "; ".join(f"{names[a]} with {names[b]} in {n} voxels" for (a, b), n in overlaps.most_common(_NAMED))
        raise Refused(
            f"its regions overlap ({listed}): a mask holds one class per voxel; save regions that overlap in files of "
            "their own"
        )
