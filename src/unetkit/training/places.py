"""Places of labelled pixels: some of each class and of all, by which patches are drawn without another scan."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from threading import Lock
from typing import Protocol

import numpy as np

from ..data.case import Case
from ..labels.kind import IGNORE_INDEX

__all__ = ["LookedUp", "Pixels", "Places", "PlacesOfCases", "places_of"]

_LARGE = 2**24  # pixels of a case that is not read for all its places before it is drawn from
_REMEMBERED = 4096  # pixels remembered per class and case to draw around
_REMEMBERED_OF_BLOCK, _MOST_BLOCKS = 512, 1024  # likewise per class and block, of so many blocks of a case
_ANY = -1  # in place of a value: whatever is labelled
_MOST_BYTES = 2**28  # of places that are kept; those of cases that were drawn long ago are looked up again


class Pixels(Protocol):
    """Pixels of a case, as flat indices, that are drawn at random.

    Attributes
    ----------
    n_classes : int
        Foreground classes that it shows.
    is_partly_labelled : bool
        Whether some of its pixels are labelled and others not.
    """

    @property
    def n_classes(self) -> int: ...

    @property
    def is_partly_labelled(self) -> bool: ...

    def of_class(self, i: int, rng: np.random.Generator) -> int:
        """A pixel of foreground class number `i` of those that are shown."""

    def labelled(self, rng: np.random.Generator) -> int:
        """A pixel that is labelled."""


@dataclass(frozen=True)
class Places:
    """Some pixels of a case, remembered.

    Attributes
    ----------
    foreground : list of ndarray
        Of each foreground class that it shows.
    any_label : ndarray or None
        Of all that is labelled; None where all pixels are, or none is.
    """

    foreground: list[np.ndarray]
    any_label: np.ndarray | None

    @property
    def n_classes(self) -> int:
        """As `Pixels` has it."""
        return len(self.foreground)

    @property
    def is_partly_labelled(self) -> bool:
        """As `Pixels` has it."""
        return self.any_label is not None

    def of_class(self, i: int, rng: np.random.Generator) -> int:
        """As `Pixels` has it."""
        return int(rng.choice(self.foreground[i]))

    def labelled(self, rng: np.random.Generator) -> int:
        """As `Pixels` has it."""
        if self.any_label is None:
            raise ValueError("all pixels are labelled, or none is")
        return int(rng.choice(self.any_label))

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return sum(each.nbytes for each in self.foreground) + (0 if self.any_label is None else self.any_label.nbytes)


class LookedUp:
    """Pixels of a large case: a block by the pixels that it has, then one of some of these, for which it is read once.

    So a case is not read as a whole before it is drawn from.
    """

    def __init__(self, case: Case, *, seed: int, index: int) -> None:
        self._case, self._seed = case, (seed, 5, index)
        self._known: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._lock = Lock()
        self._classes = [int(value) for value in np.flatnonzero(case.label_pixels[1:IGNORE_INDEX]) + 1]
        counts = [counts for _, counts in case.label_blocks]
        self._ends = {value: np.cumsum([n[value] for n in counts], dtype=np.int64) for value in self._classes}
        self._ends[_ANY] = np.cumsum([n[:IGNORE_INDEX].sum() for n in counts], dtype=np.int64)
        self.nbytes = 4 * _REMEMBERED_OF_BLOCK * min(len(counts) * len(self._ends), _MOST_BLOCKS)  # at most
        sizes = [prod(part.stop - part.start for part in space) for space, _ in case.label_blocks]
        self._starts = np.cumsum([0, *sizes[:-1]], dtype=np.int64)

    @property
    def n_classes(self) -> int:
        """As `Pixels` has it."""
        return len(self._classes)

    @property
    def is_partly_labelled(self) -> bool:
        """As `Pixels` has it."""
        return 0 < self._case.n_labelled < prod(self._case.size)

    def of_class(self, i: int, rng: np.random.Generator) -> int:
        """As `Pixels` has it."""
        return self._draw(self._classes[i], rng)

    def labelled(self, rng: np.random.Generator) -> int:
        """As `Pixels` has it."""
        return self._draw(_ANY, rng)

    def _draw(self, value: int, rng: np.random.Generator) -> int:
        ends = self._ends[value]
        block = int(np.searchsorted(ends, rng.integers(ends[-1]), side="right"))
        return int(self._starts[block]) + int(rng.choice(self._of_block(value, block)))

    def _of_block(self, value: int, block: int) -> np.ndarray:
        """Some pixels of a value, counted from the block's first: the same whenever they are looked up."""
        with self._lock:
            if (value, block) in self._known:
                self._known.move_to_end((value, block))
                return self._known[value, block]
        labels = self._case.labels[self._case.label_blocks[block][0]].ravel()
        held = np.flatnonzero(labels != IGNORE_INDEX if value == _ANY else labels == value)
        rng = np.random.default_rng([*self._seed, value + 1, block])
        some = rng.choice(held, min(len(held), _REMEMBERED_OF_BLOCK), replace=False).astype(np.uint32)
        with self._lock:
            self._known[value, block] = some
            if len(self._known) > _MOST_BLOCKS:
                self._known.popitem(last=False)
        return some


class PlacesOfCases:
    """The places of cases, each looked up when it is first drawn."""

    def __init__(self, seed: int) -> None:
        self._seed, self._nbytes = seed, 0
        self._known: OrderedDict[int, Places | LookedUp] = OrderedDict()
        self._lock, self._locks = Lock(), dict[int, Lock]()

    def __call__(self, case: Case, index: int) -> Pixels:
        """Those of case number `index`: the same whenever they are looked up, by whatever thread."""
        with self._lock:
            lock = self._locks.setdefault(index, Lock())
        with lock:  # of a case that several threads draw from, one looks
            with self._lock:
                if index in self._known:
                    self._known.move_to_end(index)
                    return self._known[index]
            large = prod(case.size) > _LARGE
            look_up: type[LookedUp] | Callable[..., Places] = LookedUp if large else places_of
            places = look_up(case, seed=self._seed, index=index)
            with self._lock:
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
