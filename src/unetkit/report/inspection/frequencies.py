"""The section on frequencies: how fine what the net sees and says is, what pooling folds, what up-sampling leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from torch import cat, zeros_like

from ...insight.frequency.aliasing import Folded, Folding, draw_folding, draw_gratings, folded_energy, folding, poolings
from ...insight.frequency.checkerboard import Pattern, constant_answer, draw_pattern
from ...insight.frequency.spectra import (
    Checkerboard,
    Line,
    Spectrum,
    checkerboard,
    draw_boards,
    draw_spectra,
    radial_spectrum,
    share_above,
)
from ...insight.inspection import Inspection
from ...plotting.html import Html, figure, grid, paragraph, section, table
from ...plotting.matplotlib_style import svg

__all__ = ["frequencies_section", "percent"]

_WAVES = np.linspace(0.012, 0.488, 69)  # cycles per pixel, of the gratings
_SHOWN = 0.4  # of these, the one that the text speaks of
_LOST = 0.5  # error over truth, in energy, from which on a mask does not follow the truth
_SEEN = 1e-4  # a pattern below this share of the logits' deviation is not worth a picture


def frequencies_section(subject: Inspection) -> Html:
    """Spectra of image, answer and maps; what is lost and folded on the way down; checkerboards."""
    answer, downs = _answer(subject), folding(subject)
    pictures = [_answer_figure(answer, downs)]
    words = [_INTRODUCTION]
    if downs:
        pictures += [_stages_figure(downs), _folding_figure(downs), _gratings_figure()]
    else:
        words.append("This net never samples its maps down, so it loses and folds nothing.")
    pictures += _boards(subject, answer)
    return section("Frequencies", paragraph(*words), grid(*pictures), *([_table(downs)] if downs else []))


_INTRODUCTION = (
    "Every image is a sum of waves, from coarse to fine. A grid of pixels can hold waves of at most half a cycle per "
    "pixel (the Nyquist limit); each pooling by 2 halves that. What is finer is lost on the way down, or folded "
    "(aliased): it comes back as a coarse wave that is not there. Only a skip can bring it to the decoder unharmed."
)


def percent(share: float) -> str:
    """A share in words, with two digits where it is small.

    >>> percent(0.4214), percent(0.0421), percent(0.00042), percent(1e-9), percent(0)
    ('42 %', '4.2 %', '0.042 %', 'under 0.001 %', '0 %')
    """
    value = 100 * share
    if 0 < value < 0.001:
        return "under 0.001 %"
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %" if value >= 1 else f"{value:.2g} %"


# --- what goes in and what comes out ---


@dataclass(frozen=True)
class _Answer:
    """Arrays (C, *spatial): the image and the logits; (*spatial): foreground's probability, truth, their difference."""

    image: np.ndarray
    logits: np.ndarray
    probability: np.ndarray
    truth: np.ndarray | None
    error: np.ndarray | None

    def named(self) -> dict[str, np.ndarray]:
        """Those that have a spectrum, by name."""
        rows = {"image": self.image, "truth": self.truth, "foreground": self.probability, "error": self.error}
        return {name: array for name, array in rows.items() if array is not None}


def _answer(subject: Inspection) -> _Answer:
    logits = subject.logits()[0]
    pair = cat([zeros_like(logits), logits]) if len(logits) == 1 else logits  # a sigmoid is a softmax with 0
    probability = 1 - pair.softmax(0)[0].numpy()
    given = subject.truth  # of a mask as large as the image; else of its middle
    if given is not None and given.shape != probability.shape:
        given = subject.output_truth if set(subject.graph.geometry.scale) == {1} else None
    is_known = None if given is None else given < 255
    truth = error = None
    if given is not None and is_known is not None and is_known.any():
        truth = ((given > 0) & is_known).astype(np.float64)
        error = np.where(is_known, probability - truth, 0.0)
    shown = logits - logits.mean(0) if len(logits) > 1 else logits  # what all classes share, no softmax sees
    return _Answer(subject.image[0].numpy(), shown.numpy(), probability, truth, error)


