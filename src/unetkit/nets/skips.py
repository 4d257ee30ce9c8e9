"""Skips: how a decoder joins the encoder's features, `(encoder, decoder) -> features`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import center_crop


class Concatenate(nn.Module):
    """Crop the encoder's map to the decoder's size and put its channels in front ("copy and crop", 2015)."""

    @staticmethod
    def channels(encoder: int, decoder: int) -> int:
        """Channels of the joined map."""
        return encoder + decoder

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        """Join (N, C, *larger) and (N, D, *spatial) to (N, C + D, *spatial)."""
        return torch.cat([center_crop(encoder, decoder.shape[2:]), decoder], dim=1)
