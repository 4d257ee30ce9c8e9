"""What the pictures of this room have in common: one style, and SVG that stands in a page or a paper."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # matplotlib takes half a second to import
    from matplotlib.figure import Figure

__all__ = ["ACCENT", "COLOURS", "INK", "QUIET", "WARM", "new_figure", "show_image", "svg"]

INK, QUIET, LINE, ACCENT, WARM = "#22262b", "#68707a", "#e3e6e9", "#1f6f9c", "#c25400"
COLOURS = ("#1f6f9c", "#c25400", "#3a8c4d", "#8a4fa3", "#b58900", "#d1495b", "#5a6b7b", "#2aa198")

_STYLE = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.edgecolor": "#aab1b8",
    "axes.labelcolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",  # text stays text: it is searched, and set in the font of the page
    "svg.hashsalt": "unetkit",  # the same picture is the same file
}


def new_figure(rows: int = 1, columns: int = 1, *, width: float = 4.8, height: float = 3.0) -> tuple[Figure, Any]:
    """A figure and its axes.

    Parameters
    ----------
    rows, columns : int
    width, height : float
        Of the whole figure, in inches. 4.8 fills half of a page's width and the whole of a telephone's.

    Returns
    -------
    figure : matplotlib Figure
        Without a window: nothing global is touched, nothing needs to be closed.
    axes : ndarray of shape (rows, columns) of Axes
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, axes


def show_image(axis: Any, picture: np.ndarray, *, title: str = "", **options: Any) -> Any:
    """Show a picture (y, x) or (y, x, 3) without ticks, its pixels as they are; returns what `imshow` returns."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)
    if title:
        axis.set_title(title)
    return axis.imshow(picture, interpolation="nearest", **options)


def svg(figure: Figure, *, label: str = "") -> str:
    """The text of an SVG that takes the width of what it is put into.

    Parameters
    ----------
    figure : matplotlib Figure
    label : str
        What the picture shows, for those who cannot see it.
    """
    from html import escape

    from matplotlib import rc_context

    for legend in [*figure.legends, *(found for axis in figure.axes if (found := axis.get_legend()))]:
        legend.set_frame_on(False)  # those were made outside of the style
    file = io.StringIO()
    with rc_context(_STYLE):  # type: ignore[arg-type]
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, dpi=150, transparent=True)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    # Its size is that of the page's column; the viewBox keeps the proportions. Ids of several figures must differ, and
    # equal images in one (two silent channels) have one id, which nothing refers to.
    text = re.sub(r' id="image\w+"', "", text)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    prefix = f"f{abs(hash_of(text)) % 10**8}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'(xlink:href|href)="#', rf'\1="#{prefix}', text).replace("url(#", f"url(#{prefix}")
    text = re.sub(r"font: ([^;\"]*?)'[^;\"]*?sans-serif", r"font: \1sans-serif", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def hash_of(text: str) -> int:
    """A number for a text, the same in every run."""
    from zlib import crc32

    return crc32(text.encode())
