"""Cross-validation: every image is scored by a net that has not seen it, and all nets together are one predictor."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import isnan
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import numpy as np

from ..data.dataset import Case, Dataset, load_dataset
from ..data.pairs import find_pairs
from ..data.split import FEW, train_val_split
from ..inference.files import mask_name
from ..io import open_lazy, write_labels
from ..io.atomic import write_text
from ..io.resample import to_size
from ..labels.instances import unpack_maps
from ..labels.kind import IGNORE_INDEX, from_classes
from ..metrics.evaluation import Evaluation, evaluate_arrays
from ..model.card import Card
from ..model.files import read_model, save_ensemble
from ..model.run_paths import RunPaths
from ..nets.net import Net
from .loop import Progress, check_out, train
from .plan.files import read_plan_file
from .plan.plan import Plan
from .state import predict_classes
from .thresholds import predict_codes
from .validation import find_objects

__all__ = ["Doubt", "Folds", "train_folds"]

_FAR = 3.0  # interquartile ranges below the first quarter, and
_LEAST = 0.1  # of Dice below the median, from which an image is out of the ordinary


@dataclass(frozen=True)
class Doubt:
    """An image that the nets agree on more than with its mask.

    Attributes
    ----------
    name : str
    unseen, seen : float
        Dice by the net that has not seen the image, and the mean of those that were trained on it. Where even these
        fail, the mask may be wrong; where only the first does, images like this one are rare.
    """

    name: str
    unseen: float
    seen: float

    def __str__(self) -> str:
        why = "even nets that were trained on it: is its mask right?" if self.seen < 0.8 else "images like it are rare"
        return f"{self.name}: Dice {self.unseen:.3f} by the net that has not seen it, {self.seen:.3f} by others; {why}"


@dataclass(frozen=True)
class Folds:
    """What a cross-validation came to.

    Attributes
    ----------
    run : Path
        A folder that `predict` takes as it takes a run; each fold is a run inside it.
    dice : tuple of float
        Of every fold on what it has not seen, mean of the foreground classes.
    evaluation : Evaluation or None
        Of all images, each by the net that has not seen it; None if the training was stopped.
    doubts : tuple of Doubt
    steps : int
    time_s : float
        Of all trainings.
    was_interrupted : bool
    """

    run: Path
    dice: tuple[float, ...]
    evaluation: Evaluation | None
    doubts: tuple[Doubt, ...]
    steps: int
    time_s: float
    was_interrupted: bool = False

    def describe(self) -> str:
        """Mean and spread of the folds in a line."""
        each = ", ".join(f"{one:.4f}" for one in self.dice)
        return f"Dice of the folds {fmean(self.dice):.4f} ± {pstdev(self.dice):.4f} ({each})"


def train_folds(
    images: Path | str,
    masks: Path | str | None = None,
    *,
    out: Path | str,
    folds: int = 5,
    resume: bool = False,
    observer: Callable[[Progress], None] | None = None,
    divide_width: int | None = None,
    plan: Path | str | None = None,
    **given: Any,
) -> Folds:
    """Train one net per fold, each on what the others hold out, in equal shares of the budget.

    Writes `fold_0`, ... (runs), `out_of_fold` (the mask of every image by the net that has not seen it),
    `validation.json` and `.csv` (their scores), `folds.json`, and `ensemble.json`, by which the folder predicts with
    all nets at once. Fewer than 5 images are cut into strips, which are the folds.

    Parameters
    ----------
    images, masks, out, resume, observer, divide_width, plan, given
        As `train` takes them; `time_s` or `steps` are of all folds together.
    folds : int
        At least 2.

    Raises
    ------
    ValueError, FileExistsError
        As `train` raises them; or if there are fewer images or groups than folds.
    """
    out, say = Path(out), observer or (lambda progress: None)
    if folds < 2:
        raise ValueError(f"folds is {folds}: expected at least 2")
    if given.get("validation") is not None:
        raise ValueError("every image is held out in one of the folds: leave out the validation share")
    check_out(out, resume)
    budget = {name: given[name] / folds for name in ("time_s",) if given.get(name)}
    budget |= {name: max(given[name] // folds, 1) for name in ("steps",) if given.get(name)}
    results = []
    for k in range(folds):
        told = _Told(say, k, folds)
        how = {**given, **budget, "fold": (k, folds)}
        run = RunPaths(out).fold(k).root
        result = train(
            images, masks, out=run, resume=resume, observer=told, divide_width=divide_width, plan=plan, **how
        )
        results.append(result)
        if result.was_interrupted:
            break
    dice = tuple(result.dice or 0.0 for result in results)
    steps, time_s = sum(result.steps for result in results), sum(result.time_s for result in results)
    if results[-1].was_interrupted:
        return Folds(out, dice, None, (), steps, time_s, was_interrupted=True)
    say(Progress(message="predicting every image by the net that has not seen it", fraction=1.0))
    first = read_plan_file(RunPaths(out).fold(0).plan)
    evaluation, doubts = _out_of_fold(out, first, folds)
    found = Folds(out, dice, evaluation, doubts, steps, time_s)
    summary = {"dice": dice, "steps": steps, "time_s": time_s, "doubts": [asdict(one) for one in doubts]}
    write_text(RunPaths(out).folds_summary, json.dumps(summary, indent=2))
    return found


class _Told:
    """Passes on what a fold tells, as its share of the whole; the plan is told once."""

    def __init__(self, say: Callable[[Progress], None], k: int, n: int) -> None:
        self._say, self._k, self._n, self._is_new = say, k, n, True
        self._last = k / n

    def __call__(self, progress: Progress) -> None:
        if self._is_new:
            self._is_new = False
            self._say(Progress(message=f"fold {self._k + 1} of {self._n}", fraction=self._k / self._n))
        self._last = max(self._last, (self._k + progress.fraction) / self._n)  # lines of words have no share
        message = progress.message if self._k == 0 else ""
        left = progress.time_left_s
        if progress.fraction > 0:  # the other folds take as long
            left += (self._n - 1 - self._k) * left / max(1 - progress.fraction, 1e-6)
        self._say(replace(progress, message=message, fraction=self._last, time_left_s=left))


@dataclass(frozen=True)
class _Member:
    net: Net
    card: Card
    held_out: list[Case]


def _out_of_fold(out: Path, plan: Plan, folds: int) -> tuple[Evaluation, tuple[Doubt, ...]]:
    """Masks and scores of all images by nets that have not seen them, and the card of all nets together."""
    paths = RunPaths(out)
    loaded = [read_model(paths.fold(k).root) for k in range(folds)]
    card = loaded[0][1]
    objects = card.labels.has_distance
    data, seed = plan.data, plan.budget.seed
    pairs = find_pairs(data.images, data.masks)
    dataset = load_dataset(pairs, labels=data.labels, objects=objects, resample=data.resample)
    members = [
        _Member(
            net, own, train_val_split(dataset.cases, fraction=data.validation_fraction, seed=seed, fold=(k, folds))[1]
        )
        for k, (net, own) in enumerate(loaded)
    ]
    found = _found(members, dataset, plan)
    classes = [(unpack_maps(one)[0] > 0.5).astype(np.uint8) if objects else one for one in found]
    named = ((case.name, one, case.classes) for case, one in zip(dataset.cases, classes, strict=True))
    evaluation = evaluate_arrays(named, dataset.scored_names)
    together = {"temperature": fmean(member.card.temperature for member in members), "score": evaluation.mean.dice}
    card = card.model_copy(update=together)
    masks: Sequence[np.ndarray] = classes
    if objects:
        judged = find_objects(evaluation, card, dataset.cases, found)
        evaluation, card, masks = judged.evaluation, judged.card, judged.masks
    else:
        masks = [from_classes(one, card.labels) for one in classes]
    for case, mask in zip(dataset.cases, masks, strict=True):
        path = paths.out_of_fold / mask_name(Path(case.name).name, case.path)
        path.parent.mkdir(exist_ok=True)
        with open_lazy(case.path) as like:
            write_labels(path, to_size(mask, like.size), like=like)
    write_text(paths.validation_json, evaluation.to_json())
    write_text(paths.validation_csv, evaluation.to_csv())
    save_ensemble(out, [paths.fold(k).root.name for k in range(folds)], card)
    return evaluation, tuple(_doubts(evaluation, dataset, members, plan))


def _found(members: Sequence[_Member], dataset: Dataset, plan: Plan) -> list[np.ndarray]:
    """Codes of objects, or classes, of every case by the net that has not seen it, or not that part of it."""
    whole: dict[Path, np.ndarray] = {}
    for member in members:
        for case in member.held_out:
            if case.ids is None:
                found = predict_classes(member.net, case.image, planes=plan.data.planes)
            else:
                found = predict_codes(member.net, case.image, planes=plan.data.planes)
            if case.path in whole:
                np.copyto(whole[case.path], found, where=case.labels != IGNORE_INDEX)
            else:
                whole[case.path] = found
    return [whole[case.path] for case in dataset.cases]


def _doubts(evaluation: Evaluation, dataset: Dataset, members: Sequence[_Member], plan: Plan) -> Iterator[Doubt]:
    """Images whose score is out of the ordinary, worst first."""
    dice = [image.dice for image in evaluation.per_image]
    known = [one for one in dice if not isnan(one)]
    if len(known) < FEW:
        return
    low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
    limit = min(low - _FAR * (high - low), middle - _LEAST)
    for unseen, case in sorted(zip(dice, dataset.cases, strict=True), key=lambda pair: pair[0]):
        if not unseen < limit:
            continue
        others = [member for member in members if all(one.path != case.path for one in member.held_out)]
        yield Doubt(case.name, unseen, fmean(_dice(member.net, case, dataset, plan) for member in others))


def _dice(net: Net, case: Case, dataset: Dataset, plan: Plan) -> float:
    found = predict_classes(net, case.image, planes=plan.data.planes, has_distance=case.ids is not None)
    return evaluate_arrays([(case.name, found, case.classes)], dataset.scored_names).per_image[0].dice
