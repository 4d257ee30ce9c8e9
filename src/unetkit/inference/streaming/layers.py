"""Some rows of one layer, from the rows that it reads: padding only where the image ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...geometry import Window
from ...graph.graph import Layer
from ...graph.operations import Operation
from ...graph.signatures import base_name, per_axis

__all__ = ["RowRange", "maker", "mirrors"]

_MAX_POOL: dict[int, Any] = {2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOL: dict[int, Any] = {2: F.avg_pool2d, 3: F.avg_pool3d}


@dataclass(frozen=True)
class RowRange:
    """What is made, along the first spatial axis, and how large the whole maps are.

    Attributes
    ----------
    start, stop : int
        Rows of the layer that are made.
    low : int
        The first row of what it reads that is at hand.
    n : int
        Rows of what it reads, in all.
    size : tuple of int
        Of the layer's whole map.
    """

    start: int
    stop: int
    low: int
    n: int
    size: tuple[int, ...]


Maker = Callable[[Tensor, RowRange], Tensor]


def mirrors(layer: Layer, operation: Operation) -> bool:
    """Whether a layer mirrors rows at the borders."""
    return layer.function == "pad" and operation.bind()["mode"] == "reflect"


def maker(layer: Layer, operation: Operation) -> Maker | None:
    """How rows of a layer with a window are made; None where they are made row by row by the step itself.

    Raises
    ------
    ValueError
        If the layer cannot be made in parts; it is named.
    """
    name = base_name(layer.function)
    make = _MAKERS.get(name)
    if make is None:
        return None
    if name == "avg_pool":
        _check_average(layer, operation)

    def of_layer(rows: Tensor, piece: RowRange) -> Tensor:
        return make(layer, operation, rows, piece)

    return of_layer


def _span(rows: Tensor, piece: RowRange, start: int, stop: int, value: float = 0.0) -> Tensor:
    """Rows `start ... stop - 1` of what is read; what lies beyond the borders holds `value`."""
    first, last = max(start, piece.low), min(stop, piece.low + rows.shape[2])
    if last <= first:
        return rows.new_full((*rows.shape[:2], stop - start, *rows.shape[3:]), value)
    inside = rows.narrow(2, first - piece.low, last - first)
    above, below = first - start, stop - last
    if above or below:
        inside = F.pad(inside, [0, 0] * (rows.ndim - 3) + [above, below], value=value)
    return inside


def _read_by(window: Window, piece: RowRange) -> tuple[int, int]:
    """First row and last row plus one that a plain window reads, borders ignored."""
    low, high = window.reads(piece.start, piece.stop - 1)
    return low, high + 1


def _across(windows: Sequence[Window], x: Tensor, value: float = 0.0) -> tuple[Tensor, list[int]]:
    """Padding of the other axes as one number each; where the sides differ they are padded here."""
    pads = [(w.before, w.after) for w in windows[1:]]
    if all(before == after for before, after in pads):
        return x, [before for before, _ in pads]
    flat = [p for pair in reversed(pads) for p in pair]
    return F.pad(x, flat, value=value), [0] * len(pads)


def _convolution(layer: Layer, operation: Operation, rows: Tensor, piece: RowRange) -> Tensor:
    a, ndim = operation.bind(), len(layer.windows)
    x = _span(rows, piece, *_read_by(layer.windows[0], piece))
    x, pads = _across(layer.windows, x)
    stride, dilation = (per_axis(a[key], ndim) for key in ("stride", "dilation"))
    result: Tensor = operation.func(x, a["weight"], a["bias"], stride, (0, *pads), dilation, a["groups"])
    return result


def _transposed(layer: Layer, operation: Operation, rows: Tensor, piece: RowRange) -> Tensor:
    a = operation.bind()
    ndim, window = len(layer.windows), layer.windows[0]
    low, high = window.reads(piece.start, piece.stop - 1)
    x = _span(rows, piece, low, high + 1)
    stride, dilation = (per_axis(a[key], ndim) for key in ("stride", "dilation"))
    padding, extra = (per_axis(a[key], ndim) for key in ("padding", "output_padding"))
    skipped = piece.start - (low * window.stride - window.before)
    made = (high - low) * window.stride + window.extent
    missing = max(0, skipped + piece.stop - piece.start - made)  # a kernel smaller than the stride leaves gaps
    y: Tensor = operation.func(
        x, a["weight"], a["bias"], stride, (0, *padding[1:]), (missing, *extra[1:]), a["groups"], dilation
    )
    return y.narrow(2, skipped, piece.stop - piece.start)


def _max_pool(layer: Layer, operation: Operation, rows: Tensor, piece: RowRange) -> Tensor:
    a = operation.bind()
    ndim = len(layer.windows)
    x = _span(rows, piece, *_read_by(layer.windows[0], piece), value=float("-inf"))
    kernel, stride, dilation = (tuple(getattr(w, k) for w in layer.windows) for k in ("kernel", "stride", "dilation"))
    pads = (0, *(w.before for w in layer.windows[1:]))
    result: Tensor = _MAX_POOL[ndim](x, kernel, stride, pads, dilation, bool(a["ceil_mode"]))
    return result


def _avg_pool(layer: Layer, operation: Operation, rows: Tensor, piece: RowRange) -> Tensor:
    a = operation.bind()
    x = _span(rows, piece, *_read_by(layer.windows[0], piece))
    kernel, stride = (tuple(getattr(w, k) for w in layer.windows) for k in ("kernel", "stride"))
    pads = (0, *(w.before for w in layer.windows[1:]))
    pool = _AVG_POOL[len(layer.windows)]
    result: Tensor = pool(x, kernel, stride, pads, False, True, a["divisor_override"])
    return result


def _check_average(layer: Layer, operation: Operation) -> None:
    a = operation.bind()
    is_padded = any(w.before or w.after for w in layer.windows)
    if a["ceil_mode"] or (is_padded and not a["count_include_pad"]):
        raise ValueError(f"layer {layer.name!r} averages fewer pixels at the borders: it cannot be streamed")


def _interpolate(layer: Layer, operation: Operation, rows: Tensor, piece: RowRange) -> Tensor:
    a = operation.bind()
    mode, window = a["mode"], layer.windows[0]
    options = {} if mode.startswith("nearest") else {"align_corners": False}
    if not window.transposed:  # nearest neighbour of every so many rows
        rows = _span(rows, piece, *_read_by(window, piece))[:, :, :: window.stride]
        return F.interpolate(rows, size=(rows.shape[2], *piece.size[1:]), mode=mode, **options)
    y = F.interpolate(rows, size=(rows.shape[2] * window.stride, *piece.size[1:]), mode=mode, **options)
    return y.narrow(2, piece.start - piece.low * window.stride, piece.stop - piece.start)


def _pad(layer: Layer, operation: Operation, rows: Tensor, piece: RowRange) -> Tensor:
    a, window = operation.bind(), layer.windows[0]
    mode, pads = a["mode"], list(a["pad"])
    start, stop = piece.start - window.before, piece.stop - window.before
    at = 2 * (len(layer.windows) - 1)  # torch lists the last axis first
    if len(pads) > at:
        pads[at : at + 2] = [0, 0]
    if mode == "constant":
        value = a["value"] or 0.0
        return F.pad(_span(rows, piece, start, stop, value), pads, mode, value)
    index = torch.arange(start, stop)
    if mode == "reflect":
        index = torch.where(index < 0, -index, index)
        index = torch.where(index >= piece.n, 2 * (piece.n - 1) - index, index)
    rows = rows.index_select(2, index.clamp(0, piece.n - 1).to(rows.device) - piece.low)
    return F.pad(rows, pads, mode) if any(pads) else rows


def _getitem(layer: Layer, operation: Operation, rows: Tensor, piece: RowRange) -> Tensor:
    index: Any = operation.bind()["index"]
    index = index if isinstance(index, tuple) else (index,)
    if Ellipsis in index:
        at = index.index(Ellipsis)
        index = (*index[:at], *(slice(None),) * (rows.ndim - len(index) + 1), *index[at + 1 :])
    channels: Any = (*index, *(slice(None),) * 2)[:2]
    return _cut(layer, rows[channels], piece)


def _narrow(layer: Layer, operation: Operation, rows: Tensor, piece: RowRange) -> Tensor:
    a = operation.bind()
    if a["dim"] % rows.ndim < 2:
        rows = rows.narrow(a["dim"], a["start"], a["length"])
    return _cut(layer, rows, piece)


def _cut(layer: Layer, rows: Tensor, piece: RowRange) -> Tensor:
    """The part of the map that a crop keeps: rows of the piece, and all of the other axes' own."""
    rows = _span(rows, piece, *_read_by(layer.windows[0], piece))
    parts = [slice(None, None, layer.windows[0].stride)]
    for window, n in zip(layer.windows[1:], piece.size[1:], strict=True):
        first = -window.before
        parts.append(slice(first, first + (n - 1) * window.stride + 1, window.stride))
    return rows[(slice(None), slice(None), *parts)]


def _shuffle(layer: Layer, operation: Operation, rows: Tensor, piece: RowRange) -> Tensor:
    window = layer.windows[0]
    _, factor = operation.bind().values()
    if not window.transposed:
        y: Tensor = operation.func(_span(rows, piece, *_read_by(window, piece)), factor)
        return y
    y = operation.func(rows, factor)
    return y.narrow(2, piece.start - piece.low * window.stride, piece.stop - piece.start)


_MAKERS: dict[str, Callable[[Layer, Operation, Tensor, RowRange], Tensor]] = {
    "conv": _convolution,
    "conv_transpose": _transposed,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "interpolate": _interpolate,
    "pad": _pad,
    "getitem": _getitem,
    "narrow": _narrow,
    "pixel_shuffle": _shuffle,
    "pixel_unshuffle": _shuffle,
}
