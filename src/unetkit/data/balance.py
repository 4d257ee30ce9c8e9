"""What every part of a split needs: each class and each kind of image, and no image that the other part has as well."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from .case import EMPTY, Case
from .readable import Readable, blocks

__all__ = ["EMPTY", "content_of", "duplicates", "even_folds", "even_out", "split_notes"]

_MOST_NAMES = 5
_DIGESTED = 2**24  # values at a time
_SIDE = 48  # pixels per axis of the middle of an image by which it is compared first

_Key = TypeVar("_Key", bound=Hashable)
Traits = Mapping[_Key, frozenset[int]]


def content_of(array: Readable) -> str:
    """A digest of size, dtype and values."""
    digest = hashlib.blake2b(f"{array.dtype} {array.shape}".encode(), digest_size=8)
    for region in blocks(array.shape, _DIGESTED):
        digest.update(np.ascontiguousarray(array[region]).data)
    return digest.hexdigest()


def duplicates(cases: Sequence[Case]) -> list[list[int]]:
    """Indices of images that are equal, pixel by pixel: lists of two and more."""
    same: dict[tuple[object, ...], list[int]] = {}
    for i, case in enumerate(cases):  # their middles are quick to read, and tell nearly all images apart
        same.setdefault((case.image.shape, content_of(_middle(case.image))), []).append(i)
    by_content: dict[str, list[int]] = {}
    for i in (i for alike in same.values() if len(alike) > 1 for i in alike):
        by_content.setdefault(content_of(cases[i].image), []).append(i)
    return [alike for alike in by_content.values() if len(alike) > 1]


def _middle(image: Readable) -> np.ndarray:
    size = image.shape[1:]
    return image[(slice(None), *(slice(max(n - _SIDE, 0) // 2, (n + _SIDE) // 2) for n in size))]


def even_out(held_out: Collection[_Key], names: Sequence[_Key], traits: Traits, sizes: Mapping[_Key, int]) -> set[_Key]:
    """Exchange as few groups as are needed for both sides to show each class and kind that two groups have.

    A class that one group alone has is to be learned, so that group is not held out.

    Parameters
    ----------
    held_out, names : groups that were drawn, and all of them
    traits : classes and kinds that each group shows
    sizes : images of each group
    """
    held, whole = set(held_out), Counter(t for name in names for t in traits[name])
    first: dict[tuple[bool, frozenset[int], int], _Key] = {}

    def lacking(counts: Counter[int]) -> int:
        """Classes and kinds that a side lacks; `counts` are those of the groups held out."""
        shared = sum((counts[t] == 0) + (counts[t] == n) for t, n in whole.items() if n > 1)
        return shared + sum(counts[t] for t, n in whole.items() if n == 1 and t != EMPTY)

    while True:
        counts = Counter(t for name in held for t in traits[name])
        before, best = lacking(counts), None
        if not before:
            return held
        first.clear()  # of groups that are alike one is enough to try
        for name in names:
            first.setdefault((name in held, traits[name], sizes[name]), name)
        out: list[_Key | None] = [None, *(name for name in first.values() if name in held)]
        into: list[_Key | None] = [None, *(name for name in first.values() if name not in held)]
        for a in out:
            for b in into:
                size = len(held) - (a is not None) + (b is not None)
                if not 0 < size < len(names):
                    continue
                after = counts.copy()
                after.subtract(() if a is None else traits[a])
                after.update(() if b is None else traits[b])
                change = abs((sizes[b] if b is not None else 0) - (sizes[a] if a is not None else 0))
                key = lacking(after), change
                if best is None or key < best[0]:
                    best = key, a, b
        if best is None or best[0][0] >= before:
            return held
        held -= {best[1]} if best[1] is not None else set()
        held |= {best[2]} if best[2] is not None else set()


def even_folds(
    folds: Sequence[set[_Key]], names: Sequence[_Key], traits: Traits, sizes: Mapping[_Key, int]
) -> Sequence[set[_Key]]:
    """Folds that each show every class and kind that enough groups have: these, or where they do not, others."""
    whole = Counter(t for name in names for t in traits[name])

    def lacking(parts: Sequence[set[_Key]]) -> int:
        return sum(
            min(n, len(parts)) - sum(any(t in traits[k] for k in part) for part in parts) for t, n in whole.items()
        )

    if not lacking(folds):
        return folds
    dealt: list[set[_Key]] = [set() for _ in folds]
    rarest = sorted(names, key=lambda name: (min(whole[t] for t in traits[name]), -sizes[name]))
    for name in rarest:  # each to the fold that has the least of the rarest that it shows
        rare = min(traits[name], key=lambda t: (whole[t], t))
        min(dealt, key=lambda part: (sum(rare in traits[k] for k in part), sum(sizes[k] for k in part))).add(name)
    return dealt if all(dealt) and lacking(dealt) < lacking(folds) else folds


def split_notes(training: Sequence[Case], held_out: Sequence[Case], class_names: Sequence[str]) -> list[str]:
    """What a side of a split lacks, for the user; and images that are there more than once."""
    if not held_out:
        return []
    shown = [[(case.name, case.shown_classes) for case in side] for side in (training, held_out)]
    sides = [frozenset().union(*(classes for _, classes in side)) - {EMPTY} for side in shown]
    notes = []
    for c in sorted(sides[1] - sides[0]):
        names = [name for name, classes in shown[1] if c in classes]
        listed = ", ".join(names[:_MOST_NAMES]) + ", ..." * (len(names) > _MOST_NAMES)
        notes.append(f"only held-out images show {class_names[c]} ({listed}): the net cannot learn it")
    if sides[0] and not sides[1]:
        notes.append("no object in the images held out: there is no validation Dice, only the share of wrong pixels")
    elif lacking := [class_names[c] for c in sorted(sides[0] - sides[1])]:
        notes.append(f"no held-out image shows {', '.join(lacking)}: left out of the validation Dice")
    cases = list({case.path: case for case in (*training, *held_out)}.values())
    same = [[cases[i].name for i in alike] for alike in duplicates(cases)]
    if same:
        pairs = ", ".join(" = ".join(names[:_MOST_NAMES]) for names in same[:_MOST_NAMES])
        number = sum(map(len, same)) - len(same)
        notes.append(f"looks wrong: {number} images are there more than once, kept on one side: {pairs}")
    return notes
