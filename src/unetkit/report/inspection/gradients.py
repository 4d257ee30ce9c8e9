"""The section on gradients: their size at every stage, and what keeps them from vanishing."""

from __future__ import annotations

from collections.abc import Sequence

from ...insight.gradient_flow import GradientFlow, draw_flow, gradient_flow, loss_against
from ...insight.inspection import Inspection
from ...insight.variants import Variant, compare_variants, draw_variants
from ...plotting.html import Html, figure, grid, paragraph, section, table
from ...plotting.matplotlib_style import svg

__all__ = ["gradients_section"]

_VANISHES, _EXPLODES = 1e-2, 1e2  # of the gradient at the last stage, at the first one
_ALIKE = 1.5  # ratios below it count as 1


def gradients_section(inspection: Inspection) -> Html:
    """The gradient at every stage of the net, and at initialisation in variants of it."""
    truth = inspection.output_truth
    flow = gradient_flow(inspection.net, inspection.graph, inspection.image, loss=loss_against(truth))
    reference = (
        "the true mask (cross-entropy and Dice, as in training)"
        if truth is not None and (truth != 255).any()
        else "the net's own mask (cross-entropy), as no true one is known"
    )
    words = (
        "A net learns by the gradient of its loss, which is propagated from the last layer to the first. Here it is "
        f"computed once, for the loss of {flow.loss:.3g} against {reference}."
    )
    if any(layer.function == "batch_norm" for layer in inspection.graph.layers):
        words += f" Batch norms use {'the statistics of this image' if flow.is_batch else 'their stored statistics'}"
        words += ", as in a training step." if flow.is_batch else "."
    tables = [_stage_table(flow)]
    if not any(stage.gradient > 0 for stage in flow.stages):
        return section("Gradients", paragraph(words, "All gradients are zero: there is nothing to draw."), *tables)
    drawing = svg(draw_flow(flow), label="activation and gradient per stage")
    pictures = [figure(drawing, _describe_flow(flow), title="In this net")]
    notes = ["Compare stages of one level: a coarse map has fewer elements, each of which stands for more pixels."]
    variants = [variant for variant in compare_variants(inspection) if variant.flow.reach > 0]
    if variants:
        drawing = svg(draw_variants(variants), label="gradient at the first stage of untrained nets")
        pictures.append(figure(drawing, _describe_variants(variants), title="In untrained variants"))
        notes.append(_effect_of_norm(variants))
        tables.append(_variants_table(variants))
    return section("Gradients", paragraph(words), grid(*pictures), paragraph(*notes), *tables)


# --- stages ---


def _describe_flow(flow: GradientFlow) -> str:
    """The change of the gradient between the last stage and the first."""
    first, last = flow.stages[0], flow.stages[-1]
    maps = sorted(stage.activation for stage in flow.stages)
    head = (
        "Root mean square of each stage's last map (left) and of the gradient with respect to it (right), from the "
        f"first stage computed to the last. Maps stay between {maps[0]:.2g} and {maps[-1]:.2g}."
    )
    silent = [stage.name for stage in flow.stages if not stage.gradient]
    rest = f" No gradient at all reaches {', '.join(silent)}: these stages do not learn." if silent else ""
    if first is last:
        return f"{head} There is one stage, with a gradient of {first.gradient:.2g}.{rest}"
    if first.gradient and last.gradient:
        verdict = (
            "it all but vanishes on the way, and the first stage hardly learns"
            if _vanishes(flow)
            else "it grows on the way and may need clipping"
            if _explodes(flow)
            else "it reaches the first stage"
        )
        rest = (
            f" The gradient is {last.gradient:.2g} at {last.name} and {first.gradient:.2g} at {first.name}, "
            f"{_times(flow.reach)}: {verdict}.{rest}"
        )
    return f"{head}{rest}"


def _vanishes(flow: GradientFlow) -> bool:
    return flow.reach < _VANISHES


def _explodes(flow: GradientFlow) -> bool:
    return flow.reach > _EXPLODES


def _times(ratio: float) -> str:
    """A ratio as text.

    >>> _times(1.2), _times(0.02), _times(30.0)
    ('about as much', '50 times less', '30 times more')
    """
    if 1 / _ALIKE < ratio < _ALIKE:
        return "about as much"
    return f"{_plain(1 / ratio)} times less" if ratio < 1 else f"{_plain(ratio)} times more"


