"""From the samples of a file to a label image: an integer id for every stored value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..image import Image
from .samples import Stored, alpha_notes, colour_name, gray_of_equal, located

MOST_COLOURS = 64
# Measured on binary masks of cells: quality 75 moves pixels beside an edge by up to 45, quality 90 by 18.
JPEG_TOLERANCE = 48
ROUNDING = 1e-3  # what scaling by a slope and resampling by nearest leave in float32 and float16
_HALF = 0.501  # of the step of a file that scales integers, and its rounding
_EXACT = {"float16": 2**11, "float32": 2**24, "float64": 2**53}  # integers beyond are rounded to their neighbours

RGB = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class ValueCode:
    """What the values of one label image stand for, where its file says so by colours or names.

    Attributes
    ----------
    keys : mapping of int to (red, green, blue) or str
        Colour, or name of the class, of every value that occurs; "" for outlines without a class.
    is_numbered : bool
        Whether the values are the file's own (indices of a palette, gray levels, categories); else they were numbered
        on reading, by the file alone.
    are_objects : bool
        Whether a value is one object, as of outlines, several of which may be of one class.
    crowds : frozenset of int
        Values that mark several objects at once, which nobody has told apart.
    """

    keys: Mapping[int, RGB | str]
    is_numbered: bool = False
    are_objects: bool = False
    crowds: frozenset[int] = frozenset()


def as_labels(stored: Stored) -> Image:
    """Convert stored samples to a label image, integer and of shape (*spatial).

    Raises
    ------
    ValueError
        If the samples cannot be read as ids: several channels, too many colours, values that are not integers,
        or values that JPEG compression has changed.
    """
    image, code = _labels(stored)
    if code is None or code.is_numbered:  # as the file has them
        return image
    names = [f"{colour}={value}" for value, colour in list(code.keys.items())[:8]]
    more = ", ..." if len(code.keys) > len(names) else ""
    note = f"{len(code.keys)} colours read as ids in this file: {', '.join(names)}{more}"
    return located(image.array, stored.spatial, stored, [*image.notes, note])


def as_coded_labels(stored: Stored) -> tuple[Image, ValueCode | None]:
    """The same, with colours or names of the values where the file has any, by which files of one set are compared.

    Ids beyond 63 bits, which cannot be counted among signed ones, are numbered.
    """
    image, code = _labels(stored)
    if image.array.dtype != np.uint64 or image.array.max(initial=0) < 2**63:
        return image, code or _code_of_names(image.array, stored.names)
    values, ids = np.unique(image.array, return_inverse=True)
    array = (ids.reshape(image.array.shape) + (0 if values[0] == 0 else 1)).astype(np.int64)
    note = f"ids beyond 63 bits: {len(values)} values numbered in their order"
    return located(array, stored.spatial, stored, [*image.notes, note]), None


def _code_of_names(labels: np.ndarray, names: Mapping[int, str]) -> ValueCode | None:
    """Values by their names; where several have one, they are objects of a class, if all are named."""
    if len(set(names.values())) == len(names):
        return ValueCode(names, is_numbered=True) if names else None
    return ValueCode(names, are_objects=True) if set(np.unique(labels).tolist()) <= {0, *names} else None


def _labels(stored: Stored) -> tuple[Image, ValueCode | None]:
    notes = list(stored.notes)
    array, code = _single_channel(_without_alpha(_snapped(stored, notes), stored, notes), stored, notes)
    if array.dtype.kind == "f":
        if stored.georeference is not None:
            array, stored = _without_gaps(array, stored, notes)
        array = _integers(array, notes, stored.step)
    elif array.dtype.kind == "b":
        array = array.astype(np.uint8)
    elif array.dtype.kind not in "ui":
        raise ValueError(f"label image of dtype {array.dtype}: expected integers")
    return located(np.ascontiguousarray(array), stored.spatial, stored, notes), code


def _without_alpha(array: np.ndarray, stored: Stored, notes: list[str]) -> np.ndarray:
    """Samples in which transparent pixels are 0, where one colour lies under them: nothing was drawn there."""
    if stored.colour.alpha is None or array.dtype.kind != "u":
        return array
    alpha = stored.array[stored.colour.alpha]
    is_clear = alpha <= np.iinfo(alpha.dtype).max // 2
    under = array[:, is_clear]
    if not is_clear.any() or (under != under[:, :1]).any():
        notes += alpha_notes(stored)
        return array
    if under[:, 0].any():
        share = np.count_nonzero(is_clear) / is_clear.size
        notes.append(f"alpha marks {1 - share:.0%} of the pixels: those that are transparent are background")
    else:
        notes += alpha_notes(stored)
    return np.where(is_clear, 0, array).astype(array.dtype)


def _single_channel(array: np.ndarray, stored: Stored, notes: list[str]) -> tuple[np.ndarray, ValueCode | None]:
    """One id per pixel, of shape (*spatial), from samples of shape (samples, *spatial) without alpha."""
    kind, palette = stored.colour.kind, stored.colour.palette
    if kind == "palette" and palette is not None:
        notes.append(f"palette indices kept as ids ({array.min()} to {array.max()})")
        used = np.unique(array[0])
        return array[0], ValueCode(dict(zip(used.tolist(), _rgb(palette[used]), strict=True)), is_numbered=True)
    if len(array) == 1:
        return array[0], None
    if kind == "plain":
        return _classes_of_channels(array, notes)
    gray = gray_of_equal(array)
    if gray is not None:
        notes.append(f"gray stored as {colour_name(stored.colour)}: read as one channel")
        values = np.unique(gray[0]) if gray.dtype == np.uint8 else ()
        code = ValueCode({int(v): (int(v),) * 3 for v in values}, is_numbered=True) if len(values) else None
        return gray[0], code
    if array.dtype in (bool, np.uint8) and array.max(initial=0) == 1:  # nobody sees such colours
        return _classes_of_channels(array, notes)
    return _ids_of_colours(array)


def _classes_of_channels(array: np.ndarray, notes: list[str]) -> tuple[np.ndarray, ValueCode]:
    """Numbers of channels, from 1, of which one at most is set in every pixel: 0 where none is."""
    n = len(array)
    values = np.unique(array)
    is_set = array != 0
    if len(values) > 2 or values[0] != 0 or n > MOST_COLOURS:
        shown = f"{values[0]} to {values[-1]}" if len(values) else "none"
        raise ValueError(
            f"label image of {n} channels with values from {shown}, shape {array.shape}: expected one id per pixel, or "
            "0 and one other value in channels that are classes; save one channel, or number the channels"
        )
    depth = is_set.sum(0)
    if depth.max() > 1:
        place = tuple(int(index) for index in np.argwhere(depth > 1)[0])
        channels = " and ".join(str(channel + 1) for channel in np.flatnonzero(is_set[(slice(None), *place)])[:4])
        raise ValueError(
            f"label image of {n} channels that overlap: several are set in {np.count_nonzero(depth > 1)} of "
            f"{depth.size} pixels, such as {channels} at {place}; a pixel has one class: use one channel"
        )
    notes.append(f"{n} channels of which at most one is set in every pixel: read as classes, numbered from 1")
    numbers = np.where(depth == 0, 0, is_set.argmax(0) + 1).astype(np.uint8)
    return numbers, ValueCode({number: f"channel {number}" for number in range(1, n + 1)}, is_numbered=True)


def _without_gaps(array: np.ndarray, stored: Stored, notes: list[str]) -> tuple[np.ndarray, Stored]:
    """A mask of a map in which NaN, which holds no data, is another of its values, and marked as not valid."""
    is_gap = np.isnan(array)
    if not is_gap.any():
        return array, stored
    notes.append("NaN, which holds no data in a map: not labelled")
    filled = np.where(is_gap, 0 if is_gap.all() else np.nanmin(array), array).astype(array.dtype)
    valid = ~is_gap if stored.valid is None else stored.valid & ~is_gap
    return filled, replace(stored, valid=valid)


def _rgb(colours: np.ndarray) -> list[RGB]:
    """Colours of shape (n, 3) as tuples: those of 16 bits as of 8, where they say no more."""
    if colours.dtype.itemsize > 1:  # 255 is stored as 65535, or by some as 65280
        step = next((step for step in (257, 256) if not (colours % step).any()), 1)
        colours = colours // step
    return [(int(red), int(green), int(blue)) for red, green, blue in colours]


def _ids_of_colours(array: np.ndarray) -> tuple[np.ndarray, ValueCode]:
    """Ids of shape (*spatial) from RGB of shape (3, *spatial): black is 0, other colours count up in sorted order."""
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:
        raise ValueError(
            f"label image of three bands of dtype {array.dtype}, which are no colours: expected one channel; if they "
            f"are the planes of a volume, save them with their axes (tifffile: metadata={{'axes': 'ZYX'}}, "
            "photometric='minisblack')"
        )
    red, green, blue = array.astype(np.uint64)
    keys, ids = np.unique(red << np.uint64(32) | green << np.uint64(16) | blue, return_inverse=True)
    if len(keys) > MOST_COLOURS:
        raise ValueError(
            f"label image with {len(keys)} different colours: at most {MOST_COLOURS} can be told apart as ids; is this "
            "a photograph? Save one integer id per pixel instead"
        )
    first = 0 if keys[0] == 0 else 1  # without any black, id 0 stays free: 0 is background
    parts = np.stack([keys >> np.uint64(16 * shift) & np.uint64(0xFFFF) for shift in (2, 1, 0)], -1)
    table = dict(enumerate(_rgb(parts.astype(array.dtype)), first))
    return (ids.reshape(array.shape[1:]) + first).astype(np.uint8), ValueCode(table, is_numbered=False)


def _snapped(stored: Stored, notes: list[str]) -> np.ndarray:
    """Samples without alpha; after JPEG, values near black and white are set back to them.

    Raises
    ------
    ValueError
        If a JPEG holds other values than black and white: what they were before compression is lost.
    """
    if stored.colour.kind == "palette":
        return stored.array
    array = stored.colour.convert(stored.array)
    if not stored.is_lossy:
        return array
    values = np.unique(array)
    if len(values) <= 2:
        return array
    full = np.iinfo(array.dtype).max
    between = values[(values > JPEG_TOLERANCE) & (values < full - JPEG_TOLERANCE)]
    # Noise comes from edges between black and white; without white, small ids would all turn to 0.
    if len(between) or values[-1] <= JPEG_TOLERANCE or values[0] >= full - JPEG_TOLERANCE:
        example = between[len(between) // 2] if len(between) else values[len(values) // 2]
        raise ValueError(
            f"label image compressed with loss (JPEG, WebP): {len(values)} different values, among them {example}, so "
            "the ids cannot be told; export the labels as .png or .tif"
        )
    notes.append(f"JPEG noise ({len(values)} different values): set to 0 and {full}")
    return np.where(array > full // 2, full, 0).astype(array.dtype)


def _integers(array: np.ndarray, notes: list[str], step: float) -> np.ndarray:
    """Integers of floats that hold some, but for rounding: of a file that scales integers by half a step."""
    scaled = step * _HALF if 0 < step < 1 else 0.0
    with np.errstate(invalid="ignore", over="ignore"):  # of NaN and infinities, which are refused
        nearest = np.rint(array)
        last_bits = (2 * np.finfo(array.dtype).eps * np.abs(nearest)).clip(max=0.25)
        is_wrong = ~np.isfinite(array) | (np.abs(array - nearest) > np.maximum(max(ROUNDING, scaled), last_bits))
    if is_wrong.any():
        place = tuple(int(index) for index in np.argwhere(is_wrong)[0])
        raise ValueError(
            f"label image of {array.dtype} with {int(is_wrong.sum())} values that are not integers, such as "
            f"{array[place]} at {place}: expected ids; "
            + (
                f"it was saved under a slope of {step:g}, perhaps that of its image, between whose steps ids are lost: "
                "save it again with slope 1"
                if step >= 1
                else "is this a probability map? Threshold or round it first"
            )
        )
    low, high = float(nearest.min()), float(nearest.max())  # float16 cannot be compared with 2**63
    if max(-low, high) >= 2**63:
        raise ValueError(f"label image of {array.dtype} with values from {low} to {high}: beyond 64-bit integers")
    off = int((array != nearest).sum())
    rounded = f", {off} pixels of them off by rounding" if off else ""
    notes.append(f"ids stored as {array.dtype}: read as integers{rounded}")
    if max(-low, high) >= _EXACT.get(array.dtype.name, 2**53):
        notes.append(
            f"ids from {_EXACT.get(array.dtype.name, 2**53)} on in {array.dtype}: neighbours may have become one"
        )
    return nearest.astype(np.int32 if max(-low, high) < 2**31 else np.int64)
