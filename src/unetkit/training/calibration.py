"""Probabilities that are true to frequency: of the pixels that a net calls 80 % likely, four in five should be right.

Nets are mostly too sure. Dividing all logits by one temperature, fitted on images that were held out, changes no mask
and repairs most of that (Guo et al., On calibration of modern neural networks, ICML 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from ..data.dataset import Case
from ..data.planes import by_planes
from ..inference.runner import run
from ..inference.tiling import plan_tiles
from ..labels.kind import IGNORE_INDEX
from ..nets.net import Net

__all__ = ["Calibration", "calibrate", "calibration_error"]

_PIXELS = 200_000  # one number needs no more
_RANGE = (0.2, 5.0)
_BINS = 15  # of the paper
_MEMORY = 2 * 2**30


@dataclass(frozen=True)
class Calibration:
    """A temperature, and what it does on the pixels that it was fitted on.

    Attributes
    ----------
    temperature : float
        Above 1 where the net was too sure.
    error_before, error_after : float
        `calibration_error` with temperature 1 and with this one, 0 to 1.
    """

    temperature: float
    error_before: float
    error_after: float


def calibrate(net: Net, cases: Sequence[Case], *, planes: int | None = None) -> Calibration:
    """The temperature of the smallest cross-entropy on some labelled pixels of the cases.

    Parameters
    ----------
    net : Net
    cases : sequence of Case
        That the net was not trained on.
    planes : int, optional
        Cases are volumes, cut to this many adjacent planes for a 2D net.
    """
    chosen = [_some(net, case, planes, max(_PIXELS // len(cases), 100), seed) for seed, case in enumerate(cases)]
    logits, labels = (torch.cat(parts) for parts in zip(*chosen, strict=True))
    if not len(labels):
        return Calibration(1.0, 0.0, 0.0)

    def entropy(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / np.exp(log_temperature), labels))

    found = minimize_scalar(entropy, bounds=np.log(_RANGE), method="bounded", options={"xatol": 1e-3})
    temperature = float(np.exp(found.x))
    before, after = (calibration_error((logits / t).softmax(1).numpy(), labels.numpy()) for t in (1.0, temperature))
    return Calibration(round(temperature, 4), before, after)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error: how far, on average, confidence is from accuracy, 0 to 1 (Guo et al. 2017, eq. 3).

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


def _some(net: Net, case: Case, planes: int | None, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Logits (n, K) and classes (n,) of up to `n` labelled pixels."""
    tiling = plan_tiles(net, case.size[-net.ndim :], memory_bytes=_MEMORY)
    labelled = np.flatnonzero(case.labels.ravel() != IGNORE_INDEX)
    at = np.random.default_rng(seed).choice(labelled, min(n, len(labelled)), replace=False)

    def logits(part: np.ndarray, index: int = 0) -> np.ndarray:
        return run(net, torch.from_numpy(part), tiling).float().numpy()

    found = logits(case.image) if planes is None else np.moveaxis(by_planes(case.image, planes, logits), 0, 1)
    chosen = torch.from_numpy(found.reshape(len(found), -1)[:, at].T.copy())
    return chosen, torch.from_numpy(case.labels.ravel()[at].astype(np.int64))
