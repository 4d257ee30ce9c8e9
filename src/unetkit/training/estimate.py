"""Speed of this machine by a plan, and the steps that the budget then allows: measured on a few real steps."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ..allocator import keep_freed_memory
from ..data.dataset import Dataset
from .plan.plan import Plan
from .state import card_of, time_steps, training_of
from .validation import validate
from .validation_schedule import validation_interval_s, validation_interval_steps
from .windows import validation_cases

__all__ = ["TrainingEstimate", "estimate_training"]


@dataclass(frozen=True)
class TrainingEstimate:
    """Time and steps of a training on this machine.

    Attributes
    ----------
    step_s : float
        Seconds of a step, not compiled.
    validation_s : float
        Seconds of all validations of the training.
    steps : int
    time_s : float
        Seconds of the whole training.
    passes : float
        Patches drawn per image.
    """

    step_s: float
    validation_s: float
    steps: int
    time_s: float
    passes: float


def estimate_training(plan: Plan, dataset: Dataset) -> TrainingEstimate:
    """Take a few steps by a plan and validate one image; nothing is kept.

    Parameters
    ----------
    plan : Plan
    dataset : Dataset
        That the plan was made for.
    """
    keep_freed_memory()  # as `train` does
    cases, held_out = plan.split(dataset.cases)
    held_out, _ = validation_cases(held_out, seed=plan.budget.seed)
    training, budget = training_of(plan, cases), plan.budget
    step_s, validation_s = time_steps(training), 0.0
    training.drawn.close()
    if held_out:
        score = validate(training.predictor(card_of(plan, dataset)), held_out[:1])
        cost_s = score.time_s * sum(prod(case.size) for case in held_out) / prod(held_out[0].size)
        if budget.steps:
            validation_s = budget.steps // validation_interval_steps(budget.steps) * cost_s
        elif budget.time_s:  # those on the way, and the one at the end
            validation_s = budget.time_s / validation_interval_s(budget.time_s, cost_s) * cost_s + cost_s
    steps = budget.steps or max(1, round(((budget.time_s or 0) - validation_s) / step_s))
    time_s = budget.time_s or steps * step_s + validation_s
    return TrainingEstimate(step_s, validation_s, steps, time_s, steps * plan.patches.batch / len(cases))
