"""Values that are probably no classes, though the masks can be read: what resizing and rounding leave in them."""

from __future__ import annotations

from collections.abc import Sequence

from .statistics import LabelStatistics, values_text

__all__ = ["blended_values", "nearly_white", "values_doubt"]

_BLENDED = 0.9  # share of a value's pixels with a lower and a higher neighbour, from which on it is no class
_WHITE = 255
_NEARLY_WHITE = range(250, _WHITE)


def values_doubt(statistics: Sequence[LabelStatistics], values: Sequence[int]) -> str:
    """A sentence on the values of a set that look as if they were no classes; "" where none does."""
    doubts = []
    blended = sorted({value for file in statistics for value in blended_values(file)} & set(values))
    if blended:
        doubts.append(f"{values_text(blended)} only along edges, as resizing with interpolation leaves it")
    white = sorted({value for file in statistics for value in nearly_white(file)} & set(values))
    if white and _WHITE in values:
        doubts.append(f"{values_text(white)} beside {_WHITE}, as if both meant white")
    return "; ".join(doubts) + ": is that meant? unetkit check names the files" if doubts else ""


def blended_values(file: LabelStatistics) -> list[int]:
    """Values that lie only between a lower and a higher one."""
    return [value for value, share in file.between.items() if share >= _BLENDED and value != _WHITE]


def nearly_white(file: LabelStatistics) -> list[int]:
    """Values from 250 to 254, where the others are low: white that was rounded or scaled."""
    near = [value for value in file.counts if value in _NEARLY_WHITE]
    others = [value for value in file.counts if value not in _NEARLY_WHITE and value != _WHITE]
    return near if max(others, default=0) < _NEARLY_WHITE.start // 2 and len(near) < 3 else []
