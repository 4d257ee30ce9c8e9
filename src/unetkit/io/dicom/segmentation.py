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
from ..samples import Colour, Stored
from ..segments import combined, segments_note
from .headers import import_pydicom

_FROM = 0.5  # of a fractional segment


def read_segmentation(path: Path, *, is_plane: bool = False) -> Stored:
    """Read the segments of a file with their names.

    Parameters
    ----------
    path : Path
    is_plane : bool
        Whether they belong to a picture: read as they are stored, as those of a radiograph are, which lies nowhere in
        the body. Else a volume in the orientation closest to RAS.

    Raises
    ------
    ImportError
        If highdicom is not installed.
    ValueError
        If segments overlap, the frames lie on no regular grid in the body, or are several of a segment of a picture.
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
        if not names:
            raise Refused("without a segment")
        if segments.segmentation_type.value == "FRACTIONAL":
            meaning = str(getattr(segments.segmentation_fractional_type, "value", "of what is not stated")).lower()
            notes.append(f"fractional segments ({meaning}): {_FROM:g} and more are the segment")
        where = getattr(segments.coordinate_system, "value", "")  # the patient, a slide, or nothing
        array, affine = (_plane(segments, names), None) if is_plane or not where else _volume(segments, names, where)
    notes.insert(0, segments_note("DICOM SEG", names))
    if affine is None:
        return Stored(array[None], "yx", Colour(), (1.0, 1.0), notes=tuple(notes), names=names)
    # From (slice, row, column) in left, posterior, superior to (column, row, slice) in right, anterior, superior.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine[:, [2, 1, 0, 3]]
    return replace(placed_volume(array.T, affine, "mm", notes), names=names)


def _volume(segments: Any, names: dict[int, str], where: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels (slice, row, column), and their affine."""
    geometry = segments.get_volume_geometry() if where == "PATIENT" else None
    if geometry is None:
        raise Refused("segments whose frames lie on no regular grid in the body")
    if segments.segmentation_type.value == "LABELMAP":
        return segments.get_volume(combine_segments=True).array, geometry.affine
    # One by one, as a file may hold hundreds.
    volumes = ((number, segments.get_volume(segment_numbers=[number]).array[..., 0]) for number in names)
    return combined(((number, values >= _FROM) for number, values in volumes), names), geometry.affine


def _plane(segments: Any, names: dict[int, str]) -> np.ndarray:
    """Labels (row, column) of a picture."""
    frames = segments.pixel_array
    frames = frames[None] if frames.ndim == 2 else frames
    if segments.segmentation_type.value == "LABELMAP" and len(frames) == 1:
        return np.asarray(frames[0])
    groups = [item for kind in ("PerFrame", "Shared") for item in segments.get(f"{kind}FunctionalGroupsSequence") or []]
    stated = [item.SegmentIdentificationSequence[0] for item in groups if "SegmentIdentificationSequence" in item]
    numbers = [int(item.ReferencedSegmentNumber) for item in stated]
    if len(numbers) != len(frames) or len(set(numbers)) < len(numbers):
        raise Refused(f"{len(frames)} frames of {len(set(numbers))} segments, but its image is a picture")
    full = float(segments.get("MaximumFractionalValue") or 1)
    return combined(((number, frame >= _FROM * full) for number, frame in zip(numbers, frames, strict=True)), names)


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
