"""Compare a folder of predicted masks with a folder of true ones.

Files are paired by name, their values are understood by looking (`labels.recognise`, each side on its own, so 0/255
predictions compare with 16-bit ids), and everything that stands in the way is reported at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import label

from ..image import Image
from ..io import list_images, read_labels
from ..io.filenames import is_image_folder
from ..labels.kind import IGNORE_INDEX, LabelKind, to_classes
from ..labels.recognise import recognise
from ..labels.statistics import LabelStatistics, label_statistics
from .objects import score_objects
from .pixels import Evaluation, ImageScore, pool, score_image

TRUTH_SUFFIXES = ("_mask", "_labels", "_label", "_seg", "_gt")

_Reader = Callable[[Path], tuple[Image, np.ndarray | None]]  # a mask, and where it holds no data


def evaluate(
    predicted: Path,
    truth: Path,
    *,
    tolerance: float = 2.0,
    labels: str = "auto",
    ignore: int | None = None,
    class_names: Sequence[str] | None = None,
) -> Evaluation:
    """Score the masks of one folder against those of another.

    Parameters
    ----------
    predicted, truth : Path
        Two folders of label images, or two files. In folders `a.png` belongs to `a.tif`, `a_mask.png`, `a_label.png`,
        `a_labels.png`, `a_seg.png` or `a_gt.png`. There may be more truths than predictions, not the other way round.
        Pixels that hold no data by the tag of a predicted GeoTIFF are not counted.
    tolerance : float
        Distance within which boundaries match, in pixels; where the files know their spacing and it differs between
        the axes, in pixels along the finest axis.
    labels : {"auto", "binary", "classes", "instances"}
        What the values of both sides mean. Instances are compared as foreground, and, where the truth holds them, as
        objects too; of a prediction without ids, every connected part of the foreground is one.
    ignore : int, optional
        The value that means "not labelled", where it is neither -1 nor 255.
    class_names : sequence of str, optional
        One per class, background first.

    Returns
    -------
    Evaluation
        Its notes say how the values were read, and what was left out.

    Raises
    ------
    FileNotFoundError
        If a path does not exist.
    ValueError
        Naming every file without counterpart, every unreadable one, and every pair of different sizes; or if the two
        sides hold different classes.
    """
    pairs, notes = _pairs(Path(predicted), Path(truth))
    looked = _look_at_all(pairs)
    kinds = _common_kinds(looked, labels, ignore)
    names = _class_names(kinds[1], class_names)
    images = [_score(pair, kinds, names, tolerance) for pair in pairs]
    notes = [*_kind_notes(kinds, images), *notes, *_unlabelled_notes(images), *_reading_notes(looked)]
    return pool(images, tolerance=tolerance, notes=notes)


@dataclass(frozen=True)
class _Pair:
    name: str
    predicted: Path
    truth: Path


@dataclass(frozen=True)
class _Looked:
    """What one file of a pair showed at first sight; its pixels are read again for the score, not kept."""

    statistics: LabelStatistics
    size: tuple[int, ...]
    notes: tuple[str, ...]


# --- pairing ---


def _pairs(predicted: Path, truth: Path) -> tuple[list[_Pair], list[str]]:
    for side, path in (("predicted", predicted), ("truth", truth)):
        if not path.exists():
            raise FileNotFoundError(f"{side}: {path} does not exist: expected a folder of masks or a file")
    are_sets = [path.is_dir() and not is_image_folder(path) for path in (predicted, truth)]
    if are_sets[0] != are_sets[1]:
        kinds = ["a folder" if is_set else "a file" for is_set in are_sets]
        raise ValueError(f"predicted {predicted} is {kinds[0]} and truth {truth} is {kinds[1]}: give two of a kind")
    if not are_sets[0]:
        return [_Pair(_stem(predicted), predicted, truth)], []
    return _pair_folders(predicted, truth)


def _pair_folders(predicted: Path, truth: Path) -> tuple[list[_Pair], list[str]]:
    """Pairs by stem. All that have no counterpart, or more than one, are named in one error."""
    problems: list[str] = []
    predictions = _by_name({path: _stem(path) for path in list_images(predicted)}, problems, "predictions")
    truths = _by_name({path: _truth_name(path, predictions) for path in list_images(truth)}, problems, "truths")
    missing = [path for stem, path in predictions.items() if stem not in truths]
    left = [path for stem, path in truths.items() if stem not in predictions]
    problems += [f"{path.name}: no truth named {_stem(path)}.* in {truth}" for path in missing]
    if missing:  # fewer predictions than truths are a test subset, but not when some match nothing
        problems += [f"{path.name}: no prediction named {_stem(path)}.* in {predicted}" for path in left]
    _raise_all(problems)
    pairs = [_Pair(stem, path, truths[stem]) for stem, path in predictions.items()]
    notes = [f"{len(left)} of {len(truths)} truths have no prediction and are left out"] if left else []
    return pairs, notes


def _by_name(names: Mapping[Path, str], problems: list[str], what: str) -> dict[str, Path]:
    """Path of every name; a name that two files share is a problem."""
    found: dict[str, list[Path]] = {}
    for path, name in names.items():
        found.setdefault(name, []).append(path)
    for name, same in found.items():
        if len(same) > 1:
            problems.append(f"{name}: {len(same)} {what} share this name ({', '.join(path.name for path in same)})")
    return {name: same[0] for name, same in found.items()}


def _truth_name(path: Path, predictions: Container[str]) -> str:
    """Name of the prediction that a truth belongs to: its own, or its own without a suffix."""
    stem = _stem(path)
    suffix = next((suffix for suffix in TRUTH_SUFFIXES if stem.endswith(suffix)), "")
    bare = stem.removesuffix(suffix)
    return bare if stem not in predictions and bare in predictions else stem


def _stem(path: Path) -> str:
    """File name without its suffix, .nii.gz and .ome.tif included."""
    name = path.name.removesuffix(".gz")
    return name.removesuffix(Path(name).suffix).removesuffix(".ome")


def _raise_all(problems: Sequence[str]) -> None:
    if problems:
        n = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
        raise ValueError(f"{n} between predictions and truth:\n" + "\n".join(f"  {problem}" for problem in problems))


# --- reading ---


def _readers(pair: _Pair) -> tuple[tuple[Path, _Reader], tuple[Path, _Reader]]:
    return (pair.predicted, _read_predicted), (pair.truth, lambda path: (read_labels(path), None))


def _read_predicted(path: Path) -> tuple[Image, np.ndarray | None]:
    """A predicted mask, and where it holds no data by its own tag: there, one of its other values stands in.

    0 is background whatever the tag says, as geographic programs like to put it there.
    """
    mask = read_labels(path)
    nodata = mask.georeference.nodata if mask.georeference else None
    if not nodata:
        return mask, None
    gone = mask.array == nodata
    filler = 0 if gone.all() else mask.array[~gone].min()
    return replace(mask, array=np.where(gone, filler, mask.array)), gone


# --- looking ---


def _look_at_all(pairs: Sequence[_Pair]) -> list[tuple[_Looked, _Looked]]:
    """First sight of all files; the unreadable ones and those of different sizes are named in one error."""
    looked: list[tuple[_Looked, _Looked]] = []
    problems: list[str] = []
    for pair in pairs:
        both = [_look_at(path, problems, read) for path, read in _readers(pair)]
        if both[0] is None or both[1] is None:
            continue
        if both[0].size != both[1].size:
            problems.append(
                f"{pair.name}: predicted mask has size {both[0].size} and truth {both[1].size}: expected the same"
            )
        looked.append((both[0], both[1]))
    _raise_all(problems)
    return looked


def _look_at(path: Path, problems: list[str], read: _Reader) -> _Looked | None:
    try:
        image, _ = read(path)
        return _Looked(label_statistics(image.array), image.array.shape, image.notes)
    except (ValueError, OSError) as error:
        problems.append(str(error) if path.name in str(error) else f"{path.name}: {error}")
        return None


def _kind_notes(kinds: tuple[LabelKind, LabelKind], images: Sequence[ImageScore]) -> list[str]:
    """How the values were read; and which classes one side lacks, as that may be a mistake."""
    if kinds[0] is not kinds[1]:
        return [f"predicted {kinds[0].description}", f"true {kinds[1].description}"]
    notes = [f"predicted and true {kinds[0].description}"]
    for side, axis in (("predicted", 0), ("truth", 1)):
        pixels = np.sum([image.confusion for image in images], axis=(0, 1 + axis))
        lacking = [score.name for score, n in zip(images[0].classes, pixels, strict=True) if n == 0]
        if lacking:
            notes.append(f"{side}: no pixel of {', '.join(lacking)}")
    return notes


def _unlabelled_notes(images: Sequence[ImageScore]) -> list[str]:
    empty = [image.name for image in images if math.isnan(image.pixel_error)]
    return [f"not counted, without a labelled pixel: {', '.join(empty)}"] if empty else []


def _reading_notes(looked: Iterable[tuple[_Looked, _Looked]]) -> list[str]:
    """What reading changed, each thing said once."""
    times = Counter(note for both in looked for one in both for note in one.notes)
    return [f"{note} ({n} file{'s' if n > 1 else ''})" for note, n in times.items()]


# --- one meaning for both sides ---


def _common_kinds(
    looked: Sequence[tuple[_Looked, _Looked]], labels: str, ignore: int | None
) -> tuple[LabelKind, LabelKind]:
    """The meaning of either side's values, such that class 1 of one is class 1 of the other.

    A side that shows only some of the other's values (a class never predicted, or not in these images) means the same
    by them. Where either side shows a value the other lacks, both are read by all the values together.
    """
    sides = [[both[i].statistics for both in looked] for i in (0, 1)]
    shown = [{value for one in side for value in one.counts} - {-1, ignore} for side in sides]
    if any(values <= {0} for values in shown):  # nothing predicted, or nothing there: that can be scored as well
        return _twice(recognise([*sides[0], *sides[1]], labels, ignore=ignore))
    predicted, truth = (recognise(side, labels, ignore=ignore) for side in sides)
    if "instances" in (predicted.kind, truth.kind):
        return _same_number(predicted, truth)
    shown = [values - {kind.ignore} for values, kind in zip(shown, (predicted, truth), strict=True)]
    if shown[0] <= set(truth.values):
        return _twice(truth)
    if shown[1] <= set(predicted.values):
        return _twice(predicted)
    if shown[0] & shown[1] - {0} and (0 in shown[0]) == (0 in shown[1]):
        return _twice(recognise([*sides[0], *sides[1]], "classes", ignore=ignore))
    return _same_number(predicted, truth)


def _twice(kind: LabelKind) -> tuple[LabelKind, LabelKind]:
    return kind, kind


def _same_number(predicted: LabelKind, truth: LabelKind) -> tuple[LabelKind, LabelKind]:
    if predicted.n_classes != truth.n_classes:
        raise ValueError(
            f"predictions have {predicted.n_classes} classes and the truth {truth.n_classes}: expected the same. "
            f"Predicted {predicted.description}. True {truth.description}. Say --labels where this is read wrongly"
        )
    return predicted, truth


def _class_names(kind: LabelKind, names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        if kind.n_classes == 2 and kind.values[0] == 0:
            return "background", "foreground"
        return tuple("background" if value == 0 else f"class {value}" for value in kind.values)
    if len(names) != kind.n_classes:
        raise ValueError(f"{len(names)} class names {tuple(names)} for {kind.n_classes} classes ({kind.description})")
    return tuple(names)


# --- scoring ---


def _score(pair: _Pair, kinds: tuple[LabelKind, LabelKind], names: Sequence[str], tolerance: float) -> ImageScore:
    (predicted, gone), (truth, _) = (read(path) for path, read in _readers(pair))
    classes = [to_classes(image.array, kind) for image, kind in zip((predicted, truth), kinds, strict=True)]
    if gone is not None:
        classes[0][gone] = IGNORE_INDEX
    spacing = _relative_spacing(predicted, truth)
    score = score_image(pair.name, classes[0], classes[1], names, tolerance=tolerance, spacing=spacing)
    if kinds[1].kind != "instances":
        return score
    ids = [_objects(image.array, c, kind) for image, c, kind in zip((predicted, truth), classes, kinds, strict=True)]
    valid = (classes[0] != IGNORE_INDEX) & (classes[1] != IGNORE_INDEX)
    return replace(score, objects=score_objects(ids[0], ids[1], valid=valid))


def _objects(ids: np.ndarray, classes: np.ndarray, kind: LabelKind) -> np.ndarray:
    """Ids of objects; where a side tells none apart, the connected parts of its foreground (by edges, not corners)."""
    inside = (classes > 0) & (classes != IGNORE_INDEX)
    return np.where(inside, ids, 0) if kind.kind == "instances" else np.asarray(label(inside)[0])


def _relative_spacing(predicted: Image, truth: Image) -> tuple[float, ...]:
    """Pixel size in units of the finest axis, from the file that knows it."""
    spacing = predicted.spacing if truth.unit == "px" else truth.spacing
    return tuple(size / min(spacing) for size in spacing)
