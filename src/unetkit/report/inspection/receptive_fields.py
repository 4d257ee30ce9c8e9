"""The section on receptive fields: theoretical, effective, and compared with the objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isnan

import numpy as np

from ...insight.inspection import Inspection
from ...insight.receptive_field import (
    EffectiveField,
    StageField,
    draw_boxes,
    draw_energy,
    draw_profiles,
    effective_fields,
    skip_edges,
    stage_fields,
)
from ...labels.object_sizes import object_sizes
from ...plotting.html import Html, figure, grid, paragraph, section, table
from ...plotting.matplotlib_style import svg
from ..receptive_fields import field_table, field_verdict, objects_figure
from ..run import ObjectSizes

__all__ = ["receptive_fields_section"]


def receptive_fields_section(inspection: Inspection, objects: ObjectSizes | None = None) -> Html:
    """Theoretical and effective receptive fields, and the sizes of the objects.

    Parameters
    ----------
    inspection : Inspection
    objects : ObjectSizes, optional
        Of the training data; by default those of the inspection's own truth.
    """
    fields, effective = stage_fields(inspection.graph), effective_fields(inspection)
    if objects is None:
        sizes = np.empty(0) if inspection.truth is None else object_sizes(inspection.truth)
        objects = ObjectSizes(sizes, f"{len(sizes)} labelled objects in {inspection.source}.")
    words = [_describe_skips(fields), _describe_output(effective[-1])]
    boxes = svg(draw_boxes(inspection, fields, effective), label="receptive fields on the image")
    pictures = [figure(boxes, _describe_boxes(effective), title="On the image")]
    if len(objects.diameters):
        words.insert(0, field_verdict(fields, float(np.median(objects.diameters))))
        pictures.append(objects_figure(objects, fields))
    energy = svg(draw_energy(effective), label="gradient energy")
    pictures.append(figure(energy, _describe_energy(effective), title="Gradient energy"))
    pictures += _without_skips(inspection, effective[-1])
    tables = grid(field_table(fields), _effective_table(effective))
    return section("Receptive fields", paragraph(*words), grid(*pictures), tables)


def _describe_skips(fields: Sequence[StageField]) -> str:
    """Receptive fields of the maps that skips carry, and of the deepest level."""
    skipped = [stage for stage in fields if stage.is_skipped]
    deepest = (fields[:-1] or fields)[-1]
    if not skipped:
        return f"There are no skips: every output depends on {deepest.name}, whose field is {_size(deepest)} px."
    sizes = ", ".join(map(_size, skipped))
    ratio = deepest.field[-1].largest / skipped[0].field[-1].largest
    return (
        f"The skips carry maps with receptive fields of {sizes} px, finest first; that of {deepest.name} is "
        f"{_size(deepest)} px, {ratio:.0f} times that of the finest skip: skips carry the sharp detail, the deep "
        "levels the context."
    )


def _size(stage: StageField) -> str:
    sizes = [axis.largest for axis in stage.field]
    return str(sizes[0]) if len(set(sizes)) == 1 else " x ".join(map(str, sizes))


def _describe_output(output: EffectiveField) -> str:
    if isnan(output.std):
        return "The gradient of the output is zero everywhere, so the effective receptive field cannot be measured."
    side, most = output.side(0.95), max(output.theoretical)
    cut = " (the image is smaller than the receptive field, so the rest is not counted)" if output.is_cut else ""
    return (
        f"The pixels of a receptive field do not count alike: 95 % of the gradient energy of an output lies within "
        f"{side} px, {side / most:.0%} of its {most} px{cut}."
    )


def _describe_boxes(effective: Sequence[EffectiveField]) -> str:
    sides = ", ".join(f"{stage.name} {stage.side(0.95)}" for stage in effective)
    return (
        "Solid lines: the receptive field of one element of each level. Dashed lines of the same colour: the square "
        f"with 95 % of its gradient energy ({sides} px). A level is useful for objects that fit into its dashed square."
    )


def _describe_energy(effective: Sequence[EffectiveField]) -> str:
    first, last = effective[0], effective[-1]
    return (
        "Influence of each pixel on the element in the middle, from the largest (yellow) to a ten-thousandth of it "
        f"(black), averaged over probes; the box holds 95 % of the energy, {first.side(0.95)} px for {first.name} and "
        f"{last.side(0.95)} px for the {last.name}. Each picture is as wide as the receptive field."
    )


def _without_skips(inspection: Inspection, whole: EffectiveField) -> list[Html]:
    """The output's field with and without skips; nothing for a net without them."""
    if not skip_edges(inspection.graph):
        return []
    (without,) = effective_fields(inspection, without_skips=True, output_only=True)
    if isnan(without.std) or isnan(whole.std):
        return []
    pair = (replace(whole, name="the whole net"), replace(without, name="all skips set to zero"))
    half, half_without = whole.side(0.5), without.side(0.5)
    effect = "narrow" if half < half_without else "widen" if half > half_without else "do not change"
    words = (
        f"Half of the energy of an output lies within {half} px; with all skips set to zero, in the same net, within "
        f"{half_without} px: the skips {effect} the effective receptive field. (95 %: {whole.side(0.95)} and "
        f"{without.side(0.95)} px.)"
    )
    return [figure(svg(draw_profiles(pair), label="energy within a square"), words, title="With and without skips")]


def _effective_table(effective: Sequence[EffectiveField]) -> Html:
    rows = [
        [stage.name, *("-" if isnan(stage.std) else str(stage.side(share)) for share in (0.5, 0.95, 0.99))]
        for stage in effective
    ]
    return table(["layer", "50 %", "95 %", "99 %"], rows, caption="Square that holds the energy (px)")
