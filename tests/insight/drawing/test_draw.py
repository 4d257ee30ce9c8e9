"""The drawing: stages as the papers have them, and nothing drawn over anything else."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from math import hypot
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.graph.graph import Graph
from unetkit.graph.read import read
from unetkit.graph.stages import NodeKey, structure
from unetkit.insight.drawing.draw import draw
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.nets.papers import PAPERS

SVG = "{http://www.w3.org/2000/svg}"
VALID: dict[str, Any] = {"padding": "valid", "norm": "none"}


@cache
def graph_of(name: str) -> Graph:
    with torch.device("meta"):
        if name in PAPERS:
            return build(PAPERS[name]()).graph
        if name in OWN:
            return read(OWN[name]())
        return build(Architecture(**VARIANTS[name])).graph


class Unit(nn.Sequential):
    def __init__(self, *channels: int, stride: int = 1) -> None:
        pairs = pairwise(channels)
        layers = [nn.Conv2d(a, b, 3, stride if i == 0 else 1, 1) for i, (a, b) in enumerate(pairs)]
        super().__init__(*(step for layer in layers for step in (layer, nn.ReLU())))


class Own(nn.Module):
    """What a user may bring: a strided stem, 10 convolutions at the bottom, resized skips, three outputs summed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool = Unit(3, 16, stride=2), nn.MaxPool2d(3, 2, 1)
        self.middle, self.deep = Unit(16, 32, 32), Unit(32, *[64] * 10, stride=2)
        self.first, self.second = Unit(96, 32, 32), Unit(48, 16)
        self.heads = nn.ModuleList(nn.Conv2d(c, 2, 1) for c in (16, 32, 64))

    def forward(self, x: Tensor) -> Tensor:
        stem = self.stem(x)
        middle = self.middle(self.pool(stem))
        deep = self.deep(middle)
        first = self.first(torch.cat([F.interpolate(deep, size=middle.shape[2:]), middle], 1))
        second = self.second(torch.cat([F.interpolate(first, size=stem.shape[2:]), stem], 1))
        maps = zip(self.heads, (second, first, deep), (2, 4, 8), strict=True)
        return sum(F.interpolate(head(y), scale_factor=k) for head, y, k in maps)  # type: ignore[return-value]


