"""Read OME-Zarr: the image of a folder at full resolution, whole or by region."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np

from ..decoder_errors import Refused
from ..filenames import file_of, time_of
from ..lazy import Region
from ..read_options import AS_STATED, ReadOptions
from ..samples import Colour, Stored
from ..spacing import completed, in_unit
from .array import open_array
from .labels import label_names
from .metadata import Axis, full_resolution

DROPPED = "-"


class ZarrRegions:
    """A source that decodes the chunks of a Zarr array that a region touches.

    Parameters
    ----------
    folder : Path
        An OME-Zarr image of version 0.1 to 0.5, or a Zarr array; it may name a time point: film.zarr#t3.
    options : ReadOptions
        Of an array without metadata.

    Raises
    ------
    ImportError
        If zarr is not installed.
    ValueError
        If the folder holds no image, its metadata is damaged, or it has axes beyond channels and space, such as time.
    """

    def __init__(self, folder: Path, options: ReadOptions = AS_STATED) -> None:
        time, folder = time_of(folder), file_of(folder)
        self._time = slice(max(time - 1, 0), max(time, 1))
        level = full_resolution(folder)
        self._array = open_array(folder, level.name)
        notes = list(level.notes)
        axes = level.axes or _assumed(self._array.shape, options, notes)
        self._letters = _letters(axes, self._array.shape, time, folder.name)
        if time:
            n = self._array.shape[self._letters.index("t")]
            notes.append(f"a series of {n} time points, each an image of its own")
        spatial = "zyx" if "z" in self._letters else "yx"
        lengths = dict(zip(self._letters, self._array.shape, strict=True))
        self.axes = "c" + spatial
        self.shape = (lengths.get("c", 1), *(lengths[letter] for letter in spatial))
        self.dtype = self._array.dtype
        if self.dtype.kind not in "buif" or self.dtype.itemsize > 8:
            raise Refused(f"pixels of dtype {self.dtype}: expected integers, floats or bool")
        backwards = [axis for axis in axes if axis.letter in tuple(spatial) and axis.step < 0]
        notes += [f"scale of axis {axis.name} is {axis.step:g}: its size is used, and no place" for axis in backwards]
        sizes = {axis.letter: (abs(axis.step), axis.unit) for axis in axes if axis.letter in tuple(spatial)}
        self.spacing, self.unit, assumed = completed(sizes, spatial)
        self.notes = (*notes, *assumed, *self._array.missing())
        starts = {axis.letter: in_unit(axis.start, axis.unit, self.unit) for axis in axes if axis.start is not None}
        is_stated = all(letter in starts for letter in spatial) and not backwards
        self.origin = tuple(starts[letter] for letter in spatial) if is_stated else None

    @property
    def height(self) -> int:
        """Rows (planes) that are decoded together: of a chunk."""
        return self._array.chunks[self._letters.index(self.axes[1])]

    @property
    def piece_bytes(self) -> int:
        """Bytes that are decoded at least: a chunk."""
        return prod(self._array.chunks) * self.dtype.itemsize

    def read(self, region: Region) -> np.ndarray:
        """Channels of a region."""
        slices = dict(zip(self.axes, region, strict=True)) | {"t": self._time}
        stored = self._array.read(tuple(slices.get(letter, slice(0, 1)) for letter in self._letters))
        places = [index for index, letter in enumerate(self._letters) if letter in (DROPPED, "t")]
        places += [self._letters.index(letter) for letter in self.axes if letter in self._letters]
        return stored.transpose(places).reshape([part.stop - part.start for part in region])

    def close(self) -> None:
        """Nothing to release: files are open only while they are read."""


def read_omezarr(folder: Path, options: ReadOptions = AS_STATED) -> Stored:
    """Read all channels of an OME-Zarr image at full resolution, channels first."""
    source = ZarrRegions(folder, options)
    array = source.read(tuple(slice(0, length) for length in source.shape))
    space = source.axes[1:], Colour(), source.spacing, source.unit
    return Stored(array, *space, source.notes, origin=source.origin, names=label_names(folder))


def _assumed(shape: tuple[int, ...], options: ReadOptions, notes: list[str]) -> tuple[Axis, ...]:
    """Axes of an array that names none."""
    if options.axes:
        return tuple(Axis(letter, letter) for letter in options.order(shape))
    if len(shape) not in (2, 3):
        raise Refused(
            f"a Zarr array of shape {shape} that names none of its {len(shape)} axes: expected (y, x) or (z, y, x), or "
            "OME metadata; or name them with --axes"
        )
    letters = "zyx"[-len(shape) :]
    notes.append(f"a Zarr array of shape {shape} without OME metadata: axes taken to be {', '.join(letters)}")
    return tuple(Axis(letter, letter) for letter in letters)


def time_points(folder: Path) -> int:
    """Number of time points of an OME-Zarr image; 1 where it names no axis of time.

    Raises
    ------
    ImportError, ValueError
        As `ZarrRegions`.
    """
    level = full_resolution(folder)
    letters = [axis.letter for axis in level.axes or ()]
    return open_array(folder, level.name).shape[letters.index("t")] if "t" in letters else 1


def _letters(axes: Sequence[Axis], shape: tuple[int, ...], time: int, name: str) -> str:
    """A letter for every axis of the array: c, z, y or x, t where a time point is asked for, "-" where it is left out.

    Raises
    ------
    ValueError
        If an axis of another meaning is longer than 1, there are no pixels, or the axes are not those of the array.
    """
    listed = ", ".join(f"{axis.name}: {length}" for axis, length in zip(axes, shape, strict=False))
    if len(axes) != len(shape):
        raise Refused(f"{len(axes)} axes ({', '.join(axis.name for axis in axes)}) for an array of shape {shape}")
    if 0 in shape:
        raise Refused(f"holds no pixels (axes {listed})")
    # bioformats2raw always lists all five axes; where fewer are listed, a Z of length 1 is meant.
    is_flat = len(axes) == 5 and ("z", 1) in [(axis.letter, n) for axis, n in zip(axes, shape, strict=True)]
    letters = ""
    for axis, length in zip(axes, shape, strict=True):
        is_known = axis.letter not in ("" if time else "t", "") and axis.letter not in letters
        if axis.letter == "t" and length > 1 and not time:
            raise Refused(
                f"axes {listed}: expected only channels and space, so that {axis.name} cannot be read at once: name "
                f"one time point, such as {name}#t1, or the folder that holds it for all of them"
            )
        if axis.letter == "t" and time > length:
            raise Refused(f"holds {length} time points, numbered from 1: there is no {time}")
        if not is_known and length > 1:
            raise Refused(
                f"axes {listed}: expected only channels and space, so that {axis.name} cannot be read; save every "
                "position along it as an image of its own"
            )
        is_kept = is_known and not (is_flat and axis.letter == "z")
        letters += axis.letter if is_kept else DROPPED
    if time and "t" not in letters:
        raise Refused(f"axes {listed}: no series over time, of which it would be number {time}")
    return letters
