"""Scores of a folder of predicted masks against a folder of true ones.

Files are paired by name, and all problems are reported at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import label

from ..errors import Problem, raise_problems
from ..image import Image, counted_notes
from ..io.decoder_errors import naming
from ..io.label_samples import ValueCode
from ..io.placement import turn_onto, turned_onto
from ..labels.kind import IGNORE_INDEX, LabelKind, to_classes
from ..labels.numbering import Numbering, number_values
from ..labels.options import Ignore, LabelOptions, label_options
from ..labels.statistics import LabelStatistics, label_statistics
from ..progress import SILENT, Progress
from .evaluation import Evaluation, ImageScore, counting_notes, pool, score_image
from .meaning import Meaning, common_meaning
from .objects import score_objects
from .pairing import MaskPair, find_mask_pairs

_Coded = tuple[Image, ValueCode | None]
_Mask = tuple[Image, np.ndarray | None]  # and where it holds no data
_Numberings = tuple[Numbering, Numbering]  # values of the colours, or names, of either side


def evaluate(
    predicted: Path,
    truth: Path,
    *,
    images: Path | None = None,
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
    images : Path, optional
        The image, or the folder of images, that both sides are drawn on where neither has pixels of its own: outlines,
        contours, segments. A file of outlines on either side (COCO) is then scored image by image.
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
    pairs, notes = find_mask_pairs(Path(predicted), Path(truth), None if images is None else Path(images))
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
    scores = []
    for i, pair in enumerate(pairs, start=len(pairs)):
        progress.update(i, 2 * len(pairs))
        with naming(pair.predicted, pair.truth):
            scores.append(_score(_read(pair, numberings), pair.name, kinds, names, tolerance))
    notes = [*doubts, *_kind_notes(meaning, scores), *notes, *counting_notes(scores)]
    empty = [image.name for image in scores if math.isnan(image.pixel_error)]
    if empty:
        notes.append(f"not counted, without a labelled pixel: {', '.join(empty)}")
    times = counted_notes(note for overview in overviews for note in overview.notes)
    notes += [f"{note} ({n} file{'s' if n > 1 else ''})" for note, n in times.items()]
    return pool(scores, tolerance=tolerance, notes=notes)


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


# --- reading ---


def _read(pair: MaskPair, numberings: _Numberings) -> tuple[_Mask, _Mask]:
    """Both masks, the prediction turned to lie on the truth where both say how they lie."""
    sides = zip(pair.read_coded(), numberings, strict=True)
    (predicted, missing), truth = (_numbered(mask, code, numbering) for (mask, code), numbering in sides)
    if sorted(predicted.size) == sorted(truth[0].size):
        turn, _ = turn_onto(predicted, truth[0])
        predicted, missing = turned_onto(predicted, truth[0]), None if missing is None else turn(missing)
    return (predicted, missing), truth


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


def _overview(pair: MaskPair, problems: list[Problem]) -> _Overview | None:
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