class FullScale(nn.Module):
    """UNet 3+: every decoder stage reads every scale."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([Unit(1, 8), Unit(8, 16), Unit(16, 32), Unit(32, 64)])
        given = [(8, 32, 32, 64), (8, 16, 32, 64), (8, 16, 32, 64)]
        self.ways = nn.ModuleList(nn.ModuleList(Unit(c, 8) for c in row) for row in given)
        self.decoder, self.head = nn.ModuleList(Unit(32, 32) for _ in range(3)), nn.Conv2d(32, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        for i, block in enumerate(self.encoder):
            x = block(F.max_pool2d(x, 2) if i else x)
            maps.append(x)
        for i in (2, 1, 0):
            finer = [F.max_pool2d(maps[k], 2 ** (i - k)) if k < i else maps[k] for k in range(i + 1)]
            coarser = [F.interpolate(maps[k], scale_factor=2 ** (k - i)) for k in range(i + 1, 4)]
            ways = zip(self.ways[i], finer + coarser, strict=True)  # type: ignore[call-overload]
            maps[i] = self.decoder[i](torch.cat([way(y) for way, y in ways], 1))
        return self.head(maps[0])


class TwoInARow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = build(Architecture(widths=(4, 8), out_channels=4))
        self.b = build(Architecture(widths=(4, 8), in_channels=4))

    def forward(self, x: Tensor) -> Tensor:
        return self.b.body(F.relu(self.a.body(x)))


OWN = {
    "own": Own,
    "full scale": FullScale,
    "two in a row": TwoInARow,
    "one convolution": lambda: nn.Conv2d(1, 3, 3),
    "no convolution at the bottom": lambda: nn.Sequential(nn.Conv2d(1, 2, 1), nn.MaxPool2d(2), nn.Upsample(None, 2)),
}
WIDE = (32, 64, 128, 256, 512, 1024)
VARIANTS: dict[str, dict[str, Any]] = {
    **{f"depth {d}, {n}D": {"widths": WIDE[: d + 1], "ndim": n} for d in range(1, 6) for n in (2, 3)},
    **{f"valid, depth {d}, {n}D": {"widths": WIDE[: d + 1], "ndim": n, **VALID} for d in range(1, 4) for n in (2, 3)},
    "wide": {"widths": (512, 1024, 1024)},
    "anisotropic": {"ndim": 3, "strides": ((1, 2, 2), (1, 2, 2), 2, 2), "kernels": ((1, 3, 3), 3, 3, 3, 3)},
    "residual": {"block": "residual", "skip": "add", "down": "strided"},
    "residual, valid": {"block": "residual", "widths": (8, 16, 32), **VALID},
    "preactivation": {"block": "preactivation", "down": "first"},
    "dense": {"block": "dense", "convolutions": 4, "down": "transition"},
    "deep": {"convolutions": 10, "block": "residual"},
    "attention, valid": {"skip": "attention", "widths": (8, 16, 32, 64), **VALID},
    "nested": {"topology": "unet++", "heads": "all"},
    "nested, 3D": {"topology": "unet++", "ndim": 3, "widths": (32, 64, 128)},
    "nested, attention": {"topology": "unet++", "skip": "attention"},
    "nested, sums": {"topology": "unet++", "skip": "add", "up": "linear"},
    "no skips": {"skip": "none", "down": "blur", "up": "nearest"},
}
ALL = [*(name for name in PAPERS if "-" not in name), *VARIANTS, *OWN]


@cache
def drawn(name: str) -> ET.Element:
    graph = graph_of(name)
    wanted = {2: (572, 572), 3: (132, 132, 116)}[len(graph.geometry.axes)]
    return ET.fromstring(draw(graph, graph.geometry.above(wanted)))


# --- stages ---


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("ndim", [2, 3])
def test_a_u_net_has_encoder_bottom_and_decoder(depth: int, ndim: int) -> None:
    found = structure(graph_of(f"depth {depth}, {ndim}D"))
    encoder = [NodeKey(0, i, i) for i in range(depth + 1)]
    decoder = [NodeKey(0, i, depth) for i in reversed(range(depth))]
    assert [stage.key for stage in found.stages] == encoder + decoder
    names = [*(f"encoder {i}" for i in range(depth)), "bottom", *(f"decoder {i}" for i in reversed(range(depth)))]
    assert [found.name(stage.key) for stage in found.stages] == names
    arrows = {(arrow.kind, arrow.source, arrow.target) for arrow in found.arrows}
    assert arrows == {
        *(("pool", a, b) for a, b in pairwise(encoder)),
        *(("up", a, b) for a, b in zip([encoder[-1], *decoder], decoder, strict=False)),
        *(("skip", a, b) for a, b in zip(encoder, reversed(decoder), strict=False)),
    }


def test_the_bars_of_figure_1_of_2015() -> None:
    graph = graph_of("ronneberger2015")
    found = structure(graph)
    assert [[graph.layers[bar].channels for bar in stage.bars] for stage in found.stages] == [
        *([1, 64, 64], [64, 128, 128], [128, 256, 256], [256, 512, 512], [512, 1024, 1024]),
        *([1024, 512, 512], [512, 256, 256], [256, 128, 128], [128, 64, 64, 2]),
    ]
    assert [stage.parts for stage in found.stages][5:] == [((n, "skip"), (n, "up")) for n in (512, 256, 128, 64)]
    assert all(arrow.has_crop == (arrow.kind == "skip") for arrow in found.arrows)
    texts = [text.text for text in drawn("ronneberger2015").iter(f"{SVG}text")]
    assert {"572² → 568²", "68² → 64²", "32² → 28²", "392² → 388²", "copy and crop", "max-pooling"} <= set(texts)
    assert {"level 0 · 572 × 572", "receptive field 5", "level 4 · 32 × 32", "receptive field 140"} <= set(texts)


def test_the_nodes_of_a_nested_net_are_its_stages() -> None:
    found = structure(graph_of("nested"))
    nodes = {NodeKey(0, i, i + j): (i, j) for i in range(5) for j in range(5 - i)}
    assert {stage.key for stage in found.stages} == set(nodes)
    assert {found.name(key) for key in nodes} == {f"node {i},{j}" for i, j in nodes.values()}
    ways = {(arrow.kind, nodes[arrow.source], nodes[arrow.target]) for arrow in found.arrows}
    expected = {("pool", (i, 0), (i + 1, 0)) for i in range(4)}
    for i, j in nodes.values():
        expected |= {("skip", (i, k), (i, j)) for k in range(j)} | ({("up", (i + 1, j - 1), (i, j))} if j else set())
    assert ways == expected
    assert [found.name(stage.key) for stage in found.stages if stage.has_head] == [f"node 0,{j}" for j in (1, 2, 3, 4)]


@pytest.mark.parametrize("name", ["nested", "nested, 3D", "nested, attention", "nested, sums"])
def test_every_node_of_a_nested_net_shows_its_convolutions(name: str) -> None:
    for stage in structure(graph_of(name)).stages:
        assert len(stage.bars) - stage.has_head == 3


def test_a_shortcut_is_no_path() -> None:
    graph = graph_of("milletari2016")  # 5 x 5 x 5 beside a shortcut of 1 x 1 x 1
    first = structure(graph).stages[0]
    assert [graph.layers[bar].windows[0].kernel for bar in first.bars[1:]] == [5]
    assert "receptive field 5" in [text.text for text in drawn("milletari2016").iter(f"{SVG}text")]


@pytest.mark.parametrize("name", ALL)
def test_every_layer_belongs_to_one_stage(name: str) -> None:
    graph = graph_of(name)
    layers = [i for stage in structure(graph).stages for i in stage.layers]
    assert sorted(layers) == list(range(len(graph.layers)))


def test_gates_sums_and_crops_are_told_apart() -> None:
    gated = {a.target.level: a.is_gated for a in structure(graph_of("oktay2018")).arrows if a.kind == "skip"}
    assert gated == {0: False, 1: True, 2: True, 3: True}
    found = structure(graph_of("residual"))
    assert {arrow.join for arrow in found.arrows if arrow.kind == "skip"} == {"add"}
    assert {arrow.kind for arrow in found.arrows} == {"strided", "up", "skip"}
    assert all([arc.kind for arc in stage.arcs] == ["add"] for stage in found.stages)
    assert not any(stage.arcs for stage in structure(graph_of("depth 4, 2D")).stages)


class Shared(nn.Module):
    """Attention coefficients that are used for more than one thing."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        alpha = torch.sigmoid(self.b(x))
        return self.c(torch.cat([x * alpha, F.relu(alpha)], 1))


