"""Read DICOM SEG, by highdicom: a label image whose values are the numbers of its segments.

A file leaves out frames that are empty, so that it holds a part of the slices of its image only; where a slice is
missing between others there is background.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..decoder_errors import Refused, decoding, logged, warned
from ..formats.placed import placed_volume
from ..samples import Stored
from .headers import import_pydicom

_FROM = 0.5  # of a fractional segment
_NAMED = 8


def read_segmentation(path: Path) -> Stored:
    """Read the segments of a file with their names, in the orientation closest to RAS.

    Raises
    ------
    ImportError
        If highdicom is not installed.
    ValueError
        If segments overlap, or the frames lie on no regular grid in the body.
    """
    try:
        from highdicom.seg import Segmentation
    except ImportError:
        raise ImportError("DICOM SEG needs highdicom: pip install 'unetkit[dicom]'") from None
    notes: list[str] = []
    with decoding("DICOM SEG"), warned(notes), logged("highdicom", notes):
        segments = Segmentation.from_dataset(_with_dimensions(import_pydicom().dcmread(path), notes), copy=False)
        numbers = [int(number) for number in segments.segment_numbers if number]  # 0 is background in a label map
        names = {number: str(segments.get_segment_description(number).segment_label) for number in numbers}
        is_placed = getattr(segments.coordinate_system, "value", "") == "PATIENT"  # and not a slide
        if not numbers or not is_placed or segments.get_volume_geometry() is None:
            raise Refused("segments whose frames lie on no regular grid in the body")
        kind = segments.segmentation_type.value
        if kind == "LABELMAP":
            labels = segments.get_volume(combine_segments=True)
            array, affine = labels.array, labels.affine
        else:
            array, affine = _combined(segments, names)
        if kind == "FRACTIONAL":
            meaning = str(getattr(segments.segmentation_fractional_type, "value", "of what is not stated")).lower()
            notes.append(f"fractional segments ({meaning}): {_FROM:g} and more are the segment")
    listed = ", ".join(f"{number} {name}" for number, name in list(names.items())[:_NAMED])
    more = ", ..." if len(names) > _NAMED else ""
    notes.insert(0, f"DICOM SEG of {len(names)} segment{'s'[: len(names) > 1]}: {listed}{more}")
    # From (slice, row, column) in left, posterior, superior to (column, row, slice) in right, anterior, superior.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine[:, [2, 1, 0, 3]]
    return replace(placed_volume(array.T, affine, "mm", notes), names=names)


def _with_dimensions(file: Any, notes: list[str]) -> Any:
    """The file with the index of its frames that highdicom looks them up by, and some writers leave out."""
    frames = file.get("PerFrameFunctionalGroupsSequence") or []
    if "DimensionIndexSequence" in file or not all("SegmentIdentificationSequence" in frame for frame in frames):
        return file
    pointers = (
        ("ReferencedSegmentNumber", "SegmentIdentificationSequence"),
        ("ImagePositionPatient", "PlanePositionSequence"),
    )
    tag, dataset = import_pydicom().datadict.tag_for_keyword, import_pydicom().Dataset
    file.DimensionIndexSequence = [dataset() for _ in pointers]
    for item, (pointer, group) in zip(file.DimensionIndexSequence, pointers, strict=True):
        item.DimensionIndexPointer, item.FunctionalGroupPointer = tag(pointer), tag(group)
    for number, frame in enumerate(frames, start=1):
        content = dataset()
        segment = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        content.DimensionIndexValues = [segment, number]
        frame.FrameContentSequence = [content]
    notes.append("states no index of its frames: taken by their segments and positions")
    return file


def _combined(segments: Any, names: dict[int, str]) -> tuple[np.ndarray, np.ndarray]:
    """Segments drawn into one label image one by one, as a file may hold hundreds; and its affine."""
    labels: np.ndarray | None = None
    for number, name in names.items():
        volume = segments.get_volume(segment_numbers=[number])
        inside = volume.array[..., 0] >= _FROM  # binary segments are 0 and 1
        if labels is None:
            labels = np.zeros(inside.shape, np.min_scalar_type(max(names)))
        if (both := inside & (labels > 0)).any():
            others = ", ".join(f"{value} {names[int(value)]}" for value in np.unique(labels[both])[:_NAMED])
            raise Refused(
                f"segment {number} {name} overlaps with {others} in {int(both.sum())} voxels: a mask holds one class "
                "per voxel; save segments that overlap in files of their own"
            )
        labels[inside] = number
    assert labels is not None, "no segments"
    return labels, volume.affine
