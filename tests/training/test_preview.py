"""Pictures for people: panels whose every part is where it should be."""

import numpy as np
import pytest

from unetkit.labels.colours import COLOURS
from unetkit.training.preview import differences, middle_plane, outlines, panel, to_rgb

SIZE = {2: (20, 30), 3: (5, 20, 30)}


def made(ndim, channels=1):
    image = np.random.default_rng(0).normal(size=(channels, *SIZE[ndim])).astype(np.float32)
    truth = np.zeros(SIZE[ndim], np.uint8)
    truth[..., 4:12, 5:15] = 1
    truth[..., 0, :] = 255
    predicted = np.zeros(SIZE[ndim], np.uint8)
    predicted[..., 4:12, 8:18] = 1
    return image, predicted, truth


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_a_panel_is_four_pictures_side_by_side(ndim, channels):
    image, predicted, truth = made(ndim, channels)
    picture = panel(image, predicted, truth)
    assert picture.shape == (20, 4 * 30 + 3 * 4, 3)
    assert picture.dtype == np.uint8
    assert (picture[:, 30:34] == 255).all()
    parts = [picture[:, i * 34 : i * 34 + 30] for i in range(4)]
    expected = (to_rgb(image), outlines(image, truth), outlines(image, predicted), differences(image, predicted, truth))
    for part, want in zip(parts, expected, strict=True):
        assert np.array_equal(part, want)


def test_gray_runs_from_the_first_to_the_last_percentile():
    image = np.arange(1000, dtype=np.float32).reshape(1, 25, 40)
    picture = to_rgb(image)
    assert (picture[..., 0] == picture[..., 2]).all()
    assert (picture[image[0] <= 9] == 0).all()
    assert (picture[image[0] >= 990] == 255).all()
    assert picture[12, 20, 0] == pytest.approx(127, abs=2)


def test_an_image_of_one_value_is_no_error():
    assert not to_rgb(np.zeros((1, 4, 4), np.float32)).any()


@pytest.mark.parametrize("ndim", [2, 3])
def test_wrong_is_red_missed_is_blue_and_unlabelled_is_neither(ndim):
    image, predicted, truth = made(ndim)
    predicted[..., 0, 0] = 1
    picture = differences(image, predicted, truth).astype(int)
    red, blue = picture[..., 0] > picture[..., 2] + 50, picture[..., 2] > picture[..., 0] + 50
    predicted, truth = middle_plane(predicted), middle_plane(truth)
    assert np.array_equal(red, (predicted == 1) & (truth == 0))
    assert np.array_equal(blue, (predicted == 0) & (truth == 1))


@pytest.mark.parametrize("value", [1, 2, 7, 8])
def test_outlines_have_the_colour_of_their_class(value):
    image, _, truth = made(2)
    truth[truth == 1] = value
    picture = outlines(image, truth)
    colour = COLOURS[1 + (value - 1) % 7]
    assert (picture[4, 5:15] == colour).all()
    assert (picture[4:12, 14] == colour).all()
    changed = (picture != to_rgb(image)).any(-1)
    assert not changed[5:11, 6:14].any()
    assert not changed[0].any()


def test_the_middle_plane_of_a_volume():
    volume = np.arange(5)[:, None, None] * np.ones((1, 2, 3))
    assert (middle_plane(volume) == 2).all()
    assert middle_plane(volume[0]).shape == (2, 3)
