"""The section on frequencies: spectra of image and prediction, aliasing by pooling, checkerboards of up-sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from torch import cat, zeros_like

from ...insight.frequency.aliasing import (
    Aliasing,
    GratingResponse,
    draw_aliasing,
    draw_gratings,
    grating_response,
    measure_aliasing,
    poolings,
)
from ...insight.frequency.checkerboard import CheckerboardArtefact, constant_response, draw_artefact
from ...insight.frequency.spectra import (
    Line,
    PeriodicEnergy,
    Spectrum,
    draw_periodic_energy,
    draw_spectra,
    periodic_energy,
    radial_spectrum,
    share_above,
)
from ...insight.inspection import Inspection
from ...plotting.html import Html, figure, grid, paragraph, section, table
from ...plotting.matplotlib_style import svg

__all__ = ["frequencies_section", "percent"]

_WAVES = np.linspace(0.012, 0.488, 69)  # cycles per pixel, of the gratings
_EXAMPLE = 0.4  # of these, the one that the text names
_LOST = 0.5  # energy of the error over that of the truth above which a prediction does not follow the truth
_LEAST_ARTEFACT = 1e-4  # as a share of the logits' deviation; weaker ones get no picture


def frequencies_section(inspection: Inspection) -> Html:
    """Spectra of image, prediction and maps; losses and aliasing in the contracting path; checkerboards."""
    prediction, downs = _predict(inspection), measure_aliasing(inspection)
    pictures, words = [_prediction_figure(prediction, downs)], [_INTRODUCTION]
    if downs:
        pictures += [_stages_figure(downs), _aliasing_figure(downs), _gratings_figure()]
    else:
        words.append("This net has no down-sampling, so no detail is lost or aliased.")
    pictures += _checkerboard_figures(inspection, prediction)
    return section("Frequencies", paragraph(*words), grid(*pictures), *([_table(downs)] if downs else []))


_INTRODUCTION = (
    "Every image is a sum of waves, from coarse to fine. A grid of pixels can represent waves of at most half a cycle "
    "per pixel (the Nyquist limit); each pooling by 2 halves that. Finer detail is lost in pooling or aliased: it "
    "appears as a coarse wave that the image does not contain. Only a skip can carry it to the decoder unchanged."
)


def percent(share: float) -> str:
    """A share as text, with two digits if it is small.

    >>> percent(0.4214), percent(0.0421), percent(0.00042), percent(1e-9), percent(0)
    ('42 %', '4.2 %', '0.042 %', 'under 0.001 %', '0 %')
    """
    value = 100 * share
    if 0 < value < 0.001:
        return "under 0.001 %"
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %" if value >= 1 else f"{value:.2g} %"


# --- image and prediction ---


@dataclass(frozen=True)
class _Prediction:
    """Arrays (C, *spatial): image and logits; (*spatial): probability of the foreground, truth, their difference."""

    image: np.ndarray
    logits: np.ndarray
    probability: np.ndarray
    truth: np.ndarray | None
    error: np.ndarray | None

    def named(self) -> dict[str, np.ndarray]:
        """The arrays with a spectrum, by name."""
        rows = {"image": self.image, "truth": self.truth, "foreground": self.probability, "error": self.error}
        return {name: array for name, array in rows.items() if array is not None}


def _predict(inspection: Inspection) -> _Prediction:
    logits = inspection.logits()[0]
    pair = cat([zeros_like(logits), logits]) if len(logits) == 1 else logits  # a sigmoid is a softmax with 0
    probability = 1 - pair.softmax(0)[0].numpy()
    classes = inspection.truth  # of a mask as large as the image; else of its middle
    if classes is not None and classes.shape != probability.shape:
        classes = inspection.output_truth if set(inspection.graph.geometry.scale) == {1} else None
    truth = error = None
    if classes is not None and (is_labelled := classes < 255).any():
        truth = ((classes > 0) & is_labelled).astype(np.float64)
        error = np.where(is_labelled, probability - truth, 0.0)
    centred = logits - logits.mean(0) if len(logits) > 1 else logits  # no softmax depends on the mean of all classes
    return _Prediction(inspection.image[0].numpy(), centred.numpy(), probability, truth, error)


def _prediction_figure(prediction: _Prediction, downs: Sequence[Aliasing]) -> Html:
    ndim = prediction.probability.ndim
    spectra = {name: radial_spectrum(array, ndim=ndim) for name, array in prediction.named().items()}
    unit = spectra.get("truth", spectra["foreground"]).energy
    lines = [Line(name, spectrum, unit=None if name == "image" else unit) for name, spectrum in spectra.items()]
    limits = list(dict.fromkeys(down.limit for down in downs))
    words = _describe_shares(prediction, downs)
    words += _describe_error(spectra["truth"], spectra["error"]) if "error" in spectra else ""
    picture = draw_spectra(lines, limits=limits)
    return figure(svg(picture, label="spectra of image and mask"), words, title="Image, mask and error")


def _describe_shares(prediction: _Prediction, downs: Sequence[Aliasing]) -> str:
    """The share of each array's energy above the limit of the first pooling."""
    names = {"image": "the image", "truth": "the truth", "foreground": "the foreground's probability"}
    ndim = prediction.probability.ndim
    limits = (
        [1 / (2 * s * d) for s, d in zip(downs[0].strides, downs[0].spacing, strict=True)] if downs else [0.25] * ndim
    )
    rows = [
        f"{percent(share_above(array, limits, ndim=ndim))} of the energy of {names.get(name, 'the error')}"
        for name, array in prediction.named().items()
    ]
    lost = "which no map below the first pooling can represent" if downs else "which a pooling by 2 could not represent"
    dashes = " Dashed: the limit of each pooling." if downs else ""
    limit = min(limits)
    return (
        f"Power over frequency, both logarithmic; fine waves are on the right.{dashes} Above {limit:.3g} cycles per "
        f"pixel (waves shorter than {1 / limit:.3g} px), {lost}, lie {_listed(rows)}."
    )


