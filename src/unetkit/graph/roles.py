"""Roles of the layers of a graph: level, stage, and whether they serve a skip or an attention gate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from .graph import Graph

__all__ = ["LayerRoles", "NodeKey", "Role"]

_PRODUCTS = ("mul", "imul", "rmul")
_WEIGHINGS = ("sigmoid", "hardsigmoid", "softmax")


class NodeKey(NamedTuple):
    """Position of a stage: pass through the levels, level, deepest level behind it."""

    turn: int
    level: int
    deepest: int


@dataclass(frozen=True)
class Role:
    """Layers whose only role is to lead from a fork to a layer of another stage: crops, 1x1s, up-sampling."""

    target: int
    source: int
    layers: tuple[int, ...]


class LayerRoles:
    """Roles of all layers of a graph; indices are those of its layers.

    Attributes
    ----------
    levels : list of int
        Index of each layer's scale, 0 the finest.
    gates : dict
        Layer -> the multiplication that it weighs for, for all that serves attention coefficients only.
    products : set
        Those multiplications.
    keys : list of Key
        The stage of each layer.
    roles : list of Role
        Connections from stage to stage; `passing` are the layers on them.
    leads_on : set
        Layers that a convolution follows.
    """

    def __init__(self, graph: Graph) -> None:
        self.layers = graph.layers
        scales = list(zip(*([stride for stride, _ in axis.places] for axis in graph.geometry.axes), strict=True))
        order = sorted(set(scales), key=lambda s: (prod(s), s))
        self.levels = [order.index(scale) for scale in scales]
        self.gates = dict(self._find_gates())
        self.products = set(self.gates.values())
        self.uses = [0] * len(self.layers)
        for i, layer in enumerate(self.layers):
            for j in set(layer.inputs) if i not in self.gates else ():
                self.uses[j] += 1
        self.leads_on = self._find_leading()
        self.keys = self._find_keys()
        self.roles = list(self._find_roles())
        self.roles += self._find_descents({role.source for role in self.roles})
        self.passing = {i for role in self.roles for i in role.layers}

    def _find_gates(self) -> Iterator[tuple[int, int]]:
        """(layer, multiplication that it weighs for) of all that serves attention coefficients and nothing else."""
        readers: list[set[int]] = [set() for _ in self.layers]
        for i, layer in enumerate(self.layers):
            for j in layer.inputs:
                readers[j].add(i)
        for i, layer in enumerate(self.layers):
            if layer.kind != "join" or layer.function not in _PRODUCTS:
                continue
            chain = next((weighing for j in layer.inputs if (weighing := self._weighing(j))), ())
            serving = set(chain)
            for j in range(min(chain, default=0) - 1, 0, -1):
                if readers[j] and readers[j] <= serving:
                    serving.add(j)
            yield from ((j, i) for j in serving)

    def _weighing(self, i: int) -> tuple[int, ...]:
        """The layers from `i` back to a sigmoid, if it is one that was at most resized or cropped since."""
        chain = [i]
        while self.layers[i].function not in _WEIGHINGS:
            if self.layers[i].kind not in ("pointwise", "interpolation", "pad"):
                return ()
            i = self.layers[i].inputs[0]
            chain.append(i)
        return tuple(chain)

    def _find_leading(self) -> set[int]:
        """Layers that a convolution follows; the rest is the net's output, and what is done to it."""
        leading: set[int] = set()
        for i in range(len(self.layers) - 1, -1, -1):
            if i in leading or "convolution" in self.layers[i].kind:
                leading.update(self.layers[i].inputs)
        return leading

    def _find_keys(self) -> list[NodeKey]:
        keys = [NodeKey(0, self.levels[0], self.levels[0])]
        for i, layer in enumerate(self.layers[1:], start=1):
            behind = [keys[j] for j in layer.inputs if j not in self.gates] or [keys[j] for j in layer.inputs]
            turn = max(key.turn for key in behind)
            latest = [key for key in behind if key.turn == turn]
            level, deepest = self.levels[i], max(key.deepest for key in latest)
            if i not in self.gates and all(key.level < min(level, key.deepest) for key in latest):
                keys.append(NodeKey(turn + 1, level, level))  # down again, after having come up
            else:
                keys.append(NodeKey(turn, level, max(deepest, level)))
        return keys

    def _find_roles(self) -> Iterator[Role]:
        for i, layer in enumerate(self.layers):
            if layer.kind == "join" and i not in self.gates and i not in self.products:
                for j in layer.inputs:
                    role = self._role(i, j)
                    convolutions = sum("convolution" in self.layers[k].kind for k in role.layers)
                    is_up = any(self.goes(k) < 0 for k in role.layers)
                    if self.keys[role.source] != self.keys[i] and not (is_up and convolutions > 2):
                        yield role

    def _find_descents(self, skipped: set[int]) -> Iterator[Role]:
        """Between a map that is skipped and the pooling: a transition layer, a blur."""
        for i, layer in enumerate(self.layers):
            if layer.kind == "join" or i in self.gates or self.goes(i) <= 0:
                continue
            role, j = [], layer.inputs[0]
            while j > 0 and self.uses[j] == 1 and self.layers[j].kind != "join" and not self.goes(j):
                role.append(j)
                j = self.layers[j].inputs[0]
            if role and j in skipped and sum(self.layers[k].kind == "convolution" for k in role) <= 1:
                yield Role(i, j, tuple(role))

    def _role(self, target: int, first: int) -> Role:
        """Back from an input of a join to where others read too, at most across one change of scale."""
        if target not in self.leads_on:
            return Role(target, first, ())  # several outputs become one: their convolutions are heads
        role: list[int] = []
        i, change = first, 0
        while i > 0 and not change and self.uses[i] == 1 and (self.layers[i].kind != "join" or i in self.products):
            change = self.goes(i)
            if change > 0 and self.keys[i] == self.keys[target]:
                break
            role.append(i)
            i = next((j for j in self.layers[i].inputs if j not in self.gates), self.layers[i].inputs[0])
        if not change and self.uses[i] == 1 and any(self.layers[k].kind == "convolution" for k in role):
            return Role(target, first, ())  # no fork: these are the convolutions of a stage that nothing else reads
        return Role(target, i, tuple(role))

    def goes(self, i: int) -> int:
        """Levels that a layer goes down; negative: up."""
        return self.levels[i] - self.levels[self.layers[i].inputs[0]] if i else 0
