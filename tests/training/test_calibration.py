"""Probabilities that are true to frequency: a temperature that is known is found again."""

from pathlib import Path

import numpy as np
import pytest
import torch
from classes import predictor_of

from unetkit.data.dataset import Case
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.training.calibration import SAMPLED_PIXELS, calibrate, calibration_error, sample_pixels
from unetkit.training.validation import predict_held_out


def sampled(net, images, temperature, rng):
    """Cases whose labels are drawn from the net's own probabilities at a temperature."""
    cases = []
    for i, image in enumerate(images):
        with torch.no_grad():
            shares = (net(torch.from_numpy(image)[None])[0] / temperature).softmax(0).numpy()
        labels = (rng.random(image.shape[1:])[None] > shares.cumsum(0)[:-1]).sum(0).astype(np.uint8)
        cases.append(Case(f"c{i}", image, labels, None, None, Path()))
    return cases


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature):
    torch.manual_seed(0)
    net, rng = build(Architecture(widths=(4, 8), out_channels=3)).eval(), np.random.default_rng(0)
    with torch.no_grad():
        net.heads[0].weight.mul_(10)
    images = [rng.normal(size=(1, 96, 96)).astype(np.float32) for _ in range(4)]
    cases = sampled(net, images, temperature, rng)
    predictions = predict_held_out(predictor_of(net), cases)
    found = calibrate(predictions.logits, predictions.labels)
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    assert found.error_after < 0.02
    assert found.error_after <= found.error_before + 0.005


def test_planes_and_pixels_without_a_label():
    torch.manual_seed(0)
    net, rng = build(Architecture(widths=(4, 8), in_channels=3)).eval(), np.random.default_rng(0)
    volume, labels = rng.normal(size=(1, 4, 32, 32)).astype(np.float32), rng.integers(0, 2, (4, 32, 32), np.uint8)
    labels[1:3] = 255
    case = Case("v", volume, labels, None, None, Path())
    predictor = predictor_of(net, planes=3)
    predictions = predict_held_out(predictor, [case])
    assert len(predictions.labels) == 2 * 32 * 32
    at = sample_pixels(case, SAMPLED_PIXELS, 0)
    assert np.array_equal(predictions.labels, labels.ravel()[at])
    whole = predictor.run(volume, lambda logits: logits.numpy())
    assert np.array_equal(predictions.logits, whole.reshape(2, -1)[:, at].T)
    assert 0.2 <= calibrate(predictions.logits, predictions.labels).temperature <= 5
    labels[:] = 255
    predictions = predict_held_out(predictor, [case])
    assert calibrate(predictions.logits, predictions.labels).temperature == 1


def test_the_error_of_a_net_that_is_too_sure():
    shares = np.tile([0.1, 0.9], (1000, 1))
    labels = (np.arange(1000) % 10 < 6).astype(int)
    assert calibration_error(shares, labels) == pytest.approx(0.3)
