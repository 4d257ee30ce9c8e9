"""What is wrong with some files, collected and raised once: everything is known before the work starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Problem", "Problems", "raise_problems"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes
    ----------
    message : str
        In one line: what was got, what was expected, how to fix it; names the files.
    files : tuple of Path
        Files that cannot be used because of it.
    """

    message: str
    files: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return self.message


class Problems(ValueError):
    """Everything that is wrong with some files, a line each.

    Parameters
    ----------
    kind : str
        A heading counts the problems by this name, such as "unusable file"; "" for none.
    problems : iterable of Problem

    Attributes
    ----------
    problems : tuple of Problem
    bad_files : frozenset of Path
        Files that cannot be used; whoever can do without them goes on with the others.
    """

    def __init__(self, kind: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        self.bad_files = frozenset(file for problem in self.problems for file in problem.files)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        head = f"{len(self.problems)} {kind}{'s'[: len(self.problems) > 1]}:\n"
        super().__init__(head + lines if kind else "\n".join(map(str, self.problems)))


def raise_problems(problems: Iterable[Problem], kind: str) -> None:
    """Raise `Problems` if there are any.

    Parameters
    ----------
    problems : iterable of Problem
    kind : str
        What one of them is, such as "unusable file"; the message counts them.

    Raises
    ------
    Problems

    Examples
    --------
    >>> raise_problems([], "missing file")
    >>> raise_problems([Problem("a.tif: there is no such file", (Path("a.tif"),))], "missing file")
    Traceback (most recent call last):
    unetkit.errors.Problems: 1 missing file:
      a.tif: there is no such file
    """
    problems = tuple(problems)
    if problems:
        raise Problems(kind, problems)
