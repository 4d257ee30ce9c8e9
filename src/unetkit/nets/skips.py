"""Skips: how a decoder joins the encoder's features.

Every skip maps `(features, up, coarse)` to one map of `out_channels`: `features` are the maps of this level that come
before (one in a U-Net, several in UNet++), `up` is the coarser level's map enlarged, `coarse` that map before it was
enlarged (the signal of a gate). Maps larger than `up`, as unpadded convolutions leave them, are cropped to its middle.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import CONV, LINEAR, Norm, Padding, center_crop, norm_layer


def _cropped(features: Sequence[Tensor], up: Tensor) -> list[Tensor]:
    return [center_crop(f, up.shape[2:]) for f in features]


class Concatenate(nn.Module):
    """Put the encoder's channels in front of the decoder's ("copy and crop", Ronneberger 2015).

    Parameters
    ----------
    encoder : sequence of int
        Channels of each feature map.
    decoder : int
        Channels of the enlarged map.
    """

    def __init__(self, encoder: Sequence[int], decoder: int) -> None:
        super().__init__()
        self.out_channels = sum(encoder) + decoder

    def forward(self, features: Sequence[Tensor], up: Tensor, coarse: Tensor) -> Tensor:
        """Join (N, C, *larger) and (N, D, *spatial) to (N, C + D, *spatial)."""
        return torch.cat([*_cropped(features, up), up], dim=1)


class Reduce(Concatenate):
    """Concatenate, then bring the channels back to the decoder's by a 1x1 convolution: 2C -> C before the 3x3s.

    Two 3x3 convolutions after it then cost 20 C^2 weights instead of 27 C^2 (26 % less).
    """

    def __init__(self, encoder: Sequence[int], decoder: int, *, width: int, ndim: int) -> None:
        super().__init__(encoder, decoder)
        self.reduce = CONV[ndim](self.out_channels, width, 1)
        self.out_channels = width

    def forward(self, features: Sequence[Tensor], up: Tensor, coarse: Tensor) -> Tensor:
        """Join to (N, width, *spatial)."""
        result: Tensor = self.reduce(super().forward(features, up, coarse))
        return result


class Add(nn.Module):
    """Add the encoder's features to the decoder's (LinkNet, FusionNet); a 1x1 convolution where widths differ."""

    def __init__(self, encoder: Sequence[int], decoder: int, *, ndim: int) -> None:
        super().__init__()
        self.out_channels = decoder
        self.project = nn.ModuleList(
            nn.Identity() if channels == decoder else CONV[ndim](channels, decoder, 1) for channels in encoder
        )

    def forward(self, features: Sequence[Tensor], up: Tensor, coarse: Tensor) -> Tensor:
        """Sum of shape (N, decoder, *spatial)."""
        for project, feature in zip(self.project, _cropped(features, up), strict=True):
            up = up + project(feature)
        return up


class AttentionGate(nn.Module):
    """Weigh an encoder's map by where the coarser decoder map finds it relevant (Oktay 2018, eq. 1 and 2, fig. 2).

    ``q = psi(relu(W_x x + W_g g + b_g)) + b_psi``, ``alpha = sigmoid(q)``, ``x_hat = W (alpha x)``: `W_x` is a
    convolution of kernel = stride, which brings x to the coarser grid of the gating signal g; alpha has one channel and
    is resampled to the grid of x, linearly, or by nearest neighbour in an unpadded net, where nothing may depend on a
    border.

    Parameters
    ----------
    channels, gate_channels : int
        Of x and of g.
    stride : sequence of int
        Grid of g relative to that of x, per axis.
    norm, padding
        The net's.

    References
    ----------
    .. [1] Oktay et al., Attention U-Net: Learning Where to Look for the Pancreas, MIDL 2018, arXiv:1804.03999
    """

    def __init__(
        self, channels: int, gate_channels: int, *, stride: Sequence[int], norm: Norm, padding: Padding
    ) -> None:
        super().__init__()
        ndim = len(stride)
        self.stride, self.mode = tuple(stride), LINEAR[ndim] if padding == "same" else "nearest"
        self.theta = CONV[ndim](channels, channels, self.stride, self.stride, bias=False)
        self.phi = CONV[ndim](gate_channels, channels, 1)
        self.psi = CONV[ndim](channels, 1, 1)
        out = [CONV[ndim](channels, channels, 1, bias=norm == "none")]
        self.out = nn.Sequential(*out, *([] if norm == "none" else [norm_layer(norm, ndim, channels)]))

    def attention(self, x: Tensor, gate: Tensor) -> Tensor:
        """Attention coefficients alpha in 0 ... 1, of shape (N, 1, *spatial of x)."""
        alpha = torch.sigmoid(self.psi(F.relu(self.theta(x) + self.phi(gate))))
        return F.interpolate(alpha, scale_factor=tuple(float(s) for s in self.stride), mode=self.mode)

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """Gated features (N, channels, *spatial) of x (N, channels, *spatial), `stride` times finer than the gate."""
        result: Tensor = self.out(self.attention(x, gate) * x)
        return result


class Attention(Concatenate):
    """Gate each of the encoder's maps by the coarser decoder map, then concatenate."""

    def __init__(
        self, encoder: Sequence[int], decoder: int, *, coarse: int, stride: Sequence[int], norm: Norm, padding: Padding
    ) -> None:
        super().__init__(encoder, decoder)
        self.gates = nn.ModuleList(
            AttentionGate(channels, coarse, stride=stride, norm=norm, padding=padding) for channels in encoder
        )

    def forward(self, features: Sequence[Tensor], up: Tensor, coarse: Tensor) -> Tensor:
        """Join (N, C, *larger), gated, and (N, D, *spatial) to (N, C + D, *spatial)."""
        size = [n * s for n, s in zip(coarse.shape[2:], self.gates[0].stride, strict=True)]  # type: ignore[arg-type]
        gated = [gate(center_crop(f, size), coarse) for gate, f in zip(self.gates, features, strict=True)]
        return super().forward(gated, up, coarse)


class NoSkip(nn.Module):
    """Encoder and decoder only, to see what the skips are worth."""

    def __init__(self, decoder: int) -> None:
        super().__init__()
        self.out_channels = decoder

    def forward(self, features: Sequence[Tensor], up: Tensor, coarse: Tensor) -> Tensor:
        """The enlarged map as it is."""
        return up
