"""The flips and quarter turns of an image, each with its way back, and what a net says on average over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import torch
from torch import Tensor

from ..nets.net import Net
from .runner import run
from .streaming.stream import Stream
from .tiling import choose

__all__ = ["Transform", "average", "symmetries"]

Transform = Callable[[Tensor], Tensor]


def symmetries(ndim: int, flips: Sequence[bool] | None = None) -> Iterator[tuple[Transform, Transform]]:
    """Flips, and quarter turns of the last two axes: (transform, its inverse) on (..., *spatial) tensors.

    2D: the 8 symmetries of the square. 3D: those of each plane, with and without a flip of the first axis. Where
    `flips` says along which axes, flips along these alone.
    """
    n_turns = 4 if flips is None else 1
    free = [True] * (ndim - 2) + [False, True] if flips is None else flips  # turned twice, -1 flipped is -2 flipped
    for turns, *flipped in product(range(n_turns), *((False, True) if one else (False,) for one in free)):
        axes = [axis - ndim for axis, one in enumerate(flipped) if one]

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
    flips: Sequence[bool] | None = None,
    stream: Stream | None = None,
    on_share: Callable[[float], None] | None = None,
) -> Tensor:
    """Class probabilities of one image, averaged over its symmetries.

    Parameters
    ----------
    net : Net
        From `prepare`.
    image : Tensor of shape (C, *spatial), float32
        Standardised.
    memory_bytes : int
        Budget for the net's maps; the probabilities of the image come on top.
    flips : sequence of bool, optional
        Axes along which the image may be flipped; by default it may be turned as well.
    stream : Stream, optional
        Of the same net.
    on_share : callable, optional
        Called with the share done, 0 to 1.

    Returns
    -------
    Tensor of shape (K, *spatial), float32
    """
    views = list(symmetries(net.ndim, flips))
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
