"""How long work reports where it stands: one protocol, from the command line's bars to a notebook's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["SILENT", "Progress", "subrange"]


class Progress(Protocol):
    """Whatever shows how far some work is; `unetkit.cli.console` has bars for a terminal."""

    def update(self, done: float = 0.0, total: float = 0.0, message: str = "", **values: float) -> None:
        """Take the state of the work.

        Parameters
        ----------
        done, total : float
            `done` of `total` units (files, pixels, steps) are finished. A total of 0 says nothing: the share stays.
        message : str
            A line for the user, or "".
        **values : float
            Numbers to show beside the share, by name, such as step=120, loss=0.31.
        """
        ...


class _Silent:
    """Shows nothing."""

    def update(self, done: float = 0.0, total: float = 0.0, message: str = "", **values: float) -> None:
        """Take the state of the work, and forget it."""


SILENT: Progress = _Silent()


@dataclass(frozen=True)
class _Subrange:
    whole: Progress
    low: float
    high: float
    whole_total: float

    def update(self, done: float = 0.0, total: float = 0.0, message: str = "", **values: float) -> None:
        if total:
            self.whole.update(self.low + (self.high - self.low) * done / total, self.whole_total, message, **values)
        else:
            self.whole.update(message=message, **values)


def subrange(progress: Progress, low: float, high: float, total: float = 1.0) -> Progress:
    """The part from `low` to `high` of some work of `total` units, as a progress of its own.

    Examples
    --------
    >>> class Bar:
    ...     def update(self, done=0.0, total=0.0, message="", **values):
    ...         print(f"{done:g} of {total:g} {message}")
    >>> second_of_three_files = subrange(Bar(), 1, 2, total=3)
    >>> second_of_three_files.update(20, 80, "a quarter of it")
    1.25 of 3 a quarter of it
    """
    return _Subrange(progress, low, high, total)
