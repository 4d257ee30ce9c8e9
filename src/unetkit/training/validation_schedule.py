"""When a training validates: often enough to keep its best net, and for at most a tenth of its time."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod

from ..data.dataset import Case
from .plan.plan import Plan

__all__ = ["expected_validation_s", "validation_interval_s", "validation_interval_steps"]

_VALIDATIONS = 20  # per training, fewer where they would take more than 5 % of the time
_MOST_TIME = 0.1  # share of the time of a training


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
    pixels = sum(case.labels.size for case in held_out)
    return 0.5 * step_s * pixels / (plan.patches.batch * prod(plan.patches.size))
