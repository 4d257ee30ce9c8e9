"""From pairs of files to arrays, in stages: read, recognise, resample, encode; all that is wrong is raised at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import median

import numpy as np

from ..errors import Problem, Problems, raise_problems
from ..image import Image, counted_notes
from ..io import read_coded_labels
from ..io.filenames import suffix_of
from ..io.grid import Grid
from ..io.label_samples import ValueCode
from ..io.placement import turned_onto
from ..io.png_jpeg import TURNED
from ..io.read_options import AS_STATED, ReadOptions
from ..io.reading import needs_image
from ..io.resample import resampled, size_at, to_size
from ..labels.borders import border_weights
from ..labels.kind import IGNORE_INDEX, LabelKind, to_classes
from ..labels.numbering import number_values
from ..labels.options import LabelOptions, label_options
from ..labels.recognise import recognise
from ..labels.statistics import LabelStatistics, label_statistics
from ..progress import SILENT, Progress
from .channels import read_channels
from .normalise import prepare_for_net
from .pairs import Pair

__all__ = ["Case", "Dataset", "Sample", "load_dataset", "load_usable"]

_GAP_WEIGHT, _GAP_SIGMA = 10.0, 5.0  # of pixels between objects that (almost) touch, and how near: those of 2015
_LEVELS = 4  # of distance inside objects: enough for a valley between two that touch
_UNREADABLE = (ValueError, OSError, MemoryError)  # the last where a damaged header asks for a huge array


@dataclass(frozen=True)
class Sample:
    """An image and its mask as they were read, with the values of the files, and what these stand for."""

    pair: Pair
    image: Image
    mask: Image
    code: ValueCode | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    are_objects: bool = False

    @cached_property
    def statistics(self) -> LabelStatistics:
        """Counts of the mask's values and of their connected components."""
        georeference = self.mask.georeference
        counted = label_statistics(self.mask.array, nodata=georeference.nodata if georeference else None)
        return replace(counted, names=self.names, are_objects=self.are_objects)


@dataclass(frozen=True)
class Case:
    """An image with its labels, ready for training.

    Attributes
    ----------
    name : str
    image : ndarray of shape (C, *spatial), float32
        Standardised.
    labels : ndarray of shape (*spatial), uint8
        Class indices; 255 is not labelled.
    pixel_weights : ndarray of shape (*spatial), float32, or None
        Weight of each pixel in the loss.
    group : str or None
    path : Path
        The image file.
    ids : ndarray of shape (*spatial), integer, or None
        Of the objects, 0 for background; None where objects are not separated.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    pixel_weights: np.ndarray | None
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
    """All cases, and the facts about them that a plan depends on.

    Attributes
    ----------
    cases : list of Case
    kind : LabelKind
        Meaning of the masks' values.
    channels, ndim : int
    spacing : tuple of float, unit : str
        Median pixel size per axis.
    class_pixels : ndarray of shape (K,), int64
        Pixels per class over all cases.
    notes : list of str
        Remarks in words, such as "240 files: gray stored as RGBA, read as one channel".
    is_oriented : bool
        Whether the files state the orientation of the body (NIfTI volumes), so that all are turned the same way.
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
        if self.kind.names:
            return list(self.kind.names)
        if self.kind.kind == "classes":
            return [f"class {value}" for value in self.kind.values]
        if self.kind.has_distance:
            return ["background", *(f"distance {value} of {self.kind.n_classes - 1}" for value in self.kind.values[1:])]
        return ["background", "foreground"]

    def describe(self) -> list[str]:
        """Summarise images, labels and notes in lines for the user."""
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
            rows.append("voxel size not stated by the files: taken to be the same along every axis")
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


