"""A plan used again: for another training, or to resume the one that it was made for."""

from __future__ import annotations

from typing import Any

from ...data.dataset import Dataset
from ...data.split import EVEN
from ...nets.architecture import Architecture
from .device import check_device, usual_threads
from .net import fitting_patch
from .plan import GROUPS, Plan
from .settings import PlanSettings, flat_settings

__all__ = ["check_resumable", "reuse_plan", "with_longer_budget"]


def reuse_plan(
    plan: Plan,
    dataset: Dataset,
    *,
    images: str,
    masks: str | None,
    time_s: float | None = None,
    steps: int | None = None,
    seed: int | None = None,
    settings: PlanSettings | None = None,
) -> Plan:
    """A plan of another training for these data; a budget and a seed may be given beside it.

    Raises
    ------
    ValueError
        If something else is set too, or the data have other channels or classes than those that it was made for.
    """
    usual = {f"{group}.{name}": field.default for group in GROUPS for name, field in GROUPS[group].model_fields.items()}
    more = [path for path, value in flat_settings(settings or {}).items() if value != usual.get(path)]
    if more:
        raise ValueError(f"the plan says all but budget and seed: leave out {', '.join(more)}, or change the file")
    planes, architecture = plan.data.planes or 1, plan.net.architecture
    made_for = architecture["in_channels"] // planes, architecture["out_channels"]
    now = dataset.channels, len(dataset.kind.values)
    if now != made_for:
        raise ValueError(
            f"the plan is for {made_for[0]} channels and {made_for[1]} classes, the data have {now[0]} and {now[1]}"
        )
    if time_s is not None and steps is not None:
        raise ValueError("give one budget: a time or a number of steps")
    budget = plan.budget.model_copy(update={"threads": usual_threads()})
    if time_s is not None or steps is not None:
        budget = budget.model_copy(update={"time_s": time_s, "steps": steps})
    if seed is not None:
        budget = budget.model_copy(update={"seed": seed})
    now_read = {"images": images, "masks": masks, "n_images": len(dataset.cases), "split_rule": EVEN}
    data = plan.data.model_copy(update=now_read)
    return plan.model_copy(update={"budget": budget, "data": data})


def with_longer_budget(saved: Plan, *, time_s: float | None, steps: int | None) -> tuple[Plan, str]:
    """The plan of a run that goes on with more steps, or more time, than it was planned with; and a line on it."""
    for name, before, now in (("time_s", saved.budget.time_s, time_s), ("steps", saved.budget.steps, steps)):
        if before is not None and now is not None and now > before:
            budget = saved.budget.model_copy(update={name: now})
            words = f"budget: {now:g}, not {before:g} {'steps' if name == 'steps' else 's'} as planned"
            line = f"{words}; the learning rate goes on by the schedule of {now:g}"
            return saved.model_copy(update={"budget": budget}), line
    return saved, ""


_MACHINE = "device.memory"  # of the machine at hand: where arrays lie changes no result


def check_resumable(
    saved: Plan,
    dataset: Dataset,
    *,
    time_s: float | None = None,
    steps: int | None = None,
    seed: int | None = None,
    settings: PlanSettings | None = None,
) -> None:
    """Raise ValueError if a run would be resumed by another plan or on other data.

    A new split of other data would validate on what was learned.
    """
    check_device(saved.device.name)
    architecture = Architecture(**saved.net.architecture)
    asked = flat_settings(settings or {})
    pairs = {path: (saved.value(path), value) for path, value in asked.items() if path != _MACHINE}
    if "patches.size" in asked:
        size = fitting_patch(architecture, asked["patches.size"], saved.patches.batch)
        pairs["patches.size"] = saved.patches.size, size
    if "data.planes" in asked:
        pairs["data.planes"] = (saved.data.planes or 0, asked["data.planes"])
    for path, value in {"budget.time_s": time_s, "budget.steps": steps, "budget.seed": seed}.items():
        if value is not None:
            pairs[path] = saved.value(path), value
    pairs["data.n_images"] = saved.data.n_images, len(dataset.cases)
    pairs["channels"] = architecture.in_channels // (saved.data.planes or 1), dataset.channels
    pairs["classes"] = architecture.out_channels, len(dataset.kind.values)
    for path, (before, now) in pairs.items():
        if _plain(before) != _plain(now):
            raise ValueError(
                f"the run was planned with {path} {before}, not {now}: resume it with the same command and data, or "
                "begin a new run from its weights (--from)"
            )


def _plain(value: Any) -> Any:
    """Lists as tuples, as JSON has no tuples."""
    return tuple(value) if isinstance(value, list) else value
