"""The section on receptive fields: what the net can see, what it looks at, and whether that is enough."""

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
from ..receptive_fields import field_table, objects_figure, verdict

__all__ = ["sight_section"]

Objects = tuple[np.ndarray, str]  # diameters in pixels, and a sentence on what was measured


def sight_section(subject: Inspection, objects: Objects | None = None) -> Html:
    """Theoretical and effective receptive fields, beside the sizes of the objects.

    Parameters
    ----------
    subject : Subject
    objects : (diameters, sentence), optional
        Of the training data; by default the objects of the subject's own truth.
    """
    fields, effective = stage_fields(subject.graph), effective_fields(subject)
    sizes, measured = objects if objects is not None else _own_objects(subject)
    words = [_skips(fields), _counts(effective)]
    pictures = [_figure(svg(draw_boxes(subject, fields, effective), label="boxes"), _boxes(effective), "On the image")]
    if len(sizes):
        words.insert(0, verdict(fields, float(np.median(sizes))))
        pictures.append(objects_figure(sizes, fields, measured))
    pictures.append(_figure(svg(draw_energy(effective), label="gradient energy"), _heat(effective), "What counts"))
    pictures += _with_and_without(subject, effective[-1])
    return section(
        "What it sees", paragraph(*words), grid(*pictures), grid(field_table(fields), _effective_table(effective))
    )


def _figure(drawing: str, sentence: str, title: str) -> Html:
    return figure(Html(drawing), sentence, title=title)


def _own_objects(subject: Inspection) -> Objects:
    if subject.truth is None:
        return np.empty(0), ""
    sizes = object_sizes(subject.truth)
    return sizes, f"{len(sizes)} labelled objects in {subject.source}."


def _skips(fields: Sequence[StageField]) -> str:
    """What the skips see, against the deepest level."""
    skipped = [one for one in fields if one.is_skipped]
    deepest = (fields[:-1] or fields)[-1]
    if not skipped:
        return f"There are no skips: every output goes through {deepest.name}, which sees {_size(deepest)} px."
    sizes = ", ".join(_size(one) for one in skipped)
    ratio = deepest.field[-1].largest / skipped[0].field[-1].largest
    return (
        f"The skips carry maps that see {sizes} px, finest first, while {deepest.name} sees {_size(deepest)} px, "
        f"{ratio:.0f} times as far as the finest skip: the sharp detail comes by the skips, the context from below."
    )


def _size(one: StageField) -> str:
    sizes = [axis.largest for axis in one.field]
    return str(sizes[0]) if len(set(sizes)) == 1 else " x ".join(map(str, sizes))


def _counts(effective: Sequence[EffectiveField]) -> str:
    out = effective[-1]
    if isnan(out.std):
        return "The gradient of the output is zero everywhere: nothing can be said of what it depends on."
    side, most = out.side(0.95), max(out.theoretical)
    cut = " (the image is smaller than the receptive field, so the rest is not counted)" if out.is_cut else ""
    return (
        f"Not all that an output could see counts alike: 95 % of the gradient energy lies within {side} px, "
        f"{side / most:.0%} of the {most} px that reach it{cut}."
    )


def _boxes(effective: Sequence[EffectiveField]) -> str:
    sides = ", ".join(f"{one.name} {one.side(0.95)}" for one in effective)
    return (
        "Lines: what one element of each level can see of the image. Dashes of the same colour: the square that holds "
        f"95 % of what it really depends on ({sides} px). A level is useful for an object that fits into its dashes."
    )


def _heat(effective: Sequence[EffectiveField]) -> str:
    first, last = effective[0], effective[-1]
    return (
        "How strongly a pixel moves the element in the middle, from strongest (yellow) to a ten-thousandth of it "
        f"(black), averaged over probes; the box holds 95 % of the energy, {first.side(0.95)} px for {first.name} and "
        f"{last.side(0.95)} px for the {last.name}. Each picture is as wide as what it can see at most."
    )


def _with_and_without(subject: Inspection, whole: EffectiveField) -> list[Html]:
    """The output's field with and without skips; nothing for a net without them."""
    if not skip_edges(subject.graph):
        return []
    (bare,) = effective_fields(subject, without_skips=True, output_only=True)
    if isnan(bare.std) or isnan(whole.std):
        return []
    pair = (replace(whole, name="the net as it is"), replace(bare, name="all skips silenced"))
    here, there = whole.side(0.5), bare.side(0.5)
    turn = "narrower" if here < there else "wider" if here > there else "no different"
    words = (
        f"Half of the energy of an output lies within {here} px; with all skips silenced, in the same net, within "
        f"{there} px: with its skips the net looks {turn}. (95 %: {whole.side(0.95)} and {bare.side(0.95)} px.)"
    )
    return [_figure(svg(draw_profiles(pair), label="energy within a square"), words, "With and without skips")]


def _effective_table(effective: Sequence[EffectiveField]) -> Html:
    rows = [
        [one.name, *("-" if isnan(one.std) else str(one.side(share)) for share in (0.5, 0.95, 0.99))]
        for one in effective
    ]
    return table(["layer", "50 %", "95 %", "99 %"], rows, caption="Square that holds the energy (px)")
