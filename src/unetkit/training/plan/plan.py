"""The plan: every value that a training uses, with its reason; made by `rules`, printed, kept with the run.

Any value can be overridden by name, and a plan can be pinned for another training.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...data.dataset import Dataset
from ...nets.architecture import Architecture
from ..augment.augment import Augmentation
from .device import Precision, check_device
from .net import OF_ARCHITECTURE, fitting_patch

__all__ = ["DERIVED", "Loss", "Plan", "Turns", "augmentation_of", "check_same", "first_error", "pinned", "read_plan"]

Compile = Literal["auto", "yes", "no"]
Loss = Literal["dice", "focal", "tversky", "generalised", "cldice"]
Turns = Literal["full", "oriented", "none"]
DERIVED = ("architecture", "spacing", "n_images", "reasons")  # what a user cannot set


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
    resample: bool = True
    validation: float = Field(0.2, ge=0, lt=1)
    fold: tuple[int, int] | None = None
    learning_rate: float = Field(2e-3, gt=0)
    final_rate: float = Field(0.01, ge=0, le=1)
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
        raise ValueError(f"is no plan: {first_error(error)}") from None


def first_error(error: ValidationError) -> str:
    """The first of pydantic's findings in a line: "batch is 0: input should be greater than or equal to 1"."""
    found = error.errors()[0]
    name, message = ".".join(map(str, found["loc"])), found["msg"]
    value = f"{name} is {found['input']!r}: " if name else ""
    return f"{value}{message[:1].lower()}{message[1:]}"


def _short(value: Any) -> str:
    if value in ((), []):
        return "none"
    if isinstance(value, list | tuple):
        is_table = bool(value) and isinstance(value[0], list | tuple)
        return (", " if is_table else " x ").join(_short(v) for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


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


def check_same(saved: Plan, given: dict[str, Any], dataset: Dataset) -> None:
    """Raise ValueError if a run would be resumed by another plan or on other data.

    A new split of other data would validate on what was learned.
    """
    check_device(saved.device)
    before = saved.model_dump() | {name: saved.architecture.get(name) for name in OF_ARCHITECTURE}
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
