"""Progress bars and tables of the command line, and how values are written."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

# File names may hold brackets and colons: neither markup nor emoji.
console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


def clock(time_s: float) -> str:
    """A duration for the user, such as 1:05 or 2:03:00; -:-- where it is not known."""
    if not math.isfinite(time_s):
        return "-:--"
    minutes, rest = divmod(round(time_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Bar:
    """A progress bar that other lines can be printed above; without a terminal only the lines are."""

    def __init__(self, title: str, *columns: Any) -> None:
        detail = TextColumn("{task.fields[detail]}")
        self.progress = Progress(
            TextColumn(title), BarColumn(), detail, *columns, console=console, transient=not console.is_terminal
        )
        self.task = self.progress.add_task(title, total=1.0, detail="", left="-:--")

    def __enter__(self) -> Self:
        if console.is_terminal:
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if console.is_terminal:
            self.progress.stop()

    def update(self, done: float = 0.0, total: float = 0.0, message: str = "", **values: float) -> None:
        """Take the state of the work, as `unetkit.progress.Progress` has it."""
        if message:
            console.print(message)
        if total:
            self.show(done, total, values)

    def show(self, done: float, total: float, values: dict[str, float]) -> None:
        """Move the bar."""
        detail = f"{math.floor(done)} of {round(total)}"
        self.progress.update(self.task, completed=done / total, detail=detail)


class TrainingBar(_Bar):
    """Rate, loss, validation Dice and time left of a training; plain lines where there is no terminal."""

    def __init__(self) -> None:
        super().__init__("training", TextColumn("{task.fields[left]} left"))
        self.printed = -1  # twentieths of the training

    def show(self, done: float, total: float, values: dict[str, float]) -> None:
        """Move the bar, or print a line at each twentieth."""
        if "step" not in values:
            return
        share = done / total
        dice = f"{values['dice']:.4f}" if "dice" in values else "-"
        rate = f"{values['steps_per_s']:.2f}/s"
        detail = f"step {values['step']:.0f}  {rate}  loss {values['loss']:.3f}  Dice {dice}"
        left = clock(values["time_left_s"])
        if console.is_terminal:
            self.progress.update(self.task, completed=share, detail=detail, left=left)
        elif int(share * 20) > self.printed:
            self.printed = int(share * 20)
            console.print(f"{share:4.0%}  {detail}  {left} left")


class FileBar(_Bar):
    """Files that are worked on: the share that is done, time gone and left."""

    def __init__(self, title: str) -> None:
        super().__init__(title, TimeElapsedColumn(), TextColumn("{task.fields[left]} left"))
        self.began: tuple[float, float] | None = None  # when, and how much was done then

    def show(self, done: float, total: float, values: dict[str, float]) -> None:
        """Move the bar; the time left follows from what was done since the first part."""
        share, time_s = done / total, time.monotonic()
        if self.began is None and share > 0:
            self.began = time_s, share
        spent_s, gained = (time_s - self.began[0], share - self.began[1]) if self.began else (0.0, 0.0)
        left = clock(spent_s / gained * (1 - share) if gained > 0 else math.inf)
        self.progress.update(self.task, completed=share, detail=self.detail(done, total), left=left)

    def detail(self, done: float, total: float) -> str:
        """What stands beside the bar."""
        return f"{done / total:.0%}"


class PredictionBar(FileBar):
    """Images done, and time gone and left, of a prediction."""

    def __init__(self) -> None:
        super().__init__("predicting")

    def detail(self, done: float, total: float) -> str:
        """Images that are done, of all."""
        return f"{math.floor(done)} of {round(total)} images"


class SectionBar(_Bar):
    """Named sections, computed one after the other; names are shown beside the bar, not above it."""

    def __init__(self) -> None:
        super().__init__("inspecting", TimeElapsedColumn())

    def update(self, done: float = 0.0, total: float = 0.0, message: str = "", **values: float) -> None:
        """Take the name of the section that begins."""
        self.progress.update(self.task, completed=done / max(total, 1), detail=message)


def print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """A table with a column per key; floats with four digits. Never cut: a narrow terminal wraps its lines."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for i, name in enumerate(rows[0]):
        table.add_column(name.replace("_", " "), justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    least = console.measure(table, options=console.options.update(max_width=1000)).maximum
    Console(width=max(console.width, least), highlight=False, markup=False, emoji=False).print(table, crop=False)


def print_words(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of words; the last column wraps."""
    table = Table(*columns, box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in table.columns[:-1]:
        column.no_wrap = True
    for row in rows:
        table.add_row(*row)
    Console(width=max(console.width, 100), highlight=False, markup=False, emoji=False).print(table)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
