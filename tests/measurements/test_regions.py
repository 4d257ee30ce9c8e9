"""Sums over all objects at once are what scikit-image gives object by object."""

import numpy as np
import pytest
from skimage.measure import label, regionprops_table

from unetkit.measurements import regions
from unetkit.measurements.columns import measure_objects
from unetkit.measurements.regions import number_ids


def random_objects(ndim, seed=0):
    draw = np.random.default_rng(seed)
    ids = label(draw.random((40,) * 2 if ndim == 2 else (9, 14, 12)) < 0.35, connectivity=1)
    values = draw.permutation(10 * ids.max())[: ids.max() + 1] + 1
    return np.where(ids == 0, 0, values[ids]), draw.normal(5, 2, (2, *ids.shape))


@pytest.mark.parametrize("slab", [4_000_000, 50])
@pytest.mark.parametrize("ndim, spacing", [(2, (0.5, 0.3)), (3, (2.0, 0.5, 0.3))])
def test_scikit_image_gives_the_same(ndim, spacing, slab, monkeypatch):
    monkeypatch.setattr(regions, "_SLAB", slab)
    ids, image = random_objects(ndim)
    rows = measure_objects(ids, spacing=spacing, unit="mm", image=image)
    names = ["label", "num_pixels", "area", "centroid", "equivalent_diameter_area", "bbox", "intensity_mean"]
    names += ["intensity_min", "intensity_max"] + (["axis_major_length", "axis_minor_length"] if ndim == 2 else [])
    expected = regionprops_table(ids, np.moveaxis(image, 0, -1), names, spacing=spacing)
    columns = {"object": "label", "pixels": "num_pixels", f"{'area' if ndim == 2 else 'volume'}_mm{ndim}": "area"}
    columns |= {f"{axis}_mm": f"centroid-{i}" for i, axis in enumerate("zyx"[-ndim:])}
    columns |= {f"{axis}_first": f"bbox-{i}" for i, axis in enumerate("zyx"[-ndim:])}
    columns |= {"diameter_mm": "equivalent_diameter_area", "mean_0": "intensity_mean-0", "max_1": "intensity_max-1"}
    columns |= {"major_axis_mm": "axis_major_length", "minor_axis_mm": "axis_minor_length"} if ndim == 2 else {}
    assert len(rows) > 20
    for column, name in columns.items():
        np.testing.assert_allclose([row[column] for row in rows], expected[name], rtol=1e-9, atol=1e-6, err_msg=column)
    last = [[row[f"{axis}_last"] for row in rows] for axis in "zyx"[-ndim:]]
    assert np.array_equal(np.array(last) + 1, [expected[f"bbox-{i + ndim}"] for i in range(ndim)])


@pytest.mark.parametrize("far", [False, True])
def test_ids_are_numbered_in_their_order(far):
    ids = np.array([[0, 9, 4], [4, 0, 2**40 if far else 77]])
    values, numbers = number_ids(ids)
    assert values.tolist() == [4, 9, ids.max()]
    assert numbers.tolist() == [[0, 2, 1], [1, 0, 3]]


def test_gray_values_of_pixels_that_are_all_invalid_are_nan():
    numbers, valid = np.array([[1, 1, 2]]), np.array([[True, False, False]])
    mean, low, high = regions.sum_gray_values(numbers, 2, np.array([[3.0, 8.0, 9.0]]), valid)
    np.testing.assert_array_equal([mean, low, high], [[3, np.nan]] * 3)
