"""The style of all matplotlib figures, and their SVG for a page or a paper."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from .html import Html
from .palette import EDGE, INK, LINE, QUIET

if TYPE_CHECKING:  # matplotlib takes half a second to import
    from matplotlib.figure import Figure

__all__ = ["Picture", "image_grid", "middle_plane", "new_figure", "set_log_ticks", "show_image", "svg"]

Picture = tuple[str, np.ndarray, Mapping[str, object]]  # title, pixels, options of `imshow`

_LEGEND_SIZE = 8
_STYLE = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.edgecolor": EDGE,
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
    "legend.fontsize": _LEGEND_SIZE,
    "svg.fonttype": "none",  # text stays text: it can be searched, and is set in the font of the page
    "svg.hashsalt": "unetkit",  # the same picture is the same file
}


@contextmanager
def _style() -> Iterator[None]:
    from matplotlib import rc_context

    with rc_context(_STYLE):  # type: ignore[arg-type]
        yield


def new_figure(rows: int = 1, columns: int = 1, *, width: float = 4.8, height: float = 3.0) -> tuple[Figure, Any]:
    """Make a figure and its axes.

    Parameters
    ----------
    rows, columns : int
    width, height : float
        Of the whole figure, in inches. 4.8 fills half of a page's width and the whole of a telephone's.

    Returns
    -------
    figure : matplotlib Figure
        Without a window: nothing global is changed, nothing needs to be closed.
    axes : ndarray of shape (rows, columns) of Axes
    """
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, axes


def image_grid(
    pictures: Sequence[Picture], *, columns: int, row_height: float, extra: float = 0.0
) -> tuple[Figure, Any, Any]:
    """Show pictures with their titles side by side, row after row.

    Parameters
    ----------
    pictures : sequence of Picture
    columns : int
    row_height, extra : float
        Height of each row, and additional height of the figure, in inches.

    Returns
    -------
    figure : matplotlib Figure
    axes : ndarray of Axes
    last : AxesImage
        What `imshow` returned for the last picture, for a colour bar.
    """
    rows = -(-len(pictures) // columns)
    figure, axes = new_figure(rows, columns, height=row_height * rows + extra)
    for axis in axes.flat[len(pictures) :]:
        axis.set_visible(False)
    last = None
    for axis, (title, picture, options) in zip(axes.flat, pictures, strict=False):
        last = show_image(axis, picture, title=title, **options)
        axis.title.set_fontsize(7.5)
    return figure, axes, last


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


def middle_plane(array: np.ndarray) -> np.ndarray:
    """A plane (y, x) of an array (*spatial): itself in 2D, the middle one of a volume."""
    return array if array.ndim == 2 else array[array.shape[0] // 2]


def set_log_ticks(axis: Any, values: Sequence[float]) -> None:
    """Make a matplotlib axis logarithmic, around the values above 0, with at most four round numbers.

    Parameters
    ----------
    axis : matplotlib Axis
        `axes.xaxis` or `axes.yaxis`.
    values : sequence of float
        At least one of them above 0 and finite.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    positive = [v for v in values if 0 < v < math.inf]
    low, high = math.log10(min(positive)), math.log10(max(positive))
    pad = max(0.08 * (high - low), 0.15)
    low, high = low - pad, high + pad
    decades = range(math.floor(low), math.ceil(high) + 1)
    for steps in ((1,), (1, 2, 5), range(1, 10)):
        ticks = [m * 10.0**e for e in decades for m in steps if low <= math.log10(m * 10.0**e) <= high]
        if len(ticks) > 1:
            break
    ticks = ticks[:: -(-len(ticks) // 4) or 1]
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (10.0**low, 10.0**high)})
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("e-0", "e-")))
    axis.set_minor_locator(NullLocator())


def svg(figure: Figure, *, label: str) -> Html:
    """Write a figure as an SVG that takes the width of the element around it.

    Parameters
    ----------
    figure : matplotlib Figure
    label : str
        What the picture shows, for those who cannot see it.
    """
    for legend in filter(None, [*figure.legends, *(axis.get_legend() for axis in figure.axes)]):
        legend.set_frame_on(False)  # legends are made outside of the style
        for name in legend.get_texts():
            name.set_fontsize(_LEGEND_SIZE)
    file = io.StringIO()
    with _style():
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, dpi=150, transparent=True)
    markup = file.getvalue()
    text = markup[markup.index("<svg") :]
    # The page's column gives its size, the viewBox its proportions. Ids of several figures must differ, and equal
    # images in one (two silent channels) have one id, to which nothing refers.
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r' id="image\w+"', "", text)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    prefix = f"f{crc32(text.encode()) % 10**8}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'(xlink:href|href)="#', rf'\1="#{prefix}', text).replace("url(#", f"url(#{prefix}")
    text = re.sub(r"font: ([^;\"]*?)'[^;\"]*?sans-serif", r"font: \1sans-serif", text)
    return Html(text.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1))
