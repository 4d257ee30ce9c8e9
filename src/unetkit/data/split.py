"""Training and validation cases: whole images, or parts of them where there are few."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from ..labels.kind import IGNORE_INDEX
from ..tiles import Slices
from .balance import duplicates, even_folds, even_out
from .case import Case, pixels_of_values, shown_in
from .readable import ByRegion, Readable, Region

__all__ = ["EVEN", "FEW", "split", "train_val_split"]

FEW = 5  # images from which whole ones are held out: of fewer, each is too large a share of the training data
EVEN = 2  # rule of a split that gives both sides every class and kind of image, and no image twice; 1 did not look


class _Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str | None: ...


_Item = TypeVar("_Item", bound=_Named)


Fold = tuple[int, int]  # number of the fold, from 0, and number of folds
_Name = tuple[bool, str]  # of a group: whether it is an image by itself


def train_val_split(
    cases: Sequence[Case], *, fraction: float, seed: int, fold: Fold | None = None, rule: int = 1
) -> tuple[list[Case], list[Case]]:
    """Cases to train on and to validate on: `split`, or of fewer than `FEW` a part of every image.

    Both sides then have every image whole, and not labelled where the other side has its labels: a strip along one
    side, the one whose classes are most like those of the image.

    Parameters
    ----------
    cases, fraction, seed, fold
        As `split` takes them; parts of images are folds too.
    rule : int
        1 draws by the names alone. 2 (`EVEN`) draws the same, but keeps equal images together, and exchanges groups
        where a side lacks a class, or images without foreground, that two groups have.

    Returns
    -------
    (training, validation) : lists of Case
    """
    if len(cases) >= FEW or fraction == 0:
        return _split(cases, fraction, seed, fold, is_even=rule >= EVEN)
    _check(fraction)
    parts = [_parts(case, fraction, fold, is_even=rule >= EVEN) for case in cases]
    return [training for training, _ in parts], [held_out for _, held_out in parts]


def _parts(case: Case, fraction: float, fold: Fold | None, *, is_even: bool) -> tuple[Case, Case]:
    if fold is None:
        strips = _strips(case.size, fraction)
        if not strips:
            raise ValueError(
                f"{case.path}: an image of {case.size} pixels cannot be cut into a part to train on and one to "
                "validate on; leave it out"
            )
        whole, parts = case.label_pixels, [pixels_of_values(case.labels, strip) for strip in strips]
        lost = [_lost(whole, part) if is_even else 0 for part in parts]
        keys = [(n, _unlike(part, whole)) for n, part in zip(lost, parts, strict=True)]
        strip = strips[keys.index(min(keys))]
    else:
        axis, (k, n) = int(np.argmax(case.size)), fold  # strips across the longest axis
        if case.size[axis] < n:
            raise ValueError(f"{case.path}: an image of {case.size} pixels cannot be cut into {n} folds")
        part = slice(k * case.size[axis] // n, (k + 1) * case.size[axis] // n)
        strip = tuple(part if i == axis else slice(0, m) for i, m in enumerate(case.size))
    training, held_out = (_PartLabelled(case.labels, strip, is_inside=is_inside) for is_inside in (False, True))
    if isinstance(case.labels, np.ndarray):
        return replace(case, labels=np.asarray(training)), replace(case, labels=np.asarray(held_out))
    return replace(case, labels=training), replace(case, labels=held_out)


class _PartLabelled(ByRegion):
    """Labels of which only those inside a box are labelled, or only those outside."""

    def __init__(self, labels: Readable, box: Slices, *, is_inside: bool) -> None:
        self._labels, self._box, self._is_inside = labels, box, is_inside
        self.shape, self.dtype = labels.shape, labels.dtype

    def _read(self, region: Region) -> np.ndarray:
        labels = np.array(self._labels[region])
        inside = tuple(
            slice(max(box.start - part.start, 0), max(box.stop - part.start, 0))
            for box, part in zip(self._box, region, strict=True)
        )
        if self._is_inside:
            kept = labels[inside].copy()
            labels[...] = IGNORE_INDEX
            labels[inside] = kept
        else:
            labels[inside] = IGNORE_INDEX
        return labels


def _strips(size: tuple[int, ...], fraction: float) -> list[Slices]:
    """Strips of about a share of the pixels, along both ends of every axis that is not much shorter than others."""
    strips = []
    for axis, n in enumerate(size):
        width = min(max(round(fraction * n), 1), n - 1)
        if width < 1 or 2 * n < max(size):
            continue
        for part in (slice(0, width), slice(n - width, n)):
            strips.append(tuple(part if i == axis else slice(0, m) for i, m in enumerate(size)))
    return strips


def _lost(pixels: np.ndarray, in_strip: np.ndarray) -> int:
    """Classes that a side lacks if a strip is held out: those that nothing is left of to learn count as more."""
    whole, held_out, left = (shown_in(part) for part in (pixels, in_strip, pixels - in_strip))
    return 100 * len(whole - left) + len(whole - held_out)


def _unlike(part: np.ndarray, whole: np.ndarray) -> float:
    """Distance of the class shares of a part from those of the whole, 0 to 2; 3 where nothing is labelled."""
    counts = [pixels[:IGNORE_INDEX] for pixels in (part, whole)]
    if not counts[0].sum():
        return 3.0
    own, other = (count / max(count.sum(), 1) for count in counts)
    return float(np.abs(own - other).sum())


def split(
    cases: Sequence[_Item], *, fraction: float, seed: int, fold: Fold | None = None
) -> tuple[list[_Item], list[_Item]]:
    """Split cases into training and validation, groups kept whole.

    Parameters
    ----------
    cases : sequence of Case, or of Pair
    fraction : float
        Share of the cases for validation, 0 to below 1; at least one case if above 0.
    seed : int
        The same cases are held out for the same seed, whatever their order; they are identified by their names.
    fold : (int, int), optional
        Fold k, from 0, of n: every case is held out in one of them. The fraction then only says whether at all.

    Returns
    -------
    (training, validation) : lists, in the same order

    Raises
    ------
    ValueError
        If the fraction is out of range, or no case (no group) would be left for training.
    """
    return _split(cases, fraction, seed, fold, is_even=False)


def _split(
    cases: Sequence[_Item], fraction: float, seed: int, fold: Fold | None, *, is_even: bool
) -> tuple[list[_Item], list[_Item]]:
    _check(fraction)
    if fraction == 0:
        return list(cases), []
    groups: dict[_Name, list[int]] = {}
    for i, case in enumerate(cases):
        groups.setdefault((case.group is None, case.group or case.name), []).append(i)
    own = [case for case in cases if isinstance(case, Case)] if is_even else []
    if own:
        groups = _joined(groups, own, least=fold[1] if fold else 2)
    if len(groups) < 2:
        raise ValueError(
            f"{len(cases)} image(s) in {len(groups)} group(s) cannot be split into training and validation: "
            "give more images, or --validation 0 to train on all of them without a validation score"
        )
    names = sorted(groups)
    random.Random(seed).shuffle(names)
    traits = {name: frozenset[int]().union(*(own[i].shown_classes for i in groups[name])) for name in names if own}
    sizes = {name: len(groups[name]) for name in names}
    if fold is not None:
        folds = _folds(groups, names, fold)
        chosen = (even_folds(folds, names, traits, sizes) if own else folds)[fold[0]]
    else:
        chosen = _draw(names, sizes, fraction * len(cases))
        chosen = even_out(chosen, names, traits, sizes) if own else chosen
    held_out = {i for name in chosen for i in groups[name]}
    training = [case for i, case in enumerate(cases) if i not in held_out]
    return training, [case for i, case in enumerate(cases) if i in held_out]


def _joined(groups: dict[_Name, list[int]], cases: Sequence[Case], *, least: int) -> dict[_Name, list[int]]:
    """Groups that hold the same image joined, under the first of their names; as they were if too few would be left."""
    parent = {name: name for name in groups}

    def root(name: _Name) -> _Name:
        while parent[name] != name:
            name = parent[name]
        return name

    group_of = {i: name for name, indices in groups.items() for i in indices}
    for alike in duplicates(cases):
        roots = {root(group_of[i]) for i in alike}
        for name in roots:
            parent[name] = min(roots)
    joined: dict[_Name, list[int]] = {}
    for name, indices in groups.items():
        joined.setdefault(root(name), []).extend(indices)
    return joined if len(joined) >= least else groups


def _draw(names: Sequence[_Name], sizes: Mapping[_Name, int], wanted: float) -> set[_Name]:
    """Groups in the order of their names until about the wanted number of cases; one at least, and one is left."""
    chosen: set[_Name] = set()
    n = 0
    for name in names[:-1]:
        if n + sizes[name] / 2 <= wanted:
            chosen.add(name)
            n += sizes[name]
    return chosen or {min(names, key=lambda name: sizes[name])}


def _folds(groups: Mapping[_Name, list[int]], names: Sequence[_Name], fold: Fold) -> list[set[_Name]]:
    """Groups of every fold; each goes to the fold that has the fewest cases so far, large groups first."""
    k, n = fold
    if not 0 <= k < n or len(names) < n:
        raise ValueError(f"fold {k} of {n} cannot be made of {len(names)} images or groups: expected one for each")
    folds: list[set[_Name]] = [set() for _ in range(n)]
    for name in sorted(names, key=lambda name: len(groups[name]), reverse=True):
        min(folds, key=lambda part: sum(len(groups[other]) for other in part)).add(name)
    return folds


def _check(fraction: float) -> None:
    if not 0 <= fraction < 1:
        raise ValueError(f"the validation share is {fraction}; expected 0 to below 1, such as 0.2")
