"""Scores of held-out images: quick ones on the way, and everything at the end, both through a `Predictor`."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from ..data.case import Case
from ..inference.input import ArrayInput
from ..inference.outputs import most_likely
from ..inference.predictor import Predictor
from ..labels.instances import CODE, decode, pack_maps, unpack_maps
from ..metrics.evaluation import Evaluation, evaluate_arrays
from ..metrics.objects import mean_object_score
from ..metrics.pixels import confusion
from ..model.card import Card
from ..progress import SILENT, Progress
from .calibration import SAMPLED_PIXELS, calibrate, sample_pixels
from .thresholds import score_cases, tune_thresholds, usual_thresholds

__all__ = [
    "HeldOutPredictions",
    "ValidationResult",
    "ValidationScore",
    "add_objects",
    "predict_classes",
    "predict_held_out",
    "predict_maps",
    "validate",
    "validate_fully",
]


@dataclass(frozen=True)
class ValidationScore:
    """A validation on the way.

    Attributes
    ----------
    dice : tuple of float
        Of each foreground class, over all pixels of all images; nan where the truth does not show it.
    pixel_error : float
        Share of wrong pixels.
    time_s : float
    first_mask : ndarray or None
        Classes predicted for the first image, for a preview.
    """

    dice: tuple[float, ...]
    pixel_error: float
    time_s: float = 0.0
    first_mask: np.ndarray | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_confusion(cls, matrix: np.ndarray, time_s: float = 0.0) -> ValidationScore:
        """The score of a confusion matrix (K, K), pixels; rows are the truth."""
        hits, truth, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
        with np.errstate(invalid="ignore"):
            dice = np.where(truth > 0, 2 * hits / (truth + predicted), np.nan)
        error = 1 - hits.sum() / max(matrix.sum(), 1)
        return cls(tuple(float(d) for d in dice[1:]), float(error), time_s)

    @property
    def mean_dice(self) -> float | None:
        """Mean Dice over the foreground classes that the truth shows; None where it shows none."""
        known = [d for d in self.dice if not math.isnan(d)]
        return sum(known) / len(known) if known else None

    @property
    def quality(self) -> float:
        """The number by which nets are compared: mean Dice, or else the share of right pixels."""
        return 1 - self.pixel_error if self.mean_dice is None else self.mean_dice


@dataclass(frozen=True)
class HeldOutPredictions:
    """Everything that one pass of a net over the held-out images leaves.

    Attributes
    ----------
    classes : list of ndarray of shape (*spatial), uint8
    maps : list of ndarray of shape (*spatial), uint16
        Foreground and distance, of a net for objects; else empty.
    logits : Tensor of shape (N, K), labels : Tensor of shape (N,)
        Of some labelled pixels of all images, for the calibration.
    score : ValidationScore
    """

    classes: list[np.ndarray]
    maps: list[np.ndarray]
    logits: Tensor
    labels: Tensor
    score: ValidationScore


@dataclass(frozen=True)
class ValidationResult:
    """Final scores of a net on held-out images.

    Attributes
    ----------
    evaluation : Evaluation
    card : Card
        With the temperature and the thresholds that suit these images.
    masks : tuple of ndarray
        Predicted for every case: classes, or ids of objects.
    """

    evaluation: Evaluation
    card: Card
    masks: tuple[np.ndarray, ...]


def predict_classes(predictor: Predictor, case: Case) -> np.ndarray:
    """Class indices (*spatial), uint8, that a case is scored by: objects are foreground."""
    finish = _classes if case.ids is None else _foreground
    return predictor.run(case.image, lambda logits: finish(logits).cpu().numpy())


def predict_maps(predictor: Predictor, case: Case) -> np.ndarray:
    """Foreground and distance of a case in two bytes per pixel, (*spatial), uint16 (`labels.instances.pack_maps`)."""
    return predictor.run(case.image, _packed)


def _classes(logits: Tensor) -> Tensor:
    return most_likely(logits).to(torch.uint8)


def _foreground(logits: Tensor) -> Tensor:
    """1 where background is less likely than all distances together."""
    return (logits[0] < logits[1:].logsumexp(0)).to(torch.uint8)


def _packed(logits: Tensor) -> np.ndarray:
    return pack_maps(logits.float().softmax(0).cpu().numpy())


def _n_scored(predictor: Predictor, cases: Sequence[Case]) -> int:
    return predictor.net.out_channels if cases[0].ids is None else 2


def validate(predictor: Predictor, cases: Sequence[Case]) -> ValidationScore:
    """Predict every case, and score all pixels together."""
    start, n = time.perf_counter(), _n_scored(predictor, cases)
    total, first = np.zeros((n, n), dtype=np.int64), None
    for case in cases:
        classes = predict_classes(predictor, case)
        total += confusion(classes, np.asarray(case.classes), n)
        first = classes if first is None else first
    score = ValidationScore.from_confusion(total, time.perf_counter() - start)
    return replace(score, first_mask=first)


def predict_held_out(predictor: Predictor, cases: Sequence[Case]) -> HeldOutPredictions:
    """Run the net over every case once, and keep all that `validate_fully` needs."""
    start, n = time.perf_counter(), _n_scored(predictor, cases)
    classes, maps, logits, labels = [], [], [], []
    total = np.zeros((n, n), dtype=np.int64)
    for seed, case in enumerate(cases):
        predicted, packed = np.empty(case.size, np.uint8), np.empty(case.size, CODE)
        at = sample_pixels(case, max(SAMPLED_PIXELS // len(cases), 100), seed)
        positions = np.stack(np.unravel_index(at, case.size))
        sampled = torch.empty(len(at), predictor.net.out_channels)
        for pixels, part in predictor.logits(ArrayInput(case.image, predictor.planes)):
            part = part.float().cpu()
            predicted[pixels] = (_classes(part) if case.ids is None else _foreground(part)).numpy()
            if case.ids is not None:
                packed[pixels] = _packed(part)
            low, high = np.array([(axis.start, axis.stop) for axis in pixels]).T[..., None]
            inside = ((positions >= low) & (positions < high)).all(0)
            sampled[torch.from_numpy(inside)] = part[(slice(None), *(positions[:, inside] - low))].T
        classes.append(predicted)
        maps.append(packed)
        logits.append(sampled)
        labels.append(torch.from_numpy(np.asarray(case.labels).ravel()[at].astype(np.int64)))
        total += confusion(predicted, np.asarray(case.classes), n)
    score = ValidationScore.from_confusion(total, time.perf_counter() - start)
    return HeldOutPredictions(
        classes, maps if cases[0].ids is not None else [], torch.cat(logits), torch.cat(labels), score
    )


def validate_fully(
    predictions: HeldOutPredictions,
    card: Card,
    cases: Sequence[Case],
    *,
    progress: Progress = SILENT,
) -> ValidationResult:
    """Score predictions of every class and image, calibrate probabilities, and tune how maps become objects.

    Parameters
    ----------
    predictions : HeldOutPredictions
        Of the cases.
    card : Card
        Of the net.
    cases : sequence of Case
        Held out from its training.
    progress : Progress
    """
    triples = (
        (case.name, mask, np.asarray(case.classes)) for case, mask in zip(cases, predictions.classes, strict=True)
    )
    evaluation = evaluate_arrays(triples, card.scored_classes)
    fit = calibrate(predictions.logits, predictions.labels)
    errors = f"off by {fit.error_before:.2%} on average, {fit.error_after:.2%}"
    progress.update(message=f"probabilities: {errors} at temperature {fit.temperature:.2f}, which is kept")
    card = card.model_copy(update={"temperature": fit.temperature})
    if not card.labels.has_distance:
        return ValidationResult(evaluation, card, tuple(predictions.classes))
    progress.update(message=f"tuning the thresholds of objects on {len(cases)} held-out images: up to half a minute")
    result = add_objects(evaluation, card, cases, predictions.maps)
    if result.evaluation.objects:
        progress.update(message=result.evaluation.objects.describe())
    return result


def add_objects(
    evaluation: Evaluation, card: Card, cases: Sequence[Case], maps: Sequence[np.ndarray]
) -> ValidationResult:
    """Tune how maps become objects, and add the scores of these to those of the pixels.

    Parameters
    ----------
    evaluation : Evaluation
        Of the pixels of the cases, in their order.
    card : Card
    cases : sequence of Case
    maps : sequence of ndarray
        Of `predict_maps`, one per case.
    """
    thresholds = tune_thresholds(maps, cases, usual_thresholds(cases))
    masks = tuple(decode(*unpack_maps(packed), thresholds) for packed in maps)
    scores = score_cases(masks, cases)
    images = [replace(image, objects=score) for image, score in zip(evaluation.per_image, scores, strict=True)]
    evaluation = replace(evaluation, per_image=tuple(images), objects=mean_object_score(scores))
    return ValidationResult(evaluation, card.model_copy(update={"decoding": thresholds}), masks)
