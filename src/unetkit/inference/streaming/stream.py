"""Exact inference in constant memory: slabs of rows (2D) or planes (3D) flow through the net, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ...geometry import Axis, Window
from ...graph.graph import Graph, Layer
from ...graph.operations import Operation, operations
from ...graph.read import read
from ...nets.net import Net
from ...tiles import Slices, Tile
from .folding import folded, nothing, without_sizes
from .layers import RowRange, has_maker, maker, mirrors
from .onednn import fused
from .schedule import ScheduledRows, longest_queues, schedule

__all__ = ["Stream"]


@dataclass(frozen=True)
class Stage:
    """A layer that reads rows, and the pointwise ones that follow it and it alone.

    Attributes
    ----------
    layers : tuple of int
        Of the graph, in order.
    inputs : tuple of int
        Stages that it reads.
    windows : tuple of Window
        Of the first layer, per axis.
    """

    layers: tuple[int, ...]
    inputs: tuple[int, ...]
    windows: tuple[Window, ...]


class Stream:
    """A net through which an image flows along its first spatial axis.

    Parameters
    ----------
    net : Net
        From `inference.prepare.prepare`: in evaluation mode, batch norm folded.

    Raises
    ------
    ValueError
        If the net takes statistics over space, or holds a layer that cannot be made in parts; it is named.
    """

    def __init__(self, net: Net) -> None:
        self.graph = read(net)  # of the folded net: its norms are gone
        if not self.graph.is_local:
            raise ValueError(f"the net is not local, and cannot be streamed: {self.graph.describe_reach()}")
        self.stages = _stages(self.graph)
        _check(self.graph, self.stages)
        recorded = tuple(
            operation if has_maker(layer) else without_sizes(operation, len(self.graph.geometry.axes))
            for layer, operation in zip(self.graph.layers, operations(net, self.graph), strict=True)
        )
        self.operations = _fused(recorded, self.stages)
        self.axes = tuple(
            Axis(tuple(stage.windows[k] for stage in self.stages), tuple(stage.inputs for stage in self.stages))
            for k in range(len(self.graph.geometry.axes))
        )
        heads = [stage.layers[0] for stage in self.stages]
        self.makers = [maker(self.graph.layers[i], self.operations[i]) if i else None for i in heads]
        self._known: dict[tuple[int, int], list[int]] = {}
        self.mirrors = frozenset(
            k for k, i in enumerate(heads) if i and mirrors(self.graph.layers[i], self.operations[i])
        )

    @property
    def values_per_pixel(self) -> float:
        """Values of the largest map per pixel of the image."""
        places = zip(*(axis.places for axis in self.axes), strict=True)
        areas = (prod(stride for stride, _ in place) for place in places)
        last = (self.graph.layers[stage.layers[-1]] for stage in self.stages)
        return max(layer.channels / float(area) for layer, area in zip(last, areas, strict=True))

    @torch.inference_mode()
    def run(
        self, size: tuple[int, ...], give: Callable[[int, int], Tensor], *, slab: int
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield (first row, logits of shape (1, K, rows, *others)) from top to bottom.

        Parameters
        ----------
        size : tuple of int
            Of the image, one that fits the net.
        give : callable
            Called with (start, stop), returns these rows of the image, (1, C, stop - start, *others).
        slab : int
            Rows of the image that are asked for at a time.
        """
        sizes = list(zip(*(axis.sizes(n) or () for axis, n in zip(self.axes, size, strict=True)), strict=True))
        queues = [_Queue() for _ in self.stages]
        for work in schedule(self.axes[0], size[0], slab=slab, mirrors=self.mirrors):
            rows = self._make(work, queues, sizes) if work.layer else give(work.start, work.stop)
            if work.layer == len(self.stages) - 1:
                yield work.start, rows
            else:
                queues[work.layer].add(rows)
            del rows
            for layer, row in work.forget:
                queues[layer].forget(row)

    def _make(self, work: ScheduledRows, queues: list[_Queue], sizes: list[tuple[int, ...]]) -> Tensor:
        stage, make = self.stages[work.layer], self.makers[work.layer]
        first, *rest = stage.layers
        read = {self.stages[j].layers[-1]: queues[j].rows(work.low, work.high) for j in stage.inputs}
        if make is None:
            kept = {i: rows.clone() for i, rows in read.items()} if self.operations[first].writes else read
            rows = self.operations[first](kept)
        else:
            piece = RowRange(work.start, work.stop, work.low, sizes[stage.inputs[0]][0], sizes[work.layer])
            rows = make(next(iter(read.values())), piece)
        shared = {_memory(part) for part in read.values()}
        for i in rest:
            if self.operations[i].writes and _memory(rows) in shared:
                rows = rows.clone()
            rows = self.operations[i]({self.graph.layers[i].inputs[0]: rows})
        return rows

    def flow(self, tile: Tile, read: Callable[[Slices], Tensor], *, slab: int) -> Iterator[tuple[Slices, Tensor]]:
        """Let one tile flow through the net.

        Parameters
        ----------
        tile : Tile
        read : callable
            Called with pixels of the padded image, a slice per axis; returns them as (1, C, *pixels).
        slab : int
            Rows that are read at a time.

        Yields
        ------
        (pixels, logits) : tuple of slice, Tensor of shape (K, *pixels)
            Rows of the tile's core from top to bottom, some at a time.
        """
        top, keep = tile.window[0].start, tile.keep[0]
        shift = tile.core[0].start - keep.start

        def give(start: int, stop: int) -> Tensor:
            return read((slice(top + start, top + stop), *tile.window[1:]))

        for start, rows in self.run(tile.window_size, give, slab=slab):
            stop = start + rows.shape[2]
            low, high = max(start, keep.start), min(stop, keep.stop)
            if low < high:
                part = (slice(None), slice(low - start, high - start), *tile.keep[1:])
                yield (slice(low + shift, high + shift), *tile.core[1:]), rows[0][part]
            if stop >= keep.stop:  # what is left is halo
                return

    def memory_bytes(self, size: tuple[int, ...], *, slab: int, itemsize: int = 4) -> int:
        """Upper bound of the peak in bytes: all queues at their longest, and the largest slab with its inputs."""
        longest = self._longest(size[0], slab)
        sizes = list(zip(*(axis.sizes(n) or () for axis, n in zip(self.axes, size, strict=True)), strict=True))
        layers = [self.graph.layers[stage.layers[-1]] for stage in self.stages]
        queues = [rows * prod(n[1:]) * layer.channels for rows, n, layer in zip(longest, sizes, layers, strict=True)]
        strides = [axis_stride for axis_stride, _ in self.axes[0].places]
        slabs = [
            prod(n[1:]) * layer.channels * (slab / stride + 2)
            for n, layer, stride in zip(sizes, layers, strides, strict=True)
        ]
        most = max(slabs[i] + sum(slabs[j] for j in stage.inputs) for i, stage in enumerate(self.stages))
        return int(itemsize * (sum(queues) + most))

    def _longest(self, n: int, slab: int) -> list[int]:
        """Rows that each queue holds at most; no longer for a long image than for one of a few slabs."""
        axis = self.axes[0]
        n = min(n, axis.above(2 * axis.halo + sum(axis.margin) + 8 * slab))
        if (n, slab) not in self._known:
            self._known[n, slab] = longest_queues(axis, n, slab=slab, mirrors=self.mirrors)
        return self._known[n, slab]


