"""The cost of concatenating skips ("feature explosion"), and the saving by 1x1 convolutions.

A decoder that concatenates reads the encoder's C channels and C of its own: its next convolution has twice the inputs,
so twice the weights and multiplications, and the concatenated map is a second copy of what the encoder still holds. A
1x1 convolution right after the concatenation reduces 2C to C.

The count is exact: every input channel of a convolution has the same number of weights, so the skipped channels' share
of its inputs is their share of its weights and of its multiplications.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...graph.cost import Cost, cost
from ...graph.graph import Graph, Layer
from ...graph.stages import NodeKey, structure
from ...nets.build import build
from ...nets.net import Net
from ...plotting.matplotlib_style import new_figure
from ...plotting.palette import ACCENT, WARM

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Concatenation", "Join", "Reader", "concatenation_share", "draw_concatenation", "reducing_net"]

_CATS = ("cat", "concat", "concatenate")


@dataclass(frozen=True)
class Join:
    """A concatenation with a skip among its inputs.

    Attributes
    ----------
    layer : int
        Index in the graph.
    stage : NodeKey
        The stage that it belongs to.
    channels, skipped : int
        Of the concatenated map, and how many of them come from skips.
    memory_bytes : int
        Of the skipped channels in the concatenated map, a copy of what the encoder still holds.
    pixels : int
        Of the concatenated map.
    """

    layer: int
    stage: NodeKey
    channels: int
    skipped: int
    memory_bytes: int
    pixels: int


@dataclass(frozen=True)
class Reader:
    """A layer with weights that reads skipped channels: a convolution, or a norm before it.

    Attributes
    ----------
    layer : int
        Index in the graph.
    channels, skipped : int
        Of the map that it reads, and how many of them come from skips.
    parameters, macs : int
        Weights and multiplications due to the skipped channels.
    """

    layer: int
    channels: int
    skipped: int
    parameters: int
    macs: int


@dataclass(frozen=True)
class Concatenation:
    """The cost of the concatenations of a net's skips, for one image.

    Attributes
    ----------
    joins : tuple of Join
    readers : tuple of Reader
    cost : Cost
        Of the whole net.
    """

    joins: tuple[Join, ...]
    readers: tuple[Reader, ...]
    cost: Cost

    @property
    def parameters(self) -> int:
        """Parameters due to skipped channels, which the net without these skips would not have."""
        return sum(reader.parameters for reader in self.readers)

    @property
    def macs(self) -> int:
        """Multiplications due to skipped channels."""
        return sum(reader.macs for reader in self.readers)

    @property
    def memory_bytes(self) -> int:
        """Of the skipped channels in all concatenated maps together."""
        return sum(join.memory_bytes for join in self.joins)

    @property
    def reduced_parameters(self) -> int:
        """Parameters of the net if a 1x1 convolution reduced every concatenated map to its unskipped channels.

        For c channels, s of them from skips, c (c - s) weights and c - s biases are added, and those due to skipped
        channels are removed.
        """
        added = sum((join.channels + 1) * (join.channels - join.skipped) for join in self.joins)
        return self.cost.parameters - self.parameters + added

    @property
    def reduced_macs(self) -> int:
        """Multiplications of the net with these 1x1 convolutions."""
        added = sum(join.channels * (join.channels - join.skipped) * join.pixels for join in self.joins)
        return self.cost.macs - self.macs + added


def concatenation_share(graph: Graph, size: Sequence[int], *, itemsize: int = 4) -> Concatenation:
    """Count the cost of concatenating skips.

    Parameters
    ----------
    graph : Graph
        Of `graph.read.read`.
    size : sequence of int
        Input size in pixels per axis, one that fits the net.
    itemsize : int
        Bytes per number: 4 for float32.

    Raises
    ------
    ValueError
        If the size does not fit the net.

    Examples
    --------
    >>> import torch
    >>> from unetkit.nets.architecture import Architecture
    >>> from unetkit.nets.build import build
    >>> with torch.device("meta"):
    ...     net = build(Architecture(widths=(8, 16), norm="none"))
    >>> skips = concatenation_share(net.graph, (32, 32))
    >>> skips.parameters == 8 * 8 * 9, [(join.channels, join.skipped) for join in skips.joins]
    (True, [(16, 8)])
    """
    counted = cost(graph, size, itemsize=itemsize)
    arrivals = _arrivals(graph)
    skipped = _skipped(graph.layers, arrivals)
    joins, readers = [], []
    for i, layer in enumerate(graph.layers):
        if i in arrivals:
            fresh = sum(graph.layers[j].channels for j in arrivals[i][1])
            pixels = prod(counted.layers[i].size)
            joins.append(Join(i, arrivals[i][0], layer.channels, fresh, fresh * pixels * itemsize, pixels))
        elif layer.parameters and (s := skipped[layer.inputs[0]]):
            c = graph.layers[layer.inputs[0]].channels
            weights = prod(layer.weights) if "convolution" in layer.kind else layer.parameters  # without the bias
            readers.append(Reader(i, c, s, weights * s // c, counted.layers[i].macs * s // c))
    return Concatenation(tuple(joins), tuple(readers), counted)


def _arrivals(graph: Graph) -> dict[int, tuple[NodeKey, tuple[int, ...]]]:
    """The stage of each concatenation with a skip, and the layers that it reads by skips."""
    arrivals: dict[int, tuple[NodeKey, tuple[int, ...]]] = {}
    for arrow in structure(graph).arrows:
        for reader, read in arrow.arrivals if arrow.kind == "skip" else ():
            if graph.layers[reader].function in _CATS:
                _, before = arrivals.get(reader, (arrow.target, ()))
                arrivals[reader] = (arrow.target, (*before, read))
    return arrivals


def _skipped(layers: tuple[Layer, ...], arrivals: dict[int, tuple[NodeKey, tuple[int, ...]]]) -> list[int]:
    """Number of skipped channels in the map of each layer; a convolution mixes them with the others."""
    skipped: list[int] = []
    for i, layer in enumerate(layers):
        came = arrivals[i][1] if i in arrivals else ()
        before = [layers[j].channels if j in came else skipped[j] for j in layer.inputs]
        if layer.function in _CATS:
            skipped.append(sum(before))
        elif layer.kind in ("join", "convolution", "transposed convolution") or not layer.inputs:
            is_depthwise = layer.kind == "convolution" and layer.weights[:2] == (layer.channels, 1)
            skipped.append(before[0] if is_depthwise and layers[layer.inputs[0]].channels == layer.channels else 0)
        else:
            skipped.append(before[0] if layers[layer.inputs[0]].channels == layer.channels else 0)
    return skipped


def reducing_net(net: Net) -> Net | None:
    """Build the same architecture with 1x1 convolutions after its concatenations, without weights.

    None for a net that does not concatenate, or has a pretrained encoder.
    """
    if net.architecture.skip != "concat" or net.architecture.encoder is not None:
        return None
    with torch.device("meta"):
        return build(replace(net.architecture, skip="reduce"))


def draw_concatenation(skips: Concatenation, graph: Graph) -> Figure:
    """Draw the channels of every concatenated map: the decoder's own, and those from skips."""
    name, joins = structure(graph).name, skips.joins
    figure, axes = new_figure(height=0.8 + 0.3 * len(joins))
    axis, at = axes[0, 0], np.arange(len(joins))
    own = np.array([join.channels - join.skipped for join in joins])
    axis.barh(at, own, 0.66, color=ACCENT, label="its own")
    axis.barh(at, [join.skipped for join in joins], 0.66, left=own, color=WARM, label="skipped")
    axis.set_yticks(at, [name(join.stage) for join in joins])
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("channels of the concatenated map")
    figure.legend(loc="outside upper right", ncols=2)
    return figure
