"""Read PNG, JPEG, TIFF, OME-TIFF, NIfTI, DICOM, OME-Zarr and what `formats` has, whole or by region."""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from ..image import Image
from .category_names import category_names
from .decoder_errors import naming
from .dicom.headers import DICOM_SUFFIX, dicom_files, holds_dicom, holds_series, is_mask, single_file
from .filenames import (
    NIFTI_SUFFIXES,
    STATEMENTS,
    SUFFIXES,
    TIFF_SUFFIXES,
    ZARR_SUFFIXES,
    file_of,
    holds_zarr,
    is_image_folder,
    is_outlines,
    is_part,
    suffix_of,
)
from .formats import FORMATS, format_of
from .grid import Grid
from .label_samples import ValueCode, as_coded_labels, as_labels
from .lazy import LazyImage, banded, whole_lazy
from .png_jpeg import read_jpeg, read_png
from .read_options import AS_STATED, ReadOptions, chosen, read_options, told_image
from .samples import Stored, with_planes
from .sidecars import placed_picture
from .tiff.layout import TiffImage, can_slice, read_tiff
from .tiff.layout import time_points as tiff_time_points
from .tiff.regions import TiffRegions
from .zarr.reading import ZarrRegions, read_omezarr
from .zarr.reading import time_points as zarr_time_points

_MAPPED = ("NPY", "MRC")  # formats of `formats` whose arrays are mapped
READABLE = (*SUFFIXES, DICOM_SUFFIX, *(suffix for each in FORMATS for suffix in each.suffixes))
SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",  # BigTIFF
    b"MM\x00+": "TIFF",
    b"\x1f\x8b": "NIfTI",  # gzip
    **{length.to_bytes(4, order): "NIfTI" for length in (348, 540) for order in ("little", "big")},  # of the header
}


def read(path: str | Path, *, axes: str = "", channels: Sequence[int] = ()) -> Image:
    """Read an image with all its channels, in the dtype of the file.

    PNG, JPEG, TIFF (also BigTIFF, OME-TIFF and GeoTIFF, whose `georeference` is kept; the first image at full
    resolution), NIfTI (a volume, turned to the orientation closest to RAS; `place` keeps its own), DICOM (the folder
    of a series, or a file of several frames, turned alike; any other file is a picture) and OME-Zarr (a folder, of
    version 0.1 to 0.5; the level of full resolution), recognised by their content; by their suffix BMP, GIF, WebP,
    JPEG 2000, NPY, NPZ, HDF5, MRC, NRRD, MetaImage, CZI, LIF, ND2 and whole slides (`io.formats`); of a file that holds
    several images one is named by its number: `slide.czi#2`, of a series over time `film.tif#t3`. A palette is expanded
    to RGB, CMYK turned to RGB, alpha dropped, RGB of three equal channels read as one, and an Exif orientation applied;
    pages of a TIFF without a stated axis are a stack along z. `notes` lists these changes.

    Parameters
    ----------
    path : str or Path
    axes : str
        A letter per axis in the order of the file, of t, c, z, y and x, such as "zyxc"; for files that do not name
        theirs (NumPy, HDF5 and Zarr without metadata, pages of a TIFF), and TIFFs with an axis that is neither channels
        nor space: frames that are planes of a volume.
    channels : sequence of int
        The samples of a pixel to read, in this order, counted from 1 as in GDAL and Fiji; none of them is then alpha.

    Returns
    -------
    Image of shape (C, *spatial)
        bool for 1-bit files, else the integer or float dtype stored. Spacing is known for TIFF, NIfTI, DICOM and
        OME-Zarr; that of a map is in metres where its coordinates are, in pixels where they are degrees.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is empty, damaged, truncated, of another format, or has axes beyond channels and space, such as
        time. One line that starts with the path.
    MemoryError
        If the image does not fit into memory, as damaged sizes in a header may say; see `open_lazy`.
    ImportError
        If a Zarr folder is to be read and zarr is not installed.
    """
    path, options = Path(path), read_options(axes, channels)
    with naming(path):
        return told_image(_read_stored(path, options), options)


