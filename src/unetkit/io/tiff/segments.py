"""Boxes of a TIFF series: mapped, or decoded from the strips and tiles that they touch."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import numpy as np
import tifffile

from ..decoder_errors import Refused
from ..lazy import Region, overlap
from ..mapped import Mapped

JPEG = (6, 7, 34892)


def page_lengths(page: tifffile.TiffPage) -> tuple[int, ...]:
    """Axes of a page longer than 1, in memory order."""
    return tuple(length for length in page.shaped if length != 1)


def region_reader(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, lengths: tuple[int, ...]
) -> Callable[[Region], np.ndarray]:
    """A function that reads a region over the axes of a series: from a map of the file, else from its segments.

    Parameters
    ----------
    tif : TiffFile
    series : TiffPageSeries
        Of `tif`.
    lengths : tuple of int
        Of the axes of the series that are longer than 1.
    """
    offset = series.dataoffset
    if offset is None or not series.keyframe.is_memmappable:
        return _Pages(series, lengths)
    typecode = tif.byteorder + np.dtype(series.dtype).char
    mapped = Mapped(tif.filehandle.memmap_array(typecode, lengths, offset=offset))
    return mapped.__getitem__


class _Pages:
    """Regions of a stack of pages, each read by its own strips or tiles.

    In memory order a page is (separate samples, depth, length, width, contiguous samples), tifffile's `shaped`; the
    axes of the series are those of the stack followed by those of the page. Axes of length 1 are left out on
    both sides, so the last lengths are those of the page.
    """

    def __init__(self, series: tifffile.TiffPageSeries, lengths: tuple[int, ...]) -> None:
        self._series, self._page = series, series.keyframe
        self._lock = threading.Lock()  # one file position
        self._outer = lengths[: len(lengths) - len(page_lengths(self._page))]

    def __call__(self, region: Region) -> np.ndarray:
        outer, inner = region[: len(self._outer)], iter(region[len(self._outer) :])
        box = tuple(slice(0, 1) if length == 1 else next(inner) for length in self._page.shaped)
        planes = itertools.product(*(range(part.start, part.stop) for part in outer))
        arrays = [self._plane(int(np.ravel_multi_index(plane, self._outer)) if plane else 0, box) for plane in planes]
        return np.stack(arrays).reshape([part.stop - part.start for part in region])

    def _plane(self, index: int, box: Region) -> np.ndarray:
        """A box of a page, of five axes."""
        with self._lock:
            page = self._series[index]
        assert page is not None, f"page {index} is missing, though all pages were checked on opening"
        if self._page.is_memmappable:
            with self._lock:
                mapped = page.asarray(out="memmap", squeeze=False)
            return np.asarray(mapped[box])
        result = np.full([part.stop - part.start for part in box], self._page.nodata, self._page.dtype)
        for number in self._segments(box):
            if number >= min(len(page.dataoffsets), len(page.databytecounts)):
                raise Refused(f"damaged: strip or tile {number} of page {index} is not in the file")
            with self._lock:
                file = page.parent.filehandle
                file.seek(page.dataoffsets[number])
                data = file.read(page.databytecounts[number]) or None
            tables = {"jpegtables": page.jpegtables} if int(self._page.compression) in JPEG else {}
            segment, start, _ = self._page.decode(data, number, **tables)
            if segment is not None:  # None for segments without data in a sparse file
                source, target = overlap(start, segment[None].shape, box)
                result[target] = segment[None][source]
        return result

    def _segments(self, box: Region) -> list[int]:
        """Numbers of the strips or tiles that a box touches."""
        page = self._page
        lengths = (1, page.tiledepth, page.tilelength, page.tilewidth) if page.is_tiled else (1, 1, page.rowsperstrip)
        lengths = (*lengths, *page.shaped[len(lengths) : 4])  # a strip is as wide as the image
        grid = [-(-total // length) for total, length in zip(page.shaped[:4], lengths, strict=True)]
        touched = [
            range(part.start // length, -(-part.stop // length)) for part, length in zip(box[:4], lengths, strict=True)
        ]
        return [int(np.ravel_multi_index(place, grid)) for place in itertools.product(*touched)]
