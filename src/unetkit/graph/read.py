"""Read any net, ours or a user's own Module, into a small graph of layers.

The net is run once on tensors that have a shape but no data; every torch function that
touches them is recorded with its window per axis. Plain Python in `forward` (loops,
sizes, crops computed from shapes) is therefore no obstacle, and names come from the
modules in which a function was called. A size that the net refuses is no failure: another is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..geometry import Window
from .graph import Graph, Layer
from .tape import FAILURES, trace
from .trace import Body, NoSuchOutput, mode, replaced_tensors, without_data
from .windows import Misfit, Unreadable

__all__ = ["read", "takes"]

# Sizes to try when reading a net: round ones, those of which nets for one size are made, then every residue of a total
# stride up to 64, small and large.
_SIZES = (256, 64, 96, 128, 224, 384, 512, 160, 192, 320, *range(257, 321), *range(769, 833))
_DIFFERS = "it works differently for every size of the image"


def read(
    net: nn.Module, *, in_channels: int | None = None, ndim: int | None = None, output: int | str | None = None
) -> Graph:
    """Read a net into its graph of layers.

    Parameters
    ----------
    net : Module
        Maps one tensor (N, C, *spatial) to one tensor (N, K, *spatial), or to a list, a tuple or a dict of them. Its
        weights are not touched, and it is read as it works in evaluation mode.
    in_channels, ndim : int, optional
        Taken from the net's attributes, else from its first convolution.
    output : int or str, optional
        Which tensor, of a net that returns several: its index in a list, or its key in a dict. The first by default.

    Returns
    -------
    Graph

    Raises
    ------
    ValueError
        If a layer cannot be read (it is named, with the line of the code that calls it), works differently for images
        of different sizes though it should not, no input size passes the net, or there is no such output.
    """
    net = getattr(net, "_orig_mod", net)  # of torch.compile
    in_channels, ndim = _signature(net, in_channels, ndim)
    body = Body(net, output)
    failure: Exception | None = None
    for n in (*_declared_sizes(net, ndim), *((n,) * ndim for n in _SIZES)):
        try:
            graph = trace(body, (1, in_channels, *n))
        except Misfit as error:
            failure = failure or error
        except Unreadable as error:
            raise ValueError(str(error)) from None
        except NoSuchOutput:
            raise
        except FAILURES as error:
            failure = failure or error  # most often a size that does not fit: try the next
        else:
            if graph.geometry.fits(n):  # else its crops and paddings mend a size that does not fit
                return _Checked(body, graph, in_channels, n).graph
            failure = failure or ValueError(f"{n[0]} pixels leave some out, or maps of different sizes are joined")
    if isinstance(failure, Unreadable):
        raise ValueError(str(failure))
    raise ValueError(f"the net ran on none of the sizes {min(_SIZES)} to {max(_SIZES)}; its first error was: {failure}")


def takes(net: nn.Module, in_channels: int, size: Sequence[int], output: int | str | None = None) -> bool:
    """Whether a net takes an image of a size, and returns a map of the same size: it is run without data."""
    body = Body(net, output)
    x = torch.empty(1, in_channels, *size, device="meta")
    try:
        with torch.no_grad(), mode(body, is_training=False), replaced_tensors(body, without_data(body)):
            y = body(x)
    except FAILURES:
        return False
    return tuple(y.shape[2:]) == tuple(size)


class _Checked:
    """The graph of a net that was traced at one size, checked at others.

    Parameters
    ----------
    net : Body
    graph : Graph
        Traced at `size`.
    channels : int
    size : tuple of int

    Raises
    ------
    ValueError
        If what it does at one size says nothing of others.
    """

    def __init__(self, net: Body, graph: Graph, channels: int, size: tuple[int, ...]) -> None:
        self.net, self.channels, self.size = net, channels, size
        self.refused: Exception | None = None
        self._traced: dict[tuple[int, ...], Graph] = {}
        self.graph = self._checked(graph)

    def _checked(self, graph: Graph) -> Graph:
        failures: list[ValueError] = []
        for one in self._candidates(graph):
            try:
                self._compare(one, self._at_another_size(one))
            except ValueError as error:
                failures.append(error)
            else:
                return one
        if not graph.is_local:  # then no tile is exact, and nothing but the sizes of what goes in and out matters
            for one in self._candidates(graph):
                try:
                    return self._loosened(one, self._at_another_size(one))
                except ValueError:
                    continue
        if self.refused is not None:
            return replace(graph, only=self.size)
        raise failures[0]

    def _candidates(self, graph: Graph) -> Iterator[Graph]:
        """For all sizes that fit, or multiples of the stride alone."""
        for grid in (0, 1, 2, 4, 7):
            one = replace(graph, grid=grid)
            if one.geometry.fits(self.size):
                yield one

    def _at_another_size(self, graph: Graph) -> tuple[tuple[int, ...], Graph]:
        """The net once more with other sizes, different per axis: a crop to a fixed size shows only there."""
        n, size = max(self.size), []
        for axis in graph.geometry.axes:
            n = axis.above(n + 1)
            size.append(n)
        at = tuple(size)
        try:
            if at not in self._traced:
                self._traced[at] = trace(self.net, (1, self.channels, *at))
            return at, self._traced[at]
        except Unreadable as error:
            raise ValueError(str(error)) from None
        except FAILURES as error:
            self.refused = self.refused or error
            raise ValueError(f"the net passes some sizes, but not {at}, which should fit too: {error}") from None

    def _compare(self, graph: Graph, other: tuple[tuple[int, ...], Graph]) -> None:
        for here, there in zip(graph.layers, other[1].layers, strict=False):
            if here != there:
                raise ValueError(
                    f"layer {here.name!r} ({here.kind}) cannot be read: for an image of {other[0]} pixels it works "
                    "differently than for one of another size; crops and resizes must follow from the sizes of maps"
                )

    def _loosened(self, graph: Graph, other: tuple[tuple[int, ...], Graph]) -> Graph:
        """The graph of a net that is not local, without the windows of layers that pad and crop by the image's size."""
        size, elsewhere = other
        there = {layer.name: layer for layer in elsewhere.layers}
        loosened = replace(graph, layers=tuple(_loose(layer, there.get(layer.name)) for layer in graph.layers))
        for n, traced in ((self.size, graph), (size, elsewhere)):
            if not loosened.geometry.fits(n) or loosened.geometry.output_size(n) != traced.geometry.output_size(n):
                raise ValueError(f"its output for an image of {n} pixels does not follow from its layers")
        return loosened