def _describe_error(truth: Spectrum, error: Spectrum) -> str:
    """The octave from which on the error has more than half of the energy of the truth."""
    lost = None
    for k in range(1, 10):  # from fine to coarse, while the error is large
        energies = []
        for x in (truth, error):
            band = (x.frequencies > 2.0 ** -(k + 1)) & (x.frequencies <= (2.0**-k if k > 1 else 1))
            energies.append(float((x.power * x.modes)[band].sum()))
        if energies[1] <= _LOST * energies[0] or energies[0] == 0:
            break
        lost = 2.0 ** -(k + 1)
    if lost is None:
        return " At all frequencies the error (probability minus truth) has less than half of the truth's energy there."
    return (
        f" From {lost:.2g} cycles per pixel on (waves shorter than {1 / lost:.0f} px) the error, probability minus "
        "truth, has more than half of the truth's energy there: at this scale, the mask does not follow the truth."
    )


def _listed(rows: Sequence[str]) -> str:
    return rows[0] if len(rows) == 1 else f"{', '.join(rows[:-1])} and {rows[-1]}"


# --- down-sampling ---


def _stages_figure(downs: Sequence[Aliasing]) -> Html:
    lines = [Line(down.stage, down.spectrum, limit=down.limit) for down in downs]
    rows = [f"{percent(down.above)} in {down.stage}" for down in downs]
    without = [down.stage for down in downs if not down.has_skip]
    carried = (
        "Only the skips carry it to the decoder."
        if not without
        else "None of these stages has a skip: it is lost."
        if len(without) == len(downs)
        else f"Only the skips carry it to the decoder; there is none from {_listed(without)}."
    )
    words = (
        "Spectrum of the last map of each stage of the contracting path, as a share of its own energy. The thick part "
        f"is too fine for the next, coarser grid: {_listed(rows)}. {carried}"
    )
    return figure(svg(draw_spectra(lines), label="spectra of the stages"), words, title="Maps, contracting path")


def _aliasing_figure(downs: Sequence[Aliasing]) -> Html:
    means = {name: float(np.mean([down.others[name] for down in downs])) for name in downs[0].others}
    own = float(np.mean([down.aliased for down in downs]))
    best = min(means, key=lambda name: means[name])
    words = (
        "Share of the energy of each down-sampled map that is aliased: fine detail that appears as coarse waves. On "
        f"average over the stages it is {percent(own)} for this net's own down-sampling; for the same maps it would be "
        f"{percent(means['plain striding'])} for plain striding, {percent(means['max pooling'])} for max pooling, "
        f"{percent(means['average pooling'])} for average pooling, {percent(means['blur pooling'])} for blur pooling. "
        + (f"The lowest share has {best}." if means[best] < own else "None of them has a lower share.")
    )
    return figure(svg(draw_aliasing(downs), label="aliased energy"), words, title="Aliasing")


