"""Ronneberger, Fischer, Brox, U-Net, MICCAI 2015 (doi:10.1007/978-3-319-24574-4_28): its printed numbers."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from unetkit.geometry import Geometry
from unetkit.graph.cost import map_sizes
from unetkit.graph.read import read
from unetkit.nets.architecture import Architecture
from unetkit.nets.papers import PAPERS, ronneberger2015
from unetkit.nets.unet import UNet


@cache
def paper_net() -> UNet:
    """The full net, shapes without data."""
    with torch.device("meta"):
        return UNet(ronneberger2015())


def narrow(**options: Any) -> UNet:
    """The paper's layers, one channel wide: geometry does not know of channels."""
    defaults: dict[str, Any] = {"widths": (1,) * 5, "norm": "none", "padding": "valid"}
    return UNet(Architecture(**(defaults | options)))


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


# Section 2 and fig. 1: layer, channels, size for an input of 572, parameters (1 channel in, 2 classes out).
FIGURE_1 = [
    ("encoder.blocks.0.0", 64, 570, 640),
    ("encoder.blocks.0.2", 64, 568, 36_928),
    ("encoder.downs.0", 64, 284, 0),
    ("encoder.blocks.1.0", 128, 282, 73_856),
    ("encoder.blocks.1.2", 128, 280, 147_584),
    ("encoder.downs.1", 128, 140, 0),
    ("encoder.blocks.2.0", 256, 138, 295_168),
    ("encoder.blocks.2.2", 256, 136, 590_080),
    ("encoder.downs.2", 256, 68, 0),
    ("encoder.blocks.3.0", 512, 66, 1_180_160),
    ("encoder.blocks.3.2", 512, 64, 2_359_808),
    ("encoder.downs.3", 512, 32, 0),
    ("encoder.blocks.4.0", 1024, 30, 4_719_616),
    ("encoder.blocks.4.2", 1024, 28, 9_438_208),
    ("ups.3", 512, 56, 2_097_664),
    ("decoder.3.0", 512, 54, 4_719_104),
    ("decoder.3.2", 512, 52, 2_359_808),
    ("ups.2", 256, 104, 524_544),
    ("decoder.2.0", 256, 102, 1_179_904),
    ("decoder.2.2", 256, 100, 590_080),
    ("ups.1", 128, 200, 131_200),
    ("decoder.1.0", 128, 198, 295_040),
    ("decoder.1.2", 128, 196, 147_584),
    ("ups.0", 64, 392, 32_832),
    ("decoder.0.0", 64, 390, 73_792),
    ("decoder.0.2", 64, 388, 36_928),
    ("heads.0", 2, 388, 130),
]


@pytest.mark.parametrize("name, channels, size, count", FIGURE_1, ids=[row[0] for row in FIGURE_1])
def test_figure_1(name: str, channels: int, size: int, count: int) -> None:
    net = paper_net()
    layer = next(layer for layer in net.graph.layers if layer.name == name)
    assert layer.channels == channels
    assert map_sizes(net.graph, (572, 572))[net.geometry.names.index(name)] == (size, size)
    assert parameters(net.get_submodule(name)) == count


def test_figure_1_lists_every_parameter() -> None:
    assert sum(row[3] for row in FIGURE_1) == parameters(paper_net()) == 31_030_658


def test_sizes_are_what_comes_out() -> None:
    """The second road: hooks on a forward pass."""
    net, seen = paper_net(), {}
    hooks = [
        net.get_submodule(name).register_forward_hook(lambda m, x, y, name=name: seen.update({name: tuple(y.shape)}))
        for name, *_ in FIGURE_1
    ]
    y = net(torch.empty(1, 1, 572, 572, device="meta"))
    for hook in hooks:
        hook.remove()
    assert y.shape == (1, 2, 388, 388)
    assert seen == {name: (1, channels, size, size) for name, channels, size, _ in FIGURE_1}


def test_23_convolution_layers() -> None:
    net = paper_net()
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(layers) == 23
    assert sorted(m.kernel_size for m in layers) == [(1, 1)] + [(2, 2)] * 4 + [(3, 3)] * 18
    assert sum("convolution" in layer.kind for layer in net.graph.layers) == 23


@pytest.mark.parametrize("level, lost", [(0, 88), (1, 40), (2, 16), (3, 4)])
def test_crops_per_side(level: int, lost: int) -> None:
    crop = next(layer for layer in paper_net().graph.layers if layer.name == f"skips.{level}")
    assert [(w.before, w.after) for w in crop.windows] == [(-lost, -lost)] * 2


CHANNELS = {(1, 2): 31_030_658, (1, 1): 31_030_593, (1, 3): 31_030_723, (3, 1): 31_031_745, (3, 2): 31_031_810}


