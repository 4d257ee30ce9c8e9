"""Regions of a TIFF; only the strips or tiles that they touch are decoded."""

from __future__ import annotations

import math

import numpy as np

from ..decoder_errors import decoding, logged
from ..lazy import Region
from .layout import TiffImage


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

    @property
    def height(self) -> int:
        """Rows (planes) that are decoded together; 1 where they are mapped, and for the planes of a stack."""
        page = self._tiff.page
        if len(self.shape) == 4 or page.is_memmappable:
            return 1
        return int(page.tilelength if page.is_tiled else min(page.rowsperstrip, self.shape[1]))

    @property
    def piece_bytes(self) -> int:
        """Bytes that are decoded at least: a tile or strip, of the samples that it holds."""
        page = self._tiff.page
        if page.is_memmappable:
            return 0
        return math.prod(page.chunks) * np.dtype(page.dtype).itemsize

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
        slices["T"] = self._tiff.time
        notes: list[str] = []  # the same remarks were made on opening
        with decoding("TIFF"), logged("tifffile", notes):
            stored = layout.arranged(self._tiff.read_stored(tuple(slices[letter] for letter in layout.letters)))
        if not is_direct:
            return colour.convert(stored)[channels]
        return stored[[index - samples.start for index in kept[channels]]]

    def close(self) -> None:
        """Close the file."""
        self._tiff.close()
