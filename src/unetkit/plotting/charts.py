"""The charts of a report as SVG by hand: small, sharp at any size, in the fonts of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import ceil, floor, isfinite, log10

import numpy as np

from .html import Html

__all__ = ["Axis", "Series", "curves", "distribution", "sizes_and_fields"]

INK, QUIET, LINE, ACCENT = "#22262b", "#68707a", "#e3e6e9", "#1f6f9c"
_EDGE, _FIELD = "#aab1b8", "#c25400"
_WIDTH, _HEIGHT = 400, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 10, 40
_DOT, _ROW = 9, 22  # a stacked dot, a row of receptive fields
_MOST_STACKED = 12  # dots on each other; more are drawn as bars

Point = tuple[float, float]


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
    """A range of values and what they are; `low` < `high`, above 0 where it is logarithmic."""

    low: float
    high: float
    label: str
    is_log: bool = False

    def at(self, value: float) -> float:
        """Position of a value, 0 at the low end to 1 at the high end."""
        if self.is_log:
            return (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values within the range, about five."""
        if self.is_log:
            decades = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
            found = [m * 10.0**e for e in decades for m in (1, 2, 5)]
            return [value for value in found if self.low <= value <= self.high]
        span = self.high - self.low
        rough = 10.0 ** floor(log10(span / 4))
        step = next(m * rough for m in (1, 2, 5, 10) if span / (m * rough) <= 5.5)
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def curves(series: Sequence[Series], x: Axis, y: Axis, *, level: tuple[float, str] | None = None) -> Html:
    """Lines over one another.

    Parameters
    ----------
    series : sequence of Series
    x, y : Axis
    level : (value, name), optional
        A dashed line across the chart.
    """
    parts = [_frame(x, y)]
    for one in series:
        points = [(_x(x, a), _y(y, b)) for a, b in one.points if isfinite(a) and isfinite(b)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        style = f'stroke="{one.colour}" stroke-width="{one.width}" stroke-opacity="{one.opacity}"'
        parts.append(f'<polyline points="{path}" fill="none" stroke-linejoin="round" {style}/>')
        if one.has_dots:
            parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.4" fill="{one.colour}"/>' for a, b in points]
    if level:
        at = _y(y, level[0])
        parts.append(_line((_LEFT, at), (_WIDTH - _RIGHT, at), colour=INK, dash=True))
        below = at + 13 if at - _TOP < 16 else at - 5
        parts.append(_text((_WIDTH - _RIGHT, below), level[1], anchor="end", colour=INK, halo=True))
    return _svg(parts, _HEIGHT, f"{y.label} over {x.label}")


def distribution(values: Sequence[float], x: Axis) -> Html:
    """How values are spread: one dot each, or bars where there are many; a dashed line at the median."""
    finite = np.asarray([value for value in values if isfinite(value)])
    counts, edges = np.histogram(finite, bins=40, range=(x.low, x.high))
    tallest, height = int(counts.max(initial=1)), _HEIGHT
    if tallest > _MOST_STACKED:
        counts, edges = np.histogram(finite, bins=20, range=(x.low, x.high))
        y = Axis(0, float(counts.max()) * 1.08, "images")
        parts = [_frame(x, y), _bars(x, y, counts=counts, edges=edges)]
    else:
        height = _TOP + _BOTTOM + max(30, _DOT * (tallest + 2))
        parts = [_frame(x, None, floor_y=height - _BOTTOM), _dots(x, height - _BOTTOM, counts=counts, edges=edges)]
    middle = _x(x, float(np.median(finite)) if len(finite) else x.low)
    parts.append(_line((middle, _TOP), (middle, height - _BOTTOM), colour=INK, dash=True))
    parts.append(_beside((middle, _TOP + 9), "median"))
    return _svg(parts, height, f"distribution of {x.label}")


def sizes_and_fields(diameters: Sequence[float], fields: Sequence[tuple[str, int, int]], *, typical: float) -> Html:
    """Object diameters above the receptive fields of a net, over one axis of pixels.

    Parameters
    ----------
    diameters : sequence of float
        Pixels, above 0; at least one.
    fields : sequence of (name, smallest, largest)
        Receptive fields in pixels, one row each.
    typical : float
        Diameter of the dashed line.
    """
    every = [*diameters, *(size for _, *ends in fields for size in ends)]
    x = Axis(min(every) / 1.25, max(every) * 1.6, "pixels (logarithmic)", is_log=True)
    middle, height = 120, 120 + _ROW * len(fields) + 8 + _BOTTOM
    counts, edges = np.histogram(diameters, bins=np.geomspace(x.low, x.high, 37))
    y = Axis(0, float(counts.max()) * 1.15, "objects")
    at = _x(x, typical)
    parts = [
        _frame(x, None, floor_y=height - _BOTTOM),
        _line((_LEFT, middle), (_WIDTH - _RIGHT, middle), colour=_EDGE),
        _text((_LEFT - 18, (_TOP + middle) / 2), "objects", turn=True),
        _text((_LEFT - 18, (middle + height - _BOTTOM) / 2), "net sees", turn=True),
        _bars(x, y, counts=counts, edges=edges, floor_y=middle),
        _line((at, _TOP), (at, height - _BOTTOM), colour=INK, dash=True),
        _beside((at, _TOP + 9), "typical object"),
        *(_field_row(x, middle + 20 + _ROW * i, field) for i, field in enumerate(fields)),
    ]
    return _svg(parts, height, "object diameters and receptive fields")


# --- pieces ---


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.at(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float, *, floor_y: float = _HEIGHT - _BOTTOM) -> float:
    return floor_y - axis.at(value) * (floor_y - _TOP)


def _frame(x: Axis, y: Axis | None, *, floor_y: float = _HEIGHT - _BOTTOM) -> str:
    """Axes with their ticks and names; without `y` only the lower one."""
    parts = []
    if y:
        for value in y.ticks():
            at = _y(y, value)
            parts.append(_line((_LEFT, at), (_WIDTH - _RIGHT, at), colour=LINE))
            parts.append(_text((_LEFT - 6, at + 4), _number(value), anchor="end"))
        parts.append(_text((12, (_TOP + floor_y) / 2), y.label, turn=True))
    for value in x.ticks():
        at = _x(x, value)
        parts.append(_line((at, floor_y), (at, floor_y + 4), colour=_EDGE))
        parts.append(_text((at, floor_y + 16), _number(value)))
    parts.append(_line((_LEFT, floor_y), (_WIDTH - _RIGHT, floor_y), colour=_EDGE))
    parts.append(_text(((_LEFT + _WIDTH - _RIGHT) / 2, floor_y + _BOTTOM - 6), x.label))
    return "".join(parts)


def _bars(x: Axis, y: Axis, *, counts: np.ndarray, edges: np.ndarray, floor_y: float = _HEIGHT - _BOTTOM) -> str:
    parts = []
    for (low, high), n in zip(pairwise(edges.tolist()), counts.tolist(), strict=True):
        left, right, top = _x(x, low), _x(x, high), _y(y, n, floor_y=floor_y)
        size = f'width="{max(right - left - 1, 1):.1f}" height="{floor_y - top:.1f}"'
        if n:
            parts.append(f'<rect x="{left + 0.5:.1f}" y="{top:.1f}" {size} fill="{ACCENT}" fill-opacity="0.75"/>')
    return "".join(parts)


def _dots(x: Axis, floor_y: float, *, counts: np.ndarray, edges: np.ndarray) -> str:
    """Dots stacked in their bins."""
    places = [
        (_x(x, (low + high) / 2), floor_y - 6 - _DOT * i)
        for (low, high), n in zip(pairwise(edges.tolist()), counts.tolist(), strict=True)
        for i in range(n)
    ]
    return "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{ACCENT}"/>' for a, b in places)


def _field_row(x: Axis, row: float, field: tuple[str, int, int]) -> str:
    """A receptive field as a mark from its smallest to its largest size, with its name and number."""
    name, smallest, largest = field
    left, right = _x(x, smallest), _x(x, largest)
    place = f'x="{left - 4:.1f}" y="{row - 4:.1f}" width="{right - left + 8:.1f}" height="8" rx="4"'
    size = f"{largest}" if smallest == largest else f"{smallest} to {largest}"
    words = _beside((right, row + 4), f"{name}: {size} px", gap=9, left=left)
    return _line((_LEFT, row), (left, row), colour=LINE) + f'<rect {place} fill="{_FIELD}"/>' + words


def _beside(at: Point, words: str, *, gap: float = 5, left: float | None = None) -> str:
    """Words to the right of a place, or to its left (of `left`) where the right has no room."""
    x, y = at
    if x + gap + 6.6 * len(words) <= _WIDTH:
        return _text((x + gap, y), words, anchor="start", colour=INK, halo=True)
    return _text(((x if left is None else left) - gap, y), words, anchor="end", colour=INK, halo=True)


def _line(start: Point, end: Point, *, colour: str, dash: bool = False) -> str:
    (x1, y1), (x2, y2) = start, end
    style = ' stroke-dasharray="4 3"' if dash else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{style}/>'


def _text(
    at: Point, words: str, *, anchor: str = "middle", colour: str = QUIET, halo: bool = False, turn: bool = False
) -> str:
    x, y = at
    style = ' stroke="#fff" stroke-width="3.5" stroke-linejoin="round" paint-order="stroke"' if halo else ""
    turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="12.5" fill="{colour}"{style}{turned}>{escape(words)}</text>'


def _number(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if 0 < abs(value) < 0.001 else f"{value:,.10g}"


def _svg(parts: Sequence[str], height: int, title: str) -> Html:
    return Html(
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}" '
        f'font-family="inherit">{"".join(parts)}</svg>'
    )
