"""What can be measured of every object of some masks: a table in the units of the files, and outlines for ImageJ."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.measure import regionprops_table

from ..io import read, read_labels
from ..io.atomic import replace_file
from ..io.filenames import stem_of
from ..labels.kind import IGNORE_INDEX, LabelKind, to_classes
from ..labels.recognise import recognise
from ..labels.statistics import label_statistics
from .polygons import mask_files, outlines

__all__ = ["Measured", "measure", "write_tables"]

TABLE = "objects.csv"
_INTENSITIES = ("mean", "min", "max")


@dataclass(frozen=True)
class Measured:
    """What was written.

    Attributes
    ----------
    table : Path
    masks, objects : int
        How many were measured.
    sizes : tuple of float
        Area or volume of every object, in `unit`.
    unit : str
        "µm²" or "µm³", say, or "px²" where the files do not know their spacing.
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
        """The sizes of the objects in a line: the middle one, and those that 5 % are below and above."""
        if not self.sizes:
            return f"{self.masks} masks hold no object"
        low, middle, high = np.quantile(self.sizes, (0.05, 0.5, 0.95))
        size = f"of {middle:.4g} {self.unit} in the middle, 90 % between {low:.4g} and {high:.4g}"
        return f"{self.objects} objects in {self.masks} masks, {size}"


