"""Which mask belongs to which image: by stem, by folder names, or by a table."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..io import list_images

_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "imagesTr", "raw", "x")
_MASK_FOLDERS = (
    "masks",
    "mask",
    "labels",
    "label",
    "labelsTr",
    "annotations",
    "segmentations",
    "groundtruth",
    "gt",
    "y",
)
_MASK_ENDINGS = ("_masks", "_mask", "_labels", "_label", "_segmentation", "_seg", "_gt", "_manual")
_IMAGE_ENDINGS = ("_image", "_img", "_raw", "_sat")


@dataclass(frozen=True)
class Pair:
    """An image file and its mask file.

    Attributes
    ----------
    image, mask : Path
    name : str
        The image's stem.
    group : str or None
        What must not be torn apart by a split (patient, slide, scene); None if not known.
    """

    image: Path
    mask: Path
    name: str
    group: str | None = None


def find_pairs(images: Path | str, masks: Path | str | None = None) -> list[Pair]:
    """Pair images with masks.

    Parameters
    ----------
    images : path
        A folder of images; or a CSV table with columns image, mask and, if you like,
        group (paths relative to the table); or, without `masks`, one folder that holds
        both, such as `images/` and `masks/`, or a folder per case with both in it.
    masks : path, optional
        The folder of masks. Names match by stem; endings such as `_mask` do not count.

    Returns
    -------
    list of Pair
        In natural order of the image names.

    Raises
    ------
    ValueError
        Naming every file without a partner, every ambiguous name, every missing file or
        column, all at once.
    FileNotFoundError
        If a folder or the table does not exist.
    """
    images = Path(images)
    if images.suffix.lower() == ".csv":
        if masks is not None:
            raise ValueError(f"{images} is a table that names the masks itself; leave out the folder {masks}")
        return _from_table(images)
    if not images.is_dir():
        raise FileNotFoundError(f"{images}: there is no such folder of images")
    if masks is None:
        return _from_one_folder(images)
    if not Path(masks).is_dir():
        raise FileNotFoundError(f"{masks}: there is no such folder of masks")
    return _by_stem(list_images(images), list_images(masks), Path(masks))


def raise_all(problems: Iterable[str], what: str) -> None:
    """Raise one ValueError that lists every problem, if there is any."""
    listed = list(problems)
    if listed:
        lines = "\n".join(f"  {problem}" for problem in listed)
        raise ValueError(f"{len(listed)} {what}{'s' if len(listed) > 1 else ''}:\n{lines}")


def _stem(path: Path, endings: tuple[str, ...]) -> str:
    stem = path.name.split(".")[0]  # a.ome.tif and a.nii.gz are both "a"
    for ending in endings:
        if stem.lower().endswith(ending):
            return stem[: -len(ending)]
    return stem


def _by_stem(images: list[Path], masks: list[Path], folder: Path) -> list[Pair]:
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for mask in masks:
        by_stem[_stem(mask, _MASK_ENDINGS)].append(mask)
    pairs, problems, seen = [], [], defaultdict(list)
    for image in images:
        stem = _stem(image, ())
        found = by_stem.get(stem) or by_stem.get(_stem(image, _IMAGE_ENDINGS), [])
        seen[stem].append(image)
        if len(found) == 1:
            pairs.append(Pair(image, found[0], stem))
        elif found:
            problems.append(f"{image}: {len(found)} masks fit it: {', '.join(m.name for m in found)}")
        else:
            problems.append(f"{image}: no mask named {stem}.* (or {stem}_mask.*) in {folder}")
    used = {pair.mask for pair in pairs} | {m for p in problems for m in masks if m.name in p}
    problems += [f"{mask}: no image belongs to this mask" for mask in masks if mask not in used]
    problems += [
        f"{same[0].parent}: {len(same)} images are named {stem}: {', '.join(i.name for i in same)}"
        for stem, same in seen.items()
        if len(same) > 1
    ]
    raise_all(problems, "unpaired file")
    return pairs


def _from_one_folder(root: Path) -> list[Pair]:
    folders = {folder.name: folder for folder in sorted(root.iterdir()) if folder.is_dir()}
    images = next((folders[name] for name in _IMAGE_FOLDERS if name in folders), None)
    masks = next((folders[name] for name in _MASK_FOLDERS if name in folders), None)
    if images and masks:
        return _by_stem(list_images(images), list_images(masks), masks)
    pairs, problems = [], []
    for name, folder in folders.items():
        files = list_images(folder)
        mask_files = [f for f in files if _names_mask(f)]
        image_files = [f for f in files if f not in mask_files]
        if len(mask_files) == len(image_files) == 1:
            pairs.append(Pair(image_files[0], mask_files[0], name, group=name))
        else:
            problems.append(
                f"{folder}: expected one image and one file with 'mask' or 'label' in its name, "
                f"got {len(image_files)} and {len(mask_files)}"
            )
    if not folders:
        raise ValueError(
            f"{root}: holds no folders; expected images/ and masks/ in it, or name the folder of masks as well"
        )
    raise_all(problems, "case folder without a pair")
    return pairs


def _names_mask(path: Path) -> bool:
    return any(word in path.stem.lower() for word in ("mask", "label", "seg", "_gt"))


def _from_table(table: Path) -> list[Pair]:
    if not table.is_file():
        raise FileNotFoundError(f"{table}: there is no such table")
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns, rows = list(reader.fieldnames or ()), list(reader)
    missing = [name for name in ("image", "mask") if name not in columns]
    if missing:
        raise ValueError(
            f"{table}: column {' and '.join(missing)} missing; got {', '.join(columns) or 'nothing'}, "
            "expected image, mask and, if you like, group"
        )
    if not rows:
        raise ValueError(f"{table}: has no rows below its header")
    pairs, problems = [], []
    for line, row in enumerate(rows, start=2):
        image, mask = table.parent / (row["image"] or ""), table.parent / (row["mask"] or "")
        problems += [f"{table} line {line}: {path} does not exist" for path in (image, mask) if not path.is_file()]
        pairs.append(Pair(image, mask, _stem(image, ()), row.get("group") or None))
    raise_all(problems, "missing file")
    return pairs
