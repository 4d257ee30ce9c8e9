"""What concatenation adds, against nets that are built without it, and against printed numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unetkit.graph.cost import cost
from unetkit.graph.read import read
from unetkit.graph.stages import structure
from unetkit.insight.resources.concatenation import concatenation_share, draw_concatenation, reducing_net
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.nets.papers import PAPERS


def bare(**options: Any) -> Any:
    """A net without its weights."""
    with torch.device("meta"):
        return build(Architecture(**{"widths": (4, 6, 8, 10)} | options))


def classic(**options: Any) -> Any:
    """The net of 2015."""
    return bare(**PAPERS["ronneberger2015"]().to_dict() | options)


def test_the_printed_count_of_1x1_reduction() -> None:
    """31,030,658 to 28,594,498 parameters; 192.38 to 162.32 G multiplications at 512 x 512 (padded)."""
    net = classic()
    found = concatenation_share(net.graph, (572, 572))
    assert found.cost.parameters == 31_030_658
    assert found.reduced_parameters == 28_594_498
    assert cost(reducing_net(net).graph, (572, 572)).parameters == 28_594_498
    padded = concatenation_share(classic(padding="same").graph, (512, 512))
    assert round(padded.cost.macs / 1e9, 2) == 192.38
    assert round(padded.reduced_macs / 1e9, 2) == 162.32


@pytest.mark.parametrize("width, saved", [(64, 9), (128, 9), (256, 9), (512, 9)])
def test_a_join_doubles_what_the_next_convolution_reads(width: int, saved: int) -> None:
    """Of 27 C^2 weights after a join, 9 C^2 are due to the skip."""
    graph = classic().graph
    found = concatenation_share(graph, (572, 572))
    (join,) = (j for j in found.joins if j.skipped == width)
    (reader,) = (r for r in found.readers if r.skipped == width)
    assert (join.channels, reader.channels) == (2 * width, 2 * width)
    assert reader.parameters == saved * width**2
    assert (
        reader.macs == 2 * reader.parameters * cost(classic().graph, (572, 572)).layers[reader.layer].size[0] ** 2 / 2
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"block": "dense", "convolutions": 2},
        {"padding": "valid", "norm": "none"},
        {"up": "nearest", "norm": "group"},
        {"up_keeps_channels": True, "activation": "prelu"},
        {"block": "dense", "norm": "instance", "activation": "prelu", "widths": (8, 12, 16, 20)},
    ],
    ids=str,
)
@pytest.mark.parametrize("ndim", [2, 3])
def test_what_is_due_is_what_a_net_without_skips_does_not_have(ndim: int, options: dict[str, Any]) -> None:
    net, without = (bare(ndim=ndim, skip=skip, **options) for skip in ("concat", "none"))
    size = net.geometry.above((48, 52, 56)[:ndim])
    found, plain = concatenation_share(net.graph, size), cost(without.graph, size)
    assert found.parameters == found.cost.parameters - plain.parameters > 0
    assert found.macs == found.cost.macs - plain.macs > 0
    assert found.cost == cost(net.graph, size)
    assert len(found.joins) == 3


@pytest.mark.parametrize(
    "options",
    [{}, {"topology": "unet++"}, {"padding": "valid", "norm": "none"}, {"up": "linear"}],
    ids=str,
)
@pytest.mark.parametrize("ndim", [2, 3])
def test_reduction_on_the_graph_is_that_of_the_net_that_is_built(ndim: int, options: dict[str, Any]) -> None:
    net = bare(ndim=ndim, **options)
    size = net.geometry.above((48, 52, 56)[:ndim])
    found, built = concatenation_share(net.graph, size), cost(reducing_net(net).graph, size)
    assert found.reduced_parameters == built.parameters
    assert found.reduced_macs == built.macs


def test_a_shortcut_reads_skipped_channels_too() -> None:
    """The 3x3 of a residual block and the 1x1 beside it; without a skip that 1x1 would not be there at all."""
    net, without = (bare(block="residual", skip=skip) for skip in ("concat", "none"))
    found = concatenation_share(net.graph, (32, 32))
    assert [r.parameters for r in found.readers] == [9 * 8 * 8, 8 * 8, 9 * 6 * 6, 6 * 6, 9 * 4 * 4, 4 * 4]
    rest = sum(r.parameters for r in found.readers if net.graph.layers[r.layer].weights[2:] == (1, 1))
    norms = 2 * (8 + 6 + 4)
    left = cost(without.graph, (32, 32)).parameters
    assert found.parameters + rest + norms == found.cost.parameters - left


@pytest.mark.parametrize("ndim", [2, 3])
def test_copies_are_counted_channel_by_channel(ndim: int) -> None:
    net = bare(ndim=ndim, widths=(4, 6, 8))
    size = (16, 24, 32)[:ndim]
    pixels = torch.Size(size).numel()
    found = concatenation_share(net.graph, size, itemsize=2)
    assert [join.skipped for join in found.joins] == [6, 4]
    assert [join.memory_bytes for join in found.joins] == [2 * 6 * pixels // 2**ndim, 2 * 4 * pixels]
    assert found.memory_bytes == sum(join.memory_bytes for join in found.joins)
    names = structure(net.graph).name
    assert [names(join.stage) for join in found.joins] == ["decoder 1", "decoder 0"]


def test_nested_nodes_join_all_before_them() -> None:
    graph = bare(topology="unet++").graph
    found, name = concatenation_share(graph, (32, 32)), structure(graph).name
    joined = {name(join.stage): (join.channels, join.skipped) for join in found.joins}
    assert joined["node 0,1"] == (8, 4)
    assert joined["node 0,3"] == (16, 12)  # three nodes of four channels beside what comes up
    assert joined["node 1,2"] == (18, 12)
    assert len(joined) == 6


@pytest.mark.parametrize("skip", ["add", "none"])
def test_without_concatenation_nothing_is_due(skip: str) -> None:
    net = bare(skip=skip)
    found = concatenation_share(net.graph, (32, 32))
    assert (found.joins, found.readers, found.parameters, found.macs, found.memory_bytes) == ((), (), 0, 0, 0)
    assert (found.reduced_parameters, found.reduced_macs) == (found.cost.parameters, found.cost.macs)
    assert reducing_net(net) is None


def test_reducing_nets_read_their_joins_by_1x1s() -> None:
    net = bare(skip="reduce")
    found = concatenation_share(net.graph, (32, 32))
    assert [net.graph.layers[r.layer].weights[2:] for r in found.readers] == [(1, 1)] * 3
    assert reducing_net(net) is None
    assert reducing_net(bare(skip="attention")) is None


class Joined(nn.Module):
    """A user's own: what is joined goes through a norm, an activation and a depthwise convolution, then is mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 4, 2, stride=2)
        self.up, self.norm = nn.ConvTranspose2d(4, 4, 2, stride=2), nn.BatchNorm2d(10)
        self.depth = nn.Conv2d(10, 10, 3, padding=1, groups=10)
        self.mix, self.last = nn.Conv2d(10, 5, 1), nn.Conv2d(5, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        joined = torch.cat([self.up(torch.relu(self.down(y))), y], dim=1)
        result: Tensor = self.last(self.mix(self.depth(torch.relu(self.norm(joined)))))
        return result


def test_skipped_channels_are_followed_until_they_are_mixed() -> None:
    graph = read(Joined())
    found = concatenation_share(graph, (16, 16))
    assert [(j.channels, j.skipped) for j in found.joins] == [(10, 6)]
    rows = {graph.layers[r.layer].name: (r.skipped, r.parameters, r.macs) for r in found.readers}
    assert rows == {
        "norm": (6, 12, 0),
        "depth": (6, 6 * 9, 6 * 9 * 256),
        "mix": (6, 5 * 6, 5 * 6 * 256),
    }
    assert found.reduced_parameters == found.cost.parameters - (12 + 54 + 30) + (10 * 4 + 4)


def test_sizes_that_do_not_fit() -> None:
    net = bare(padding="valid", norm="none")
    with pytest.raises(ValueError, match="input size 101 does not fit"):
        concatenation_share(net.graph, (100, 101))


@pytest.mark.parametrize("options", [{}, {"topology": "unet++"}, {"ndim": 3}], ids=str)
def test_the_picture_stacks_own_and_skipped_channels(options: dict[str, Any]) -> None:
    net = bare(**options)
    found = concatenation_share(net.graph, net.geometry.above((16,) * net.ndim))
    axis = draw_concatenation(found, net.graph).axes[0]
    own, skipped = ([bar.get_width() for bar in bars] for bars in axis.containers)
    assert skipped == [join.skipped for join in found.joins]
    assert [a + b for a, b in zip(own, skipped, strict=True)] == [join.channels for join in found.joins]
    assert len({label.get_text() for label in axis.get_yticklabels()}) == len(found.joins)
