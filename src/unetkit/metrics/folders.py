"""Scores of a folder of predicted masks against a folder of true ones.

Files are paired by name, and all problems are reported at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import label

from ..errors import Problem, raise_problems
from ..image import Image, counted_notes
from ..io import read_coded_labels
from ..io.decoder_errors import naming
from ..io.filenames import image_keys, is_image_folder, is_outlines, mask_keys, name_key, stem_of
from ..io.grid import Grid
from ..io.label_samples import ValueCode
from ..io.placement import turn_onto, turned_onto
from ..io.reading import needs_image
from ..io.vectors.folders import file_of_all, list_masks, mask_stem, shared_images
from ..labels.kind import IGNORE_INDEX, LabelKind, to_classes
from ..labels.numbering import Numbering, number_values
from ..labels.options import Ignore, LabelOptions, label_options
from ..labels.statistics import LabelStatistics, label_statistics
from ..progress import SILENT, Progress
from .evaluation import Evaluation, ImageScore, counting_notes, pool, score_image
from .meaning import Meaning, common_meaning
from .objects import score_objects

_Coded = tuple[Image, ValueCode | None]
_Mask = tuple[Image, np.ndarray | None]  # and where it holds no data
_Numberings = tuple[Numbering, Numbering]  # values of the colours, or names, of either side


def evaluate(
    predicted: Path,
    truth: Path,
    *,
    tolerance: float = 2.0,
    labels: str | LabelOptions = "auto",
    ignore: Ignore | None = None,
    class_names: Sequence[str] | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Score the masks of one folder against those of another.

    Parameters
    ----------
    predicted, truth : Path
        Two folders of label images, or two files. In folders `a.png` belongs to `a.tif`, `a_mask.png`, `a_seg.png`, and
        whatever else `find_pairs` takes for the mask of an image `a`. There may be more truths than predictions, not
        the other way round. Pixels that hold no data by the tag of a GeoTIFF, on either side, are not counted.
    tolerance : float
        Distance within which boundaries match, in pixels; where the files know their spacing and it differs between
        the axes, in pixels along the finest axis.
    labels : {"auto", "binary", "classes", "instances"} or LabelOptions
        What the values of both sides mean. Class numbers are compared as such: 1 is not 2, whatever else there is,
        but the white of a picture (0 and 255) is the foreground of the other side. Instances are compared as
        foreground, and, where the truth holds them, as objects too; of a prediction without ids, every connected part
        of the foreground is one.
    ignore : int or "none", optional
        The value that means "not labelled", where it is neither -1 nor 255, nor stated beside the truth.
    class_names : sequence of str, optional
        One per class, background first.
    progress : Progress
        Takes the share of the masks that are read, twice each.

    Returns
    -------
    Evaluation
        With notes on how the values were read, and which truths were left out.

    Raises
    ------
    FileNotFoundError
        If a path does not exist.
    Problems
        Naming every file without counterpart, every unreadable one, and every pair of different sizes.
    ValueError
        If the two sides hold different classes, or one path is a folder and the other a file.
    """
    pairs, notes = _find_pairs(Path(predicted), Path(truth))
    overviews: list[_Overview] = []
    problems: list[Problem] = []
    for i, pair in enumerate(pairs):
        progress.update(i, 2 * len(pairs))
        if overview := _overview(pair, problems):
            overviews.append(overview)
    raise_problems(problems, "problem")
    options = labels if isinstance(labels, LabelOptions) else LabelOptions(labels)
    options = options if ignore is None else replace(options, ignore=ignore)
    with naming(predicted, truth):
        options = label_options(options, [pair.truth for pair in pairs])
        if not options.classes and any(overview.has_names for overview in overviews):
            options = label_options(options, [pair.predicted for pair in pairs])  # which number is which name
        numberings, doubts = _numberings(overviews, options)
        meaning = common_meaning(*_statistics(overviews, numberings), options)
    kinds = meaning.kinds
    names = _class_names(kinds[1], class_names)
    images = []
    for i, pair in enumerate(pairs, start=len(pairs)):
        progress.update(i, 2 * len(pairs))
        with naming(pair.predicted, pair.truth):
            images.append(_score(pair.read(numberings), pair.name, kinds, names, tolerance))
    notes = [*doubts, *_kind_notes(meaning, images), *notes, *counting_notes(images)]
    empty = [image.name for image in images if math.isnan(image.pixel_error)]
    if empty:
        notes.append(f"not counted, without a labelled pixel: {', '.join(empty)}")
    times = counted_notes(note for overview in overviews for note in overview.notes)
    notes += [f"{note} ({n} file{'s' if n > 1 else ''})" for note, n in times.items()]
    return pool(images, tolerance=tolerance, notes=notes)


