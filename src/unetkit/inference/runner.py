"""Run a net over an image of any size in bounded memory, exactly as if it had run on the whole.

"Same" nets: the image is mirrored once, at its far borders, to a size that fits; tiles
start at multiples of the total stride and carry the halo that the net's graph asks for.
"Valid" nets: the overlap-tile strategy of the 2015 paper; the image is mirrored at its
borders by the net's margin, and every output pixel has its full context. A tile runs at
once, or flows through the net slab by slab. Nets that read all of space (instance and group
norm, attention) cannot be tiled exactly: they run whole where memory allows, else in
overlapping tiles that are blended, and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from math import prod

import numpy as np
import torch
from torch import Tensor

from ..geometry import mirror
from ..graph.allocation import laid_out_as
from ..nets.net import Net
from ..progress import SILENT, Progress
from ..tiles import Slices, Tile
from .streaming.stream import Stream
from .tiling import Tiling

__all__ = ["Read", "parts", "run"]

Read = Callable[[Slices], Tensor]  # pixels of an image, start to stop per axis -> (C, *pixels)


@torch.inference_mode()
def parts(
    net: Net, read: Read, tiling: Tiling, *, stream: Stream | None = None, tiles: Sequence[Tile] | None = None
) -> Iterator[tuple[Slices, Tensor]]:
    """Run a net over an image as planned, and hand on each part of the result as soon as it is there.

    Parameters
    ----------
    net : Net
        In evaluation mode; see `prepare`.
    read : callable
        Called with pixels of the image, a slice per axis; returns them as a Tensor (C, *pixels) on any device.
    tiling : Tiling
        From `choose`, `plan_stream` or `plan_tiles` for this net and this image.
    stream : Stream, optional
        Of the same net; needed where the tiling has a `slab`.
    tiles : sequence of Tile, optional
        Some of the image only, for example what is left of it.

    Yields
    ------
    (pixels, logits) : tuple of slice, Tensor of shape (K, *pixels)
        Every pixel once; rows of a streamed tile from top to bottom, some at a time.
    """
    padded = _Padded(read, net, tiling)
    if not tiling.is_exact:
        yield from _blended(net, padded, tiling)
        return
    for tile in tiling.tiles if tiles is None else tiles:
        if any(part.start >= n for part, n in zip(tile.core, tiling.size, strict=True)):
            continue  # it lies in the padding
        if tiling.slab is None:
            rows: Iterator[tuple[Slices, Tensor]] = iter([(tile.core, _logits(net, padded(tile.window), tile))])
        elif stream is None:
            raise ValueError("the image was planned to be streamed: give the net's Stream too")
        else:
            rows = stream.flow(tile, padded, slab=tiling.slab)
        for core, logits in rows:
            inside = tuple(slice(c.start, min(c.stop, n)) for c, n in zip(core, tiling.size, strict=True))
            if all(c.stop > c.start for c in inside):
                yield inside, logits[(slice(None), *(slice(0, c.stop - c.start) for c in inside))]


def run(
    net: Net,
    image: Tensor,
    tiling: Tiling,
    *,
    stream: Stream | None = None,
    finish: Callable[[Tensor], Tensor] | None = None,
    progress: Progress = SILENT,
) -> Tensor:
    """Run a net over an image in memory.

    Parameters
    ----------
    net : Net
        In evaluation mode; see `prepare`.
    image : Tensor of shape (C, *spatial)
        On any device; windows travel to the net's device, results come back.
    tiling : Tiling
        For this net and this size.
    stream : Stream, optional
        Of the same net; needed where the tiling has a `slab`.
    finish : callable, optional
        Applied to the logits (K, *pixels) of each part before they are kept, such as an
        argmax over classes; the memory of the result then shrinks with it.
    progress : Progress
        In pixels.

    Returns
    -------
    Tensor of shape (K, *spatial), or what `finish` makes of it
        Of the image's size.

    Raises
    ------
    ValueError
        If the image has not the size that was planned for, or is empty.
    """
    if tuple(image.shape[1:]) != tiling.size:
        raise ValueError(f"the tiles were planned for an image of {tiling.size}, got {tuple(image.shape[1:])} pixels")
    result: Tensor | None = None
    done = 0
    for pixels, logits in parts(net, lambda at: image[(slice(None), *at)], tiling, stream=stream):
        kept = (finish(logits) if finish else logits).to(image.device)
        if result is None:
            result = kept.new_empty((*kept.shape[: kept.ndim - len(pixels)], *tiling.size))
        result[(slice(None),) * (result.ndim - len(pixels)) + pixels] = kept
        done += prod(part.stop - part.start for part in pixels)
        progress.update(done, prod(tiling.size))
    if result is None:
        raise ValueError(f"the image of {tiling.size} pixels is empty")
    return result


class _Padded:
    """The image with its border as the net reads it: mirrored at the far end ("same") or all around ("valid")."""

    def __init__(self, read: Read, net: Net, tiling: Tiling) -> None:
        self._read, self._net, self._device = read, net, next(net.parameters()).device
        sizes = zip(tiling.size, tiling.padded, net.geometry.margin, strict=True)
        self._shown = [mirror(-before, padded, n) for n, padded, (before, _) in sizes]  # per position a pixel's index

    def __call__(self, window: Slices) -> Tensor:
        """Pixels of a window as a batch of one, (1, C, *window), on the net's device."""
        shown = [axis[part] for axis, part in zip(self._shown, window, strict=True)]
        hull = tuple(slice(int(at.min()), int(at.max()) + 1) for at in shown)
        values = self._read(hull)
        for axis, (at, part) in enumerate(zip(shown, hull, strict=True), start=1):
            if len(at) != part.stop - part.start or (np.diff(at) != 1).any():
                values = values.index_select(axis, torch.from_numpy(at - part.start).to(values.device))
        return laid_out_as(self._net, values[None].to(self._device))


