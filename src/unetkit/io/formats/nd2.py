"""ND2 of Nikon, by nd2: position by position, frame by frame, axes by name, in µm."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from nd2 import ND2File

from ..decoder_errors import Refused, warned
from ..filenames import file_of, time_of
from .sliced import Framed, SlicedSource, axis_letters, chosen_number

_OF_A_FRAME = ("C", "Y", "X", "S")
_POSITION = "P"


def image_numbers(path: Path) -> Sequence[int]:
    """Of the positions, from 1 on."""
    with warned(list[str]()), closing(ND2File(path)) as file:
        return range(1, file.sizes.get(_POSITION, 1) + 1)


def time_points(path: Path) -> Sequence[int]:
    """Of every position."""
    with warned(list[str]()), closing(ND2File(path)) as file:
        return [file.sizes.get("T", 1)] * file.sizes.get(_POSITION, 1)


def open_source(path: Path, *, is_mask: bool) -> SlicedSource:
    """A position of a file, at one time, with its channels."""
    notes: list[str] = []
    with warned(notes):
        file = ND2File(file_of(path))
        try:
            number = chosen_number(path, "position", range(1, file.sizes.get(_POSITION, 1) + 1))
            return _source(file, number - 1, notes, time_of(path))
        except BaseException:
            file.close()
            raise


def _source(file: Any, position: int, notes: list[str], time: int) -> SlicedSource:
    loops = {name: n for name, n in file.sizes.items() if name not in _OF_A_FRAME}
    in_frame = {name: n for name, n in file.sizes.items() if name in _OF_A_FRAME}
    n_frames = int(np.prod(list(loops.values()), dtype=int))
    # nd2 0.12 gives zeros for frames that an acquisition that was stopped did not write.
    offsets = getattr(getattr(file, "_rdr", None), "_frame_offsets", None)
    if offsets is not None and (missing := sum(index not in offsets for index in range(n_frames))):
        raise Refused(f"{missing} of its {n_frames} frames are missing: an acquisition that was stopped, or truncated")
    if "S" in in_frame:
        notes.append("colours in the order in which the file holds them")

    def frame(index: dict[str, int]) -> np.ndarray:
        place = tuple((index | {_POSITION: position})[name] for name in loops)
        at = np.ravel_multi_index(place, tuple(loops.values())) if loops else 0
        values: np.ndarray = file.read_frame(int(at))
        return values

    sizes = {name: n for name, n in file.sizes.items() if name in loops and name != _POSITION} | in_frame
    stored = Framed(sizes, len(in_frame), file.dtype, frame, "ND2")
    order, size = axis_letters(list(sizes)), _spacing(file)
    return SlicedSource(stored, order, spacing=size, unit="µm", notes=notes, close=file.close, time=time)


def _spacing(file: Any) -> dict[str, float] | None:
    """By axis, where the file is calibrated."""
    channels = getattr(file.metadata, "channels", None) or []
    volume = channels[0].volume if channels else None
    if volume is None or not all(volume.axesCalibrated[:2]):
        return None
    size = file.voxel_size()
    known = {axis: float(step) for axis, step in zip("xyz", (size.x, size.y, size.z), strict=True)}
    known = {axis: step for axis, step in known.items() if np.isfinite(step) and step > 0}
    return known if {"x", "y"} <= known.keys() else None
