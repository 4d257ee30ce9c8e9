"""Cicek et al., 3D U-Net, MICCAI 2016 (doi:10.1007/978-3-319-46723-8_49): its printed numbers."""

import torch
from torch import nn

from unetkit.nets.papers import cicek2016
from unetkit.nets.unet import UNet


def paper_net() -> UNet:
    with torch.device("meta"):
        return UNet(cicek2016(in_channels=3, out_channels=3))


def test_parameters_as_the_paper_counts_them() -> None:
    """19,069,955: no bias of the up-convolutions, and of batch norm one number per channel."""
    net = paper_net()
    uncounted = sum(m.bias.numel() for m in net.modules() if isinstance(m, nn.ConvTranspose3d))
    uncounted += sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.BatchNorm3d))
    assert sum(p.numel() for p in net.parameters()) - uncounted == 19_069_955


def test_sizes_and_receptive_field() -> None:
    geometry = paper_net().geometry
    assert geometry.output_size((132, 132, 116)) == (44, 44, 28)
    axis = geometry.axes[0]
    fitting = [n for n in range(1, 200) if axis.fits(n)]
    assert fitting == [8 * k + 28 for k in range(8, 22)]
    assert [axis.output_size(n) for n in fitting] == [8 * k - 60 for k in range(8, 22)]
    field = axis.receptive_field()
    assert (field.smallest, field.largest, field.mean) == (92, 100, 96)


def test_channels_double_before_pooling_and_are_kept_upwards() -> None:
    net = paper_net()
    convolutions = [[m.out_channels for m in block if isinstance(m, nn.Conv3d)] for block in net.encoder.blocks]  # type: ignore[union-attr]
    assert convolutions == [[32, 64], [64, 128], [128, 256], [256, 512]]
    assert [(up.in_channels, up.out_channels) for up in net.ups] == [(128, 128), (256, 256), (512, 512)]
    inputs = [next(m.in_channels for m in block if isinstance(m, nn.Conv3d)) for block in net.decoder]  # type: ignore[union-attr]
    assert inputs == [64 + 128, 128 + 256, 256 + 512]
    kinds = [type(m).__name__ for m in net.decoder[0]]  # type: ignore[arg-type]
    assert kinds == ["Conv3d", "BatchNorm3d", "ReLU"] * 2  # batch norm before each ReLU
