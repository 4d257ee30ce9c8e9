"""The content of a run folder as a report reads it, complete or not: a training may have been stopped early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from safetensors import SafetensorError

from ..data.pairs import Pair, find_pairs
from ..io import open_lazy, read_coded_labels
from ..io.grid import Grid
from ..io.reading import needs_image
from ..labels.kind import LabelKind, to_classes
from ..labels.numbering import numbering_of
from ..labels.object_sizes import object_sizes
from ..metrics.evaluation import Evaluation
from ..model.card import Card
from ..model.files import read_model
from ..model.run_paths import RunPaths
from ..nets.net import Net
from ..training.checkpoint import Numbers
from ..training.plan.plan import Plan
from ..training.run import LogEntry
from ..training.run import Run as TrainingRun

__all__ = ["ObjectSizes", "Run", "measure_objects", "read_run"]

_MOST_MASKS = 30
_MOST_PIXELS = 60_000_000  # about 3 s of labelling
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class ObjectSizes:
    """Sizes of labelled objects.

    Attributes
    ----------
    diameters : ndarray of shape (n_objects,), float64
        Of a disc (3D: ball) of the same size, ascending, in pixels; empty where nothing could be measured.
    source : str
        A sentence on what was measured, or why nothing was.
    """

    diameters: np.ndarray
    source: str


@dataclass(frozen=True)
class Run:
    """The content of a run folder; parts that are missing are None or empty.

    Attributes
    ----------
    paths : RunPaths
    plan : Plan
    log : list of LogEntry
        One per validation.
    state : Numbers
    evaluation : Evaluation or None
        Final scores of the validation images.
    net : Net or None
    card : Card or None
    notes : list of str
        Files that are there but could not be read.
    """

    paths: RunPaths
    plan: Plan
    log: list[LogEntry]
    state: Numbers
    evaluation: Evaluation | None
    net: Net | None
    card: Card | None
    notes: list[str]

    @property
    def steps(self) -> int:
        """Steps taken, as far as the folder tells."""
        return int(self.state.get("step") or (self.log[-1]["step"] if self.log else 0))

    @property
    def time_s(self) -> float:
        """Seconds spent, as far as the folder tells."""
        return float(self.state.get("elapsed_s") or (self.log[-1]["elapsed_s"] if self.log else 0.0))

    def pairs(self) -> list[Pair]:
        """Images and masks of the training, where they were or are now."""
        data = self.plan.data
        return find_pairs(
            self.paths.data(data.images), None if data.masks is None else self.paths.data(data.masks), axes=data.axes
        )

    @property
    def missing_scores(self) -> str:
        """The reason why there are no final scores, as a sentence."""
        if self.plan.data.validation_fraction == 0:
            return "No images were held out (validation 0), so there are no scores."
        return "The training has not been completed, so there are no final scores; continue it with --resume."


def read_run(folder: Path, *, data: Path | None = None) -> Run:
    """Read a run folder.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or has no plan.
    ValueError
        If the plan cannot be read.
    """
    opened = TrainingRun.open(folder, data=data)
    paths, notes = opened.paths, list[str]()
    net, card = _attempt(read_model, paths.model, notes) or (None, None)
    state = _attempt(lambda _: opened.state(), paths.state, notes) or Numbers()
    evaluation = _attempt(lambda path: Evaluation.from_json(path.read_text()), paths.validation_json, notes)
    return Run(paths, opened.plan, opened.log(), state, evaluation, net, card, notes)


def _attempt(read: Callable[[Path], _Read], path: Path, notes: list[str]) -> _Read | None:
    """Read a file that may be missing; one that is broken is noted."""
    if not path.is_file():
        return None
    try:
        return read(path)
    except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].removeprefix(f"{path}: ")
        notes.append(f"{path.name} could not be read: {reason}")
        return None


def measure_objects(run: Run, kind: LabelKind) -> ObjectSizes:
    """Measure the labelled objects of the data of a run.

    Masks are taken evenly from all of them, at most 30, so that a report takes seconds. Ids tell touching objects
    apart; classes are split into connected components.
    """
    try:
        pairs = run.pairs()
        step = max(1, -(-len(pairs) // _MOST_MASKS))
        sizes, pixels = [], 0
        for pair in pairs[::step]:
            labels = _labels_of(pair, kind)
            has_ids = kind.kind == "instances"
            sizes.append(
                object_sizes(labels, ignore=kind.ignore) if has_ids else object_sizes(to_classes(labels, kind))
            )
            pixels += labels.size
            if pixels > _MOST_PIXELS:
                break
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        message = f"The masks of this training cannot be read here, so object sizes are not known: {reason}."
        return ObjectSizes(np.empty(0), message)
    diameters, n = np.sort(np.concatenate(sizes)), len(sizes)
    of = f"all {n} masks" if n == len(pairs) else f"{n} of {len(pairs)} masks"
    return ObjectSizes(diameters, f"{len(diameters):,} labelled objects in {of}.")


def _labels_of(pair: Pair, kind: LabelKind) -> np.ndarray:
    """The mask of a pair, with the values that the kind has."""
    grid = None
    if needs_image(pair.mask):
        with open_lazy(pair.image) as image:
            grid = Grid.of(pair.image, image, is_one_of_many=pair.shares_mask)
    mask, code = read_coded_labels(pair.mask, grid=grid)
    return numbering_of(kind, code).array(mask.array, code)
