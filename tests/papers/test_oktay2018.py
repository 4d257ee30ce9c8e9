"""Oktay et al., Attention U-Net, MIDL 2018 (arXiv:1804.03999) and the authors' code; the gate: nets/test_skips."""

from dataclasses import replace

import torch
from torch import nn

from unetkit.nets.papers import oktay2018
from unetkit.nets.skips import Attention, AttentionGate, Concatenate
from unetkit.nets.unet import UNet


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_gates_sit_on_all_skips_but_the_finest_and_listen_to_the_coarser_level() -> None:
    with torch.device("meta"):
        net = UNet(oktay2018(out_channels=4))
    assert [type(skip) for skip in net.skips] == [Concatenate, Attention, Attention, Attention]
    gates = [m for m in net.modules() if isinstance(m, AttentionGate)]
    assert [(g.theta.in_channels, g.phi.in_channels) for g in gates] == [(32, 64), (64, 128), (128, 256)]
    assert all(g.theta.kernel_size == g.theta.stride == (2, 2, 2) and g.theta.bias is None for g in gates)
    assert all(g.phi.kernel_size == g.psi.kernel_size == (1, 1, 1) and g.psi.out_channels == 1 for g in gates)
    assert [type(m).__name__ for m in gates[0].out] == ["Conv3d", "BatchNorm3d"]


def test_parameters_of_the_authors_code() -> None:
    """unet_CT_dsv_3D has 5,888,004: the same net without gates, with a bias before each norm and four 1x1 heads."""
    with torch.device("meta"):
        net = UNet(replace(oktay2018(out_channels=4), skip="concat"))
    biases = sum(m.num_features for m in net.modules() if isinstance(m, nn.BatchNorm3d))
    own_head = parameters(net.heads)
    heads = sum(4 * width + 4 for width in (16, 32, 64, 128)) + (16 * 4 + 4)
    assert parameters(net) + biases - own_head + heads == 5_888_004
