"""A volume with an affine, as the NIfTI reader orients and places it: one rule for all medical formats."""

from __future__ import annotations

import numpy as np

from ..decoder_errors import Refused
from ..samples import Stored

_UNITS = {"mm": "mm", "millimeter": "mm", "um": "micron", "µm": "micron", "micron": "micron", "m": "meter"}


def placed_volume(values: np.ndarray, affine: np.ndarray, unit: str, notes: list[str] | None = None) -> Stored:
    """Turn a volume to the orientation closest to right, anterior, superior; its own is kept as its place.

    Parameters
    ----------
    values : ndarray of shape (x, y, z) or (x, y, z, channels)
    affine : ndarray of shape (4, 4)
        From indices (i, j, k) to right, anterior, superior in `unit`.
    unit : str
    notes : list of str, optional
    """
    from nibabel.nifti1 import Nifti1Image  # takes a while to import

    from ..nifti import read_nifti_bytes

    if unit.lower() not in _UNITS:
        raise Refused(f"space units {unit!r}: expected one of {', '.join(_UNITS)}")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise Refused("damaged: its directions do not span space")
    small = values.astype(np.uint8) if values.dtype == bool else values
    picture = Nifti1Image(small, affine, dtype=small.dtype)
    picture.header.set_xyzt_units(_UNITS[unit.lower()])
    return read_nifti_bytes(bytes(picture.to_bytes()), [] if notes is None else notes)
