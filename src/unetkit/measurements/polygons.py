"""Outlines of the regions of a mask as polygons in the coordinates of its file: GeoJSON, for maps and microscopes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from ..errors import Problem, raise_problems
from ..georeference import GeoReference
from ..image import Image
from ..io import images_within, list_images, read_labels
from ..io.atomic import check_folder_writable, replace_file
from ..io.filenames import file_of, is_image_folder, stem_of
from ..progress import SILENT, Progress

__all__ = ["PolygonFile", "mask_files", "outlines", "refuse_existing", "write_polygons"]

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_TRACED = ("uint8", "int16", "uint16", "int32")  # what GDAL traces exactly


@dataclass(frozen=True)
class PolygonFile:
    """A file of polygons that was written.

    Attributes
    ----------
    mask, path : Path
        The mask, and its file of polygons.
    polygons : int
    coordinates : str
        "EPSG:32633", "pixels", or words: longitude and latitude of a map whose system has no code.
    """

    mask: Path
    path: Path
    polygons: int
    coordinates: str


def write_polygons(
    masks: Sequence[Path | str], out: Path | str, *, overwrite: bool = False, progress: Progress = SILENT
) -> list[PolygonFile]:
    """Write a GeoJSON file for every mask: one polygon, holes and all, per connected region of one value.

    Parameters
    ----------
    masks : sequence of path
        2D masks, or folders of them. 0 is background; pixels without data of a map are left out.
    out : path
        Folder; a.tif becomes a.geojson.
    overwrite : bool
        Replace files that exist.
    progress : Progress
        Takes the share of the masks that are written.

    Returns
    -------
    list of PolygonFile

    Raises
    ------
    ImportError
        If rasterio is not installed.
    Problems
        Naming every file that cannot be read or is not a 2D mask, before anything is written, and masks whose files
        would have one name.
    FileExistsError
        Naming every file that exists, unless `overwrite`.
    """
    _import_shapes()
    check_folder_writable(Path(out))
    files = [file for path in map(Path, masks) for file in mask_files(path)]
    targets = [Path(out) / f"{stem_of(file)}.geojson" for file in files]
    _check(files, targets)
    if not overwrite:
        refuse_existing(targets)
    Path(out).mkdir(parents=True, exist_ok=True)
    written = []
    for i, (file, target) in enumerate(zip(files, targets, strict=True)):
        progress.update(i, len(files))
        written.append(_write(read_labels(file), file, target))
    progress.update(len(files), len(files))
    return written


class Polygon(TypedDict):
    """A geometry of GeoJSON: rings of points, closed, the outer one first, then the holes."""

    type: str
    coordinates: list[list[tuple[float, float]]]


def outlines(
    labels: np.ndarray, transform: Sequence[float] = _IDENTITY, *, leave_out: Sequence[int] = (0,)
) -> Iterator[tuple[int, Polygon]]:
    """Trace the edges of pixels around every region of equal value; pixels that touch by a corner only are apart.

    Parameters
    ----------
    labels : ndarray of shape (H, W), integer or bool
    transform : six numbers a, b, c, d, e, f
        The point (column, row), (0, 0) the outer corner of the first pixel, lies at
        (a column + b row + c, d column + e row + f).
    leave_out : sequence of int
        Values that get no polygons.

    Yields
    ------
    (value, geometry) : int, Polygon

    Raises
    ------
    ImportError
        If rasterio is not installed.
    ValueError
        If the labels are not 2D, or do not fit into 32 bits.
    """
    shapes = _import_shapes()
    if labels.ndim != 2:
        raise ValueError(f"a mask of {labels.ndim} axes, shape {labels.shape}: polygons are of 2D masks")
    from rasterio.transform import Affine

    traced = _traceable(labels)
    for geometry, value in shapes(traced, mask=~np.isin(labels, leave_out), transform=Affine(*transform)):
        yield int(value), geometry


def mask_files(path: Path) -> list[Path]:
    """A mask, or those of a folder."""
    if not file_of(path).exists():
        raise FileNotFoundError(f"{path} does not exist: expected a mask, or a folder of masks")
    return list_images(path) if path.is_dir() and not is_image_folder(path) else images_within(path)


def refuse_existing(paths: Sequence[Path]) -> None:
    """Raise FileExistsError naming every file that exists."""
    existing = [str(path) for path in paths if path.exists()]
    if existing:
        raise FileExistsError(f"{', '.join(existing)} already exist: give another --out, or --overwrite")


def _write(image: Image, mask: Path, path: Path) -> PolygonFile:
    reference = image.georeference or GeoReference()
    transform, epsg, nodata = reference.transform, reference.epsg, reference.nodata
    leave_out = (0, int(nodata)) if nodata is not None and float(nodata).is_integer() else (0,)
    own = None if transform is None or epsg is not None else _system(mask)
    if transform is None:
        coordinates = "pixels"
    elif epsg is not None:
        coordinates = f"EPSG:{epsg}"
    elif own is not None:  # GeoJSON names a system by its code only, and is in degrees of WGS 84 where it names none
        coordinates = "longitude and latitude (WGS 84), as the map's coordinate system has no EPSG code"
    else:
        coordinates = "the map's, whose coordinate system is not stated: programs take them for degrees"
    head: dict[str, object] = {"type": "FeatureCollection", "name": stem_of(mask)}
    if transform is not None and epsg is not None:
        head["crs"] = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{epsg}"}}
    n = 0
    with replace_file(path) as temporary, temporary.open("w") as file:
        file.write(json.dumps(head)[:-1] + ', "features": [')
        for n, (value, geometry) in enumerate(outlines(image.array, transform or _IDENTITY, leave_out=leave_out), 1):
            geometry = geometry if own is None else _in_degrees(geometry, own)
            row = {"type": "Feature", "id": n, "properties": {"value": value}, "geometry": geometry}
            file.write((",\n" if n > 1 else "\n") + json.dumps(row))
        file.write("\n]}\n")
    return PolygonFile(mask, path, n, coordinates)


def _system(mask: Path) -> Any:
    """The coordinate system of a map as rasterio has it; None where its file states none."""
    import rasterio
    from rasterio.errors import RasterioIOError

    try:
        with rasterio.open(mask) as file:
            return file.crs or None
    except RasterioIOError:  # not a format of GDAL's
        return None


def _in_degrees(geometry: Polygon, system: Any) -> Polygon:
    from rasterio.warp import transform_geom

    polygon = transform_geom(system, "EPSG:4326", geometry)
    return {"type": polygon["type"], "coordinates": polygon["coordinates"]}


def _check(files: Sequence[Path], targets: Sequence[Path]) -> None:
    problems = [
        Problem(
            f"{target.name}: {number} masks would have this name; give them one by one",
            tuple(file for file, same in zip(files, targets, strict=True) if same == target),
        )
        for target, number in Counter(targets).items()
        if number > 1
    ]
    for file in files:
        try:
            image = read_labels(file)
            if image.array.ndim != 2:
                raise ValueError(f"{file}: a mask of {image.array.ndim} axes; polygons are of 2D masks")
            _traceable(image.array)
        except (ValueError, OSError) as error:
            text = str(error)
            problems.append(Problem(text if str(file) in text else f"{file}: {text}", (file,)))
    raise_problems(problems, "unusable mask")


def _traceable(labels: np.ndarray) -> np.ndarray:
    """The labels in a dtype that GDAL traces exactly."""
    if labels.dtype.kind == "b":
        return labels.astype(np.uint8)
    if labels.dtype.name in _TRACED:
        return labels
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < -(2**31) or high >= 2**31:
        raise ValueError(f"ids from {low} to {high}: polygons are traced for ids of 32 bits with a sign")
    return labels.astype(np.int32)


def _import_shapes() -> Any:
    try:
        from rasterio.features import shapes
    except ImportError:
        raise ImportError("polygons need rasterio, which is not installed: pip install 'unetkit[geo]'") from None
    return shapes
