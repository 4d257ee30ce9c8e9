"""The verb that writes a model in other forms: export."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson, Data

__all__ = ["export"]


def export(
    run: Annotated[Path, typer.Argument(help="Run folder; its images are read from where they were.")],
    format: Annotated[str, typer.Option(help="int8.")] = "int8",
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the model (default: int8 in the run).")] = None,
    allow_loss: Annotated[float, typer.Option(help="Dice that int8 may lose; more is refused.")] = 0.005,
    as_json: AsJson = False,
) -> None:
    """Write a trained model in another form, and say what that costs.

    int8: several times as fast on a processor (pip install 'unetkit[fast]'). Calibrated on the run's training images,
    measured on its validation images: Dice, changed pixels, time. Use it by: unetkit predict --engine int8.
    """
    from ..export import export_model
    from ..model.run_paths import RunPaths
    from ..progress import SILENT
    from ..training.run import Run
    from .console import TrainingBar, print_table

    with TrainingBar() as bar:
        opened = Run.open(run, data=data)
        report = export_model(opened, format, out=out, allowed_loss=allow_loss, progress=SILENT if as_json else bar)
    folder = out or RunPaths(run).int8
    if as_json:
        print(json.dumps({**asdict(report), "loss": report.loss, "folder": str(folder)}))
        return
    print_table(report.table())
    typer.echo(f"{report.describe()}; kept in {folder}")
