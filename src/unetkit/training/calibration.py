"""Calibrated probabilities: of the pixels that a net calls 80 % likely, four in five should be right.

Nets are mostly overconfident. Dividing all logits by one temperature, fitted on images that were held out, changes no
mask and repairs most of that (Guo et al., On calibration of modern neural networks, ICML 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from ..data.case import Case
from ..labels.kind import IGNORE_INDEX

__all__ = ["SAMPLED_PIXELS", "Calibration", "calibrate", "calibration_error", "sample_pixels"]

SAMPLED_PIXELS = 200_000  # of all images together; one number needs no more
_RANGE = (0.2, 5.0)
_BINS = 15  # of the paper


@dataclass(frozen=True)
class Calibration:
    """A temperature, and its effect on the pixels that it was fitted on.

    Attributes
    ----------
    temperature : float
        Above 1 where the net was overconfident.
    error_before, error_after : float
        `calibration_error` with temperature 1 and with this one, 0 to 1.
    """

    temperature: float
    error_before: float
    error_after: float


def sample_pixels(case: Case, n: int, seed: int) -> np.ndarray:
    """Flat indices of up to `n` labelled pixels of a case, (n,), int64."""
    labelled = np.flatnonzero(np.asarray(case.labels).ravel() != IGNORE_INDEX)
    return np.random.default_rng(seed).choice(labelled, min(n, len(labelled)), replace=False)


def calibrate(logits: Tensor, labels: Tensor) -> Calibration:
    """Fit the temperature with the smallest cross-entropy on some pixels that the net was not trained on.

    Parameters
    ----------
    logits : Tensor of shape (N, K), float32
    labels : Tensor of shape (N,), int64
        Classes.
    """
    if not len(labels):
        return Calibration(1.0, 0.0, 0.0)

    def entropy(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / np.exp(log_temperature), labels))

    fit = minimize_scalar(entropy, bounds=np.log(_RANGE), method="bounded", options={"xatol": 1e-3})
    temperature = float(np.exp(fit.x))
    before, after = (calibration_error((logits / t).softmax(1).numpy(), labels.numpy()) for t in (1.0, temperature))
    return Calibration(round(temperature, 4), before, after)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error: mean distance of confidence from accuracy, 0 to 1 (Guo et al. 2017, eq. 3).

    Parameters
    ----------
    probabilities : ndarray of shape (N, K)
    labels : ndarray of shape (N,), integer
        Classes.

    Examples
    --------
    >>> sure = np.tile([0.2, 0.8], (5, 1))
    >>> calibration_error(sure, np.array([1, 1, 0, 1, 1])), calibration_error(sure, np.ones(5))
    (0.0, 0.2)
    """
    confidence, is_right = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, is_right - confidence, minlength=_BINS)
    return round(float(np.abs(gaps).sum() / max(len(labels), 1)), 6)
