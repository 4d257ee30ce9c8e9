"""Files of outlines among the masks of some images: which of them are masks, and which one is that of all."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ...errors import Problem
from ..decoder_errors import naming
from ..filenames import file_of, image_keys, is_outlines, is_part, mask_keys, name_key, stem_of, suffix_of, time_of
from ..reading import READABLE, list_images, list_outlines, time_points
from .labels import named_images

__all__ = ["as_series", "file_of_all", "list_masks", "mask_stem", "shared_images", "unread_beside", "used_outlines"]

# Suffixes that other files have as well: these are masks where one of them is named as an image is.
_OF_OTHERS = (".json", ".txt", ".zip")
_OF_TIMES = (".geojson", ".json", ".roi", ".zip")  # may state the time of each outline; those that do not are of all
_TIME_POINT = re.compile(r"(.+)#t\d+")
_ENDING = re.compile(r"[ _.-]?(roi[ _]?sets?|rois?)$", re.IGNORECASE)  # x_RoiSet.zip, as people name them in ImageJ


def list_masks(folder: Path, *, axes: str = "") -> tuple[list[Path], list[Path]]:
    """Masks of pixels, and files of outlines, in a folder, in natural order; ValueError where there is neither."""
    outlines = list_outlines(folder)
    try:
        return list_images(folder, axes=axes), outlines
    except ValueError:
        if not outlines:
            raise
        return [], outlines


def as_series(names: Iterable[str], masks: Sequence[Path]) -> list[Path]:
    """Masks, of which those of a series over time are its time points though their own file does not say so.

    Parameters
    ----------
    names : iterable of str
        Stems of the images, such as film#t1, film#t2.
    masks : sequence of Path
    """
    counts = Counter(match[1] for name in names if (match := _TIME_POINT.fullmatch(name_key(name))))
    listed: list[Path] = []
    for mask in masks:
        n = next((counts[key] for key in mask_keys(mask_stem(mask)) if key in counts), 0)
        is_free = n > 1 and not is_part(mask)
        is_series = is_free and (suffix_of(mask) in _OF_TIMES or time_points(mask, are_told=True) == n)
        listed += [mask.with_name(f"{mask.name}#t{i}") for i in range(1, n + 1)] if is_series else [mask]
    return listed


def mask_stem(mask: Path) -> str:
    """The name of a mask, by which its image is found.

    Examples
    --------
    >>> mask_stem(Path("a_mask.png")), mask_stem(Path("a_RoiSet.zip")), mask_stem(Path("a.tif.geojson"))
    ('a_mask', 'a', 'a')
    """
    if not is_outlines(mask):
        return stem_of(mask)
    stem, part = stem_of(file_of(mask)), f"#t{time}" if (time := time_of(mask)) else ""
    shorter = _ENDING.sub("", stem) or stem
    return (stem_of(Path(shorter)) if suffix_of(Path(shorter)) in READABLE else shorter) + part


def used_outlines(names: Iterable[str], masks: Sequence[Path], outlines: Sequence[Path]) -> list[Path]:
    """The outlines that are masks: of images that no mask of pixels fits, and all others of their formats.

    Parameters
    ----------
    names : iterable of str
        Stems of the images.
    masks, outlines : sequence of Path
        As of `list_masks`.
    """
    taken = {key for mask in masks for key in mask_keys(stem_of(mask))}
    free = {key for name in names for key in image_keys(name) if taken.isdisjoint(image_keys(name))}
    fitting = [file for file in outlines if not free.isdisjoint(mask_keys(mask_stem(file)))]
    formats = {suffix_of(file) for file in fitting}
    if masks:  # else the outlines of images that have a mask would be a second one
        return [file for file in outlines if file in fitting or suffix_of(file) not in _OF_OTHERS]
    return [file for file in outlines if suffix_of(file) in formats or suffix_of(file) not in _OF_OTHERS]


def file_of_all(outlines: Sequence[Path], names: Collection[str]) -> Path | None:
    """The file of COCO among some outlines that holds those of all images; None where there is none, or several."""
    keys = {name_key(name) for name in names}
    own = [file for file in outlines if suffix_of(file) == ".json" and name_key(mask_stem(file)) not in keys]
    if len(own) != 1:
        return None
    with naming(own[0]):
        return own[0] if named_images(own[0]) is not None else None


def shared_images(images: Sequence[Path], file: Path) -> tuple[list[Path], list[Problem]]:
    """The images that a file holds the outlines of, and problems of the others."""
    with naming(file):
        named = named_images(file)
    if named is None:  # of a map, every image shows its part
        return list(images), []
    known = {key for name in named for key in _keys(Path(name.replace("\\", "/")))}
    problems = [
        Problem(
            f"{image}: {file} has no image of its name among {len(named)}, such as {', '.join(named[:3])}", (image,)
        )
        for image in images
        if known.isdisjoint(_keys(image))
    ]
    return [image for image in images if not known.isdisjoint(_keys(image))], problems


def unread_beside(folder: Path, stem: str) -> str:
    """A remark on files of a name that are in no format that is read; "" where there are none."""
    files = folder.glob(f"{glob.escape(stem)}.*") if folder.is_dir() else ()
    unread = sorted(file.name for file in files if suffix_of(file) not in READABLE and not is_outlines(file))
    return f" ({', '.join(unread)}: no format that is read)" if unread else ""


def _keys(path: Path) -> set[str]:
    return {name_key(path.name), name_key(stem_of(path))}
