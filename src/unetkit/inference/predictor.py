"""From an image on disk to the blocks of its mask: what is there already is not made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..io.block_store import BlockStore
from ..labels.instances import CODE, pack_maps
from ..labels.kind import from_classes, nodata_value
from ..model.card import Card
from ..nets.net import Net
from ..tiles import Slices, Tile, tile
from .averaging import average
from .engines.engine import values_per_float, window_core, with_engine
from .engines.select import choose_engine
from .ensemble import Member, joint_parts
from .input import InputImage
from .outputs import MISSING, NOTHING, Outputs, stored_dtype
from .prefetch import BackgroundWriter, Prefetcher
from .prepare import prepare
from .runner import Give
from .streaming.stream import Stream
from .tiling import Tiling, choose, plan_tiles

__all__ = ["PendingTile", "Predictor"]


@dataclass(frozen=True)
class PendingTile:
    """A tile of an image, or of the plane at `place` of a volume that is given plane by plane."""

    place: tuple[int, ...]
    tile: Tile


@dataclass(frozen=True)
class Predictor:
    """A model, and how it is to be run.

    Attributes
    ----------
    net : Net
        From `inference.prepare`.
    card : Card
    stream : Stream or None
        Of the net, where it can be streamed.
    memory_bytes : int
        Budget for the net's maps.
    averages : bool
        Whether the class probabilities are averaged over the flips and quarter turns that the net has seen.
    engine : str
        What computes the net: the name of an engine.
    beside : Beside
        What is kept beside the labels.
    others : tuple of (Net, Stream or None)
        Further nets of the same architecture, whose probabilities are averaged with those of the first.
    """

    net: Net
    card: Card
    stream: Stream | None = None
    memory_bytes: int = 2 * 2**30
    averages: bool = False
    engine: str = "torch"
    beside: Outputs = NOTHING
    others: tuple[Member, ...] = ()

    @classmethod
    def of(
        cls,
        nets: Sequence[Net],
        card: Card,
        *,
        memory_bytes: int,
        averages: bool = False,
        engine: str = "torch",
        beside: Outputs = NOTHING,
        run: Path | None = None,
        observer: Callable[[str], None] | None = None,
    ) -> Predictor:
        """Make a model ready: on the fastest device of this machine, or by an engine as `choose_engine` takes it."""
        device = "cuda" if torch.cuda.is_available() and engine in ("auto", "torch", "compiled") else "cpu"
        ready, *others = (prepare(net, device=device) for net in nets)
        net = nets[0]
        if others and engine != "torch":
            raise ValueError(f"engine is {engine}, but an ensemble of {len(nets)} nets is computed by torch")
        if engine != "torch":
            window = (window_core(net.ndim, engine),) * net.ndim
            chosen = choose_engine(ready, run, engine, window=window, observer=observer)
            if chosen.name != "torch":
                return cls(with_engine(ready, chosen), card, None, memory_bytes, averages, chosen.name, beside)
        # A GPU is served best by few large windows.
        members = [(net, _stream(net) if device == "cpu" else None) for net in (ready, *others)]
        (ready, stream), *rest = members
        return cls(ready, card, stream, memory_bytes // len(nets), averages, beside=beside, others=tuple(rest))

    @property
    def members(self) -> list[Member]:
        """All nets, each with its stream."""
        return [(self.net, self.stream), *self.others]

    def plan(self, size: tuple[int, ...]) -> Tiling:
        """How an image of `size`, or each plane of a volume that is given plane by plane, will be run."""
        size = size[-self.net.ndim :]
        if self.engine != "torch":
            packed, most = values_per_float(self.engine), window_core(self.net.ndim, self.engine)
            tiling = plan_tiles(self.net, size, memory_bytes=self.memory_bytes * packed, most=most)
            return replace(tiling, memory_bytes=tiling.memory_bytes // packed)
        return choose(self.net, size, memory_bytes=self.memory_bytes, stream=self.stream)

    def describe(self, tiling: Tiling) -> str:
        """One line for the user."""
        how = tiling.describe() if self.card.planes is None else f"plane by plane, each {tiling.describe()}"
        how += f", by {len(self.members)} nets" if self.others else ""
        return how if self.engine == "torch" else f"{how}, by {self.engine}"

    def block(self, tiling: Tiling, size: tuple[int, ...]) -> tuple[int, ...]:
        """Pixels of a block of the mask of an image of `size`, per axis."""
        block = tiling.size if self.averages else tiling.block
        return (1,) * (len(size) - len(block)) + block

    @property
    def dtype(self) -> np.dtype:
        """Of the blocks: that of the values that stand for the classes, or of the codes that become objects."""
        label = CODE if self.card.decoding else from_classes(np.zeros(1, np.uint8), self.card.labels).dtype
        return stored_dtype(label, len(self.folders))

    @property
    def folders(self) -> list[str]:
        """Of the maps that are kept, beside the masks."""
        return self.beside.folders(self.card)

    def fill(self, store: BlockStore, given: InputImage, tiling: Tiling, tell: Callable[[float], None]) -> None:
        """Make the blocks of a mask that are not there yet.

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

        with BackgroundWriter() as write:
            for start, labels in self.make(given, tiling, self.left(store, tiling), count):
                write(store.write, start, labels)

    def left(self, store: BlockStore, tiling: Tiling) -> list[PendingTile]:
        """What has to be run for the blocks that are not there."""
        planes = [()] if self.card.planes is None else [(z,) for z in range(store.size[0])]
        if self.averages:
            whole = tuple(slice(0, n) for n in tiling.size)
            origin = (0,) * len(whole)
            return [PendingTile(at, Tile(whole, whole, whole)) for at in planes if (*at, *origin) not in store]
        return [portion for at in planes for portion in _left(self.net, store, at, tiling)]

    def make(
        self,
        given: InputImage,
        tiling: Tiling,
        portions: Sequence[PendingTile],
        count: Callable[[float], None] = lambda n: None,
    ) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        """Make the blocks of some portions, in the values of the training masks, and of no data where a map has none.

        Parameters
        ----------
        given : Given
        tiling : Tiling
        portions : sequence of Portion
        count : callable, optional
            Called with the number of pixels that were made.

        Yields
        ------
        (start, labels) : tuple of int, ndarray
            First pixel and labels of a block.
        """
        for place, group in groupby(portions, key=lambda portion: portion.place):
            give: Give = given.plane(*place) if place else given
            found = self._found(give, tiling, [portion.tile for portion in group], count)
            for pixels, labels in found:
                if given.missing and not place:
                    self._forget(labels, ~given.valid(pixels))
                yield (*place, *(part.start for part in pixels)), labels[(None,) * len(place)]

    def _found(
        self, give: Give, tiling: Tiling, tiles: Sequence[Tile], count: Callable[[float], None]
    ) -> Iterator[tuple[Slices, np.ndarray]]:
        if self.averages:
            yield tiles[0].core, self._averaged(give(tiles[0].core), count)
            return
        with _read_ahead(give, tiling) as read:
            found = joint_parts(self.members, read, tiling, tiles=tiles)
            yield from _joined(self._classified(found, count), tiling.block[0], tiling.size[0])

    def _classified(
        self, found: Iterator[tuple[Slices, Tensor]], count: Callable[[float], None]
    ) -> Iterator[tuple[Slices, np.ndarray]]:
        for pixels, logits in found:
            labels = self._labels(logits)
            count(labels.size)
            yield pixels, labels

    def _averaged(self, image: Tensor, count: Callable[[float], None]) -> np.ndarray:
        told = 0.0

        def on_share(share: float) -> None:
            nonlocal told
            count((share - told) * image[0].numel())
            told = share

        total = torch.zeros(())
        for i, (net, stream) in enumerate(self.members):

            def on_part(share: float, i: int = i) -> None:
                on_share((i + share) / len(self.members))

            flips, memory = self.card.flips, self.memory_bytes
            total = total + average(net, image, flips=flips, memory_bytes=memory, stream=stream, on_share=on_part)
        return self._labels((total / len(self.members)).log())  # of the mean probabilities, whose softmax they are

    def _labels(self, logits: Tensor) -> np.ndarray:
        """What is kept of pixels: the values of their classes, or for objects how likely and how deep."""
        if self.card.decoding:
            labels = pack_maps(logits.softmax(0).cpu().numpy())
        else:
            labels = from_classes(logits.argmax(0).to(torch.uint8).cpu().numpy(), self.card.labels)
        if not self.folders:
            return labels
        kept = np.empty(labels.shape, self.dtype)
        kept["label"] = labels
        calibrated = (logits / self.card.temperature).softmax(0).cpu().numpy()
        kept["percent"] = self.beside.percentages(calibrated, self.card)
        return kept

    def _forget(self, labels: np.ndarray, missing: np.ndarray) -> None:
        """Say of pixels that the map holds no data there."""
        if not self.folders:
            labels[missing] = self.nodata
            return
        labels["label"][missing] = self.nodata
        labels["percent"][missing] = MISSING

    @property
    def nodata(self) -> int:
        """Where a map holds no data: a value that means no class, and among objects background."""
        return 0 if self.card.decoding else nodata_value(self.card.labels)


