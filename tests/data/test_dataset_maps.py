"""Maps as training data: where they hold no data nothing is labelled, and those without any are left out, named."""

import numpy as np
import pytest

from unetkit import io
from unetkit.data.dataset import load_dataset
from unetkit.data.normalise import standardise
from unetkit.data.pairs import find_pairs
from unetkit.georeference import GeoReference
from unetkit.image import Image

SIZE = (30, 40)
PLACE = GeoReference(pixel_scale=(10.0, 10.0, 0.0), tiepoints=(0.0, 0.0, 0.0, 5e5, 4e6, 0.0), nodata_text="nan")


def chip(folder, name, hole, *, mask=None, georeference=PLACE, nodata=np.nan, bands=slice(None)):
    """A chip of two bands with a hole in some, and its mask: -1 not labelled, 0 land, 1 water."""
    array = np.random.default_rng(sum(map(ord, name))).normal(-10, 3, (2, *SIZE)).astype(np.float32)
    array[bands, hole] = nodata
    labels = np.zeros(SIZE, np.int16) if mask is None else mask
    if mask is None:
        labels[:, 20:], labels[:10] = 1, -1
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    io.write(folder / f"images/{name}.tif", Image(array, "cyx", (1.0, 1.0), georeference=georeference))
    io.write_labels(folder / f"masks/{name}.tif", labels)
    return array, labels


def hole(rows=slice(0, 0), columns=slice(None)):
    where = np.zeros(SIZE, bool)
    where[rows, columns] = True
    return where


@pytest.mark.parametrize("nodata, text", [(np.nan, "nan"), (-9999.0, "-9999"), (np.nan, None)])
@pytest.mark.parametrize("border_weight", [False, True])
def test_pixels_without_data_are_not_labelled(tmp_path, nodata, text, border_weight):
    place = GeoReference(pixel_scale=PLACE.pixel_scale, tiepoints=PLACE.tiepoints, nodata_text=text)
    gone = hole(slice(5, 25), slice(10, 30))
    array, labels = chip(tmp_path, "a", gone, georeference=place, nodata=nodata)
    chip(tmp_path, "b", hole(), georeference=place)
    first, second = load_dataset(find_pairs(tmp_path), border_weight=border_weight).cases
    assert np.array_equal(first.labels == 255, gone | (labels == -1))
    assert np.array_equal(first.labels[first.labels < 255], labels[first.labels < 255])
    assert not first.image[:, gone].any()
    assert np.array_equal(first.image, standardise(array, ~gone))
    assert np.array_equal(second.labels == 255, labels == -1)
    assert border_weight == (first.pixel_weights is not None)


@pytest.mark.parametrize("nodata, text", [(np.nan, "nan"), (-9999.0, "-9999")])
def test_a_hole_in_one_band_is_the_mean_there_and_labelled(tmp_path, nodata, text):
    place = GeoReference(pixel_scale=PLACE.pixel_scale, tiepoints=PLACE.tiepoints, nodata_text=text)
    gone = hole(slice(5, 25), slice(10, 30))
    array, labels = chip(tmp_path, "a", gone, georeference=place, nodata=nodata, bands=1)
    (case,) = load_dataset(find_pairs(tmp_path)).cases
    assert np.array_equal(case.labels == 255, labels == -1)
    assert not case.image[1, gone].any()
    np.testing.assert_array_equal(case.image[:1], standardise(array[:1]))
    np.testing.assert_allclose(case.image[1, ~gone].std(), 1, rtol=1e-5)


def test_a_map_without_data_is_left_out_and_named(tmp_path):
    for name in "abc":
        chip(tmp_path, name, hole(slice(None) if name == "b" else slice(0, 3)))
    dataset = load_dataset(find_pairs(tmp_path))
    assert [case.name for case in dataset.cases] == ["a", "c"]
    assert f"left out, since no pixel holds data and is labelled: {tmp_path / 'images/b.tif'}" in dataset.describe()
    assert dataset.class_pixels.sum() == 2 * 20 * 40


def test_nothing_but_maps_without_data(tmp_path):
    for i in range(10):
        chip(tmp_path, f"c{i}", hole(slice(None)))
    with pytest.raises(
        ValueError, match=r"none of the 10 maps has a pixel that holds data and is labelled: .*c0\.tif, .* and 2 more"
    ):
        load_dataset(find_pairs(tmp_path))


def test_a_map_whose_labels_lie_where_it_has_no_data_is_left_out_too(tmp_path):
    chip(tmp_path, "a", hole())
    chip(tmp_path, "b", hole(slice(10, None)))
    chip(tmp_path, "c", hole(), mask=np.full(SIZE, -1, np.int16))
    dataset = load_dataset(find_pairs(tmp_path))
    assert [case.name for case in dataset.cases] == ["a"]
    assert any("b.tif" in note and "c.tif" in note for note in dataset.notes)


def test_nan_is_refused_without_a_georeference_and_infinity_with_one(tmp_path):
    chip(tmp_path, "a", hole(slice(0, 1)), georeference=None, bands=1)
    chip(tmp_path, "b", hole(slice(0, 2)), nodata=np.inf, bands=1)
    with pytest.raises(ValueError, match="2 unusable files") as caught:
        load_dataset(find_pairs(tmp_path))
    assert "a.tif: 40 of 2400 pixel values are NaN or infinite; replace them" in str(caught.value)
    assert "b.tif: 80 of 2400 pixel values are NaN or infinite" in str(caught.value)


def test_pixels_in_metres(tmp_path):
    keys = (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32630)
    place = GeoReference(pixel_scale=(10.0, 20.0, 0.0), tiepoints=PLACE.tiepoints, keys=keys)
    chip(tmp_path, "a", hole(), georeference=place)
    dataset = load_dataset(find_pairs(tmp_path))
    assert (dataset.spacing, dataset.unit) == ((20.0, 10.0), "m")
    assert "pixel size 20 x 10 m" in dataset.describe()