@pytest.mark.parametrize("channels, count", [*CHANNELS.items(), ((3, 3), 31_031_875), ((5, 2), 31_032_962)])
def test_parameters_for_other_channels(channels: tuple[int, int], count: int) -> None:
    with torch.device("meta"):
        assert parameters(UNet(ronneberger2015(in_channels=channels[0], out_channels=channels[1]))) == count


@pytest.mark.parametrize("in_channels, count", [(1, 31_036_546), (3, 31_037_698)])
def test_parameters_with_batch_norm(in_channels: int, count: int) -> None:
    widths = ronneberger2015().widths
    with torch.device("meta"):
        assert parameters(UNet(Architecture(in_channels=in_channels, widths=widths, norm="batch"))) == count


@pytest.mark.parametrize("padding, size, giga", [("valid", 572, 150.4), ("same", 512, 192.4), ("same", 256, 48.1)])
def test_multiply_accumulates(padding: str, size: int, giga: float) -> None:
    with torch.device("meta"):
        net = UNet(Architecture(widths=ronneberger2015().widths, norm="none", padding=padding))  # type: ignore[arg-type]
        assert net.geometry.fits((size, size))  # reads the net, whose trial runs are not to be counted
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 1, size, size))
    assert counter.get_total_flops() / 2 / 1e9 == pytest.approx(giga, abs=0.05)


def test_dropout_ends_the_contracting_path() -> None:
    net = UNet(ronneberger2015(width_divisor=16))
    dropped = {name: m.p for name, m in net.named_modules() if "Dropout" in type(m).__name__}
    assert dropped == {"encoder.dropouts.3": 0.5, "encoder.dropouts.4": 0.5}
    graph = net.graph.layers
    names = [layer.name for layer in graph]
    readers = {
        name: [names[i] for i, layer in enumerate(graph) if names.index(name) in layer.inputs] for name in dropped
    }
    # the deepest skip is dropped too
    assert readers == {"encoder.dropouts.3": ["encoder.downs.3", "skips.3"], "encoder.dropouts.4": ["ups.3"]}


@pytest.mark.parametrize("planes", [1, 3, 5, 7])
def test_planes_as_channels_change_the_first_convolution_alone(planes: int) -> None:
    """2.5D (facts F): 31,030,658 + 576 (S - 1) parameters for S adjacent planes."""
    with torch.device("meta"):
        assert parameters(UNet(ronneberger2015(in_channels=planes))) == 31_030_658 + 576 * (planes - 1)


def test_no_normalisation_and_he_weights() -> None:
    torch.manual_seed(0)
    net = UNet(ronneberger2015(width_divisor=4))
    kinds = {type(m).__name__ for m in net.modules() if not any(m.children())}
    assert kinds == {"Concatenate", "Conv2d", "ReLU", "Identity", "MaxPool2d", "Dropout", "ConvTranspose2d"}
    drawn = {
        "encoder.blocks.3.2": 128 * 9,
        "encoder.blocks.4.0": 128 * 9,
        "decoder.3.0": 256 * 9,
        "ups.3": 256,
        "decoder.2.2": 64 * 9,
    }
    for name, incoming in drawn.items():
        weight: Any = net.get_submodule(name).weight
        assert weight.std().item() == pytest.approx((2 / incoming) ** 0.5, rel=0.02), name
    assert all(p.abs().max() == 0 for name, p in net.named_parameters() if name.endswith("bias"))


def test_width_is_divided_but_never_to_nothing() -> None:
    assert ronneberger2015(width_divisor=4).widths == (16, 32, 64, 128, 256)
    assert ronneberger2015(width_divisor=512).widths == (1, 1, 1, 1, 2)
    assert PAPERS["ronneberger2015"]() == ronneberger2015()


TILES = {188: 4, 204: 20, 220: 36, 236: 52, 252: 68, 268: 84, 284: 100, 300: 116, 572: 388}


def test_valid_tile_sizes() -> None:
    axis = narrow().geometry.axes[0]
    assert {n: axis.output_size(n) for n in range(1, 301) if axis.fits(n)} | {572: 388} == TILES
    assert axis.output_size(572) == 388
    assert all(n % 16 == 12 and axis.output_size(n) % 16 == 4 for n in range(1, 700) if axis.fits(n))


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_valid_tile_sizes_of_any_depth(depth: int) -> None:
    """in = 2^d k + 4 (2^d - 1), out = 2^d k - 4 (2^(d+1) - 1), where the bottleneck takes k pixels."""
    axis = narrow(widths=(1,) * (depth + 1)).geometry.axes[0]
    step = 2**depth
    expected = {step * k + 4 * (step - 1): step * k - 4 * (2 * step - 1) for k in range(5, 40)}
    expected = {n: out for n, out in expected.items() if out >= 1}
    assert {n: axis.output_size(n) for n in range(1, max(expected) + 1) if axis.fits(n)} == expected
    assert sum(axis.margin) == 12 * step - 8