def test_coefficients_that_are_used_twice() -> None:
    graph = read(Shared())
    (stage,) = structure(graph).stages
    assert stage.layers == tuple(range(len(graph.layers)))
    assert [graph.layers[bar].name for bar in stage.bars] == ["input", "a", "c"]


def test_a_second_way_down_is_another_pass() -> None:
    found = structure(graph_of("two in a row"))
    assert [tuple(stage.key) for stage in found.stages] == [(0, 0, 0), (0, 1, 1), (0, 0, 1), (1, 1, 1), (1, 0, 1)]
    assert [found.name(stage.key) for stage in found.stages][-2:] == ["bottom, pass 2", "decoder 0, pass 2"]


def test_a_users_own_net() -> None:
    found = structure(graph_of("own"))
    assert [found.name(stage.key) for stage in found.stages] == [
        *("encoder 0", "encoder 1", "encoder 2", "bottom", "decoder 2", "decoder 1", "decoder 0")
    ]
    long = {(a.kind, a.source.level, a.target.level) for a in found.arrows if a.is_long}
    assert long == {("up", 3, 0), ("up", 2, 0)}
    texts = [text.text for text in drawn("own").iter(f"{SVG}text")]
    assert {"8 more", "strided convolution", "max-pooling", "up-sampling", "output convolution"} <= set(texts)


