"""The numbered rules by which a plan is derived from the data and the budget, each with its reason and source.

The user gives data and a budget; each value below is set by one rule, and any of them can be overridden by name.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from ...data.dataset import Dataset
from ...model.card import Card
from ...nets.architecture import Architecture
from .device import check_device, usual_precision, usual_threads, why_precision
from .fingerprint import Fingerprint, fingerprint, patches_per_batch, sides_in_2d, sides_in_3d
from .net import choose_net, finetune_net, fitting_patch, per_axis, usual_patch
from .plan import AugmentationKind, Plan
from .settings import OLD_NAMES, PlanSettings, check_settings, first_error
from .shapes import line_width, mirrored_axes, orientation

__all__ = ["make_plan"]

# Channels per level of the default net, finest first: (up to 3 hours on a CPU, more than that or a GPU).
_WIDTHS = {
    2: ((16, 32, 64, 128, 256), (32, 64, 128, 256, 512)),
    3: ((16, 32, 64, 128), (32, 64, 128, 256, 320)),
}
_THIN = 2.0  # pixels of half a width up to which a line is thin
_HELD_OUT = 24  # images that are enough to validate on
_APART = 8.0  # pixels between planes above which neighbours say little


def make_plan(
    dataset: Dataset,
    *,
    images: str = "",
    masks: str | None = None,
    time_s: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    settings: PlanSettings | None = None,
    init_from: Card | None = None,
) -> Plan:
    """Derive a plan from the data and the budget.

    Parameters
    ----------
    dataset : Dataset
    images, masks : str
        Where the data came from; kept in the plan.
    time_s, steps
        The budget: one of the two.
    seed : int
    settings : PlanSettings, optional
        Values that take the place of those of the rules.
    init_from : Card, optional
        Of the model that training starts from, whose architecture is taken.

    Raises
    ------
    ValueError
        If there is no budget or two, a name is unknown, or a value is not possible.
    ImportError
        If `net.encoder` is set and timm is not installed.
    """
    old_names = {path: old for old, path in OLD_NAMES.items()}
    given: dict[str, Any] = {
        old_names[f"{group}.{name}"]: value
        for group, values in check_settings(settings or {}).items()
        for name, value in values.items()  # type: ignore[attr-defined]
    }
    given |= {
        "threads": usual_threads(),
        "time_s": time_s,
        "steps": steps,
        "seed": seed,
        "images": images,
        "masks": masks,
    }
    start, divide_width = init_from, given.pop("divide_width", None)
    rules = _Rules(given)
    machine = _of_machine(rules)
    device = machine["device"]
    short = time_s is not None and time_s < 300
    # 4. Planes: volumes are a 3D net's, but for stacks of sections so far apart that the next one says little of this
    #    one: there a 2D net has more levels and larger patches for the same time (vnc_em, 11 : 1, 15 minutes, mean Dice
    #    of five classes: 2D 0.841, 2.5D of three planes 0.832, 3D 0.792).
    is_given = "planes" in given or start is not None
    planes = given.pop("planes", _planes(dataset) if start is None else start.planes) or None  # 0: a 3D net
    if planes is not None or dataset.ndim == 3:
        rules.reasons["planes"] = "given" if is_given else _why_planes(dataset, planes)
    seen = fingerprint(dataset, planes)
    # 5. Resampling: images of other pixel sizes become alike, so that objects have one size; those to come as well.
    is_sized = dataset.unit != "px"
    resample = rules.derive("resample", True, _why_resample(dataset)) if is_sized else given.pop("resample", True)
    # 6. Sides of a patch: those of the typical image, in 2D at most 256. In 3D two patches may hold as many voxels as
    #    four of 256 x 256 have pixels (eight times that on a GPU, a quarter for a quick look): a whole image where it
    #    fits (hippocampus: 0.868 after five minutes and after twenty; patches of 32 x 48 x 32: 0.864 and 0.869), else
    #    its sides are shrunk, the physically longest first.
    voxels = (2**18 if device == "cpu" else 2**21) // (4 if short else 1)
    wide = device != "cpu" or (time_s or 0) > 3 * 3600
    default = _WIDTHS[seen.ndim][wide] if start is None else tuple(start.architecture["widths"])
    levels = len(given.get("widths", default))
    if seen.ndim == 2:
        sides, reason = sides_in_2d(seen, 256)
    else:
        sides, reason = sides_in_3d(seen, voxels // max(given.get("batch", 2), 1), levels)
    # 7. Net: that of the model that training starts from, or as many channels as the budget can train.
    if start is not None:
        net, weights, architecture = "unet", None, finetune_net(start, seen, given, divide_width)
        rules.reasons["start"] = "given: its architecture, and its weights where channels and classes are the same"
    else:
        net, weights, architecture = choose_net(given, rules.reasons, seen, sides, default, wide, divide_width)
    # 8. Patch: these sides, in sizes that fit the net. On a CPU at most 128 in 2D, for three times the steps, where one
    #    thing is told from its background (nuclei, five minutes: Dice 0.934 and AP50 0.776 with 128, 0.929 and 0.738
    #    with 256; twenty: 0.946 and 0.836, 0.941 and 0.812), and for a quick look. Several classes are told apart by
    #    what lies around them (vnc_em, twenty minutes, mean Dice of five: 0.826 with 128, 0.842 with 256), and a valid
    #    net needs its margin.
    is_one_thing = dataset.kind.has_distance or dataset.kind.n_classes == 2
    if seen.ndim == 2 and not wide and architecture.padding == "same" and (short or is_one_thing):
        sides, reason = sides_in_2d(seen, 128)
        reason += f": {'a quick look' if short else 'one thing on its background'} needs steps more than context"
    patch = rules.derive("patch", usual_patch(architecture, sides), reason)
    # 9. Batch: 4 patches; gradients are steady enough, and steps are many. 2 of volumes where 4 are too many voxels,
    #    and up to 16 of small planes, which are alike within a volume.
    batch, reason = patches_per_batch(prod(per_axis(patch, seen.ndim)), voxels, seen.ndim, planes)
    batch = rules.derive("batch", batch, reason)
    is_tuned = weights not in (None, "none") or start is not None
    training = _of_training(rules, dataset, seen, architecture, is_tuned)
    try:
        return _plan(
            net=net,
            divide_width=divide_width,
            weights=weights,
            architecture=architecture.to_dict(),
            patch=fitting_patch(architecture, patch, batch),
            batch=batch,
            planes=planes,
            spacing=seen.spacing if seen.ndim == 3 else (),
            resample=resample,
            n_images=len(dataset.cases),
            reasons=rules.reasons,
            **machine,
            **training,
            **given,
        )
    except ValidationError as error:
        raise ValueError(first_error(error)) from None


class _Rules:
    """What follows from rules, with the reason of each; what was given is taken instead."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.reasons: dict[str, str] = {}

    def derive(self, name: str, value: Any, reason: str) -> Any:
        """The value that was given, which is then used up, or this one."""
        self.reasons[name] = "given" if name in self.given else reason
        return self.given.pop(name, value)


