"""The section on the paths of a net: feature maps of the stages, and the mask without each path."""

from __future__ import annotations

from collections.abc import Sequence

from ...insight.ablation import AblatedMask, Ablation, ablate_paths, draw_effects, draw_masks
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


def paths_section(inspection: Inspection) -> Html:
    """Maps of every stage, the mask without each skip, attention, and the heads of a UNet++."""
    ablation = ablate_paths(inspection)
    words, pictures, tables = [_describe_scores(ablation)], [], []
    if ablation.masks:
        words.append(_most_important(ablation))
        effects = svg(draw_effects(ablation), label="change of the scores without each path")
        masks = svg(draw_masks(inspection, ablation), label="masks")
        pictures = [
            figure(effects, _describe_effects(ablation), title="Ablation of each path"),
            figure(masks, _describe_masks(ablation), title="The mask without each path"),
        ]
        tables.append(_scores_table(ablation))
    pictures += _stage_figures(stage_maps(inspection))
    if gates := attention_maps(inspection):
        attention = svg(draw_attention(gates), label="attention")
        pictures.append(figure(attention, _describe_attention(gates), title="Attention"))
    if heads := head_masks(inspection):
        pictures.append(
            figure(svg(draw_heads(heads), label="masks of the heads"), _describe_heads(heads), title="Heads")
        )
    return section("Paths of the net", paragraph(*words), grid(*pictures), *tables)


def _describe_scores(ablation: Ablation) -> str:
    if not ablation.is_scored:
        return (
            "There is no true mask of this image, so the mask without a path is compared with the mask of the whole "
            "net (which scores 1)."
        )
    return (
        f"The whole net reaches Dice {ablation.whole.dice:.3f} and boundary F1 {ablation.whole.boundary_f1:.3f} "
        f"(within {ablation.tolerance:g} px) on this image."
    )


def _most_important(ablation: Ablation) -> str:
    """The single path that costs most, in overlap and at the boundary."""
    single = [mask for mask in ablation.by("mean") if mask.path != "all skips"]
    by_dice = min(single, key=lambda mask: mask.dice)
    by_edge = min(single, key=lambda mask: mask.boundary_f1)
    lost = ablation.whole.dice - by_dice.dice, ablation.whole.boundary_f1 - by_edge.boundary_f1
    if max(lost) < 0.005:
        return "No single path matters much for this mask: without any of them both scores change by less than 0.005."
    if by_dice is by_edge:
        return (
            f"The most important path is {_path(by_dice)}: without it Dice changes by {-lost[0]:+.3f}, boundary F1 by "
            f"{-lost[1]:+.3f}."
        )
    return (
        f"The most important path for overlap is {_path(by_dice)} (Dice {-lost[0]:+.3f} without it), for boundaries "
        f"{_path(by_edge)} (boundary F1 {-lost[1]:+.3f})."
    )


def _path(mask: AblatedMask) -> str:
    return f"the path up from {mask.path}" if mask.path == "the bottom" else f"the skip from {mask.path}"


def _describe_effects(ablation: Ablation) -> str:
    reference = "the truth" if ablation.is_scored else "the mask of the whole net"
    return (
        f"Change of Dice and boundary F1 against {reference} when a path carries only the mean of each of its "
        "channels: its spatial information is removed, the level of its signals is kept. A long bar is a path that "
        "this net relies on; how good a net trained without that path would be is another question."
    )


def _describe_masks(ablation: Ablation) -> str:
    masks = ablation.by("mean")
    most, least = max(masks, key=lambda m: m.changed), min(masks, key=lambda m: m.changed)
    return (
        f"The mask with one path removed at a time. It changes most without {most.path} ({most.changed:.1%} of the "
        f"pixels), least without {least.path} ({least.changed:.1%})."
    )


def _scores_table(ablation: Ablation) -> Html:
    rows = [["nothing", "", f"{ablation.whole.dice:.3f}", f"{ablation.whole.boundary_f1:.3f}", ""]]
    rows += [
        [m.path, m.replacement, f"{m.dice:.3f}", f"{m.boundary_f1:.3f}", f"{m.changed:.1%}"] for m in ablation.masks
    ]
    header = ["replaced", "by", "Dice", "boundary F1", "pixels changed"]
    return table(header, rows, caption="Scores without each path")


def _stage_figures(maps: Sequence[StageMaps]) -> list[Html]:
    """The maps of the contracting and of the expanding path: two pictures, or one for a net of few stages."""
    deepest = max(range(len(maps)), key=lambda i: -maps[i].maps[0].size)
    figures = []
    for rows, path, hint in (
        (maps[: deepest + 1], "contracting path", "The first rows show edges, the last ones whole objects as blobs."),
        (
            maps[deepest + 1 :],
            "expanding path",
            "From the first rows on, objects regain sharp edges; the last row is the net's output.",
        ),
    ):
        if not rows:
            continue
        silent, n = sum(row.silent for row in rows), sum(len(row.activity) for row in rows)
        constant = (
            f"{silent} of the {n} channels at the ends of these stages are constant over this image."
            if silent
            else f"None of the {n} channels at the ends of these stages is constant over this image."
        )
        words = (
            f"The three most active channels at the end of each stage of the {path}, in order of computation, each "
            f"from its own darkest to its own brightest value. {hint} {constant}"
        )
        figures.append(figure(svg(draw_stages(rows), label=f"maps, {path}"), words, title=f"Maps, {path}"))
    return figures


def _describe_attention(gates: Sequence[Attention]) -> str:
    means = [float(gate.alpha.mean()) for gate in gates]
    spread = [float(gate.alpha.std()) for gate in gates]
    widest = max(range(len(gates)), key=spread.__getitem__)
    selection = (
        f"{gates[widest].name} is the most selective in space (standard deviation {spread[widest]:.2f})."
        if spread[widest] >= 0.02
        else "No gate is very selective in space: all deviate by less than 0.02."
    )
    return (
        "Coefficients by which attention gates multiply their skips: 1 (yellow) passes everything, 0 (black) nothing. "
        f"On average they are {min(means):.2f} to {max(means):.2f}. {selection}"
    )


def _describe_heads(heads: Heads) -> str:
    return (
        f"The masks of the heads L1 to L{len(heads.classes)}, from the shallowest to the deepest, and where they "
        f"disagree: on {heads.disputed:.1%} of the pixels at least one head gives another class than most. Only there "
        "do the deeper nodes change the mask."
    )