# --- the picture ---


def numbers(element: ET.Element, *names: str) -> list[float]:
    return [float(element.get(name, "nan")) for name in names]


def points(d: str) -> Iterator[tuple[float, float]]:
    """Points along a path of M, L, H, V, v and Q, a unit apart or closer; curves by their corners."""
    x = y = 0.0
    for command, text in re.findall(r"([A-Za-z])([^A-Za-z]*)", d):
        values = [float(v) for v in text.split()]
        across = {"H": [values[0], y], "V": [x, values[0]], "v": [x, y + values[0]]}.get(command, values)
        for x1, y1 in zip(across[::2], across[1::2], strict=True):
            steps = 1 if command == "M" else int(hypot(x1 - x, y1 - y)) + 1
            for k in range(1, steps + 1):
                yield x + (x1 - x) * k / steps, y + (y1 - y) * k / steps
            x, y = x1, y1


def boxes(root: ET.Element) -> list[tuple[float, float, float, float]]:
    rows = (numbers(r, "x", "y", "width", "height") for r in root.iter(f"{SVG}rect") if r.get("class") == "bar")
    return [(x, y, x + w, y + h) for x, y, w, h in rows]


def words(root: ET.Element) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Texts and the boxes that they fill at least, in the narrowest of fonts; an alpha stands on its arrow."""
    found = []
    for text in root.iter(f"{SVG}text"):
        x, y, size = numbers(text, "x", "y", "font-size")
        width = 0.5 * size * len(text.text or "")
        left = x - {"start": 0.0, "middle": width / 2, "end": width}[text.get("text-anchor", "")]
        if text.text != "α":
            found.append((text.text or "", (left, y - 0.7 * size, left + width, y)))
    return found


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    slack = 0.3
    return a[0] + slack < b[2] and b[0] + slack < a[2] and a[1] + slack < b[3] and b[1] + slack < a[3]


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_drawn_over_anything_else(name: str) -> None:
    root = drawn(name)
    bars, texts = boxes(root), words(root)
    assert len(bars) >= 2
    _, _, width, height = map(float, root.get("viewBox", "").split())
    things = [*(("bar", b) for b in bars), *texts]
    for i, (what, a) in enumerate(things):
        assert a[0] >= 0
        assert a[1] >= 0
        assert a[2] <= width, what
        assert a[3] <= height, what
        for other, b in things[:i]:
            assert not overlap(a, b), f"{what} {a} over {other} {b}"
    for path in root.iter(f"{SVG}path"):
        if not path.get("marker-end"):
            continue
        for x, y in points(path.get("d", "")):
            assert 0 <= x <= width
            for what, b in things:
                assert not overlap((x - 0.4, y - 0.4, x + 0.4, y + 0.4), b), f"{path.get('class')} through {what} {b}"


@pytest.mark.parametrize("name", ALL)
def test_the_svg_stands_alone(name: str) -> None:
    root = drawn(name)
    assert root.tag == f"{SVG}svg"
    assert 0 < float(root.get("width", "nan")) <= 1100
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("svg", "title", "defs", "marker", "path", "rect", "g", "text", "circle")
    }
    text = ET.tostring(root, encoding="unicode")
    assert "href" not in text
    ids = {marker.get("id") for marker in root.iter(f"{SVG}marker")}
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= ids


def test_bars_shrink_with_their_maps_and_grow_with_their_channels() -> None:
    bars = boxes(drawn("depth 5, 2D"))[:18]  # down the encoder
    last = bars[2::3]
    heights, widths = [b[3] - b[1] for b in last], [b[2] - b[0] for b in last]
    assert heights == sorted(heights, reverse=True)
    assert widths == sorted(widths)
    assert len(set(heights)) == len(set(widths)) == 6


def test_the_title_is_escaped() -> None:
    text = draw(graph_of("depth 1, 2D"), (64, 64), title="a < b & c")
    assert "<title>a &lt; b &amp; c</title>" in text


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="input size 570 does not fit the net: nearest sizes are 556 and 572"):
        draw(graph_of("ronneberger2015"), (572, 570))
