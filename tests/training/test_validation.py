"""Scores of held-out images: all pixels count, and one pass gives what several gave."""

from pathlib import Path

import numpy as np
import pytest
import torch
from classes import predictor_of
from trainings import cases

from unetkit.data.dataset import Case
from unetkit.labels.instances import pack_maps
from unetkit.labels.kind import LabelKind
from unetkit.metrics.pixels import dice, pixel_error
from unetkit.model.card import Card
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet
from unetkit.training.validation import (
    ValidationScore,
    predict_classes,
    predict_held_out,
    predict_maps,
    validate,
    validate_fully,
)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_score_counts_all_pixels_of_all_images(ndim):
    torch.manual_seed(0)
    net = UNet(Architecture(ndim=ndim, widths=(4, 8), out_channels=3)).eval()
    some = cases(ndim)
    some[0].labels[..., 20:, :] = 255
    some[1].labels[..., 2, 2] = 2
    score = validate(predictor_of(net), some)
    matrix = np.zeros((3, 3), np.int64)
    for case in some:
        with torch.no_grad():
            predicted = net(torch.from_numpy(case.image)[None])[0].argmax(0).numpy()
        known = case.labels != 255
        np.add.at(matrix, (case.labels[known], predicted[known]), 1)
    assert score.dice == pytest.approx(tuple(dice(matrix)[1:]))
    assert score.pixel_error == pytest.approx(pixel_error(matrix))
    assert score.mean_dice == pytest.approx(dice(matrix)[1:].mean())


def test_classes_that_do_not_occur_have_no_score():
    score = ValidationScore((0.5, float("nan"), 0.7), 0.1, 1.0)
    assert score.mean_dice == pytest.approx(0.6)
    nothing = ValidationScore((float("nan"),), 0.1, 1.0)
    assert (nothing.mean_dice, nothing.quality, score.quality) == (None, 0.9, score.mean_dice)


def test_predicted_classes_are_of_the_size_of_the_image():
    net = UNet(Architecture(widths=(4, 8), padding="valid")).eval()
    case = Case("a", np.zeros((1, 31, 47), np.float32), np.zeros((31, 47), np.uint8), None, None, Path())
    classes = predict_classes(predictor_of(net), case)
    assert (classes.shape, classes.dtype) == ((31, 47), np.uint8)


@pytest.mark.parametrize("planes", [1, 3])
def test_volumes_are_scored_plane_by_plane(planes):
    """A 2D net of adjacent planes: every voxel of every volume counts, at whatever depth it lies."""
    torch.manual_seed(0)
    net, volumes = UNet(Architecture(in_channels=planes, widths=(4, 8))), cases(3)
    predictions = [predict_classes(predictor_of(net, planes=planes), case) for case in volumes]
    wrong = [predicted != case.labels for predicted, case in zip(predictions, volumes, strict=True)]
    overlap = sum(int((predicted & case.labels).sum()) for predicted, case in zip(predictions, volumes, strict=True))
    marked = sum(
        int(predicted.sum()) + int(case.labels.sum()) for predicted, case in zip(predictions, volumes, strict=True)
    )
    score = validate(predictor_of(net, planes=planes), volumes)
    assert score.pixel_error == pytest.approx(np.mean(wrong))
    assert score.dice == (pytest.approx(2 * overlap / marked),)
    assert 0 < score.pixel_error < 1


@pytest.mark.parametrize("planes", [None, 1])
@pytest.mark.parametrize("has_ids", [False, True])
def test_one_pass_gives_classes_maps_and_scores(planes, has_ids):
    torch.manual_seed(0)
    ndim = 2 if planes is None else 3
    net = UNet(Architecture(widths=(4, 8), out_channels=5))
    some = cases(ndim)
    if has_ids:
        some = [Case(c.name, c.image, c.labels, None, None, c.path, c.labels.astype(np.int32)) for c in some]
    predictor = predictor_of(net, planes=planes)
    predictions = predict_held_out(predictor, some)
    assert predictions.score.dice == pytest.approx(validate(predictor, some).dice, nan_ok=True, rel=0, abs=0)
    for i, case in enumerate(some):
        assert np.array_equal(predictions.classes[i], predict_classes(predictor, case))
        if has_ids:
            assert np.array_equal(predictions.maps[i], predict_maps(predictor, case))
            shares = predictor.run(case.image, lambda logits: logits.softmax(0).numpy())
            assert np.array_equal(predictions.maps[i], pack_maps(shares))
    assert len(predictions.maps) == (3 if has_ids else 0)


def test_tiles_are_sampled_as_the_whole_image():
    """Logits of the same pixels, wherever the parts of the image end."""
    torch.manual_seed(0)
    predictor, (case, *_) = predictor_of(UNet(Architecture(widths=(4, 8)))), cases(2)
    whole = predict_held_out(predictor, [case])
    logits = predictor.logits

    def in_parts(image):
        for (_, columns), part in logits(image):
            for start in range(0, 30, 7):
                stop = min(start + 7, 30)
                yield (slice(start, stop), columns), part[:, start:stop]

    predictor.logits = in_parts
    parts = predict_held_out(predictor, [case])
    assert torch.equal(whole.logits, parts.logits)
    assert np.array_equal(whole.classes[0], parts.classes[0])


def test_the_full_validation_keeps_the_temperature_in_the_card():
    torch.manual_seed(0)
    net, some = UNet(Architecture(widths=(4, 8))), cases(2)
    card = Card(
        architecture=net.architecture.to_dict(),
        classes=["background", "foreground"],
        labels=LabelKind("binary", (0, 1)),
    )
    predictions = predict_held_out(predictor_of(net), some)
    result = validate_fully(predictions, card, some)
    assert result.card.temperature != 1
    assert result.evaluation.pixel_error == pytest.approx(predictions.score.pixel_error)
    assert result.evaluation.mean.dice == pytest.approx(predictions.score.mean_dice)
    assert len(result.masks) == 3
