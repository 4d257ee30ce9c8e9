"""Labels from outlines: an id for every object, with the names of the classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...image import Image
from ...json_text import parse_json
from ..decoder_errors import Refused, decoding
from ..filenames import file_of, suffix_of, time_of
from ..grid import Grid
from ..label_samples import ValueCode
from .drawing import drawn
from .place import in_pixels
from .shapes import Outline, Shapes, text_of

__all__ = ["named_images", "outlines_on", "read_outlines"]

_NAMED = 8


def read_outlines(path: Path, grid: Grid) -> tuple[Image, ValueCode | None]:
    """Draw the outlines of a file on the pixels of its image.

    Parameters
    ----------
    path : Path
    grid : Grid
        Of the image.

    Returns
    -------
    Image of shape (*spatial), int32
        Ids from 1 in the order of the file, 0 outside; -1 where an object is known by its box alone. Where outlines
        overlap the later ones win. Where the file gives its outlines values these take the place of ids.
    ValueCode or None
        Names of the ids' classes; None of values.

    Raises
    ------
    Refused
        If the file is damaged, belongs to another image, or holds nothing that can be drawn on it.
    ImportError
        If the library of the format is not installed.
    """
    notes = list[str]()
    outlines = outlines_on(path, grid, notes)
    with decoding("file of outlines"), _needing("outlines", "rasterio", "geo"):
        labels, code = drawn(outlines, grid.size, notes)
    return grid.label_image(labels, tuple(notes)), code


def outlines_on(path: Path, grid: Grid, notes: list[str]) -> list[Outline]:
    """The outlines of a file in pixels of an image, not drawn yet; `notes` gets what is lost, and decided."""
    time, path = time_of(path), file_of(path)
    with decoding("file of outlines"):
        shapes = _shapes(path, grid)
        notes += shapes.notes
        with _needing("outlines", "rasterio", "geo"):
            outlines = in_pixels(shapes, grid, notes)
    return _at_time(outlines, time or time_of(grid.path), len(grid.size))


def _at_time(outlines: list[Outline], time: int, ndim: int) -> list[Outline]:
    """The outlines of a time point of a series, from 1 on, those that state no time among them; all where it is 0."""
    if not time:
        return outlines
    own = [outline for outline in outlines if outline.time in (None, time - 1)]
    return own if ndim == 3 else [replace(outline, plane=None) for outline in own]


def named_images(path: Path) -> list[str] | None:
    """Names of the images that a file of COCO has outlines of; None where it is another file."""
    if suffix_of(path) != ".json":
        return None
    with decoding("file of outlines"):
        loaded = _loaded(path)
    return loaded.names if hasattr(loaded, "names") else None


def _shapes(path: Path, grid: Grid) -> Shapes:
    """The outlines of a file, by its suffix and content."""
    suffix = suffix_of(path)
    if suffix == ".txt":
        from .yolo import of_yolo

        return of_yolo(path, grid)
    if suffix in (".roi", ".zip"):
        with _needing("ROIs of ImageJ", "roifile", "rois"):
            from .imagej import of_rois
        return of_rois(path)
    if suffix in (".gpkg", ".shp"):
        with _needing("GeoPackages and shapefiles", "pyogrio and shapely", "vectors"):
            layers: Shapes = _loaded(path)
        return layers
    loaded = _loaded(path)
    if isinstance(loaded, Shapes):
        return loaded
    with _needing("annotations of COCO", "pycocotools", "vectors"):
        shapes: Shapes = loaded.shapes(grid)
    return shapes


def _loaded(path: Path) -> Any:
    """The content of a file that may be that of many images: `Shapes`, or what has `shapes` of an image."""
    state = path.stat()
    return _parsed(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=1)
def _parsed(path: Path, size: int, changed_ns: int) -> Any:
    if suffix_of(path) in (".gpkg", ".shp"):
        from .geopackage import of_layers

        return of_layers(path)
    content = _json(path)
    kind = _kind(content)
    if kind == "GeoJSON":
        from .geojson import of_geojson

        return of_geojson(content)
    if kind == "COCO":
        from .coco import Coco

        return Coco(content)
    if kind == "LabelMe":
        from .labelme import LabelMe

        return LabelMe(content)
    listed = f"an object of {', '.join(list(content)[:_NAMED])}" if isinstance(content, dict) and content else "other"
    raise Refused(
        "JSON of outlines is GeoJSON (type, features), LabelMe (shapes) or COCO (images, annotations): this is "
        f"{listed}"
    )


def _json(path: Path) -> Any:
    try:
        return parse_json(text_of(path))
    except Refused:
        raise
    except ValueError as error:
        raise Refused(f"not JSON, damaged or truncated ({error})") from None


def _kind(content: Any) -> str:
    """GeoJSON, COCO or LabelMe, by its members; "" for any other."""
    if isinstance(content, list):
        return "GeoJSON" if content and all(isinstance(item, dict) and "geometry" in item for item in content) else ""
    if not isinstance(content, dict):
        return ""
    if isinstance(content.get("images"), list):
        return "COCO"
    if isinstance(content.get("shapes"), list):
        return "LabelMe"
    is_geometry = "coordinates" in content or "geometries" in content
    return "GeoJSON" if content.get("type") in ("FeatureCollection", "Feature") or is_geometry else ""


@contextmanager
def _needing(content: str, library: str, extra: str) -> Iterator[None]:
    """Say how to install what is missing."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{content} need {library}: pip install 'unetkit[{extra}]'") from error
