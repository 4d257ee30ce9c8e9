"""From samples to cases: resampled to one pixel size, standardised, masks as class indices with their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import Problem
from ..io.resample import resampled, size_at, to_size
from ..labels.borders import border_weights
from ..labels.kind import IGNORE_INDEX, LabelKind, to_classes
from .case import Case
from .normalised import normalise_image
from .readable import Readable, Tabulated
from .sample import Sample

__all__ = ["encode_samples", "resample_samples"]

_GAP_WEIGHT, _GAP_SIGMA = 10.0, 5.0  # of pixels between objects that (almost) touch, and how near: those of 2015


def resample_samples(
    samples: Sequence[Sample], spacing: tuple[float, ...], unit: str
) -> tuple[list[Sample], list[Problem]]:
    """Bring samples of another spacing to this one; the others are the same objects as before."""
    results: list[Sample] = []
    problems: list[Problem] = []
    for sample in samples:
        image, mask = sample.image, sample.mask
        try:
            is_map = image.georeference is not None
            size = image.size if is_map else size_at(image.size, image.spacing, image.unit, spacing, unit)
        except ValueError as error:
            problems.append(Problem(f"{sample.pair.image}: {error}", sample.pair.files))
            continue
        if size != image.size:
            own = tuple(s * a / b for s, a, b in zip(image.spacing, image.size, size, strict=True))
            image = replace(image, array=resampled(image.array, size, image.spacing), spacing=own)
            sample = replace(sample, image=image, mask=replace(mask, array=to_size(mask.array, size), spacing=own))
        results.append(sample)
    return results, problems


def encode_samples(
    samples: Sequence[Sample], kind: LabelKind, channels: int, ndim: int, *, border_weight: bool
) -> tuple[list[Case], list[str], list[Problem]]:
    """Cases; the names of maps without a labelled pixel, which are left out; and what is wrong with the others."""
    cases: list[Case] = []
    left_out: list[str] = []
    problems: list[Problem] = []
    for sample in samples:
        pair, image, mask = sample.pair, sample.image, sample.mask.array
        try:
            normalised = normalise_image(image, channels=channels, ndim=ndim)
            classes, valid = to_classes(mask, kind, spacing=image.spacing), image.valid_mask()
            for each in (valid, sample.mask.valid):  # of the image, and of the mask by a mask of its own
                if each is not None:
                    classes[~each] = IGNORE_INDEX
            is_labelled = classes != IGNORE_INDEX
            if not is_labelled.any():
                if image.georeference is None:
                    raise ValueError(f"its mask {pair.mask} labels none of its {classes.size} pixels; leave both out")
                left_out.append(str(pair.image))
                continue
            is_object = (classes > 0) & is_labelled
            ids = _smallest(np.where(is_object, mask, 0)) if kind.has_distance else None
            weights: Readable | None = None
            if ids is not None:
                steps = [step / min(image.spacing) for step in image.spacing]
                weights = Tabulated.of(border_weights(ids, w0=_GAP_WEIGHT, sigma=_GAP_SIGMA, spacing=steps))
            elif border_weight:
                weights = Tabulated.of(_paper_weights(mask, is_object, kind))
            cases.append(Case(pair.name, normalised, classes, weights, pair.group, pair.image, ids))
        except ValueError as error:
            problems.append(Problem(f"{pair.image}: {error}", (*pair.files, pair.mask)))
    return cases, left_out, problems


def _smallest(ids: np.ndarray) -> np.ndarray:
    """Ids in the smallest dtype that holds them."""
    small = np.min_scalar_type(int(ids.max(initial=0)))
    return ids.astype(small) if small.itemsize < min(ids.itemsize, 8) else ids


def _paper_weights(ids: np.ndarray, is_object: np.ndarray, kind: LabelKind) -> np.ndarray:
    """Weight map of the 2015 paper, from the ids where there are any, else from connected components."""
    from skimage.measure import label

    instances = np.where(is_object, ids, 0) if kind.kind == "instances" else label(is_object)
    return border_weights(np.asarray(instances), class_weights=(1.0, 1.0))
