"""Predictions of nets without a run, for tests."""

import numpy as np
from torch import nn

from unetkit.inference.predictor import Predictor
from unetkit.labels.kind import LabelKind
from unetkit.model.card import Card


def predictor_of(net: nn.Module, *, planes: int | None = None) -> Predictor:
    """A predictor whose card says no more than the planes of volumes."""
    architecture = {"ndim": net.ndim, "in_channels": net.in_channels}
    return Predictor(
        net, Card(architecture=architecture, classes=[], labels=LabelKind("binary", (0, 1)), planes=planes)
    )


def classes_of(net: nn.Module, image: np.ndarray, *, planes: int | None = None) -> np.ndarray:
    """Class indices (*spatial), uint8, of a normalised image (C, *spatial)."""
    return predictor_of(net, planes=planes).run(image, lambda logits: logits.argmax(0).byte().numpy())
