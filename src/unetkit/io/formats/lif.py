"""LIF of Leica, by liffile: image by image, frame by frame, axes by name, metres turned to µm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import liffile
import numpy as np

from ..decoder_errors import Refused, logged
from ..filenames import file_of, time_of
from .sliced import Framed, SlicedSource, axis_letters, chosen_number

_MICROMETRES = 1e6  # in the metres of its coordinates


def image_numbers(path: Path) -> Sequence[int]:
    """Of the images, from 1 on in the order of the file."""
    with logged("liffile", list[str]()), liffile.LifFile(path) as file:
        return range(1, len(file.images) + 1)


def time_points(path: Path) -> Sequence[int]:
    """Of every image."""
    with logged("liffile", list[str]()), liffile.LifFile(path) as file:
        return [int(image.sizes.get("T", 1)) for image in file.images]


def open_source(path: Path, *, is_mask: bool) -> SlicedSource:
    """An image of a file, its pixel size that from middle to middle."""
    notes: list[str] = []
    with logged("liffile", notes):
        file = liffile.LifFile(file_of(path))
        try:
            names = [image.name for image in file.images]
            number = chosen_number(path, "image", range(1, len(names) + 1), names)
            return _source(file, file.images[number - 1], notes, time_of(path))
        except BaseException:
            file.close()
            raise


def _source(file: liffile.LifFile, image: Any, notes: list[str], time: int) -> SlicedSource:
    if not isinstance(image, liffile.LifImage):
        raise Refused("lifetimes of fluorescence: expected an image; export its intensities")
    held = image.memory_block.size
    if image.nbytes > held:
        raise Refused(f"truncated: {image.nbytes} bytes of pixels by its header, {held} in the file")
    in_frame = image.frames.frame_sizes
    sizes = {name: n for name, n in image.sizes.items() if name not in in_frame} | in_frame

    def frame(index: dict[str, int]) -> np.ndarray:
        values: np.ndarray = image.frame(out=None, **index)
        return values

    stored = Framed(sizes, len(in_frame), image.dtype, frame, "LIF")
    return SlicedSource(
        stored,
        axis_letters(list(sizes)),
        spacing=_spacing(image),
        unit="µm",
        notes=notes,
        is_rgb=sizes.get("S") == 3,
        close=file.close,
        time=time,
    )


def _spacing(image: liffile.LifImage) -> dict[str, float] | None:
    """By axis, where the file states that of x and y."""
    steps = {
        name.lower(): abs(float(at[1] - at[0])) * _MICROMETRES
        for name, at in image.coords.items()
        if name in "XYZ" and len(at) > 1
    }
    known = {axis: step for axis, step in steps.items() if step > 0}
    return known if {"x", "y"} <= known.keys() else None