def _plain(value: float) -> str:
    """Two digits, without a power of ten up to a million."""
    return f"{float(f'{value:.2g}'):,.0f}" if 100 <= value < 1e6 else f"{value:.2g}"


def _stage_table(flow: GradientFlow) -> Html:
    header = ["stage", "map", "gradient of map", "weights", "gradient of weights", "ratio"]
    rows = []
    for stage in flow.stages:
        values = stage.activation, stage.gradient, stage.weight, stage.weight_gradient
        ratio = _short(stage.weight_gradient / stage.weight) if stage.weight else "-"
        rows.append([stage.name, *map(_short, values), ratio])
    quiet = [i for i, stage in enumerate(flow.stages) if not stage.gradient]
    caption = "Root mean square of maps, norm of weights, and their gradients"
    return table(header, rows, caption=caption, quiet=quiet)


def _short(value: float) -> str:
    return f"{value:.2g}" if value == 0 or 1e-3 <= value < 1e4 else f"{value:.1e}"


# --- variants ---


def _settings(variants: Sequence[Variant]) -> list[str]:
    return list(dict.fromkeys(variant.setting for variant in variants))


def _reach(variants: Sequence[Variant], name: str, setting: str) -> float | None:
    return next((v.flow.reach for v in variants if (v.name, v.setting) == (name, setting)), None)


def _describe_variants(variants: Sequence[Variant]) -> str:
    """The smallest and the largest gradient, those that vanish or explode, and the effect of the skips."""
    words = [
        "New weights, the same image: the gradient at the first stage of the encoder as a multiple of that at the last "
        "of the decoder, both at the finest level. Left of the dashed line it shrinks in backpropagation, right of it "
        "it grows."
    ]
    for setting in _settings(variants):
        rows = sorted((v for v in variants if v.setting == setting), key=lambda v: v.flow.reach)
        low, high = rows[0], rows[-1]
        ends = f"{_plain(low.flow.reach)} ({low.name}) to {_plain(high.flow.reach)} ({high.name})"
        words.append(f"{_words(setting).capitalize()} it is {ends}{_effect_of_skips(variants, setting)}.")
    lost, blown = (
        [f"{v.name} ({_words(v.setting)})" for v in variants if is_so(v.flow)] for is_so in (_vanishes, _explodes)
    )
    words += [f"It vanishes (below a hundredth): {', '.join(lost)}."] if lost else []
    words += [f"It explodes (above a hundred): {', '.join(blown)}."] if blown else []
    return " ".join(words if lost or blown else [*words, "In none does it vanish (below 0.01) or explode (above 100)."])


def _effect_of_skips(variants: Sequence[Variant], setting: str) -> str:
    """The change of the gradient when skips are removed or added."""
    is_nested = any(v.name == "as a U-Net" for v in variants)
    base = _reach(variants, "as a U-Net" if is_nested else "as it is", setting)
    for name, words in (("no skips", "removing the skips"), ("with skips", "adding skips")):
        other = _reach(variants, name, setting)
        if base and other:
            return f"; {words} gives {_times(other / base)}"
    return ""


def _variants_table(variants: Sequence[Variant]) -> Html:
    settings = _settings(variants)
    rows = []
    for name in dict.fromkeys(v.name for v in variants):
        reaches = [_reach(variants, name, setting) for setting in settings]
        rows.append([name, *("-" if reach is None else _short(reach) for reach in reaches)])
    caption = "Gradient at the first stage as a multiple of that at the last, untrained"
    return table(["net", *map(_words, settings)], rows, caption=caption)


def _words(setting: str) -> str:
    return setting.replace("no norm", "without norm") if setting.startswith("no norm") else f"with {setting}"


def _effect_of_norm(variants: Sequence[Variant]) -> str:
    """The spread of all nets with and without their norm, which can hide the effect of the topology."""
    words = []
    for setting in _settings(variants):
        values = [v.flow.reach for v in variants if v.setting == setting]
        words.append(f"{_plain(max(values) / min(values))} times the smallest {_words(setting)}")
    return (
        "Untrained variants are compared in the second figure with their norm and without, because a norm rescales "
        "every map, and with it the gradient; and with weights half as large as usual, a poor initialisation, which "
        "shows how many layers the gradient passes. The largest of these gradients is "
        f"{', '.join(words)}."
    )
