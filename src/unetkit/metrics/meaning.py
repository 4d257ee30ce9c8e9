"""One meaning for the values of predicted and true masks: class 1 of one side is class 1 of the other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..labels.kind import LabelKind
from ..labels.options import LabelOptions
from ..labels.recognise import recognise
from ..labels.statistics import LabelStatistics, values_text

__all__ = ["Meaning", "common_meaning"]

_WHITE = 127  # values of a picture reach up to here at least,
_STEP = 10  # and lie so far apart; class numbers do not


@dataclass(frozen=True)
class Meaning:
    """The kinds of predicted and true masks, one object where both are read by the same values; and doubts."""

    kinds: tuple[LabelKind, LabelKind]
    notes: tuple[str, ...] = ()


def common_meaning(
    predicted: Sequence[LabelStatistics], truth: Sequence[LabelStatistics], options: LabelOptions
) -> Meaning:
    """Decide over both sides together what their values mean.

    A side that shows only some of the other's values (a class never predicted, or not in these images) means the same
    by them. Where each shows a value that the other lacks, both are read by all the values together; but by their order
    where one of them shows the gray levels of a picture, such as 0 and 255, and so no class numbers. Classes that are
    stated are those of both sides; those of a file beside the truth only of the truth, where predictions show others.

    Raises
    ------
    ValueError
        If values cannot be read, or the two sides hold different numbers of classes.
    """
    together = [*predicted, *truth]
    labels, ignore = options.labels, options.ignore if isinstance(options.ignore, int) else None
    shown = [{value for file in side for value in file.counts} - {-1, ignore} for side in (predicted, truth)]
    if options.classes:
        is_known = shown[0] <= {value for value, _ in options.classes} | {ignore, 255}
        if is_known or not options.source:
            kind = recognise(together, options)
            return Meaning((kind, kind))
        own = recognise(predicted, replace(options, classes=()))
        return _of_equal_number((own, recognise(truth, options)))
    if shown[0] | shown[1] <= {0}:
        text = f"masks show background only, in all {len(predicted)} files of both sides"
        kind = LabelKind("binary", (0, 1), ignore, text)
        return Meaning((kind, kind))
    if any(values <= {0} for values in shown):  # nothing predicted, or nothing there: that can be scored as well
        kind = recognise(together, options)
        return Meaning((kind, kind))
    if labels == "auto" and any(file.are_objects for file in together):  # of one class, so that other numbers are ids
        by_side = [replace(options, labels="instances" if len(values - {0}) > 1 else "auto") for values in shown]
        return _of_equal_number((recognise(predicted, by_side[0]), recognise(truth, by_side[1])))
    kinds = (recognise(predicted, options), recognise(truth, options))
    if "instances" not in (kinds[0].kind, kinds[1].kind):
        shown = [values - {kind.ignore} for values, kind in zip(shown, kinds, strict=True)]
        for values, kind in ((shown[0], kinds[1]), (shown[1], kinds[0])):
            if values <= set(kind.values):
                return Meaning((kind, kind))
        if labels in ("auto", "classes") and _are_numbers(shown):
            kind = recognise(together, replace(options, labels="classes"))
            return Meaning((kind, kind), _doubts(shown))
    return _of_equal_number(kinds)


def _of_equal_number(kinds: tuple[LabelKind, LabelKind]) -> Meaning:
    if kinds[0].n_classes != kinds[1].n_classes:
        raise ValueError(
            f"predictions have {kinds[0].n_classes} classes and the truth {kinds[1].n_classes}: expected the same. "
            f"Predicted {kinds[0].description}. True {kinds[1].description}. Say --labels where this is read wrongly"
        )
    return Meaning(kinds)


def _are_numbers(shown: Sequence[Collection[int]]) -> bool:
    """Whether the values of both sides are numbers of the same classes: those of pictures count where they agree."""
    own = [set(values) - {0} for values in shown]
    if (0 in shown[0]) != (0 in shown[1]):
        return False
    return bool(own[0] & own[1]) or not any(map(_are_gray_levels, shown))


def _are_gray_levels(values: Collection[int]) -> bool:
    return max(values) >= _WHITE and int(np.diff(sorted({0, *values})).min()) >= _STEP


def _doubts(shown: Sequence[Collection[int]]) -> tuple[str, ...]:
    own = [sorted(set(values) - {0}) for values in shown]
    if set(own[0]) & set(own[1]):
        return ()
    text = f"no value in common but background: predicted {values_text(own[0])}, true {values_text(own[1])}"
    one = all(len(values) == 1 for values in own)
    return (f"looks wrong: {text}" + "; --labels binary compares both as foreground" * one,)
