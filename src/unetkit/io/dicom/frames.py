"""Read DICOM files that are an image each: a volume of several frames, or a picture such as a radiograph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..decoder_errors import Refused, decoding, warned
from ..samples import Colour, Stored
from .headers import content_of, import_pydicom, read_header
from .stack import Slice, note_monochrome1, rescaled, volume_of

_OF_ALL = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "RescaleSlope", "RescaleIntercept")


def read_dicom_file(path: Path) -> Stored:
    """Read a file: a volume where it has several frames that say where they lie, or segments, else a picture.

    Raises
    ------
    ImportError
        If pydicom is not installed.
    ValueError
        If it holds no pixels, frames without positions (a film, say), or frames that make no volume.
    """
    kind = content_of(read_header(path))
    if kind == "segmentation":
        from .segmentation import read_segmentation  # highdicom takes a while to import

        return read_segmentation(path)
    with decoding("DICOM"):
        image = import_pydicom().dcmread(path)
        if "PixelData" not in image:
            name = getattr(image.get("SOPClassUID"), "name", "unknown")
            raise Refused(f"a DICOM file without pixels ({name})")
    return _volume(image) if kind == "frames" else _picture(image, is_slice=kind == "slice")


def _volume(image: Any) -> Stored:
    """The frames of a file, each with the elements of its functional groups, as if it were a slice of a series."""
    with decoding("DICOM"):
        groups = image.get("PerFrameFunctionalGroupsSequence") or []
        shared = image.get("SharedFunctionalGroupsSequence") or []
        n_frames = int(image.get("NumberOfFrames") or 1)
        if not groups:
            raise Refused(f"{n_frames} frames that state no positions, as of a film: save each as an image of its own")
        if len(groups) != n_frames:
            raise Refused(f"damaged: {n_frames} frames, but positions for {len(groups)}")
        headers = [_flat(image, *shared, group) for group in groups]
        array = np.asarray(image.pixel_array)
    planes = array if n_frames > 1 else array[None]
    slices = [Slice(header, plane) for header, plane in zip(headers, planes, strict=True)]
    return volume_of(slices, [f"{n_frames} frames of one DICOM file"])


def _flat(image: Any, *groups: Any) -> Any:
    """The elements of a file with those that its functional groups state of one frame."""
    flat = import_pydicom().Dataset()
    flat.update({image[name].tag: image[name] for name in _OF_ALL if name in image})
    for group in groups:
        for element in group:
            if element.VR == "SQ" and len(element.value) == 1:
                flat.update(element.value[0])
    return flat


def _picture(image: Any, *, is_slice: bool) -> Stored:
    """A radiograph, a photograph, or one slice of a series."""
    pixels = import_pydicom().pixels
    notes = ["one slice: the folder of its series is a volume"] if is_slice else []
    with decoding("DICOM"), warned(notes):
        array, colour = np.asarray(image.pixel_array), Colour()
        if array.ndim == 3 or image.get("PhotometricInterpretation") == "PALETTE COLOR":
            values = array if array.ndim == 3 else pixels.apply_color_lut(array, image)
            array, colour = np.moveaxis(values, -1, 0), Colour("rgb")
        else:
            values = rescaled(array, image)
            # Whole numbers in the bytes that they are stored in.
            array = values[None].astype(array.dtype if np.array_equal(values, array) else values.dtype)
        note_monochrome1([image], notes)
        spacing = _spacing(image, notes)
    return Stored(array, "yx", colour, spacing or (1.0, 1.0), "mm" if spacing else "px", tuple(notes))


def _spacing(image: Any, notes: list[str]) -> tuple[float, float] | None:
    """Between rows and between columns in mm, where the file says it."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        value = image.get(name)
        if value is None or isinstance(value, str) or len(value) != 2:
            continue
        down, along = (float(number) for number in value)
        if np.isfinite([down, along]).all() and min(down, along) > 0:
            if name == "ImagerPixelSpacing":
                notes.append("pixel size is that at the detector: the body is smaller by its magnification")
            return down, along
    return None
