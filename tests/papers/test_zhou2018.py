"""Zhou et al., UNet++, DLMIA 2018 (arXiv:1807.10165): parameters of figure 3 and table 2."""

from dataclasses import replace

import torch
from torch import nn

from unetkit.nets.build import build
from unetkit.nets.papers import zhou2018
from unetkit.nets.unetpp import UNetPlusPlus


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_parameters_of_the_family() -> None:
    with torch.device("meta"):
        one, rgb = (zhou2018(in_channels=channels, out_channels=1) for channels in (1, 3))
        assert parameters(build(one)) == 9_041_700
        assert parameters(build(replace(one, heads="last"))) == 9_041_601
        assert parameters(build(rgb)) == 9_042_276
        assert parameters(build(replace(rgb, heads="last"))) == 9_042_177
        plain = replace(one, topology="unet", heads="last")
        assert parameters(build(plain)) == 7_759_521
        assert parameters(build(replace(plain, widths=(35, 70, 140, 280, 560)))) == 9_282_246  # not the 9.13 M printed


def test_pruned_levels() -> None:
    net = UNetPlusPlus(zhou2018(out_channels=1))
    assert [parameters(net.prune(level)) for level in (1, 2, 3, 4)] == [100_961, 511_105, 2_204_961, 9_041_601]
