import numpy as np
import pytest
from skimage.measure import label, regionprops

from unetkit.labels.object_sizes import object_sizes

SIZES = {2: (40, 50), 3: (16, 20, 24)}


def _blobs(ndim: int, seed: int = 0) -> np.ndarray:
    """Scattered blobs of classes 0 to 2 with some pixels not labelled."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice([0, 0, 1, 2, 255], size=tuple(n // 2 for n in SIZES[ndim]))
    return np.kron(coarse, np.ones((2,) * ndim, dtype=int)).astype(np.uint8)


@pytest.mark.parametrize("ndim", [2, 3])
def test_equals_the_equivalent_diameter_of_scikit_image(ndim: int) -> None:
    labels, expected = _blobs(ndim), []
    for value in (1, 2):
        components = label(labels == value, connectivity=1)
        expected += [region.equivalent_diameter_area for region in regionprops(components)]
    sizes = object_sizes(labels)
    assert len(sizes) > 10
    np.testing.assert_allclose(sizes, np.sort(expected), rtol=1e-12)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_round_object_has_its_own_diameter(ndim: int) -> None:
    grid = np.indices((61,) * ndim) - 30
    ball = (grid**2).sum(axis=0) <= 20.5**2
    assert object_sizes(ball) == pytest.approx([41], rel=0.01)


@pytest.mark.parametrize("ndim", [2, 3])
def test_sizes_do_not_depend_on_order_and_direction_of_axes(ndim: int) -> None:
    labels = _blobs(ndim, seed=1)
    np.testing.assert_allclose(object_sizes(labels.T), object_sizes(labels))
    np.testing.assert_allclose(object_sizes(np.flip(labels)), object_sizes(labels))


@pytest.mark.parametrize("ndim", [2, 3])
def test_an_image_enlarged_by_three_has_objects_enlarged_by_three(ndim: int) -> None:
    labels = _blobs(ndim, seed=2)
    enlarged = np.kron(labels, np.ones((3,) * ndim, dtype=np.uint8))
    np.testing.assert_allclose(object_sizes(enlarged), 3 * object_sizes(labels))


@pytest.mark.parametrize("ndim", [2, 3])
def test_objects_are_apart_where_they_touch_at_corners_or_differ_in_value(ndim: int) -> None:
    labels = np.zeros((6,) * ndim, dtype=np.int32)
    labels[(2,) * ndim] = labels[(3,) * ndim] = 1  # corners touch
    labels[(2,) * (ndim - 1) + (3,)] = 2  # shares a face with the first, another class
    assert len(object_sizes(labels)) == 3
    assert len(object_sizes(labels > 0)) == ndim - 1  # in 2D it bridges the two corners, in 3D it does not


def test_not_labelled_is_no_object_unless_ids_go_beyond_it() -> None:
    labels = np.zeros((10, 700), dtype=np.uint16)
    labels[4, ::2] = np.arange(350)  # ids 1 to 349, one pixel each
    assert len(object_sizes(labels)) == 348
    assert len(object_sizes(labels, ignore=None)) == 349
    assert len(object_sizes(np.where(labels == 3, -1, labels.astype(int)), ignore=-1)) == 348


@pytest.mark.parametrize("value", [0, 255])
def test_no_objects_give_no_sizes(value: int) -> None:
    sizes = object_sizes(np.full((5, 6), value, dtype=np.uint8))
    assert sizes.shape == (0,)
    assert sizes.dtype == np.float64


def test_the_labels_are_left_as_they_are() -> None:
    labels = _blobs(2)
    before = labels.copy()
    object_sizes(labels)
    np.testing.assert_array_equal(labels, before)


@pytest.mark.parametrize(
    "labels, message",
    [
        (np.zeros((3, 4), np.float32), r"2 axes and dtype float32; expected 1 axis or more, integers or booleans"),
        (np.zeros((), np.uint8), r"0 axes and dtype uint8; expected 1 axis or more"),
    ],
)
def test_what_is_no_label_image_is_refused(labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        object_sizes(labels)
