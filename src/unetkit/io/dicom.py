"""DICOM: the slices of one series in a folder as one volume, turned and placed as a NIfTI volume is. Read only."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from .decoder_errors import Refused, decoding, warned
from .filenames import is_dicom_file
from .nifti import read_nifti_bytes
from .samples import Stored

PARALLEL = 1e-3  # cosine and more: slices of one stack
PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
EVEN = 0.01  # of the distance between slices: what scanners round


def read_dicom(folder: Path) -> Stored:
    """All slices of the series in a folder, as a volume of one channel in the orientation closest to RAS.

    Slices are ordered by where they lie, whatever their names. The rescale slope and intercept are applied
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
        If there are several series, slices of different sizes or directions, one twice or missing, or no pixels.
    """
    slices = _slices(folder)
    first = slices[0]
    notes = [f"{len(slices)} slices of one DICOM series"]
    normal = np.cross(*_directions(first))
    slices.sort(key=lambda one: float(np.dot(_position(one), normal)))
    at = np.array([np.dot(_position(one), normal) for one in slices])
    step = _step(at, slices, notes)
    with decoding("DICOM"), warned(notes):
        array = np.stack([_values(one) for one in slices])  # (k, j, i)
    return read_nifti_bytes(_nifti(array, slices, normal, step), notes)


def _slices(folder: Path) -> list[Any]:
    try:
        import pydicom
    except ImportError:
        raise ImportError("DICOM needs pydicom: pip install 'unetkit[dicom]'") from None
    found = []
    for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        if not is_dicom_file(path):
            continue
        with decoding(f"DICOM file {path.name}"):
            found.append(pydicom.dcmread(path))
    found = [one for one in found if "PixelData" in one]
    if not found:
        raise Refused("holds no DICOM file with pixels")
    _check_alike(found)
    return found


def _check_alike(slices: list[Any]) -> None:
    series = Counter(str(getattr(one, "SeriesInstanceUID", "")) for one in slices)
    if len(series) > 1:
        numbers = ", ".join(f"{n} files of {uid or 'an unnamed one'}" for uid, n in series.most_common(4))
        raise Refused(f"holds {len(series)} series ({numbers}): put each into a folder of its own")
    if any(int(getattr(one, "NumberOfFrames", 1)) > 1 for one in slices):
        raise Refused("its files hold several frames each: convert the series to NIfTI (dcm2niix) and give that")
    if any(int(one.SamplesPerPixel) > 1 for one in slices):
        raise Refused("its pixels are colours: expected one value per pixel")
    missing = [name for name in PLACE if name not in slices[0]]
    if missing:
        raise Refused(f"its files do not say {', '.join(missing)}: where the slices lie cannot be known")
    sizes = Counter((int(one.Rows), int(one.Columns)) for one in slices)
    if len(sizes) > 1:
        raise Refused(f"slices of different sizes: {', '.join(f'{n} of {size}' for size, n in sizes.most_common(4))}")
    directions = [np.concatenate(_directions(one)) for one in slices]
    if any(np.abs(one - directions[0]).max() > PARALLEL for one in directions):
        raise Refused("slices that are not parallel, such as a localiser among them: leave those files out")


def _directions(one: Any) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors along a row (i) and down a column (j), in the patient's left, posterior, superior."""
    numbers = np.array([float(value) for value in one.ImageOrientationPatient])
    return numbers[:3], numbers[3:]


def _position(one: Any) -> np.ndarray:
    return np.array([float(value) for value in one.ImagePositionPatient])


def _step(at: np.ndarray, slices: list[Any], notes: list[str]) -> float:
    """Distance from one slice to the next, mm."""
    if len(at) == 1:
        thickness = float(getattr(slices[0], "SliceThickness", 0) or 0)
        if thickness <= 0:
            notes.append("one slice of unknown thickness: taken to be 1 mm")
        return thickness if thickness > 0 else 1.0
    gaps = np.diff(at)
    step = float(np.median(gaps))
    if (gaps < EVEN * abs(step)).any():
        i = int(gaps.argmin())
        raise Refused(f"two slices lie at {at[i]:.2f} and {at[i + 1]:.2f} mm, the same place: one is there twice")
    if np.abs(gaps - step).max() > EVEN * step:
        i = int(np.abs(gaps - step).argmax())
        raise Refused(
            f"slices are {step:.3g} mm apart, but those at {at[i]:.2f} and {at[i + 1]:.2f} mm are {gaps[i]:.3g}: some "
            "are missing, or the spacing varies; resample the series first"
        )
    return step


def _values(one: Any) -> np.ndarray:
    """Pixels (j, i) with slope and intercept applied."""
    stored = np.asarray(one.pixel_array)
    slope, offset = float(getattr(one, "RescaleSlope", 1)), float(getattr(one, "RescaleIntercept", 0))
    if slope == 1 and offset == int(offset):
        return stored.astype(np.int32) + int(offset)
    return stored.astype(np.float32) * np.float32(slope) + np.float32(offset)


def _nifti(array: np.ndarray, slices: list[Any], normal: np.ndarray, step: float) -> bytes:
    """The volume as NIfTI, whose reader turns and places it."""
    from nibabel.nifti1 import Nifti1Image

    down, along = (float(value) for value in slices[0].PixelSpacing)  # between rows, between columns
    i, j = _directions(slices[0])
    affine = np.eye(4)
    affine[:3, :3] = np.stack([i * along, j * down, normal * step], axis=1)
    affine[:3, 3] = _position(slices[0])
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # left, posterior to right, anterior
    small = array.astype(np.int16) if array.dtype.kind == "i" and np.abs(array).max() < 2**15 else array
    picture = Nifti1Image(small.T, affine)
    picture.header.set_xyzt_units("mm")
    return bytes(picture.to_bytes())
