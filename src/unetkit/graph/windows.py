"""The window of each torch function per axis: the pixels that one of its outputs reads."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..geometry import Window, interpolation
from .signatures import base_name, per_axis
from .trace import TracedCall

Reading = tuple[str, tuple[Window, ...]]


class Unreadable(Exception):
    """A layer whose effect on space is not known; the message says why."""


class Misfit(Unreadable):
    """A layer that cannot be read at this image size; another size may do."""


def interpret(call: TracedCall) -> Reading:
    """Kind and windows of one call of a torch function; raises `Unreadable` with the reason."""
    if len({len(shape) for shape in (*call.shapes, call.result)}) > 1:
        raise Unreadable(f"it changes the number of axes from {len(call.shapes[0])} to {len(call.result)}")
    if call.pooled and all(call.pooled):
        if not _is_pixel(call.result):
            raise Unreadable("it enlarges a map that was pooled over all of space")
        return _interpret(call)[0], (Window(),) * call.ndim
    return _interpret(call)


def pools_space(call: TracedCall) -> bool:
    """Whether the result of a readable call is one pixel that stands for all of space.

    Its window is that of a layer which keeps the size: laid over the map it was pooled from, the pixel is as large.
    """
    return _is_pixel(call.result) and (_is_global(call) or (bool(call.pooled) and all(call.pooled)))


def _is_pixel(shape: torch.Size) -> bool:
    return all(n == 1 for n in shape[2:])


def _is_global(call: TracedCall) -> bool:
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


def _interpret(call: TracedCall) -> Reading:
    if _is_global(call):
        return _statistics(call)
    return _READERS.get(base_name(call.function), _pointwise)(call)


def _convolution(call: TracedCall) -> Reading:
    a = call.bind()
    ndim, kernel = call.ndim, a["weight"].shape[2:]
    stride, dilation = (per_axis(a[key], ndim) for key in ("stride", "dilation"))
    padding = a["padding"]
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        pads = [(t // 2, t - t // 2) for t in total]
    else:
        pads = [(p, p) for p in per_axis(0 if padding == "valid" else padding, ndim)]
    rows = zip(kernel, stride, dilation, pads, strict=True)
    return "convolution", tuple(Window(k, s, d, *p) for k, s, d, p in rows)


def _transposed(call: TracedCall) -> Reading:
    a = call.bind()
    ndim = call.ndim
    stride, dilation = (per_axis(a[key], ndim) for key in ("stride", "dilation"))
    padding, extra = (per_axis(a[key], ndim) for key in ("padding", "output_padding"))
    rows = zip(a["weight"].shape[2:], stride, dilation, padding, extra, strict=True)
    return "transposed convolution", tuple(Window(k, s, d, p, p - e, transposed=True) for k, s, d, p, e in rows)


def _pooling(call: TracedCall) -> Reading:
    a, ndim = call.bind(), call.ndim
    kernel = per_axis(a["kernel_size"], ndim)
    stride = per_axis(a["stride"], ndim) if a["stride"] else kernel
    padding, dilation = per_axis(a["padding"], ndim), per_axis(a.get("dilation", 1), ndim)
    rows = zip(kernel, stride, dilation, padding, strict=True)
    return "pooling", tuple(Window(k, s, d, p, p, ceil=bool(a["ceil_mode"])) for k, s, d, p in rows)


def _interpolate(call: TracedCall) -> Reading:
    a = call.bind()
    mode = a["mode"]
    taps = {"nearest": 1, "nearest-exact": 1, "linear": 2, "bilinear": 2, "trilinear": 2, "bicubic": 4}.get(mode)
    if taps is None or a["antialias"]:
        raise Unreadable(f"interpolation mode {mode!r} (antialias={a['antialias']}) has no fixed window")
    if a["align_corners"]:
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


def _pad(call: TracedCall) -> Reading:
    a = call.bind()
    if a["mode"] == "circular":
        raise Unreadable("circular padding reads the opposite border, so no output depends on its surroundings alone")
    pads = list(a["pad"])
    pairs = [(pads[i], pads[i + 1]) for i in range(0, len(pads), 2)][::-1]  # torch lists the last axis first
    ndim = call.ndim
    if any(pair != (0, 0) for pair in pairs[:-ndim]):
        return "pad", (Window(),) * ndim  # channels padded
    pairs = [(0, 0)] * (ndim - len(pairs)) + pairs[-ndim:]
    return "pad", tuple(Window(before=before, after=after) for before, after in pairs)


def _getitem(call: TracedCall) -> Reading:
    index = call.bind()["index"]
    index = index if isinstance(index, tuple) else (index,)
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


def _narrow(call: TracedCall) -> Reading:
    a = call.bind()
    windows = [Window()] * call.ndim
    axis = a["dim"] % (call.ndim + 2)
    if axis >= 2:  # 0 and 1 are samples and channels
        n = call.shapes[0][axis]
        start = int(a["start"]) % n
        windows[axis - 2] = Window(before=-start, after=start + a["length"] - n)
    return "pad", tuple(windows)


def _shuffle(call: TracedCall) -> Reading:
    _, r = call.bind().values()
    return "interpolation", (Window(r, r, transposed=call.shapes[0][2] < call.result[2]),) * (call.ndim)


def _batch_norm(call: TracedCall) -> Reading:
    a = call.bind()
    frozen = a["running_mean"] is not None and not a["training"]
    return "pointwise" if frozen else "statistics", (Window(),) * (call.ndim)


def _statistics(call: TracedCall) -> Reading:
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


def _pointwise(call: TracedCall) -> Reading:
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
    if call.function != "prelu" and any(n > 1 for constant in call.constants for n in constant.shape[-call.ndim :]):
        raise Unreadable("it holds weights that depend on the position")
    return "join" if len(call.shapes) > 1 else "pointwise", (Window(),) * call.ndim


_READERS: dict[str, Callable[..., Reading]] = {
    "conv": _convolution,
    "conv_transpose": _transposed,
    "max_pool": _pooling,
    "avg_pool": _pooling,
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
