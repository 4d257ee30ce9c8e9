"""The command line: each verb a thin call of a public function. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import (
    NETS,
    AsJson,
    Block,
    DivideWidth,
    Images,
    Labels,
    Masks,
    Skip,
    Widths,
    default_run,
    free,
    option,
    plan_value,
    seconds,
    sides,
    widths_of,
)
from .verbs import objects, plan, polygons, predict, quantise

app = typer.Typer(
    name="unetkit",
    help="U-Nets for every pixel: from a folder of images and masks to exact masks of images of any size.",
    epilog="Start with: unetkit demo. Errors are one line; add --debug for the traceback.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def check(images: Images, masks: Masks = None, labels: Labels = "auto", as_json: AsJson = False) -> None:
    """Read every image and mask, say what they hold, and name every file that cannot be used or looks wrong.

    What looks wrong beside the others (shifted, interchanged, inverted, empty, twice, of another size or kind) is a
    doubt with its numbers, not an error.
    """
    from ..data.check import check as check_files
    from ..progress import SILENT
    from .console import FileBar

    with FileBar("checking") as bar:
        found = check_files(images, masks, labels=labels, progress=SILENT if as_json else bar)
    dataset = found.dataset
    if dataset is None or (found.errors and not as_json):
        for one in found.issues:
            typer.echo(f"looks wrong: {one}")
        raise ValueError("\n".join(found.errors))
    if as_json:
        counts = dict(zip(dataset.class_names, dataset.class_pixels.tolist(), strict=True))
        result = {"images": len(dataset.cases), "channels": dataset.channels, "pixels": counts}
        result |= {"spacing": dataset.spacing, "unit": dataset.unit, "labelled": dataset.labelled_share}
        doubts = [{"file": str(one.path), "reason": one.reason} for one in found.issues]
        print(json.dumps(result | {"errors": found.errors, "suspicious": doubts}))
        if found.errors:
            raise SystemExit(1)
        return
    for line in dataset.describe():
        typer.echo(line)
    for one in found.issues:
        typer.echo(f"looks wrong: {one}")
    typer.echo("All files can be used. Next: unetkit train, with the same folders.")


@app.command()
def train(
    images: Images,
    masks: Masks = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to make (default: runs/ and the data's name).")] = None,
    time: Annotated[str | None, typer.Option(help="Budget: 90s, 10m, 2h. The schedule follows it.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Budget in steps: the same again from one seed.")] = None,
    net: Annotated[str, typer.Option(help=NETS + ".")] = "unet",
    block: Block = None,
    skip: Skip = None,
    widths: Widths = None,
    divide_width: DivideWidth = None,
    encoder: Annotated[
        str | None, typer.Option(help="A timm model as encoder: resnet34 ... (pip install 'unetkit[pretrained]').")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Of the encoder: imagenet (default; downloads), a .safetensors file, or none.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    labels: Labels = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split, the weights and the patches.")] = 0,
    patch: Annotated[
        str | None, typer.Option(help="Patch in pixels: 128, or per axis 8x128x128 (default: from the images).")
    ] = None,
    planes: Annotated[
        int | None,
        typer.Option(help="Volumes by a 2D net that sees N adjacent planes: 1, 3, 5 ...; 0: by a 3D net."),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="full; oriented: turns up to 30 degrees, flips where sides are alike (default for NIfTI); or none."
        ),
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Patches per step.")] = None,
    validation: Annotated[float | None, typer.Option(help="Share held out, by group where given; 0: none.")] = None,
    rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    supervise: Annotated[
        bool, typer.Option("--supervise", help="Deep supervision: a loss on the coarser decoder maps too.")
    ] = False,
    border_weight: Annotated[bool, typer.Option("--border-weight", help="The 2015 paper's weight map.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: the fastest).")] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32 or bfloat16, for training (default: bfloat16 where it is multiplied).")
    ] = None,
    compile: Annotated[str | None, typer.Option(help="torch.compile: auto (measured; default), yes or no.")] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Cross-validation: so many nets in equal shares of the budget, used as one."),
    ] = None,
    devices: Annotated[
        int, typer.Option(min=1, help="Processes that share every batch: one per GPU; the net is that of one process.")
    ] = 1,
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="RUN", help="Start from this model; its channels and classes may be others."),
    ] = None,
    plan_file: Annotated[
        Path | None, typer.Option("--plan", help="Train by this plan (unetkit plan --out, or another run's plan.json).")
    ] = None,
    given: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any value that unetkit plan lists.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a net on images and masks.

    Ctrl-C stops it with a usable model; the same command with --resume goes on.
    """
    is_first = os.environ.get("RANK", "0") == "0"
    if devices > 1 and "RANK" not in os.environ:
        from ..training.distributed import launch

        raise SystemExit(launch([sys.executable, *sys.argv], devices))
    from ..progress import SILENT
    from ..training.loop import train as run_training
    from ..training.plan.files import read_plan_file
    from ..training.plan.settings import OLD_NAMES, merge_settings

    if plan_file is None and (time is None) == (steps is None):
        raise typer.BadParameter("give one budget: --time 10m, or --steps 2000")
    if resume and out is None:
        raise typer.BadParameter("--resume continues a run: name its folder with --out")
    run = out or default_run(images)
    values: dict[str, Any] = {
        "net": None if plan_file and net == "unet" else net,
        "divide_width": divide_width,
        "block": block,
        "skip": skip,
        "widths": None if widths is None else option(widths_of, widths),
        "encoder": encoder,
        "weights": weights,
        "start": None if start is None else str(start),
        "labels": None if plan_file else labels,
        "seed": seed or (None if plan_file else 0),
        "patch": None if patch is None else option(sides, patch),
        "planes": planes,
        "augmentation": augment,
        "batch": batch,
        "validation": validation,
        "learning_rate": rate,
        "supervision": supervise or None,
        "border_weight": border_weight or (None if plan_file else False),
        "device": device,
        "precision": precision,
        "compile": compile,
    }
    values |= dict(option(plan_value, text) for text in given or ())
    time_s = None if time is None else option(seconds, time)
    settings: Any = merge_settings((OLD_NAMES.get(k, k), value) for k, value in values.items() if value is not None)
    if plan_file:
        whole = read_plan_file(plan_file)
        budget = settings.pop("budget", {})
        if settings:
            names = ", ".join(f"{group}.{name}" for group, chosen in settings.items() for name in chosen)
            raise ValueError(f"the plan says all but budget and seed: leave out {names}, or change the file")
        settings = whole.model_copy(update={"budget": whole.budget.model_copy(update=budget)})
    if folds is not None:
        if devices > 1:
            raise typer.BadParameter("--folds trains one net after the other: leave out --devices")
        if plan_file:
            raise typer.BadParameter("--folds makes a plan for each fold: leave out --plan")
        settings.setdefault("budget", {})["steps"] = steps
        _cross_validate(images, masks, run, folds, time_s, settings, resume, as_json)
        return
    with _training_bar() as bar:
        trained = run_training(
            images,
            masks,
            out=run,
            time_s=time_s,
            steps=steps,
            settings=settings,
            resume=resume,
            progress=SILENT if as_json or not is_first else bar,
        )
    if not is_first:
        return
    from ..report import write_report

    report, scores = write_report(run), trained.scores
    dice = scores.mean.dice if scores else None
    if as_json:
        summary = {"run": str(run), "steps": trained.steps, "time_s": trained.time_s, "dice": dice}
        summary |= {"pixel_error": scores.pixel_error if scores else None}
        print(json.dumps(summary | {"was_interrupted": trained.was_interrupted, "report": str(report)}))
        return
    score = "no validation set" if dice is None else f"validation Dice {dice:.4f}"
    state = "Stopped" if trained.was_interrupted else "Done"
    typer.echo(f"{state}: {trained.steps} steps in {_clock(trained.time_s)}, {score}")
    typer.echo(f"Look at {report}. Next: unetkit predict {run} IMAGES --out MASKS")


