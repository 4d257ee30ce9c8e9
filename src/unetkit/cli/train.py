"""The verbs around a training: train, report."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    NETS,
    AsJson,
    Axes,
    Channels,
    Classes,
    Data,
    Ignore,
    Images,
    Labels,
    Masks,
    Set,
    default_run,
    label_settings,
    option,
    read_settings,
    seconds,
)

if TYPE_CHECKING:
    from ..training.plan.plan import Plan
    from ..training.plan.settings import PlanSettings
    from ..training.run import Run

__all__ = ["report", "train"]


def train(
    images: Images,
    masks: Masks = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to make (default: runs/DATA).")] = None,
    time: Annotated[str | None, typer.Option(help="Budget: 90s, 10m, 2h. The schedule follows it.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Budget in steps: reproducible from one seed.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    plan_file: Annotated[
        Path | None, typer.Option("--plan", help="Train by this plan (unetkit plan --out, or a run's plan.json).")
    ] = None,
    values: Set = None,
    net: Annotated[str | None, typer.Option(help=NETS + " (default: unet).")] = None,
    labels: Labels = "auto",
    ignore: Ignore = "auto",
    classes: Classes = "",
    axes: Axes = "",
    channels: Channels = "",
    folds: Annotated[
        int | None, typer.Option(min=2, help="Cross-validation: so many nets in equal shares of the budget.")
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option("--from", metavar="RUN", help="Start from this model; its channels and classes may differ."),
    ] = None,
    planes: Annotated[
        int | None, typer.Option(help="Volumes by a 2D net that reads N adjacent planes: 1, 3, 5 ...; 0: a 3D net.")
    ] = None,
    validation: Annotated[float | None, typer.Option(help="Share held out, by group where given; 0: none.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the split, the weights and the patches.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda (default: the fastest); mps or xpu, not tried by us.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(help="For images and masks, such as 2GB (default: half of the machine's); others stay on disk."),
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="Processes that share every batch: one per GPU.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Train a net on images and masks.

    Every other value is derived from the data and the budget; unetkit plan shows them, and --set changes them:
    --set net.widths=16,32,64 --set patches.batch=8. unetkit plan --settings lists them all.
    Ctrl-C stops with a usable model; the same command with --resume continues.
    """
    from ..training.environment import is_first, is_started

    is_main = is_first()
    if devices > 1 and not is_started():
        from ..training.distributed import launch

        raise SystemExit(launch([sys.executable, *sys.argv], devices))
    if plan_file is None and (time is None) == (steps is None):
        raise typer.BadParameter("give one budget: --time 10m, or --steps 2000")
    if resume and out is None:
        raise typer.BadParameter("--resume continues a run: name its folder with --out")
    if folds and (devices > 1 or plan_file):
        raise typer.BadParameter(
            "--folds trains one net after the other, each by a plan of its own: leave out "
            + ("--devices" if devices > 1 else "--plan")
        )
    from ..training.plan.settings import merge_settings, old_name_hints, parse_setting

    for hint in old_name_hints(values or ()) if is_main else ():
        typer.echo(hint, err=True)
    flags = {
        "net.name": net,
        "net.init_from": None if init_from is None else str(init_from),
        "data.labels": None if plan_file and labels == "auto" else labels,
        "data.planes": planes,
        "data.validation_fraction": validation,
        "device.name": device,
        "device.memory": memory,
        "budget.seed": seed,
    }
    pairs = [(path, value) for path, value in flags.items() if value is not None]
    pairs += [*label_settings(ignore, classes), *read_settings(axes, channels)]
    settings = merge_settings([*pairs, *(option(parse_setting, text) for text in values or ())])
    time_s, run = None if time is None else option(seconds, time), out or default_run(images)
    if folds is not None:
        if steps is not None:
            settings.setdefault("budget", {})["steps"] = steps
        _cross_validate(images, masks, run, folds, time_s, settings, resume, as_json)
        return
    from ..progress import SILENT
    from ..report import write_report
    from ..training.loop import train as train_net
    from .console import TrainingBar

    with TrainingBar() as bar:
        trained = train_net(
            images,
            masks,
            out=run,
            time_s=time_s,
            steps=steps,
            settings=_with_plan(plan_file, settings) if plan_file else settings,
            resume=resume,
            progress=SILENT if as_json or not is_main else bar,
        )
    if not is_main:
        return
    _print_result(trained, write_report(run), as_json)


