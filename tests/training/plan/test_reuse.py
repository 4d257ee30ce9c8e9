"""A plan for another training: its budget, seed and data may be others, its values not."""

from pathlib import Path

import numpy as np
import pytest

from unetkit.data.dataset import Case, Dataset
from unetkit.labels.kind import LabelKind
from unetkit.training.plan.reuse import check_resumable, reuse_plan, with_longer_budget
from unetkit.training.plan.rules import make_plan


def dataset(*, channels=1, n=4):
    labels, image = np.zeros((64, 64), np.uint8), np.zeros((channels, 64, 64), np.float32)
    cases = [Case(f"c{i}", image, labels, None, None, Path(f"c{i}.png")) for i in range(n)]
    return Dataset(cases, LabelKind("binary", (0, 255)), channels, 2, (1.0, 1.0), "px", np.array([1, 1]), [], False)


PLAN = make_plan(dataset(), images="a", steps=10, seed=3, settings={"device": {"name": "cpu"}})


def test_budget_seed_and_data_are_replaced():
    plan = reuse_plan(PLAN, dataset(n=7), images="b", masks="m", time_s=60.0, seed=5)
    assert (plan.budget.time_s, plan.budget.steps, plan.budget.seed) == (60.0, None, 5)
    assert (plan.data.images, plan.data.masks, plan.data.n_images) == ("b", "m", 7)
    assert (plan.net, plan.patches, plan.optim, plan.device) == (PLAN.net, PLAN.patches, PLAN.optim, PLAN.device)
    plan = reuse_plan(PLAN, dataset(), images="b", masks=None)
    assert (plan.budget.steps, plan.budget.seed) == (10, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings": {"patches": {"batch": 8}}}, r"leave out patches\.batch, or change the file"),
        ({"time_s": 9.0, "steps": 9}, "give one budget"),
    ],
)
def test_other_values_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        reuse_plan(PLAN, dataset(), images="b", masks=None, **options)


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match="for 1 channels and 2 classes, the data have 3 and 2"):
        reuse_plan(PLAN, dataset(channels=3), images="b", masks=None)


def test_a_run_is_resumed_by_the_same_values():
    check_resumable(PLAN, dataset(), steps=10, seed=3, settings={"patches": {"size": 64}})
    with pytest.raises(ValueError, match=r"planned with budget\.seed 3, not 4"):
        check_resumable(PLAN, dataset(), seed=4)
    with pytest.raises(ValueError, match=r"planned with patches\.size \(64, 64\), not \(32, 32\)"):
        check_resumable(PLAN, dataset(), settings={"patches": {"size": 32}})
    with pytest.raises(ValueError, match=r"planned with data\.n_images 4, not 5"):
        check_resumable(PLAN, dataset(n=5))


def test_a_run_goes_on_with_more_and_not_with_less():
    plan, line = with_longer_budget(PLAN, time_s=None, steps=25)
    assert (plan.budget.steps, PLAN.budget.steps) == (25, 10)
    assert line.startswith("budget: 25, not 10 steps as planned")
    timed = make_plan(dataset(), images="a", time_s=60.0, settings={"device": {"name": "cpu"}})
    assert with_longer_budget(timed, time_s=90.0, steps=None)[0].budget.time_s == 90.0
    for options in ({"time_s": None, "steps": 9}, {"time_s": 60.0, "steps": None}, {"time_s": None, "steps": None}):
        assert with_longer_budget(PLAN, **options) == (PLAN, "")
    with pytest.raises(ValueError, match=r"planned with budget\.steps 10, not 9: .*\(--from\)"):
        check_resumable(PLAN, dataset(), steps=9)
