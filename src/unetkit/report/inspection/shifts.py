"""The section on shifts: changes of the mask when the image moves."""

from __future__ import annotations

from ...insight.inspection import Inspection
from ...insight.shift import Shifts, draw_shifts, draw_where, shift_equivariance
from ...plotting.html import Html, figure, grid, paragraph, section
from ...plotting.matplotlib_style import svg
from .frequencies import percent

__all__ = ["shifts_section"]

_LEAST_SHOWN = 16  # pixels per side: less is no picture


def shifts_section(inspection: Inspection) -> Html:
    """Changes of the mask, in amount and place, when the image moves by 1 to 16 pixels."""
    if set(inspection.graph.geometry.scale) != {1}:
        words = "The mask has another scale than the image, so it cannot be moved back pixel by pixel."
        return section("Shifts", paragraph(words))
    try:
        shifts = shift_equivariance(inspection)
    except ValueError as error:
        return section("Shifts", paragraph(f"Shifts were not measured: {error}."))
    pictures = [
        figure(svg(draw_shifts(shifts), label="changes over shifts"), _describe_changes(shifts), title="Amount")
    ]
    if shifts.where.any() and min(shifts.where.shape[-2:]) >= _LEAST_SHOWN:
        drawing = svg(draw_where(shifts, inspection.image[0].numpy()), label="places of changes")
        pictures.append(figure(drawing, _describe_places(shifts), title="Places"))
    return section("Shifts", paragraph(*_introduction(inspection, shifts)), grid(*pictures))


def _introduction(inspection: Inspection, shifts: Shifts) -> list[str]:
    strides = shifts.strides
    stride = str(strides[0]) if len(set(strides)) == 1 else " and ".join(map(str, strides))
    words = [
        "The image is moved by a few pixels, the mask moved back, and both masks compared.",
        f"The total stride of this net is {stride} px: only shifts by its multiples keep the position of the pooling "
        "grid on the objects."
        if max(strides) > 1
        else "This net has no down-sampling, so it has no pooling grid that a shift could displace.",
    ]
    if not shifts.is_clear:
        words.append(
            "The image is too small to compare only pixels without a border in their receptive field, so borders "
            "contribute to these changes, also at multiples of the total stride."
        )
    if not inspection.graph.is_local:
        words.append(
            "The net computes statistics over the whole image (its normalisation), which change a little when the "
            "content moves: not even multiples of the total stride need give the same mask."
        )
    return words


def _describe_changes(shifts: Shifts) -> str:
    mean = shifts.changed.mean(axis=0)
    worst, first = int(mean.argmax()), shifts.shifts.index(min(shifts.shifts))
    if not shifts.changed.any():
        moved = percent(float(shifts.probability.max()))
        return (
            f"No pixel changes its class for any of the {len(shifts.shifts)} shifts; the probabilities change by "
            f"{moved} on average at most."
        )
    words = (
        f"For a shift of {shifts.shifts[first]} px, {percent(float(mean[first]))} of the pixels change their class; "
        f"most do, {percent(float(mean[worst]))}, for one of {shifts.shifts[worst]} px. For comparison: "
        f"{percent(shifts.outline)} of the pixels lie next to another class, on the outlines of the mask."
    )
    at_strides = [
        float(share)
        for row, stride in zip(shifts.changed, shifts.strides, strict=True)
        for share, shift in zip(row, shifts.shifts, strict=True)
        if stride > 1 and shift % stride == 0
    ]
    if not at_strides:
        return words
    most = max(at_strides)
    changes = "no pixel changes" if most == 0 else f"{percent(most)} change at most"
    return f"{words} Dotted: multiples of the total stride, where {changes}."


def _describe_places(shifts: Shifts) -> str:
    ever, half = float((shifts.where > 0).mean()), float((shifts.where >= 0.5).mean())
    words = (
        f"Pixels that change their class, and for how many of the {len(shifts.shifts)} shifts along the last axis: "
        f"{percent(ever)} of the pixels for at least one, {percent(half)} for at least half of them."
    )
    if shifts.is_clear and max(shifts.strides) > 1:
        words += " There the mask depends on the position of the pooling grid."
    return words
