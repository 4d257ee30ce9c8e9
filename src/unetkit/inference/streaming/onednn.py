"""Convolutions as oneDNN computes them fastest: weights laid out once, and the activation in the same pass.

Called the plain way, torch lays the weights of a convolution out anew for every slab, and an activation reads and
writes the whole map once more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
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


def _convolution(arguments: Arguments, after: After) -> Any:
    ops: Any = torch.ops.mkldnn
    weight, groups = arguments["weight"], arguments["groups"]
    ndim = weight.ndim - 2
    strides, dilations = (per_axis(arguments[key], ndim) for key in ("stride", "dilation"))
    laid_out = ops._reorder_convolution_weight(weight, (0,) * ndim, strides, dilations, groups, None)

    def convolve(
        x: Tensor, _: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> Tensor:
        y: Tensor = ops._convolution_pointwise(x, laid_out, bias, padding, stride, dilation, groups, *after)
        return y

    return convolve


def _transposed(arguments: Arguments, after: After) -> Any:
    ops: Any = torch.ops.mkldnn
    weight, groups = arguments["weight"], arguments["groups"]
    zeros = (0,) * (weight.ndim - 2)
    strides, dilations = (per_axis(arguments[key], len(zeros)) for key in ("stride", "dilation"))
    laid_out = ops._reorder_convolution_transpose_weight(weight, zeros, zeros, strides, dilations, groups, None)

    def convolve(
        x: Tensor, _: Tensor, bias: Tensor | None, stride: Any, padding: Any, extra: Any, groups: int, dilation: Any
    ) -> Tensor:
        y: Tensor = ops._convolution_transpose_pointwise(
            x, laid_out, bias, padding, extra, stride, dilation, groups, *after
        )
        return y

    return convolve


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
