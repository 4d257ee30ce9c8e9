"""What the tags of a GeoTIFF mean: placement, coordinates, pixel size, and pixels without data."""

import math

import numpy as np
import pytest

from unetkit.georeference import GeoReference, holds_data, valid_mask
from unetkit.image import Image

UTM = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32630)
DEGREES = (1, 1, 0, 3, 1024, 0, 1, 2, 1025, 0, 1, 1, 2048, 0, 1, 4326)
TIED = {"pixel_scale": (10.0, 20.0, 0.0), "tiepoints": (0.0, 0.0, 0.0, 500000.0, 4000000.0, 0.0)}
TURNED = (3.0, -4.0, 0.0, 100.0, 4.0, 3.0, 0.0, 200.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def keys(*pairs: tuple[int, int]) -> tuple[int, ...]:
    """A directory of keys with their values beside them."""
    return (1, 1, 0, len(pairs), *(number for key, value in pairs for number in (key, 0, 1, value)))


@pytest.mark.parametrize(
    "given, expected",
    [
        (TIED, (10.0, 0.0, 500000.0, 0.0, -20.0, 4000000.0)),
        (TIED | {"pixel_scale": (10.0, -20.0, 0.0)}, (10.0, 0.0, 500000.0, 0.0, -20.0, 4000000.0)),
        (TIED | {"tiepoints": (5.0, 7.0, 0.0, 0.0, 0.0, 0.0)}, (10.0, 0.0, -50.0, 0.0, -20.0, 140.0)),
        (TIED | {"keys": keys((1025, 2))}, (10.0, 0.0, 499995.0, 0.0, -20.0, 4000010.0)),
        ({"matrix": TURNED}, (3.0, -4.0, 100.0, 4.0, 3.0, 200.0)),
        ({"matrix": TURNED, "keys": keys((1025, 2))}, (3.0, -4.0, 100.5, 4.0, 3.0, 196.5)),
        ({"tiepoints": TIED["tiepoints"] * 4}, None),  # control points without a scale
        ({"pixel_scale": (0.0, 0.0, 0.0), "tiepoints": TIED["tiepoints"]}, None),
        ({}, None),
    ],
)
def test_transform(given: dict, expected: tuple[float, ...] | None) -> None:
    assert GeoReference(**given).transform == expected


@pytest.mark.parametrize(
    "given, expected",
    [
        (UTM, 32630),
        (DEGREES, 4326),
        (keys((3072, 32767), (2048, 4326)), None),  # a projection of one's own, on a known globe
        (keys((1024, 1), (2048, 4326)), None),  # projected, but it is not said how
        (keys((2048, 0)), None),
        ((1, 1, 0, 1, 3072, 34736, 1, 0), None),  # not stored in the directory
        ((1, 1, 0, 9, 3072), None),
        ((), None),
    ],
)
def test_epsg(given: tuple[int, ...], expected: int | None) -> None:
    assert GeoReference(keys=given).epsg == expected


@pytest.mark.parametrize("text, expected", [("-9999", -9999.0), ("0", 0.0), ("-3.4e38", -3.4e38), (None, None)])
def test_nodata(text: str | None, expected: float | None) -> None:
    assert GeoReference(nodata_text=text).nodata == expected


def test_nodata_that_is_no_number_or_nan() -> None:
    assert GeoReference(nodata_text="none").nodata is None
    nan = GeoReference(nodata_text="nan").nodata
    assert nan is not None
    assert math.isnan(nan)


def test_another_nodata_in_the_same_place() -> None:
    image = GeoReference(**TIED, keys=UTM, nodata_text="nan")
    mask = image.with_nodata(255)
    assert (mask.nodata_text, mask.transform, mask.epsg) == ("255", image.transform, 32630)
    assert image.with_nodata(None) == GeoReference(**TIED, keys=UTM)


@pytest.mark.parametrize(
    "given, expected",
    [
        (TIED | {"keys": UTM}, (20.0, 10.0)),
        (TIED | {"keys": keys((1024, 1), (3072, 2154), (3076, 9001))}, (20.0, 10.0)),
        (TIED | {"keys": keys((1024, 1), (3072, 2263), (3076, 9003))}, None),  # feet
        (TIED | {"keys": keys((1024, 1), (3072, 2263))}, None),  # who knows
        (TIED | {"keys": DEGREES}, None),
        ({"matrix": TURNED, "keys": UTM}, (5.0, 5.0)),
        ({"matrix": (0.0,) * 16, "keys": UTM}, None),
        ({"keys": UTM}, None),
    ],
)
def test_spacing_in_metres(given: dict, expected: tuple[float, float] | None) -> None:
    assert GeoReference(**given).spacing_m == expected


@pytest.mark.parametrize("size", [(2, 3), (2, 2, 3)])
@pytest.mark.parametrize("dtype, nodata", [("f4", -9999.1), ("f8", -9999.1), ("i2", -32768), ("u1", 255), ("u8", 7)])
def test_a_pixel_is_invalid_where_no_channel_holds_data(size: tuple[int, ...], dtype: str, nodata: float) -> None:
    array = np.ones((3, *size), dtype)
    array[0].flat[1] = array[2].flat[4] = nodata
    array.reshape(3, -1)[:, 5] = nodata
    if dtype.startswith("f"):
        array[:2].reshape(2, -1)[:, 5] = np.nan
        array[1].flat[2] = np.nan
    held = holds_data(array, nodata)
    assert np.array_equal(held, ~np.isnan(array) & (array != np.dtype(dtype).type(nodata)))
    expected = np.ones(size, bool)
    expected.flat[5] = False
    assert np.array_equal(valid_mask(array, nodata), expected)
    assert valid_mask(array, None).all()
    assert valid_mask(array, math.nan).all()
    valid = np.zeros(size, bool)
    valid.flat[5] = True  # a mask of its own counts, and not the value
    assert np.array_equal(holds_data(array, nodata, valid), valid & ~np.isnan(array))


def test_values_that_the_dtype_does_not_hold_mark_nothing() -> None:
    assert valid_mask(np.zeros((1, 2, 2), np.uint8), -1).all()
    assert valid_mask(np.zeros((1, 2, 2), np.float32), 1e300).all()


def test_an_image_knows_its_valid_pixels() -> None:
    array = np.array([[[0.0, np.nan, 5.0]]])
    plain = Image(array, "cyx", (1.0, 1.0))
    located = Image(array, "cyx", (1.0, 1.0), georeference=GeoReference(nodata_text="5"))
    assert plain.valid_mask() is None
    valid = located.valid_mask()
    assert valid is not None
    assert valid.tolist() == [[True, False, False]]
    assert Image(array[:, :, :1], "cyx", (1.0, 1.0), georeference=GeoReference()).valid_mask() is None
    ids = Image(np.array([[1, 5]]), "yx", (1.0, 1.0), georeference=GeoReference(nodata_text="5")).valid_mask()
    assert ids is not None
    assert ids.tolist() == [[True, False]]
