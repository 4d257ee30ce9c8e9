"""Masks whose values are colours: one colour means one class in all files of a set, whatever index it has in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

__all__ = ["RGB", "colour_values", "colours_text"]

RGB = tuple[int, int, int]
BLACK = (0, 0, 0)


class Colours(Protocol):
    """The colours of the values of one file: `io.label_samples.ValueCode`."""

    @property
    def keys(self) -> Mapping[int, RGB | str]: ...

    @property
    def is_numbered(self) -> bool: ...


def colour_values(codes: Sequence[Colours], stated: Mapping[RGB, int] | None = None) -> Mapping[RGB, int] | None:
    """Number the colours of all files together: black is 0, the others count up by red, green and blue.

    Parameters
    ----------
    codes : sequence of Colours
        One per file that has any.
    stated : mapping of (red, green, blue) to int, optional
        Values that somebody states for the colours.

    Returns
    -------
    mapping of (red, green, blue) to int, or None
        None where the values of the files can stay: there are no colours, or an index has the same colour everywhere,
        or a table gives two values one colour, so that it is there for display.

    Raises
    ------
    ValueError
        If files show colours that are not among the stated ones.

    Examples
    --------
    >>> from unetkit.io.label_samples import ValueCode
    >>> red, blue = (255, 0, 0), (0, 0, 255)
    >>> first, second = ValueCode({0: (0, 0, 0), 1: red}, False), ValueCode({0: (0, 0, 0), 1: blue}, False)
    >>> colour_values([first, second])
    {(0, 0, 0): 0, (0, 0, 255): 1, (255, 0, 0): 2}
    """
    shown = {colour for code in codes for colour in code.keys.values() if not isinstance(colour, str)}
    if stated and shown:
        if unknown := sorted(shown - set(stated)):
            known = ", ".join(_name(colour) for colour in stated)
            raise ValueError(f"masks show {', '.join(map(_name, unknown[:8]))}: expected the stated colours {known}")
        return stated
    if all(code.is_numbered for code in codes) and (_agree(codes) or not all(map(_is_unique, codes))):
        return None
    values = {BLACK: 0} if BLACK in shown else {}
    return values | {colour: number for number, colour in enumerate(sorted(shown - {BLACK}), start=1)}


def colours_text(values: Mapping[RGB, int]) -> str:
    """Sentence on the numbers of the colours."""
    names = [f"{_name(colour)} = {value}" for colour, value in list(values.items())[:12]]
    more = f" and {len(values) - 12} more" if len(values) > 12 else ""
    return f"colours numbered over all masks together: {', '.join(names)}{more}"


def _name(colour: RGB) -> str:
    red, green, blue = colour
    return f"#{red:02x}{green:02x}{blue:02x}"


def _agree(codes: Sequence[Colours]) -> bool:
    """Whether every index has one colour, and every colour one index, in all files."""
    pairs = {pair for code in codes for pair in code.keys.items()}
    return len({value for value, _ in pairs}) == len(pairs) == len({colour for _, colour in pairs})


def _is_unique(code: Colours) -> bool:
    return len(set(code.keys.values())) == len(code.keys)
