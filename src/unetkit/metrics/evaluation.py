"""Scores of images and of sets of images: overlap, boundaries and objects of every class, as tables, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from ..json_text import parse_json
from ..labels.kind import IGNORE_INDEX
from .boundaries import BoundaryMatch, match_boundaries
from .objects import ObjectScore, mean_object_score, mean_of_defined
from .pixels import confusion, dice, iou, labelled_mask, pixel_error, precision, recall

__all__ = ["CONVENTIONS", "METRICS", "ClassScore", "Evaluation", "ImageScore", "counting_notes", "evaluate_arrays"]
__all__ += ["pool", "score_image"]

Array = np.ndarray
METRICS = ("dice", "iou", "precision", "recall", "boundary_f1", "surface_dice")
# Where other programs count otherwise (torchmetrics, MONAI, cellpose, stardist), in the words that stand in the result.
CONVENTIONS = {
    "absent class": "1 for an image in which neither side has it; left out of every mean",
    "empty image": "no foreground on both sides 1, on one side 0; average precision of objects likewise, SEG undefined",
    "ties": "objects match by an IoU above the threshold: exactly 0.5 is no match",
    "undefined": "precision without a predicted pixel and recall without a true one; left out of every mean",
}


@dataclass(frozen=True)
class ClassScore:
    """The scores of one class, all from 0 (worst) to 1 (best).

    `precision` and `recall` are nan where undefined; `pixels` is the number of labelled pixels of the class in the
    truth.
    """

    name: str
    index: int
    dice: float
    iou: float
    precision: float
    recall: float
    boundary_f1: float
    surface_dice: float
    pixels: int

    @property
    def occurs(self) -> bool:
        """Whether truth or prediction hold the class at all. Where not, its scores are 1.0 by convention only."""
        return self.pixels > 0 or not math.isnan(self.precision)


@dataclass(frozen=True)
class ImageScore:
    """The scores of one image, with the counts they were made from.

    Attributes
    ----------
    name : str
    classes : tuple of ClassScore
        One per class, background first.
    pixel_error : float
        Fraction of the labelled pixels with a wrong class; nan where nothing is labelled.
    confusion : tuple of tuple of int
        Pixels; rows are the truth, columns the prediction.
    boundaries : tuple of BoundaryMatch
        One per class.
    objects : ObjectScore or None
        Where the truth tells objects apart.
    """

    name: str
    classes: tuple[ClassScore, ...]
    pixel_error: float
    confusion: tuple[tuple[int, ...], ...]
    boundaries: tuple[BoundaryMatch, ...]
    objects: ObjectScore | None = None

    @property
    def dice(self) -> float:
        """Mean Dice of the foreground classes that occur; 1.0 if none does, nan if nothing is labelled."""
        return float("nan") if math.isnan(self.pixel_error) else _mean(self.classes[1:], "mean").dice


@dataclass(frozen=True)
class Evaluation:
    """Scores of a set of predictions against the truth.

    Attributes
    ----------
    per_image : tuple of ImageScore
    pooled : tuple of ClassScore
        All pixels of all images together, one per class, background first.
    image_mean : tuple of ClassScore
        Mean over the images, so that each counts the same; for every class over the images in which it occurs.
    mean : ClassScore
        Mean of `pooled` over the foreground classes that occur.
    pixel_error : float
        Fraction of all labelled pixels with a wrong class, from 0 (best) to 1; nan where nothing is labelled.
    tolerance : float
        Distance within which boundaries match.
    notes : tuple of str
        Remarks on the scoring, for the user.
    objects : ObjectScore or None
        Mean over the images, where the truth tells objects apart.
    """

    per_image: tuple[ImageScore, ...]
    pooled: tuple[ClassScore, ...]
    image_mean: tuple[ClassScore, ...]
    mean: ClassScore
    pixel_error: float
    tolerance: float
    notes: tuple[str, ...] = ()
    objects: ObjectScore | None = None

    @property
    def dice(self) -> float | None:
        """Mean Dice of the foreground classes that the truth shows, all pixels together; None where it shows none."""
        shown = [score.dice for score in self.pooled[1:] if score.pixels]
        return math.fsum(shown) / len(shown) if shown else None

    def ranked(self) -> list[ImageScore]:
        """The images from worst to best by their Dice; those without a labelled pixel are left out."""
        scored = [image for image in self.per_image if not math.isnan(image.dice)]
        return sorted(scored, key=lambda image: (image.dice, image.name))

    def summary(self) -> list[dict[str, str | float]]:
        """One row per class and a last one for the mean of the foreground classes, for a table to be printed.

        Scores are those of all pixels together; `image_dice` is the mean over images.
        """
        rows: list[dict[str, str | float]] = []
        image_mean = (*self.image_mean, _mean_foreground(self.image_mean))
        for score, image in zip((*self.pooled, self.mean), image_mean, strict=True):
            values = {metric: getattr(score, metric) for metric in METRICS}
            rows.append({"class": score.name, **values, "image_dice": image.dice, "pixels": score.pixels})
        return rows

    def to_json(self) -> str:
        """Everything as JSON; undefined scores are null."""
        table = asdict(self)
        for image in table["per_image"]:
            del image["boundaries"]
        table["conventions"] = CONVENTIONS
        return json.dumps(_finite(table), indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        """The scores that `to_json` wrote, but for the matches of boundaries; null is nan again.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        table = parse_json(text)
        try:
            return _EVALUATION.validate_python(asdict(cls._of_table(table)))
        except (KeyError, TypeError, AttributeError, ValidationError) as error:
            raise ValueError(f"damaged: {' '.join(str(error).split())[:200]}") from None

    @classmethod
    def _of_table(cls, table: dict[str, Any]) -> Evaluation:
        images = tuple(
            ImageScore(
                image["name"],
                _read_classes(image["classes"]),
                math.nan if image["pixel_error"] is None else image["pixel_error"],
                tuple(map(tuple, image["confusion"])),
                (),
                _read_objects(image.get("objects")),
            )
            for image in table["per_image"]
        )
        return cls(
            images,
            _read_classes(table["pooled"]),
            _read_classes(table["image_mean"]),
            _read_classes([table["mean"]])[0],
            math.nan if table["pixel_error"] is None else table["pixel_error"],
            table["tolerance"],
            tuple(table["notes"]),
            _read_objects(table.get("objects")),
        )

    def to_csv(self) -> str:
        """One line per image and class, then those of all pixels together; undefined scores are empty."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(["image", "class", "index", *METRICS, "pixels", "pixel_error"])
        rows = [(image.name, image.classes, image.pixel_error) for image in self.per_image]
        for name, scores, error in [*rows, ("(all)", self.pooled, self.pixel_error)]:
            for score in scores:
                values = [*(getattr(score, metric) for metric in METRICS), error]
                cells = ["" if math.isnan(value) else f"{value:.6g}" for value in values]
                lines.writerow([name, score.name, score.index, *cells[:-1], score.pixels, cells[-1]])
        return text.getvalue()


_EVALUATION = TypeAdapter(Evaluation)


def counting_notes(images: Sequence[ImageScore]) -> list[str]:
    """How images without foreground, and classes that occur nowhere, are counted, where there are any."""
    notes, foreground = [], [score.name for score in images[0].classes[1:]]
    labelled = [image for image in images if not math.isnan(image.pixel_error)]
    empty = [image.name for image in labelled if not any(score.occurs for score in image.classes[1:])]
    if empty:
        names = ", ".join(empty[:5]) + ", ..." * (len(empty) > 5)
        notes.append(f"without foreground on both sides, Dice 1 each, not in the mean over images: {names}")
    occurring = {score.name for image in images for score in image.classes if score.occurs}
    absent = [name for name in foreground if name not in occurring]
    if absent:
        notes.append(f"on neither side, left out of the mean: {', '.join(absent)}")
    return notes


def evaluate_arrays(
    pairs: Iterable[tuple[str, Array, Array]],
    class_names: Sequence[str],
    *,
    tolerance: float = 2.0,
    spacing: Sequence[float] | None = None,
    ignore: int | None = IGNORE_INDEX,
) -> Evaluation:
    """Score predicted classes against the truth, image by image and over all of them.

    Parameters
    ----------
    pairs : iterable of (name, predicted, truth)
        Class indices, integer ndarrays of shape (*spatial). Only one pair is held at a time.
    class_names : sequence of str
        One per class, background first.
    tolerance : float
        Distance within which boundaries match, in the unit of `spacing`.
    spacing : sequence of float, optional
        Pixel size per axis; 1 by default.
    ignore : int or None
        Pixels with this value in prediction or truth do not count.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        If there are no pairs, the sizes of a pair differ, an index is not a class, `tolerance` is negative, or
        `spacing` does not fit. The image is named.

    Examples
    --------
    >>> predicted, truth = np.array([[0, 1, 1]]), np.array([[0, 0, 1]])
    >>> round(evaluate_arrays([("a", predicted, truth)], ["background", "cell"]).mean.dice, 3)
    0.667
    """
    images = [
        score_image(name, predicted, truth, class_names, tolerance=tolerance, spacing=spacing, ignore=ignore)
        for name, predicted, truth in pairs
    ]
    return pool(images, tolerance=tolerance)


def score_image(
    name: str,
    predicted: Array,
    truth: Array,
    class_names: Sequence[str],
    *,
    tolerance: float = 2.0,
    spacing: Sequence[float] | None = None,
    ignore: int | None = IGNORE_INDEX,
) -> ImageScore:
    """Score one image. Parameters and errors are those of `evaluate_arrays`."""
    predicted, truth, n_classes = np.asarray(predicted), np.asarray(truth), len(class_names)
    try:
        if n_classes < 2:
            raise ValueError(f"got {n_classes} class names {tuple(class_names)}: expected 2 or more, background first")
        matrix = confusion(predicted, truth, n_classes, ignore=ignore)
        valid = None if ignore is None else labelled_mask(predicted, truth, ignore)
        occurs = matrix.sum(axis=0) + matrix.sum(axis=1) > 0
        boundaries = tuple(
            match_boundaries(predicted == c, truth == c, tolerance=tolerance, spacing=spacing, valid=valid)
            if occurs[c]
            else BoundaryMatch()
            for c in range(n_classes)
        )
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    classes, rows = _class_scores(matrix, boundaries, class_names), tuple(map(tuple, matrix.tolist()))
    return ImageScore(name, classes, pixel_error(matrix), rows, boundaries)


def pool(images: Sequence[ImageScore], *, tolerance: float, notes: Sequence[str] = ()) -> Evaluation:
    """Put the scores of images together.

    Parameters
    ----------
    images : sequence of ImageScore
        All with the same classes.
    tolerance : float
        The one they were scored with.
    notes : sequence of str

    Raises
    ------
    ValueError
        If there are no images.
    """
    if not images:
        raise ValueError("nothing to evaluate: got 0 images, expected at least one pair of prediction and truth")
    names = [score.name for score in images[0].classes]
    matrix = np.sum([image.confusion for image in images], axis=0)
    boundaries = [sum(same, BoundaryMatch()) for same in zip(*(image.boundaries for image in images), strict=True)]
    pooled = _class_scores(matrix, boundaries, names)
    per_class = zip(*(image.classes for image in images), strict=True)
    image_mean = tuple(
        _mean(same, name, index) for index, (name, same) in enumerate(zip(names, per_class, strict=True))
    )
    mean, error = _mean_foreground(pooled), pixel_error(matrix)
    of_objects = [image.objects for image in images if image.objects is not None]
    objects = mean_object_score(of_objects) if of_objects else None
    return Evaluation(tuple(images), pooled, image_mean, mean, error, tolerance, tuple(notes), objects)


def _class_scores(matrix: Array, boundaries: Sequence[BoundaryMatch], names: Sequence[str]) -> tuple[ClassScore, ...]:
    columns = np.stack([dice(matrix), iou(matrix), precision(matrix), recall(matrix)], axis=1).tolist()
    return tuple(
        ClassScore(name, index, d, i, p, r, match.f1, match.surface_dice, int(matrix[index].sum()))
        for index, (name, (d, i, p, r), match) in enumerate(zip(names, columns, boundaries, strict=True))
    )


def _mean_foreground(scores: Sequence[ClassScore]) -> ClassScore:
    return _mean(scores[1:], "mean of foreground")


def _mean(scores: Sequence[ClassScore], name: str, index: int = -1) -> ClassScore:
    """Mean of those that occur (of all where none does); undefined values are left out."""
    occurring = [score for score in scores if score.occurs] or scores
    means = {metric: mean_of_defined([getattr(score, metric) for score in occurring]) for metric in METRICS}
    return ClassScore(name, index, **means, pixels=sum(score.pixels for score in occurring))


def _read_classes(rows: list[dict[str, Any]]) -> tuple[ClassScore, ...]:
    return tuple(ClassScore(**_with_nan(row)) for row in rows)


def _read_objects(row: dict[str, Any] | None) -> ObjectScore | None:
    return None if row is None else ObjectScore(**_with_nan(row))


def _with_nan(row: dict[str, Any]) -> dict[str, Any]:
    return {name: math.nan if value is None else value for name, value in row.items()}


def _finite(value: object) -> object:
    """JSON has no nan and no inf: null stands for them."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
