"""Cost of a net at a given input size: parameters, multiplications, memory; counted on its graph, nothing is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from .graph import Graph

__all__ = ["Cost", "LayerCost", "cost", "map_sizes"]


@dataclass(frozen=True)
class LayerCost:
    """Cost of one layer.

    Attributes
    ----------
    name, kind : str
        As in `graph.graph.Layer`.
    channels : int
    size : tuple of int
        Of its map, in pixels per axis.
    parameters : int
        Learned numbers; those shared with an earlier layer count there.
    macs : int
        Multiplications (each with its addition) of one forward pass. Convolutions only: norms, activations and
        interpolation take a few operations per pixel and channel, where a 3x3 convolution of 64 channels takes 576.
    memory_bytes : int
        Of its map.
    """

    name: str
    kind: str
    channels: int
    size: tuple[int, ...]
    parameters: int
    macs: int
    memory_bytes: int


@dataclass(frozen=True)
class Cost:
    """Cost of one image of a given size.

    Attributes
    ----------
    layers : tuple of LayerCost
        In order of computation; the first is the input.
    peak_bytes : int
        Of the maps that layers still to come need, the most at one time. A run takes more, which
        `graph.memory` predicts: Python holds on to arguments and lists, and convolutions make copies.
    """

    layers: tuple[LayerCost, ...]
    peak_bytes: int

    @property
    def parameters(self) -> int:
        """Learned numbers that the output depends on."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiplications of one forward pass."""
        return sum(layer.macs for layer in self.layers)

    @property
    def memory_bytes(self) -> int:
        """All maps together, as a training step keeps them for its gradients (activations in place save some)."""
        return sum(layer.memory_bytes for layer in self.layers)


def cost(graph: Graph, size: Sequence[int], *, itemsize: int = 4) -> Cost:
    """Count the cost of one image.

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
        If the size does not fit the net; the nearest sizes are named.

    Examples
    --------
    >>> from torch import nn
    >>> from unetkit.graph.read import read
    >>> of_net = cost(read(nn.Conv2d(3, 8, 3, padding=1)), (32, 32))
    >>> of_net.parameters, of_net.macs == 3 * 8 * 9 * 32 * 32
    (224, True)
    """
    sizes = [x.fixed_size or n for x, n in zip(graph.layers, map_sizes(graph, size), strict=True)]
    layers = tuple(
        LayerCost(
            layer.name,
            layer.kind,
            layer.channels,
            sizes[i],
            layer.parameters,
            _macs(graph, i, sizes),
            layer.channels * prod(sizes[i]) * itemsize,
        )
        for i, layer in enumerate(graph.layers)
    )
    return Cost(layers, graph.activation_bytes(tuple(size), itemsize=itemsize))


def map_sizes(graph: Graph, size: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Size of every layer's map for an input of `size`; a ValueError names the nearest sizes if it does not fit."""
    axes = graph.geometry.axes
    if len(size) != len(axes):
        raise ValueError(f"size is {tuple(size)}; expected {len(axes)} numbers for a {len(axes)}D net")
    graph.geometry.output_size(size)
    return tuple(zip(*(axis.sizes(n) or () for axis, n in zip(axes, size, strict=True)), strict=True))


def _macs(graph: Graph, i: int, sizes: Sequence[tuple[int, ...]]) -> int:
    """A convolution takes each weight once per output position, a transposed one once per input position."""
    layer = graph.layers[i]
    if layer.kind == "convolution":
        return prod(layer.weights) * prod(sizes[i])
    if layer.kind == "transposed convolution":
        return prod(layer.weights) * prod(sizes[layer.inputs[0]])
    return 0