def read_labels(path: str | Path, *, image: str | Path | None = None) -> Image:
    """Read a label image: one integer id per pixel, 0 for background.

    Palette indices are kept as ids; gray stored as RGB is read as one channel; a picture of at most 64 colours gives
    an id to every colour (black 0, the others sorted by red, green and blue; per file, so that files of one set should
    hold the same colours); integral floats become integers. JPEG changes values and is read only where they
    are still clearly black and white. Outlines (GeoJSON, GeoPackage, shapefiles, ROIs of ImageJ, COCO, LabelMe, YOLO)
    are drawn on the pixels of their image: an id for every object; contours of a DICOM RTSTRUCT too, and the segments
    of a DICOM SEG are laid on it: a value for every class. `notes` lists what was done.

    Parameters
    ----------
    path : str or Path
    image : str or Path, optional
        The image that outlines and contours are drawn on, and segments laid on; without it, segments have the slices
        that their file holds.

    Returns
    -------
    Image of shape (*spatial), integer
        The integer dtype of the file; uint8 for bool, int32 for outlines.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        As for `read`; or if values are not integers, there are too many colours or several channels, or JPEG has
        changed the ids; or if outlines do not fit the image.
    ImportError
        If the library of a format is not installed.
    """
    path = Path(path)
    if needs_image(path):
        return _drawn(path, _grid_of(image))[0]
    with naming(path):
        return as_labels(_read_stored(path, AS_STATED, is_mask=True))


def read_coded_labels(
    path: str | Path, *, axes: str = "", grid: Grid | None = None, size: Sequence[int] = ()
) -> tuple[Image, ValueCode | None]:
    """Read a label image as `read_labels` does, with the colours, or names of classes, of its values.

    By them the files of a set are compared (`labels.numbering`), as each file alone numbers them in its own way.
    Outlines are drawn on the `grid` of their image. Where its `size` is given, (z, y, x), the samples of a picture that
    are as many as its planes are planes: napari 0.9.2 saves labels of three or four planes as a colour picture.
    """
    path = Path(path)
    if needs_image(path):
        return _drawn(path, grid)
    with naming(path):
        stored = _read_stored(path, read_options(axes, ()), is_mask=True)
        labels, code = as_coded_labels(with_planes(stored, size))
        names = category_names(path)
    return labels, ValueCode({**names}, is_numbered=True) if names else code


def needs_image(path: Path) -> bool:
    """Whether a mask is read on the pixels of its image: outlines, and DICOM files of segments or contours."""
    return is_outlines(path) or is_mask(path)


def _grid_of(path: str | Path | None) -> Grid | None:
    if path is None:
        return None
    with open_lazy(path) as image:
        return Grid.of(Path(path), image)


def _drawn(path: Path, grid: Grid | None) -> tuple[Image, ValueCode | None]:
    with naming(path):
        if not file_of(path).exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        if file := single_file(path):
            from .dicom.masks import read_mask

            return read_mask(file, grid)
        if grid is None:
            raise ValueError("outlines, which have no pixels of their own: name the image that they are drawn on")
        from .vectors.labels import read_outlines

        return read_outlines(path, grid)


def open_lazy(path: str | Path, *, axes: str = "", channels: Sequence[int] = ()) -> LazyImage:
    """Open an image to read regions of it.

    Of a TIFF, only the strips, tiles or pages that a region touches are read, straight from a map of the file where
    it is uncompressed, and of OME-Zarr only the chunks. PNG and JPEG cannot be decoded in part: they are read whole on
    opening.

    Parameters
    ----------
    path : str or Path
    axes, channels
        As `read` takes them.

    Returns
    -------
    LazyImage of shape (C, *spatial)
        A region equals that region of `read(path).array`, with one exception: whether a TIFF stored as RGB is gray
        depends on all its pixels, so that it keeps its three channels here.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `read`.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from unetkit.io import write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/slide.tif", Image(np.zeros((1, 900, 700), np.uint8), "cyx", (0.5, 0.5), "µm"))
    ...     with open_lazy(f"{folder}/slide.tif") as slide:
    ...         slide.shape, slide[:, 100:164, 200:264].shape
    ((1, 900, 700), (1, 64, 64))
    """
    path, options = Path(path), read_options(axes, channels)
    with naming(path):
        kind = _kind(path)
        if kind == "OME-Zarr":
            chunked = ZarrRegions(path, options)
            rows = chosen(banded(chunked, chunked.height), options)
            return LazyImage(path, rows, origin=chunked.origin, piece_bytes=chunked.piece_bytes)
        if kind == "TIFF":
            tiff = TiffImage(path, options)
            if can_slice(tiff):
                regions = TiffRegions(tiff)
                rows = chosen(banded(regions, regions.height), options)
                return LazyImage(
                    path,
                    rows,
                    georeference=tiff.georeference,
                    validity=tiff.validity,
                    piece_bytes=regions.piece_bytes,
                    is_plain=tiff.colour.kind == "plain" and tiff.colour.alpha is None and not tiff.is_lossy,
                )
            tiff.close()
        found = format_of(path)
        source = found.open_source(path, options) if found is not None and kind == found.name else None
        if source is not None:
            pieces = source.piece_bytes
            return LazyImage(path, chosen(source, options), piece_bytes=pieces, is_plain=not source.is_rgb)
        image = told_image(_read_stored(path, options), options)
        return whole_lazy(path, image)


