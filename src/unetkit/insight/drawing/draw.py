"""Drawing of a net: the U (or the triangle) as one SVG, in the style of the figures in its papers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from ...graph.cost import map_sizes
from ...graph.graph import Graph
from ...graph.stages import Arrow, structure
from .layout import Box, Layout, Placed, lay_out, text_width
from .svg import COLOURS, FAINT, FILLS, FONT, PARTS, alpha, line, path, plus, rectangle, text

__all__ = ["draw"]

_MOST_WIDE = 1100


def draw(graph: Graph, size: Sequence[int], *, title: str = "") -> str:
    """Draw a net as an SVG.

    Every bar is a map: its height shows the size and its width the number of channels (written above it, the size below
    its stage). Stages are placed on their level, the scale of their maps, which follows from the graph alone, so a
    user's own Module is drawn as well as a net of a paper. Of long stages the first and the last convolution are shown.

    Parameters
    ----------
    graph : Graph
        Of `graph.read.read`.
    size : sequence of int
        Input size in pixels per axis, one that fits the net.
    title : str
        For screen readers and the tooltip.

    Returns
    -------
    str
        A whole SVG document without scripts or outside references, at most 1100 pixels wide.

    Raises
    ------
    ValueError
        If the size does not fit the net; the nearest sizes are named.
    """
    net, sizes = structure(graph), map_sizes(graph, size)
    names = {}
    for level in range(net.depth + 1):
        bars = next(stage for stage in net.stages if stage.key.level == level).bars
        fields = [axis.receptive_field(bars[-1]).largest for axis in graph.geometry.axes]
        field = str(fields[0]) if len(set(fields)) == 1 else " × ".join(map(str, fields))
        names[level] = [f"level {level} · {' × '.join(map(str, sizes[bars[0]]))}", f"receptive field {field}"]
    left = [max(text_width(name, 9.5) for name in names[level]) * 0.9 + 24 for level in sorted(names)]
    layout = lay_out(graph, net, size, left=left)
    if layout.width > _MOST_WIDE:
        layout = lay_out(graph, net, size, left=left, most_bars=4)
    layout.width = max(layout.width, 480.0)
    body = [*_levels(layout, names), *_arrows(layout), *_stages(layout), *_captions(layout)]
    legend, height = _legend(graph, layout)
    return _document([*body, *legend], layout.width, height, title or "A convolutional net")


def _document(body: Sequence[str], width: float, height: float, title: str) -> str:
    scale = min(1.0, _MOST_WIDE / width)
    markers = "".join(
        f'<marker id="{tip}-{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="{side}" markerHeight="{side}" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0.6L8 4L0 7.4z" fill="{colour}"/></marker>'
        for name, colour in COLOURS.items()
        for tip, side in (("tip", 7.5), ("dot", 5))
    )
    lines = "\n".join(body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * scale:.0f}" height="{height * scale:.0f}" '
        f'viewBox="0 0 {width:.1f} {height:.1f}" font-family="{FONT}" role="img">\n'
        f"<title>{escape(title)}</title>\n<defs>{markers}</defs>\n"
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{lines}\n</svg>\n'
    )


# --- levels ---


def _levels(layout: Layout, names: dict[int, list[str]]) -> Iterator[str]:
    for level, y in layout.rows.items():
        first, second = names[level]
        yield text(12, y - 2, first, size=9.5, anchor="start")
        yield text(12, y + 11, second, size=9, anchor="start", colour=FAINT)


# --- arrows between stages ---


def _arrows(layout: Layout) -> Iterator[str]:
    for arrow in layout.structure.arrows:
        source, target = layout.placed[arrow.source], layout.placed[arrow.target]
        start, end = source.box(arrow.start), target.box(arrow.bar)
        y0, y1 = (box.y + box.height / 2 for box in (start, end))
        if arrow in layout.channels:
            yield _around(start, end, layout.channels[arrow], layout.lanes[arrow])
        elif arrow.is_long and arrow.kind != "skip":
            x, low = source.boxes[0].x - 12, start.bottom + 3
            first = f"M{start.x - 2:.1f} {y0:.1f}" if start is source.boxes[0] else f"M{start.centre:.1f} {low:.1f}v3"
            yield path(f"{first}H{x:.1f}V{y1:.1f}H{end.x - 2:.1f}", arrow.kind)
        elif arrow.kind in ("pool", "strided"):
            yield line(start.centre, start.bottom + 2, end.centre, end.above, arrow.kind)
        elif arrow.kind == "up":
            yield line(start.centre, start.above, end.centre, end.bottom + 2, arrow.kind)
        elif arrow.source.level != arrow.target.level:
            # the space between encoder and decoder is free for a line down, which all skips into one stage share
            x = end.x - 16
            bend = f"Q{x:.1f} {y1:.1f} {x + 5:.1f} {y1:.1f}H{end.x - 2:.1f}"
            yield path(f"M{start.x + start.width + 3:.1f} {y0:.1f}H{x:.1f}V{y1 - 5:.1f}{bend}", "skip")
        elif arrow in layout.lanes:
            yield from _bent_skip(layout, arrow, start, end)
        else:
            yield from _straight_skip(layout, arrow, start, end)


def _around(start: Box, end: Box, channel: float, lane: float) -> str:
    """To the right, up past all stages, and from above into the target."""
    x0, y0 = start.x + start.width + 3, start.y + start.height / 2
    x1, y1 = end.centre + 5, end.above
    d = f"M{x0:.1f} {y0:.1f}H{channel - 5:.1f}Q{channel:.1f} {y0:.1f} {channel:.1f} {y0 - 5:.1f}V{lane + 5:.1f}"
    d += f"Q{channel:.1f} {lane:.1f} {channel - 5:.1f} {lane:.1f}H{x1 + 5:.1f}"
    return path(d + f"Q{x1:.1f} {lane:.1f} {x1:.1f} {lane + 5:.1f}V{y1:.1f}", "up", width=1.3)


def _straight_skip(layout: Layout, arrow: Arrow, start: Box, end: Box) -> Iterator[str]:
    y = end.y + end.height / 2
    tip = end.x - (13 if arrow.join == "add" else 2)
    yield line(start.x + start.width + 3, y, tip, y, "skip", width=2.6)
    if arrow.is_gated:
        x = end.x - 24
        below = [a for a in layout.structure.arrows if a.kind == "up" and a.target == arrow.target]
        for up in below[:1]:
            gating = layout.placed[up.source].box(up.start)
            yield line(gating.centre - 6, gating.above, x + 2, y + 11, "gate", width=1.2)
        yield from alpha(x, y, 9)
    if arrow.join == "add":
        yield from plus(end.x - 7, y)


def _bent_skip(layout: Layout, arrow: Arrow, start: Box, end: Box) -> Iterator[str]:
    lane = layout.lanes[arrow]
    x0, x1 = start.centre + 5, end.centre - 5
    y0, y1 = start.above, end.above
    d = f"M{x0:.1f} {y0:.1f}V{lane + 5:.1f}Q{x0:.1f} {lane:.1f} {x0 + 5:.1f} {lane:.1f}"
    d += f"H{x1 - 5:.1f}Q{x1:.1f} {lane:.1f} {x1:.1f} {lane + 5:.1f}V{y1:.1f}"
    yield path(d, "skip", width=1.3)
    if arrow.is_gated:
        yield from alpha(x1 - 14, lane, 4)
    others = [a for a in layout.structure.arrows if a.target == arrow.target and a.join == "add"]
    if arrow.join == "add" and all(a in layout.lanes or a.kind != "skip" for a in others):
        yield from plus(x1 - 25, lane)  # without a straight skip that shows the sign


# --- stages ---


def _stages(layout: Layout) -> Iterator[str]:
    for placed in layout.placed.values():
        yield "<g>"
        for before, box in zip([None, *placed.boxes], placed.boxes, strict=False):
            if before:
                y = box.y + box.height / 2
                kind = "head" if box.kind == "head" else "convolution"
                is_join = box.kind == "pooled"
                yield line(before.x + before.width + 2, y, box.x - 2, y, "cat" if is_join else kind)
            yield from _bar(placed, box)
        for start, end, kind, depth in placed.arcs:
            yield from _arc(placed, start, end, kind, depth)
        if placed.has_side_head:
            yield from _side_head(placed)
        for i, words in enumerate(placed.sizes):
            yield text(placed.text_x, placed.text_y + 11 * i, words, size=9, anchor=placed.anchor, colour=FAINT)
        yield "</g>"


def _bar(placed: Placed, box: Box) -> Iterator[str]:
    if box.kind == "more":
        yield text(box.centre, box.y - 4, box.text, size=8, colour=FAINT)
        yield text(box.centre, box.y + 9, "· · ·", size=10, colour=FAINT)
        return
    parts = placed.stage.parts if box.kind == "joined" else ((1, ""),)
    total, x = sum(n for n, _ in parts), box.x
    for n, kind in parts:
        width = box.width * n / total
        fill = PARTS.get(kind, FILLS[box.kind])
        yield rectangle(x, box.y, width, box.height, fill)
        x += width
    yield text(box.centre, box.y - 4, box.text)


def _arc(placed: Placed, start: int, end: int, kind: str, depth: float) -> Iterator[str]:
    """Below the bars, from a map to the one that it is added to or concatenated with."""
    last = placed.boxes[end]
    if start >= 0:
        first = placed.boxes[start]
        x0, y0 = first.centre + 3, first.bottom + 2
    else:
        x0, y0 = placed.boxes[0].x - 7, placed.boxes[0].y + placed.boxes[0].height / 2
    x1, y1 = last.centre - 5, last.bottom + 2
    low = max(placed.boxes[0].bottom, y1, y0) + depth
    d = f"M{x0:.1f} {y0:.1f}V{low - 3:.1f}Q{x0:.1f} {low:.1f} {x0 + 3:.1f} {low:.1f}"
    d += f"H{x1 - 3:.1f}Q{x1:.1f} {low:.1f} {x1:.1f} {low - 3:.1f}V{y1:.1f}"
    yield path(d, kind, width=1.2, small=True)


def _side_head(placed: Placed) -> Iterator[str]:
    """An output of an inner stage, below its last bar."""
    last = placed.boxes[-1]
    yield line(last.centre, last.bottom + 2, last.centre, last.bottom + 15, "head")
    yield rectangle(last.centre - 4, last.bottom + 15.5, 8, 9, FILLS["head"])


def _captions(layout: Layout) -> Iterator[str]:
    first = next(iter(layout.placed.values()))
    last = max(layout.placed.values(), key=lambda placed: placed.stage.exit)
    start, end = first.boxes[0], last.boxes[-1]
    anchors = ("end", "start") if first is last else ("middle", "middle")
    yield text(start.centre, start.y - 16, "input", size=9, colour=FAINT, anchor=anchors[0])
    bent = [
        y for arrow, y in layout.lanes.items() if arrow.target == last.stage.key and arrow.bar == len(last.shown) - 1
    ]
    x, y = (end.x + end.width + 4, end.y + end.height / 2 + 3) if bent else (end.centre, end.y - 16)
    yield text(x, y, "output", size=9, colour=FAINT, anchor="start" if bent else anchors[1])


# --- legend ---


def _legend(graph: Graph, layout: Layout) -> tuple[list[str], float]:
    """SVG elements below the drawing, in as many lines as its width needs, and the height of all."""
    lines: list[str] = []
    x, y = 12.0, layout.height + 8
    for kind, words in _legend_entries(graph, layout):
        width = 30 + text_width(words, 9) * 0.88 + 14
        if x + width > layout.width and x > 12:
            x, y = 12.0, y + 18
        if kind == "gate":
            lines += alpha(x + 12, y, 7)
        elif kind == "sum":
            lines += plus(x + 12, y)
        elif kind == "copied":
            lines += [rectangle(x + 4, y - 6, 8, 12, PARTS["skip"]), rectangle(x + 12, y - 6, 8, 12, PARTS["up"])]
        else:
            lines.append(line(x, y, x + 24, y, kind, width=2.6 if kind == "skip" else 1.6))
        lines.append(text(x + 30, y + 3.2, words, size=9, anchor="start"))
        x += width
    return lines, y + 20


def _legend_entries(graph: Graph, layout: Layout) -> Iterator[tuple[str, str]]:
    net = layout.structure
    kinds = {arrow.kind for arrow in net.arrows}
    skips = [arrow for arrow in net.arrows if arrow.kind == "skip"]
    arcs = {arc[2] for placed in layout.placed.values() for arc in placed.arcs}
    inner = [graph.layers[b] for s in net.stages for b in s.bars[: -1 if s.has_head else None]]
    kernels = {tuple(w.kernel for w in layer.windows) for layer in inner if layer.kind == "convolution"}
    yield "convolution", f"convolution {' × '.join(map(str, kernels.pop()))}" if len(kernels) == 1 else "convolution"
    if any(stage.has_head for stage in net.stages):
        yield "head", "output convolution"
    if "pool" in kinds:
        pools = (layer for layer in graph.layers if layer.kind == "pooling")
        names = {layer.function for layer in pools if any(w.stride > 1 for w in layer.windows)}
        yield "pool", "max-pooling" if names and all(name.startswith("max") for name in names) else "pooling"
    if "strided" in kinds:
        yield "strided", "strided convolution"
    if "up" in kinds:
        ups = {layer.kind for layer in graph.layers}
        yield "up", "up-convolution" if "transposed convolution" in ups else "up-sampling"
    if skips:
        has_sum = all(arrow.join == "add" for arrow in skips)
        verb = "skip" if has_sum else "copy and crop" if any(arrow.has_crop for arrow in skips) else "copy"
        yield "skip", verb
    if any(stage.parts for stage in net.stages):
        yield "copied", "copied and up-sampled channels, concatenated"
    if any(arrow.join == "add" for arrow in skips):
        yield "sum", "addition"
    if any(arrow.is_gated for arrow in skips):
        yield "gate", "attention gate"
    if "add" in arcs:
        yield "add", "residual addition"
    if "cat" in arcs:
        yield "cat", "dense concatenation"
