"""A net as a list of steps that can be made one by one: what each layer of its graph calls, with its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .graph import Graph
from .trace import Body, CallTracer, TracedCall, flat, replaced

__all__ = ["Ref", "Step", "bound", "program"]

_SIDE = 16  # pixels of the image that a net is run on once: some poolings refuse less


@dataclass(frozen=True)
class Ref:
    """In the place of a map among the arguments of a step: the layer that computes it."""

    layer: int


@dataclass(frozen=True)
class Step:
    """One layer, ready to be called.

    Attributes
    ----------
    func : callable
        A torch function.
    args, kwargs
        Its arguments; a `Ref` stands for each map, weights are the net's own tensors.
    output : int
        Which of its outputs is meant, where it returns several.
    writes : bool
        Whether it may write its result into the map that it reads.
    """

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: int = 0
    writes: bool = False

    def __call__(self, maps: dict[int, Tensor]) -> Tensor:
        """Compute the layer's map from those that it reads."""
        args, kwargs = (filled(part, maps) for part in (self.args, self.kwargs))
        result = self.func(*args, **kwargs)
        if isinstance(result, Tensor):
            return result
        found: Tensor = [r for r in flat(result) if isinstance(r, Tensor)][self.output]
        return found


def bound(step: Step, names: str) -> dict[str, Any]:
    """Arguments of a step by name, given the names of the positional ones."""
    return dict(zip(names.split(), step.args, strict=False)) | step.kwargs


def filled(values: Any, maps: dict[int, Tensor]) -> Any:
    """Arguments with every `Ref` replaced by its map."""
    if isinstance(values, Ref):
        return maps[values.layer]
    if isinstance(values, dict):
        return {key: filled(value, maps) for key, value in values.items()}
    if isinstance(values, tuple | list):
        return type(values)(filled(value, maps) for value in values)
    return values


def program(net: nn.Module, graph: Graph) -> tuple[Step, ...]:
    """The steps of a net, one per layer of its graph; that of the input hands on what it is given.

    Parameters
    ----------
    net : Module
        In evaluation mode. It is run once, on a small image.
    graph : Graph
        Of `graph.graph.read` for this net.
    """
    weight = next(net.parameters())
    size = graph.geometry.above((_SIDE,) * len(graph.geometry.axes))
    x = torch.zeros(1, graph.layers[0].channels, *size, dtype=weight.dtype, device=weight.device)
    recorder = _Recorder(x, graph)
    with torch.no_grad(), recorder:
        Body(net)(x)
    given = Step(torch.as_tensor, (Ref(0),), {})
    return tuple(recorder.steps.get(i, given) for i in range(len(graph.layers)))


class _Recorder(CallTracer):
    def __init__(self, x: Tensor, graph: Graph) -> None:
        super().__init__(x)
        self.index = {layer.call: i for i, layer in enumerate(graph.layers)}
        self.steps: dict[int, Step] = {}
        self._func: Callable[..., Any] = lambda *_: None
        self._arguments: tuple[Any, Any] = ((), {})

    def call(self, func: Callable[..., Any], met: TracedCall) -> Any:
        # Before the call: one that works in place makes its result known under the id of what it read.
        self._func, self._arguments = func, self._named(met)
        return func(*met.args, **met.kwargs)

    def _named(self, met: TracedCall) -> tuple[Any, Any]:
        def name(t: Tensor) -> Any:
            number = self.known.get(id(t))
            return t if number is None else Ref(self.index.get(number, -1))

        return replaced(met.args, name), replaced(met.kwargs, name)

    def made(self, met: TracedCall, outputs: list[Tensor]) -> list[Tensor]:
        for k, _ in enumerate(outputs):
            layer = self.index.get(self.count + k)
            if layer is not None:
                args, kwargs = self._arguments
                self.steps[layer] = Step(self._func, args, kwargs, k, _writes(self._func.__name__, args, kwargs))
        return outputs


def _writes(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a function may work in place: by its name, or because some flag is set."""
    is_augmented = name.startswith("__i") and name.endswith("__") and name != "__invert__"
    by_name = is_augmented or (name.endswith("_") and not name.endswith("__"))
    return by_name or any(value is True for value in (*args, *kwargs.values()))
