"""Write PNG, JPEG, TIFF, OME-TIFF, NIfTI and OME-Zarr; a file is whole or not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile

from ..georeference import GeoReference
from ..image import Image
from .atomic import replace_file
from .colour import gray_of_equal
from .decoder_errors import naming
from .filenames import JPEG_SUFFIXES, NIFTI_SUFFIXES, PNG_SUFFIXES, SUFFIXES, TIFF_SUFFIXES, ZARR_SUFFIXES, suffix_of
from .lazy import LazyImage, WholeImage
from .png_jpeg import jpeg_bytes, png_bytes
from .spacing import CENTIMETRE, METRES
from .tiff.geotags import geo_tags
from .zarr.writing import write_pyramid

# OME-TIFF 2016-06 has no 64-bit integers and no half floats.
OME_DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
BIGTIFF_BYTES = 2**32 - 2**25  # 32-bit offsets end at 4 GiB; some room for tags


def write(path: str | Path, image: Image) -> None:
    """Write an image in the format of the suffix: .png, .jpg, .tif, .ome.tif, .nii, .nii.gz or .ome.zarr.

    The file is written under a temporary name beside its place and renamed when it is complete, so that a failure
    leaves what was there before. TIFF keeps every dtype, 3D, any number of channels, spacing and unit, uncompressed;
    OME-TIFF keeps all but 64-bit integers, float16 and a volume of one plane (it reads back as 2D). PNG keeps
    uint8, uint16 and bool of 2D images with 1 or 3 channels, JPEG uint8 with some loss; neither keeps spacing. NIfTI
    puts a volume back to its `place`: the affine, orientation and unit of the file it came from; without one it is
    written along the axes of the world with its spacing. OME-Zarr (a folder; version 0.5) keeps every dtype, channels,
    spacing and unit. TIFF keeps the `georeference` of a map, tag by tag, and its channels are then bands of one page.
    The other formats, OME-TIFF too, keep neither.

    Parameters
    ----------
    path : str or Path
        In a folder that exists.
    image : Image

    Raises
    ------
    ValueError
        If the suffix is not supported, or the format cannot hold the image.
    OSError
        If the file cannot be written (no such folder, no permission, disk full); nothing is left behind.
    """
    path = Path(path)
    if not image.axes.startswith("c"):
        image = replace(image, array=image.array[None], axes="c" + image.axes)
    with naming(path):
        suffix = _suffix(path)
        if suffix in TIFF_SUFFIXES:
            _write_tiff(path, image)
            return
        if suffix in NIFTI_SUFFIXES:
            _write_nifti(path, image)
            return
        if suffix in ZARR_SUFFIXES:
            write_pyramid(path, WholeImage(image))
            return
        name, allowed = ("PNG", ("bool", "uint8", "uint16")) if suffix in PNG_SUFFIXES else ("JPEG", ("uint8",))
        _check_picture(image, name, allowed)
        content = png_bytes(image.array) if name == "PNG" else jpeg_bytes(image.array)
        with replace_file(path) as temporary:
            temporary.write_bytes(content)


def write_labels(
    path: str | Path,
    labels: np.ndarray | Image,
    like: Image | LazyImage | None = None,
    *,
    nodata: int | None = None,
    colours: np.ndarray | None = None,
) -> None:
    """Write a label image without loss, as .png, .tif, .ome.tif, .nii, .nii.gz or .ome.zarr, whole or not at all.

    Parameters
    ----------
    path : str or Path
    labels : ndarray or Image of shape (*spatial), integer or bool
        PNG stores ids up to 255 as uint8 and up to 65535 as uint16. TIFF stores the dtype given, zlib-compressed;
        OME-TIFF stores 64-bit ids in 32 bits where they fit, NIfTI all ids in the smallest integers that hold them,
        OME-Zarr the dtype given, bool as uint8.
    like : Image or LazyImage, optional
        The image that the labels belong to; its spacing, unit, place and georeference are written. By default those of
        `labels`.
    nodata : int, optional
        The value of pixels without data, which a TIFF says in a tag (GDAL_NODATA), but for OME-TIFF. What stands there
        in the image is a value of its own, and not copied.
    colours : ndarray of shape (256, 3), uint8, optional
        Of every value, for viewers: the colour table of a TIFF of uint8. Other files and OME-TIFF have none.

    Raises
    ------
    ValueError
        If the suffix is not supported or lossy (JPEG), the labels are not integers, do not have the size of `like`, do
        not fit the format, or do not hold `nodata`.
    OSError
        If the file cannot be written; nothing is left behind.
    """
    path = Path(path)
    with naming(path):
        image = _labelled(labels, like, nodata)
        suffix = _suffix(path)
        if suffix in JPEG_SUFFIXES:
            raise ValueError("JPEG is lossy and would change ids: use .png or .tif")
        if suffix in TIFF_SUFFIXES:
            if is_ome(path):
                _write_tiff(path, _narrowed(image), compression="zlib")
            else:
                _write_tiff(path, image, compression="zlib", colours=colours)
            return
        if suffix in NIFTI_SUFFIXES:
            _write_nifti(path, replace(image, array=_smallest(image.array)))
            return
        if suffix in ZARR_SUFFIXES:
            write_pyramid(path, WholeImage(image), is_labels=True)
            return
        low, high = (int(image.array.min()), int(image.array.max())) if image.array.size else (0, 0)
        if low < 0 or high > 65535:
            raise ValueError(f"PNG holds ids from 0 to 65535, got {low} to {high}: use .tif")
        small = image.array.astype(np.uint8 if high <= 255 else np.uint16)
        _check_picture(replace(image, array=small), "PNG", ("uint8", "uint16"))
        with replace_file(path) as temporary:
            temporary.write_bytes(png_bytes(small))


def _labelled(labels: np.ndarray | Image, like: Image | LazyImage | None, nodata: int | None) -> Image:
    """The labels as an Image of one channel, where `like` says."""
    own = labels if isinstance(labels, Image) else None
    array = labels.array if isinstance(labels, Image) else labels
    like = like or own
    if array.dtype.kind not in "bui":
        raise ValueError(f"labels of dtype {array.dtype}: expected integers or bool")
    if array.ndim not in (2, 3):
        raise ValueError(f"labels of shape {array.shape}: expected 2 or 3 axes, (y, x) or (z, y, x)")
    if like is not None and like.size != array.shape:
        raise ValueError(f"labels of shape {array.shape} for an image of size {like.size}: they must be equal")
    axes = "cyx" if array.ndim == 2 else "czyx"
    if like is None:
        return Image(array[None], axes, (1.0,) * array.ndim, georeference=where_labels_lie(None, nodata, array.dtype))
    is_kept = like is own and nodata is None
    georeference = like.georeference if is_kept else where_labels_lie(like.georeference, nodata, array.dtype)
    return Image(array[None], axes, like.spacing, like.unit, place=like.place, georeference=georeference)


def where_labels_lie(image: GeoReference | None, nodata: int | None, dtype: np.dtype) -> GeoReference | None:
    """The georeference of a label image: that of its image, with its own value for pixels without data or none.

    Raises
    ------
    ValueError
        If the dtype of the labels does not hold `nodata`.
    """
    low, high = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    if nodata is not None and not low <= nodata <= high:
        raise ValueError(f"nodata is {nodata}, but labels of {dtype} hold {low} to {high}: choose a value that fits")
    if image is None and nodata is None:
        return None
    return (image or GeoReference()).with_nodata(nodata)


def _narrowed(image: Image) -> Image:
    """64-bit ids in 32 bits where they fit."""
    if image.array.dtype.itemsize == 8 and image.array.size:
        for dtype in (np.uint32, np.int32):
            if np.iinfo(dtype).min <= image.array.min() and image.array.max() <= np.iinfo(dtype).max:
                return replace(image, array=image.array.astype(dtype))
    return image


def _smallest(array: np.ndarray) -> np.ndarray:
    """Ids in the smallest integers that hold them, unsigned where none is negative."""
    if array.dtype == bool or not array.size:
        return array.astype(np.uint8)
    low, high = int(array.min()), int(array.max())
    bounds = (np.iinfo(f"{'i' if low < 0 else 'u'}{size}") for size in (1, 2, 4, 8))
    return array.astype(next(bound.dtype for bound in bounds if bound.min <= low and high <= bound.max))


def _suffix(path: Path) -> str:
    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        raise ValueError(f"suffix {path.suffix!r} cannot be written; supported are {', '.join(SUFFIXES)} and .ome.tif")
    return suffix


def is_ome(path: Path) -> bool:
    """Whether a file is OME-TIFF by its name."""
    return path.name.lower().endswith(tuple(f".ome{suffix}" for suffix in TIFF_SUFFIXES))


def _check_picture(image: Image, name: str, allowed: tuple[str, ...]) -> None:
    if image.ndim != 2:
        raise ValueError(f"{name} holds 2D images, got size {image.size}: use .tif")
    if image.channels not in (1, 3) or (image.channels == 3 and image.array.dtype == bool):
        raise ValueError(f"{name} holds 1 or 3 channels, got {image.channels} of {image.array.dtype}: use .tif")
    if image.array.dtype.name not in allowed:
        raise ValueError(f"{name} holds {', '.join(allowed)}, got {image.array.dtype}: use .tif")


def _write_nifti(path: Path, image: Image) -> None:
    from .nifti import nifti_bytes  # nibabel takes a while to import, and pictures do without it

    content = nifti_bytes(image, is_compressed=suffix_of(path) == ".nii.gz")
    with replace_file(path) as temporary:
        temporary.write_bytes(content)


def _write_tiff(path: Path, image: Image, compression: str | None = None, colours: np.ndarray | None = None) -> None:
    """One series: RGB for 3 channels of 8 or 16 bits, bands of a map, else a page for every channel and plane."""
    if image.array.dtype.kind not in "buif" or (is_ome(path) and image.array.dtype.name not in OME_DTYPES):
        kept = "integers, floats and bool" if image.array.dtype.kind not in "buif" else ", ".join(OME_DTYPES)
        raise ValueError(f"{'OME-TIFF' if is_ome(path) else 'TIFF'} holds {kept}, got {image.array.dtype}")
    array, axes = image.array, image.axes.upper()
    is_rgb = image.channels == 3 and array.dtype.name in ("uint8", "uint16") and gray_of_equal(array) is None
    if is_rgb:
        array, axes = np.moveaxis(array, 0, -1), axes[1:] + "S"
    elif image.channels == 1:
        array, axes = array[0], axes[1:]
    # The channels of a map are bands of one page: GDAL takes further pages for other maps.
    is_banded = image.georeference is not None and axes == "CYX" and array.dtype.kind != "b" and not is_ome(path)
    if is_ome(path):
        options = ome_options(image.spacing, image.unit)
    else:
        options = plain_options(image.spacing, image.unit, image.georeference)
    options["metadata"] |= {"axes": axes}
    with replace_file(path) as temporary:
        tifffile.imwrite(
            temporary,
            array,
            ome=is_ome(path),
            bigtiff=array.nbytes > BIGTIFF_BYTES,
            planarconfig="separate" if is_banded else None,
            compression=compression,
            **({"photometric": "rgb"} if is_rgb else shown_as(array.dtype, colours)),
            **options,
        )


def shown_as(dtype: np.dtype, colours: np.ndarray | None) -> dict:
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


def ome_options(spacing: tuple[float, ...], unit: str) -> dict:
    """For tifffile: the spacing in OME metadata."""
    unit = "pixel" if unit == "px" else unit
    if unit != "pixel" and unit not in METRES:
        raise ValueError(f"unit {unit!r} is not known to OME-TIFF: use px, {', '.join(METRES)}, or write .tif")
    sizes: dict[str, float | str] = {}
    for axis, step in zip("XYZ", reversed(spacing), strict=False):
        sizes |= {f"PhysicalSize{axis}": step, f"PhysicalSize{axis}Unit": unit}
    return {"metadata": sizes}
