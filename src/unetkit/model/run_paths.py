"""Every file name of a run folder, in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RunPaths", "moved_data"]


def moved_data(images: str, masks: str | None, folder: Path) -> tuple[str, str | None]:
    """Paths of the images and masks of a plan, whose folder is another one now.

    Examples
    --------
    >>> images, masks = moved_data("/old/set/img", "/old/set/gt", Path("/new"))
    >>> Path(images).as_posix(), Path(masks).as_posix()
    ('/new/img', '/new/gt')
    """
    if masks is None:
        is_table = images.lower().endswith(".csv") and folder.suffix.lower() != ".csv"
        return str(folder / Path(images).name if is_table else folder), None
    common = os.path.commonpath([Path(images).parent, Path(masks).parent])
    return str(folder / Path(images).relative_to(common)), str(folder / Path(masks).relative_to(common))


@dataclass(frozen=True)
class RunPaths:
    """Paths of the files in a run folder, whether they exist or not.

    Attributes
    ----------
    root : Path
        The folder, of one training or of a cross-validation.

    Examples
    --------
    >>> RunPaths(Path("RUN")).fold(0).model.as_posix()
    'RUN/fold_0/model.safetensors'
    """

    root: Path

    def data(self, path: str) -> Path:
        """Where images or masks of the plan lie.

        Plans of older versions may hold paths relative to the folder that the training was started in: that is looked
        for among the folders above the run.
        """
        if Path(path).exists():
            return Path(path)
        above = (folder / path for folder in self.root.absolute().parents)
        return next((place for place in above if place.exists()), Path(path))

    @property
    def plan(self) -> Path:
        """The plan of the training."""
        return self.root / "plan.json"

    @property
    def data_record(self) -> Path:
        """Names and contents of the images and masks of the training."""
        return self.root / "data.json"

    @property
    def model(self) -> Path:
        """The best net so far."""
        return self.root / "model.safetensors"

    @property
    def state(self) -> Path:
        """The full state, to resume from."""
        return self.root / "last" / "state.safetensors"

    @property
    def log(self) -> Path:
        """One line of JSON per validation."""
        return self.root / "log.jsonl"

    @property
    def report(self) -> Path:
        """The page about the training."""
        return self.root / "report.html"

    @property
    def inspection(self) -> Path:
        """The page of `inspect`."""
        return self.root / "inspect.html"

    @property
    def validation_json(self) -> Path:
        """Final scores of the validation images, all digits."""
        return self.root / "validation.json"

    @property
    def validation_csv(self) -> Path:
        """Final scores of the validation images, a row per image and class."""
        return self.root / "validation.csv"

    @property
    def previews(self) -> Path:
        """Folder of the pictures of validation images."""
        return self.root / "previews"

    def preview(self, name: str) -> Path:
        """One picture: "early", "latest", "best", "median" or "worst"."""
        return self.previews / f"{name}.png"

    @property
    def cache(self) -> Path:
        """Folder of the images and masks that memory does not hold, as arrays; made anew where it is removed."""
        return self.root / "cache"

    @property
    def int8(self) -> Path:
        """Folder of the int8 model."""
        return self.root / "int8"

    @property
    def ensemble(self) -> Path:
        """The folds of a cross-validation and the card that they share."""
        return self.root / "ensemble.json"

    @property
    def folds_summary(self) -> Path:
        """Scores and doubts of a cross-validation."""
        return self.root / "folds.json"

    @property
    def out_of_fold(self) -> Path:
        """Folder of masks, each by the net that was not trained on its image."""
        return self.root / "out_of_fold"

    def fold(self, k: int) -> RunPaths:
        """The run folder of fold k, counted from 0."""
        return RunPaths(self.root / f"fold_{k}")
