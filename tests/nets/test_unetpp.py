"""UNet++: its nodes by their definition, its heads, and pruning to the last bit."""

from typing import Any

import pytest
import torch
from torch import nn

from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.nets.unetpp import UNetPlusPlus


def nested(ndim: int = 2, **options: Any) -> UNetPlusPlus:
    torch.manual_seed(0)
    defaults: dict[str, Any] = {"widths": (2, 4, 6, 8), "topology": "unet++", "heads": "all", "ndim": ndim}
    net = UNetPlusPlus(Architecture(**(defaults | options)))
    with torch.no_grad():
        for p in net.parameters():  # no bias is zero, so that every one counts
            p.add_(0.1 * torch.randn_like(p))
    return net


@pytest.mark.parametrize("ndim", [2, 3])
def test_nodes_follow_the_definition(ndim: int) -> None:
    """x^{i,j} = H([x^{i,0} ... x^{i,j-1}, U(x^{i+1,j-1})]) (facts D), by recursion."""
    net: Any = nested(ndim).eval()
    x = torch.randn(1, 1, *(16,) * ndim)
    features = net.encoder(x)

    def node(i: int, j: int) -> torch.Tensor:
        if j == 0:
            return features[i]
        key = f"{i}_{j}"
        joined = torch.cat([*(node(i, k) for k in range(j)), net.ups[key](node(i + 1, j - 1))], dim=1)
        return net.nodes[key](joined)

    with torch.no_grad():
        rows = [node(0, j) for j in (3, 2, 1)]
        for found, expected in zip(net.stages(x), rows, strict=True):
            assert torch.equal(found, expected)
        levels = net.levels(x)
        for found, head, row in zip(levels, reversed(list(net.heads)), reversed(rows), strict=True):
            assert torch.equal(found, head(row))
        mean = torch.stack([level.softmax(1) for level in levels]).mean(0)
        torch.testing.assert_close(net.body(x).softmax(1), mean)
        torch.testing.assert_close(net.body(x).exp(), mean)  # log-probabilities


def test_one_class_is_averaged_by_sigmoid() -> None:
    net = nested(out_channels=1).eval()
    x = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        mean = torch.stack([level.sigmoid() for level in net.levels(x)]).mean(0)
        torch.testing.assert_close(net.body(x).sigmoid(), mean)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": "valid", "norm": "none"},
        {"block": "residual", "skip": "attention"},
        {"block": "dense", "skip": "reduce", "stem": 4},
        {"skip": "add", "up": "linear", "down": "strided", "strides": (2, 1, 2)},
    ],
    ids=["plain", "valid", "residual attention", "dense reduce", "add strided"],
)
def test_a_pruned_net_equals_the_full_ones_head_to_the_last_bit(ndim: int, options: dict[str, Any]) -> None:
    shallow = {"widths": (2, 4, 6)} if ndim == 3 and options.get("padding") == "valid" else {}  # 92 voxels cubed else
    net = nested(ndim, **options, **shallow).double()
    x = torch.randn(2, 1, *net.geometry.above((24,) * ndim), dtype=torch.double)
    net.body(x)  # running statistics that are not the initial ones
    net.eval()
    with torch.no_grad():
        levels = net.levels(x)
        counts = []
        for level in range(1, net.depth + 1):
            pruned = net.prune(level)
            assert not pruned.training
            assert torch.equal(pruned.body(x), levels[level - 1])
            counts.append(sum(p.numel() for p in pruned.parameters()))
            assert len(pruned.graph.layers) < len(net.graph.layers)
    assert counts == sorted(counts)
    assert counts[-1] < sum(p.numel() for p in net.parameters())


def test_a_pruned_net_is_a_copy() -> None:
    net = nested()
    pruned = net.prune(2)
    assert pruned.training
    before = net.heads[1].weight.detach().clone()
    with torch.no_grad():
        pruned.heads[0].weight.zero_()
    assert torch.equal(net.heads[1].weight, before)


def test_levels_that_cannot_be_pruned_to_are_refused() -> None:
    for level in (0, 4):
        with pytest.raises(ValueError, match=rf"level is {level}; expected 1 to 3 for this net of depth 3"):
            nested().prune(level)
    single = nested(heads="last")
    with pytest.raises(ValueError, match=r'level 2 has no head: .* on level 3; .*heads="all"'):
        single.prune(2)
    assert isinstance(single.prune(3), UNetPlusPlus)


@pytest.mark.parametrize("heads", ["last", "all"])
def test_one_head_is_the_last_nodes(heads: str) -> None:
    net = nested(heads=heads).eval()
    assert len(net.heads) == len(net.levels(torch.randn(1, 1, 16, 16))) == (1 if heads == "last" else 3)
    assert all(isinstance(head, nn.Conv2d) for head in net.heads)


def test_build_knows_both_topologies() -> None:
    assert type(build(Architecture(widths=(2, 2)))).__name__ == "UNet"
    assert type(build(Architecture(widths=(2, 2), topology="unet++"))).__name__ == "UNetPlusPlus"
