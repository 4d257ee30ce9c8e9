"""Scores of objects: worked by hand, by definition pixel by pixel, and against scikit-image."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import adapted_rand_error, variation_of_information

from unetkit.metrics.objects import (
    average_precision,
    mean_average_precision,
    overlaps,
    panoptic_quality,
    rand_and_information,
    segmentation_accuracy,
    thin_borders,
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
    found = overlaps(predicted, truth)
    assert average_precision(found, 0.5) == pytest.approx(2 / (2 + 2 + 1))
    assert average_precision(found, 0.6) == pytest.approx(1 / (1 + 3 + 2))  # above, not at the threshold
    assert mean_average_precision(found) == pytest.approx((2 * 2 / 5 + 4 * 1 / 6) / 10)
    assert panoptic_quality(found) == pytest.approx((0.8 + 0.6) / (2 + 2 / 2 + 1 / 2))
    assert segmentation_accuracy(found) == pytest.approx((0.8 + 0.6 + 0) / 3)


def test_half_is_no_match() -> None:
    truth, predicted = rows(8), rows(4, 4)
    found = overlaps(predicted, truth)
    assert average_precision(found, 0.5) == 0
    assert panoptic_quality(found) == 0
    assert segmentation_accuracy(found) == 0


def test_nothing_there() -> None:
    empty = np.zeros((4, 4), np.uint8)
    found = overlaps(empty, empty)
    assert (average_precision(found), panoptic_quality(found)) == (1.0, 1.0)
    assert np.isnan(segmentation_accuracy(found))
    assert np.isnan(rand_and_information(empty, empty)).all()
    one = empty.copy()
    one[0] = 3
    assert average_precision(overlaps(one, empty)) == 0
    assert segmentation_accuracy(overlaps(empty, one)) == 0


def test_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\).*\(2, 1\)"):
        overlaps(np.zeros((1, 2), int), np.zeros((2, 1), int))
    with pytest.raises(ValueError, match=r"0\.3"):
        average_precision(overlaps(rows(3), rows(3)), 0.3)


@given(IDS, IDS)
def test_ids_are_names_only(predicted: np.ndarray, truth: np.ndarray) -> None:
    names = np.array([0, 900, -3, 7, 65536])
    one, other = overlaps(predicted, truth), overlaps(names[predicted], names[::-1][::-1][truth])
    for score in (mean_average_precision, panoptic_quality):
        assert score(one) == pytest.approx(score(other))
    assert rand_and_information(predicted, truth) == pytest.approx(
        rand_and_information(names[predicted], truth), nan_ok=True
    )
    assert sorted(one.truth) == sorted(np.unique(truth[truth != 0], return_counts=True)[1])


@settings(max_examples=50)
@given(IDS, IDS)
def test_rand_by_pairs_of_pixels(predicted: np.ndarray, truth: np.ndarray) -> None:
    """V_rand is over ordered pairs of true foreground pixels, a pixel with itself included."""
    ours = predicted.ravel().astype(float)
    ours[ours == 0] = -np.arange(1, (ours == 0).sum() + 1)  # each by itself
    keep = truth.ravel() != 0
    ours, theirs = ours[keep], truth.ravel()[keep]
    if not keep.any():
        return
    pairs = list(combinations(range(len(ours)), 2))
    both = len(ours) + 2 * sum(ours[i] == ours[j] and theirs[i] == theirs[j] for i, j in pairs)
    split = len(ours) + 2 * sum(theirs[i] == theirs[j] for i, j in pairs)
    merged = len(ours) + 2 * sum(ours[i] == ours[j] for i, j in pairs)
    assert rand_and_information(predicted, truth)[0] == pytest.approx(both / (0.5 * split + 0.5 * merged))


@settings(max_examples=50)
@given(arrays(np.int64, (6, 7), elements=st.integers(1, 4)), arrays(np.int64, (6, 7), elements=st.integers(1, 4)))
def test_against_scikit_image(predicted: np.ndarray, truth: np.ndarray) -> None:
    """Where nothing is background both definitions agree."""
    v_rand, v_info = rand_and_information(predicted, truth)
    assert 1 - v_rand == pytest.approx(_rand_error(truth, predicted), abs=1e-9)
    split, merged = variation_of_information(truth, predicted)
    h_theirs, h_ours = (_bits(ids) for ids in (truth, predicted))
    expected = 1.0 if h_theirs + h_ours == 0 else 1 - (split + merged) / (h_theirs + h_ours)
    assert v_info == pytest.approx(expected, abs=1e-9)


def _rand_error(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Of scikit-image, whose pairs leave out a pixel with itself: put back in."""
    _, precision, recall = adapted_rand_error(truth, predicted, ignore_labels=())
    n = truth.size
    merged, split = (sum(int(c) ** 2 for c in np.unique(ids, return_counts=True)[1]) - n for ids in (predicted, truth))
    both = precision * split if split else recall * merged  # its precision is a share of the true pairs
    return 1 - (both + n) / (0.5 * (merged + n) + 0.5 * (split + n))


def _bits(ids: np.ndarray) -> float:
    shares = np.unique(ids, return_counts=True)[1] / ids.size
    return float(-(shares * np.log2(shares)).sum())


def test_thin_borders() -> None:
    ids = np.zeros((9, 15), int)
    ids[:, :3], ids[:, 10:] = 4, 9
    thin = thin_borders(ids)
    assert set(np.unique(thin)) == {0, 4, 9}
    assert ((thin == 0).sum(axis=1) == 1).all()
    assert (thin[:, :3] == 4).all()
    assert (thin[:, 10:] == 9).all()
