"""Where a map holds data by a mask of its own, and whether a sample is opacity: as GDAL has it.

A mask is a page of the file (subfile type 4), a file beside it (NAME.tif.msk), or alpha; only where there is none,
the value of GDAL_NODATA counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tifffile

from ..decoder_errors import decoding, logged
from ..lazy import Region
from .segments import region_reader

MASK = 4  # TIFF 6.0, NewSubfileType, bit 2
ALPHA, UNSPECIFIED = (1, 2), 0  # TIFF 6.0, ExtraSamples
WINDOW, WINDOWS = 512, 3  # pixels per axis of the parts in which alpha is looked at, and how many of them
MOST_BETWEEN = 0.1  # share of pixels that are neither clear nor opaque: soft edges; of a further band it is most

Validity = Callable[[Region], np.ndarray]


def mask_page(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Validity | None:
    """The mask that a TIFF holds as a further page, of the size of its first image."""
    size = series.keyframe.imagelength, series.keyframe.imagewidth
    for other in tif.series[1:]:
        page = other.keyframe
        if int(page.subfiletype) & MASK and (page.imagelength, page.imagewidth) == size and len(other) == 1:
            return _reader(tif, other)
    return None


def mask_file(path: Path, size: tuple[int, int], notes: list[str]) -> tuple[Validity | None, tifffile.TiffFile | None]:
    """The mask in a file beside a TIFF, and that file, open; None where there is none."""
    beside = path.with_name(path.name + ".msk")
    if not beside.is_file():
        return None, None
    with decoding(f"mask {beside.name}"), logged("tifffile", notes):
        tif = tifffile.TiffFile(beside)
        page = tif.series[0].keyframe if tif.series else None
        if page is None or (page.imagelength, page.imagewidth) != size or page.samplesperpixel != 1:
            tif.close()
            notes.append(f"{beside.name} is not a mask of the size of this image: not used")
            return None, None
        return _reader(tif, tif.series[0]), tif


def _reader(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Validity:
    page = series.keyframe
    lengths = tuple(length for length in series.shape if length != 1)
    read = region_reader(tif, series, lengths)
    size = page.imagelength, page.imagewidth

    def valid(region: Region) -> np.ndarray:
        rows_and_columns = tuple(part for part, length in zip(region, size, strict=True) if length != 1)
        with decoding("mask"):
            return np.asarray(read(rows_and_columns)).reshape([part.stop - part.start for part in region]) != 0

    return valid


def alpha_of(
    extra: Sequence[int], colours: int, size: tuple[int, ...], read: Callable[[Region], np.ndarray], notes: list[str]
) -> int | None:
    """Index of the sample that is opacity; None where there is none.

    GDAL calls a fourth band of 8 bits alpha, whatever it holds, and many writers leave a true alpha unspecified; so
    that the values of the sample decide, in parts of the image.

    Parameters
    ----------
    extra : sequence of int
        The file's ExtraSamples.
    colours : int
        Samples before them.
    size : tuple of int
        Of the image.
    read : callable
        Takes a region over space, returns all its samples.
    notes : list of str
        Gets a remark where a sample is not what it is called.
    """
    stated = [colours + i for i, kind in enumerate(extra) if int(kind) in ALPHA]
    is_stated = len(stated) == 1
    if not is_stated and not (len(extra) == 1 and int(extra[0]) == UNSPECIFIED):
        return None
    index = stated[0] if is_stated else colours
    parts = [read(window).reshape(colours + len(extra), -1) for window in _windows(size)]
    alpha = np.concatenate([part[index] for part in parts])
    full = alpha.max(initial=0)
    between = float(np.mean((alpha != 0) & (alpha != full)))
    if is_stated:
        if between <= MOST_BETWEEN:
            return index
        notes.append(
            f"sample {index + 1} is called alpha and holds other values than 0 and {full} in {between:.0%} of the "
            "pixels: read as a channel of data"
        )
        return None
    others = np.concatenate([np.delete(part, index, 0) for part in parts], axis=1)
    clear = alpha == 0
    is_mask = between == 0 and clear.any() and not clear.all() and (np.ptp(others[:, clear], axis=1) == 0).all()
    if is_mask:
        notes.append(f"sample {index + 1}, of no stated meaning, is 0 or {full} and masks the others: taken for alpha")
        return index
    if colours > 1:  # further bands beside gray are plain measurements
        notes.append(f"sample {index + 1} is of no stated meaning: read as a channel of data")
    return None


def _windows(size: tuple[int, ...]) -> list[Region]:
    """Parts of an image: its corners, the middles of its sides and its middle; of a volume in its middle plane."""
    plane = size[-2:]
    starts = [sorted({max(length - WINDOW, 0) * i // (WINDOWS - 1) for i in range(WINDOWS)}) for length in plane]
    lead = tuple(slice(length // 2, length // 2 + 1) for length in size[:-2])
    return [
        (*lead, *(slice(start, min(start + WINDOW, n)) for start, n in zip(corner, plane, strict=True)))
        for corner in itertools.product(*starts)
    ]
