"""Two images lie on each other, the same grid is turned to agree, what lies elsewhere is named with its distance."""

from dataclasses import replace

import numpy as np
import pytest

from unetkit.image import Image, WorldAffine
from unetkit.io import GeoReference
from unetkit.io.placement import ELSEWHERE_FROM, Turn, turn_onto, turned_onto

SIZE = (3, 4, 5)
UTM = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)


def affine(matrix=None, by=(0.0, 0.0, 0.0)):
    rows = np.diag([1.0, 1.0, 2.0, 1.0]) @ (np.eye(4) if matrix is None else np.array(matrix, float))
    rows[:3, 3] += by
    return tuple(map(tuple, rows.tolist()))


PLAIN = affine()


def volume(rows=PLAIN, orientation="RAS", size=SIZE, codes=(2, 0), **more):
    array = np.arange(np.prod(size)).reshape(size)
    return Image(array, "zyx", (2.0, 1.0, 1.0), "mm", place=WorldAffine(rows, orientation, size, codes=codes), **more)


def map_of(array, origin=(500000.0, 4000000.0), step=(10.0, -10.0), keys=UTM):
    (x, y), (a, e) = origin, step
    matrix = (a, 0.0, 0.0, x, 0.0, e, 0.0, y, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    return Image(array, "yx", (10.0, 10.0), "m", georeference=GeoReference(matrix=matrix, keys=keys, nodata_text="7"))


def stage(array, origin=None, spacing=0.5):
    axes = "zyx"[-array.ndim :]
    return Image(array, axes, (spacing,) * array.ndim, "\u00b5m", origin=origin)


PLANE = np.arange(20).reshape(4, 5)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_turn_and_its_regions(ndim):
    draw = np.random.default_rng(0)
    size = (3, 4, 5)[-ndim:]
    array = draw.integers(0, 9, (2, *size))
    for _ in range(10):
        turn = Turn(tuple(draw.permutation(ndim).tolist()), tuple(draw.integers(0, 2, ndim).astype(bool).tolist()))
        turned = turn(array)
        assert turned.shape[1:] == turn.permuted(size)
        region = tuple(slice(1, n) for n in turned.shape[1:])
        part = turn(array[(slice(None), *turn.source(region, size))])
        assert np.array_equal(part, turned[(slice(None), *region)])


def test_the_same_volume_in_another_orientation_lies_on_itself():
    turned = volume(affine(np.diag([-1.0, -1.0, 1.0, 1.0]), by=(4, 3, 0)), "LPS")  # in memory both run the same way
    assert turn_onto(turned, volume()) == (Turn((0, 1, 2), (False,) * 3), "")


def test_a_volume_that_runs_obliquely_is_turned_to_agree():
    """Near 45 degrees two files of one grid may be read along different axes."""
    mask = replace(volume(), place=WorldAffine(affine(np.diag([-1.0, 1.0, 1.0, 1.0]), by=(4, 0, 0)), "RAS", SIZE))
    laid = turned_onto(mask, volume())
    assert np.array_equal(laid.array, mask.array[:, :, ::-1])
    assert any("turned to lie on it" in note for note in laid.notes)
    assert laid.place == volume().place


@pytest.mark.parametrize(("by", "is_refused"), [(0.0, False), (0.5, False), (0.7, False), (0.8, True), (40.0, True)])
def test_a_fraction_of_a_voxel_is_no_distance(by, is_refused):
    assert 0.5 < ELSEWHERE_FROM < 1
    pairs = [
        (volume(affine(by=(by, 0, 0))), volume(), r"along x \(voxels\); .*copy the affine"),
        (map_of(PLANE, (500000.0 + 10 * by, 4000000.0)), map_of(PLANE), r"along x \(pixels\); .*copy the transform"),
        (stage(PLANE, (3.0, 7.0 + by / 2)), stage(PLANE, (3.0, 7.0)), r"along x \(pixels\); .*copy the translation"),
    ]
    for mask, image, message in pairs:
        if not is_refused:
            assert turn_onto(mask, image) == (Turn(tuple(range(mask.ndim)), (False,) * mask.ndim), "")
            continue
        with pytest.raises(ValueError, match=rf"lies elsewhere than its counterpart, by up to {by:g} {message}"):
            turn_onto(mask, image)


def test_units_are_compared_where_both_are_stated():
    micrometres = replace(volume(affine(np.diag([1000.0, 1000, 1000, 1]))), unit="\u00b5m", spacing=(2e3, 1e3, 1e3))
    place = replace(micrometres.place, units=3)
    assert not turn_onto(replace(micrometres, place=place), volume())[0].changes
    with pytest.raises(ValueError, match=r"has voxels 1e\+03 x"):
        turn_onto(replace(micrometres, unit="mm"), volume())


def test_larger_voxels_and_odd_angles_are_named():
    with pytest.raises(ValueError, match=r"has voxels 2 x 1 x 1 times as large as its counterpart's"):
        turn_onto(volume(affine(np.diag([2.0, 1, 1, 1]))), volume())
    c, s = np.cos(0.8), np.sin(0.8)
    oblique = affine([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    with pytest.raises(ValueError, match=r"is turned against its counterpart by an angle that is not a right one"):
        turn_onto(volume(oblique), volume())
    assert not turn_onto(volume(oblique), volume(oblique))[0].changes


def test_the_same_map_the_other_way_up_is_turned():
    mask = map_of(PLANE[::-1], (500000.0, 4000000.0 - 40), (10.0, 10.0))
    laid = turned_onto(mask, map_of(PLANE))
    assert np.array_equal(laid.array, PLANE)
    assert laid.georeference.nodata == 7
    assert laid.georeference.transform == map_of(PLANE).georeference.transform


def test_maps_in_other_coordinates_are_refused():
    degrees = (1, 1, 0, 2, 1024, 0, 1, 2, 2048, 0, 1, 4326)
    with pytest.raises(ValueError, match=r"is a map in EPSG:4326, its counterpart in EPSG:32633: reproject"):
        turn_onto(map_of(PLANE, keys=degrees), map_of(PLANE))


def test_what_only_one_states_turns_neither():
    """Both are stored alike; the reader turned the one that says it runs to the left and to the back."""
    stored = np.arange(60).reshape(SIZE)
    said = replace(volume(orientation="LPS"), array=stored[:, ::-1, ::-1])
    for silent in (replace(volume(codes=(0, 0)), array=stored), Image(stored, "zyx", (2.0, 1.0, 1.0), "mm")):
        laid = turned_onto(silent, said)
        assert np.array_equal(laid.array, said.array)
        assert any("only its counterpart states a place in the body" in note for note in laid.notes)
        back = turned_onto(said, silent)
        assert np.array_equal(back.array, stored)
        assert any("only it states a place in the body" in note for note in back.notes)
    laid = turned_onto(Image(PLANE, "yx", (1.0, 1.0)), map_of(PLANE))
    assert laid.notes == ("only its counterpart states where it lies: laid on each other as they are stored",)


@pytest.mark.parametrize("ndim", [2, 3])
def test_pixel_sizes_that_differ_are_refused_where_both_are_stated(ndim):
    array = np.zeros(SIZE[-ndim:])
    with pytest.raises(ValueError, match=r"has pixels of 0\.25 x .*, its counterpart of 0\.5 x .*: resample one onto"):
        turn_onto(stage(array, spacing=0.25), stage(array))
    assert turn_onto(stage(array, spacing=0.503), stage(array))[1] == ""
    assert turn_onto(Image(array, "zyx"[-ndim:], (1.0,) * ndim), stage(array))[1] == ""
