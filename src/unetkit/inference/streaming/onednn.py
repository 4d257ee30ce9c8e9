"""Convolutions as oneDNN computes them fastest: weights laid out once, and the activation in the same pass.

Called the plain way, torch lays the weights of a convolution out anew for every slab, and an activation reads and
writes the whole map once more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...graph.operations import Step, bound

__all__ = ["CONVOLUTION", "TRANSPOSED", "fused", "per_axis"]

# Arguments of torch's functions, in their order.
CONVOLUTION = "input weight bias stride padding dilation groups"
TRANSPOSED = "input weight bias stride padding output_padding groups dilation"

After = tuple[str, list[float], str]  # an activation as oneDNN names it: what it does, with which numbers
_NOTHING: After = ("none", [], "")


def fused(step: Step, then: Step | None = None) -> Step | None:
    """A convolution, and the activation that alone reads it, as one step.

    Parameters
    ----------
    step : Step
    then : Step, optional

    Returns
    -------
    Step or None
        None where it cannot be: no convolution of float32 on a processor with oneDNN, or another activation than ReLU
        and leaky ReLU.
    """
    name = step.func.__name__
    is_transposed = name.startswith("conv_transpose")
    if name not in ("conv2d", "conv3d", "conv_transpose2d", "conv_transpose3d"):
        return None
    given, after = bound(step, TRANSPOSED if is_transposed else CONVOLUTION), _activation(then)
    if after is None or not _is_possible(given["weight"]):
        return None
    return replace(step, func=(_transposed if is_transposed else _convolution)(given, after))


def _convolution(given: dict[str, Any], after: After) -> Any:
    ops: Any = torch.ops.mkldnn
    weight, groups = given["weight"], given.get("groups", 1)
    ndim = weight.ndim - 2
    strides, dilations = (per_axis(given.get(key, 1), ndim) for key in ("stride", "dilation"))
    laid_out = ops._reorder_convolution_weight(weight, (0,) * ndim, strides, dilations, groups, None)

    def convolve(
        x: Tensor, _: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> Tensor:
        y: Tensor = ops._convolution_pointwise(x, laid_out, bias, padding, stride, dilation, groups, *after)
        return y

    return convolve


def _transposed(given: dict[str, Any], after: After) -> Any:
    ops: Any = torch.ops.mkldnn
    weight, groups, none = given["weight"], given.get("groups", 1), (0,) * (given["weight"].ndim - 2)
    strides, dilations = (per_axis(given.get(key, 1), len(none)) for key in ("stride", "dilation"))
    laid_out = ops._reorder_convolution_transpose_weight(weight, none, none, strides, dilations, groups, None)

    def convolve(
        x: Tensor, _: Tensor, bias: Tensor | None, stride: Any, padding: Any, extra: Any, groups: int, dilation: Any
    ) -> Tensor:
        y: Tensor = ops._convolution_transpose_pointwise(
            x, laid_out, bias, padding, extra, stride, dilation, groups, *after
        )
        return y

    return convolve


def _activation(step: Step | None) -> After | None:
    """None where oneDNN has no such."""
    if step is None:
        return _NOTHING
    name = step.func.__name__.rstrip("_")
    if name == "relu":
        return "relu", [], ""
    if name == "leaky_relu":
        return "leaky_relu", [float(bound(step, "input negative_slope inplace").get("negative_slope", 0.01))], ""
    return None


def _is_possible(weight: Tensor) -> bool:
    has_onednn = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    is_fit = weight.device.type == "cpu" and weight.dtype == torch.float32
    return bool(is_fit and has_onednn and hasattr(torch.ops.mkldnn, "_convolution_transpose_pointwise"))


def per_axis(value: Any, ndim: int) -> tuple[int, ...]:
    """A number per axis, where one was given for all."""
    return (int(value),) * ndim if isinstance(value, int) else tuple(int(v) for v in value) * (ndim // len(value))
