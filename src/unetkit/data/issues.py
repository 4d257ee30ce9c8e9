"""Pairs that can be read but look wrong: each is compared with the others, since what is odd depends on the set.

Nothing here refuses a file: an issue is stated with its numbers, and people decide.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from math import hypot, isfinite
from pathlib import Path
from statistics import median

import numpy as np
from scipy import fft, ndimage

from ..image import Image
from ..labels.doubts import blended_values, nearly_white
from ..labels.kind import LabelKind
from ..labels.statistics import LabelStatistics
from .dataset import Sample
from .pairs import Pair

__all__ = ["LabelIssue", "Summary", "find_issues", "summarise"]

_FEW = 0.1  # share of a set up to which files that differ from the others are odd; larger numbers are its variety
_SIDE = 512  # pixels per axis of the middle of an image in which edges are compared
_REACH = 40  # pixels by which a mask may be shifted and still be found
_LEAST_SHIFT = 4  # pixels: annotators are not more careful
_FIT = 6.0  # standard deviations by which edges and borders must agree somewhere for anything to be said
_POOR, _GOOD = 0.4, 0.5  # of the usual fit: below, a mask does not lie on its image; above, it lies on another's
_NEAR = 0.2  # of a share: so far from the opposite of the usual one a mask may be and be called inverted
_FILLS = (-9999.0, -99999.0, -32768.0, -32767.0, -999.0)  # usual values of pixels without data, if they are the lowest
_CELLS = 16  # per axis, of an image seen coarsely
_ALIKE_COARSELY, _ALIKE = 0.8, 0.9  # correlation of edges
_SIZE_FACTOR, _SPACING_FACTOR = 4.0, 3.0
_SAME_SIZE = 1.02  # times as large, of pixels that are alike


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


def find_issues(items: Sequence[Summary], kind: LabelKind) -> list[LabelIssue]:
    """Name the files that look wrong beside the others.

    Parameters
    ----------
    summaries : sequence of Summary
        One per pair, from `summarise`.
    kind : LabelKind
        Meaning of the masks' values.

    Returns
    -------
    list of LabelIssue
        In the order of the pairs.
    """
    rules = (_images, _duplicates, _copies, _of_other_kinds, _masks, _values, _blended, _conventions, _pieces, _misfits)
    issues = [issue for rule in rules for issue in rule(items, kind)]
    order = {path: i for i, each in enumerate(items) for path in (*each.pair.files, each.pair.mask)}
    return sorted(issues, key=lambda issue: order[issue.path])


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


# --- what an image is by itself, and beside the others ---


def _images(items: Sequence[Summary], _: LabelKind) -> Iterator[LabelIssue]:
    areas = [float(np.prod(item.size)) for item in items]
    usual = median(areas)
    # How many times as long or short, per axis, an image is.
    factors = [
        (max(area, usual) / max(min(area, usual), 1)) ** (1 / len(item.size))
        for item, area in zip(items, areas, strict=True)
    ]
    n_odd = sum(factor >= _SIZE_FACTOR for factor in factors)
    for item, factor in zip(items, factors, strict=True):
        if item.has_values and item.low == item.high:
            yield LabelIssue(item.pair.image, f"every pixel is {item.low:g}: is it an image?")
        elif item.low in _FILLS and item.low_share > 0:
            yield LabelIssue(
                item.pair.image,
                f"{item.low_share:.1%} of its values are {item.low:g}, which programs write where there is no data: "
                "state it as the map's nodata, or replace it",
            )
        if factor >= _SIZE_FACTOR and _is_odd(n_odd, len(items)):
            size = " x ".join(map(str, item.size))
            yield LabelIssue(item.pair.image, f"is {size} pixels, {factor:.1f} times as long or short as is usual here")
    steps = [item.spacing[-1] * _METRES.get(item.unit, 1.0) for item in items]  # along the last axis
    known = [step for item, step in zip(items, steps, strict=True) if item.unit != "px"]
    for item, step in zip(items, steps, strict=True):
        if known and item.unit == "px" and _is_odd(len(items) - len(known), len(items)):
            yield LabelIssue(item.pair.image, "does not state its pixel size, which the others do")
        elif item.unit != "px" and isfinite(step) and known:
            factor = max(step, median(known)) / min(step, median(known))
            odd = sum(max(s, median(known)) / min(s, median(known)) >= _SPACING_FACTOR for s in known)
            if factor >= _SPACING_FACTOR and _is_odd(odd, len(items)):
                yield LabelIssue(
                    item.pair.image,
                    f"states pixels of {item.spacing[-1]:g} {item.unit}, {factor:.3g} times as large or small as usual",
                )
            elif factor > _SAME_SIZE and set(item.spacing) == {1.0} and item.unit == "µm":  # as iohub 0.3.11 writes
                yield LabelIssue(
                    item.pair.image,
                    f"states pixels of 1 µm along every axis, which programs write where they do not know; "
                    f"{median(known) / _METRES['µm']:.3g} µm is usual here",
                )


_METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "nm": 1e-9, "pm": 1e-12, "Å": 1e-10}


def _is_odd(n: int, total: int) -> bool:
    """Whether so few of a set differ that they are odd."""
    return total > 2 and n <= max(1, _FEW * total)


def _duplicates(items: Sequence[Summary], _: LabelKind) -> Iterator[LabelIssue]:
    same: dict[str, list[Summary]] = defaultdict(list)
    for item in items:
        if item.low < item.high:
            same[item.digest].append(item)
    for first, *others in same.values():
        for item in others:
            is_split = item.pair.group != first.pair.group
            where = f", which is of another group ({first.pair.group})" if is_split else ""
            yield LabelIssue(item.pair.image, f"has the same pixels as {first.pair.image.name}{where}")


def _copies(items: Sequence[Summary], _: LabelKind) -> Iterator[LabelIssue]:
    """Images that were saved again: brighter, lossily, as another type. Their edges are the same."""
    by_shape: dict[tuple[int, ...], list[Summary]] = defaultdict(list)
    for item in items:
        if item.slope is not None and min(item.slope.shape) >= _CELLS:
            by_shape[item.slope.shape].append(item)
    for alike in by_shape.values():
        coarse = np.stack([_normed(_coarse(item.slope)) for item in alike if item.slope is not None])
        for i, j in np.argwhere(np.triu(coarse @ coarse.T > _ALIKE_COARSELY, 1)):
            first, item = alike[i], alike[j]
            if first.digest == item.digest or (item.pair.group and item.pair.group == first.pair.group):
                continue
            if (share := float(_normed(first.slope) @ _normed(item.slope))) > _ALIKE:
                yield LabelIssue(
                    item.pair.image,
                    f"has the edges of {first.pair.image.name} (correlation {share:.2f}): is it a copy? Where one is "
                    "learned and the other held out the score is too high; a table with a group column keeps them "
                    "together",
                    {"correlation": share},
                )


def _coarse(slope: np.ndarray) -> np.ndarray:
    """Means of a grid of cells: few numbers, that tell most images apart."""
    rows, columns = (n // _CELLS * _CELLS for n in slope.shape)
    cells = slope[:rows, :columns].reshape(_CELLS, rows // _CELLS, _CELLS, columns // _CELLS)
    return np.asarray(cells.mean((1, 3)))


def _normed(array: np.ndarray | None) -> np.ndarray:
    """Flat, with mean 0 and length 1: the product of two is their correlation."""
    flat = np.asarray(array, np.float32).ravel()
    flat = flat - flat.mean()
    return flat / max(float(np.linalg.norm(flat)), 1e-12)


def _of_other_kinds(items: Sequence[Summary], _: LabelKind) -> Iterator[LabelIssue]:
    """Files of another dtype, or read in another way than the others."""
    for name, values in (
        ("pixels of", [item.dtype for item in items]),
        ("", ["; ".join(item.notes) for item in items]),
    ):
        counts = Counter(values)
        usual, most = counts.most_common(1)[0]
        for item, value in zip(items, values, strict=True):
            if value != usual and most > len(items) / 2 and _is_odd(counts[value], len(items)):
                yield LabelIssue(
                    item.pair.image,
                    f"{name} {value or 'nothing special'}, unlike the others: {usual or 'plain'}".strip(),
                )


# --- masks ---


def _masks(items: Sequence[Summary], _: LabelKind) -> Iterator[LabelIssue]:
    empty = [item for item in items if item.share == 0]
    usual = median(item.share for item in items)
    for item in empty if _is_odd(len(empty), len(items)) else ():
        yield LabelIssue(item.pair.labelled, "marks nothing; is there nothing in the image?")
    border = median(item.on_border for item in items)
    most, along = max(0.5, 1 - usual - _NEAR), max(0.5, 1 - border - _NEAR)
    inverted = [item for item in items if item.share > most and item.on_border > along]
    for item in inverted if usual < 0.4 and border < 0.4 and _is_odd(len(inverted), len(items)) else ():
        yield LabelIssue(
            item.pair.labelled,
            f"marks {item.share:.0%}, and {item.on_border:.0%} of the image's border; {usual:.0%} and {border:.0%} are "
            "usual: is it inverted?",
        )


def _values(items: Sequence[Summary], kind: LabelKind) -> Iterator[LabelIssue]:
    """Values that one mask alone has, or lacks."""
    if kind.kind == "instances":
        return
    files = Counter(value for item in items for value in item.labels.counts)
    for item in items:
        alone = [v for v in item.labels.counts if files[v] == 1 and v != kind.ignore] if len(items) > 2 else []
        if alone and len(item.labels.counts) > 2:
            yield LabelIssue(item.pair.labelled, f"is the only one with value {', '.join(map(str, alone))}")
        lacks = [v for v in kind.values if v not in item.labels.counts and files[v] == len(items) - 1 and v != 0]
        if lacks and len(items) > 2 and item.share > 0 and len(kind.values) > 2:
            yield LabelIssue(item.pair.labelled, f"is the only one without value {', '.join(map(str, lacks))}")


def _blended(items: Sequence[Summary], kind: LabelKind) -> Iterator[LabelIssue]:
    """Values that interpolation or rounding left."""
    if kind.kind != "classes" or kind.names:
        return
    for item in items:
        counts = item.labels.counts
        if blended := [value for value in blended_values(item.labels) if value in kind.values]:
            pixels = sum(counts[value] for value in blended)
            yield LabelIssue(
                item.pair.labelled,
                f"{pixels} pixels of value {_numbers(blended)} lie only along edges, between lower and higher ones: "
                "was it resized with interpolation? Resize by nearest neighbour, or threshold it",
            )
        if 255 in kind.values and (near := nearly_white(item.labels)):
            yield LabelIssue(item.pair.labelled, f"holds {_numbers(near)}, and the set 255: do both mean white?")


def _numbers(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:6])) + (f" and {len(values) - 6} more" if len(values) > 6 else "")


def _conventions(items: Sequence[Summary], kind: LabelKind) -> Iterator[LabelIssue]:
    """Masks that mark the foreground by another number than most."""
    for other, value in kind.aliases:
        first, second = ([item for item in items if v in item.labels.counts] for v in (other, value))
        few, own, usual = (first, other, value) if len(first) <= len(second) else (second, value, other)
        for item in few:
            yield LabelIssue(item.pair.labelled, f"marks the foreground by {own}, others by {usual}: read alike")


def _pieces(items: Sequence[Summary], kind: LabelKind) -> Iterator[LabelIssue]:
    """Ids whose objects lie in pieces."""
    if kind.kind != "instances":
        return
    broken = [sum(n > 1 for n in item.labels.components.values()) for item in items]
    shares = [n / max(len(item.labels.components), 1) for n, item in zip(broken, items, strict=True)]
    usual = median(shares)
    for item, n, share in zip(items, broken, shares, strict=True):
        if n > 1 and share > 0.3 and share > 3 * usual:
            yield LabelIssue(item.pair.labelled, f"{n} of its {len(item.labels.components)} ids are in several pieces")


# --- does the mask lie on what the image shows? ---


@dataclass(frozen=True)
class _Fit:
    """How well a mask's outlines lie on an image's slopes: where they are, and where it is best, in deviations."""

    here: float
    best: float
    shift: tuple[int, int]


def _misfits(items: Sequence[Summary], _: LabelKind) -> Iterator[LabelIssue]:
    fits = [_fit(item.slope, item.outline) for item in items]
    known = [fit for fit in fits if fit is not None]
    good = [fit for fit in known if fit.here >= _FIT and hypot(*fit.shift) < _LEAST_SHIFT]
    if len(good) < 0.7 * len(known) or len(known) < 4:  # outlines here do not follow edges
        return
    usual = median(fit.here for fit in good)
    for i, (item, fit) in enumerate(zip(items, fits, strict=True)):
        if fit is None:
            continue
        far = hypot(*fit.shift)
        if far >= _LEAST_SHIFT and fit.best >= max(_FIT, _GOOD * usual) and fit.best > 1.5 * fit.here:
            y, x = fit.shift
            yield LabelIssue(
                item.pair.labelled, f"seems shifted: its outlines fit the image {y} pixels down and {x} right"
            )
        elif fit.here <= _POOR * usual:
            if turn := _turn(item, usual):
                yield LabelIssue(
                    item.pair.labelled, f"fits its image {turn}: is one of the two stored another way round?"
                )
            elif (other := _better(i, items, fits, usual)) is not None:
                yield LabelIssue(
                    item.pair.labelled, f"does not fit its image, but that of {other.pair.name}: interchanged?"
                )


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


# Ways in which programs store an image otherwise than others do, and the mask that undoes them.
_TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "with top and bottom exchanged": lambda plane: plane[::-1],
    "with left and right exchanged": lambda plane: plane[:, ::-1],
    "turned by 180 degrees": lambda plane: plane[::-1, ::-1],
    "with rows and columns exchanged": lambda plane: plane.T,
    "turned by 90 degrees to the left": np.rot90,
    "turned by 90 degrees to the right": lambda plane: np.rot90(plane, -1),
    "with rows and columns exchanged, and turned by 180 degrees": lambda plane: plane.T[::-1, ::-1],
}


def _turn(item: Summary, usual: float) -> str:
    """How the mask must be turned to fit its own image; "" where nothing makes it fit."""
    fits = {way: _fit(item.slope, turned(item.outline)) for way, turned in _TURNS.items()}
    way, fit = max(fits.items(), key=lambda each: each[1].here if each[1] else 0.0)
    return way if fit is not None and fit.here >= max(_FIT, _GOOD * usual) else ""


def _better(i: int, items: Sequence[Summary], fits: Sequence[_Fit | None], usual: float) -> Summary | None:
    """Another pair that does not fit either, whose image fits this mask."""
    for j, other in enumerate(items):
        fit = fits[j]
        if j == i or fit is None or fit.here > _POOR * usual or other.size != items[i].size:
            continue
        crossed = _fit(other.slope, items[i].outline)
        if crossed is not None and crossed.here >= max(_FIT, _GOOD * usual):
            return other
    return None
