"""The U-Net, in 2D and 3D, of any blocks and skips."""

from __future__ import annotations

from itertools import accumulate
from operator import mul

from torch import Tensor, nn

from .architecture import Architecture
from .net import Net
from .parts import Parts
from .pretrained import contracting_path


class UNet(Net):
    """Encoder, decoder, and the skips that carry sharp detail from one to the other.

    Parameters
    ----------
    architecture : Architecture
    encoder : Module, optional
        Takes the place of the architecture's own: maps an image to a list of one map per level, finest first, and has
        their `channels`.

    Examples
    --------
    >>> import torch
    >>> net = UNet(Architecture(in_channels=1, out_channels=2, widths=(8, 16, 32)))
    >>> net(torch.zeros(1, 1, 50, 61)).shape
    torch.Size([1, 2, 50, 61])
    >>> net.geometry.stride, net.geometry.halo
    ((4, 4), (24, 24))

    References
    ----------
    .. [1] Ronneberger, Fischer, Brox, U-Net, MICCAI 2015, doi:10.1007/978-3-319-24574-4_28
    """

    def __init__(self, architecture: Architecture, *, encoder: nn.Module | None = None) -> None:
        super().__init__(architecture)
        parts = Parts(architecture)
        self.encoder = contracting_path(parts) if encoder is None else encoder
        *channels, coarse = self.encoder.channels  # type: ignore[misc]
        ups, skips, blocks = [], [], []
        for level in reversed(range(parts.depth)):
            up, width = parts.up(level, coarse)
            skip = parts.skip(level, [channels[level]], width, coarse)
            block = parts.decoder(level, skip.out_channels, keeps_input=level == 0)
            coarse = block.out_channels
            ups.append(up)
            skips.append(skip)
            blocks.append(block)
        self.ups, self.skips, self.decoder = (nn.ModuleList(reversed(row)) for row in (ups, skips, blocks))
        self.heads = nn.ModuleList([parts.head(coarse)])
        self.stage_channels = tuple(block.out_channels for block in reversed(blocks))
        steps = [parts.stride(level) for level in range(parts.depth - 1)]
        self.stage_strides = tuple(
            accumulate(steps, lambda total, step: tuple(map(mul, total, step)), initial=(1,) * self.ndim)
        )
        parts.initialise(self)

    def stages(self, x: Tensor) -> list[Tensor]:
        """The decoder's maps, finest first."""
        *features, coarse = self.encoder(x)
        maps: list[Tensor] = []
        while features:
            level = len(features) - 1
            # Popped and handed on unnamed: no map lives longer than it is read, a third less memory at the peak.
            coarse = self.decoder[level](self.skips[level]([features.pop()], self.ups[level](coarse), coarse))
            maps.insert(0, coarse)
        return maps
