"""Jegou et al., The One Hundred Layers Tiramisu, CVPRW 2017 (arXiv:1611.09326): tables 1 and 2."""

import pytest
import torch
from torch import nn

from unetkit.nets.papers import PAPERS, jegou2017
from unetkit.nets.unet import UNet

PARAMETERS = {103: (9_322_091, 9_425_163), 67: (3_463_243, 3_502_923), 56: (1_376_795, 1_397_963)}


@pytest.mark.parametrize("layers", PARAMETERS)
def test_parameters(layers: int) -> None:
    """Trainable, and with the running mean and variance of batch norm, as the paper's 9.4 M counts them."""
    with torch.device("meta"):
        net = UNet(jegou2017(layers=layers))
    trainable = sum(p.numel() for p in net.parameters())
    statistics = sum(b.numel() for name, b in net.named_buffers() if "running" in name)
    assert (trainable, trainable + statistics) == PARAMETERS[layers]


@pytest.mark.parametrize("layers", PARAMETERS)
def test_the_name_counts_the_layers(layers: int) -> None:
    """103 = the convolutions, transitions and the head, the first one included."""
    with torch.device("meta"):
        net = UNet(jegou2017(layers=layers))
    assert sum(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in net.modules()) == layers


def test_maps_of_the_bottleneck_and_of_the_decoder() -> None:
    """Erratum of the authors' code: m is 896 in the bottleneck, 1088, 816 and 384 after the decoder's blocks."""
    with torch.device("meta"):
        net = UNet(jegou2017())
    assert net.encoder.channels == (112, 192, 304, 464, 656, 240)
    assert 656 + 240 == 896  # what the bottleneck is given, and what it makes
    joined = [skip.out_channels for skip in reversed(list(net.skips))]
    made = [16 * layers for layers in (12, 10, 7, 5, 4)]
    assert [a + b for a, b in zip(joined, made, strict=True)] == [1088, 816, 576, 384, 256]
    assert net.heads[0].in_channels == 256  # the last block passes its input on


def test_other_sizes_are_refused_and_named() -> None:
    with pytest.raises(ValueError, match="layers is 121; expected one of 56, 67, 103"):
        jegou2017(layers=121)
    assert PAPERS["jegou2017-56"]() == jegou2017(layers=56)
