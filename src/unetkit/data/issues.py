"""Pairs that can be read but look wrong: every one is held against the others, as what is odd depends on the set.

Nothing here refuses a file: a doubt is said with its numbers, and people decide.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import hypot, isfinite
from pathlib import Path
from statistics import median

import numpy as np
from scipy import fft, ndimage

from ..image import Image
from ..io import read_labels
from ..labels.kind import LabelKind
from ..labels.statistics import LabelStatistics, label_statistics
from .channels import read_channels
from .pairs import Pair

__all__ = ["LabelIssue", "find_issues"]

_FEW = (
    0.1  # share of a set up to which files that differ from the others are odd; in larger numbers they are its variety
)
_SIDE = 512  # pixels per axis of the middle of an image in which edges are compared
_REACH = 40  # pixels by which a mask may be shifted and still be found
_LEAST_SHIFT = 4  # pixels: annotators are not more careful
_FIT = 6.0  # standard deviations by which edges and borders must agree somewhere for anything to be said
_POOR, _GOOD = 0.4, 0.5  # of the usual fit: below, a mask does not lie on its image; above, it lies on another's
_NEAR = 0.2  # of a share: so far from the opposite of the usual one a mask may be and be called inverted
_SIZE_FACTOR, _SPACING_FACTOR = 4.0, 3.0


@dataclass(frozen=True)
class LabelIssue:
    """A file, and why it looks wrong."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class _Seen:
    """The few numbers of a pair by which it is compared."""

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
    labels: LabelStatistics
    on_border: float  # share of the mask's border that is not 0
    slope: np.ndarray | None  # of gray values, in the middle of the image; None where it is flat
    outline: np.ndarray  # of the mask, there

    @property
    def share(self) -> float:
        """Of the mask that is not 0."""
        total = sum(self.labels.counts.values())
        return 1 - self.labels.counts.get(0, 0) / max(total, 1)


def find_issues(
    pairs: Sequence[Pair], kind: LabelKind, *, on_file: Callable[[int, int], None] | None = None
) -> list[LabelIssue]:
    """Name the files that look wrong beside the others.

    Parameters
    ----------
    pairs : sequence of Pair
        All of which can be read.
    kind : LabelKind
        What the masks hold.
    on_file : callable, optional
        Called with (pairs read, pairs in all).

    Returns
    -------
    list of Suspicion
        In the order of the pairs.
    """
    seen = []
    for done, pair in enumerate(pairs, start=1):
        seen.append(_see(pair))
        if on_file:
            on_file(done, len(pairs))
    rules = (_images, _duplicates, _of_other_kinds, _masks, _values, _pieces, _misfits)
    found = [one for rule in rules for one in rule(seen, kind)]
    order = {path: i for i, pair in enumerate(pairs) for path in (*pair.files, pair.mask)}
    return sorted(found, key=lambda one: order[one.path])


def _see(pair: Pair) -> _Seen:
    image, mask = read_channels(pair.files), read_labels(pair.mask)
    finite = image.array[np.isfinite(image.array)] if image.array.dtype.kind == "f" else image.array
    labels = np.asarray(mask.array)
    return _Seen(
        pair,
        image.array.dtype.name,
        image.notes,
        image.size,
        image.spacing,
        image.unit,
        sha256(np.ascontiguousarray(image.array).tobytes()).hexdigest(),
        finite.size > 0,
        float(finite.min()) if finite.size else 0.0,
        float(finite.max()) if finite.size else 0.0,
        label_statistics(labels),
        _border_share(labels),
        _slope(image),
        _outline(labels),
    )


def _border_share(labels: np.ndarray) -> float:
    sides = [np.take(labels, i, axis) != 0 for axis in (-2, -1) for i in (0, -1)]
    return float(np.mean(np.concatenate([side.ravel() for side in sides])))


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


def _outline(labels: np.ndarray) -> np.ndarray:
    plane = _middle(labels)
    return np.asarray(ndimage.maximum_filter(plane, 3) != ndimage.minimum_filter(plane, 3))


# --- what an image is by itself, and beside the others ---


