"""Intensities: zero mean and unit deviation per channel, whatever the file held."""

import numpy as np
import pytest

from unetkit.data.normalise import measure_normalisation, standardise
from unetkit.data.normalised import prepare_for_net
from unetkit.georeference import GeoReference
from unetkit.image import Image

SIZES = {2: (30, 41), 3: (7, 12, 9)}
AXES = {2: "cyx", 3: "czyx"}


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64", "bool"])
def test_each_channel_by_its_own_mean_and_deviation(ndim, dtype):
    array = np.random.default_rng(1).normal(50, 20, (3, *SIZES[ndim])).clip(0, 255)
    array[1] *= 100 if dtype == "uint16" else 0.5
    array[:, 0] = 0  # for bool as well, both values occur
    result = standardise(array.astype(dtype))
    assert result.dtype == np.float32
    for channel, original in zip(result, array.astype(dtype).astype(np.float64), strict=True):
        expected = (original - original.mean()) / original.std()
        np.testing.assert_allclose(channel, expected, atol=1e-5)


@pytest.mark.parametrize("value", [0, 0.1, 255, 1e30])
def test_a_channel_of_one_value_becomes_zero(value):
    assert not standardise(np.full((1, 333, 127), value)).any()


def test_standardising_leaves_the_image_alone_and_does_not_depend_on_gain_and_offset():
    array = np.random.default_rng(2).random((1, 20, 20)).astype(np.float32)
    before = array.copy()
    np.testing.assert_allclose(standardise(array), standardise(array * 900 + 70), atol=1e-4)
    assert np.array_equal(array, before)


def test_values_that_are_not_finite_are_counted():
    array = np.zeros((1, 5, 5))
    array[0, 0, :2], array[0, 1, 1] = np.nan, -np.inf
    with pytest.raises(ValueError, match=r"2 of 25 pixel values are NaN and 1 infinite: replace them"):
        standardise(array)
    with pytest.raises(ValueError, match=r"0 of 1 pixel values are NaN and 1 infinite"):
        standardise(np.array([[[1e300]]]))


@pytest.mark.parametrize("ndim", [2, 3])
def test_for_net_repeats_gray_and_refuses_what_does_not_fit(ndim):
    gray = Image(np.random.default_rng(3).random((1, *SIZES[ndim])), AXES[ndim], (1.0,) * ndim)
    repeated = prepare_for_net(gray, channels=3, ndim=ndim)
    assert repeated.shape == (3, *SIZES[ndim])
    assert np.array_equal(repeated[0], repeated[2])
    assert np.array_equal(prepare_for_net(gray, channels=1, ndim=ndim), standardise(gray.array))
    other = 5 - ndim
    size = " x ".join(map(str, SIZES[ndim]))
    with pytest.raises(ValueError, match=rf"has {ndim} spatial axes, {size}; this is a {other}D net"):
        prepare_for_net(gray, channels=1, ndim=other)
    with pytest.raises(ValueError, match=r"got an image of 1 channels, expected 2"):
        prepare_for_net(gray, channels=2, ndim=ndim)


# --- maps ---


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("dtype, nodata", [("float32", np.nan), ("float64", -3.4e38), ("int16", -32768)])
def test_pixels_without_data_do_not_count(ndim, dtype, nodata):
    rng = np.random.default_rng(4)
    array = rng.normal(50, 20, (2, *SIZES[ndim])).astype(dtype)
    valid = rng.random(SIZES[ndim]) < 0.7
    array[:, ~valid] = nodata
    result = standardise(array, valid)
    assert result.dtype == np.float32
    assert not result[:, ~valid].any()
    for channel, original in zip(result, array.astype(np.float64), strict=True):
        seen = original[valid]
        np.testing.assert_allclose(channel[valid], (seen - seen.mean()) / seen.std(), atol=1e-5)
    image = Image(array, AXES[ndim], (1.0,) * ndim, georeference=GeoReference(nodata_text=str(nodata)))
    assert np.array_equal(prepare_for_net(image, channels=2, ndim=ndim), result)


def test_all_valid_is_as_without_a_mask():
    array = np.random.default_rng(5).random((2, 30, 41))
    np.testing.assert_allclose(standardise(array, np.ones((30, 41), bool)), standardise(array), atol=1e-6)
    image = Image(array, "cyx", (1.0, 1.0), georeference=GeoReference())
    assert np.array_equal(prepare_for_net(image, channels=2, ndim=2), standardise(array))


def test_a_map_without_data_is_zero():
    image = Image(np.full((1, 4, 5), np.nan, np.float32), "cyx", (1.0, 1.0), georeference=GeoReference())
    assert not prepare_for_net(image, channels=1, ndim=2).any()


def test_only_the_values_of_valid_pixels_must_be_finite():
    array = np.zeros((1, 4, 5))
    array[0, 0, 0], array[0, 1, :2] = np.nan, np.inf
    located = Image(array, "cyx", (1.0, 1.0), georeference=GeoReference())
    with pytest.raises(ValueError, match=r"0 of 20 pixel values are NaN and 2 infinite: replace them"):
        prepare_for_net(located, channels=1, ndim=2)
    with pytest.raises(ValueError, match=r"1 of 20 pixel values are NaN and 2 infinite"):
        prepare_for_net(Image(array, "cyx", (1.0, 1.0)), channels=1, ndim=2)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("scale", [1e36, 3e38])
def test_values_that_fill_float32(ndim, scale):
    array = np.random.default_rng(0).uniform(-1, 1, (1, *SIZES[ndim])).astype(np.float32) * np.float32(scale)
    wide = array.astype(np.float64)
    np.testing.assert_allclose(standardise(array), (wide - wide.mean()) / wide.std(), atol=1e-5)


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">u2", "<i2", ">i2"])
def test_small_integers_are_measured_as_their_floats(dtype):
    limits = np.iinfo(dtype)
    image = np.random.default_rng(0).integers(limits.min, limits.max, (3, 70, 50), endpoint=True).astype(dtype)
    image[1] = image[0]
    valid = np.random.default_rng(1).random(image.shape) < 0.8
    for is_valid in (None, lambda _, rows: valid[:, rows]):
        exact, floats = (measure_normalisation(each, is_valid) for each in (image, image.astype(np.float32)))
        assert np.allclose(exact.mean, floats.mean, rtol=1e-5, atol=1e-3)
        assert np.allclose(exact.std, floats.std, rtol=1e-5)
        assert (exact.missing, exact.has_gaps, exact.is_gray) == (floats.missing, floats.has_gaps, floats.is_gray)
    assert measure_normalisation(np.stack([image[0]] * 3)).is_gray
    assert measure_normalisation(np.full((1, 4, 4), -7, np.int16)).std == [1]
