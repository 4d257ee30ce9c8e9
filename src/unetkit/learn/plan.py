"""The plan: every value that a training uses, derived in one place, with its rule and reason.

The user gives data and a budget. Each value below is set by a numbered rule; any of
them can be overridden by name, and the plan is printed and saved with the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..geometry import Geometry
from ..nets.architecture import Architecture
from ..nets.build import build
from ..nets.named import OURS, named
from ..nets.pretrained import encoder_shape
from .augment import Augmentation
from .checkpoint import Card
from .data import Dataset
from .patches import Seen, patch_sides, patches_per_batch, see
from .shapes import mirrored_axes, rarest_share, thinnest_line, way_up
from .volumes import pyramid

Compile = Literal["auto", "yes", "no"]
Precision = Literal["float32", "bfloat16"]
Loss = Literal["dice", "focal", "tversky", "generalised", "cldice"]
Turns = Literal["full", "oriented", "none"]

# Channels per level of the default net, finest first: (up to 3 hours on a CPU, more than that or a GPU).
_WIDTHS = {
    2: ((16, 32, 64, 128, 256), (32, 64, 128, 256, 512)),
    3: ((16, 32, 64, 128), (32, 64, 128, 256, 320)),
}

_THIN, _RARE = 2.0, 0.002  # pixels of half a width, and share of all pixels, up to which a class is thin or rare
_DICE = "cross-entropy and Dice: no class is very rare or thin"
_APART = 8.0  # pixels between planes above which neighbours say little


class Plan(BaseModel):
    """All values of a training. Saved as `plan.json`; times in seconds, sizes in pixels."""

    model_config = ConfigDict(extra="forbid")

    # What the user gave
    images: str = ""
    masks: str | None = None
    labels: str = "auto"
    time_s: float | None = None
    steps: int | None = None
    seed: int = Field(0, ge=0)
    net: str = "unet"
    divide_width: int | None = None
    weights: str | None = None
    start: str | None = None

    # What was derived
    architecture: dict[str, Any] = Field(default_factory=dict)
    patch: tuple[int, ...] = ()
    batch: int = Field(4, ge=1)
    planes: int | None = None
    augmentation: Turns = "full"
    flip: tuple[bool, ...] = ()
    spacing: tuple[float, ...] = ()
    validation: float = Field(0.2, ge=0, lt=1)
    fold: tuple[int, int] | None = None
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    warmup: float = Field(0.03, ge=0, lt=1)
    clip_norm: float = Field(5.0, gt=0)
    average: float = Field(0.05, ge=0)
    border_weight: bool = False
    supervision: bool = False
    loss: Loss = "dice"
    device: str = "cpu"
    precision: Precision = "float32"
    compile: Compile = "auto"
    n_images: int = 0
    reasons: dict[str, str] = Field(default_factory=dict)

    def describe(self) -> list[tuple[str, str, str]]:
        """Rows (name, value, reason) for the user."""
        values = {**self.architecture, **self.model_dump()}
        return [(name, _short(values[name]), reason) for name, reason in self.reasons.items()]


# What a user may set of it, beside the plan's own values.
_OF_ARCHITECTURE = ("widths", "block", "skip", "down", "encoder")
_DERIVED = ("architecture", "spacing", "n_images", "reasons")


def read_plan(text: str) -> Plan:
    """A plan from the JSON that a run folder keeps.

    Raises
    ------
    ValueError
        In one line, if it is no such JSON, or a value is not possible.
    """
    try:
        return Plan.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"is no plan: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    """The first of pydantic's findings in a line: "batch is 0: input should be greater than or equal to 1"."""
    found = error.errors()[0]
    name, message = ".".join(map(str, found["loc"])), found["msg"]
    value = f"{name} is {found['input']!r}: " if name else ""
    return f"{value}{message[:1].lower()}{message[1:]}"


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        is_table = bool(value) and isinstance(value[0], list | tuple)
        return (", " if is_table else " x ").join(_short(v) for v in value)
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def make_plan(
    dataset: Dataset,
    *,
    given: dict[str, Any] | None = None,
    divide_width: int | None = None,
    start: Card | None = None,
) -> Plan:
    """Derive a plan from the data and the budget.

    Parameters
    ----------
    dataset : Dataset
    given : dict, optional
        Values of `Plan` that the user set; `widths`, `block`, `skip`, `down` and `encoder` of an `Architecture` are
        accepted beside them, and one number as `patch` for all axes.
    divide_width : int, optional
        For a net of a paper: divide its widths.
    start : Card, optional
        Of the model that training starts from, whose architecture is taken.

    Raises
    ------
    ValueError
        If there is no budget or two, a name is unknown, or a value is not possible.
    ImportError
        If an `encoder` is given and timm is not installed.
    """
    given = {name: value for name, value in (given or {}).items() if value is not None}
    _check_names(given)
    reasons: dict[str, str] = {}

    def derive(name: str, value: Any, reason: str) -> Any:
        reasons[name] = "given" if name in given else reason
        return given.pop(name, value)

    # 1. Device: what the machine has.
    device = derive("device", "cuda" if torch.cuda.is_available() else "cpu", "the fastest device of this machine")
    check_device(device)
    # 2. Precision of the training's convolutions, a fixed fact of a machine, so that runs by steps stay the same:
    #    bfloat16 on a GPU. On a CPU that multiplies it a step takes half the time (widths 32 to 512: 1.04 s, not
    #    2.12 s), but ten minutes gave no better masks with 1.7 times the steps (isbi2012, pixel error of three splits
    #    and seeds: 0.0789, 0.0814, 0.0805; in float32 0.0785, 0.0766, 0.0826), so there it is for the user to ask for.
    #    Weights, their average, the loss, validation and inference are float32 everywhere.
    precision = derive("precision", usual_precision(device), _why_precision(device))
    # 3. Budget: seconds or steps, one of them.
    time_s, steps = given.pop("time_s", None), given.pop("steps", None)
    if (time_s is None) == (steps is None):
        raise ValueError("give one budget: a time, such as --time 10m, or a number of steps, such as --steps 2000")
    budget = steps if time_s is None else time_s
    if not budget > 0:
        raise ValueError(f"the budget is {budget}; expected more than 0")
    short = time_s is not None and time_s < 300
    # 4. Planes: volumes are a 3D net's, but for stacks of sections so far apart that the next one says little of this
    #    one: there a 2D net has more levels and larger patches for the same time (vnc_em, 11 : 1, 15 minutes, mean Dice
    #    of five classes: 2D 0.841, 2.5D of three planes 0.832, 3D 0.792).
    is_given = "planes" in given or start is not None
    planes = given.pop("planes", _planes(dataset) if start is None else start.planes) or None  # 0: a 3D net
    if planes is not None or dataset.ndim == 3:
        reasons["planes"] = "given" if is_given else _why_planes(dataset, planes)
    seen = see(dataset, planes)
    # 5. Sides of a patch: those of the typical image, in 2D at most 256 (128 for a quick look). In 3D they are shrunk,
    #    the physically longest first, until two patches hold as many voxels as four of 256 x 256 have pixels (eight
    #    times that on a GPU, a quarter for a quick look).
    voxels = (2**18 if device == "cpu" else 2**21) // (4 if short else 1)
    wide = device != "cpu" or (time_s or 0) > 3 * 3600
    default = _WIDTHS[seen.ndim][wide] if start is None else tuple(start.architecture["widths"])
    levels = len(given.get("widths", default))
    sides, reason = patch_sides(seen, 128 if short else 256, voxels // max(given.get("batch", 2), 1), levels)
    # 6. Net: that of the model that training starts from, or as many channels as the budget can train.
    if start is not None:
        net, weights, architecture = "unet", None, _started(start, seen, given, divide_width)
        reasons["start"] = "given: its architecture, and its weights where channels and classes are the same"
    else:
        net, weights, architecture = _chosen(given, reasons, seen, sides, default, wide, divide_width)
    # 7. Patch: these sides, in sizes that fit the net.
    patch = derive("patch", _patch(architecture, sides), reason)
    # 8. Batch: 4 patches; gradients are steady enough, and steps are many. 2 of volumes where 4 are too many voxels,
    #    and up to 16 of small planes, which are alike within a volume.
    batch, reason = patches_per_batch(prod(_per_axis(patch, seen.ndim)), voxels, seen.ndim, planes)
    batch = derive("batch", batch, reason)
    # 9. Augmentation: everything, but for images that are all turned the same way: left is then not right.
    augmentation = derive("augmentation", *_turns(dataset))
    flip: tuple[bool, ...] = ()
    if augmentation == "oriented":
        free = mirrored_axes(dataset)[-seen.ndim :]
        flip = derive("flip", free if any(free) else (), "along these axes no class lies on a side of its own")
    # 10. Deep supervision: where a net has a head on every depth, as each is to be good by itself.
    deep = architecture.heads == "all"
    supervision = derive("supervision", deep, "a loss on every head" if deep else "one loss, on the output")
    # 11. Loss: cross-entropy and Dice; another overlap for what these two are known to miss. Not for objects, whose
    #     levels of depth are neither rare nor thin.
    loss = derive("loss", *(_loss(dataset) if not dataset.kind.has_depth else ("dice", _DICE)))
    # 12. Validation: a fifth.
    validation = derive("validation", 0.2, "a fifth held out, by group where given")
    # 13. Learning rate: AdamW 2e-3 with warm-up and cosine for nets with batch norm; 3e-4 without any norm, and for
    #     pretrained weights, which large steps would undo.
    plain, tuned = architecture.norm == "none", weights not in (None, "none") or start is not None
    why = "AdamW, warm-up and cosine" + ", no norm" * plain + ", pretrained" * tuned
    rate = derive("learning_rate", 3e-4 if plain or tuned else 2e-3, why)
    try:
        return Plan(
            time_s=time_s,
            steps=steps,
            net=net,
            divide_width=divide_width,
            weights=weights,
            device=device,
            precision=precision,
            architecture=architecture.to_dict(),
            patch=fitting_patch(architecture, patch, batch),
            batch=batch,
            planes=planes,
            augmentation=augmentation,
            flip=flip,
            supervision=supervision,
            loss=loss,
            spacing=seen.spacing if seen.ndim == 3 else (),
            validation=validation,
            learning_rate=rate,
            n_images=len(dataset.cases),
            reasons=reasons,
            **given,
        )
    except ValidationError as error:
        raise ValueError(_first(error)) from None


def pinned(plan: Plan, given: dict[str, Any], dataset: Dataset) -> Plan:
    """A plan from a file, for these data; a budget and a seed may be given beside it.

    Raises
    ------
    ValueError
        If something else is given too, or the data have other channels or classes than those that it was made for.
    """
    usual = {name: field.default for name, field in Plan.model_fields.items()}
    given = {name: value for name, value in given.items() if value is not None and value != usual.get(name)}
    own = given.keys() & {"time_s", "steps"}
    more = sorted(given.keys() - {"images", "masks", "labels", "seed", *own})
    if more:
        raise ValueError(f"the plan says all but budget and seed: leave out {', '.join(more)}, or change the file")
    made_for = plan.architecture["in_channels"] // (plan.planes or 1), plan.architecture["out_channels"]
    now = dataset.channels, len(dataset.kind.values)
    if now != made_for:
        raise ValueError(
            f"the plan is for {made_for[0]} channels and {made_for[1]} classes, the data have {now[0]} and {now[1]}"
        )
    budget = {"time_s": given.get("time_s"), "steps": given.get("steps")} if own else {}
    if len(own) > 1:
        raise ValueError("give one budget: a time or a number of steps")
    update: dict[str, Any] = {k: given[k] for k in ("images", "masks", "seed") if k in given}
    update["n_images"] = len(dataset.cases)
    return plan.model_copy(update=update | budget)


def augmentation_of(plan: Plan) -> Augmentation:
    """What may happen to the patches of a plan: "full", "oriented" (at most 30 degrees) or "none"."""
    if plan.augmentation == "none":
        return Augmentation.none()
    spacing = plan.spacing or None
    if plan.augmentation == "full":
        return Augmentation(spacing=spacing)
    degrees = (30.0,) * 3 if plan.architecture["ndim"] == 3 else 30.0
    return Augmentation(flip=plan.flip or False, rotation_deg=degrees, spacing=spacing)


def check_device(device: str) -> None:
    """Raise ValueError if this machine cannot compute on `device`, "cpu" or "cuda"."""
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device is {device!r}; expected cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', but torch finds no CUDA device here: train with --device cpu")


def multiplies_bfloat16(device: str) -> bool:
    """Whether `device` has instructions for bfloat16 (CPU: AVX-512 BF16 or AMX) rather than emulating them."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: Any = getattr(torch.cpu, "get_capabilities", dict)()  # torch >= 2.10
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def usual_precision(device: str) -> Precision:
    """What a training on `device` computes in unless the user says otherwise."""
    return "bfloat16" if device == "cuda" and multiplies_bfloat16(device) else "float32"


def _turns(dataset: Dataset) -> tuple[Turns, str]:
    """How patches may be turned, and why."""
    why = "the files say how the body lies" if dataset.is_oriented else way_up(dataset)
    if why is not None:
        return "oriented", f"{why}: turns of at most 30 degrees"
    return "full", "flips, turns, scale, elastic, gray values"


def _loss(dataset: Dataset) -> tuple[Loss, str]:
    """Name of a loss, and why."""
    width, share = thinnest_line(dataset), rarest_share(dataset)
    if width <= _THIN:
        return "cldice", f"a class is of thin lines ({2 * width:.2g} pixels wide): gaps count by their length"
    if share < _RARE:
        return "tversky", f"a class is rare ({share:.2g} of the pixels): what is missed weighs more"
    return "dice", _DICE


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


def _why_precision(device: str) -> str:
    if not multiplies_bfloat16(device):
        return "this processor does not multiply bfloat16"
    if device == "cuda":
        return "multiplied at twice the speed or more here"
    return "--precision bfloat16 takes half the time per step here; masks came out alike where both were tried"


def check_same(saved: Plan, given: dict[str, Any], dataset: Dataset) -> None:
    """Raise ValueError if a run would be resumed by another plan or on other data.

    A new split of other data would validate on what was learned.
    """
    check_device(saved.device)
    before = saved.model_dump() | {name: saved.architecture.get(name) for name in _OF_ARCHITECTURE}
    before |= {"channels": saved.architecture["in_channels"] // (saved.planes or 1)}
    before |= {"classes": saved.architecture["out_channels"]}
    now = {name: value for name, value in given.items() if value is not None and name not in ("images", "masks")}
    now |= {"n_images": len(dataset.cases), "channels": dataset.channels, "classes": len(dataset.kind.values)}
    if now.get("planes") == 0:
        now["planes"] = None
    if "patch" in now:
        now["patch"] = fitting_patch(Architecture(**saved.architecture), now["patch"], saved.batch)
    for name, value in now.items():
        if name in before and _plain(before[name]) != _plain(value):
            raise ValueError(
                f"the run was planned with {name} {before[name]}, not {value}: resume it with the same command and data"
            )


def _plain(value: Any) -> Any:
    """Lists as tuples, as JSON knows no tuples."""
    return tuple(value) if isinstance(value, list) else value


def _check_names(given: dict[str, Any]) -> None:
    known = {*Plan.model_fields, *_OF_ARCHITECTURE} - set(_DERIVED)
    unknown = sorted(set(given) - known)
    if unknown:
        raise ValueError(f"no value of a plan is named {', '.join(unknown)}; expected {', '.join(sorted(known))}")


def _layers(
    sides: tuple[int, ...], spacing: tuple[float, ...], default: tuple[int, ...], widths: Sequence[int] | None
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Default widths cut to the levels that a patch of these sides can be pooled to, and the strides and kernels."""
    levels = min(len(pyramid(sides, spacing).kernels), len(default)) if widths is None else len(widths)
    shape = pyramid(sides, spacing, levels=levels)
    return default[:levels], {"strides": shape.strides, "kernels": shape.kernels}


def _encoder_layers(net: str, encoder: str, seen: Seen, width: int, widths: Sequence[int] | None) -> dict[str, Any]:
    """What a timm encoder behind an own finest level of `width` asks of an architecture."""
    if net not in OURS:
        raise ValueError(f"encoder is {encoder}, but {net} has its paper's own: use net {' or '.join(OURS)}")
    if widths is not None:
        raise ValueError(f"widths are {tuple(widths)}, but encoder {encoder} has its own: leave out one of the two")
    return encoder_shape(encoder, in_channels=seen.channels, width=width)


def _started(start: Card, seen: Seen, given: dict[str, Any], divide_width: int | None) -> Architecture:
    """The architecture of a model, for these channels and classes."""
    odd = [name for name in ("net", "weights", *_OF_ARCHITECTURE) if name in given and given[name] != "unet"]
    odd += ["divide_width"] * (divide_width is not None)
    if odd:
        raise ValueError(f"the net is that of the model that training starts from: leave out {', '.join(odd)}")
    given.pop("net", None)
    found = Architecture(**start.architecture | {"in_channels": seen.channels, "out_channels": seen.classes})
    if found.ndim != seen.ndim:
        raise ValueError(f"training starts from a {found.ndim}D net, but the images have {seen.ndim} spatial axes")
    return found


def _chosen(
    given: dict[str, Any],
    reasons: dict[str, str],
    seen: Seen,
    sides: tuple[int, ...],
    default: tuple[int, ...],
    wide: bool,
    divide_width: int | None,
) -> tuple[str, str | None, Architecture]:
    """Name, weights and architecture of the net; what was given of it is taken out, and its reasons are added.

    Widths by what the budget can train. On two cores halving all widths gave 3.6 times the steps, and 16 channels at
    1400 steps beat 32 channels at 250 (isbi2012, ten minutes); a GPU trains 32 in the same time. In 3D as many levels
    as the patch can be pooled, coarse axes later.
    """
    net = given.pop("net", "unet")
    layers: dict[str, Any] = {name: given.pop(name) for name in ("block", "skip", "down") if name in given}
    reasons |= dict.fromkeys(layers, "given")
    encoder, weights = given.pop("encoder", None), given.pop("weights", None)
    if encoder is None and weights is not None:
        raise ValueError(f"weights are {weights!r}, but there is no encoder to load them into: give encoder too")
    if encoder is not None:
        if "down" in layers:
            raise ValueError(f"down is {layers['down']!r}, but encoder {encoder} goes down its own way: leave out one")
        layers |= _encoder_layers(net, encoder, seen, default[0], given.get("widths"))
        reasons["weights"] = "what an encoder of another's is worth having for" if weights is None else "given"
        weights = weights or "imagenet"
        reasons |= {"encoder": "given", "widths": f"those of {encoder}, behind an own level at full resolution"}
    elif seen.ndim == 3 and net in OURS:
        default, shape = _layers(_per_axis(given.get("patch", sides), 3), seen.spacing, default, given.get("widths"))
        layers |= shape
        size = " x ".join(f"{s:g}" for s in seen.spacing)
        reasons["strides"] = f"voxels of {size} {seen.unit}: coarse axes later, and no map below 4 voxels"
    if encoder is None and ("widths" in given or net in OURS):
        is_given = "widths" in given
        layers["widths"] = given.pop("widths", default)
        why = f"a GPU or hours: {default[0]} to {default[-1]} channels" if wide else "more steps beat more channels"
        reasons["widths"] = "given" if is_given else why
    elif net not in OURS:
        reasons["widths"] = f"{net}" + (f", divided by {divide_width}" if divide_width else "")
    return net, weights, _architecture(net, seen, divide_width=divide_width, options=layers)


def _architecture(net: str, seen: Seen, *, divide_width: int | None, options: dict[str, Any]) -> Architecture:
    axes = {"ndim": seen.ndim} if net in OURS else {}
    options = {"in_channels": seen.channels, "out_channels": seen.classes, **axes, **options}
    architecture = named(net, divide_width=divide_width, **options)
    if architecture.ndim != seen.ndim:
        raise ValueError(
            f"{net} is a {architecture.ndim}D net, but the images have {seen.ndim} spatial axes: use unet"
            + ", or --planes 1 for single planes" * (seen.ndim == 3)
        )
    return architecture


@lru_cache(maxsize=16)
def _geometry(architecture: Architecture) -> Geometry:
    """Of a net that is built without its weights."""
    with torch.device("meta"):
        return build(architecture).geometry


def _patch(architecture: Architecture, sides: Sequence[int]) -> tuple[int, ...]:
    """Patch for a net from the sides that the images have."""
    # A valid net predicts only the middle of its patch: half of the margin is added, so that a good part is left, and
    # for images smaller than the margin as much as makes that half of the image.
    margins = [sum(margin) for margin in _geometry(architecture).margin]
    return tuple(max(side + margin // 2, side // 2 + margin) for side, margin in zip(sides, margins, strict=True))


def _per_axis(patch: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """One size for every axis."""
    patch = (patch,) * ndim if isinstance(patch, int) else tuple(patch)
    if len(patch) != ndim:
        raise ValueError(f"patch is {patch}; expected {ndim} sizes for a {ndim}D net")
    if min(patch) < 1:
        raise ValueError(f"patch is {patch}; expected at least 1 pixel per axis")
    return patch


def fitting_patch(architecture: Architecture, patch: int | Sequence[int], batch: int) -> tuple[int, ...]:
    """The patch in sizes that fit the net: at most as large for a "same" net, at least as large for a "valid" one."""
    geometry = _geometry(architecture)
    patch = _per_axis(patch, architecture.ndim)
    size = tuple(
        axis.below(n) or axis.above(n) if sum(axis.margin) == 0 else axis.above(n)
        for axis, n in zip(geometry.axes, patch, strict=True)
    )
    if architecture.norm == "batch" and batch == 1 and size == geometry.stride:
        raise ValueError(
            f"batch 1 of patches of {size} pixels leaves one value per channel at the bottom of the net, which batch "
            "norm cannot normalise; give a larger batch or patch"
        )
    return size