def load_dataset(
    pairs: Sequence[Pair],
    *,
    labels: str | LabelOptions = "auto",
    options: ReadOptions = AS_STATED,
    border_weight: bool = False,
    objects: bool = True,
    resample: bool = True,
    progress: Progress = SILENT,
) -> Dataset:
    """Read, check and convert every pair.

    Parameters
    ----------
    pairs : sequence of Pair
    labels : "auto", "binary", "classes", "instances" or "foreground", or LabelOptions
        Meaning of the masks' values; "auto" decides by what `labels.json` beside the masks or nnU-Net's `dataset.json`
        states, and by the values. `LabelOptions` also state classes, and the value that means "not labelled".
    options : ReadOptions
        Axes and channels of the images, where a person states them.
    border_weight : bool
        Also compute the 2015 paper's weight map, which presses touching objects apart.
    objects : bool
        Whether instances are learned as levels of distance inside of objects, by which those that touch are separated;
        else, and with labels "foreground", as foreground.
    resample : bool
        Bring images whose pixels are of another physical size than the median to that, and their masks with them; maps
        stay as they are.
    progress : Progress
        Takes the number of pairs that are read.

    Raises
    ------
    Problems, ValueError
        Naming every file that cannot be used, with its reason, all at once.

    Notes
    -----
    Pixels of a map without data (NaN, or the nodata value of a GeoTIFF) are not labelled, whatever its mask says; maps
    of which no pixel is labelled are left out, and named in the notes.
    """
    dataset, _, errors = load_usable(
        pairs,
        labels=labels,
        options=options,
        border_weight=border_weight,
        objects=objects,
        resample=resample,
        progress=progress,
    )
    if len(errors) == 1:
        raise errors[0]
    if dataset is None or errors:
        each = (error.problems if isinstance(error, Problems) else (Problem(str(error)),) for error in errors)
        raise Problems("problem", [problem for problems in each for problem in problems])
    return dataset


def load_usable(
    pairs: Sequence[Pair],
    *,
    labels: str | LabelOptions = "auto",
    options: ReadOptions = AS_STATED,
    border_weight: bool = False,
    objects: bool = True,
    resample: bool = True,
    progress: Progress = SILENT,
) -> tuple[Dataset | None, list[Sample], list[ValueError]]:
    """Load the pairs that can be used, as `load_dataset` does; every file is read once.

    Returns
    -------
    Dataset or None
        None where nothing can be used.
    list of Sample
        What its cases were made of.
    list of ValueError
        What is wrong with the other pairs: `Problems` of every stage, or an error of the set as a whole.
    """
    stated = label_options(labels, [pair.mask for pair in pairs])
    samples, problems = _read(pairs, options, progress)
    try:
        samples = _by_code(samples, stated, problems)
    except ValueError as error:
        return None, [], [*([Problems("unusable file", problems)] if problems else []), error.with_traceback(None)]
    errors: list[ValueError] = [Problems("unusable file", problems)] if problems else []
    while samples or not errors:  # what the values mean, and the usual spacing, depend on which pairs are left
        try:
            dataset = _build(samples, stated, border_weight=border_weight, objects=objects, resample=resample)
            return dataset, samples, errors
        except ValueError as error:
            errors.append(error.with_traceback(None))  # which would hold all arrays
            bad = error.bad_files if isinstance(error, Problems) else frozenset()
            # A file of outlines may be the mask of many images, of which one is bad.
            are_bad = [not bad.isdisjoint(sample.pair.files) for sample in samples]
            if not any(are_bad):
                are_bad = [sample.pair.mask in bad for sample in samples]
            left = [sample for sample, is_bad in zip(samples, are_bad, strict=True) if not is_bad]
            samples = left if any(are_bad) else []
    return None, [], errors


