"""From image files to mask files of the same size, spacing and name."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ..allocator import keep_freed_memory
from ..model.files import read_members, weights_hash
from ..nets.unetpp import pruned
from .dask import WorkerSetup, predict_on_cluster
from .engines.select import engine_key
from .jobs import find_jobs
from .mask_file import MaskFile, PlannedMask, check_all
from .outputs import Outputs
from .predictor import Predictor
from .tiling import Tiling

DEFAULT_MEMORY = 2 * 2**30


@dataclass(frozen=True)
class PredictionResult:
    """One mask that was written.

    Attributes
    ----------
    source, mask : Path
        The image, or the first of its files.
    size : tuple of int
        In pixels.
    tiling : Tiling
    pixels : int
        That were made: all, or those that were missing where a mask was begun before.
    time_s : float
        Of the net with reading, for these pixels; without the check of the image before and the writing of the mask.
    """

    source: Path
    mask: Path
    size: tuple[int, ...]
    tiling: Tiling
    pixels: int
    time_s: float


@dataclass(frozen=True)
class Step:
    """Progress of a prediction: file `file` of `files`, share `fraction` of it done, and a line for the user or ""."""

    file: int
    files: int
    fraction: float
    message: str = ""


Observer = Callable[[Step], None]


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
    cluster: str | None = None,
    engine: str = "torch",
    probabilities: bool = False,
    uncertainty: bool = False,
    observer: Observer | None = None,
) -> list[PredictionResult]:
    """Segment images of any size.

    Images are read and masks made region by region; the finished blocks of a large mask are kept beside
    it, so that the same call goes on after a crash and gives the identical mask.

    Parameters
    ----------
    model : path
        A run folder, that of several folds, or a model file.
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
        Average the class probabilities over all flips and quarter turns, 8 times the work in 2D, or over the
        flips that the net has seen in training: often a little better. The image is then held in memory.
    prune : int, optional
        Of a UNet++ with a head on every depth: compute only the nodes that the head of this
        level needs, 1 (fastest) to its depth.
    overwrite : bool
        Replace masks that exist.
    resume : bool
        Leave masks that exist as they are, and make the others.
    cluster : str, optional
        Spread the work over the workers of a Dask scheduler: its address, or "local" (or
        "local:4" for four workers) for processes of this machine.
    engine : str
        What computes the net: "torch"; "compiled", by torch.compile, which takes a minute at first; on a
        processor also "openvino" or "onnxruntime" in float32, "bfloat16" where the processor multiplies it,
        and "int8", which is calibrated on the run's images and said with its price; "auto" measures them for
        some seconds.
    probabilities : bool
        Also write how likely every class but the first is, in percent, 0 to 100, uint8 (255: no data): files of
        the masks' names in `out`/probability, or probability_1, ... by the classes' values where they are several.
    uncertainty : bool
        Also write how unsure the net is: the entropy of the probabilities in percent of the largest, uint8, in
        `out`/uncertainty. Those of averaged symmetries, or of the nets of several folds, tell more than one net's.
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
    keep_freed_memory()
    say = observer or (lambda step: None)
    nets, card = read_members(model)
    if average_symmetries and card.flips is not None and not any(card.flips):
        raise ValueError(
            "the net knows images that are turned one way, and none that is flipped: averaged over flips its masks "
            "would be wrong; predict without --symmetries"
        )
    nets = nets if prune is None else [pruned(net, prune) for net in nets]
    channels = nets[0].in_channels // (card.planes or 1)
    beside = Outputs(probabilities, uncertainty)
    folders = beside.folders(card)
    jobs = find_jobs(inputs, Path(out), channels=channels, folders=folders, overwrite=overwrite, resume=resume)
    run = Path(model)

    def announce(line: str) -> None:
        say(Step(0, len(jobs), 0.0, line))

    how: dict[str, Any] = {"memory_bytes": memory_bytes, "averages": average_symmetries, "beside": beside}
    segmenter = Predictor.of(nets, card, engine=engine, run=run, observer=announce, **how)
    tasks = check_all(jobs, segmenter)
    digest = weights_hash(run)
    settings: dict[str, Any] = {"model": digest, "prune": prune, "averages": average_symmetries, "beside": folders}
    settings["engine"] = segmenter.engine
    if cluster is not None:
        recipe = WorkerSetup(run.resolve(), digest, prune, engine=engine_key(segmenter.engine), **how)
        return _on_cluster(cluster, recipe, segmenter, tasks, settings, say)
    results = []
    for i, task in enumerate(tasks):

        def tell(fraction: float, message: str = "", i: int = i) -> None:
            say(Step(i, len(tasks), fraction, message))

        results.append(_make(task, segmenter, settings, tell))
        say(Step(i + 1, len(tasks), 0.0))
    return results


def _make(
    task: PlannedMask, segmenter: Predictor, settings: dict[str, Any], tell: Callable[..., None]
) -> PredictionResult:
    """Make one mask, or what is left of it, and write it."""
    with task.open(segmenter) as given, MaskFile(task, segmenter, settings) as mask:
        for message in mask.messages(given):
            tell(0.0, message)
        start, pixels = time.perf_counter(), prod(task.size) - mask.store.pixels
        segmenter.fill(mask.store, given, task.tiling, tell)
        seconds = time.perf_counter() - start
        mask.finish(given.image)
    return PredictionResult(task.job.files[0], task.job.mask, task.image_size, task.tiling, pixels, seconds)


def _on_cluster(
    where: str,
    recipe: WorkerSetup,
    segmenter: Predictor,
    tasks: Sequence[PlannedMask],
    settings: dict[str, Any],
    say: Observer,
) -> list[PredictionResult]:
    """Make all masks on the workers of a cluster; the time of each is that from the first task to its last block."""
    total, done = max(sum(prod(task.size) for task in tasks), 1), 0.0
    results: dict[int, PredictionResult] = {}

    def tell(pixels: float, message: str = "") -> None:
        nonlocal done
        done += pixels
        at = min(done / total, 1.0) * len(tasks)
        say(Step(int(at), len(tasks), at - int(at), message))

    for task, pixels, seconds in predict_on_cluster(where, recipe, segmenter, tasks, settings, tell):
        results[id(task)] = PredictionResult(
            task.job.files[0], task.job.mask, task.image_size, task.tiling, pixels, seconds
        )
    say(Step(len(tasks), len(tasks), 0.0))
    return [results[id(task)] for task in tasks]
