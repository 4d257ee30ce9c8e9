"""The command line: its verbs by group, and how errors end it. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from . import data, export, inspect, machine, measure, old_names, predict, train

__all__ = ["PANELS", "app", "main"]

PANELS = {
    "Data": ("check", "plan"),
    "Train": ("train", "report"),
    "Use": ("predict", "evaluate", "measure"),
    "Understand": ("inspect", "draw", "levels"),
    "Share": ("export",),
    "Machine": ("doctor", "demo"),
}


class _Verbs(TyperGroup):
    """Lists its verbs by what they are for, and takes the verbs and flags of version 0.1."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """One section per group."""
        for title, names in PANELS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(title):
                width = formatter.width - 18
                formatter.write_dl(
                    [(name, command.get_short_help_str(width)) for name, command in commands if command], col_max=12
                )

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Translate what version 0.1 called otherwise, and say so."""
        args, hints = old_names.translate(args)
        if hints:
            from ..training.environment import is_first

            for hint in hints if is_first() else ():
                typer.echo(hint, err=True)
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="unetkit",
    cls=_Verbs,
    help="U-Nets for every pixel: from a folder of images and masks to exact masks of images of any size.",
    epilog="Start with: unetkit demo. Each verb explains itself: unetkit VERB --help. Errors are one line; add --debug "
    "for the traceback.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _verb in (
    data.check,
    data.plan,
    train.train,
    train.report,
    predict.predict,
    predict.evaluate,
    inspect.inspect,
    inspect.draw,
    inspect.levels,
    export.export,
    machine.doctor,
    machine.demo,
):
    app.command()(_verb)
app.add_typer(measure.app)


def main() -> None:
    """Entry point: exit 0 done, 1 failed (one line on stderr), 2 wrong use."""
    for stream in (sys.stdout, sys.stderr):  # file names may hold bytes that are no letters
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
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