@dataclass(frozen=True)
class _MaskPair:
    name: str
    predicted: Path
    truth: Path
    shares_truth: bool = False

    def read(self, numberings: _Numberings) -> tuple[_Mask, _Mask]:
        """Both masks, the prediction turned to lie on the truth where both say how they lie."""
        sides = zip(self.read_coded(), numberings, strict=True)
        (predicted, missing), truth = (_numbered(mask, code, numbering) for (mask, code), numbering in sides)
        if sorted(predicted.size) == sorted(truth[0].size):
            turn, _ = turn_onto(predicted, truth[0])
            predicted, missing = turned_onto(predicted, truth[0]), None if missing is None else turn(missing)
        return (predicted, missing), truth

    def read_coded(self) -> tuple[_Coded, _Coded]:
        """Both masks as their files have them; outlines, segments and contours on the pixels of the other side."""
        if needs_image(self.predicted) and needs_image(self.truth):
            raise ValueError(f"{self.predicted}: drawn on an image, as {self.truth}: one side must have its own pixels")
        if needs_image(self.predicted):
            truth = read_coded_labels(self.truth)
            return read_coded_labels(self.predicted, grid=Grid.of(self.truth, truth[0])), truth
        predicted = read_coded_labels(self.predicted)
        grid = None
        if needs_image(self.truth):
            grid = Grid.of(self.predicted, predicted[0], is_one_of_many=self.shares_truth)
        return predicted, read_coded_labels(self.truth, grid=grid)


@dataclass(frozen=True)
class _Overview:
    """Statistics of both masks of a pair, whose pixels are read again for the score."""

    predicted: LabelStatistics
    truth: LabelStatistics
    notes: tuple[str, ...]
    codes: tuple[ValueCode | None, ValueCode | None] = (None, None)

    @property
    def has_names(self) -> bool:
        """Whether a file names its classes."""
        keys = [key for code in self.codes if code is not None for key in code.keys.values()]
        return any(isinstance(key, str) and key for key in keys)


# --- pairing ---


def _find_pairs(predicted: Path, truth: Path) -> tuple[list[_MaskPair], list[str]]:
    for side, path in (("predicted", predicted), ("truth", truth)):
        if not path.exists():
            raise FileNotFoundError(f"{side}: {path} does not exist: expected a folder of masks or a file")
    are_sets = [path.is_dir() and not is_image_folder(path) for path in (predicted, truth)]
    if are_sets[0] and is_outlines(truth):
        return _pair_with_file(predicted, truth)
    if are_sets[0] != are_sets[1]:
        kinds = ["a folder" if is_set else "a file" for is_set in are_sets]
        raise ValueError(f"predicted {predicted} is {kinds[0]} and truth {truth} is {kinds[1]}: give two of a kind")
    if not are_sets[0]:
        return [_MaskPair(stem_of(predicted), predicted, truth)], []
    return _pair_folders(predicted, truth)


def _pair_with_file(predicted: Path, truth: Path) -> tuple[list[_MaskPair], list[str]]:
    """Every prediction with the file that holds the outlines of all images."""
    masks, outlines = list_masks(predicted)
    files, problems = shared_images(masks or outlines, truth)
    raise_problems(problems, "problem")
    return [_MaskPair(stem_of(file), file, truth, shares_truth=True) for file in files], []


