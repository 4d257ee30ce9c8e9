"""The mask of one image file: planned, made block by block beside its place, and written when all blocks are there."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.normalise import Normalisation
from ..image import Image
from ..io import LazyImage, write_labels_from
from ..io.block_store import BlockStore
from ..io.filenames import JPEG_SUFFIXES, PNG_SUFFIXES, TIFF_SUFFIXES, file_of, suffix_of
from ..io.lazy import Source, WholeImage
from ..io.lock import sole_writer_of
from ..io.region_of_interest import RegionOfInterest
from ..io.resample import Resampled
from ..labels.colours import colour_table
from ..labels.instances import InstanceThresholds, decode_blocks, unpack_maps
from ..tiles import Slices
from .input import InputImage
from .outputs import MISSING, PixelRecords, StoredMap
from .regions import Blank, RegionFile
from .restriction import NONE_SKIPPED, SkippedBlocks
from .tiling import Tiling

if TYPE_CHECKING:
    from .predictor import Predictor

__all__ = ["MaskFile", "PlannedMask"]

_OBJECT_BLOCK = {2: 2048, 3: 128}  # pixels per axis of the foreground that is decoded together
_STORED_FROM = 2**22  # pixels of a mask whose finished blocks are kept on disk while it is made: some ten seconds' work


@dataclass(frozen=True)
class PlannedMask:
    """A mask to make, of an image that was read once.

    Attributes
    ----------
    files : tuple of Path
        Of the image: one, or one per channel.
    path : Path
        Of the mask.
    size, image_size : tuple of int
        Pixels that the net is given, and those of the image.
    scaling : Normalisation
    tiling : Tiling
    is_map : bool
        Whether the image has a place on the earth, so that what is not predicted holds no data.
    within : RegionFile, optional
        Outside of which nothing is predicted.
    skipped : SkippedBlocks
    """

    files: tuple[Path, ...]
    path: Path
    size: tuple[int, ...]
    image_size: tuple[int, ...]
    scaling: Normalisation
    tiling: Tiling
    is_map: bool = False
    within: RegionFile | None = None
    skipped: SkippedBlocks = NONE_SKIPPED

    @property
    def partial(self) -> Path:
        """Where the finished blocks of the mask are kept until all are there."""
        return self.path.with_name(f".{self.path.name}.partial")

    def output(self, folder: str) -> Path:
        """A further output, of the mask's name, in a folder beside it."""
        return self.path.parent / folder / self.path.name

    def absolute(self) -> PlannedMask:
        """The same with paths that hold wherever a process runs."""
        return replace(self, files=tuple(file.resolve() for file in self.files), path=self.path.resolve())

    def open(self, predictor: Predictor) -> InputImage:
        """Open the image again.

        Raises
        ------
        ValueError
            If it has another size by now.
        """
        image = InputImage.open(self.files, predictor.net, predictor.file_card, scaling=self.scaling)
        if image.size != self.size:
            image.close()
            raise ValueError(f"{self.files[0]}: was {self.size} pixels when it was checked and is {image.size} now")
        return image

    def key(self, settings: dict[str, object]) -> str:
        """A digest of all that the mask depends on: the files as they are now, and settings that JSON can hold."""
        stamps = [_stamp(file) for file in self.files]
        if self.within is not None:
            settings = settings | {"within": _stamp(self.within.path)}
        return hashlib.sha256(json.dumps([stamps, settings], sort_keys=True).encode()).hexdigest()


def _stamp(file: Path) -> list[Any]:
    """Name of an image, and names, sizes and times of its file, or of what lies at the top of its folder."""
    own = file_of(file)
    rows = [own, *sorted(own.iterdir())] if own.is_dir() else [own]
    return [[file.name if row is rows[0] else row.name, row.stat().st_size, row.stat().st_mtime_ns] for row in rows]


