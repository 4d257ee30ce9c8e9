"""Which blocks of a mask are made where only a part of the image matters: in a region, or of more than one value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ..io.block_store import BlockStore
from ..io.lazy import Region as Box
from ..io.region_of_interest import RegionOfInterest
from .input import InputImage
from .regions import RegionFile
from .tiling import Tiling

if TYPE_CHECKING:
    from .predictor import Predictor

__all__ = ["NONE_SKIPPED", "SkippedBlocks", "plan_blocks"]

# Pixels per side of blocks that are tried, beside those of the whole image: smaller ones fit a region better, and
# compute more of their surroundings.
_SIDES = {2: (1024, 256), 3: (128, 64)}

_READ_BYTES = 2**26  # of an image, read together to look for blocks of one value

Start = tuple[int, ...]


@dataclass(frozen=True)
class SkippedBlocks:
    """Blocks of a mask that are not made, by their first pixels.

    Attributes
    ----------
    n : int
        Of all blocks.
    outside : frozenset
        That do not meet the region.
    empty : frozenset
        Whose pixels have one value in the image.
    kept_pixels : int
        Of the blocks that are made.
    share : float
        Of the image's pixels that lie in the region, 0 to 1.
    notes : tuple of str
        On the region.
    """

    n: int = 0
    outside: frozenset[Start] = frozenset()
    empty: frozenset[Start] = frozenset()
    kept_pixels: int = 0
    share: float = 1.0
    notes: tuple[str, ...] = ()

    @property
    def starts(self) -> frozenset[Start]:
        """All of them."""
        return self.outside | self.empty

    def messages(self, region: RegionFile | None) -> Iterator[str]:
        """What is left out, in words."""
        if region is not None:
            yield from (f"{region.path.name}: {note}" for note in self.notes)
            kept = self.n - len(self.outside)
            share = f"{self.share:.2%}" if self.share else "none"
            yield f"within {region.path.name}, {share} of the pixels: {kept} of {self.n} blocks meet it"
        if self.empty:
            yield f"{len(self.empty)} of {self.n} blocks have one value, and are skipped"


NONE_SKIPPED = SkippedBlocks()


def plan_blocks(predictor: Predictor, image: InputImage, file: RegionFile | None) -> tuple[Tiling, SkippedBlocks]:
    """Choose the tiling that computes the fewest pixels of what matters, and say what it leaves out.

    The blocks of a net that is not local, and of test-time averaging, are whole images (planes): these are made as they
    are without a region.
    """
    usual = predictor.plan(image.size)
    if file is None and not predictor.execution.skip_empty:
        return usual, NONE_SKIPPED
    tilings = [usual]
    if not predictor.needs_whole(usual):
        tilings += [predictor.plan(image.size, most=side) for side in _SIDES[predictor.net.ndim]]
    if file is None:
        plans = [_pixels(predictor, image, tiling, None) for tiling in tilings]
    else:
        with file.open(image.image) as region:
            plans = [_pixels(predictor, image, tiling, region) for tiling in tilings]
    best = min(range(len(plans)), key=lambda i: plans[i][0])  # of equals the usual one
    computed, skipped = plans[best]
    if not skipped.kept_pixels or not skipped.starts:
        return tilings[best], skipped
    return replace(tilings[best], redundancy=computed / skipped.kept_pixels), skipped


def _pixels(
    predictor: Predictor, image: InputImage, tiling: Tiling, region: RegionOfInterest | None
) -> tuple[int, SkippedBlocks]:
    """Pixels that a tiling computes, and what it leaves out."""
    store = BlockStore(None, image.size, block=predictor.block_size(tiling, image.size), dtype=np.dtype(np.uint8))
    outside, empty = set[Start](), set[Start]()
    inside = n = 0
    try:
        for box, blocks in _groups(store, image):
            n += len(blocks)
            within, group = blocks, image.stored_box(box)
            if region is not None:
                is_inside = region.inside(group)
                counts = [np.count_nonzero(is_inside[_part(image.stored_box(block), group)]) for block in blocks]
                inside += int(np.count_nonzero(is_inside))
                outside.update(_start(block) for block, count in zip(blocks, counts, strict=True) if not count)
                within = [block for block, count in zip(blocks, counts, strict=True) if count]
            if within and predictor.execution.skip_empty:
                values, valid = image.stored(group)
                parts = [_part(image.stored_box(block), group) for block in within]
                are_empty = [_has_one_value(values[(slice(None), *part)], valid[part]) for part in parts]
                empty.update(_start(block) for block, is_empty in zip(within, are_empty, strict=True) if is_empty)
        store.skip(outside | empty)
        pending, kept = predictor.missing_tiles(store, tiling), store.left_pixels
    finally:
        store.close()
    share = min(inside / prod(image.image.size), 1.0) if region is not None else 1.0
    notes = region.notes if region is not None else ()
    skipped = SkippedBlocks(n, frozenset(outside), frozenset(empty), kept, share, notes)
    return sum(prod(one.tile.window_size) for one in pending), skipped


def _groups(store: BlockStore, image: InputImage) -> Iterator[tuple[Box, list[Box]]]:
    """Boxes that are read together, as wide as some memory allows since strips of files are, and the blocks in each."""
    bytes_each = image.image.shape[0] * image.image.dtype.itemsize
    size = list(store.block)
    for axis in reversed(range(len(size))):
        if prod([*size[:axis], store.size[axis], *size[axis + 1 :]]) * bytes_each > _READ_BYTES:
            break
        size[axis] = store.size[axis]
    for corner in product(*(range(0, n, step) for n, step in zip(store.size, size, strict=True))):
        box = tuple(slice(at, min(at + step, n)) for at, step, n in zip(corner, size, store.size, strict=True))
        rows = [
            [slice(start, min(start + step, part.stop)) for start in range(part.start, part.stop, step)]
            for part, step in zip(box, store.block, strict=True)
        ]
        yield box, list(product(*rows))


def _start(box: Box) -> Start:
    return tuple(part.start for part in box)


def _part(box: Box, group: Box) -> Box:
    """A box as a part of an array that holds a larger one."""
    return tuple(slice(p.start - g.start, p.stop - g.start) for p, g in zip(box, group, strict=True))


def _has_one_value(stored: np.ndarray, valid: np.ndarray) -> bool:
    """Whether each channel (C, *box) has one value, or no pixel holds data."""
    flat = stored.reshape(len(stored), -1)
    is_same = flat == flat[:, :1]
    if stored.dtype.kind == "f":
        is_same |= np.isnan(flat) & np.isnan(flat[:, :1])
    return bool(is_same.all()) or not valid.any()
