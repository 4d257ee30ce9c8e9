"""Write images and label images, in the format of the suffix; a file is whole or not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..georeference import GeoReference
from ..image import Image
from .decoder_errors import naming
from .filenames import JPEG_SUFFIXES, NIFTI_SUFFIXES, SUFFIXES, TIFF_SUFFIXES, ZARR_SUFFIXES, suffix_of
from .lazy import LazyImage, Source, WholeImage, read_region
from .png_jpeg import write_picture
from .tiff.pyramid import is_small, stored_dtype, write_tiled
from .tiff.writing import is_ome, write_tiff
from .zarr.writing import write_pyramid


def write(path: str | Path, image: Image) -> None:
    """Write an image in the format of the suffix: .png, .jpg, .tif, .ome.tif, .nii, .nii.gz or .ome.zarr.

    The file is written under a temporary name beside its place and renamed when it is complete, so that a failure
    leaves the previous file. TIFF keeps every dtype, 3D, any number of channels, spacing and unit, uncompressed;
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
            write_tiff(path, image)
        elif suffix in NIFTI_SUFFIXES:
            _write_nifti(path, image)
        elif suffix in ZARR_SUFFIXES:
            write_pyramid(path, WholeImage(image), like=image)
        else:
            write_picture(path, image)


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
        The value of pixels without data, which a TIFF says in a tag (GDAL_NODATA), but for OME-TIFF. The image's
        own value for them is not copied.
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
            write_tiff(path, _narrowed(image) if is_ome(path) else image, compression="zlib", colours=colours)
        elif suffix in NIFTI_SUFFIXES:
            _write_nifti(path, replace(image, array=_smallest(image.array)))
        elif suffix in ZARR_SUFFIXES:
            write_pyramid(path, WholeImage(image), like=image, is_labels=True)
        else:
            low, high = (int(image.array.min()), int(image.array.max())) if image.array.size else (0, 0)
            if low < 0 or high > 65535:
                raise ValueError(f"PNG holds ids from 0 to 65535, got {low} to {high}: use .tif")
            write_picture(path, replace(image, array=image.array.astype(np.uint8 if high <= 255 else np.uint16)))


def write_labels_from(
    path: str | Path,
    labels: Source,
    *,
    like: LazyImage | None = None,
    nodata: int | None = None,
    colours: np.ndarray | None = None,
) -> None:
    """Write a label image of any size from a source, reading each part of it once, whole or not at all.

    TIFF and OME-TIFF are written in compressed tiles with levels of half the resolution each (every second pixel: ids
    cannot be averaged) down to one tile, as BigTIFF beyond 4 GB; a few rows of tiles are held in
    memory, and temporary files beside `path` take a third of the uncompressed size. A volume's levels keep all planes,
    and only OME-TIFF has them. OME-Zarr is written shard by shard, with levels too. Other formats, and images of one
    tile, are read whole and written by `write_labels`.

    Parameters
    ----------
    path : str or Path
    labels : Source of shape (1, *spatial), integer or bool
        bool becomes uint8 in tiles.
    like : LazyImage, optional
        The image that the labels belong to; its spacing, unit, place and georeference are written. By default the
        spacing and unit of `labels`.
    nodata : int, optional
        The value of pixels without data: see `write_labels`.
    colours : ndarray of shape (256, 3), uint8, optional
        Of every value: see `write_labels`.

    Raises
    ------
    ValueError
        As for `write_labels`; or if the labels have several channels, cannot be read, or end early.
    OSError
        If the file cannot be written, or the labels not be read; nothing is left behind.
    """
    path = Path(path)
    with naming(path):
        if labels.dtype.kind not in "bui":
            raise ValueError(f"labels of dtype {labels.dtype}: expected integers or bool")
        if labels.shape[0] != 1:
            raise ValueError(f"labels of {labels.shape[0]} channels, shape {labels.shape}: expected one id per pixel")
        if like is not None and like.size != labels.shape[1:]:
            raise ValueError(f"labels of shape {labels.shape[1:]} for an image of size {like.size}: they must be equal")
        if suffix_of(path) in ZARR_SUFFIXES:
            write_pyramid(path, labels, like=like, is_labels=True)
            return
        if suffix_of(path) in TIFF_SUFFIXES and not is_small(labels):
            place = like or labels
            lies = _labels_georeference(None if like is None else like.georeference, nodata, stored_dtype(labels.dtype))
            write_tiled(path, labels, spacing=place.spacing, unit=place.unit, georeference=lies, colours=colours)
            return
        array = read_region(labels, tuple(slice(0, length) for length in labels.shape))[0]
    write_labels(path, Image(array, labels.axes[1:], labels.spacing, labels.unit), like, nodata=nodata, colours=colours)


def _labelled(labels: np.ndarray | Image, like: Image | LazyImage | None, nodata: int | None) -> Image:
    """The labels as an image of one channel, with the spacing and the place of `like`."""
    own = labels if isinstance(labels, Image) else None
    array = labels.array if isinstance(labels, Image) else labels
    like = like or own
    if array.dtype.kind not in "bui":
        raise ValueError(f"labels of dtype {array.dtype}: expected integers or bool")
    if array.ndim not in (2, 3):
        raise ValueError(f"labels of shape {array.shape}: expected 2 or 3 axes, (y, x) or (z, y, x)")
    if like is not None and like.size != array.shape:
        raise ValueError(f"labels of shape {array.shape} for an image of size {like.size}: they must be equal")
    if like is None:
        like = Image(array, "zyx"[-array.ndim :], (1.0,) * array.ndim)
    is_kept = like is own and nodata is None
    georeference = like.georeference if is_kept else _labels_georeference(like.georeference, nodata, array.dtype)
    axes = "cyx" if array.ndim == 2 else "czyx"
    return Image(
        array[None], axes, like.spacing, like.unit, place=like.place, georeference=georeference, origin=like.origin
    )


def _labels_georeference(image: GeoReference | None, nodata: int | None, dtype: np.dtype) -> GeoReference | None:
    """That of the image, with the labels' own value for pixels without data, or none."""
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
    """Ids in the smallest integers that hold them."""
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


def _write_nifti(path: Path, image: Image) -> None:
    from .nifti import write_nifti  # nibabel takes a while to import, and pictures do without it

    write_nifti(path, image)
