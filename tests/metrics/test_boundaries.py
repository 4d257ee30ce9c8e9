"""Boundaries and distances against brute force and scikit-image."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from skimage.metrics import hausdorff_distance
from skimage.segmentation import find_boundaries

from unetkit.metrics.boundaries import (
    BoundaryMatch,
    boundary,
    boundary_f1,
    match_boundaries,
    normalised_surface_dice,
    surface_distances,
)

SHAPES = [(17, 13), (7, 8, 9)]
SCORES = [boundary_f1, normalised_surface_dice]


def blobs(shape, seed, *, density=0.6):
    return np.random.default_rng(seed).random(shape) < density


def brute_boundary(mask, valid):
    """The definition, pixel by pixel."""
    edge = np.zeros_like(mask)
    for place in zip(*np.nonzero(mask & valid), strict=True):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                other = list(place)
                other[axis] += step
                inside = 0 <= other[axis] < mask.shape[axis]
                if inside and valid[tuple(other)] and not mask[tuple(other)]:
                    edge[place] = True
    return edge


def brute_scores(predicted, truth, valid, spacing, tolerance):
    points = [np.argwhere(brute_boundary(mask, valid)) * spacing for mask in (predicted, truth)]
    distances = cdist(*points)
    from_predicted, from_truth = distances.min(axis=1), distances.min(axis=0)
    matched = np.count_nonzero(from_predicted <= tolerance), np.count_nonzero(from_truth <= tolerance)
    precision, recall = matched[0] / len(points[0]), matched[1] / len(points[1])
    f1 = 2 / (1 / precision + 1 / recall) if precision and recall else 0.0
    return from_predicted, from_truth, f1, sum(matched) / (len(points[0]) + len(points[1]))


@pytest.mark.parametrize("shape", SHAPES)
def test_boundary_is_the_definition_and_that_of_scikit_image(shape):
    mask = blobs(shape, 0)
    assert np.array_equal(boundary(mask), brute_boundary(mask, np.ones_like(mask)))
    assert np.array_equal(boundary(mask), find_boundaries(mask, mode="inner"))
    valid = blobs(shape, 1, density=0.8)
    assert np.array_equal(boundary(mask, valid), brute_boundary(mask, valid))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("anisotropic", [False, True])
def test_distances_and_scores_are_those_of_brute_force(shape, anisotropic):
    predicted, truth = blobs(shape, 2, density=0.1), blobs(shape, 3, density=0.1)
    valid = blobs(shape, 4, density=0.9)
    spacing = np.array([2.5, 1.0, 0.7][: len(shape)]) if anisotropic else np.ones(len(shape))
    from_predicted, from_truth, f1, nsd = brute_scores(predicted, truth, valid, spacing, tolerance=1.5)
    options = {"spacing": tuple(spacing), "valid": valid}
    found = surface_distances(predicted, truth, **options)
    np.testing.assert_allclose(found[0], from_predicted)
    np.testing.assert_allclose(found[1], from_truth)
    assert 0 < f1 < 1
    assert boundary_f1(predicted, truth, tolerance=1.5, **options) == pytest.approx(f1)
    assert normalised_surface_dice(predicted, truth, tolerance=1.5, **options) == pytest.approx(nsd)


@pytest.mark.parametrize("shape", SHAPES)
def test_largest_distance_is_the_hausdorff_distance_of_scikit_image(shape):
    predicted, truth = blobs(shape, 5, density=0.05), blobs(shape, 6, density=0.05)
    farthest = max(map(np.max, surface_distances(predicted, truth)))
    assert farthest == pytest.approx(hausdorff_distance(boundary(predicted), boundary(truth)))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("shape", SHAPES)
def test_scores_are_symmetric_and_grow_with_tolerance(shape, score):
    predicted, truth = blobs(shape, 7, density=0.1), blobs(shape, 8, density=0.1)
    scores = [score(predicted, truth, tolerance=tolerance) for tolerance in (0, 1, 1.5, 2, 100)]
    assert scores == sorted(scores)
    assert scores[-1] == 1.0
    assert scores[1] == pytest.approx(score(truth, predicted, tolerance=1))
    assert score(truth, truth, tolerance=0) == 1.0


@pytest.mark.parametrize("ndim", [2, 3])
def test_scores_of_a_shifted_square_by_hand(ndim):
    """Two edges (faces) of a bar across the image, each moved by three pixels."""
    truth, predicted = np.zeros((2, *(20,) * ndim), dtype=bool)
    truth[5:10], predicted[8:13] = True, True
    for score in SCORES:
        assert score(predicted, truth, tolerance=2.9) == pytest.approx(0.5)  # planes 5, 9 and 8, 12: 8 and 9 are near
        assert score(predicted, truth, tolerance=3.0) == 1.0
        spacing = (2.0,) + (1.0,) * (ndim - 1)
        assert score(predicted, truth, tolerance=5.9, spacing=spacing) == pytest.approx(0.5)
        assert score(predicted, truth, tolerance=1.9, spacing=spacing) == 0.0


def test_surface_dice_and_f1_differ_where_boundaries_have_different_lengths():
    truth, predicted = np.zeros((2, 20, 20), dtype=bool)
    truth[5, 5:15] = True  # 10 boundary pixels
    predicted[5, 5:15], predicted[15, 0:20] = True, True  # 30, of which 10 match
    assert boundary_f1(predicted, truth, tolerance=1) == pytest.approx(2 * (1 / 3) / (4 / 3))
    assert normalised_surface_dice(predicted, truth, tolerance=1) == pytest.approx(20 / 40)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("shape", SHAPES)
def test_masks_without_boundary(shape, score):
    empty, full = np.zeros(shape, dtype=bool), np.ones(shape, dtype=bool)
    some = blobs(shape, 9)
    assert score(empty, empty, tolerance=1) == score(full, full, tolerance=1) == 1.0
    assert score(empty, full, tolerance=1) == score(full, empty, tolerance=1) == 0.0
    assert (
        score(empty, some, tolerance=100)
        == score(some, empty, tolerance=100)
        == score(some, full, tolerance=100)
        == 0.0
    )
    assert np.isinf(surface_distances(some, empty)[0]).all()
    assert surface_distances(some, empty)[1].size == 0


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_not_labelled_change_nothing(shape, score):
    predicted, truth = blobs(shape, 10), blobs(shape, 11)
    valid = blobs(shape, 12, density=0.7)
    expected = score(predicted, truth, tolerance=1, valid=valid)
    assert score(predicted ^ ~valid, truth | ~valid, tolerance=1, valid=valid) == expected
    assert score(predicted, predicted ^ ~valid, tolerance=0, valid=valid) == 1.0
    assert score(predicted, ~predicted, tolerance=1, valid=np.zeros(shape, dtype=bool)) == 1.0  # nothing to differ in


def test_no_boundary_along_the_edge_of_the_image():
    mask = np.zeros((6, 6), dtype=bool)
    mask[:, :3] = True
    assert np.argwhere(boundary(mask)).tolist() == [[row, 2] for row in range(6)]


def test_matches_add_up_to_those_of_the_images_side_by_side():
    predicted, truth = blobs((2, 15, 15), 13, density=0.1), blobs((2, 15, 15), 14, density=0.1)
    parts = [match_boundaries(p, t, tolerance=2) for p, t in zip(predicted, truth, strict=True)]
    apart = np.zeros((15, 10), dtype=bool)
    side_by_side = [np.concatenate([one[0], apart, one[1]], axis=1) for one in (predicted, truth)]
    valid = np.ones((15, 40), dtype=bool)
    valid[:, 15:25] = False
    assert sum(parts, BoundaryMatch()) == match_boundaries(*side_by_side, tolerance=2, valid=valid)


def test_wrong_use():
    a, b = np.zeros((4, 5), dtype=bool), np.zeros((5, 4), dtype=bool)
    with pytest.raises(ValueError, match=r"predicted has shape \(4, 5\) and truth \(5, 4\)"):
        surface_distances(a, b)
    for spacing in [(1.0,), (1.0, 2.0, 3.0), (1.0, 0.0), (1.0, np.inf)]:
        with pytest.raises(ValueError, match=r"spacing \(1.0.* for masks of 2 axes: expected 2 positive numbers"):
            surface_distances(a, a, spacing=spacing)
    for tolerance in (-1.0, float("nan")):
        with pytest.raises(ValueError, match=rf"tolerance {tolerance}: expected a distance of 0 or more"):
            boundary_f1(a, a, tolerance=tolerance)
