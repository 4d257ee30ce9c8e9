"""The flips and quarter turns of an image, each with its way back, and what a net says on average over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import torch
from torch import Tensor

from ..nets.net import Net
from .stream import Stream
from .tiled import run
from .tiling import choose

__all__ = ["Transform", "average", "symmetries"]

Transform = Callable[[Tensor], Tensor]


def symmetries(ndim: int) -> Iterator[tuple[Transform, Transform]]:
    """Flips, and quarter turns of the last two axes: (transform, its inverse) on (..., *spatial) tensors.

    2D: the 8 symmetries of the square. 3D: those of each plane, with and without a flip of the first axis.
    """
    for turns, flip, *first in product(range(4), (False, True), *((False, True),) * (ndim - 2)):
        axes = ([-1] if flip else []) + ([-3] if first and first[0] else [])

        def forward(x: Tensor, turns: int = turns, axes: list[int] = axes) -> Tensor:
            return torch.rot90(x.flip(axes) if axes else x, turns, (-2, -1))

        def inverse(x: Tensor, turns: int = turns, axes: list[int] = axes) -> Tensor:
            x = torch.rot90(x, -turns, (-2, -1))
            return x.flip(axes) if axes else x

        yield forward, inverse


def average(
    net: Net,
    image: Tensor,
    *,
    memory_bytes: int,
    stream: Stream | None = None,
    on_share: Callable[[float], None] | None = None,
) -> Tensor:
    """Class probabilities of one image, averaged over all its symmetries.

    Parameters
    ----------
    net : Net
        From `prepare`.
    image : Tensor of shape (C, *spatial), float32
        Standardised.
    memory_bytes : int
        Budget for the net's maps; the probabilities of the image come on top.
    stream : Stream, optional
        Of the same net.
    on_share : callable, optional
        Called with the share done, 0 to 1.

    Returns
    -------
    Tensor of shape (K, *spatial), float32
    """
    views = list(symmetries(net.ndim))
    total = torch.zeros(())
    for k, (turn, back) in enumerate(views):
        turned = turn(image)
        tiling = choose(net, turned.shape[1:], memory_bytes=memory_bytes, stream=stream)

        def on_part(done: int, pixels: int, k: int = k) -> None:
            if on_share:
                on_share((k + done / pixels) / len(views))

        total = total + back(run(net, turned, tiling, stream=stream, finish=_softmax, progress=on_part))
    return total / len(views)


def _softmax(logits: Tensor) -> Tensor:
    return logits.float().softmax(0)
