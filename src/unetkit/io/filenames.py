"""Suffixes and stems of image files, and folders that are one image."""

from __future__ import annotations

from pathlib import Path

PNG_SUFFIXES, JPEG_SUFFIXES, TIFF_SUFFIXES = (".png",), (".jpg", ".jpeg"), (".tif", ".tiff")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
ZARR_SUFFIXES = (".zarr",)  # folders
SUFFIXES = (*PNG_SUFFIXES, *JPEG_SUFFIXES, *TIFF_SUFFIXES, *NIFTI_SUFFIXES, *ZARR_SUFFIXES)
ZARR_FILES = ("zarr.json", ".zgroup", ".zarray")
DICOM_PREAMBLE = 128  # bytes before the letters DICM


def suffix_of(path: Path) -> str:
    """Suffix in lower case with its dot, "" where there is none.

    Examples
    --------
    >>> suffix_of(Path("a.TIF")), suffix_of(Path("a.nii.gz")), suffix_of(Path("a.ome.zarr")), suffix_of(Path("a.gz"))
    ('.tif', '.nii.gz', '.zarr', '.gz')
    """
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def stem_of(path: Path) -> str:
    """File name without its suffix, nor the .ome before it.

    Examples
    --------
    >>> stem_of(Path("a.nii.gz")), stem_of(Path("a.ome.tif")), stem_of(Path("a.ome.zarr")), stem_of(Path("slide.1.png"))
    ('a', 'a', 'a', 'slide.1')
    """
    return path.name[: len(path.name) - len(suffix_of(path))].removesuffix(".ome")


def holds_zarr(path: Path) -> bool:
    """Whether a folder is a group or an array of a Zarr hierarchy, by its content."""
    return any((path / name).is_file() for name in ZARR_FILES)


def holds_dicom(path: Path) -> bool:
    """Whether a folder holds DICOM slices: files that end in .dcm, or that begin as DICOM files do."""
    files = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
    by_name = any(file.suffix.lower() == ".dcm" for file in files)
    return by_name or any(is_dicom_file(file) for file in files[:3] if file.suffix == "")  # scanners name them IM0001


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM by its name, or by the letters after its preamble."""
    if path.suffix.lower() == ".dcm":
        return True
    with path.open("rb") as file:
        file.seek(DICOM_PREAMBLE)
        return file.read(4) == b"DICM"


def is_image_folder(path: Path) -> bool:
    """Whether a path is a folder that is read as one image: a Zarr hierarchy, or the slices of a DICOM series."""
    return path.is_dir() and (suffix_of(path) in ZARR_SUFFIXES or holds_zarr(path) or holds_dicom(path))
