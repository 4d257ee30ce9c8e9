"""From image files to mask files of the same name, size, spacing and place; every conflict is named at once."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..allocator import keep_freed_memory
from ..data.pairs import Cases, channel_number, group_channels
from ..errors import Problem, raise_problems
from ..io import images_within, list_images, open_lazy
from ..io.atomic import check_folder_writable, write_text
from ..io.dicom.headers import is_volume, single_file
from ..io.filenames import (
    JPEG_SUFFIXES,
    PNG_SUFFIXES,
    ZARR_SUFFIXES,
    file_of,
    holds_zarr,
    is_image_folder,
    name_of,
    suffix_of,
)
from ..io.formats import format_of
from ..io.png_jpeg import picture_pixels
from ..io.sidecars import is_placed_picture
from ..labels.kind import from_classes
from ..labels.options import STATEMENT, statement_text
from ..model.files import weights_hash
from ..processors import limit_threads
from ..progress import SILENT, Progress, subrange
from .dask import predict_on_cluster
from .input import InputImage
from .mask_file import MaskFile, PlannedMask
from .outputs import Outputs, PixelRecords
from .regions import find_regions
from .restriction import plan_blocks
from .tiling import Tiling

if TYPE_CHECKING:
    from .predictor import Existing, Predictor

__all__ = ["PredictionResult", "mask_name", "plan_masks", "predict_files"]

_LOSSLESS = {".jpg": ".png", ".jpeg": ".png"}  # the others hold ids as they are
_PICTURES = (*PNG_SUFFIXES, *JPEG_SUFFIXES)
_PNG_DTYPES = ("uint8", "uint16")
_PNG_OBJECTS = 2**16 - 1
_LEAST_PITCH = 8  # pixels from one object to the next: of images with more room than that for ids, masks are TIFFs


@dataclass(frozen=True)
class PredictionResult:
    """One mask that was written.

    Attributes
    ----------
    source, mask : Path
        The image, or the first of its files.
    size : tuple of int
        In pixels.
    tiling : Tiling
    pixels : int
        That were computed: all, or those that were missing where a mask was begun before.
    time_s : float
        Of the net with reading, for these pixels; without the check of the image before and the writing of the mask.
    within : Path or None
        The file of the region outside of which nothing was predicted.
    """

    source: Path
    mask: Path
    size: tuple[int, ...]
    tiling: Tiling
    pixels: int
    time_s: float
    within: Path | None = None


def predict_files(
    predictor: Predictor,
    inputs: Sequence[Path | str],
    out: Path | str,
    *,
    outputs: Outputs = Outputs(),  # noqa: B008 - frozen
    existing: Existing = "refuse",
    within: Path | str | None = None,
    cluster: str | None = None,
    progress: Progress = SILENT,
) -> list[PredictionResult]:
    """Segment image files of any size.

    Images are read and masks made region by region; the finished blocks of a large mask are kept beside
    it, so that the same call resumes it after a crash and gives the identical mask.

    Parameters
    ----------
    predictor : Predictor
        With a card.
    inputs : sequence of path
        Image files, or folders of them. Where the net takes k channels and all names end in
        _0000 to k - 1, case_0000.*, case_0001.*, ... are one image, and its mask is case.*.
    out : path
        Folder for the masks. A mask has its image's name, size and pixel size, lies where the
        image lies, and has the values that the training masks had; JPEG images get PNG masks.
    outputs : Outputs
        Maps in percent, uint8, in folders beside the masks.
    existing : "refuse", "overwrite" or "resume"
        Masks that exist: raise, replace them, or make only the others.
    within : path, optional
        The region of the images that matters: a mask on the grid of its image (0 is outside) or outlines, for all
        images where these are maps, else a folder with one per image, by its name. Inside the mask is what it is
        without a region; outside it is background, or no data in a map, and only blocks that meet the region are
        computed. Objects are those of the image cut by the region.
    cluster : str, optional
        Spread the work over the workers of a Dask scheduler: its address, or "local" (or
        "local:4" for four workers) for processes of this machine.
    progress : Progress
        In images.

    Returns
    -------
    list of PredictionResult

    Raises
    ------
    ValueError
        Naming every image that cannot be used, or not within the memory, before anything is
        computed; or if an image is changed while it is read.
    FileExistsError
        Naming every mask that exists, if these are refused; or if `out` is a file.
    OSError
        If a mask cannot be written; blocks that are finished are kept.
    """
    keep_freed_memory()
    limit_threads()
    records = PixelRecords(predictor.file_card, outputs)
    region = None if within is None else Path(within)
    masks = plan_masks(predictor, inputs, Path(out), folders=records.folders, existing=existing, within=region)
    execution = predictor.execution
    settings: dict[str, object] = {  # by these names partial masks of all versions are found again
        "model": _digest(predictor),
        "prune": execution.level,
        "averages": execution.tta,
        "beside": records.folders,
        "engine": predictor.engine,
    }
    if execution.skip_empty:
        settings["skip_empty"] = True
    _state_classes(Path(out), predictor, progress)
    if cluster is not None:
        return _on_cluster(cluster, predictor, masks, records, settings, progress)
    results, counts = [], Counter[str]()
    for i, planned in enumerate(masks):
        share = subrange(progress, i, i + 1, len(masks))
        with planned.open(predictor) as image, MaskFile(planned, predictor, records, settings) as mask:
            for message in mask.messages(image, counts):
                share.update(message=message)
            start, pixels = time.perf_counter(), mask.store.left_pixels
            predictor.fill(mask.store, image, planned.tiling, records, share)
            time_s = time.perf_counter() - start
            mask.finish(image.image)
        results.append(_result(planned, pixels, time_s))
        progress.update(i + 1, len(masks))
    _tell_counts(counts, progress)
    return results


def _tell_counts(counts: Counter[str], progress: Progress) -> None:
    for note, n in counts.items():
        if n > 1:
            progress.update(message=f"{n} images in all: {note}")


def _state_classes(out: Path, predictor: Predictor, progress: Progress) -> None:
    """Write the names of classes beside the masks, where the training masks stated some: what 1 means is then known."""
    kind, path = predictor.file_card.labels, out / STATEMENT
    if not kind.names:
        return
    text = statement_text(zip(kind.values, kind.names, strict=True))
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    elif path.read_text(encoding="utf-8") != text:
        progress.update(message=f"{path} is left as it is: it does not state the classes of this model")


def _result(planned: PlannedMask, pixels: int, time_s: float) -> PredictionResult:
    region = planned.within.path if planned.within else None
    size, tiling = planned.image_size, planned.tiling
    return PredictionResult(planned.files[0], planned.path, size, tiling, pixels, time_s, region)


def _digest(predictor: Predictor) -> str:
    """Of the model's files, or of the weights of a net in memory."""
    if predictor.source:
        digests = [weights_hash(path) for path in predictor.source]
    else:
        tensors = predictor.net.state_dict().values()
        digests = [hashlib.sha256(tensor.detach().cpu().numpy().tobytes()).hexdigest() for tensor in tensors]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _on_cluster(
    where: str,
    predictor: Predictor,
    masks: Sequence[PlannedMask],
    records: PixelRecords,
    settings: dict[str, object],
    progress: Progress,
) -> list[PredictionResult]:
    """All masks, on the workers of a cluster; the time of each is that from its first task to its last block."""
    results, counts = dict[int, PredictionResult](), Counter[str]()
    for planned, pixels, time_s in predict_on_cluster(where, predictor, masks, records, settings, counts, progress):
        results[id(planned)] = _result(planned, pixels, time_s)
    progress.update(len(masks), len(masks))
    _tell_counts(counts, progress)
    return [results[id(planned)] for planned in masks]