def _images(seen: Sequence[_Seen], _: LabelKind) -> Iterator[LabelIssue]:
    areas = [float(np.prod(one.size)) for one in seen]
    usual = median(areas)
    for one, area in zip(seen, areas, strict=True):
        if one.has_values and one.low == one.high:
            yield LabelIssue(one.pair.image, f"every pixel is {one.low:g}: is it an image?")
        factor = (max(area, usual) / max(min(area, usual), 1)) ** (1 / len(one.size))
        if factor >= _SIZE_FACTOR and _is_odd(sum(_differs(a, usual, len(one.size)) for a in areas), len(seen)):
            size = " x ".join(map(str, one.size))
            yield LabelIssue(one.pair.image, f"is {size} pixels, {factor:.1f} times as long or short as is usual here")
    steps = [_step(one) for one in seen]
    known = [step for one, step in zip(seen, steps, strict=True) if one.unit != "px"]
    for one, step in zip(seen, steps, strict=True):
        if known and one.unit == "px" and _is_odd(len(seen) - len(known), len(seen)):
            yield LabelIssue(one.pair.image, "does not say its pixel size, which the others do")
        elif one.unit != "px" and isfinite(step) and known:
            factor = max(step, median(known)) / min(step, median(known))
            odd = sum(max(s, median(known)) / min(s, median(known)) >= _SPACING_FACTOR for s in known)
            if factor >= _SPACING_FACTOR and _is_odd(odd, len(seen)):
                yield LabelIssue(
                    one.pair.image,
                    f"says pixels of {one.spacing[-1]:g} {one.unit}, {factor:.3g} times as large or small as others",
                )


_METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "nm": 1e-9, "pm": 1e-12, "Å": 1e-10}


def _step(one: _Seen) -> float:
    """Pixel size along the last axis, in metres where the unit is known."""
    return one.spacing[-1] * _METRES.get(one.unit, 1.0)


def _differs(area: float, usual: float, ndim: int) -> bool:
    return (max(area, usual) / max(min(area, usual), 1)) ** (1 / ndim) >= _SIZE_FACTOR


def _is_odd(n: int, total: int) -> bool:
    """Whether so few of a set differ that they are odd."""
    return total > 2 and n <= max(1, _FEW * total)


def _duplicates(seen: Sequence[_Seen], _: LabelKind) -> Iterator[LabelIssue]:
    same: dict[str, list[_Seen]] = defaultdict(list)
    for one in seen:
        if one.low < one.high:
            same[one.digest].append(one)
    for first, *others in same.values():
        for one in others:
            apart = one.pair.group != first.pair.group
            where = f", which is of another group ({first.pair.group})" if apart else ""
            yield LabelIssue(one.pair.image, f"has the very pixels of {first.pair.image.name}{where}")


def _of_other_kinds(seen: Sequence[_Seen], _: LabelKind) -> Iterator[LabelIssue]:
    """Files of another dtype, or read in another way than the others."""
    for name, values in (("pixels of", [one.dtype for one in seen]), ("", ["; ".join(one.notes) for one in seen])):
        counts = Counter(values)
        usual, most = counts.most_common(1)[0]
        for one, value in zip(seen, values, strict=True):
            if value != usual and most > len(seen) / 2 and _is_odd(counts[value], len(seen)):
                yield LabelIssue(
                    one.pair.image,
                    f"{name} {value or 'nothing special'}, unlike the others: {usual or 'plain'}".strip(),
                )


# --- masks ---


def _masks(seen: Sequence[_Seen], _: LabelKind) -> Iterator[LabelIssue]:
    empty = [one for one in seen if one.share == 0]
    usual = median(one.share for one in seen)
    for one in empty if _is_odd(len(empty), len(seen)) else ():
        yield LabelIssue(one.pair.mask, "marks nothing; is there nothing in the image?")
    border = median(one.on_border for one in seen)
    most, along = max(0.5, 1 - usual - _NEAR), max(0.5, 1 - border - _NEAR)
    inverted = [one for one in seen if one.share > most and one.on_border > along]
    for one in inverted if usual < 0.4 and border < 0.4 and _is_odd(len(inverted), len(seen)) else ():
        yield LabelIssue(
            one.pair.mask,
            f"marks {one.share:.0%}, and {one.on_border:.0%} of the image's border; {usual:.0%} and {border:.0%} are "
            "usual: is it inverted?",
        )


