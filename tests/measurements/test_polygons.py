"""Polygons: the very pixels of a mask, in the coordinates of its file, checked by drawing them again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio import warp
from rasterio.features import rasterize
from rasterio.transform import Affine

from unetkit.image import Image
from unetkit.io import GeoReference, write, write_labels
from unetkit.measurements.polygons import outlines, write_polygons

UTM_33 = GeoReference(
    pixel_scale=(10.0, 10.0, 0.0),
    tiepoints=(0.0, 0.0, 0.0, 500000.0, 5400000.0, 0.0),
    keys=(1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633),
)


def drawn(polygons: list[tuple[int, dict[str, Any]]], shape: tuple[int, int], transform: Affine) -> np.ndarray:
    shapes = [(geometry, value) for value, geometry in polygons]
    return rasterize(shapes, shape, transform=transform) if shapes else np.zeros(shape, np.uint8)


def area(geometry: dict[str, Any]) -> float:
    """Of the outer ring less the holes."""
    rings = []
    for ring in geometry["coordinates"]:
        x, y = np.array(ring).T
        rings.append(abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2)
    return rings[0] - sum(rings[1:])


@pytest.mark.parametrize("seed", range(5))
def test_they_hold_the_very_pixels(seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 4, (23, 31), dtype=np.uint8)
    polygons = list(outlines(labels))
    assert np.array_equal(drawn(polygons, labels.shape, Affine.identity()), labels)
    for value in (1, 2, 3):
        assert sum(area(geometry) for v, geometry in polygons if v == value) == np.count_nonzero(labels == value)


def test_holes_and_corners() -> None:
    ring = np.ones((5, 5), bool)
    ring[2, 2] = False
    [(value, geometry)] = outlines(ring)
    assert value == 1
    assert len(geometry["coordinates"]) == 2
    assert area(geometry) == 24
    assert len(list(outlines(np.eye(3, dtype=np.int64)))) == 3  # corners do not join


def test_a_map_s_own_coordinates_and_no_data(tmp_path: Path) -> None:
    labels = np.zeros((40, 50), np.uint8)
    labels[3:9, 5:20], labels[20:30, 30:50], labels[35:, :10] = 1, 2, 255
    at = Image(labels, "yx", (10.0, 10.0), "m", georeference=UTM_33)
    write_labels(tmp_path / "flood.tif", labels, at, nodata=255)
    [written] = write_polygons([tmp_path / "flood.tif"], tmp_path / "out")
    assert (written.polygons, written.coordinates) == (2, "EPSG:32633")
    page = json.loads(written.path.read_text())
    assert page["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    polygons = [(row["properties"]["value"], row["geometry"]) for row in page["features"]]
    assert [area(geometry) for _, geometry in polygons] == [6 * 15 * 100, 10 * 20 * 100]  # square metres
    again = drawn(polygons, labels.shape, Affine(10, 0, 500000, 0, -10, 5400000))
    assert np.array_equal(again, np.where(labels == 255, 0, labels))


def test_a_picture_in_pixels_and_a_folder(tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in "ab":
        write_labels(masks / f"{name}.png", np.full((4, 6), 300 if name == "a" else 0, np.uint16))
    first, second = write_polygons([masks], tmp_path / "out")
    assert (first.path.name, first.polygons, first.coordinates, second.polygons) == ("a.geojson", 1, "pixels", 0)
    page = json.loads(first.path.read_text())
    assert "crs" not in page
    assert page["features"][0]["properties"] == {"value": 300}
    assert area(page["features"][0]["geometry"]) == 24
    assert json.loads(second.path.read_text())["features"] == []
    with pytest.raises(FileExistsError, match=r"a\.geojson.*--overwrite"):
        write_polygons([masks], tmp_path / "out")
    assert len(write_polygons([masks], tmp_path / "out", overwrite=True)) == 2


def test_all_problems_at_once(tmp_path: Path) -> None:
    write_labels(tmp_path / "volume.tif", np.zeros((3, 4, 5), np.uint8))
    write_labels(tmp_path / "huge.tif", np.full((4, 5), 2**40, np.int64))
    write_labels(tmp_path / "same.tif", np.zeros((4, 5), np.uint8))
    write(tmp_path / "same.png", Image(np.zeros((4, 5), np.uint8), "yx", (1.0, 1.0)))
    with pytest.raises(ValueError, match="3 unusable masks") as caught:
        write_polygons([tmp_path], tmp_path / "out")
    message = str(caught.value)
    assert "volume.tif" in message
    assert "3 axes" in message
    assert "32 bits" in message
    assert "same.geojson: 2 masks" in message
    assert not (tmp_path / "out").exists()
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        write_polygons([tmp_path / "nowhere.png"], tmp_path / "out")


@pytest.mark.parametrize("system", ["ESRI:102001", "+proj=sinu +lon_0=0 +R=6371007.181 +units=m +no_defs", None])
def test_a_map_without_a_code_is_in_degrees_or_said_not_to_say(tmp_path: Path, system: str | None) -> None:
    mask, place = np.zeros((8, 9), np.uint8), Affine(10, 0, 500000, 0, -10, 5000000)
    mask[2:4, 3:6] = 1
    profile = {"driver": "GTiff", "count": 1, "height": 8, "width": 9, "dtype": "uint8", "transform": place}
    with rasterio.open(tmp_path / "a.tif", "w", crs=system, **profile) as file:
        file.write(mask[None])
    (written,) = write_polygons([tmp_path / "a.tif"], tmp_path / "out")
    (feature,) = json.loads(written.path.read_text())["features"]
    corner = np.array(feature["geometry"]["coordinates"][0][0])
    if system is None:
        assert "coordinate system is not stated" in written.coordinates
        np.testing.assert_allclose(corner, (500030, 4999980))
        return
    assert written.coordinates.startswith("longitude and latitude (WGS 84)")
    x, y = warp.transform("EPSG:4326", system, *([value] for value in corner))
    np.testing.assert_allclose((x[0], y[0]), (500030, 4999980), atol=0.1)


def map_of(path: Path, mask: np.ndarray, system: str, place: Affine) -> Path:
    height, width = mask.shape
    profile = {"driver": "GTiff", "count": 1, "height": height, "width": width, "dtype": mask.dtype.name}
    with rasterio.open(path, "w", crs=system, transform=place, **profile) as file:
        file.write(mask[None])
    return path


def test_ids_in_floats_that_gdal_takes_for_equal(tmp_path: Path) -> None:
    """rasterio 1.4.4 joins neighbours of float32 and float64 from 2^20 on."""
    ids = np.zeros((4, 8), np.float32)
    ids[:, 1:3], ids[:, 3:5] = 2**20, 2**20 + 1
    mask = map_of(tmp_path / "a.tif", ids, "EPSG:32633", Affine(10, 0, 500000, 0, -10, 5400000))
    (written,) = write_polygons([mask], tmp_path / "out")
    features = json.loads(written.path.read_text())["features"]
    assert [feature["properties"]["value"] for feature in features] == [2**20, 2**20 + 1]


def test_a_region_across_the_date_line_is_written_in_two_parts(tmp_path: Path) -> None:
    mask = np.zeros((6, 10), np.uint8)
    mask[2:4, 3:9] = 1  # from 2000 m west of 180 degrees to 4000 m east of it
    place = Affine(1000, 0, -5000, 0, -1000, 3000)
    path = map_of(tmp_path / "a.tif", mask, "+proj=laea +lat_0=0 +lon_0=180 +datum=WGS84 +units=m", place)
    (written,) = write_polygons([path], tmp_path / "out")
    (feature,) = json.loads(written.path.read_text())["features"]
    assert feature["geometry"]["type"] == "MultiPolygon"
    west, east = sorted((np.array(part[0])[:, 0] for part in feature["geometry"]["coordinates"]), key=np.min)[::-1]
    np.testing.assert_allclose((west.min(), west.max()), (180 - 2000 / 111320, 180), atol=1e-4)
    np.testing.assert_allclose((east.min(), east.max()), (-180, -180 + 4000 / 111320), atol=1e-4)
