"""Zhang, Liu, Wang, Deep Residual U-Net, GRSL 2018 (doi:10.1109/LGRS.2018.2802944): table I."""

import torch
from torch import nn

from unetkit.nets.papers import ronneberger2015, zhang2018
from unetkit.nets.unet import UNet


def test_seven_units_of_two_convolutions_and_a_head() -> None:
    with torch.device("meta"):
        net = UNet(zhang2018())
    units = [*net.encoder.blocks, *reversed(list(net.decoder))]  # type: ignore[misc]
    convolutions = [[m for m in unit.path if isinstance(m, nn.Conv2d)] for unit in units]
    assert [[c.out_channels for c in row] for row in convolutions] == [
        [width] * 2 for width in (64, 128, 256, 512, 256, 128, 64)
    ]
    assert [row[0].stride for row in convolutions] == [(1, 1), *[(2, 2)] * 3, *[(1, 1)] * 3]
    assert sum(map(len, convolutions)) + len(net.heads) == 15  # table I: 15 convolution layers
    assert [skip.out_channels for skip in net.skips] == [64 + 128, 128 + 256, 256 + 512]
    assert not any(isinstance(m, nn.MaxPool2d | nn.ConvTranspose2d) for m in net.modules())
    assert [type(m).__name__ for m in units[0].path] == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d"]
    assert [type(m).__name__ for m in units[1].path] == ["BatchNorm2d", "ReLU", "Conv2d"] * 2


def test_about_a_quarter_of_the_u_nets_parameters() -> None:
    with torch.device("meta"):
        count, unet = (sum(p.numel() for p in UNet(a).parameters()) for a in (zhang2018(), ronneberger2015()))
    assert 0.2 < count / unet < 0.3
