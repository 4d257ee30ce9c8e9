"""File names of images: the suffix, of which ".nii.gz" is one, and the name without it."""

from __future__ import annotations

from pathlib import Path

PNG_SUFFIXES, JPEG_SUFFIXES, TIFF_SUFFIXES = (".png",), (".jpg", ".jpeg"), (".tif", ".tiff")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
SUFFIXES = (*PNG_SUFFIXES, *JPEG_SUFFIXES, *TIFF_SUFFIXES, *NIFTI_SUFFIXES)


def suffix_of(path: Path) -> str:
    """Suffix in lower case with its dot, "" where there is none.

    Examples
    --------
    >>> suffix_of(Path("a.TIF")), suffix_of(Path("a.nii.gz")), suffix_of(Path("a.ome.tif")), suffix_of(Path("a.gz"))
    ('.tif', '.nii.gz', '.tif', '.gz')
    """
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def stem_of(path: Path) -> str:
    """File name without its suffix, nor the .ome before it.

    Examples
    --------
    >>> stem_of(Path("a.nii.gz")), stem_of(Path("a.ome.tif")), stem_of(Path("slide.1.png"))
    ('a', 'a', 'slide.1')
    """
    return path.name[: len(path.name) - len(suffix_of(path))].removesuffix(".ome")
