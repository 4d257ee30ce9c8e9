"""Run a net once on a tensor that has a shape but no data, and write down every torch function that it calls."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..geometry import Window
from .graph import Graph, Layer
from .layout import Placement, standard
from .mixing import keeps_uniform, read_axes
from .trace import Body, CallTracer, TracedCall, mode, replaced_tensors, without_data, writes_in_place
from .windows import Reading, Unreadable, has_window, read_windows, resized_windows

__all__ = ["FAILURES", "trace"]

FAILURES = (RuntimeError, ValueError, AssertionError, IndexError, TypeError, ZeroDivisionError)
_UNIFORM = (  # functions that return one value
    *("zeros", "ones", "full", "empty", "zeros_like", "ones_like", "full_like", "empty_like", "scalar_tensor"),
    *("new_zeros", "new_ones", "new_full", "new_empty"),
)
_OWN = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


def trace(net: Body, shape: tuple[int, ...]) -> Graph:
    """Read a net as it works on an image of one size.

    Parameters
    ----------
    net : Body
    shape : tuple of int
        Of the image, (1, C, *spatial).

    Raises
    ------
    Unreadable
        If a layer that the output needs cannot be read; it is named.
    RuntimeError, ValueError and others
        What the net raises for an image of this size.
    """
    ghosts = without_data(net)
    x = torch.empty(shape, device="meta")
    learned = {name for name, _ in net.named_parameters()}
    tape = _Tape(x, {name: ghost for name, ghost in ghosts.items() if name in learned})
    try:
        with torch.no_grad(), mode(net, is_training=False), _names(net, tape.path), replaced_tensors(net, ghosts), tape:
            y = net(x)
    except FAILURES as error:
        raise next(iter(tape.unread.values()), error) from None  # an unread layer says more than what follows from it
    if id(y) not in tape.known:
        raise Unreadable("the net returns a tensor that is not computed from its input")
    return tape.graph(y)


@contextmanager
def _names(net: nn.Module, path: list[tuple[str, bool]]) -> Iterator[None]:
    """Keep `path[-1]` at the (name, is a leaf) of the module that runs."""

    def enter(entry: tuple[str, bool]) -> Callable[..., None]:
        return lambda *_: path.append(entry)

    hooks = []
    for name, module in net.named_modules():
        entry = (name.removeprefix("net").removeprefix("."), not any(module.children()))
        hooks.append(module.register_forward_pre_hook(enter(entry)))
        hooks.append(module.register_forward_hook(lambda *_: path.pop() and None, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _line() -> str:
    """File and line of the user's code that runs, outside of torch and of this package; "" where there is none."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_OWN):
            return f", {Path(name).name} line {frame.f_lineno}"
        if frame.f_code.co_name == "trace" and name == __file__:
            return ""
        frame = frame.f_back
    return ""


