"""A table of measurements of every object of some masks, in the units of the files, and outlines for ImageJ."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from ..errors import Problem, raise_problems
from ..image import Image
from ..io import read, read_coded_labels
from ..io.atomic import check_writable, write_text
from ..io.decoder_errors import naming
from ..io.filenames import stem_of
from ..io.grid import Grid
from ..io.label_samples import ValueCode
from ..io.placement import turned_onto
from ..io.reading import needs_image
from ..labels.kind import IGNORE_INDEX, LabelKind, to_classes
from ..labels.numbering import Numbering, number_values
from ..labels.options import LabelOptions, label_options
from ..labels.recognise import recognise
from ..labels.statistics import LabelStatistics, label_statistics
from ..progress import SILENT, Progress, subrange
from .columns import columns_of, ground_below, measure_objects, rows_of
from .polygons import mask_files, refuse_existing
from .rois import import_roifile, object_rois, write_rois

__all__ = ["Measurements", "measure", "measure_objects"]

TABLE = "objects.csv"
_CHECKS = 0.4  # share of the time that is spent before the first object is measured

Row = dict[str, float | str]


@dataclass(frozen=True)
class Measurements:
    """The table that was written, and the sizes in it.

    Attributes
    ----------
    table : Path
    masks, objects : int
        Numbers of masks and of objects that were measured.
    sizes : tuple of float
        Area or volume of every object, in `unit`.
    unit : str
        "µm²" or "µm³", say, or "px²" where the files have no spacing.
    rois : tuple of Path
        Zip files of outlines.
    notes : tuple of str
        Remarks on how it was measured, for the user.
    """

    table: Path
    masks: int
    objects: int
    sizes: tuple[float, ...]
    unit: str
    rois: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """Median size of the objects and the range of 90 % of them, in a line."""
        if not self.sizes:
            return f"{self.masks} masks hold no object"
        low, middle, high = np.quantile(self.sizes, (0.05, 0.5, 0.95))
        size = f"median size {middle:.4g} {self.unit}, 90 % between {low:.4g} and {high:.4g}"
        return f"{self.objects} objects in {self.masks} masks: {size}"


def measure(
    masks: Sequence[Path | str],
    out: Path | str,
    *,
    images: Path | str | None = None,
    labels: str | LabelOptions = "auto",
    rois: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Measurements:
    """Measure every object of some masks, and write `out`/objects.csv, a row for each.

    Parameters
    ----------
    masks : sequence of path
        Masks, or folders of them, all 2D or all 3D. Where they hold ids, these are the objects; else every connected
        part of a class is one, and a column holds its class. Pixels without data by a GeoTIFF's tag are no object.
        Areas of maps in Web Mercator, in degrees and in feet are square metres on the ground.
    out : path
        Folder.
    images : path, optional
        Folder of images of the same names, or one image for one mask: gray values are measured as well.
    labels : {"auto", "binary", "classes", "instances"}
        What the masks hold.
    rois : bool
        Also write NAME_rois.zip for every mask: outlines for ImageJ's ROI manager (2D).
    overwrite : bool
        Replace files that exist.
    progress : Progress
        Takes the share of the work that is done.

    Returns
    -------
    Measurements

    Raises
    ------
    ImportError
        If `rois` are asked for and roifile or rasterio is not installed.
    Problems
        Naming every file that cannot be used, before anything is written.
    FileExistsError
        Naming every file that exists, unless `overwrite`.
    """
    out, files = Path(out), [file for path in map(Path, masks) for file in mask_files(path)]
    table, archives = out / TABLE, [out / f"{stem_of(file)}_rois.zip" for file in files] if rois else []
    if rois:
        import_roifile()
    if not overwrite:
        refuse_existing([table, *archives])
    check_writable(table)
    matching = _matching_images(files, None if images is None else Path(images))
    with naming(*map(Path, masks)):
        options = label_options(labels, files)
    checks, sums = (subrange(progress, *part) for part in ((0, _CHECKS), (_CHECKS, 1)))
    statistics, unit, notes, numbering = _check(files, matching, rois, options, checks)
    with naming(*map(Path, masks)):
        kind = _kind(statistics, options)
    notes += (numbering.text,) if numbering.text else ()
    notes += (kind.description,) if kind.description else ()
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    names: list[str] = []
    for i, (file, image) in enumerate(zip(files, matching, strict=True)):
        sums.update(i, len(files))
        mask = _read_mask(file, image, numbering)[0]
        gray = None if image is None else _laid_on(image, mask)
        outlines: list[Any] = []
        for value, ids in _objects(mask.array, kind):
            first: Row = {"mask": file.name} | ({} if value is None else {"class": value})
            columns = columns_of(ids, mask, gray)
            names = list(dict.fromkeys([*names, *first, *columns]))
            rows += [{**first, **row} for row in rows_of(columns)]
            if rois:
                outlines += object_rois(ids, value)
        if rois:
            write_rois(archives[i], outlines)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(table, text.getvalue())
    sums.update(len(files), len(files))
    size = next((name for name in names if name.startswith(("area_", "volume_"))), "")
    sizes = tuple(float(row[size]) for row in rows)
    return Measurements(table, len(files), len(rows), sizes, unit, tuple(archives), notes)


def _read_mask(
    file: Path,
    image: Path | None,
    numbering: Numbering = Numbering(),  # noqa: B008 - frozen
) -> tuple[Image, ValueCode | None]:
    """A mask whose pixels without data, by its own tag, are background: they are no object; and what they stand for."""
    grid = Grid.of(image, read(image)) if image is not None and needs_image(file) else None
    mask, code = read_coded_labels(file, grid=grid)
    if code is not None:
        mask = replace(mask, array=numbering.array(mask.array, code))
    valid = mask.valid_mask()
    return _as_background(mask, valid), code


def _as_background(mask: Image, valid: np.ndarray | None) -> Image:
    return mask if valid is None else replace(mask, array=np.where(valid, mask.array, 0).astype(mask.array.dtype))


def _laid_on(file: Path, mask: Image) -> Image:
    """The image of a mask, turned to lie on it; ValueError where it lies elsewhere."""
    image = read(file)
    try:
        return turned_onto(image, mask)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _objects(labels: np.ndarray, kind: LabelKind) -> Iterator[tuple[int | None, np.ndarray]]:
    """Ids of the objects; of classes, class by class with its value."""
    classes = to_classes(labels, kind)
    if kind.kind == "instances":
        yield None, np.where((classes > 0) & (classes != IGNORE_INDEX), labels, 0)
        return
    for index, value in enumerate(kind.values[1:], start=1):
        yield (None if kind.n_classes == 2 else value), ndimage.label(classes == index)[0]


def _check(
    files: Sequence[Path], images: Sequence[Path | None], rois: bool, options: LabelOptions, progress: Progress
) -> tuple[list[LabelStatistics], str, tuple[str, ...], Numbering]:
    """Statistics of the masks, the unit in which they are measured, notes, and the values of their colours or names."""
    problems, statistics, spaces, grounds = [], [], {}, Counter[str]()
    codes: list[ValueCode | None] = []
    for i, (file, image) in enumerate(zip(files, images, strict=True)):
        progress.update(i, len(files))
        try:
            mask, code = _read_mask(file, image)
            codes.append(code)
            if ground := ground_below(mask):
                grounds[ground.kind] += 1
            spaces[file] = (mask.array.ndim, "m" if ground else mask.unit)
            statistics.append(label_statistics(mask.array))
            if rois and mask.array.ndim != 2:
                raise ValueError(f"{file}: a mask of {mask.array.ndim} axes; ImageJ's outlines are of 2D masks")
            size = mask.size if image is None else _laid_on(image, mask).size
            if size != mask.size:
                raise ValueError(f"{file}: is {mask.size} pixels, but its image {image} is {size}")
        except (ValueError, OSError) as error:
            text = str(error)
            problems.append(Problem(text if str(file) in text or str(image) in text else f"{file}: {text}", (file,)))
    counts = Counter(spaces.values())
    if len(counts) > 1:
        (ndim, unit), *_ = counts.most_common(1)[0]
        odd = [file for file, space in spaces.items() if space != (ndim, unit)]
        n, other = spaces[odd[0]]
        text = f"a table is for masks of one unit: most are {ndim}D in {unit}, but {odd[0]} is {n}D in {other}"
        problems.append(Problem(text, tuple(odd)))
    for name, number in Counter(stem_of(file) for file in files).items():
        if number > 1:
            same = tuple(file for file in files if stem_of(file) == name)
            problems.append(Problem(f"{name}: {number} masks have this name; give them one by one", same))
    raise_problems(problems, "unusable mask")
    (ndim, unit), *_ = counts.most_common(1)[0]
    notes = tuple(f"{n} maps in {kind}: sizes in metres on the ground, at every object" for kind, n in grounds.items())
    numbering = number_values(codes, options)
    statistics = [numbering.statistics(*pair) for pair in zip(statistics, codes, strict=True)]
    return statistics, unit + {2: "²", 3: "³"}[ndim], notes, numbering


def _kind(statistics: Sequence[LabelStatistics], options: LabelOptions) -> LabelKind:
    """The kind of the masks; those that show background only hold no object, which is a result."""
    if all(set(file.counts) <= {0} for file in statistics):
        return LabelKind("instances" if options.labels == "instances" else "binary", (0, 1))
    return recognise(statistics, options)


def _matching_images(masks: Sequence[Path], images: Path | None) -> list[Path | None]:
    """The image of every mask, by name."""
    if images is None:
        return [None] * len(masks)
    files = mask_files(images)
    if len(masks) == len(files) == 1:
        return list(files)
    by_name = {stem_of(image): image for image in files}
    missing = [mask for mask in masks if stem_of(mask) not in by_name]
    raise_problems((Problem(f"{mask}: no image of its name in {images}", (mask,)) for mask in missing), "unusable mask")
    return [by_name[stem_of(mask)] for mask in masks]
