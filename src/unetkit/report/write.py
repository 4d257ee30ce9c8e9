"""A run folder as one self-contained HTML page: the training, its scores, and the reasons for its settings."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from ..io.atomic import check_writable, write_text
from ..model.run_paths import RunPaths
from ..plotting.html import Html, duration, header, page, paragraph, section
from .cross_validation import cross_validation_page
from .gradient_flow import gradient_flow_section
from .receptive_fields import receptive_fields_section
from .results import overlays_section, scores_section
from .run import Run, read_run
from .training import curves_section, plan_section, timings_section

__all__ = ["write_report"]


def write_report(run: Path, out: Path | None = None, *, data: Path | None = None) -> Path:
    """Write the report of a run: headline, curves, scores, overlays, receptive field, plan and timings.

    The page needs no other file and no network: pictures and charts are embedded. Parts that are missing, because the
    training was stopped early or had no validation images, are named in words.

    Parameters
    ----------
    run : Path
        A run folder that `train` wrote, or that of a cross-validation.
    out : Path, optional
        The page to write; `report.html` in the run folder by default. An existing one is replaced.
    data : Path, optional
        Where the images and masks of the run are now; of a cross-validation they are not read.

    Returns
    -------
    Path
        The page that was written.

    Raises
    ------
    FileNotFoundError
        If `run` is not a folder, or has no plan.
    ValueError
        If its plan cannot be read.
    OSError
        If the page cannot be written.
    """
    paths = RunPaths(Path(run))
    out = Path(out) if out else paths.report
    check_writable(out, suffix=".html")
    content = cross_validation_page(paths.root) if paths.ensemble.is_file() else _page(read_run(paths.root, data=data))
    write_text(out, content)
    return out


def _page(run: Run) -> str:
    name = run.paths.root.resolve().name
    parts = [
        _headline(run, name),
        curves_section(run),
        *filter(None, [gradient_flow_section(run)]),
        scores_section(run.evaluation, run.missing_scores),
        overlays_section(run),
        receptive_fields_section(run),
        plan_section(run),
        timings_section(run),
    ]
    if run.notes:
        parts.insert(1, section("Files that could not be read", *(paragraph(f"{note}.") for note in run.notes)))
    return page(f"{name}: U-Net report", *parts, footer=f"Written by unetkit from {run.paths.root.resolve()}")


def _headline(run: Run, name: str) -> Html:
    """Name, one sentence, and the numbers that readers look for first."""
    values = [(f"{run.steps:,}", "training steps"), (duration(run.time_s), "training time")]
    if run.evaluation:
        values.insert(0, (f"{run.evaluation.pixel_error:.2%}", "of the pixels wrong"))
        if run.evaluation.objects:
            values.insert(0, (f"{run.evaluation.objects.ap50:.3f}", "AP50 of objects"))
        dice = run.evaluation.dice
        values.insert(0, ("none" if dice is None else f"{dice:.3f}", "Dice, mean of foreground"))
    if run.net:
        count = sum(p.numel() for p in run.net.parameters())
        values.append((f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count:,}", "parameters"))
        a = run.net.architecture
        values.append(
            (f"{run.plan.net.name} {a.ndim}D", f"{len(a.widths)} levels, {a.widths[0]} to {a.widths[-1]} channels")
        )
    return header(name, _summary(run), values)


def _summary(run: Run) -> str:
    """The training data, the date, and the images that the scores are of."""
    model = run.paths.model
    day = f" on {date.fromtimestamp(model.stat().st_mtime).isoformat()}" if model.is_file() else ""
    trained = f"Trained on {run.plan.data.images or 'unnamed images'}{day}."
    if run.evaluation:
        n = len(run.evaluation.per_image)
        return f"{trained} Scored on {n} image{'s'[: n > 1]} that were not used for training."
    if not run.net:
        reason = "" if run.log else ": the training was stopped before its first validation"
        return f"{trained} There is no readable model{reason}."
    return f"{trained} {run.missing_scores}"
