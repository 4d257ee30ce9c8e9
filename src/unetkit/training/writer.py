"""Files of a run folder, each written whole or not at all."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..data.case import Case
from ..io.atomic import write_bytes, write_text
from ..io.lock import LOCK_FILES
from ..json_text import parse_json
from ..model.card import Card
from ..model.files import save_model
from ..model.run_paths import RunPaths
from ..nets.net import Net
from .checkpoint import save_state
from .plan.plan import Plan
from .preview import write_panel
from .run import LogEntry
from .state import Training
from .validation import ValidationResult

__all__ = ["RunWriter", "check_out"]


def check_out(out: Path, resume: bool) -> None:
    """Raise FileExistsError if a run cannot be made in a folder."""
    if out.is_dir() and {path.name for path in out.iterdir()} - LOCK_FILES and not resume:
        raise FileExistsError(f"{out}: exists and is not empty; add --resume to continue it, or name another folder")


class RunWriter:
    """Writes the files of a run.

    Parameters
    ----------
    paths : RunPaths
    card : Card
        Of the net; its score is set for each model.
    """

    def __init__(self, paths: RunPaths, card: Card) -> None:
        self.paths, self.card = paths, card

    def clean(self, step: int) -> None:
        """Remove what a process that was killed left half-written, and log entries after the step that is resumed."""
        for leftover in self.paths.root.rglob(".*.tmp"):
            leftover.unlink()
        if self.paths.log.is_file():
            lines = self.paths.log.read_bytes().splitlines()
            kept = [line for line in lines if _step_of(line) <= step]
            write_bytes(self.paths.log, b"".join(line + b"\n" for line in kept))

    def plan(self, plan: Plan) -> None:
        """Write the plan."""
        write_text(self.paths.plan, plan.model_dump_json(indent=2))

    def state(self, training: Training) -> float:
        """Write everything that a resume needs; the seconds that it took."""
        start = time.perf_counter()
        save_state(self.paths.state, training.tensors(), training.numbers())
        return time.perf_counter() - start

    def model(self, net: Net, score: float | None) -> Card:
        """Write the net and its card, with the validation Dice; the card."""
        card = self.card.model_copy(update={"score": score})
        save_model(self.paths.model, net, card)
        return card

    def log(self, entry: LogEntry) -> None:
        """Append a line to the log."""
        with self.paths.log.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def preview(self, case: Case, mask: np.ndarray) -> bool:
        """Write the latest preview, and the first one as the early preview too; whether it was the first."""
        early = self.paths.preview("early")
        is_first = not early.exists()
        for path in [early] * is_first + [self.paths.preview("latest")]:
            write_panel(path, case, mask)
        return is_first

    def result(self, result: ValidationResult, cases: Sequence[Case]) -> None:
        """Write the final scores, and pictures of the worst, the median and the best image."""
        write_text(self.paths.validation_json, result.evaluation.to_json())
        write_text(self.paths.validation_csv, result.evaluation.to_csv())
        ranked = result.evaluation.ranked()
        masks = {case.name: (case, mask) for case, mask in zip(cases, result.masks, strict=True)}
        for name, place in (("worst", 0), ("median", len(ranked) // 2), ("best", -1)):
            if ranked:
                write_panel(self.paths.preview(name), *masks[ranked[place].name])


def _step_of(line: bytes) -> float:
    """The step of a line of the log; of one that was cut off or damaged, beyond all others."""
    try:
        step = parse_json(line)["step"]
    except (ValueError, TypeError, KeyError):
        return math.inf
    return step if isinstance(step, int) else math.inf
