"""What a net costs, against torch's own count, the papers' numbers, and sums by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.flop_counter import FlopCounterMode

from unetkit.graph.cost import cost, map_sizes
from unetkit.graph.read import read
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.nets.papers import PAPERS

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def bare(architecture: Architecture) -> Any:
    """The net without its weights."""
    with torch.device("meta"):
        return build(architecture)


def flops(net: nn.Module, shape: tuple[int, ...]) -> int:
    """By torch's counter, which runs the net: two per multiplication with its addition."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.empty(shape, device="meta"))
    return counter.get_total_flops()


def mixed(d: int) -> nn.Module:
    """Strides, groups, dilation, 1x1s, transposed convolutions with kernel and stride apart."""
    return nn.Sequential(
        CONV[d](2, 8, 3, stride=2, padding=1),
        nn.GroupNorm(2, 8),
        CONV[d](8, 12, 3, padding=2, dilation=2, groups=4, bias=False),
        TRANSPOSED[d](12, 6, 4, stride=2, padding=1, groups=3),
        CONV[d](6, 3, 1),
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_multiplications_are_those_of_torchs_counter(ndim: int) -> None:
    with torch.device("meta"):
        net = mixed(ndim)
    size = (16, 24, 32)[:ndim]
    found = cost(read(net), size)
    assert 2 * found.macs == flops(net, (1, 2, *size))
    assert found.parameters == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "valid", "norm": "none"},
        {"block": "residual", "skip": "add", "down": "strided"},
        {"block": "dense", "convolutions": 2, "up": "overlapping"},
        {"skip": "attention", "up": "linear"},
        {"topology": "unet++", "heads": "all", "norm": "instance"},
        {"down": "blur", "up": "nearest", "skip": "reduce"},
    ],
    ids=str,
)
@pytest.mark.parametrize("ndim", [2, 3])
def test_every_variant_costs_what_torch_counts(ndim: int, options: dict[str, Any]) -> None:
    net = bare(Architecture(ndim=ndim, widths=(4, 8, 12), **options))
    size = net.geometry.above((40, 44, 48)[:ndim])
    found = cost(net.graph, size)
    assert 2 * found.macs == flops(net, (1, 1, *size))
    assert found.parameters == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("padding", "side", "giga"), [("valid", 572, 150.4), ("same", 512, 192.4), ("same", 256, 48.1)]
)
def test_the_net_of_2015(padding: str, side: int, giga: float) -> None:
    values = PAPERS["ronneberger2015"]().to_dict() | {"padding": padding}
    found = cost(bare(Architecture(**values)).graph, (side, side))
    assert found.parameters == 31_030_658
    assert round(found.macs / 1e9, 1) == giga


@pytest.mark.parametrize("ndim", [2, 3])
def test_memory_is_counted_map_by_map(ndim: int) -> None:
    net = nn.Sequential(CONV[ndim](1, 4, 3), nn.ReLU(), nn.Sequential(CONV[ndim](4, 2, 1)))
    found = cost(read(net), (8,) * ndim, itemsize=2)
    assert [layer.memory_bytes for layer in found.layers] == [
        2 * c * n**ndim for c, n in ((1, 8), (4, 6), (4, 6), (2, 6))
    ]
    assert found.memory_bytes == sum(layer.memory_bytes for layer in found.layers)
    assert found.peak_bytes == read(net).activation_bytes((8,) * ndim, itemsize=2)
    assert [(layer.channels, layer.size[0]) for layer in found.layers] == [(1, 8), (4, 6), (4, 6), (2, 6)]


class Twice(nn.Module):
    """One convolution used twice, another that shares its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(self.a(x)))


def test_shared_parameters_count_once_and_their_work_every_time() -> None:
    found = cost(read(Twice()), (8, 8))
    assert [layer.parameters for layer in found.layers] == [0, 38, 0, 2]
    assert found.parameters == sum(p.numel() for p in Twice().parameters())
    assert found.macs == 3 * 36 * 64


def test_weights_computed_from_parameters_count() -> None:
    net = weight_norm(nn.Conv2d(2, 4, 3, padding=1))
    found = cost(read(net), (8, 8))
    assert found.parameters == sum(p.numel() for p in net.parameters()) == 4 * 2 * 9 + 4 + 4
    assert found.macs == 4 * 2 * 9 * 64


def test_what_the_output_does_not_need_is_free() -> None:
    class Side(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.side, self.main = nn.Conv2d(1, 9, 3), nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            self.side(x)
            return self.main(x)

    assert cost(read(Side()), (8, 8)).parameters == 20


def test_layers_say_function_and_weights() -> None:
    layers = read(nn.Sequential(nn.Conv2d(3, 8, (3, 5)), nn.BatchNorm2d(8), nn.ReLU(inplace=True))).layers
    assert [(layer.function, layer.weights, layer.parameters) for layer in layers] == [
        ("", (), 0),
        ("conv2d", (8, 3, 3, 5), 8 * 3 * 15 + 8),
        ("batch_norm", (8,), 16),
        ("relu", (), 0),
    ]


def test_sizes_that_do_not_fit() -> None:
    graph = read(nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2)))
    assert map_sizes(graph, (10, 12)) == ((10, 12), (8, 10), (4, 5))
    with pytest.raises(ValueError, match="input size 11 does not fit the net: nearest sizes are 10 and 12"):
        cost(graph, (10, 11))
    with pytest.raises(ValueError, match=r"size is \(10,\); expected 2 numbers for a 2D net"):
        cost(graph, (10,))
