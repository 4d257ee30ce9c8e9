"""What is learned of an image: class indices, ids of objects, weights of pixels; whole, or block by block.

A block is computed with a halo, so that it is, to the last bit, that part of the whole: objects that lie in it are all
in the halo, and so are those that are near enough to weigh its pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil, log, prod, sqrt

import numpy as np
from scipy import ndimage

from ..labels.borders import NEGLIGIBLE, border_weights
from ..labels.kind import IGNORE_INDEX, LabelKind, to_classes
from .normalised import holds_data_of
from .readable import Readable, Region, blocks
from .sample import Sample
from .store import ArrayStore, SavedArray

__all__ = ["TargetSettings", "Targets", "has_gaps", "saved_targets", "whole_targets"]

_GAP_WEIGHT, _GAP_SIGMA = 10.0, 5.0  # of pixels between objects that (almost) touch, and how near: those of 2015


@dataclass(frozen=True)
class TargetSettings:
    """What is made of the masks of a set: the meaning of their values, and whether to weigh borders as in 2015."""

    kind: LabelKind
    border_weight: bool

    @property
    def is_pointwise(self) -> bool:
        """Whether what is learned of a pixel is told by its value alone."""
        return not (self.kind.has_distance or self.border_weight)


@dataclass(frozen=True)
class Targets:
    """Arrays of shape (*spatial), as `Case` has them, and whether any pixel is labelled."""

    classes: Readable
    ids: Readable | None
    weights: Readable | None
    has_labels: bool


def has_gaps(sample: Sample) -> bool:
    """Whether pixels may be not labelled because of other things than their mask's value."""
    return sample.mask.valid is not None or holds_data_of(sample.image) is not None


def whole_targets(sample: Sample, settings: TargetSettings) -> Targets:
    """All at once."""
    return _targets(sample, settings, tuple(slice(0, n) for n in sample.mask.size))


def _targets(sample: Sample, settings: TargetSettings, space: Region) -> Targets:
    """Of a region of an image."""
    image, mask, kind = sample.image, np.asarray(sample.mask.array[space]), settings.kind
    classes = to_classes(mask, kind, spacing=image.spacing)
    if (holds := holds_data_of(image)) is not None:
        classes[~holds(np.asarray(image.array[(slice(None), *space)]), space).any(0)] = IGNORE_INDEX
    if sample.mask.valid is not None:
        classes[~sample.mask.valid[space]] = IGNORE_INDEX
    is_labelled = classes != IGNORE_INDEX
    is_object = (classes > 0) & is_labelled
    ids, weights = None, None
    if kind.has_distance:
        ids = np.where(is_object, mask, 0)
        steps = [step / min(image.spacing) for step in image.spacing]
        weights = border_weights(ids, w0=_GAP_WEIGHT, sigma=_GAP_SIGMA, spacing=steps)
        ids = _smallest(ids)
    elif settings.border_weight:
        weights = _paper_weights(mask, is_object, kind)
    return Targets(classes, ids, weights, bool(is_labelled.any()))


def _smallest(ids: np.ndarray) -> np.ndarray:
    """Ids in the smallest dtype that holds them."""
    small = np.min_scalar_type(int(ids.max(initial=0)))
    return ids.astype(small) if small.itemsize < min(ids.itemsize, 8) else ids


def _paper_weights(ids: np.ndarray, is_object: np.ndarray, kind: LabelKind) -> np.ndarray:
    """Weight map of the 2015 paper, from the ids where there are any, else from connected components."""
    from skimage.measure import label

    instances = np.where(is_object, ids, 0) if kind.kind == "instances" else label(is_object)
    return border_weights(np.asarray(instances), class_weights=(1.0, 1.0))


def saved_targets(sample: Sample, settings: TargetSettings, store: ArrayStore, name: str) -> Targets:
    """Block by block, in files of the cache named `name` and a suffix; of a small image all at once."""
    size = sample.mask.size
    halo = (0,) * len(size)
    if prod(size) > store.block_pixels and not settings.is_pointwise:
        halo = _halo(sample, settings, store.block_pixels)
    made: dict[str, SavedArray] = {}
    has_labels = False
    for core, around in _blocks(size, halo, store.block_pixels):
        part = _targets(sample, settings, around)
        inner = tuple(slice(c.start - a.start, c.stop - a.start) for c, a in zip(core, around, strict=True))
        arrays = {"classes": part.classes, "ids": part.ids, "weights": part.weights}
        for each, values in arrays.items():
            if values is None:
                continue
            if each not in made:
                dtype = sample.mask.array.dtype if each == "ids" else values.dtype
                made[each] = store.create(f"{name}-{each}", size, np.dtype(dtype))
            made[each].write(core, values[inner])
        has_labels |= bool((part.classes[inner] != IGNORE_INDEX).any())
    done = {each: store.finish(f"{name}-{each}", array) for each, array in made.items()}
    return Targets(done["classes"], done.get("ids"), done.get("weights"), has_labels)


def _halo(sample: Sample, settings: TargetSettings, most: float) -> tuple[int, ...]:
    """Pixels per axis that a block needs around it: the largest object, and the reach of the weights."""
    if settings.kind.kind != "instances":  # connected parts may be of any size
        return sample.mask.size
    spacing = sample.image.spacing if settings.kind.has_distance else (1.0,) * len(sample.mask.size)
    reach = _GAP_SIGMA * sqrt(2 * log(_GAP_WEIGHT / NEGLIGIBLE))
    pads = [ceil(reach * min(spacing) / step) for step in spacing]
    return tuple(n + pad + 1 for n, pad in zip(_largest_extent(sample.mask.array, most), pads, strict=True))


def _largest_extent(ids: Readable, most: float) -> tuple[int, ...]:
    """Pixels per axis that the longest object takes; an id counts as one object, however many pieces it is in."""
    ends: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for space in blocks(ids.shape, most):
        values, index = np.unique(ids[space], return_inverse=True)
        numbered = index.reshape([part.stop - part.start for part in space]) + 1
        start = np.array([part.start for part in space])
        for value, box in zip(values.tolist(), ndimage.find_objects(numbered), strict=True):
            if value > 0:
                low, high = (start + [getattr(side, name) for side in box] for name in ("start", "stop"))
                before = ends.get(value, (low, high))
                ends[value] = np.minimum(before[0], low), np.maximum(before[1], high)
    extents = [high - low for low, high in ends.values()]
    return tuple(int(n) for n in np.max(extents, axis=0)) if extents else (0,) * len(ids.shape)


def _blocks(size: tuple[int, ...], halo: tuple[int, ...], most: float) -> Iterator[tuple[Region, Region]]:
    """Blocks, and each with its halo, of about `most` pixels where the halo is smaller than that."""
    if prod(size) <= most:
        whole = tuple(slice(0, n) for n in size)
        yield whole, whole
        return
    side = max(int(most ** (1 / len(size))), 1)
    sides = [max(side - 2 * margin, side // 2, 1) for margin in halo]
    for starts in product(*(range(0, n, step) for n, step in zip(size, sides, strict=True))):
        core = tuple(slice(start, min(start + step, n)) for start, step, n in zip(starts, sides, size, strict=True))
        around = (
            slice(max(part.start - margin, 0), min(part.stop + margin, n))
            for part, margin, n in zip(core, halo, size, strict=True)
        )
        yield core, tuple(around)
