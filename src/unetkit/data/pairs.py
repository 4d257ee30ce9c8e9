"""Pairs of images and masks: by stem, by folder names, by a table, or as nnU-Net names them."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import Problem, Problems, raise_problems
from ..io import images_within, list_images, list_outlines
from ..io.dicom.headers import dicom_masks, holds_series
from ..io.filenames import (
    file_of,
    holds_zarr,
    image_keys,
    is_image_folder,
    is_outlines,
    is_part,
    mask_keys,
    stem_of,
    suffix_of,
)
from ..io.reading import needs_image
from ..io.vectors.folders import (
    as_series,
    file_of_all,
    list_masks,
    mask_stem,
    shared_images,
    unread_beside,
    used_outlines,
)
from ..io.zarr.labels import label_images
from ..json_text import parse_json

# Compared without regard to case.
_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "imagestr", "raw", "x")
_MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "labelstr", "annotations"),
    *("segmentations", "groundtruth", "gt", "y"),
)
_BESIDE = re.compile(r".+_(flows?\d?|outlines?|overlay|cp_output|probabilities)", re.IGNORECASE)  # neither of the two
_PICKLED = "_seg.npy"
_CHANNEL_ENDING = re.compile(r"(.+)_(\d{4})")  # nnU-Net's: case_0000, case_0001, ...

__all__ = ["Cases", "Pair", "channel_number", "find_pairs", "group_channels", "masks_of", "match_files"]

Cases = list[tuple[str, tuple[Path, ...]]]  # name of an image, and its files


@dataclass(frozen=True)
class Pair:
    """An image file and its mask file.

    Attributes
    ----------
    image, mask : Path
    name : str
        The image's stem; in a table that lists a stem twice, the path as the table has it, without its suffix.
    group : str or None
        What must not be torn apart by a split (patient, slide); None if not known. The scenes and time points of a file
        are a group, unless there is no other file.
    channels : tuple of Path
        Files of the second and further channels, where each channel is a file of its own.
    shares_mask : bool
        Whether the mask is a file with the outlines of other images too.
    """

    image: Path
    mask: Path
    name: str
    group: str | None = None
    channels: tuple[Path, ...] = ()
    shares_mask: bool = False

    @property
    def labelled(self) -> Path:
        """The file to name where a mask is wrong: the mask, or the image that it is of among others."""
        return self.image if self.shares_mask else self.mask

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the image, in the order of its channels."""
        return (self.image, *self.channels)


def find_pairs(images: Path | str, masks: Path | str | None = None, *, axes: str = "") -> list[Pair]:
    """Pair images with masks.

    Parameters
    ----------
    images : path
        A folder of images; or a CSV table with columns image, mask and, if you like,
        group (paths relative to the table); or, without `masks`, one folder that holds
        both, such as `images/` and `masks/`, or a folder per case with both in it, or
        nnU-Net's `imagesTr/`, `labelsTr/` and `dataset.json`, or x.png beside x_masks.png.
    masks : path, optional
        The folder of masks, or of outlines (GeoJSON, GeoPackage, ROIs of ImageJ, LabelMe, YOLO); or one file of
        outlines of all images (COCO, or those of maps). Names match by stem; endings and beginnings such as `_mask` and
        `mask_` do not count, nor capitals, nor how accents are stored, where no name matches as it is.
        Where no stem matches, case_0000.*, case_0001.*, ... are the channels of "case". A series over time is paired
        with a series of as many time points, or with a mask for each: film_t003.*.
    axes : str
        Of the files, where a person names them: see `io.images_within`.

    Returns
    -------
    list of Pair
        In natural order of the image names.

    Raises
    ------
    Problems
        Naming every file without a partner, every ambiguous name, every missing file, channel
        or column, all at once.
    FileNotFoundError
        If a folder or the table does not exist.
    """
    pairs, problems = match_files(images, masks, axes=axes)
    if problems is not None:
        raise problems
    return pairs


def match_files(
    images: Path | str, masks: Path | str | None = None, *, axes: str = ""
) -> tuple[list[Pair], Problems | None]:
    """Pair images with masks as `find_pairs` does, but return what is wrong beside the pairs that can be used.

    Raises
    ------
    ValueError, FileNotFoundError
        If there is no folder or table to begin with, or none of its files can be paired.
    """
    images = Path(images)
    if images.suffix.lower() == ".csv":
        if masks is not None:
            raise ValueError(f"{images} is a table that names the masks itself; leave out the folder {masks}")
        return _from_table(images)
    shared = None if masks is None or not (Path(masks).is_file() and is_outlines(Path(masks))) else Path(masks)
    for folder, content in ((images, "images"), (masks, "masks")):
        if folder is not None and not Path(folder).is_dir() and folder != shared:
            state = "is a file, expected a folder" if Path(folder).exists() else "there is no such folder"
            raise FileNotFoundError(f"{folder}: {state} of {content}")
    if masks is None:
        return _from_one_folder(images, axes)
    if shared is not None:
        return _of_one_file(list_images(images, axes=axes), shared)
    return _by_stem(list_images(images, axes=axes), list_masks(Path(masks), axes=axes), Path(masks))


