"""Several nets of one architecture as one: the mean of their class probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log

import torch
from torch import Tensor

from ..nets.net import Net
from ..tiles import Slices, Tile
from .runner import Give, parts
from .streaming.stream import Stream
from .tiling import Tiling

__all__ = ["Member", "joint_parts"]

Member = tuple[Net, Stream | None]


@torch.inference_mode()
def joint_parts(
    members: Sequence[Member], give: Give, tiling: Tiling, *, tiles: Sequence[Tile] | None = None
) -> Iterator[tuple[Slices, Tensor]]:
    """As `tiled.parts` for one net; of several the logarithms of the mean probabilities, whose softmax they are.

    The nets go over the image side by side, so that no more than a part of its logits is held of each.

    Parameters
    ----------
    members : sequence of (Net, Stream or None)
        Of one geometry.
    give, tiling, tiles
        As `tiled.parts` takes them.
    """
    (net, stream), *others = members
    if not others:
        yield from parts(net, give, tiling, stream=stream, tiles=tiles)
        return
    shared = _Shared(give, len(members))
    flows = [parts(net, shared, tiling, stream=stream, tiles=tiles) for net, stream in members]
    for found in zip(*flows, strict=True):
        logs = torch.stack([logits.float().log_softmax(0) for _, logits in found])
        yield found[0][0], logs.logsumexp(0) - log(len(members))


class _Shared:
    """Reads pixels once, and keeps them until so many have asked for them."""

    def __init__(self, give: Give, n: int) -> None:
        self._give, self._n = give, n
        self._kept: dict[tuple[tuple[int, int], ...], tuple[Tensor, int]] = {}

    def __call__(self, pixels: Slices) -> Tensor:
        key = tuple((part.start, part.stop) for part in pixels)
        values, left = self._kept.pop(key, (None, self._n))
        values = self._give(pixels) if values is None else values
        if left > 1:
            self._kept[key] = values, left - 1
        return values
