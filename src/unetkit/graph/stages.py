"""The U in a graph: the layers of each stage, and the connections between stages.

A layer's key is (level, deepest): the index of its scale, 0 the finest, and the deepest level among itself and all
that it was computed from. In a U-Net every encoder stage has a key (i, i) and every decoder stage (i, depth); node
x[i, j] of a UNet++ has (i, i + j). The keys are the stages, of a user's own net too, whatever the names of its modules.
A net that goes down again after coming up (two U-Nets in a row) starts another pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from .graph import Graph, Layer
from .roles import LayerRoles, NodeKey, Role

__all__ = ["Arc", "Arrow", "NodeKey", "Stage", "Structure", "structure"]

_SUMS = ("add", "iadd", "radd")
_CATS = ("cat", "concat", "concatenate")


class Arc(NamedTuple):
    """Within a stage: the map of bar `start` joins that of bar `end`, by "add" or "cat"; -1: what enters the stage."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Arrow:
    """From one stage to another.

    Attributes
    ----------
    kind : "pool", "strided", "up" or "skip"
    source, target : Key
    start, bar : int
        The bar of the source that it leaves, and the bar of the target that it enters (0, unless it joins later).
    join : "add", "cat" or ""
    has_crop, is_gated : bool
        Whether a crop, or a multiplication by attention coefficients, lies on the way.
    roles : tuple of Role
        The layers on it; several where it joins more than once.
    """

    kind: str
    source: NodeKey
    target: NodeKey
    start: int
    bar: int
    join: str = ""
    has_crop: bool = False
    is_gated: bool = False
    roles: tuple[Role, ...] = ()

    @property
    def arrivals(self) -> tuple[tuple[int, int], ...]:
        """Edges (layer that reads, layer that is read) at which it enters its target: for `graph.hooks`."""
        return tuple((role.target, role.layers[0] if role.layers else role.source) for role in self.roles)

    @property
    def departures(self) -> tuple[tuple[int, int], ...]:
        """Edges (layer that reads, layer that is read) at which it leaves its source."""
        return tuple((role.layers[-1] if role.layers else role.target, role.source) for role in self.roles)

    @property
    def is_long(self) -> bool:
        """Whether it passes over a level."""
        return abs(self.source.level - self.target.level) > 1


@dataclass(frozen=True)
class Stage:
    """Layers of one key.

    Attributes
    ----------
    key : Key
    layers : tuple of int
        All of its layers, with those of the skips and gates that end in it.
    bars : tuple of int
        Layers whose maps are drawn: the one that enters, then every convolution on its longest path.
    has_entry : bool
        Whether the first bar is a map that enters (pooled, joined, the input) and no convolution of this stage.
    exit : int
        Its last layer.
    arcs : tuple of Arc
    parts : tuple of (int, str)
        Channels that the entry joins side by side, in order, each "up" or "skip".
    has_head : bool
        Whether the last bar is an output of the net: no convolution follows.
    """

    key: NodeKey
    layers: tuple[int, ...]
    bars: tuple[int, ...]
    has_entry: bool
    exit: int
    arcs: tuple[Arc, ...]
    parts: tuple[tuple[int, str], ...] = ()
    has_head: bool = False


@dataclass(frozen=True)
class Structure:
    """Stages in order of computation, and the arrows between them."""

    stages: tuple[Stage, ...]
    arrows: tuple[Arrow, ...]

    @property
    def depth(self) -> int:
        """The coarsest level."""
        return max(stage.key.level for stage in self.stages)

    def name(self, key: NodeKey) -> str:
        """Name of a stage: encoder 0, bottom, decoder 0; node 0,1 in a nested net."""
        if any(s.key.level < s.key.deepest < self.depth for s in self.stages):
            name = f"node {key.level},{key.deepest - key.level}"
        elif key.level == key.deepest:
            name = "bottom" if key.level == self.depth else f"encoder {key.level}"
        else:
            name = f"decoder {key.level}"
        return name if key.turn == 0 else f"{name}, pass {key.turn + 1}"


def structure(graph: Graph) -> Structure:
    """Find the stages of a net and what connects them.

    Parameters
    ----------
    graph : Graph
        Of `graph.read.read`: of our nets, or of any Module.
    """
    return _Reader(graph).structure()


