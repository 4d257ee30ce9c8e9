"""Write an image in memory as TIFF or OME-TIFF, and the options that tifffile takes for spacing, places and colours."""

from __future__ import annotations

from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import tifffile

from ...georeference import GeoReference
from ...image import Image
from ..atomic import replace_file
from ..filenames import TIFF_SUFFIXES
from ..samples import gray_of_equal
from ..spacing import CENTIMETRE, METRES
from .geotags import geo_tags

# OME-TIFF 2016-06 has no 64-bit integers and no half floats.
OME_DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
BIGTIFF_BYTES = 2**32 - 2**25  # 32-bit offsets end at 4 GiB; some room for tags


def is_ome(path: Path) -> bool:
    """Whether a file is OME-TIFF by its name."""
    return path.name.lower().endswith(tuple(f".ome{suffix}" for suffix in TIFF_SUFFIXES))


def write_tiff(path: Path, image: Image, compression: str | None = None, colours: np.ndarray | None = None) -> None:
    """Write one series: RGB for 3 channels of 8 or 16 bits, bands of a map, else a page for every channel and plane.

    Parameters
    ----------
    path : Path
    image : Image of shape (C, *spatial)
    compression : str, optional
        As tifffile names it.
    colours : ndarray of shape (256, 3), uint8, optional
        Of every value of one channel of uint8; OME-TIFF has no such table.

    Raises
    ------
    ValueError
        If TIFF, or OME-TIFF, cannot hold the dtype or unit.
    """
    array, axes, is_ome_tiff = image.array, image.axes.upper(), is_ome(path)
    if array.dtype.kind not in "buif":
        raise ValueError(f"{'OME-TIFF' if is_ome_tiff else 'TIFF'} holds integers, floats and bool, got {array.dtype}")
    if is_ome_tiff:
        check_ome_dtype(array.dtype)
    is_rgb = image.channels == 3 and array.dtype.name in ("uint8", "uint16") and gray_of_equal(array) is None
    if is_rgb:
        array, axes = np.moveaxis(array, 0, -1), axes[1:] + "S"
    elif image.channels == 1:
        array, axes = array[0], axes[1:]
    # The channels of a map are bands of one page: GDAL takes further pages for other maps.
    is_banded = image.georeference is not None and axes == "CYX" and array.dtype.kind != "b" and not is_ome_tiff
    if is_ome_tiff:
        options = ome_options(path, image.spacing, image.unit)
    else:
        options = plain_options(image.spacing, image.unit, image.georeference)
    options["metadata"] |= {"axes": axes}
    with replace_file(path) as temporary:
        tifffile.imwrite(
            temporary,
            array,
            ome=is_ome_tiff,
            bigtiff=array.nbytes > BIGTIFF_BYTES,
            planarconfig="separate" if is_banded else None,
            compression=compression,
            **({"photometric": "rgb"} if is_rgb else colour_options(array.dtype, None if is_ome_tiff else colours)),
            **options,
        )


def check_ome_dtype(dtype: np.dtype) -> None:
    """Raise where OME-TIFF does not hold a dtype."""
    if dtype.name not in OME_DTYPES:
        raise ValueError(f"OME-TIFF holds {', '.join(OME_DTYPES)}, got {dtype}: use .tif, or fewer bits")


def colour_options(dtype: np.dtype, colours: np.ndarray | None) -> dict:
    """For tifffile: samples of one channel as gray, or by a table of colours of shape (256, 3) where they are uint8."""
    if colours is None or dtype != np.uint8:
        return {"photometric": "minisblack"}
    return {"photometric": "palette", "colormap": colours.T.astype(np.uint16) * 257}  # 255 is 65535 there


def plain_options(spacing: tuple[float, ...], unit: str, georeference: GeoReference | None) -> dict:
    """For tifffile: exact spacing in its JSON description, resolution tags for other programs, tags of a GeoTIFF."""
    options: dict = {"metadata": {"spacing": list(spacing), "unit": unit}, "extratags": geo_tags(georeference)}
    if unit in METRES:
        per_cm = [METRES["cm"] / (step * METRES[unit]) for step in spacing[:-3:-1]]  # x, y
        if all(1e-6 < number < 1e9 for number in per_cm):  # what a fraction of 32-bit integers can say
            options |= {"resolution": tuple(per_cm), "resolutionunit": CENTIMETRE}
    return options


def ome_options(path: Path, spacing: tuple[float, ...], unit: str) -> dict:
    """For tifffile: the spacing in OME metadata, and an id made of the name: the same mask is the same file."""
    unit = "pixel" if unit == "px" else unit
    if unit != "pixel" and unit not in METRES:
        raise ValueError(f"unit {unit!r} is not known to OME-TIFF: use px, {', '.join(METRES)}, or write .tif")
    sizes: dict[str, float | str] = {}
    for axis, step in zip("XYZ", reversed(spacing), strict=False):
        sizes |= {f"PhysicalSize{axis}": step, f"PhysicalSize{axis}Unit": unit}
    return {"metadata": sizes | {"UUID": str(uuid5(NAMESPACE_URL, path.name))}}
