"""The plan: every value that a training uses, derived in one place, with its rule and reason.

The user gives data and a budget. Each value below is set by a numbered rule; any of
them can be overridden by name, and the plan is printed and saved with the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from ..nets.papers import PAPERS
from ..nets.unet import Architecture, UNet
from .data import Dataset

Compile = Literal["auto", "yes", "no"]


class Plan(BaseModel):
    """All values of a training. Saved as `plan.json`; times in seconds, sizes in pixels."""

    model_config = ConfigDict(extra="forbid")

    # What the user gave
    images: str = ""
    masks: str | None = None
    labels: str = "auto"
    time_s: float | None = None
    steps: int | None = None
    seed: int = 0
    net: str = "unet"

    # What was derived
    architecture: dict[str, Any] = Field(default_factory=dict)
    patch: tuple[int, ...] = ()
    batch: int = 4
    validation: float = 0.2
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup: float = 0.03
    clip_norm: float = 5.0
    average: float = 0.05
    border_weight: bool = False
    device: str = "cpu"
    compile: Compile = "auto"
    reasons: dict[str, str] = Field(default_factory=dict)

    def describe(self) -> list[tuple[str, str, str]]:
        """Rows (name, value, reason) for the user."""
        values = {"widths": self.architecture.get("widths"), **self.model_dump()}
        return [(name, _short(values[name]), reason) for name, reason in self.reasons.items()]


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
        Values of `Plan` that the user set; `widths` is accepted beside them.
    divide_width : int, optional
        For a net of a paper: divide its widths.

    Raises
    ------
    ValueError
        If there is no budget or two, or a value is not possible.
    """
    given = dict(given or {})
    reasons: dict[str, str] = {}

    def derive(name: str, value: Any, reason: str) -> Any:
        is_given = given.get(name) is not None
        reasons[name] = "given" if is_given else reason
        return given.pop(name) if is_given else value

    # 1. Device: what the machine has.
    device = derive("device", "cuda" if torch.cuda.is_available() else "cpu", "the fastest device of this machine")
    # 2. Budget: seconds or steps, one of them.
    time_s, steps = given.pop("time_s", None), given.pop("steps", None)
    if (time_s is None) == (steps is None):
        raise ValueError("give one budget: a time, such as --time 10m, or a number of steps, such as --steps 2000")
    if (time_s or steps or 0) <= 0:
        raise ValueError(f"the budget is {time_s or steps}; expected more than 0")
    short = time_s is not None and time_s < 300
    # 3. Net: widths by what the budget can train. On two cores halving all widths gave 3.6 times the steps, and 16
    #    channels at 1400 steps beat 32 channels at 250 (isbi2012, ten minutes); a GPU trains 32 in the same time.
    net = given.pop("net", None) or "unet"
    wide = device != "cpu" or (time_s or 0) > 3 * 3600
    widths = derive(
        "widths",
        (32, 64, 128, 256, 512) if wide else (16, 32, 64, 128, 256),
        "a GPU or hours: 32 to 512 channels" if wide else "a CPU and up to 3 hours: more steps beat more channels",
    )
    architecture = _architecture(net, dataset, widths, divide_width)
    if net != "unet":
        reasons["widths"] = f"{net}" + (f", divided by {divide_width}" if divide_width else "")
    # 4. Patch: what fits the typical image, at most 256 (128 for a quick look), of a size that fits the net.
    patch, reason = _patch(architecture, [case.size for case in dataset.cases], 128 if short else 256)
    patch = derive("patch", patch, reason)
    # 5. Batch: 4 patches; gradients are steady enough, and steps are many.
    batch = derive("batch", 4, "steady gradients at many steps")
    # 6. Validation: a fifth.
    validation = derive("validation", 0.2, "a fifth held out, by group where given")
    # 7. Learning rate: AdamW 2e-3 with warm-up and cosine for nets with batch norm; 3e-4 without any norm.
    plain = architecture.norm == "none"
    rate = derive("learning_rate", 3e-4 if plain else 2e-3, "AdamW, warm-up and cosine" + ", no norm" * plain)
    known = {name: value for name, value in given.items() if value is not None}
    return Plan(
        time_s=time_s,
        steps=steps,
        net=net,
        device=device,
        architecture=architecture.to_dict(),
        patch=_fitting(architecture, patch),
        batch=batch,
        validation=validation,
        learning_rate=rate,
        reasons=reasons,
        **known,
    )


def _architecture(net: str, dataset: Dataset, widths: Sequence[int], divide_width: int | None) -> Architecture:
    channels: dict[str, Any] = {"in_channels": dataset.channels, "out_channels": len(dataset.kind.values)}
    if net == "unet":
        return Architecture(ndim=dataset.ndim, widths=tuple(widths), **channels)
    if net not in PAPERS:
        raise ValueError(f"no net is named {net!r}; expected unet, {', '.join(PAPERS)}")
    return PAPERS[net](**channels, divide_width=divide_width or 1)


def _patch(architecture: Architecture, sizes: Sequence[tuple[int, ...]], most: int) -> tuple[tuple[int, ...], str]:
    """Patch that fits the net, from the median image size."""
    geometry = UNet(architecture).geometry
    typical = [median(size[i] for size in sizes) for i in range(architecture.ndim)]
    # A valid net predicts only the middle of its patch: half of the margin is added, so that a good part is left.
    wanted = [min(most, int(t)) + sum(margin) // 2 for t, margin in zip(typical, geometry.margin, strict=True)]
    reason = f"the typical image is {' x '.join(f'{t:g}' for t in typical)}; at most {most}, fitting the net"
    return tuple(wanted), reason


def _fitting(architecture: Architecture, patch: Sequence[int]) -> tuple[int, ...]:
    geometry = UNet(architecture).geometry
    if len(patch) != architecture.ndim:
        raise ValueError(f"patch is {tuple(patch)}; expected {architecture.ndim} sizes for a {architecture.ndim}D net")
    return tuple(
        axis.below(n) or axis.above(n) if sum(axis.margin) == 0 else axis.above(n)
        for axis, n in zip(geometry.axes, patch, strict=True)
    )
