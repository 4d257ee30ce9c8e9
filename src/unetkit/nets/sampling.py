"""Down and up: modules that shrink and enlarge maps between levels."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import Up
from .blocks import Style
from .layers import CONV, LINEAR, MAX_POOL, TRANSPOSED, activation_layer, norm_layer

_BLUR = (1.0, 3.0, 3.0, 1.0)  # Zhang 2019's default


class BlurPool(nn.Module):
    """Max-pooling without aliasing: the maximum at every pixel, then a binomial blur, then every second phase.

    Zhang, Making Convolutional Networks Shift-Invariant Again, ICML 2019. The border is replicated where the paper's
    code reflects it, so that maps of phase pixel pass too.

    Parameters
    ----------
    channels : int
    stride : sequence of int
        Per axis; axes of stride 1 are left alone.
    """

    def __init__(self, channels: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.stride = tuple(stride)
        ndim = len(self.stride)
        moves = [s > 1 for s in self.stride]
        self.pool = MAX_POOL[ndim](tuple(2 if move else 1 for move in moves), stride=1)
        kernel = torch.ones((1,) * ndim)
        for axis, move in enumerate(moves):
            taps = torch.tensor(_BLUR if move else (1.0,))
            kernel = kernel * (taps / taps.sum()).reshape([-1 if i == axis else 1 for i in range(ndim)])
        self.register_buffer("kernel", kernel.expand(channels, 1, *kernel.shape).clone(), persistent=False)
        # 2 pixels of maximum and 4 of blur: phase pixel before, and after it what rounds the size up
        self.pads = [p for move in reversed(moves) for p in ((1, 2) if move else (0, 0))]
        self.kernel: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, *spatial) to (N, C, *spatial / stride)."""
        x = F.pad(self.pool(x), self.pads, mode="replicate")
        convolve = {2: F.conv2d, 3: F.conv3d}[len(self.stride)]
        return convolve(x, self.kernel.to(x.dtype), stride=self.stride, groups=x.shape[1])


def strided(in_channels: int, out_channels: int, *, stride: Sequence[int], style: Style) -> nn.Sequential:
    """A convolution of kernel = stride, norm and activation: shrinking is learned (V-Net)."""
    layers = [CONV[style.ndim](in_channels, out_channels, tuple(stride), tuple(stride), bias=style.norm == "none")]
    if style.norm != "none":
        layers.append(norm_layer(style.norm, style.ndim, out_channels))
    return nn.Sequential(*layers, activation_layer(style.activation, out_channels, inplace=True))


def transition(channels: int, *, stride: Sequence[int], style: Style) -> nn.Sequential:
    """FC-DenseNet's transition down: norm, activation, 1x1 convolution of equal width, dropout, max-pooling."""
    has_norm = style.norm != "none"
    layers: list[nn.Module] = [norm_layer(style.norm, style.ndim, channels)] if has_norm else []
    layers += [
        activation_layer(style.activation, channels, inplace=has_norm),
        CONV[style.ndim](channels, channels, 1),
        *([nn.Dropout(style.dropout)] if style.dropout else []),
        MAX_POOL[style.ndim](tuple(stride)),
    ]
    return nn.Sequential(*layers)


def up_layer(up: Up, in_channels: int, out_channels: int | None, *, stride: Sequence[int], style: Style) -> nn.Module:
    """Enlarge by `stride` and bring the channels to `out_channels`; None keeps them.

    "transposed": transposed convolution of kernel = stride (no overlap, so no uneven overlap: Odena 2016).
    "overlapping": of kernel 2 stride - 1, 3 for stride 2 (FC-DenseNet). "nearest": repeat pixels, then a convolution
    of the level's kernel. "linear": interpolate, then a 1x1 convolution. The two latter have no convolution where
    the channels are kept.
    """
    ndim, stride, keeps = style.ndim, tuple(stride), out_channels is None
    out_channels = out_channels or in_channels
    if up == "transposed":
        layer: nn.Module = TRANSPOSED[ndim](in_channels, out_channels, stride, stride=stride)
        return layer
    if up == "overlapping":
        kernel, inner = tuple(2 * s - 1 for s in stride), tuple(s - 1 for s in stride)
        layer = TRANSPOSED[ndim](in_channels, out_channels, kernel, stride, inner, inner)
        return layer
    enlarge = nn.Upsample(
        scale_factor=tuple(float(s) for s in stride), mode="nearest" if up == "nearest" else LINEAR[ndim]
    )
    if keeps:
        return enlarge
    make = style.convolution if up == "nearest" else style.pointwise
    return nn.Sequential(enlarge, make(in_channels, out_channels, bias=True))


@torch.no_grad()
def icnr(layer: nn.Module) -> None:
    """Give all output phases of a transposed convolution of kernel = stride the same weights, in place.

    It then starts as nearest-neighbour enlargement and a 1x1 convolution, whose output has no pattern of period
    `stride` (Aitken et al., Checkerboard artifact free sub-pixel convolution, 2017, arXiv:1707.02937).
    """
    weight: Tensor = layer.weight  # type: ignore[assignment]
    phase = torch.empty(weight.shape[:2], device=weight.device).normal_(std=sqrt(2 / weight.shape[0]))
    weight.copy_(phase.reshape(*phase.shape, *(1,) * (weight.ndim - 2)).expand_as(weight))
