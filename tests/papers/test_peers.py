"""The same weights in another implementation, MONAI's, give the same output; where the designs differ, how."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.nets.layers import CONV, TRANSPOSED

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own
    peers = pytest.importorskip("monai.networks.nets")

WIDTHS = (4, 4, 8, 16, 32)  # MONAI enlarges to half the channels, but keeps them at the last step


def theirs(name: str, ndim: int, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    activation = ("LeakyReLU", {"negative_slope": 0.01, "inplace": True})
    net: nn.Module = getattr(peers, name)(
        ndim, 2, 3, features=(*WIDTHS, WIDTHS[0]), act=activation, **options
    )  # instance norm with scale and shift is its default
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net.eval()


def ours(ndim: int, **options: Any) -> Any:
    """Equal structure: instance norm, leaky ReLU, transposed convolutions."""
    settings: dict[str, Any] = {"in_channels": 2, "out_channels": 3, "norm": "instance", "activation": "leaky_relu"}
    return build(Architecture(ndim=ndim, widths=WIDTHS, **settings, **options)).eval()


def layers(modules: list[nn.Module], ndim: int) -> Iterator[nn.Module]:
    kinds = (CONV[ndim], TRANSPOSED[ndim], nn.InstanceNorm2d, nn.InstanceNorm3d)
    for module in modules:
        yield from (m for m in module.modules() if isinstance(m, kinds))


@torch.no_grad()
def copy_weights(source: list[nn.Module], target: list[nn.Module], ndim: int) -> None:
    """Layer by layer in the order of computation; a bias that an instance norm takes away again has no counterpart."""
    pairs = list(zip(layers(source, ndim), layers(target, ndim), strict=True))
    assert len(pairs) > 20
    for theirs_, ours_ in pairs:
        assert theirs_.weight.shape == ours_.weight.shape
        ours_.weight.copy_(theirs_.weight)
        if ours_.bias is not None:
            ours_.bias.copy_(theirs_.bias)


def assert_equal_outputs(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("ndim", [2, 3])
def test_unet(ndim: int) -> None:
    peer: Any = theirs("BasicUNet", ndim)
    net = ours(ndim)
    steps = [peer.upcat_4, peer.upcat_3, peer.upcat_2, peer.upcat_1]
    source = [peer.conv_0, peer.down_1, peer.down_2, peer.down_3, peer.down_4, *steps, peer.final_conv]
    decoder = [part for level in (3, 2, 1, 0) for part in (net.ups[level], net.decoder[level])]
    copy_weights(source, [*net.encoder.blocks, *decoder, net.heads], ndim)
    x = torch.randn(2, 2, *(32,) * ndim)
    with torch.no_grad():
        assert_equal_outputs(net(x), peer(x))


@pytest.mark.slow
@pytest.mark.parametrize("ndim", [2, 3])
def test_unet_plus_plus_and_each_of_its_heads(ndim: int) -> None:
    peer: Any = theirs("BasicUNetPlusPlus", ndim, deep_supervision=True)
    net = ours(ndim, topology="unet++", heads="all")
    nodes = [(i, j) for j in range(1, 5) for i in range(5 - j)]
    source = [getattr(peer, f"conv_{i}_0") for i in range(5)] + [getattr(peer, f"upcat_{i}_{j}") for i, j in nodes]
    source += [getattr(peer, f"final_conv_0_{j}") for j in (4, 3, 2, 1)]
    target = [part for i, j in nodes for part in (net.ups[f"{i}_{j}"], net.nodes[f"{i}_{j}"])]
    copy_weights(source, [*net.encoder.blocks, *target, net.heads], ndim)
    x = torch.randn(1, 2, *(32,) * ndim)
    with torch.no_grad():
        for found, expected in zip(net.levels(x), peer(x), strict=True):
            assert_equal_outputs(found, expected)
        for level in (1, 2, 3, 4):
            assert_equal_outputs(net.prune(level)(x), peer(x)[level - 1])


def test_how_attention_gates_differ() -> None:
    """MONAI gates at full resolution with norms inside, every skip; the paper on the coarser grid, not the finest."""
    peer: Any = peers.AttentionUnet(2, 1, 2, channels=(4, 8, 16), strides=(2, 2))
    net = build(Architecture(widths=(4, 8, 16), skip="attention"))
    gates = [m for m in peer.modules() if type(m).__name__ == "AttentionBlock"]
    assert len(gates) == 2
    assert {m.kernel_size for gate in gates for m in gate.modules() if isinstance(m, nn.Conv2d)} == {(1, 1)}
    assert any(isinstance(m, nn.BatchNorm2d) for m in gates[0].psi.modules())
    own = [m for m in net.modules() if type(m).__name__ == "AttentionGate"]
    assert len(own) == 1
    assert own[0].theta.kernel_size == own[0].theta.stride == (2, 2)
    assert own[0].theta.bias is None
