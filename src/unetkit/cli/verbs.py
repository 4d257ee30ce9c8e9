"""Verbs of the command line that stand by themselves; `cli` lists them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import AsJson, Images, Labels, Masks, byte_count, option, seconds


def predict(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or a model.safetensors.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Images, or folders of images.")],
    out: Annotated[Path, typer.Option(help="Folder for the masks.")],
    memory: Annotated[
        str, typer.Option(help="Memory for the net's maps; larger images are streamed, exactly.")
    ] = "2GB",
    symmetries: Annotated[
        bool, typer.Option("--symmetries", help="Average over flips and turns, as far as the net saw them.")
    ] = False,
    prune: Annotated[
        int | None, typer.Option(min=1, help="unet++: only the nodes of this level, faster; see evaluate --levels.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace masks that exist.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Leave masks that exist, and make the others.")] = False,
    cluster: Annotated[
        str | None, typer.Option(help="Spread the work: local, local:4, or a Dask scheduler's tcp://HOST:8786.")
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="torch, compiled, openvino, onnxruntime, bfloat16; int8: several times as fast, at a price; or auto."
        ),
    ] = "torch",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also how likely every class is, in percent: OUT/probability/.")
    ] = False,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Also how unsure the net is, in percent: OUT/uncertainty/.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Segment images of any size: masks of the same size, spacing and name.

    A large image that was stopped half-way goes on where it was: the same command again.
    """
    from ..inference.execution import Execution
    from ..inference.outputs import Outputs
    from ..inference.predictor import load_model
    from ..progress import SILENT
    from .console import PredictionBar

    chosen: Any = engine
    execution = Execution(option(byte_count, memory), chosen, tta=symmetries, level=prune)
    with PredictionBar() as bar:
        progress = SILENT if as_json else bar
        done = load_model(model, execution, progress=progress).predict_files(
            inputs,
            out,
            outputs=Outputs(probabilities, uncertainty),
            existing="overwrite" if overwrite else "resume" if resume else "refuse",
            cluster=cluster,
            progress=progress,
        )
    if as_json:
        rows = [{"image": str(p.source), "mask": str(p.mask), "size": p.size, "time_s": p.time_s} for p in done]
        print(json.dumps(rows))
        return
    pixels, spent = sum(p.pixels for p in done), sum(p.time_s for p in done)
    number = "1 mask" if len(done) == 1 else f"{len(done)} masks"
    typer.echo(f"{number} in {out}, {pixels / 1e6 / max(spent, 1e-9):.2f} million pixels per second")


def quantise(
    run: Annotated[Path, typer.Argument(help="Run folder; its images are read from where they were.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the int8 model (default: int8 in the run).")] = None,
    allow_loss: Annotated[float, typer.Option(help="Dice that int8 may lose; more is refused.")] = 0.005,
    as_json: AsJson = False,
) -> None:
    """Make a net int8, several times as fast on a processor, and say what that costs.

    Calibrated on the run's training images, measured on its validation images: Dice, changed pixels, time.
    """
    from ..export import export_model
    from ..model.run_paths import RunPaths
    from ..progress import SILENT
    from .console import TrainingBar

    with TrainingBar() as bar:
        price = export_model(run, out=out, allowed_loss=allow_loss, progress=SILENT if as_json else bar)
    folder = RunPaths(run).int8 if out is None else out
    if as_json:
        print(json.dumps({**asdict(price), "loss": price.loss, "folder": str(folder)}))
        return
    from .console import print_table

    print_table(price.table())
    typer.echo(f"{price.describe()}; kept in {folder}")


def plan(
    images: Images,
    masks: Masks = None,
    time: Annotated[str, typer.Option(help="Budget of the training: 90s, 10m, 2h.")] = "10m",
    given: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Set a value; again for another.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the plan to this file, for train --plan.")] = None,
    labels: Labels = "auto",
    as_json: AsJson = False,
) -> None:
    """Look at the data and say how they would be trained on: every value, with the rule that it follows from.

    A few steps are timed and then forgotten. Change what you like with --set, or in the file that --out writes.
    """
    from ..data.dataset import load_dataset
    from ..data.pairs import find_pairs
    from ..io.atomic import write_text
    from ..training.estimate import estimate_training
    from ..training.plan.rules import make_plan
    from ..training.plan.settings import merge_settings, parse_setting

    settings = merge_settings([("data.labels", labels), *(option(parse_setting, text) for text in given or ())])
    has_weights = settings.get("patches", {}).get("border_weight", False)
    resample = settings.get("data", {}).get("resample", True)
    dataset = load_dataset(find_pairs(images, masks), labels=labels, objects=not has_weights, resample=resample)
    found = make_plan(
        dataset,
        images=str(images),
        masks=None if masks is None else str(masks),
        time_s=option(seconds, time),
        settings=settings,
    )
    text = found.model_dump_json(indent=2)
    if out:
        write_text(out, text)
    if as_json:
        print(text)
        return
    for line in dataset.describe():
        typer.echo(line)
    from .console import clock, print_words

    rows = [(str(number), *row) for number, row in enumerate(found.describe(), start=1)]
    print_words(("", "what", "value", "because"), rows)
    pace = estimate_training(found, dataset)
    typer.echo(
        f"On this machine: {pace.step_s * 1e3:.0f} ms per step, about {pace.steps} steps in {clock(pace.time_s)}, "
        f"each image seen {pace.passes:.3g} times; {clock(pace.validation_s)} of it to validate"
    )
    typer.echo(f"Next: unetkit train, with the same folders{f' and --plan {out}' if out else ''}")


def polygons(
    masks: Annotated[list[Path], typer.Argument(metavar="MASK...", help="2D masks, or folders of masks.")],
    out: Annotated[Path, typer.Option(help="Folder for the .geojson files.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the outlines of masks as GeoJSON: for QGIS in the map's coordinates, for QuPath in pixels.

    One polygon per connected region of one value; 0 and what a map holds no data for are left out.
    """
    from ..measurements.polygons import write_polygons

    done = write_polygons(masks, out, overwrite=overwrite)
    if as_json:
        print(json.dumps([{**asdict(one), "mask": str(one.mask), "path": str(one.path)} for one in done]))
        return
    for one in done:
        typer.echo(f"{one.path}: {one.polygons} polygons, coordinates: {one.coordinates}")


def objects(
    masks: Annotated[list[Path], typer.Argument(metavar="MASK...", help="Masks, or folders of masks.")],
    out: Annotated[Path, typer.Option(help="Folder for objects.csv.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images, of the same names: gray values are measured too.")
    ] = None,
    rois: Annotated[bool, typer.Option("--rois", help="Also NAME_rois.zip, outlines for ImageJ (2D).")] = False,
    labels: Labels = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure every object of masks: size, centre, shape and gray values, a row each, in the units of the files.

    Masks of ids give one object per id; of other masks every connected part of a class is one.
    """
    from ..measurements.table import measure

    done = measure(masks, out, images=images, labels=labels, rois=rois, overwrite=overwrite)
    if as_json:
        print(json.dumps({"table": str(done.table), "masks": done.masks, "objects": done.objects, "unit": done.unit}))
        return
    typer.echo(done.describe())
    typer.echo(f"Table: {done.table}" + (f", and {len(done.rois)} files of outlines for ImageJ" if done.rois else ""))