def _loose(layer: Layer, other: Layer | None) -> Layer:
    if other is not None and other.windows == layer.windows:
        return layer
    return replace(layer, windows=(Window(),) * len(layer.windows), reason=layer.reason or _DIFFERS)


def _declared_sizes(net: nn.Module, ndim: int) -> list[tuple[int, ...]]:
    """The image's size that a part of a net was made for, as transformers have it."""
    sizes: list[tuple[int, ...]] = []
    for module in net.modules():
        size: Any = getattr(module, "img_size", None) or getattr(module, "image_size", None)
        size = (size,) * ndim if isinstance(size, int) else size
        if isinstance(size, tuple | list) and len(size) == ndim and all(isinstance(n, int) for n in size):
            sizes.append(tuple(size))
    return list(dict.fromkeys(sizes))


def _signature(net: Any, in_channels: int | None, ndim: int | None) -> tuple[int, int]:
    """Channels and axes where they are stated, from the net's attributes, else from its first convolution."""
    if hasattr(net, "in_channels") and hasattr(net, "ndim"):
        return in_channels or int(net.in_channels), ndim or int(net.ndim)
    moves_pixels = False  # into channels, so that the convolution behind it has more of them than the image
    for module in net.modules():
        moves_pixels |= isinstance(module, nn.PixelUnshuffle)
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            if moves_pixels and in_channels is None:
                raise ValueError("the net begins with PixelUnshuffle: pass in_channels, the channels of the image")
            return in_channels or module.in_channels, ndim or module.weight.ndim - 2
    if in_channels is None or ndim is None:
        raise ValueError("the net has no convolution to tell its input channels from: pass in_channels and ndim")
    return in_channels, ndim
