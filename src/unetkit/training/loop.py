"""From a folder of images and a folder of masks to a run folder with a trained model."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from ..allocator import keep_freed_memory
from ..data.dataset import Dataset, load_dataset
from ..data.pairs import find_pairs
from ..data.split import FEW
from ..io.atomic import write_text
from ..model.card import Card
from ..model.files import read_model, save_model
from ..model.run_paths import RunPaths
from ..nets.pretrained import check_encoder
from .checkpoint import load_state, save_state
from .distributed import broadcast, process_group, rank, world_size
from .interrupt import interruptible
from .plan.device import use_threads
from .plan.files import read_plan, read_plan_file
from .plan.plan import Plan
from .plan.reuse import check_resumable, reuse_plan
from .plan.rules import make_plan
from .plan.settings import OLD_NAMES, merge_settings
from .preview import write_panel
from .state import Score, Training, choose_forward, predict_classes, training_of, validate
from .thresholds import usual_decoding
from .validation import judge, write_pictures
from .validation_schedule import expected_validation_s, validation_interval_s, validation_interval_steps

_EARLY_LOOK_S = 60.0
_SAVE_EVERY_S = 20.0


@dataclass(frozen=True)
class Progress:
    """Where a training stands; handed to the observer after every step.

    Attributes
    ----------
    message : str
        A line for the user, or "".
    fraction : float
        Share of the budget used.
    step : int
    loss : float
        Mean over the last 20 steps.
    steps_per_s : float
    dice : float or None
        Of the last validation.
    time_left_s : float
    """

    message: str = ""
    fraction: float = 0.0
    step: int = 0
    loss: float = float("nan")
    steps_per_s: float = 0.0
    dice: float | None = None
    time_left_s: float = float("nan")


Observer = Callable[[Progress], None]


@dataclass(frozen=True)
class Result:
    """What a training came to.

    Attributes
    ----------
    run : Path
        The run folder.
    steps : int
    time_s : float
    dice : float or None
        Validation Dice, mean over foreground classes; None without a validation set.
    pixel_error : float or None
    was_interrupted : bool
    """

    run: Path
    steps: int
    time_s: float
    dice: float | None
    pixel_error: float | None
    was_interrupted: bool


def train(
    images: Path | str,
    masks: Path | str | None = None,
    *,
    out: Path | str,
    resume: bool = False,
    observer: Observer | None = None,
    divide_width: int | None = None,
    plan: Path | str | None = None,
    **given: Any,
) -> Result:
    """Train a net on images and masks.

    Parameters
    ----------
    images, masks : path
        As `find_pairs` takes them: two folders, one folder that holds both, or a table.
    out : path
        The run folder to make: `model.safetensors`, `plan.json`, `log.jsonl`, `previews/`,
        and `last/`, from which a training that was stopped goes on.
    resume : bool
        Go on with the training in `out`; starts it if it never came to its first save.
    observer : callable, optional
        Called with a `Progress` after every step and for every message.
    divide_width : int, optional
        Divide the widths of a paper's net.
    plan : path, optional
        A plan (.json) that takes the place of one that is derived, such as another run's; a budget and a seed may be
        given beside it.
    **given
        Values of `Plan`: `time_s` or `steps` (one of them), `seed`, `net`, `labels`, `patch`, `batch`, ...

    Returns
    -------
    Result

    Raises
    ------
    ValueError
        If files cannot be used (all are named), values do not fit, or a resumed run was
        planned otherwise.
    FileExistsError
        If `out` holds something and `resume` is not set.
    ImportError
        If an `encoder` is given and timm is not installed.
    """
    keep_freed_memory()
    with process_group():
        return _train(images, masks, Path(out), resume, observer, divide_width, plan, given)


def _train(
    images: Path | str,
    masks: Path | str | None,
    out: Path,
    resume: bool,
    observer: Observer | None,
    divide_width: int | None,
    plan_file: Path | str | None,
    given: dict[str, Any],
) -> Result:
    say = observer if observer and rank() == 0 else (lambda progress: None)
    saved = _saved_plan(out, resume)
    file = None if plan_file is None or saved else read_plan_file(Path(plan_file))
    if rank() == 0:
        check_out(out, resume)
    broadcast(None)  # before anything is written
    known = saved or file
    encoder = known.net.architecture.get("encoder") if known else given.get("encoder")
    check_encoder(encoder, None if known else given.get("weights"))
    pairs = find_pairs(images, masks)
    labels, border_weight = given.get("labels") or "auto", bool(given.get("border_weight"))
    if known:
        labels, border_weight = known.data.labels, known.patches.border_weight

    resample = known.data.resample if known else given.get("resample") is not False
    how: dict[str, Any] = {"border_weight": border_weight, "objects": not border_weight, "resample": resample}
    dataset = load_dataset(pairs, labels=labels, progress=_Reading(say), **how)
    folders: dict[str, Any] = {"images": str(images), "masks": None if masks is None else str(masks)}
    asked: dict[str, Any] = {name: given.pop(name, None) for name in ("time_s", "steps", "seed")}
    given |= {"divide_width": divide_width}
    values = ((OLD_NAMES.get(name, name), value) for name, value in given.items() if value is not None)
    asked["settings"] = merge_settings(values)
    if saved:
        plan = saved
    elif file:
        plan = reuse_plan(file, dataset, **folders, **asked | {"seed": asked["seed"] or None})
    else:
        start = None if given.get("start") is None else read_model(given["start"])[1]
        plan = make_plan(dataset, **folders, **asked | {"seed": asked["seed"] or 0}, init_from=start)
    if world_size() > 1:
        plan = read_plan(broadcast(plan.model_dump_json()))
    if saved:
        check_resumable(saved, dataset, **asked)
        if message := use_threads(saved.budget.threads):
            say(Progress(message=message))
    run = _Run(out, plan, dataset, say)
    for line in dataset.describe():
        say(Progress(message=line))
    share = plan.data.validation_fraction
    if share and len(dataset.cases) < FEW:
        say(Progress(message=f"{share:.0%} of every image held out: parts of images that it also learns from"))
    for name, value, reason in plan.describe():
        say(Progress(message=f"{name} {value}: {reason}"))
    return run.go(resume)


def check_out(out: Path, resume: bool) -> None:
    """Raise FileExistsError if a run cannot be made in a folder."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out}: is a file; name a folder for the run")
    if out.is_dir() and any(out.iterdir()) and not resume:
        raise FileExistsError(f"{out}: exists and is not empty; add --resume to go on with it, or name another folder")


