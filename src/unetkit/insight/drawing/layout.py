"""Layout of the drawing of a net: bars per stage, stages per level, arrows between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod

from ...graph.cost import map_sizes
from ...graph.graph import Graph
from ...graph.stages import Arrow, NodeKey, Stage, Structure

__all__ = ["Box", "Layout", "Placed", "lay_out", "text_width"]

# In units of the drawing, about a pixel each. The model is figure 1 of the 2015 paper: the height of a bar shows the
# size of its map, its width the channels; levels are below one another, poolings and up-convolutions vertical arrows.
_TALLEST, _LOWEST = 128.0, 13.0
_BETWEEN = 15.0  # from bar to bar: space for an arrow
_APART = 50.0  # from stage to stage of one level
_LANE = 9.0  # between skips that pass over other stages
_TIP = 13.0  # space for the tips of their arrows
_LINE = 11.0
_LABEL = 10.0  # font size of channel numbers


@dataclass
class Box:
    """One bar. `kind`: "input", "pooled", "joined", "convolution", "head", or "more" for those that are not drawn."""

    kind: str
    text: str
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0

    @property
    def centre(self) -> float:
        """Horizontal middle."""
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.y + self.height

    @property
    def above(self) -> float:
        """End of an arrow from above, over the channel number."""
        return self.y - _LABEL - 5


@dataclass
class Placed:
    """A stage with its bars (`shown[i]` is the box of bar i) and the sizes written below."""

    stage: Stage
    boxes: list[Box]
    shown: list[int]
    sizes: list[str]
    anchor: str = "middle"
    text_x: float = 0.0
    text_y: float = 0.0
    has_side_head: bool = False
    arcs: list[tuple[int, int, str, float]] = field(default_factory=list)

    def box(self, bar: int) -> Box:
        """The box of a bar, or the one that stands for it."""
        return self.boxes[self.shown[max(0, min(bar, len(self.shown) - 1))]]

    @property
    def extent(self) -> tuple[float, float]:
        """Left and right end, the sizes below included."""
        width = max(text_width(line, 9) for line in self.sizes)
        text = self.text_x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return min(self.boxes[0].x, text), max(self.boxes[-1].x + self.boxes[-1].width, text + width)

    def move(self, dx: float, y: float, below: float) -> None:
        """Shift to the right by `dx`, its middle at height `y`, the sizes at `below`."""
        for box in self.boxes:
            box.x, box.y = box.x + dx, y - box.height / 2
        self.text_x, self.text_y = self.text_x + dx, below


@dataclass
class Layout:
    """Positions of all elements of a drawing.

    Attributes
    ----------
    placed : dict
        Stages with their bars.
    rows : dict
        Height of each level's middle.
    lanes : dict
        Height at which an arrow passes over the stages of its target's level, where it cannot go straight.
    channels : dict
        Where arrows that come up over several levels go around, at the right.
    """

    structure: Structure
    placed: dict[NodeKey, Placed]
    rows: dict[int, float]
    lanes: dict[Arrow, float]
    channels: dict[Arrow, float]
    width: float
    height: float


def text_width(text: str, size: float) -> float:
    """Upper bound of a line's width: digits of common sans-serif fonts take 0.56 to 0.64 of their size."""
    return 0.62 * size * len(text)


