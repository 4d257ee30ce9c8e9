"""Regions of a TIFF; only the strips or tiles that they touch are decoded."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable

import numpy as np
import tifffile

from ..decoder_errors import Refused, decoding, logged
from ..lazy import Region, overlap
from .layout import JPEG, Layout, TiffImage


class TiffRegions:
    """A source that decodes the strips or tiles of a TIFF that a region touches.

    Parameters
    ----------
    tiff : TiffImage
        Closed by `close`.
    """

    def __init__(self, tiff: TiffImage) -> None:
        self._tiff = tiff
        samples, *size = tiff.layout.shape
        self.axes = "c" + tiff.layout.spatial
        self.shape = (tiff.colour.channels(samples), *size)
        self.dtype = tiff.colour.dtype(np.dtype(tiff.series.dtype))
        self.spacing, self.unit, self.notes = tiff.spacing, tiff.unit, tiff.notes
        self._read_stored = _reader(tiff)

    @property
    def height(self) -> int:
        """Rows (planes) that are decoded together; 1 where they are mapped, and for the planes of a stack."""
        page = self._tiff.page
        if len(self.shape) == 4 or page.is_memmappable:
            return 1
        return int(page.tilelength if page.is_tiled else min(page.rowsperstrip, self.shape[1]))

    def read(self, region: Region) -> np.ndarray:
        """Channels of a region."""
        layout, colour = self._tiff.layout, self._tiff.colour
        channels, *space = region
        kept = colour.kept(layout.shape[0])
        # Samples and channels that are two axes of the file, or become other channels: read all, then choose.
        is_direct = colour.is_direct and not ("C" in layout.letters and "S" in layout.letters)
        samples = slice(kept[channels.start], kept[channels.stop - 1] + 1) if is_direct else slice(0, layout.shape[0])
        slices = dict(zip((letter.upper() for letter in layout.spatial), space, strict=True))
        slices |= {letter: samples if is_direct else slice(0, layout.length(letter)) for letter in "CS"}
        notes: list[str] = []  # the same remarks were made on opening
        with decoding("TIFF"), logged("tifffile", notes):
            stored = layout.arranged(self._read_stored(tuple(slices[letter] for letter in layout.letters)))
        if not is_direct:
            return colour.convert(stored)[channels]
        return stored[[index - samples.start for index in kept[channels]]]

    def close(self) -> None:
        """Close the file."""
        self._tiff.close()


def can_slice(tiff: TiffImage) -> bool:
    """Whether the pages of a TIFF are the last axes of its image, as in all common layouts."""
    lengths, page = tiff.layout.lengths, _page_lengths(tiff.page)
    stack = lengths[: len(lengths) - len(page)]
    is_whole = lengths[len(stack) :] == page and len(tiff.series) == math.prod(stack)
    is_mappable = tiff.series.dataoffset is not None and tiff.page.is_memmappable
    return tiff.series.transform is None and (is_whole or is_mappable)


def _page_lengths(page: tifffile.TiffPage) -> tuple[int, ...]:
    """Axes of a page longer than 1, in memory order."""
    return tuple(length for length in page.shaped if length != 1)


def _reader(tiff: TiffImage) -> Callable[[Region], np.ndarray]:
    """A function that reads a region over the axes of the layout: from a map of the file, else from its segments."""
    offset = tiff.series.dataoffset
    if offset is None or not tiff.page.is_memmappable:
        return _Pages(tiff.series, tiff.layout)
    typecode = tiff.tif.byteorder + np.dtype(tiff.series.dtype).char
    mapped = tiff.tif.filehandle.memmap_array(typecode, tiff.layout.lengths, offset=offset)
    return lambda region: mapped[region]


class _Pages:
    """Regions of a stack of pages, each read by its own strips or tiles.

    In memory order a page is (separate samples, depth, length, width, contiguous samples), tifffile's `shaped`; the
    axes of the series are those of the stack followed by those of the page. Axes of length 1 are left out on
    both sides, so the last axes of the layout are those of the page.
    """

    def __init__(self, series: tifffile.TiffPageSeries, layout: Layout) -> None:
        self._series, self._page = series, series.keyframe
        self._lock = threading.Lock()  # one file position
        self._outer = layout.lengths[: len(layout.lengths) - len(_page_lengths(self._page))]

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
