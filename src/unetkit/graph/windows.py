"""What each torch function does to space: its window per axis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..geometry import Window, interpolation

Reading = tuple[str, tuple[Window, ...]]


class Unreadable(Exception):
    """A layer whose effect on space is not known; the message says why."""


class Misfit(Unreadable):
    """A layer that cannot be read at this image size; another size may do."""


@dataclass(frozen=True)
class Call:
    """One call of a torch function.

    Attributes
    ----------
    function : str
        Its name, such as "conv2d".
    args, kwargs
        As it was called.
    shapes : tuple of Size
        Shapes (N, C, *spatial) of the arguments that depend on the net's input.
    constants : tuple of Size
        Shapes of the other tensors among the arguments: weights.
    result : Size
        Shape of the result.
    pooled : tuple of bool
        For each of `shapes` whether it is a map pooled over all of space, one pixel that stands for all.
    """

    function: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shapes: tuple[torch.Size, ...]
    constants: tuple[torch.Size, ...]
    result: torch.Size
    pooled: tuple[bool, ...] = ()

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return len(self.result) - 2

    def bind(self, names: str) -> dict[str, Any]:
        """Arguments by name, given the names of the positional ones."""
        return dict(zip(names.split(), self.args, strict=False)) | self.kwargs


def interpret(call: Call) -> Reading:
    """Kind and windows of one call of a torch function; raises `Unreadable` with the reason."""
    if len({len(shape) for shape in (*call.shapes, call.result)}) > 1:
        raise Unreadable(f"it changes the number of axes from {len(call.shapes[0])} to {len(call.result)}")
    if call.pooled and all(call.pooled):
        if not _is_pixel(call.result):
            raise Unreadable("it enlarges a map that was pooled over all of space")
        return _interpret(call)[0], (Window(),) * call.ndim
    return _interpret(call)


def pools_space(call: Call) -> bool:
    """Whether the result of a readable call is one pixel that stands for all of space.

    Its window is that of a layer which keeps the size: laid over the map it was pooled from, the pixel is as large.
    """
    return _is_pixel(call.result) and (_is_global(call) or (bool(call.pooled) and all(call.pooled)))


def _is_pixel(shape: torch.Size) -> bool:
    return all(n == 1 for n in shape[2:])


def _is_global(call: Call) -> bool:
    """Whether a call pools over all of space: adaptive pooling to one pixel, or a mean over every spatial axis."""
    if len(call.result) < 3 or not _is_pixel(call.result):
        return False
    if call.function.startswith("adaptive_"):
        return True
    if call.function not in _REDUCTIONS:
        return False
    dim = call.kwargs.get("dim", call.kwargs.get("axis", call.args[1] if len(call.args) > 1 else None))
    axes = {axis % len(call.result) for axis in dim} if isinstance(dim, tuple | list) else set()
    return axes in ({*range(2, len(call.result))}, {*range(1, len(call.result))})  # the latter with all channels


def _interpret(call: Call) -> Reading:
    if _is_global(call):
        return _statistics(call)
    for name, reader in _READERS.items():
        if call.function == name or call.function.removesuffix(f"{call.ndim}d") == name:
            return reader(call)
    return _pointwise(call)


def _per_axis(value: Any, ndim: int) -> tuple[int, ...]:
    return (int(value),) * ndim if isinstance(value, int) else tuple(int(v) for v in value) * (ndim // len(value))


def _convolution(call: Call) -> Reading:
    a = call.bind("input weight bias stride padding dilation groups")
    ndim, kernel = call.ndim, a["weight"].shape[2:]
    stride, dilation = (_per_axis(a.get(key, 1), ndim) for key in ("stride", "dilation"))
    padding = a.get("padding", 0)
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        pads = [(t // 2, t - t // 2) for t in total]
    else:
        pads = [(p, p) for p in _per_axis(0 if padding == "valid" else padding, ndim)]
    rows = zip(kernel, stride, dilation, pads, strict=True)
    return "convolution", tuple(Window(k, s, d, *p) for k, s, d, p in rows)


def _transposed(call: Call) -> Reading:
    a = call.bind("input weight bias stride padding output_padding groups dilation")
    ndim = call.ndim
    stride, dilation = (_per_axis(a.get(key, 1), ndim) for key in ("stride", "dilation"))
    padding, extra = (_per_axis(a.get(key, 0), ndim) for key in ("padding", "output_padding"))
    rows = zip(a["weight"].shape[2:], stride, dilation, padding, extra, strict=True)
    return "transposed convolution", tuple(Window(k, s, d, p, p - e, transposed=True) for k, s, d, p, e in rows)


def _pooling(names: str) -> Callable[..., Reading]:
    def read(call: Call) -> Reading:
        a = call.bind(names)
        ndim = call.ndim
        kernel = _per_axis(a["kernel_size"], ndim)
        stride = _per_axis(a["stride"], ndim) if a.get("stride") else kernel
        padding, dilation = _per_axis(a.get("padding", 0), ndim), _per_axis(a.get("dilation", 1), ndim)
        ceil = bool(a.get("ceil_mode", False))
        rows = zip(kernel, stride, dilation, padding, strict=True)
        return "pooling", tuple(Window(k, s, d, p, p, ceil=ceil) for k, s, d, p in rows)

    return read


def _interpolate(call: Call) -> Reading:
    a = call.bind("input size scale_factor mode align_corners recompute_scale_factor antialias")
    mode = a.get("mode", "nearest")
    taps = {"nearest": 1, "nearest-exact": 1, "linear": 2, "bilinear": 2, "trilinear": 2, "bicubic": 4}.get(mode)
    if taps is None or a.get("antialias"):
        raise Unreadable(f"interpolation mode {mode!r} (antialias={a.get('antialias')}) has no fixed window")
    if a.get("align_corners"):
        raise Unreadable("align_corners=True maps pixels differently for every image size; use align_corners=False")
    windows = []
    for n, m in zip(call.shapes[0][2:], call.result[2:], strict=True):
        if m % n == 0:
            windows.append(interpolation(m // n, taps=taps))
        elif n % m == 0 and mode == "nearest":
            windows.append(Window(1, n // m))
        else:
            raise Misfit(f"it resizes {n} to {m} pixels, which is no whole factor")
    return "interpolation", tuple(windows)


def _pad(call: Call) -> Reading:
    a = call.bind("input pad mode value")
    if a.get("mode") == "circular":
        raise Unreadable("circular padding reads the opposite border, so no output depends on its surroundings alone")
    pads = list(a["pad"])
    pairs = [(pads[i], pads[i + 1]) for i in range(0, len(pads), 2)][::-1]  # torch lists the last axis first
    ndim = call.ndim
    if any(pair != (0, 0) for pair in pairs[:-ndim]):
        return "pad", (Window(),) * ndim  # channels padded
    pairs = [(0, 0)] * (ndim - len(pairs)) + pairs[-ndim:]
    return "pad", tuple(Window(before=before, after=after) for before, after in pairs)


def _getitem(call: Call) -> Reading:
    index = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    if not all(isinstance(i, slice) or i is Ellipsis for i in index):
        raise Unreadable(f"it is indexed by {index!r}; only slices can be read")
    ndim = len(call.shapes[0])
    if Ellipsis in index:
        at = index.index(Ellipsis)
        index = (*index[:at], *(slice(None),) * (ndim - len(index) + 1), *index[at + 1 :])
    index = (*index, *(slice(None),) * (ndim - len(index)))
    windows = []
    for part, n in zip(index[2:], call.shapes[0][2:], strict=True):
        start, stop, step = part.indices(n)
        windows.append(Window(1, step, before=-start, after=stop - n))
    return "pad", tuple(windows)


def _narrow(call: Call) -> Reading:
    a = call.bind("input dim start length")
    windows = [Window()] * call.ndim
    axis = a["dim"] % (call.ndim + 2)
    if axis >= 2:  # 0 and 1 are samples and channels
        n = call.shapes[0][axis]
        start = int(a["start"]) % n
        windows[axis - 2] = Window(before=-start, after=start + a["length"] - n)
    return "pad", tuple(windows)


def _shuffle(call: Call) -> Reading:
    r = call.args[1] if len(call.args) > 1 else next(iter(call.kwargs.values()))
    return "interpolation", (Window(r, r, transposed=call.shapes[0][2] < call.result[2]),) * (call.ndim)


def _batch_norm(call: Call) -> Reading:
    a = call.bind("input running_mean running_var weight bias training momentum eps")
    frozen = a.get("running_mean") is not None and not a.get("training", False)
    return "pointwise" if frozen else "statistics", (Window(),) * (call.ndim)


def _statistics(call: Call) -> Reading:
    return "statistics", (Window(),) * (call.ndim)


_POINTWISE = """
relu relu6 leaky_relu prelu elu selu celu gelu silu mish hardswish hardsigmoid hardtanh softplus softsign tanh sigmoid
logsigmoid exp log sqrt rsqrt square abs neg clamp clip threshold dropout dropout1d dropout2d dropout3d alpha_dropout
feature_dropout feature_alpha_dropout contiguous clone detach to float half double bfloat16 type type_as identity get
add iadd radd sub isub rsub mul imul rmul div idiv truediv itruediv rtruediv pow maximum minimum where lerp addcmul
""".split()  # noqa: SIM905 - a list of words reads better as words
_REDUCTIONS = ("mean", "sum", "amax", "amin", "std", "var", "logsumexp")
_OVER_CHANNELS = """
softmax log_softmax argmax amax amin max mean sum std var cat concat concatenate glu chunk split unbind normalize
""".split()  # noqa: SIM905


def _pointwise(call: Call) -> Reading:
    if call.function not in _POINTWISE and call.function not in _OVER_CHANNELS:
        raise Unreadable("its effect on space is not known")
    if call.function in _OVER_CHANNELS:
        numbers = [a for a in call.args[1:] if isinstance(a, int)]
        dim = call.kwargs.get("dim", call.kwargs.get("axis", numbers[-1] if numbers else None))
        dim = dim[0] if isinstance(dim, tuple | list) and len(dim) == 1 else dim
        if not isinstance(dim, int) or dim % len(call.result) != 1:
            raise Unreadable(f"it works along axis {dim}, not along the channels (axis 1)")
    pooled = call.pooled or (False,) * len(call.shapes)
    whole = [shape for shape, is_pixel in zip(call.shapes, pooled, strict=True) if not is_pixel]
    spatial = {tuple(shape[2:]) for shape in (*whole, call.result)}
    if len(spatial) > 1:
        raise Unreadable(f"it joins maps of the sizes {sorted(spatial)}, so it mixes all of space")
    # prelu's weight lists channels; any other constant is laid over the last axes, which are space
    if call.function != "prelu" and any(n > 1 for shape in call.constants for n in shape[-call.ndim :]):
        raise Unreadable("it holds weights that depend on the position")
    return "join" if len(call.shapes) > 1 else "pointwise", (Window(),) * call.ndim


_READERS: dict[str, Callable[..., Reading]] = {
    "conv": _convolution,
    "conv_transpose": _transposed,
    "max_pool": _pooling("input kernel_size stride padding dilation ceil_mode return_indices"),
    "avg_pool": _pooling("input kernel_size stride padding ceil_mode count_include_pad divisor_override"),
    "interpolate": _interpolate,
    "pad": _pad,
    "getitem": _getitem,
    "narrow": _narrow,
    "pixel_shuffle": _shuffle,
    "pixel_unshuffle": _shuffle,
    "batch_norm": _batch_norm,
    "instance_norm": _statistics,
    "group_norm": _statistics,
}
