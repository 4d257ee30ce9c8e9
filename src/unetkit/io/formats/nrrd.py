"""NRRD of 3D Slicer and ITK, by pynrrd: a volume turned and placed as a NIfTI volume is, or a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nrrd
import numpy as np

from ..decoder_errors import Refused, check_inside
from ..samples import Colour, Stored
from ..segments import segments_note
from ..spacing import ALIASES
from .placed import placed_volume
from .slicer import labels_of, segments_of

# Signs that turn a space to right, anterior, superior; teem's documentation, section "space".
_SIGNS = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1.0, 1.0, 1.0)),
    **dict.fromkeys(("left-posterior-superior", "lps"), (-1.0, -1.0, 1.0)),
}
_SPATIAL = ("domain", "space", "none", "???")


def read(path: Path) -> Stored:
    """Read all of a file; an axis that is neither space nor of length 1 is one of channels."""
    stated = nrrd.read_header(str(path))
    for name in str(stated.get("data file", stated.get("datafile", ""))).split():
        check_inside(name, path.parent)
    values, header = nrrd.read(str(path), index_order="F")
    if values.dtype.kind not in "buif":
        raise Refused(f"pixels of dtype {values.dtype}: expected integers or floats")
    directions = header.get("space directions")
    kinds = [str(kind).lower() for kind in header.get("kinds", [])]
    is_space = _spatial_axes(values.ndim, directions, kinds)
    spatial = [axis for axis in range(values.ndim) if is_space[axis]]
    others = [axis for axis in range(values.ndim) if not is_space[axis]]
    if len(spatial) not in (2, 3) or len(others) > 1:
        raise Refused(
            f"{len(spatial)} axes in space and {len(others)} others (kinds {', '.join(kinds) or 'not stated'})"
        )
    values = values.transpose(*spatial, *others)  # x, y, z, channels
    segments, names = segments_of(path), dict[int, str]()
    if segments:
        values, names = labels_of(values if others else values[..., None], segments)
    notes = [segments_note("3D Slicer segmentation", names)] if names else []
    if directions is not None and len(spatial) == 3:
        return replace(placed_volume(values, _affine(header, directions, spatial), _unit(header), notes), names=names)
    array = values.T if values.ndim > len(spatial) else values.T[None]
    sizes, unit = _pixel_size(header, directions, spatial)
    return Stored(array, "zyx"[-len(spatial) :], Colour(), sizes, unit, tuple(notes), names=names)


def _spatial_axes(ndim: int, directions: Any, kinds: list[str]) -> list[bool]:
    if directions is not None:
        return [bool(np.isfinite(row).all()) for row in np.asarray(directions, float)]
    if kinds:
        return [kind in _SPATIAL for kind in kinds]
    return [True] * ndim


def _affine(header: dict[str, Any], directions: Any, spatial: list[int]) -> np.ndarray:
    space = str(header.get("space", "")).lower()
    if space not in _SIGNS:
        raise Refused(f"space {space or '(not stated)'!r}: expected one of {', '.join(list(_SIGNS)[::2])}")
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(directions, float)[spatial].T
    affine[:3, 3] = header.get("space origin", np.zeros(3))
    return np.diag([*_SIGNS[space], 1.0]) @ affine


def _pixel_size(header: dict[str, Any], directions: Any, spatial: list[int]) -> tuple[tuple[float, ...], str]:
    """The lengths of the steps along the axes, last first, and their unit; 1 px where the header does not say."""
    if directions is not None:
        steps, unit = np.linalg.norm(np.asarray(directions, float)[spatial], axis=1), _unit(header)
    elif header.get("spacings") is not None:
        steps = np.asarray(header["spacings"], float)[spatial]
        unit = next(iter(header.get("units", [])), "") or "px"
    else:
        return (1.0,) * len(spatial), "px"
    if not (np.isfinite(steps) & (steps > 0)).all():
        return (1.0,) * len(spatial), "px"
    return tuple(float(step) for step in reversed(steps)), ALIASES.get(unit.lower(), unit)


def _unit(header: dict[str, Any]) -> str:
    units = {str(unit).strip('"') for unit in header.get("space units", [])}
    return units.pop() if len(units) == 1 else "mm"
