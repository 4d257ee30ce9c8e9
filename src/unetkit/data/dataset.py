"""A data set: pairs of files read, recognised, resampled, encoded; all that is wrong is raised at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np

from ..errors import Problem, Problems, raise_problems
from ..image import counted_notes
from ..io.filenames import suffix_of
from ..io.read_options import AS_STATED, ReadOptions
from ..labels.kind import LabelKind
from ..labels.options import LabelOptions, label_options
from ..progress import SILENT, Progress
from .agreement import common_channels, common_ndim, kind_of_labels, typical_spacing
from .case import Case
from .encode import encode_samples
from .pairs import Pair
from .resampled import resample_samples
from .sample import Sample, read_samples, with_common_values
from .store import ArrayStore
from .targets import TargetSettings

__all__ = ["Case", "Dataset", "load_dataset", "load_usable"]

_LEVELS = 4  # of distance inside objects: enough for a valley between two that touch


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
        return float(self.class_pixels.sum() / max(sum(prod(case.size) for case in self.cases), 1))

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
    store: ArrayStore | None = None,
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
    store : ArrayStore, optional
        Where arrays lie; without one all are held in memory.
    progress : Progress
        Takes the number of pairs that are read; where there is a store, then of those that are encoded.

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
        store=store,
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
    store: ArrayStore | None = None,
    progress: Progress = SILENT,
) -> tuple[Dataset | None, list[Sample], list[ValueError]]:
    """Load the pairs that can be used, as `load_dataset` does; every file is read once.

    Returns
    -------
    Dataset or None
        None where nothing can be used.
    list of Sample
        What its cases were made of; of a store with a folder none, as each mask is let go of when it is encoded.
    list of ValueError
        What is wrong with the other pairs: `Problems` of every stage, or an error of the set as a whole.
    """
    stated = label_options(labels, [pair.mask for pair in pairs])
    store = ArrayStore() if store is None else store
    samples, problems = read_samples(pairs, options, store, progress)
    try:
        samples = with_common_values(samples, stated, store, problems)
    except ValueError as error:
        return None, [], [*([Problems("unusable file", problems)] if problems else []), error.with_traceback(None)]
    errors: list[ValueError] = [Problems("unusable file", problems)] if problems else []
    build = partial(
        _build,
        options=stated,
        border_weight=border_weight,
        objects=objects,
        resample=resample,
        store=store,
        progress=progress,
    )
    while samples or not errors:  # what the values mean, and the usual spacing, depend on which pairs are left
        before = [sample.pair for sample in samples]
        try:
            return build(samples), samples, errors
        except ValueError as error:
            errors.append(error.with_traceback(None))  # which would hold all arrays
            bad = error.bad_files if isinstance(error, Problems) else frozenset()
            # A file of outlines may be the mask of many images, of which one is bad.
            are_bad = [not bad.isdisjoint(pair.files) for pair in before]
            if not any(are_bad):
                are_bad = [pair.mask in bad for pair in before]
            left = [pair for pair, is_bad in zip(before, are_bad, strict=True) if not is_bad]
            if len(samples) < len(before) and left != before:  # let go of: they are read again
                store.held_bytes = 0
                samples = with_common_values(read_samples(left, options, store, SILENT)[0], stated, store, [])
            samples = [sample for sample in samples if sample.pair in left] if any(are_bad) else []
    return None, [], errors


def _build(
    samples: list[Sample],
    *,
    options: LabelOptions,
    border_weight: bool,
    objects: bool,
    resample: bool,
    store: ArrayStore,
    progress: Progress,
) -> Dataset:
    """Make a data set of samples, or raise what is wrong in the first stage that fails."""
    ndim = common_ndim(samples)
    kind = kind_of_labels(samples, options)
    images = [sample.image for sample in samples]
    spacing, unit = typical_spacing(images)
    resampled_samples, problems = resample_samples(samples, spacing, unit, store) if resample else (samples, [])
    raise_problems(problems, "image of another pixel size")
    n_resampled = sum(new is not old for new, old in zip(resampled_samples, samples, strict=True))
    if kind.kind == "instances" and objects and options.labels != "foreground":
        kind = kind.with_distance(_LEVELS)
    channels = common_channels(images)
    remarks, left = _notes(samples, channels), list(resampled_samples)
    del resampled_samples
    if store.folder:
        samples.clear()
    settings, encoding = TargetSettings(kind, border_weight), progress if store.folder else SILENT
    cases, left_out, problems = encode_samples(left, settings, channels, ndim, store, encoding)
    raise_problems(problems, "unusable file")
    some = ", ".join(left_out[:8]) + (f" and {len(left_out) - 8} more" if len(left_out) > 8 else "")
    if not cases:
        raise ValueError(f"none of the {len(left_out)} maps has a pixel that holds data and is labelled: {some}")
    counts = sum(case.label_pixels[: len(kind.values)] for case in cases)
    # In two dimensions a place is where a map lies on the earth, which says nothing of how its objects are turned.
    is_oriented = ndim == 3 and all(image.place is not None and image.place.is_stated for image in images)
    notes = [f"left out, since no pixel holds data and is labelled: {some}"] if left_out else []
    notes += remarks
    if n_resampled:
        size = " x ".join(f"{step:g}" for step in spacing)
        notes.append(f"{n_resampled} of {len(images)} images have pixels of another size: resampled to {size} {unit}")
    if is_oriented:
        notes.append(
            "the files state the orientation of the body: patches are not flipped, and turned 30 degrees at most"
        )
    return Dataset(cases, kind, channels, ndim, spacing, unit, np.asarray(counts), notes, is_oriented, n_resampled)


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
