"""From the samples of a file to a label image: an integer id for every stored value."""

from __future__ import annotations

import numpy as np

from ..image import Image
from .samples import Stored, alpha_notes, colour_name, gray_of_equal, located

MOST_COLOURS = 64
# Measured on binary masks of cells: quality 75 moves pixels beside an edge by up to 45, quality 90 by 18.
JPEG_TOLERANCE = 48


def as_labels(stored: Stored) -> Image:
    """Convert stored samples to a label image, integer and of shape (*spatial).

    Raises
    ------
    ValueError
        If the samples cannot be read as ids: several channels, too many colours, values that are not integers,
        or values that JPEG compression has changed.
    """
    notes = [*stored.notes, *alpha_notes(stored)]
    array = _single_channel(_snapped(stored, notes), stored, notes)
    if array.dtype.kind == "f":
        array = _integers(array, notes)
    elif array.dtype.kind == "b":
        array = array.astype(np.uint8)
    elif array.dtype.kind not in "ui":
        raise ValueError(f"label image of dtype {array.dtype}: expected integers")
    return located(np.ascontiguousarray(array), stored.spatial, stored, notes)


def _single_channel(array: np.ndarray, stored: Stored, notes: list[str]) -> np.ndarray:
    """One id per pixel, of shape (*spatial), from samples of shape (samples, *spatial) without alpha."""
    kind = stored.colour.kind
    if kind == "palette":
        notes.append(f"palette indices kept as ids ({array.min()} to {array.max()})")
        return array[0]
    if len(array) == 1:
        return array[0]
    if kind == "plain":
        raise ValueError(
            f"label image of {len(array)} channels, shape {array.shape}: expected one id per pixel; save one channel, "
            "or number the channels"
        )
    gray = gray_of_equal(array)
    if gray is not None:
        notes.append(f"gray stored as {colour_name(stored.colour)}: read as one channel")
        return gray[0]
    return _ids_of_colours(array, notes)


def _ids_of_colours(array: np.ndarray, notes: list[str]) -> np.ndarray:
    """Ids of shape (*spatial) from RGB of shape (3, *spatial): black is 0, other colours count up in sorted order."""
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:
        raise ValueError(f"colour-coded label image of dtype {array.dtype}: expected uint8 or uint16, or one channel")
    red, green, blue = array.astype(np.uint64)
    keys, ids = np.unique(red << np.uint64(32) | green << np.uint64(16) | blue, return_inverse=True)
    if len(keys) > MOST_COLOURS:
        raise ValueError(
            f"label image with {len(keys)} different colours: at most {MOST_COLOURS} can be told apart as ids; is this "
            "a photograph? Save one integer id per pixel instead"
        )
    first = 0 if keys[0] == 0 else 1  # without any black, id 0 stays free: 0 is background
    names = [f"{(int(k) >> 32, int(k) >> 16 & 0xFFFF, int(k) & 0xFFFF)}={i}" for i, k in enumerate(keys[:8], first)]
    more = ", ..." if len(keys) > len(names) else ""
    notes.append(f"{len(keys)} colours read as ids in this file: {', '.join(names)}{more}")
    return (ids.reshape(array.shape[1:]) + first).astype(np.uint8)


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
            f"label image compressed by JPEG, which is lossy: {len(values)} different values, among them {example}, so "
            "the ids cannot be told; export the labels as .png or .tif"
        )
    notes.append(f"JPEG noise ({len(values)} different values): set to 0 and {full}")
    return np.where(array > full // 2, full, 0).astype(array.dtype)


def _integers(array: np.ndarray, notes: list[str]) -> np.ndarray:
    is_wrong = ~np.isfinite(array) | (array != np.trunc(array))
    if is_wrong.any():
        place = tuple(int(index) for index in np.argwhere(is_wrong)[0])
        raise ValueError(
            f"label image of {array.dtype} with {int(is_wrong.sum())} values that are not integers, such as "
            f"{array[place]} at {place}: expected ids; is this a probability map?"
        )
    low, high = float(array.min()), float(array.max())  # float16 cannot be compared with 2**63
    if max(-low, high) >= 2**63:
        raise ValueError(f"label image of {array.dtype} with values from {low} to {high}: beyond 64-bit integers")
    notes.append(f"ids stored as {array.dtype}: read as integers")
    return array.astype(np.int32 if max(-low, high) < 2**31 else np.int64)
