"""A mask on its way: checked and planned, its finished blocks kept beside its place until all are there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from ..data.normalise import Scaling
from ..data.pairs import raise_all
from ..image import Image
from ..io import LazyImage, write_labels_from
from ..io.block_store import BlockStore
from ..io.lazy import Source, WholeImage
from ..io.resample import Resampled
from ..labels.colours import colour_table
from ..labels.instances import InstanceThresholds, decode_blocks, unpack_maps
from ..tiles import Slices
from .input import InputImage
from .jobs import Job
from .outputs import MISSING, StoredMap
from .predictor import PendingTile, Predictor
from .tiling import Tiling

__all__ = ["MaskFile", "PlannedMask", "check_all"]

_OBJECT_BLOCK = {2: 2048, 3: 128}  # pixels per axis of which foreground is looked at together
_LEDGER_FROM = 2**22  # pixels of a mask whose finished blocks are kept on disk while it is made: some ten seconds' work


@dataclass(frozen=True)
class PlannedMask:
    """An image that was read once, and how its mask will be made: `size` is what the net is given of `image_size`."""

    job: Job
    size: tuple[int, ...]
    scaling: Scaling
    tiling: Tiling
    image_size: tuple[int, ...]

    def absolute(self) -> PlannedMask:
        """The same with paths that hold wherever a process runs."""
        job = Job(tuple(file.resolve() for file in self.job.files), self.job.mask.resolve())
        return replace(self, job=job)

    def open(self, segmenter: Predictor) -> InputImage:
        """Open the image again.

        Raises
        ------
        ValueError
            If it has another size by now.
        """
        given = InputImage(self.job.files, segmenter.net, segmenter.card, scaling=self.scaling)
        if given.size != self.size:
            given.close()
            raise ValueError(f"{self.job.files[0]}: was {self.size} pixels when it was checked and is {given.size} now")
        return given


def check_all(jobs: Sequence[Job], segmenter: Predictor) -> list[PlannedMask]:
    """Read every image once before the work starts, so that a bad one is known now and not in an hour.

    Raises
    ------
    ValueError
        Naming every image that cannot be used, or not within the memory.
    """
    tasks, problems = [], []
    for job in jobs:
        try:
            with InputImage(job.files, segmenter.net, segmenter.card) as given:
                tasks.append(PlannedMask(job, given.size, given.scaling, segmenter.plan(given.size), given.image.size))
        except (ValueError, OSError, MemoryError) as error:
            text = str(error)
            problems.append(text if any(str(file) in text for file in job.files) else f"{job.files[0]}: {text}")
    raise_all(problems, "unusable image")
    return tasks


class MaskFile:
    """The blocks of one mask.

    Small masks are kept in memory; those that take long in a file beside the mask, which is found again after a crash.

    Parameters
    ----------
    task : Task
    segmenter : Segmenter
    settings : dict
        What the mask depends on beside image and model plan; plain values.
    """

    def __init__(self, task: PlannedMask, segmenter: Predictor, settings: dict[str, Any]) -> None:
        self.task, self._segmenter = task, segmenter
        job, block = task.job, segmenter.block(task.tiling, task.size)
        job.mask.parent.mkdir(parents=True, exist_ok=True)
        path = job.partial if prod(task.size) >= _LEDGER_FROM else None
        self.store = BlockStore(path, task.size, block=block, dtype=segmenter.dtype, key=job.key(**settings))

    def messages(self, given: InputImage) -> Iterator[str]:
        """What the user should know before the work starts."""
        name, size = self.task.job.files[0].name, self.task.size
        for note in given.notes:
            yield f"{name}: {note}"
        if given.missing:
            value = self._segmenter.nodata
            yield f"{name}: {given.missing} of {prod(size)} pixels hold no data: {value} in the mask"
        yield f"{name}: {' x '.join(map(str, size))} pixels, {self._segmenter.describe(self.task.tiling)}"
        if self.store.has_dropped:
            yield f"{name}: an unfinished mask of another model, image or setting was found and is made anew"
        if self.store.pixels:
            yield f"{name}: going on where it was stopped, {self.store.pixels / prod(size):.0%} are there"

    @property
    def left(self) -> list[PendingTile]:
        """What has still to be run."""
        return self._segmenter.left(self.store, self.task.tiling)

    def finish(self, like: LazyImage) -> None:
        """Write the mask from its blocks, and delete them."""
        decoding, is_map = self._segmenter.card.decoding, like.georeference is not None
        for index, folder in enumerate(self._segmenter.folders):
            path = self.task.job.beside(folder)
            path.parent.mkdir(exist_ok=True)
            percent = _at_size(StoredMap(self.store, index), like)
            write_labels_from(path, percent, like=like, nodata=MISSING if is_map else None)
        if decoding is None:
            nodata = self._segmenter.nodata if is_map else None
            colours = colour_table(self._segmenter.card.labels) if is_map else None
            labels = _at_size(StoredMap(self.store), like)
            write_labels_from(self.task.job.mask, labels, like=like, nodata=nodata, colours=colours)
        else:
            with self._objects(decoding) as labels:
                write_labels_from(self.task.job.mask, _at_size(labels, like), like=like)
        self.store.remove()

    @contextmanager
    def _objects(self, how: InstanceThresholds) -> Iterator[Source]:
        """Ids of the objects; those of a large mask are on disk while they are made."""
        size = self.task.size
        with ExitStack() as files:
            is_small = prod(size) < _LEDGER_FROM

            def allocate(dtype: np.dtype) -> np.ndarray:
                if is_small:
                    return np.zeros(size, dtype)
                file = files.enter_context(tempfile.TemporaryFile(dir=self.task.job.mask.parent))
                return np.memmap(file, dtype, "w+", shape=size)

            codes = StoredMap(self.store)
            block = tuple(min(n, _OBJECT_BLOCK[len(size)]) for n in size)

            def read(box: Slices) -> tuple[np.ndarray, np.ndarray]:
                return unpack_maps(codes.read((slice(0, 1), *box))[0])

            ids = decode_blocks(read, size, block, how, allocate=allocate)
            axes = "cyx" if len(size) == 2 else "czyx"
            yield WholeImage(Image(ids[None], axes, (1.0,) * len(size)))

    def __enter__(self) -> MaskFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()


def _at_size(labels: Source, like: LazyImage) -> Source:
    """Labels in the size of their image, where the net was given another."""
    return labels if labels.shape[1:] == like.size else Resampled(labels, like.size, nearest=True)