def _of_machine(rules: _Rules) -> dict[str, Any]:
    """Rules 1 to 3."""
    # 1. Device: what the machine has.
    usual = "cuda" if torch.cuda.is_available() else "cpu"
    device = rules.derive("device", usual, "the fastest device of this machine")
    check_device(device)
    # 2. Precision of the training's convolutions, a fixed fact of a machine, so that runs by steps stay the same:
    #    bfloat16 where it is multiplied. On a CPU with AMX that is 1.5 to 2 times as many steps, and five minutes of
    #    nuclei then give a mean AP of 0.555, not 0.545, of vnc_em a mean Dice of 0.817, not 0.786 (one seed each).
    #    Weights, their average, the loss, validation and inference are float32 everywhere.
    precision = rules.derive("precision", usual_precision(device), why_precision(device))
    # 3. Budget: seconds or steps, one of them.
    time_s, steps = rules.given.pop("time_s", None), rules.given.pop("steps", None)
    if (time_s is None) == (steps is None):
        raise ValueError("give one budget: a time, such as --time 10m, or a number of steps, such as --steps 2000")
    budget = steps if time_s is None else time_s
    if not budget > 0:
        raise ValueError(f"the budget is {budget}; expected more than 0")
    return {"device": device, "precision": precision, "time_s": time_s, "steps": steps}


