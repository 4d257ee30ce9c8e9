"""From pairs of files to arrays: everything checked, and everything wrong said at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from ..image import Image
from ..io import read_labels
from ..io.resample import resampled, size_at, to_size
from ..labels.borders import border_weights
from ..labels.kind import IGNORE_INDEX, LabelKind, to_classes
from ..labels.recognise import recognise
from ..labels.statistics import label_statistics
from .channels import mask_is_elsewhere, read_channels
from .normalise import for_net
from .pairs import Pair, Unusable, raise_all, without

Report = Callable[[int, int], None]
_GAP_WEIGHT, _GAP_SIGMA = 10.0, 5.0  # of pixels between objects that (almost) touch, and how near: those of 2015
_LEVELS = 4  # of distance inside objects: enough for a valley between two that touch
_UNREADABLE = (ValueError, OSError, MemoryError)  # the last where a damaged header asks for a huge array


@dataclass(frozen=True)
class Case:
    """One image with its labels, as the trainer sees them.

    Attributes
    ----------
    name : str
    image : ndarray of shape (C, *spatial), float32
        Standardised.
    labels : ndarray of shape (*spatial), uint8
        Class indices; 255 is not labelled.
    weights : ndarray of shape (*spatial), float32, or None
        Weight of each pixel in the loss.
    group : str or None
    path : Path
        The image file.
    ids : ndarray of shape (*spatial), integer, or None
        Of the objects, 0 for background, where they are told apart.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None
    group: str | None
    path: Path
    ids: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, ...]:
        """Spatial size in pixels."""
        return self.labels.shape

    @property
    def classes(self) -> np.ndarray:
        """Class indices that predictions are scored by: the labels, with distances inside objects as one foreground."""
        if self.ids is None:
            return self.labels
        return np.where(self.labels == IGNORE_INDEX, IGNORE_INDEX, self.labels > 0).astype(np.uint8)


