"""Which blocks of a mask are made where only a part of the image matters: in a region, or of more than one value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data.pairs import masks_of
from ..io.block_store import BlockStore
from ..io.filenames import file_of, is_image_folder, stem_of
from ..io.lazy import LazyImage, Source
from ..io.lazy import Region as Box
from ..io.region_of_interest import RegionOfInterest, open_region
from .input import InputImage
from .tiling import Tiling

if TYPE_CHECKING:
    from .predictor import Predictor

__all__ = ["NONE_SKIPPED", "Blank", "RegionFile", "SkippedBlocks", "find_regions", "plan_blocks"]

# Pixels per side of blocks that are tried, beside those of the whole image: smaller ones fit a region better, and
# compute more of their surroundings.
_SIDES = {2: (1024, 256), 3: (128, 64)}

Start = tuple[int, ...]


@dataclass(frozen=True)
class RegionFile:
    """The file of a region.

    Attributes
    ----------
    path : Path
    is_shared : bool
        Whether it is the region of images in other files too.
    """

    path: Path
    is_shared: bool = False

    def open(self, image: LazyImage) -> RegionOfInterest:
        """Lay it on an image."""
        return open_region(self.path, image, is_shared=self.is_shared)


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
    share : float
        Of the image's pixels that lie in the region, 0 to 1.
    notes : tuple of str
        On the region.
    """

    n: int = 0
    outside: frozenset[Start] = frozenset()
    empty: frozenset[Start] = frozenset()
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


def find_regions(images: Sequence[tuple[tuple[Path, ...], Path]], within: Path | None) -> list[RegionFile | None]:
    """The region of every image, by its files and its mask: one file for all, or one of its name in a folder.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    Problems
        Naming every image without a region, or with several.
    """
    if within is None:
        return [None] * len(images)
    if not file_of(within).exists():
        raise FileNotFoundError(f"{within}: there is no such file or folder; expected a mask or outlines of a region")
    if not within.is_dir() or is_image_folder(within):
        is_shared = len({file_of(files[0]) for files, _ in images}) > 1  # scenes of one file may have one grid
        return [RegionFile(within, is_shared)] * len(images)
    cases = [(stem_of(mask), files) for files, mask in images]
    return [RegionFile(path) for path in masks_of(cases, within)]


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
    return tilings[best], plans[best][1]


def _pixels(
    predictor: Predictor, image: InputImage, tiling: Tiling, region: RegionOfInterest | None
) -> tuple[int, SkippedBlocks]:
    """Pixels that a tiling computes, and what it leaves out."""
    store = BlockStore(None, image.size, block=predictor.block_size(tiling, image.size), dtype=np.dtype(np.uint8))
    try:
        outside, empty = set[Start](), set[Start]()
        inside = n = 0
        for start in store.starts():
            n += 1
            box = tuple(slice(s, min(s + b, m)) for s, b, m in zip(start, store.block, store.size, strict=True))
            if region is not None:
                count = int(np.count_nonzero(region.inside(image.stored_box(box))))
                inside += count
                if not count:
                    outside.add(start)
                    continue
            if predictor.execution.skip_empty and image.has_one_value(box):
                empty.add(start)
        store.skip(outside | empty)
        pending = predictor.missing_tiles(store, tiling)
    finally:
        store.close()
    share = min(inside / prod(image.image.size), 1.0) if region is not None else 1.0
    notes = region.notes if region is not None else ()
    skipped = SkippedBlocks(n, frozenset(outside), frozenset(empty), share, notes)
    return sum(prod(one.tile.window_size) for one in pending), skipped


class Blank:
    """A source whose pixels outside of a region have one value.

    Parameters
    ----------
    source : Source
        Of the image's size, or of another.
    region : RegionOfInterest
    value : int
    """

    def __init__(self, source: Source, region: RegionOfInterest, value: int) -> None:
        self._source, self._region, self._value = source, region, value
        self.axes, self.shape, self.dtype = source.axes, source.shape, source.dtype
        self.spacing, self.unit, self.notes = source.spacing, source.unit, source.notes

    def read(self, box: Box) -> np.ndarray:
        """Values of a region of (1, *size)."""
        values = np.array(self._source.read(box))
        values[:, ~self._region.inside_at(box[1:], self.shape[1:])] = self._value
        return values

    def close(self) -> None:
        """Close the source; the region is its owner's."""
        self._source.close()
