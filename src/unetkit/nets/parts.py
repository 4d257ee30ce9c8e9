"""From an architecture to the modules of each place in a net; the topologies put them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from .architecture import Architecture
from .blocks import DenseBlock, PlainBlock, ResidualBlock, Style
from .layers import CONV, MAX_POOL, TRANSPOSED, initialise
from .sampling import BlurPool, icnr, strided, transition, up_layer
from .skips import Add, Attention, Concatenate, NoSkip, Reduce


class Parts:
    """Modules of an architecture, place by place. Those that change the channels have `out_channels`."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture

    @property
    def depth(self) -> int:
        """Number of poolings."""
        return len(self.architecture.widths) - 1

    def style(self, level: int) -> Style:
        """Settings that the convolutions of a level share."""
        a = self.architecture
        dropout = a.dropout if a.dropout_at == "convolutions" else 0.0
        kernel: Any = a.kernels[level]  # type: ignore[index]
        return Style(kernel, a.padding, a.norm, a.activation, dropout)

    def stride(self, level: int) -> tuple[int, ...]:
        """Of the pooling between a level and the next."""
        return self.architecture.strides[level]  # type: ignore[index,return-value]

    def stem(self) -> nn.Module:
        """The convolution before all blocks, or nothing."""
        a = self.architecture
        return self.style(0).convolution(a.in_channels, a.stem, bias=True) if a.stem else nn.Identity()

    def encoder(self, level: int, in_channels: int) -> Any:
        """The contracting path's block of a level."""
        a = self.architecture
        width, n = a.widths[level], self._convolutions(level)
        narrow = max(1, width // 2) if a.widen == "last" and n > 1 else width
        stride = self.stride(level - 1) if a.down == "first" and level else 1
        is_first = level == 0 and not a.stem
        keeps = level < self.depth or a.topology == "unet++"  # FC-DenseNet's bottleneck passes on its new maps only
        return self._block(
            level, in_channels, [narrow] * (n - 1) + [width], stride=stride, is_first=is_first, keeps=keeps
        )

    def decoder(self, level: int, in_channels: int, *, keeps_input: bool = False) -> Any:
        """The expanding path's block of a level, or a nested node."""
        a = self.architecture
        width = a.widths[level] if a.decoder_widths is None else a.decoder_widths[level]
        return self._block(level, in_channels, [width] * self._convolutions(level), keeps=keeps_input)

    def _convolutions(self, level: int) -> int:
        return self.architecture.convolutions[level]  # type: ignore[index]

    def _block(
        self,
        level: int,
        in_channels: int,
        widths: Sequence[int],
        *,
        stride: Sequence[int] | int = 1,
        is_first: bool = False,
        keeps: bool = False,
    ) -> Any:
        block, style = self.architecture.block, self.style(level)
        if block == "plain":
            return PlainBlock(in_channels, widths, style=style, stride=stride)
        if block == "dense":
            n = len(widths)
            growth = widths[-1] // n
            return DenseBlock(in_channels, n, growth, style=style, keeps_input=keeps, stride=stride, is_first=is_first)
        pre = block == "preactivation"
        return ResidualBlock(in_channels, widths, style=style, stride=stride, preactivation=pre, is_first=is_first)

    def dropout(self, level: int) -> nn.Module:
        """Drop-out at the end of the contracting path, on its two coarsest levels."""
        a = self.architecture
        is_here = a.dropout and a.dropout_at == "bottom" and level >= self.depth - 1
        return nn.Dropout(a.dropout) if is_here else nn.Identity()

    def down(self, level: int, channels: int) -> tuple[nn.Module, int]:
        """From a level to the next coarser one: the module, and its channels."""
        a, stride = self.architecture, self.stride(level)
        if a.down == "strided":
            width = a.widths[level + 1] if a.block != "dense" else channels
            return strided(channels, width, stride=stride, style=self.style(level + 1)), width
        modules = {
            "max": lambda: MAX_POOL[a.ndim](stride),
            "blur": lambda: BlurPool(channels, stride),
            "transition": lambda: transition(channels, stride=stride, style=self.style(level)),
            "first": nn.Identity,  # the next block's first convolution is strided
        }
        return modules[a.down](), channels

    def up(self, level: int, channels: int) -> tuple[nn.Module, int]:
        """From level + 1 to level: the module, and its channels."""
        a = self.architecture
        width = None if a.up_keeps_channels else a.widths[level]
        layer = up_layer(a.up, channels, width, stride=self.stride(level), style=self.style(level))
        return layer, width or channels

    def skip(self, level: int, features: Sequence[int], up: int, coarse: int) -> Any:
        """The skip of a level, for features of these channels."""
        a = self.architecture
        if a.skip == "none":
            return NoSkip(up)
        if a.skip == "add":
            return Add(features, up, ndim=a.ndim)
        if a.skip == "reduce":
            return Reduce(features, up, width=a.widths[level], ndim=a.ndim)
        if a.skip == "attention" and level > 0:  # the finest skip is not gated (Oktay 2018, section 2.2)
            return Attention(features, up, coarse=coarse, stride=self.stride(level), norm=a.norm, padding=a.padding)
        return Concatenate(features, up)

    def head(self, channels: int) -> nn.Module:
        """1x1 convolution to the classes."""
        a = self.architecture
        layer: nn.Module = CONV[a.ndim](channels, a.out_channels, 1)
        return layer

    def initialise(self, net: nn.Module) -> None:
        """Draw all weights of a net."""
        initialise(net)
        if self.architecture.icnr:
            for module in net.modules():
                if isinstance(module, TRANSPOSED[self.architecture.ndim]):
                    icnr(module)


class Encoder(nn.Module):
    """The contracting path: an image to one map per level, finest first.

    Attributes
    ----------
    channels : tuple of int
        Of each map.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        a, levels = parts.architecture, range(parts.depth + 1)
        self.stem = parts.stem()
        channels, reached, blocks, downs = a.stem or a.in_channels, [], [], []
        for level in levels:
            if level:
                down, channels = parts.down(level - 1, channels)
                downs.append(down)
            block = parts.encoder(level, channels)
            channels = block.out_channels
            blocks.append(block)
            reached.append(channels)
        self.blocks, self.downs = nn.ModuleList(blocks), nn.ModuleList(downs)
        self.dropouts = nn.ModuleList(parts.dropout(level) for level in levels)
        self.channels = tuple(reached)

    def forward(self, x: Any) -> list[Any]:
        """Maps (N, channels[i], *spatial / stride), finest first."""
        features: list[Any] = []
        x = self.stem(x)
        for i, (block, dropout) in enumerate(zip(self.blocks, self.dropouts, strict=True)):
            x = dropout(block(x if i == 0 else self.downs[i - 1](x)))
            features.append(x)
        return features