def _build(
    samples: Sequence[Sample], options: LabelOptions, *, border_weight: bool, objects: bool, resample: bool
) -> Dataset:
    """Make a data set of samples, or raise what is wrong in the first stage that fails."""
    ndim = _common_ndim(samples)
    kind = _recognise(samples, options)
    images = [sample.image for sample in samples]
    spacing, unit = _typical_spacing(images)
    resampled_samples, problems = _resample(samples, spacing, unit) if resample else (samples, [])
    raise_problems(problems, "image of another pixel size")
    n_resampled = sum(new is not old for new, old in zip(resampled_samples, samples, strict=True))
    if kind.kind == "instances" and objects and options.labels != "foreground":
        kind = kind.with_distance(_LEVELS)
    channels = _common_channels(images)
    cases, left_out, problems = _encode(resampled_samples, kind, channels, ndim, border_weight=border_weight)
    raise_problems(problems, "unusable file")
    some = ", ".join(left_out[:8]) + (f" and {len(left_out) - 8} more" if len(left_out) > 8 else "")
    if not cases:
        raise ValueError(f"none of the {len(left_out)} maps has a pixel that holds data and is labelled: {some}")
    counts = sum(np.bincount(case.labels.ravel(), minlength=256)[: len(kind.values)] for case in cases)
    # In two dimensions a place is where a map lies on the earth, which says nothing of how its objects are turned.
    is_oriented = ndim == 3 and all(image.place is not None and image.place.is_stated for image in images)
    notes = [f"left out, since no pixel holds data and is labelled: {some}"] if left_out else []
    notes += _notes(samples, channels)
    if n_resampled:
        size = " x ".join(f"{step:g}" for step in spacing)
        notes.append(f"{n_resampled} of {len(images)} images have pixels of another size: resampled to {size} {unit}")
    if is_oriented:
        notes.append(
            "the files state the orientation of the body: patches are not flipped, and turned 30 degrees at most"
        )
    return Dataset(cases, kind, channels, ndim, spacing, unit, np.asarray(counts), notes, is_oriented, n_resampled)


# --- the stages ---


def _read(pairs: Sequence[Pair], options: ReadOptions, progress: Progress) -> tuple[list[Sample], list[Problem]]:
    """Open every file once, and check each pair by itself."""
    samples: list[Sample] = []
    problems: list[Problem] = []
    for done, pair in enumerate(pairs, start=1):
        before, files = len(problems), (*pair.files, pair.mask)
        try:
            image = read_channels(pair.files, options)
            if reason := _not_finite(image):
                problems.append(Problem(f"{pair.image}: {reason}", files))
        except _UNREADABLE as error:
            problems.append(Problem(str(error), files))
        try:  # outlines are drawn on their image, so that only its problem is told where that cannot be read
            is_read = len(problems) == before
            grid = Grid.of(pair.image, image, is_one_of_many=pair.shares_mask) if is_read else None
            if grid is not None or not needs_image(pair.mask):
                size = image.size if is_read else ()
                mask, code = read_coded_labels(pair.mask, axes=options.axes, grid=grid, size=size)
        except _UNREADABLE as error:
            of = f" (for {pair.image})" if pair.shares_mask else ""
            problems.append(Problem(f"{error}{of}", files))
        if len(problems) == before:
            try:
                samples.append(Sample(pair, image, _laid_on(image, mask, pair), code))
            except ValueError as error:
                problems.append(Problem(str(error), files))
        progress.update(done, len(pairs))
    return samples, problems


def _by_code(samples: list[Sample], options: LabelOptions, problems: list[Problem]) -> list[Sample]:
    """The samples with one value per colour, or per name of a class, in all masks."""
    numbering = number_values([sample.code for sample in samples], options)
    results = []
    for sample in samples:
        mask, code = sample.mask, sample.code
        if code is None and numbering.values and not options.classes and mask.array.any():
            kind = "names" if any(isinstance(key, str) for key in numbering.values) else "colours"
            message = f"{sample.pair.mask}: holds numbers, the other masks {kind}: save all in one way"
            problems.append(Problem(message, (*sample.pair.files, sample.pair.mask)))
            continue
        notes = (*mask.notes, numbering.text) if numbering.text and code is not None else mask.notes
        mask = replace(mask, array=numbering.array(mask.array, code), notes=notes)
        names, are_objects = numbering.names(code), numbering.keeps(code)
        results.append(replace(sample, mask=mask, names=names, are_objects=are_objects))
    return results


