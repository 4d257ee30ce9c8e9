"""Masks whose values are colours: one colour means one class in all files of a set, whatever index it has in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from .statistics import LabelStatistics

__all__ = ["Code", "by_colour", "colours_text", "common_values", "statistics_by_colour"]

RGB = tuple[int, int, int]
BLACK = (0, 0, 0)


class Code(Protocol):
    """The colours of the values of one file: `io.label_samples.ColourCode`."""

    @property
    def colours(self) -> Mapping[int, RGB]: ...

    @property
    def is_numbered(self) -> bool: ...


def common_values(codes: Sequence[Code | None]) -> Mapping[RGB, int] | None:
    """Number the colours of all files together: black is 0, the others count up by red, green and blue.

    Parameters
    ----------
    codes : sequence of Code or None
        One per file; None for files of one channel.

    Returns
    -------
    mapping of (red, green, blue) to int, or None
        None where the values of the files can stay: there are no colours, or an index has the same colour everywhere,
        or a table gives two values one colour, so that it is there for display.

    Examples
    --------
    >>> from unetkit.io.label_samples import ColourCode
    >>> red, blue = (255, 0, 0), (0, 0, 255)
    >>> first, second = ColourCode({0: (0, 0, 0), 1: red}, False), ColourCode({0: (0, 0, 0), 1: blue}, False)
    >>> common_values([first, second])
    {(0, 0, 0): 0, (0, 0, 255): 1, (255, 0, 0): 2}
    """
    coded = [code for code in codes if code is not None]
    if all(code.is_numbered for code in coded) and (_agree(coded) or not all(map(_is_unique, coded))):
        return None
    colours = sorted({colour for code in coded for colour in code.colours.values()} - {BLACK})
    values = {BLACK: 0} if any(BLACK in code.colours.values() for code in coded) else {}
    return values | {colour: number for number, colour in enumerate(colours, start=1)}


def by_colour(labels: np.ndarray, code: Code, values: Mapping[RGB, int]) -> np.ndarray:
    """The label image with the common values in place of the file's own."""
    table = np.zeros(max(code.colours) + 1, np.min_scalar_type(max(values.values())))
    for own, colour in code.colours.items():
        table[own] = values[colour]
    return table[labels]


def statistics_by_colour(file: LabelStatistics, code: Code | None, values: Mapping[RGB, int] | None) -> LabelStatistics:
    """Statistics of a file as those of its `by_colour`; the same where it has no colours, or they are not used."""
    if code is None or values is None:
        return file
    new = {own: values[colour] for own, colour in code.colours.items()}
    counts, components = ({new[value]: n for value, n in part.items()} for part in (file.counts, file.components))
    return LabelStatistics(counts, components)


def colours_text(values: Mapping[RGB, int]) -> str:
    """Sentence on the numbers of the colours."""
    names = [f"#{red:02x}{green:02x}{blue:02x} = {value}" for (red, green, blue), value in list(values.items())[:12]]
    more = f" and {len(values) - 12} more" if len(values) > 12 else ""
    return f"colours numbered over all masks together: {', '.join(names)}{more}"


def _agree(codes: Sequence[Code]) -> bool:
    """Whether every index has one colour, and every colour one index, in all files."""
    pairs = {pair for code in codes for pair in code.colours.items()}
    return len({value for value, _ in pairs}) == len(pairs) == len({colour for _, colour in pairs})


def _is_unique(code: Code) -> bool:
    return len(set(code.colours.values())) == len(code.colours)
