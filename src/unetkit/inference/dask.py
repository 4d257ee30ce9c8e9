"""One prediction over many machines: the workers of a Dask scheduler make blocks, which are kept as on one machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..model.files import read_members
from ..nets.unetpp import pruned
from ..tiles import tile
from .mask_file import MaskFile, PlannedMask
from .outputs import NOTHING, Outputs
from .predictor import PendingTile, Predictor
from .tiling import Tiling

__all__ = ["WorkerSetup", "predict_on_cluster"]

_PORTION = 2**23  # pixels of a task: some ten seconds' work, so that little is lost with a worker
_IN_FLIGHT = 2  # tasks per worker: one that runs and one that waits; results are kept as they come
_CONNECT_S = 10.0

Blocks = list[tuple[tuple[int, ...], np.ndarray]]


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker needs to make the model ready, which it reads from the path that all machines share.

    Attributes
    ----------
    model : Path
    digest : str
        Of the model's file.
    prune : int or None
    memory_bytes : int
        For the net's maps, of each worker.
    averages : bool
    engine : str
    beside : Beside
    """

    model: Path
    digest: str
    prune: int | None
    memory_bytes: int
    averages: bool
    engine: str = "torch"
    beside: Outputs = NOTHING


def predict_on_cluster(
    where: str,
    recipe: WorkerSetup,
    segmenter: Predictor,
    tasks: Sequence[PlannedMask],
    settings: dict[str, Any],
    tell: Callable[..., None],
) -> Iterator[tuple[PlannedMask, int, float]]:
    """Make the masks of all tasks on a cluster; a lost worker's portions are made again by the others.

    Parameters
    ----------
    where : str
        "local", "local:N" for N processes of this machine, or the address of a scheduler.
    recipe : Recipe
    segmenter : Segmenter
        The same model, here.
    tasks : sequence of Task
    settings : dict
        As `MaskFile` takes them.
    tell : callable
        Called with the number of pixels made since the last call, and a line for the user or "".

    Yields
    ------
    (task, pixels, time_s) : Task, int, float
        Pixels that were made, in so many seconds; in the order in which the masks are written.

    Raises
    ------
    ImportError
        If Dask is not installed.
    ValueError
        If `where` is no such thing.
    OSError
        If no scheduler answers there.
    """
    with _connected(where) as client:
        from distributed import as_completed

        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        if not workers:
            raise OSError(f"the scheduler at {where} has no workers: start some with dask worker {where}")
        tell(0, f"{workers} workers at {client.scheduler.address}")
        masks = (_Mask(task, segmenter, settings, tell) for task in tasks)
        work = ((mask, portion) for mask in masks for portion in mask.waiting())
        running: dict[Any, _Mask] = {}
        completed = as_completed(with_results=True)
        opened: list[_Mask] = []

        def submit() -> None:
            while len(running) < _IN_FLIGHT * workers:
                found = next(work, None)
                if found is None:
                    return
                mask, portion = found
                if mask not in opened:
                    opened.append(mask)
                if portion is None:
                    continue
                future = client.submit(make, recipe, mask.task.absolute(), portion, pure=False)
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
                mask.close()


def _finished(opened: list[_Mask]) -> Iterator[tuple[PlannedMask, int, float]]:
    for mask in [mask for mask in opened if mask.is_complete]:
        opened.remove(mask)
        yield mask.task, mask.made, mask.finish()


class _Mask:
    """A mask whose portions are on their way."""

    def __init__(
        self, task: PlannedMask, segmenter: Predictor, settings: dict[str, Any], tell: Callable[..., None]
    ) -> None:
        self.task, self._segmenter, self._tell = task, segmenter, tell
        self._settings = settings
        self._start = time.perf_counter()
        self._missing = self.made = 0
        self._is_known = False

    def waiting(self) -> Iterator[PendingTile | None]:
        """Open the store, and hand out what has to be run; None where nothing has."""
        self.unfinished = MaskFile(self.task, self._segmenter, self._settings)
        self._tell(self.unfinished.store.pixels)
        self.made = prod(self.task.size) - self.unfinished.store.pixels
        with self.task.open(self._segmenter) as given:
            for message in self.unfinished.messages(given):
                self._tell(0, message)
        portions = [cut for portion in self.unfinished.left for cut in _cut(portion, self.task.tiling, self._segmenter)]
        self._missing = len(portions)
        self._is_known = True
        if not portions:
            yield None
        yield from portions

    @property
    def is_complete(self) -> bool:
        """Whether all blocks are there."""
        return self._is_known and self._missing == 0

    def keep(self, blocks: Blocks) -> None:
        """Take what a worker has made."""
        for start, labels in blocks:
            self.unfinished.store.write(start, labels)
            self._tell(labels.size)
        self._missing -= 1

    def finish(self) -> float:
        """Write the mask; the seconds since it was begun."""
        seconds = time.perf_counter() - self._start
        with self.task.open(self._segmenter) as given, self.unfinished as unfinished:
            unfinished.finish(given.image)
        return seconds

    def close(self) -> None:
        """Keep what is there for another time."""
        self.unfinished.store.close()


def _cut(portion: PendingTile, tiling: Tiling, segmenter: Predictor) -> Iterator[PendingTile]:
    """Pieces of a streamed portion that are small enough to be lost; each reads a halo of its own."""
    rows, *across = portion.tile.core
    if tiling.slab is None or segmenter.averages:
        yield portion
        return
    height = tiling.block[0]
    width = prod(part.stop - part.start for part in across)
    step = max(_PORTION // (width * height), 1) * height
    first = rows.start // step * step
    for low in range(first, min(rows.stop, tiling.size[0]), step):
        core = (slice(max(low, rows.start), min(low + step, rows.stop)), *across)
        yield PendingTile(portion.place, tile(segmenter.net.geometry, tiling.padded, core))


def make(recipe: WorkerSetup, task: PlannedMask, portion: PendingTile) -> Blocks:
    """Make the blocks of one portion; runs on a worker."""
    segmenter = _ready(recipe)
    with task.open(segmenter) as given:
        return list(segmenter.make(given, task.tiling, [portion]))


@lru_cache(maxsize=1)
def _ready(recipe: WorkerSetup) -> Predictor:
    """The model, read once per worker."""
    from distributed import get_worker

    threads = get_worker().state.nthreads
    if threads > 1:  # tasks run side by side, and share the cores
        torch.set_num_threads(max((os.cpu_count() or 1) // threads, 1))
    nets, card = read_members(recipe.model)
    nets = nets if recipe.prune is None else [pruned(net, recipe.prune) for net in nets]
    options: dict[str, Any] = {"memory_bytes": recipe.memory_bytes, "averages": recipe.averages}
    options["beside"] = recipe.beside
    return Predictor.of(nets, card, engine=recipe.engine, run=recipe.model, **options)


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
        cores = os.cpu_count() or 1
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
