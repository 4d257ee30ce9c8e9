"""Windows of large images to validate on: chosen once, where there are labels, so that a validation takes its share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import prod

import numpy as np

from ..data.case import Case
from ..data.readable import ByRegion, Readable, Region
from ..labels.kind import IGNORE_INDEX

__all__ = ["validation_cases"]

_LARGE = 2**26  # pixels above which an image is not predicted whole: a minute on two cores
_ALL = 2**26  # of the windows of all large images together
_SIDE = {2: 1024, 3: 128}


def validation_cases(held_out: Sequence[Case], *, seed: int) -> tuple[list[Case], str]:
    """The cases to validate on: small images whole, of large ones some windows; and a sentence for the user.

    A window is drawn by the number of its labelled pixels; for each class that an image shows, the window that has most
    of it is among them.

    Parameters
    ----------
    held_out : sequence of Case
    seed : int

    Returns
    -------
    (cases, text) : list of Case, str
        Windows are named by their image and first pixel; "" where there is no large image.
    """
    large = [case for case in held_out if prod(case.size) > _LARGE]
    if not large:
        return list(held_out), ""
    side = _SIDE[len(large[0].size)]
    most = max(_ALL // side ** len(large[0].size) // len(large), 1)
    cases: list[Case] = []
    for number, case in enumerate(held_out):
        is_large = prod(case.size) > _LARGE
        cases += _windows(case, side, most, np.random.default_rng([seed, 5, number])) if is_large else [case]
    n = len(cases) - (len(held_out) - len(large))
    size = " x ".join([str(side)] * len(large[0].size))
    return (
        cases,
        f"validation: {n} windows of {size} pixels in {len(large)} large image{'s'[: len(large) > 1]}, chosen once",
    )


def _windows(case: Case, side: int, most: int, rng: np.random.Generator) -> list[Case]:
    grid = [range(0, n, side) for n in case.size]
    pixels = np.zeros((*map(len, grid), IGNORE_INDEX + 1), np.int64)
    for place in product(*(range(len(starts)) for starts in grid)):
        space = _space(case, grid, place, side)
        pixels[place] = np.bincount(case.labels[space].ravel(), minlength=IGNORE_INDEX + 1)
    flat = pixels.reshape(-1, IGNORE_INDEX + 1)
    labelled = flat[:, :IGNORE_INDEX].sum(1)
    shown = np.flatnonzero(flat[:, 1:IGNORE_INDEX].sum(0)) + 1
    chosen = list(dict.fromkeys(int(flat[:, value].argmax()) for value in shown))[:most]
    left = np.where(np.isin(np.arange(len(flat)), chosen), 0, labelled)
    n = min(most - len(chosen), int((left > 0).sum()))
    if n > 0:
        chosen += rng.choice(len(flat), n, replace=False, p=left / left.sum()).tolist()
    places = (np.unravel_index(index, [len(starts) for starts in grid]) for index in sorted(chosen))
    return [_window(case, _space(case, grid, tuple(int(i) for i in place), side)) for place in places]


def _space(case: Case, grid: Sequence[range], place: tuple[int, ...], side: int) -> Region:
    starts = [each[i] for each, i in zip(grid, place, strict=True)]
    return tuple(slice(start, min(start + side, n)) for start, n in zip(starts, case.size, strict=True))


def _window(case: Case, space: Region) -> Case:
    name = f"{case.name} at {', '.join(str(part.start) for part in space)}"
    ids = None if case.ids is None else np.asarray(case.ids[space])
    labels = np.asarray(case.labels[space])
    return replace(case, name=name, image=_Window(case.image, space), labels=labels, pixel_weights=None, ids=ids)


class _Window(ByRegion):
    """A window of an image (C, *spatial)."""

    def __init__(self, image: Readable, space: Region) -> None:
        self._image, self._space, self.dtype = image, space, image.dtype
        self.shape = (image.shape[0], *(part.stop - part.start for part in space))

    def _read(self, region: Region) -> np.ndarray:
        channels, *inner = region
        space = tuple(
            slice(own.start + part.start, own.start + part.stop) for own, part in zip(self._space, inner, strict=True)
        )
        return self._image[(channels, *space)]
