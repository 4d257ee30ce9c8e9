"""The section on gradients: how much of the loss's pull reaches every stage, and what keeps it from vanishing."""

from __future__ import annotations

from collections.abc import Sequence

from ...insight.gradient_flow import GradientFlow, draw_flow, gradient_flow, loss_against
from ...insight.inspection import Inspection
from ...insight.variants import Relative, draw_relatives, relatives
from ...plotting.html import Html, figure, grid, paragraph, section, table
from ...plotting.matplotlib_style import svg

__all__ = ["gradients_section"]

_VANISHES, _EXPLODES = 1e-2, 1e2  # of the gradient at the last stage, at the first one
_ALIKE = 1.5  # factors below it are called none


def gradients_section(subject: Inspection) -> Html:
    """The gradient at every stage of the net, and at initialisation in nets like it."""
    truth = subject.output_truth
    found = gradient_flow(subject.net, subject.graph, subject.image, loss=loss_against(truth))
    title, words = "Gradients", _what(found, is_true=truth is not None and bool((truth != 255).any()))
    if any(layer.function == "batch_norm" for layer in subject.graph.layers):
        norms = "of this image, as in a training step" if found.is_batch else "that they have stored"
        words += f" Batch norms use the statistics {norms}."
    tables = [_table(found)]
    if not any(stage.gradient > 0 for stage in found.stages):
        return section(title, paragraph(words, "No stage gets any gradient: there is nothing to draw."), *tables)
    pictures = [figure(Html(svg(draw_flow(found), label="activation and gradient per stage")), _say_flow(found))]
    others = [one for one in relatives(subject) if one.flow.reach > 0]
    notes = ["Compare stages of one level: a coarse map has fewer elements, each of which speaks for more pixels."]
    if others:
        picture = Html(svg(draw_relatives(others), label="gradient at the first stage of untrained nets"))
        pictures.append(figure(picture, _say_relatives(others)))
        notes.append(_of_norm(others))
        tables.append(_relatives_table(others))
    return section(title, paragraph(words), grid(*pictures), paragraph(*notes), *tables)


def _what(found: GradientFlow, *, is_true: bool) -> str:
    against = (
        "the true mask (cross-entropy and Dice, as in training)"
        if is_true
        else "the net's own mask (cross-entropy), as no true one is known"
    )
    return (
        "A net learns by the gradient of its loss, which is handed back from the last layer to the first. Here it is "
        f"followed once, for the loss of {found.loss:.3g} against {against}."
    )


# --- stages ---


def _say_flow(found: GradientFlow) -> str:
    """What happens to the gradient between the last stage and the first."""
    first, last = found.stages[0], found.stages[-1]
    maps = sorted(stage.activation for stage in found.stages)
    head = (
        "Typical size of each stage's last map (left) and of the gradient by it (right), from the first stage computed "
        f"to the last. Maps stay between {maps[0]:.2g} and {maps[-1]:.2g}."
    )
    silent = [stage.name for stage in found.stages if not stage.gradient]
    rest = f" No gradient at all reaches {', '.join(silent)}: nothing is learnt there." if silent else ""
    if first is last:
        return f"{head} There is one stage, with a gradient of {first.gradient:.2g}.{rest}"
    if first.gradient and last.gradient:
        rest = (
            f" The gradient is {last.gradient:.2g} at {last.name} and {first.gradient:.2g} at {first.name}, "
            f"{_times(found.reach)}: {_verdict(found.reach)}.{rest}"
        )
    return f"{head}{rest}"


def _times(ratio: float) -> str:
    """A ratio in words.

    >>> _times(1.2), _times(0.02), _times(30.0)
    ('about as much', '50 times less', '30 times more')
    """
    if 1 / _ALIKE < ratio < _ALIKE:
        return "about as much"
    return f"{_plain(1 / ratio)} times less" if ratio < 1 else f"{_plain(ratio)} times more"


def _plain(value: float) -> str:
    """Two digits, and no power of ten up to a million."""
    return f"{float(f'{value:.2g}'):,.0f}" if 100 <= value < 1e6 else f"{value:.2g}"


def _verdict(reach: float) -> str:
    if _vanishes(reach):
        return "it all but vanishes on the way, and the first stage has little to learn from"
    return "it grows on the way and may need clipping" if _explodes(reach) else "it arrives"