def _cross_validate(
    images: Path,
    masks: Path | None,
    run: Path,
    folds: int,
    time_s: float | None,
    settings: Any,
    resume: bool,
    as_json: bool,
) -> None:
    from ..progress import SILENT
    from ..report import write_report
    from ..training.cross_validation import cross_validate

    with _training_bar() as bar:
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
    reports = [write_report(result.paths.fold(k).root) for k in range(len(result.dice))]
    report = reports[-1] if result.was_interrupted else write_report(run)
    if as_json:
        summary = {"run": str(run), "dice": result.dice, "steps": result.steps, "report": str(report)}
        print(json.dumps(summary | {"doubts": [vars(doubt) for doubt in result.doubts]}))
        return
    state = "Stopped" if result.was_interrupted else "Done"
    typer.echo(f"{state}: {result.steps} steps in {_clock(result.time_s)}. {result.describe()}")
    if result.evaluation:
        if result.evaluation.objects:
            typer.echo(result.evaluation.objects.describe())
        dice = result.evaluation.mean.dice
        typer.echo(f"All images by nets not trained on them: Dice {dice:.4f}, {result.paths.out_of_fold}")
        for doubt in result.doubts:
            typer.echo(f"looks wrong: {doubt}")
    typer.echo(f"Look at {report}. Next: unetkit predict {run} IMAGES --out MASKS")


