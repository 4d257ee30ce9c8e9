"""What is made of the images that were held out, when a net is trained: scores, probabilities, objects, pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..data.dataset import Case
from ..labels.instances import decode, unpack_maps
from ..metrics.evaluation import Evaluation, evaluate_arrays
from ..metrics.objects import mean_object_score
from ..model.card import Card
from ..model.run_paths import RunPaths
from ..nets.net import Net
from .calibration import calibrate
from .preview import write_panel
from .state import predict_classes
from .thresholds import predict_codes, score_cases, tune_thresholds, usual_decoding

__all__ = ["Judgement", "find_objects", "judge", "write_pictures"]


@dataclass(frozen=True)
class Judgement:
    """How well a net does on what it has not learned from.

    Attributes
    ----------
    evaluation : Evaluation
    card : Card
        With the temperature and the decoding that suit these images.
    masks : tuple of ndarray
        What is predicted for every case: classes, or ids of objects.
    """

    evaluation: Evaluation
    card: Card
    masks: tuple[np.ndarray, ...]


def judge(net: Net, card: Card, cases: Sequence[Case], names: Sequence[str], say: Callable[[str], None]) -> Judgement:
    """Score a net, calibrate its probabilities, and tune how its maps become objects.

    Parameters
    ----------
    net : Net
    card : Card
    cases : sequence of Case
        Held out from its training.
    names : sequence of str
        Of the classes that are scored.
    say : callable
        Called with lines for the user.
    """
    masks = [predict_classes(net, case.image, planes=card.planes, has_distance=case.ids is not None) for case in cases]
    triples = ((case.name, mask, case.classes) for case, mask in zip(cases, masks, strict=True))
    evaluation = evaluate_arrays(triples, names)
    fit = calibrate(net, cases, planes=card.planes)
    before, after = f"{fit.error_before:.2%}", f"{fit.error_after:.2%}"
    say(f"probabilities: off by {before} on average, {after} at temperature {fit.temperature:.2f}, which is kept")
    card = card.model_copy(update={"temperature": fit.temperature})
    if not card.labels.has_distance:
        return Judgement(evaluation, card, tuple(masks))
    say(f"choosing how objects are told apart, on {len(cases)} held-out images: up to half a minute")
    codes = [predict_codes(net, case.image, planes=card.planes) for case in cases]
    found = find_objects(evaluation, card, cases, codes)
    say(found.evaluation.objects.describe() if found.evaluation.objects else "")
    return found


def find_objects(evaluation: Evaluation, card: Card, cases: Sequence[Case], codes: Sequence[np.ndarray]) -> Judgement:
    """Tune how a net's maps become objects, and add the scores of these to those of its pixels.

    Parameters
    ----------
    evaluation : Evaluation
        Of the pixels of the cases, in their order.
    card : Card
    cases : sequence of Case
    codes : sequence of ndarray
        Of `predict_codes`, one per case.
    """
    how = tune_thresholds(codes, cases, usual_decoding(cases))
    scores = score_cases(codes, cases, how)
    images = [replace(image, objects=one) for image, one in zip(evaluation.per_image, scores, strict=True)]
    evaluation = replace(evaluation, per_image=tuple(images), objects=mean_object_score(scores))
    ids = tuple(decode(*unpack_maps(code), how) for code in codes)
    return Judgement(evaluation, card.model_copy(update={"decoding": how}), ids)


def write_pictures(paths: RunPaths, found: Judgement, cases: Sequence[Case]) -> None:
    """The worst, the median and the best image, with truth, prediction and differences."""
    ranked = found.evaluation.ranked()
    shown = {case.name: (case, mask) for case, mask in zip(cases, found.masks, strict=True)}
    for label, place in (("worst", 0), ("median", len(ranked) // 2), ("best", -1)):
        if ranked:
            case, mask = shown[ranked[place].name]
            write_panel(paths.preview(label), case, mask)