class MaskFile:
    """The blocks of one mask.

    Small masks are kept in memory, others in a file beside the mask, which is found again after a crash.

    Parameters
    ----------
    planned : PlannedMask
    predictor : Predictor
    records : PixelRecords
        What is kept of a pixel.
    settings : dict
        What the mask depends on beside the image; values that JSON can hold.

    Raises
    ------
    FileExistsError
        If another process makes this mask; it is named.
    """

    def __init__(
        self, planned: PlannedMask, predictor: Predictor, records: PixelRecords, settings: dict[str, object]
    ) -> None:
        self.planned, self.records, self._predictor = planned, records, predictor
        block = predictor.block_size(planned.tiling, planned.size)
        planned.path.parent.mkdir(parents=True, exist_ok=True)
        path = planned.partial if prod(planned.size) >= _STORED_FROM else None
        with ExitStack() as held:
            held.enter_context(sole_writer_of(planned.path))
            key, blank = planned.key(settings), records.blank(is_map=planned.is_map)
            self.store = BlockStore(path, planned.size, block=block, dtype=records.dtype, key=key, blank=blank)
            held.callback(self.store.close)
            self.store.skip(planned.skipped.starts)
            self._held = held.pop_all()

    def messages(self, image: InputImage, counts: Counter[str]) -> Iterator[str]:
        """What the user should know before the work starts; notes of earlier images are only counted."""
        name, size = self.planned.files[0].name, self.planned.size
        for note in image.notes:
            if not counts[note]:
                yield f"{name}: {note}"
            counts[note] += 1
        if image.missing:
            value = self.records.nodata
            yield f"{name}: {image.missing} of {prod(size)} pixels hold no data: {value} in the mask"
        is_picture = suffix_of(self.planned.files[0]) in (*PNG_SUFFIXES, *JPEG_SUFFIXES)
        if self.records.card.decoding is not None and is_picture and suffix_of(self.planned.path) in TIFF_SUFFIXES:
            yield f"{name}: may show more objects than a PNG holds ids: the mask is {self.planned.path.name}"
        yield f"{name}: {' x '.join(map(str, size))} pixels, {self._predictor.describe(self.planned.tiling)}"
        yield from (f"{name}: {words}" for words in self.planned.skipped.messages(self.planned.within))
        if self.store.has_dropped:
            other = "another model, image or settings, or for another region"
            yield f"{name}: found a partial mask made with {other}; starting over"
        if done := self.store.pixels:
            yield f"{name}: resuming: {done / (done + self.store.left_pixels):.0%} done"

    def finish(self, like: LazyImage) -> None:
        """Write the mask from its blocks, and delete them."""
        within = self.planned.within
        with within.open(like) if within else nullcontext() as region:
            self._write(like, region)
        self.store.remove()

    def _write(self, like: LazyImage, region: RegionOfInterest | None) -> None:
        card, is_map = self.records.card, self.planned.is_map
        blank = self.records.blank_label(is_map=is_map)
        for index, folder in enumerate(self.records.folders):
            path = self.planned.output(folder)
            path.parent.mkdir(exist_ok=True)
            percent = _cut(_at_size(StoredMap(self.store, index), like), region, MISSING)
            write_labels_from(path, percent, like=like, nodata=MISSING if is_map else None)
        if card.decoding is None:
            nodata = self.records.nodata if is_map else None
            colours = colour_table(card.labels) if is_map else None
            labels = _cut(_at_size(StoredMap(self.store), like), region, blank)
            write_labels_from(self.planned.path, labels, like=like, nodata=nodata, colours=colours)
        else:
            with self._objects(card.decoding, region) as labels:
                write_labels_from(self.planned.path, _cut(_at_size(labels, like), region, 0), like=like)

    @contextmanager
    def _objects(self, thresholds: InstanceThresholds, region: RegionOfInterest | None) -> Iterator[Source]:
        """Ids of the objects, cut by the region; those of a large mask are on disk while they are made."""
        size = self.planned.size
        with ExitStack() as files:

            def allocate(dtype: np.dtype) -> np.ndarray:
                if prod(size) < _STORED_FROM:
                    return np.zeros(size, dtype)
                file = files.enter_context(tempfile.TemporaryFile(dir=self.planned.path.parent))
                return np.memmap(file, dtype, "w+", shape=size)

            def read(box: Slices) -> tuple[np.ndarray, np.ndarray]:
                return unpack_maps(maps.read((slice(0, 1), *box))[0])

            maps = _cut(StoredMap(self.store), region, 0)
            block = tuple(min(n, _OBJECT_BLOCK[len(size)]) for n in size)
            ids = decode_blocks(read, size, block, thresholds, allocate=allocate)
            axes = "cyx" if len(size) == 2 else "czyx"
            yield WholeImage(Image(ids[None], axes, (1.0,) * len(size)))

    def close(self) -> None:
        """Keep what is there for another time, and let others write the mask."""
        self._held.close()

    def __enter__(self) -> MaskFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _cut(labels: Source, region: RegionOfInterest | None, value: int) -> Source:
    """Labels that have one value outside of a region, if there is one."""
    return labels if region is None else Blank(labels, region, value)


def _at_size(labels: Source, like: LazyImage) -> Source:
    """Labels in the size of their image, where the net was given another."""
    return labels if labels.shape[1:] == like.size else Resampled(labels, like.size, nearest=True)
