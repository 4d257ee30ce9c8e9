"""Which pairs of a large set are read to look at it, and what the headers of all files say."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from ..errors import Problem
from ..io import open_lazy
from ..io.dicom.headers import single_file
from ..io.filenames import NIFTI_SUFFIXES, TIFF_SUFFIXES, file_of, holds_zarr, suffix_of
from ..io.formats import format_of
from ..io.png_jpeg import picture_pixels
from ..io.read_options import ReadOptions
from ..io.reading import needs_image
from ..progress import Progress
from .pairs import Pair

__all__ = ["MOST_BYTES", "Survey", "survey"]

MOST_BYTES = 2**30  # of pixels of images as stored: minutes of reading, and a few times as much memory
_DEFLATED = 50  # images of as many times the size of their files are rare: of small files no header is opened
_UNREADABLE = (ValueError, OSError, MemoryError, ImportError)


@dataclass(frozen=True)
class Survey:
    """The pairs that are read.

    Attributes
    ----------
    pairs : list of Pair
        In their order; all of them, or a sample.
    n : int
        Of all pairs.
    bytes_read, bytes_all : int
        Of their images, as stored.
    problems : list of Problem
        Of headers of the files that are not read.
    """

    pairs: list[Pair]
    n: int
    bytes_read: int = 0
    bytes_all: int = 0
    problems: tuple[Problem, ...] = ()

    @property
    def is_sample(self) -> bool:
        """Whether some pairs are not read."""
        return len(self.pairs) + len(self.problems) < self.n

    def describe(self) -> str:
        """What was read of a sample, in words; "" where all was."""
        if not self.is_sample:
            return ""
        read, total = (f"{n / 2**30:.3g}" for n in (self.bytes_read, self.bytes_all))
        return (
            f"a sample was read: {len(self.pairs)} of {self.n} pairs, {read} of {total} GB; of the others the headers"
        )


def survey(
    pairs: Sequence[Pair], options: ReadOptions, progress: Progress, *, most_bytes: int | None = None, seed: int = 0
) -> Survey:
    """Choose the pairs to read: all of them, or of a set of more than `most_bytes` a sample of about so many.

    Parameters
    ----------
    pairs : sequence of Pair
    options : ReadOptions
        Of the images.
    progress : Progress
        Takes the number of pairs whose headers are opened.
    most_bytes : int, optional
        `MOST_BYTES` by default.
    seed : int
        Of the sample: the same pairs for the same set.
    """
    most_bytes = MOST_BYTES if most_bytes is None else most_bytes
    if sum(_file_bytes(file) for pair in pairs for file in pair.files) * _DEFLATED <= most_bytes:
        return Survey(list(pairs), len(pairs))
    sizes: dict[int, int] = {}
    problems = []
    for i, pair in enumerate(pairs):
        try:
            sizes[i] = sum(_stored_bytes(file, options) for file in pair.files)
            if not needs_image(pair.mask):
                _stored_bytes(pair.mask, options)
        except _UNREADABLE as error:
            problems.append(Problem(str(error), (*pair.files, pair.mask)))
        progress.update(i + 1, len(pairs))
    total = sum(sizes.values())
    if total <= most_bytes:
        return Survey(list(pairs), len(pairs))  # reading tells what is wrong with the others
    chosen = _draw(sizes, most_bytes, seed)
    return Survey([pairs[i] for i in chosen], len(pairs), sum(sizes[i] for i in chosen), total, tuple(problems))


def _draw(sizes: dict[int, int], most_bytes: int, seed: int) -> list[int]:
    """Numbers of pairs drawn until their bytes are used up; one at least, the smallest."""
    order, left, chosen = list(sizes), most_bytes, []
    random.Random(seed).shuffle(order)
    for i in order:
        if sizes[i] <= left:
            chosen.append(i)
            left -= sizes[i]
    return sorted(chosen) or [min(order, key=lambda i: sizes[i])]


def _file_bytes(path: Path) -> int:
    """Size of a file; of a folder, whose chunks would have to be counted, more than is read of any set."""
    file = file_of(path)
    try:
        return MOST_BYTES if file.is_dir() else file.stat().st_size
    except OSError:
        return 0


def _stored_bytes(path: Path, options: ReadOptions) -> int:
    """Bytes of an image's pixels by its header; raises where that cannot be read."""
    suffix, found = suffix_of(path), format_of(path)
    if suffix in NIFTI_SUFFIXES:
        from ..io.nifti import pixel_bytes

        return pixel_bytes(file_of(path))
    if single_file(path) or (file_of(path).is_dir() and not holds_zarr(path)):  # DICOM
        files = file_of(path).iterdir() if file_of(path).is_dir() else [path]
        return sum(file.stat().st_size for file in files)
    is_picture = found.is_picture if found else not (suffix in TIFF_SUFFIXES or holds_zarr(path))
    if is_picture and (n := picture_pixels(path)):
        return 3 * n
    if found and not is_picture:  # some of which can only be decoded whole
        source = found.open_source(path, options)
        if source is None:
            return file_of(path).stat().st_size
        source.close()
        return prod(source.shape) * source.dtype.itemsize
    with open_lazy(path, axes=options.axes) as image:
        return prod(image.shape) * image.dtype.itemsize
