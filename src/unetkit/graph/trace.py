"""Follow a net's computation: meet every torch function that something computed from the input passes through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["Body", "CallTracer", "TracedCall", "flat"]


@dataclass(frozen=True)
class TracedCall:
    """One call of a torch function.

    Attributes
    ----------
    function : str
        Its name: "conv2d", "cat", "add".
    args, kwargs
        As it was called.
    read : tuple of Tensor
        Arguments that were computed from the net's input, and `shapes`, theirs before the call.
    others : tuple of Tensor
        The other tensors among the arguments: weights.
    numbers : tuple of int
        Of the maps that it reads, each once, in order; 0 is the input.
    """

    function: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    read: tuple[Tensor, ...]
    others: tuple[Tensor, ...]
    shapes: tuple[torch.Size, ...]
    numbers: tuple[int, ...]


class CallTracer(TorchFunctionMode):
    """Numbers every map that is computed from `x`, in the order of computation; `x` itself is 0.

    A run of the same net on another input meets the same functions in the same order, so that a number names a map.
    Subclasses say what is done on the way.
    """

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.known = {id(x): 0}
        self.alive = [x]  # keeps ids from being used again
        self.count = 1

    def call(self, func: Callable[..., Any], met: TracedCall) -> Any:
        """Make the call; `count` is the number of what it will return."""
        return func(*met.args, **met.kwargs)

    def made(self, met: TracedCall, outputs: list[Tensor]) -> list[Tensor]:
        """Look at the maps that a call returned, numbered from `count` on; what is returned takes their place."""
        return outputs

    def passed(self, met: TracedCall, outputs: list[Tensor]) -> None:
        """Look at what was computed from weights and constants alone."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        tensors = [a for a in flat((args, kwargs or {})) if isinstance(a, Tensor)]
        read = tuple(t for t in tensors if id(t) in self.known)
        others = tuple(t for t in tensors if id(t) not in self.known)
        numbers = tuple(dict.fromkeys(self.known[id(t)] for t in read))
        name = func.__name__.strip("_") or "function"
        met = TracedCall(name, args, kwargs or {}, read, others, tuple(t.shape for t in read), numbers)
        result = self.call(func, met)
        outputs = [r for r in flat((result,)) if isinstance(r, Tensor)]
        if not numbers:
            self.passed(met, outputs)
        elif outputs:
            others_now = self.made(met, outputs)
            if any(new is not old for new, old in zip(others_now, outputs, strict=True)):
                swaps = {id(old): new for old, new in zip(outputs, others_now, strict=True)}
                result = replaced(result, lambda t: swaps.get(id(t), t))
            for output in others_now:
                self.known[id(output)] = self.count
                self.alive.append(output)
                self.count += 1
        return result


class Body(nn.Module):
    """What is followed of one of our own nets: the `body` behind the door that pads; any other net as it is."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.has_door = all(hasattr(type(net), name) for name in ("body", "geometry", "is_local"))

    def forward(self, x: Tensor) -> Tensor:
        inner: Any = self.net
        result: Tensor = inner.body(x) if self.has_door else inner(x)
        return result


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