@dataclass(frozen=True)
class Dataset:
    """All cases, and what was found out about them.

    Attributes
    ----------
    cases : list of Case
    kind : LabelKind
        What the masks hold.
    channels, ndim : int
    spacing : tuple of float, unit : str
        Median pixel size per axis.
    class_pixels : ndarray of shape (K,), int64
        Pixels per class over all cases.
    notes : list of str
        Remarks in words, such as "240 files: gray stored as RGBA, read as one channel".
    is_oriented : bool
        Whether the files say how the body lies in them (NIfTI volumes), so that all are turned the same way.
    n_resampled : int
        Cases that had another pixel size.
    """

    cases: list[Case]
    kind: LabelKind
    channels: int
    ndim: int
    spacing: tuple[float, ...]
    unit: str
    class_pixels: np.ndarray
    notes: list[str]
    is_oriented: bool = False
    n_resampled: int = 0

    @property
    def labelled_share(self) -> float:
        """Share of the pixels that are labelled, 0 to 1."""
        return float(self.class_pixels.sum() / max(sum(case.labels.size for case in self.cases), 1))

    @property
    def scored_names(self) -> list[str]:
        """Names of the classes that predictions are scored by, background first."""
        return ["background", "foreground"] if self.kind.has_distance else self.class_names

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, background first."""
        if self.kind.kind == "classes":
            return [f"class {value}" for value in self.kind.values]
        if self.kind.has_distance:
            return ["background", *(f"distance {value} of {self.kind.n_classes - 1}" for value in self.kind.values[1:])]
        return ["background", "foreground"]

    def describe(self) -> list[str]:
        """What was found, in lines for the user."""
        sizes = Counter(case.size for case in self.cases)
        common = ", ".join(f"{n} of {' x '.join(map(str, size))}" for size, n in sizes.most_common(4))
        more = f" and {len(sizes) - 4} more size{'s'[: len(sizes) > 5]}" if len(sizes) > 4 else ""
        shares = self.class_pixels / max(self.class_pixels.sum(), 1)
        number = f"{len(self.cases)} image{'s'[: len(self.cases) > 1]}"
        rows = [f"{number}, {self.channels} channel{'s'[: self.channels > 1]}: {common}{more}"]
        name = {2: "pixel", 3: "voxel"}[self.ndim]
        if self.unit != "px" or len(set(self.spacing)) > 1:
            rows.append(f"{name} size {' x '.join(f'{s:g}' for s in self.spacing)} {self.unit}")
        elif self.ndim == 3:
            rows.append("voxel size not said by the files: taken to be the same along every axis")
        rows.append(self.kind.description)
        if self.labelled_share < 1:
            rows.append(f"{_percent(self.labelled_share)} of the {name}s are labelled; the others are left out")
        names = self.class_names
        if self.kind.has_distance:
            names, shares = ["background", "objects"], np.array([shares[0], shares[1:].sum()])
        rows.append("; ".join(f"{name} {share:.1%}" for name, share in zip(names, shares, strict=True)))
        return rows + self.notes


def _percent(share: float) -> str:
    """ "27%", but never 100% of what is not everything, nor 0% of something."""
    text = f"{share:.0%}"
    return f"{share:.2%}" if text in ("0%", "100%") else text


def load(
    pairs: Sequence[Pair],
    *,
    labels: str = "auto",
    border_weight: bool = False,
    objects: bool = True,
    resample: bool = True,
    on_file: Report | None = None,
) -> Dataset:
    """Read, check and convert every pair.

    Parameters
    ----------
    pairs : sequence of Pair
    labels : "auto", "binary", "classes", "instances" or "foreground"
        What the masks hold; "auto" looks.
    border_weight : bool
        Also compute the 2015 paper's weight map, which presses touching objects apart.
    objects : bool
        Whether instances are learned as levels of distance inside objects, by which those that touch are told apart;
        else, and with labels "foreground", as foreground.
    resample : bool
        Bring images whose pixels are of another physical size than the median to that, and their masks with them; maps
        stay as they are.
    on_file : callable, optional
        Called with (files read, files in all).

    Raises
    ------
    ValueError
        Naming every file that cannot be used, with its reason, all at once.

    Notes
    -----
    Pixels of a map without data (NaN, or the nodata value of a GeoTIFF) are not labelled, whatever its mask says; maps
    of which no pixel is labelled are left out, and named in the notes.
    """
    images, masks, problems = _read_all(pairs, on_file)
    raise_all(problems, "unusable file", without(pairs, "\n".join(problems)))
    kind = _recognise(pairs, masks, labels)
    spacing, unit = _typical_spacing(images)
    n_resampled = _resample(pairs, images, masks, spacing, unit) if resample else 0
    if kind.kind == "instances" and objects and labels != "foreground":
        kind = kind.with_distance(_LEVELS)
    channels = max(image.channels for image in images)
    ndim = Counter(image.ndim for image in images).most_common(1)[0][0]
    cases: list[Case] = []
    left_out: list[str] = []
    for pair, image, mask in zip(pairs, images, masks, strict=True):
        try:
            array = for_net(image, channels=channels, ndim=ndim)
            classes, valid = to_classes(mask.array, kind, spacing=image.spacing), image.valid_mask()
            if valid is not None:
                classes[~valid] = IGNORE_INDEX
            if image.georeference is not None and (classes == IGNORE_INDEX).all():
                left_out.append(str(pair.image))
                continue
            _check_labelled(classes, pair.mask)
            weights = _border_weights(mask.array, classes, kind) if border_weight else None
            ids = np.where((classes > 0) & (classes != IGNORE_INDEX), mask.array, 0) if kind.has_distance else None
            if ids is not None:
                steps = [step / min(image.spacing) for step in image.spacing]
                weights = border_weights(ids, w0=_GAP_WEIGHT, sigma=_GAP_SIGMA, spacing=steps)
            cases.append(Case(pair.name, array, classes, weights, pair.group, pair.image, ids))
        except ValueError as error:
            problems.append(f"{pair.image}: {error}")
    raise_all(problems, "unusable file", without(pairs, "\n".join(problems)))
    if not cases:
        raise ValueError(
            f"none of the {len(left_out)} maps has a pixel that holds data and is labelled: {_some(left_out)}"
        )
    counts = sum(np.bincount(case.labels.ravel(), minlength=256)[: len(kind.values)] for case in cases)
    # In two dimensions a place is where a map lies on the earth, which says nothing of how its objects are turned.
    is_oriented = ndim == 3 and all(image.place is not None for image in images)
    notes = _left_out_note(left_out) + _notes(images, masks, channels) + _split_advice(pairs)
    if n_resampled:
        size = " x ".join(f"{step:g}" for step in spacing)
        notes.append(f"{n_resampled} of {len(images)} images have pixels of another size: resampled to {size} {unit}")
    if is_oriented:
        notes.append("the files know how the body lies in them: patches are not flipped, and turned 30 degrees at most")
    return Dataset(cases, kind, channels, ndim, spacing, unit, np.asarray(counts), notes, is_oriented, n_resampled)


def _left_out_note(names: Sequence[str]) -> list[str]:
    return [f"left out, since no pixel holds data and is labelled: {_some(names)}"] if names else []


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _check_labelled(classes: np.ndarray, mask: Path) -> None:
    if (classes == IGNORE_INDEX).all():
        raise ValueError(f"its mask {mask} labels none of its {classes.size} pixels; leave both out")


def _recognise(pairs: Sequence[Pair], masks: Sequence[Image], labels: str) -> LabelKind:
    """What the masks hold; where that fails, the file with the most values is named, as one stray picture will do."""
    statistics = [label_statistics(mask.array) for mask in masks]
    try:
        return recognise(statistics, override=labels)
    except ValueError as error:
        numbers = [len(one.counts) for one in statistics]
        if len(set(numbers)) < 2:
            raise
        most = max(numbers)
        message = f"{error}; the most values, {most}, are in {pairs[numbers.index(most)].mask}"
        raise Unusable(message, without(pairs, message)) from None


def _typical_spacing(images: Sequence[Image]) -> tuple[tuple[float, ...], str]:
    """Median pixel size per axis; 1 px where the files do not agree on the unit."""
    if len({image.unit for image in images}) > 1:
        return (1.0,) * images[0].ndim, "px"
    return tuple(median(image.spacing[i] for image in images) for i in range(images[0].ndim)), images[0].unit


def _resample(
    pairs: Sequence[Pair], images: list[Image], masks: list[Image], spacing: tuple[float, ...], unit: str
) -> int:
    """Replace images of another spacing, and their masks, in place; how many these are."""
    n, problems = 0, []
    for i, (image, mask) in enumerate(zip(images, masks, strict=True)):
        if image.georeference is not None:
            continue
        try:
            size = size_at(image.size, image.spacing, image.unit, spacing, unit)
        except ValueError as error:
            problems.append(f"{pairs[i].image}: {error}")
            continue
        if size != image.size:
            n += 1
            own = tuple(s * a / b for s, a, b in zip(image.spacing, image.size, size, strict=True))
            images[i] = replace(image, array=resampled(image.array, size, image.spacing), spacing=own)
            masks[i] = replace(mask, array=to_size(mask.array, size), spacing=own)
    raise_all(problems, "image of another pixel size", without(pairs, "\n".join(problems)))
    return n


def _read_all(pairs: Sequence[Pair], on_file: Report | None) -> tuple[list[Image], list[Image], list[str]]:
    images: list[Image] = []
    masks: list[Image] = []
    problems: list[str] = []
    for done, pair in enumerate(pairs, start=1):
        before = len(problems)
        try:
            image = read_channels(pair.files)
            problems += _problems(pair.image, image)
        except _UNREADABLE as error:
            problems.append(str(error))
        try:
            mask = read_labels(pair.mask)
        except _UNREADABLE as error:
            problems.append(str(error))
        if len(problems) == before:
            images.append(image)
            masks.append(mask)
            if image.size != mask.size:
                problems.append(f"{pair.image}: is {image.size} pixels, its mask {pair.mask} {mask.size}")
            elif elsewhere := mask_is_elsewhere(image, mask):
                problems.append(f"{pair.mask}: {elsewhere}")
        if on_file:
            on_file(done, len(pairs))
    return images, masks, problems


def _problems(path: Path, image: Image) -> list[str]:
    finite = np.isfinite(image.array) if image.array.dtype.kind == "f" else None
    valid = image.valid_mask()
    if finite is not None and valid is not None:  # of a map, what holds no data may be anything
        finite |= ~valid
    if finite is not None and not finite.all():
        bad = int((~finite).sum())
        return [f"{path}: {bad} of {finite.size} pixel values are NaN or infinite; replace them, or leave the file out"]
    return []


def _border_weights(ids: np.ndarray, classes: np.ndarray, kind: LabelKind) -> np.ndarray:
    """Weight map of the 2015 paper, from the ids where there are any, else from connected components."""
    from skimage.measure import label

    is_foreground = (classes > 0) & (classes != IGNORE_INDEX)
    instances = np.where(is_foreground, ids, 0) if kind.kind == "instances" else label(is_foreground)
    return border_weights(np.asarray(instances), class_weights=(1.0, 1.0))


def _notes(images: Sequence[Image], masks: Sequence[Image], channels: int) -> list[str]:
    remarks = Counter(note for image in (*images, *masks) for note in image.notes)
    notes = [f"{n} file{'s'[: n > 1]}: {remark}" for remark, n in remarks.items()]
    if len({image.unit for image in images}) > 1:
        notes.append(f"pixel sizes in {' and '.join(sorted({image.unit for image in images}))}: not used")
    fewer = sum(image.channels < channels for image in images)
    if fewer:
        notes.append(f"{fewer} of {len(images)} files have fewer than {channels} channels: their gray is repeated")
    return notes


def _split_advice(pairs: Sequence[Pair]) -> list[str]:
    names = [pair.name.lstrip("0") or "0" for pair in pairs]
    numbers = sorted(int(name) for name in names if name.isdecimal())
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[0] + len(pairs))) and not pairs[0].group:
        return [
            "the names count up: if these are slices of one stack, neighbours are alike and validation flatters; "
            "a table with a group column keeps them apart"
        ]
    return []
