"""Which parts of an image are still to be run, and how the rows that come out become blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ..geometry import Geometry
from ..io.block_store import BlockStore
from ..tiles import Slices, Tile, tile
from .tiling import Tiling

__all__ = ["PendingTile", "all_tiles", "join_rows", "missing_tiles"]


@dataclass(frozen=True)
class PendingTile:
    """A tile of an image, or of the plane at `place` of a volume that is run plane by plane."""

    place: tuple[int, ...]
    tile: Tile


def all_tiles(tiling: Tiling, places: list[tuple[int, ...]]) -> list[PendingTile]:
    """Every tile of an image, or of each of its planes."""
    inside = [one for one in tiling.tiles if not _is_padding(one, tiling)]
    return [PendingTile(place, one) for place in places for one in inside]


def whole_image(tiling: Tiling) -> Tile:
    """The image as one tile without a halo."""
    whole = tuple(slice(0, n) for n in tiling.size)
    return Tile(whole, whole, whole)


def missing_tiles(
    geometry: Geometry, store: BlockStore, place: tuple[int, ...], tiling: Tiling
) -> Iterator[PendingTile]:
    """Tiles with blocks that are not in the store; of a streamed tile, the rows that are missing."""
    for whole in tiling.tiles:
        if _is_padding(whole, tiling):
            continue
        rows, *across = whole.core
        height = tiling.block[0] if tiling.slab else rows.stop - rows.start
        starts = range(rows.start, min(rows.stop, tiling.size[0]), height)
        is_stored = [(*place, row, *(part.start for part in across)) in store for row in starts]
        if not any(is_stored):
            yield PendingTile(place, whole)
            continue
        for stored, group in groupby(zip(is_stored, starts, strict=True), key=lambda pair: pair[0]):
            missing = [row for _, row in group]
            if not stored:
                core = (slice(missing[0], min(missing[-1] + height, rows.stop)), *across)
                yield PendingTile(place, tile(geometry, tiling.padded, core))


def _is_padding(whole: Tile, tiling: Tiling) -> bool:
    return any(part.start >= n for part, n in zip(whole.core, tiling.size, strict=True))


def join_rows(parts: Iterator[tuple[Slices, np.ndarray]], height: int, n: int) -> Iterator[tuple[Slices, np.ndarray]]:
    """Join rows that follow one another, and cut them so that each block ends at a multiple of `height`, or at `n`."""
    waiting: list[np.ndarray] = []
    for pixels, values in parts:
        start = pixels[0].start
        while len(values):
            take = min(height - start % height, len(values))
            waiting.append(values[:take])
            values, start = values[take:], start + take
            if start % height == 0 or start == n:
                block = np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
                yield (slice(start - len(block), start), *pixels[1:]), block
                waiting = []
