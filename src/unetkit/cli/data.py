"""The verbs that look at data before a training: check, plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..data.survey import Survey

from .options import (
    AsJson,
    Axes,
    Channels,
    Classes,
    Ignore,
    Images,
    Labels,
    Masks,
    Set,
    label_settings,
    option,
    read_settings,
    seconds,
)

__all__ = ["check", "plan"]


def check(
    images: Images,
    masks: Masks = None,
    labels: Labels = "auto",
    ignore: Ignore = "auto",
    classes: Classes = "",
    axes: Axes = "",
    channels: Channels = "",
    every_pixel: Annotated[
        bool, typer.Option("--all", help="Read every pixel of a set of more than 1 GB, not a sample.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read every image and mask, say what they hold, and name every file that cannot be used or looks wrong.

    Of a set of more than 1 GB of pixels a sample is read, and of the other files their headers.

    A file that looks wrong beside the others (shifted, interchanged, inverted, empty, twice, of another size or kind)
    is reported with its numbers; it is not an error.
    """
    from ..data.check import check as check_data
    from ..io.read_options import ReadOptions, parse_channels
    from ..labels.options import LabelOptions, parse_classes, parse_ignore
    from ..progress import SILENT
    from .console import FileBar

    stated = LabelOptions(labels, option(parse_ignore, ignore), option(parse_classes, classes))
    options = option(lambda text: ReadOptions(axes, parse_channels(text)), channels)
    with FileBar("checking") as bar:
        progress = SILENT if as_json else bar
        result = check_data(images, masks, labels=stated, options=options, every_pixel=every_pixel, progress=progress)
    dataset = result.dataset
    if dataset is None or (result.errors and not as_json):
        for issue in result.issues:
            typer.echo(f"looks wrong: {issue}")
        _tell_sample(result.survey)
        raise ValueError("\n".join(result.errors))
    if as_json:
        counts = dict(zip(dataset.class_names, dataset.class_pixels.tolist(), strict=True))
        summary = {"images": len(dataset.cases), "channels": dataset.channels, "pixels": counts}
        summary |= {"spacing": dataset.spacing, "unit": dataset.unit, "labelled": dataset.labelled_share}
        if result.survey.is_sample:
            summary |= {"sample": {"pairs": len(result.survey.pairs), "of": result.survey.n}}
        issues = [{"file": str(issue.path), "reason": issue.reason} for issue in result.issues]
        print(json.dumps(summary | {"errors": result.errors, "suspicious": issues}))
        if result.errors:
            raise SystemExit(1)
        return
    for line in dataset.describe():
        typer.echo(line)
    for issue in result.issues:
        typer.echo(f"looks wrong: {issue}")
    _tell_sample(result.survey)
    usable = "What was read can be used" if result.survey.is_sample else "All files can be used"
    typer.echo(f"{usable}. Next: unetkit train, with the same folders.")


def _tell_sample(survey: Survey) -> None:
    if survey.is_sample:
        typer.echo(f"{survey.describe()}; unetkit check --all reads every pixel")


def plan(
    images: Annotated[
        Path | None,
        typer.Argument(help="Folder of images; a table (.csv: image, mask, group); or one folder that holds both."),
    ] = None,
    masks: Masks = None,
    time: Annotated[str | None, typer.Option(help="Budget of the training: 90s, 10m, 2h.  [default: 10m]")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Budget in steps, in place of a time.")] = None,
    values: Set = None,
    out: Annotated[Path | None, typer.Option(help="Write the plan to this file, for train --plan.")] = None,
    list_settings: Annotated[
        bool, typer.Option("--settings", help="List every setting that --set takes, and stop.")
    ] = False,
    labels: Labels = "auto",
    ignore: Ignore = "auto",
    classes: Classes = "",
    axes: Axes = "",
    channels: Channels = "",
    as_json: AsJson = False,
) -> None:
    """Show how a data set would be trained on: every value, with the rule that it follows from.

    A few steps are timed, and nothing is kept. Change values with --set, or in the file that --out writes.
    """
    from .console import clock, print_words

    if list_settings:
        from ..training.plan import settings as all_settings

        for row in all_settings.list_settings():
            typer.echo(f"{row.path}: {row.type}  [default: {row.default}]\n    {row.description}")
        return
    if images is None:
        raise typer.BadParameter("name the images: unetkit plan IMAGES MASKS; or --settings for a list of all settings")
    if time is not None and steps is not None:
        raise typer.BadParameter("give one budget: --time 10m, or --steps 2000")
    from ..data.dataset import load_dataset
    from ..data.pairs import find_pairs
    from ..data.survey import survey
    from ..errors import raise_problems
    from ..io.atomic import check_writable, write_text
    from ..progress import SILENT
    from ..training.estimate import estimate_training
    from ..training.plan.rules import for_all_images, make_plan
    from ..training.plan.settings import merge_settings, old_name_hints, options_of, parse_setting, read_options_of

    if out:
        check_writable(out, suffix=".json" if out.exists() else "")  # no image is replaced by mistake
    for hint in old_name_hints(values or ()):
        typer.echo(hint, err=True)
    pairs = [option(parse_setting, text) for text in values or ()]
    stated = [*label_settings(ignore, classes), *read_settings(axes, channels)]
    settings = merge_settings([("data.labels", labels), *stated, *pairs])
    objects = not settings.get("patches", {}).get("border_weight", False)
    resample = settings.get("data", {}).get("resample", True)
    data = settings.get("data", {})
    chosen_pairs = survey(find_pairs(images, masks, axes=data.get("axes", "")), read_options_of(data), SILENT)
    raise_problems(chosen_pairs.problems, "unusable file")
    dataset = load_dataset(
        chosen_pairs.pairs,
        labels=options_of(data),
        options=read_options_of(data),
        objects=objects,
        resample=resample,
    )
    time_s = None if steps is not None else option(seconds, time or "10m")
    chosen = make_plan(
        dataset,
        images=str(images),
        masks=None if masks is None else str(masks),
        time_s=time_s,
        steps=steps,
        settings=settings,
    )
    if chosen_pairs.is_sample:
        chosen = for_all_images(chosen, chosen_pairs.n)
    text = chosen.model_dump_json(indent=2)
    if out:
        write_text(out, text)
    if as_json:
        print(text)
        return
    for line in dataset.describe():
        typer.echo(line)
    _tell_sample(chosen_pairs)
    numbered = [(str(number), *row) for number, row in enumerate(chosen.describe(), start=1)]
    print_words(("", "setting", "value", "because"), numbered)
    estimate = estimate_training(chosen, dataset)
    passes = estimate.passes * len(chosen_pairs.pairs) / chosen_pairs.n
    typer.echo(
        f"On this machine: {estimate.step_s * 1e3:.0f} ms per step, about {estimate.steps} steps in "
        f"{clock(estimate.time_s)}, each image seen {passes:.3g} times; {clock(estimate.validation_s)} of it "
        "to validate"
    )
    typer.echo(f"Next: unetkit train, with the same folders{f' and --plan {out}' if out else ''}")