def has_regions(path: Path) -> bool:
    """Whether `open_lazy` may read a file by region: not where its format can only be decoded whole."""
    with naming(path):
        kind = _kind(path)
    return kind in ("TIFF", "OME-Zarr") or kind in _MAPPED


def images_within(path: str | Path, *, axes: str = "") -> list[Path]:
    """The images of a file: of one with several scenes (CZI), images (LIF) or positions (ND2) `slide.czi#1` and so on.

    Of a series over time (also TIFF, NIfTI, OME-Zarr) its time points: `film.tif#t1` and so on, unless a person names
    the `axes` of files without a t, by which frames may be planes; with one, pages and slices are time points too. The
    path itself where it holds one image, or cannot be opened, which reading it then tells.

    >>> [path.name for path in images_within("cells.png")]
    ['cells.png']
    """
    path = Path(path)
    found = format_of(path)
    try:
        if found is not None:
            names = [f"{path.name}{part}" for part in found.parts(path)] if path.is_file() else []
        else:
            is_whole = is_part(path) or (axes and "t" not in axes)
            times = 1 if is_whole else time_points(path, are_told="t" in axes)
            names = [f"{path.name}#t{number}" for number in range(1, times + 1)]
    except (ImportError, ValueError, OSError, MemoryError):
        return [path]
    return [path.with_name(name) for name in names] if len(names) > 1 else [path]


def time_points(path: Path, *, are_told: bool = False) -> int:
    """Number of time points of a file or Zarr hierarchy, by its header; 1 where it holds one image, or is unreadable.

    With `are_told`, an axis that the file does not name counts too, and of a TIFF planes: they are read as times where
    the path says so, `film.tif#t1`.
    """
    try:
        return _time_points(path, path.stat().st_mtime_ns, are_told)
    except (ImportError, ValueError, OSError, MemoryError):
        return 1


@lru_cache(maxsize=2**14)
def _time_points(path: Path, changed_ns: int, are_told: bool) -> int:
    suffix = suffix_of(path)
    if suffix in TIFF_SUFFIXES:
        return tiff_time_points(path, are_told=are_told)
    if suffix in NIFTI_SUFFIXES:
        from .nifti import time_points

        return time_points(path, are_told=are_told)
    return zarr_time_points(path) if path.is_dir() and holds_zarr(path) else 1


