"""The section of a report on gradients and updates: whether every part of the net learns, and at a healthy rate."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log10
from statistics import median
from typing import Literal

from ..plotting.charts import Axis, Series, draw_curves
from ..plotting.html import Html, figure, grid, paragraph, section
from ..plotting.matplotlib_style import svg
from ..plotting.palette import INK, LEVELS, QUIET
from .run import Run
from .training import time_unit

__all__ = ["gradient_flow_section"]

_USUAL, _TOO_SLOW, _TOO_FAST = 1e-3, 1e-5, 1e-1  # updates as a share of the weights
_BEYOND = 1e300  # no value of a training, nor NaN, which is not smaller either
_MOST_DECADES = 7  # of an axis: lines may leave the chart below
_FAINT = ("ups.", "skips.")
_UPDATES = (
    "Change of the weights of each part of the net in the last step before every validation, as a share of the "
    "weights. Around a thousandth is usual (Karpathy, notes to the Stanford course CS231n, on learning): with far less "
    "a part learns slowly or not at all, with far more it is unstable. Updates follow the learning rate."
)
_GRADIENTS = (
    "Norm of the loss's gradient with respect to the weights of each part in that step, before clipping. AdamW divides "
    "each gradient by its own usual size, so a part with small gradients need not learn more slowly: the updates above "
    "tell whether it does."
)

Lines = dict[str, list[tuple[float, float]]]  # part of the net -> points (seconds, value)


@dataclass(frozen=True)
class _Part:
    """A part of a net: in the contracting path or not, its level (0 the finest, -1 for none), its name in words."""

    is_encoder: bool
    level: int
    words: str

    @property
    def colour(self) -> str:
        if self.level < 0:
            return INK if self.words.startswith("head") else QUIET
        return LEVELS[min(self.level, len(LEVELS) - 1)]


def gradient_flow_section(run: Run) -> Html | None:
    """Update-to-weight ratios and gradient norms of all parts of the net over time; None where they were not logged."""
    updates, gradients = _lines(run, "updates"), _lines(run, "gradients")
    if not all(any(value > 0 for line in lines.values() for _, value in line) for lines in (updates, gradients)):
        return None
    last_s = max(run.time_s, *(time for line in updates.values() for time, _ in line))
    grids = []
    for lines, label in ((updates, "Update / weights"), (gradients, "Gradient norm")):
        figures = []
        for is_encoder, side in ((True, "contracting path"), (False, "expanding path")):
            shown = {name: line for name, line in lines.items() if _part(name).is_encoder == is_encoder}
            if shown:
                words = _describe_updates(shown) if lines is updates else _describe_gradients(shown)
                level = (_USUAL, "usual: 0.001") if lines is updates else None
                picture = _chart(shown, _decades(lines), label, last_s, level=level)
                figures.append(figure(picture, words, title=f"{label}, {side}", legend=_legend(shown)))
        grids.append(grid(*figures))
    words = paragraph(_UPDATES, _verdict(updates))
    return section("Gradients and updates", words, grids[0], paragraph(_GRADIENTS), grids[1])


def _lines(run: Run, key: Literal["gradients", "updates"]) -> Lines:
    """Finite points of each part; none where fewer than two validations logged them."""
    entries = [entry for entry in run.log if isinstance(entry.get(key), dict) and entry[key]]
    lines: Lines = {}
    for entry in entries if len(entries) > 1 else []:
        for name, value in entry[key].items():
            if isinstance(value, int | float) and abs(value) < _BEYOND:
                lines.setdefault(name, []).append((entry["elapsed_s"], value))
    return lines


def _part(name: str) -> _Part:
    """Read a part's name in the log.

    >>> _part("encoder.blocks.0").words, _part("ups.1").words, _part("nodes.0_2").words, _part("heads.0").words
    ('encoder 0', 'up to 1', 'node 0,2', 'head 0')
    """
    kind, _, rest = name.partition(".")
    last = name.rpartition(".")[2]
    level = int(last.partition("_")[0]) if last.replace("_", "").isdigit() else -1
    if kind == "encoder":
        is_own = rest.startswith("blocks.")  # else of a pretrained encoder, whose stages have names of their own
        return _Part(True, level if is_own else -1, f"encoder {last}" if is_own else rest)
    words = {"decoder": "decoder", "ups": "up to", "skips": "skip", "nodes": "node", "heads": "head"}
    if kind == "heads":
        level = -1
    return _Part(False, level, f"{words[kind]} {last.replace('_', ',')}" if kind in words else name)


def _decades(lines: Lines) -> Axis:
    """A logarithmic range of whole decades around all values above 0."""
    values = [value for line in lines.values() for _, value in line if value > 0]
    high = ceil(log10(max(values)) + 1e-9)
    low = max(floor(log10(min(values))), high - _MOST_DECADES)
    return Axis(10.0**low, 10.0 ** max(high, low + 1), "", is_log=True)


def _chart(lines: Lines, y: Axis, label: str, last_s: float, *, level: tuple[float, str] | None) -> Html:
    unit_s, time_label = time_unit(last_s)
    series = []
    for name, line in lines.items():
        points = [(time / unit_s, value) for time, value in line if value >= y.low]
        width, opacity = (1.2, 0.45) if name.startswith(_FAINT) else (1.8, 1.0)
        series.append(Series(points, _part(name).colour, width, opacity, has_dots=len(points) == 1))
    level = level if level and y.low <= level[0] <= y.high else None
    chart = draw_curves(series, Axis(0, last_s / unit_s, time_label), y, level=level)
    return svg(chart, label=f"{label} over {time_label}")


def _legend(lines: Lines) -> list[tuple[str, str]]:
    """A colour per level, finest first, then parts without a level."""
    parts = {(part.level < 0, part.level, part.colour) for part in map(_part, lines)}
    return [
        (colour, f"level {level}" + " (finest)" * (level == 0) if level >= 0 else "head" if colour == INK else "other")
        for _, level, colour in sorted(parts)
    ]


# --- sentences ---


def _medians(lines: Lines) -> dict[str, float]:
    return {name: median(value for _, value in line) for name, line in lines.items()}


def _verdict(updates: Lines) -> str:
    medians = _medians(updates)
    slow = [_part(name).words for name, value in medians.items() if value < _TOO_SLOW]
    fast = [_part(name).words for name, value in medians.items() if value > _TOO_FAST]
    if not slow and not fast:
        return "No part stopped learning (below 0.00001) and none was unstable (above 0.1)."
    parts = [f"{', '.join(slow)} did not learn (below 0.00001)"] if slow else []
    parts += [f"{', '.join(fast)} changed too fast (above 0.1): try a smaller learning rate"] if fast else []
    return f"{'; '.join(parts)}."


def _extremes(lines: Lines) -> str:
    medians = _medians(lines)
    low, high = min(medians, key=medians.__getitem__), max(medians, key=medians.__getitem__)
    if low == high:
        return f"the median is {medians[low]:.2g} ({_part(low).words})"
    return f"medians are from {medians[low]:.2g} ({_part(low).words}) to {medians[high]:.2g} ({_part(high).words})"


def _faint(lines: Lines) -> str:
    return " Up-sampling and skips are drawn faint." if any(name.startswith(_FAINT) for name in lines) else ""


def _describe_updates(lines: Lines) -> str:
    """The smallest and the largest part, and how many are near the usual value."""
    values = _medians(lines).values()
    near = sum(_USUAL / 10 <= value <= _USUAL * 10 for value in values)
    words = f"{near} of {len(values)} parts lie within a factor of ten of the usual 0.001"
    return f"Update as a share of the weights: {_extremes(lines)}; {words}.{_faint(lines)}"


def _describe_gradients(lines: Lines) -> str:
    """The smallest and the largest part, and the finest level against the coarsest."""
    medians = _medians(lines)
    main = sorted((_part(n).level, n) for n in lines if _part(n).level >= 0 and not n.startswith(_FAINT))
    words = ""
    if main and main[0][0] != main[-1][0] and medians[main[-1][1]]:
        ratio = medians[main[0][1]] / medians[main[-1][1]]
        words = f"; at level {main[0][0]} it is {ratio:.2g} times that at level {main[-1][0]}"
    return f"Norm of the gradient with respect to the weights of each part: {_extremes(lines)}{words}.{_faint(lines)}"
