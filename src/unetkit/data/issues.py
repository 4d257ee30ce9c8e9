"""Pairs that can be read but look wrong: each is compared with the others, since what is odd depends on the set.

Nothing here refuses a file: an issue is stated with its numbers, and people decide.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from math import isfinite
from statistics import median

import numpy as np

from ..labels.doubts import blended_values, nearly_white
from ..labels.kind import LabelKind
from .edges import copies, misfits
from .summary import LabelIssue, Summary

__all__ = ["find_issues"]

_FEW = 0.1  # share of a set up to which files that differ from the others are odd; larger numbers are its variety
_NEAR = 0.2  # of a share: so far from the opposite of the usual one a mask may be and be called inverted
_FILLS = (-9999.0, -99999.0, -32768.0, -32767.0, -999.0)  # usual values of pixels without data, if they are the lowest
_SIZE_FACTOR, _SPACING_FACTOR = 4.0, 3.0
_SAME_SIZE = 1.02  # times as large, of pixels that are alike


def find_issues(items: Sequence[Summary], kind: LabelKind) -> list[LabelIssue]:
    """Name the files that look wrong beside the others.

    Parameters
    ----------
    items : sequence of Summary
        One per pair, from `summarise`.
    kind : LabelKind
        Meaning of the masks' values.

    Returns
    -------
    list of LabelIssue
        In the order of the pairs.
    """
    rules = (_images, _duplicates, copies, _of_other_kinds, _masks, _values, _blended, _conventions, _pieces, misfits)
    issues = [issue for rule in rules for issue in rule(items, kind)]
    order = {path: i for i, each in enumerate(items) for path in (*each.pair.files, each.pair.mask)}
    return sorted(issues, key=lambda issue: order[issue.path])


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