def list_images(folder: str | Path, *, axes: str = "") -> list[Path]:
    """Image files in a folder, in natural order: "cell2.png" before "cell10.png"; of folders those named .zarr.

    Parameters
    ----------
    folder : str or Path
        Not searched deeper. Hidden files are left out.
    axes : str
        Of the files, where a person names them: see `images_within`.

    Returns
    -------
    list of Path
        At least one. A file of several scenes is listed scene by scene: `slide.czi#1`, `slide.czi#2`; a series over
        time by its time points: `film.tif#t1`, `film.tif#t2`.

    Raises
    ------
    ValueError
        If the folder does not exist, is itself an image (Zarr, DICOM), or holds none; then with the suffixes of the
        files that it holds.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: {'a file, expected a folder' if folder.exists() else 'no such folder'}")
    if is_image_folder(folder):
        raise ValueError(f"{folder}: one image, expected a folder of images; name the folder that holds it")
    entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    # A link to nothing stays in the list, so that reading it names it.
    files = [path for path in entries if path.is_file() or (path.is_symlink() and not path.exists())]
    images = [path for path in files if suffix_of(path) in READABLE or single_file(path)]
    images += [path for path in entries if path.is_dir() and _is_listed(path)]
    if not images:
        counts = Counter(suffix_of(path) or "without suffix" for path in files)
        listed = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items())) or "no files"
        raise ValueError(f"{folder}: no images among {listed}; supported are {', '.join(READABLE)}")
    return [image for path in _in_natural_order(images) for image in images_within(path, axes=axes)]


def _is_listed(folder: Path) -> bool:
    """Whether a folder within others is an image: Zarr by name, a series, or one DICOM file as archives give it."""
    return suffix_of(folder) in ZARR_SUFFIXES or holds_series(folder) or single_file(folder) is not None


def list_outlines(folder: str | Path) -> list[Path]:
    """Files in a folder that may hold outlines, in natural order; none of those that state what masks mean."""
    files = [path for path in Path(folder).iterdir() if path.is_file() and not path.name.startswith(".")]
    return _in_natural_order([path for path in files if is_outlines(path) and path.name.lower() not in STATEMENTS])


def _in_natural_order(paths: list[Path]) -> list[Path]:
    """Runs of digits compare as numbers."""
    parts = {path: re.split(r"(\d+)", path.name.lower()) for path in paths}
    return sorted(paths, key=lambda path: ([int(p) if i % 2 else p for i, p in enumerate(parts[path])], path.name))


def _read_stored(path: Path, options: ReadOptions, *, is_mask: bool = False) -> Stored:
    kind, found = _kind(path), format_of(path)
    if found is not None and kind == found.name:
        stored = found.read(path, options, is_mask=is_mask)
        return placed_picture(path, stored) if found.is_picture else stored
    if kind == "NIfTI":
        from .nifti import read_nifti  # nibabel takes a while to import, and pictures do without it

        return read_nifti(path)
    if kind == "DICOM":
        from .dicom import frames, series

        file = single_file(path)
        return series.read_series(path) if file is None else frames.read_dicom_file(file)
    if kind in ("TIFF", "OME-Zarr"):
        return {"TIFF": read_tiff, "OME-Zarr": read_omezarr}[kind](path, options)
    return placed_picture(path, {"PNG": read_png, "JPEG": read_jpeg}[kind](path))


def _kind(path: Path) -> str:
    """Format of a file by its first bytes, since suffixes may be wrong."""
    file = file_of(path)
    if not file.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if is_image_folder(path):
        return "OME-Zarr" if suffix_of(path) in ZARR_SUFFIXES or holds_zarr(path) else "DICOM"
    if single_file(path):
        return "DICOM"
    if path.is_dir() and holds_dicom(path):
        raise ValueError(f"holds {len(dicom_files(path))} DICOM files that are images of their own: name one of them")
    if path.is_dir():
        raise ValueError("a folder, expected an image file, a Zarr folder or one of DICOM slices")
    if suffix_of(path) in ZARR_SUFFIXES:
        raise ValueError("a file, expected a folder with zarr.json or .zgroup in it: unpack a zipped one first")
    if suffix_of(path) not in READABLE:
        raise ValueError(f"suffix {path.suffix!r} is not supported; supported are {', '.join(READABLE)}")
    with file.open("rb") as stream:
        head, found = stream.read(16), format_of(path)
        is_own = found is not None and found.begins(stream)
    if not head:
        raise ValueError("empty file (0 bytes)")
    kind = next((kind for signature, kind in SIGNATURES.items() if head.startswith(signature)), "")
    if found is not None and kind in ("", found.begins_as) and is_own:
        return found.name
    if kind:
        return kind
    if found is not None:
        listed = ", ".join(READABLE)
        raise ValueError(f"not a file of {found.name}: it starts with {head!r}; supported are {listed}")
    expected = "NIfTI" if suffix_of(path) in NIFTI_SUFFIXES else "PNG, JPEG or TIFF"
    raise ValueError(f"not a {expected} file: it starts with {head!r}")