# Receptive fields ------------------------------------------------------------------------------------------------

ENCODER = {"0.0": 3, "0.2": 5, "1.0": 10, "1.2": 14, "2.0": 24, "2.2": 32, "3.0": 52, "3.2": 68, "4.0": 108, "4.2": 140}
POOLS = {"0": 6, "1": 16, "2": 36, "3": 76}
DECODER = {"decoder.3.2": {172}, "decoder.2.2": {188}, "decoder.1.2": {188, 204}, "heads.0": {188, 204}}
SEEN = (
    {f"encoder.blocks.{k}": {v} for k, v in ENCODER.items()}
    | {f"encoder.downs.{k}": {v} for k, v in POOLS.items()}
    | DECODER
)


@pytest.mark.parametrize("name, sizes", SEEN.items(), ids=SEEN)
def test_receptive_field_of_every_map(name: str, sizes: set[int]) -> None:
    assert [set(field.sizes) for field in paper_net().geometry.receptive_field(name)] == [sizes] * 2


@pytest.mark.parametrize("name", ["encoder.blocks.1.2", "encoder.blocks.4.2", "decoder.2.2", "decoder.1.2", "heads.0"])
def test_receptive_field_is_where_the_gradient_is(name: str, probe: Callable[..., list[tuple[int, int]]]) -> None:
    net = narrow()
    layer = net.geometry.names.index(name)
    axis = net.geometry.axes[0]
    outputs = range(len(axis.receptive_field(layer).sizes))
    seen = probe(net, (236, 188), axis=0, outputs=outputs, layer=name)
    if name == "heads.0":
        assert seen == [axis.reads(o, o) for o in outputs]
    assert tuple(high - low + 1 for low, high in seen) == axis.receptive_field(layer).sizes


def test_output_by_phase() -> None:
    field, other = paper_net().geometry.receptive_field()
    assert field == other
    assert field.sizes == (188,) * 4 + (204,) * 12
    sides = list(zip(field.left, field.right, strict=True))
    assert sides == [(92 + i, 95 - i) for i in range(4)] + [(96 + i, 107 - i) for i in range(12)]
    assert (field.mean, field.reach) == (200.0, 107)


def test_columns_of_the_572_tile() -> None:
    axis = paper_net().geometry.axes[0]
    reads = [axis.reads(o, o) for o in range(388)]
    widths = [high - low + 1 for low, high in reads]
    assert (widths.count(188), widths.count(204)) == (100, 288)
    assert (min(low for low, _ in reads), max(high for _, high in reads)) == (0, 571)


def with_ups(kernel: int) -> nn.Module:
    """The padded net with overlapping transposed convolutions of stride 2."""
    net = narrow(padding="same")
    pads = {"padding": 1, "output_padding": 1} if kernel == 3 else {"padding": 1}
    net.ups = nn.ModuleList(nn.ConvTranspose2d(1, 1, kernel, 2, **pads) for _ in net.ups)  # type: ignore[arg-type]
    return net


def with_convolutions(per_level: int, *, padding: int = 1) -> nn.Module:
    """The padded net with another number of 3x3 convolutions per level."""

    def block(in_channels: int) -> nn.Module:
        return nn.Sequential(*(nn.Conv2d(1 if i else in_channels, 1, 3, padding=padding) for i in range(per_level)))

    net = narrow(padding="same")
    net.encoder.blocks = nn.ModuleList(block(1) for _ in net.encoder.blocks)
    net.decoder = nn.ModuleList(block(2) for _ in net.decoder)
    return net


# Output size, mean and one-sided reach of the receptive field for other decoders, depths and blocks.
VARIANTS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int], int, int]] = {
    "transposed 2/2": (lambda: narrow(padding="same"), (188, 204), 200, 107),
    "transposed 3/2": (lambda: with_ups(3), (204, 220), 215, 122),
    "transposed 4/2": (lambda: with_ups(4), (220, 236), 230, 122),
    "linear": (lambda: narrow(padding="same", up="linear"), (220, 236), 230, 122),
    "nearest and 3x3": (lambda: narrow(padding="same", up="nearest"), (220, 236), 230, 122),
    "depth 1": (lambda: narrow(widths=(1,) * 2), (18, 18), 18, 9),
    "depth 2": (lambda: narrow(widths=(1,) * 3), (44, 44), 44, 23),
    "depth 3": (lambda: narrow(widths=(1,) * 4), (92, 100), 96, 51),
    "depth 5": (lambda: narrow(widths=(1,) * 6), (380, 412), 408, 219),
    "1 convolution per level": (lambda: with_convolutions(1), (94, 110), 108, 61),
    "3 convolutions per level": (lambda: with_convolutions(3), (282, 298), 292, 153),
}


