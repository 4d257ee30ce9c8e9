"""The verbs for a first look: demo, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import free, option, seconds

__all__ = ["demo", "doctor"]


def demo(
    out: Annotated[Path | None, typer.Option(help="Folder to make (default: demo, or demo-2, ...).")] = None,
    time: Annotated[str, typer.Option(help="Training time.")] = "60s",
) -> None:
    """Make synthetic cells, train on them for a minute, predict, score, and write a report."""
    from .console import TrainingBar
    from .demo import run_demo

    with TrainingBar() as bar:
        lines = run_demo(out or free("demo"), time_s=option(seconds, time), progress=bar)
    for line in lines:
        typer.echo(line)


def doctor() -> None:
    """Versions, devices, a speed test, and the fix for what is missing."""
    from .doctor import examine

    for line in examine():
        typer.echo(line)
