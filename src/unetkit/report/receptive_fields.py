"""Receptive fields beside the sizes of the labelled objects, for a run's report and for the page on a net."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..geometry import ReceptiveField
from ..insight.receptive_field import StageField, stage_fields
from ..plotting.charts import sizes_and_fields
from ..plotting.html import Html, figure, grid, paragraph, section, table
from .run import Run, measure_objects

__all__ = ["field_table", "fields_section", "objects_figure", "verdict"]


def fields_section(run: Run) -> Html:
    """What every level of the net sees, beside the sizes of the labelled objects."""
    title = "Receptive field and object size"
    if run.net is None or run.card is None:
        return section(title, paragraph("There is no model whose receptive field could be read."))
    fields = stage_fields(run.net.graph)
    sizes, measured = measure_objects(run.plan, run.card.labels)
    listed = field_table(fields)
    if not len(sizes):
        return section(title, paragraph(measured if "cannot" in measured else "The masks hold no objects."), listed)
    words = paragraph(verdict(fields, float(np.median(sizes))), _patch(run, fields))
    return section(title, words, grid(objects_figure(sizes, fields, measured), listed))


def field_table(fields: Sequence[StageField]) -> Html:
    """Smallest and largest receptive field over the phases of the pooling grid, and their mean."""
    rows = [[one.name, _seen(one.field), " x ".join(f"{axis.mean:.0f}" for axis in one.field)] for one in fields]
    return table(["layer", "pixels seen", "mean"], rows, caption="Receptive field")


def objects_figure(sizes: np.ndarray, fields: Sequence[StageField], measured: str) -> Html:
    """Diameters of objects above the receptive fields; `measured` is a sentence on what was measured."""
    typical = float(np.median(sizes))
    marks = [(one.name, *_narrowest(one.field)) for one in fields]
    body = "ball" if len(fields[0].field) == 3 else "disc"
    words = (
        f"{measured[:-1]}: half of them are wider than {typical:.0f} px, one in ten wider than "
        f"{np.percentile(sizes, 90):.0f} px (diameter of a {body} of the same size). Levels whose mark is right of the "
        "dashed line see a whole typical object."
    )
    return figure(sizes_and_fields(sizes.tolist(), marks, typical=typical), words, title="Beside the objects")


def verdict(fields: Sequence[StageField], typical: float) -> str:
    """Whether the deepest level sees a whole object of a typical diameter, in pixels, and its surroundings."""
    levels = fields[:-1] or fields
    deepest = _narrowest(levels[-1].field)[0]
    ratio = (
        f"The deepest level ({levels[-1].name}) sees {deepest} px, {deepest / typical:.1f} times a typical object of "
        f"{typical:.0f} px"
    )
    if deepest >= 2 * typical:
        first = next(one for one in levels if _narrowest(one.field)[0] >= 2 * typical)
        spare = f" {first.name.capitalize()} already does." if first is not levels[-1] else ""
        return f"{ratio}: it sees the whole object and its surroundings.{spare}"
    if deepest >= typical:
        return f"{ratio}: it sees the whole object but little around it; one more level would add context."
    return f"{ratio}: it never sees a whole object; add levels, or train on smaller images."


def _seen(field: tuple[ReceptiveField, ...]) -> str:
    sizes = [
        f"{axis.smallest}" if axis.smallest == axis.largest else f"{axis.smallest}-{axis.largest}" for axis in field
    ]
    return " x ".join(sizes)


def _narrowest(field: tuple[ReceptiveField, ...]) -> tuple[int, int]:
    """Smallest and largest size along the axis that sees least: there an object is cut first."""
    axis = min(field, key=lambda one: one.mean)
    return axis.smallest, axis.largest


def _patch(run: Run, fields: Sequence[StageField]) -> str:
    """A remark where training patches are smaller than what an output sees."""
    largest = [axis.largest for axis in fields[-1].field]
    if not any(seen > n for seen, n in zip(largest, run.plan.patches.size, strict=True)):
        return ""
    patch, sees = (" x ".join(map(str, sizes)) for sizes in (run.plan.patches.size, largest))
    return (
        f"An output sees up to {sees} px, more than a training patch of {patch} px: in training, part of that was "
        "beyond the edge. Larger patches, where the images allow them, let the net learn from all it sees."
    )
