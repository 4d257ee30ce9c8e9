"""Which mask belongs to which image: by stem, by folder names, or by a table."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..io import list_images

# Compared without regard to case.
_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "imagestr", "raw", "x")
_MASK_FOLDERS = (
    "masks",
    "mask",
    "labels",
    "label",
    "labelstr",
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
        The image's stem; in a table that lists a stem twice, the path as the table has it, without its suffix.
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
    for folder, what in ((images, "images"), (masks, "masks")):
        if folder is not None and not Path(folder).is_dir():
            found = "is a file, expected a folder" if Path(folder).exists() else "there is no such folder"
            raise FileNotFoundError(f"{folder}: {found} of {what}")
    if masks is None:
        return _from_one_folder(images)
    return _by_stem(list_images(images), list_images(masks), Path(masks))


def raise_all(problems: Iterable[str], what: str) -> None:
    """Raise one ValueError that lists every problem, if there is any; `what` is one of them, such as "missing file"."""
    listed = list(problems)
    if listed:
        lines = "\n".join(f"  {problem}" for problem in listed)
        raise ValueError(f"{len(listed)} {what}{'s' if len(listed) > 1 else ''}:\n{lines}")


def _stem(path: Path) -> str:
    """File name without its suffix; a.ome.tif and a.nii.gz are both "a", slide.1.png is "slide.1"."""
    name = path.name.removesuffix(".gz")
    return name.removesuffix(Path(name).suffix).removesuffix(".ome")


def _without(endings: tuple[str, ...], stem: str) -> str:
    found = next((ending for ending in endings if stem.lower().endswith(ending)), "")
    return stem[: len(stem) - len(found)]


def _by_stem(images: list[Path], masks: list[Path], folder: Path) -> list[Pair]:
    exact, by_stem = defaultdict(list), defaultdict(list)
    for mask in masks:
        exact[_stem(mask)].append(mask)
        by_stem[_without(_MASK_ENDINGS, _stem(mask))].append(mask)
    pairs, problems = [], []
    takers: dict[Path, list[Path]] = {mask: [] for mask in masks}
    for image in images:
        stem = _stem(image)
        # The same name first: an image may itself end in "_label".
        found = exact.get(stem) or by_stem.get(stem) or by_stem.get(_without(_IMAGE_ENDINGS, stem), [])
        for mask in found:
            takers[mask].append(image)
        if len(found) == 1:
            pairs.append(Pair(image, found[0], stem))
        elif found:
            problems.append(f"{image}: {len(found)} masks fit it: {', '.join(m.name for m in found)}")
        else:
            problems.append(f"{image}: no mask named {stem}.* (or {stem}_mask.*) in {folder}")
    for mask, taken in takers.items():
        if not taken:
            problems.append(f"{mask}: no image belongs to this mask")
        elif len(taken) > 1:
            problems.append(f"{mask}: {len(taken)} images fit this mask: {', '.join(i.name for i in taken)}")
    raise_all(problems, "unpaired file")
    return pairs


def _from_one_folder(root: Path) -> list[Pair]:
    folders = {f.name: f for f in sorted(root.iterdir()) if f.is_dir() and not f.name.startswith((".", "__"))}
    if not folders:
        raise ValueError(
            f"{root}: holds no folders; expected images/ and masks/ in it, or name the folder of masks as well"
        )
    by_name = {name.lower(): folder for name, folder in folders.items()}
    images = next((by_name[name] for name in _IMAGE_FOLDERS if name in by_name), None)
    masks = next((by_name[name] for name in _MASK_FOLDERS if name in by_name), None)
    if images and masks:
        return _by_stem(list_images(images), list_images(masks), masks)
    pairs, problems = [], []
    for name, folder in folders.items():
        try:
            files = list_images(folder)
        except ValueError as error:
            problems.append(str(error))
            continue
        mask_files = [f for f in files if _names_mask(f)]
        image_files = [f for f in files if f not in mask_files]
        if len(mask_files) == len(image_files) == 1:
            pairs.append(Pair(image_files[0], mask_files[0], name, group=name))
        else:
            problems.append(
                f"{folder}: expected one image and one file with 'mask' or 'label' in its name, "
                f"got {len(image_files)} and {len(mask_files)}"
            )
    raise_all(problems, "unusable case folder")
    return pairs


def _names_mask(path: Path) -> bool:
    return any(word in path.stem.lower() for word in ("mask", "label", "seg", "_gt"))


def _from_table(table: Path) -> list[Pair]:
    if not table.is_file():
        raise FileNotFoundError(f"{table}: there is no such table")
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns, rows = list(reader.fieldnames or ()), [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table}: is no table in UTF-8 ({error}); save it as CSV UTF-8") from None
    missing = [name for name in ("image", "mask") if name not in columns]
    if missing:
        raise ValueError(
            f"{table}: column {' and '.join(missing)} missing; got {', '.join(columns) or 'nothing'}, "
            "expected image, mask and, if you like, group, with commas between them"
        )
    if not rows:
        raise ValueError(f"{table}: has no rows below its header")
    return _pairs_of_rows(table, rows)


def _pairs_of_rows(table: Path, rows: list[tuple[int, dict[str, str]]]) -> list[Pair]:
    stems = Counter(_stem(Path(row["image"] or "")) for _, row in rows)
    pairs, problems = [], []
    lines: dict[Path, int] = {}
    for line, row in rows:
        cells = {name: row[name] or "" for name in ("image", "mask")}
        problems += [f"{table} line {line}: no {name} is named" for name, cell in cells.items() if not cell]
        image, mask = (table.parent / cell for cell in cells.values())
        absent = [path for path, cell in zip((image, mask), cells.values(), strict=True) if cell and not path.is_file()]
        problems += [f"{table} line {line}: {path} does not exist" for path in absent]
        if cells["image"] and lines.setdefault(image, line) != line:
            problems.append(f"{table} line {line}: {image} is listed on line {lines[image]} already")
        stem = _stem(Path(cells["image"]))
        name = stem if stems[stem] == 1 or not stem else Path(cells["image"]).with_name(stem).as_posix()
        pairs.append(Pair(image, mask, name, row.get("group") or None))
    raise_all(problems, "wrong row")
    return pairs
