"""One prediction over many machines: the workers of a Dask scheduler make blocks, which are kept as on one machine."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..io.block_store import PackedBlock
from ..processors import count_processors
from ..progress import Progress
from ..tiles import tile
from .execution import Execution
from .mask_file import MaskFile, PlannedMask
from .outputs import Outputs, PixelRecords
from .tiling import Tiling
from .work import PendingTile

if TYPE_CHECKING:
    from .predictor import Predictor

__all__ = ["WorkerSetup", "predict_on_cluster"]

_TASK_PIXELS = 2**23  # pixels of a task: some ten seconds' work, so that little is lost with a worker
_SERVED = 250  # workers that are served so; with more of them, tasks are as many times as large (benchmarks/cluster.py)
_LEAST_PIXELS, _TASKS_PER_WORKER = 2**20, 4  # smaller tasks where else some workers would have none
_IN_FLIGHT = 2  # tasks per worker: one that runs and one that waits; results are kept as they come
_CONNECT_S = 10.0

Blocks = list[tuple[tuple[int, ...], PackedBlock]]


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker needs to make the model ready, which it reads from paths that all machines share.

    Attributes
    ----------
    load : callable
        `Predictor.load`.
    models : tuple of Path
    digest : str
        Of the models' files.
    execution : Execution
    outputs : Outputs
    """

    load: Callable[..., Predictor]
    models: tuple[Path, ...]
    digest: str
    execution: Execution
    outputs: Outputs


def predict_on_cluster(
    where: str,
    predictor: Predictor,
    masks: Sequence[PlannedMask],
    records: PixelRecords,
    settings: dict[str, object],
    counts: Counter[str],
    progress: Progress,
) -> Iterator[tuple[PlannedMask, int, float]]:
    """Make masks on a cluster; a lost worker's tasks are done again by the others.

    Parameters
    ----------
    where : str
        "local", "local:N" for N processes of this machine, or the address of a scheduler.
    predictor : Predictor
        Of the same model, here; read from files.
    masks : sequence of PlannedMask
    records : PixelRecords
    settings : dict
        As `MaskFile` takes them; "model" is the digest of the model's files.
    counts : Counter
        Of the notes on images, each of which is told once.
    progress : Progress
        In images.

    Yields
    ------
    (mask, pixels, time_s) : PlannedMask, int, float
        Pixels that were computed, in so many seconds; in the order in which the masks are written.

    Raises
    ------
    ImportError
        If Dask is not installed.
    ValueError
        If `where` is not an address, or the model was not read from files.
    OSError
        If no scheduler answers there.
    """
    if not predictor.source:
        raise ValueError("the model lies in memory alone, where no worker can read it: save it, and load it from there")
    engine: Any = predictor.engine_key  # that "auto" chose here, so that every machine takes the same one
    execution = replace(predictor.execution, engine=engine)
    models = tuple(path.resolve() for path in predictor.source)
    setup = WorkerSetup(type(predictor).load, models, str(settings["model"]), execution, records.outputs)
    with _connected(where) as client:
        from distributed import as_completed

        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        if not workers:
            raise OSError(f"the scheduler at {where} has no workers: start some with dask worker {where}")
        progress.update(message=f"{workers} workers at {client.scheduler.address}")
        total = sum(prod(planned.size) for planned in masks)
        done, most = _Pixels(total, len(masks), counts, progress), task_pixels(total, workers)
        all_masks = (_Mask(planned, predictor, records, settings, done, most) for planned in masks)
        tasks = ((mask, pending) for mask in all_masks for pending in mask.waiting())
        running: dict[Any, _Mask] = {}
        completed = as_completed(with_results=True)
        opened: list[_Mask] = []

        def submit() -> None:
            while len(running) < _IN_FLIGHT * workers:
                task = next(tasks, None)
                if task is None:
                    return
                mask, pending = task
                if mask not in opened:
                    opened.append(mask)
                if pending is None:
                    continue
                future = client.submit(make, setup, mask.planned.absolute(), pending, pure=False)
                running[future] = mask
                completed.add(future)

        try:
            submit()
            yield from _finished(opened)
            for future, blocks in completed:
                running.pop(future).keep(blocks)
                submit()
                yield from _finished(opened)
        finally:
            client.cancel(list(running))
            for mask in opened:
                mask.file.close()


def _finished(opened: list[_Mask]) -> Iterator[tuple[PlannedMask, int, float]]:
    for mask in [mask for mask in opened if mask.is_complete]:
        opened.remove(mask)
        yield mask.planned, mask.pixels, mask.finish()


class _Pixels:
    """Counts pixels of all masks, and reports them as a share of the images."""

    def __init__(self, total: int, n_masks: int, counts: Counter[str], progress: Progress) -> None:
        self._total, self._n, self.progress, self._done = max(total, 1), n_masks, progress, 0
        self.counts = counts

    def add(self, pixels: int) -> None:
        self._done += pixels
        self.progress.update(min(self._done / self._total, 1.0) * self._n, self._n)