@pytest.mark.parametrize("build, ends, mean, reach", VARIANTS.values(), ids=VARIANTS)
def test_receptive_field_of_variants(
    build: Callable[[], nn.Module], ends: tuple[int, int], mean: int, reach: int
) -> None:
    field = read(build()).geometry.receptive_field()[0]
    assert (field.smallest, field.largest) == ends
    assert field.mean == mean
    assert field.reach == reach


class Nearest(nn.Module):
    """Nearest-neighbour upsampling with nothing behind it."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


def test_nearest_upsampling_alone_sees_what_the_2x2_up_convolution_sees() -> None:
    net = narrow(padding="same")
    expected = net.geometry.receptive_field()
    net.ups = nn.ModuleList(Nearest() for _ in net.ups)
    assert read(net).geometry.receptive_field() == expected


# Skips and bottleneck ("a receptive field of over 140 px" against "5-15 px") of other encoders -------------------


def convs(n: int, *, stride: int = 1, dilations: tuple[int, ...] = ()) -> list[nn.Module]:
    dilations = dilations or (1,) * n
    return [nn.Conv2d(1, 1, 3, stride if i == 0 else 1, padding=d, dilation=d) for i, d in enumerate(dilations)]


def encoder(stages: list[list[nn.Module]]) -> nn.Sequential:
    return nn.Sequential(*(nn.Sequential(*stage) for stage in stages))


def blur(taps: int) -> list[nn.Module]:
    return [nn.MaxPool2d(2, stride=1), nn.AvgPool2d(taps, stride=2)]


ENCODERS: dict[str, tuple[Callable[[], nn.Module], list[int]]] = {
    "pool 2": (lambda: encoder([convs(2), *([nn.MaxPool2d(2), *convs(2)] for _ in range(4))]), [5, 14, 32, 68, 140]),
    "max-pool 3/2": (
        lambda: encoder([convs(2), *([nn.MaxPool2d(3, 2, 1), *convs(2)] for _ in range(4))]),
        [5, 15, 35, 75, 155],
    ),
    "strided 3x3 between": (
        lambda: encoder([convs(2), *([*convs(1, stride=2), *convs(2)] for _ in range(4))]),
        [5, 15, 35, 75, 155],
    ),
    "depth 5": (
        lambda: encoder([convs(2), *([nn.MaxPool2d(2), *convs(2)] for _ in range(5))]),
        [5, 14, 32, 68, 140, 284],
    ),
    "first convolution strided, depth 5": (
        lambda: encoder([convs(2), *(convs(2, stride=2) for _ in range(5))]),
        [5, 11, 23, 47, 95, 191],
    ),
    "first convolution strided, depth 4": (
        lambda: encoder([convs(2), *(convs(2, stride=2) for _ in range(4))]),
        [5, 11, 23, 47, 95],
    ),
    "blur 3": (lambda: encoder([convs(2), *([*blur(3), *convs(2)] for _ in range(4))]), [5, 16, 38, 82, 170]),
    "blur 4": (lambda: encoder([convs(2), *([*blur(4), *convs(2)] for _ in range(4))]), [5, 17, 41, 89, 185]),
    "3 convolutions": (
        lambda: encoder([convs(3), *([nn.MaxPool2d(2), *convs(3)] for _ in range(4))]),
        [7, 20, 46, 98, 202],
    ),
    "dilated bottleneck": (
        lambda: encoder(
            [convs(2), [nn.MaxPool2d(2), *convs(2)], [nn.MaxPool2d(2), *convs(5, dilations=(1, 2, 4, 8, 16))]]
        ),
        [5, 14, 264],
    ),
    "dilated bottleneck to 8": (
        lambda: encoder([convs(2), [nn.MaxPool2d(2), *convs(2)], [nn.MaxPool2d(2), *convs(4, dilations=(1, 2, 4, 8))]]),
        [5, 14, 136],
    ),
    "16 convolutions in the bottleneck": (
        lambda: encoder([convs(2), [nn.MaxPool2d(2), *convs(2)], [nn.MaxPool2d(2), *convs(16)]]),
        [5, 14, 144],
    ),
}


@pytest.mark.parametrize("build, fields", ENCODERS.values(), ids=ENCODERS)
def test_skips_and_bottleneck_of_other_encoders(build: Callable[[], nn.Sequential], fields: list[int]) -> None:
    net = build()
    geometry: Geometry = read(net).geometry
    last = [f"{i}.{len(stage) - 1}" for i, stage in enumerate(net)]  # type: ignore[arg-type]
    assert [geometry.receptive_field(name)[0].largest for name in last] == fields
    assert [geometry.receptive_field(name)[0].smallest for name in last] == fields
