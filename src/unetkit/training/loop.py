"""From a folder of images and a folder of masks to a run folder with a trained model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path

from ..allocator import keep_freed_memory
from ..data.balance import split_notes
from ..data.case import Case
from ..data.dataset import Dataset
from ..data.split import FEW
from ..inference.execution import Execution
from ..inference.predictor import Predictor
from ..io.decoder_errors import naming
from ..io.lock import sole_writer
from ..model.files import read_model, save_model
from ..model.run_paths import RunPaths
from ..processors import limit_threads
from ..progress import SILENT, Progress
from .checkpoint import load_state
from .data_record import check_record, write_record
from .diagnostics import update_ratios
from .distributed import broadcast, has_lost_starter, process_group, rank
from .environment import environment_notes
from .interrupt import interruptible
from .plan.files import read_plan_file
from .plan.plan import Plan
from .plan.settings import PlanSettings
from .request import TrainingRequest
from .run import LogEntry, Run
from .state import Training, card_of, choose_forward, training_of
from .validation import ValidationScore, predict_held_out, validate, validate_fully
from .validation_schedule import IntervalTimer
from .windows import validation_cases
from .writer import RunWriter, check_out

__all__ = ["run_training", "saved_plan", "train"]

_SAVE_EVERY_S = 20.0
_MOST_WAITING = 0.03  # share of the time


def train(
    images: Path | str,
    masks: Path | str | None = None,
    *,
    out: Path | str,
    time_s: float | None = None,
    steps: int | None = None,
    settings: PlanSettings | Plan | Path | str | None = None,
    resume: bool = False,
    progress: Progress = SILENT,
) -> Run:
    """Train a net on images and masks.

    Parameters
    ----------
    images, masks : path
        As `find_pairs` takes them: two folders, one folder that holds both, or a table.
    out : path
        The run folder to make: `model.safetensors`, `plan.json`, `log.jsonl`, `previews/`, the scores, and `last/`, to
        resume from.
    time_s, steps
        The budget, one of the two; a whole plan has its own.
    settings : PlanSettings, Plan or path, optional
        Values of the plan that take the place of those of its rules, such as `{"net": {"name": "unet++"}}`; or a whole
        plan, or the file (.json) of one, such as another run's.
    resume : bool
        Continue the training in `out`; starts it if it was never saved. With more time or steps than it was planned
        with, also a finished one: the learning rate then follows the schedule of the whole.
    progress : Progress
        Updated after every step with `step`, `loss` (mean of the last 20), `steps_per_s`, `time_left_s` and, once
        there is one, `dice` of the last validation.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        If files cannot be used (all are named), values do not fit, or a resumed run was planned otherwise or with other
        data.
    FileExistsError
        If `out` holds something and `resume` is not set, or another process writes into it.
    ImportError
        If `net.encoder` is set and timm is not installed.

    Examples
    --------
    >>> run = train("images", "masks", out="RUN", time_s=600, settings={"optim": {"loss": "focal"}})  # doctest: +SKIP
    """
    keep_freed_memory()
    limit_threads()
    request, paths = TrainingRequest(images, masks, time_s, steps, settings), RunPaths(Path(out))
    with process_group():
        is_main = rank() == 0
        progress = progress if is_main else SILENT
        for message in environment_notes():
            progress.update(message=message)
        with sole_writer(paths.root) if is_main else nullcontext():
            saved = saved_plan(paths, resume)
            if is_main:
                check_out(paths.root, resume)
            broadcast(None)  # before anything is written
            dataset = request.load(saved, paths.cache, progress)
            with naming(paths.plan) if saved else nullcontext():
                plan = request.plan(saved, dataset, progress)
            return run_training(plan, dataset, paths, resume=resume, progress=progress)


def saved_plan(paths: RunPaths, resume: bool) -> Plan | None:
    """The plan of a run that is resumed; None where there is none yet."""
    return read_plan_file(paths.plan) if resume and paths.plan.is_file() else None


def run_training(
    plan: Plan, dataset: Dataset, paths: RunPaths, *, resume: bool = False, progress: Progress = SILENT
) -> Run:
    """Train by a plan; parameters as for `train`."""
    if resume:
        check_record(paths.data_record, dataset.cases)
    is_main, (cases, held_out) = rank() == 0, plan.split(dataset.cases)
    with naming(paths.plan) if resume else nullcontext():
        training, card = training_of(plan, cases), card_of(plan, dataset)
    writer = RunWriter(paths, card)
    for message in [*_describe(plan, dataset), *split_notes(cases, held_out, dataset.scored_names)]:
        progress.update(message=message)
    _prepare(training, writer, resume, progress)
    if is_main:
        writer.plan(plan)
        if not paths.data_record.is_file():
            learned = {case.name for case in cases}  # of a few images a part each is held out: all are learned from
            write_record(paths.data_record, dataset.cases, held_out={case.name for case in held_out} - learned)
    held_out, text = validation_cases(held_out, seed=plan.budget.seed)
    if text:
        progress.update(message=text)
    with interruptible() as stop, closing(training.drawn):
        timer, score = IntervalTimer(training, held_out), None
        start, first_step = time.perf_counter() - training.elapsed_s, training.step
        next_save_s, logged = training.elapsed_s + _SAVE_EVERY_S, (training.elapsed_s, 0.0)
        if training.fraction() < 1:
            progress.update(message=choose_forward(training))  # may take steps
        while True:
            if is_main and training.step > first_step:
                training.elapsed_s = time.perf_counter() - start
                _report(training, score, progress)
                if is_due := timer.is_due:
                    new = None
                    if held_out and timer.is_affordable:
                        began = time.perf_counter()
                        new = score = validate(training.predictor(card), held_out)
                        _preview(writer, held_out[0], score, progress)
                        timer.cost_s = time.perf_counter() - began
                    if score is None or score.quality > training.best:
                        training.best = score.quality if score else -1.0
                        writer.model(training.averaged, score.mean_dice if score else None)
                    writer.log(_log_entry(training, new, logged))
                    logged = training.elapsed_s, training.drawn.waited_s
                if is_due or training.elapsed_s > next_save_s:
                    save_s = writer.state(training)
                    next_save_s = training.elapsed_s + max(_SAVE_EVERY_S, 50 * save_s)
                training.elapsed_s = time.perf_counter() - start
                if is_due:
                    timer.restart()
            training.elapsed_s = broadcast(training.elapsed_s)  # the time of the first process is that of all
            is_stopped = (stop.is_set() or has_lost_starter()) and training.step > 0
            if not broadcast(not is_stopped and not timer.is_over()):
                break
            training.take_step()
        training.elapsed_s = time.perf_counter() - start
        was_interrupted = stop.is_set()
    if is_main:
        if (waiting := _share(training.drawn.waited_s, training.elapsed_s)) > _MOST_WAITING:
            progress.update(message=f"steps waited for data {waiting:.0%} of the time: more --memory, or a faster disk")
        _finish(training, held_out, writer, progress)
    training.drawn.close()
    return Run(paths, plan, was_interrupted)


def _describe(plan: Plan, dataset: Dataset) -> list[str]:
    lines, share = dataset.describe(), plan.data.validation_fraction
    if share and len(dataset.cases) < FEW:
        lines.append(f"{share:.0%} of every image held out: parts of images that the net is trained on too")
    return lines + [f"{path} {value}: {reason}" for path, value, reason in plan.describe()]


def _prepare(training: Training, writer: RunWriter, resume: bool, progress: Progress) -> None:
    """Load the weights to start from, or the saved state."""
    net, state = training.plan.net, writer.paths.state
    is_saved = state.is_file()  # a resumed training has its own weights
    if net.encoder_weights and not is_saved:
        progress.update(message=f"encoder weights: {net.encoder_weights}")
        training.load_encoder(net.encoder_weights)
    if net.init_from and not is_saved:
        for line in [f"weights of {net.init_from}", *training.start_from(read_model(net.init_from)[0])]:
            progress.update(message=line)
    if resume:
        if is_saved:
            with naming(state):
                training.restore(*load_state(state))
            progress.update(message=f"resumed at step {training.step}")
        broadcast(None)  # none still writes into the cache
        if rank() == 0:
            writer.clean(training.step)
        broadcast(None)  # all have read the state before it is written again


def _report(training: Training, score: ValidationScore | None, progress: Progress) -> None:
    budget, recent = training.plan.budget, training.losses[-20:]
    rate = training.step / max(training.elapsed_s, 1e-9)
    left = (budget.time_s or 0) - training.elapsed_s
    if budget.steps:
        left = (budget.steps - training.step) / max(rate, 1e-9)
    dice = {"dice": score.mean_dice} if score and score.mean_dice is not None else {}
    progress.update(
        training.fraction(),
        1.0,
        "",
        step=training.step,
        loss=sum(recent) / len(recent),
        steps_per_s=rate,
        time_left_s=max(left, 0.0),
        **dice,
    )


def _preview(writer: RunWriter, case: Case, score: ValidationScore, progress: Progress) -> None:
    """Write the state of the net on an image; the first preview early, so that a hopeless training is seen at once."""
    if score.first_mask is not None and writer.preview(case, score.first_mask):
        early = writer.paths.preview("early")
        progress.update(message=f"early preview: {early} (image, truth, prediction, differences)")


def _log_entry(training: Training, score: ValidationScore | None, last: tuple[float, float]) -> LogEntry:
    """A line of the log; `last` holds the seconds of the training, and of waiting, at the line before."""
    recent, updates = training.losses[-50:], update_ratios(training)
    entry: LogEntry = {
        "step": training.step,
        "elapsed_s": round(training.elapsed_s, 2),
        "loss": sum(recent) / max(len(recent), 1),
        "learning_rate": training.learning_rate(),
        "gradient_norm": training.gradient_norm,
        "gradients": {name: update.gradient for name, update in updates.items()},
        "updates": {name: update.ratio for name, update in updates.items()},
        "waiting": _share(training.drawn.waited_s - last[1], training.elapsed_s - last[0]),
    }
    if score:
        if score.mean_dice is not None:
            entry |= {"dice": list(score.dice), "mean_dice": score.mean_dice}
        entry |= {"pixel_error": score.pixel_error, "validation_s": round(score.time_s, 2)}
    return entry


def _share(part_s: float, whole_s: float) -> float:
    return round(min(part_s / whole_s, 1.0), 4) if whole_s > 0 else 0.0


def _finish(training: Training, held_out: Sequence[Case], writer: RunWriter, progress: Progress) -> None:
    """Keep the better of the last net and the best one before it, and write its final scores."""
    writer.state(training)
    training.update_batch_norm()
    net, card = training.averaged, writer.card
    predictions = predict_held_out(training.predictor(card), held_out) if held_out else None
    if predictions is None or predictions.score.quality >= training.best:
        training.best = predictions.score.quality if predictions else -1.0
        card = writer.model(net, predictions.score.mean_dice if predictions else None)
    elif held_out:
        net, card = read_model(writer.paths.root)
        predictor = Predictor(net, card, Execution(device=training.plan.device.name))
        predictions = predict_held_out(predictor, held_out)
    if predictions:
        result = validate_fully(predictions, card, held_out, progress=progress)
        save_model(writer.paths.model, net, result.card)
        writer.result(result, held_out)
