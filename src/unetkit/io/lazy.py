"""Open an image and read only the region asked for."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import tifffile

from unetkit.image import Image
from unetkit.io.faults import decoding, listening, naming
from unetkit.io.tiff import Layout, TiffImage

Region = tuple[slice, ...]


class Source(Protocol):
    """What gives the channels of any region."""

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype
    spacing: tuple[float, ...]
    unit: str
    notes: tuple[str, ...]

    def read(self, region: Region) -> np.ndarray:
        """Channels of a region of slices with a start, a stop and no step."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class LazyImage:
    """An image on disk that can be sliced like an array of shape (C, *spatial).

    Use it as a context manager, or call `close`. Reading from several threads is safe; another process opens
    the file for itself.

    Parameters
    ----------
    path : Path
        Named in errors.
    source : Source

    Attributes
    ----------
    axes : str
        "cyx" or "czyx".
    shape : tuple of int
        (C, *spatial).
    dtype : dtype
    spacing : tuple of float
        Per spatial axis, in `unit`.
    unit : str
    notes : tuple of str
    """

    def __init__(self, path: Path, source: Source) -> None:
        self.path = path
        self._source = source
        self.axes, self.shape, self.dtype = source.axes, source.shape, source.dtype
        self.spacing, self.unit, self.notes = source.spacing, source.unit, source.notes

    @property
    def ndim(self) -> int:
        """Number of spatial axes, 2 or 3."""
        return len(self.spacing)

    @property
    def size(self) -> tuple[int, ...]:
        """Spatial shape in pixels."""
        return self.shape[1:]

    def __getitem__(self, region: slice | Region) -> np.ndarray:
        """Read a region.

        Parameters
        ----------
        region : tuple of slice
            Over (C, *spatial); axes left out at the end are read whole. Any start, stop and step that numpy takes.

        Returns
        -------
        ndarray of shape (C, *spatial) of the region
            In memory, its own copy.

        Raises
        ------
        TypeError
            If an entry is not a slice.
        ValueError
            If there are more slices than axes, or the data of the region is damaged.
        """
        slices = region if isinstance(region, tuple) else (region,)
        if not all(isinstance(entry, slice) for entry in slices):
            raise TypeError(f"expected slices over (C, *spatial), got {region!r}: write i:i+1 for index i")
        if len(slices) > len(self.shape):
            raise ValueError(f"got {len(slices)} slices for an image of shape {self.shape}")
        full = slices + (slice(None),) * (len(self.shape) - len(slices))
        ranges = [range(*entry.indices(length)) for entry, length in zip(full, self.shape, strict=True)]
        if not all(ranges):
            return np.empty([len(steps) for steps in ranges], self.dtype)
        hull = tuple(slice(min(steps), max(steps) + 1) for steps in ranges)
        with naming(self.path):
            array = self._source.read(hull)
        return np.array(array[tuple(slice(None, None, steps.step) for steps in ranges)], self.dtype, order="C")

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def __enter__(self) -> LazyImage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class WholeImage:
    """A source in memory, for formats that can only be decoded whole."""

    def __init__(self, image: Image) -> None:
        self._array = image.array
        self.axes, self.shape, self.dtype = image.axes, image.array.shape, image.array.dtype
        self.spacing, self.unit, self.notes = image.spacing, image.unit, image.notes

    def read(self, region: Region) -> np.ndarray:
        """Channels of a region."""
        return self._array[region]

    def close(self) -> None:
        """Nothing to release."""


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

    def read(self, region: Region) -> np.ndarray:
        """Channels of a region."""
        layout, colour = self._tiff.layout, self._tiff.colour
        channels, *space = region
        kept = colour.kept(layout.shape[0])
        # Samples and channels that are two axes of the file, or become other channels: read all, then choose.
        is_direct = colour.is_direct and not ("C" in layout.letters and "S" in layout.letters)
        samples = slice(kept[channels.start], kept[channels.stop - 1] + 1) if is_direct else slice(0, layout.shape[0])
        asked = dict(zip((letter.upper() for letter in layout.spatial), space, strict=True))
        asked |= {letter: samples if is_direct else slice(0, layout.length(letter)) for letter in "CS"}
        notes: list[str] = []  # the same remarks were made on opening
        with decoding("TIFF"), listening("tifffile", notes):
            stored = layout.arranged(self._read_stored(tuple(asked[letter] for letter in layout.letters)))
        if not is_direct:
            return colour.convert(stored)[channels]
        return stored[[index - samples.start for index in kept[channels]]]

    def close(self) -> None:
        """Close the file."""
        self._tiff.close()


