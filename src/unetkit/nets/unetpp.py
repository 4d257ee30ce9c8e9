"""UNet++: nested, dense skips, one head per depth, and real pruning (Zhou 2018)."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

from .architecture import Architecture
from .layers import center_crop
from .net import Net
from .parts import Parts
from .pretrained import contracting_path


class UNetPlusPlus(Net):
    """All depths of U-Net at once, sharing one encoder.

    Node x^{i,j} of level i reads all nodes x^{i,0} ... x^{i,j-1} of its level and x^{i+1,j-1} enlarged; x^{i,0} is the
    encoder. Heads sit on x^{0,1} ... x^{0,depth}, or on the last only (`Architecture.heads`).

    ::

        x00 ------ x01 ------ x02      level 0: the heads
           \\      /   \\      /
            x10 ------ x11             level 1
               \\      /
                x20                    level 2

    Parameters
    ----------
    architecture : Architecture
        With `topology="unet++"`.
    encoder : Module, optional
        As `UNet` takes it.

    References
    ----------
    .. [1] Zhou, Siddiquee, Tajbakhsh, Liang, UNet++, DLMIA 2018, arXiv:1807.10165, section 3.1
    """

    def __init__(self, architecture: Architecture, *, encoder: nn.Module | None = None) -> None:
        super().__init__(architecture)
        parts = Parts(architecture)
        self.depth = parts.depth
        self.encoder = contracting_path(parts) if encoder is None else encoder
        channels: dict[tuple[int, int], int] = {(i, 0): c for i, c in enumerate(self.encoder.channels)}  # type: ignore[arg-type]
        self.ups, self.skips, self.nodes = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for i, j in self._order():
            up, width = parts.up(i, channels[i + 1, j - 1])
            skip = parts.skip(i, [channels[i, k] for k in range(j)], width, channels[i + 1, j - 1])
            node = parts.decoder(i, skip.out_channels)
            channels[i, j] = node.out_channels
            for row, module in ((self.ups, up), (self.skips, skip), (self.nodes, node)):
                row[_key(i, j)] = module
        first = 1 if architecture.heads == "all" else self.depth
        # In the order of `stages`: the deepest first.
        self.heads = nn.ModuleList(parts.head(channels[0, j]) for j in range(self.depth, first - 1, -1))
        self.stage_channels = tuple(channels[0, j] for j in range(self.depth, 0, -1))
        self.stage_strides = ((1,) * self.ndim,) * self.depth
        parts.initialise(self)

    def _order(self) -> list[tuple[int, int]]:
        """Nodes (level, position) in an order that can be computed."""
        return [(i, j) for j in range(1, self.depth + 1) for i in range(self.depth - j + 1)]

    def stages(self, x: Tensor) -> list[Tensor]:
        """The finest row's nodes x^{0,depth} ... x^{0,1}."""
        maps: dict[tuple[int, int], Any] = {(i, 0): f for i, f in enumerate(self.encoder(x))}
        for i, j in self._order():
            coarse, key = maps[i + 1, j - 1], _key(i, j)
            up = self.ups[key](coarse)
            maps[i, j] = self.nodes[key](self.skips[key]([maps[i, k] for k in range(j)], up, coarse))
        return [maps[0, j] for j in range(self.depth, 0, -1)]

    def levels(self, x: Tensor) -> list[Tensor]:
        """Logits of every head, L1 first; without `heads="all"` of the last alone. Sizes as the body takes them."""
        logits = [head(stage) for head, stage in zip(self.heads, self.stages(x), strict=False)]
        return logits[::-1]

    def body(self, x: Tensor) -> Tensor:
        """Logits of the last head, or, with a head on every depth, of the mean of their probabilities ("accurate")."""
        logits = self.levels(x)
        if len(logits) == 1:
            return logits[0]
        size = logits[-1].shape[2:]  # unpadded nets: the deepest map is the smallest
        rows = [center_crop(row, size) for row in logits]
        tiny = torch.finfo(logits[0].dtype).tiny
        if self.out_channels == 1:
            mean = reduce(add, [torch.sigmoid(row) for row in rows]) / len(rows)
            return torch.log(mean.clamp(min=tiny)) - torch.log((1 - mean).clamp(min=tiny))
        mean = reduce(add, [torch.softmax(row, dim=1) for row in rows]) / len(rows)
        return torch.log(mean.clamp(min=tiny))

    def prune(self, level: int) -> UNetPlusPlus:
        """A smaller net that computes only the nodes that the head of `level` needs ("fast" mode, L1 to L4).

        Parameters
        ----------
        level : int
            1 to depth. `depth` gives the full net with its last head alone.

        Returns
        -------
        UNetPlusPlus
            Of depth `level`, with copies of the weights, in the same mode. Its output equals this net's `levels` entry
            of that level, to the last bit, and for an unpadded net covers more of the image.

        Raises
        ------
        ValueError
            If `level` is out of range, or has no head because the net was built with one.
        """
        if not 1 <= level <= self.depth:
            raise ValueError(f"level is {level}; expected 1 to {self.depth} for this net of depth {self.depth}")
        if level < self.depth and len(self.heads) == 1:
            raise ValueError(
                f"level {level} has no head: the net was built with one, on level {self.depth}; build and train it "
                'with heads="all" to prune it'
            )
        a, cut = self.architecture, level + 1
        architecture = replace(
            a,
            widths=a.widths[:cut],
            convolutions=a.convolutions[:cut],  # type: ignore[index]
            kernels=a.kernels[:cut],  # type: ignore[index]
            strides=a.strides[:level],  # type: ignore[index]
            decoder_widths=None if a.decoder_widths is None else a.decoder_widths[:level],
            heads="last",
        )
        parameter = next(self.parameters())
        pruned = UNetPlusPlus(architecture).to(parameter.device, parameter.dtype)
        # The bottom of the smaller net is a block of the larger one's middle; its head is the one of this level.
        own = self.state_dict() | {
            f"heads.0.{name}": tensor for name, tensor in self.heads[self.depth - level].state_dict().items()
        }
        pruned.load_state_dict({name: own[name] for name in pruned.state_dict()})
        return pruned.train(self.training)


def pruned(net: Net, level: int) -> UNetPlusPlus:
    """`net.prune(level)`; a ValueError says so where the net is not a UNet++."""
    if not isinstance(net, UNetPlusPlus):
        raise ValueError(f'level {level} cannot be cut out of a net of topology "unet": only "unet++" has levels')
    return net.prune(level)


def _key(i: int, j: int) -> str:
    return f"{i}_{j}"
