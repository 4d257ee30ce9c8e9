"""Pairs of files as they are read: each opened once and checked by itself; all that is wrong is collected."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

import numpy as np

from ..errors import Problem
from ..image import Image
from ..io.grid import Grid
from ..io.label_samples import ValueCode
from ..io.placement import turned_onto
from ..io.png_jpeg import TURNED
from ..io.read_options import ReadOptions
from ..io.reading import needs_image
from ..labels.numbering import number_values
from ..labels.options import LabelOptions
from ..labels.statistics import LabelStatistics, label_statistics
from ..processors import count_processors
from ..progress import Progress
from .case import COUNTED_PIXELS
from .kept import kept_image, kept_mask
from .pairs import Pair
from .readable import ByRegion, blocks
from .store import ArrayStore

__all__ = ["Sample", "read_samples", "with_common_values"]

_MOST_COUNTING, _BYTES_OF_COUNTING = 8, 2**27  # threads that count values, and what each of them takes
_UNREADABLE = (ValueError, OSError, MemoryError)  # the last where a damaged header asks for a huge array


@dataclass(frozen=True)
class Sample:
    """An image and its mask as they were read, with the values of the files, and what these stand for.

    `name` is that of its arrays in the cache, "" where there is none.
    """

    pair: Pair
    image: Image
    mask: Image
    code: ValueCode | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    are_objects: bool = False
    name: str = ""
    counted: LabelStatistics | None = None

    @cached_property
    def statistics(self) -> LabelStatistics:
        """Counts of the mask's values and of their connected components, unless they are `counted`."""
        counted = self.count() if self.counted is None else self.counted
        return replace(counted, names=self.names, are_objects=self.are_objects)

    def count(self) -> LabelStatistics:
        """Count the mask's values: in the blocks of a case where it is read by region."""
        array, georeference = self.mask.array, self.mask.georeference
        parts = blocks(array.shape, COUNTED_PIXELS) if isinstance(array, ByRegion) else None
        return label_statistics(array, nodata=georeference.nodata if georeference else None, blocks=parts)


def read_samples(
    pairs: Sequence[Pair], options: ReadOptions, store: ArrayStore, progress: Progress
) -> tuple[list[Sample], list[Problem]]:
    """Open every file once, and check each pair by itself; count the values of masks that are read by region."""
    samples: list[Sample] = []
    problems: list[Problem] = []
    counting: deque[tuple[int, Future[LabelStatistics]]] = deque()
    uncounted: set[int] = set()
    n_threads = max(int(min(count_processors(), _MOST_COUNTING, store.limit_bytes / _BYTES_OF_COUNTING)), 1)
    pool = ThreadPoolExecutor(n_threads)
    try:
        for done, sample in enumerate(_read(pairs, options, store, problems), start=1):
            if sample is not None:
                if isinstance(sample.mask.array, ByRegion):
                    counting.append((len(samples), pool.submit(sample.count)))
                samples.append(sample)
            while counting and (done == len(pairs) or len(counting) > 2 * n_threads):
                i, counted = counting.popleft()
                try:
                    samples[i] = replace(samples[i], counted=counted.result())
                except _UNREADABLE as error:
                    problems.append(_unreadable(samples[i].pair, error))
                    uncounted.add(i)
                progress.update(done - len(counting), len(pairs))
            progress.update(done - len(counting), len(pairs))
    finally:
        pool.shutdown(cancel_futures=True)
    return [sample for i, sample in enumerate(samples) if i not in uncounted], problems


def _read(
    pairs: Sequence[Pair], options: ReadOptions, store: ArrayStore, problems: list[Problem]
) -> Iterator[Sample | None]:
    """Every pair as it is read; None where it has problems, which are added to the others."""
    for pair in pairs:
        before, files = len(problems), (*pair.files, pair.mask)
        try:
            image = kept_image(pair.files, options, store)
            if reason := _not_finite(image):
                problems.append(Problem(f"{pair.image}: {reason}", files))
        except _UNREADABLE as error:
            problems.append(Problem(str(error), files))
        try:  # outlines are drawn on their image, so that only its problem is told where that cannot be read
            is_read = len(problems) == before
            grid = Grid.of(pair.image, image, is_one_of_many=pair.shares_mask) if is_read else None
            if grid is not None or not needs_image(pair.mask):
                size = image.size if is_read else ()
                mask, code = kept_mask(pair, options, store, grid=grid, size=size)
        except _UNREADABLE as error:
            problems.append(_unreadable(pair, error))
        sample = None
        if len(problems) == before:
            try:
                name = store.name_of((pair.mask, *pair.files), options) if store.folder else ""
                sample = Sample(pair, image, _laid_on(image, mask, pair), code, name=name)
            except ValueError as error:
                problems.append(Problem(str(error), files))
        yield sample


