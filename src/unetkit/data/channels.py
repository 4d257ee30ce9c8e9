"""One image from a file per channel; all are laid on the first where their files state another orientation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..image import Image
from ..io import LazyImage, open_lazy, read
from ..io.decoder_errors import naming
from ..io.lazy import Region
from ..io.placement import Turn, turn_onto
from ..io.read_options import AS_STATED, ReadOptions, chosen

SAME_SPACING = 1e-3  # relative: headers are float32, and some are rounded by hand


def read_channels(files: Sequence[Path], options: ReadOptions = AS_STATED) -> Image:
    """Read the files of one image and stack their channels, in this order.

    Parameters
    ----------
    files : sequence of Path
        One file, or several such as case_0000.nii.gz and case_0001.nii.gz.
    options : ReadOptions
        Axes that the files do not name; channels to take, of several files among those of all.

    Returns
    -------
    Image of shape (C, *spatial)
        Spacing, unit and place of the first file; the dtype that holds the values of all.

    Raises
    ------
    ValueError
        If a file cannot be read, or its size, spacing, unit or place is not that of the first; one line with both.
    """
    if len(files) == 1:
        return read(files[0], axes=options.axes, channels=options.channels)
    images = [read(file, axes=options.axes) for file in files]
    first = images[0]
    turns, notes = _laid_on_first(files, images)
    array = np.concatenate([turn(image.array) for turn, image in zip(turns, images, strict=True)])
    if options.channels:
        with naming(files[0]):
            array, notes = array[options.indices(len(array))], (*notes, options.channel_note(len(array)))
    valid = [turn(image.valid) for turn, image in zip(turns, images, strict=True) if image.valid is not None]
    return replace(first, array=array, notes=notes, valid=np.all(valid, axis=0) if valid else None)


def open_channels(files: Sequence[Path], options: ReadOptions = AS_STATED) -> LazyImage:
    """Open the files of one image, so that regions of all its channels can be read; as `read_channels` otherwise."""
    if len(files) == 1:
        return open_lazy(files[0], axes=options.axes, channels=options.channels)
    images: list[LazyImage] = []
    try:
        for file in files:
            images.append(open_lazy(file, axes=options.axes))
        first, stacked = images[0], _Stacked(images, *_laid_on_first(files, images))
        with naming(files[0]):
            source = chosen(stacked, options)
        place = first.place, first.georeference, first.origin
        return LazyImage(files[0], source, *place, stacked.validity, piece_bytes=stacked.piece_bytes)
    except BaseException:
        for image in images:
            image.close()
        raise


class _Stacked:
    """The channels of several files, one after the other."""

    def __init__(self, images: Sequence[LazyImage], turns: Sequence[Turn], notes: tuple[str, ...]) -> None:
        first, self._images, self._turns, self.notes = images[0], images, turns, notes
        self.axes, self.spacing, self.unit = first.axes, first.spacing, first.unit
        self.shape = (sum(image.shape[0] for image in images), *first.size)
        self.dtype = np.result_type(*(image.dtype for image in images))

    def read(self, region: Region) -> np.ndarray:
        """Channels of a region."""
        wanted, *space = region
        parts, at = [], 0
        for image, turn in zip(self._images, self._turns, strict=True):
            n = image.shape[0]
            low, high = max(wanted.start - at, 0), min(wanted.stop - at, n)
            if low < high:
                parts.append(turn(image[(slice(low, high), *turn.source(tuple(space), image.size))]))
            at += n
        return np.concatenate(parts).astype(self.dtype, copy=False)

    @property
    def piece_bytes(self) -> int | None:
        """Bytes that are decoded at least to read any pixel; None where the whole of a file may be."""
        pieces = [image.piece_bytes for image in self._images]
        return None if None in pieces else max(piece or 0 for piece in pieces)

    @property
    def validity(self) -> Callable[[Region], np.ndarray] | None:
        """Where all files hold data by masks of their own; None where none has one."""
        pairs = zip(self._images, self._turns, strict=True)
        masked = [(image.validity, turn, image.size) for image, turn in pairs if image.validity]
        if not masked:
            return None
        return lambda space: np.all([turn(mask(turn.source(space, size))) for mask, turn, size in masked], axis=0)

    def close(self) -> None:
        """Close all files."""
        for image in self._images:
            image.close()


def _laid_on_first(files: Sequence[Path], images: Sequence[Image | LazyImage]) -> tuple[list[Turn], tuple[str, ...]]:
    """How each channel is turned to lie on the first, and notes; ValueError where it does not have the same grid."""
    first, turns = images[0], list[Turn]()
    notes = [note for image in images for note in image.notes]
    for file, image in zip(files, images, strict=True):
        start = f"{file}: one channel of {files[0]}, but it"
        if sorted(image.size) != sorted(first.size):
            raise ValueError(f"{start} has size {image.size}, not {first.size}; resample it to the same grid")
        steps = sorted(image.spacing)  # whichever way round they are stored
        if image.unit != first.unit or not np.allclose(steps, sorted(first.spacing), rtol=SAME_SPACING, atol=0):
            own, other = (f"({', '.join(f'{step:g}' for step in each.spacing)}) {each.unit}" for each in (image, first))
            raise ValueError(f"{start} has spacing {own}, not {other}; resample it to the same grid")
        try:
            turn, note = turn_onto(image, first)
        except ValueError as error:
            raise ValueError(f"{start} {error}") from None
        size = turn.permuted(image.size)
        if size != first.size:
            raise ValueError(f"{start} has size {size}, not {first.size}; resample it to the same grid")
        turns.append(turn)
        notes += [note] if note else []
    notes.append(f"{len(images)} channels, each a file of its own")
    return turns, tuple(dict.fromkeys(notes))
