"""Counts and connectedness of the values in a label image; `labels.recognise` decides what they mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.measure import label as label_components

WINDOW_PIXELS = 4_000_000  # connectedness is judged on at most so many pixels: a slide of 10^9 must not cost minutes

_MANY = 256  # values
_FEW = 8  # values in a row that are compared with each pixel, which is faster than counting into bins


@dataclass(frozen=True)
class LabelStatistics:
    """Values of one label image, and the number of pieces of each.

    Attributes
    ----------
    counts : dict of int to int
        Number of pixels of every value in the file.
    components : dict of int to int
        Number of connected components of every positive value, in a window in the middle of the image of at most
        `WINDOW_PIXELS` pixels. Empty where the image holds at most two values, for then it is never needed.
    between : dict of int to float
        Share of the pixels of every value, in that window, with both a lower and a higher one among their neighbours.
        Only of up to 64 values from 0 to 255 that are not counted 0 to n: those that interpolation can make.
    nodata : int or None
        The value that the file itself states to hold no data.
    names : mapping of int to str
        Of the classes, where the file itself states them.
    are_objects : bool
        Whether the file states that its values are ids of objects, as outlines do that were drawn one by one.
    blocks : tuple of (region, dict)
        Slices of the parts that were counted by themselves, and the `counts` of each; none of more than 256 values.
    """

    counts: dict[int, int]
    components: dict[int, int] = field(default_factory=dict)
    between: dict[int, float] = field(default_factory=dict)
    nodata: int | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    are_objects: bool = False
    blocks: tuple[tuple[tuple[slice, ...], dict[int, int]], ...] = ()


def label_statistics(
    labels: np.ndarray, *, nodata: float | None = None, blocks: Iterable[tuple[slice, ...]] | None = None
) -> LabelStatistics:
    """Take from one label image the numbers that `recognise` needs.

    Parameters
    ----------
    labels : ndarray of shape (*spatial)
        Integers or booleans; floats only if all are whole numbers. Anything else that can be sliced is read in bands.
    nodata : float, optional
        The value that the file states to hold no data.
    blocks : iterable of tuple of slice, optional
        Parts that make up the whole, to be counted by themselves.

    Returns
    -------
    LabelStatistics

    Raises
    ------
    ValueError
        If the image is empty or holds values that are not whole numbers.

    Examples
    --------
    >>> label_statistics(np.array([[0, 0, 3], [7, 0, 3]])).components
    {3: 1, 7: 1}
    """
    if isinstance(labels, np.ndarray):
        labels = as_integers(labels)
    if prod(labels.shape) == 0:
        raise ValueError(f"label image of shape {labels.shape} holds no pixels")
    parts = _bands(labels) if blocks is None else blocks
    counted = tuple((part, count_values(as_integers(labels[part]))) for part in parts)
    total = Counter[int]()
    for _, pixels in counted:
        total.update(pixels)
    counts = dict(sorted(total.items()))
    if len(counts) > _MANY:
        counted = ()
    tag = int(nodata) if nodata is not None and float(nodata).is_integer() else None
    if len(counts) <= 2:
        return LabelStatistics(counts, nodata=tag, blocks=counted)
    middle = as_integers(labels[_middle(labels.shape)])
    return LabelStatistics(counts, _components(middle), _between(middle, counts), tag, blocks=counted)


def as_integers(labels: np.ndarray) -> np.ndarray:
    """`labels` with an integer dtype; floats that are not whole numbers are refused."""
    labels = np.asarray(labels)
    if labels.dtype == bool:
        return labels.astype(np.uint8)
    if labels.dtype == np.uint64:
        if labels.max(initial=0) >= 2**63:
            raise ValueError(f"label image with ids up to {labels.max()}: expected at most 63 bits; number them anew")
        return labels.astype(np.int64)  # mixed with signed numbers, numpy would make floats of uint64
    if labels.dtype.kind in "iu":
        return labels
    if labels.dtype.kind != "f":
        raise ValueError(f"label image of dtype {labels.dtype}: expected integers")
    whole = np.isfinite(labels)
    whole[whole] = labels[whole] == np.rint(labels[whole])
    if not whole.all():
        raise ValueError(
            f"label image of dtype {labels.dtype} holds {np.count_nonzero(~whole)} of {labels.size} pixels that are "
            f"not whole numbers (e.g. {labels[~whole][0]:g}): expected labels; threshold a probability map first"
        )
    return labels.astype(np.int64)


def count_values(labels: np.ndarray) -> dict[int, int]:
    """Pixels of every value."""
    low, high = int(labels.min()), int(labels.max())
    if high - low < _FEW:
        counted = ((value, int(np.count_nonzero(labels == value))) for value in range(low, high + 1))
        return {value: n for value, n in counted if n}
    # Counting into bins is far faster than sorting, where the range allows it.
    if high - low > 1 << 20:
        values, counts = np.unique(labels, return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))
    counts = np.bincount(labels.ravel().astype(np.int64) - low)
    present = np.flatnonzero(counts)
    return dict(zip((present + low).tolist(), counts[present].tolist(), strict=True))


def _components(labels: np.ndarray) -> dict[int, int]:
    """Connected components (corners count as touching) of every positive value."""
    components = label_components(np.where(labels > 0, labels, 0), background=0, connectivity=labels.ndim)
    value_of = np.zeros(int(components.max()) + 1, dtype=np.int64)
    value_of[components.ravel()] = labels.ravel()  # every pixel of a component writes the same value
    return count_values(value_of[1:]) if len(value_of) > 1 else {}


def _between(labels: np.ndarray, counts: dict[int, int]) -> dict[int, float]:
    """Share of the pixels of every value with a lower and a higher neighbour."""
    low, high = min(counts), max(counts)
    if low < 0 or high > 255 or high == len(counts) - 1 or len(counts) > 64:
        return {}
    labels = labels.astype(np.uint8)
    inside = (ndimage.minimum_filter(labels, 3) < labels) & (labels < ndimage.maximum_filter(labels, 3))
    pixels, n = np.bincount(labels.ravel()), np.bincount(labels[inside], minlength=256)
    return {value: float(n[value] / pixels[value]) for value in np.flatnonzero(pixels).tolist()}


def _bands(labels: Any) -> Iterator[tuple[slice, ...]]:
    """All of an array in memory; of another one bands of rows, none of them larger than the window in the middle."""
    rows = len(labels)
    step = rows if isinstance(labels, np.ndarray) else max(WINDOW_PIXELS * rows // prod(labels.shape), 1)
    for start in range(0, rows, step):
        yield (slice(start, min(start + step, rows)),)


def _middle(size: Sequence[int]) -> tuple[slice, ...]:
    """The middle of a large image."""
    region = [slice(0, n) for n in size]
    lengths = list(size)
    while prod(lengths) > WINDOW_PIXELS:
        axis = int(np.argmax(lengths))
        quarter = lengths[axis] // 4
        region[axis] = slice(region[axis].start + quarter, region[axis].stop - quarter)
        lengths[axis] -= 2 * quarter
    return tuple(region)


def values_text(values: Iterable[int]) -> str:
    """'0', '0 and 255', '0, 1 and 2', '0, 1, 2, ..., 20'."""
    words = [str(value) for value in values]
    if len(words) > 8:
        return ", ".join([*words[:3], "...", words[-1]])
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def counts_text(counts: dict[int, int]) -> str:
    """'3 (2 px), 9 (1 px)'."""
    words = [f"{value} ({n} px)" for value, n in sorted(counts.items())]
    return ", ".join(words[:8]) + (f", and {len(words) - 8} more" if len(words) > 8 else "")
