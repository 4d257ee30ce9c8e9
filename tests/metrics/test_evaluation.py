"""Evaluations against their parts."""

import csv
import io
import json
import math

import numpy as np
import pytest

from unetkit.metrics.boundaries import boundary_f1, normalised_surface_dice
from unetkit.metrics.evaluation import evaluate_arrays, pool
from unetkit.metrics.pixels import confusion, dice, iou, pixel_error, precision, recall

SHAPES = [(13, 11), (5, 6, 7)]
NAMES = ("background", "nucleus", "wall")


def classes(shape, seed, n_classes=3):
    return np.random.default_rng(seed).integers(0, n_classes, shape).astype(np.uint8)


def with_gaps(labels, seed):
    gaps = labels.copy()
    gaps[np.random.default_rng(seed).random(labels.shape) < 0.2] = 255
    return gaps


def three_pairs(shape):
    return [
        (f"image {i}", with_gaps(classes(shape, 2 * i), i), with_gaps(classes(shape, 2 * i + 1), i)) for i in range(3)
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_evaluation_pools_pixels_and_averages_images(shape):
    pairs = three_pairs(shape)
    evaluation = evaluate_arrays(iter(pairs), NAMES, tolerance=1.0)
    predicted, truth = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (1, 2))
    together = confusion(predicted, truth, 3)
    assert [score.dice for score in evaluation.pooled] == pytest.approx(dice(together).tolist())
    assert [score.recall for score in evaluation.pooled] == pytest.approx(recall(together).tolist())
    assert [score.pixels for score in evaluation.pooled] == together.sum(axis=1).tolist()
    assert evaluation.pixel_error == pytest.approx(pixel_error(together))
    singly = np.mean([iou(confusion(p, t, 3)) for _, p, t in pairs], axis=0)
    assert [score.iou for score in evaluation.image_mean] == pytest.approx(singly.tolist())
    assert evaluation.mean.precision == pytest.approx(precision(together)[1:].mean())
    assert [score.name for score in evaluation.pooled] == list(NAMES)
    assert evaluation.tolerance == 1.0


@pytest.mark.parametrize("shape", SHAPES)
def test_boundary_scores_are_those_of_each_class_alone(shape):
    (name, predicted, truth), *_ = three_pairs(shape)
    spacing = (2.0, 1.0, 1.0)[: len(shape)]
    evaluation = evaluate_arrays([(name, predicted, truth)], NAMES, tolerance=1.0, spacing=spacing)
    options = {"tolerance": 1.0, "spacing": spacing, "valid": (predicted != 255) & (truth != 255)}
    for score in evaluation.per_image[0].classes:
        masks = predicted == score.index, truth == score.index
        assert score.boundary_f1 == boundary_f1(*masks, **options)
        assert score.surface_dice == normalised_surface_dice(*masks, **options)
    assert evaluation.pooled == evaluation.per_image[0].classes


def test_pooled_boundaries_weigh_images_by_length():
    truth, predicted = np.zeros((2, 30, 30), dtype=int)
    truth[10, 0:20], predicted[10, 0:20] = 1, 1  # 20 px of contour, all matched
    short, far = np.zeros((2, 30, 30), dtype=int)
    short[10, 0:5], far[20, 0:5] = 1, 1  # 5 and 5 px, none matched
    evaluation = evaluate_arrays([("a", predicted, truth), ("b", far, short)], ["background", "line"])
    assert evaluation.pooled[1].surface_dice == pytest.approx(40 / 50)
    assert evaluation.image_mean[1].surface_dice == pytest.approx(0.5)


def test_absent_classes_do_not_flatter_the_means():
    empty, half = np.zeros((4, 4), int), np.zeros((4, 4), int)
    half[:2] = 1
    shifted = np.roll(half, 1, axis=0)
    evaluation = evaluate_arrays([("empty", empty, empty), ("half", shifted, half)], NAMES)
    assert evaluation.image_mean[1].dice == pytest.approx(0.5)  # over the one image with a nucleus
    assert evaluation.mean.dice == pytest.approx(0.5)  # no wall anywhere
    assert (evaluation.pooled[2].dice, evaluation.pooled[2].occurs) == (1.0, False)
    assert math.isnan(evaluation.pooled[2].precision)
    assert [image.name for image in evaluation.ranked()] == ["half", "empty"]
    assert evaluation.per_image[0].dice == 1.0


