"""Predicted masks and true ones: paired by name, and read on the pixels that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import Problem, raise_problems
from ..image import Image
from ..io import list_images, open_lazy, read_coded_labels
from ..io.filenames import image_keys, is_image_folder, is_outlines, mask_keys, name_key, stem_of
from ..io.grid import Grid
from ..io.label_samples import ValueCode
from ..io.reading import needs_image
from ..io.vectors.folders import as_series, file_of_all, list_masks, mask_stem, shared_images

__all__ = ["MaskPair", "find_mask_pairs"]

_Coded = tuple[Image, ValueCode | None]


@dataclass(frozen=True)
class MaskPair:
    """A predicted mask and its truth.

    Attributes
    ----------
    name : str
    predicted, truth : Path
    shares_predicted, shares_truth : bool
        Whether the file holds the outlines of other images too.
    image : Path or None
        What both are drawn on, where it is given.
    """

    name: str
    predicted: Path
    truth: Path
    shares_predicted: bool = False
    shares_truth: bool = False
    image: Path | None = None

    def read_coded(self) -> tuple[_Coded, _Coded]:
        """Both masks as their files have them; outlines, segments and contours on the pixels of the other side.

        Raises
        ------
        ValueError
            If neither side has pixels of its own and no image is given, or a file cannot be read.
        """
        if needs_image(self.predicted) and needs_image(self.truth):
            return self._drawn_on(self.image)
        if needs_image(self.predicted):
            truth = read_coded_labels(self.truth)
            grid = Grid.of(self.truth, truth[0], is_one_of_many=self.shares_predicted)
            return read_coded_labels(self.predicted, grid=grid), truth
        predicted, own = read_coded_labels(self.predicted), None
        if needs_image(self.truth):
            own = Grid.of(self.predicted, predicted[0], is_one_of_many=self.shares_truth)
        return predicted, read_coded_labels(self.truth, grid=own, size=predicted[0].size)

    def _drawn_on(self, path: Path | None) -> tuple[_Coded, _Coded]:
        if path is None:
            raise ValueError(
                f"{self.predicted}: drawn on an image, as {self.truth} is: name the image, or the folder of images, "
                "with --images"
            )
        with open_lazy(path) as image:
            grids = [
                Grid.of(path, image, is_one_of_many=shares) for shares in (self.shares_predicted, self.shares_truth)
            ]
        return read_coded_labels(self.predicted, grid=grids[0]), read_coded_labels(self.truth, grid=grids[1])


def find_mask_pairs(predicted: Path, truth: Path, images: Path | None) -> tuple[list[MaskPair], list[str]]:
    """Pairs of two folders or files, with the images that they are drawn on where these are given, and notes.

    Raises
    ------
    FileNotFoundError
        If a path does not exist.
    Problems
        Naming every file without counterpart or image, and every name that several share.
    ValueError
        If one side is a folder and the other a file.
    """
    if images is None:
        return _pairs(predicted, truth)
    if not images.exists():
        raise FileNotFoundError(f"{images} does not exist: expected the image of the masks, or the folder of theirs")
    is_set = images.is_dir() and not is_image_folder(images)
    if is_set and is_outlines(predicted) and is_outlines(truth):
        return _pairs_by_image(list_images(images), predicted, truth), []
    pairs, notes = _pairs(predicted, truth)
    if not is_set:
        if len(pairs) > 1:
            raise ValueError(f"{images} is one image, but there are {len(pairs)} pairs of masks: name their folder")
        return [replace(pairs[0], image=images)], notes
    return _with_images(pairs, images), notes


def _pairs_by_image(images: list[Path], predicted: Path, truth: Path) -> list[MaskPair]:
    """A pair for every image that one of two files holds the outlines of."""
    named = [shared_images(images, file)[0] for file in (predicted, truth)]
    pairs = [
        MaskPair(stem_of(image), predicted, truth, True, True, image)
        for image in images
        if any(image in own for own in named)
    ]
    if not pairs:
        raise ValueError(f"{predicted} and {truth} name none of the {len(images)} images in {images[0].parent}")
    return pairs


def _with_images(pairs: list[MaskPair], folder: Path) -> list[MaskPair]:
    """Pairs with their images, where one is needed."""
    images = {stem_of(image): image for image in list_images(folder)}
    by_key = _names_by_key(images)
    found = {
        pair: next((images[by_key[key]] for key in mask_keys(pair.name) if key in by_key), None)
        for pair in pairs
        if needs_image(pair.predicted) and needs_image(pair.truth)
    }
    problems = [
        Problem(f"{pair.predicted.name}: no image of its name in {folder}", (pair.predicted,))
        for pair, image in found.items()
        if image is None
    ]
    raise_problems(problems, "problem")
    return [replace(pair, image=found.get(pair)) for pair in pairs]


def _pairs(predicted: Path, truth: Path) -> tuple[list[MaskPair], list[str]]:
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
        return [MaskPair(stem_of(predicted), predicted, truth)], []
    return _pair_folders(predicted, truth)


def _pair_with_file(predicted: Path, truth: Path) -> tuple[list[MaskPair], list[str]]:
    """Every prediction with the file that holds the outlines of all images."""
    masks, outlines = list_masks(predicted)
    files, problems = shared_images(masks or outlines, truth)
    raise_problems(problems, "problem")
    return [MaskPair(stem_of(file), file, truth, shares_truth=True) for file in files], []


def _pair_folders(predicted: Path, truth: Path) -> tuple[list[MaskPair], list[str]]:
    """Pairs by name; all files that have no counterpart, or more than one, are named in one error."""
    (masks, outlines), (true_masks, true_outlines) = list_masks(predicted), list_masks(truth)
    predictions, problems = _by_name({path: mask_stem(path) for path in masks or outlines}, "predictions")
    if not true_masks and (shared := file_of_all(true_outlines, list(predictions))):
        return _pair_with_file(predicted, shared)
    by_key, true_masks = _names_by_key(predictions), as_series(predictions, true_masks or true_outlines)
    truths, same = _by_name({path: _truth_name(path, predictions, by_key) for path in true_masks}, "truths")
    problems += same
    missing = [path for name, path in predictions.items() if name not in truths]
    left = [path for name, path in truths.items() if name not in predictions]
    problems += [Problem(f"{path.name}: no truth named {stem_of(path)}.* in {truth}", (path,)) for path in missing]
    if missing:  # fewer predictions than truths are a test subset, but not when some match nothing
        problems += [
            Problem(f"{path.name}: no prediction named {stem_of(path)}.* in {predicted}", (path,)) for path in left
        ]
    raise_problems(problems, "problem")
    pairs = [MaskPair(name, path, truths[name]) for name, path in predictions.items()]
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