def _memory(rows: Tensor) -> int:
    return rows.untyped_storage().data_ptr()


def _stages(graph: Graph) -> tuple[Stage, ...]:
    """Group layers whose maps only the next layer reads."""
    uses = [0] * len(graph.layers)
    for layer in graph.layers:
        for j in set(layer.inputs):
            uses[j] += 1
    groups: list[list[int]] = []
    home: dict[int, int] = {}
    for i, layer in enumerate(graph.layers):
        joins = _is_pixelwise(layer) and len(layer.inputs) == 1 and layer.inputs[0] != 0
        if joins and uses[layer.inputs[0]] == 1:
            home[i] = home[layer.inputs[0]]
            groups[home[i]].append(i)
        else:
            home[i] = len(groups)
            groups.append([i])
    return tuple(
        Stage(tuple(row), tuple(home[j] for j in graph.layers[row[0]].inputs), graph.layers[row[0]].windows)
        for row in groups
    )


def _is_pixelwise(layer: Layer) -> bool:
    return layer.kind == "pointwise" or layer.function == "linear"


def _check(graph: Graph, stages: tuple[Stage, ...]) -> None:
    """Raise a ValueError unless rows of every stage can be computed from rows of others."""
    for layer in graph.layers:
        if layer.function in _SIZED:
            raise ValueError(f"layer {layer.name!r} ({layer.function}) is called with the size of the whole map")
        if any(window != Window() for window in layer.windows) and not has_maker(layer):
            raise ValueError(f"layer {layer.name!r} ({layer.function}) cannot be computed in parts")
    for stage in stages:
        last = graph.layers[stage.layers[-1]]
        if not last.is_map:
            raise ValueError(f"layer {last.name!r} is joined with others while its channels are not first")


# Functions that are called with sizes, those of the whole map.
_SIZED = ("view", "reshape", "unflatten", "expand", "broadcast_to")


def _fused(operations: tuple[Operation, ...], stages: tuple[Stage, ...]) -> tuple[Operation, ...]:
    """Convolutions as oneDNN runs them fastest; a norm or an activation folded into one hands on its map."""
    fastest = list(operations)
    for first, *rest in (stage.layers for stage in stages):
        before = first  # the last layer whose map the convolution makes
        with_norm = folded(operations[first], operations[rest[0]]) if rest else None
        if with_norm is not None:
            fastest[first], fastest[rest[0]] = with_norm, nothing(before)
            before, *rest = rest
        with_next = fused(fastest[first], operations[rest[0]]) if rest else None
        if with_next is not None:
            fastest[rest[0]] = nothing(before)
        fastest[first] = with_next or fused(fastest[first]) or fastest[first]
    return tuple(fastest)


class _Queue:
    """Rows of one map, from the first that is still read to the last that was computed."""

    def __init__(self) -> None:
        self.start = 0
        self.chunks: list[Tensor] = []

    def add(self, rows: Tensor) -> None:
        self.chunks.append(rows)

    def rows(self, low: int, high: int) -> Tensor:
        """Rows `low ... high - 1`; a view where they lie in one piece."""
        parts, at = [], self.start
        for chunk in self.chunks:
            first, last = max(low, at), min(high, at + chunk.shape[2])
            if first < last:
                parts.append(chunk.narrow(2, first - at, last - first))
            at += chunk.shape[2]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

    def forget(self, row: int) -> None:
        """Rows below `row` are not read any more; the few that are left of a chunk do not keep all of it."""
        while self.chunks and self.start + self.chunks[0].shape[2] <= row:
            self.start += self.chunks.pop(0).shape[2]
        if self.chunks and 2 * (row - self.start) > self.chunks[0].shape[2]:
            self.chunks[0] = self.chunks[0][:, :, row - self.start :].clone()
            self.start = row
