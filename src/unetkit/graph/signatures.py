"""Arguments of torch functions by name: the one table of their signatures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["REDUCTIONS", "Arguments", "base_name", "bind", "per_axis"]

Arguments = dict[str, Any]

# Argument names in the order of torch's positional arguments, with their defaults (None where there is none).
_POOLING: Arguments = {"input": None, "kernel_size": None, "stride": None, "padding": 0}
_REDUCTION: Arguments = {"input": None, "dim": None, "keepdim": False}
REDUCTIONS = (
    *("mean", "sum", "amax", "amin", "max", "min", "std", "var", "logsumexp", "argmax", "argmin", "prod", "any", "all"),
    *("var_mean", "std_mean", "median", "nansum", "nanmean", "vector_norm"),
)
_SIGNATURES: dict[str, Arguments] = {
    "conv": {"input": None, "weight": None, "bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1},
    "conv_transpose": {
        "input": None,
        "weight": None,
        "bias": None,
        "stride": 1,
        "padding": 0,
        "output_padding": 0,
        "groups": 1,
        "dilation": 1,
    },
    "max_pool": _POOLING | {"dilation": 1, "ceil_mode": False, "return_indices": False},
    "avg_pool": _POOLING | {"ceil_mode": False, "count_include_pad": True, "divisor_override": None},
    "interpolate": {
        "input": None,
        "size": None,
        "scale_factor": None,
        "mode": "nearest",
        "align_corners": None,
        "recompute_scale_factor": None,
        "antialias": False,
    },
    "pad": {"input": None, "pad": None, "mode": "constant", "value": None},
    "getitem": {"input": None, "index": None},
    "narrow": {"input": None, "dim": None, "start": None, "length": None},
    "pixel_shuffle": {"input": None, "upscale_factor": None},
    "pixel_unshuffle": {"input": None, "downscale_factor": None},
    "batch_norm": {
        "input": None,
        "running_mean": None,
        "running_var": None,
        "weight": None,
        "bias": None,
        "training": False,
        "momentum": 0.1,
        "eps": 1e-5,
    },
    "instance_norm": {
        "input": None,
        "running_mean": None,
        "running_var": None,
        "weight": None,
        "bias": None,
        "use_input_stats": True,
    },
    "leaky_relu": {"input": None, "negative_slope": 0.01, "inplace": False},
    "layer_norm": {"input": None, "normalized_shape": None, "weight": None, "bias": None, "eps": 1e-5},
    "rms_norm": {"input": None, "normalized_shape": None, "weight": None, "eps": None},
    "linear": {"input": None, "weight": None, "bias": None},
    "einsum": {"equation": None},
    "cat": {"tensors": None, "dim": 0},
    "stack": {"tensors": None, "dim": 0},
    "chunk": {"input": None, "chunks": None, "dim": 0},
    "split": {"tensor": None, "split_size_or_sections": None, "dim": 0},
    "unbind": {"input": None, "dim": 0},
    "select": {"input": None, "dim": None, "index": None},
    "glu": {"input": None, "dim": -1},
    "normalize": {"input": None, "p": 2.0, "dim": 1},
    "norm": {"input": None, "p": "fro", "dim": None, "keepdim": False},
    "softmax": {"input": None, "dim": None},
    "cumsum": {"input": None, "dim": None},
    "roll": {"input": None, "shifts": None, "dims": None},
    "flip": {"input": None, "dims": None},
    **dict.fromkeys(REDUCTIONS, _REDUCTION),
}
_SIGNATURES |= {"concat": _SIGNATURES["cat"], "concatenate": _SIGNATURES["cat"], "log_softmax": _SIGNATURES["softmax"]}
_SIGNATURES |= {"softmin": _SIGNATURES["softmax"], "fliplr": _SIGNATURES["flip"], "cumprod": _SIGNATURES["cumsum"]}


_SYNONYMS = {"axis": "dim", "self": "input", "x": "input"}  # names that torch takes too


def base_name(function: str) -> str:
    """Name of a function without its number of axes.

    >>> base_name("conv_transpose3d"), base_name("interpolate")
    ('conv_transpose', 'interpolate')
    """
    return function[:-2] if function[-2:] in ("1d", "2d", "3d") else function


def bind(function: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
    """Arguments of one call by name, with torch's defaults for those that were left out.

    Parameters
    ----------
    function : str
        Such as "conv2d".
    args, kwargs
        As it was called.

    Raises
    ------
    KeyError
        If the table has no signature of the function.

    Examples
    --------
    >>> bind("max_pool2d", ("x", 2), {"padding": 1})["stride"] is None
    True
    """
    signature = _SIGNATURES[base_name(function)]
    named = {
        _SYNONYMS.get(name, name) if _SYNONYMS.get(name, name) in signature else name: v for name, v in kwargs.items()
    }
    return {**signature, **dict(zip(signature, args, strict=False)), **named}


def per_axis(value: Any, ndim: int) -> tuple[int, ...]:
    """One int per axis from an int for all, a sequence of one, or a sequence of `ndim`.

    >>> per_axis(2, 3), per_axis([1], 2), per_axis((1, 2), 2)
    ((2, 2, 2), (1, 1), (1, 2))
    """
    return (int(value),) * ndim if isinstance(value, int) else tuple(int(v) for v in value) * (ndim // len(value))