def _logits(net: Net, window: Tensor, tile: Tile) -> Tensor:
    return net.body(window)[0][(slice(None), *tile.keep)]


def _blended(net: Net, padded: _Padded, tiling: Tiling) -> Iterator[tuple[Slices, Tensor]]:
    """Average overlapping tiles, their middle weighing most (Gaussian of 1/8 of the tile, as nnU-Net has it).

    Rows are handed on once no later tile writes them, so that no more than two tiles' height of logits is held.
    """
    height, *across = (max(tile.core[k].stop for tile in tiling.tiles) for k in range(len(tiling.size)))
    inside = tuple(slice(0, n) for n in tiling.size[1:])
    total, weights = torch.zeros((net.out_channels, 0, *across)), torch.zeros((0, *across))
    top = 0
    by_row = [(rows, list(group)) for rows, group in groupby(tiling.tiles, key=lambda tile: tile.core[0].start)]
    for (start, row), (following, _) in zip(by_row, [*by_row[1:], (height, [])], strict=True):
        longer = row[0].core[0].stop - top - len(weights)
        total = torch.cat([total, total.new_zeros((net.out_channels, longer, *across))], 1)
        weights = torch.cat([weights, weights.new_zeros((longer, *across))])
        for tile in row:
            weight = _gaussian([part.stop - part.start for part in tile.core])
            here = (slice(start - top, tile.core[0].stop - top), *tile.core[1:])
            total[(slice(None), *here)] += weight * _logits(net, padded(tile.window), tile).to("cpu", torch.float32)
            weights[here] += weight
        done = min(following, tiling.size[0]) - top
        if done > 0:
            rows = (slice(0, done), *inside)
            yield (slice(top, top + done), *inside), total[(slice(None), *rows)] / weights[rows]
        total, weights, top = total[:, following - top :], weights[following - top :], following


def _gaussian(size: Sequence[int]) -> Tensor:
    weight = torch.ones(())
    for n in size:
        x = (torch.arange(n) - (n - 1) / 2) / (n / 8)
        weight = weight[..., None] * torch.exp(-0.5 * x**2)
    return weight.clamp_min(1e-4)
