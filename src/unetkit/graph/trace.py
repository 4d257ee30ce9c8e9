"""Trace a net's computation: intercept every torch function that reads the input or a map computed from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .layout import Placement
from .signatures import Arguments, bind

__all__ = [
    "Body",
    "CallTracer",
    "NoSuchOutput",
    "TracedCall",
    "chosen_output",
    "flat",
    "mode",
    "replaced",
    "without_data",
]

FACTORIES = (  # which read the shape of a map, not its values
    *("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"),
    *("new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"),
)


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
    results : tuple of Size
        Shapes of the tensors that it returns, once they were made.
    placements : tuple of Placement
        Where each of `maps` lies in the image, once that is known.
    """

    function: str
    args: tuple[Any, ...]
    kwargs: Arguments
    maps: tuple[Tensor, ...]
    shapes: tuple[torch.Size, ...]
    constants: tuple[Tensor, ...]
    numbers: tuple[int, ...]
    results: tuple[torch.Size, ...] = ()
    placements: tuple[Placement, ...] = ()

    @property
    def result(self) -> torch.Size:
        """Shape of the first tensor that it returns."""
        return self.results[0]

    @property
    def ndim(self) -> int:
        """Number of axes of the result after samples and channels."""
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
        name = _name(func)
        if name in FACTORIES:
            maps, constants = (), tuple(tensors)
        numbers = tuple(dict.fromkeys(self.known[id(t)] for t in maps))
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


def _name(func: Callable[..., Any]) -> str:
    """Name of a torch function; of the reading of an attribute that of the attribute."""
    owner = getattr(func, "__self__", None)
    name = str(owner.__name__) if func.__name__ == "__get__" and owner is not None else func.__name__
    return name.strip("_") or "function"


def writes_in_place(name: str) -> bool:
    """Whether a torch function of this name writes into a tensor that it is given."""
    is_augmented = name.startswith("__i") and name.endswith("__") and name != "__invert__"
    return name == "__setitem__" or is_augmented or (name.endswith("_") and not name.endswith("__"))


class Body(nn.Module):
    """The traced part of a net: `body` of our own nets, whose `forward` pads the image first; any other net whole.

    Parameters
    ----------
    net : Module
    output : int or str, optional
        Which tensor, of a net that returns several; the first by default.
    """

    def __init__(self, net: nn.Module, output: int | str | None = None) -> None:
        super().__init__()
        self.net, self.output = net, output
        self.pads_input = all(hasattr(type(net), name) for name in ("body", "geometry", "is_local"))

    def forward(self, x: Tensor) -> Tensor:
        inner: Any = self.net
        return chosen_output(inner.body(x) if self.pads_input else inner(x), self.output)


def chosen_output(result: Any, output: int | str | None) -> Tensor:
    """One tensor of what a net returns: a tensor, or a list, a tuple or a dict of them.

    Raises
    ------
    ValueError
        If there is no such output; what there is is named.
    """
    if isinstance(result, Tensor) and output is None:
        return result
    if output is None:
        tensor = next((value for value in flat((result,)) if isinstance(value, Tensor)), None)
    elif isinstance(result, Mapping):
        tensor = result.get(output)
    elif isinstance(result, tuple | list) and isinstance(output, int):
        tensor = result[output] if -len(result) <= output < len(result) else None
    else:
        tensor = getattr(result, str(output), None) if not isinstance(result, Tensor) else None
    if isinstance(tensor, Tensor):
        return tensor
    names = f"the outputs {', '.join(map(repr, result))}" if isinstance(result, Mapping) else ""
    several = f"{len(result)} outputs" if isinstance(result, tuple | list) else type(result).__name__
    wanted = "expected a tensor, or a list, tuple or dict of them" if output is None else f"output is {output!r}"
    raise NoSuchOutput(f"the net returns {names or several}; {wanted}")


class NoSuchOutput(ValueError):
    """A net does not return the output that is wanted."""


def without_data(net: nn.Module) -> dict[str, Tensor]:
    """Tensors on the meta device like the parameters and buffers of a net; floats of any precision as float32."""
    ghosts: dict[int, Tensor] = {}
    result = {}
    for name, held, last in _tensors(net):
        tensor = held[last]
        dtype = torch.float32 if tensor.is_floating_point() else None
        result[name] = ghosts.setdefault(id(tensor), torch.empty_like(tensor, device="meta", dtype=dtype))
    return result


def _tensors(net: nn.Module) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(name, where it is held, key) of parameters and buffers; of a module in two places once."""
    for path, module in net.named_modules():
        for held in (module._parameters, module._buffers):
            for last, tensor in held.items():
                if tensor is not None:
                    yield f"{path}.{last}".removeprefix("."), held, last


@contextmanager
def replaced_tensors(net: nn.Module, ghosts: dict[str, Tensor]) -> Iterator[None]:
    """Put tensors in place of the parameters and buffers of a net by name, and the net's own back afterwards.

    As `torch.func.functional_call` does, which leaves some in a net that has a module in two places (torch 2.13).
    """
    kept = [(held, last, held[last], name) for name, held, last in _tensors(net)]
    try:
        for held, last, _, name in kept:
            held[last] = ghosts[name]
        yield
    finally:
        for held, last, own, _ in kept:
            held[last] = own


@contextmanager
def mode(net: nn.Module, *, is_training: bool) -> Iterator[None]:
    """Put a net into training or evaluation mode, and each module back into its own afterwards."""
    modes = {module: module.training for module in net.modules()}
    # Batch norms that average over all batches count them, and tensors without data hold no number.
    counting = [m for m in modes if isinstance(m, nn.modules.batchnorm._NormBase) and m.momentum is None]
    net.train(is_training)
    for norm in counting:
        norm.momentum = 0.1
    try:
        yield
    finally:
        for norm in counting:
            norm.momentum = None
        for module, training in modes.items():
            module.training = training


def flat(values: Any) -> Iterator[Any]:
    """The leaves of nested tuples, lists and dicts."""
    if isinstance(values, tuple | list):
        for value in values:
            yield from flat(value)
    elif isinstance(values, Mapping):
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
