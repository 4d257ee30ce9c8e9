"""Arguments of torch functions by name: the one table of their signatures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Arguments", "base_name", "bind", "per_axis"]

Arguments = dict[str, Any]

# Argument names in the order of torch's positional arguments, with their defaults (None where there is none).
_POOLING: Arguments = {"input": None, "kernel_size": None, "stride": None, "padding": 0}
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
    "leaky_relu": {"input": None, "negative_slope": 0.01, "inplace": False},
}


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
    return {**signature, **dict(zip(signature, args, strict=False)), **kwargs}


def per_axis(value: Any, ndim: int) -> tuple[int, ...]:
    """One int per axis from an int for all, a sequence of one, or a sequence of `ndim`.

    >>> per_axis(2, 3), per_axis([1], 2), per_axis((1, 2), 2)
    ((2, 2, 2), (1, 1), (1, 2))
    """
    return (int(value),) * ndim if isinstance(value, int) else tuple(int(v) for v in value) * (ndim // len(value))
