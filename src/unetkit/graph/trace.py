"""Trace a net's computation: intercept every torch function that reads the input or a map computed from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .signatures import Arguments, bind

__all__ = ["Body", "CallTracer", "TracedCall", "flat", "mode", "replaced", "without_data"]


@dataclass(frozen=True)
class TracedCall:
    """One call of a torch function.

    Attributes
    ----------
    function : str
        Its name: "conv2d", "cat", "add".
    args, kwargs
        As it was called.
    maps : tuple of Tensor
        Arguments that were computed from the net's input.
    shapes : tuple of Size
        Shapes (N, C, *spatial) of `maps` before the call, which may work in place.
    constants : tuple of Tensor
        The other tensors among the arguments: weights.
    numbers : tuple of int
        Of the maps that it reads, each once, in order; 0 is the input.
    result : Size
        Shape of the first tensor that it returns, once it was made.
    pooled : tuple of bool
        For each of `maps` whether it is pooled over all of space: one pixel that stands for all.
    """

    function: str
    args: tuple[Any, ...]
    kwargs: Arguments
    maps: tuple[Tensor, ...]
    shapes: tuple[torch.Size, ...]
    constants: tuple[Tensor, ...]
    numbers: tuple[int, ...]
    result: torch.Size = torch.Size()  # noqa: RUF009 - immutable
    pooled: tuple[bool, ...] = ()

    @property
    def ndim(self) -> int:
        """Number of spatial axes of the result."""
        return len(self.result) - 2

    def bind(self) -> Arguments:
        """Arguments by name."""
        return bind(self.function, self.args, self.kwargs)


class CallTracer(TorchFunctionMode):
    """Numbers every map that is computed from `x`, in the order of computation; `x` itself is 0.

    A run of the same net on another input calls the same functions in the same order, so that a number names a map.
    Subclasses override what is done at a call, with the maps, and with the constants that it returns.
    """

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.known = {id(x): 0}
        self.alive = [x]  # keeps ids from being used again
        self.count = 1

    def execute(self, func: Callable[..., Any], call: TracedCall) -> Any:
        """Make the call; `count` is the number of the map that it will return."""
        return func(*call.args, **call.kwargs)

    def on_maps(self, call: TracedCall, outputs: list[Tensor]) -> list[Tensor]:
        """Handle the maps that a call returned, numbered from `count` on; the list returned takes their place."""
        return outputs

    def on_constants(self, call: TracedCall, outputs: list[Tensor]) -> None:
        """Handle tensors that were computed from weights and constants alone."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Arguments | None = None
    ) -> Any:
        tensors = [a for a in flat((args, kwargs or {})) if isinstance(a, Tensor)]
        maps = tuple(t for t in tensors if id(t) in self.known)
        constants = tuple(t for t in tensors if id(t) not in self.known)
        numbers = tuple(dict.fromkeys(self.known[id(t)] for t in maps))
        name = func.__name__.strip("_") or "function"
        call = TracedCall(name, args, kwargs or {}, maps, tuple(t.shape for t in maps), constants, numbers)
        result = self.execute(func, call)
        outputs = [r for r in flat((result,)) if isinstance(r, Tensor)]
        if not numbers:
            self.on_constants(call, outputs)
        elif outputs:
            replacements = self.on_maps(call, outputs)
            if any(new is not old for new, old in zip(replacements, outputs, strict=True)):
                swaps = {id(old): new for old, new in zip(outputs, replacements, strict=True)}
                result = replaced(result, lambda t: swaps.get(id(t), t))
            for output in replacements:
                self.known[id(output)] = self.count
                self.alive.append(output)
                self.count += 1
        return result


class Body(nn.Module):
    """The traced part of a net: `body` of our own nets, whose `forward` pads the image first; any other net whole."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.pads_input = all(hasattr(type(net), name) for name in ("body", "geometry", "is_local"))

    def forward(self, x: Tensor) -> Tensor:
        inner: Any = self.net
        result: Tensor = inner.body(x) if self.pads_input else inner(x)
        return result


def without_data(net: nn.Module) -> dict[str, Tensor]:
    """Tensors on the meta device like the parameters and buffers of a net; floats of any precision as float32."""
    tensors = chain(net.named_parameters(), net.named_buffers())
    types = {True: torch.float32, False: None}
    return {n: torch.empty_like(t, device="meta", dtype=types[t.is_floating_point()]) for n, t in tensors}


@contextmanager
def mode(net: nn.Module, *, is_training: bool) -> Iterator[None]:
    """Put a net into training or evaluation mode, and each module back into its own afterwards."""
    modes = {module: module.training for module in net.modules()}
    net.train(is_training)
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def flat(values: Any) -> Iterator[Any]:
    """The leaves of nested tuples, lists and dicts."""
    if isinstance(values, tuple | list):
        for value in values:
            yield from flat(value)
    elif isinstance(values, dict):
        for value in values.values():
            yield from flat(value)
    else:
        yield values


def replaced(values: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Nested tuples, lists and dicts with every tensor changed."""
    if isinstance(values, Tensor):
        return change(values)
    if isinstance(values, dict):
        return {key: replaced(value, change) for key, value in values.items()}
    if isinstance(values, tuple) and hasattr(values, "_fields"):
        return type(values)(*(replaced(value, change) for value in values))
    if isinstance(values, tuple | list):
        return type(values)(replaced(value, change) for value in values)
    return values