def _answer_figure(answer: _Answer, downs: Sequence[Folding]) -> Html:
    ndim = answer.probability.ndim
    found = {name: radial_spectrum(array, ndim=ndim) for name, array in answer.named().items()}
    unit = found.get("truth", found["foreground"]).energy
    lines = [Line(name, one, unit=None if name == "image" else unit) for name, one in found.items()]
    limits = list(dict.fromkeys(one.limit for one in downs))
    words = _shares(answer, downs) + (_follows(found["truth"], found["error"]) if "error" in found else "")
    picture = draw_spectra(lines, limits=limits)
    return figure(Html(svg(picture, label="spectra of image and mask")), words, title="Image, mask and error")


def _shares(answer: _Answer, downs: Sequence[Folding]) -> str:
    """How much of each lies beyond the first pooling."""
    names = {"image": "the image", "truth": "the truth", "foreground": "the foreground's probability"}
    ndim = answer.probability.ndim
    limits = (
        [1 / (2 * s * d) for s, d in zip(downs[0].strides, downs[0].spacing, strict=True)] if downs else [0.25] * ndim
    )
    rows = [
        f"{percent(share_above(array, limits, ndim=ndim))} of the energy of {names.get(name, 'the error')}"
        for name, array in answer.named().items()
    ]
    what = "what no map below the first pooling can hold" if downs else "what a pooling by 2 could not hold"
    dashes = " Dashed: the limit of each pooling." if downs else ""
    limit = min(limits)
    return (
        f"Power over frequency, both logarithmic; fine waves are on the right.{dashes} Above {limit:.3g} cycles per "
        f"pixel (waves shorter than {1 / limit:.3g} px), {what}, lie {_listed(rows)}."
    )


def _follows(truth: Spectrum, error: Spectrum) -> str:
    """From which octave on the error holds more than half of the energy that the truth has there."""
    lost = None
    for k in range(1, 10):  # from fine to coarse, while the error is large
        energies = []
        for one in (truth, error):
            band = (one.frequencies > 2.0 ** -(k + 1)) & (one.frequencies <= (2.0**-k if k > 1 else 1))
            energies.append(float((one.power * one.modes)[band].sum()))
        if energies[1] <= _LOST * energies[0] or energies[0] == 0:
            break
        lost = 2.0 ** -(k + 1)
    if lost is None:
        return (
            " At all frequencies the error (probability minus truth) holds less than half of the truth's energy there."
        )
    return (
        f" From {lost:.2g} cycles per pixel on (waves shorter than {1 / lost:.0f} px) the error, probability minus "
        "truth, holds more than half of the truth's energy there: so fine, the mask does not follow the truth."
    )


def _listed(rows: Sequence[str]) -> str:
    return rows[0] if len(rows) == 1 else f"{', '.join(rows[:-1])} and {rows[-1]}"


# --- the way down ---


def _stages_figure(downs: Sequence[Folding]) -> Html:
    lines = [Line(one.stage, one.spectrum, limit=one.limit) for one in downs]
    rows = [f"{percent(one.above)} in {one.stage}" for one in downs]
    bare = [one.stage for one in downs if not one.has_skip]
    brought = (
        "Only the skips bring it to the decoder."
        if not bare
        else "No skip leaves any of these stages: it is gone."
        if len(bare) == len(downs)
        else f"Only the skips bring it to the decoder; none leaves {_listed(bare)}."
    )
    words = (
        "The last map of each stage on the way down, its power as a share of its own energy. The thick part is finer "
        f"than the next, coarser grid can hold: {_listed(rows)}. {brought}"
    )
    return figure(Html(svg(draw_spectra(lines), label="spectra of the stages")), words, title="Maps on the way down")


def _folding_figure(downs: Sequence[Folding]) -> Html:
    means = {name: float(np.mean([one.others[name] for one in downs])) for name in downs[0].others}
    own = float(np.mean([one.folded for one in downs]))
    best = min(means, key=lambda name: means[name])
    words = (
        "How much of the energy of each sampled-down map is folded, so shows as coarse waves what was fine. On average "
        f"over the stages this net's own way folds {percent(own)}; of the same maps plain striding would fold "
        f"{percent(means['plain striding'])}, max pooling {percent(means['max pooling'])}, average pooling "
        f"{percent(means['average pooling'])}, blur pooling {percent(means['blur pooling'])}. "
        + (f"Least is folded by {best}." if means[best] < own else "None of them folds less.")
    )
    return figure(Html(svg(draw_folding(downs), label="folded energy")), words, title="Folding (aliasing)")


@cache
def _gratings() -> tuple[tuple[str, Folded], ...]:
    """The same for every net."""
    return tuple((name, folded_energy(pool, _WAVES)) for name, pool in poolings((2, 2), channels=1).items())