def lay_out(
    graph: Graph, structure: Structure, size: Sequence[int], *, left: Sequence[float], most_bars: int = 7
) -> Layout:
    """Place the stages of a net for an input of `size`.

    `left` is kept free for the name of each level. Of stages with more than `most_bars` bars the first convolution
    and the last are shown.
    """
    sizes = map_sizes(graph, size)
    down = {arrow.source for arrow in structure.arrows if arrow.kind in ("pool", "strided")}
    up = {arrow.target for arrow in structure.arrows if arrow.kind == "up"}
    placed = {}
    for stage in structure.stages:
        is_side = stage.has_head and stage.exit != len(graph.layers) - 1 and stage.key not in down
        placed[stage.key] = _place_bars(graph, stage, sizes, most_bars, has_side_head=is_side and len(stage.bars) > 1)
        _place_sizes(placed[stage.key], goes_down=stage.key in down, comes_up=stage.key in up)
    lanes = _lanes(structure)
    _place_columns(structure, placed)
    if any(arrow.is_long and arrow.kind != "up" for arrow in structure.arrows):
        left = [max(left)] * len(left)  # it goes around at the left
    shift = max(left[key.level] - p.extent[0] for key, p in placed.items())
    rows, heights, height = _place_rows(structure, placed, lanes)
    for key, p in placed.items():
        p.move(shift, rows[key.level], heights[key.level])
    tops = {level: min(b.above for k, p in placed.items() if k.level == level for b in p.boxes) for level in rows}
    over = {arrow: tops[arrow.target.level] - _TIP - _LANE * lane for arrow, lane in lanes.items()}
    right = max(p.extent[1] for p in placed.values())
    around = [arrow for arrow in structure.arrows if arrow.is_long and arrow.kind == "up"]
    channels = {arrow: right + _LANE * (i + 1) for i, arrow in enumerate(around)}
    return Layout(structure, placed, rows, over, channels, right + _LANE * len(around) + 16, height)


def _place_bars(
    graph: Graph, stage: Stage, sizes: Sequence[tuple[int, ...]], most: int, *, has_side_head: bool
) -> Placed:
    bars = list(stage.bars[:-1] if has_side_head else stage.bars)
    kinds = ["convolution"] * len(bars)
    if stage.has_entry:
        kinds[0] = "joined" if stage.parts else "input" if bars[0] == 0 else "pooled"
    if graph.layers[bars[-1]].kind == "join" and len(bars) > 1:
        kinds[-1] = "pooled"
    if stage.has_head and not has_side_head:
        kinds[-1] = "head"
    boxes = [_box(graph, kind, bar, sizes) for kind, bar in zip(kinds, bars, strict=True)]
    shown = list(range(len(bars)))
    is_long = len(bars) > most
    if is_long:
        first = 2 if stage.has_entry else 1
        last = len(bars) - (2 if kinds[-1] != "convolution" else 1)
        more = Box("more", f"{last - first} more", text_width("10 more", 8) - 8, 0)
        boxes = [*boxes[:first], more, *boxes[last:]]
        shown = [i if i < first else first if i < last else i - last + first + 1 for i in shown]
    for before, box in pairwise(boxes):  # the numbers above need less space than bars of so many channels and arrows
        box.x = before.x + before.width + _BETWEEN
    arcs = _arcs(stage, shown, len(boxes) - (2 if kinds[-1] == "head" else 1), is_long=is_long)
    first_size, last_size = (_size(sizes[bars[i]]) for i in (0, -1))
    lines = [first_size] if first_size == last_size else [f"{first_size} → {last_size}"]
    if len(lines[0]) > 15:
        lines = [first_size, f"→ {last_size}"]
    return Placed(stage, boxes, shown, lines, has_side_head=has_side_head, arcs=arcs)


def _arcs(stage: Stage, shown: list[int], last: int, *, is_long: bool) -> list[tuple[int, int, str, float]]:
    """(first box, last box, kind, depth below the bars); one stands for all where a stage is not shown whole."""
    arcs = {(shown[a.start] if a.start >= 0 else -1, shown[min(a.end, len(shown) - 1)], a.kind) for a in stage.arcs}
    if is_long:
        arcs = {(min(start for start, _, _ in arcs), last, kind) for _, _, kind in arcs}
    drawn: list[tuple[int, int, str, float]] = []
    for start, end, kind in sorted(arcs, key=lambda arc: (arc[1] - arc[0], arc)):
        crossed = [depth for a, b, _, depth in drawn if a < end and start < b]
        drawn.append((start, end, kind, max(crossed, default=3.0) + 4.0))
    return drawn


def _box(graph: Graph, kind: str, bar: int, sizes: Sequence[tuple[int, ...]]) -> Box:
    channels = graph.layers[bar].channels
    ratio = prod(n / full for n, full in zip(sizes[bar], sizes[0], strict=True)) ** (1 / len(sizes[0]))
    return Box(kind, str(channels), 4 + 0.75 * channels**0.5, max(_LOWEST, _TALLEST * ratio**0.5))


