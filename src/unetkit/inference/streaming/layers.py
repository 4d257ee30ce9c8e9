"""Rows of one layer from the rows that it reads, padded only where the image ends."""

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

__all__ = ["RowRange", "has_maker", "maker", "mirrors"]

_MAX_POOL: dict[int, Any] = {2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOL: dict[int, Any] = {2: F.avg_pool2d, 3: F.avg_pool3d}


@dataclass(frozen=True)
class RowRange:
    """A range of rows to compute along the first spatial axis, and the sizes of the whole maps.

    Attributes
    ----------
    start, stop : int
        Rows of the layer to compute.
    low : int
        The first row of its input that is available.
    n : int
        Rows of its input, in all.
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


def has_maker(layer: Layer) -> bool:
    """Whether rows of a layer with a window can be computed from rows of its input."""
    return base_name(layer.function) in _MAKERS


def maker(layer: Layer, operation: Operation) -> Maker | None:
    """The function that computes rows of a layer with a window; None for layers that work pixel by pixel.

    Raises
    ------
    ValueError
        If the layer cannot be computed in parts; it is named.
    """
    make = _MAKERS.get(base_name(layer.function))
    if make is None:
        return None
    if make is _avg_pool:
        _check_average(layer, operation)
    if make is _interpolate and not layer.windows[0].transposed and operation.bind()["mode"] == "bicubic":
        raise ValueError(f"layer {layer.name!r} shrinks by bicubic interpolation: it cannot be streamed")

    def of_layer(rows: Tensor, wanted: RowRange) -> Tensor:
        return make(layer, operation, rows, wanted)

    return of_layer


def _span(rows: Tensor, wanted: RowRange, start: int, stop: int, value: float = 0.0) -> Tensor:
    """Rows `start ... stop - 1` of the input; those beyond the borders hold `value`."""
    first, last = max(start, wanted.low), min(stop, wanted.low + rows.shape[2])
    if last <= first:
        return rows.new_full((*rows.shape[:2], stop - start, *rows.shape[3:]), value)
    inside = rows.narrow(2, first - wanted.low, last - first)
    above, below = first - start, stop - last
    if above or below:
        inside = F.pad(inside, [0, 0] * (rows.ndim - 3) + [above, below], value=value)
    return inside


def _read_by(window: Window, wanted: RowRange) -> tuple[int, int]:
    """First row and last row plus one that a plain window reads, borders ignored."""
    low, high = window.reads(wanted.start, wanted.stop - 1)
    return low, high + 1


def _across(windows: Sequence[Window], x: Tensor, value: float = 0.0) -> tuple[Tensor, list[int]]:
    """Padding of the other axes as one number each; where the sides differ they are padded here."""
    pads = [(w.before, w.after) for w in windows[1:]]
    if all(before == after for before, after in pads):
        return x, [before for before, _ in pads]
    flat = [p for pair in reversed(pads) for p in pair]
    return F.pad(x, flat, value=value), [0] * len(pads)


def _convolution(layer: Layer, operation: Operation, rows: Tensor, wanted: RowRange) -> Tensor:
    a, ndim = operation.bind(), len(layer.windows)
    x = _span(rows, wanted, *_read_by(layer.windows[0], wanted))
    x, pads = _across(layer.windows, x)
    stride, dilation = (per_axis(a[key], ndim) for key in ("stride", "dilation"))
    result: Tensor = operation.func(x, a["weight"], a["bias"], stride, (0, *pads), dilation, a["groups"])
    return result


def _transposed(layer: Layer, operation: Operation, rows: Tensor, wanted: RowRange) -> Tensor:
    a = operation.bind()
    ndim, window = len(layer.windows), layer.windows[0]
    low, high = window.reads(wanted.start, wanted.stop - 1)
    x = _span(rows, wanted, low, high + 1)
    stride, dilation = (per_axis(a[key], ndim) for key in ("stride", "dilation"))
    padding, extra = (per_axis(a[key], ndim) for key in ("padding", "output_padding"))
    skipped = wanted.start - (low * window.stride - window.before)
    made = (high - low) * window.stride + window.extent
    missing = max(0, skipped + wanted.stop - wanted.start - made)  # a kernel smaller than the stride leaves gaps
    y: Tensor = operation.func(
        x, a["weight"], a["bias"], stride, (0, *padding[1:]), (missing, *extra[1:]), a["groups"], dilation
    )
    return y.narrow(2, skipped, wanted.stop - wanted.start)


def _max_pool(layer: Layer, operation: Operation, rows: Tensor, wanted: RowRange) -> Tensor:
    a = operation.bind()
    ndim = len(layer.windows)
    x = _span(rows, wanted, *_read_by(layer.windows[0], wanted), value=float("-inf"))
    kernel, stride, dilation = (tuple(getattr(w, k) for w in layer.windows) for k in ("kernel", "stride", "dilation"))
    pads = (0, *(w.before for w in layer.windows[1:]))
    result: Tensor = _MAX_POOL[ndim](x, kernel, stride, pads, dilation, bool(a["ceil_mode"]))
    return result


def _avg_pool(layer: Layer, operation: Operation, rows: Tensor, wanted: RowRange) -> Tensor:
    a = operation.bind()
    x = _span(rows, wanted, *_read_by(layer.windows[0], wanted))
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


def _interpolate(layer: Layer, operation: Operation, rows: Tensor, wanted: RowRange) -> Tensor:
    a = operation.bind()
    mode, window = a["mode"], layer.windows[0]
    options = {} if mode.startswith("nearest") else {"align_corners": False}
    if not window.transposed and (window.kernel > 1 or not mode.startswith("nearest")):  # as a whole: of aligned cells
        factor = window.stride
        rows = _span(rows, wanted, wanted.start * factor, wanted.stop * factor)
        return F.interpolate(rows, size=(wanted.stop - wanted.start, *wanted.size[1:]), mode=mode, **options)
    if not window.transposed:  # nearest neighbour of every so many rows
        rows = _span(rows, wanted, *_read_by(window, wanted))[:, :, :: window.stride]
        return F.interpolate(rows, size=(rows.shape[2], *wanted.size[1:]), mode=mode, **options)
    y = F.interpolate(rows, size=(rows.shape[2] * window.stride, *wanted.size[1:]), mode=mode, **options)
    return y.narrow(2, wanted.start - wanted.low * window.stride, wanted.stop - wanted.start)


def _pad(layer: Layer, operation: Operation, rows: Tensor, wanted: RowRange) -> Tensor:
    a, window = operation.bind(), layer.windows[0]
    mode, pads = a["mode"], list(a["pad"])
    start, stop = wanted.start - window.before, wanted.stop - window.before
    at = 2 * (len(layer.windows) - 1)  # torch lists the last axis first
    if len(pads) > at:
        pads[at : at + 2] = [0, 0]
    if mode == "constant":
        value = a["value"] or 0.0
        return F.pad(_span(rows, wanted, start, stop, value), pads, mode, value)
    index = torch.arange(start, stop)
    if mode == "reflect":
        index = torch.where(index < 0, -index, index)
        index = torch.where(index >= wanted.n, 2 * (wanted.n - 1) - index, index)
    rows = rows.index_select(2, index.clamp(0, wanted.n - 1).to(rows.device) - wanted.low)
    return F.pad(rows, pads, mode) if any(pads) else rows


def _getitem(layer: Layer, operation: Operation, rows: Tensor, wanted: RowRange) -> Tensor:
    index: Any = operation.bind()["index"]
    index = index if isinstance(index, tuple) else (index,)
    if Ellipsis in index:
        at = index.index(Ellipsis)
        index = (*index[:at], *(slice(None),) * (rows.ndim - len(index) + 1), *index[at + 1 :])
    channels: Any = (*index, *(slice(None),) * 2)[:2]
    return _cut(layer, rows[channels], wanted)


def _narrow(layer: Layer, operation: Operation, rows: Tensor, wanted: RowRange) -> Tensor:
    a = operation.bind()
    if a["dim"] % rows.ndim < 2:
        rows = rows.narrow(a["dim"], a["start"], a["length"])
    return _cut(layer, rows, wanted)


def _cut(layer: Layer, rows: Tensor, wanted: RowRange) -> Tensor:
    """The part of the map that a crop keeps: rows of the wanted, and all of the other axes' own."""
    rows = _span(rows, wanted, *_read_by(layer.windows[0], wanted))
    parts = [slice(None, None, layer.windows[0].stride)]
    for window, n in zip(layer.windows[1:], wanted.size[1:], strict=True):
        first = -window.before
        parts.append(slice(first, first + (n - 1) * window.stride + 1, window.stride))
    return rows[(slice(None), slice(None), *parts)]


def _shuffle(layer: Layer, operation: Operation, rows: Tensor, wanted: RowRange) -> Tensor:
    window = layer.windows[0]
    _, factor = operation.bind().values()
    if not window.transposed:
        y: Tensor = operation.func(_span(rows, wanted, *_read_by(window, wanted)), factor)
        return y
    y = operation.func(rows, factor)
    return y.narrow(2, wanted.start - wanted.low * window.stride, wanted.stop - wanted.start)


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