def _saved_plan(out: Path, resume: bool) -> Plan | None:
    path = RunPaths(out).plan
    return read_plan_file(path) if resume and path.is_file() else None


class _Reading:
    """Passes on that all files are read."""

    def __init__(self, say: Observer) -> None:
        self._say = say

    def update(self, done: float = 0.0, total: float = 0.0, message: str = "", **values: float) -> None:
        line = f"reading files: {done:.0f} of {total:.0f}" if done == total else message
        self._say(Progress(message=line, fraction=0.0))


class _Run:
    """A training in its folder."""

    def __init__(self, out: Path, plan: Plan, dataset: Dataset, say: Observer) -> None:
        self.out, self.plan, self.dataset, self.say = out, plan, dataset, say
        self.training_cases, self.held_out = plan.split(dataset.cases)
        self.paths = RunPaths(out)
        self.score: Score | None = None
        self.decoding = usual_decoding(dataset.cases) if dataset.kind.has_distance else None
        self.next_validation_s, self.validation_s, self.saved_s, self.save_cost_s = 0.0, 0.0, 0.0, 0.0

    def go(self, resume: bool) -> Result:
        training = training_of(self.plan, self.training_cases)
        if self.plan.net.encoder_weights and not self.paths.state.is_file():  # a resumed training has its own
            self.say(Progress(message=f"encoder weights: {self.plan.net.encoder_weights}"))
            training.load_encoder(self.plan.net.encoder_weights)
        start = self.plan.net.init_from
        if start and not self.paths.state.is_file():
            for line in [f"weights of {start}", *training.start_from(read_model(start)[0])]:
                self.say(Progress(message=line))
        if resume:
            self._resume(training)
        if rank() == 0:
            write_text(self.paths.plan, self.plan.model_dump_json(indent=2))
        with interruptible() as stop:
            self._loop(training, stop)
            interrupted = stop.is_set()
        if rank() == 0:
            self._finish(training)
        return Result(
            self.out,
            training.step,
            training.elapsed_s,
            self.score.mean_dice if self.score else None,
            self.score.pixel_error if self.score else None,
            interrupted,
        )

    def _resume(self, training: Training) -> None:
        for leftover in self.out.rglob(".*.tmp") if rank() == 0 else ():  # of a process that was killed while it wrote
            leftover.unlink()
        if self.paths.state.is_file():
            training.restore(*load_state(self.paths.state))
            self.say(Progress(message=f"resumed at step {training.step}"))
        if rank() == 0:
            self._cut_log(training.step)
        broadcast(None)  # all have read the state before it is written again

    def _loop(self, training: Training, stop: threading.Event) -> None:
        start = time.perf_counter() - training.elapsed_s
        taken = training.step
        if training.fraction() < 1:
            self.say(Progress(message=choose_forward(training)))
        if self.plan.budget.time_s is not None:  # the early look: after a minute, or a fifth of a short budget
            self.next_validation_s = training.elapsed_s + min(_EARLY_LOOK_S, self.plan.budget.time_s / 5)
        self.saved_s = training.elapsed_s
        if training.step > taken:  # trying out to compile takes steps too
            self._after_step(training, start)
        while self._goes_on(training, stop):
            training.take_step()
            self._after_step(training, start)
        training.elapsed_s = time.perf_counter() - start

    def _goes_on(self, training: Training, stop: threading.Event) -> bool:
        is_asked = not stop.is_set() or training.step == 0
        return bool(broadcast(is_asked and not self._is_over(training)))

    def _after_step(self, training: Training, start: float) -> None:
        """Tell, validate and save, each where it is due; processes beside the first take its time for theirs."""
        if rank() == 0:
            training.elapsed_s = time.perf_counter() - start
            self._tell(training)
            if self._validation_is_due(training):
                self._validate(training)
                training.elapsed_s = time.perf_counter() - start
                # Where no validation is affordable on the way, losses are logged nevertheless.
                time_s = self.plan.budget.time_s or 0.0
                interval_s = self._validation_interval_s(training)
                self.next_validation_s = training.elapsed_s + (interval_s if interval_s < inf else time_s / 20)
            if training.elapsed_s - self.saved_s > max(_SAVE_EVERY_S, 50 * self.save_cost_s):
                self._save(training)
        training.elapsed_s = broadcast(training.elapsed_s)

    def _is_over(self, training: Training) -> bool:
        if self.plan.budget.steps:
            return training.step >= self.plan.budget.steps
        reserve = self.validation_s * 1.2  # the last validation is part of the budget
        return training.elapsed_s + reserve >= (self.plan.budget.time_s or 0)

    def _validation_interval_s(self, training: Training) -> float:
        if self.held_out and not self.validation_s:
            step_s = training.elapsed_s / max(training.step, 1)
            self.validation_s = expected_validation_s(self.plan, self.held_out, step_s)
        return validation_interval_s(self.plan.budget.time_s, self.validation_s)

    def _validation_is_due(self, training: Training) -> bool:
        if self.plan.budget.steps:
            return training.step % validation_interval_steps(self.plan.budget.steps) == 0
        return training.elapsed_s >= self.next_validation_s

    def _validate(self, training: Training) -> None:
        entry: dict[str, Any] = {"step": training.step, "elapsed_s": round(training.elapsed_s, 2)}
        recent = training.losses[-50:]
        entry |= {"loss": sum(recent) / max(len(recent), 1), "learning_rate": training.learning_rate()}
        entry["gradient_norm"] = training.gradient_norm
        parts = training.parts()
        entry["gradients"] = {name: part.gradient for name, part in parts.items()}
        entry["updates"] = {name: part.ratio for name, part in parts.items()}
        if self.held_out and (self.plan.budget.steps or self._validation_interval_s(training) < inf):
            begin = time.perf_counter()
            self.score = self._score(training)
            entry |= {"dice": self.score.dice, "mean_dice": self.score.mean_dice}
            entry |= {"pixel_error": self.score.pixel_error, "validation_s": round(self.score.time_s, 2)}
            self._preview(training)
            self.validation_s = time.perf_counter() - begin
        if self.score is None or self.score.mean_dice > training.best:
            training.best = self.score.mean_dice if self.score else -1.0
            self._save_model(training)
        with self.paths.log.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        self._save(training)

    def _score(self, training: Training) -> Score:
        return validate(training.averaged, self.held_out, device=self.plan.device.name, planes=self.plan.data.planes)

    def _save(self, training: Training) -> None:
        start = time.perf_counter()
        save_state(self.paths.state, training.tensors(), training.numbers())
        self.saved_s, self.save_cost_s = training.elapsed_s, time.perf_counter() - start

    def _save_model(self, training: Training) -> None:
        card = Card(
            architecture=self.plan.net.architecture,
            classes=self.dataset.class_names,
            labels=self.dataset.kind,
            spacing=list(self.dataset.spacing),
            unit=self.dataset.unit,
            score=training.best if self.held_out else None,
            planes=self.plan.data.planes,
            augmentation=self.plan.patches.augmentation,
            flip_axes=list(self.plan.patches.flip_axes),
            decoding=self.decoding,
            resample=self.plan.data.resample and self.dataset.unit != "px",
        )
        save_model(self.paths.model, training.averaged, card)

    def _cut_log(self, step: int) -> None:
        """Drop what was logged after the state that is resumed."""
        if self.paths.log.is_file():
            lines = [line for line in self.paths.log.read_text().splitlines() if line.endswith("}")]
            write_text(self.paths.log, "".join(f"{line}\n" for line in lines if json.loads(line)["step"] <= step))

    def _finish(self, training: Training) -> None:
        """Re-estimate, validate once more, keep the better model, and write the tables and pictures."""
        self._save(training)
        if training.step:
            training.update_batch_norm()
            last = self._score(training) if self.held_out else None
            if last is None or last.mean_dice >= training.best:
                training.best = last.mean_dice if last else -1.0
                self._save_model(training)
        net, card = read_model(self.out)
        if self.held_out:
            found = judge(net, card, self.held_out, self.dataset.scored_names, lambda line: self.say(Progress(line)))
            save_model(self.paths.model, net, found.card)
            dice = tuple(score.dice for score in found.evaluation.pooled[1:] if score.occurs)
            self.score = Score(dice, found.evaluation.pixel_error, 0.0)
            write_text(self.paths.validation_json, found.evaluation.to_json())
            write_text(self.paths.validation_csv, found.evaluation.to_csv())
            write_pictures(self.paths, found, self.held_out)

    def _preview(self, training: Training) -> None:
        """An early look, so that a hopeless training is seen at once, and the latest state."""
        case = self.held_out[0]
        how: dict[str, Any] = {"planes": self.plan.data.planes, "has_distance": case.ids is not None}
        predicted = predict_classes(training.averaged.eval(), case.image, **how)
        early = self.paths.preview("early")
        first = not early.exists()
        for name in ("early", "latest") if first else ("latest",):
            write_panel(self.paths.preview(name), case, predicted)
        if first:
            self.say(Progress(message=f"early look: {early} (image, truth, prediction, differences)"))

    def _tell(self, training: Training) -> None:
        recent = training.losses[-20:]
        rate = training.step / max(training.elapsed_s, 1e-9)
        left = (self.plan.budget.time_s or 0) - training.elapsed_s
        if self.plan.budget.steps:
            left = (self.plan.budget.steps - training.step) / max(rate, 1e-9)
        self.say(
            Progress(
                "",
                training.fraction(),
                training.step,
                sum(recent) / len(recent),
                rate,
                self.score.mean_dice if self.score else None,
                max(left, 0.0),
            )
        )