def test_missed_class_counts_as_zero():
    truth = np.array([[0, 1, 2]])
    evaluation = evaluate_arrays([("a", np.array([[0, 1, 0]]), truth)], NAMES)
    assert evaluation.mean.dice == pytest.approx((1.0 + 0.0) / 2)
    assert evaluation.mean.precision == 1.0  # that of the missed class is undefined


def test_images_without_a_label_do_not_count():
    truth = np.array([[0, 1, 1]])
    blank = np.full_like(truth, 255)
    evaluation = evaluate_arrays([("blank", truth, blank), ("a", truth, truth)], NAMES[:2])
    assert [image.name for image in evaluation.ranked()] == ["a"]
    assert math.isnan(evaluation.per_image[0].dice)
    assert evaluation.pixel_error == 0.0
    assert evaluation.pooled == evaluate_arrays([("a", truth, truth)], NAMES[:2]).pooled


def test_ranked_from_worst_to_best():
    truth = np.repeat([0, 1], 8).reshape(4, 4)
    pairs = [(str(n), np.where(np.arange(16).reshape(4, 4) < 8 + n, 0, 1), truth) for n in (1, 6, 0, 3)]
    assert [image.name for image in evaluate_arrays(pairs, NAMES[:2]).ranked()] == ["6", "3", "1", "0"]


def test_json_holds_everything_and_no_nan():
    evaluation = evaluate_arrays(three_pairs((9, 9)), [*NAMES, "never"], tolerance=1.0)
    table = json.loads(evaluation.to_json())
    assert table["pooled"][1]["dice"] == evaluation.pooled[1].dice
    assert table["pooled"][3]["precision"] is None
    assert table["per_image"][2]["confusion"] == [list(row) for row in evaluation.per_image[2].confusion]
    assert table["tolerance"] == 1.0
    assert [image["name"] for image in table["per_image"]] == ["image 0", "image 1", "image 2"]


def test_csv_has_a_line_per_image_and_class():
    evaluation = evaluate_arrays(three_pairs((9, 9)), [*NAMES, "never"])
    lines = list(csv.DictReader(io.StringIO(evaluation.to_csv())))
    assert len(lines) == (3 + 1) * 4
    assert float(lines[5]["dice"]) == pytest.approx(evaluation.per_image[1].classes[1].dice, rel=1e-5)
    assert (lines[5]["image"], lines[5]["class"], lines[-1]["image"]) == ("image 1", "nucleus", "(all)")
    assert lines[-1]["recall"] == ""
    assert float(lines[-1]["pixel_error"]) == pytest.approx(evaluation.pixel_error, rel=1e-5)


def test_summary_has_a_row_per_class_and_the_mean():
    evaluation = evaluate_arrays(three_pairs((9, 9)), NAMES)
    rows = evaluation.summary()
    assert [row["class"] for row in rows] == [*NAMES, "mean of foreground"]
    assert rows[1]["dice"] == evaluation.pooled[1].dice
    assert rows[1]["image_dice"] == evaluation.image_mean[1].dice
    assert rows[3]["iou"] == pytest.approx((rows[1]["iou"] + rows[2]["iou"]) / 2)
    assert rows[3]["pixels"] == rows[1]["pixels"] + rows[2]["pixels"]


def test_wrong_use_names_the_image():
    truth = np.zeros((4, 4), int)
    with pytest.raises(ValueError, match=r"b7: predicted has shape \(4, 5\) and truth \(4, 4\)"):
        evaluate_arrays([("a", truth, truth), ("b7", np.zeros((4, 5), int), truth)], NAMES)
    with pytest.raises(ValueError, match=r"b7: predicted holds class 3 \(16 px are out of range\): expected 0 to 2"):
        evaluate_arrays([("b7", truth + 3, truth)], NAMES)
    with pytest.raises(ValueError, match=r"b7: spacing \(1.0,\) for masks of 2 axes"):
        evaluate_arrays([("b7", truth, truth)], NAMES, spacing=[1.0])
    with pytest.raises(ValueError, match=r"b7: tolerance -2: expected a distance of 0 or more"):
        evaluate_arrays([("b7", truth, truth)], NAMES, tolerance=-2)
    with pytest.raises(ValueError, match=r"b7: got 1 class names \('cell',\): expected 2 or more"):
        evaluate_arrays([("b7", truth, truth)], ["cell"])
    with pytest.raises(ValueError, match="got 0 images"):
        evaluate_arrays([], NAMES)
    with pytest.raises(ValueError, match="got 0 images"):
        pool([], tolerance=1.0)
