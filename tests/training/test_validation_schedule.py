"""Validations take at most a tenth of a training's time, whatever one of them costs."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unetkit.training.validation_schedule import validation_interval_s, validation_interval_steps


@given(st.floats(1, 1e6), st.floats(1e-5, 2), st.floats(0, 0.2))
def test_at_most_a_tenth_of_the_time(time_s, share, first):
    """The clock of a training: a first validation early on, then one per interval, and one at the end."""
    cost_s, clock_s, n = share * time_s, first * time_s, 0
    interval_s = validation_interval_s(time_s, cost_s)
    if interval_s < inf:
        while clock_s + cost_s <= time_s:
            clock_s, n = clock_s + cost_s + interval_s, n + 1
    assert (n + 1) * cost_s <= time_s * max(0.1, share) * (1 + 1e-9)
    assert n <= 21


def test_quick_validations_come_twenty_times():
    assert validation_interval_s(600, 0.5) == 30
    assert validation_interval_s(600, 0) == 30
    assert validation_interval_s(None, 1) == inf


@pytest.mark.parametrize(("steps", "interval"), [(1, 1), (19, 1), (400, 20), (419, 20)])
def test_steps_are_counted(steps, interval):
    assert validation_interval_steps(steps) == interval
