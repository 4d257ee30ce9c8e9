"""When a training validates: often enough to keep its best net, and for at most a tenth of its time."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod

from ..data.case import Case
from .plan.plan import Plan
from .state import Training

__all__ = ["IntervalTimer", "expected_validation_s", "validation_interval_s", "validation_interval_steps"]

_EARLY_S = 60.0  # of the first validation, or a fifth of a short budget: a hopeless training is seen at once
_VALIDATIONS = 20  # per training, fewer where they would take more than 5 % of the time
_MOST_TIME = 0.1  # share of the time of a training


class IntervalTimer:
    """Tells when to validate, in seconds or in steps, as the budget is.

    Parameters
    ----------
    training : Training
        About to take its first step, or the first after a resume.
    held_out : sequence of Case

    Attributes
    ----------
    cost_s : float
        Seconds of a validation: 0 at first, then what is expected, and set to what it took.
    """

    def __init__(self, training: Training, held_out: Sequence[Case]) -> None:
        self._training, self._held_out, self.cost_s = training, held_out, 0.0
        self._next_s = training.elapsed_s + min(_EARLY_S, (training.plan.budget.time_s or inf) / 5)

    @property
    def is_due(self) -> bool:
        """Whether it is time to validate, or at least to log."""
        if steps := self._training.plan.budget.steps:
            return self._training.step % validation_interval_steps(steps) == 0
        return self._training.elapsed_s >= self._next_s

    @property
    def is_affordable(self) -> bool:
        """Whether validations on the way are; by steps they always are, so that runs are the same."""
        return bool(self._training.plan.budget.steps) or self._interval_s() < inf

    def restart(self) -> None:
        """Wait for the next interval; losses are logged where no validation is affordable."""
        time_s, interval_s = self._training.plan.budget.time_s or 0.0, self._interval_s()
        self._next_s = self._training.elapsed_s + (interval_s if interval_s < inf else time_s / _VALIDATIONS)

    def _interval_s(self) -> float:
        training = self._training
        if self._held_out and not self.cost_s:
            step_s = training.elapsed_s / max(training.step, 1)
            self.cost_s = expected_validation_s(training.plan, self._held_out, step_s)
        return validation_interval_s(training.plan.budget.time_s, self.cost_s)

    def is_over(self) -> bool:
        """Whether the budget is used up; the last validation is part of it."""
        budget, training = self._training.plan.budget, self._training
        if budget.steps:
            return training.step >= budget.steps
        return training.elapsed_s + self.cost_s * 1.2 >= (budget.time_s or 0)


def validation_interval_s(time_s: float | None, cost_s: float) -> float:
    """Seconds from the end of a validation to the next.

    A twentieth of the budget, or 20 times the cost, so that validations take about 5 % of the time; never more than a
    tenth, those at the beginning and at the end included. Infinite where only the one at the end is affordable, or
    where the budget is in steps.

    Parameters
    ----------
    time_s : float or None
        Of the whole training.
    cost_s : float
        Of one validation.

    Examples
    --------
    >>> [validation_interval_s(600, cost_s) for cost_s in (0.1, 3.0, 25.0, 31.0)]
    [30.0, 60.0, 600.0, inf]
    """
    if time_s is None:
        return inf
    affordable = _MOST_TIME * time_s / max(cost_s, 1e-9)
    if affordable < 2:
        return inf
    # The first comes early and the last at the end; in between there is time for less than time_s / interval.
    return max(time_s / _VALIDATIONS, _VALIDATIONS * cost_s, time_s / (int(affordable) - 1))


def validation_interval_steps(steps: int) -> int:
    """Steps between validations: a twentieth of the budget."""
    return max(1, steps // _VALIDATIONS)


def expected_validation_s(plan: Plan, held_out: Sequence[Case], step_s: float) -> float:
    """Seconds of a validation before one has been timed: its pixels take half as long as those of a training step.

    The forward pass is a third of a step; tiles overlap, and validation is in float32.
    """
    pixels = sum(prod(case.size) for case in held_out)
    return 0.5 * step_s * pixels / (plan.patches.batch * prod(plan.patches.size))