def plan_masks(
    predictor: Predictor,
    inputs: Sequence[Path | str],
    out: Path,
    *,
    folders: Sequence[str] = (),
    existing: Existing = "refuse",
    within: Path | None = None,
) -> list[PlannedMask]:
    """The masks to make, each of an image that was read once, so that a bad one is known now and not in an hour.

    Parameters
    ----------
    predictor : Predictor
        With a card.
    inputs, out, existing, within
        As `predict_files` takes them.
    folders : sequence of str
        Of further outputs beside the masks, of the same names.

    Raises
    ------
    ValueError
        Naming every missing file, every mask that two images share, every image that would be overwritten; or every
        image that cannot be used, or not within the memory.
    FileExistsError
        Naming every mask that exists, if these are refused; or if `out` is a file.
    """
    card = predictor.file_card
    channels = predictor.net.in_channels // (card.planes or 1)
    masks, problems = [], []
    dtype = from_classes(np.zeros(1, np.uint8), card.labels).dtype
    has_objects = card.decoding is not None
    found = _mask_paths(
        inputs,
        out,
        channels=channels,
        dtype=dtype,
        has_objects=has_objects,
        folders=folders,
        existing=existing,
        axes=card.axes,
    )
    regions = find_regions(found, within)
    for (files, path), region in zip(found, regions, strict=True):
        try:
            with InputImage.open(files, predictor.net, card) as image:
                tiling, skipped = plan_blocks(predictor, image, region)
                is_map = image.image.georeference is not None
                own = (image.size, image.image.size, image.scaling, tiling)
                masks.append(PlannedMask(files, path, *own, is_map, region, skipped))
        except (ValueError, OSError, MemoryError) as error:
            text = str(error)
            is_named = any(str(file) in text for file in (*files, *([region.path] if region else [])))
            problems.append(Problem(text if is_named else f"{files[0]}: {text}", files))
    raise_problems(problems, "unusable image")
    return masks


