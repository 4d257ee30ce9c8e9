"""The section on what each path of the net carries for the image."""

from __future__ import annotations

from collections.abc import Sequence

from ...insight.ablation import Mask, Silencing, draw_effects, draw_masks, silence
from ...insight.activations import (
    Attention,
    Heads,
    StageMaps,
    attention_maps,
    draw_attention,
    draw_heads,
    draw_stages,
    head_masks,
    stage_maps,
)
from ...insight.inspection import Inspection
from ...plotting.html import Html, figure, grid, paragraph, section, table
from ...plotting.matplotlib_style import svg

__all__ = ["paths_section"]


def paths_section(subject: Inspection) -> Html:
    """Maps of every stage, the mask without each skip, attention, and the heads of a UNet++."""
    found, maps = silence(subject), stage_maps(subject)
    pictures = _stages(maps)
    words = [_scores(found)]
    tables = []
    if found.masks:
        words.append(_most(found))
        pictures[:0] = [
            _figure(svg(draw_effects(found), label="change when silenced"), _effects(found), "Each path silenced"),
            _figure(svg(draw_masks(subject, found), label="masks"), _look(found), "The mask without each path"),
        ]
        tables.append(_table(found))
    gates = attention_maps(subject)
    if gates:
        pictures.append(_figure(svg(draw_attention(subject, gates), label="attention"), _attention(gates), "Attention"))
    heads = head_masks(subject)
    if heads:
        pictures.append(_figure(svg(draw_heads(heads), label="masks of the heads"), _heads(heads), "Heads"))
    return section("What each path carries", paragraph(*words), grid(*pictures), *tables)


def _figure(drawing: str, sentence: str, title: str) -> Html:
    return figure(Html(drawing), sentence, title=title)


def _scores(found: Silencing) -> str:
    if not found.is_scored:
        return (
            "There is no true mask of this image, so what a silenced path changes is held against the net's own mask "
            "(which scores 1)."
        )
    return (
        f"As it is, the net reaches Dice {found.whole.dice:.3f} and boundary F1 {found.whole.boundary_f1:.3f} (within "
        f"{found.tolerance:g} px) on this image."
    )


def _most(found: Silencing) -> str:
    """Which single path costs most, in overlap and at the boundary; in words that the numbers bear out."""
    single = [mask for mask in found.of("mean") if mask.path != "all skips"]
    by_dice = min(single, key=lambda mask: mask.dice)
    by_edge = min(single, key=lambda mask: mask.boundary_f1)
    lost = found.whole.dice - by_dice.dice, found.whole.boundary_f1 - by_edge.boundary_f1
    if max(lost) < 0.005:
        return "No single path matters much to this mask: silencing any of them changes both scores by less than 0.005."
    if by_dice is by_edge:
        return (
            f"The path that matters most is {_named(by_dice)}: without it Dice changes by {-lost[0]:+.3f}, boundary F1 "
            f"by {-lost[1]:+.3f}."
        )
    return (
        f"For overlap the path that matters most is {_named(by_dice)} (Dice {-lost[0]:+.3f} without it), for "
        f"boundaries {_named(by_edge)} (boundary F1 {-lost[1]:+.3f})."
    )


def _named(mask: Mask) -> str:
    return f"what comes up from {mask.path}" if mask.path == "the bottom" else f"the skip from {mask.path}"


def _effects(found: Silencing) -> str:
    against = "the truth" if found.is_scored else "the net's own mask"
    return (
        f"Change of Dice and boundary F1 against {against} when a path carries only the mean of each of its channels: "
        "what it says of where things are is gone, the level of its signals is kept. A long bar is a path that this "
        "net has come to rely on; how well a net would do that was trained without it is another question."
    )


def _look(found: Silencing) -> str:
    masks = found.of("mean")
    most, least = max(masks, key=lambda m: m.changed), min(masks, key=lambda m: m.changed)
    return (
        f"The mask with one path silenced at a time. It changes most without {most.path} ({most.changed:.1%} of the "
        f"pixels), least without {least.path} ({least.changed:.1%})."
    )


def _table(found: Silencing) -> Html:
    rows = [["as it is", "", f"{found.whole.dice:.3f}", f"{found.whole.boundary_f1:.3f}", ""]]
    rows += [[m.path, m.how, f"{m.dice:.3f}", f"{m.boundary_f1:.3f}", f"{m.changed:.1%}"] for m in found.masks]
    return table(["silenced", "by", "Dice", "boundary F1", "pixels changed"], rows, caption="Scores without each path")


def _stages(maps: Sequence[StageMaps]) -> list[Html]:
    """The maps of the way down and those of the way up: two pictures, or one for a net of few stages."""
    deepest = max(range(len(maps)), key=lambda i: -maps[i].maps[0].size)
    halves = [part for part in (maps[: deepest + 1], maps[deepest + 1 :]) if part]
    return [_half(part, "down" if i == 0 else "up") for i, part in enumerate(halves)]


def _half(maps: Sequence[StageMaps], way: str) -> Html:
    silent, n = sum(row.silent for row in maps), sum(len(row.activity) for row in maps)
    quiet = (
        f"{silent} of the {n} channels that these stages end with say the same everywhere in this image."
        if silent
        else f"None of the {n} channels that these stages end with is silent."
    )
    what = {
        "down": "Look for edges in the first rows, and for whole objects as blobs in the last.",
        "up": "Look for how the objects of the first rows get their edges back; the last row is the net's answer.",
    }
    words = (
        f"The three most active channels at the end of each stage on the way {way}, in order of computation, each from "
        f"its own darkest to its own brightest value. {what[way]} {quiet}"
    )
    return _figure(svg(draw_stages(maps), label=f"feature maps on the way {way}"), words, f"Maps on the way {way}")


def _attention(gates: Sequence[Attention]) -> str:
    means = [float(gate.alpha.mean()) for gate in gates]
    spread = [float(gate.alpha.std()) for gate in gates]
    low, high = min(means), max(means)
    widest = max(range(len(gates)), key=spread.__getitem__)
    choice = (
        f"{gates[widest].name} chooses most between places (standard deviation {spread[widest]:.2f})."
        if spread[widest] >= 0.02
        else "No gate chooses much between places: all deviate by less than 0.02."
    )
    return (
        "Where attention gates let their skips through: 1 (yellow) all, 0 (black) nothing. On average they pass "
        f"{low:.2f} to {high:.2f}. {choice}"
    )


def _heads(found: Heads) -> str:
    return (
        f"The masks of the heads L1 to L{len(found.classes)}, from the shallowest to the deepest, and where they "
        f"disagree: on {found.disputed:.1%} of the pixels at least one head says another class than most. Only there "
        "do the deeper nodes change the mask."
    )
