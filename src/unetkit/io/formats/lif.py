"""LIF of Leica, by liffile: frame by frame, axes by name, metres turned to µm."""

from __future__ import annotations

from pathlib import Path

import liffile
import numpy as np

from ..decoder_errors import Refused, logged
from .sliced import Framed, SlicedSource, axis_letters

_MICROMETRES = 1e6  # in the metres of its coordinates
_NAMED = 8


def open_source(path: Path, *, is_mask: bool) -> SlicedSource:
    """The only image of a file, its pixel size that from middle to middle."""
    notes: list[str] = []
    with logged("liffile", notes):
        file = liffile.LifFile(path)
        try:
            return _source(file, notes)
        except BaseException:
            file.close()
            raise


def _source(file: liffile.LifFile, notes: list[str]) -> SlicedSource:
    if len(file.images) != 1:
        listed = ", ".join(image.name for image in list(file.images)[:_NAMED]) + (", ..." * (len(file.images) > _NAMED))
        raise Refused(
            f"holds {len(file.images)} images ({listed}), each an image of its own: save each as a file (LAS X: "
            "export, or save as)"
        )
    image = file.images[0]
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