def channel_number(file: Path) -> int | None:
    """Channel of a file by its name: 1 for case_0001.nii.gz; None where the name has no such ending."""
    ending = _CHANNEL_ENDING.fullmatch(stem_of(file))
    return int(ending[2]) if ending else None


def group_channels(files: Sequence[Path], *, channels: int | None = None) -> Cases:
    """Gather the files case_0000.*, case_0001.*, ... of each case.

    Parameters
    ----------
    files : sequence of Path
        Each with a `channel_number`.
    channels : int, optional
        How many a case has; without it as many as the case with the highest number.

    Returns
    -------
    list of (str, tuple of Path)
        Name of each case, and its files in the order of the channels; the cases in the order given.

    Raises
    ------
    ValueError
        Naming every case with its missing, surplus or doubled files.
    """
    cases: dict[Path, dict[int, Path]] = {}
    problems: list[Problem] = []
    for file in files:
        ending = _CHANNEL_ENDING.fullmatch(stem_of(file))
        if ending is None:
            raise ValueError(f"{file}: its name does not end in the number of a channel, such as _0000")
        taken = cases.setdefault(file.with_name(ending[1]), {}).setdefault(int(ending[2]), file)
        if taken != file:
            problems.append(Problem(f"{file}: channel {ending[2]} of {ending[1]} is {taken.name} already", (file,)))
    count = channels or 1 + max(number for case in cases.values() for number in case)
    for case, numbers in cases.items():
        suffix = suffix_of(next(iter(numbers.values())))
        missing = [f"{case.name}_{number:04d}{suffix}" for number in range(count) if number not in numbers]
        if missing:
            message = f"{case}: {', '.join(missing)} missing; has {len(numbers)} of {count} channels"
            problems.append(Problem(message, tuple(numbers.values())))
        for number, file in numbers.items():
            if number >= count:
                message = f"{file}: expected channels 0 to {count - 1}, this is {number}"
                problems.append(Problem(message, (file,)))
    raise_problems(problems, "unusable case")
    return [(case.name, tuple(numbers[n] for n in sorted(numbers))) for case, numbers in cases.items()]


def _collect(pairs: list[Pair], problems: list[Problem], kind: str) -> tuple[list[Pair], Problems | None]:
    return pairs, Problems(kind, problems) if problems else None


def _of_one_file(images: list[Path], file: Path) -> tuple[list[Pair], Problems | None]:
    """Every image with the file that holds the outlines of all."""
    drawn, problems = shared_images(images, file)
    return _collect(
        [Pair(image, file, stem_of(image), shares_mask=True) for image in drawn], problems, "image without outlines"
    )


def _by_stem(
    images: list[Path], files: tuple[list[Path], list[Path]], folder: Path, channels: int | None = None
) -> tuple[list[Pair], Problems | None]:
    """Match the names as they are; where none fits, the names without the numbers of channels."""
    masks, outlines = files
    stems = [stem_of(image) for image in images]
    if not masks and (shared := file_of_all(outlines, stems)):
        return _of_one_file(images, shared)
    stems += [ending[1] for stem in stems if (ending := _CHANNEL_ENDING.fullmatch(stem))]
    files_of_parts = dict.fromkeys(stem_of(file_of(image)) for image in images if is_part(image))
    masks = as_series(stems, [*masks, *used_outlines([*stems, *files_of_parts], masks, outlines)])
    pairs, problems = _matched([(stem_of(image), (image,)) for image in images], masks, folder)
    if not pairs and None not in map(channel_number, images) and _fit_as_channels(images, masks, folder):
        try:
            cases = group_channels(images, channels=channels)
        except Problems as error:
            return [], error
        pairs, problems = _matched(cases, masks, folder)
    return _collect(pairs, problems, "unpaired file")


def _fit_as_channels(images: list[Path], masks: list[Path], folder: Path) -> bool:
    # Checked before the channels are gathered: missing ones are reported only where names are meant as channels.
    names = dict.fromkeys(stem_of(image)[: -len("_0000")] for image in images)
    return bool(_matched([(name, (folder / name,)) for name in names], masks, folder)[0])