class _Mask:
    """A mask whose blocks are made elsewhere."""

    file: MaskFile

    def __init__(
        self,
        planned: PlannedMask,
        predictor: Predictor,
        records: PixelRecords,
        settings: dict[str, object],
        done: _Pixels,
        most: int,
    ) -> None:
        self._most = most
        self.planned, self._predictor, self._records, self._settings = planned, predictor, records, settings
        self._done, self._start = done, time.perf_counter()
        self._missing = self.pixels = 0
        self._is_planned = False

    def waiting(self) -> Iterator[PendingTile | None]:
        """Open the store, and hand out what has to be run; None where nothing has."""
        self.file = MaskFile(self.planned, self._predictor, self._records, self._settings)
        self.pixels = self.file.store.left_pixels
        self._done.add(prod(self.planned.size) - self.pixels)
        with self.planned.open(self._predictor) as image:
            for message in self.file.messages(image, self._done.counts):
                self._done.progress.update(message=message)
        tiling = self.planned.tiling
        missing = self._predictor.missing_tiles(self.file.store, tiling)
        tasks = [part for pending in missing for part in _cut(pending, tiling, self._predictor, self._most)]
        self._missing = len(tasks)
        self._is_planned = True
        if not tasks:
            yield None
        yield from tasks

    @property
    def is_complete(self) -> bool:
        return self._is_planned and self._missing == 0

    def keep(self, blocks: Blocks) -> None:
        """Take what a worker has made."""
        for start, block in blocks:
            self.file.store.write(start, block)
            self._done.add(block.pixels)
        self._missing -= 1

    def finish(self) -> float:
        """Write the mask; the seconds since it was begun."""
        time_s = time.perf_counter() - self._start
        with self.planned.open(self._predictor) as image, self.file as file:
            file.finish(image.image)
        return time_s


def task_pixels(total: int, workers: int) -> int:
    """Pixels of a task, about: the more workers the larger, since one process hands out tasks and keeps what is made.

    Parameters
    ----------
    total : int
        Pixels of all masks.
    workers : int
    """
    share = total // (_TASKS_PER_WORKER * workers)
    return min(max(_TASK_PIXELS * workers // _SERVED, _TASK_PIXELS), max(share, _LEAST_PIXELS))


def _cut(pending: PendingTile, tiling: Tiling, predictor: Predictor, most: int) -> Iterator[PendingTile]:
    """Parts of a streamed tile that are small enough to be lost; each reads a halo of its own."""
    rows, *across = pending.tile.core
    if tiling.slab is None or predictor.execution.tta:
        yield pending
        return
    height = tiling.block[0]
    width = prod(part.stop - part.start for part in across)
    step = max(most // (width * height), 1) * height
    first = rows.start // step * step
    for low in range(first, min(rows.stop, tiling.size[0]), step):
        core = (slice(max(low, rows.start), min(low + step, rows.stop)), *across)
        yield PendingTile(pending.place, tile(predictor.net.geometry, tiling.padded, core))


def make(setup: WorkerSetup, planned: PlannedMask, pending: PendingTile) -> Blocks:
    """Make the blocks of one task; runs on a worker."""
    predictor = _load(setup)
    with planned.open(predictor) as image:
        records = PixelRecords(predictor.file_card, setup.outputs)
        made = predictor.blocks(image, planned.tiling, records, [pending])
        return [(start, PackedBlock.of(values)) for start, values in made]


@lru_cache(maxsize=1)
def _load(setup: WorkerSetup) -> Predictor:
    """The model, read once per worker."""
    from distributed import get_worker

    threads = get_worker().state.nthreads
    if threads > 1:  # tasks run side by side, and share the cores
        torch.set_num_threads(max(count_processors() // threads, 1))
    return setup.load(setup.models, setup.execution)


@contextmanager
def _connected(where: str) -> Iterator[Any]:
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise ImportError("a cluster needs Dask: pip install 'unetkit[cluster]'") from None
    kind, _, number = where.partition(":")
    if kind == "local":
        if number and not (number.isdecimal() and int(number)):
            raise ValueError(f"cluster {where!r}: expected local, local:N with N workers, or a scheduler's address")
        cores = count_processors()
        n = int(number or cores)
        options = {"n_workers": n, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": None}
        with _threads(max(cores // n, 1)), LocalCluster(**options) as local, Client(local) as client:
            yield client
        return
    try:
        client = Client(where, timeout=_CONNECT_S)
    except (OSError, ValueError) as error:
        raise OSError(f"no Dask scheduler answers at {where}: {error}; start one with dask scheduler") from None
    with client:
        yield client


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Threads of each process that is started: all cores together, and no more."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(n)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
