"""Read DICOM: the slices of one series in a folder as one volume, oriented and placed as a NIfTI volume is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..decoder_errors import Refused, decoding, warned
from ..filenames import is_dicom_file
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
    *("NominalPercentageOfCardiacPhase", "DiffusionBValue", "ImageType", "AcquisitionTime", "ContentTime"),
)
EVEN = 0.01  # of the distance between slices: scanners round positions


def read_dicom(folder: Path) -> Stored:
    """Read all slices of the series in a folder, as a volume of one channel in the orientation closest to RAS.

    Slices are ordered by their positions, whatever their names. The rescale slope and intercept are applied
    (Hounsfield units of CT): the volume is float32 unless they are whole numbers.

    Parameters
    ----------
    folder : Path
        Of one series, a slice per file.

    Raises
    ------
    ImportError
        If pydicom is not installed.
    ValueError
        If there are several series, slices of different sizes or directions, duplicate or missing slices, or no pixels.
    """
    slices = _slices(folder)
    notes = [f"{len(slices)} slices of one DICOM series"]
    with decoding("DICOM"), warned(notes):  # pydicom decodes an element on access
        _check_alike(slices)
        normal = np.cross(*_directions(slices[0]))
        slices.sort(key=lambda image: float(np.dot(_position(image), normal)))
        positions = np.array([np.dot(_position(image), normal) for image in slices])
        step = _step(positions, slices, notes)
        across = _across(slices, normal * step, notes)
        if any(image.get("PhotometricInterpretation") == "MONOCHROME1" for image in slices):
            notes.append("stored as MONOCHROME1 (low is bright): values kept as stored")
        array = np.stack([_values(image) for image in slices])  # (k, j, i)
        content = _nifti(array, slices, across)
    return read_nifti_bytes(content, notes)


def separate_images(folder: Path) -> str:
    """The reason why the DICOM files of a folder are images of their own and not the slices of a volume; "" if none.

    Only the headers are read; "" where pydicom is not installed too.
    """
    try:
        with decoding("DICOM"):
            headers = _read_files(folder, stop_before_pixels=True)
    except (ImportError, ValueError):
        return ""
    series = len({str(header.get("SeriesInstanceUID", "")) for header in headers})
    placed = sum("ImagePositionPatient" in header for header in headers)
    if series == len(headers) > 1 or (len(headers) > 1 and placed == 0):
        without = ", which state no position" if placed == 0 else ""
        return (
            f"{len(headers)} DICOM files of {series} series{without}: images of their own, such as radiographs, while "
            "a folder is read as the slices of one volume; save them as .png (16 bits) or .tif"
        )
    return f"{len(headers)} DICOM files of {series} series: put each into a folder of its own" if series > 1 else ""


def _read_files(folder: Path, *, stop_before_pixels: bool = False) -> list[Any]:
    """The DICOM files of a folder, in the order of their names."""
    try:
        import pydicom
    except ImportError:
        raise ImportError("DICOM needs pydicom: pip install 'unetkit[dicom]'") from None
    files = []
    for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        if is_dicom_file(path):
            with decoding(f"DICOM file {path.name}"):
                files.append(pydicom.dcmread(path, stop_before_pixels=stop_before_pixels))
    return files


def _slices(folder: Path) -> list[Any]:
    slices = [image for image in _read_files(folder) if "PixelData" in image]
    if not slices:
        raise Refused("holds no DICOM file with pixels")
    return slices


def _check_alike(slices: list[Any]) -> None:
    absent = [name for name in SIZE if any(image.get(name) is None for image in slices)]
    if absent:
        raise Refused(f"damaged: its files do not state {', '.join(absent)}")
    series = Counter(str(getattr(image, "SeriesInstanceUID", "")) for image in slices)
    if len(series) > 1:
        numbers = ", ".join(f"{n} files of {uid or 'an unnamed series'}" for uid, n in series.most_common(4))
        raise Refused(f"holds {len(series)} series ({numbers}): put each into a folder of its own")
    if any(_number(image, "NumberOfFrames", 1) > 1 for image in slices):
        raise Refused("its files hold several frames each: convert the series to NIfTI, and count its slices")
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
        f"{each} slices at each of {places} places, as of phases, echoes or time points in one series; {told}: put "
        "each into a folder of its own"
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


def _values(image: Any) -> np.ndarray:
    """Pixels (j, i) with slope and intercept applied."""
    stored = np.asarray(image.pixel_array)
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
