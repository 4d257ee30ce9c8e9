from dataclasses import replace

import numpy as np
import pytest

from unetkit.image import Image, WorldAffine, to_channels


@pytest.mark.parametrize("size", [(5, 7), (3, 5, 7)])
@pytest.mark.parametrize("channels", [None, 1, 4])
def test_properties_follow_axes(size: tuple[int, ...], channels: int | None) -> None:
    spatial = "zyx"[-len(size) :]
    array = np.zeros(size if channels is None else (channels, *size), np.int16)
    image = Image(array, spatial if channels is None else "c" + spatial, spacing=(2,) * len(size), unit="nm")
    assert (image.ndim, image.size, image.channels) == (len(size), size, channels or 1)
    assert image.spacing == (2.0,) * len(size)
    assert all(type(step) is float for step in image.spacing)


@pytest.mark.parametrize(
    "axes, spacing, message",
    [
        ("xy", (1.0, 1.0), "axes must be one of yx, zyx, cyx, czyx: got 'xy'"),
        ("zyx", (1.0,) * 3, r"axes 'zyx' name 3 axes, but the array of shape \(4, 5\) has 2"),
        ("yx", (1.0,) * 3, r"has 3 entries: axes 'yx' have 2 in space"),
        ("yx", (1.0, 0.0), r"positive and finite, got \(1.0, 0.0\)"),
        ("yx", (1.0, float("nan")), r"positive and finite, got \(1.0, nan\)"),
    ],
)
def test_wrong_axes_and_spacing_are_refused(axes: str, spacing: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Image(np.zeros((4, 5)), axes, spacing)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.float16, np.float32, np.float64])
def test_float32_keeps_values_and_the_rest(dtype: type) -> None:
    image = Image(np.arange(12).reshape(1, 3, 4).astype(dtype), "cyx", (0.5, 0.25), "µm", ("a note",))
    result = image.float32()
    assert result.array.dtype == np.float32
    assert np.array_equal(result.array, image.array)
    assert (result.axes, result.spacing, result.unit, result.notes) == ("cyx", (0.5, 0.25), "µm", ("a note",))


def test_float32_of_values_beyond_its_range_is_infinite() -> None:
    image = Image(np.array([[[-1.797e308, 2.0]]]), "cyx", (1.0, 1.0))
    assert image.float32().array.tolist() == [[[-np.inf, 2.0]]]


def test_float32_does_not_copy_float32() -> None:
    array = np.zeros((1, 2, 2), np.float32)
    assert Image(array, "cyx", (1.0, 1.0)).float32().array is array


@pytest.mark.parametrize("size", [(4, 5), (2, 4, 5)])
def test_to_channels_replicates_gray_and_passes_equal(size: tuple[int, ...]) -> None:
    axes = "c" + "zyx"[-len(size) :]
    gray = Image(np.random.default_rng(0).random((1, *size)), axes, (1.0,) * len(size))
    colour = to_channels(gray, 3)
    assert colour.array.shape == (3, *size)
    assert all(np.array_equal(channel, gray.array[0]) for channel in colour.array)
    assert to_channels(colour, 3) is colour
    assert to_channels(gray, 1) is gray


@pytest.mark.parametrize(
    "have, want, message",
    [
        (3, 1, "got an image of 3 channels, expected 1: colour"),
        (2, 3, "got an image of 2 channels, expected 3: only 1 channel can be replicated"),
        (1, 4, "got an image of 1 channels, expected 4"),
    ],
)
def test_to_channels_refuses_what_needs_a_choice(have: int, want: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_channels(Image(np.zeros((have, 4, 5)), "cyx", (1.0, 1.0)), want)


def test_to_channels_refuses_labels() -> None:
    with pytest.raises(ValueError, match="label image of axes 'zyx' has no channels to change to 3"):
        to_channels(Image(np.zeros((3, 4, 5), np.uint8), "zyx", (1.0,) * 3), 3)


# --- place ---

AXIAL = ((-0.5, 0.0, 0.0, 10.0), (0.0, -0.5, 0.0, 20.0), (0.0, 0.0, 3.0, -7.0), (0.0, 0.0, 0.0, 1.0))


def test_a_place_follows_the_image() -> None:
    place = WorldAffine(AXIAL, "LPS", (2, 4, 5))
    image = Image(np.zeros((1, 2, 4, 5), np.uint8), "czyx", (3.0, 0.5, 0.5), "mm", place=place)
    assert to_channels(image.float32(), 3).place == place
    assert replace(image, place=None).place is None
    assert Image(np.zeros((4, 5)), "yx", (1.0, 1.0)).place is None


@pytest.mark.parametrize("voxel", [(0, 0, 0), (4, 3, 1), (1, 2, 0)])
def test_memory_and_file_agree_on_where_a_voxel_is(voxel: tuple[int, int, int]) -> None:
    x, y, z = voxel
    in_file = (4 - x, 3 - y, z, 1)  # stored to the left and to the back
    place = WorldAffine(AXIAL, "LPS", (2, 4, 5))
    assert np.array_equal(place.affine_in_memory @ (x, y, z, 1), np.array(AXIAL) @ in_file)
    assert (np.diag(place.affine_in_memory) > 0).all()


def test_memory_and_file_with_axes_exchanged() -> None:
    rows = ((0.0, 0.0, 2.0, 1.0), (0.0, -4.0, 0.0, 2.0), (3.0, 0.0, 0.0, 3.0), (0.0, 0.0, 0.0, 1.0))
    place = WorldAffine(rows, "SPR", (5, 6, 7))  # stored as (z, y reversed, x)
    for x, y, z in ((0, 0, 0), (6, 5, 4), (3, 1, 2)):
        assert np.array_equal(place.affine_in_memory @ (x, y, z, 1), np.array(rows) @ (z, 5 - y, x, 1))


@pytest.mark.parametrize("orientation", ["RA", "RAR", "RLS", "ras", "RASS", ""])
def test_wrong_orientations_are_refused(orientation: str) -> None:
    with pytest.raises(ValueError, match=rf"three letters, one each of R or L, A or P, S or I: got '{orientation}'"):
        WorldAffine(AXIAL, orientation, (2, 4, 5))


def test_wrong_affines_are_refused() -> None:
    with pytest.raises(ValueError, match=r"4 rows of 4 numbers: got rows of \[4, 4, 4\]"):
        WorldAffine(AXIAL[:3], "LPS", (2, 4, 5))
