"""Outlines in the coordinates of a map, laid on images that state theirs."""

import json
from pathlib import Path

import numpy as np
import pytest

from unetkit.io import read_labels
from unetkit.measurements.polygons import write_polygons

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

PLACE = rasterio.Affine(10, 0, 500000, 0, -10, 5000000)
SIZE = (30, 40)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return raster(tmp_path / "a.tif")


def raster(path: Path, array=None, crs="EPSG:32633", transform=PLACE) -> Path:
    array = np.ones(SIZE, np.uint8) if array is None else array
    shape = {"height": array.shape[0], "width": array.shape[1], "count": 1, "dtype": array.dtype}
    place = {"crs": crs, "transform": transform} if transform else {}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
        file.write(array, 1)
    return path


def square(left=500050, top=4999950, side=80):
    """Columns 5 to 12 and rows 5 to 12."""
    corners = [(left, top), (left + side, top), (left + side, top - side), (left, top - side)]
    return [list(corner) for corner in (*corners, corners[0])]


def in_degrees(ring):
    from rasterio.warp import transform

    return [list(point) for point in zip(*transform("EPSG:32633", "EPSG:4326", *zip(*ring, strict=True)), strict=True)]


def geojson(path: Path, ring, epsg=None, **properties) -> Path:
    content = {"type": "FeatureCollection", "features": [feature(ring, **properties)]}
    if epsg:
        content["crs"] = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{epsg}"}}
    path.write_text(json.dumps(content))
    return path


def feature(ring, **properties):
    return {"type": "Feature", "properties": properties, "geometry": {"type": "Polygon", "coordinates": [ring]}}


@pytest.mark.parametrize("stated", [True, False])
def test_a_polygon_in_metres_or_degrees(image, tmp_path, stated):
    ring = square() if stated else in_degrees(square())
    mask = read_labels(geojson(tmp_path / "a.geojson", ring, 32633 if stated else None), image=image)
    expected = np.zeros(SIZE, int)
    expected[5:13, 5:13] = 1
    np.testing.assert_array_equal(mask.array, expected)
    assert any("longitude and latitude, as GeoJSON is (RFC 7946)" in note for note in mask.notes) is not stated
    assert mask.georeference.epsg == 32633


def test_another_system_is_reprojected(image, tmp_path):
    from rasterio.warp import transform

    ring = list(zip(*transform("EPSG:32633", "EPSG:3857", *zip(*square(), strict=True)), strict=True))
    labels = read_labels(geojson(tmp_path / "a.geojson", ring, 3857), image=image).array
    assert np.count_nonzero(labels) == 64


def test_a_turned_map(tmp_path):
    place = PLACE @ rasterio.Affine.rotation(30)
    image = raster(tmp_path / "b.tif", transform=place)
    corners = [place @ (column, row) for column, row in ((5, 5), (13, 5), (13, 13), (5, 13), (5, 5))]
    labels = read_labels(geojson(tmp_path / "b.geojson", corners, 32633), image=image).array
    assert np.count_nonzero(labels[5:13, 5:13]) == np.count_nonzero(labels) == 64


def test_nothing_on_the_image_is_refused_with_both_extents(image, tmp_path):
    path = geojson(tmp_path / "a.geojson", square(left=900000), 32633)
    with pytest.raises(
        ValueError, match=r"a.geojson: nothing lies on a.tif.*from x 40000 to 40008.*0 to 40 and 0 to 30"
    ):
        read_labels(path, image=image)
    forgotten = geojson(tmp_path / "b.geojson", square())  # metres, and no word about it
    with pytest.raises(ValueError, match=r"500050 to 500130.*are no degrees; .*state it as the file's crs"):
        read_labels(forgotten, image=image)


def test_systems_that_are_unknown_or_missing(image, tmp_path):
    with pytest.raises(ValueError, match=r"999999.* is not known"):
        read_labels(geojson(tmp_path / "a.geojson", square(), 999999), image=image)
    plain = raster(tmp_path / "plain.tif", transform=None)
    with pytest.raises(ValueError, match=r"those of a map .*EPSG::32633.*plain.tif does not state where it lies"):
        read_labels(geojson(tmp_path / "a.geojson", square(), 32633), image=plain)
    nameless = raster(tmp_path / "nameless.tif", crs=None)
    mask = read_labels(geojson(tmp_path / "a.geojson", square(), 32633), image=nameless)
    assert np.count_nonzero(mask.array) == 64
    assert any("states no coordinate system" in note for note in mask.notes)


