"""One value per class in all masks of a set, where files state colours or names of classes in place of values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from .colour_codes import RGB, colour_values, colours_text
from .kind import LabelKind
from .options import Ignore, LabelOptions
from .statistics import LabelStatistics

__all__ = ["Code", "Numbering", "number_values", "numbering_of"]

Key = RGB | str
BACKGROUND = ("background", "_background_")  # LabelMe's own name has the strokes
NOT_LABELLED = ("ignore", "ignore*", "__ignore__", "not labelled", "unlabelled", "unlabeled")  # QuPath's has the star
UNNAMED = "unnamed"
_OWN_NAMES = 10  # so many names of which none comes again are those of objects


class Code(Protocol):
    """What the values of one file stand for: `io.label_samples.ValueCode`."""

    @property
    def keys(self) -> Mapping[int, Key]: ...

    @property
    def is_numbered(self) -> bool: ...

    @property
    def are_objects(self) -> bool: ...

    @property
    def crowds(self) -> frozenset[int]: ...


@dataclass(frozen=True)
class Numbering:
    """The values of the keys of a set.

    Attributes
    ----------
    values : mapping of (red, green, blue) or str to int
        Empty where the values of the files stay.
    not_labelled : int
        The value that stands for "not labelled".
    text : str
        A sentence about it; "" where there is nothing to say.
    """

    values: Mapping[Key, int] = field(default_factory=dict)
    not_labelled: int = -1
    text: str = ""

    def array(self, labels: np.ndarray, code: Code | None) -> np.ndarray:
        """The label image of a file with the values of the set in place of its own."""
        if code is None:
            return labels
        new = self._new_values(code)
        low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
        if all(own == value for own, value in new.items()) and low >= 0:
            return labels
        table = np.arange(max(high, *new, 0) + 1)
        table[list(new)] = list(new.values())
        numbered = np.where(labels < 0, self.not_labelled, table[np.maximum(labels, 0)])
        ends = [*new.values(), high, *([self.not_labelled] if low < 0 else ())]
        return numbered.astype(np.result_type(*map(np.min_scalar_type, ends)))

    def statistics(self, file: LabelStatistics, code: Code | None) -> LabelStatistics:
        """Statistics of a file as those of its `array`."""
        if code is None:
            return file
        new = self._new_values(code)
        counts, components = Counter[int](), Counter[int]()
        for part, total in ((file.counts, counts), (file.components, components)):
            for value, n in part.items():
                total[self.not_labelled if value < 0 else new.get(value, value)] += n
        return replace(
            file, counts=dict(counts), components=dict(components), names=self.names(code), are_objects=self.keeps(code)
        )

    def keeps(self, code: Code | None) -> bool:
        """Whether the values of a file stay ids of objects."""
        return code is not None and code.are_objects and not self.values

    def names(self, code: Code | None) -> dict[int, str]:
        """Names of the values of a file, where it states any."""
        if code is None or self.keeps(code):
            return {}
        if self.values:  # all classes of the set, so that each file means the same by them
            return {value: str(key) or UNNAMED for key, value in self.values.items() if isinstance(key, str)}
        return {value: key for value, key in code.keys.items() if isinstance(key, str)}

    def _new_values(self, code: Code) -> dict[int, int]:
        new: dict[int, int] = {}
        for own, key in code.keys.items():
            if isinstance(key, str) and code.are_objects and _is_among(key, NOT_LABELLED):
                new[own] = self.not_labelled
            elif isinstance(key, str) and code.are_objects and _is_among(key, BACKGROUND) and key not in self.values:
                new[own] = 0
            else:
                new[own] = self.values.get(key, own)
        return new | dict.fromkeys(code.crowds if self.keeps(code) else (), self.not_labelled)


def number_values(codes: Sequence[Code | None], options: LabelOptions = LabelOptions()) -> Numbering:  # noqa: B008
    """Number the colours, or the names of classes, of all files together.

    Colours: black is 0, the others count up by red, green and blue. Names: those that are stated have their values,
    else they count up from 1 in natural order. Outlines of one class, or of none, stay objects, each with its id.

    Parameters
    ----------
    codes : sequence of Code or None
        One per file; None for files of plain numbers.
    options : LabelOptions
        What is stated of the set.

    Raises
    ------
    ValueError
        If files name classes that a statement does not.

    Examples
    --------
    >>> from unetkit.io.label_samples import ValueCode
    >>> first, second = ValueCode({1: "wall"}, are_objects=True), ValueCode({1: "cell"}, are_objects=True)
    >>> dict(number_values([first, second]).values)
    {'cell': 1, 'wall': 2}
    """
    held = [code for code in codes if code is not None]
    not_labelled = options.ignore if isinstance(options.ignore, int) else -1
    if not any(isinstance(key, str) for code in held for key in code.keys.values()):
        by_colour = colour_values(held, dict(options.colours)) or {}
        values: dict[Key, int] = dict(by_colour.items())
        return Numbering(values, not_labelled, colours_text(by_colour) if by_colour else "")
    if any(not isinstance(key, str) for code in held for key in code.keys.values()):
        raise ValueError("some masks show colours, others name their classes: save all in one way")
    if options.labels in ("instances", "foreground"):
        return Numbering(not_labelled=not_labelled)
    if any(code.are_objects for code in held):
        return _of_outlines(held, options, not_labelled)
    return _of_categories(held, options, not_labelled)


def numbering_of(kind: LabelKind, code: Code | None) -> Numbering:
    """The numbering of one more file for a net that was trained on masks of a kind.

    Raises
    ------
    ValueError
        If the file names classes that the kind does not have.
    """
    if code is None or kind.kind == "instances":
        return Numbering(not_labelled=-1 if kind.ignore is None else kind.ignore)
    if kind.names:
        classes = tuple(zip(kind.values, kind.names, strict=True))
        ignore: Ignore = "none" if kind.ignore is None else kind.ignore
        return number_values([code], LabelOptions("classes", ignore, classes, "the model"))
    if kind.kind == "binary" and code.are_objects:
        return Numbering(dict.fromkeys(code.keys.values(), kind.values[1]))
    return Numbering()


def _of_categories(codes: Sequence[Code], options: LabelOptions, not_labelled: int) -> Numbering:
    """The values of the files where they agree on the names, else one value per name."""
    names = {str(name) for code in codes for name in code.keys.values()}
    if options.classes and names <= {name for _, name in options.classes}:
        return _stated(names, options, not_labelled)
    if options.classes or _agree(codes):
        return Numbering(not_labelled=not_labelled)
    lowest = {str(code.keys[0]) for code in codes if 0 in code.keys}  # background stays so where files agree on it
    is_kept = len(lowest) == 1 and not any(key in lowest for code in codes for value, key in code.keys.items() if value)
    numbering = _numbered(names - lowest if is_kept else names, options, not_labelled)
    return replace(numbering, values={**dict.fromkeys(lowest, 0), **numbering.values}) if is_kept else numbering


def _of_outlines(codes: Sequence[Code], options: LabelOptions, not_labelled: int) -> Numbering:
    """Classes where outlines have several, else objects."""
    counts = Counter(str(name) for code in codes for name in code.keys.values())
    names = {name for name in counts if not _is_among(name, NOT_LABELLED)}
    if options.classes:
        return _stated(names, options, not_labelled)
    if not_labelled != 0:  # else what is drawn as background is labelled, unlike what is not drawn
        names = {name for name in names if not _is_among(name, BACKGROUND)}
    if options.labels == "auto":
        if len(names) >= _OWN_NAMES and max(counts.values()) == 1:
            text = f"{len(names)} outlines, no two of one name: read as objects; if these are classes, --labels classes"
            return Numbering(not_labelled=not_labelled, text=text)
        if len(names) < 2 and max(len(code.keys) for code in codes) > 1:
            name = next(iter(names - {""}), "")
            text = f"outlines of one class ({name})" if name else "outlines without a class"
            return Numbering(not_labelled=not_labelled, text=f"{text}: each is an object")
        if names <= {""}:
            return Numbering(not_labelled=not_labelled)
    return _numbered(names, options, not_labelled)


def _numbered(names: set[str], options: LabelOptions, not_labelled: int) -> Numbering:
    """Names in natural order, counted from 1; names that are numbers have themselves as values."""
    listed = sorted(names, key=_natural)
    values: dict[Key, int]
    if all(name.isdecimal() and int(name) > 0 for name in listed):
        values = {name: int(name) for name in listed}
    else:
        values = {name: number for number, name in enumerate(listed, start=1)}
    shown = ", ".join(f"{value} {name or UNNAMED}" for name, value in list(values.items())[:12])
    more = f" and {len(values) - 12} more" if len(values) > 12 else ""
    outside = "" if not_labelled == 0 else "; outside of them is background"
    return Numbering(values, not_labelled, f"classes numbered over all masks by name: {shown}{more}{outside}")


def _stated(names: set[str], options: LabelOptions, not_labelled: int) -> Numbering:
    """The values that are stated for the names; capitals do not count."""
    exact = {name: value for value, name in options.classes}
    folded = dict.fromkeys(BACKGROUND, 0) | {name.casefold(): value for name, value in exact.items()}
    unknown = sorted(name or UNNAMED for name in names if _value(name, exact, folded) is None)
    if unknown:
        known = ", ".join(exact)
        raise ValueError(
            f"masks name the classes {', '.join(unknown[:8])}, which {options.source or '--classes'} does not: "
            f"expected {known}"
        )
    values: dict[Key, int] = {name: _value(name, exact, folded) or 0 for name in sorted(names, key=_natural)}
    return Numbering(values, not_labelled)


def _value(name: str, exact: Mapping[str, int], folded: Mapping[str, int]) -> int | None:
    return exact.get(name or UNNAMED, folded.get((name or UNNAMED).casefold()))


def _agree(codes: Sequence[Code]) -> bool:
    """Whether every value has one name, and every name one value, in all files."""
    pairs = {pair for code in codes for pair in code.keys.items()}
    return len({value for value, _ in pairs}) == len(pairs) == len({name for _, name in pairs})


def _is_among(name: str, names: Sequence[str]) -> bool:
    return name.strip().casefold() in names


def _natural(name: str) -> tuple[list[int | str], str]:
    """Runs of digits compare as numbers."""
    parts = re.split(r"(\d+)", name.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name
