"""Thresholds by which the maps of a net for objects become objects, tuned on images that were held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from ..data.case import Case
from ..data.readable import Readable, blocks
from ..labels.instances import InstanceThresholds, decode, unpack_maps
from ..labels.kind import IGNORE_INDEX
from ..metrics.objects import ObjectScore, mean_average_precision, overlaps, score_objects
from ..tiles import Slices

__all__ = ["score_cases", "tune_thresholds", "usual_thresholds"]

_COUNTED = 2**24  # pixels at a time
_STRIPS = 4  # of a single image, in place of several
_MOST_PIXELS = 2**22  # that thresholds are tuned on: some ten seconds
# Values that are tried, one after the other, twice; sizes as factors of the first.
_TRIED: dict[str, tuple[float, ...]] = {
    "split_ratio": (0.35, 0.45, 0.55, 0.65, 0.75, 0.85),
    "foreground": (0.3, 0.4, 0.5, 0.6, 0.7),
    "confidence": (0.0, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9),
    "min_size": (0.25, 0.5, 0.75, 1, 1.5),
}


def usual_thresholds(cases: Sequence[Case]) -> InstanceThresholds:
    """Thresholds in the middle, and a smallest object that all but 1 % of the true ones exceed."""
    each = [_pixels_of_objects(case.ids) for case in cases if case.ids is not None]
    sizes = np.concatenate([np.zeros(0, np.int64), *each])
    return InstanceThresholds(min_size=max(1, int(np.quantile(sizes, 0.01))) if len(sizes) else 1)


def _pixels_of_objects(ids: Readable) -> np.ndarray:
    """Pixels of every object, in the order of their ids."""
    pixels = Counter[int]()
    for space in blocks(ids.shape, _COUNTED):
        part = ids[space]
        values, counts = np.unique(part[part != 0], return_counts=True)
        pixels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    return np.array([pixels[value] for value in sorted(pixels)], np.int64)


def tune_thresholds(maps: Sequence[np.ndarray], cases: Sequence[Case], start: InstanceThresholds) -> InstanceThresholds:
    """Thresholds with the highest mean average precision on some images: one after the other, and once more.

    A change is made where its gain is more than its own standard error over the images, or 1.5 times that over strips
    of a single one, so that no strip decides alone: less is chance, and thresholds that suit a few images by chance do
    worse on others.

    Parameters
    ----------
    maps : sequence of ndarray of shape (*spatial), uint16
        Foreground and distance (`labels.instances.pack_maps`), one per case.
    cases : sequence of Case
    start : InstanceThresholds

    Returns
    -------
    InstanceThresholds
    """
    pixels = np.cumsum([prod(case.size) for case in cases])
    n = max(1, int(np.searchsorted(pixels, _MOST_PIXELS)))
    step = max(1, len(cases) // n)
    chosen = list(zip(maps, cases, strict=True))[::step][:n]
    is_single = len(chosen) == 1

    truths = [(np.asarray(case.labels), _ids(case)) for _, case in chosen]

    @cache
    def precisions(thresholds: InstanceThresholds) -> np.ndarray:
        precision = []
        for (packed, _), (labels, true_ids) in zip(chosen, truths, strict=True):
            ids = decode(*unpack_maps(packed), thresholds)
            for strip in _strips(labels.shape, _STRIPS if is_single else 1):
                valid = labels[strip] != IGNORE_INDEX
                precision.append(mean_average_precision(overlaps(ids[strip], true_ids[strip], valid=valid)))
        return np.array(precision)

    best = start
    for name in [*_TRIED, *_TRIED]:
        values: list[Any] = [round(x * start.min_size) if name == "min_size" else x for x in _TRIED[name]]
        candidates = [best, *(replace(best, **{name: value}) for value in values)]
        tried = max(candidates, key=lambda thresholds: precisions(thresholds).mean())
        gains = precisions(tried) - precisions(best)
        if gains.mean() > (1.5 if is_single else 1) * gains.std() / np.sqrt(len(gains)):
            best = tried
    return best


def _strips(size: tuple[int, ...], n: int) -> list[Slices]:
    """An image cut across its longest axis."""
    axis = int(np.argmax(size))
    edges = [size[axis] * i // n for i in range(n + 1)]
    return [(*(slice(None),) * axis, slice(*pair)) for pair in pairwise(edges)]


def score_cases(objects: Sequence[np.ndarray], cases: Sequence[Case]) -> list[ObjectScore]:
    """Score predicted objects (*spatial), integer ids, one image per case."""
    return [
        score_objects(ids, _ids(case), valid=np.asarray(case.labels) != IGNORE_INDEX)
        for ids, case in zip(objects, cases, strict=True)
    ]


def _ids(case: Case) -> np.ndarray:
    if case.ids is None:
        raise ValueError(f"{case.name}: its mask has no ids of objects")
    return np.asarray(case.ids)
