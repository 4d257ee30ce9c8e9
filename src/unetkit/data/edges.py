"""Edges of images, compared: does a mask lie on what its image shows, and is an image a copy of another?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import hypot
from statistics import median

import numpy as np
from scipy import fft

from ..labels.kind import LabelKind
from .summary import LabelIssue, Summary

__all__ = ["copies", "misfits"]

_REACH = 40  # pixels by which a mask may be shifted and still be found
_LEAST_SHIFT = 4  # pixels: annotators are not more careful
_FIT = 6.0  # standard deviations by which edges and borders must agree somewhere for anything to be said
_POOR, _GOOD = 0.4, 0.5  # of the usual fit: below, a mask does not lie on its image; above, it lies on another's
_CELLS = 16  # per axis, of an image seen coarsely
_ALIKE_COARSELY, _ALIKE = 0.8, 0.9  # correlation of edges


def copies(items: Sequence[Summary], _: LabelKind) -> Iterator[LabelIssue]:
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


# --- masks ---


@dataclass(frozen=True)
class _Fit:
    """How well a mask's outlines lie on an image's slopes: where they are, and where it is best, in deviations."""

    here: float
    best: float
    shift: tuple[int, int]


def misfits(items: Sequence[Summary], _: LabelKind) -> Iterator[LabelIssue]:
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
