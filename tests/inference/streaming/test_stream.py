"""Streamed equals whole: to the last bit in float64 with whole-number weights, over the family and user's own nets."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unetkit.inference.prepare import prepare
from unetkit.inference.runner import parts, run
from unetkit.inference.streaming import onednn
from unetkit.inference.streaming.stream import Stream
from unetkit.inference.tiling import plan_stream, plan_tiles
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.tiles import tile, tiles


def whole_numbers(net: nn.Module, seed: int = 0) -> Any:
    """Weights of -1, 0 and 1: sums in float64 are exact in any order."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randint(-1, 2, parameter.shape, generator=generator))
    return net.double().eval()


def picture(shape: tuple[int, ...], seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, shape, generator=generator).double()


def streamed(net: nn.Module, x: Tensor, slab: int) -> Tensor:
    parts, at = [], 0
    for start, rows in Stream(net).run(tuple(x.shape[2:]), lambda a, b: x[:, :, a:b], slab=slab):
        assert start == at
        at += rows.shape[2]
        parts.append(rows)
    return torch.cat(parts, 2)


FAMILY: list[dict[str, Any]] = [
    {"topology": topology, "block": block, "skip": skip, "padding": padding}
    for topology in ("unet", "unet++")
    for block in ("plain", "residual", "preactivation", "dense")
    for skip in ("concat", "reduce", "add", "attention", "none")
    for padding in ("same", "valid")
    if (topology, skip) != ("unet++", "none")
]
PARTS: list[dict[str, Any]] = [
    {"down": "strided"},
    {"down": "first"},
    {"down": "blur"},
    {"down": "transition", "block": "dense"},
    {"up": "overlapping"},
    {"up": "nearest"},
    {"up": "linear"},
    {"heads": "all", "topology": "unet++"},
    {"kernels": [[1, 3], [3, 5], [3, 3]], "strides": [[1, 2], [2, 2]]},
]


@pytest.mark.parametrize("ndim", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("options", FAMILY + PARTS, ids=str)
def test_every_member_of_the_family(options: dict[str, Any], ndim: int) -> None:
    if ndim == 3 and "kernels" in options:
        options = {"kernels": [[1, 3, 3]] * 3, "strides": [[1, 2, 2], [2, 1, 2]]}
    net = whole_numbers(build(Architecture(ndim=ndim, widths=(2, 4, 4), norm="none", **options)))
    size = net.geometry.above((44, 45, 46)[:ndim] if options.get("padding") == "valid" else (29, 18, 15)[:ndim])
    x = picture((1, 1, *size))
    with torch.no_grad():
        expected = net.body(x)
    for slab in (1, 7, 1000):
        found = streamed(net, x, slab)
        if options.get("skip") == "attention" or options.get("heads") == "all":  # a sigmoid is no whole number
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
        else:
            assert torch.equal(found, expected)


class Odd(nn.Module):
    """What our nets do not hold: reflection, ceil, averages, chunks, shuffles, crops, gaps, in place."""

    def __init__(self, d: int) -> None:
        super().__init__()
        conv: Any = {2: nn.Conv2d, 3: nn.Conv3d}[d]
        up: Any = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[d]
        self.pool: Any = {2: nn.AvgPool2d, 3: nn.AvgPool3d}[d](3, 2, 1)
        self.most: Any = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[d](3, 2, 1)
        self.a = conv(1, 4, 3, padding=1, padding_mode="reflect")
        self.b = conv(4, 4, 3, padding=2, dilation=2, groups=2)
        self.c = conv(4, 4, 5, padding=2, padding_mode="replicate")
        self.up, self.gap = up(4, 4, 4, 2, 1), up(4, 4, 1, 2, output_padding=1)
        self.last = conv(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.a(x))
        one, two = self.pool(a), self.most(a)
        b = self.b(one)
        b += two
        torch.relu_(b)
        left, right = self.c(b).chunk(2, dim=1)
        c = torch.cat([right, left], 1)
        up = self.up(c) + self.gap(c) * 2
        return self.last(torch.cat([a[:, :], up], 1))[..., 1:-1]


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_user_s_own_net(ndim: int) -> None:
    net = whole_numbers(Odd(ndim))
    with torch.no_grad():
        net.a.weight.mul_(9**ndim)  # so that averages over 3 pixels per axis are whole
    x = picture((1, 1, *(22, 14, 12)[:ndim])) * 9
    with torch.no_grad():
        expected = net(x)
    for slab in (1, 3, 8, 100):
        torch.testing.assert_close(streamed(net, x, slab), expected, rtol=1e-12, atol=1e-9)


def test_a_prepared_net_in_float32() -> None:
    torch.manual_seed(0)
    net = build(Architecture(widths=(8, 16, 16, 16, 16))).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features)
            module.running_var = torch.rand(module.num_features) + 0.5
    x = torch.randn(1, 1, 144, 80)
    with torch.no_grad():
        expected = net(x)
    found = streamed(prepare(net), x, 32)
    assert float((found - expected).abs().max() / expected.std()) < 1e-5


