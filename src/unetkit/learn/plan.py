"""The plan: every value that a training uses, derived in one place, with its rule and reason.

The user gives data and a budget. Each value below is set by a numbered rule; any of
them can be overridden by name, and the plan is printed and saved with the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import median
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..geometry import Geometry
from ..nets.papers import PAPERS
from ..nets.unet import Architecture, UNet
from .data import Dataset

Compile = Literal["auto", "yes", "no"]
Precision = Literal["float32", "bfloat16"]


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

    # What was derived
    architecture: dict[str, Any] = Field(default_factory=dict)
    patch: tuple[int, ...] = ()
    batch: int = Field(4, ge=1)
    validation: float = Field(0.2, ge=0, lt=1)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    warmup: float = Field(0.03, ge=0, lt=1)
    clip_norm: float = Field(5.0, gt=0)
    average: float = Field(0.05, ge=0)
    border_weight: bool = False
    device: str = "cpu"
    precision: Precision = "float32"
    compile: Compile = "auto"
    n_images: int = 0
    reasons: dict[str, str] = Field(default_factory=dict)

    def describe(self) -> list[tuple[str, str, str]]:
        """Rows (name, value, reason) for the user."""
        values = {"widths": self.architecture.get("widths"), **self.model_dump()}
        return [(name, _short(values[name]), reason) for name, reason in self.reasons.items()]


_DERIVED = ("architecture", "n_images", "reasons")


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
        return " x ".join(_short(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def make_plan(dataset: Dataset, *, given: dict[str, Any] | None = None, divide_width: int | None = None) -> Plan:
    """Derive a plan from the data and the budget.

    Parameters
    ----------
    dataset : Dataset
    given : dict, optional
        Values of `Plan` that the user set; `widths` is accepted beside them, and one number as `patch` for all axes.
    divide_width : int, optional
        For a net of a paper: divide its widths.

    Raises
    ------
    ValueError
        If there is no budget or two, a name is unknown, or a value is not possible.
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
    # 2. Precision of the training's convolutions: bfloat16 where the processor multiplies it, which is a fixed fact of
    #    a machine, so that runs by steps stay the same. On two such cores a step took half the time (widths 32 to 512:
    #    1.05 s for 2.07 s). Weights, their average, the loss, validation and inference are float32 everywhere.
    fast = multiplies_bfloat16(device)
    reason = "multiplied at twice the speed here" if fast else "this processor does not multiply bfloat16"
    precision = derive("precision", "bfloat16" if fast else "float32", reason)
    # 3. Budget: seconds or steps, one of them.
    time_s, steps = given.pop("time_s", None), given.pop("steps", None)
    if (time_s is None) == (steps is None):
        raise ValueError("give one budget: a time, such as --time 10m, or a number of steps, such as --steps 2000")
    budget = steps if time_s is None else time_s
    if not budget > 0:
        raise ValueError(f"the budget is {budget}; expected more than 0")
    short = time_s is not None and time_s < 300
    # 4. Net: widths by what the budget can train. On two cores halving all widths gave 3.6 times the steps, and 16
    #    channels at 1400 steps beat 32 channels at 250 (isbi2012, ten minutes); a GPU trains 32 in the same time.
    net = given.pop("net", "unet")
    _check_net(net, given.get("widths"), divide_width)
    wide = device != "cpu" or (time_s or 0) > 3 * 3600
    widths = derive(
        "widths",
        (32, 64, 128, 256, 512) if wide else (16, 32, 64, 128, 256),
        "a GPU or hours: 32 to 512 channels" if wide else "a CPU and up to 3 hours: more steps beat more channels",
    )
    architecture = _architecture(net, dataset, widths, divide_width)
    if net != "unet":
        reasons["widths"] = f"{net}" + (f", divided by {divide_width}" if divide_width else "")
    # 5. Patch: what fits the typical image, at most 256 (128 for a quick look), of a size that fits the net.
    patch, reason = _patch(architecture, [case.size for case in dataset.cases], 128 if short else 256)
    patch = derive("patch", patch, reason)
    # 6. Batch: 4 patches; gradients are steady enough, and steps are many.
    batch = derive("batch", 4, "steady gradients at many steps")
    # 7. Validation: a fifth.
    validation = derive("validation", 0.2, "a fifth held out, by group where given")
    # 8. Learning rate: AdamW 2e-3 with warm-up and cosine for nets with batch norm; 3e-4 without any norm.
    plain = architecture.norm == "none"
    rate = derive("learning_rate", 3e-4 if plain else 2e-3, "AdamW, warm-up and cosine" + ", no norm" * plain)
    try:
        return Plan(
            time_s=time_s,
            steps=steps,
            net=net,
            device=device,
            precision=precision,
            architecture=architecture.to_dict(),
            patch=fitting_patch(architecture, patch, batch),
            batch=batch,
            validation=validation,
            learning_rate=rate,
            n_images=len(dataset.cases),
            reasons=reasons,
            **given,
        )
    except ValidationError as error:
        raise ValueError(_first(error)) from None


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


