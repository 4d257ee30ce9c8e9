"""A net as a list of operations that can be run one by one: the torch function of each layer, with its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .graph import Graph
from .signatures import Arguments, bind
from .trace import Body, CallTracer, TracedCall, flat, replaced, writes_in_place

__all__ = ["Operation", "Ref", "operations"]

_SIDES = (16, 64, 256)  # pixels of the image on which a net is run once: some refuse less


@dataclass(frozen=True)
class Ref:
    """The layer that computes a map: stands for the map among the arguments of an operation."""

    layer: int


@dataclass(frozen=True)
class Operation:
    """The computation of one layer, callable on the maps that it reads.

    Attributes
    ----------
    function : str
        Name of the torch function, such as "conv2d".
    func : callable
        The function itself, or one that computes the same.
    args, kwargs
        Its arguments; a `Ref` stands for each map, weights are the net's own tensors.
    output : int
        Index of the layer's map, where the function returns several.
    writes : bool
        Whether it may write its result into the map that it reads.
    """

    function: str
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Arguments
    output: int = 0
    writes: bool = False

    def __call__(self, maps: dict[int, Tensor]) -> Tensor:
        """Compute the layer's map from those that it reads."""
        args, kwargs = (filled(part, maps) for part in (self.args, self.kwargs))
        result = self.func(*args, **kwargs)
        if isinstance(result, Tensor):
            return result
        tensor: Tensor = [r for r in flat(result) if isinstance(r, Tensor)][self.output]
        return tensor

    def bind(self) -> Arguments:
        """Arguments by name."""
        return bind(self.function, self.args, self.kwargs)


def filled(values: Any, maps: dict[int, Tensor]) -> Any:
    """Arguments with every `Ref` replaced by its map."""
    if isinstance(values, Ref):
        return maps[values.layer]
    if isinstance(values, dict):
        return {key: filled(value, maps) for key, value in values.items()}
    if isinstance(values, tuple | list):
        return type(values)(filled(value, maps) for value in values)
    return values


def operations(net: nn.Module, graph: Graph) -> tuple[Operation, ...]:
    """Record the operations of a net, one per layer of its graph; that of the input returns it as it is.

    Parameters
    ----------
    net : Module
        In evaluation mode. It is run once, on a small image.
    graph : Graph
        Of `graph.read.read` for this net.
    """
    failure: Exception | None = None
    for side in _SIDES:
        try:
            recorded = _recorded(net, graph, side)
        except (RuntimeError, ValueError) as error:
            failure = failure or error
        else:
            identity = Operation("as_tensor", torch.as_tensor, (Ref(0),), {})
            return tuple(recorded.get(i, identity) for i in range(len(graph.layers)))
    raise ValueError(f"the net ran on none of the sizes {', '.join(map(str, _SIDES))}: {failure}")


def _recorded(net: nn.Module, graph: Graph, side: int) -> dict[int, Operation]:
    weight = next(net.parameters())
    size = graph.geometry.above((side,) * len(graph.geometry.axes))
    x = torch.zeros(1, graph.layers[0].channels, *size, dtype=weight.dtype, device=weight.device)
    recorder = _Recorder(x, graph)
    with torch.no_grad(), recorder:
        Body(net)(x)
    return recorder.operations


class _Recorder(CallTracer):
    def __init__(self, x: Tensor, graph: Graph) -> None:
        super().__init__(x)
        self.index = {layer.call: i for i, layer in enumerate(graph.layers)}
        self.operations: dict[int, Operation] = {}
        self._func: Callable[..., Any] = lambda *_: None
        self._arguments: tuple[Any, Any] = ((), {})

    def execute(self, func: Callable[..., Any], call: TracedCall) -> Any:
        def reference(t: Tensor) -> Any:
            number = self.known.get(id(t))
            return t if number is None else Ref(self.index.get(number, -1))

        # Before the call: one that works in place makes its result known under the id of what it read.
        self._func, self._arguments = func, (replaced(call.args, reference), replaced(call.kwargs, reference))
        return func(*call.args, **call.kwargs)

    def on_maps(self, call: TracedCall, outputs: list[Tensor]) -> list[Tensor]:
        args, kwargs = self._arguments
        writes = _writes(self._func.__name__, args, kwargs)
        for k in range(len(outputs)):
            layer = self.index.get(self.count + k)
            if layer is not None:
                self.operations[layer] = Operation(call.function, self._func, args, kwargs, k, writes)
        return outputs


def _writes(name: str, args: tuple[Any, ...], kwargs: Arguments) -> bool:
    """Whether a function may work in place: by its name, or because some flag is set."""
    return writes_in_place(name) or any(value is True for value in (*args, *kwargs.values()))
