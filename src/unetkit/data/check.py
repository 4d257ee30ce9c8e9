"""Check a data set before it is trained on: files that cannot be used, and files that only look wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import Problems
from ..io.read_options import AS_STATED, ReadOptions
from ..labels.options import LabelOptions
from ..progress import SILENT, Progress
from .dataset import Dataset, load_usable
from .issues import find_issues
from .pairs import match_files
from .summary import LabelIssue, summarise
from .survey import Survey, survey

__all__ = ["CheckResult", "check"]


@dataclass(frozen=True)
class CheckResult:
    """The state of a data set.

    Attributes
    ----------
    dataset : Dataset or None
        The pairs that can be used; None where none can.
    errors : tuple of str
        What is wrong with the others, by stage, each with its files.
    issues : tuple of LabelIssue
        Files that can be used but look wrong beside the others.
    survey : Survey
        Which pairs were read.
    """

    dataset: Dataset | None
    errors: tuple[str, ...]
    issues: tuple[LabelIssue, ...]
    survey: Survey


def check(
    images: Path | str,
    masks: Path | str | None = None,
    *,
    labels: str | LabelOptions = "auto",
    options: ReadOptions = AS_STATED,
    every_pixel: bool = False,
    progress: Progress = SILENT,
) -> CheckResult:
    """Read every file once; go on without those that cannot be used, so that all that is wrong is known at once.

    Of a set with more than 1 GB of pixels a sample is read, and of the others the headers.

    Parameters
    ----------
    images, masks : path
        As `find_pairs` takes them.
    labels : str or LabelOptions
    options : ReadOptions
        As `load_dataset` takes them.
    every_pixel : bool
        Read all files of a large set.
    progress : Progress
        Takes the number of pairs that are done, once while they are read and once while they are compared.
    """
    pairs, unmatched = match_files(images, masks, axes=options.axes)
    errors = [str(unmatched)] if unmatched else []
    if not pairs:
        return CheckResult(None, tuple(errors), (), Survey([], 0))
    chosen = Survey(pairs, len(pairs)) if every_pixel else survey(pairs, options, progress)
    if chosen.problems:
        errors.append(str(Problems("unusable file", chosen.problems)))
    pairs = chosen.pairs
    dataset, samples, problems = load_usable(pairs, labels=labels, options=options, progress=progress)
    errors += map(str, problems)
    summaries = []
    n = len(samples)
    while samples:  # each is let go of, as the cases of the data set hold its arrays once more
        summaries.append(summarise(samples.pop(0)))
        progress.update(len(summaries), n)
    issues = find_issues(summaries, dataset.kind) if dataset else []
    return CheckResult(dataset, tuple(errors), tuple(issues), chosen)
