"""GeoPackage and shapefiles, by pyogrio (GDAL): polygons of maps, whose corners are points between pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..decoder_errors import Refused, warned
from .geojson import features_of
from .shapes import Shapes

_POLYGONS = ("Polygon", "MultiPolygon", "Unknown", "GeometryCollection", "CurvePolygon", "MultiSurface")


def of_layers(path: Path) -> Shapes:
    """The outlines of the only layer of polygons."""
    import pyogrio
    import shapely
    from shapely.geometry import mapping

    notes: list[str] = []
    with warned(notes):
        layers = pyogrio.list_layers(path)
    fitting = [str(name) for name, kind in layers if str(kind).split(" ")[-1] in _POLYGONS or _is_polygon(kind)]
    if len(fitting) != 1:
        listed = ", ".join(f"{name} ({kind or 'no geometry'})" for name, kind in layers) or "none"
        raise Refused(f"its layers are {listed}: expected one of polygons; save it as a file of its own")
    with warned(notes):
        meta, fids, geometries, columns = pyogrio.raw.read(path, layer=fitting[0], return_fids=True, force_2d=True)
    names = [str(name) for name in meta["fields"]]
    features: list[Any] = []
    for row, (fid, geometry) in enumerate(zip(fids, geometries, strict=True)):
        values = {name: _plain(column[row]) for name, column in zip(names, columns, strict=True)}
        shape = None if geometry is None else mapping(shapely.from_wkb(geometry))
        features.append({"id": int(fid), "geometry": shape, "properties": values})
    outlines = features_of(features, notes)
    if len(layers) > 1:
        notes.append(f"layer {fitting[0]} of {', '.join(str(name) for name, _ in layers)}")
    return Shapes(outlines, meta["crs"], notes=notes) if meta["crs"] else Shapes(outlines, "", notes=notes)


def _is_polygon(kind: Any) -> bool:
    return any(word in str(kind) for word in ("Polygon", "Unknown"))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