def _laid_on(image: Image, mask: Image, pair: Pair) -> Image:
    """The mask as it lies on its image; ValueError where it does not."""
    try:
        mask = turned_onto(mask, image)
    except ValueError as error:
        raise ValueError(f"{pair.mask}: {error} (counterpart: {pair.image})") from None
    if image.size != mask.size:
        raise ValueError(f"{pair.image}: is {image.size} pixels, its mask {pair.mask} {mask.size}{_why(image, mask)}")
    upright = [any(note.startswith(TURNED) for note in each.notes) for each in (image, mask)]
    if upright[0] != upright[1]:  # by half a turn, or square
        note = f"the {'image' if upright[0] else 'mask'} alone was turned by its Exif tag: are both drawn upright?"
        return replace(mask, notes=(*mask.notes, note))
    return mask


def _why(image: Image, mask: Image) -> str:
    """What may be the cause of two sizes, and would mend it; "" where nothing is known of it."""
    turned = [note for each in (image, mask) for note in each.notes if note.startswith(TURNED)]
    if turned:
        mend = "turn the other as well, or store the picture upright, without the tag"
        return f"; one of the two was {turned[0]}: {mend}"
    lie_in_body = all(each.place is not None and each.place.is_stated for each in (image, mask))
    if lie_in_body and mask.ndim == image.ndim and all(np.less_equal(mask.size, image.size)):
        return (
            "; if it covers a part of it, as 3D Slicer crops segmentations, save it on the voxels of the image (in "
            "Slicer: export to a labelmap, with the image as reference volume)"
        )
    return ""


def _not_finite(image: Image) -> str:
    finite = np.isfinite(image.array) if image.array.dtype.kind == "f" else None
    held = image.holds_data()
    if finite is not None and held is not None:  # of a map, what holds no data may be anything
        finite |= ~held
    if finite is None or finite.all():
        return ""
    bad = int((~finite).sum())
    return f"{bad} of {finite.size} pixel values are NaN or infinite; replace them, or leave the file out"


def _common_ndim(samples: Sequence[Sample]) -> int:
    """2 or 3, as most images have; the others are named."""
    counts = Counter(sample.image.ndim for sample in samples)
    ndim = max(counts, key=lambda n: (counts[n], n)) if counts else 2
    problems = []
    for sample in samples:
        if sample.image.ndim != ndim:
            size = " x ".join(map(str, sample.image.size))
            text = f"has {sample.image.ndim} spatial axes, {size}, most others {ndim}: planes and volumes are not mixed"
            problems.append(Problem(f"{sample.pair.image}: {text}", (*sample.pair.files, sample.pair.mask)))
    raise_problems(problems, "image of another dimension")
    return ndim


def _common_channels(images: Sequence[Image]) -> int:
    """The number that most images have or, being gray, can be given; of equals the largest."""
    counts = Counter(image.channels for image in images)
    fitting = {channels: n + (counts[1] if channels == 3 else 0) for channels, n in counts.items()}
    return max(fitting, key=lambda channels: (fitting[channels], channels))


def _recognise(samples: Sequence[Sample], options: LabelOptions) -> LabelKind:
    """Kind of the labels; where none fits, the file with the most values is named, as a stray photograph has most."""
    statistics = [sample.statistics for sample in samples]
    try:
        return recognise(statistics, options)
    except ValueError as error:
        numbers = [len(each.counts) for each in statistics]
        if len(set(numbers)) < 2:
            raise
        mask = samples[numbers.index(max(numbers))].pair.mask
        message = f"{error}; the most values, {max(numbers)}, are in {mask}"
    raise Problems("", [Problem(message, (mask,))])


def _typical_spacing(images: Sequence[Image]) -> tuple[tuple[float, ...], str]:
    """Median pixel size per axis; 1 px where the files do not agree on the unit."""
    if len({image.unit for image in images}) > 1:
        return (1.0,) * images[0].ndim, "px"
    return tuple(median(image.spacing[i] for image in images) for i in range(images[0].ndim)), images[0].unit


