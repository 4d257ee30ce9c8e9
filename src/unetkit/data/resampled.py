"""Samples of a set brought to one pixel size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from ..errors import Problem
from ..io.resample import resampled, size_at, to_size
from .sample import Sample
from .store import ArrayStore

__all__ = ["resample_samples"]


def resample_samples(
    samples: Sequence[Sample], spacing: tuple[float, ...], unit: str, store: ArrayStore
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
            kept = None
            name = f"{sample.name}-{'x'.join(map(str, size))}"
            if store.folder is not None:
                kept = store.saved(name)
            if kept is None:
                kept = store.keep(name, resampled(np.asarray(image.array), size, image.spacing))
            labels = to_size(np.asarray(mask.array), size)
            image = replace(image, array=cast(np.ndarray, kept), spacing=own)
            sample = replace(sample, image=image, mask=replace(mask, array=labels, spacing=own))
        results.append(sample)
    return results, problems
