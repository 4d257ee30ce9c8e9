"""From parallel DICOM slices to a volume, oriented and placed as a NIfTI volume is.

The slices are the files of a series, or the frames of one file; where they lie counts, and not their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..decoder_errors import Refused, decoding, warned
from ..nifti import read_nifti_bytes
from ..samples import Stored

PARALLEL = 1e-3  # cosine and more: slices of one stack
SIZE = ("Rows", "Columns", "SamplesPerPixel")
PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
SAME = 1e-3  # mm
OFF_LINE = 0.5  # pixels
# Elements that number the volumes of a series of several, from the most telling on.
PHASES = (
    *("AcquisitionNumber", "EchoNumbers", "EchoTime", "TemporalPositionIdentifier", "TriggerTime"),
    *("FrameAcquisitionNumber", "EffectiveEchoTime", "TemporalPositionIndex", "StackID"),
    *("NominalPercentageOfCardiacPhase", "DiffusionBValue", "ImageType", "AcquisitionTime", "ContentTime"),
)
EVEN = 0.01  # of the distance between slices: scanners round positions


@dataclass(frozen=True, eq=False)
class Slice:
    """A slice.

    Attributes
    ----------
    header : Dataset
        Its elements; of a frame those of its functional groups too.
    frame : ndarray of shape (j, i), optional
        Its stored values; by default those of `header`, decoded when they are asked for.
    """

    header: Any
    frame: np.ndarray | None = None

    def stored(self) -> np.ndarray:
        """Its values without slope and intercept."""
        return np.asarray(self.header.pixel_array) if self.frame is None else self.frame


def volume_of(slices: list[Slice], notes: list[str]) -> Stored:
    """Stack slices by their positions, as a volume of one channel in the orientation closest to RAS.

    The rescale slope and intercept are applied (Hounsfield units of CT): the volume is float32 unless they are whole
    numbers.

    Raises
    ------
    ValueError
        If there are slices of different sizes or directions, or duplicate or missing slices.
    """
    with decoding("DICOM"), warned(notes):  # pydicom decodes an element on access
        headers = [each.header for each in slices]
        _check_alike(headers)
        normal = np.cross(*_directions(headers[0]))
        slices = sorted(slices, key=lambda each: float(np.dot(_position(each.header), normal)))
        headers = [each.header for each in slices]
        positions = np.array([np.dot(_position(header), normal) for header in headers])
        step = _step(positions, headers, notes)
        across = _across(headers, normal * step, notes)
        note_monochrome1(headers, notes)
        array = np.stack([rescaled(each.stored(), each.header) for each in slices])  # (k, j, i)
        array = array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array  # float64 of both kinds
        content = _nifti(array, headers, across)
    return read_nifti_bytes(content, notes)


def note_monochrome1(headers: Sequence[Any], notes: list[str]) -> None:
    """Say where low values are bright."""
    if any(header.get("PhotometricInterpretation") == "MONOCHROME1" for header in headers):
        notes.append("stored as MONOCHROME1 (low is bright): values kept as stored")


def _check_alike(slices: list[Any]) -> None:
    absent = [name for name in SIZE if any(image.get(name) is None for image in slices)]
    if absent:
        raise Refused(f"damaged: its files do not state {', '.join(absent)}")
    if any(int(image.SamplesPerPixel) > 1 for image in slices):
        raise Refused("its pixels are colours: expected one value per pixel")
    if any(image.get("PhotometricInterpretation") == "PALETTE COLOR" for image in slices):
        raise Refused("its pixels are indices of a palette: expected one gray value per pixel")
    missing = [name for name in PLACE if any(name not in image for image in slices)]
    if missing:
        raise Refused(f"its files do not state {', '.join(missing)}: the positions of the slices are unknown")
    sizes = Counter((int(image.Rows), int(image.Columns)) for image in slices)
    if len(sizes) > 1:
        raise Refused(f"slices of different sizes: {', '.join(f'{n} of {size}' for size, n in sizes.most_common(4))}")
    directions = [np.concatenate(_directions(image)) for image in slices]
    if any(np.abs(direction - directions[0]).max() > PARALLEL for direction in directions):
        raise Refused("slices that are not parallel, such as a localiser among them: leave those files out")


def _directions(image: Any) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors along a row (i) and down a column (j), in the patient's left, posterior, superior."""
    numbers = _numbers(image, "ImageOrientationPatient", 6)
    return numbers[:3], numbers[3:]


def _position(image: Any) -> np.ndarray:
    return _numbers(image, "ImagePositionPatient", 3)


def _numbers(image: Any, name: str, count: int) -> np.ndarray:
    """All numbers of an element."""
    value = image.get(name)
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != count:
        raise Refused(f"damaged: {name} is {str(value)[:60]!r}, expected {count} numbers")
    return np.array([float(number) for number in value])