def measure(
    ids: np.ndarray, *, spacing: Sequence[float] | None = None, unit: str = "px", image: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """Rows of a table, one per object.

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
        "object" (its id), "pixels", area or volume, centre (0 is that of the first pixel), diameter (of the circle or
        ball of that area or volume), in 2D the axes of the ellipse of the same second moments, "at_border" (1 where the
        image cuts it), the box that holds it in pixels, and mean, smallest and largest gray value by channel.

    Raises
    ------
    ValueError
        If the image has another size.

    Examples
    --------
    >>> rows = measure(np.array([[0, 2, 2], [0, 2, 2]]), spacing=(0.5, 0.5), unit="µm")
    >>> rows[0]["object"], rows[0]["area_um2"], rows[0]["x_um"], rows[0]["at_border"]
    (2, 1.0, 0.75, 1)
    """
    ndim, axes = ids.ndim, "zyx"[-ids.ndim :]
    if image is not None and image.shape[1:] != ids.shape:
        raise ValueError(f"a mask of size {ids.shape} for an image of size {image.shape[1:]}: they must be equal")
    spacing, unit = tuple(spacing or (1.0,) * ndim), "um" if unit == "µm" else unit
    names = ["label", "num_pixels", "area", "centroid", "equivalent_diameter_area", "bbox"]
    names += ["axis_major_length", "axis_minor_length"] if ndim == 2 else []
    names += [f"intensity_{one}" for one in _INTENSITIES] if image is not None else []
    gray = None if image is None else np.moveaxis(image, 0, -1)
    found = regionprops_table(ids, intensity_image=gray, properties=names, spacing=spacing)
    columns = {"object": found["label"], "pixels": found["num_pixels"]}
    columns[f"{'area' if ndim == 2 else 'volume'}_{unit}{ndim}"] = found["area"]
    columns |= {f"{axis}_{unit}": found[f"centroid-{i}"] for i, axis in enumerate(axes)}
    columns[f"diameter_{unit}"] = found["equivalent_diameter_area"]
    if ndim == 2:
        columns |= {f"{which}_axis_{unit}": found[f"axis_{which}_length"] for which in ("major", "minor")}
    low, high = ([found[f"bbox-{i + k * ndim}"] for i in range(ndim)] for k in (0, 1))
    cut = [(a == 0) | (b == n) for a, b, n in zip(low, high, ids.shape, strict=True)]
    columns["at_border"] = np.any(cut, axis=0).astype(int)
    columns |= {f"{axis}_first": a for axis, a in zip(axes, low, strict=True)}
    columns |= {f"{axis}_last": b - 1 for axis, b in zip(axes, high, strict=True)}
    for channel in range(0 if image is None else len(image)):
        columns |= {f"{one}_{channel}": found[f"intensity_{one}-{channel}"] for one in _INTENSITIES}
    return [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]


def write_tables(
    masks: Sequence[Path | str],
    *,
    out: Path | str,
    images: Path | str | None = None,
    labels: str = "auto",
    rois: bool = False,
    overwrite: bool = False,
) -> Measured:
    """Measure every object of some masks, and write `out`/objects.csv, a row each.

    Parameters
    ----------
    masks : sequence of path
        Masks, or folders of them, all 2D or all 3D. Where they hold ids, these are the objects; else every connected
        part of a class is one, and a column says which class.
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

    Raises
    ------
    ImportError
        If `rois` are asked for and roifile or rasterio is not installed.
    ValueError
        Naming every file that cannot be used, before anything is written.
    FileExistsError
        Naming every file that exists, unless `overwrite`.
    """
    out, files = Path(out), [file for path in map(Path, masks) for file in mask_files(path)]
    table, zips = out / TABLE, [out / f"{stem_of(file)}_rois.zip" for file in files] if rois else []
    if rois:
        _roifile()
    there = [str(path) for path in (table, *zips) if path.exists()]
    if there and not overwrite:
        raise FileExistsError(f"{', '.join(there)} exist: give another --out, or --overwrite")
    pictures = _pictures(files, None if images is None else Path(images))
    kind, unit = _check(files, pictures, labels, rois)
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for i, (file, picture) in enumerate(zip(files, pictures, strict=True)):
        mask = read_labels(file)
        outlined: list[Any] = []
        for value, ids in _objects(mask.array, kind):
            gray = None if picture is None else read(picture).array
            found = measure(ids, spacing=mask.spacing, unit=mask.unit, image=gray)
            about: dict[str, Any] = {"mask": file.name} | ({} if value is None else {"class": value})
            rows += [about | row for row in found]
            if rois:
                outlined += _rois(ids, value)
        if rois:
            _write_rois(zips[i], outlined)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with replace_file(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as text:
        writer = csv.DictWriter(text, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    size = next((name for name in names if name.startswith(("area_", "volume_"))), "")
    return Measured(table, len(files), len(rows), tuple(row[size] for row in rows), unit, tuple(zips))


def _objects(labels: np.ndarray, kind: LabelKind) -> Iterator[tuple[int | None, np.ndarray]]:
    """Ids of the objects; of classes, class by class with its value."""
    classes = to_classes(labels, kind)
    if kind.kind == "instances":
        yield None, np.where((classes > 0) & (classes != IGNORE_INDEX), labels, 0)
        return
    for index, value in enumerate(kind.values[1:], start=1):
        yield (None if kind.n_classes == 2 else value), ndimage.label(classes == index)[0]


def _check(files: Sequence[Path], pictures: Sequence[Path | None], labels: str, rois: bool) -> tuple[LabelKind, str]:
    """What the masks hold, and in which unit they are measured; everything that stands in the way is in one error."""
    problems, looked, spaces = [], [], []
    for file, picture in zip(files, pictures, strict=True):
        try:
            mask = read_labels(file)
            looked.append(label_statistics(mask.array))
            spaces.append((mask.array.ndim, mask.unit))
            if rois and mask.array.ndim != 2:
                raise ValueError(f"{file}: a mask of {mask.array.ndim} axes; ImageJ's outlines are of 2D masks")
            size = mask.size if picture is None else read(picture).size
            if size != mask.size:
                raise ValueError(f"{file}: is {mask.size} pixels, but its image {picture} is {size}")
        except (ValueError, OSError) as error:
            problems.append(str(error))
    kinds = Counter(spaces)
    if len(kinds) > 1:
        usual = kinds.most_common(1)[0][0]
        odd = [f"{f} ({n}D, {unit})" for f, (n, unit) in zip(files, spaces, strict=False) if (n, unit) != usual]
        problems.append(f"one table is for masks of one unit, most are {usual[0]}D in {usual[1]}, but not {odd[0]}")
    for name, number in Counter(stem_of(file) for file in files).items():
        if number > 1:
            problems.append(f"{name}: {number} masks have this name; give them one by one")
    if problems:
        raise ValueError("\n".join(["nothing was measured:", *problems]))
    (ndim, unit), _ = kinds.most_common(1)[0]
    return recognise(looked, labels), unit + {2: "²", 3: "³"}[ndim]


def _pictures(files: Sequence[Path], images: Path | None) -> list[Path | None]:
    """The image of every mask, by name."""
    if images is None:
        return [None] * len(files)
    found = mask_files(images)
    if len(files) == len(found) == 1:
        return list(found)
    by_name = {stem_of(image): image for image in found}
    missing = [str(file) for file in files if stem_of(file) not in by_name]
    if missing:
        raise ValueError(f"{len(missing)} masks have no image of their name in {images}: {', '.join(missing[:8])}")
    return [by_name[stem_of(file)] for file in files]


def _rois(ids: np.ndarray, value: int | None) -> Iterator[Any]:
    """A polygon for every connected part of an object, named class-object-part; ImageJ's polygons have no holes."""
    roifile, parts = _roifile(), Counter[int]()
    for number, geometry in outlines(ids):
        parts[number] += 1
        ring = np.asarray(geometry["coordinates"][0][:-1])  # columns and rows of pixel corners, closed
        names = [*([] if value is None else [str(value)]), f"{number:05d}", str(parts[number])]
        yield roifile.ImagejRoi.frompoints(ring, name="-".join(names))


def _write_rois(path: Path, found: Sequence[Any]) -> None:
    with replace_file(path) as temporary:
        archive = temporary.with_suffix(".zip")  # by its suffix roifile knows what to write
        try:
            _roifile().roiwrite(archive, list(found), mode="w")
            archive.rename(temporary)
        finally:
            archive.unlink(missing_ok=True)


def _roifile() -> Any:
    try:
        import roifile
    except ImportError:
        raise ImportError("outlines for ImageJ need roifile: pip install 'unetkit[rois]'") from None
    return roifile
