"""A run: the folder of one training, and everything that can be read from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from typing_extensions import TypedDict  # of typing, from 3.12 on, as pydantic needs it

from ..data.case import Case
from ..data.dataset import Dataset, load_dataset
from ..data.pairs import find_pairs
from ..data.store import ArrayStore
from ..inference.execution import Execution
from ..inference.predictor import Predictor
from ..json_text import parse_json
from ..metrics.evaluation import Evaluation
from ..model.run_paths import RunPaths, moved_data
from .checkpoint import Numbers, numbers_of
from .data_record import check_record
from .plan.files import read_plan_file
from .plan.plan import Plan
from .windows import validation_cases

__all__ = ["LogEntry", "Run"]


class LogEntry(TypedDict, total=False):
    """A line of `log.jsonl`, written at each validation.

    `loss` is the mean of the last 50 steps; `gradients` and `updates` are those of the last step, by part of the net
    (`training.diagnostics`); `waiting` is the share of the time since the line before that steps waited for data;
    `dice` is that of each class; it and those up to `validation_s` are missing where nothing was held out.
    """

    step: int
    elapsed_s: float
    loss: float
    learning_rate: float
    gradient_norm: float
    gradients: dict[str, float]
    updates: dict[str, float]
    dice: list[float]
    mean_dice: float
    pixel_error: float
    validation_s: float
    waiting: float


_LOG_ENTRY = TypeAdapter(LogEntry)


@dataclass(frozen=True)
class Run:
    """A training in its folder; files are read when they are asked for, so a training that goes on can be watched.

    Attributes
    ----------
    paths : RunPaths
        Of the folder and the files in it.
    plan : Plan
    was_interrupted : bool
        Of a run that `train` returned: whether Ctrl-C ended it before its budget.

    Examples
    --------
    >>> run = Run.open("RUN")  # doctest: +SKIP
    >>> run.scores.mean.dice, run.predictor()(image).labels  # doctest: +SKIP
    """

    paths: RunPaths
    plan: Plan
    was_interrupted: bool = False

    @classmethod
    def open(cls, folder: Path | str, *, data: Path | str | None = None) -> Run:
        """Open the folder of a training.

        Parameters
        ----------
        folder : path
        data : path, optional
            Where its images and masks are now: the folder (or table) that was given to the training, or the one that
            holds both folders.

        Raises
        ------
        FileNotFoundError
            If there is no such folder, or it has no plan.
        ValueError
            If the plan cannot be read, or is of a newer format.
        """
        paths = RunPaths(Path(folder))
        if not paths.root.is_dir():
            raise FileNotFoundError(
                f"{folder}: there is no such run folder; expected a folder that unetkit train wrote"
            )
        if not paths.plan.is_file():
            raise FileNotFoundError(
                f"{folder}: has no {paths.plan.name}, so it is not a run folder; name the one given to unetkit train "
                "as --out"
            )
        plan = read_plan_file(paths.plan)
        if data is not None:
            images, masks = moved_data(plan.data.images, plan.data.masks, Path(data))
            plan = plan.model_copy(update={"data": plan.data.model_copy(update={"images": images, "masks": masks})})
        return cls(paths, plan)

    @property
    def scores(self) -> Evaluation | None:
        """Final scores of the held-out images; None without any, or before the training has come to its end."""
        path = self.paths.validation_json
        if not path.is_file():
            return None
        try:
            return Evaluation.from_json(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: cannot be read: {error}") from None

    @property
    def dice(self) -> float | None:
        """Final validation Dice, mean over the foreground classes; None where no held-out image shows any."""
        scores = self.scores
        return scores.dice if scores else None

    @property
    def steps(self) -> int:
        """Steps taken until the last save."""
        return self._last().get("step", 0)

    @property
    def time_s(self) -> float:
        """Seconds of training until the last save."""
        return self._last().get("elapsed_s", 0.0)

    def _last(self) -> Numbers | LogEntry:
        return self.state() or (self.log() or [LogEntry()])[-1]

    def state(self) -> Numbers:
        """Numbers of the last save, without its tensors; empty before the first.

        Raises
        ------
        ValueError
            If the file is damaged.
        """
        path = self.paths.state
        if not path.is_file():
            return {}
        try:
            with safe_open(path, framework="np") as file:  # type: ignore[no-untyped-call]
                return numbers_of(parse_json(file.metadata()["unetkit"]))
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None

    def log(self) -> list[LogEntry]:
        """One entry per validation; a line that a crash cut off, or that is damaged, is left out."""
        entries: list[LogEntry] = []
        for line in self.paths.log.read_bytes().splitlines() if self.paths.log.is_file() else []:
            try:
                entry = _LOG_ENTRY.validate_python(parse_json(line))
            except ValueError:
                continue
            if {"step", "elapsed_s"} <= entry.keys():
                entries.append(entry)
        return entries

    def dataset(self) -> Dataset:
        """The images and masks of the training, read from where they were.

        Raises
        ------
        ValueError
            If they cannot be read, or are other images now: the split into those that the net was trained on and those
            that were held out is then not known.
        """
        data, net = self.plan.data, self.plan.net.architecture
        pairs = find_pairs(
            self.paths.data(data.images), None if data.masks is None else self.paths.data(data.masks), axes=data.axes
        )
        objects = net["out_channels"] > 2
        dataset = load_dataset(
            pairs,
            labels=data.label_options,
            options=data.read_options,
            objects=objects,
            resample=data.resample,
            store=ArrayStore(self.plan.device.memory_bytes, self.paths.cache),
        )
        now = len(dataset.cases), dataset.channels * (data.planes or 1), len(dataset.kind.values)
        before = data.n_images, net["in_channels"], net["out_channels"]
        if now != before:
            raise ValueError(
                f"{data.images}: now holds {now[0]} images for {now[1]} channels and {now[2]} classes; "
                f"{self.paths.root} was trained on {before[0]}, {before[1]} and {before[2]}, so the images that were "
                "held out are not known: bring them back"
            )
        check_record(self.paths.data_record, dataset.cases)
        return dataset

    def split(self) -> tuple[list[Case], list[Case]]:
        """Cases that the net was trained on, and those that were held out, of large images windows; of `dataset`."""
        training, held_out = self.plan.split(self.dataset().cases)
        return training, validation_cases(held_out, seed=self.plan.budget.seed)[0]

    def predictor(self, execution: Execution = Execution()) -> Predictor:  # noqa: B008 - frozen
        """The model of the run, as `unetkit.load_model` gives it."""
        return Predictor.load([self.paths.root], execution)
