"""How much memory a run takes: predicted from the net without data, and measured."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.autograd.profiler import profile

from ...graph.allocation import BACKWARD, laid_out_as, trace_allocations
from ...graph.graph import Graph, read
from ...graph.stages import structure
from ...graph.trace import Body
from ...plotting.matplotlib_style import ACCENT, QUIET, WARM, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PeakMemory", "draw_memory", "measured_bytes", "peak_memory"]

_MOMENTS = 2  # AdamW keeps two numbers per parameter
_LABEL = 0.032  # height of a line of text, as a share of the picture's width


@dataclass(frozen=True)
class PeakMemory:
    """The most memory that a run takes at one time, in bytes of float32.

    Attributes
    ----------
    size : tuple of int
        Of the image, in pixels.
    maps_bytes, workspace_bytes : int
        At the peak: tensors that the net holds, the image with them, and (in training) gradients; and what the
        convolution that runs then takes for itself (`graph.workspace`).
    at : str
        Name of the layer that runs at the peak, or "backward pass".
    layer : int or None
        Its index in the graph; None in the backward pass.
    layers_bytes : tuple of int
        The most that is taken while each layer of the graph runs; the first entry is the image alone.
    weights_bytes : int
        Of parameters and buffers, which are there before.
    optimiser_bytes : int
        Of AdamW's moments, 0 without training.
    """

    size: tuple[int, ...]
    maps_bytes: int
    workspace_bytes: int
    at: str
    layer: int | None
    layers_bytes: tuple[int, ...]
    weights_bytes: int
    optimiser_bytes: int = 0

    @property
    def peak_bytes(self) -> int:
        """What the run adds to the weights: maps and workspace."""
        return self.maps_bytes + self.workspace_bytes

    @property
    def total_bytes(self) -> int:
        """With weights and the optimiser's state."""
        return self.peak_bytes + self.weights_bytes + self.optimiser_bytes


@torch.inference_mode(False)  # in which torch shows other operations, and not what they allocate
def peak_memory(
    net: nn.Module, size: Sequence[int], *, graph: Graph | None = None, is_training: bool = False
) -> PeakMemory:
    """Predict the peak memory of one image through a net, in float32 on a CPU, without computing anything.

    Parameters
    ----------
    net : Module
        As it will run: `inference.prepare` saves maps. Its weights are not touched, and may be on the meta device.
    size : sequence of int
        Of the image in pixels per axis, one that fits.
    graph : Graph, optional
        Of `graph.graph.read` for this net as it is now, if it is at hand.
    is_training : bool
        Forward and backward pass with gradients of all parameters, and AdamW's state. What the loss computes between
        the two comes on top: a few maps of as many channels as the net's output.

    Returns
    -------
    PeakMemory

    Raises
    ------
    ValueError
        If the net cannot be read, or the size does not fit.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.ReLU())
    >>> found = peak_memory(net, (64, 64))
    >>> found.at, found.maps_bytes == (1 + 4 + 4) * 64 * 64 * 4  # the image, what is read and what is written
    ('1', True)
    """
    graph, size = read(net) if graph is None else graph, tuple(size)
    graph.geometry.output_size(size)
    x = laid_out_as(net, torch.empty(1, graph.layers[0].channels, *size, device="meta"))
    counter = trace_allocations(net, x, is_training=is_training)
    call = max(counter.highest, key=lambda c: sum(counter.highest[c]))
    at = None if call == BACKWARD else max(i for i, layer in enumerate(graph.layers) if layer.call <= call)
    maps, work = counter.highest[call]
    learned = sum(_bytes(t) for t in net.parameters())
    return PeakMemory(
        size,
        maps,
        work,
        "backward pass" if at is None else graph.layers[at].name,
        at,
        tuple(sum(counter.highest.get(layer.call, (0, 0))) for layer in graph.layers),
        sum(_bytes(t) for t in chain(net.parameters(), net.buffers())),
        _MOMENTS * learned if is_training else 0,
    )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * (4 if tensor.is_floating_point() else tensor.element_size())


@torch.inference_mode()
def measured_bytes(net: nn.Module, image: Tensor) -> int:
    """Measure the peak memory of one image through a net: what torch's allocator gave out, and the image itself.

    Parameters
    ----------
    net : Module
        In evaluation mode, on the CPU.
    image : Tensor of shape (N, C, *spatial)
        Of a size that fits.

    Returns
    -------
    int
        Bytes; to be held against `PeakMemory.peak_bytes`.
    """
    body = Body(net)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes lines of its own to stderr
    with profile(profile_memory=True) as recorded:
        body(image)
    events = recorded.kineto_results.events() if recorded.kineto_results else []
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    taken = peak = 0
    for _, change in changes:
        taken += change
        peak = max(peak, taken)
    return peak + image.numel() * image.element_size()


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
