"""How the maps of a net for objects become objects: thresholds that suit the images that were held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from ..data.dataset import Case
from ..data.planes import by_planes
from ..inference.runner import run
from ..inference.tiling import plan_tiles
from ..labels.instances import InstanceThresholds, decode, pack_maps, unpack_maps
from ..labels.kind import IGNORE_INDEX
from ..metrics.objects import ObjectScore, mean_average_precision, overlaps, score_objects
from ..nets.net import Net

__all__ = ["predict_codes", "score_cases", "tune_thresholds", "usual_decoding"]

_MOST_PIXELS = 2**22  # that thresholds are tuned on: some ten seconds
# What is tried, one after the other, twice; sizes as factors of the first.
_TRIED: dict[str, tuple[float, ...]] = {
    "split_ratio": (0.35, 0.45, 0.55, 0.65, 0.75, 0.85),
    "foreground": (0.3, 0.4, 0.5, 0.6, 0.7),
    "confidence": (0.0, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9),
    "min_size": (0.25, 0.5, 0.75, 1, 1.5),
}
_MEMORY = 2 * 2**30


def usual_decoding(cases: Sequence[Case]) -> InstanceThresholds:
    """Thresholds in the middle, and a smallest object that all but 1 % of the true ones exceed."""
    sizes = np.concatenate([np.zeros(0, np.int64), *(_sizes(case.ids) for case in cases if case.ids is not None)])
    return InstanceThresholds(min_size=max(1, int(np.quantile(sizes, 0.01))) if len(sizes) else 1)


def predict_codes(net: Net, image: np.ndarray, *, planes: int | None = None) -> np.ndarray:
    """Foreground and distance of one standardised image (C, *spatial), in two bytes per pixel (`labels.instances`)."""
    tiling = plan_tiles(net, image.shape[-net.ndim :], memory_bytes=_MEMORY)

    def codes(part: np.ndarray, index: int = 0) -> np.ndarray:
        probabilities = run(net, torch.from_numpy(part), tiling, finish=lambda k: k.float().softmax(0))
        return pack_maps(probabilities.numpy())

    return codes(image) if planes is None else by_planes(image, planes, codes)


def tune_thresholds(
    codes: Sequence[np.ndarray], cases: Sequence[Case], start: InstanceThresholds
) -> InstanceThresholds:
    """Thresholds with the highest mean average precision on some images: one after the other, and once more.

    A change is made where its gain is more than its own standard error over the images: less is chance, and thresholds
    that suit a few images by chance do worse on others.

    Parameters
    ----------
    codes : sequence of ndarray
        Of `predict_codes`, one per case.
    cases : sequence of Case
    start : Decoding

    Returns
    -------
    Decoding
    """
    pixels = np.cumsum([case.labels.size for case in cases])
    n = max(1, int(np.searchsorted(pixels, _MOST_PIXELS)))
    step = max(1, len(cases) // n)
    chosen = list(zip(codes, cases, strict=True))[::step][:n]

    @cache
    def precisions(how: InstanceThresholds) -> np.ndarray:
        return np.array([_precision(code, case, how) for code, case in chosen])

    best = start
    for name in [*_TRIED, *_TRIED]:
        changes: list[dict[str, Any]] = [
            {name: round(value * start.min_size) if name == "min_size" else value} for value in _TRIED[name]
        ]
        tried = max([best, *(replace(best, **change) for change in changes)], key=lambda how: precisions(how).mean())
        gains = precisions(tried) - precisions(best)
        if gains.mean() > gains.std() / np.sqrt(len(gains)):
            best = tried
    return best


def score_cases(codes: Sequence[np.ndarray], cases: Sequence[Case], how: InstanceThresholds) -> list[ObjectScore]:
    """The scores of the objects of every case."""
    return [
        score_objects(decode(*unpack_maps(code), how), _ids(case), valid=case.labels != IGNORE_INDEX)
        for code, case in zip(codes, cases, strict=True)
    ]


def _precision(code: np.ndarray, case: Case, how: InstanceThresholds) -> float:
    found = overlaps(decode(*unpack_maps(code), how), _ids(case), valid=case.labels != IGNORE_INDEX)
    return mean_average_precision(found)


def _sizes(ids: np.ndarray) -> np.ndarray:
    """Pixels of every object."""
    return np.unique(ids[ids != 0], return_counts=True)[1]


def _ids(case: Case) -> np.ndarray:
    if case.ids is None:
        raise ValueError(f"{case.name}: its mask tells no objects apart")
    return case.ids
