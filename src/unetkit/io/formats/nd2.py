"""ND2 of Nikon, by nd2: frame by frame, axes by name, in µm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nd2 import ND2File

from ..decoder_errors import Refused, warned
from .sliced import Framed, SlicedSource, axis_letters

_OF_A_FRAME = ("C", "Y", "X", "S")


def open_source(path: Path, *, is_mask: bool) -> SlicedSource:
    """The image of a file with its channels; several positions or times are refused by name and number."""
    notes: list[str] = []
    with warned(notes):
        file = ND2File(path)
        try:
            return _source(file, notes)
        except BaseException:
            file.close()
            raise


def _source(file: Any, notes: list[str]) -> SlicedSource:
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
        at = np.ravel_multi_index(tuple(index.values()), tuple(loops.values())) if index else 0
        values: np.ndarray = file.read_frame(int(at))
        return values

    stored = Framed(loops | in_frame, len(in_frame), file.dtype, frame, "ND2")
    return SlicedSource(
        stored, axis_letters([*loops, *in_frame]), spacing=_spacing(file), unit="µm", notes=notes, close=file.close
    )


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
