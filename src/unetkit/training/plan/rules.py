"""The numbered rules by which a plan is derived from the data and the budget, each with its reason and source.

The user gives data and a budget; each value is chosen by one rule, and a setting takes the place of any choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf, prod
from statistics import median_low
from typing import Any

import torch
from pydantic import ValidationError

from ...data.dataset import Dataset
from ...data.split import EVEN
from ...labels.kind import LabelKind
from ...labels.options import classes_text
from ...model.card import Card
from ...nets.architecture import Architecture
from ...processors import UNTRIED_DEVICES
from .context import Choice, PlanContext
from .device import check_device, usual_precision, usual_threads, why_precision
from .fingerprint import line_width, mirrored_axes, orientation
from .net import choose_net, fitting_patch, per_axis, sides_of_patch, usual_patch
from .plan import GROUPS, Plan
from .settings import PlanSettings, check_settings, first_error, flat_settings, nested

__all__ = ["RULES", "for_all_images", "make_plan"]

_UNEQUAL = 16  # times the labelled pixels of a usual image, from which one is drawn more often
_THIN = 2.0  # pixels of half a width up to which a line is thin
_HELD_OUT = 24  # images that are enough to validate on
_APART = 8.0  # pixels between planes above which neighbours say little


# 1. Device: what the machine has.
def choose_device(context: PlanContext) -> dict[str, Choice]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {"device.name": Choice(device, "the fastest device of this machine")}


# 2. Precision of the training's convolutions, a fixed fact of a machine, so that runs by steps stay the same:
#    bfloat16 where it is multiplied. On a CPU with AMX that is 1.5 to 2 times as many steps, and five minutes of
#    nuclei then give a mean AP of 0.555, not 0.545, of vnc_em a mean Dice of 0.817, not 0.786 (one seed each).
#    Weights, their average, the loss, validation and inference are float32 everywhere.
def choose_precision(context: PlanContext) -> dict[str, Choice]:
    device = context.value("device.name")
    check_device(device)
    choices = {"device.precision": Choice(usual_precision(device), why_precision(device))}
    if device in UNTRIED_DEVICES:
        choices["device.compile"] = Choice("no", why_precision(device))
        for path, choice in choices.items():
            if (asked := context.settings.get(path, choice.value)) != choice.value:
                raise ValueError(f"{path} is {asked}, but on {device} training is in float32 and not compiled")
    return choices


# 3. Budget: seconds or steps, one of them.
def _check_budget(time_s: float | None, steps: int | None) -> None:
    if (time_s is None) == (steps is None):
        raise ValueError("give one budget: a time, such as --time 10m, or a number of steps, such as --steps 2000")
    budget = steps if time_s is None else time_s
    if budget is None or not budget > 0:
        raise ValueError(f"the budget is {budget}; expected more than 0")


# 4. Planes: volumes are a 3D net's, but for stacks of sections so far apart that the next one says little of this
#    one: there a 2D net has more levels and larger patches for the same time (vnc_em, 11 : 1, 15 minutes, mean Dice
#    of five classes: 2D 0.841, 2.5D of three planes 0.832, 3D 0.792).
def choose_planes(context: PlanContext) -> dict[str, Choice]:
    if context.init_from is not None:
        planes = context.init_from.planes
        return {"data.planes": Choice(planes, "those of the model that training starts from" if planes else "")}
    if context.dataset.ndim == 2:
        return {"data.planes": Choice(None, "")}
    spacing = context.dataset.spacing
    step = spacing[0] / max(spacing[1:])
    if step > _APART:
        why = f"planes are {step:.3g} pixels apart, more than {_APART:g}: a 2D net sees each by itself"
        return {"data.planes": Choice(1, f"{why}; 3 show its neighbours")}
    why = "a 3D net; --planes 3 would train a 2D one on 3 adjacent planes at a time"
    return {"data.planes": Choice(None, why)}


# 5. Resampling: images of other pixel sizes become alike, so that objects have one size; those to come as well.
def choose_resampling(context: PlanContext) -> dict[str, Choice]:
    dataset = context.dataset
    if dataset.unit == "px":
        return {"data.resample": Choice(True, "")}
    why = "all pixels are of one size; new images of another are brought to it"
    if dataset.n_resampled:
        why = f"{dataset.n_resampled} of {len(dataset.cases)} images have pixels of another size than the median"
    return {"data.resample": Choice(True, why)}


# 8. Patch: these sides, in sizes that fit the net. On a CPU at most 128 in 2D, for three times the steps, where one
#    thing is told from its background (nuclei, five minutes: Dice 0.934 and AP50 0.776 with 128, 0.929 and 0.738
#    with 256; twenty: 0.946 and 0.836, 0.941 and 0.812), and for a quick look. Several classes are told apart by
#    what lies around them (vnc_em, twenty minutes, mean Dice of five: 0.826 with 128, 0.842 with 256), and a valid
#    net needs its margin.
def choose_patch(context: PlanContext) -> dict[str, Choice]:
    architecture: Architecture = context.value("net.architecture")
    kind, is_flat = context.dataset.kind, architecture.ndim == 2 and architecture.padding == "same"
    is_one_thing = kind.has_distance or kind.n_classes == 2
    sides, reason = sides_of_patch(context)
    if is_flat and not context.is_large and (context.is_quick or is_one_thing):
        sides, reason = sides_of_patch(context, most=128)
        why = "a quick look" if context.is_quick else "one thing on its background"
        reason += f": {why} needs steps more than context"
    return {"patches.size": Choice(usual_patch(architecture, sides), reason)}


# 9. Batch: 4 patches; gradients are steady enough, and steps are many. 2 of volumes where 4 are too many voxels,
#    and up to 16 of small planes, which are alike within a volume.
def choose_batch(context: PlanContext) -> dict[str, Choice]:
    ndim, voxels = context.fingerprint.ndim, context.voxels
    size = prod(per_axis(context.value("patches.size"), ndim))
    if ndim == 3 and 4 * size > voxels:
        return {"patches.batch": Choice(2, f"4 such patches are more than {voxels} voxels")}
    n, pixels = 4, voxels // 4
    while context.planes is not None and n < 16 and 2 * n * size <= pixels:
        n *= 2
    why = "steady gradients at many steps" if n == 4 else f"small planes: at most 16, and {pixels} pixels"
    return {"patches.batch": Choice(n, why)}


#     Draw: as many patches of each image, unless one has far more labels than is usual: a slide beside crops would be
#     learned from as little as a crop.
def choose_draw(context: PlanContext) -> dict[str, Choice]:
    pixels = [case.n_labelled for case in context.dataset.cases]
    ratio = max(pixels) / max(median_low(pixels), 1)
    if ratio < _UNEQUAL:
        return {"patches.draw": Choice("images", "")}
    why = (
        f"the largest has {ratio:.0f} times the labelled pixels that are usual: each is drawn in proportion to its own"
    )
    return {"patches.draw": Choice("labelled", why)}


# 10. Augmentation: everything, but for images that are all turned the same way: left is then not right.
def choose_augmentation(context: PlanContext) -> dict[str, Choice]:
    dataset = context.dataset
    why = "the files say how the body lies" if dataset.is_oriented else orientation(dataset)
    if why is None:
        return {"patches.augmentation": Choice("full", "flips, turns, scale, elastic, gray values")}
    return {"patches.augmentation": Choice("oriented", f"{why}: turns of at most 30 degrees")}


# Of oriented images those axes are flipped along which no class leans to one side.
def choose_flips(context: PlanContext) -> dict[str, Choice]:
    kind = context.value("patches.augmentation")
    if kind != "oriented":
        if "patches.flip_axes" in context.settings:
            raise ValueError(f"patches.flip_axes is of oriented images, but patches.augmentation is {kind!r}")
        return {"patches.flip_axes": Choice((), "")}
    free = mirrored_axes(context.dataset)[-context.fingerprint.ndim :]
    why = "along these axes no class" if any(free) else "along every axis some class"
    return {"patches.flip_axes": Choice(free if any(free) else (), f"{why} lies on a side of its own")}


# 11. Deep supervision: where a net has a head on every depth, as each is to be good by itself.
def choose_supervision(context: PlanContext) -> dict[str, Choice]:
    is_deep = context.value("net.architecture").heads == "all"
    why = "a loss on every head" if is_deep else "one loss, on the output"
    return {"net.deep_supervision": Choice(is_deep, why)}


# 12. Loss: cross-entropy and Dice. On synthetic lines (400 steps, two seeds) clDice gave fewer pieces (1.22, 1.27
#     per true one, not 1.49, 1.41) and a lower Dice (0.893, 0.902, not 0.904, 0.905); on dots of 0.1 % of the
#     pixels Tversky and focal losses were no better (benchmarks/README.md). So these are the user's to ask for.
def choose_loss(context: PlanContext) -> dict[str, Choice]:
    width, why = inf if context.dataset.kind.has_distance else line_width(context.dataset), "cross-entropy and Dice"
    if width <= _THIN:
        why = f"lines of {2 * width:.2g} pixels' width: optim.loss=cldice keeps them in fewer pieces, at a little Dice"
    return {"optim.loss": Choice("dice", why)}


# 13. Validation: a fifth, which of many images is more than thresholds and scores need: there 24, or a twentieth.
def choose_validation(context: PlanContext) -> dict[str, Choice]:
    return {"data.validation_fraction": _held_out(len(context.dataset.cases))}


def _held_out(n: int) -> Choice:
    if n * 0.2 <= _HELD_OUT:
        return Choice(0.2, "a fifth held out, by group where given")
    why = f"about {max(_HELD_OUT, round(n * 0.05))} of {n} held out, by group where given"
    return Choice(max(_HELD_OUT / n, 0.05), why)


# 14. Learning rate: AdamW 2e-3 with warm-up and cosine for nets with batch norm; 3e-4 without any norm, and for
#     pretrained weights, which large steps would undo.
def choose_learning_rate(context: PlanContext) -> dict[str, Choice]:
    is_plain, is_pretrained = _is_plain(context), _is_pretrained(context)
    why = "AdamW, warm-up" + " and cosine" * (not _overfits(context))
    why += ", no norm" * is_plain + ", pretrained" * is_pretrained
    return {"optim.learning_rate": Choice(3e-4 if is_plain or is_pretrained else 2e-3, why)}


def _is_plain(context: PlanContext) -> bool:
    return bool(context.value("net.architecture").norm == "none")


def _is_pretrained(context: PlanContext) -> bool:
    return context.init_from is not None or context.value("net.encoder_weights") not in (None, "none")


def _overfits(context: PlanContext) -> bool:
    """Volumes without any mirroring, by a net that learns them from scratch."""
    kind, flips = context.value("patches.augmentation"), context.value("patches.flip_axes")
    is_mirrored = kind == "full" or (kind == "oriented" and any(flips))
    is_volume = context.fingerprint.ndim == 3
    return is_volume and not (is_mirrored or _is_plain(context) or _is_pretrained(context))


# 15. End: a hundredth of that rate, and weights averaged over about the last twentieth of the steps. Without
#     mirroring, small volume sets overfit quickly: there a rate that stays, decay that keeps the weights small and
#     so its steps large, and a longer average may predict new ones better (hippocampus, twenty minutes: 0.875, not
#     0.867, on one fifth; on another, by as many steps, 0.886 both; benchmarks/README.md).
def choose_end(context: PlanContext) -> dict[str, Choice]:
    if _overfits(context):
        why = "without mirroring, small volume sets overfit quickly"
        rate, share, decay = 1.0, 0.3, 0.5
        whys = f"{why}, so it stays", f"{why}, so for longer", f"{why}, and small weights keep steps large"
    else:
        rate, share, decay = 0.01, 0.05, 0.01
        whys = "small steps settle the net", "the last ones", "that of AdamW"
    return {
        "optim.final_lr_fraction": Choice(rate, f"share of the learning rate at the end: {whys[0]}"),
        "optim.ema_share": Choice(share, f"weights averaged over about this share of the steps: {whys[1]}"),
        "optim.weight_decay": Choice(decay, f"of the weights, by AdamW: {whys[2]}"),
    }


RULES: tuple[Callable[[PlanContext], dict[str, Choice]], ...] = (
    choose_device,
    choose_precision,
    choose_planes,
    choose_resampling,
    choose_net,
    choose_patch,
    choose_batch,
    choose_draw,
    choose_augmentation,
    choose_flips,
    choose_supervision,
    choose_loss,
    choose_validation,
    choose_learning_rate,
    choose_end,
)


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
    """Derive a plan from the data and the budget, by `RULES`.

    Parameters
    ----------
    dataset : Dataset
    images, masks : str
        Where the data came from; kept in the plan.
    time_s, steps
        The budget: one of the two, here or in the settings.
    seed : int
    settings : PlanSettings, optional
        Values that take the place of those that the rules choose.
    init_from : Card, optional
        Of the model that training starts from, whose architecture is taken.

    Raises
    ------
    ValueError
        If there is no budget or two, a name is unknown, or a value is not possible.
    ImportError
        If `net.encoder` is set and timm is not installed.
    """
    asked = flat_settings(check_settings(settings or {}))
    time_s, steps = asked.get("budget.time_s", time_s), asked.get("budget.steps", steps)
    _check_budget(time_s, steps)
    context = PlanContext(dataset, time_s, asked, init_from)
    for rule in RULES:
        choices = {
            path: Choice(context.settings[path], "set") if path in context.settings else choice
            for path, choice in rule(context).items()
        }
        context = replace(context, choices={**context.choices, **choices})
    architecture, batch = context.value("net.architecture"), context.value("patches.batch")
    values = {path: choice.value for path, choice in context.choices.items()} | dict(context.settings)
    values |= {
        "budget.time_s": time_s,
        "budget.steps": steps,
        "budget.seed": asked.get("budget.seed", seed),
        "budget.threads": usual_threads(),
        "data.images": images,
        "data.masks": masks,
        "data.planes": context.planes,
        "data.spacing": context.fingerprint.spacing if context.fingerprint.ndim == 3 else (),
        "data.n_images": len(dataset.cases),
        "data.split_rule": EVEN,
        "net.architecture": architecture.to_dict(),  # has the widths, block, skip ...
        "patches.size": fitting_patch(architecture, context.value("patches.size"), batch),
    }
    values |= _stated_labels(dataset.kind, asked)
    known = {f"{group}.{name}" for group, model in GROUPS.items() for name in model.model_fields}
    reasons = {path: choice.reason for path, choice in context.choices.items() if choice.reason}
    try:
        groups = nested((path, value) for path, value in values.items() if path in known)
        return Plan.model_validate(groups | {"reasons": reasons})
    except ValidationError as error:
        raise ValueError(first_error(error)) from None


def for_all_images(plan: Plan, n: int) -> Plan:
    """A plan that was derived from a sample, for the `n` images that it is of."""
    changes: dict[str, Any] = {"n_images": n}
    reasons = dict(plan.reasons)
    if reasons.get("data.validation_fraction") != "set":
        choice = _held_out(n)
        changes["validation_fraction"], reasons["data.validation_fraction"] = choice.value, choice.reason
    return plan.model_copy(update={"data": plan.data.model_copy(update=changes), "reasons": reasons})


def _stated_labels(kind: LabelKind, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Classes that files name, so that a resume means the same by them whatever these files say by then."""
    if not kind.names:
        return {}
    classes = classes_text(zip(kind.values, kind.names, strict=True))
    ignore = "none" if kind.ignore is None else kind.ignore
    stated = {"data.classes": classes, "data.ignore": ignore}
    return {path: value for path, value in stated.items() if asked.get(path) in (None, "", "auto")}