def _of_training(
    rules: _Rules, dataset: Dataset, seen: Fingerprint, architecture: Architecture, is_tuned: bool
) -> dict[str, Any]:
    """Rules 10 to 15."""
    # 10. Augmentation: everything, but for images that are all turned the same way: left is then not right.
    augmentation = rules.derive("augmentation", *_turns(dataset))
    flip: tuple[bool, ...] = ()
    if augmentation == "oriented":
        free = mirrored_axes(dataset)[-seen.ndim :]
        why = "along these axes no class" if any(free) else "along every axis some class"
        flip = rules.derive("flip", free if any(free) else (), f"{why} lies on a side of its own")
    # 11. Deep supervision: where a net has a head on every depth, as each is to be good by itself.
    deep = architecture.heads == "all"
    supervision = rules.derive("supervision", deep, "a loss on every head" if deep else "one loss, on the output")
    # 12. Loss: cross-entropy and Dice. On synthetic lines (400 steps, two seeds) clDice gave fewer pieces (1.22, 1.27
    #     per true one, not 1.49, 1.41) and a lower Dice (0.893, 0.902, not 0.904, 0.905); on dots of 0.1 % of the
    #     pixels Tversky and focal losses were no better (benchmarks/README.md). So these are the user's to ask for.
    loss = rules.derive("loss", "dice", _why_loss(dataset))
    # 13. Validation: a fifth, which of many images is more than thresholds and scores need: there 24, or a twentieth.
    validation = rules.derive("validation", *_validation(len(dataset.cases)))
    # 14. Learning rate: AdamW 2e-3 with warm-up and cosine for nets with batch norm; 3e-4 without any norm, and for
    #     pretrained weights, which large steps would undo.
    plain = architecture.norm == "none"
    never_mirrored = augmentation != "full" and not any(flip)
    is_by_heart = seen.ndim == 3 and never_mirrored and not (plain or is_tuned)
    why = "AdamW, warm-up" + " and cosine" * (not is_by_heart) + ", no norm" * plain + ", pretrained" * is_tuned
    rate = rules.derive("learning_rate", 3e-4 if plain or is_tuned else 2e-3, why)
    found = {"augmentation": augmentation, "flip": flip, "supervision": supervision, "loss": loss}
    return found | {"validation": validation, "learning_rate": rate, **_of_end(rules, is_by_heart)}


def _of_end(rules: _Rules, is_by_heart: bool) -> dict[str, float]:
    """Rule 15."""
    # 15. End: a hundredth of that rate, and weights averaged over about the last twentieth of the steps. Volumes that
    #     are never mirrored are soon known by heart: there a rate that stays, decay that keeps the weights small and so
    #     its steps large, and a longer average may predict new ones better (hippocampus, twenty minutes: 0.875, not
    #     0.867, on one fifth; on another, by as many steps, 0.886 both; benchmarks/README.md).
    if is_by_heart:
        why = "volumes that are never mirrored are soon known by heart"
        rate, share, decay = 1.0, 0.3, 0.5
        whys = f"{why}, so it stays", f"{why}, so for longer", f"{why}, and small weights keep steps large"
    else:
        rate, share, decay = 0.01, 0.05, 0.01
        whys = "small steps settle the net", "the last ones", "that of AdamW"
    return {
        "final_rate": rules.derive("final_rate", rate, f"share of the learning rate at the end: {whys[0]}"),
        "average": rules.derive("average", share, f"weights averaged over about this share of the steps: {whys[1]}"),
        "weight_decay": rules.derive("weight_decay", decay, f"of the weights, by AdamW: {whys[2]}"),
    }


def _turns(dataset: Dataset) -> tuple[AugmentationKind, str]:
    """How patches may be turned, and why."""
    why = "the files say how the body lies" if dataset.is_oriented else orientation(dataset)
    if why is not None:
        return "oriented", f"{why}: turns of at most 30 degrees"
    return "full", "flips, turns, scale, elastic, gray values"


def _validation(n: int) -> tuple[float, str]:
    """Share of the images that is held out, and why."""
    if n * 0.2 <= _HELD_OUT:
        return 0.2, "a fifth held out, by group where given"
    return max(_HELD_OUT / n, 0.05), f"about {max(_HELD_OUT, round(n * 0.05))} of {n} held out, by group where given"


def _why_loss(dataset: Dataset) -> str:
    width = np.inf if dataset.kind.has_distance else line_width(dataset)
    if width <= _THIN:
        return f"lines of {2 * width:.2g} pixels' width: --set loss=cldice keeps them in fewer pieces, at a little Dice"
    return "cross-entropy and Dice"


def _why_resample(dataset: Dataset) -> str:
    if dataset.n_resampled:
        return f"{dataset.n_resampled} of {len(dataset.cases)} images have pixels of another size than the median"
    return "all pixels are of one size; new images of another are brought to it"


def _planes(dataset: Dataset) -> int | None:
    """1 where planes are too far apart for a 3D net."""
    return 1 if dataset.ndim == 3 and dataset.spacing[0] > _APART * max(dataset.spacing[1:]) else None


def _why_planes(dataset: Dataset, planes: int | None) -> str:
    if planes is None:
        return "a 3D net; --planes 3 would train a 2D one on 3 adjacent planes at a time"
    step = dataset.spacing[0] / max(dataset.spacing[1:])
    return (
        f"planes are {step:.3g} pixels apart, more than {_APART:g}: a 2D net sees each by itself; 3 show its neighbours"
    )


def _plan(**flat: Any) -> Plan:
    nested: dict[str, Any] = {}
    for old, value in flat.items():
        group, _, name = OLD_NAMES.get(old, old).partition(".")
        if name:
            nested.setdefault(group, {})[name] = value
    reasons = {OLD_NAMES.get(old, old): reason for old, reason in flat["reasons"].items()}
    return Plan(**nested, reasons=reasons)
