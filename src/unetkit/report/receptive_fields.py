"""Receptive fields and the sizes of labelled objects, for a run's report and for the page on a net."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..geometry import ReceptiveField
from ..insight.receptive_field import StageField, stage_fields
from ..plotting.charts import draw_sizes_and_fields
from ..plotting.html import Html, figure, grid, paragraph, section, table
from ..plotting.matplotlib_style import svg
from .run import ObjectSizes, Run, measure_objects

__all__ = ["field_table", "field_verdict", "objects_figure", "receptive_fields_section"]


def receptive_fields_section(run: Run) -> Html:
    """The receptive field of every level of the net, and the sizes of the labelled objects."""
    title = "Receptive field and object size"
    if run.net is None or run.card is None:
        return section(title, paragraph("There is no model whose receptive field could be read."))
    fields = stage_fields(run.net.graph)
    objects = measure_objects(run, run.card.labels)
    fields_table = field_table(fields)
    if not len(objects.diameters):
        reason = objects.source if "cannot" in objects.source else "The masks contain no objects."
        return section(title, paragraph(reason), fields_table)
    words = paragraph(field_verdict(fields, float(np.median(objects.diameters))), _patch_remark(run, fields))
    return section(title, words, grid(objects_figure(objects, fields), fields_table))


def field_table(fields: Sequence[StageField]) -> Html:
    """Smallest and largest receptive field over the phases of the pooling grid, and their mean."""
    rows = []
    for stage in fields:
        ends = [(axis.smallest, axis.largest) for axis in stage.field]
        sizes = " x ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in ends)
        rows.append([stage.name, sizes, " x ".join(f"{axis.mean:.0f}" for axis in stage.field)])
    return table(["layer", "pixels", "mean"], rows, caption="Receptive field")


def objects_figure(objects: ObjectSizes, fields: Sequence[StageField]) -> Html:
    """Diameters of at least one object above the receptive fields."""
    typical, large = np.percentile(objects.diameters, (50, 90))
    marks = [(stage.name, *_narrowest(stage.field)) for stage in fields]
    body = "ball" if len(fields[0].field) == 3 else "disc"
    words = (
        f"{objects.source[:-1]}: half of them are wider than {typical:.0f} px, one in ten wider than {large:.0f} px "
        f"(diameter of a {body} of the same size). The receptive field of levels whose mark is right of the dashed "
        "line covers a whole typical object."
    )
    chart = draw_sizes_and_fields(objects.diameters.tolist(), marks, typical=float(typical))
    return figure(svg(chart, label="object diameters and receptive fields"), words, title="Compared with the objects")


def field_verdict(fields: Sequence[StageField], typical: float) -> str:
    """Compare the deepest level's receptive field with a typical object diameter, in pixels."""
    levels = fields[:-1] or fields
    deepest = _narrowest(levels[-1].field)[0]
    ratio = (
        f"The deepest level ({levels[-1].name}) has a receptive field of {deepest} px, {deepest / typical:.1f} times a "
        f"typical object of {typical:.0f} px"
    )
    if deepest >= 2 * typical:
        first = next(stage for stage in levels if _narrowest(stage.field)[0] >= 2 * typical)
        spare = f" So does that of {first.name} already." if first is not levels[-1] else ""
        return f"{ratio}: it covers the whole object and its surroundings.{spare}"
    if deepest >= typical:
        return f"{ratio}: it covers the whole object but little around it; one more level would add context."
    return f"{ratio}: it never covers a whole object; add levels, or train on smaller images."


def _narrowest(field: tuple[ReceptiveField, ...]) -> tuple[int, int]:
    """Smallest and largest size along the axis of the smallest field, along which an object is cut first."""
    axis = min(field, key=lambda axis: axis.mean)
    return axis.smallest, axis.largest


def _patch_remark(run: Run, fields: Sequence[StageField]) -> str:
    """A remark if training patches are smaller than the receptive field of an output."""
    largest = [axis.largest for axis in fields[-1].field]
    if not any(size > n for size, n in zip(largest, run.plan.patches.size, strict=True)):
        return ""
    patch, field = (" x ".join(map(str, sizes)) for sizes in (run.plan.patches.size, largest))
    return (
        f"The receptive field of an output is up to {field} px, larger than a training patch of {patch} px: in "
        "training, part of it lay outside the patch. Larger patches, where the images allow them, let the net learn "
        "from its whole receptive field."
    )
