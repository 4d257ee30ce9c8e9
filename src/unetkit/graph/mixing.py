"""Functions that mix, move or join whole axes of a tensor: local where they leave the axes of the image as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..geometry import Window
from .layout import CHANNEL, Layout, Part, Placement, aligned, channels_only, has_space, laid_out_as, rescaled, standard
from .signatures import REDUCTIONS, base_name
from .trace import TracedCall, flat
from .windows import Misfit, Reading, Unreadable, function_kind

__all__ = ["keeps_uniform", "read_axes"]

_ELEMENTWISE = """
relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish hardswish hardsigmoid hardtanh hardshrink softplus
softsign softshrink tanhshrink threshold tanh sigmoid logsigmoid log_sigmoid exp expm1 log log1p log2 sqrt rsqrt square
abs neg sign sin cos erf clamp clip clamp_min clamp_max clip_ reciprocal round floor ceil nan_to_num dropout dropout1d
dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout contiguous clone detach to float half double
bfloat16 type type_as identity data bool int long add iadd radd sub isub rsub mul imul rmul div idiv truediv itruediv
rtruediv pow ipow rpow maximum minimum where lerp addcmul addcdiv masked_fill eq ne lt le gt ge logical_and logical_or
logical_not and or invert fill zero copy requires_grad true_divide multiply divide subtract channel_shuffle
""".split()  # noqa: SIM905 - a list of words reads better as words
_VIEWS = """
permute transpose swapaxes swapdims movedim moveaxis view reshape flatten unflatten unsqueeze squeeze ravel T mT H mH t
adjoint view_as reshape_as
""".split()  # noqa: SIM905
_REPEATS = ("expand", "expand_as", "broadcast_to", "repeat", "tile")
_ALONG = ("softmax", "log_softmax", "softmin", "normalize", "cumsum", "cumprod", "roll", "flip", "fliplr", "glu")
_JOINS = ("cat", "concat", "concatenate", "stack")
_ATTENTION = "pixels attend to others, near or far"


def read_axes(func: Callable[..., Any], call: TracedCall) -> Reading:
    """Read a function without a window.

    One that is not known is read as one that reads all of space.

    Raises
    ------
    Unreadable
        With the reason.
    """
    name = base_name(call.function)
    if all(place.is_fixed for place in call.placements) and name not in _REPEATS:
        return _reading(call, [channels_only(shape) for shape in call.results], kind=function_kind(call.function))
    if name in _ELEMENTWISE:
        return _elementwise(call)
    if name in _VIEWS:
        return _view(func, call)
    reader = _READERS.get(name)
    if reader is not None:
        if any(place.layout is None for place in call.placements):
            return _reading(call, [None] * len(call.results), kind=function_kind(call.function))
        return reader(call)
    reason = _ATTENTION if "attention" in name else "its effect on space is not known"
    alike = [call.placements[_main(call)].layout if shape == call.shapes[0] else None for shape in call.results]
    return _reading(call, alike, kind="statistics", reason=reason)


def keeps_uniform(function: str) -> bool:
    """Whether a function of tensors of one value each returns one."""
    name = base_name(function)
    return name in _ELEMENTWISE or name in _VIEWS or name in _REPEATS


def _reading(
    call: TracedCall,
    layouts: Sequence[Layout | None],
    *,
    kind: str = "pointwise",
    reason: str = "",
    follows: int | None = None,
) -> Reading:
    follows = _main(call) if follows is None else follows
    size = call.placements[follows].size
    placed = tuple(Placement(size, layout) for layout in layouts)
    return Reading(kind, (Window(),) * len(size), placed, reason, follows)


def _main(call: TracedCall) -> int:
    """Index of the first map that follows the size of the image, if any does."""
    return next((i for i, place in enumerate(call.placements) if not place.is_fixed), 0)


def _known(call: TracedCall) -> list[Layout]:
    return [place.layout for place in call.placements if place.layout is not None]


# --- element by element ---


def _elementwise(call: TracedCall) -> Reading:
    kind = "join" if len(call.maps) > 1 else "pointwise"
    layouts = _known(call)
    if len(layouts) < len(call.placements):
        return _reading(call, [None], kind=kind)
    layout = aligned(layouts)
    if layout is None:
        shapes = " and ".join(str(tuple(shape)) for shape in call.shapes)
        sizes = {place.size for place in call.placements if not place.is_fixed}
        if len(sizes) > 1:
            raise Misfit(f"it joins maps of the shapes {shapes}, so it mixes all of space")
        return _reading(call, [None], kind="statistics", reason=f"it joins axes of the image that differ: {shapes}")
    reason = _position(call, layout)
    return _reading(call, [layout] * len(call.results), kind=kind, reason=reason)


def _position(call: TracedCall, layout: Layout) -> str:
    """The reason why a result depends on where a pixel lies: constants that differ along an axis of the image."""
    if call.function == "prelu":  # lists channels
        return ""
    for constant in call.constants:
        axes = zip(reversed(layout), reversed(constant.shape), reversed(constant.stride()), strict=False)
        if any(n > 1 and stride and has_space(parts) for parts, n, stride in axes):
            return "it holds weights that depend on the position"
    return ""


# --- views, repetition ---


def _view(func: Callable[..., Any], call: TracedCall) -> Reading:
    layout = call.placements[0].layout
    if layout is None:
        return _reading(call, [None])
    plain = torch.empty(call.shapes[0], device="meta")
    if call.function in ("T", "mT", "H", "mH"):
        view: Tensor = getattr(plain, call.function)
    else:
        args = [plain if a is call.maps[0] else a for a in call.args]
        kwargs = {key: plain if a is call.maps[0] else a for key, a in call.kwargs.items()}
        view = func(*args, **kwargs)
    result = laid_out_as(layout, view.shape, view.stride())
    size = call.placements[0].size
    moved = None if result is None else rescaled(result, size)
    if moved is None:
        return _reading(call, [result])
    factors, result = moved
    windows = tuple(Window(abs(f), abs(f), transposed=f < 0) if abs(f) > 1 else Window() for f in factors)
    new = tuple(n // f if f > 0 else n * -f for n, f in zip(size, factors, strict=True))
    return Reading("interpolation", windows, (Placement(new, result),))


def _repeat(call: TracedCall) -> Reading:
    place, shape = call.placements[0], call.result
    if place.is_fixed:
        follows = len(shape) == len(place.size) + 2 and tuple(shape[2:]) == place.size
        return _reading(call, [standard(shape) if follows else channels_only(shape)])
    before = [1] * (len(shape) - len(call.shapes[0])) + list(call.shapes[0])
    parts = [()] * (len(shape) - len(call.shapes[0])) + list(place.layout or ())
    axes: list[tuple[Part, ...]] = []
    for n, m, own in zip(before, shape, parts, strict=True):
        if n != m and has_space(own):
            return _reading(call, [None], kind="statistics", reason="it repeats the image side by side")
        axes.append(own if n == m else channels_only([m])[0])
    return _reading(call, [tuple(axes)])


# --- along axes ---


def _axes(call: TracedCall, dim: Any) -> tuple[int, ...]:
    n = len(call.shapes[0])
    if dim is None or (isinstance(dim, tuple | list) and not dim):
        return tuple(range(n))
    return tuple(int(d) % n for d in (dim if isinstance(dim, tuple | list) else (dim,)))


def _along(call: TracedCall) -> Reading:
    """Softmax and others that keep the shape, or halve an axis."""
    layout, a = _known(call)[0], call.bind()
    axes = _axes(call, a.get("dim", a.get("dims")))
    reason = "" if not any(has_space(layout[axis]) for axis in axes) else f"{call.function} runs over all of space"
    if call.result == call.shapes[0]:
        return _reading(call, [layout], kind="statistics" if reason else "pointwise", reason=reason)
    result = [p if i not in axes else channels_only([call.result[i]])[0] for i, p in enumerate(layout)]
    return _reading(
        call, [None if reason else tuple(result)], kind="statistics" if reason else "pointwise", reason=reason
    )


def _reduction(call: TracedCall) -> Reading:
    if len(call.maps) > 1 or (len(call.args) > 1 and isinstance(call.args[1], Tensor)):
        return _elementwise(call)  # torch.max(a, b)
    layout, axes = _known(call)[0], _axes(call, call.bind()["dim"])
    reason = "it takes statistics over space" if any(has_space(layout[axis]) for axis in axes) else ""
    kept = len(call.result) == len(layout)
    left = [() if i in axes else parts for i, parts in enumerate(layout) if kept or i not in axes]
    kind = "statistics" if reason else "pointwise"
    return _reading(call, [tuple(left)] * len(call.results), kind=kind, reason=reason)


def _norm(call: TracedCall) -> Reading:
    """Layer norm and RMS norm, over the last axes."""
    layout, shape = _known(call)[0], call.bind()["normalized_shape"]
    over = layout[-(1 if isinstance(shape, int) else len(shape)) :]
    reason = "it takes the mean and deviation of the image" if any(map(has_space, over)) else ""
    return _reading(call, [layout], kind="statistics" if reason else "pointwise", reason=reason)


# --- joined and taken apart ---


def _join(call: TracedCall) -> Reading:
    n = len(call.result)
    dim = int(call.bind()["dim"]) % n
    layouts = list(_known(call))
    if call.function == "stack":
        layouts = [(*layout[:dim], (), *layout[dim:]) for layout in layouts]
    if any(has_space(layout[dim]) for layout in layouts):
        return _reading(call, [None], kind="statistics", reason="it joins maps along an axis of the image")
    others = aligned([(*layout[:dim], (), *layout[dim + 1 :]) for layout in layouts])
    if others is None:
        raise Misfit(f"it joins maps of the shapes {' and '.join(str(tuple(s)) for s in call.shapes)}")
    result = (*others[:dim], channels_only([call.result[dim]])[0], *others[dim + 1 :])
    for constant in call.constants:  # as zeros in place of channels: the same everywhere
        axes = zip(others, constant.shape, constant.stride(), range(n), strict=False)
        if any(k > 1 and stride and has_space(parts) and i != dim for parts, k, stride, i in axes):
            return _reading(call, [result], kind="join", reason="it holds weights that depend on the position")
    return _reading(call, [result], kind="join" if len(call.maps) > 1 else "pointwise")


def _take(call: TracedCall) -> Reading:
    """Chunks and splits: along channels they are channels; along space a part of the image."""
    layout, a = _known(call)[0], call.bind()
    dim = int(a["dim"]) % len(layout)
    if has_space(layout[dim]):
        return _reading(call, [None] * len(call.results), kind="statistics", reason="it takes a part of the image")
    is_kept = len(call.result) == len(layout)
    layouts = [
        (*layout[:dim], *(channels_only([shape[dim]]) if is_kept else ()), *layout[dim + 1 :]) for shape in call.results
    ]
    return _reading(call, layouts)


def _getitem(call: TracedCall) -> Reading:
    place, index = call.placements[0], call.bind()["index"]
    index = index if isinstance(index, tuple) else (index,)
    if not all(isinstance(i, slice | int) or i is Ellipsis or i is None for i in index):
        if isinstance(index[0], list | Tensor) or len(index) > 1:
            reason = f"it is indexed by {index!r:.60}; only slices can be read"
            return _reading(call, [None], kind="statistics", reason=reason)
        raise Unreadable(f"it is indexed by {index!r:.60}; only slices can be read")
    n_taken = sum(i is not None and i is not Ellipsis for i in index)
    if Ellipsis not in index:
        index = (*index, Ellipsis)
    at = index.index(Ellipsis)
    n = len(call.shapes[0])
    index = (*index[:at], *(slice(None),) * (n - n_taken), *index[at + 1 :])
    rows: list[tuple[int, Any]] = []
    axis = 0
    for i in index:
        rows.append((axis, i))
        axis += i is not None
    return _sliced(call, place, rows)


def _narrow(call: TracedCall) -> Reading:
    a, shape = call.bind(), call.shapes[0]
    axis = int(a["dim"]) % len(shape)
    start = int(a["start"]) % shape[axis]
    whole = [(i, slice(None)) for i in range(len(shape))]
    whole[axis] = (axis, slice(start, start + int(a["length"])))
    return _sliced(call, call.placements[0], whole)


def _sliced(call: TracedCall, place: Placement, rows: Sequence[tuple[int, Any]]) -> Reading:
    """Slices, numbers and new axes, one per (axis of the tensor, index)."""
    layout, shape = place.layout or (), call.shapes[0]
    windows, size, reason = [Window()] * len(place.size), list(place.size), ""
    axes: list[tuple[Part, ...]] = []
    for axis, part in rows:
        if part is None:
            axes.append(())
            continue
        parts, n = layout[axis], shape[axis]
        if isinstance(part, int):
            reason = reason or ("it reads one row of the image alone" if has_space(parts) else "")
            continue
        start, stop, step = part.indices(n)
        length = len(range(start, stop, step))
        if length == 1 < n and has_space(parts):
            reason = reason or "it reads one row of the image alone"
            axes.append(())
        elif not has_space(parts):
            axes.append(channels_only([length])[0])
        elif length == n and step == 1:
            axes.append(parts)
        elif len(parts) == 1 and parts[0] == Part(parts[0].axis, place.size[parts[0].axis]):
            image_axis = parts[0].axis
            windows[image_axis] = Window(1, step, before=-start, after=stop - n)
            size[image_axis] = length
            axes.append((Part(image_axis, length),))
        else:
            return _reading(call, [None], kind="statistics", reason="it takes a part of the image")
    is_cut = any(window != Window() for window in windows)
    kind = "statistics" if reason else "pad" if is_cut else "pointwise"
    return Reading(kind, tuple(windows), (Placement(tuple(size), tuple(axes)),), reason)


# --- products of matrices ---


def _linear(call: TracedCall) -> Reading:
    layout = _known(call)[0]
    if len(call.maps) > 1:
        return _reading(call, [None], kind="statistics", reason="it weighs maps by one another")
    if has_space(layout[-1]):
        reason = "it weighs every pixel of an axis"
        return _reading(call, [(*layout[:-1], *channels_only(call.result[-1:]))], kind="convolution", reason=reason)
    return _reading(call, [(*layout[:-1], *channels_only(call.result[-1:]))], kind="convolution")


def _matmul(call: TracedCall) -> Reading:
    operands = [a for a in flat((call.args, call.kwargs)) if isinstance(a, Tensor)][-2:]  # baddbmm adds the first
    if call.function == "rmatmul":
        operands.reverse()
    left, right = (_layout_of(t, call) for t in operands)
    if len(left) < 2 or len(right) < 2:
        return _reading(call, [None], kind="statistics", reason=_ATTENTION)
    batch = aligned([left[:-2], right[:-2]])
    if batch is None:
        return _reading(call, [None], kind="statistics", reason=_ATTENTION)
    rows, columns = has_space(left[-2]), has_space(right[-1])
    mixes = has_space(left[-1]) or has_space(right[-2]) or (rows and columns)
    follows = right if columns and not rows else left
    of_result = (i for i, place in enumerate(call.placements) if place.layout is follows and not place.is_fixed)
    kind, reason = ("statistics", _ATTENTION) if mixes else ("pointwise", "")
    layout = (*batch, left[-2], right[-1])
    return _reading(call, [layout], kind=kind, reason=reason, follows=next(of_result, None))


def _layout_of(tensor: Tensor, call: TracedCall) -> Layout:
    for t, place in zip(call.maps, call.placements, strict=True):
        if t is tensor and place.layout is not None:
            return place.layout
    return channels_only(tensor.shape)


def _attention(call: TracedCall) -> Reading:
    query, key, value = [a for a in flat((call.args, call.kwargs)) if isinstance(a, Tensor)][:3]
    of_query, of_key = _layout_of(query, call), _layout_of(key, call)
    mixes = has_space(of_key[-2]) or has_space(of_key[-1])
    result = (*of_query[:-1], *channels_only(value.shape[-1:]))
    kind = "statistics" if mixes else "pointwise"
    return _reading(call, [result], kind=kind, reason=_ATTENTION if mixes else "")


def _einsum(call: TracedCall) -> Reading:
    equation = call.args[0] if call.args else call.kwargs["equation"]
    if not isinstance(equation, str) or "." in equation or "->" not in equation:
        return _reading(call, [None], kind="statistics", reason="its effect on space is not known")
    terms, result = equation.replace(" ", "").split("->")
    operands = [a for a in flat((call.args[1:], call.kwargs)) if isinstance(a, Tensor)]
    along: dict[str, tuple[Part, ...]] = {}
    for letters, operand in zip(terms.split(","), operands, strict=True):
        for letter, parts in zip(letters, _layout_of(operand, call), strict=True):
            known = along.get(letter, ())
            along[letter] = known if has_space(known) or not parts else parts
    pixels = [part.axis for letter in result for part in along[letter] if part.axis != CHANNEL and part.step == 1]
    mixes = any(has_space(parts) for letter, parts in along.items() if letter not in result)
    mixes |= len(pixels) > len(set(pixels))  # pixels meet pixels
    kind, reason = ("statistics", _ATTENTION) if mixes else ("pointwise", "")
    return _reading(call, [tuple(along[letter] for letter in result)], kind=kind, reason=reason)


def _of(names: Iterable[str], reader: Callable[[TracedCall], Reading]) -> dict[str, Callable[[TracedCall], Reading]]:
    return dict.fromkeys(names, reader)


_READERS: dict[str, Callable[[TracedCall], Reading]] = {
    **_of(_REPEATS, _repeat),
    **_of(_ALONG, _along),
    **_of(REDUCTIONS, _reduction),
    **_of(("norm",), _reduction),
    **_of(("layer_norm", "rms_norm"), _norm),
    **_of(_JOINS, _join),
    **_of(("chunk", "split", "unbind", "select"), _take),
    "getitem": _getitem,
    "narrow": _narrow,
    "linear": _linear,
    **_of(("matmul", "rmatmul", "bmm", "mm", "baddbmm", "addmm"), _matmul),
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
}
