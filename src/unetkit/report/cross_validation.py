"""The page of a cross-validation: scores of the folds, of all images by nets not trained on them, doubtful masks."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, pstdev

from ..io.decoder_errors import naming
from ..json_text import parse_json
from ..metrics.evaluation import Evaluation
from ..model.run_paths import RunPaths
from ..plotting.html import Html, duration, header, page, paragraph, section, table
from ..training.cross_validation import DoubtfulMask
from .results import scores_section
from .run import Run, read_run

__all__ = ["cross_validation_page"]


def cross_validation_page(folder: Path) -> str:
    """The page of a folder that `training.cross_validation` wrote."""
    name, paths = folder.resolve().name, RunPaths(folder)
    with naming(paths.folds_summary):
        summary = parse_json(paths.folds_summary.read_text())
    runs = [read_run(paths.fold(k).root) for k in range(len(summary["dice"]))]
    scores = Evaluation.from_json(paths.validation_json.read_text())
    known = [dice for dice in summary["dice"] if dice is not None]  # of folds whose images show an object
    spread = f"{fmean(known):.3f} ± {pstdev(known):.3f}" if known else "none"
    values = [
        ("none" if scores.dice is None else f"{scores.dice:.3f}", "Dice, all images by nets not trained on them"),
        (spread, f"Dice, mean and standard deviation of {len(known)} folds"),
        (f"{scores.pixel_error:.2%}", "of the pixels wrong"),
        (duration(summary["time_s"]), "training time of all"),
    ]
    if scores.objects:
        values.insert(2, (f"{scores.objects.ap50:.3f}", "AP50 of objects"))
    images = runs[0].plan.data.images or "unnamed images"
    words = f"Trained on {images}: each net on all folds but its own. Prediction uses all of them together."
    doubts = [DoubtfulMask(**row) for row in summary["doubts"]]
    parts = [
        header(name, words, values),
        _folds(runs, paths),
        scores_section(scores, ""),
        _doubtful_masks(doubts, paths),
    ]
    return page(f"{name}: cross-validation", *parts, footer=f"Written by unetkit from {folder.resolve()}")


def _folds(runs: list[Run], paths: RunPaths) -> Html:
    rows = []
    for k, run in enumerate(runs):
        page_of_fold = paths.fold(k).report.relative_to(paths.root).as_posix()
        link = Html(f'<a href="{page_of_fold}">fold {k + 1}</a>')
        score = run.evaluation.dice if run.evaluation else None
        dice = "–" if score is None else f"{score:.3f}"
        n = len(run.evaluation.per_image) if run.evaluation else 0
        rows.append([link, str(n), f"{run.steps:,}", duration(run.time_s), dice])
    words = (
        "Every image was held out in one fold. The standard deviation tells how much another split would change the "
        "score: a smaller difference between two nets is not significant."
    )
    return section("Folds", paragraph(words), table(["", "images held out", "steps", "time", "Dice"], rows))


def _doubtful_masks(doubts: list[DoubtfulMask], paths: RunPaths) -> Html:
    place = f"The masks of all images, each predicted by the net not trained on it, are in {paths.out_of_fold}."
    if not doubts:
        return section("Masks in doubt", paragraph("No image is out of the ordinary.", place))
    words = (
        "Images on which the net that was not trained on them does far worse than on others. If nets that were trained "
        "on them fail as well, the mask may be wrong."
    )
    rows = [[doubt.name, f"{doubt.unseen:.3f}", f"{doubt.seen:.3f}"] for doubt in doubts]
    header = ["image", "Dice, not trained on", "Dice, trained on"]
    return section("Masks in doubt", paragraph(words, place), table(header, rows))
