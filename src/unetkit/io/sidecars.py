"""What GDAL knows of a map beside its tags: files with its place and nodata, boxes of JPEG 2000, floats in LERC.

Only here is rasterio imported, and only for maps that need it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from ..georeference import GeoReference
from .decoder_errors import Refused, decoding, warned
from .filenames import JPEG2000_SUFFIXES, suffix_of
from .lazy import Region
from .png_jpeg import TURNED
from .samples import Stored
from .tiff.geotags import read_georeference

LERC = 34887  # compression
# What .aux.xml files say of the place and of validity; most hold statistics only.
TELLING = (b"<GeoTransform", b"<SRS", b"<NoDataValue", b"<GCPList", b'domain="RPC"')
# The boxes in which a JPEG 2000 states its place: GeoJP2, and GML.
PLACE_BOXES = (bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03"), b"gml.root-instance")
_POLYNOMIALS = ("_RPC.TXT", "_rpc.txt", ".RPB", ".rpb")  # of satellites' scenes, behind the stem
NEEDS = "rasterio is not installed: pip install 'unetkit[geo]'"


def placed_picture(path: Path, stored: Stored) -> Stored:
    """A picture with the place that files beside it state, or a JPEG 2000 in itself; the picture as it is without."""
    inside = [box for box in PLACE_BOXES if _is_jpeg2000(path) and box in path.read_bytes()]
    if not inside and not _sidecars(path, None):
        return stored
    notes = list(stored.notes)
    if any(note.startswith(TURNED) for note in notes):
        notes.append("a file beside it says where it lies, before Exif turned it: not used")
        return replace(stored, notes=tuple(notes))
    georeference = _with_gdal(path, None, [*(["a box in it"] if inside else []), *_names(path)], notes)
    metres = georeference and georeference.spacing_m
    size: tuple[tuple[float, ...], str] = (metres, "m") if metres else (stored.spacing, stored.unit)
    return replace(stored, georeference=georeference, spacing=size[0], unit=size[1], notes=tuple(notes))


def is_placed_picture(path: Path) -> bool:
    """Whether the mask of a picture has a place to keep, as a JPEG 2000 mostly has."""
    return _is_jpeg2000(path) or bool(_sidecars(path, None))


def with_sidecars(path: Path, georeference: GeoReference | None, notes: list[str]) -> GeoReference | None:
    """The georeference of a map with what the files beside it say, as GDAL takes both together.

    Parameters
    ----------
    path : Path
    georeference : GeoReference or None
        By the tags of the file.
    notes : list of str
        Gets the name of a file beside it that is used, or would be.
    """
    beside = [f"{file.name} beside it" for file in _sidecars(path, georeference)]
    return _with_gdal(path, georeference, beside, notes) if beside else georeference


def _with_gdal(
    path: Path, georeference: GeoReference | None, statements: list[str], notes: list[str]
) -> GeoReference | None:
    names = ", ".join(statements)
    try:
        rasterio = _rasterio()
    except ImportError:
        notes.append(f"{names} says where it lies or holds no data, and is not read: {NEEDS}")
        return georeference
    with decoding(f"map with {names}"), warned(list[str]()), rasterio.open(path) as file:
        place = {"crs": file.crs, "transform": file.transform, "nodata": file.nodata, "rpcs": file.rpcs}
        if file.transform == rasterio.Affine.identity():
            del place["transform"]
        points, of_points = file.gcps
        dtype = file.dtypes[0]
    if points:
        place |= {"gcps": points, "crs": of_points}
    found = _by_gdal(rasterio, place, dtype)
    notes.append(f"{names} used, as GDAL does: its place and the value without data")
    return found


def _sidecars(path: Path, georeference: GeoReference | None) -> list[Path]:
    """Files beside a map that GDAL would take its place or nodata from."""
    listed = path.with_name(path.name + ".aux.xml")
    beside = [listed] if listed.is_file() and any(word in listed.read_bytes() for word in TELLING) else []
    if georeference is None or georeference.transform is None:  # world files come after the tags
        worlds = [path.with_suffix(each) for suffix in _world_suffixes(path) for each in (suffix, suffix.upper())]
        beside += [file for file in worlds if file.is_file()][:1]
    if georeference is None or not georeference.polynomials:
        beside += [file for ending in _POLYNOMIALS if (file := path.with_name(f"{path.stem}{ending}")).is_file()][:1]
    return beside


def _names(path: Path) -> list[str]:
    return [f"{file.name} beside it" for file in _sidecars(path, None)]


def _world_suffixes(path: Path) -> tuple[str, ...]:
    """Of world files: first and last letter of the suffix and w, the suffix and w, and the common one.

    >>> _world_suffixes(Path("a.TIFF")), _world_suffixes(Path("a.png"))
    (('.tfw', '.tiffw', '.wld'), ('.pgw', '.pngw', '.wld'))
    """
    letters = suffix_of(path)[1:]
    return f".{letters[:1]}{letters[-1:]}w", f".{letters}w", ".wld"


def _is_jpeg2000(path: Path) -> bool:
    return suffix_of(path) in JPEG2000_SUFFIXES


def _by_gdal(rasterio: Any, place: dict[str, Any], dtype: str) -> GeoReference | None:
    """The tags in which GDAL writes a place."""
    options = {name: value for name, value in place.items() if value is not None}
    with warned(list[str]()), rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", width=1, height=1, count=1, dtype=dtype, **options) as file:
            file.write(np.zeros((1, 1, 1), dtype))
        content = memory.read()
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        return read_georeference(tif.pages.first, [])


def gdal_reader(path: Path, letters: str) -> Callable[[Region], np.ndarray]:
    """A function that reads regions over the axes `letters` (of S or C, Y and X) by GDAL.

    Raises
    ------
    ValueError
        If rasterio is not installed.
    """
    try:
        rasterio = _rasterio()
    except ImportError:
        raise Refused(
            f"float pixels compressed by LERC, whose gaps are read by GDAL only: {NEEDS}; or convert it with "
            "gdal_translate -co COMPRESS=DEFLATE"
        ) from None

    def read(region: Region) -> np.ndarray:
        parts = {"S" if letter == "C" else letter: part for letter, part in zip(letters, region, strict=True)}
        samples, rows, columns = (parts.get(letter, slice(0, 1)) for letter in "SYX")
        window = (rows.start, rows.stop), (columns.start, columns.stop)
        with warned(list[str]()), rasterio.open(path) as file:
            block = file.read([band + 1 for band in range(samples.start, samples.stop)], window=window)
        order = ["SYX".index("S" if letter == "C" else letter) for letter in letters]
        rest = [axis for axis in range(3) if axis not in order]
        return np.asarray(block.transpose(*rest, *order)).reshape([part.stop - part.start for part in region])

    return read


def _rasterio() -> Any:
    import rasterio

    return rasterio
