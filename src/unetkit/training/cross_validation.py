"""Cross-validation: every image is scored by a net that was not trained on it, and all nets together are one model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from statistics import fmean, pstdev

import numpy as np

from ..allocator import keep_freed_memory
from ..data.case import Case
from ..data.dataset import Dataset
from ..data.split import FEW
from ..inference.execution import Execution
from ..inference.files import mask_name
from ..inference.predictor import Predictor
from ..io import open_lazy, write_labels
from ..io.atomic import write_text
from ..io.lock import sole_writer
from ..io.resample import to_size
from ..labels.instances import unpack_maps
from ..labels.kind import IGNORE_INDEX, from_classes
from ..metrics.evaluation import Evaluation, evaluate_arrays
from ..model.card import Card
from ..model.files import read_model, save_ensemble
from ..model.run_paths import RunPaths
from ..processors import limit_threads
from ..progress import SILENT, Progress, subrange
from .loop import run_training, saved_plan
from .plan.settings import PlanSettings
from .request import TrainingRequest
from .run import Run
from .validation import add_objects, predict_classes, predict_maps
from .writer import check_out

__all__ = ["CrossValidation", "DoubtfulMask", "cross_validate"]

_FAR = 3.0  # interquartile ranges below the first quartile, and
_LEAST = 0.1  # of Dice below the median, from which an image is an outlier


@dataclass(frozen=True)
class DoubtfulMask:
    """An image whose mask the nets disagree with, or that is unlike all others.

    Attributes
    ----------
    name : str
    unseen, seen : float
        Dice by the net that was not trained on the image, and the mean of those that were. Where even these are poor,
        the mask may be wrong; where only the first is, images like this one are rare.
    """

    name: str
    unseen: float
    seen: float

    def __str__(self) -> str:
        reason = "even by nets trained on it: is its mask right?" if self.seen < 0.8 else "images like it are rare"
        return f"{self.name}: Dice {self.unseen:.3f} by the net not trained on it, {self.seen:.3f} by others; {reason}"


@dataclass(frozen=True)
class CrossValidation:
    """Nets of all folds, and how well they predict images that they were not trained on.

    Attributes
    ----------
    paths : RunPaths
        Of a folder that `load_model` reads as it reads a run; each fold is a run inside it.
    dice : tuple of float or None
        Of every fold on its held-out images, mean of the foreground classes; None where they show none.
    evaluation : Evaluation or None
        Of all images, each by the net that was not trained on it; None if the training was stopped.
    doubts : tuple of DoubtfulMask
    steps : int
    time_s : float
        Of all trainings.
    was_interrupted : bool
    """

    paths: RunPaths
    dice: tuple[float | None, ...]
    evaluation: Evaluation | None
    doubts: tuple[DoubtfulMask, ...]
    steps: int
    time_s: float
    was_interrupted: bool = False

    def describe(self) -> str:
        """Mean and spread of the folds in a line."""
        each = ", ".join("no object" if dice is None else f"{dice:.4f}" for dice in self.dice)
        known = [dice for dice in self.dice if dice is not None]
        mean = f"{fmean(known):.4f} ± {pstdev(known):.4f}" if known else "none"
        return f"Dice of the folds {mean} ({each})"


def cross_validate(
    images: Path | str,
    masks: Path | str | None = None,
    *,
    out: Path | str,
    folds: int = 5,
    time_s: float | None = None,
    settings: PlanSettings | None = None,
    resume: bool = False,
    progress: Progress = SILENT,
) -> CrossValidation:
    """Train one net per fold, each on what the others hold out, in equal shares of the budget.

    Writes `fold_0`, ... (runs), `out_of_fold` (the mask of every image by the net that was not trained on it),
    `validation.json` and `.csv` (their scores), `folds.json`, and `ensemble.json`, by which the folder predicts with
    all nets at once. Fewer than 5 images are cut into strips, which are the folds.

    Parameters
    ----------
    images, masks, out, resume, progress
        As `train` takes them.
    folds : int
        At least 2.
    time_s : float, optional
        Budget of all folds together; or `steps` in the group "budget" of the settings.
    settings : PlanSettings, optional
        Values of the plan that take the place of those of its rules.

    Raises
    ------
    ValueError, FileExistsError
        As `train` raises them; or if there are fewer images or groups than folds.
    """
    paths = RunPaths(Path(out))
    if folds < 2:
        raise ValueError(f"folds is {folds}: expected at least 2")
    if (settings or {}).get("data", {}).get("validation_fraction") is not None:
        raise ValueError("every image is held out in one of the folds: leave out the validation fraction")
    keep_freed_memory()
    limit_threads()
    with sole_writer(paths.root):
        check_out(paths.root, resume)
        return _train_folds(TrainingRequest(images, masks, time_s, settings=settings), paths, folds, resume, progress)


def _train_folds(
    request: TrainingRequest, paths: RunPaths, folds: int, resume: bool, progress: Progress
) -> CrossValidation:
    requests = [request.for_fold(k, folds) for k in range(folds)]
    dataset = requests[0].load(saved_plan(paths.fold(0), resume), paths.cache, progress)
    runs: list[Run] = []
    for k, request in enumerate(requests):
        progress.update(k, folds, f"fold {k + 1} of {folds}")
        share = _FoldProgress(progress, k, folds)
        plan = request.plan(saved_plan(paths.fold(k), resume), dataset, share)
        runs.append(run_training(plan, dataset, paths.fold(k), resume=resume, progress=share))
        if runs[-1].was_interrupted:
            break
    dice = tuple(run.dice for run in runs)
    steps, total_s = sum(run.steps for run in runs), sum(run.time_s for run in runs)
    if runs[-1].was_interrupted:
        return CrossValidation(paths, dice, None, (), steps, total_s, was_interrupted=True)
    progress.update(1, 1, "predicting every image by the net that was not trained on it")
    evaluation, doubts = _predict_out_of_fold(paths, runs, dataset)
    summary = {"dice": dice, "steps": steps, "time_s": total_s, "doubts": [asdict(doubt) for doubt in doubts]}
    write_text(paths.folds_summary, json.dumps(summary, indent=2))
    return CrossValidation(paths, dice, evaluation, doubts, steps, total_s)


@dataclass(frozen=True)
class _FoldProgress:
    """A fold as a share of the whole; messages of the first fold alone, as all have the same."""

    whole: Progress
    k: int
    n: int

    def update(self, done: float = 0.0, total: float = 0.0, message: str = "", **values: float) -> None:
        if done > 0 and "time_left_s" in values:  # the other folds take as long
            values["time_left_s"] *= 1 + (self.n - 1 - self.k) / max(1 - done / total, 1e-6)
        share = subrange(self.whole, self.k / self.n, (self.k + 1) / self.n)
        share.update(done, total, message if self.k == 0 else "", **values)


@dataclass(frozen=True)
class _Member:
    predictor: Predictor
    card: Card
    held_out: list[Case]


def _predict_out_of_fold(
    paths: RunPaths, runs: Sequence[Run], dataset: Dataset
) -> tuple[Evaluation, tuple[DoubtfulMask, ...]]:
    """Masks and scores of all images by nets not trained on them, and the card of all nets together."""
    members = []
    for run in runs:
        net, card = read_model(run.paths.root)
        predictor = Predictor(net, card, Execution(device=run.plan.device.name))
        members.append(_Member(predictor, card, run.plan.split(dataset.cases)[1]))
    predicted = _predict_cases(members, dataset)
    has_distance, classes = dataset.kind.has_distance, predicted
    if has_distance:
        classes = [(unpack_maps(packed)[0] > 0.5).astype(np.uint8) for packed in predicted]
    triples = ((case.name, mask, np.asarray(case.classes)) for case, mask in zip(dataset.cases, classes, strict=True))
    evaluation = evaluate_arrays(triples, dataset.scored_names)
    temperature = fmean(member.card.temperature for member in members)
    card = members[0].card.model_copy(update={"temperature": temperature, "score": evaluation.dice})
    masks: Sequence[np.ndarray]
    if has_distance:
        result = add_objects(evaluation, card, dataset.cases, predicted)
        evaluation, card, masks = result.evaluation, result.card, result.masks
    else:
        masks = [from_classes(mask, card.labels) for mask in classes]
    for case, mask in zip(dataset.cases, masks, strict=True):
        path = paths.out_of_fold / mask_name(Path(case.name).name, case.path, mask.dtype)
        path.parent.mkdir(exist_ok=True)
        with open_lazy(case.path) as like:
            write_labels(path, to_size(mask, like.size), like=like)
    write_text(paths.validation_json, evaluation.to_json())
    write_text(paths.validation_csv, evaluation.to_csv())
    save_ensemble(paths.root, [run.paths.root.name for run in runs], card)
    return evaluation, tuple(_doubtful_masks(evaluation, dataset, members))


def _predict_cases(members: Sequence[_Member], dataset: Dataset) -> list[np.ndarray]:
    """Maps of objects, or classes, of every case by the net not trained on it, or not on that part of it."""
    whole: dict[Path, np.ndarray] = {}
    predict = predict_maps if dataset.kind.has_distance else predict_classes
    for member in members:
        for case in member.held_out:
            predicted = predict(member.predictor, case)
            if case.path in whole:
                np.copyto(whole[case.path], predicted, where=np.asarray(case.labels) != IGNORE_INDEX)
            else:
                whole[case.path] = predicted
    return [whole[case.path] for case in dataset.cases]


def _doubtful_masks(evaluation: Evaluation, dataset: Dataset, members: Sequence[_Member]) -> Iterator[DoubtfulMask]:
    """Outliers by their score, worst first."""
    dice = [image.dice for image in evaluation.per_image]
    known = [value for value in dice if not isnan(value)]
    if len(known) < FEW:
        return
    low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
    limit = min(low - _FAR * (high - low), middle - _LEAST)
    for unseen, case in sorted(zip(dice, dataset.cases, strict=True), key=lambda pair: pair[0]):
        if unseen < limit:
            others = [member for member in members if all(other.path != case.path for other in member.held_out)]
            seen = []
            for member in others:
                triple = case.name, predict_classes(member.predictor, case), np.asarray(case.classes)
                seen.append(evaluate_arrays([triple], dataset.scored_names).per_image[0].dice)
            yield DoubtfulMask(case.name, unseen, fmean(seen))
