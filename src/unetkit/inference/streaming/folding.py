"""Operations of a net made simpler: batch norms folded into convolutions, constants that are the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...graph.operations import Operation, Ref
from ...graph.signatures import base_name
from ...graph.trace import flat, replaced

__all__ = ["folded", "nothing", "without_sizes"]

_ORDER = {
    "conv": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "conv_transpose": ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
}


def folded(convolution: Operation, norm: Operation) -> Operation | None:
    """A convolution and the batch norm that alone reads it as one convolution; None where they are not such.

    Results change by rounding only (about 1e-6 of their range).
    """
    order = _ORDER.get(base_name(convolution.function))
    if order is None or norm.function != "batch_norm":
        return None
    a, statistics = convolution.bind(), norm.bind()
    weight, mean = a["weight"], statistics["running_mean"]
    is_transposed = base_name(convolution.function) == "conv_transpose"
    if mean is None or statistics["training"] or (is_transposed and a["groups"] != 1):
        return None
    scale: Tensor = torch.rsqrt(statistics["running_var"] + statistics["eps"])
    scale = scale if statistics["weight"] is None else scale * statistics["weight"]
    channels = (1, -1) if is_transposed else (-1,)
    shift = -mean * scale if a["bias"] is None else (a["bias"] - mean) * scale
    a["weight"] = weight * scale.view(*channels, *(1,) * (weight.ndim - len(channels)))
    a["bias"] = shift if statistics["bias"] is None else shift + statistics["bias"]
    return replace(convolution, args=tuple(a[name] for name in order), kwargs={})


def nothing(layer: int) -> Operation:
    """In place of an operation that was folded into the one before it: hands on the map of `layer`."""
    return Operation("as_tensor", torch.as_tensor, (Ref(layer),), {})


def without_sizes(operation: Operation, ndim: int) -> Operation:
    """A pixel by pixel operation with constants of the size of a map, such as zeros for channels, as a single pixel.

    Those of a local net are the same everywhere.
    """

    first: Any = (..., *(slice(0, 1),) * ndim)

    def pixel(constant: Tensor) -> Tensor:
        return constant[first] if constant.ndim == ndim + 2 else constant

    constants = [t for t in flat((operation.args, operation.kwargs)) if isinstance(t, Tensor) and t.ndim == ndim + 2]
    if not constants:
        return operation
    func = _joined if operation.function in ("cat", "concat", "concatenate") else operation.func
    return replace(operation, func=func, args=replaced(operation.args, pixel), kwargs=replaced(operation.kwargs, pixel))


def _joined(tensors: Sequence[Tensor], dim: int = 0, **_: object) -> Tensor:
    """Join tensors of which some are a single pixel."""
    size = [max(lengths) for lengths in zip(*(t.shape for t in tensors), strict=True)]
    size[dim] = -1
    return torch.cat([t.expand(size) for t in tensors], dim)
