"""The parts of a report about the result: scores, overlays, and what the net sees of the objects."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from fractions import Fraction
from math import isnan
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from ..geometry import Geometry, ReceptiveField
from ..masks.metrics import METRICS, ClassScore, Evaluation, ImageScore
from .figures import Axis, distribution, sizes_and_fields
from .page import Html, figure, grid, paragraph, section, table
from .run import Run, measure_objects
from .training import class_colour

__all__ = ["fields_section", "overlays_section", "scores_section"]

_VIEWS = ("image", "truth", "prediction", "differences")
_GAP = 4  # pixels between the views of a preview, as learn.preview draws it
_WIDEST = 400  # pixels of a view in the page: sharp at the width it is shown in, and a page of 2 MB
_COARSE = 200  # a view of fewer pixels is shown with its pixels
_NO_SCORES = "-"


# --- scores ---


def scores_section(run: Run) -> Html:
    """Scores per class, and how they are spread over the images."""
    scores = run.evaluation
    if scores is None:
        return section("Scores", paragraph(run.missing_scores))
    n, has_mean = len(scores.per_image), len(scores.pooled) > 2
    pooled = [*scores.pooled, scores.mean] if has_mean else scores.pooled
    parts = [
        paragraph(
            "All scores go from 0 to 1 (best). Dice and IoU are overlap with the truth, precision the share of the "
            "prediction that is right, recall the share of the truth that was found; boundary F1 and surface Dice "
            f"are the share of boundaries that agree within {scores.tolerance:g} px."
        ),
        _score_table(pooled, f"All pixels of {n} validation image{'s'[: n > 1]} together"),
        _score_table(scores.image_mean, "Mean over the images"),
        *_spread(scores),
        *(paragraph(note) for note in scores.notes),
    ]
    return section("Scores", *parts)


def _score_table(rows: Sequence[ClassScore], caption: str) -> Html:
    header = ["class", *(metric.replace("_", " ").replace("dice", "Dice").replace("f1", "F1") for metric in METRICS)]
    cells = [[row.name, *(_score(getattr(row, metric)) for metric in METRICS)] for row in rows]
    return table([name.replace("iou", "IoU") for name in header], cells, caption=caption, quiet=[0])


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
    return [
        figure(distribution(values, Axis(float(low), 1.0, "Dice of an image")), words, title="Spread over the images")
    ]


# --- overlays ---


def overlays_section(run: Run) -> Html:
    """Validation images with truth, prediction and differences."""
    figures = _overlays(run)
    if not figures:
        why = "no images were held out (validation 0)" if run.plan.validation == 0 else "none has been made yet"
        return section("Overlays", paragraph(f"There are no pictures of validation images: {why}."))
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
        path = run.folder / "previews" / f"{name}.png"
        views = _views(path) if path.is_file() else None
        if views:
            title = f"{name.capitalize()} image" + (f": {image.name}" if image else "")
            figures.append(figure(views, _say_errors(image) if image else _unranked(name), title=title))
        if len(ranked) == 1:
            break  # one image is the best and the worst
    return figures


def _say_errors(image: ImageScore) -> str:
    """Score of an image, and which kind of error prevails."""
    counts = np.asarray(image.confusion)
    wrong, missed = counts.sum() - np.trace(counts), counts[1:, 0].sum()
    words = f"Dice {image.dice:.3f}, {image.pixel_error:.2%} of the pixels wrong"
    return (
        f"{words}: {1 - missed / wrong:.0%} of them red, {missed / wrong:.0%} blue (missed)." if wrong else f"{words}."
    )


def _unranked(name: str) -> str:
    if name == "latest":
        return "The first validation image at the last validation before the training was stopped."
    return f"The validation image with the {name} Dice."


def _legend(run: Run) -> str:
    plane = " Of volumes the middle plane is shown." if run.net and run.net.ndim == 3 else ""
    return (
        "Outlines in the second and third picture show each class; in the fourth, red was wrongly added or is of a "
        f"wrong class, and blue was missed.{plane}"
    )


def _colours(run: Run) -> list[tuple[str, str]]:
    names = run.card.classes[1:] if run.card else ["foreground"]
    classes = [(class_colour(i + 1), name) for i, name in enumerate(names)]
    return [*classes, ("rgb(214,39,40)", "wrongly added"), ("rgb(31,119,180)", "missed")]


def _views(path: Path) -> Html | None:
    """The four views of a preview, cut apart so that they wrap on a narrow screen; None if it is broken."""
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
    """With a palette where the picture is gray under its outlines: a third of the bytes, and no difference to see."""
    rgb = np.asarray(picture).astype(np.int16)
    is_gray = (np.ptp(rgb, axis=-1) < 8).mean() > 0.5
    return picture.quantize(256, dither=Picture.Dither.NONE) if is_gray else picture


# --- receptive field ---


def fields_section(run: Run) -> Html:
    """What every level of the net sees, beside the sizes of the labelled objects."""
    title = "Receptive field and object size"
    if run.net is None or run.card is None:
        return section(title, paragraph("There is no model whose receptive field could be read."))
    geometry = run.net.geometry
    fields = _fields(geometry)
    sizes, measured = measure_objects(run.plan, run.card.labels)
    header = ["layer", "pixels seen", "mean"]
    rows = [[name, _seen(field), " x ".join(f"{axis.mean:.0f}" for axis in field)] for name, field in fields]
    listed = table(header, rows, caption="Receptive field")
    if not len(sizes):
        return section(title, paragraph(measured if "cannot" in measured else "The masks hold no objects."), listed)
    typical = float(np.median(sizes))
    marks = [(name, *_narrowest(field)) for name, field in fields]
    words = (
        f"{measured[:-1]}: half of them are wider than {typical:.0f} px, one in ten wider than "
        f"{np.percentile(sizes, 90):.0f} px (diameter of a {'ball' if run.net.ndim == 3 else 'disc'} of the same "
        "size). Levels whose mark is right of the dashed line see a whole typical object."
    )
    chart = figure(sizes_and_fields(sizes.tolist(), marks, typical=typical), words)
    return section(title, paragraph(_verdict(fields, typical), _patch(run, fields)), grid(chart, listed))


def _fields(geometry: Geometry) -> list[tuple[str, tuple[ReceptiveField, ...]]]:
    """Receptive fields after every level of the encoder, and of the output."""
    last: dict[tuple[Fraction, ...], str] = {}
    for i, name in enumerate(geometry.names):
        if name.startswith("encoder."):  # whosever it is, a level is what has one stride
            last[tuple(axis.places[i][0] for axis in geometry.axes)] = name
    levels = [(f"level {i + 1}", geometry.receptive_field(name)) for i, name in enumerate(last.values())]
    return [*levels, ("output", geometry.receptive_field())]


def _seen(field: tuple[ReceptiveField, ...]) -> str:
    if all(axis.smallest == axis.largest for axis in field):
        return " x ".join(str(axis.largest) for axis in field)
    sizes = [
        f"{axis.smallest}" if axis.smallest == axis.largest else f"{axis.smallest}-{axis.largest}" for axis in field
    ]
    return " x ".join(sizes)


def _narrowest(field: tuple[ReceptiveField, ...]) -> tuple[int, int]:
    """Smallest and largest size along the axis that sees least: there an object is cut first."""
    axis = min(field, key=lambda one: one.mean)
    return axis.smallest, axis.largest


def _verdict(fields: list[tuple[str, tuple[ReceptiveField, ...]]], typical: float) -> str:
    """Whether the deepest level of the encoder sees a whole typical object and its surroundings."""
    level, deepest = len(fields) - 1, _narrowest(fields[-2][1])[0]
    times = f"{deepest / typical:.1f} times a typical object of {typical:.0f} px"
    ratio = f"The deepest level ({level}) sees {deepest} px, {times}"
    if deepest >= 2 * typical:
        first = next(i for i, (_, field) in enumerate(fields) if _narrowest(field)[0] >= 2 * typical) + 1
        spare = f" Level {first} already does." if first < level else ""
        return f"{ratio}: it sees the whole object and its surroundings.{spare}"
    if deepest >= typical:
        return f"{ratio}: it sees the whole object but little around it; one more level would add context."
    return f"{ratio}: it never sees a whole object; add levels, or train on smaller images."


def _patch(run: Run, fields: list[tuple[str, tuple[ReceptiveField, ...]]]) -> str:
    """A remark where training patches are smaller than what an output sees."""
    largest = [axis.largest for axis in fields[-1][1]]
    if not any(seen > n for seen, n in zip(largest, run.plan.patch, strict=True)):
        return ""
    patch, sees = (" x ".join(map(str, sizes)) for sizes in (run.plan.patch, largest))
    return (
        f"An output sees up to {sees} px, more than a training patch of {patch} px: in training, part of that was "
        "beyond the edge. Larger patches, where the images allow them, let the net learn from all it sees."
    )
