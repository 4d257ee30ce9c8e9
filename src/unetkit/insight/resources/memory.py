"""Picture of the memory that a run takes, layer by layer; the numbers are those of `graph.memory`."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from ...graph.graph import Graph
from ...graph.memory import PeakMemory
from ...graph.stages import structure
from ...plotting.matplotlib_style import new_figure
from ...plotting.palette import ACCENT, PAPER, QUIET, WARM

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_memory"]

_LABEL = 0.032  # height of a line of text, as a share of the picture's width


def draw_memory(peak: PeakMemory, graph: Graph, *, measured: int | None = None) -> Figure:
    """Draw the memory over the layers of a run, in order of computation, with the stages that they belong to.

    Parameters
    ----------
    peak : PeakMemory
    graph : Graph
        Of the same net.
    measured : int, optional
        A dashed line at the measured peak, in bytes.
    """
    figure, axes = new_figure(height=3.2)
    axis, scale = axes[0, 0], 2.0**20
    values = [n / scale for n in peak.layers_bytes]
    axis.bar(range(len(values)), values, width=1.0, color=ACCENT)
    if peak.layer is not None:
        axis.bar([peak.layer], [values[peak.layer]], width=1.0, color=WARM, label="peak")
    if measured is not None:
        axis.axhline(measured / scale, color=QUIET, linewidth=1, linestyle="--", label="measured peak")
    net = structure(graph)
    named = {i: net.name(stage.key) for stage in net.stages for i in stage.layers}
    names = [named.get(0, net.name(net.stages[0].key))]
    for i in range(1, len(values)):  # a layer of no stage counts to the stage before
        names.append(named.get(i, names[-1]))
    middles = []
    for name, group in groupby(range(len(values)), key=names.__getitem__):
        run = list(group)
        if len(run) >= _LABEL * len(values):  # else there is no space for the name, such as of a single head
            middles.append(((run[0] + run[-1]) / 2, name))
            axis.axvline(run[-1] + 0.5, color=PAPER, linewidth=1.2)
    axis.set_xticks([at for at, _ in middles], [name for _, name in middles], rotation=90, fontsize=8)
    axis.tick_params(axis="x", length=0)
    axis.set_xlim(-0.5, len(values) - 0.5)
    axis.set_ylim(0, 1.12 * max([*values, (measured or 0) / scale]))
    axis.grid(axis="x", visible=False)
    axis.set_ylabel("MB")
    if peak.layer is not None or measured is not None:
        figure.legend(loc="outside upper right", ncols=2)
    return figure