def _unreadable(pair: Pair, error: Exception) -> Problem:
    """What is wrong with the mask of a pair."""
    of = f" (for {pair.image})" if pair.shares_mask else ""
    return Problem(f"{error}{of}", (*pair.files, pair.mask))


def with_common_values(
    samples: list[Sample], options: LabelOptions, store: ArrayStore, problems: list[Problem]
) -> list[Sample]:
    """The samples with one value per colour, or per name of a class, in all masks."""
    numbering = number_values([sample.code for sample in samples], options)
    results = []
    for sample in samples:
        mask, code = sample.mask, sample.code
        if code is None and numbering.values and not options.classes and np.asarray(mask.array).any():
            kind = "names" if any(isinstance(key, str) for key in numbering.values) else "colours"
            message = f"{sample.pair.mask}: holds numbers, the other masks {kind}: save all in one way"
            problems.append(Problem(message, (*sample.pair.files, sample.pair.mask)))
            continue
        notes = (*mask.notes, numbering.text) if numbering.text and code is not None else mask.notes
        if code is not None:
            before = np.asarray(mask.array)
            numbered = numbering.array(before, code)
            if numbered is not before:
                store.release(mask.array)
                name = f"{sample.name}-numbered" if store.folder else ""
                mask = replace(mask, array=cast(np.ndarray, store.keep(name, numbered)))
        counted = sample.counted if mask.array is sample.mask.array else None  # of the values as they are now
        mask = replace(mask, notes=notes)
        names, are_objects = numbering.names(code), numbering.keeps(code)
        results.append(replace(sample, mask=mask, names=names, are_objects=are_objects, counted=counted))
    return results


def _laid_on(image: Image, mask: Image, pair: Pair) -> Image:
    """The mask as it lies on its image; ValueError where it does not."""
    try:
        mask = turned_onto(mask, image)
    except ValueError as error:
        raise ValueError(f"{pair.mask}: {error} (counterpart: {pair.image})") from None
    if image.size != mask.size:
        raise ValueError(f"{pair.image}: is {image.size} pixels, its mask {pair.mask} {mask.size}{_why(image, mask)}")
    upright = [any(note.startswith(TURNED) for note in each.notes) for each in (image, mask)]
    if upright[0] != upright[1]:  # by half a turn, or square
        note = f"the {'image' if upright[0] else 'mask'} alone was turned by its Exif tag: are both drawn upright?"
        return replace(mask, notes=(*mask.notes, note))
    return mask


def _why(image: Image, mask: Image) -> str:
    """What may be the cause of two sizes, and would mend it; "" where nothing is known of it."""
    turned = [note for each in (image, mask) for note in each.notes if note.startswith(TURNED)]
    if turned:
        mend = "turn the other as well, or store the picture upright, without the tag"
        return f"; one of the two was {turned[0]}: {mend}"
    lie_in_body = all(each.place is not None and each.place.is_stated for each in (image, mask))
    if lie_in_body and mask.ndim == image.ndim and all(np.less_equal(mask.size, image.size)):
        return (
            "; if it covers a part of it, as 3D Slicer crops segmentations, save it on the voxels of the image (in "
            "Slicer: export to a labelmap, with the image as reference volume)"
        )
    return ""


def _not_finite(image: Image) -> str:
    if isinstance(image.array, ByRegion):  # too large to look at twice: told when its mean is measured
        return ""
    finite = np.isfinite(image.array) if image.array.dtype.kind == "f" else None
    held = image.holds_data()
    if finite is not None and held is not None:  # of a map, what holds no data may be anything
        finite |= ~held
    if finite is None or finite.all():
        return ""
    bad = int((~finite).sum())
    return f"{bad} of {finite.size} pixel values are NaN or infinite; replace them, or leave the file out"
