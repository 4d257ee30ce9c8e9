"""What a DICOM file holds by its header, and whether the files of a folder are the slices of a volume.

A scanner writes a volume as a folder of slices. A radiograph, a file of several frames, a segmentation and a set of
contours are each an image or a mask of their own, and a folder of them is a folder of images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from ..decoder_errors import decoding

DICOM_SUFFIX = ".dcm"
PREAMBLE = 128  # bytes before the letters DICM
DIRECTORY = "DICOMDIR"  # lists the files of a disk
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # the latter of label maps
CONTOURS = "1.2.840.10008.5.1.4.1.1.481.3"  # RTSTRUCT
MOST_SAMPLED = 8  # headers by which a folder is decided, where they can decide it

Content = Literal["slice", "frames", "picture", "segmentation", "contours", "other"]
_TAGS = ["SOPClassUID", "SeriesInstanceUID", "NumberOfFrames", "ImagePositionPatient", "Rows"]
_FRAME_GROUPS = 0x52009229  # SharedFunctionalGroupsSequence


def import_pydicom() -> Any:
    """The module pydicom.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import pydicom
    except ImportError:
        raise ImportError("DICOM needs pydicom: pip install 'unetkit[dicom]'") from None
    return pydicom


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM by its name, or by the letters after its preamble."""
    if path.suffix.lower() == DICOM_SUFFIX:
        return True
    if path.name == DIRECTORY:
        return False
    with path.open("rb") as file:
        file.seek(PREAMBLE)
        return file.read(4) == b"DICM"


def single_file(path: Path) -> Path | None:
    """The DICOM file of a path: itself, or the only one of a folder, as archives give each series one; else None.

    Scanners and archives name files without a suffix.
    """
    if path.is_dir():
        files = dicom_files(path) if holds_dicom(path) else []
        return files[0] if len(files) == 1 and not holds_series(path) else None
    is_named = path.suffix.lower() == DICOM_SUFFIX
    return path if (is_named or path.suffix == "") and path.is_file() and is_dicom_file(path) else None


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files of a folder, in the order of their names."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return [path for path in files if is_dicom_file(path)]


def holds_dicom(folder: Path) -> bool:
    """Whether a folder holds DICOM files: that end in .dcm, or that begin as DICOM files do."""
    files = [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    by_name = any(file.suffix.lower() == DICOM_SUFFIX for file in files)
    return by_name or any(is_dicom_file(file) for file in files[:3] if file.suffix == "")  # scanners name them IM0001


def holds_series(folder: Path) -> bool:
    """Whether a folder holds DICOM slices that make a volume, rather than files that are each an image of its own.

    By the headers of a few files, where two are slices of one series, or none is a slice; else by all. Without pydicom
    any DICOM file is taken for a slice.
    """
    if not holds_dicom(folder):
        return False
    files = dicom_files(folder)
    sample = files[:: -(-len(files) // MOST_SAMPLED)]
    try:
        kinds = [_content_and_series(file) for file in sample]
        if not any(kinds):
            return True  # none can be read, and reading them as a volume names one
        slices = [kind for kind in kinds if kind and kind[0] == "slice"]
        if not slices or len(set(slices)) < len(slices):
            return bool(slices)
        kinds += [_content_and_series(file) for file in files if file not in sample]
    except ImportError:
        return True
    images = [kind for kind in kinds if kind and kind[0] in ("slice", "frames", "picture")]
    slices = [kind for kind in images if kind[0] == "slice"]
    return len(images) == 1 or len(set(slices)) < len(slices)


def content_of(header: Any) -> Content:
    """What a file holds, by its header."""
    kind = str(header.get("SOPClassUID", ""))
    if kind in SEGMENTATIONS:
        return "segmentation"
    if kind == CONTOURS:
        return "contours"
    if "Rows" not in header:
        return "other"
    frames = header.get("NumberOfFrames")
    if _FRAME_GROUPS in header or (isinstance(frames, int) and frames > 1):
        return "frames"
    return "slice" if "ImagePositionPatient" in header else "picture"


def read_header(path: Path) -> Any:
    """The elements of a file that tell what it holds."""
    dcmread = import_pydicom().dcmread
    with decoding(f"DICOM file {path.name}"):
        return dcmread(path, stop_before_pixels=True, specific_tags=[*_TAGS, _FRAME_GROUPS])


def is_volume(path: Path) -> bool:
    """Whether a DICOM file, or the only one of a folder, is read as a volume, and not as a picture."""
    return _content(path) in ("frames", "segmentation", "contours")


def is_mask(path: Path) -> bool:
    """Whether a DICOM file, or the only one of a folder, holds segments or contours."""
    return _content(path) in ("segmentation", "contours")


def dicom_masks(folder: Path) -> list[Path]:
    """The segmentations and contours that lie beside the slices of a series."""
    return [file for file in dicom_files(folder) if is_mask(file)]


def _content(path: Path) -> Content | None:
    file = single_file(path)
    known = None if file is None else _content_and_series(file)
    return known[0] if known else None


def _content_and_series(file: Path) -> tuple[Content, str] | None:
    """What a file holds and of which series; None where that cannot be read."""
    try:
        header = read_header(file)
    except (ValueError, MemoryError):  # told with its name when it is read
        return None
    return content_of(header), str(header.get("SeriesInstanceUID", ""))
