"""The part of a report about gradients and updates: does every part of the net learn, at a healthy pace?"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from statistics import median

from ..plotting.charts import Axis, Series, curves
from ..plotting.html import Html, figure, grid, paragraph, section
from .run import Run
from .training import clock

__all__ = ["flow_section"]

# From the finest level (orange) over green and blue to the coarsest; gray is what has no level of its own.
_COLOURS = ("#c25400", "#b58900", "#3a8c4d", "#2aa198", "#1f6f9c", "#5b3a8c", "#a0307a", "#5b2333")
_GRAY, _INK = "#8a939c", "#22262b"
_USUAL, _STILL, _RUNS = 1e-3, 1e-5, 1e-1  # updates as a share of the weights
_MOST_DECADES = 7  # of an axis: below, lines leave the chart
_FAINT = ("ups.", "skips.")

Lines = dict[str, list[tuple[float, float]]]  # part of the net -> points (seconds, value)


@dataclass(frozen=True)
class _Place:
    """Where a part of a net stands: on the way down or up, its level (0 the finest, -1 for none), and in words."""

    is_encoder: bool
    level: int
    words: str

    @property
    def colour(self) -> str:
        """Of its line."""
        if self.level < 0:
            return _INK if self.words.startswith("head") else _GRAY
        return _COLOURS[min(self.level, len(_COLOURS) - 1)]


def flow_section(run: Run) -> Html | None:
    """Update-to-weight ratios and gradient norms of all parts of the net over time; None where they were not logged."""
    updates, gradients = _lines(run, "updates"), _lines(run, "gradients")
    if not all(any(value > 0 for line in lines.values() for _, value in line) for lines in (updates, gradients)):
        return None
    most = max(run.time_s, *(time for line in updates.values() for time, _ in line))
    figures = []
    for lines, label in ((updates, "Update / weights"), (gradients, "Gradient norm")):
        row = []
        for is_encoder, side in ((True, "contracting path"), (False, "expanding path")):
            shown = {name: line for name, line in lines.items() if _place(name).is_encoder == is_encoder}
            if shown:
                words = _say_updates(shown) if lines is updates else _say_gradients(shown)
                picture = _chart(shown, _decades(lines), label, most, has_level=lines is updates)
                row.append(figure(picture, words, title=f"{label}, {side}", legend=_legend(shown)))
        figures.append(grid(*row))
    title, between = "Gradients and updates", paragraph(_of_gradients())
    return section(title, paragraph(_of_updates(), _verdict(updates)), figures[0], between, figures[1])


def _lines(run: Run, key: str) -> Lines:
    """Points of each part that are finite; none where fewer than two validations hold them."""
    entries = [entry for entry in run.log if isinstance(entry.get(key), dict) and entry[key]]
    found: Lines = {}
    for entry in entries if len(entries) > 1 else []:
        for name, value in entry[key].items():
            if isinstance(value, int | float) and isfinite(value):
                found.setdefault(name, []).append((entry["elapsed_s"], value))
    return found


def _place(name: str) -> _Place:
    """Read a part's name, as `Training.parts` gives it.

    >>> _place("encoder.blocks.0").words, _place("ups.1").words, _place("nodes.0_2").words, _place("heads.0").words
    ('encoder 0', 'up to 1', 'node 0,2', 'head 0')
    """
    kind, _, rest = name.partition(".")
    last = name.rpartition(".")[2]
    level = int(last.partition("_")[0]) if last.replace("_", "").isdigit() else -1
    if kind == "encoder":
        own = rest.startswith("blocks.")
        return _Place(True, level if own else -1, f"encoder {last}" if own else rest)
    words = {"decoder": "decoder", "ups": "up to", "skips": "skip", "nodes": "node", "heads": "head"}
    if kind == "heads":
        level = -1
    return _Place(False, level, f"{words[kind]} {last.replace('_', ',')}" if kind in words else name)


def _decades(lines: Lines) -> Axis:
    """A logarithmic range of whole decades around all values above 0."""
    values = [value for line in lines.values() for _, value in line if value > 0]
    high = ceil(log10(max(values)) + 1e-9)
    low = max(floor(log10(min(values))), high - _MOST_DECADES)
    return Axis(10.0**low, 10.0 ** max(high, low + 1), "", is_log=True)


class _Decades(Axis):
    """A logarithmic axis with a tick per decade."""

    def ticks(self) -> list[float]:
        low, high = round(log10(self.low)), round(log10(self.high))
        return [10.0**e for e in range(low, high + 1)]


def _chart(lines: Lines, span: Axis, label: str, most_s: float, *, has_level: bool) -> Html:
    unit, time_label = clock(most_s)
    series = []
    for name, line in lines.items():
        place = _place(name)
        is_main = not name.startswith(_FAINT)
        points = [(time / unit, value) for time, value in line if value >= span.low]
        width, opacity = (1.8, 1.0) if is_main else (1.2, 0.45)
        series.append(Series(points, place.colour, width, opacity, has_dots=len(points) == 1))
    level = (_USUAL, "usual: 0.001") if has_level and span.low <= _USUAL <= span.high else None
    y = _Decades(span.low, span.high, "", is_log=True)  # long numbers leave no room for a name: the title has it
    drawn = curves(series, Axis(0, most_s / unit, time_label), y, level=level)
    return Html(drawn.replace('aria-label="', f'aria-label="{label}', 1))


def _legend(lines: Lines) -> list[tuple[str, str]]:
    """A colour per level, finest first, then what has no level."""
    places = {(place.level, place.colour) for place in map(_place, lines)}
    found = []
    for level, colour in sorted(places, key=lambda pair: (pair[0] < 0, pair)):
        name = f"level {level}" + " (finest)" * (level == 0)
        found.append((colour, name if level >= 0 else "head" if colour == _INK else "other"))
    return found


# --- sentences ---


def _of_updates() -> str:
    return (
        "At every validation the last step was looked at: how much it changed the weights of each part of the net, as "
        "a share of them. Around a thousandth is usual (Karpathy, notes to the Stanford course CS231n, on learning): "
        "far less, and a part learns slowly or not at all; far more, and it is thrown about. Updates follow the "
        "learning rate up and down."
    )


def _of_gradients() -> str:
    return (
        "What the loss asked for in that step: the norm of its gradient by the weights of each part, before clipping. "
        "AdamW divides each gradient by its own usual size, so a part of small gradients need not learn more slowly: "
        "the updates above tell whether it does."
    )


def _typical(lines: Lines) -> dict[str, float]:
    """Median over the training of each part."""
    return {name: median(value for _, value in line) for name, line in lines.items()}


def _verdict(updates: Lines) -> str:
    """Whether any part stands still or runs."""
    typical = _typical(updates)
    still, runs = ([_place(n).words for n, v in typical.items() if is_so(v)] for is_so in (_is_still, _is_running))
    if not still and not runs:
        return "No part stood still (below 0.00001) and none ran away (above 0.1)."
    parts = [f"{', '.join(still)} stood still (below 0.00001)"] if still else []
    parts += [f"{', '.join(runs)} ran (above 0.1): try a smaller learning rate"] if runs else []
    return f"{'; '.join(parts)}."


def _is_still(value: float) -> bool:
    return value < _STILL


def _is_running(value: float) -> bool:
    return value > _RUNS


def _extremes(lines: Lines) -> str:
    typical = _typical(lines)
    low, high = min(typical, key=typical.__getitem__), max(typical, key=typical.__getitem__)
    if low == high:
        return f"the median is {typical[low]:.2g} ({_place(low).words})"
    return f"medians are from {typical[low]:.2g} ({_place(low).words}) to {typical[high]:.2g} ({_place(high).words})"


def _faint(lines: Lines) -> str:
    return " Up-sampling and skips are drawn faint." if any(n.startswith(_FAINT) for n in lines) else ""


def _say_updates(lines: Lines) -> str:
    """The smallest and the largest part, and how they stand to the usual value."""
    values = _typical(lines).values()
    near = sum(_USUAL / 10 <= value <= _USUAL * 10 for value in values)
    words = f"{near} of {len(values)} parts lie within a factor of ten of the usual 0.001"
    return f"Update as a share of the weights: {_extremes(lines)}; {words}.{_faint(lines)}"


def _say_gradients(lines: Lines) -> str:
    """The smallest and the largest part, and how the finest level stands to the coarsest."""
    typical = _typical(lines)
    main = sorted((_place(n).level, n) for n in lines if _place(n).level >= 0 and not n.startswith(_FAINT))
    words = ""
    if main and main[0][0] != main[-1][0] and typical[main[-1][1]]:
        ratio = typical[main[0][1]] / typical[main[-1][1]]
        words = f"; at level {main[0][0]} it is {ratio:.2g} times that at level {main[-1][0]}"
    return f"Norm of the gradient by the weights of each part: {_extremes(lines)}{words}.{_faint(lines)}"
