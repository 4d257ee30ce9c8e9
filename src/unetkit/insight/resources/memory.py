"""Picture of the memory that a run takes, layer by layer; the numbers are those of `graph.memory`."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from ...graph.graph import Graph
from ...graph.memory import PeakMemory
from ...graph.stages import structure
from ...plotting.matplotlib_style import ACCENT, QUIET, WARM, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_memory"]

_LABEL = 0.032  # height of a line of text, as a share of the picture's width


def draw_memory(found: PeakMemory, graph: Graph, *, measured: int | None = None) -> Figure:
    """Memory over the layers of a run, in order of computation, with the stages that they belong to.

    Parameters
    ----------
    found : PeakMemory
    graph : Graph
        Of the same net.
    measured : int, optional
        A dashed line at what was measured, in bytes.
    """
    figure, axes = new_figure(height=3.2)
    axis, scale = axes[0, 0], 2.0**20
    values = [n / scale for n in found.layers_bytes]
    axis.bar(range(len(values)), values, width=1.0, color=ACCENT)
    if found.layer is not None:
        axis.bar([found.layer], [values[found.layer]], width=1.0, color=WARM, label="peak")
    if measured is not None:
        axis.axhline(measured / scale, color=QUIET, linewidth=1, linestyle="--", label="measured peak")
    names = _stage_names(graph)
    middles = []
    for name, group in groupby(range(len(values)), key=names.__getitem__):
        run = list(group)
        if len(run) >= _LABEL * len(values):  # there is no room for the name of a single head
            middles.append(((run[0] + run[-1]) / 2, name))
            axis.axvline(run[-1] + 0.5, color="white", linewidth=1.2)
    axis.set_xticks([at for at, _ in middles], [name for _, name in middles], rotation=90, fontsize=8)
    axis.tick_params(axis="x", length=0)
    axis.set_xlim(-0.5, len(values) - 0.5)
    axis.set_ylim(0, 1.12 * max([*values, (measured or 0) / scale]))
    axis.grid(axis="x", visible=False)
    axis.set_ylabel("MB")
    if found.layer is not None or measured is not None:
        figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return figure


def _stage_names(graph: Graph) -> list[str]:
    """Of every layer the stage's name; what belongs to none is put to the layer before."""
    found = structure(graph)
    names = {i: found.name(stage.key) for stage in found.stages for i in stage.layers}
    listed: list[str] = []
    for i in range(len(graph.layers)):
        listed.append(names.get(i, listed[-1] if listed else found.name(found.stages[0].key)))
    return listed
