"""Run a net on real data and meet every layer of its graph on the way: look at its map, or change what is read."""

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
    see: Callable[[int, Tensor], Tensor | None] | None = None,
    edges: Mapping[Edge, Callable[[Tensor], Tensor]] | None = None,
) -> Tensor:
    """Run a net, meeting the layers of its graph.

    The net itself is not touched: the functions of its computation are met as `graph.graph.read` met them, in the same
    order, so this works for every net that can be read.

    Parameters
    ----------
    net : Module
    graph : Graph
        Of `graph.graph.read` for this net.
    x : Tensor of shape (N, in_channels, *spatial)
        Of a size that fits the net.
    see : callable, optional
        Called with (index of the layer, its map) as each is computed; a tensor that it returns takes the map's place.
        A map may be written over later (an activation in place): clone what is to be kept.
    edges : mapping, optional
        From (layer that reads, layer that is read) to a function of the map that is read: what is read there, and
        nowhere else, is changed.

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
    >>> from unetkit.graph.graph import read
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    >>> graph, shapes = read(net), {}
    >>> y = replay(net, graph, torch.zeros(1, 1, 8, 8), see=lambda i, m: shapes.update({graph.layers[i].name: m.shape}))
    >>> shapes["0"]
    torch.Size([1, 4, 6, 6])
    """
    graph.geometry.output_size(tuple(x.shape[2:]))
    follower = _Replay(x, graph, see, edges or {})
    with follower:
        y: Any = Body(net)(x)
    return y  # type: ignore[no-any-return]


class _Replay(CallTracer):
    def __init__(
        self,
        x: Tensor,
        graph: Graph,
        see: Callable[[int, Tensor], Tensor | None] | None,
        edges: Mapping[Edge, Callable[[Tensor], Tensor]],
    ) -> None:
        super().__init__(x)
        self.layers, self.see = graph.layers, see
        self.index = {layer.call: i for i, layer in enumerate(graph.layers)}
        self.edges: dict[int, dict[int, Callable[[Tensor], Tensor]]] = {}
        for (reader, source), change in edges.items():
            self.edges.setdefault(graph.layers[reader].call, {})[graph.layers[source].call] = change
        if see is not None:
            see(0, x)

    def call(self, func: Callable[..., Any], met: TracedCall) -> Any:
        changes = self.edges.get(self.count)
        if not changes:
            return func(*met.args, **met.kwargs)

        def change(t: Tensor) -> Tensor:
            number = self.known.get(id(t))
            return changes[number](t) if number in changes else t

        return func(*replaced(met.args, change), **replaced(met.kwargs, change))

    def made(self, met: TracedCall, outputs: list[Tensor]) -> list[Tensor]:
        found = []
        for number, output in enumerate(outputs, start=self.count):
            i = self.index.get(number)
            if i is not None and self.layers[i].function != met.function:
                raise RuntimeError(
                    f"layer {self.layers[i].name!r} was read as {self.layers[i].function}, but on data the net calls "
                    f"{met.function} there: what it does depends on the data"
                )
            seen = self.see(i, output) if self.see is not None and i is not None else None
            found.append(output if seen is None else seen)
        return found
