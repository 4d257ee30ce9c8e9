"""Image: an array that remembers its axes, spacing, unit and place."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .georeference import GeoReference, holds_data

AXES = ("yx", "zyx", "cyx", "czyx")
DIRECTIONS = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}  # axis of the world that a letter lies along


@dataclass(frozen=True)
class WorldAffine:
    """Position of a volume in the world, and its axes in the file: all that writing it back needs.

    Parameters
    ----------
    affine : tuple of 4 rows of 4 float
        From indices (i, j, k) of the file's axes to the world (right, anterior, superior) in the image's unit. In
        memory the axes are turned: see `affine_in_memory`.
    orientation : str
        Where the file's axes point as nearly as a letter can say: "LPS" is left, posterior, superior.
    size : tuple of int
        Of the image in memory, (z, y, x).
    codes : tuple of 2 int
        What the affine (sform) and the quaternion (qform) refer to: 0 nothing, 1 the scanner, 2 another image, 3 and 4
        a standard brain.
    quaternion : tuple of 6 float
        Rotation b, c, d and offset x, y, z of the qform.
    pixdim : tuple of 4 float
        Handedness of the qform, and pixel size along the file's axes.
    units : int
        The file's code for units of length and time.

    Raises
    ------
    ValueError
        If the affine is not 4 x 4, or the orientation does not name each of the three directions once.
    """

    affine: tuple[tuple[float, ...], ...]
    orientation: str
    size: tuple[int, ...]
    codes: tuple[int, int] = (2, 0)
    quaternion: tuple[float, ...] = (0.0,) * 6
    pixdim: tuple[float, ...] = (1.0,) * 4
    units: int = 2

    def __post_init__(self) -> None:
        if [len(row) for row in self.affine] != [4] * 4:
            raise ValueError(f"affine must be 4 rows of 4 numbers: got rows of {[len(row) for row in self.affine]}")
        if sorted(DIRECTIONS.get(letter, -1) for letter in self.orientation) != [0, 1, 2]:
            raise ValueError(
                f"orientation must be three letters, one each of R or L, A or P, S or I: got {self.orientation!r}"
            )

    @property
    def is_stated(self) -> bool:
        """Whether the file states its place: a NIfTI header with codes 0 and 0 has a pixel size only."""
        return any(self.codes)

    @property
    def affine_in_memory(self) -> np.ndarray:
        """From indices (x, y, z) of the image in memory to the world; float64 of shape (4, 4)."""
        stored, turned = np.array(self.affine), np.eye(4)
        turned[:3, 3] = stored[:3, 3]
        for column, letter in zip(stored[:3, :3].T, self.orientation, strict=True):
            axis, is_reversed = DIRECTIONS[letter], letter in "LPI"
            turned[:3, axis] = -column if is_reversed else column
            if is_reversed:
                turned[:3, 3] += column * (self.size[2 - axis] - 1)
        return turned


@dataclass(frozen=True, eq=False)
class Image:
    """An image or label image with its axes, spacing, unit and place, as its file states them.

    Parameters
    ----------
    array : ndarray of shape (C, *spatial), or (*spatial) for a label image
        Any dtype. Not copied.
    axes : str
        "cyx" or "czyx" for an image, "yx" or "zyx" for a label image: one letter per axis of `array`.
    spacing : tuple of float
        Distance between neighbouring pixels in `unit`, one number per spatial axis, in the order of `axes`.
    unit : str
        "px" where the file does not say, otherwise for example "nm", "µm" or "mm".
    notes : tuple of str
        Changes and assumptions made on reading the file, for the user.
    place : WorldAffine, optional
        Where a volume lies in the world; None where the file does not say.
    georeference : GeoReference, optional
        Where a map lies on the earth, and the value of its pixels without data (GeoTIFF); likewise.
    origin : tuple of float, optional
        Position of the first pixel in `unit`, per spatial axis, where the file states one (OME-Zarr); likewise.
    valid : ndarray of shape (*spatial), bool, optional
        Where a map holds data by a mask of its own (a page, a .msk file, alpha), which then counts and not its nodata.

    Raises
    ------
    ValueError
        If `axes` is not one of the four, does not match the axes of `array`, or `spacing` has the wrong number of
        entries or one that is not positive and finite.

    Examples
    --------
    >>> image = Image(np.zeros((1, 30, 40), np.uint8), "cyx", spacing=(0.5, 0.5), unit="µm")
    >>> image.ndim, image.size, image.channels
    (2, (30, 40), 1)
    """

    array: np.ndarray
    axes: str
    spacing: tuple[float, ...]
    unit: str = "px"
    notes: tuple[str, ...] = ()
    place: WorldAffine | None = None
    georeference: GeoReference | None = None
    origin: tuple[float, ...] | None = None
    valid: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.axes not in AXES:
            raise ValueError(f"axes must be one of {', '.join(AXES)}: got {self.axes!r}")
        if self.array.ndim != len(self.axes):
            raise ValueError(
                f"axes {self.axes!r} name {len(self.axes)} axes, but the array of shape {self.array.shape} "
                f"has {self.array.ndim}"
            )
        if len(self.spacing) != self.ndim:
            raise ValueError(
                f"spacing {self.spacing} has {len(self.spacing)} entries: axes {self.axes!r} have {self.ndim} in space"
            )
        if not all(math.isfinite(step) and step > 0 for step in self.spacing):
            raise ValueError(f"spacing must be positive and finite, got {self.spacing}")
        object.__setattr__(self, "spacing", tuple(float(step) for step in self.spacing))

    @property
    def ndim(self) -> int:
        """Number of spatial axes, 2 or 3."""
        return len(self.axes.removeprefix("c"))

    @property
    def size(self) -> tuple[int, ...]:
        """Spatial shape in pixels."""
        return self.array.shape[-self.ndim :]

    @property
    def channels(self) -> int:
        """Number of channels; 1 for a label image."""
        return self.array.shape[0] if self.axes.startswith("c") else 1

    def holds_data(self) -> np.ndarray | None:
        """Mask of the samples of a map that hold data: not NaN nor its nodata value, or as its own mask has it.

        Returns
        -------
        ndarray of shape (C, *spatial), bool, or None
            None where all do, or the image has no georeference, for then NaN is a mistake.
        """
        if self.georeference is None:
            return None
        array = self.array if self.axes.startswith("c") else self.array[None]
        held = holds_data(array, self.georeference.nodata, self.valid)
        return None if held.all() else held

    def valid_mask(self) -> np.ndarray | None:
        """Mask of the pixels of a map in which any channel holds data, (*spatial); None where all do."""
        held = self.holds_data()
        valid = None if held is None else held.any(0)
        return None if valid is None or valid.all() else np.asarray(valid)

    def float32(self) -> Image:
        """The same image as float32, the dtype of images in memory.

        Returns
        -------
        Image
            Values unchanged but rounded to float32: integers above 2**24 lose their last digits, and float64 values
            beyond 3.4e38 (some files mark missing data so) become infinite. Already float32: no copy.
        """
        with np.errstate(over="ignore"):
            return replace(self, array=self.array.astype(np.float32, copy=False))


def counted_notes(notes: Iterable[str]) -> dict[str, int]:
    """Notes of many files, each once with the number of its files; those that differ in numbers alone are one.

    Examples
    --------
    >>> counted_notes(["outlines overlap in 3 pixels", "gray stored as RGB", "outlines overlap in 40 pixels"])
    {'outlines overlap in 3 to 40 pixels': 2, 'gray stored as RGB': 1}
    """
    alike: dict[str, list[str]] = {}
    for note in notes:
        alike.setdefault(_NUMBER.sub("#", note), []).append(note)
    return {_with_ranges(same): len(same) for same in alike.values()}


_NUMBER = re.compile(r"(?<![\w.#-])\d+(?![\w.]*\w)")  # whole numbers, and not those in names


def _with_ranges(notes: Sequence[str]) -> str:
    """The first note, with a range in place of every number that differs between the notes."""
    columns = iter(list(zip(*(map(int, _NUMBER.findall(note)) for note in notes), strict=True)))

    def text(_: re.Match[str]) -> str:
        low, high = min(column := next(columns)), max(column)
        return str(low) if low == high else f"{low} to {high}"

    return _NUMBER.sub(text, notes[0])


def to_channels(image: Image, channels: int) -> Image:
    """Give an image the number of channels a net takes.

    Gray is replicated to three channels; an equal number passes unchanged. Everything else needs a choice of the
    user, and raises.

    Parameters
    ----------
    image : Image of shape (C, *spatial)
    channels : int
        Wanted number of channels, at least 1.

    Returns
    -------
    Image of shape (channels, *spatial)

    Raises
    ------
    ValueError
        If `image` is a label image, or has other than 1 or `channels` channels, or would need replicating to a number
        other than 3.

    Examples
    --------
    >>> gray = Image(np.zeros((1, 30, 40), np.uint8), "cyx", spacing=(1.0, 1.0))
    >>> to_channels(gray, 3).array.shape
    (3, 30, 40)
    """
    if not image.axes.startswith("c"):
        raise ValueError(f"a label image of axes {image.axes!r} has no channels to change to {channels}")
    if image.channels == channels:
        return image
    if image.channels == 1 and channels == 3:
        return replace(image, array=np.repeat(image.array, 3, axis=0))
    if image.channels == 3 and channels == 1:
        # The weights of ITU-R BT.601 suit photographs; for stains or three fluorophores they mix what is meant apart.
        raise ValueError(
            "got an image of 3 channels, expected 1: colour is not converted to gray automatically; pick a channel, "
            "or take the luminance 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601) first"
        )
    raise ValueError(
        f"got an image of {image.channels} channels, expected {channels}: only 1 channel can be replicated, and only "
        "to 3; select or add channels first"
    )