def _pair_folders(predicted: Path, truth: Path) -> tuple[list[_MaskPair], list[str]]:
    """Pairs by name; all files that have no counterpart, or more than one, are named in one error."""
    (masks, outlines), (true_masks, true_outlines) = list_masks(predicted), list_masks(truth)
    predictions, problems = _by_name({path: mask_stem(path) for path in masks or outlines}, "predictions")
    if not true_masks and (shared := file_of_all(true_outlines, list(predictions))):
        return _pair_with_file(predicted, shared)
    by_key = _names_by_key(predictions)
    truths, same = _by_name(
        {path: _truth_name(path, predictions, by_key) for path in true_masks or true_outlines}, "truths"
    )
    problems += same
    missing = [path for name, path in predictions.items() if name not in truths]
    left = [path for name, path in truths.items() if name not in predictions]
    problems += [Problem(f"{path.name}: no truth named {stem_of(path)}.* in {truth}", (path,)) for path in missing]
    if missing:  # fewer predictions than truths are a test subset, but not when some match nothing
        problems += [
            Problem(f"{path.name}: no prediction named {stem_of(path)}.* in {predicted}", (path,)) for path in left
        ]
    raise_problems(problems, "problem")
    pairs = [_MaskPair(name, path, truths[name]) for name, path in predictions.items()]
    notes = [f"{len(left)} of {len(truths)} truths have no prediction and are left out"] if left else []
    return pairs, notes


def _by_name(names: Mapping[Path, str], plural: str) -> tuple[dict[str, Path], list[Problem]]:
    """First path of every name, and a problem for every name that several files share."""
    by_name: dict[str, list[Path]] = {}
    for path, name in names.items():
        by_name.setdefault(name, []).append(path)
    problems = [
        Problem(f"{name}: {len(paths)} {plural} share this name ({', '.join(p.name for p in paths)})", tuple(paths))
        for name, paths in by_name.items()
        if len(paths) > 1
    ]
    return {name: paths[0] for name, paths in by_name.items()}, problems


def _names_by_key(names: Collection[str]) -> dict[str, str]:
    """Names of images by what masks may be called: their own names first, then what one of them alone may mean."""
    others = Counter(key for name in names for key in image_keys(name)[1:])
    by_key = {key: name for name in names for key in image_keys(name)[1:] if others[key] == 1}
    return by_key | {name_key(name): name for name in names}


def _truth_name(path: Path, predictions: Container[str], by_key: Mapping[str, str]) -> str:
    """Name of the prediction that a truth belongs to: its own, or its own without what marks a mask."""
    stem = mask_stem(path)
    if stem in predictions:
        return stem
    return next((by_key[key] for key in mask_keys(stem) if key in by_key), stem)


# --- reading ---


def _numbered(mask: Image, code: ValueCode | None, numbering: Numbering) -> _Mask:
    """A mask with the values of its set, and where it holds no data by its own tag: there, another value stands in."""
    if code is None or numbering.array(mask.array, code) is mask.array:
        return _without_missing(mask)
    return replace(mask, array=numbering.array(mask.array, code)), None


def _without_missing(mask: Image) -> _Mask:
    nodata = mask.georeference.nodata if mask.georeference else None
    missing = np.zeros(mask.size, bool) if mask.valid is None else ~mask.valid
    if nodata:  # 0 is background whatever the tag says, as geographic programs like to put it there
        missing |= mask.array == nodata
    if not missing.any():
        return mask, None
    filler = 0 if missing.all() else mask.array[~missing].min()
    return replace(mask, array=np.where(missing, filler, mask.array)), missing


def _overview(pair: _MaskPair, problems: list[Problem]) -> _Overview | None:
    masks, statistics, codes = [], [], []
    try:
        for mask, code in pair.read_coded():
            masks.append(_without_missing(mask)[0])
            statistics.append(label_statistics(masks[-1].array))
            codes.append(code)
    except (ValueError, OSError) as error:
        path = pair.truth if len(masks) == 1 or str(pair.truth) in str(error) else pair.predicted
        text = str(error)
        problems.append(Problem(text if path.name in text else f"{path.name}: {text}", (path,)))
        return None
    try:
        masks[0] = turned_onto(masks[0], masks[1])
    except ValueError as error:
        text = f"{pair.predicted}: {error} (counterpart: {pair.truth})"
        problems.append(Problem(text, (pair.predicted, pair.truth)))
        return None
    sizes = masks[0].size, masks[1].size
    if sizes[0] != sizes[1]:
        text = f"{pair.predicted}: predicted mask has size {sizes[0]} and truth {sizes[1]}: expected the same"
        problems.append(Problem(text, (pair.predicted, pair.truth)))
    return _Overview(statistics[0], statistics[1], masks[0].notes + masks[1].notes, (codes[0], codes[1]))


