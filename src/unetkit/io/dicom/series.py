"""Read the slices of a DICOM series, a file each in one folder, as a volume."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ..decoder_errors import Refused, decoding
from ..samples import Stored
from .headers import content_of, dicom_files, import_pydicom
from .stack import Slice, volume_of

_NO_SLICES = ("segmentation", "contours")  # lie beside the slices that they were drawn on


def read_series(folder: Path) -> Stored:
    """Read all slices of the series in a folder, as a volume of one channel in the orientation closest to RAS.

    Slices are ordered by their positions, whatever their names.

    Parameters
    ----------
    folder : Path
        Of one series, a slice per file. Segmentations and contours in it are left out.

    Raises
    ------
    ImportError
        If pydicom is not installed.
    ValueError
        If there are several series, slices of different sizes or directions, duplicate or missing slices, or no pixels.
    """
    images = _read_files(folder)
    beside = Counter(kind for kind in map(content_of, images) if kind in _NO_SLICES)
    slices = [image for image in images if "PixelData" in image and content_of(image) not in _NO_SLICES]
    if not slices:
        raise Refused("holds no DICOM file with pixels")
    series = Counter(str(image.get("SeriesInstanceUID", "")) for image in slices)
    if len(series) > 1:
        numbers = ", ".join(f"{n} files of {uid or 'an unnamed series'}" for uid, n in series.most_common(4))
        raise Refused(f"holds {len(series)} series ({numbers}): put each into a folder of its own")
    if any(content_of(image) == "frames" for image in slices):
        raise Refused("holds slices and a file of several frames: put each into a folder of its own")
    notes = [f"{len(slices)} slices of one DICOM series"]
    notes += [f"{n} file{'s'[: n > 1]} of {kind} in the folder: not part of the volume" for kind, n in beside.items()]
    return volume_of([Slice(image) for image in slices], notes)


def _read_files(folder: Path) -> list[Any]:
    dcmread, images = import_pydicom().dcmread, []
    for path in dicom_files(folder):
        with decoding(f"DICOM file {path.name}"):
            images.append(dcmread(path))
    return images