def _size(size: tuple[int, ...]) -> str:
    """572² or 32 x 64 x 64."""
    if len(set(size)) == 1:
        return f"{size[0]}{'¹²³'[len(size) - 1]}"
    return "×".join(map(str, size))


def _place_sizes(placed: Placed, *, goes_down: bool, comes_up: bool) -> None:
    """Place the sizes below the bars, next to the arrow that starts or ends there."""
    first, last = placed.boxes[0], placed.boxes[-1]
    if comes_up:
        placed.anchor, placed.text_x = "start", first.centre + 8
    elif goes_down:
        placed.anchor, placed.text_x = "end", last.centre - 8
    else:
        placed.anchor, placed.text_x = "middle", (first.x + last.x + last.width) / 2


def _column(structure: Structure, key: NodeKey) -> tuple[int, int, int]:
    """Left to right: down the encoder, up the decoder; for a nested net the triangle of its paper."""
    return key.turn, 2 * key.deepest - key.level, -key.level


def _place_columns(structure: Structure, placed: dict[NodeKey, Placed]) -> None:
    """Every stage right of its neighbours on its level, and straight above or below the one that leads to it."""
    done: list[NodeKey] = []
    for key in sorted(placed, key=lambda key: _column(structure, key)):
        me = placed[key]
        own = me.extent[0]
        wanted = [0.0]
        wanted += [placed[k].extent[1] + _APART - own for k in done if k.level == key.level]
        for arrow in structure.arrows:
            if arrow.target == key and arrow.kind != "skip" and arrow.source in done:
                wanted.append(placed[arrow.source].box(arrow.start).centre - me.boxes[0].centre)
        for box in me.boxes:
            box.x += max(wanted)
        me.text_x += max(wanted)
        done.append(key)


def _lanes(structure: Structure) -> dict[Arrow, int]:
    """Arrows that cannot go straight, because stages stand between or they join late: one above the other."""
    lanes: dict[Arrow, int] = {}
    order = sorted(structure.stages, key=lambda stage: _column(structure, stage.key))
    for level in {stage.key.level for stage in structure.stages}:
        row = [stage.key for stage in order if stage.key.level == level]
        skips = [a for a in structure.arrows if a.kind == "skip" and a.source.level == a.target.level == level]
        bent = [a for a in skips if a.bar or abs(row.index(a.target) - row.index(a.source)) > 1]
        bent += [a for a in structure.arrows if a.kind == "up" and a.is_long and a.target.level == level]
        spans = {
            a: (row.index(a.target), len(row)) if a.kind == "up" else (row.index(a.source), row.index(a.target))
            for a in bent
        }
        taken: list[tuple[int, int, int]] = []
        for arrow in sorted(bent, key=lambda a: spans[a][1] - spans[a][0]):
            start, end = spans[arrow]
            used = {lane for a, b, lane in taken if a < end and start < b}
            lanes[arrow] = min(set(range(len(bent))) - used)
            taken.append((start, end, lanes[arrow]))
    return lanes


def _place_rows(
    structure: Structure, placed: dict[NodeKey, Placed], lanes: dict[Arrow, int]
) -> tuple[dict[int, float], dict[int, float], float]:
    """(height of each level's middle, of the sizes below its bars, of all)."""
    middles, belows, y = {}, {}, 10.0
    for level in sorted({key.level for key in placed}):
        row = [p for key, p in placed.items() if key.level == level]
        tallest = max(box.height for p in row for box in p.boxes)
        over = [lane for arrow, lane in lanes.items() if arrow.target.level == level]
        y += max(over) * _LANE + _TIP + 2 if over else 0.0
        y += _LABEL + 6 + (_LINE if level == 0 else 0)
        middles[level] = y + tallest / 2
        y += tallest
        y += max((depth for p in row for *_, depth in p.arcs), default=0.0)
        y += 27 if any(p.has_side_head for p in row) else 0
        belows[level] = y + 12
        y += 12 + _LINE * (max(len(p.sizes) for p in row) - 1) + 20
    return middles, belows, y
