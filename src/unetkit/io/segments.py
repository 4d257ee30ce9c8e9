"""Named segments of medical files, each drawn by itself, as one label image: DICOM SEG, and NRRD of 3D Slicer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from .decoder_errors import Refused

_NAMED = 8


def segments_note(kind: str, names: Mapping[int, str]) -> str:
    """What a file holds.

    Examples
    --------
    >>> segments_note("DICOM SEG", {1: "liver", 4: "spleen"})
    'DICOM SEG of 2 segments: 1 liver, 4 spleen'
    """
    listed = ", ".join(f"{number} {name}" for number, name in list(names.items())[:_NAMED])
    more = ", ..." if len(names) > _NAMED else ""
    return f"{kind} of {len(names)} segment{'s'[: len(names) > 1]}: {listed}{more}"


def combined(parts: Iterable[tuple[int, np.ndarray]], names: Mapping[int, str]) -> np.ndarray:
    """Segments, each with where it is, drawn into one label image; ValueError where two overlap."""
    labels: np.ndarray | None = None
    for number, inside in parts:
        if labels is None:
            labels = np.zeros(inside.shape, np.min_scalar_type(max(names)))
        if (both := inside & (labels > 0)).any():
            others = ", ".join(f"{value} {names[int(value)]}" for value in np.unique(labels[both])[:_NAMED])
            raise Refused(
                f"segment {number} {names[number]} overlaps with {others} in {int(both.sum())} voxels: a mask holds "
                "one class per voxel; save segments that overlap in files of their own"
            )
        labels[inside] = number
    assert labels is not None, "no segments"
    return labels
