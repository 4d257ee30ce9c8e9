"""Milletari, Navab, Ahmadi, V-Net, 3DV 2016 (doi:10.1109/3DV.2016.79): section 2 and fig. 2."""

import torch
from torch import nn

from unetkit.nets.papers import milletari2016
from unetkit.nets.unet import UNet


def test_stages_of_the_figure() -> None:
    with torch.device("meta"):
        net = UNet(milletari2016())
    stages = [*net.encoder.blocks, *reversed(list(net.decoder))]  # type: ignore[misc]
    counts = [sum(isinstance(m, nn.Conv3d) for m in stage.path) for stage in stages]
    assert counts == [1, 2, 3, 3, 3, 3, 3, 2, 1]
    assert [stage.out_channels for stage in stages] == [16, 32, 64, 128, 256, 256, 128, 64, 32]
    kernels = {m.kernel_size for stage in stages for m in stage.path if isinstance(m, nn.Conv3d)}
    assert kernels == {(5, 5, 5)}
    downs = [down[0] for down in net.encoder.downs]  # type: ignore[union-attr]
    assert [(d.out_channels, d.kernel_size, d.stride) for d in downs] == [
        (width, (2, 2, 2), (2, 2, 2)) for width in (32, 64, 128, 256)
    ]
    assert not any(isinstance(m, nn.BatchNorm3d | nn.ReLU | nn.MaxPool3d) for m in net.modules())
    assert any(isinstance(m, nn.PReLU) for m in net.modules())
    projected = [not isinstance(stage.shortcut, nn.Identity) for stage in stages]
    assert projected == [True] + [False] * 8  # only the image's one channel has to be brought to 16
    assert net.geometry.output_size((64, 128, 128)) == (64, 128, 128)


def test_receptive_fields_of_the_contracting_path() -> None:
    """Table 1: 5, 22, 72, 172 and 372 voxels. Its decoder's (476 to 551) are counted by another rule."""
    net = UNet(milletari2016(width_divisor=16))

    def field(module: str) -> int:
        names = [name for name in net.geometry.names if name.startswith(module)]
        return max(net.geometry.receptive_field(name)[0].largest for name in names)

    assert [field(f"encoder.blocks.{i}.") for i in range(5)] == [5, 22, 72, 172, 372]
    assert field("heads.0") == 548
