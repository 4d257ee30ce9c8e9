"""From image files to mask files of the same size, spacing and name."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from math import prod
from pathlib import Path

import torch

from ..io.blocks import BlockStore
from ..io.writing import write_labels_from
from ..learn.checkpoint import load_model
from ..learn.intensity import Scaling
from ..learn.pairs import raise_all
from ..nets.net import Net
from ..nets.unetpp import pruned
from .given import Given
from .jobs import Job, find_jobs
from .prepare import prepare
from .segment import Segmenter
from .stream import Stream
from .tiling import Tiling

DEFAULT_MEMORY = 2 * 2**30
_LEDGER_FROM = 2**22  # pixels of a mask whose finished blocks are kept on disk while it is made: some ten seconds' work


@dataclass(frozen=True)
class Predicted:
    """One mask that was written.

    Attributes
    ----------
    source, mask : Path
        The image, or the first of its files.
    size : tuple of int
        In pixels.
    tiling : Tiling
    time_s : float
        Of the net with reading, without the check of the image before and the writing of the mask after it.
    """

    source: Path
    mask: Path
    size: tuple[int, ...]
    tiling: Tiling
    time_s: float


@dataclass(frozen=True)
class Step:
    """Progress of a prediction: file `file` of `files`, share `fraction` of it done, and a line for the user or ""."""

    file: int
    files: int
    fraction: float
    message: str = ""


Observer = Callable[[Step], None]


@dataclass(frozen=True)
class _Task:
    """An image that was read once, and how its mask will be made."""

    job: Job
    size: tuple[int, ...]
    scaling: Scaling
    tiling: Tiling


def predict(
    model: Path | str,
    inputs: Sequence[Path | str],
    *,
    out: Path | str,
    memory_bytes: int = DEFAULT_MEMORY,
    average_symmetries: bool = False,
    prune: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    observer: Observer | None = None,
) -> list[Predicted]:
    """Segment images of any size.

    Images are read and masks made region by region; the finished blocks of a large mask are kept beside
    it, so that the same call goes on after a crash and gives the identical mask.

    Parameters
    ----------
    model : path
        A run folder or a model file.
    inputs : sequence of path
        Image files, or folders of them. Where the net takes k channels and all names end in
        _0000 to k - 1, case_0000.*, case_0001.*, ... are one image, and its mask is case.*.
    out : path
        Folder for the masks. A mask has its image's name, size and pixel size, lies where the
        image lies (NIfTI), and has the values that the training masks had; JPEG images get
        PNG masks.
    memory_bytes : int
        Budget for the net's maps; larger images are streamed, or run in tiles, that give
        exactly the same mask.
    average_symmetries : bool
        Average the class probabilities over all flips and quarter turns: 8 times the
        work in 2D, often a little better. The image is then held in memory.
    prune : int, optional
        Of a UNet++ with a head on every depth: compute only the nodes that the head of this
        level needs, 1 (fastest) to its depth.
    overwrite : bool
        Replace masks that exist.
    resume : bool
        Leave masks that exist as they are, and make the others.
    observer : callable, optional
        Called with a `Step`.

    Returns
    -------
    list of Predicted

    Raises
    ------
    ValueError
        Naming every image that cannot be used, or not within the memory, before anything is
        computed; or if an image is changed while it is read.
    FileExistsError
        Naming every mask that exists, unless `overwrite` or `resume`; or if `out` is a file.
    OSError
        If a mask cannot be written; blocks that are finished are kept.
    """
    say = observer or (lambda step: None)
    net, card = load_model(model)
    net = net if prune is None else pruned(net, prune)
    channels = net.in_channels // (card.planes or 1)
    jobs = find_jobs(inputs, Path(out), channels=channels, overwrite=overwrite, resume=resume)
    ready = prepare(net, device="cuda" if torch.cuda.is_available() else "cpu")
    segmenter = Segmenter(ready, card, _stream(ready), memory_bytes, average_symmetries)
    tasks = _check_all(jobs, segmenter)
    if average_symmetries and card.augmentation != "full":
        say(Step(0, len(jobs), 0.0, "the net was trained without flips: averaging over flipped images may do worse"))
    digest = _digest(Path(model)) if tasks else ""
    results = []
    for i, task in enumerate(tasks):

        def tell(fraction: float, message: str = "", i: int = i) -> None:
            say(Step(i, len(tasks), fraction, message))

        settings = {"model": digest, "prune": prune, "averages": average_symmetries}
        results.append(_make(task, segmenter, task.job.key(**settings), tell))
        say(Step(i + 1, len(tasks), 0.0))
    return results


def _stream(net: Net) -> Stream | None:
    """The net's stream on a CPU, where it has one; a GPU is served best by few large windows."""
    if next(net.parameters()).device.type != "cpu":
        return None
    try:
        return Stream(net)
    except ValueError:  # it takes statistics over space, or has a layer that cannot be made in parts
        return None


def _check_all(jobs: Sequence[Job], segmenter: Segmenter) -> list[_Task]:
    """Read every image once before the work starts, so that a bad one is known now and not in an hour."""
    tasks, problems = [], []
    for job in jobs:
        try:
            with Given(job.files, segmenter.net, segmenter.card) as given:
                tasks.append(_Task(job, given.size, given.scaling, segmenter.plan(given.size)))
        except (ValueError, OSError, MemoryError) as error:
            text = str(error)
            problems.append(text if any(str(file) in text for file in job.files) else f"{job.files[0]}: {text}")
    raise_all(problems, "unusable image")
    return tasks


def _make(task: _Task, segmenter: Segmenter, key: str, tell: Callable[..., None]) -> Predicted:
    """Make one mask, or what is left of it, and write it."""
    job, name = task.job, task.job.files[0].name
    with Given(job.files, segmenter.net, segmenter.card, scaling=task.scaling) as given:
        if given.size != task.size:
            raise ValueError(f"{job.files[0]}: was {task.size} pixels when it was checked and is {given.size} now")
        for note in given.notes:
            tell(0.0, f"{name}: {note}")
        tell(0.0, f"{name}: {' x '.join(map(str, task.size))} pixels, {segmenter.describe(task.tiling)}")
        store = _open_store(job, task, segmenter, key)
        if store.has_dropped:
            tell(0.0, f"{name}: an unfinished mask of another model, image or setting was found and is made anew")
        if store.pixels:
            tell(0.0, f"{name}: going on where it was stopped, {store.pixels / prod(task.size):.0%} are there")
        try:
            start = time.perf_counter()
            segmenter.fill(store, given, task.tiling, tell)
            seconds = time.perf_counter() - start
            write_labels_from(job.mask, store, like=given.image)
            store.remove()
        finally:
            store.close()
    return Predicted(job.files[0], job.mask, task.size, task.tiling, seconds)


def _open_store(job: Job, task: _Task, segmenter: Segmenter, key: str) -> BlockStore:
    job.mask.parent.mkdir(parents=True, exist_ok=True)
    path = job.partial if prod(task.size) >= _LEDGER_FROM else None
    block = segmenter.block(task.tiling, task.size)
    return BlockStore(path, task.size, block=block, dtype=segmenter.dtype, key=key)


def _digest(model: Path) -> str:
    with (model / "model.safetensors" if model.is_dir() else model).open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
