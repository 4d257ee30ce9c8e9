"""The sections of a report on the result: scores and overlays."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from math import isnan
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from ..metrics.evaluation import CONVENTIONS, METRICS, ClassScore, Evaluation, ImageScore
from ..plotting.charts import Axis, draw_distribution
from ..plotting.html import Html, figure, paragraph, section, table
from ..plotting.matplotlib_style import svg
from .run import Run
from .training import class_colour

__all__ = ["overlays_section", "scores_section"]

_VIEWS = ("image", "truth", "prediction", "differences")
_GAP = 4  # pixels between the views of a preview, as training.preview draws it
_WIDEST = 400  # pixels of a view in the page: sharp at the width it is shown at, and a page of 2 MB
_COARSE = 200  # a view of fewer pixels is shown without interpolation
_NO_SCORES = "-"


# --- scores ---


def scores_section(scores: Evaluation | None, missing: str) -> Html:
    """Scores per class and their spread over the images; `missing` is the sentence shown without scores."""
    if scores is None:
        return section("Scores", paragraph(missing))
    n, has_mean = len(scores.per_image), len(scores.pooled) > 2
    pooled = [*scores.pooled, scores.mean] if has_mean else scores.pooled
    parts = [
        paragraph(
            "All scores go from 0 to 1 (best). Dice and IoU measure overlap with the truth, precision is the "
            "share of the prediction that is right, recall the share of the truth that was predicted; boundary F1 and "
            f"surface Dice are the share of boundaries that agree within {scores.tolerance:g} px."
        ),
        _score_table(pooled, f"All pixels of {n} validation image{'s'[: n > 1]} together"),
        _score_table(scores.image_mean, "Mean over the images"),
        *_object_scores(scores),
        *_spread(scores),
        *(paragraph(note) for note in scores.notes),
        paragraph(f"How they count: {_conventions()}. docs/scores.md says where other programs count otherwise."),
    ]
    return section("Scores", *parts)


def _conventions() -> str:
    return "; ".join(f"{case}: {rule}" for case, rule in CONVENTIONS.items())


def _score_table(rows: Sequence[ClassScore], caption: str) -> Html:
    header = ["class", *(metric.replace("_", " ").replace("dice", "Dice").replace("f1", "F1") for metric in METRICS)]
    cells = [[row.name, *(_score(getattr(row, metric)) for metric in METRICS)] for row in rows]
    return table([name.replace("iou", "IoU") for name in header], cells, caption=caption, quiet=[0])


def _object_scores(scores: Evaluation) -> list[Html]:
    """Scores of single objects, where the masks distinguish them."""
    objects = scores.objects
    if objects is None:
        return []
    words = (
        "Two objects match if their intersection over union exceeds 0.5 (AP50) or 0.75 (AP75); AP is the share of "
        "matches among all true and predicted objects, mean AP its mean over the thresholds 0.5 to 0.95. Panoptic "
        "quality weights a match by its overlap, and SEG is the overlap of each true object with the predicted one "
        "that covers most of it."
    )
    header = ["AP50", "AP75", "mean AP", "panoptic quality", "SEG", "predicted per image", "true per image"]
    values = (objects.ap50, objects.ap75, objects.mean_ap, objects.panoptic, objects.seg)
    cells = [*map(_score, values), f"{objects.predicted:.1f}", f"{objects.truth:.1f}"]
    return [paragraph(words), table(header, [cells], caption="Objects: mean over the images")]


def _score(value: float) -> str:
    return _NO_SCORES if isnan(value) else f"{value:.3f}"


def _spread(scores: Evaluation) -> list[Html]:
    """Dice of every image, with the worst three by name."""
    ranked = scores.ranked()
    if len(ranked) < 2:
        return []
    values = [image.dice for image in ranked]
    low = max(0.0, np.floor((values[0] - 0.01) * 20) / 20)
    worst = ", ".join(f"{image.name} ({image.dice:.3f})" for image in ranked[:3])
    words = f"Dice per image, from {values[0]:.3f} to {values[-1]:.3f}; lowest are {worst}: look at these first."
    chart = draw_distribution(values, Axis(float(low), 1.0, "Dice of an image"))
    return [figure(svg(chart, label="distribution of Dice over the images"), words, title="Spread over the images")]


# --- overlays ---


def overlays_section(run: Run) -> Html:
    """Validation images with truth, prediction and differences."""
    figures = _overlays(run)
    if not figures:
        has_none = run.plan.data.validation_fraction == 0
        reason = "no images were held out (validation 0)" if has_none else "none has been saved yet"
        return section("Overlays", paragraph(f"There are no pictures of validation images: {reason}."))
    return section("Overlays", figure(Html(""), _legend(run), legend=_colours(run)), *figures)


def _overlays(run: Run) -> list[Html]:
    """Best, median and worst image, each once; the latest where no final scores were made."""
    ranked = run.evaluation.ranked() if run.evaluation else []
    images: dict[str, ImageScore | None] = {"best": None, "median": None, "worst": None, "latest": None}
    if ranked:
        images = {"best": ranked[-1], "median": ranked[len(ranked) // 2], "worst": ranked[0]}
        if len(ranked) < 3:
            del images["median"]
    figures = []
    for name, image in images.items():
        path = run.paths.preview(name)
        views = _views(path) if path.is_file() else None
        if views:
            title = f"{name.capitalize()} image" + (f": {image.name}" if image else "")
            words = (
                _describe_errors(image)
                if image
                else "The first validation image at the last validation before the training was stopped."
                if name == "latest"
                else f"The validation image with the {name} Dice."
            )
            figures.append(figure(views, words, title=title))
        if len(ranked) == 1:
            break  # one image is the best and the worst
    return figures


def _describe_errors(image: ImageScore) -> str:
    """Score of an image, and the shares of both kinds of error."""
    counts = np.asarray(image.confusion)
    wrong, missed = counts.sum() - np.trace(counts), counts[1:, 0].sum()
    words = f"Dice {image.dice:.3f}, {image.pixel_error:.2%} of the pixels wrong"
    return (
        f"{words}: {1 - missed / wrong:.0%} of them red, {missed / wrong:.0%} blue (missed)." if wrong else f"{words}."
    )


def _legend(run: Run) -> str:
    plane = " For volumes the middle plane is shown." if run.net and run.net.ndim == 3 else ""
    unit = "object" if run.card and run.card.labels.has_distance else "class"
    return (
        f"Outlines in the second and third picture show each {unit}; in the fourth, red pixels are false positives or "
        f"of a wrong class, blue pixels were missed.{plane}"
    )


def _colours(run: Run) -> list[tuple[str, str]]:
    names = run.card.scored_classes[1:] if run.card else ["foreground"]
    classes = [(class_colour(i + 1), name) for i, name in enumerate(names)]
    return [*classes, ("rgb(214,39,40)", "false positive"), ("rgb(31,119,180)", "missed")]


def _views(path: Path) -> Html | None:
    """The four views of a preview, separated so that they wrap on a narrow screen; None if it is broken."""
    try:
        with Picture.open(path) as opened:
            whole = opened.convert("RGB")
    except OSError:
        return None
    width = (whole.width - 3 * _GAP) // 4
    if width < 1 or 4 * width + 3 * _GAP != whole.width:
        return Html(f'<div class="views whole">{_view(whole, "image, truth, prediction, differences")}</div>')
    cuts = [whole.crop((i * (width + _GAP), 0, i * (width + _GAP) + width, whole.height)) for i in range(4)]
    return Html(f'<div class="views">{"".join(map(_view, cuts, _VIEWS))}</div>')


def _view(picture: Picture.Image, name: str) -> str:
    is_coarse = picture.width < _COARSE
    if picture.width > _WIDEST:
        size = (_WIDEST, max(1, round(picture.height * _WIDEST / picture.width)))
        picture = picture.resize(size, Picture.Resampling.LANCZOS)
    png = io.BytesIO()
    _few_colours(picture).save(png, "PNG")
    data = base64.b64encode(png.getvalue()).decode()
    kind = ' class="coarse"' if is_coarse else ""
    size_text = f'width="{picture.width}" height="{picture.height}"'
    return f'<div><img{kind} {size_text} alt="{name}" src="data:image/png;base64,{data}">{name}</div>'


def _few_colours(picture: Picture.Image) -> Picture.Image:
    """Use a colour table where the picture is gray under its outlines: a third of the bytes, no visible difference."""
    rgb = np.asarray(picture).astype(np.int16)
    is_gray = (np.ptp(rgb, axis=-1) < 8).mean() > 0.5
    return picture.quantize(256, dither=Picture.Dither.NONE) if is_gray else picture
