"""The schedule, as integers: every row once, nothing read before it is made or after it is forgotten."""

from typing import Any

import pytest
import torch

from unetkit.geometry import Axis, Window
from unetkit.inference.streaming.schedule import longest_queues, schedule
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build


def axis_of(**options: Any) -> Axis:
    with torch.device("meta"):
        graph = build(Architecture(**{"widths": (2, 3, 4), **options})).graph
    axis: Axis = graph.geometry.axes[0]
    return axis


NETS: list[dict[str, Any]] = [
    {},
    {"padding": "valid", "norm": "none"},
    {"topology": "unet++", "down": "blur", "up": "linear"},
    {"skip": "attention", "down": "first", "up": "overlapping"},
]


@pytest.mark.parametrize("options", NETS, ids=str)
@pytest.mark.parametrize("slab", [1, 5, 16, 10_000])
def test_every_row_is_made_once_and_read_only_while_it_is_there(options: dict[str, Any], slab: int) -> None:
    axis = axis_of(**options)
    n = axis.above(61)
    sizes = axis.sizes(n)
    assert sizes is not None
    made, free = [0] * len(sizes), [0] * len(sizes)
    for work in schedule(axis, n, slab=slab):
        i = work.layer
        assert work.start == made[i] < work.stop
        for j in axis.inputs[i]:
            low, high = axis.windows[i].reads(work.start, work.stop - 1)
            assert work.low == max(low, 0)
            assert work.high == max(min(high + 1, sizes[j]), work.low + 1)  # a border repeats the first row
            assert free[j] <= work.low
            assert work.high <= made[j]
        made[i] = work.stop
        for layer, row in work.forget:
            assert row > free[layer]
            free[layer] = row
    assert tuple(made) == sizes


def test_rows_are_made_as_soon_as_they_can_be() -> None:
    axis = Axis((Window(), Window(3, before=1, after=1), Window(2, 2)), ((), (0,), (1,)))
    work = [(w.layer, w.start, w.stop) for w in schedule(axis, 6, slab=3)]
    assert work == [(0, 0, 3), (1, 0, 2), (2, 0, 1), (0, 3, 6), (1, 2, 6), (2, 1, 3)]


def test_what_waits_at_the_far_end_does_not_come_at_once() -> None:
    axis = axis_of(widths=(2, 2, 2, 2, 2))
    rows = {work.stop - work.start for work in schedule(axis, 1024, slab=16) if work.layer == len(axis.windows) - 1}
    assert 16 <= max(rows) <= 20


def test_queues_do_not_grow_with_the_image() -> None:
    axis = axis_of(widths=(2, 2, 2, 2, 2))
    short, long = (longest_queues(axis, n, slab=16) for n in (1024, 8192))
    assert short == long
    assert max(short) < 512
    finer = longest_queues(axis, 1024, slab=4)
    assert sum(finer) < sum(short)


def test_a_size_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="input size 61 does not fit the net: nearest sizes are 60 and 64"):
        next(schedule(axis_of(), 61, slab=8))
