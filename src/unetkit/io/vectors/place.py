"""From the coordinates of a map to the pixels of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..decoder_errors import Refused, warned
from ..filenames import file_of
from ..grid import Grid
from .shapes import Outline, Shapes, check_extent

__all__ = ["in_pixels"]

_HALF_WAY = 180  # degrees: no outline is as wide, but those that were torn at the date line


def in_pixels(shapes: Shapes, grid: Grid, notes: list[str]) -> list[Outline]:
    """The outlines in pixels of an image, (0, 0) the outer corner of its first one.

    Raises
    ------
    Refused
        If the file and the image state no common frame, or nothing lies on the image: with both extents.
    """
    outlines = shapes.outlines
    if not any(outline.rings for outline in outlines):
        return outlines
    for i, outline in enumerate(outlines):
        check_finite(outline, i)
    transform = grid.georeference.transform if grid.georeference else None
    if shapes.system is None or (transform is None and shapes.is_assumed):
        if shapes.is_assumed:
            notes.append("neither the outlines nor the image state a coordinate system: read as pixels")
        return _on_image(outlines, grid, "pixels", notes)
    if transform is None:
        raise Refused(
            f"its coordinates are those of a map ({shapes.system}), but {grid.path.name} does not state where it lies"
        )
    system = _system(grid)
    if system is None:
        notes.append(f"{grid.path.name} states no coordinate system: the outlines' coordinates are taken to be its own")
        return _on_image(_through(outlines, transform), grid, "coordinates of the map", notes)
    if not shapes.system:
        notes.append("states no coordinate system: taken to be that of the image")
    elif shapes.is_assumed:
        notes.append("states no coordinate system: longitude and latitude, as GeoJSON is (RFC 7946)")
    try:
        moved = _reprojected(outlines, shapes.system, system) if shapes.system else outlines
        return _on_image(_through(moved, transform), grid, str(shapes.system or system), notes)
    except Refused as error:
        if shapes.is_assumed and _are_on(_through(outlines, transform), grid):
            raise Refused(
                f"{error}; they would lie on it in the image's own system: state it as the file's crs"
            ) from None
        raise


def check_finite(outline: Outline, i: int) -> None:
    """Refuse an outline with coordinates that are no numbers."""
    if not all(np.isfinite(ring).all() for ring in outline.rings):
        raise Refused(f"outline {i}: a coordinate is not a finite number")


def _system(grid: Grid) -> Any:
    """The coordinate system of an image, as rasterio has it; None where it states none."""
    import rasterio
    from rasterio.crs import CRS
    from rasterio.errors import RasterioIOError

    if grid.georeference is not None and grid.georeference.epsg is not None:
        return CRS.from_epsg(grid.georeference.epsg)
    try:
        with warned(list[str]()), rasterio.open(file_of(grid.path)) as file:
            return file.crs or None
    except RasterioIOError:
        return None


def _reprojected(outlines: Sequence[Outline], source: Any, target: Any) -> list[Outline]:
    from rasterio.crs import CRS
    from rasterio.errors import CRSError
    from rasterio.warp import transform

    try:
        own = CRS.from_user_input(source)
    except CRSError as error:
        raise Refused(f"its coordinate system {str(source)[:80]!r} is not known ({error})") from None
    rings = [ring for outline in outlines for ring in outline.rings]
    _check_width(rings, own)
    if own == target:
        return list(outlines)
    points = np.concatenate(rings)
    low, high = points.min(0), points.max(0)
    extent = f"x {low[0]:.6g} to {high[0]:.6g}, y {low[1]:.6g} to {high[1]:.6g}"
    if own.is_geographic and (np.abs([low, high]) > (2 * _HALF_WAY, _HALF_WAY / 2)).any():
        raise Refused(f"its coordinates, {extent}, are no degrees")
    try:
        xs, ys = transform(own, target, points[:, 0].tolist(), points[:, 1].tolist())
    except Exception as error:  # of PROJ, by classes that rasterio keeps private
        raise Refused(f"its coordinates, {extent}, have no place in {target} ({error})") from None
    moved = np.stack([xs, ys], -1)
    if not np.isfinite(moved).all():
        raise Refused(f"its coordinates, {extent}, have no place in {target}")
    ends = np.cumsum([len(ring) for ring in rings])[:-1]
    split = np.split(moved, ends)
    _check_width(split, target)
    parts = iter(split)
    return [replace(outline, rings=tuple(next(parts) for _ in outline.rings)) for outline in outlines]


def _check_width(rings: Sequence[np.ndarray], system: Any) -> None:
    """Refuse outlines in degrees that cross the date line, whose inside is then their outside."""
    if system.is_geographic and any(np.ptp(ring[:, 0]) > _HALF_WAY for ring in rings):
        raise Refused(
            "an outline is more than 180 degrees wide, as those are that cross the date line: cut it there (RFC 7946, "
            "3.1.9)"
        )


def _through(outlines: Sequence[Outline], transform: Sequence[float]) -> list[Outline]:
    """From the map to pixels: the inverse of column and row to the map."""
    a, b, c, d, e, f = transform
    inverse = np.linalg.inv(np.array([[a, b], [d, e]]))
    return [
        replace(outline, rings=tuple((ring - (c, f)) @ inverse.T for ring in outline.rings)) for outline in outlines
    ]


def _extent(outlines: Sequence[Outline]) -> tuple[np.ndarray, np.ndarray]:
    points = np.concatenate([ring for outline in outlines for ring in outline.rings])
    return points.min(0), points.max(0)


def _is_on(outline: Outline, grid: Grid) -> bool:
    low, high = _extent([outline])
    return bool((high > 0).all() and (low < np.array(grid.size[:-3:-1])).all())


def _are_on(outlines: Sequence[Outline], grid: Grid) -> bool:
    return any(_is_on(outline, grid) for outline in outlines)


def _on_image(outlines: Sequence[Outline], grid: Grid, coordinates: str, notes: list[str]) -> list[Outline]:
    """The outlines that touch an image; refused where none does."""
    on = [outline for outline in outlines if _is_on(outline, grid)]
    if grid.is_one_of_many:  # most outlines are those of others
        return on
    if not on:
        low, high = _extent(outlines)
        height, width = grid.size[-2:]
        raise Refused(
            f"nothing lies on {grid.path.name}: in its pixels the outlines ({coordinates}) reach from x {low[0]:.6g} "
            f"to {high[0]:.6g}, y {low[1]:.6g} to {high[1]:.6g}; the image from 0 to {width} and 0 to {height}"
        )
    if len(on) < len(outlines):
        notes.append(f"{len(outlines) - len(on)} of {len(outlines)} outlines lie outside of the image")
    for outline in on:
        if coordinates == "pixels":
            check_extent(outline.rings, "an outline that reaches out of the image")
    return on
