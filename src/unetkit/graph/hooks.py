"""Run a net on data with hooks on the layers of its graph: read or replace their maps, or change what a layer reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from .graph import Graph
from .trace import Body, CallTracer, TracedCall, replaced

__all__ = ["Edge", "run_with_hooks"]

Edge = tuple[int, int]  # (layer that reads, layer that is read), indices into `Graph.layers`


def run_with_hooks(
    net: nn.Module,
    graph: Graph,
    x: Tensor,
    *,
    on_layer: Callable[[int, Tensor], Tensor | None] | None = None,
    on_edge: Mapping[Edge, Callable[[Tensor], Tensor]] | None = None,
) -> Tensor:
    """Run a net with hooks on the layers of its graph.

    The net itself is not changed: its torch functions are intercepted as by `graph.read.read`, in the same order, so
    this works for every net that can be read.

    Parameters
    ----------
    net : Module
    graph : Graph
        Of `graph.read.read` for this net.
    x : Tensor of shape (N, in_channels, *spatial)
        Of a size that fits the net.
    on_layer : callable, optional
        Called with (index of the layer, its map) as each is computed; a tensor that it returns takes the map's place.
        A map may be written over later (an activation in place): clone what is to be kept.
    on_edge : mapping, optional
        From (layer that reads, layer that is read) to a function of the map that is read; its result is read there,
        and nowhere else.

    Returns
    -------
    Tensor of shape (N, out_channels, *spatial)
        What the net's body returns.

    Raises
    ------
    ValueError
        If the size does not fit; the nearest ones are named.
    RuntimeError
        If the net does something else on data than it did when it was read.

    Examples
    --------
    >>> import torch
    >>> from unetkit.graph.read import read
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    >>> graph, shapes = read(net), {}
    >>> def record(i, features):
    ...     shapes[graph.layers[i].name] = features.shape
    >>> y = run_with_hooks(net, graph, torch.zeros(1, 1, 8, 8), on_layer=record)
    >>> shapes["0"]
    torch.Size([1, 4, 6, 6])
    """
    graph.geometry.output_size(tuple(x.shape[2:]))
    with _HookedRun(x, graph, on_layer, on_edge or {}):
        y: Tensor = Body(net)(x)
    return y


class _HookedRun(CallTracer):
    def __init__(
        self,
        x: Tensor,
        graph: Graph,
        on_layer: Callable[[int, Tensor], Tensor | None] | None,
        on_edge: Mapping[Edge, Callable[[Tensor], Tensor]],
    ) -> None:
        super().__init__(x)
        self.layers, self.on_layer = graph.layers, on_layer
        self.index = {layer.call: i for i, layer in enumerate(graph.layers)}
        self.edges: dict[int, dict[int, Callable[[Tensor], Tensor]]] = {}
        for (reader, source), change in on_edge.items():
            self.edges.setdefault(graph.layers[reader].call, {})[graph.layers[source].call] = change
        if on_layer is not None:
            on_layer(0, x)

    def execute(self, func: Callable[..., Any], call: TracedCall) -> Any:
        changes = self.edges.get(self.count)
        if not changes:
            return func(*call.args, **call.kwargs)

        def change(t: Tensor) -> Tensor:
            number = self.known.get(id(t))
            return changes[number](t) if number in changes else t

        return func(*replaced(call.args, change), **replaced(call.kwargs, change))

    def on_maps(self, call: TracedCall, outputs: list[Tensor]) -> list[Tensor]:
        maps = []
        for number, output in enumerate(outputs, start=self.count):
            i = self.index.get(number)
            if i is not None and self.layers[i].function != call.function:
                raise RuntimeError(
                    f"layer {self.layers[i].name!r} was read as {self.layers[i].function}, but on data the net calls "
                    f"{call.function} there: what it does depends on the data"
                )
            replacement = self.on_layer(i, output) if self.on_layer is not None and i is not None else None
            maps.append(output if replacement is None else replacement)
        return maps
