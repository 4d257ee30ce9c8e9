"""Blocks: the convolutions of one level of a net.

Every block maps (N, in_channels, *spatial) to (N, out_channels, *spatial), smaller by `kernel - 1` pixels per
convolution where it is not padded, and has `in_channels` and `out_channels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .layers import CONV, Activation, Norm, Padding, activation_layer, center_crop, norm_layer


@dataclass(frozen=True)
class Style:
    """Settings that all convolutions of a block share.

    Attributes
    ----------
    kernel : tuple of int
        Odd size per spatial axis, in pixels; its length is the number of axes.
    padding : "same" or "valid"
        Zero padding, or none (the map loses kernel - 1 pixels per convolution).
    norm : "batch", "instance", "group" or "none"
    activation : "relu", "leaky_relu" or "prelu"
    dropout : float
        Share of activations dropped after every convolution.
    """

    kernel: tuple[int, ...] = (3, 3)
    padding: Padding = "same"
    norm: Norm = "batch"
    activation: Activation = "relu"
    dropout: float = 0.0

    @property
    def ndim(self) -> int:
        """Spatial axes."""
        return len(self.kernel)

    def convolution(
        self, in_channels: int, out_channels: int, *, stride: Sequence[int] | int = 1, bias: bool
    ) -> nn.Module:
        """One convolution of this kernel and padding."""
        pads = tuple(k // 2 for k in self.kernel) if self.padding == "same" else (0,) * self.ndim
        stride = stride if isinstance(stride, int) else tuple(stride)
        layer: nn.Module = CONV[self.ndim](in_channels, out_channels, self.kernel, stride, pads, bias=bias)
        return layer

    def pointwise(
        self, in_channels: int, out_channels: int, *, stride: Sequence[int] | int = 1, bias: bool
    ) -> nn.Module:
        """A 1x1 convolution."""
        stride = stride if isinstance(stride, int) else tuple(stride)
        layer: nn.Module = CONV[self.ndim](in_channels, out_channels, 1, stride, bias=bias)
        return layer

    def unit(self, in_channels: int, out_channels: int, *, stride: Sequence[int] | int = 1) -> list[nn.Module]:
        """Convolution, norm, activation, dropout; a convolution that is followed by a norm has no bias of its own."""
        return [
            self.convolution(in_channels, out_channels, stride=stride, bias=self.norm == "none"),
            *self._norm(out_channels),
            activation_layer(self.activation, out_channels, inplace=True),
            *self._dropout(),
        ]

    def preactivated(
        self, in_channels: int, out_channels: int, *, stride: Sequence[int] | int = 1, is_first: bool = False
    ) -> list[nn.Module]:
        """Norm, activation, convolution, dropout (He 2016); the first convolution of a net reads the image as it is."""
        before: list[nn.Module] = []
        if not is_first:
            inplace = self.norm != "none"  # else it would write into what the shortcut still needs
            before = [*self._norm(in_channels), activation_layer(self.activation, in_channels, inplace=inplace)]
        return [*before, self.convolution(in_channels, out_channels, stride=stride, bias=True), *self._dropout()]

    def _norm(self, channels: int) -> list[nn.Module]:
        return [] if self.norm == "none" else [norm_layer(self.norm, self.ndim, channels)]

    def _dropout(self) -> list[nn.Module]:
        return [nn.Dropout(self.dropout)] if self.dropout else []


class PlainBlock(nn.Sequential):
    """Convolutions, each followed by normalisation and activation (Ronneberger 2015, fig. 1).

    Parameters
    ----------
    in_channels : int
    widths : sequence of int
        Channels after each convolution.
    style : Style
    stride : sequence of int
        Of the first convolution, per axis.
    """

    def __init__(
        self, in_channels: int, widths: Sequence[int], *, style: Style, stride: Sequence[int] | int = 1
    ) -> None:
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(zip((in_channels, *widths), widths, strict=False)):
            layers += style.unit(before, after, stride=stride if i == 0 else 1)
        super().__init__(*layers)
        self.in_channels, self.out_channels = in_channels, widths[-1]


class ResidualBlock(nn.Module):
    """Convolutions whose result is added to their input (ResNet); the input is projected by 1x1 where shapes differ.

    Post-activation (He et al., Deep Residual Learning, CVPR 2016): convolution, norm, activation, the last activation
    after the sum. Pre-activation (He et al., Identity Mappings, ECCV 2016; Zhang 2018): norm, activation, convolution,
    nothing after the sum. An unpadded block adds the middle of its input.

    Parameters
    ----------
    in_channels : int
    widths : sequence of int
        Channels after each convolution.
    style : Style
    stride : sequence of int
        Of the first convolution and of the shortcut, per axis.
    preactivation : bool
    is_first : bool
        The block reads the image itself: a pre-activated one then starts with the convolution.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        *,
        style: Style,
        stride: Sequence[int] | int = 1,
        preactivation: bool = False,
        is_first: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, widths[-1]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(zip((in_channels, *widths), widths, strict=False)):
            step = stride if i == 0 else 1
            if preactivation:
                layers += style.preactivated(before, after, stride=step, is_first=is_first and i == 0)
            else:
                layers += style.unit(before, after, stride=step)
        if not preactivation:  # the last activation (and dropout) comes after the sum
            cut = -1 - bool(style.dropout)
            layers, tail = layers[:cut], layers[cut:]
            self.after: nn.Module = nn.Sequential(*tail)
        else:
            self.after = nn.Identity()
        self.path = nn.Sequential(*layers)
        same = in_channels == widths[-1] and (stride == 1 or set(stride) == {1})  # type: ignore[arg-type]
        self.shortcut: nn.Module = nn.Identity() if same else self._projection(style, stride, preactivation)

    def _projection(self, style: Style, stride: Sequence[int] | int, preactivation: bool) -> nn.Module:
        has_norm = style.norm != "none" and not preactivation
        layers = [style.pointwise(self.in_channels, self.out_channels, stride=stride, bias=not has_norm)]
        if has_norm:
            layers.append(norm_layer(style.norm, style.ndim, self.out_channels))
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, add the input, and activate."""
        y = self.path(x)
        return self.after(y + center_crop(self.shortcut(x), y.shape[2:]))


class DenseBlock(nn.Module):
    """Layers that each read all maps before them and add `growth` new ones (DenseNet; Jegou 2017, fig. 2).

    Parameters
    ----------
    in_channels : int
    layers : int
        Number of layers (norm, activation, convolution, dropout).
    growth : int
        Channels that each layer adds.
    style : Style
    keeps_input : bool
        Return the input together with the new maps (FC-DenseNet's contracting path and last block), or the new maps
        alone (its bottleneck and expanding path, where passing the input on would make channels explode).
    stride : sequence of int
        Per axis; the input is then brought to the coarser grid by a first convolution of equal width.
    is_first : bool
        The block reads the image itself.
    """

    def __init__(
        self,
        in_channels: int,
        layers: int,
        growth: int,
        *,
        style: Style,
        keeps_input: bool,
        stride: Sequence[int] | int = 1,
        is_first: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.keeps_input = in_channels, keeps_input
        self.out_channels = layers * growth + (in_channels if keeps_input else 0)
        strided = not (stride == 1 or set(stride) == {1})  # type: ignore[arg-type]
        self.enter: nn.Module = (
            nn.Sequential(*style.preactivated(in_channels, in_channels, stride=stride)) if strided else nn.Identity()
        )
        self.layers = nn.ModuleList(
            nn.Sequential(
                *style.preactivated(in_channels + i * growth, growth, is_first=is_first and i == 0 and not strided)
            )
            for i in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Grow, layer by layer."""
        maps = [self.enter(x)]
        for layer in self.layers:
            maps.append(layer(torch.cat(maps, dim=1) if len(maps) > 1 else maps[0]))
            maps = [center_crop(m, maps[-1].shape[2:]) for m in maps]
        kept = maps if self.keeps_input else maps[1:]
        return torch.cat(kept, dim=1) if len(kept) > 1 else kept[0]
