"""A table of measurements of every object of some masks, in the units of the files, and outlines for ImageJ."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.measure import regionprops_table

from ..errors import Problem, raise_problems
from ..io import read, read_labels
from ..io.atomic import replace_file, write_text
from ..io.filenames import stem_of
from ..labels.kind import IGNORE_INDEX, LabelKind, to_classes
from ..labels.recognise import recognise
from ..labels.statistics import label_statistics
from ..progress import SILENT, Progress
from .polygons import mask_files, outlines, refuse_existing

__all__ = ["Measurements", "measure", "measure_objects"]

TABLE = "objects.csv"
_INTENSITIES = ("mean", "min", "max")

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
    """

    table: Path
    masks: int
    objects: int
    sizes: tuple[float, ...]
    unit: str
    rois: tuple[Path, ...] = ()

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
    labels: str = "auto",
    rois: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Measurements:
    """Measure every object of some masks, and write `out`/objects.csv, a row for each.

    Parameters
    ----------
    masks : sequence of path
        Masks, or folders of them, all 2D or all 3D. Where they hold ids, these are the objects; else every connected
        part of a class is one, and a column holds its class.
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
        Takes the share of the masks that are measured.

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
        _import_roifile()
    if not overwrite:
        refuse_existing([table, *archives])
    matching = _matching_images(files, None if images is None else Path(images))
    kind, unit = _check(files, matching, labels, rois)
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for i, (file, image) in enumerate(zip(files, matching, strict=True)):
        progress.update(i, len(files))
        mask, gray = read_labels(file), None if image is None else read(image).array
        regions: list[Any] = []
        for value, ids in _objects(mask.array, kind):
            first: Row = {"mask": file.name} | ({} if value is None else {"class": value})
            rows += [{**first, **row} for row in measure_objects(ids, spacing=mask.spacing, unit=mask.unit, image=gray)]
            if rois:
                regions += _rois(ids, value)
        if rois:
            _write_rois(archives[i], regions)
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(table, text.getvalue())
    progress.update(len(files), len(files))
    size = next((name for name in names if name.startswith(("area_", "volume_"))), "")
    return Measurements(table, len(files), len(rows), tuple(float(row[size]) for row in rows), unit, tuple(archives))


def measure_objects(
    ids: np.ndarray, *, spacing: Sequence[float] | None = None, unit: str = "px", image: np.ndarray | None = None
) -> list[dict[str, float]]:
    """Measure the objects of one label image.

    Parameters
    ----------
    ids : ndarray of shape (*spatial), integer
        2D or 3D; 0 is background.
    spacing : sequence of float, optional
        Pixel size per axis.
    unit : str
        Of the spacing; it ends the names of columns that have one, "area_um2".
    image : ndarray of shape (C, *spatial), optional
        Whose gray values are measured.

    Returns
    -------
    list of dict
        A row per object: "object" (its id), "pixels", area or volume, centre (0 is that of the first pixel), diameter
        (of the circle or ball of that area or volume), in 2D the axes of the ellipse of the same second moments,
        "at_border" (1 where the image cuts it), the box that holds it in pixels, and mean, smallest and largest gray
        value by channel.

    Raises
    ------
    ValueError
        If the image has another size.

    Examples
    --------
    >>> rows = measure_objects(np.array([[0, 2, 2], [0, 2, 2]]), spacing=(0.5, 0.5), unit="µm")
    >>> rows[0]["object"], rows[0]["area_um2"], rows[0]["x_um"], rows[0]["at_border"]
    (2, 1.0, 0.75, 1)
    """
    ndim, axes = ids.ndim, "zyx"[-ids.ndim :]
    if image is not None and image.shape[1:] != ids.shape:
        raise ValueError(f"a mask of size {ids.shape} for an image of size {image.shape[1:]}: they must be equal")
    spacing, unit = tuple(spacing or (1.0,) * ndim), "um" if unit == "µm" else unit
    names = ["label", "num_pixels", "area", "centroid", "equivalent_diameter_area", "bbox"]
    names += ["axis_major_length", "axis_minor_length"] if ndim == 2 else []
    names += [f"intensity_{statistic}" for statistic in _INTENSITIES] if image is not None else []
    gray = None if image is None else np.moveaxis(image, 0, -1)
    values = regionprops_table(ids, intensity_image=gray, properties=names, spacing=spacing)
    columns = {"object": values["label"], "pixels": values["num_pixels"]}
    columns[f"{'area' if ndim == 2 else 'volume'}_{unit}{ndim}"] = values["area"]
    columns |= {f"{axis}_{unit}": values[f"centroid-{i}"] for i, axis in enumerate(axes)}
    columns[f"diameter_{unit}"] = values["equivalent_diameter_area"]
    if ndim == 2:
        columns |= {f"{axis}_axis_{unit}": values[f"axis_{axis}_length"] for axis in ("major", "minor")}
    low, high = ([values[f"bbox-{i + k * ndim}"] for i in range(ndim)] for k in (0, 1))
    cut = [(a == 0) | (b == n) for a, b, n in zip(low, high, ids.shape, strict=True)]
    columns["at_border"] = np.any(cut, axis=0).astype(int)
    columns |= {f"{axis}_first": a for axis, a in zip(axes, low, strict=True)}
    columns |= {f"{axis}_last": b - 1 for axis, b in zip(axes, high, strict=True)}
    for channel in range(0 if image is None else len(image)):
        columns |= {f"{statistic}_{channel}": values[f"intensity_{statistic}-{channel}"] for statistic in _INTENSITIES}
    return [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]


def _objects(labels: np.ndarray, kind: LabelKind) -> Iterator[tuple[int | None, np.ndarray]]:
    """Ids of the objects; of classes, class by class with its value."""
    classes = to_classes(labels, kind)
    if kind.kind == "instances":
        yield None, np.where((classes > 0) & (classes != IGNORE_INDEX), labels, 0)
        return
    for index, value in enumerate(kind.values[1:], start=1):
        yield (None if kind.n_classes == 2 else value), ndimage.label(classes == index)[0]


def _check(files: Sequence[Path], images: Sequence[Path | None], labels: str, rois: bool) -> tuple[LabelKind, str]:
    """The kind of the masks, and the unit in which they are measured."""
    problems, statistics, spaces = [], [], {}
    for file, image in zip(files, images, strict=True):
        try:
            mask = read_labels(file)
            spaces[file] = (mask.array.ndim, mask.unit)
            statistics.append(label_statistics(mask.array))
            if rois and mask.array.ndim != 2:
                raise ValueError(f"{file}: a mask of {mask.array.ndim} axes; ImageJ's outlines are of 2D masks")
            size = mask.size if image is None else read(image).size
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
    return recognise(statistics, labels), unit + {2: "²", 3: "³"}[ndim]


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


def _rois(ids: np.ndarray, value: int | None) -> Iterator[Any]:
    """A polygon for every connected part of an object, named class-object-part; ImageJ's polygons have no holes."""
    roifile, parts = _import_roifile(), Counter[int]()
    for number, geometry in outlines(ids):
        parts[number] += 1
        ring = np.asarray(geometry["coordinates"][0][:-1])  # columns and rows of pixel corners, closed
        names = [*([] if value is None else [str(value)]), f"{number:05d}", str(parts[number])]
        yield roifile.ImagejRoi.frompoints(ring, name="-".join(names))


def _write_rois(path: Path, rois: Sequence[Any]) -> None:
    with replace_file(path) as temporary:
        archive = temporary.with_suffix(".zip")  # roifile chooses the format by the suffix
        try:
            _import_roifile().roiwrite(archive, list(rois), mode="w")
            archive.rename(temporary)
        finally:
            archive.unlink(missing_ok=True)


def _import_roifile() -> Any:
    try:
        import roifile
    except ImportError:
        raise ImportError("outlines for ImageJ need roifile: pip install 'unetkit[rois]'") from None
    return roifile