@cache  # the same for every net
def _gratings() -> tuple[tuple[str, GratingResponse], ...]:
    return tuple((name, grating_response(pool, _WAVES)) for name, pool in poolings((2, 2), channels=1).items())


def _gratings_figure() -> Html:
    left = [
        f"{name} keeps {percent(float(np.interp(_EXAMPLE, response.frequencies, response.energy)))}"
        for name, response in _gratings()
    ]
    words = (
        "Response of poolings by 2 to gratings, waves of one known frequency, for any net. Above 1/4 cycles per pixel "
        f"all of it is false: a grating of {_EXAMPLE} cycles per pixel can only appear at {0.5 - _EXAMPLE:.2g}. Of its "
        f"energy {_listed(left)}."
    )
    drawing = svg(draw_gratings(_gratings(), limit=0.25), label="gratings")
    return figure(drawing, words, title="Poolings of test waves")


def _table(downs: Sequence[Aliasing]) -> Html:
    rows = [
        [
            down.stage,
            f"{down.channels} x {' x '.join(map(str, down.size))}",
            *(percent(share) for share in (down.above, down.aliased, down.detail)),
        ]
        for down in downs
    ]
    head = ["down-sampled from", "map", "too fine for the next grid", "aliased by this net", "due to detail"]
    return Html(
        table(head, rows, caption="Down-sampling layers")
        + paragraph(
            "Due to detail: change of the coarse map when all detail too fine for its grid is removed from the fine "
            "map first; with max pooling that is not aliasing alone, since strong detail raises the maximum everywhere."
        )
    )


# --- checkerboards ---


def _checkerboard_figures(inspection: Inspection, prediction: _Prediction) -> list[Html]:
    pictures = []
    sizes = prediction.probability.shape
    ndim = len(sizes) if min(sizes) >= 8 else 2  # thin volumes plane by plane
    if min(sizes[-ndim:]) >= 8:
        image, logits = (periodic_energy(array, ndim=ndim) for array in (prediction.image, prediction.logits))
        drawing = svg(draw_periodic_energy([("image", image), ("logits", logits)]), label="checkerboards")
        pictures.append(figure(drawing, _describe_periods(image, logits), title="Checkerboards in the prediction"))
    artefact = constant_response(inspection)
    maps = prediction.logits
    deviation = float(np.sqrt(maps.var(axis=tuple(range(1, maps.ndim))).mean()))  # over space
    if artefact is not None:
        strength = float(np.linalg.norm(artefact.periodic.amplitudes))
        if strength > _LEAST_ARTEFACT * deviation > 0:
            drawing = svg(draw_artefact(artefact), label="checkerboard artefact of the net")
            words = _describe_artefact(artefact, strength, deviation)
            pictures.append(figure(drawing, words, title="Response to a constant image"))
    return pictures


def _describe_periods(image: PeriodicEnergy, logits: PeriodicEnergy) -> str:
    pairs = list(zip(image.periods, image.shares, logits.shares, strict=True))
    more = [f"{period} px" for period, a, b in pairs if b > 2 * a and b > 1e-5]
    rows = [f"{percent(b)} (image {percent(a)}) every {period} px" for period, a, b in pairs]
    verdict = (
        f"At {_listed(more)} it is more than twice the image's share: an artefact of down- and up-sampling."
        if more
        else "None is more than twice the image's own share: there is no sign of a checkerboard."
    )
    return f"Energy of the logits that repeats exactly from the first to the last pixel: {_listed(rows)}. {verdict}"


def _describe_artefact(artefact: CheckerboardArtefact, strength: float, deviation: float) -> str:
    strongest = artefact.periodic.periods[int(np.argmax(artefact.periodic.amplitudes))]
    if artefact.is_clear:
        place = "away from all borders, where a shift-equivariant net would give a constant"
        cause = "The pattern is caused by its up-sampling: in the contracting path a constant image stays constant."
    else:
        place = "in the middle"
        cause = "The image is too small, or the net too large, to exclude all borders: they contribute to the pattern."
    return (
        f"Response of the net to an image without any structure, {place}. {cause} The periodic part has a standard "
        f"deviation of {strength:.2g} logits, {percent(strength / deviation)} of that over the inspected image; most "
        f"of it repeats every {strongest} px."
    )
