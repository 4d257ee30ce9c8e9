"""The legend of a drawing: what its arrows, bars and signs stand for, as far as they occur in it."""

from __future__ import annotations

from collections.abc import Iterator

from ...graph.graph import Graph
from .layout import Layout, text_width
from .svg import PARTS, alpha, line, plus, rectangle, text

__all__ = ["legend"]


def legend(graph: Graph, layout: Layout) -> tuple[list[str], float]:
    """SVG elements below the drawing, in as many lines as its width asks for, and the height of all."""
    lines: list[str] = []
    x, y = 12.0, layout.height + 8
    for kind, words in _entries(graph, layout):
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


def _entries(graph: Graph, layout: Layout) -> Iterator[tuple[str, str]]:
    found = layout.structure
    kinds = {arrow.kind for arrow in found.arrows}
    skips = [arrow for arrow in found.arrows if arrow.kind == "skip"]
    arcs = {arc[2] for placed in layout.placed.values() for arc in placed.arcs}
    inner = [graph.layers[b] for s in found.stages for b in s.bars[: -1 if s.has_head else None]]
    kernels = {tuple(w.kernel for w in layer.windows) for layer in inner if layer.kind == "convolution"}
    yield "convolution", f"convolution {' × '.join(map(str, kernels.pop()))}" if len(kernels) == 1 else "convolution"
    if any(stage.has_head for stage in found.stages):
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
    if any(stage.parts for stage in found.stages):
        yield "copied", "copied and up-sampled channels, concatenated"
    if any(arrow.join == "add" for arrow in skips):
        yield "sum", "addition"
    if any(arrow.is_gated for arrow in skips):
        yield "gate", "attention gate"
    if "add" in arcs:
        yield "add", "residual addition"
    if "cat" in arcs:
        yield "cat", "dense concatenation"
