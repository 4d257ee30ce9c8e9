"""From samples to cases, each with its arrays held in memory, or all of them in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import numpy as np

from ..errors import Problem
from ..progress import Progress
from .case import Case
from .encoded import EncodedLabels
from .normalise import Normalisation
from .normalised import NormalisedImage, normalise_image
from .readable import ByRegion, Tabulated, bytes_of, read_blocks
from .sample import Sample
from .store import ArrayStore
from .targets import Targets, TargetSettings, has_gaps, saved_targets, whole_targets

__all__ = ["encode_samples"]


@dataclass(frozen=True)
class _Scale:
    """The normalisation of an image; floats of float32 keep all their digits in JSON."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    is_gray: bool
    missing: int
    has_gaps: bool

    @classmethod
    def of(cls, scaling: Normalisation) -> _Scale:
        """As it is saved."""
        mean, std = tuple(scaling.mean.tolist()), tuple(scaling.std.tolist())
        return cls(mean, std, scaling.is_gray, scaling.missing, scaling.has_gaps)

    @property
    def scaling(self) -> Normalisation:
        """As it was measured."""
        mean, std = (np.array(values, np.float32) for values in (self.mean, self.std))
        return Normalisation(mean, std, self.is_gray, self.missing, self.has_gaps)


@dataclass(frozen=True)
class _Record:
    """What is known of a case of which arrays lie in the cache."""

    has_ids: bool
    has_weights: bool
    has_labels: bool


def encode_samples(
    samples: list[Sample], settings: TargetSettings, channels: int, ndim: int, store: ArrayStore, progress: Progress
) -> tuple[list[Case], list[str], list[Problem]]:
    """Cases; the names of maps without a labelled pixel, which are left out; and what is wrong with the others.

    The list is emptied, so that each mask as it was read is let go of.
    """
    cases: list[Case] = []
    left_out: list[str] = []
    problems: list[Problem] = []
    n = len(samples)
    while samples:
        sample = samples.pop(0)
        pair, image = sample.pair, sample.image
        store.release(sample.mask.array)  # in a moment
        try:
            normalised, targets = _encoded(sample, settings, channels, ndim, store)
            if targets.has_labels:
                arrays = normalised, targets.classes, targets.weights, pair.group, pair.image, targets.ids
                cases.append(Case(pair.name, *arrays))
            elif image.georeference is None:
                size = prod(sample.mask.size)
                raise ValueError(f"its mask {pair.mask} labels none of its {size} pixels; leave both out")
            else:
                left_out.append(str(pair.image))
        except ValueError as error:
            problems.append(Problem(f"{pair.image}: {error}", (*pair.files, pair.mask)))
        progress.update(n - len(samples), n, "encoding masks")
    return cases, left_out, problems


def _encoded(
    sample: Sample, settings: TargetSettings, channels: int, ndim: int, store: ArrayStore
) -> tuple[NormalisedImage, Targets]:
    """The image, and what is learned of it: from the cache as far as it is there."""
    image, size = sample.image, sample.mask.size
    if store.folder is None:
        normalised, targets = normalise_image(image, channels=channels, ndim=ndim), whole_targets(sample, settings)
        return normalised, _held(targets, store)
    states = repr((settings, channels, size, image.spacing if settings.kind.has_distance else ()))
    name = f"{sample.name}-{hashlib.blake2b(states.encode(), digest_size=6).hexdigest()}"
    remember = partial(_remembered, store, f"{name}-scale") if isinstance(image.array, ByRegion) else None
    normalised = normalise_image(image, channels=channels, ndim=ndim, remember=remember)
    is_made_where_read = isinstance(sample.mask.array, ByRegion) and settings.is_pointwise and not has_gaps(sample)
    if is_made_where_read and sample.statistics.blocks:
        labels = EncodedLabels(sample.mask.array, settings.kind, image.spacing, sample.statistics)
        targets = Targets(labels, None, None, labels.has_labels)
        if labels.nbytes > store.left_bytes:
            return normalised, targets
        return normalised, _held(replace(targets, classes=read_blocks(labels, store.block_pixels)), store)
    record = store.record(name, _Record)
    if record is not None and (known := _arrays_of_cache(record, name, store)) is not None:
        return normalised, known
    bytes_per_pixel = 1 if settings.is_pointwise else 5  # class, id of 16 bits, weight
    if prod(size) <= min(store.block_pixels, store.left_bytes / bytes_per_pixel):
        return normalised, _held(whole_targets(sample, settings), store)
    targets = saved_targets(sample, settings, store, name)
    record = _Record(targets.ids is not None, targets.weights is not None, targets.has_labels)
    store.write_record(name, record)
    return normalised, targets


def _remembered(store: ArrayStore, name: str, measure: Callable[[], Normalisation]) -> Normalisation:
    """Scale and offset of an image, from the cache or measured."""
    if record := store.record(name, _Scale):
        return record.scaling
    scaling = measure()
    store.write_record(name, _Scale.of(scaling))
    return scaling


def _held(targets: Targets, store: ArrayStore) -> Targets:
    weights = None if targets.weights is None else Tabulated.of(np.asarray(targets.weights))
    for array in (targets.classes, targets.ids, weights):
        store.held_bytes += 0 if array is None else bytes_of(array)
    return Targets(targets.classes, targets.ids, weights, targets.has_labels)


def _arrays_of_cache(record: _Record, name: str, store: ArrayStore) -> Targets | None:
    """Arrays of the cache; None where one is not there."""
    wanted = {"classes": True, "ids": record.has_ids, "weights": record.has_weights}
    arrays = {each: store.saved(f"{name}-{each}") if is_there else None for each, is_there in wanted.items()}
    if any(arrays[each] is None for each, is_there in wanted.items() if is_there) or arrays["classes"] is None:
        return None
    return Targets(arrays["classes"], arrays["ids"], arrays["weights"], record.has_labels)