def _matched(cases: Cases, masks: list[Path], folder: Path) -> tuple[list[Pair], list[Problem]]:
    """Pairs of the cases that have exactly one mask, and the problems of the others."""
    exact, by_name, by_core = defaultdict(list), defaultdict(list), defaultdict(list)
    for mask in masks:
        own, *cores = mask_keys(mask_stem(mask))
        exact[mask_stem(mask)].append(mask)
        by_name[own].append(mask)
        for core in cores:
            by_core[core].append(mask)
    pairs: list[Pair] = []
    problems: list[Problem] = []
    takers: dict[Path, list[Path]] = {mask: [] for mask in masks}
    has_several_files = len({file_of(image) for _, (image, *_) in cases}) > 1
    for stem, (image, *channels) in cases:
        # The same name first: an image may itself end in "_label", or differ from another in its capitals only.
        own, *cores = image_keys(stem)
        ways = (exact.get(stem), by_name.get(own), by_core.get(own), *(by_name.get(c) or by_core.get(c) for c in cores))
        fitting = next((way for way in ways if way), [])
        for mask in fitting:
            takers[mask].append(image)
        if len(fitting) == 1:
            group = stem_of(file_of(image)) if has_several_files and is_part(image) else None
            pairs.append(Pair(image, fitting[0], stem, group, tuple(channels)))
            continue
        message = f"no mask named {stem}.* (or {stem}_mask.*) in {folder}{unread_beside(folder, stem)}"
        if fitting:
            listed = ", ".join(mask.name for mask in fitting)
            message = f"{len(fitting)} masks fit it: {listed}{unread_beside(folder, stem)}"
        problems.append(Problem(f"{image}: {message}", (image, *channels)))
    for mask, taken in takers.items():
        if not taken:
            problems.append(Problem(f"{mask}: no image belongs to this mask", (mask,)))
        elif len(taken) > 1:
            names = ", ".join(image.name for image in taken)
            problems.append(Problem(f"{mask}: {len(taken)} images fit this mask: {names}", (mask, *taken)))
    return pairs, problems


def masks_of(cases: Cases, folder: Path) -> list[Path]:
    """The mask, or outlines, of every case in a folder, by its name; masks of no case are left out.

    Raises
    ------
    Problems
        Naming every case that has no mask, or several.
    """
    masks, outlines = list_masks(folder)
    stems = [stem for stem, _ in cases]
    files_of_parts = dict.fromkeys(stem_of(file_of(image)) for _, (image, *_) in cases if is_part(image))
    masks = as_series(stems, [*masks, *used_outlines([*stems, *files_of_parts], masks, outlines)])
    pairs, problems = _matched(cases, masks, folder)
    firsts = {files[0] for _, files in cases}
    raise_problems([problem for problem in problems if problem.files[0] in firsts], "image without its mask")
    return [pair.mask for pair in pairs]


