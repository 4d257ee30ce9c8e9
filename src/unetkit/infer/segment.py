"""From an image on disk to the blocks of its mask: what is there already is not made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from ..io.blocks import BlockStore
from ..learn.checkpoint import Card
from ..masks.labels import from_classes
from ..nets.net import Net
from ..tiles import Slices, Tile, tile
from .ahead import Behind, ReadAhead
from .given import Given
from .stream import Stream
from .symmetries import average
from .tiled import Give, parts
from .tiling import Tiling, choose

__all__ = ["Segmenter"]


@dataclass(frozen=True)
class Segmenter:
    """A model, and how it is to be run.

    Attributes
    ----------
    net : Net
        From `infer.prepare`.
    card : Card
    stream : Stream or None
        Of the net, where it can be streamed.
    memory_bytes : int
        Budget for the net's maps.
    averages : bool
        Whether the class probabilities are averaged over flips and quarter turns.
    """

    net: Net
    card: Card
    stream: Stream | None = None
    memory_bytes: int = 2 * 2**30
    averages: bool = False

    def plan(self, size: tuple[int, ...]) -> Tiling:
        """How an image of `size`, or each plane of a volume that is given plane by plane, will be run."""
        return choose(self.net, size[-self.net.ndim :], memory_bytes=self.memory_bytes, stream=self.stream)

    def describe(self, tiling: Tiling) -> str:
        """One line for the user."""
        return tiling.describe() if self.card.planes is None else f"plane by plane, each {tiling.describe()}"

    def block(self, tiling: Tiling, size: tuple[int, ...]) -> tuple[int, ...]:
        """Pixels of a block of the mask of an image of `size`, per axis."""
        block = tiling.size if self.averages else tiling.block
        return (1,) * (len(size) - len(block)) + block

    @property
    def dtype(self) -> np.dtype:
        """Of the masks: that of the values that stand for the classes."""
        return from_classes(np.zeros(1, np.uint8), self.card.labels).dtype

    def fill(self, store: BlockStore, given: Given, tiling: Tiling, tell: Callable[[float], None]) -> None:
        """Make the blocks of a mask that are not there yet, in the values of the training masks.

        Parameters
        ----------
        store : BlockStore
            With blocks of `self.block`.
        given : Given
            The image.
        tiling : Tiling
            From `plan`, for the same size.
        tell : callable
            Called with the share done, 0 to 1.
        """
        total, done = prod(given.size), float(store.pixels)

        def count(pixels: float) -> None:
            nonlocal done
            done += pixels
            tell(min(done / total, 1.0))

        with Behind() as write:
            for place, give in self._images(given):
                for pixels, labels in self._blocks(store, place, give, tiling, count):
                    start = (*place, *(part.start for part in pixels))
                    write(store.write, start, labels[(None,) * len(place)])

    def _images(self, given: Given) -> Iterator[tuple[tuple[int, ...], Give]]:
        """What the net is given, one after the other: the image, or every plane of a volume with its place in it."""
        if self.card.planes is None:
            yield (), given
            return
        for z in range(given.size[0]):
            yield (z,), given.plane(z)

    def _blocks(
        self, store: BlockStore, place: tuple[int, ...], give: Give, tiling: Tiling, count: Callable[[float], None]
    ) -> Iterator[tuple[Slices, np.ndarray]]:
        if self.averages:
            whole = tuple(slice(0, n) for n in tiling.size)
            if (*place, *(0 for _ in whole)) not in store:
                yield whole, self._averaged(give(whole), count)
            return
        left = list(_left(self.net, store, place, tiling))
        with _read_ahead(give, tiling) as read:
            found = parts(self.net, read, tiling, stream=self.stream, tiles=left)
            yield from _joined(self._classified(found, count), tiling.block[0], tiling.size[0])

    def _classified(
        self, found: Iterator[tuple[Slices, Tensor]], count: Callable[[float], None]
    ) -> Iterator[tuple[Slices, np.ndarray]]:
        for pixels, logits in found:
            labels = self._labels(logits.argmax(0).to(torch.uint8).cpu().numpy())
            count(labels.size)
            yield pixels, labels

    def _averaged(self, image: Tensor, count: Callable[[float], None]) -> np.ndarray:
        told = 0.0

        def on_share(share: float) -> None:
            nonlocal told
            count((share - told) * image[0].numel())
            told = share

        memory = self.memory_bytes
        return self._labels(average(self.net, image, memory_bytes=memory, stream=self.stream, on_share=on_share))

    def _labels(self, classes: np.ndarray) -> np.ndarray:
        return from_classes(classes, self.card.labels)


def _read_ahead(give: Give, tiling: Tiling) -> AbstractContextManager[Give]:
    """In a stream it is known which rows come next."""
    return nullcontext(give) if tiling.slab is None else ReadAhead(give, tiling.size[0])


def _left(net: Net, store: BlockStore, place: tuple[int, ...], tiling: Tiling) -> Iterator[Tile]:
    """Tiles with blocks that are not there; a streamed one begins at the first row that is missing."""
    n, height = tiling.size[0], tiling.block[0]
    for whole in tiling.tiles:
        if any(part.start >= m for part, m in zip(whole.core, tiling.size, strict=True)):
            continue
        first, *others = whole.core
        starts = [first.start] if tiling.slab is None else range(first.start, min(first.stop, n), height)
        across = tuple(part.start for part in others)
        missing = [row for row in starts if (*place, row, *across) not in store]
        if missing and missing[0] > first.start:
            yield tile(net.geometry, tiling.padded, (slice(missing[0], first.stop), *others))
        elif missing:
            yield whole


def _joined(made: Iterator[tuple[Slices, np.ndarray]], height: int, n: int) -> Iterator[tuple[Slices, np.ndarray]]:
    """Put rows that follow one another together, and cut them so that each piece ends at a multiple of `height`."""
    waiting: list[np.ndarray] = []
    for pixels, labels in made:
        at = pixels[0].start
        while len(labels):
            take = min(height - at % height, len(labels))
            waiting.append(labels[:take])
            labels, at = labels[take:], at + take
            if at % height == 0 or at == n:
                piece = np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
                yield (slice(at - len(piece), at), *pixels[1:]), piece
                waiting = []
