"""What is done with a damaged file, and whether others read the same from it."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np

from fuzzing.child import Differs, Verb, report
from fuzzing.samples import Sample
from unetkit import io
from unetkit.data.check import check
from unetkit.image import Image
from unetkit.inference.execution import Execution
from unetkit.inference.predictor import Predictor, load_model
from unetkit.measurements.table import measure
from unetkit.metrics.folders import evaluate
from unetkit.report import write_report
from unetkit.report.inspection.choose import choose_inspection
from unetkit.training.loop import train
from unetkit.training.run import Run

__all__ = ["command", "verbs_of"]

_COMMAND_S = 120.0  # with its start, on a machine that is busy


def verbs_of(
    sample: Sample, folder: Path, run: Path, notes: list[str], *, execution: Execution, is_inspected: bool
) -> list[Verb]:
    """What is done with a damaged file."""
    target, masks, out = folder / sample.target, folder / "masks", folder / "out"
    if sample.is_image:
        predictor = loaded(run, execution)
        other = next((folder / "images").glob("b*"))
        return [
            ("read_labels", lambda: _notes(io.read_labels(target))),
            ("open_lazy", lambda: read_lazily(target)),
            ("check", lambda: checked(folder)),
            ("predict", lambda: _none(predictor.predict_files([target], out))),
            ("evaluate", lambda: _none(evaluate(target, other))),
            ("measure", lambda: _none(measure([target], out / "table"))),
            *([("inspect", lambda: _none(choose_inspection(run, image=target)))] if is_inspected else []),
            ("read", lambda: compare(sample, target, notes)),  # last: the other library may end the process
        ]
    if sample.is_mask:
        images = folder / "images"
        image = next(images.glob("a*"))
        both = images if target.name == "all.json" else image
        return [
            ("read_labels", lambda: _notes(io.read_labels(target, image=image))),
            ("check", lambda: checked(folder)),
            ("evaluate", lambda: _none(evaluate(target, target, images=both))),
            ("measure", lambda: _none(measure([target], out / "table", images=image))),
        ]
    if target.suffix == ".csv":
        return [("check", lambda: checked(target))]
    if not sample.target.startswith("run/"):
        return [("check", lambda: checked(folder)), ("evaluate", lambda: _none(evaluate(masks, masks)))]
    own, image = folder / "run", folder / "images" / "a.png"
    return [
        ("open", lambda: _none([Run.open(own), Run.open(own).scores, Run.open(own).steps, Run.open(own).log()])),
        ("predict", lambda: _none(load_model(own, execution).predict_files([image], out))),
        ("inspect", lambda: _none(choose_inspection(own))),
        ("resume", lambda: _none(train(run.parent / "data", out=own, steps=6, resume=True))),
        *([("report", lambda: _none(write_report(own)))] if target.suffix != ".safetensors" else []),  # takes seconds
    ]


@cache
def loaded(run: Path, execution: Execution) -> Predictor:
    """The model of a run, loaded once: the forks have it."""
    return load_model(run, execution)


def _none(value: object) -> None:
    """A verb whose result is not compared."""


def _notes(image: Image) -> str:
    return "; ".join(image.notes)


def checked(path: Path) -> str | None:
    """What check says of a set; an error as it would raise it."""
    result = check(path)
    if result.errors:
        raise ValueError("\n".join(result.errors))
    return None


def read_lazily(target: Path) -> None:
    """A region of a file equals that region of the whole."""
    with io.open_lazy(target) as image:
        part = image[(slice(None), *(slice(n // 3, n // 2 + 1) for n in image.size))]
        size = image.size
    whole = io.read(target).array
    cut = whole[(slice(None), *(slice(n // 3, n // 2 + 1) for n in size))]
    if len(cut) == 1 and len(part) == 3:  # gray stored as RGB stays RGB there
        part = part[:1]
    if not np.array_equal(part, cut, equal_nan=part.dtype.kind == "f"):
        raise Differs("a region differs from that region of the whole")


def compare(sample: Sample, target: Path, before: list[str]) -> str:
    """Read a file, and compare with what the independent library reads; return the notes that are new."""
    image = io.read(target)
    notes = [note for note in image.notes if note not in before]
    if sample.peer is None:
        return "; ".join(notes)
    report(verb="peer")
    try:
        other = sample.peer(target)
    except Exception:
        return "; ".join(notes)
    report(verb="read")
    own = image.array
    if other.ndim == own.ndim and other.shape[-1] == len(own) != len(other):
        other = np.moveaxis(other, -1, 0)
    own, other = own.squeeze(), other.squeeze()
    is_alike = own.shape == other.shape and np.array_equal(own, other, equal_nan=own.dtype.kind == "f")
    if not is_alike and not notes:
        raise Differs(f"{own.shape} of {own.dtype}, others read {other.shape} of {other.dtype}")
    return "; ".join(notes)


def command(folder: Path) -> None:
    """The command line: one line per file on stderr, no traceback."""
    program = [sys.executable, "-m", "unetkit", "check", str(folder)]
    done = subprocess.run(program, capture_output=True, text=True, errors="replace", timeout=_COMMAND_S)
    if "Traceback" in done.stderr or done.returncode not in (0, 1):
        raise RuntimeError(f"exit {done.returncode}: {done.stderr[-300:]}")
