"""Training and validation cases: whole images, or parts of them where there are few."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from ..labels.kind import IGNORE_INDEX
from ..tiles import Slices
from .dataset import Case

__all__ = ["FEW", "split", "train_val_split"]

FEW = 5  # images from which whole ones are held out: of fewer, each is too large a share of the training data


class _Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str | None: ...


_Item = TypeVar("_Item", bound=_Named)


Fold = tuple[int, int]  # number of the fold, from 0, and number of folds


def train_val_split(
    cases: Sequence[Case], *, fraction: float, seed: int, fold: Fold | None = None
) -> tuple[list[Case], list[Case]]:
    """Cases to train on and to validate on: `split`, or of fewer than `FEW` a part of every image.

    Both sides then have every image whole, and not labelled where the other side has its labels: a strip along one
    side, the one whose classes are most like those of the image.

    Parameters
    ----------
    cases, fraction, seed, fold
        As `split` takes them; parts of images are folds too.

    Returns
    -------
    (training, validation) : lists of Case
    """
    if len(cases) >= FEW or fraction == 0:
        return split(cases, fraction=fraction, seed=seed, fold=fold)
    _check(fraction)
    parts = [_parts(case, fraction, fold) for case in cases]
    return [training for training, _ in parts], [held_out for _, held_out in parts]


def _parts(case: Case, fraction: float, fold: Fold | None) -> tuple[Case, Case]:
    if fold is None:
        strips = _strips(case.size, fraction)
        if not strips:
            raise ValueError(
                f"{case.path}: an image of {case.size} pixels cannot be cut into a part to train on and one to "
                "validate on; leave it out"
            )
        strip = min(strips, key=lambda strip: _unlike(case.labels[strip], case.labels))
    else:
        axis, (k, n) = int(np.argmax(case.size)), fold  # strips across the longest axis
        if case.size[axis] < n:
            raise ValueError(f"{case.path}: an image of {case.size} pixels cannot be cut into {n} folds")
        part = slice(k * case.size[axis] // n, (k + 1) * case.size[axis] // n)
        strip = tuple(part if i == axis else slice(0, m) for i, m in enumerate(case.size))
    training, held_out = case.labels.copy(), np.full_like(case.labels, IGNORE_INDEX)
    held_out[strip], training[strip] = case.labels[strip], IGNORE_INDEX
    return replace(case, labels=training), replace(case, labels=held_out)


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


def _unlike(part: np.ndarray, whole: np.ndarray) -> float:
    """Distance of the class shares of a part from those of the whole, 0 to 2; 3 where nothing is labelled."""
    counts = [np.bincount(labels.ravel(), minlength=IGNORE_INDEX + 1)[:IGNORE_INDEX] for labels in (part, whole)]
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
    _check(fraction)
    if fraction == 0:
        return list(cases), []
    groups: dict[tuple[bool, str], list[int]] = {}
    for i, case in enumerate(cases):
        groups.setdefault((case.group is None, case.group or case.name), []).append(i)
    if len(groups) < 2:
        raise ValueError(
            f"{len(cases)} image(s) in {len(groups)} group(s) cannot be split into training and validation: "
            "give more images, or --validation 0 to train on all of them without a validation score"
        )
    names = sorted(groups)
    random.Random(seed).shuffle(names)
    held_out: set[int] = set()
    if fold is not None:
        held_out = _fold([groups[name] for name in names], fold)
    for name in names[:-1] if fold is None else ():  # one group at least is left for training
        if len(held_out) + len(groups[name]) / 2 <= fraction * len(cases):
            held_out.update(groups[name])
    held_out = held_out or set(groups[min(names, key=lambda name: len(groups[name]))])
    training = [case for i, case in enumerate(cases) if i not in held_out]
    return training, [case for i, case in enumerate(cases) if i in held_out]


def _fold(groups: Sequence[list[int]], fold: Fold) -> set[int]:
    """Cases of one fold; each group goes to the fold that has the fewest so far, large groups first."""
    k, n = fold
    if not 0 <= k < n or len(groups) < n:
        raise ValueError(f"fold {k} of {n} cannot be made of {len(groups)} images or groups: expected one for each")
    folds: list[set[int]] = [set() for _ in range(n)]
    for group in sorted(groups, key=len, reverse=True):
        min(folds, key=len).update(group)
    return folds[k]


def _check(fraction: float) -> None:
    if not 0 <= fraction < 1:
        raise ValueError(f"the validation share is {fraction}; expected 0 to below 1, such as 0.2")
