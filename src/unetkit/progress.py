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

    def update(self, done: float = 0.0, total: float = 0.0, message: str = "", **values: float) -> None:
        share = self.low + (self.high - self.low) * done / total if total else 0.0
        self.whole.update(share, 1.0 if total else 0.0, message, **values)


def subrange(progress: Progress, low: float, high: float) -> Progress:
    """The share `low` to `high` (0 to 1) of some work, as a progress of its own.

    Examples
    --------
    >>> class Bar:
    ...     def update(self, done=0.0, total=0.0, message="", **values):
    ...         print(f"{done / total:.0%} {message}" if total else message)
    >>> second_half = subrange(Bar(), 0.5, 1.0)
    >>> second_half.update(1, 4, "one of four files")
    62% one of four files
    """
    return _Subrange(progress, low, high)
