"""The verbs that use a model and score its masks: predict, evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..processors import byte_count
from .options import AsJson, Classes, Ignore, Labels, option

__all__ = ["evaluate", "predict"]


def predict(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or a model.safetensors.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Images, or folders of images.")],
    out: Annotated[Path, typer.Option(help="Folder for the masks.")],
    memory: Annotated[str, typer.Option(help="For the net's maps; larger images are streamed, exactly.")] = "2GB",
    engine: Annotated[
        str,
        typer.Option(
            help="torch, compiled, openvino, onnxruntime, bfloat16; int8, once exported; or auto: the fastest."
        ),
    ] = "torch",
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: the fastest; mps or xpu, not tried by us.")] = "auto",
    tta: Annotated[
        bool, typer.Option("--tta", help="Test-time averaging over the flips and turns of the training.")
    ] = False,
    level: Annotated[
        int | None, typer.Option(min=1, help="unet++: only the nodes of this level, faster; see unetkit levels.")
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also the probability of every class, in percent.")
    ] = False,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Also the entropy of the probabilities, in percent.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace masks that exist.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Leave masks that exist, and make the others.")] = False,
    within: Annotated[
        Path | None,
        typer.Option(
            metavar="MASK|OUTLINES|FOLDER",
            help="Predict within a region alone: a mask or outlines, one for all maps, or a folder of one per image.",
        ),
    ] = None,
    skip_empty: Annotated[
        bool, typer.Option("--skip-empty", help="Pass over blocks of one value, as the glass around a slide.")
    ] = False,
    cluster: Annotated[
        str | None, typer.Option(help="Spread the work: local, local:4, or a Dask scheduler's tcp://HOST:8786.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Segment images of any size: masks of the same size, spacing and name.

    A large image that was interrupted is resumed by the same command.
    """
    from ..inference.execution import Execution
    from ..inference.outputs import Outputs
    from ..inference.predictor import load_model
    from ..progress import SILENT
    from .console import PredictionBar

    chosen: Any = engine  # checked by Execution
    execution = Execution(option(byte_count, memory), chosen, device, tta, level, skip_empty)
    with PredictionBar() as bar:
        progress = SILENT if as_json else bar
        results = load_model(model, execution, progress=progress).predict_files(
            inputs,
            out,
            outputs=Outputs(probabilities, uncertainty),
            existing="overwrite" if overwrite else "resume" if resume else "refuse",
            within=within,
            cluster=cluster,
            progress=progress,
        )
    if as_json:
        rows = [{"image": str(r.source), "mask": str(r.mask), "size": r.size, "time_s": r.time_s} for r in results]
        for row, result in zip(rows, results, strict=True):
            row |= {"within": str(result.within)} if result.within else {}
        print(json.dumps(rows))
        return
    pixels, time_s = sum(result.pixels for result in results), sum(result.time_s for result in results)
    number = "1 mask" if len(results) == 1 else f"{len(results)} masks"
    typer.echo(f"{number} in {out}, {pixels / 1e6 / max(time_s, 1e-9):.2f} million pixels per second")


def evaluate(
    predicted: Annotated[Path, typer.Argument(help="Folder of predicted masks, or one mask.")],
    truth: Annotated[Path, typer.Argument(help="Folder of true masks or outlines, or one of them.")],
    images: Annotated[
        Path | None, typer.Option(help="Images, where both sides are outlines, contours or segments drawn on them.")
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Distance in pixels within which boundaries match.")] = 2.0,
    labels: Labels = "auto",
    ignore: Ignore = "auto",
    classes: Classes = "",
    csv: Annotated[Path | None, typer.Option(help="Write the scores of every image to this table.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score masks against the truth: Dice, IoU, precision, recall, boundaries, per class; and objects by their ids.

    docs/scores.md says how each counts absent classes, empty images and ties, and where other programs differ.
    """
    from ..io.atomic import check_writable, write_text
    from ..labels.options import LabelOptions, parse_classes, parse_ignore
    from ..metrics.folders import evaluate as evaluate_folders
    from ..progress import SILENT
    from .console import FileBar, print_table

    options = LabelOptions(labels, option(parse_ignore, ignore), option(parse_classes, classes))
    if csv:
        check_writable(csv, suffix=".csv")
    with FileBar("scoring") as bar:
        progress = SILENT if as_json else bar
        result = evaluate_folders(
            predicted, truth, images=images, tolerance=tolerance, labels=options, progress=progress
        )
    if as_json:
        print(result.to_json(), flush=True)
        if csv:
            write_text(csv, result.to_csv())
        return
    for note in result.notes:
        typer.echo(note)
    print_table(result.summary())
    if result.objects:
        typer.echo(result.objects.describe())
    number = "1 image" if len(result.per_image) == 1 else f"{len(result.per_image)} images"
    typer.echo(f"pixel error {result.pixel_error:.4f}, {number}, tolerance {tolerance:g} px")
    if csv:  # last: what was computed is printed, even if the disk is full
        write_text(csv, result.to_csv())