class _Tape(CallTracer):
    """Records every torch function that a traced tensor passes through."""

    def __init__(self, x: Tensor, learned: dict[str, Tensor]) -> None:
        super().__init__(x)
        self.ndim = x.ndim - 2
        self.path: list[tuple[str, bool]] = []
        self.layers = [Layer("input", "input", (), (Window(),) * self.ndim, x.shape[1])]
        self.shapes = [x.shape]
        self.placements = [Placement(tuple(x.shape[2:]), standard(x.shape))]
        self.learned = {id(ghost): {name: ghost.numel()} for name, ghost in learned.items()}  # and what comes of them
        self.uniform: set[int] = set()  # constants of one value
        self.reads: list[dict[str, int]] = [{}]  # per layer, its parameters and their sizes
        self.names = {"input": 1}
        self.unread: dict[int, Unreadable] = {}  # layers, and why; no matter while the output does not need them
        self._func: Callable[..., Any] = lambda *_: None

    def on_maps(self, call: TracedCall, outputs: list[Tensor]) -> list[Tensor]:
        self.reads += [self._learned(call)] * len(outputs)
        constants = tuple(t for t in call.constants if id(t) not in self.uniform)
        self._write(replace(call, results=tuple(output.shape for output in outputs), constants=constants))
        return outputs

    def execute(self, func: Callable[..., Any], call: TracedCall) -> Any:
        self._func = func
        if call.numbers and call.function == "setitem":
            raise Unreadable(
                f"layer {self._name(call.function)!r} ({call.function}{_line()}) cannot be read: it writes into a part "
                "of a map"
            )
        if call.numbers and call.function == "batch_norm":  # for which torch takes as long as for all else without data
            x, *statistics = (call.bind()[name] for name in ("input", "running_mean", "weight"))
            if isinstance(x, Tensor) and all(t is None or t.shape == x.shape[1:2] for t in statistics):
                return torch.empty_like(x)
        return super().execute(func, call)

    def on_constants(self, call: TracedCall, outputs: list[Tensor]) -> None:
        learned = self._learned(call)
        keeps = keeps_uniform(call.function) and bool(call.constants)
        is_uniform = call.function in _UNIFORM or (keeps and all(id(t) in self.uniform for t in call.constants))
        if writes_in_place(self._func.__name__):  # perhaps into a view of any of them
            self.uniform.clear()
            is_uniform = False
        if learned:  # weights computed from parameters, as by weight norm
            self.learned |= {id(output): learned for output in outputs}
        if is_uniform:
            self.uniform |= {id(output) for output in outputs}
        if learned or is_uniform:
            self.alive += outputs

    def _learned(self, call: TracedCall) -> dict[str, int]:
        return {name: n for t in call.constants for name, n in self.learned.get(id(t), {}).items()}

    def _write(self, call: TracedCall) -> None:
        name, still = self._name(call.function), (Window(),) * self.ndim
        reading = Reading("unread", still, (Placement((1,) * self.ndim, None),) * len(call.results))
        unread = next((self.unread[i] for i in call.numbers if i in self.unread), None)
        if unread is None:
            try:
                self._settle(call)
                placed = replace(call, placements=tuple(self.placements[self.known[id(t)]] for t in call.maps))
                reading = read_windows(placed) or read_axes(self._func, placed)
            except Unreadable as error:
                unread = type(error)(f"layer {name!r} ({call.function}{_line()}) cannot be read: {error}")
        weights = max((tuple(t.shape) for t in call.constants), key=lambda s: (len(s), prod(s)), default=())
        main = self.known[id(call.maps[reading.follows])]
        inputs = (main, *(i for i in call.numbers if i != main))
        for shape, place in zip(call.results, reading.placements, strict=True):
            if unread is not None:
                self.unread[len(self.layers)] = unread
            layer = Layer(
                name, reading.kind, inputs, reading.windows, _channels(shape, place), call.function, weights,
                fixed_size=_fixed_size(shape, place), is_map=place.is_map, reason=reading.reason,
            )  # fmt: skip
            self.layers.append(layer)
            self.shapes.append(shape)
            self.placements.append(place)

    def _settle(self, call: TracedCall) -> None:
        """Take maps that lie nobody knows how, where the function needs to know, to be (N, C, *spatial)."""
        unknown = [i for i in call.numbers if self.placements[i].layout is None]
        if unknown and (has_window(call) or len(unknown) < len(call.numbers)):
            for i in unknown:
                self._take_as_map(i)

    def _take_as_map(self, i: int) -> None:
        shape, size = self.shapes[i], self.placements[i].size
        if len(shape) != self.ndim + 2 or self.placements[i].layout is not None:
            return
        if tuple(shape[2:]) != size:
            windows = resized_windows(size, shape[2:])
            self.layers[i] = replace(self.layers[i], windows=windows)
        self.layers[i] = replace(self.layers[i], channels=shape[1], is_map=True)
        self.placements[i] = Placement(tuple(shape[2:]), standard(shape))

    def _name(self, function: str) -> str:
        path, is_leaf = self.path[-1] if self.path else ("", False)
        name = path if is_leaf and path else f"{path}.{function}".strip(".")
        self.names[name] = self.names.get(name, 0) + 1
        return name if self.names[name] == 1 else f"{name}_{self.names[name]}"

    def graph(self, output: Tensor) -> Graph:
        """The layers that the output depends on, renumbered, the output last; `Unreadable` if one of them is."""
        last = self.known[id(output)]
        wanted, stack = set(), [last]
        while stack:
            i = stack.pop()
            if i not in wanted:
                wanted.add(i)
                stack.extend(self.layers[i].inputs)
        for i in sorted(wanted & self.unread.keys()):
            raise self.unread[i]
        self._take_as_map(last)
        if not self.placements[last].is_map or self.placements[last].is_fixed:
            raise Unreadable(
                f"the net returns a tensor of shape {tuple(output.shape)} for an image of {tuple(self.shapes[0][2:])} "
                "pixels; expected (N, classes, *spatial), which follows the image"
            )
        number = {old: new for new, old in enumerate(sorted(wanted))}
        layers, counted = [], set[str]()
        for i in sorted(wanted):
            inputs = tuple(number[j] for j in self.layers[i].inputs)
            parameters = sum(n for name, n in self.reads[i].items() if name not in counted)
            counted |= self.reads[i].keys()
            layers.append(replace(self.layers[i], inputs=inputs, parameters=parameters, call=i))
        return Graph(tuple(layers))


def _channels(shape: torch.Size, place: Placement) -> int:
    """Numbers per pixel: channels of a map, features of a token, weights of an attention."""
    if len(shape) == len(place.size) + 2 and (place.layout is None or place.is_map):
        return shape[1]
    return shape.numel() if place.is_fixed else max(shape.numel() // prod(place.size), 1)


def _fixed_size(shape: torch.Size, place: Placement) -> tuple[int, ...]:
    if not place.is_fixed:
        return ()
    return tuple(shape[2:]) if place.is_map else (1,) * len(place.size)
