"""The section on shifts: whether the mask moves with the image."""

from __future__ import annotations

from ...insight.inspection import Inspection
from ...insight.shift import Shifts, draw_shifts, draw_where, shift_equivariance
from ...plotting.html import Html, figure, grid, paragraph, section
from ...plotting.matplotlib_style import svg
from .frequencies import percent

__all__ = ["shifts_section"]

_LEAST_SHOWN = 16  # pixels per side: less is no picture


def shifts_section(subject: Inspection) -> Html:
    """How much of the mask changes when the image moves by 1 to 16 pixels, and where."""
    if set(subject.graph.geometry.scale) != {1}:
        words = "The mask has another scale than the image, so it cannot be moved back pixel by pixel."
        return section("Shifts", paragraph(words))
    try:
        found = shift_equivariance(subject)
    except ValueError as error:
        return section("Shifts", paragraph(f"Shifts were not measured: {error}."))
    pictures = [figure(Html(svg(draw_shifts(found), label="changes over shifts")), _curves(found), title="By how much")]
    if found.where.any() and min(found.where.shape[-2:]) >= _LEAST_SHOWN:
        picture = draw_where(found, subject.image[0].numpy())
        pictures.append(figure(Html(svg(picture, label="where classes change")), _where(found), title="Where"))
    return section("Shifts", paragraph(*_words(subject, found)), grid(*pictures))


def _words(subject: Inspection, found: Shifts) -> list[str]:
    stride = _sizes(found.strides)
    words = [
        "The image is moved by a few pixels, the mask moved back, and both masks compared.",
        f"This net's total stride is {stride} px: only moves by its multiples leave the pooling grid where it was on "
        "the objects."
        if max(found.strides) > 1
        else "This net never samples down, so it has no pooling grid that a move could displace.",
    ]
    if not found.is_clear:
        words.append(
            "The image is too small to compare only pixels that see none of its borders, so borders have a part in "
            "these changes, also at multiples of the total stride."
        )
    if not subject.graph.is_local:
        words.append(
            "The net takes statistics over the whole image (its normalisation), which change a little with what moves "
            "in and out: not even multiples of the total stride need give the same mask."
        )
    return words


def _curves(found: Shifts) -> str:
    mean = found.changed.mean(axis=0)
    worst, first = int(mean.argmax()), found.shifts.index(min(found.shifts))
    if not found.changed.any():
        moved = percent(float(found.probability.max()))
        return (
            f"No pixel changes its class, by whichever of the {len(found.shifts)} shifts the image moves; the "
            f"probabilities change by {moved} on average at most."
        )
    words = (
        f"Moved by {found.shifts[first]} px, {percent(float(mean[first]))} of the pixels change their class; most, "
        f"{percent(float(mean[worst]))}, do when moved by {found.shifts[worst]} px. To compare: "
        f"{percent(found.outline)} of the pixels lie beside another class, on the outlines of the mask."
    )
    return words + _at_strides(found)


def _at_strides(found: Shifts) -> str:
    """What happens where the pooling grid is in place again."""
    at = [
        (row[k], s)
        for row, stride in zip(found.changed, found.strides, strict=True)
        for k, s in enumerate(found.shifts)
        if stride > 1 and s % stride == 0
    ]
    if not at:
        return ""
    most = float(max(share for share, _ in at))
    what = "none does" if most == 0 else f"{percent(most)} do at most"
    return f" Dotted: multiples of the total stride, where {what}."


def _where(found: Shifts) -> str:
    share = float((found.where > 0).mean())
    half = float((found.where >= 0.5).mean())
    grid_words = " There the mask hangs on where the pooling grid happens to lie."
    return (
        f"Which pixels change their class, and by how many of the {len(found.shifts)} moves along the last axis: "
        f"{percent(share)} of the pixels by at least one, {percent(half)} by at least half of them."
    ) + (grid_words if found.is_clear and max(found.strides) > 1 else "")


def _sizes(strides: tuple[int, ...]) -> str:
    return str(strides[0]) if len(set(strides)) == 1 else " and ".join(map(str, strides))
