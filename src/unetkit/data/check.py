"""Look at a data set before it is trained on: what cannot be used, and what only looks wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .dataset import Dataset, load
from .issues import LabelIssue, find_issues
from .pairs import Pair, Unusable, find_pairs

__all__ = ["Checked", "check"]

_TRIES = 50  # as long as something is left out, the rest may show more


@dataclass(frozen=True)
class Checked:
    """What was found in a data set.

    Attributes
    ----------
    dataset : Dataset or None
        What can be used; None where nothing can.
    errors : tuple of str
        What cannot, each with its files.
    suspicions : tuple of Suspicion
        Files that can be used but look wrong beside the others.
    """

    dataset: Dataset | None
    errors: tuple[str, ...]
    suspicions: tuple[LabelIssue, ...]


def check(
    images: Path | str,
    masks: Path | str | None = None,
    *,
    labels: str = "auto",
    on_file: Callable[[int, int], None] | None = None,
) -> Checked:
    """Read every file, and go on without those that cannot be used, so that all that is wrong is known at once.

    Parameters
    ----------
    images, masks : path
        As `find_pairs` takes them.
    labels : str
        As `load` takes it.
    on_file : callable, optional
        Called with (pairs done, pairs in all), once for reading them and once for looking them over.
    """
    errors: list[str] = []
    try:
        pairs = find_pairs(images, masks)
    except Unusable as error:
        errors.append(str(error))
        pairs = error.rest
    dataset, pairs = _loaded(pairs, labels, errors, on_file)
    suspicions = find_issues(pairs, dataset.kind, on_file=on_file) if dataset else []
    return Checked(dataset, tuple(errors), tuple(suspicions))


def _loaded(
    pairs: list[Pair], labels: str, errors: list[str], on_file: Callable[[int, int], None] | None
) -> tuple[Dataset | None, list[Pair]]:
    for _ in range(_TRIES):
        if not pairs:
            break
        try:
            return load(pairs, labels=labels, on_file=on_file), pairs
        except Unusable as error:
            errors.append(str(error))
            pairs = error.rest if len(error.rest) < len(pairs) else []
        except ValueError as error:
            errors.append(str(error))
            break
    return None, []
