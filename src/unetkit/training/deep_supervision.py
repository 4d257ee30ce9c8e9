"""Deep supervision: a loss on several maps of a net in training, of which nothing remains in the net.

A U-Net's coarser decoder maps get a 1x1 head each, for training only; their logits are enlarged linearly to the size of
the output and compared with the labels as they are, so that thin structures are not lost by shrinking labels. UNet++
has its maps at full resolution, and heads of its own where it is to be pruned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..nets.layers import CONV, LINEAR, center_crop, initialise
from ..nets.net import Net
from .losses import compound


class Supervised(nn.Module):
    """A net as it is trained: images to logits, one per supervised map, and the weighted sum of their losses.

    Parameters
    ----------
    net : Net
        Trained in place.
    deep : bool
        Supervise all maps of `net.stages`; otherwise the output alone.
    loss : str
        Name of a `losses.compound`.
    weights : sequence of float, optional
        Per map, the one that matters most first; scaled to the sum 1. By default halved from one level of a U-Net to
        the next coarser one (nnU-Net), and equal for UNet++ (Zhou 2018).

    Raises
    ------
    ValueError
        If there are not as many weights as maps, or they are not positive.
    """

    def __init__(
        self, net: Net, *, deep: bool = False, loss: str = "dice", weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.net, self.deep, self.name = net, deep, loss
        n = len(net.stage_strides) if deep else 1
        if weights is None:
            weights = [0.5 ** (i if net.architecture.topology == "unet" else 0) for i in range(n)]
        if len(weights) != n or min(weights) <= 0:
            raise ValueError(f"weights are {tuple(weights)}; expected {n} positive numbers, one per supervised map")
        self.weights = tuple(w / sum(weights) for w in weights)
        extra = net.stage_channels[len(net.heads) : n]  # maps that have no head in the net
        self.heads = nn.ModuleList(initialise(CONV[net.ndim](c, net.out_channels, 1)) for c in extra)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Logits (N, out_channels, *spatial) of each supervised map, all of the output's size."""
        if not self.deep:
            return [self.net.body(x)]
        heads = [*self.net.heads, *self.heads]
        rows = [head(stage) for head, stage in zip(heads, self.net.stages(x), strict=True)]
        return [self._enlarged(row, stride, rows[0]) for row, stride in zip(rows, self.net.stage_strides, strict=True)]

    def _enlarged(self, logits: Tensor, stride: tuple[int, ...], like: Tensor) -> Tensor:
        if any(s > 1 for s in stride):
            scale = tuple(float(s) for s in stride)
            logits = F.interpolate(logits.float(), scale_factor=scale, mode=LINEAR[self.net.ndim])
        return center_crop(logits, like.shape[2:])  # unpadded nets: a coarser map covers more of the image

    def loss(self, logits: Sequence[Tensor], labels: Tensor, **options: Any) -> Tensor:
        """Weighted sum of the loss over the supervised maps; options as `losses.compound` takes them."""
        rows = zip(self.weights, logits, strict=True)
        parts = [w * compound(self.name, k.float(), labels, **options) for w, k in rows]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total
