"""Convolutions as oneDNN computes them fastest: weights laid out once, and the activation in the same pass.

Called the plain way, torch lays the weights of a convolution out anew for every slab, and an activation reads and
writes the whole map once more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...graph.operations import Operation
from ...graph.signatures import Arguments, base_name, per_axis

__all__ = ["fused"]

After = tuple[str, list[float], str]  # an activation in oneDNN's terms: its name, numbers and algorithm
_NOTHING: After = ("none", [], "")


def fused(operation: Operation, activation: Operation | None = None) -> Operation | None:
    """A convolution, and the activation that alone reads it, as one operation.

    Parameters
    ----------
    operation : Operation
    activation : Operation, optional

    Returns
    -------
    Operation or None
        None where oneDNN has none: for all but convolutions of float32 on a processor, and activations but ReLU and
        leaky ReLU.
    """
    fuse = _FUSED.get(base_name(operation.function))
    if fuse is None or operation.function.endswith("1d"):
        return None
    arguments, after = operation.bind(), _NOTHING if activation is None else _activation(activation)
    if after is None or not _is_possible(arguments["weight"]):
        return None
    return replace(operation, func=fuse(arguments, after))


class _Weight:
    """The weight of a convolution as oneDNN wants it for inputs of the size that came last, padded as that.

    Laid out without a size it is another one for some sizes, and is then laid out anew in every call: torch 2.13 to
    2.14.1 took 108 ms in place of 6 for 512 channels of one row of 128 pixels.
    """

    def __init__(self, reorder: Callable[..., Tensor]) -> None:
        self._reorder = reorder
        self._last: tuple[Any, ...] | None = None
        self._laid_out: Tensor

    def __call__(self, x: Tensor, *options: Any) -> Tensor:
        these = (list(x.shape), *options)
        if these != self._last:
            self._laid_out, self._last = self._reorder(*these), these
        return self._laid_out


def _convolution(arguments: Arguments, after: After) -> Any:
    ops: Any = torch.ops.mkldnn
    weight, groups = arguments["weight"], arguments["groups"]
    ndim = weight.ndim - 2
    strides, dilations = (per_axis(arguments[key], ndim) for key in ("stride", "dilation"))
    laid_out = _Weight(lambda n, pads: ops._reorder_convolution_weight(weight, pads, strides, dilations, groups, n))

    def convolve(
        x: Tensor, _: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> Tensor:
        y: Tensor = ops._convolution_pointwise(x, laid_out(x, padding), bias, padding, stride, dilation, groups, *after)
        return y

    return convolve


def _transposed(arguments: Arguments, after: After) -> Any:
    if _has_fast_phases(arguments):
        return _by_phases(arguments, after)
    ops: Any = torch.ops.mkldnn
    weight, groups = arguments["weight"], arguments["groups"]
    ndim = weight.ndim - 2
    strides, dilations = (per_axis(arguments[key], ndim) for key in ("stride", "dilation"))
    laid_out = _Weight(
        lambda n, pads, extra: ops._reorder_convolution_transpose_weight(
            weight, pads, extra, strides, dilations, groups, n
        )
    )

    def convolve(
        x: Tensor, _: Tensor, bias: Tensor | None, stride: Any, padding: Any, extra: Any, groups: int, dilation: Any
    ) -> Tensor:
        y: Tensor = ops._convolution_transpose_pointwise(
            x, laid_out(x, padding, extra), bias, padding, extra, stride, dilation, groups, *after
        )
        return y

    return convolve


def _has_fast_phases(arguments: Arguments) -> bool:
    """Whether a transposed convolution is faster as a plain one: to few channels, in 2D, by kernels that overlap."""
    weight = arguments["weight"]
    if weight.ndim != 4 or weight.shape[1] > _FEW_CHANNELS or arguments["groups"] != 1:
        return False
    stride, dilation, pads, extra = (
        per_axis(arguments[key], 2) for key in ("stride", "dilation", "padding", "output_padding")
    )
    ends = zip(weight.shape[2:], pads, extra, strict=True)
    made = -(-weight.shape[2] // stride[0]) * stride[0]
    is_square = stride[0] == stride[1] and weight.shape[2] == weight.shape[3] and dilation == (1, 1)
    return is_square and weight.shape[2] > stride[0] > 1 and all(k - p + e <= made for k, p, e in ends)


def _by_phases(arguments: Arguments, after: After) -> Any:
    """A transposed convolution as a plain one to a channel for each pixel of its stride (phase), then shuffled.

    Shi et al., Real-time single image super-resolution using an efficient sub-pixel convolutional network, 2016.
    """
    weight, bias = arguments["weight"], arguments["bias"]
    stride, (n_in, n_out, kernel, _) = per_axis(arguments["stride"], 2)[0], weight.shape
    n = -(-kernel // stride)  # pixels along each axis that a phase reads
    taps = F.pad(weight, (0, n * stride - kernel) * 2).view(n_in, n_out, n, stride, n, stride).flip(2, 4)
    phases = taps.permute(1, 3, 5, 0, 2, 4).reshape(n_out * stride**2, n_in, n, n)
    shared = None if bias is None else bias.repeat_interleave(stride**2)
    convolve = _convolution({"weight": phases, "stride": 1, "dilation": 1, "groups": 1}, after)

    def shuffled(
        x: Tensor, _: Tensor, __: Tensor | None, ___: Any, padding: Any, extra: Any, groups: int, dilation: Any
    ) -> Tensor:
        y = F.pixel_shuffle(convolve(x, phases, shared, (1, 1), (n - 1, n - 1), (1, 1), groups), stride)
        for axis, size, before, more in zip((2, 3), x.shape[2:], padding, extra, strict=True):
            y = y.narrow(axis, before, stride * (size - 1) + kernel - 2 * before + more)
        return y

    return shuffled


_FEW_CHANNELS = 16
_FUSED = {"conv": _convolution, "conv_transpose": _transposed}


def _activation(operation: Operation) -> After | None:
    """The activation in oneDNN's terms; None for one that it lacks."""
    if operation.function == "relu":
        return "relu", [], ""
    if operation.function == "leaky_relu":
        return "leaky_relu", [float(operation.bind()["negative_slope"])], ""
    return None


def _is_possible(weight: Tensor) -> bool:
    has_onednn = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    is_fit = weight.device.type == "cpu" and weight.dtype == torch.float32
    return bool(is_fit and has_onednn and hasattr(torch.ops.mkldnn, "_convolution_transpose_pointwise"))