class _Reader(LayerRoles):
    """Puts the layers of a graph together to stages."""

    def structure(self) -> Structure:
        homes = list(self.keys)
        for role in self.roles:
            for i in role.layers if self.layers[role.target].kind == "join" else ():
                homes[i] = self.keys[role.target]
        for gate, product in self.gates.items():
            homes[gate] = homes[product]
        apart = self.gates.keys() | self.passing
        stages = {}
        for key in dict.fromkeys(self.keys[i] for i in range(len(self.layers)) if i not in apart):
            inner = [i for i in range(len(self.layers)) if self.keys[i] == key and i not in apart]
            stage = _Chain(self, inner).stage(key, tuple(i for i, home in enumerate(homes) if home == key))
            head = stage.bars[-1]
            has_head = self.layers[head].kind == "convolution" and head not in self.leads_on
            stages[key] = replace(stage, parts=self._parts(stage.bars[0]), has_head=has_head)
        arrows: dict[tuple[str, NodeKey, NodeKey], Arrow] = {}
        for arrow in self._arrows(stages):
            known = arrows.setdefault((arrow.kind, arrow.source, arrow.target), arrow)
            flags = known.has_crop or arrow.has_crop, known.is_gated or arrow.is_gated
            roles = known.roles if arrow is known else known.roles + arrow.roles
            arrows[arrow.kind, arrow.source, arrow.target] = replace(
                known, has_crop=flags[0], is_gated=flags[1], roles=roles
            )
        return Structure(tuple(stages.values()), tuple(arrows.values()))

    def _parts(self, i: int) -> tuple[tuple[int, str], ...]:
        """Channels that a concatenation joins, in order: of the map that came up, and of skips."""
        if _join(self.layers[i]) != "cat":
            return ()
        came = {
            (role.layers[0] if role.layers else role.source): self.keys[role.source]
            for role in self.roles
            if role.target == i
        }
        level = self.keys[i].level
        rows = ((self.layers[j].channels, came.get(j), self.goes(j) < 0) for j in self.layers[i].inputs)
        return tuple((n, "up" if is_up or (key and key.level > level) else "skip") for n, key, is_up in rows)

    def _arrows(self, stages: dict[NodeKey, Stage]) -> Iterator[Arrow]:
        roles = {(role.target, role.layers[0] if role.layers else role.source): role for role in self.roles}
        for i, layer in enumerate(self.layers):
            if i in self.gates or i in self.passing:
                continue
            for j in layer.inputs:
                role = roles.get((i, j), Role(i, j, ()))
                source, target = self.keys[role.source], self.keys[i]
                if source == target or j in self.gates or role.source in self.gates:
                    continue
                steps = [self.layers[k] for k in (*role.layers, i)]
                start, bar = (
                    max((n for n, b in enumerate(stages[key].bars) if b <= layer), default=0)
                    for key, layer in ((source, role.source), (target, i))
                )
                yield Arrow(
                    _kind(source, target, steps),
                    source,
                    target,
                    start,
                    bar,
                    _join(layer),
                    any(s.kind == "pad" and any(w.before < 0 or w.after < 0 for w in s.windows) for s in steps),
                    any(k in self.products for k in (*role.layers, i)),
                    (role,),
                )


def _kind(source: NodeKey, target: NodeKey, steps: list[Layer]) -> str:
    if target.level < source.level:
        return "up"
    if target.level == source.level or target.level < target.deepest:
        return "skip"
    learns = any(s.kind == "convolution" and s.parameters for s in steps if any(w.stride > 1 for w in s.windows))
    return "strided" if learns else "pool"


def _join(layer: Layer) -> str:
    return "add" if layer.function in _SUMS else "cat" if layer.function in _CATS else ""


class _Chain:
    """The longest path through the layers of one stage: what its bars show."""

    def __init__(self, reader: _Reader, inner: list[int]) -> None:
        self.layers, self.inner = reader.layers, set(inner)
        last = len(self.layers) - 1
        read_elsewhere = {j for i, layer in enumerate(self.layers) if i not in self.inner for j in layer.inputs}
        self.exit = max((i for i in inner if i in read_elsewhere or i == last), default=inner[-1])
        self.lengths: dict[int, tuple[int, int]] = {}  # convolutions, and their reach: a 1x1 shortcut is shorter
        for i in inner:
            count, reach = max((self.lengths[j] for j in self._before(i)), default=(0, 0))
            extent = max(window.extent for window in self.layers[i].windows)
            self.lengths[i] = (count + 1, reach + extent) if self._convolves(i) else (count, reach)
        self.path = self._longest()
        self.bars, self.has_entry = self._bars()

    def _convolves(self, i: int) -> bool:
        """Whether a layer is a convolution, and not the fixed blur of a pooling."""
        layer = self.layers[i]
        is_blur = layer.parameters == 0 and any(w.stride > 1 for w in layer.windows)
        return layer.kind == "convolution" and not is_blur

    def _before(self, i: int) -> list[int]:
        return [j for j in self.layers[i].inputs if j in self.inner]

    def _longest(self) -> list[int]:
        path = [self.exit]
        while before := self._before(path[-1]):
            path.append(max(before, key=lambda j: (self.lengths[j], j)))
        return path[::-1]

    def _bars(self) -> tuple[list[int], bool]:
        convolutions = [i for i in self.path if self._convolves(i)]
        first = convolutions[0] if convolutions else self.exit + 1
        before = [i for i in self.path if i < first]
        plain = ("pointwise", "statistics")
        entry = [i for i in before if self.layers[i].kind not in plain][-1:] or before[-1:]
        bars = entry + convolutions
        grown = [i for i in self.path if i > bars[-1] and self.layers[i].channels != self.layers[bars[-1]].channels]
        joined = [i for i in grown if self.layers[i].kind == "join"][-1:]
        return bars + joined, bool(entry)

    def _position(self, i: int) -> int:
        """The bar that shows a layer's map, or the map that it was computed from; -1 where that lies before all."""
        while i not in self.path and self._before(i):
            i = max(self._before(i))
        if i not in self.path:
            return -1
        return max((n for n, bar in enumerate(self.bars) if bar <= i), default=0)

    def _arcs(self) -> Iterator[Arc]:
        for i in self.path:
            join, end = _join(self.layers[i]), self._position(i)
            start = min((self._position(j) for j in self._before(i)), default=end)
            if join and end > 0 and start < end - (join == "cat" and i in self.bars and end == len(self.bars) - 1):
                yield Arc(start, end, join)

    def stage(self, key: NodeKey, layers: tuple[int, ...]) -> Stage:
        arcs = tuple(dict.fromkeys(self._arcs()))
        return Stage(key, layers, tuple(self.bars), self.has_entry, self.exit, arcs)
