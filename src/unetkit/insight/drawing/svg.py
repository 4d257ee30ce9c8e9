"""Elements of a drawing: texts, arrows, bars and signs as SVG, and their colours."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from ...plotting.palette import INK, QUIET

__all__ = ["COLOURS", "FAINT", "FILLS", "FONT", "INK", "PARTS", "alpha", "line", "path", "plus", "rectangle", "text"]

FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
FAINT = QUIET
# Colours of arrows by their meaning; their place tells them apart as well, for print and for colour-blind readers.
COLOURS = {
    "convolution": "#2f5f9e",
    "pool": "#c0392b",
    "strided": "#b03a78",
    "up": "#2c8a4b",
    "skip": "#8d949e",
    "head": "#0f8b8d",
    "add": "#c77d0a",
    "cat": "#8d949e",
    "gate": "#7a4a9e",
}
FILLS = {"convolution": "#4a7fc1", "pooled": "#c3d5ec", "input": "#e6e8eb", "head": "#2fa5a7", "joined": "#ffffff"}
PARTS = {"skip": "#ffffff", "up": "#c5e3cf"}


def text(x: float, y: float, words: str, *, size: float = 10, anchor: str = "middle", colour: str = INK) -> str:
    """Words on a baseline at height `y`; `anchor` is "start", "middle" or "end"."""
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text {place} fill="{colour}">{escape(words)}</text>'


def path(d: str, kind: str, *, width: float = 1.6, small: bool = False) -> str:
    """An arrow of a kind in `COLOURS` along SVG path data, with a tip, or a small one."""
    tip = f"url(#{'dot' if small else 'tip'}-{kind})"
    stroke = f'stroke="{COLOURS[kind]}" stroke-width="{width}"'
    return f'<path class="{kind}" d="{d}" fill="none" {stroke} marker-end="{tip}"/>'


def line(x0: float, y0: float, x1: float, y1: float, kind: str, *, width: float = 1.6) -> str:
    """A straight arrow."""
    return path(f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}", kind, width=width)


def alpha(x: float, y: float, radius: float) -> Iterator[str]:
    """The sign of an attention gate."""
    colour = COLOURS["gate"]
    yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="#ffffff" stroke="{colour}" stroke-width="1.4"/>'
    yield text(x, y + radius * 0.42, "α", size=round(radius * 1.35, 1), colour=colour)


def plus(x: float, y: float) -> Iterator[str]:
    """The sign of an addition."""
    colour = COLOURS["add"]
    yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="#ffffff" stroke="{colour}" stroke-width="1.3"/>'
    yield f'<path d="M{x - 3:.1f} {y:.1f}h6m-3 -3v6" stroke="{colour}" stroke-width="1.3"/>'


def rectangle(x: float, y: float, width: float, height: float, fill: str) -> str:
    """A bar, or a part of one; `x` and `y` are its upper left corner."""
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="bar" {place} fill="{fill}" stroke="#34495e" stroke-width="0.8"/>'
