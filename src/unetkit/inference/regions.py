"""Regions of images: the file of each, and masks that have one value outside of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.pairs import masks_of
from ..errors import Problem, raise_problems
from ..io import images_within
from ..io.filenames import file_of, is_image_folder, stem_of
from ..io.lazy import LazyImage, Source
from ..io.lazy import Region as Box
from ..io.region_of_interest import RegionOfInterest, open_region

__all__ = ["Blank", "RegionFile", "find_regions"]


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
    parts = {_number(path): path for path in images_within(within)}
    if len(parts) > 1:  # a series, or scenes, as the images are
        return [RegionFile(path) for path in _by_number([files[0] for files, _ in images], parts, within)]
    if not within.is_dir() or is_image_folder(within):
        is_shared = len({file_of(files[0]) for files, _ in images}) > 1  # scenes of one file may have one grid
        return [RegionFile(within, is_shared)] * len(images)
    cases = [(stem_of(mask), files) for files, mask in images]
    return [RegionFile(path) for path in masks_of(cases, within)]


def _number(path: Path) -> str:
    """What names an image of several in a file: #2 or #t3."""
    return path.name.removeprefix(file_of(path).name)


def _by_number(images: Sequence[Path], parts: Mapping[str, Path], within: Path) -> list[Path]:
    """The part of a file of several regions that has the number of each image in its own file."""
    numbers = [_number(image) for image in images]
    if len({file_of(image) for image in images}) > 1:
        raise ValueError(f"{within}: holds {len(parts)} regions, but the images are in several files: name a folder")
    raise_problems(
        (
            Problem(
                f"{image}: {within} has {len(parts)} regions, {', '.join(list(parts)[:3])} ...; none for it", (image,)
            )
            for image, number in zip(images, numbers, strict=True)
            if number not in parts
        ),
        "image without its region",
    )
    return [parts[number] for number in numbers]


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