def _number(image: Any, name: str, default: float) -> float:
    """The number of an element; the default where it is missing or empty."""
    value = image.get(name)
    if isinstance(value, Sequence) and not isinstance(value, str):
        raise Refused(f"damaged: {name} is {str(value)[:60]!r}, expected one number")
    return default if value is None else float(value)


def _step(positions: np.ndarray, slices: list[Any], notes: list[str]) -> float:
    """Distance from one slice to the next, mm."""
    if len(positions) == 1:
        thickness = _number(slices[0], "SliceThickness", 0)
        if thickness <= 0:
            notes.append("one slice of unknown thickness: taken to be 1 mm")
        return thickness if thickness > 0 else 1.0
    gaps = np.diff(positions)
    step = float(np.median(gaps[gaps > SAME])) if (gaps > SAME).any() else 0.0
    if (gaps < max(EVEN * step, SAME)).any():
        raise Refused(_doubled(positions, gaps < max(EVEN * step, SAME), slices))
    if np.abs(gaps - step).max() > EVEN * step:
        i = int(np.abs(gaps - step).argmax())
        raise Refused(
            f"slices are {step:.3g} mm apart, but those at {positions[i]:.2f} and {positions[i + 1]:.2f} mm are "
            f"{gaps[i]:.3g}: some are missing, or the spacing varies; resample the series first"
        )
    return step


def _doubled(positions: np.ndarray, is_same: np.ndarray, slices: list[Any]) -> str:
    """The reason why several slices at one place are refused, with the element by which they differ."""
    places = int((~is_same).sum()) + 1
    i = int(is_same.argmax())
    if len(slices) % places or 2 * places > len(slices):
        pair = f"{positions[i]:.2f} and {positions[i + 1]:.2f} mm"
        return f"two slices lie at {pair}, the same place: one is a duplicate"
    each = len(slices) // places
    values = {name: Counter(str(image.get(name, "")) for image in slices) for name in PHASES}
    by = next((name for name, counts in values.items() if set(counts.values()) == {places}), None)
    told = f"they differ in {by} ({', '.join(list(values[by])[:4])})" if by else "nothing in their headers tells which"
    return (
        f"{each} slices at each of {places} places, as of phases, echoes or time points in one series; {told}: make "
        "each a series of its own"
    )


def _across(slices: list[Any], step: np.ndarray, notes: list[str]) -> np.ndarray:
    """From one slice to the next, mm; not along `step`, the normal, where the scanner's gantry was tilted."""
    if len(slices) == 1:
        return step
    places = np.array([_position(image) for image in slices])
    across = (places[-1] - places[0]) / (len(slices) - 1)
    away = np.linalg.norm(places - places[0] - np.arange(len(slices))[:, None] * across, axis=1)
    if away.max() > OFF_LINE * min(_numbers(slices[0], "PixelSpacing", 2)):
        i = int(away.argmax())
        raise Refused(
            f"slice {i + 1} of {len(slices)} lies {away[i]:.3g} mm beside the line through the others: they make no "
            "stack; resample the series, or leave the slice out"
        )
    shift = float(np.linalg.norm(across - step))
    if shift * (len(slices) - 1) <= OFF_LINE * min(_numbers(slices[0], "PixelSpacing", 2)):
        return step
    notes.append(
        f"tilted gantry: every slice is shifted by {shift:.3g} mm against the one before; the affine is sheared, which "
        "ITK does not read"
    )
    return across


def rescaled(stored: np.ndarray, image: Any) -> np.ndarray:
    """Stored values with slope and intercept applied."""
    slope, offset = _number(image, "RescaleSlope", 1), _number(image, "RescaleIntercept", 0)
    if slope == 1 and offset == int(offset):
        return stored.astype(np.int32) + int(offset)
    return stored.astype(np.float32) * np.float32(slope) + np.float32(offset)


def _nifti(array: np.ndarray, slices: list[Any], across: np.ndarray) -> bytes:
    """The volume as NIfTI, whose reader orients and places it."""
    from nibabel.nifti1 import Nifti1Image

    down, along = _numbers(slices[0], "PixelSpacing", 2)  # between rows, between columns
    i, j = _directions(slices[0])
    affine = np.eye(4)
    affine[:3, :3] = np.stack([i * along, j * down, across], axis=1)
    affine[:3, 3] = _position(slices[0])
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # left, posterior to right, anterior
    small = array.astype(np.int16) if array.dtype.kind == "i" and np.abs(array).max() < 2**15 else array
    picture = Nifti1Image(small.T, affine)
    picture.header.set_xyzt_units("mm")
    return bytes(picture.to_bytes())
