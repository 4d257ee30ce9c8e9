"""Places of labelled pixels: some of each class and of all, by which patches are drawn without another scan."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import prod
from threading import Lock

import numpy as np

from ..data.case import Case
from ..labels.kind import IGNORE_INDEX

__all__ = ["Places", "PlacesOfCases", "places_of"]

_REMEMBERED = 4096  # pixels remembered per class and case to draw around
_MOST_BYTES = 2**28  # of places that are kept; those of cases that were drawn long ago are looked up again


@dataclass(frozen=True)
class Places:
    """Some pixels of a case, as flat indices.

    Attributes
    ----------
    foreground : list of ndarray
        Of each foreground class that it shows.
    labelled : ndarray or None
        Of all that is labelled; None where all pixels are, or none is.
    """

    foreground: list[np.ndarray]
    labelled: np.ndarray | None

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return sum(each.nbytes for each in self.foreground) + (0 if self.labelled is None else self.labelled.nbytes)


class PlacesOfCases:
    """The places of cases, each looked up when it is first drawn."""

    def __init__(self, seed: int) -> None:
        self._seed, self._nbytes = seed, 0
        self._known: OrderedDict[int, Places] = OrderedDict()
        self._lock = Lock()

    def __call__(self, case: Case, index: int) -> Places:
        """Those of case number `index`: the same whenever they are looked up, by whatever thread."""
        with self._lock:
            if index in self._known:
                self._known.move_to_end(index)
                return self._known[index]
        places = places_of(case, seed=self._seed, index=index)
        with self._lock:
            if index not in self._known:
                self._known[index] = places
                self._nbytes += places.nbytes
            while self._nbytes > _MOST_BYTES and len(self._known) > 1:
                self._nbytes -= self._known.popitem(last=False)[1].nbytes
        return places


def places_of(case: Case, *, seed: int, index: int) -> Places:
    """Draw some of the pixels of each class, and of all that are labelled, in one pass over the labels."""
    pixels, n_labelled = case.label_pixels, case.n_labelled
    rng = np.random.default_rng([seed, index])
    wanted: dict[int, np.ndarray] = {}  # which of the pixels of a value, counted in the order of memory
    for value in (np.flatnonzero(pixels[1:IGNORE_INDEX]) + 1).tolist():
        n = int(pixels[value])
        wanted[value] = rng.choice(n, min(n, _REMEMBERED), replace=False)
    if 0 < n_labelled < prod(case.size):
        rng = np.random.default_rng([seed, 3, index])
        wanted[_ANY] = rng.choice(n_labelled, min(n_labelled, _REMEMBERED), replace=False)
    small = np.uint32 if prod(case.size) < 2**32 else np.int64
    flat = {value: np.empty(len(numbers), small) for value, numbers in wanted.items()}
    before, start = dict.fromkeys(wanted, 0), 0
    for space, counts in case.label_blocks:
        labels: np.ndarray | None = None
        for value, numbers in wanted.items():
            n = int(counts[:IGNORE_INDEX].sum() if value == _ANY else counts[value])
            inside = (numbers >= before[value]) & (numbers < before[value] + n)
            if inside.any():
                labels = case.labels[space].ravel() if labels is None else labels
                held = np.flatnonzero(labels != IGNORE_INDEX if value == _ANY else labels == value)
                flat[value][inside] = start + held[numbers[inside] - before[value]]
            before[value] += n
        start += prod(part.stop - part.start for part in space)
    labelled = flat.pop(_ANY, None)
    return Places(list(flat.values()), labelled)


_ANY = -1  # in place of a value: whatever is labelled
