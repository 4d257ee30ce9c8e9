"""Blocks: what one level of the net computes. Any `(in_channels, out_channels) -> Module` is one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from .layers import CONV, Norm, Padding, norm_layer


class ConvBlock(nn.Sequential):
    """Two convolutions, each followed by normalisation and ReLU (Ronneberger 2015, fig. 1).

    Parameters
    ----------
    in_channels, out_channels : int
    kernel : sequence of int
        Odd kernel size per spatial axis, in pixels; its length is the number of axes.
    padding : "same" or "valid"
        Zero padding, or none (the map loses kernel - 1 pixels per convolution).
    norm : "batch", "instance", "group" or "none"
        A convolution that is followed by a norm has no bias of its own.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: Sequence[int], padding: Padding, norm: Norm
    ) -> None:
        kernel, ndim = tuple(kernel), len(kernel)
        pads = tuple(k // 2 for k in kernel) if padding == "same" else (0,) * ndim
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers.append(CONV[ndim](channels, out_channels, kernel, padding=pads, bias=norm == "none"))
            if norm != "none":
                layers.append(norm_layer(norm, ndim, out_channels))
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)
