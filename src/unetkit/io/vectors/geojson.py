"""GeoJSON (RFC 7946) of maps, and as QuPath writes it, in pixels.

A ring's corners are points between pixels: a pixel belongs to it if its middle lies inside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field

from ..decoder_errors import Refused
from .shapes import Outline, Shapes, Strict, parsed, ring

__all__ = ["features_of", "of_geojson"]

DEGREES = "OGC:CRS84"  # where nothing is stated
# Attributes that hold the class, the likeliest first; and those in which programs keep the pixel value of a mask:
# ours, GDAL's gdal_polygonize, and rasterio's `rio shapes`.
_CLASSES = ("class", "class_name", "label", "category", "name")
_VALUES = ("value", "dn", "raster_val", "val")
_OPEN = "rings that are not closed"


class _Geometry(Strict):
    type: str = ""
    coordinates: list[Any] = Field(default_factory=list)
    geometries: list[_Geometry] = Field(default_factory=list)
    plane: dict[str, Any] = Field(default_factory=dict)  # QuPath's: {"c": -1, "z": 3, "t": 0}


class _Feature(Strict):
    id: int | float | str | None = None
    geometry: _Geometry | None = None
    properties: dict[str, Any] | None = None


def of_geojson(content: Any) -> Shapes:
    """The outlines of a feature collection, a feature, a geometry, or a list of features."""
    features, notes = _features(content), list[str]()
    outlines = features_of(features, notes)
    in_pixels = any(_is_qupath(item) for item in features)
    stated = None if in_pixels else _stated_system(content)
    system = None if in_pixels else stated or DEGREES
    return Shapes(outlines, system, is_assumed=not in_pixels and stated is None, notes=notes)


def features_of(features: Sequence[Any], notes: list[str]) -> list[Outline]:
    """The polygons of features; what is none is noted, and refused where nothing else is left."""
    outlines, left_out = list[Outline](), Counter[str]()
    for i, item in enumerate(features):
        feature = parsed(_Feature, item, f"GeoJSON (feature {i})")
        where = f"feature {i}" + (f" (id {feature.id})" if feature.id is not None else "")
        properties = {str(key).lower(): value for key, value in (feature.properties or {}).items()}
        name, value = _class(properties), _pixel_value(properties)
        found = 0
        for kind, rings, plane, time in _polygons(feature.geometry, where, left_out):
            if rings is None:
                left_out[kind] += 1
                continue
            found += 1
            outlines.append(Outline(rings, name=name, part_of=f"{i}", value=value, plane=plane, time=time))
        if not found and feature.geometry is None:
            left_out["features without a geometry"] += 1
    # QuPath states 0 where an image has one time, and nothing for the first plane of several.
    is_series = any(outline.time for outline in outlines)
    outlines = [replace(outline, time=(outline.time or 0) if is_series else None) for outline in outlines]
    if n := left_out.pop(_OPEN, 0):
        notes.append(f"{n} {'ring is' if n == 1 else 'rings are'} not closed: closed from the last point to the first")
    if left_out:
        listed = ", ".join(f"{n} {kind}" for kind, n in left_out.items())
        if not outlines:
            raise Refused(f"holds no polygon: {listed}")
        notes.append(f"not polygons, left out: {listed}")
    return outlines


def _is_qupath(feature: Any) -> bool:
    properties = feature.get("properties") if isinstance(feature, dict) else None
    return isinstance(properties, dict) and "objectType" in properties


def _features(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    kind = content.get("type")
    if kind == "FeatureCollection":
        features = content.get("features")
        if not isinstance(features, list):
            raise Refused("not GeoJSON: a FeatureCollection without a list of features")
        return features
    return [content] if kind == "Feature" else [{"geometry": content}]


def _stated_system(content: Any) -> str | None:
    """The name of the member crs, of GeoJSON before RFC 7946, as GDAL and QGIS write it."""
    crs = content.get("crs") if isinstance(content, dict) else None
    if crs is None:
        return None
    properties = crs.get("properties") if isinstance(crs, dict) else None
    name = properties.get("name") if isinstance(properties, dict) else None
    if not isinstance(name, str) or not name:
        raise Refused(f"its crs is {str(crs)[:80]}: expected a name, such as urn:ogc:def:crs:EPSG::32633")
    return name


def _polygons(
    geometry: _Geometry | None, where: str, tally: Counter[str]
) -> Iterator[tuple[str, tuple[np.ndarray, ...] | None, int | None, int | None]]:
    """Kind, rings, plane and time of every polygon; rings are None of what is none."""
    if geometry is None:
        return
    plane, time = (n if isinstance(n := geometry.plane.get(axis), int) and n >= 0 else None for axis in "zt")
    if geometry.type == "GeometryCollection":
        for member in geometry.geometries:
            yield from _polygons(member, where, tally)
    elif geometry.type in ("Polygon", "MultiPolygon"):
        parts = [geometry.coordinates] if geometry.type == "Polygon" else geometry.coordinates
        if not any(parts):
            yield "empty polygons", None, None, None
        for part in parts if any(parts) else ():
            rings = _rings(part, where, tally)
            yield ("polygons of fewer than three points", rings or None, plane, time)
    else:
        yield f"{geometry.type or 'of no type'}", None, None, None


def _rings(part: Any, where: str, tally: Counter[str]) -> tuple[np.ndarray, ...]:
    """Rings of a polygon's coordinates; empty where the outer one encloses nothing."""
    if not isinstance(part, list | tuple) or not all(isinstance(points, list | tuple) for points in part):
        raise Refused(f"{where}: the coordinates of a polygon are {str(part)[:40]}: expected rings, lists of points")
    rings = [ring(points, where) for points in part]
    tally[_OPEN] += sum(points[:1] != points[-1:] for points in part)
    return tuple(each for each in rings if each is not None) if rings and rings[0] is not None else ()


def _class(properties: dict[str, Any]) -> str:
    """The class of a feature: QuPath's classification, or an attribute that is called so."""
    stated = properties.get("classification")
    if isinstance(stated, dict):
        names = stated.get("names")
        return ": ".join(map(str, names)) if isinstance(names, list) else str(stated.get("name") or "")
    if "objecttype" in properties:
        return ""  # QuPath's name is that of the object
    for key in _CLASSES:
        value = properties.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return ""


def _pixel_value(properties: dict[str, Any]) -> int | None:
    for key in _VALUES:
        value = properties.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer():
            return int(value)
    return None
