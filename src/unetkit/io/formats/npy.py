"""NPY and NPZ, by numpy; the former by region, through a memory map. No pickle is read."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ..decoder_errors import Refused
from ..filenames import suffix_of
from ..read_options import ReadOptions
from .sliced import Mapped, Sliceable, SlicedSource, assumed_order

# Of an .npz: as `numpy.savez(file, array)` names it, and as people do.
_IMAGES = ("arr_0", "image", "img", "raw", "data", "x")
_MASKS = ("arr_0", "mask", "masks", "label", "labels", "y")


def open_source(path: Path, *, is_mask: bool, options: ReadOptions) -> SlicedSource:
    """The array of a file; of an .npz its only one, or the one that is named as images or masks are."""
    notes: list[str] = []
    is_archive = suffix_of(path) == ".npz"
    array = _of_archive(path, _MASKS if is_mask else _IMAGES, notes) if is_archive else _mapped(path)
    return SlicedSource(array, assumed_order(array.shape, options, notes), notes=notes)


def _mapped(path: Path) -> Sliceable:
    try:
        return Mapped(np.lib.format.open_memmap(path, mode="r"))
    except ValueError as error:
        if "Python objects" in str(error):
            raise Refused(
                "holds Python objects (a pickle, as Cellpose's _seg.npy is), which could run code and are not read: "
                "save the masks as TIFF or PNG"
            ) from None
        raise Refused(f"damaged, truncated or no array of numbers ({error})") from None


def _of_archive(path: Path, names: tuple[str, ...], notes: list[str]) -> np.ndarray:
    try:
        archive = np.load(path, allow_pickle=False)
    except (zipfile.BadZipFile, ValueError) as error:
        raise Refused(f"damaged, or no archive of arrays ({error})") from None
    with archive:
        held = list(archive.files)
        fitting = [name for name in held if name.lower() in names] if len(held) > 1 else held
        if len(fitting) != 1:
            raise Refused(f"holds the arrays {', '.join(held) or '(none)'}: expected one, or one named {names[1]}")
        if len(held) > 1:
            notes.append(f"array {fitting[0]} of {', '.join(held)}")
        return archive[fitting[0]]