def _resample(samples: Sequence[Sample], spacing: tuple[float, ...], unit: str) -> tuple[list[Sample], list[Problem]]:
    """Bring samples of another spacing to this one; the others are the same objects as before."""
    results: list[Sample] = []
    problems: list[Problem] = []
    for sample in samples:
        image, mask = sample.image, sample.mask
        try:
            is_map = image.georeference is not None
            size = image.size if is_map else size_at(image.size, image.spacing, image.unit, spacing, unit)
        except ValueError as error:
            problems.append(Problem(f"{sample.pair.image}: {error}", sample.pair.files))
            continue
        if size != image.size:
            own = tuple(s * a / b for s, a, b in zip(image.spacing, image.size, size, strict=True))
            image = replace(image, array=resampled(image.array, size, image.spacing), spacing=own)
            sample = replace(sample, image=image, mask=replace(mask, array=to_size(mask.array, size), spacing=own))
        results.append(sample)
    return results, problems


def _encode(
    samples: Sequence[Sample], kind: LabelKind, channels: int, ndim: int, *, border_weight: bool
) -> tuple[list[Case], list[str], list[Problem]]:
    """Cases; the names of maps without a labelled pixel, which are left out; and what is wrong with the others."""
    cases: list[Case] = []
    left_out: list[str] = []
    problems: list[Problem] = []
    for sample in samples:
        pair, image, mask = sample.pair, sample.image, sample.mask.array
        try:
            array = prepare_for_net(image, channels=channels, ndim=ndim)
            classes, valid = to_classes(mask, kind, spacing=image.spacing), image.valid_mask()
            for each in (valid, sample.mask.valid):  # of the image, and of the mask by a mask of its own
                if each is not None:
                    classes[~each] = IGNORE_INDEX
            is_labelled = classes != IGNORE_INDEX
            if not is_labelled.any():
                if image.georeference is None:
                    raise ValueError(f"its mask {pair.mask} labels none of its {classes.size} pixels; leave both out")
                left_out.append(str(pair.image))
                continue
            is_object = (classes > 0) & is_labelled
            ids = np.where(is_object, mask, 0) if kind.has_distance else None
            weights = None
            if ids is not None:
                steps = [step / min(image.spacing) for step in image.spacing]
                weights = border_weights(ids, w0=_GAP_WEIGHT, sigma=_GAP_SIGMA, spacing=steps)
            elif border_weight:
                weights = _paper_weights(mask, is_object, kind)
            cases.append(Case(pair.name, array, classes, weights, pair.group, pair.image, ids))
        except ValueError as error:
            problems.append(Problem(f"{pair.image}: {error}", (*pair.files, pair.mask)))
    return cases, left_out, problems


def _paper_weights(ids: np.ndarray, is_object: np.ndarray, kind: LabelKind) -> np.ndarray:
    """Weight map of the 2015 paper, from the ids where there are any, else from connected components."""
    from skimage.measure import label

    instances = np.where(is_object, ids, 0) if kind.kind == "instances" else label(is_object)
    return border_weights(np.asarray(instances), class_weights=(1.0, 1.0))


def _notes(samples: Sequence[Sample], channels: int) -> list[str]:
    images, pairs = [sample.image for sample in samples], [sample.pair for sample in samples]
    remarks = counted_notes(note for image in (*images, *(sample.mask for sample in samples)) for note in image.notes)
    notes = [f"{n} file{'s'[: n > 1]}: {remark}" for remark, n in remarks.items()]
    suffixes = Counter(suffix_of(file) or "no suffix" for pair in pairs for file in pair.files)
    if len(suffixes) > 1:
        notes.append(f"images of several formats: {', '.join(f'{n} {name}' for name, n in suffixes.most_common())}")
    if len({image.unit for image in images}) > 1:
        notes.append(f"pixel sizes in {' and '.join(sorted({image.unit for image in images}))}: not used")
    fewer = sum(image.channels < channels for image in images)
    if fewer:
        notes.append(f"{fewer} of {len(images)} files have fewer than {channels} channels: their gray is repeated")
    numbers = sorted(int(pair.name) for pair in pairs if pair.name.isdecimal())
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[0] + len(pairs))) and not pairs[0].group:
        notes.append(
            "the names count up: if these are slices of one stack, neighbours are alike and the validation score is "
            "too high; a table with a group column keeps them together"
        )
    return notes