def _table(found: GradientFlow) -> Html:
    header = ["stage", "map", "gradient by map", "weights", "gradient by weights", "ratio"]
    rows = []
    for stage in found.stages:
        values = stage.activation, stage.gradient, stage.weight, stage.weight_gradient
        ratio = _short(stage.weight_gradient / stage.weight) if stage.weight else "-"
        rows.append([stage.name, *map(_short, values), ratio])
    quiet = [i for i, stage in enumerate(found.stages) if not stage.gradient]
    caption = "Root mean square of maps, norm of weights, and their gradients"
    return table(header, rows, caption=caption, quiet=quiet)


def _short(value: float) -> str:
    return f"{value:.2g}" if value == 0 or 1e-3 <= value < 1e4 else f"{value:.1e}"


# --- relatives ---


def _reach(found: Sequence[Relative], name: str, setting: str) -> float | None:
    return next((one.flow.reach for one in found if (one.name, one.setting) == (name, setting)), None)


def _base(found: Sequence[Relative]) -> str:
    """The net that the others differ from in one respect."""
    return "as a U-Net" if any(one.name == "as a U-Net" for one in found) else "as it is"


def _say_relatives(found: Sequence[Relative]) -> str:
    """From the smallest to the largest, whether any vanishes or explodes, and what the skips do."""
    words = [
        "Fresh weights, the same image: the gradient at the first stage of the encoder as a multiple of that at the "
        "last of the decoder, both at the finest level. Left of the dashed line it shrinks on its way back, right of "
        "it it grows."
    ]
    for setting in dict.fromkeys(one.setting for one in found):
        rows = sorted((one for one in found if one.setting == setting), key=lambda one: one.flow.reach)
        low, high = rows[0], rows[-1]
        ends = f"{_plain(low.flow.reach)} ({low.name}) to {_plain(high.flow.reach)} ({high.name})"
        words.append(f"{_words(setting).capitalize()} it is {ends}{_skips(found, setting)}.")
    lost, blown = ([_full_name(one) for one in found if is_so(one.flow.reach)] for is_so in (_vanishes, _explodes))
    words += [f"It vanishes (below a hundredth): {', '.join(lost)}."] if lost else []
    words += [f"It explodes (above a hundred): {', '.join(blown)}."] if blown else []
    return " ".join(words if lost or blown else [*words, "In none does it vanish (below 0.01) or explode (above 100)."])


def _skips(found: Sequence[Relative], setting: str) -> str:
    """What becomes of the gradient where the skips are taken away, or put in."""
    base = _reach(found, _base(found), setting)
    for name, words in (("no skips", "taking the skips away"), ("with skips", "putting skips in")):
        other = _reach(found, name, setting)
        if base and other:
            return f"; {words} gives {_times(other / base)}"
    return ""


def _full_name(one: Relative) -> str:
    return f"{one.name} ({_words(one.setting)})"


def _vanishes(reach: float) -> bool:
    return reach < _VANISHES


def _explodes(reach: float) -> bool:
    return reach > _EXPLODES


def _relatives_table(found: Sequence[Relative]) -> Html:
    settings = list(dict.fromkeys(one.setting for one in found))
    rows = []
    for name in dict.fromkeys(one.name for one in found):
        reaches = [_reach(found, name, setting) for setting in settings]
        rows.append([name, *("-" if reach is None else _short(reach) for reach in reaches)])
    caption = "Gradient at the first stage as a multiple of that at the last, untrained"
    return table(["net", *map(_words, settings)], rows, caption=caption)


def _words(setting: str) -> str:
    return setting.replace("no norm", "without norm") if setting.startswith("no norm") else f"with {setting}"


def _of_norm(found: Sequence[Relative]) -> str:
    """Whether the norm hides what the topology does: the spread of all nets with it, and without."""
    words = []
    for setting in dict.fromkeys(one.setting for one in found):
        values = [one.flow.reach for one in found if one.setting == setting]
        words.append(f"{_plain(max(values) / min(values))} times the smallest {_words(setting)}")
    return (
        "Untrained nets like it are compared in the second figure, with their norm and without, because a norm "
        "rescales every map, and with it the gradient; and with weights half as large as usual, a poor start, which "
        "shows how many layers the gradient has to pass. The largest of these gradients is "
        f"{', '.join(words)}."
    )
