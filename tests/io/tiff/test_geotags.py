"""GeoTIFF: its tags come through number by number, and GDAL reads from our files what it wrote into the others."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.transform import Affine

from unetkit import io
from unetkit.image import Image
from unetkit.io.lazy import WholeImage
from unetkit.io.tiff.geotags import geo_tags
from unetkit.labels.colours import colour_table
from unetkit.labels.kind import LabelKind

DATA = Path(os.environ.get("UNETKIT_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
RNG = np.random.default_rng(0)
NORTH_UP = Affine(10.0, 0.0, 499980.0, 0.0, -20.0, 4100040.0)
TURNED = Affine(3.0, -4.0, 100.0, 4.0, 3.0, 200.0)
DEGREES = Affine(8.983152841195215e-05, 0.0, -57.76832600574083, 0.0, -8.983152841195215e-05, -24.376682335879558)


def by_gdal(path: Path, array: np.ndarray, transform: Affine, epsg: int, **options: Any) -> Path:
    """A GeoTIFF (bands, y, x) written by GDAL."""
    profile = {"driver": "GTiff", "count": len(array), "height": array.shape[1], "width": array.shape[2]}
    profile |= {"dtype": array.dtype, "crs": f"EPSG:{epsg}", "transform": transform}
    with rasterio.open(path, "w", **profile, **options) as file:
        file.write(array)
    return path


@pytest.fixture(params=["area", "point", "turned", "degrees"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    array = RNG.normal(size=(2, 40, 50)).astype(np.float32)
    kind, path = request.param, tmp_path / "source.tif"
    if kind == "degrees":
        yield by_gdal(path, array, DEGREES, 4326, nodata=np.nan)
        return
    by_gdal(path, array, TURNED if kind == "turned" else NORTH_UP, 32630, nodata=-9999.0)
    if kind == "point":
        with rasterio.open(path, "r+") as file:
            file.update_tags(AREA_OR_POINT="Point")
    yield path


def assert_same_place(path: Path, source: Path) -> None:
    with rasterio.open(path) as ours, rasterio.open(source) as theirs:
        assert ours.crs == theirs.crs
        assert ours.transform == theirs.transform
        assert ours.tags().get("AREA_OR_POINT") == theirs.tags().get("AREA_OR_POINT")


def test_reading_agrees_with_gdal(source: Path) -> None:
    image = io.read(source)
    with rasterio.open(source) as theirs, io.open_lazy(source) as lazy:
        georeference = image.georeference
        assert georeference is not None
        assert lazy.georeference == georeference
        assert georeference.transform == pytest.approx(tuple(theirs.transform)[:6], rel=1e-15, abs=1e-9)
        assert georeference.epsg == theirs.crs.to_epsg()
        assert georeference.nodata == pytest.approx(theirs.nodata, nan_ok=True)
        assert np.array_equal(image.array, theirs.read())
        spacing = {4326: (1.0, 1.0), 32630: (20.0, 10.0)}[theirs.crs.to_epsg()]
        if theirs.transform.b:
            spacing = (5.0, 5.0)
        assert (image.spacing, image.unit) == (spacing, "px" if theirs.crs.is_geographic else "m")
        assert (lazy.spacing, lazy.unit) == (image.spacing, image.unit)


def test_an_image_is_written_where_it_lies(source: Path, tmp_path: Path) -> None:
    image, path = io.read(source), tmp_path / "copy.tif"
    io.write(path, image)
    assert_same_place(path, source)
    with rasterio.open(path) as ours:
        assert ours.nodata == pytest.approx(image.georeference.nodata, nan_ok=True)
        assert ours.count == 2
        assert np.array_equal(ours.read(), image.array)
    back = io.read(path)
    assert back.georeference == image.georeference
    assert (back.axes, back.spacing, back.unit) == ("cyx", image.spacing, image.unit)
    assert np.array_equal(back.array, image.array)
    with io.open_lazy(path) as lazy:
        assert np.array_equal(lazy[1:, 3:9, 4:20], image.array[1:, 3:9, 4:20])


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("side", [40, 600])
def test_a_mask_says_the_colours_of_its_values(side: int, tmp_path: Path) -> None:
    kind = LabelKind("classes", (0, 1, 7), None, "")
    labels, path = RNG.choice(np.array([0, 1, 7], np.uint8), (side, side)), tmp_path / "mask.tif"
    source = WholeImage(Image(labels[None], "cyx", (1.0, 1.0)))
    io.write_labels_from(path, source, nodata=255, colours=colour_table(kind))
    with rasterio.open(path) as theirs:
        assert np.array_equal(theirs.read(1), labels)
        table = theirs.colormap(1)
        assert len(theirs.overviews(1)) == (side > 512)
    assert [table[value][:3] for value in (0, 1, 7, 9)] == [(0, 0, 0), (230, 159, 0), (86, 180, 233), (255,) * 3]
    assert np.array_equal(io.read_labels(path).array, labels)


@pytest.mark.parametrize("nodata", [None, 255])
def test_a_mask_lies_where_its_image_lies(source: Path, tmp_path: Path, nodata: int | None) -> None:
    labels, path = RNG.integers(0, 3, (40, 50), dtype=np.uint8), tmp_path / "mask.tif"
    with io.open_lazy(source) as lazy:
        for like in (io.read(source), lazy):
            io.write_labels(path, labels, like=like, nodata=nodata)
            assert_same_place(path, source)
            with rasterio.open(path) as ours:
                assert ours.nodata == nodata  # the image's is a value of its own
                assert np.array_equal(ours.read(1), labels)
    again = tmp_path / "again.tif"
    io.write_labels(again, io.read_labels(path))
    assert io.read_labels(again).georeference == io.read_labels(path).georeference
    io.write_labels(again, io.read_labels(path), nodata=9)
    assert io.read_labels(again).georeference.nodata == 9
    assert_same_place(again, source)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tags_come_through_number_by_number(tmp_path: Path, byteorder: Any) -> None:
    path, array = tmp_path / "a.tif", np.zeros((4, 5), np.uint8)
    given = io.GeoReference(
        pixel_scale=(1 / 3, 0.1, 0.0),
        tiepoints=(0.0, 0.0, 0.0, 1e-300, 2.0**60 + 2**20, 0.0),
        keys=(1, 1, 0, 2, 1026, 34737, 7, 0, 2057, 34736, 1, 0),
        doubles=(6378137.0,),
        text=b"WGS 84|\x00",
        nodata_text="-3.4028234663852886e+38",
    )
    tifffile.imwrite(path, array, extratags=geo_tags(given), byteorder=byteorder)
    assert io.read(path).georeference == given
    io.write(path, io.read(path))
    assert io.read(path).georeference == given


def test_text_that_is_no_ascii_stays_what_it_is(tmp_path: Path) -> None:
    given = io.GeoReference(text="Île-de-France|".encode("latin-1") + b"\x00")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.uint8), extratags=geo_tags(given))
    assert io.read(tmp_path / "a.tif").georeference == given


@pytest.mark.parametrize(
    "tag, reason",
    [
        ((33550, 2, 0, "ten", True), "tag 33550 holds str 'ten', expected numbers"),
        ((34735, 4, 4, (1, 1, 0, 70000), True), "keys from 0 to 70000, expected 16-bit numbers"),
        ((42113, 1, 3, b"\xff\xfe\xfd", True), "codec can't decode"),
    ],
)
def test_damaged_tags_are_left_out_with_a_note(tmp_path: Path, tag: tuple, reason: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.arange(20, dtype=np.uint8).reshape(4, 5), extratags=[tag])
    image = io.read(path)
    assert image.georeference is None
    assert image.array.tolist() == [np.arange(20).reshape(4, 5).tolist()]
    assert len(image.notes) <= 2  # tifffile has something to say of its own
    assert image.notes[-1].startswith("GeoTIFF tags are damaged (")
    assert reason in image.notes[-1]


def test_colour_and_volumes_keep_their_place(tmp_path: Path) -> None:
    colour = by_gdal(tmp_path / "rgb.tif", RNG.integers(0, 255, (3, 20, 30), np.uint8), NORTH_UP, 32630)
    io.write(tmp_path / "copy.tif", io.read(colour))
    assert_same_place(tmp_path / "copy.tif", colour)
    with rasterio.open(tmp_path / "copy.tif") as ours, rasterio.open(colour) as theirs:
        assert np.array_equal(ours.read(), theirs.read())
    stack = Image(
        np.zeros((1, 2, 4, 5), np.uint8), "czyx", (3.0, 1.0, 1.0), "mm", (), None, io.read(colour).georeference
    )
    io.write(tmp_path / "stack.tif", stack)
    back = io.read(tmp_path / "stack.tif")
    assert back.georeference == stack.georeference
    assert (back.spacing, back.unit) == ((3.0, 1.0, 1.0), "mm")


def test_formats_without_a_place_lose_it_alone(tmp_path: Path) -> None:
    source = by_gdal(tmp_path / "a.tif", RNG.integers(0, 9, (1, 20, 30), np.uint8), NORTH_UP, 32630)
    for name in ("b.ome.tif", "b.png"):
        io.write_labels(tmp_path / name, io.read(source).array[0], like=io.read(source), nodata=7)
        back = io.read_labels(tmp_path / name)
        assert back.georeference is None
        assert np.array_equal(back.array, io.read(source).array[0])


@pytest.mark.parametrize("dtype, nodata, held", [("u1", 256, "0 to 255"), ("u1", -1, "0 to 255"), ("?", 2, "0 to 1")])
def test_a_nodata_value_that_the_labels_do_not_hold(tmp_path: Path, dtype: str, nodata: int, held: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.tif: nodata is {nodata}, but labels of \w+ hold {held}: choose"):
        io.write_labels(tmp_path / "a.tif", np.zeros((4, 5), dtype), nodata=nodata)
    assert list(tmp_path.iterdir()) == []


def test_gdal_overviews_are_not_further_images(tmp_path: Path) -> None:
    array = RNG.integers(0, 9, (1, 600, 700), np.uint8)
    path = by_gdal(tmp_path / "a.tif", array, NORTH_UP, 32630, tiled=True, blockxsize=128, blockysize=128)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    image = io.read(path)
    assert np.array_equal(image.array, array)
    assert image.notes == ()


def test_real_floods(tmp_path: Path) -> None:
    chips = sorted((DATA / "floods/images").glob("*.tif"))
    if not chips:
        pytest.skip(f"no images in {DATA / 'floods'}: set UNETKIT_DATA to the folder of real images")
    for chip in chips:
        image = io.read(chip)
        assert (image.array.shape, image.unit, image.georeference.epsg) == ((2, 512, 512), "px", 4326)
        io.write_labels(tmp_path / chip.name, np.zeros(image.size, np.uint8), like=image, nodata=255)
        assert_same_place(tmp_path / chip.name, chip)
        valid = image.valid_mask()
        assert valid is None or np.array_equal(valid, ~np.isnan(image.array).any(0))
    assert not io.read(DATA / "floods/images/Paraguay_34417.tif").valid_mask().any()


def test_a_place_can_be_taken_away(source: Path, tmp_path: Path) -> None:
    io.write(tmp_path / "a.tif", replace(io.read(source), georeference=None))
    assert io.read(tmp_path / "a.tif").georeference is None