def _stream(net: Net) -> Stream | None:
    try:
        return Stream(net)
    except ValueError:  # it takes statistics over space, or has a layer that cannot be made in parts
        return None


def _read_ahead(give: Give, tiling: Tiling) -> AbstractContextManager[Give]:
    """In a stream it is known which rows come next."""
    return nullcontext(give) if tiling.slab is None else Prefetcher(give, tiling.size[0])


def _left(net: Net, store: BlockStore, place: tuple[int, ...], tiling: Tiling) -> Iterator[PendingTile]:
    """Tiles with blocks that are not there; of a streamed one, the rows that are missing."""
    for whole in tiling.tiles:
        if any(part.start >= n for part, n in zip(whole.core, tiling.size, strict=True)):
            continue  # it lies in the padding
        rows, *across = whole.core
        height = tiling.block[0] if tiling.slab else rows.stop - rows.start
        starts = range(rows.start, min(rows.stop, tiling.size[0]), height)
        there = [(*place, row, *(part.start for part in across)) in store for row in starts]
        if not any(there):
            yield PendingTile(place, whole)
            continue
        for is_there, group in groupby(zip(there, starts, strict=True), key=lambda pair: pair[0]):
            missing = [row for _, row in group]
            if not is_there:
                core = (slice(missing[0], min(missing[-1] + height, rows.stop)), *across)
                yield PendingTile(place, tile(net.geometry, tiling.padded, core))


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