class Fused(nn.Module):
    """Activations that one pass takes along, and such as it cannot."""

    def __init__(self, d: int, activation: nn.Module) -> None:
        super().__init__()
        conv: Any = {2: nn.Conv2d, 3: nn.Conv3d}[d]
        up: Any = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[d]
        self.activation = activation
        self.a, self.b = conv(1, 8, 3, padding=1), conv(8, 8, 3, stride=2, padding=1, groups=2)
        self.up, self.c = up(8, 4, 2, 2), conv(12, 3, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        a = self.activation(self.a(x))
        return self.c(torch.cat([a, self.activation(self.up(self.activation(self.b(a))))], 1))


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU(inplace=True), nn.LeakyReLU(0.3), nn.ELU()], ids=str)
@pytest.mark.parametrize("has_onednn", [True, False])
@pytest.mark.parametrize("ndim", [2, 3])
def test_float32_by_onednn_and_without(
    ndim: int, has_onednn: bool, activation: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_onednn:
        monkeypatch.setattr(onednn, "_is_possible", lambda weight: False)
    torch.manual_seed(0)
    net, x = Fused(ndim, activation).eval(), torch.randn(1, 1, *(20, 12, 10)[:ndim])
    with torch.no_grad():
        expected = net(x)
    torch.testing.assert_close(streamed(net, x, 4), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},  # as MONAI's UNet has it
        {"kernel_size": 4, "stride": 2, "padding": 1},
        {"kernel_size": 5, "stride": 2, "padding": 2, "output_padding": 1, "bias": False},
        {"kernel_size": 4, "stride": 3, "padding": 1, "output_padding": 1},
        {"kernel_size": (3, 4), "stride": (2, 2), "padding": (1, 1), "output_padding": (1, 0)},
        {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1, "groups": 2},
    ],
    ids=str,
)
def test_transposed_convolutions_whose_kernels_overlap(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    stride = options["stride"]
    down = nn.Conv2d(1, 6, stride, stride)
    net = nn.Sequential(down, nn.ReLU(), nn.ConvTranspose2d(6, 4, **options), nn.LeakyReLU(), nn.Conv2d(4, 2, 1)).eval()
    x = torch.randn(1, 1, 36, 30)
    with torch.no_grad():
        expected = net(x)
    assert expected.shape[2:] == x.shape[2:]
    for slab in (2, 6, 36):
        torch.testing.assert_close(streamed(net, x, slab), expected, rtol=1e-5, atol=1e-6)


STRIPS: list[tuple[dict[str, Any], tuple[int, ...]]] = [
    ({}, (61, 75)),
    ({"padding": "valid"}, (51, 43)),
    ({"topology": "unet++", "block": "residual"}, (37, 66)),
    ({"up": "linear", "down": "blur"}, (44, 90)),
    ({"ndim": 3}, (21, 18, 35)),
    ({"ndim": 3, "padding": "valid"}, (9, 19, 8)),
]


@pytest.mark.parametrize(("options", "size"), STRIPS, ids=str)
def test_strips_of_an_image_of_any_size(options: dict[str, Any], size: tuple[int, ...]) -> None:
    """Strips across, an end in the padding, and a start at any row of the grid."""
    net = whole_numbers(build(Architecture(**({"widths": (2, 4, 4), "norm": "none"} | options))))
    image = picture((1, *size))[0:1]
    expected = run(net, image, plan_tiles(net, size))
    stream = Stream(net)
    slab = net.geometry.stride[0]
    tiling = plan_stream(net, stream, size, slab=slab)
    across = tuple(2 * s for s in net.geometry.stride[1:])
    covering = tiles(net.geometry, tiling.padded, (10**6, *across))
    assert len(covering) > 2
    found = run(net, image, replace(tiling, tiles=tuple(covering)), stream=stream)
    assert torch.equal(found, expected)
    late = tile(net.geometry, tiling.padded, (slice(slab + 3, covering[0].core[0].stop), *covering[1].core[1:]))
    rows = list(parts(net, lambda at: image[(slice(None), *at)], tiling, stream=stream, tiles=[late]))
    assert rows[0][0][0].start == slab + 3
    for pixels, logits in rows:
        assert torch.equal(logits, expected[(slice(None), *pixels)])


def test_a_stream_is_needed_where_one_was_planned() -> None:
    net = build(Architecture(widths=(2, 4), norm="none"))
    tiling = plan_stream(net, Stream(net), (20, 20))
    with pytest.raises(ValueError, match=r"planned to be streamed: give the net's Stream too"):
        run(net, torch.zeros(1, 20, 20), tiling)


def test_memory_does_not_grow_with_the_length() -> None:
    net = prepare(build(Architecture(widths=(4, 8, 8))))
    stream = Stream(net)
    short, long = (stream.memory_bytes((n, 64), slab=16) for n in (256, 4096))
    assert short == long
    assert stream.memory_bytes((256, 128), slab=16) == 2 * short


def test_what_takes_statistics_over_space_is_refused() -> None:
    net = build(Architecture(widths=(4, 8), norm="instance")).eval()
    with pytest.raises(ValueError, match=r"is not local, and cannot be streamed: .*instance_norm"):
        Stream(net)
    uneven = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AvgPool2d(3, 2, 1, count_include_pad=False))
    with pytest.raises(ValueError, match="layer '1' averages fewer pixels at the borders"):
        Stream(uneven)  # type: ignore[arg-type]