def check_same(saved: Plan, given: dict[str, Any], dataset: Dataset) -> None:
    """Raise ValueError if a run would be resumed by another plan or on other data.

    A new split of other data would validate on what was learned.
    """
    check_device(saved.device)
    before = saved.model_dump() | {"widths": saved.architecture["widths"]}
    before |= {"channels": saved.architecture["in_channels"], "classes": saved.architecture["out_channels"]}
    now = {name: value for name, value in given.items() if value is not None and name not in ("images", "masks")}
    now |= {"n_images": len(dataset.cases), "channels": dataset.channels, "classes": len(dataset.kind.values)}
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
    known = {*Plan.model_fields, "widths"} - set(_DERIVED)
    unknown = sorted(set(given) - known)
    if unknown:
        raise ValueError(f"no value of a plan is named {', '.join(unknown)}; expected {', '.join(sorted(known))}")


def _check_net(net: str, widths: Sequence[int] | None, divide_width: int | None) -> None:
    if net not in ("unet", *PAPERS):
        raise ValueError(f"no net is named {net!r}; expected unet, {', '.join(PAPERS)}")
    if net == "unet" and divide_width is not None:
        raise ValueError(f"divide_width is {divide_width}, but unet has no paper's widths to divide; give widths")
    if net != "unet" and widths is not None:
        raise ValueError(f"widths are {tuple(widths)}, but {net} has its paper's widths; give divide_width instead")
    if divide_width is not None and divide_width < 1:
        raise ValueError(f"divide_width is {divide_width}; expected 1 or more")


def _architecture(net: str, dataset: Dataset, widths: Sequence[int], divide_width: int | None) -> Architecture:
    channels: dict[str, Any] = {"in_channels": dataset.channels, "out_channels": len(dataset.kind.values)}
    if net == "unet":
        return Architecture(ndim=dataset.ndim, widths=tuple(widths), **channels)
    architecture = PAPERS[net](**channels, divide_width=divide_width or 1)
    if architecture.ndim != dataset.ndim:
        raise ValueError(
            f"{net} is a {architecture.ndim}D net, but the images have {dataset.ndim} spatial axes: use unet"
        )
    return architecture


@lru_cache(maxsize=16)
def _geometry(architecture: Architecture) -> Geometry:
    """Of a net that is built without its weights."""
    with torch.device("meta"):
        return UNet(architecture).geometry


def _patch(architecture: Architecture, sizes: Sequence[tuple[int, ...]], most: int) -> tuple[tuple[int, ...], str]:
    """Patch that fits the net, from the median image size."""
    geometry = _geometry(architecture)
    typical = [median(size[i] for size in sizes) for i in range(architecture.ndim)]
    # A valid net predicts only the middle of its patch: half of the margin is added, so that a good part is left, and
    # for images smaller than the margin as much as makes that half of the image.
    sides = [min(most, int(t)) for t in typical]
    margins = [sum(margin) for margin in geometry.margin]
    wanted = [max(side + margin // 2, side // 2 + margin) for side, margin in zip(sides, margins, strict=True)]
    reason = f"the typical image is {' x '.join(f'{t:g}' for t in typical)}; at most {most}, fitting the net"
    return tuple(wanted), reason


def fitting_patch(architecture: Architecture, patch: int | Sequence[int], batch: int) -> tuple[int, ...]:
    """The patch in sizes that fit the net: at most as large for a "same" net, at least as large for a "valid" one."""
    geometry = _geometry(architecture)
    patch = (patch,) * architecture.ndim if isinstance(patch, int) else tuple(patch)
    if len(patch) != architecture.ndim:
        raise ValueError(f"patch is {patch}; expected {architecture.ndim} sizes for a {architecture.ndim}D net")
    if min(patch) < 1:
        raise ValueError(f"patch is {patch}; expected at least 1 pixel per axis")
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