def _gratings_figure() -> Html:
    rows = _gratings()
    left = [
        f"{name} leaves {percent(float(np.interp(_SHOWN, found.frequencies, found.energy)))}" for name, found in rows
    ]
    words = (
        "What poolings by 2 leave of gratings, waves of one known frequency, whatever the net. Above 1/4 cycles per "
        f"pixel all that is left is false: one of {_SHOWN} cycles per pixel can only appear at {0.5 - _SHOWN:.2g}. Of "
        f"its energy {_listed(left)}."
    )
    return figure(Html(svg(draw_gratings(rows, limit=0.25), label="gratings")), words, title="Poolings on test waves")


def _table(downs: Sequence[Folding]) -> Html:
    rows = [
        [
            one.stage,
            f"{one.channels} x {' x '.join(map(str, one.size))}",
            *(percent(share) for share in (one.above, one.folded, one.detail)),
        ]
        for one in downs
    ]
    head = ["sampled down from", "map", "too fine for the next grid", "folded by this net", "due to detail"]
    return Html(
        table(head, rows, caption="What each sampling-down does")
        + paragraph(
            "Due to detail: how much of the coarse map changes when all that is too fine for its grid is removed from "
            "the fine one first; with a maximum that is not folding alone, as strong detail raises it everywhere."
        )
    )


# --- checkerboards ---


def _boards(subject: Inspection, answer: _Answer) -> list[Html]:
    pictures, rows = [], _measured(answer)
    if rows:
        words = _board_words(rows["image"], rows["logits"])
        picture = Html(svg(draw_boards(list(rows.items())), label="checkerboards"))
        pictures.append(figure(picture, words, title="Checkerboards in the answer"))
    found = constant_answer(subject)
    if found is not None and _repeating(found) > _SEEN * _spread(answer.logits) > 0:
        picture = Html(svg(draw_pattern(found), label="the net's own pattern"))
        pictures.append(figure(picture, _pattern_words(found, answer), title="The answer to an even image"))
    return pictures


def _measured(answer: _Answer) -> dict[str, Checkerboard]:
    """Of image and logits; of thin volumes plane by plane; empty where the answer is smaller than 8 pixels."""
    sizes = answer.probability.shape
    ndim = len(sizes) if min(sizes) >= 8 else 2
    if min(sizes[-ndim:]) < 8:
        return {}
    return {"image": checkerboard(answer.image, ndim=ndim), "logits": checkerboard(answer.logits, ndim=ndim)}


def _board_words(image: Checkerboard, logits: Checkerboard) -> str:
    more = [p for p, a, b in zip(image.periods, image.shares, logits.shares, strict=True) if b > 2 * a and b > 1e-5]
    rows = [
        f"{percent(b)} (image {percent(a)}) every {p} px"
        for p, a, b in zip(image.periods, image.shares, logits.shares, strict=True)
    ]
    verdict = (
        f"That is more than twice the image's share at {_listed([f'{p} px' for p in more])}: sampling down and up "
        "leaves a trace."
        if more
        else "None is more than twice the image's own share: there is no sign of a checkerboard."
    )
    return f"Energy of the logits that repeats exactly from the first to the last pixel: {_listed(rows)}. {verdict}"


def _spread(maps: np.ndarray) -> float:
    """Standard deviation over space, of all maps together."""
    return float(np.sqrt(maps.var(axis=tuple(range(1, maps.ndim))).mean()))


def _repeating(found: Pattern) -> float:
    return float(np.linalg.norm(found.board.amplitudes))


def _pattern_words(found: Pattern, answer: _Answer) -> str:
    strength, whole = _repeating(found), _spread(answer.logits)
    strongest = found.board.periods[int(np.argmax(found.board.amplitudes))]
    if found.is_clear:
        where = "away from all borders, where a net that treats all places alike would say one thing"
        why = "The pattern is made by its up-sampling: on the way down an even image stays even."
    else:
        where = "in the middle"
        why = "The image is too small, or the net too large, to keep all borders out: they have a part in it."
    return (
        f"What the net says of an image without any structure, {where}. {why} What repeats varies by {strength:.2g} "
        f"logits (standard deviation), {percent(strength / whole)} of what they vary by over the image; most of it "
        f"repeats every {strongest} px."
    )
