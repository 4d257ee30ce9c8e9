"""Which masks are to be made of which files; every conflict is named at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.pairs import Cases, channel_number, group_channels, raise_all
from ..io import list_images, open_lazy
from ..io.filenames import ZARR_SUFFIXES, holds_zarr, is_image_folder, suffix_of

__all__ = ["Job", "find_jobs", "mask_name"]

_LOSSLESS = {".jpg": ".png", ".jpeg": ".png"}  # the others hold ids as they are


@dataclass(frozen=True)
class Job:
    """The files of one image, one per channel or one for all, and the mask to write."""

    files: tuple[Path, ...]
    mask: Path

    @property
    def partial(self) -> Path:
        """Where the finished blocks of the mask are kept until all are there."""
        return self.mask.with_name(f".{self.mask.name}.partial")

    def beside(self, folder: str) -> Path:
        """A further output, of the mask's name, in a folder beside it."""
        return self.mask.parent / folder / self.mask.name

    def key(self, **settings: Any) -> str:
        """What the mask depends on: the files as they are now, and settings that JSON can hold."""
        stamps = [_stamp(file) for file in self.files]
        return hashlib.sha256(json.dumps([stamps, settings], sort_keys=True).encode()).hexdigest()


def _stamp(file: Path) -> list[Any]:
    """Name, size and time of a file, or of what lies at the top of a folder."""
    rows = [file, *sorted(file.iterdir())] if file.is_dir() else [file]
    return [[row.name, row.stat().st_size, row.stat().st_mtime_ns] for row in rows]


def find_jobs(
    inputs: Sequence[Path | str],
    out: Path,
    *,
    channels: int,
    folders: Sequence[str] = (),
    overwrite: bool = False,
    resume: bool = False,
) -> list[Job]:
    """Pairs (files of an image, mask to write).

    Parameters
    ----------
    inputs : sequence of path
        Image files, Zarr or DICOM folders, or folders of them.
    out : Path
        Folder of the masks.
    channels : int
        That the net takes.
    folders : sequence of str
        Of further outputs beside the masks, of the same names.
    overwrite : bool
        Masks that exist are made again.
    resume : bool
        Masks that exist, with all further outputs, are left out.

    Raises
    ------
    ValueError
        Naming every missing file, every mask that two images share, every image that would be overwritten.
    FileExistsError
        Naming every mask that exists, unless `overwrite` or `resume`; or if `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out}: is a file; name a folder for the masks")
    sources: list[Path] = []
    for item in map(Path, inputs):
        sources += list_images(item) if item.is_dir() and not is_image_folder(item) else [item]
    raise_all((f"{s}: there is no such file" for s in sources if not s.exists()), "missing file")
    cases = _cases(list(dict.fromkeys(sources)), channels)
    jobs = [Job(files, out / mask_name(name, files[0])) for name, files in cases]
    by_mask: dict[Path, list[Path]] = {}
    for job in jobs:
        by_mask.setdefault(job.mask, []).append(job.files[0])
    clashes = [f"{mask}: would hold {' and '.join(map(str, of))}" for mask, of in by_mask.items() if len(of) > 1]
    raise_all(clashes, "shared mask name")
    same = [str(job.mask) for job in jobs if job.mask.resolve() in [file.resolve() for file in job.files]]
    raise_all((f"{mask}: the mask would replace its own image; name another folder" for mask in same), "conflict")
    outputs = {job.mask: [job.mask, *map(job.beside, folders)] for job in jobs}
    existing = [mask for mask, files in outputs.items() if (all if resume else any)(file.exists() for file in files)]
    if existing and not (overwrite or resume):
        listed = "\n".join(f"  {mask}" for mask in existing)
        number = "1 mask exists" if len(existing) == 1 else f"{len(existing)} masks exist"
        raise FileExistsError(
            f"{number}; add --overwrite, or --resume to make the others, or name another folder:\n{listed}"
        )
    return [job for job in jobs if overwrite or job.mask not in existing]


def _cases(sources: list[Path], channels: int) -> Cases:
    """Name and files of every image: one file each, unless all are named as files of one channel each."""
    numbers = [channel_number(source) for source in sources]
    is_by_channel = bool(sources) and all(number is not None and number < channels for number in numbers)
    if is_by_channel and not (channels > 1 and _has_channels(sources[0])):
        return group_channels(sources, channels=channels)
    return [(source.name[: len(source.name) - len(suffix_of(source))], (source,)) for source in sources]


def _has_channels(source: Path) -> bool:
    """Whether a file has several channels itself, so that the number in its name is not that of a channel."""
    try:
        with open_lazy(source) as image:
            return image.shape[0] > 1
    except (ValueError, OSError, MemoryError):
        return False  # said with everything else that is wrong, when all images are read


def mask_name(name: str, source: Path) -> str:
    """File of the mask of an image `name` that lies in `source`: of the same kind, but never lossy."""
    suffix = suffix_of(source)
    if is_image_folder(source) and suffix not in ZARR_SUFFIXES:  # inside a Zarr hierarchy (plate.zarr/A/1/0), or DICOM
        return f"{source.name}.ome.zarr" if holds_zarr(source) else f"{source.name}.nii.gz"
    return name + _LOSSLESS.get(suffix, suffix)
