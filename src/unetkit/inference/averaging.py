"""Averages of class probabilities: over the nets of an ensemble, and over the flips and turns of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import log

import torch
from torch import Tensor

from ..nets.net import Net
from ..progress import SILENT, Progress, subrange
from ..tiles import Slices, Tile
from .runner import Read, parts, run
from .streaming.stream import Stream
from .tiling import Tiling, choose, is_small

__all__ = ["Member", "Transform", "average_symmetries", "ensemble_parts", "symmetries"]

Transform = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Member:
    """One net of a predictor, ready to run.

    Attributes
    ----------
    net : Net
        From `inference.prepare`, or computed by an engine.
    may_stream : bool
        Whether large images may flow through it; a GPU, and an engine, is served best by few large windows.
    """

    net: Net
    may_stream: bool = True

    @cached_property
    def stream(self) -> Stream | None:
        """The net as a stream; None where it cannot be streamed."""
        if not self.may_stream:
            return None
        try:
            return Stream(self.net)
        except ValueError:  # it takes statistics over space, or has a layer that cannot be computed in parts
            return None

    def stream_for(self, size: tuple[int, ...]) -> Stream | None:
        """The stream for an image of this size, which is built for the first image that is large enough for it."""
        return None if is_small(size) else self.stream


@torch.inference_mode()
def ensemble_parts(
    members: Sequence[Member], read: Read, tiling: Tiling, *, tiles: Sequence[Tile] | None = None
) -> Iterator[tuple[Slices, Tensor]]:
    """Logits of one net as `runner.parts` gives them; of several the logarithms of the mean probabilities.

    The softmax of these logarithms is the mean. The nets go over the image side by side, so that no more than a part
    of its logits is held of each.

    Parameters
    ----------
    members : sequence of Member
        Of one geometry.
    read, tiling, tiles
        As `runner.parts` takes them.
    """
    streams = [member.stream if tiling.slab else None for member in members]
    if len(members) == 1:
        yield from parts(members[0].net, read, tiling, stream=streams[0], tiles=tiles)
        return
    shared = _SharedReads(read, len(members))
    flows = [
        parts(member.net, shared, tiling, stream=own, tiles=tiles) for member, own in zip(members, streams, strict=True)
    ]
    for rows in zip(*flows, strict=True):
        logs = torch.stack([logits.float().log_softmax(0) for _, logits in rows])
        yield rows[0][0], logs.logsumexp(0) - log(len(members))


class _SharedReads:
    """Reads pixels once, and keeps them until so many readers have asked for them."""

    def __init__(self, read: Read, n: int) -> None:
        self._read, self._n = read, n
        self._kept: dict[tuple[tuple[int, int], ...], tuple[Tensor, int]] = {}

    def __call__(self, pixels: Slices) -> Tensor:
        key = tuple((part.start, part.stop) for part in pixels)
        values, readers_left = self._kept.pop(key, (None, self._n))
        values = self._read(pixels) if values is None else values
        if readers_left > 1:
            self._kept[key] = values, readers_left - 1
        return values


def symmetries(ndim: int, flips: Sequence[bool] | None = None) -> Iterator[tuple[Transform, Transform]]:
    """Flips, and quarter turns of the last two axes: (transform, its inverse) on (..., *spatial) tensors.

    2D: the 8 symmetries of the square. 3D: those of each plane, with and without a flip of the first axis. Where
    `flips` says along which axes, flips along these alone.
    """
    n_turns = 4 if flips is None else 1
    free = [True] * (ndim - 2) + [False, True] if flips is None else flips  # turned twice, -1 flipped is -2 flipped
    for turns, *flipped in product(range(n_turns), *((False, True) if may_flip else (False,) for may_flip in free)):
        axes = [axis - ndim for axis, is_flipped in enumerate(flipped) if is_flipped]

        def forward(x: Tensor, turns: int = turns, axes: list[int] = axes) -> Tensor:
            return torch.rot90(x.flip(axes) if axes else x, turns, (-2, -1))

        def inverse(x: Tensor, turns: int = turns, axes: list[int] = axes) -> Tensor:
            x = torch.rot90(x, -turns, (-2, -1))
            return x.flip(axes) if axes else x

        yield forward, inverse


def average_symmetries(
    member: Member,
    image: Tensor,
    *,
    memory_bytes: int,
    flips: Sequence[bool] | None = None,
    progress: Progress = SILENT,
) -> Tensor:
    """Class probabilities of one image, averaged over its symmetries.

    Parameters
    ----------
    member : Member
    image : Tensor of shape (C, *spatial), float32
        Normalised.
    memory_bytes : int
        Budget for the net's maps; the probabilities of the image come on top.
    flips : sequence of bool, optional
        Axes along which the image may be flipped; by default it may be turned as well.
    progress : Progress

    Returns
    -------
    Tensor of shape (K, *spatial), float32
    """
    views = list(symmetries(member.net.ndim, flips))
    total = torch.zeros(())
    for k, (forward, inverse) in enumerate(views):
        turned = forward(image)
        size = tuple(turned.shape[1:])
        stream = member.stream_for(size)
        tiling = choose(member.net, size, memory_bytes=memory_bytes, stream=stream)
        share = subrange(progress, k / len(views), (k + 1) / len(views))
        probabilities = run(member.net, turned, tiling, stream=stream, finish=_softmax, progress=share)
        total = total + inverse(probabilities)
    return total / len(views)


def _softmax(logits: Tensor) -> Tensor:
    return logits.float().softmax(0)
