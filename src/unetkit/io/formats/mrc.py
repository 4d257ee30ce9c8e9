"""MRC of electron microscopes, by mrcfile and by region, through a memory map."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np

from ..decoder_errors import Refused, warned
from .sliced import Mapped, SlicedSource


def open_source(path: Path, *, is_mask: bool) -> SlicedSource:
    """The sections of a file, along the axes that its header maps them to; its pixel size, in ångström."""
    notes: list[str] = []
    with warned(notes):
        file = mrcfile.mmap(path, mode="r", permissive=False)
    header, data = file.header, file.data
    order = "".join({1: "x", 2: "y", 3: "z"}.get(int(header[name]), "?") for name in ("maps", "mapr", "mapc"))
    if sorted(order) != ["x", "y", "z"]:
        raise Refused(f"damaged: maps its axes to {order}, expected x, y and z once each")
    order = order[-data.ndim :]
    if data.ndim not in (2, 3) or not {"x", "y"} <= set(order):
        raise Refused(f"an array of shape {data.shape} with axes {', '.join(order)}: expected an image or a volume")
    sizes = {letter: float(file.voxel_size[letter]) for letter in "zyx"}
    is_known = all(np.isfinite(size) and size > 0 for letter, size in sizes.items() if letter in order)
    return SlicedSource(
        Mapped(data), order, spacing=sizes if is_known else None, unit="Å", notes=notes, close=file.close
    )