def test_pixels_as_qupath_writes_them_stay_pixels(image, tmp_path):
    ring = [[2, 2], [6, 2], [6, 6], [2, 6], [2, 2]]
    path = geojson(tmp_path / "a.geojson", ring, objectType="annotation", classification={"name": "Tumor"})
    labels = read_labels(path, image=image).array
    assert np.count_nonzero(labels[2:6, 2:6]) == np.count_nonzero(labels) == 16


def test_an_outline_across_the_date_line_is_refused(tmp_path):
    image = raster(tmp_path / "b.tif", crs="EPSG:4326", transform=rasterio.Affine(0.1, 0, 178, 0, -0.1, 10))
    ring = [[179.9, 9], [-179.9, 9], [-179.9, 8], [179.9, 8], [179.9, 9]]
    with pytest.raises(ValueError, match="180 degrees wide"):
        read_labels(geojson(tmp_path / "b.geojson", ring), image=image)


def test_an_outline_that_crosses_it_on_the_image_only_is_refused(tmp_path):
    """In a system of the Pacific it is a small square; in degrees from -180 to 180 it would be all but one."""
    image = raster(tmp_path / "b.tif", crs="EPSG:4326", transform=rasterio.Affine(0.1, 0, 176, 0, -0.1, 10))
    left, right = 3_328_895.9, 3_351_159.9  # metres at 179.9 and 180.1 degrees in EPSG:3832, of 150 degrees
    ring = [[left, 1e6], [right, 1e6], [right, 9e5], [left, 9e5], [left, 1e6]]
    with pytest.raises(ValueError, match="180 degrees wide"):
        read_labels(geojson(tmp_path / "b.geojson", ring, crs="EPSG:3832"), image=image)


@pytest.mark.parametrize("crs, transform", [("EPSG:32633", PLACE), (None, None), ("EPSG:4326", "degrees")])
def test_our_own_polygons_come_back_as_the_mask(tmp_path, crs, transform):
    """Holes, regions of one value, and values with gaps."""
    labels = np.zeros(SIZE, np.uint8)
    labels[4:20, 4:20], labels[8:12, 8:12], labels[8:12, 30:34], labels[25:, :10] = 3, 0, 3, 7
    place = rasterio.Affine(1e-4, 0, 15, 0, -1e-4, 45) if transform == "degrees" else transform
    mask = raster(tmp_path / "m.tif", labels, crs, place)
    (written,) = write_polygons([mask], tmp_path / "shapes")
    np.testing.assert_array_equal(read_labels(written.path, image=mask).array, labels)


def test_a_geopackage_is_read_in_its_own_system(image, tmp_path):
    pyogrio, shapely = pytest.importorskip("pyogrio"), pytest.importorskip("shapely")
    rings = [square(), square(left=500200)]
    shapes = shapely.to_wkb([shapely.Polygon(in_degrees(ring)) for ring in rings])
    path = tmp_path / "a.gpkg"
    columns = [np.array(["field", "field"], object)]
    layer = {"fields": ["class"], "geometry_type": "Polygon", "crs": "EPSG:4326"}
    pyogrio.raw.write(path, shapes, columns, layer="fields", **layer)
    labels = read_labels(path, image=image).array
    assert np.bincount(labels.ravel()).tolist() == [SIZE[0] * SIZE[1] - 128, 64, 64]
    pyogrio.raw.write(path, shapes, columns, layer="roads", append=True, **layer)
    with pytest.raises(ValueError, match=r"a.gpkg: its layers are fields \(Polygon\), roads \(Polygon\)"):
        read_labels(path, image=image)


def test_a_damaged_geopackage(image, tmp_path):
    pytest.importorskip("pyogrio")
    (tmp_path / "a.gpkg").write_bytes(b"SQLite format 3\x00" + bytes(100))
    with pytest.raises(ValueError, match=r"a.gpkg: damaged, truncated or unsupported"):
        read_labels(tmp_path / "a.gpkg", image=image)
