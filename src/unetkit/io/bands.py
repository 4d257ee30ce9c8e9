"""Reading some rows after others from a file that decodes many rows at a time: nothing is decoded twice."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np

from .lazy import Region, Source

_KEPT = 2  # bands: what is read next begins where the last one ended


class Banded:
    """A source whose last decoded bands of rows (planes) are kept, as what is read next mostly lies in them.

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
        """Close the file and forget what was kept."""
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
            while len(self._bands) > _KEPT:
                self._bands.popitem(last=False)
        return band


def banded(source: Source, height: int) -> Source:
    """A source as it is where each row is read by itself, else one that keeps its last bands of rows."""
    return source if height == 1 else Banded(source, height)
