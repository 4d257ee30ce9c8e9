"""What GDAL knows of a map beside its tags: files with its place and nodata, and compressions that only GDAL decodes.

Only here is rasterio imported, and only for maps that need it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from ..georeference import GeoReference
from .decoder_errors import Refused, decoding, warned
from .lazy import Region
from .tiff.geotags import read_georeference

LERC = 34887  # compression
# What .aux.xml files say of the place and of validity; most hold statistics only.
TELLING = (b"<GeoTransform", b"<SRS", b"<NoDataValue", b"<GCPList", b'domain="RPC"')
WORLD_SUFFIXES = (".tfw", ".tifw", ".tiffw", ".wld")
NEEDS = "rasterio is not installed: pip install 'unetkit[geo]'"


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
    beside = _sidecars(path, georeference)
    if not beside:
        return georeference
    names = ", ".join(file.name for file in beside)
    try:
        rasterio = _rasterio()
    except ImportError:
        notes.append(f"{names} beside it says where it lies or holds no data, and is not read: {NEEDS}")
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
    notes.append(f"{names} beside it used, as GDAL does: its place and the value without data")
    return found


def _sidecars(path: Path, georeference: GeoReference | None) -> list[Path]:
    """Files beside a map that GDAL would take its place or nodata from."""
    listed = path.with_name(path.name + ".aux.xml")
    beside = [listed] if listed.is_file() and any(word in listed.read_bytes() for word in TELLING) else []
    if georeference is None or georeference.transform is None:  # world files come after the tags
        beside += [file for file in map(path.with_suffix, WORLD_SUFFIXES) if file.is_file()][:1]
    return beside


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