def _values(seen: Sequence[_Seen], kind: LabelKind) -> Iterator[LabelIssue]:
    """Values that one mask alone has, or lacks."""
    if kind.kind == "instances":
        return
    files = Counter(value for one in seen for value in one.labels.counts)
    for one in seen:
        alone = [v for v in one.labels.counts if files[v] == 1 and v != kind.ignore] if len(seen) > 2 else []
        if alone and len(one.labels.counts) > 2:
            yield LabelIssue(one.pair.mask, f"is the only one with value {', '.join(map(str, alone))}")
        lacks = [v for v in kind.values if v not in one.labels.counts and files[v] == len(seen) - 1 and v != 0]
        if lacks and len(seen) > 2 and one.share > 0 and len(kind.values) > 2:
            yield LabelIssue(one.pair.mask, f"is the only one without value {', '.join(map(str, lacks))}")


def _pieces(seen: Sequence[_Seen], kind: LabelKind) -> Iterator[LabelIssue]:
    """Ids whose objects lie in pieces."""
    if kind.kind != "instances":
        return
    broken = [sum(n > 1 for n in one.labels.components.values()) for one in seen]
    shares = [n / max(len(one.labels.components), 1) for n, one in zip(broken, seen, strict=True)]
    usual = median(shares)
    for one, n, share in zip(seen, broken, shares, strict=True):
        if n > 1 and share > 0.3 and share > 3 * usual:
            yield LabelIssue(one.pair.mask, f"{n} of its {len(one.labels.components)} ids are in several pieces")


# --- does the mask lie on what the image shows? ---


@dataclass(frozen=True)
class _Fit:
    """How well a mask's outlines lie on an image's slopes: where they are, and where it is best, in deviations."""

    here: float
    best: float
    shift: tuple[int, int]


def _misfits(seen: Sequence[_Seen], _: LabelKind) -> Iterator[LabelIssue]:
    fits = [_fit(one.slope, one.outline) for one in seen]
    known = [fit for fit in fits if fit is not None]
    good = [fit for fit in known if fit.here >= _FIT and hypot(*fit.shift) < _LEAST_SHIFT]
    if len(good) < 0.7 * len(known) or len(known) < 4:  # outlines here do not follow edges
        return
    usual = median(fit.here for fit in good)
    for i, (one, fit) in enumerate(zip(seen, fits, strict=True)):
        if fit is None:
            continue
        far = hypot(*fit.shift)
        if far >= _LEAST_SHIFT and fit.best >= max(_FIT, _GOOD * usual) and fit.best > 1.5 * fit.here:
            y, x = fit.shift
            yield LabelIssue(one.pair.mask, f"seems shifted: its outlines fit the image {y} pixels down and {x} right")
        elif fit.here <= _POOR * usual:
            other = _better(i, seen, fits, usual)
            if other is not None:
                yield LabelIssue(one.pair.mask, f"does not fit its image, but that of {other.pair.name}: interchanged?")


def _fit(slope: np.ndarray | None, outline: np.ndarray) -> _Fit | None:
    """None where there is too little to compare."""
    if slope is None or slope.shape != outline.shape or not 50 < outline.sum() < outline.size / 2:
        return None
    shape = [fft.next_fast_len(n + 2 * _REACH) for n in slope.shape]
    spectrum = np.conj(fft.rfft2(outline.astype(np.float32), shape)) * fft.rfft2(slope, shape)
    around = np.fft.fftshift(fft.irfft2(spectrum, shape))
    middle = [n // 2 for n in shape]
    reach = [min(_REACH, n // 4) for n in slope.shape]
    window = around[tuple(slice(m - r, m + r + 1) for m, r in zip(middle, reach, strict=True))]
    scores = window / np.sqrt(outline.sum() / 3)  # slopes are ranks of deviation 1 / sqrt(3)
    y, x = np.unravel_index(int(np.argmax(scores)), scores.shape)
    shift = int(y) - reach[0], int(x) - reach[1]
    return _Fit(float(scores[reach[0], reach[1]]), float(scores[y, x]), shift)


def _better(i: int, seen: Sequence[_Seen], fits: Sequence[_Fit | None], usual: float) -> _Seen | None:
    """Another pair that does not fit either, whose image fits this mask."""
    for j, other in enumerate(seen):
        fit = fits[j]
        if j == i or fit is None or fit.here > _POOR * usual or other.size != seen[i].size:
            continue
        crossed = _fit(other.slope, seen[i].outline)
        if crossed is not None and crossed.here >= max(_FIT, _GOOD * usual):
            return other
    return None
