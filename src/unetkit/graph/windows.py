"""The window of each torch function per axis of the image: the pixels that one of its outputs reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

from ..geometry import Window, interpolation
from .layout import Placement, channels_only, has_space, standard, whole_axes
from .signatures import base_name, per_axis
from .trace import TracedCall

__all__ = ["Misfit", "Reading", "Unreadable", "function_kind", "has_window", "read_windows", "resized_windows"]


class Unreadable(Exception):
    """A layer whose effect on space is not known; the message says why."""


class Misfit(Unreadable):
    """A layer that cannot be read at this image size; another size may do."""


@dataclass(frozen=True)
class Reading:
    """The effect of one call of a torch function on space.

    Attributes
    ----------
    kind : str
        As in `graph.graph.Layer`.
    windows : tuple of Window
        Per axis of the image.
    placements : tuple of Placement
        Of each tensor that it returns.
    reason : str
        Why an output depends on more than its window; empty where it does not.
    follows : int
        Index of the map, among those of the call, whose size the result has.
    """

    kind: str
    windows: tuple[Window, ...]
    placements: tuple[Placement, ...]
    reason: str = ""
    follows: int = 0


_TAPS = {"nearest": 1, "nearest-exact": 1, "linear": 2, "bilinear": 2, "trilinear": 2, "bicubic": 4}
_Windows = tuple[str, tuple[Window, ...], str]  # kind, windows of the tensor's last axes, reason


def read_windows(call: TracedCall) -> Reading | None:
    """Read a function with a window along the last axes of a tensor; None for all others.

    Raises
    ------
    Unreadable
        With the reason.
    """
    reader = _READERS.get(base_name(call.function))
    if reader is None or not call.placements:
        return None
    place = call.placements[0]
    if place.is_fixed:
        return _of_fixed(call, reader(call)[0], place)
    kind, of_tensor, reason = reader(call)
    still = (Window(),) * len(place.size)
    if base_name(call.function).startswith("adaptive_"):
        return Reading(kind, still, (Placement(place.size, channels_only(call.result)),) * len(call.results), reason)
    layout, first = place.layout, len(call.result) - len(of_tensor)  # windows are those of the last axes
    image_axis = {} if layout is None else dict(whole_axes(layout, place.size))
    mixed = [at for at, w in enumerate(of_tensor, start=first) if w != Window() and at not in image_axis]
    weighed = layout[1:2] if layout and first == 2 else ()  # the axis of the channels, each with weights of its own
    if layout is None or any(has_space(parts) for parts in (*(layout[at] for at in mixed), *weighed)):
        reason = reason or "it works along an axis that is not one of the image"
        return Reading(kind, still, tuple(Placement(place.size, None) for _ in call.results), reason)
    windows, size, axes = list(still), list(place.size), list(channels_only(call.result))
    for at, axis in image_axis.items():
        windows[axis] = of_tensor[at - first] if at >= first else Window()
        size[axis] = call.result[at]
    for at, parts in enumerate(layout):
        if has_space(parts):
            axes[at] = (replace(parts[0], length=size[parts[0].axis]),) if at in image_axis else parts
    placed = Placement(tuple(size), tuple(axes))
    return Reading(kind, tuple(windows), (placed,) * len(call.results), reason)


def _of_fixed(call: TracedCall, kind: str, place: Placement) -> Reading:
    """A function of a map whose size is fixed: it stays so, unless it is enlarged to the size it is laid over."""
    follows = base_name(call.function) == "interpolate" and tuple(call.result[2:]) == place.size
    layout = standard(call.result) if follows else channels_only(call.result)
    still = (Window(),) * len(place.size)
    return Reading(kind, still, (Placement(place.size, layout),) * len(call.results))


def resized_windows(size: Sequence[int], to: Sequence[int]) -> tuple[Window, ...]:
    """Windows of a layer of which no more is known than the sizes before and after it."""
    windows = []
    for n, m in zip(size, to, strict=True):
        if m % n == 0:
            windows.append(interpolation(m // n, taps=1))
        elif n % m == 0:
            windows.append(Window(n // m, n // m))
        else:
            raise Misfit(f"it makes {m} pixels of {n}, which is no whole factor")
    return tuple(windows)


def _convolution(call: TracedCall) -> _Windows:
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
    return "convolution", tuple(Window(k, s, d, *p) for k, s, d, p in rows), ""


def _transposed(call: TracedCall) -> _Windows:
    a = call.bind()
    ndim = call.ndim
    stride, dilation = (per_axis(a[key], ndim) for key in ("stride", "dilation"))
    padding, extra = (per_axis(a[key], ndim) for key in ("padding", "output_padding"))
    rows = zip(a["weight"].shape[2:], stride, dilation, padding, extra, strict=True)
    windows = tuple(Window(k, s, d, p, p - e, transposed=True) for k, s, d, p, e in rows)
    return "transposed convolution", windows, ""


def _pooling(call: TracedCall) -> _Windows:
    a, ndim = call.bind(), call.ndim
    kernel = per_axis(a["kernel_size"], ndim)
    stride = per_axis(a["stride"], ndim) if a["stride"] else kernel
    padding, dilation = per_axis(a["padding"], ndim), per_axis(a.get("dilation", 1), ndim)
    rows = zip(kernel, stride, dilation, padding, strict=True)
    return "pooling", tuple(Window(k, s, d, p, p, ceil=bool(a["ceil_mode"])) for k, s, d, p in rows), ""


def _adaptive_pooling(call: TracedCall) -> _Windows:
    cells = " x ".join(map(str, call.result[2:]))
    of = "one value" if prod(call.result[2:]) == 1 else f"{cells} cells, whatever its size"
    return "statistics", (Window(),) * call.ndim, f"it pools the image to {of}"


def _interpolate(call: TracedCall) -> _Windows:
    a, (before, after) = call.bind(), (call.shapes[0][2:], call.result[2:])
    mode = a["mode"]
    if before == after and not a["align_corners"]:
        return "interpolation", (Window(),) * len(after), ""
    if call.placements[0].is_fixed:  # its size is fixed, or that over which it is laid
        return "interpolation", (Window(),) * len(after), ""
    if a["align_corners"]:
        return "interpolation", resized_windows(before, after), "align_corners=True shifts pixels by the image's size"
    windows = []
    for n, m in zip(before, after, strict=True):
        if m % n == 0 and mode in _TAPS:
            windows.append(interpolation(m // n, taps=_TAPS[mode]))
        elif n % m == 0 and mode == "nearest":
            windows.append(Window(1, n // m))
        elif n % m == 0 and mode == "area":
            windows.append(Window(n // m, n // m))
        elif n % m == 0 and mode in _TAPS and not a["antialias"]:
            windows.append(_shrinking(n // m, taps=_TAPS[mode]))
        elif n % m == 0 and a["antialias"]:
            windows.append(Window(n // m, n // m))  # about
        else:
            raise Misfit(f"it resizes {n} to {m} pixels, which is no whole factor")
    is_known = not a["antialias"]
    return "interpolation", tuple(windows), "" if is_known else "with antialias=True it has no fixed window"


def _shrinking(factor: int, *, taps: int) -> Window:
    """Window of an interpolation to every so many pixels, half-pixel centres: those around the middle of each cell."""
    taps = taps if factor % 2 == 0 else 1  # odd factors hit a pixel exactly
    first = (factor - taps + 1) // 2
    return Window(taps, factor, before=-first, after=first + taps - factor)


def _pad(call: TracedCall) -> _Windows:
    a = call.bind()
    pads = list(a["pad"])
    pairs = [(pads[i], pads[i + 1]) for i in range(0, len(pads), 2)][::-1]  # torch lists the last axis first
    pairs = [(0, 0)] * (len(call.result) - len(pairs)) + pairs
    windows = tuple(Window(before=before, after=after) for before, after in pairs)
    return "pad", windows, "circular padding reads the opposite border" if a["mode"] == "circular" else ""


def _shuffle(call: TracedCall) -> _Windows:
    _, r = call.bind().values()
    return "interpolation", (Window(r, r, transposed=call.shapes[0][2] < call.result[2]),) * call.ndim, ""


def _batch_norm(call: TracedCall) -> _Windows:
    a = call.bind()
    if a["running_mean"] is not None and not a["training"]:
        return "pointwise", (Window(),) * call.ndim, ""
    return "statistics", (Window(),) * call.ndim, "it takes the mean and deviation of the image"


def _instance_norm(call: TracedCall) -> _Windows:
    a = call.bind()
    if a["running_mean"] is not None and not a["use_input_stats"]:  # its own mean and deviation, as batch norm
        return "pointwise", (Window(),) * call.ndim, ""
    return _statistics(call)


def _statistics(call: TracedCall) -> _Windows:
    return "statistics", (Window(),) * call.ndim, "it takes the mean and deviation of the image"


def has_window(call: TracedCall) -> bool:
    """Whether a function works along the axes of a map, so that it must be known where they are."""
    return base_name(call.function) in _READERS


def function_kind(function: str) -> str:
    """Kind of a function that works pixel by pixel: "convolution" for those that weigh channels."""
    return "convolution" if function == "linear" else "pointwise"


_READERS: dict[str, Callable[[TracedCall], _Windows]] = {
    "conv": _convolution,
    "conv_transpose": _transposed,
    "max_pool": _pooling,
    "avg_pool": _pooling,
    "adaptive_avg_pool": _adaptive_pooling,
    "adaptive_max_pool": _adaptive_pooling,
    "interpolate": _interpolate,
    "pad": _pad,
    "pixel_shuffle": _shuffle,
    "pixel_unshuffle": _shuffle,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": _statistics,
}
