"""The charts of a report: curves over time, the spread of scores, object sizes above receptive fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from typing import TYPE_CHECKING, Any

import numpy as np

from .matplotlib_style import new_figure
from .palette import ACCENT, INK, LINE, WARM

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Axis", "Series", "draw_curves", "draw_distribution", "draw_sizes_and_fields"]

_WIDTH = 4.0  # inches, at which text has the size of the page's captions in a column of three
_MOST_STACKED = 12  # dots on each other; more are drawn as bars
_DASHES = (0, (4, 3))
_PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8}  # behind words that cross lines


@dataclass(frozen=True)
class Series:
    """A line of a chart: points (x, y) in data units; those that are not finite are left out."""

    points: Sequence[tuple[float, float]]
    colour: str = ACCENT
    width: float = 1.8
    opacity: float = 1.0
    has_dots: bool = False


@dataclass(frozen=True)
class Axis:
    """A range of values and its name; `low` < `high`, above 0 where it is logarithmic."""

    low: float
    high: float
    label: str
    is_log: bool = False

    def share(self, value: float) -> float:
        """Position of a value, 0 at the low end to 1 at the high end."""
        low, high, at = (log10(v) if self.is_log else v for v in (self.low, self.high, value))
        return (at - low) / (high - low)


def draw_curves(series: Sequence[Series], x: Axis, y: Axis, *, level: tuple[float, str] | None = None) -> Figure:
    """Draw lines over one another, and a dashed line across at a level (value, name)."""
    figure, axis = _chart(x, y, height=2.3)
    for line in series:
        points = [point for point in line.points if all(map(isfinite, point))]
        axis.plot(
            *np.transpose(points or [(np.nan, np.nan)]),
            "o-" if line.has_dots else "-",
            color=line.colour,
            linewidth=line.width,
            alpha=line.opacity,
            markersize=3.5,
        )
    if level:
        is_high = y.share(level[0]) > 0.9  # no space above it
        axis.axhline(level[0], color=INK, linewidth=0.9, linestyle=_DASHES)
        offset, va = ((0, -4), "top") if is_high else ((0, 4), "bottom")
        _note(axis, level[1], (x.high, level[0]), offset=offset, ha="right", va=va)
    return figure


def draw_distribution(values: Sequence[float], x: Axis) -> Figure:
    """Draw a dot for each value, or bars where there are many, and a dashed line at the median."""
    finite = np.asarray([value for value in values if isfinite(value)])
    counts, edges = np.histogram(finite, bins=40, range=(x.low, x.high))
    tallest = int(counts.max(initial=1))
    if tallest > _MOST_STACKED:
        counts, edges = np.histogram(finite, bins=20, range=(x.low, x.high))
        figure, axis = _chart(x, Axis(0, float(counts.max()) * 1.08, "images"), height=2.3)
        axis.bar(edges[:-1], counts, np.diff(edges) * 0.93, align="edge", color=ACCENT, alpha=0.75)
    else:
        top = max(tallest + 1.5, 3.0)
        figure, axis = _chart(x, Axis(-0.7, top, ""), height=0.55 + 0.09 * top)
        axis.yaxis.set_visible(False)
        centres = np.repeat((edges[:-1] + edges[1:]) / 2, counts)
        axis.plot(centres, [i for n in counts for i in range(n)], "o", color=ACCENT, markersize=5)
    _mark(axis, x, float(np.median(finite)) if len(finite) else x.low, "median")
    return figure


def draw_sizes_and_fields(
    diameters: Sequence[float], fields: Sequence[tuple[str, int, int]], *, typical: float
) -> Figure:
    """Draw the distribution of object diameters above the receptive fields of a net, over one axis of pixels.

    Parameters
    ----------
    diameters : sequence of float
        Pixels, above 0; at least one.
    fields : sequence of (name, smallest, largest)
        Receptive fields in pixels, one row each.
    typical : float
        Diameter of the dashed line.
    """
    sizes = [*diameters, *(size for _, *ends in fields for size in ends)]
    x = Axis(min(sizes) / 1.25, max(sizes) * 1.6, "pixels (logarithmic)", is_log=True)
    rows = len(fields)
    figure, axis = _chart(x, Axis(-rows - 0.7, 5.8, ""), height=1.7 + 0.22 * rows)
    axis.set_yticks([2.5, -(rows + 1) / 2], ["objects", "fields"], rotation=90, va="center")
    axis.grid(visible=False)
    axis.axhline(0, color=LINE, linewidth=1)
    counts, edges = np.histogram(diameters, bins=np.geomspace(x.low, x.high, 37))
    axis.bar(edges[:-1], 5 * counts / counts.max(), np.diff(edges) * 0.93, align="edge", color=ACCENT, alpha=0.75)
    for row, (name, smallest, largest) in enumerate(fields, start=1):
        axis.plot([x.low, smallest], [-row, -row], color=LINE, linewidth=1)
        axis.plot([smallest, largest], [-row, -row], color=WARM, linewidth=6, solid_capstyle="round")
        words = f"{name}: {smallest if smallest == largest else f'{smallest} to {largest}'} px"
        is_right = x.share(largest) + 0.018 * len(words) < 1  # space for the words to the right of the mark
        end, offset, ha = (largest, (7, 0), "left") if is_right else (smallest, (-7, 0), "right")
        _note(axis, words, (end, -row), offset=offset, ha=ha, va="center")
    _mark(axis, x, typical, "typical object")
    return figure


def _chart(x: Axis, y: Axis, *, height: float) -> tuple[Figure, Any]:
    """One pair of axes with a few round ticks, and grid lines from side to side only."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    figure, axes = new_figure(width=_WIDTH, height=height)
    axis = axes[0, 0]
    for part, scale in ((axis.xaxis, x), (axis.yaxis, y)):
        name = part.axis_name
        kind = "log" if scale.is_log else "linear"
        axis.set(**{f"{name}scale": kind, f"{name}lim": (scale.low, scale.high), f"{name}label": scale.label})
        if scale.is_log:
            decades = range(floor(log10(scale.low)), ceil(log10(scale.high)) + 1)
            steps = (1, 2, 5) if scale.high < 1000 * scale.low and name == "x" else (1,)
            ticks = [m * 10.0**e for e in decades for m in steps]
            part.set_major_locator(FixedLocator([t for t in ticks if scale.low * 0.999 <= t <= scale.high * 1.001]))
        else:
            part.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        part.set_minor_locator(NullLocator())
        part.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    axis.grid(visible=False, axis="x")
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    return figure, axis


def _mark(axis: Any, x: Axis, value: float, name: str) -> None:
    """A dashed line from top to bottom, with its name at the top."""
    offset, ha = ((4, -1), "left") if x.share(value) < 0.7 else ((-4, -1), "right")
    axis.axvline(value, color=INK, linewidth=0.9, linestyle=_DASHES)
    _note(axis, name, (value, axis.get_ylim()[1]), offset=offset, ha=ha, va="top")


def _note(axis: Any, words: str, at: tuple[float, float], *, offset: tuple[float, float], ha: str, va: str) -> None:
    axis.annotate(words, at, offset, textcoords="offset points", ha=ha, va=va, bbox=_PAPER, color=INK, fontsize=9)


def _number(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if 0 < abs(value) < 0.001 else f"{value:,.10g}"
