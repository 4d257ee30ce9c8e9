"""Images in their files, read by region: a few are kept open, however many a training has."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import cast

import numpy as np

from ..image import Image
from ..io import LazyImage
from ..io.category_names import category_names
from ..io.read_options import ReadOptions
from ..io.reading import has_regions, needs_image
from ..io.zarr.labels import label_names
from .channels import open_channels
from .readable import ByRegion, Region, blocks

__all__ = ["OpenFiles", "OpenedImage", "open_image", "open_mask"]

_MOST_OPEN = 32  # files: systems allow a process some hundreds
_LARGEST_PIECE = 2**24  # bytes: of files in larger pieces, a patch would cost the decoding of far more than it holds
_LOOKED_AT = 2**22  # samples at a time, where three channels are compared


class _OpenFile:
    """An image that is open until it is let go of and nobody reads it any more."""

    def __init__(self, image: LazyImage) -> None:
        self._image, self._readers, self._is_dropped = image, 0, False
        self._lock = threading.Lock()

    def begin(self) -> LazyImage:
        with self._lock:
            self._readers += 1
        return self._image

    def end(self) -> None:
        with self._lock:
            self._readers -= 1
            if self._is_dropped and not self._readers:
                self._image.close()

    def drop(self) -> None:
        with self._lock:
            self._is_dropped = True
            if not self._readers:
                self._image.close()


class OpenFiles:
    """The images that were read last, open; reading from several threads is safe."""

    def __init__(self) -> None:
        self._files: OrderedDict[tuple[tuple[Path, ...], ReadOptions], _OpenFile] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, files: Sequence[Path], options: ReadOptions, region: Region) -> np.ndarray:
        """Stored samples of a region over (C, *space)."""
        with self._opened(tuple(files), options) as image:
            return image[region]

    def holds_data(self, files: Sequence[Path], options: ReadOptions, stored: np.ndarray, space: Region) -> np.ndarray:
        """Which of the stored samples of a region hold data."""
        with self._opened(tuple(files), options) as image:
            return image.holds_data(stored, space)

    @contextmanager
    def _opened(self, files: tuple[Path, ...], options: ReadOptions) -> Iterator[LazyImage]:
        key = files, options
        with self._lock:
            if key not in self._files:
                self._files[key] = _OpenFile(open_channels(files, options))
                while len(self._files) > _MOST_OPEN:
                    self._files.popitem(last=False)[1].drop()
            self._files.move_to_end(key)
            file = self._files[key]
            image = file.begin()
        try:
            yield image
        finally:
            file.end()

    def close(self) -> None:
        """Close all files; what is read later opens them again."""
        with self._lock:
            while self._files:
                self._files.popitem()[1].drop()

    def __del__(self) -> None:
        with suppress(Exception):  # at the end of the interpreter
            self.close()


class OpenedImage(ByRegion):
    """The stored samples (C, *spatial) of an image in its files, or without C of a mask.

    Parameters
    ----------
    files : sequence of Path
        One, or one per channel.
    options : ReadOptions
    opened : OpenFiles
    image : LazyImage
        Of these files.
    channels : int
        0 for a mask, of one channel without an axis; 1 where three channels are one gray.
    """

    def __init__(
        self, files: Sequence[Path], options: ReadOptions, opened: OpenFiles, image: LazyImage, channels: int
    ) -> None:
        self._files, self._options, self._opened, self._is_mask = files, options, opened, not channels
        self.shape = image.size if self._is_mask else (channels, *image.size)
        self.dtype = np.dtype(image.dtype)

    def _read(self, region: Region) -> np.ndarray:
        if self._is_mask:
            return self._opened.read(self._files, self._options, (slice(0, 1), *region))[0]
        return self._opened.read(self._files, self._options, region)

    def holds_data(self, stored: np.ndarray, space: Region) -> np.ndarray:
        """Which of the stored samples (C, *space) of a map hold data, by its values or a mask of its own."""
        return self._opened.holds_data(self._files, self._options, stored, space)


def open_image(files: Sequence[Path], options: ReadOptions, opened: OpenFiles, *, least_bytes: int) -> Image | None:
    """The image of some files, whose array is read by region; None where it is better read whole.

    It is where a file is decoded whole or in large pieces, or is not larger than `least_bytes`.
    """
    if not all(has_regions(file) for file in files):
        return None
    with open_channels(files, options) as image:
        if not _is_sliced(image) or image_bytes(image) <= least_bytes:
            return None
        image[(slice(None), *(slice(n - 1, n) for n in image.size))]  # a file that was cut off lacks its end
        channels, notes = image.shape[0], image.notes
        if not image.is_plain and not options.channels and _is_gray(image):
            channels, notes = 1, (*notes, "gray stored as RGB: read as one channel")
        return _as_image(image, image.axes, OpenedImage(files, options, opened, image, channels), notes)


def open_mask(path: Path, options: ReadOptions, opened: OpenFiles, *, least_pixels: float) -> Image | None:
    """The mask of a file, whose array (*spatial) is read by region; None where it is better read whole.

    It is where it is not larger than `least_pixels`, or holds anything but plain integers: what others mean is decided
    over all of them (`io.label_samples`).
    """
    if needs_image(path) or not has_regions(path):
        return None
    with open_channels([path], options) as image:
        is_plain = image.is_plain and image.shape[0] == 1 and image.validity is None
        is_named = bool(category_names(path)) or (path.is_dir() and bool(label_names(path)))
        if not is_plain or is_named or image.dtype.kind not in "ui" or image.dtype == np.uint64:
            return None
        if not _is_sliced(image) or prod(image.size) <= least_pixels:
            return None
        array = OpenedImage([path], options, opened, image, 0)
        return _as_image(image, image.axes.removeprefix("c"), array, image.notes)


def image_bytes(image: LazyImage) -> int:
    """Bytes of all samples of an image."""
    return prod(image.shape) * image.dtype.itemsize


def _is_sliced(image: LazyImage) -> bool:
    return image.piece_bytes is not None and image.piece_bytes <= _LARGEST_PIECE


def _as_image(image: LazyImage, axes: str, array: OpenedImage, notes: tuple[str, ...]) -> Image:
    place = image.place, image.georeference, image.origin
    return Image(cast(np.ndarray, array), axes, image.spacing, image.unit, notes, *place)


def _is_gray(image: LazyImage) -> bool:
    """Whether three channels are equal everywhere; a difference is mostly found at once."""
    if image.shape[0] != 3:
        return False
    for space in blocks(image.size, _LOOKED_AT):
        values = image[(slice(0, 3), *space)]
        if (values != values[:1]).any():
            return False
    return True