def _n_channels(table: Path) -> int | None:
    """Number of channels that nnU-Net's dataset.json names; None where it names none, or does not exist."""
    if not table.is_file():
        return None
    try:
        content = parse_json(table.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # not UTF-8, or not JSON
        raise ValueError(f"{table}: is not JSON ({error})") from None
    names = content.get("channel_names", content.get("modality")) if isinstance(content, dict) else None
    return len(names) if isinstance(names, dict) and names else None


def _from_one_folder(root: Path, axes: str) -> tuple[list[Pair], Problems | None]:
    folders = {f.name: f for f in sorted(root.iterdir()) if f.is_dir() and not f.name.startswith((".", "__"))}
    holds_labels = any(map(_labels_inside, folders.values()))
    if not holds_labels and all(map(is_image_folder, folders.values())):
        return _from_flat_folder(root, axes)
    by_name = {name.lower(): folder for name, folder in folders.items()}
    images = next((by_name[name] for name in _IMAGE_FOLDERS if name in by_name), None)
    masks = next((by_name[name] for name in _MASK_FOLDERS if name in by_name), None)
    if images and masks:
        channels = _n_channels(root / "dataset.json")
        return _by_stem(list_images(images, axes=axes), list_masks(masks, axes=axes), masks, channels)
    pairs: list[Pair] = []
    problems: list[Problem] = []
    for name, folder in folders.items():
        if is_image_folder(folder):
            inside = _labels_inside(folder)
            series = images_within(folder, axes=axes)
            times = images_within(inside[0], axes=axes) if len(inside) == 1 else []
            if len(series) == len(times):
                group = stem_of(folder) if len(series) > 1 and len(folders) > 1 else None
                pairs += [Pair(*each, stem_of(each[0]), group) for each in zip(series, times, strict=True)]
            elif times:
                message = f"{folder}: {len(series)} time points, and {len(times)} in its label image {inside[0]}"
                problems.append(Problem(message, (folder,)))
            else:
                message = f"{folder}: an image with {len(inside)} label images in it"
                listed = f" ({', '.join(path.name for path in inside)})" if inside else ""
                way = "name the pairs in a table" if inside else "name the folder of masks as well"
                problems.append(Problem(f"{message}{listed}: {way}", (folder,)))
            continue
        try:
            files = list_images(folder, axes=axes)
        except ValueError as error:
            problems.append(Problem(str(error), (folder,)))
            continue
        words = ("mask", "label", "seg", "_gt")
        mask_files = [f for f in files if any(word in f.stem.lower() for word in words) or needs_image(f)]
        image_files = [f for f in files if f not in mask_files]
        mask_files = mask_files or used_outlines(map(stem_of, image_files), [], list_outlines(folder))
        if len(mask_files) == len(image_files) == 1:
            pairs.append(Pair(image_files[0], mask_files[0], name, group=name))
        else:
            message = f"{folder}: expected one image and one file with 'mask' or 'label' in its name, "
            problems.append(Problem(f"{message}got {len(image_files)} and {len(mask_files)}", (folder,)))
    return _collect(pairs, problems, "unusable case folder")


def _labels_inside(folder: Path) -> list[Path]:
    """Label images in the folder of an image: of OME-Zarr its own, of a DICOM series segments and contours."""
    if holds_zarr(folder):
        return label_images(folder)
    return dicom_masks(folder) if holds_series(folder) else []


def _from_flat_folder(root: Path, axes: str) -> tuple[list[Pair], Problems | None]:
    """Images and masks in one folder, as Cellpose leaves them: x.png and x_masks.png or x_cp_masks.png."""
    files = [file for file in list_images(root, axes=axes) if not _BESIDE.fullmatch(stem_of(file))]
    names = {key for file in files for key in image_keys(stem_of(file))}
    masks = [file for file in files if names & set(mask_keys(stem_of(file))[1:])]
    plain = [mask for mask in masks if not mask.name.lower().endswith(_PICKLED)]
    if plain:  # a project of Cellpose beside the masks that it saved
        files, masks = [file for file in files if file in plain or file not in masks], plain
    images = [file for file in files if file not in masks]
    outlines = [file for file in list_outlines(root) if not _BESIDE.fullmatch(stem_of(file))]
    used = used_outlines(map(stem_of, images), masks, outlines)
    if not masks and not used and not file_of_all(outlines, names):
        raise ValueError(
            f"{root}: holds no folders; expected images/ and masks/ in it, or files such as x.png and x_mask.png, or "
            "name the folder of masks as well"
        )
    return _by_stem(images, (masks, used or outlines), root)


def _from_table(table: Path) -> tuple[list[Pair], Problems | None]:
    if not table.is_file():
        raise FileNotFoundError(f"{table}: there is no such table")
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            # By hand, spaces are typed after commas, and headings with capitals.
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns = [name.lower() for name in names]
            rows = [
                (reader.line_num, {name: cell.strip() for name, cell in row.items() if isinstance(cell, str)})
                for row in reader
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table}: is not a table in UTF-8 ({error}); save it as CSV UTF-8") from None
    missing = [name for name in ("image", "mask") if name not in columns]
    if missing:
        raise ValueError(
            f"{table}: column {' and '.join(missing)} missing; got {', '.join(names) or 'nothing'}, "
            "expected image, mask and, if you like, group, with commas between them"
        )
    if not rows:
        raise ValueError(f"{table}: has no rows below its header")
    return _pairs_of_rows(table, rows)


def _pairs_of_rows(table: Path, rows: list[tuple[int, dict[str, str]]]) -> tuple[list[Pair], Problems | None]:
    stems = Counter(stem_of(Path(row.get("image", ""))) for _, row in rows)
    masks = Counter(row.get("mask", "") for _, row in rows)
    pairs: list[Pair] = []
    problems: list[Problem] = []
    lines: dict[Path, int] = {}
    for line, row in rows:
        cells = {name: row.get(name, "") for name in ("image", "mask")}
        wrong = [f"no {name} is named" for name, cell in cells.items() if not cell]
        image, mask = (table.parent / cell for cell in cells.values())
        named = [path for path, cell in zip((image, mask), cells.values(), strict=True) if cell]
        wrong += [f"{path} does not exist" for path in named if not (file_of(path).is_file() or is_image_folder(path))]
        if cells["image"] and lines.setdefault(image, line) != line:
            wrong.append(f"{image} is listed on line {lines[image]} already")
        problems += [Problem(f"{table} line {line}: {message}", tuple(named)) for message in wrong]
        stem = stem_of(Path(cells["image"]))
        name = stem if stems[stem] == 1 or not stem else Path(cells["image"]).with_name(stem).as_posix()
        shares_mask = masks[cells["mask"]] > 1 and is_outlines(mask)
        pairs.append(Pair(image, mask, name, row.get("group") or None, shares_mask=shares_mask))
    return _collect([] if problems else pairs, problems, "wrong row")
