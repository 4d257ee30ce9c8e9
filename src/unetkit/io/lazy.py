"""Images that are read by region: sources, the lazy image on them, and the cache of rows between."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from ..georeference import GeoReference, holds_data
from ..image import Image, WorldAffine
from .decoder_errors import naming

Region = tuple[slice, ...]


class Source(Protocol):
    """Reads the channels of any region."""

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


def read_region(source: Source, region: Region) -> np.ndarray:
    """Read a region of labels, which must come with all its pixels.

    Raises
    ------
    ValueError, OSError
        If it cannot be read, or comes with fewer pixels than it has.
    """
    try:
        array = np.asarray(source.read(region))
    except ValueError as error:
        raise ValueError(f"its labels cannot be read: {error}") from error
    except OSError as error:
        raise OSError(error.errno, f"its labels cannot be read: {error.strerror or error}") from error
    expected = tuple(part.stop - part.start for part in region)
    if array.shape != expected:
        box = ", ".join(f"{part.start}:{part.stop}" for part in region)
        raise ValueError(f"its labels end early: region ({box}) has shape {array.shape}, expected {expected}")
    return array


def overlap(start: Sequence[int], size: Sequence[int], region: Region) -> tuple[Region, Region]:
    """Slices of a block, and of an array that holds `region`, where both overlap.

    Parameters
    ----------
    start, size : sequence of int
        First pixel of the block, and its size.
    region : tuple of slice

    Examples
    --------
    >>> overlap((10,), (10,), (slice(5, 14),))
    ((slice(0, 4, None),), (slice(5, 9, None),))
    """
    ends = [
        (max(first, part.start), min(first + n, part.stop)) for first, n, part in zip(start, size, region, strict=True)
    ]
    source = tuple(slice(low - first, high - first) for (low, high), first in zip(ends, start, strict=True))
    target = tuple(slice(low - part.start, high - part.start) for (low, high), part in zip(ends, region, strict=True))
    return source, target


class LazyImage:
    """An image on disk that can be sliced like an array of shape (C, *spatial).

    Use it as a context manager, or call `close`. Reading from several threads is safe; another process opens
    the file for itself.

    Parameters
    ----------
    path : Path
        Named in errors.
    source : Source
    place : WorldAffine, optional
        Position of a volume in the world.
    georeference : GeoReference, optional
        Position of a map on the earth.
    origin : tuple of float, optional
        Position of the first pixel in `unit`.
    validity : callable, optional
        Where a map holds data by a mask of its own: takes a region over space.
    piece_bytes : int, optional
        Bytes that are decoded at least to read any pixel; None where the whole image may be.
    is_plain : bool
        Whether its samples are channels as they are: no colours, of which `read` makes one channel where all are
        equal, no opacity, and no compression that changes values.

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
    place : WorldAffine or None
    georeference : GeoReference or None
    origin : tuple of float or None
    """

    def __init__(
        self,
        path: Path,
        source: Source,
        place: WorldAffine | None = None,
        georeference: GeoReference | None = None,
        origin: tuple[float, ...] | None = None,
        validity: Callable[[Region], np.ndarray] | None = None,
        piece_bytes: int | None = None,
        is_plain: bool = True,
    ) -> None:
        self.path, self.place, self.georeference, self.origin = path, place, georeference, origin
        self.validity, self.piece_bytes, self.is_plain = validity, piece_bytes, is_plain
        self._source: Source | None = source
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
            If the image is closed, there are more slices than axes, or the data of the region is damaged.
        """
        if self._source is None:
            raise ValueError(f"{self.path}: closed; open it again, or read inside its `with` block")
        slices = region if isinstance(region, tuple) else (region,)
        if not all(isinstance(entry, slice) for entry in slices):
            raise TypeError(f"expected slices over (C, *spatial), got {region!r}: write i:i+1 for index i")
        if len(slices) > len(self.shape):
            raise ValueError(f"got {len(slices)} slices for an image of shape {self.shape}")
        full = slices + (slice(None),) * (len(self.shape) - len(slices))
        ranges = [range(*entry.indices(length)) for entry, length in zip(full, self.shape, strict=True)]
        if not all(ranges):
            return np.empty([len(steps) for steps in ranges], self.dtype)
        hull = tuple(slice(min(steps[0], steps[-1]), max(steps[0], steps[-1]) + 1) for steps in ranges)
        with naming(self.path):
            array = self._source.read(hull)
        return np.array(array[tuple(slice(None, None, steps.step) for steps in ranges)], self.dtype, order="C")

    def holds_data(self, stored: np.ndarray, space: Region) -> np.ndarray:
        """Mask of the samples that hold data, (C, *space), of a region over space whose samples were read."""
        nodata = self.georeference.nodata if self.georeference else None
        if self.validity is None:
            return holds_data(stored, nodata)
        with naming(self.path):
            return holds_data(stored, nodata, self.validity(space))

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        if self._source is not None:
            self._source.close()
            self._source = None

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


def whole_lazy(path: Path, image: Image) -> LazyImage:
    """An image in memory as one that is read by region; `path` is named in errors."""
    valid = image.valid
    return LazyImage(
        path,
        WholeImage(image),
        image.place,
        image.georeference,
        image.origin,
        None if valid is None else valid.__getitem__,
    )


KEPT_BANDS = 2  # the next read mostly begins where the last one ended


class Banded:
    """A source that keeps its last decoded bands of rows (planes), in which the next read mostly lies.

    Parameters
    ----------
    source : Source
    height : int
        Rows along the first spatial axis that are decoded together, those of its tiles, strips or chunks.
    """

    def __init__(self, source: Source, height: int) -> None:
        self._source, self._height = source, height
        self.axes, self.shape, self.dtype = source.axes, source.shape, source.dtype
        self.spacing, self.unit, self.notes = source.spacing, source.unit, source.notes
        self._bands: OrderedDict[tuple[int, ...], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, region: Region) -> np.ndarray:
        """Channels of a region."""
        channels, rows, *across = region
        if rows.stop - rows.start >= self._height:
            return self._source.read(region)
        parts = []
        for top in range(rows.start // self._height * self._height, rows.stop, self._height):
            band = slice(top, min(top + self._height, self.shape[1]))
            low, high = max(rows.start, band.start), min(rows.stop, band.stop)
            parts.append(self._band((channels, band, *across))[:, low - top : high - top])
        return np.concatenate(parts, axis=1)

    def close(self) -> None:
        """Close the file and drop the bands."""
        self._bands.clear()
        self._source.close()

    def _band(self, region: Region) -> np.ndarray:
        key = tuple(end for part in region for end in (part.start, part.stop))
        with self._lock:
            band = self._bands.get(key)
        if band is None:
            band = self._source.read(region)
        with self._lock:
            self._bands[key] = band
            self._bands.move_to_end(key)
            while len(self._bands) > KEPT_BANDS:
                self._bands.popitem(last=False)
        return band


def banded(source: Source, height: int) -> Source:
    """Keep the last bands of rows of a source, unless it reads each row by itself."""
    return source if height == 1 else Banded(source, height)