app.command()(predict)


@app.command()
def evaluate(
    predicted: Annotated[Path, typer.Argument(help="Folder of predicted masks, or one mask; with --levels a run.")],
    truth: Annotated[Path | None, typer.Argument(help="Folder of true masks, or one mask.")] = None,
    levels: Annotated[
        bool, typer.Option("--levels", help="Score and time every level of a unet++ run on its validation images.")
    ] = False,
    tolerance: Annotated[float, typer.Option(help="Distance in pixels within which boundaries match.")] = 2.0,
    labels: Labels = "auto",
    ignore: Annotated[int | None, typer.Option(help="Value that means not labelled.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the scores of every image to this table.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score masks against the truth: Dice, IoU, precision, recall, boundaries, per class; and objects by their ids."""
    if levels:
        _evaluate_levels(predicted, as_json)
        return
    if truth is None:
        raise typer.BadParameter("name the true masks too: unetkit evaluate PREDICTED TRUTH")
    from ..metrics.folders import evaluate as score

    result = score(predicted, truth, tolerance=tolerance, labels=labels, ignore=ignore)
    if csv:
        csv.write_text(result.to_csv())
    if as_json:
        print(result.to_json())
        return
    from .console import print_table

    for note in result.notes:
        typer.echo(note)
    print_table(result.summary())
    if result.objects:
        typer.echo(result.objects.describe())
    number = "1 image" if len(result.per_image) == 1 else f"{len(result.per_image)} images"
    typer.echo(f"pixel error {result.pixel_error:.4f}, {number}, tolerance {tolerance:g} px")


def _evaluate_levels(run: Path, as_json: bool) -> None:
    from ..training.levels import compare_levels

    rows = [asdict(level) for level in compare_levels(run)]
    if as_json:
        print(json.dumps(rows))
        return
    from .console import print_table

    print_table(rows)
    typer.echo(f"Choose one: unetkit predict {run} IMAGES --out MASKS --prune LEVEL")


@app.command()
def inspect(
    model: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="Run folder, or a model.safetensors (default: --net).")
    ] = None,
    net: Annotated[str | None, typer.Option(help=NETS + " (default: unet).")] = None,
    block: Block = None,
    skip: Skip = None,
    widths: Widths = None,
    divide_width: DivideWidth = None,
    size: Annotated[
        str | None, typer.Option(help="Input in pixels: 572, or 132x132x116 (three make unet a 3D net).")
    ] = None,
    channels: Annotated[int | None, typer.Option(min=1, help="Channels of the image.")] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="Classes, background included.")] = None,
    image: Annotated[
        Path | None, typer.Option(help="Look at this image (default: the first one that the run has held out).")
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Its true mask (default: looked up in the run's data).")] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Print every layer, not only the stages.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="The page (.html; default: inspect.html in the run), or a drawing alone (.svg).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a net is, what it sees in an image, and why: a table, and for a run one HTML page.

    The table: stages, map sizes, receptive fields, parameters, multiplications. The page: the net drawn, receptive
    fields on the image, what each skip carries, frequencies, gradients, cost, shifts; it takes up to a minute.
    A net by name (--net) gets a page with --image or --out PAGE.html, with random weights.
    """
    from ..insight.summary import check_drawing_path, choose_net, summarise, write_drawing

    drawing = out if out and out.suffix.lower() != ".html" else None
    if drawing:
        check_drawing_path(drawing)
    given = None if size is None else option(lambda text: sides(text, "size"), size)
    given = (given,) if isinstance(given, int) else given
    chosen = choose_net(
        model,
        net,
        ndim=len(given) if given and len(given) > 1 else None,
        in_channels=channels,
        out_channels=classes,
        block=block,
        skip=skip,
        widths=None if widths is None else option(widths_of, widths),
        width_divisor=divide_width,
    )
    summary = summarise(chosen.graph, given)
    if drawing:
        write_drawing(drawing, summary, title=f"{model or net or 'unet'}, input {summary.size}")
    if as_json:
        rows = {"stages": summary.stage_rows()} | ({"layers": summary.layer_rows()} if layers else {})
        print(json.dumps({**summary.to_dict(), **rows, "drawing": None if drawing is None else str(drawing)}))
        return
    from .console import print_table

    print_table(summary.table(layers=layers))
    for line in summary.lines():
        typer.echo(line)
    page = None
    if not drawing and (model or image or out):
        from ..report.inspection.choose import choose_inspection, page_path
        from ..report.inspection.write import write_inspection
        from .console import StepBar

        page = page_path(model, net, image=image, out=out)
    if page:
        inspection, sizes = choose_inspection(model or chosen, image=image, mask=mask, name=net)
        for note in inspection.notes:
            typer.echo(note)
        with StepBar() as bar:
            write_inspection(inspection, page, objects=sizes, progress=bar)
    if drawing or page:
        typer.echo(f"Look at {drawing or page}")


app.command()(objects)
app.command()(plan)
app.command()(polygons)
app.command()(quantise)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path | None, typer.Option(help="Page to write (default: report.html in the run).")] = None,
) -> None:
    """Write the report of a run: one HTML page with curves, overlays, scores and the plan."""
    from ..report import write_report

    typer.echo(f"Look at {write_report(run, out)}")


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option(help="Folder to make (default: demo, or demo-2, ...).")] = None,
    time: Annotated[str, typer.Option(help="Training time.")] = "60s",
) -> None:
    """Make synthetic cells, train on them for a minute, predict, score, and write a report."""
    from .demo import run_demo

    with _training_bar() as bar:
        lines = run_demo(out or free("demo"), time_s=option(seconds, time), progress=bar)
    for line in lines:
        typer.echo(line)


@app.command()
def doctor() -> None:
    """Versions, devices, a speed test, and the fix for what is missing."""
    from .doctor import examine

    for line in examine():
        typer.echo(line)


def _training_bar() -> Any:
    from .console import TrainingBar

    return TrainingBar()


def _clock(time_s: float) -> str:
    from .console import clock

    return clock(time_s)


def main() -> None:
    """Entry point: exit 0 done, 1 failed (one line on stderr), 2 wrong use."""
    debug = "--debug" in sys.argv or os.environ.get("UNETKIT_DEBUG") == "1"
    sys.argv = [arg for arg in sys.argv if arg != "--debug"]
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise SystemExit(130) from None
    except (ValueError, OSError, RuntimeError, ImportError, MemoryError) as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
