"""Scores of objects, worked by hand and by definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unetkit.metrics.objects import (
    average_precision,
    mean_average_precision,
    overlaps,
    panoptic_quality,
    segmentation_accuracy,
)

IDS = arrays(np.int64, (5, 6), elements=st.integers(0, 4))


def rows(*lengths: int) -> np.ndarray:
    """Objects one after the other in one row, then background."""
    ids = np.concatenate([np.full(n, i) for i, n in enumerate(lengths, start=1)])
    return np.pad(ids, (0, 40 - len(ids)))[None]


def test_by_hand() -> None:
    truth = rows(10, 10, 4)
    predicted = np.zeros_like(truth)
    predicted[0, 0:8] = 70  # 8 of 10: IoU 0.8
    predicted[0, 10:16] = 5  # 6 of 10: IoU 0.6
    predicted[0, 16:20] = 9  # 4 of 10: a part that is no match
    predicted[0, 30:33] = 2  # nothing there
    shared = overlaps(predicted, truth)
    assert average_precision(shared, 0.5) == pytest.approx(2 / (2 + 2 + 1))
    assert average_precision(shared, 0.6) == pytest.approx(1 / (1 + 3 + 2))  # above, not at the threshold
    assert mean_average_precision(shared) == pytest.approx((2 * 2 / 5 + 4 * 1 / 6) / 10)
    assert panoptic_quality(shared) == pytest.approx((0.8 + 0.6) / (2 + 2 / 2 + 1 / 2))
    assert segmentation_accuracy(shared) == pytest.approx((0.8 + 0.6 + 0) / 3)


def test_half_is_no_match() -> None:
    truth, predicted = rows(8), rows(4, 4)
    shared = overlaps(predicted, truth)
    assert average_precision(shared, 0.5) == 0
    assert panoptic_quality(shared) == 0
    assert segmentation_accuracy(shared) == 0


def test_nothing_there() -> None:
    empty = np.zeros((4, 4), np.uint8)
    shared = overlaps(empty, empty)
    assert (average_precision(shared), panoptic_quality(shared)) == (1.0, 1.0)
    assert np.isnan(segmentation_accuracy(shared))
    single = empty.copy()
    single[0] = 3
    assert average_precision(overlaps(single, empty)) == 0
    assert segmentation_accuracy(overlaps(empty, single)) == 0


def test_wrong_use() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\).*\(2, 1\)"):
        overlaps(np.zeros((1, 2), int), np.zeros((2, 1), int))
    with pytest.raises(ValueError, match=r"0\.3"):
        average_precision(overlaps(rows(3), rows(3)), 0.3)


@given(IDS, IDS)
def test_ids_are_names_only(predicted: np.ndarray, truth: np.ndarray) -> None:
    names = np.array([0, 900, -3, 7, 65536])
    first, second = overlaps(predicted, truth), overlaps(names[predicted], names[::-1][::-1][truth])
    for score in (mean_average_precision, panoptic_quality):
        assert score(first) == pytest.approx(score(second))
    assert sorted(first.truth) == sorted(np.unique(truth[truth != 0], return_counts=True)[1])
