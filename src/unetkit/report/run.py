"""What a run folder holds, as far as it holds it: a report is also wanted of a training that was stopped early."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open

from ..data.pairs import find_pairs
from ..io import read_labels
from ..labels.kind import LabelKind, to_classes
from ..labels.object_sizes import object_sizes
from ..metrics.evaluation import ClassScore, Evaluation, ImageScore
from ..metrics.objects import ObjectScore
from ..model.card import Card
from ..model.files import read_model
from ..model.run_paths import RunPaths
from ..nets.net import Net
from ..training.plan.files import read_plan_file
from ..training.plan.plan import Plan

__all__ = ["Run", "measure_objects", "read_evaluation", "read_run"]

_MOST_MASKS = 30
_MOST_PIXELS = 60_000_000  # about 3 s of labelling
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Run:
    """The content of a run folder; what is missing is None or empty.

    Attributes
    ----------
    folder : Path
    plan : Plan
    log : list of dict
        One per validation, as in `log.jsonl`.
    state : dict
        `step`, `elapsed_s`, `best`, and `losses` of every step.
    evaluation : Evaluation or None
        Final scores of the validation images.
    net : Net or None
    card : Card or None
    notes : list of str
        Files that are there but could not be read.
    """

    folder: Path
    plan: Plan
    log: list[dict[str, Any]]
    state: dict[str, Any]
    evaluation: Evaluation | None
    net: Net | None
    card: Card | None
    notes: list[str]

    @property
    def steps(self) -> int:
        """Steps taken, as far as is known."""
        return int(self.state.get("step") or (self.log[-1]["step"] if self.log else 0))

    @property
    def time_s(self) -> float:
        """Seconds spent, as far as is known."""
        return float(self.state.get("elapsed_s") or (self.log[-1]["elapsed_s"] if self.log else 0.0))

    @property
    def missing_scores(self) -> str:
        """Why there are no final scores, as a sentence."""
        if self.plan.data.validation_fraction == 0:
            return "No images were held out (validation 0), so there are no scores."
        return "The training has not come to its end, so there are no final scores; go on with it by --resume."


def read_run(folder: Path) -> Run:
    """Read what a run folder holds.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or it has no plan.
    ValueError
        If the plan cannot be read.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such run folder; expected one that unetkit train made")
    paths = RunPaths(folder)
    if not paths.plan.is_file():
        raise FileNotFoundError(
            f"{folder}: holds no {paths.plan.name}, so it is not a run folder; name the folder given to unetkit train "
            "as --out"
        )
    plan = read_plan_file(paths.plan)
    notes: list[str] = []
    model = _attempt(read_model, paths.model, notes)
    return Run(
        folder,
        plan,
        _read_log(paths.log),
        _attempt(_read_numbers, paths.state, notes) or {},
        _attempt(read_evaluation, paths.validation_json, notes),
        model[0] if model else None,
        model[1] if model else None,
        notes,
    )


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


def _read_log(path: Path) -> list[dict[str, Any]]:
    """Lines of a log; one that a crash tore apart is left out."""
    entries = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(entry, dict) and {"step", "elapsed_s"} <= entry.keys():
            entries.append(entry)
    return entries


def _read_numbers(path: Path) -> dict[str, Any]:
    """Step, time and losses of a training's last state, without reading its tensors."""
    with safe_open(path, framework="np") as file:  # type: ignore[no-untyped-call]
        return dict(json.loads(file.metadata()["unetkit"]))


def read_evaluation(path: Path) -> Evaluation:
    """The scores that `Evaluation.to_json` wrote; null is nan again."""
    found = json.loads(path.read_text())
    images = tuple(
        ImageScore(
            image["name"],
            _class_scores(image["classes"]),
            _or_nan(image["pixel_error"]),
            tuple(map(tuple, image["confusion"])),
            (),
            _object_score(image.get("objects")),
        )
        for image in found["per_image"]
    )
    return Evaluation(
        images,
        _class_scores(found["pooled"]),
        _class_scores(found["image_mean"]),
        _class_scores([found["mean"]])[0],
        _or_nan(found["pixel_error"]),
        found["tolerance"],
        tuple(found["notes"]),
        _object_score(found.get("objects")),
    )


def _object_score(row: dict[str, Any] | None) -> ObjectScore | None:
    return None if row is None else ObjectScore(**{name: _or_nan(value) for name, value in row.items()})


def _class_scores(rows: list[dict[str, Any]]) -> tuple[ClassScore, ...]:
    return tuple(ClassScore(**{name: _or_nan(value) for name, value in row.items()}) for row in rows)


def _or_nan(value: Any) -> Any:
    return math.nan if value is None else value


def measure_objects(plan: Plan, kind: LabelKind) -> tuple[np.ndarray, str]:
    """Measure the labelled objects of the data that a plan names.

    Masks are taken evenly from all of them, at most 30, so that a report takes seconds.

    Returns
    -------
    diameters : ndarray of shape (n_objects,), float64
        Ascending, in pixels; empty where the masks are gone or hold none.
    sentence : str
        What was measured, or why nothing was.
    """
    try:
        masks = [pair.mask for pair in find_pairs(plan.data.images, plan.data.masks)]
        step = max(1, -(-len(masks) // _MOST_MASKS))
        sizes, pixels, n = [], 0, 0
        for path in masks[::step]:
            labels = read_labels(path).array
            sizes.append(_sizes(labels, kind))
            pixels, n = pixels + labels.size, n + 1
            if pixels > _MOST_PIXELS:
                break
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        return np.empty(0), f"The masks of this training cannot be read here, so object sizes are not known: {reason}."
    diameters = np.sort(np.concatenate(sizes))
    of = f"all {n} masks" if n == len(masks) else f"{n} of {len(masks)} masks"
    return diameters, f"{len(diameters):,} labelled objects in {of}."


def _sizes(labels: np.ndarray, kind: LabelKind) -> np.ndarray:
    """Ids tell touching objects apart; classes are split into connected pieces."""
    if kind.kind == "instances":
        return object_sizes(labels, ignore=kind.ignore)
    return object_sizes(to_classes(labels, kind))