def _print_result(trained: Run, page: Path, as_json: bool) -> None:
    """The end of a training, in two lines or as JSON."""
    from .console import clock

    run, scores = trained.paths.root, trained.scores
    dice = scores.dice if scores else None
    if as_json:
        summary: dict[str, object] = {"run": str(run), "steps": trained.steps, "time_s": trained.time_s, "dice": dice}
        summary |= {"pixel_error": scores.pixel_error if scores else None}
        print(json.dumps(summary | {"was_interrupted": trained.was_interrupted, "report": str(page)}))
        return
    score = "no validation set" if scores is None else "no object in the images held out: no validation Dice"
    score = score if dice is None else f"validation Dice {dice:.4f}"
    state = "Stopped" if trained.was_interrupted else "Done"
    typer.echo(f"{state}: {trained.steps} steps in {clock(trained.time_s)}, {score}")
    typer.echo(f"Look at {page}. Next: unetkit predict {run} IMAGES --out MASKS")


def _with_plan(file: Path, settings: PlanSettings) -> Plan:
    """The plan of a file, with another seed and memory where they are given; everything else stands in the file."""
    from ..training.plan.files import read_plan_file
    from ..training.plan.settings import flat_settings

    whole, seed = read_plan_file(file), settings.pop("budget", {}).get("seed")
    memory = settings.get("device", {}).pop("memory", None)
    if flat_settings(settings):
        names = ", ".join(flat_settings(settings))
        raise ValueError(f"the plan has all values but budget, seed and memory: leave out {names}, or change the file")
    if memory is not None:
        whole = whole.model_copy(update={"device": whole.device.model_copy(update={"memory": memory})})
    if seed is None:
        return whole
    return whole.model_copy(update={"budget": whole.budget.model_copy(update={"seed": seed})})


def _cross_validate(
    images: Path,
    masks: Path | None,
    run: Path,
    folds: int,
    time_s: float | None,
    settings: PlanSettings,
    resume: bool,
    as_json: bool,
) -> None:
    from ..model.run_paths import RunPaths
    from ..progress import SILENT
    from ..report import write_report
    from ..training.cross_validation import cross_validate
    from .console import TrainingBar, clock

    with TrainingBar() as bar:
        result = cross_validate(
            images,
            masks,
            out=run,
            folds=folds,
            time_s=time_s,
            settings=settings,
            resume=resume,
            progress=SILENT if as_json else bar,
        )
    paths = RunPaths(run)
    pages = [write_report(paths.fold(k).root) for k in range(len(result.dice))]
    page = pages[-1] if result.was_interrupted else write_report(run)
    if as_json:
        summary = {"run": str(run), "dice": result.dice, "steps": result.steps, "report": str(page)}
        print(json.dumps(summary | {"doubts": [vars(doubt) for doubt in result.doubts]}))
        return
    state = "Stopped" if result.was_interrupted else "Done"
    typer.echo(f"{state}: {result.steps} steps in {clock(result.time_s)}. {result.describe()}")
    if result.evaluation:
        if result.evaluation.objects:
            typer.echo(result.evaluation.objects.describe())
        dice = result.evaluation.dice
        score = "no object anywhere" if dice is None else f"Dice {dice:.4f}"
        typer.echo(f"All images by nets not trained on them: {score}, {paths.out_of_fold}")
        for doubt in result.doubts:
            typer.echo(f"looks wrong: {doubt}")
    typer.echo(f"Look at {page}. Next: unetkit predict {run} IMAGES --out MASKS")


def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path | None, typer.Option(help="Page to write (default: report.html in the run).")] = None,
    data: Data = None,
) -> None:
    """Write the report of a run: one HTML page with curves, overlays, scores and the plan."""
    from ..report import write_report

    typer.echo(f"Look at {write_report(run, out, data=data)}")