def _reader(tiff: TiffImage) -> Callable[[Region], np.ndarray]:
    """The cheapest way to a region over the axes of the layout: a map of the file, else its segments."""
    series, layout = tiff.series, tiff.layout
    if series.dataoffset is not None and tiff.page.is_memmappable:
        mapped = tiff.tif.filehandle.memmap_array(
            tiff.tif.byteorder + series.dtype.char, layout.lengths, offset=series.dataoffset
        )
        return lambda region: mapped[region]
    return _Pages(series, layout)


class _Pages:
    """Regions of a stack of pages, each read by its own strips or tiles.

    In memory order a page is (separate samples, depth, length, width, contiguous samples), tifffile's `shaped`; the
    axes of the series are those of the stack followed by those of the page. Axes of length 1 are left out on
    both sides, so the last axes of the layout are those of the page.
    """

    def __init__(self, series: tifffile.TiffPageSeries, layout: Layout) -> None:
        self._series, self._page = series, series.keyframe
        self._lock = threading.Lock()  # one file position
        page_lengths = tuple(length for length in self._page.shaped if length != 1)
        self._outer = layout.lengths[: len(layout.lengths) - len(page_lengths)]
        if layout.lengths[len(self._outer) :] != page_lengths or len(series) != int(np.prod(self._outer)):
            raise ValueError(
                f"axes of lengths {layout.lengths} do not end in those of a page, {page_lengths}: this layout can only "
                "be read whole"
            )

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
        if self._page.is_memmappable:
            with self._lock:
                mapped = page.asarray(out="memmap", squeeze=False)
            return np.asarray(mapped[box])
        result = np.full([part.stop - part.start for part in box], self._page.nodata, self._page.dtype)
        for number in self._segments(box):
            with self._lock:
                file = page.parent.filehandle
                file.seek(page.dataoffsets[number])
                data = file.read(page.databytecounts[number]) or None
            tables = {"jpegtables": page.jpegtables} if self._page.compression in (6, 7, 34892, 33007) else {}
            segment, start, _ = self._page.decode(data, number, **tables)
            if segment is not None:  # left out of a sparse file: no data
                _copy_overlap(segment[None], start, result, box)
        return result

    def _segments(self, box: Region) -> list[int]:
        """Numbers of the strips or tiles that a box touches."""
        page = self._page
        lengths = (1, page.tiledepth, page.tilelength, page.tilewidth) if page.is_tiled else (1, 1, page.rowsperstrip)
        lengths = (*lengths, *page.shaped[len(lengths) : 4])  # a strip is as wide as the image
        grid = [-(-total // length) for total, length in zip(page.shaped[:4], lengths, strict=True)]
        touched = [
            range(part.start // length, -(-part.stop // length))
            for part, length in zip(box[:4], lengths, strict=True)
        ]
        return [int(np.ravel_multi_index(place, grid)) for place in itertools.product(*touched)]


def _copy_overlap(segment: np.ndarray, start: tuple[int, ...], result: np.ndarray, box: Region) -> None:
    """Copy into `result`, which is `box` of a page, the part of a segment at `start` that lies in the box."""
    source, target = [], []
    for length, first, part in zip(segment.shape, start, box, strict=True):
        low, high = max(first, part.start), min(first + length, part.stop)
        source.append(slice(low - first, high - first))
        target.append(slice(low - part.start, high - part.start))
    result[tuple(target)] = segment[tuple(source)]
