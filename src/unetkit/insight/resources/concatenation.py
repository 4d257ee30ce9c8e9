"""What concatenation adds to a net ("feature explosion"), and what 1x1 convolutions would save of it.

A decoder that concatenates reads the encoder's C channels beside its own C: its next convolution has twice the inputs,
so twice the weights and multiplications, and the joined map is a second copy of what the encoder still holds. A 1x1
convolution right after joining brings 2C back to C.

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
from ...plotting.matplotlib_style import ACCENT, WARM, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Concatenation", "Join", "Reader", "concatenation_share", "draw_joins", "reducing_net"]

_CATS = ("cat", "concat", "concatenate")


@dataclass(frozen=True)
class Join:
    """A concatenation that a skip enters.

    Attributes
    ----------
    layer : int
        Index in the graph.
    stage : Key
        That it belongs to.
    channels, skipped : int
        Of the joined map, and how many of them came by skips.
    memory_bytes : int
        Of the skipped channels in the joined map: a copy of what the encoder still holds.
    pixels : int
        Of the joined map.
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
        Of what it reads, and how many of them came by skips.
    parameters, macs : int
        Of its weights and multiplications, those due to the skipped channels.
    """

    layer: int
    channels: int
    skipped: int
    parameters: int
    macs: int


@dataclass(frozen=True)
class Concatenation:
    """What the concatenations of a net's skips add, for one image.

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
        """Due to skipped channels: what the net without these skips would not have."""
        return sum(reader.parameters for reader in self.readers)

    @property
    def macs(self) -> int:
        """Multiplications due to skipped channels."""
        return sum(reader.macs for reader in self.readers)

    @property
    def memory_bytes(self) -> int:
        """Of skipped channels in joined maps, all of them together."""
        return sum(join.memory_bytes for join in self.joins)

    @property
    def reduced_parameters(self) -> int:
        """Of the whole net, were every joined map brought back to its unskipped channels by a 1x1 convolution.

        From c channels of which s came by skips to c - s: c (c - s) weights and c - s biases are added, and what is due
        to skipped channels goes.
        """
        added = sum((join.channels + 1) * (join.channels - join.skipped) for join in self.joins)
        return self.cost.parameters - self.parameters + added

    @property
    def reduced_macs(self) -> int:
        """Of the whole net with these 1x1 convolutions."""
        added = sum(join.channels * (join.channels - join.skipped) * join.pixels for join in self.joins)
        return self.cost.macs - self.macs + added


def concatenation_share(graph: Graph, size: Sequence[int], *, itemsize: int = 4) -> Concatenation:
    """Count what concatenating skips adds to a net.

    Parameters
    ----------
    graph : Graph
        Of `graph.graph.read`.
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
    >>> found = concatenation_share(net.graph, (32, 32))
    >>> found.parameters == 8 * 8 * 9, [(join.channels, join.skipped) for join in found.joins]
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
    """Per concatenation that a skip enters: its stage, and the layers it reads that came by skips."""
    found: dict[int, tuple[NodeKey, tuple[int, ...]]] = {}
    for arrow in structure(graph).arrows:
        for reader, read in arrow.arrivals if arrow.kind == "skip" else ():
            if graph.layers[reader].function in _CATS:
                _, before = found.get(reader, (arrow.target, ()))
                found[reader] = (arrow.target, (*before, read))
    return found


def _skipped(layers: tuple[Layer, ...], arrivals: dict[int, tuple[NodeKey, tuple[int, ...]]]) -> list[int]:
    """Per layer, how many channels of its map are skipped ones; a convolution mixes them with the others."""
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
    """The same architecture with 1x1 convolutions after its concatenations, without weights; None where it has none.

    Parameters
    ----------
    net : Net
        Its numbers are exact then: nothing is assumed about where the 1x1 convolutions go.
    """
    if net.architecture.skip != "concat" or net.architecture.encoder is not None:
        return None
    with torch.device("meta"):
        return build(replace(net.architecture, skip="reduce"))


def draw_joins(found: Concatenation, graph: Graph) -> Figure:
    """Channels of every joined map: those that came up, and those that came by skips."""
    names, joins = structure(graph).name, found.joins
    figure, axes = new_figure(height=0.8 + 0.3 * len(joins))
    axis, at = axes[0, 0], np.arange(len(joins))
    own = np.array([join.channels - join.skipped for join in joins])
    axis.barh(at, own, 0.66, color=ACCENT, label="its own")
    axis.barh(at, [join.skipped for join in joins], 0.66, left=own, color=WARM, label="skipped")
    axis.set_yticks(at, [names(join.stage) for join in joins])
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("channels of the joined map")
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return figure
