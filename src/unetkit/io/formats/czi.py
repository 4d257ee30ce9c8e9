"""CZI of Zeiss, by pylibCZIrw: scene by scene, channel by channel, a region at a time, colour turned to RGB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pylibCZIrw import czi

from ..decoder_errors import Refused
from ..filenames import file_of, time_of
from .sliced import SlicedSource, check_time, chosen_number

_DTYPES = {"Gray8": np.uint8, "Gray16": np.uint16, "Gray32Float": np.float32, "Bgr24": np.uint8, "Bgr48": np.uint16}
_MICROMETRES = 1e6  # in the metres of its metadata


class _Planes:
    """The planes of a scene as an array of shape (c, z, y, x)."""

    def __init__(self, path: Path) -> None:
        self.file = czi.CziReader(str(file_of(path)))
        scenes = self.file.scenes_bounding_rectangle_no_pyramid
        number = chosen_number(path, "scene", _numbers(scenes))
        self._scene = number - 1 if scenes else None
        box = self.file.total_bounding_box_no_pyramid
        if scenes:
            area = scenes[number - 1]
            box = box | {"X": (area.x, area.x + area.w), "Y": (area.y, area.y + area.h)}
        time, (first, stop) = time_of(path), box.get("T", (0, 1))
        self.notes, self._time = check_time(time, stop - first), first + max(time - 1, 0)
        known = "XYZCS" + "T" * (time > 0)
        others = {axis: stop - start for axis, (start, stop) in box.items() if axis not in known and stop - start > 1}
        if others:
            listed = ", ".join(f"{axis}: {n}" for axis, n in others.items())
            way = "name one by its number, #t1 behind the name of the file" if [*others] == ["T"] else ""
            way = way or "save every point along them as a file"
            raise Refused(f"axes {listed}: expected only channels and space; {way}")
        kinds = {self.file.get_channel_pixel_type(channel) for channel in range(*box.get("C", (0, 1)))}
        if len(kinds) != 1 or not kinds <= _DTYPES.keys():
            raise Refused(f"pixels of {' and '.join(sorted(kinds))}: expected one of {', '.join(_DTYPES)}")
        kind = kinds.pop()
        self.is_rgb, self.dtype = kind.startswith("Bgr"), np.dtype(_DTYPES[kind])
        self._first = {axis: box.get(axis, (0, 1))[0] for axis in "XYZC"}
        lengths = [stop - start for start, stop in (box.get(axis, (0, 1)) for axis in "CZYX")]
        if self.is_rgb and lengths[0] > 1:
            raise Refused(f"{lengths[0]} channels of colours: expected one")
        self.shape = (3 if self.is_rgb else lengths[0], *lengths[1:])

    def __getitem__(self, index: tuple[Any, ...]) -> np.ndarray:
        # An axis of length 1 that the image leaves out comes as a number.
        parts = [slice(part, part + 1) if isinstance(part, int) else part for part in index]
        channels, planes, rows, columns = (range(part.start, part.stop) for part in parts)
        roi = (self._first["X"] + columns.start, self._first["Y"] + rows.start, len(columns), len(rows))
        stored = range(1) if self.is_rgb else channels
        values = np.stack([np.stack([self._plane(c, z, roi) for z in planes]) for c in stored])  # c, z, y, x, samples
        values = (
            values[0].transpose(3, 0, 1, 2)[::-1][channels.start : channels.stop] if self.is_rgb else values[..., 0]
        )
        return values[tuple(0 if isinstance(part, int) else slice(None) for part in index)]

    def _plane(self, channel: int, z: int, roi: tuple[int, int, int, int]) -> np.ndarray:
        plane = {"C": self._first["C"] + channel, "Z": self._first["Z"] + z, "T": self._time}
        values: np.ndarray = self.file.read(roi=roi, plane=plane, scene=self._scene)
        return values


def image_numbers(path: Path) -> Sequence[int]:
    """Of the scenes, from 1 on, as ZEN numbers them; those of a part of a file may begin later."""
    with czi.open_czi(str(path)) as file:
        return _numbers(file.scenes_bounding_rectangle_no_pyramid)


def time_points(path: Path) -> Sequence[int]:
    """Of every scene: CZI counts them for the whole file."""
    with czi.open_czi(str(path)) as file:
        first, stop = file.total_bounding_box_no_pyramid.get("T", (0, 1))
        return [stop - first] * len(_numbers(file.scenes_bounding_rectangle_no_pyramid))


def _numbers(scenes: dict[int, Any]) -> Sequence[int]:
    return [index + 1 for index in sorted(scenes)] or [1]


def open_source(path: Path, *, is_mask: bool) -> SlicedSource:
    """A scene of a file, or the file where it has none, whole as its tiles lie; what no tile covers is 0."""
    planes = _Planes(path)
    sizes = _sizes(planes.file.metadata)
    close, is_rgb = planes.file.close, planes.is_rgb
    return SlicedSource(planes, "czyx", spacing=sizes, unit="µm", notes=planes.notes, is_rgb=is_rgb, close=close)


def _sizes(metadata: dict[str, Any]) -> dict[str, float] | None:
    """Pixel sizes in µm by axis, where the file states that of x and y."""
    try:
        rows = metadata["ImageDocument"]["Metadata"]["Scaling"]["Items"]["Distance"]
        listed = rows if isinstance(rows, list) else [rows]
        sizes = {row["@Id"].lower(): float(row["Value"]) * _MICROMETRES for row in listed}
    except (KeyError, TypeError, ValueError):
        return None
    known = {axis: size for axis, size in sizes.items() if np.isfinite(size) and size > 0}
    return known if {"x", "y"} <= known.keys() else None
