"""Pixels of a cluster's task: ten seconds' work, larger for many workers, smaller where some would have none."""

import pytest

from unetkit.inference.dask import task_pixels


@pytest.mark.parametrize(
    ("total", "workers", "expected"),
    [
        (10**12, 1, 2**23),
        (10**12, 250, 2**23),
        (10**15, 1000, 2**25),
        (10**9, 100, 10**9 // 400),
        (10**6, 8, 2**20),
    ],
)
def test_pixels_of_a_task(total, workers, expected):
    assert task_pixels(total, workers) == expected
