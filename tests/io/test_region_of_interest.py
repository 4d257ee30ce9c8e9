"""Regions of interest: masks and outlines, read box by box as they lie on their image."""

import json

import numpy as np
import pytest

from unetkit import io
from unetkit.image import Image
from unetkit.io import open_lazy
from unetkit.io.region_of_interest import open_region

rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'unetkit[geo]'")


def geotiff(path, array, *, west=500_000.0, north=5_000_000.0, step=10.0, nodata=None):
    where = {"crs": "EPSG:32632", "transform": rasterio.transform.Affine(step, 0, west, 0, -step, north)}
    size = {"height": array.shape[0], "width": array.shape[1]}
    with rasterio.open(path, "w", driver="GTiff", count=1, dtype=array.dtype, nodata=nodata, **size, **where) as file:
        file.write(array[None])
    return path


def whole(region):
    return region.inside(tuple(slice(0, n) for n in region.size))


def test_a_map_of_all_images_is_read_where_each_lies(tmp_path):
    mask = np.zeros((60, 80), np.uint8)
    mask[20:30, 30:50] = 1
    mask[0, 0] = 9  # holds no data
    region = geotiff(tmp_path / "region.tif", mask, nodata=9)
    image = geotiff(tmp_path / "a.tif", np.ones((40, 50), np.uint8), west=500_250.0, north=4_999_850.0)
    with open_lazy(image) as lazy, open_region(region, lazy, is_shared=True) as opened:
        expected = np.zeros((40, 50), bool)
        expected[5:15, 5:25] = True
        assert np.array_equal(whole(opened), expected)
        assert np.array_equal(opened.inside((slice(4, 7), slice(3, 9))), expected[4:7, 3:9])
    beyond = geotiff(tmp_path / "b.tif", np.ones((40, 50), np.uint8), west=500_750.0)
    with open_lazy(beyond) as lazy, open_region(region, lazy, is_shared=True) as opened:
        assert not whole(opened).any()
    coarse = geotiff(tmp_path / "c.tif", np.ones((40, 50), np.uint8), step=20.0)
    with open_lazy(coarse) as lazy, pytest.raises(ValueError, match=r"region\.tif.*pixels are not on the grid"):
        open_region(region, lazy, is_shared=True)


def test_vectors_of_a_map_serve_all_images(tmp_path):
    ring = [
        [500_100, 4_999_900],
        [500_300, 4_999_900],
        [500_300, 4_999_700],
        [500_100, 4_999_700],
        [500_100, 4_999_900],
    ]
    kinds = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {"value": v}}
        for v in (1, 0)
    ]
    crs = {"type": "name", "properties": {"name": "EPSG:32632"}}
    for name, features in (("region", kinds[:1]), ("nothing", kinds[1:])):
        content = {"type": "FeatureCollection", "crs": crs, "features": features}
        (tmp_path / f"{name}.geojson").write_text(json.dumps(content))
    near = geotiff(tmp_path / "a.tif", np.ones((40, 50), np.uint8))
    far = geotiff(tmp_path / "b.tif", np.ones((40, 50), np.uint8), west=600_000.0)
    with open_lazy(near) as lazy, open_region(tmp_path / "region.geojson", lazy, is_shared=True) as opened:
        expected = np.zeros((40, 50), bool)
        expected[10:30, 10:30] = True
        assert np.array_equal(whole(opened), expected)
    with open_lazy(far) as lazy:
        with open_region(tmp_path / "region.geojson", lazy, is_shared=True) as opened:
            assert not whole(opened).any()
        with pytest.raises(ValueError, match="nothing lies on b"):
            open_region(tmp_path / "region.geojson", lazy)
    with open_lazy(near) as lazy, pytest.raises(ValueError, match="holds no outline of an area"):
        open_region(tmp_path / "nothing.geojson", lazy)


@pytest.mark.parametrize("size", [(30, 40), (6, 30, 40)])
def test_a_mask_is_read_by_box_and_at_another_size(tmp_path, size):
    inside = np.random.default_rng(0).random(size) > 0.6
    ndim = len(size)
    io.write(tmp_path / "a.tif", Image(np.zeros((1, *size), np.uint8), {2: "cyx", 3: "czyx"}[ndim], (1.0,) * ndim))
    for name, array in (("gray.tif", inside.astype(np.uint16) * 300), ("bits.tif", inside)):
        io.write_labels(tmp_path / name, array)
        with open_lazy(tmp_path / "a.tif") as lazy, open_region(tmp_path / name, lazy) as region:
            assert np.array_equal(whole(region), inside)
            box = tuple(slice(1, n - 3) for n in size)
            assert np.array_equal(region.inside(box), inside[box])
            half = tuple(-(-n // 2) for n in size)
            every = tuple(slice(0, n) for n in half)
            assert np.array_equal(region.inside_at(every, half), inside[tuple(slice(1, None, 2) for _ in size)])


def test_outlines_of_a_volume_name_their_planes(tmp_path):
    io.write(tmp_path / "a.tif", Image(np.zeros((1, 4, 30, 40), np.uint8), "czyx", (1.0,) * 3))
    ring = [[5, 5], [15, 5], [15, 12], [5, 12], [5, 5]]

    def outline(**place):
        geometry = {"type": "Polygon", "coordinates": [ring], **place}
        return {"type": "Feature", "geometry": geometry, "properties": {"objectType": "annotation"}}

    def opened(*features):
        (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        with open_lazy(tmp_path / "a.tif") as lazy:
            return open_region(tmp_path / "a.geojson", lazy)

    inside = whole(opened(outline(plane={"c": -1, "z": 2, "t": 0})))
    assert inside[2, 5:12, 5:15].all()
    assert inside.sum() == 70
    with pytest.raises(ValueError, match="1 of 1 outlines state no plane"):
        opened(outline())