def _mask_paths(
    inputs: Sequence[Path | str],
    out: Path,
    *,
    channels: int,
    dtype: np.dtype,
    has_objects: bool,
    folders: Sequence[str],
    existing: Existing,
    axes: str,
) -> list[tuple[tuple[Path, ...], Path]]:
    """The files of every image with the mask to write."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out}: is a file; name a folder for the masks")
    check_folder_writable(out)
    sources: list[Path] = []
    for item in map(Path, inputs):
        is_set = item.is_dir() and not is_image_folder(item)
        sources += list_images(item, axes=axes) if is_set else images_within(item, axes=axes)
    missing = [source for source in sources if not file_of(source).exists()]
    raise_problems((Problem(f"{source}: there is no such file", (source,)) for source in missing), "missing file")
    cases = _group_files(list(dict.fromkeys(sources)), channels)
    masks = [(files, out / mask_name(name, files[0], dtype)) for name, files in cases]
    if has_objects:
        masks = [(files, _for_ids(mask, files[0])) for files, mask in masks]
    by_mask: dict[Path, list[Path]] = {}
    for files, mask in masks:
        by_mask.setdefault(mask, []).append(files[0])
    clashes = [(mask, images) for mask, images in by_mask.items() if len(images) > 1]
    raise_problems(
        (Problem(f"{mask}: would hold {' and '.join(map(str, images))}", tuple(images)) for mask, images in clashes),
        "shared mask name",
    )
    same = [mask for files, mask in masks if mask.resolve() in [file.resolve() for file in files]]
    raise_problems(
        (Problem(f"{mask}: the mask would replace its own image; name another folder", (mask,)) for mask in same),
        "conflict",
    )
    is_made = all if existing == "resume" else any
    made = [
        mask
        for _, mask in masks
        if is_made(file.exists() for file in (mask, *(mask.parent / folder / mask.name for folder in folders)))
    ]
    if made and existing == "refuse":
        listed = "\n".join(f"  {mask}" for mask in made)
        number = "1 mask exists" if len(made) == 1 else f"{len(made)} masks exist"
        raise FileExistsError(
            f"{number}; add --overwrite, or --resume to make the others, or name another folder:\n{listed}"
        )
    return [(files, mask) for files, mask in masks if existing == "overwrite" or mask not in made]


def _for_ids(mask: Path, source: Path) -> Path:
    """The mask as a TIFF where a PNG may not hold the ids of all its objects: known now, not when all are found."""
    is_crowded = suffix_of(mask) in PNG_SUFFIXES and picture_pixels(source) > _PNG_OBJECTS * _LEAST_PITCH**2
    return mask.with_suffix(".tif") if is_crowded else mask


def _group_files(sources: list[Path], channels: int) -> Cases:
    """Name and files of every image: one file each, unless all are named as files of one channel each."""
    numbers = [channel_number(source) for source in sources]
    is_by_channel = bool(sources) and all(number is not None and number < channels for number in numbers)
    if is_by_channel and not (channels > 1 and _has_channels(sources[0])):
        return group_channels(sources, channels=channels)
    return [(name_of(source), (source,)) for source in sources]


def _has_channels(source: Path) -> bool:
    """Whether a file has several channels itself, so that the number in its name is not that of a channel.

    A picture that is stored in colour and happens to be gray, as by night, is a whole image too.
    """
    try:
        with open_lazy(source) as image:
            return image.shape[0] > 1 or any(note.startswith("gray stored as") for note in image.notes)
    except (ValueError, OSError, MemoryError):
        return False  # reported with everything else that is wrong, when all images are read


def mask_name(name: str, source: Path, dtype: np.dtype | None = None) -> str:
    """File name of the mask of an image `name` that lies in `source`: of the same kind, but never lossy.

    Values of a `dtype` that PNG does not hold go into a TIFF.
    """
    suffix = suffix_of(source)
    if is_image_folder(source) and suffix not in ZARR_SUFFIXES:  # inside a Zarr hierarchy (plate.zarr/A/1/0), or DICOM
        return f"{source.name}.ome.zarr" if holds_zarr(source) else f"{source.name}.nii.gz"
    if single_file(source):
        return name + (".nii.gz" if is_volume(source) else ".tif")
    found = format_of(source)
    if (found.is_picture if found else suffix in _PICTURES) and is_placed_picture(source):
        return f"{name}.tif"  # which keeps the place
    suffix = _LOSSLESS.get(suffix, suffix) if found is None else found.mask_suffix
    return name + (".tif" if suffix in PNG_SUFFIXES and dtype is not None and dtype.name not in _PNG_DTYPES else suffix)
