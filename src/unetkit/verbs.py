"""Verbs of the command line that stand by themselves; `cli` lists them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson


def quantise(
    run: Annotated[Path, typer.Argument(help="Run folder; its images are read from where they were.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the int8 model (default: int8 in the run).")] = None,
    allow_loss: Annotated[float, typer.Option(help="Dice that int8 may lose; more is refused.")] = 0.005,
    as_json: AsJson = False,
) -> None:
    """Make a net int8, several times as fast on a processor, and say what that costs.

    Calibrated on the run's training images, measured on its validation images: Dice, changed pixels, time.
    """
    from .infer.engines.quantise import quantise as make

    price = make(run, out=out, allowed_loss=allow_loss, observer=None if as_json else typer.echo)
    folder = run / "int8" if out is None else out
    if as_json:
        print(json.dumps({**asdict(price), "loss": price.loss, "folder": str(folder)}))
        return
    from .console import print_table

    print_table(price.table())
    typer.echo(f"{price.describe()}; kept in {folder}")