# --- colours and names ---


def _numberings(overviews: Sequence[_Overview], options: LabelOptions) -> tuple[_Numberings, list[str]]:
    """The values of the colours, or names, of both sides, together where both have some; and what is doubtful."""
    codes = [[overview.codes[side] for overview in overviews] for side in (0, 1)]
    if all(any(code is not None for code in side) for side in codes):
        both = number_values([*codes[0], *codes[1]], options)
        return (both, both), [both.text] if both.text else []
    own = number_values(codes[0], options), number_values(codes[1], options)
    is_stated = bool(options.classes or options.colours)
    doubt = "" if is_stated else "; the other side holds numbers: are they in this order?"
    names = [
        f"{name} {each.text}{doubt if len(each.values) > 1 else ''}"
        for name, each in zip(("predicted", "true"), own, strict=True)
        if each.text
    ]
    return own, names


def _statistics(
    overviews: Sequence[_Overview], numberings: _Numberings
) -> tuple[list[LabelStatistics], list[LabelStatistics]]:
    return (
        [numberings[0].statistics(overview.predicted, overview.codes[0]) for overview in overviews],
        [numberings[1].statistics(overview.truth, overview.codes[1]) for overview in overviews],
    )


# --- classes ---


def _class_names(kind: LabelKind, names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None and kind.names:
        return kind.names
    if names is None:
        if kind.n_classes == 2 and kind.values[0] == 0:
            return "background", "foreground"
        return tuple("background" if value == 0 else f"class {value}" for value in kind.values)
    if len(names) != kind.n_classes:
        raise ValueError(f"{len(names)} class names {tuple(names)} for {kind.n_classes} classes ({kind.description})")
    return tuple(names)


def _kind_notes(meaning: Meaning, images: Sequence[ImageScore]) -> list[str]:
    """How the values were read; and which classes one side lacks, as that may be a mistake."""
    kinds = meaning.kinds
    if kinds[0] is not kinds[1]:
        return [f"predicted {kinds[0].description}", f"true {kinds[1].description}", *meaning.notes]
    notes = [f"predicted and true {kinds[0].description}", *meaning.notes]
    for side, axis in (("predicted", 0), ("truth", 1)):
        pixels = np.sum([image.confusion for image in images], axis=(0, 1 + axis))
        lacking = [score.name for score, n in zip(images[0].classes, pixels, strict=True) if n == 0]
        if lacking:
            notes.append(f"{side}: no pixel of {', '.join(lacking)}")
    return notes


# --- scoring ---


def _score(
    sides: tuple[_Mask, _Mask], name: str, kinds: tuple[LabelKind, LabelKind], names: Sequence[str], tolerance: float
) -> ImageScore:
    (predicted, _), (truth, _) = sides
    classes = []
    for (image, missing), kind in zip(sides, kinds, strict=True):
        classes.append(to_classes(image.array, kind))
        if missing is not None:
            classes[-1][missing] = IGNORE_INDEX
    spacing = predicted.spacing if truth.unit == "px" else truth.spacing  # of the file that knows it
    relative = tuple(size / min(spacing) for size in spacing)  # in pixels along the finest axis
    score = score_image(name, classes[0], classes[1], names, tolerance=tolerance, spacing=relative)
    if kinds[1].kind != "instances":
        return score
    ids = [_objects(image.array, c, kind) for image, c, kind in zip((predicted, truth), classes, kinds, strict=True)]
    valid = (classes[0] != IGNORE_INDEX) & (classes[1] != IGNORE_INDEX)
    return replace(score, objects=score_objects(ids[0], ids[1], valid=valid))


def _objects(ids: np.ndarray, classes: np.ndarray, kind: LabelKind) -> np.ndarray:
    """Ids of objects; where a side has none, the connected parts of its foreground (by edges, not corners)."""
    inside = (classes > 0) & (classes != IGNORE_INDEX)
    return np.where(inside, ids, 0) if kind.kind == "instances" else np.asarray(label(inside)[0])
