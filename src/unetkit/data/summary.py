"""The few numbers of a pair of image and mask by which it is compared with the others of its set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..image import Image
from ..labels.statistics import LabelStatistics
from .pairs import Pair
from .sample import Sample

__all__ = ["LabelIssue", "Summary", "summarise"]

_SIDE = 512  # pixels per axis of the middle of an image in which edges are compared


@dataclass(frozen=True)
class LabelIssue:
    """A file that looks wrong.

    Attributes
    ----------
    path : Path
    reason : str
        With the numbers that it is based on.
    values : mapping of str to float
        The same numbers by name, for tables; may be empty.
    """

    path: Path
    reason: str
    values: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Summary:
    """The few numbers of a pair by which it is compared with others."""

    pair: Pair
    dtype: str
    notes: tuple[str, ...]
    size: tuple[int, ...]
    spacing: tuple[float, ...]
    unit: str
    digest: str
    has_values: bool
    low: float
    high: float
    low_share: float  # of the values
    labels: LabelStatistics
    on_border: float  # share of the mask's border that is not 0
    slope: np.ndarray | None  # of gray values, in the middle of the image; None where it is flat
    outline: np.ndarray  # of the mask, there

    @property
    def share(self) -> float:
        """Of the mask that is not 0."""
        total = sum(self.labels.counts.values())
        return 1 - self.labels.counts.get(0, 0) / max(total, 1)


def summarise(sample: Sample) -> Summary:
    """Take from a pair the numbers that it is compared by, up to 1.3 MB."""
    image, mask = sample.image, sample.mask
    held = image.holds_data()
    values = image.array if held is None else image.array[held]
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    labels = np.asarray(mask.array)
    sides = [np.take(labels, i, axis) != 0 for axis in (-2, -1) for i in (0, -1)]
    plane = _middle(labels)
    return Summary(
        sample.pair,
        image.array.dtype.name,
        image.notes,
        image.size,
        image.spacing,
        image.unit,
        sha256(np.ascontiguousarray(image.array).tobytes()).hexdigest(),
        finite.size > 0,
        float(finite.min()) if finite.size else 0.0,
        float(finite.max()) if finite.size else 0.0,
        float(np.mean(finite == finite.min())) if finite.size else 0.0,
        sample.statistics,
        float(np.mean(np.concatenate([side.ravel() for side in sides]))),
        _slope(image),
        np.asarray(ndimage.maximum_filter(plane, 3) != ndimage.minimum_filter(plane, 3)),
    )


def _middle(array: np.ndarray) -> np.ndarray:
    """The middle of the last two axes; of a volume its middle plane."""
    plane = array if array.ndim == 2 else array[len(array) // 2]
    return plane[tuple(slice(max(n - _SIDE, 0) // 2, max(n - _SIDE, 0) // 2 + _SIDE) for n in plane.shape)]


def _slope(image: Image) -> np.ndarray | None:
    """Steepness of gray values as ranks from -1 to 1, so that a few bright spots do not count for all."""
    slopes = [
        ndimage.gaussian_gradient_magnitude(_middle(channel).astype(np.float32), 1.5)
        for channel in np.nan_to_num(image.array)
    ]
    total = np.sum(slopes, axis=0)
    if not total.max() > 0:
        return None
    ranks = np.argsort(np.argsort(total.ravel())).reshape(total.shape)
    return (2 * ranks / max(total.size - 1, 1) - 1).astype(np.float32)
