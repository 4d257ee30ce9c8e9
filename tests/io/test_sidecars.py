"""What GDAL finds beside the tags of a map: files with its place, polynomials, and the gaps of floats in LERC."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image as Picture
from rasterio.rpc import RPC
from rasterio.transform import Affine

from unetkit import io

SIZE = (40, 50)
PLACE = Affine(10.0, 0.0, 499980.0, 0.0, -10.0, 4100040.0)


def save(path: Path, array: np.ndarray, **options: Any) -> Path:
    profile = {"driver": "GTiff", "count": len(array), "height": array.shape[1], "width": array.shape[2]}
    with rasterio.open(path, "w", dtype=array.dtype, **profile, **options) as file:
        file.write(array)
    return path


def bands(number: int = 1, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 99, (number, *SIZE)).astype(dtype)


def aux_xml(path: Path, text: str) -> Path:
    beside = path.with_name(path.name + ".aux.xml")
    beside.write_text(f"<PAMDataset>{text}</PAMDataset>")
    return beside


GEO = f"<SRS>EPSG:32630</SRS><GeoTransform>{', '.join(map(str, PLACE.to_gdal()))}</GeoTransform>"
NODATA = '<PAMRasterBand band="1"><NoDataValue>7</NoDataValue></PAMRasterBand>'
STATISTICS = '<PAMRasterBand band="1"><Metadata><MDI key="STATISTICS_MAXIMUM">9</MDI></Metadata></PAMRasterBand>'


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_place_and_nodata_of_an_aux_xml_come_to_the_mask(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", bands())
    aux_xml(path, GEO + NODATA)
    image = io.read(path)
    assert image.georeference is not None
    assert (image.georeference.epsg, image.georeference.nodata) == (32630, 7)
    assert (image.spacing, image.unit) == ((10.0, 10.0), "m")
    assert "a.tif.aux.xml beside it used, as GDAL does: its place and the value without data" in image.notes
    with io.open_lazy(path) as lazy:
        assert lazy.georeference == image.georeference
    io.write_labels(tmp_path / "mask.tif", np.zeros(SIZE, np.uint8), like=image)
    with rasterio.open(tmp_path / "mask.tif") as mask, rasterio.open(path) as source:
        assert (mask.transform, mask.crs) == (source.transform, source.crs) == (PLACE, source.crs)
    aux_xml(path, STATISTICS)  # QGIS writes one beside every map
    assert io.read(path).georeference is None
    assert not any("aux.xml" in note for note in io.read(path).notes)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_world_file_counts_where_the_tags_say_nothing(tmp_path: Path) -> None:
    world = "10\n0\n0\n-10\n499985\n4100035\n"
    path = save(tmp_path / "a.tif", bands())
    (tmp_path / "a.tfw").write_text(world)
    image = io.read(path)
    assert image.georeference is not None
    assert image.georeference.transform == tuple(PLACE)[:6]
    east = Affine(10.0, 0.0, 500010.0, 0.0, -10.0, 4100040.0)
    path = save(tmp_path / "a.tif", bands(), transform=east, crs="EPSG:32630")
    located = io.read(path)
    assert located.georeference is not None
    assert located.georeference.transform == (10.0, 0.0, 500010.0, 0.0, -10.0, 4100040.0)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_without_rasterio_the_file_beside_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.tif", bands())
    aux_xml(path, GEO)
    lerc = save(tmp_path / "lerc.tif", bands(dtype=np.float32), compress="LERC")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    assert any("a.tif.aux.xml beside it says where it lies or holds no data" in note for note in io.read(path).notes)
    with pytest.raises(ValueError, match=r"lerc\.tif: float pixels compressed by LERC, .*'unetkit\[geo\]'"):
        io.read(lerc)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_rational_polynomials_come_to_the_mask(tmp_path: Path) -> None:
    numbers = [float(i) for i in range(20)]
    offsets = {f"{axis}_off": 45.0 for axis in ("height", "lat", "line", "long", "samp")}
    scales = {f"{axis}_scale": 0.5 for axis in ("height", "lat", "line", "long", "samp")}
    names = [f"{axis}_{part}_coeff" for axis in ("line", "samp") for part in ("num", "den")]
    rpcs = RPC(**offsets, **scales, **dict.fromkeys(names, numbers), err_bias=1.0, err_rand=2.0)
    image = io.read(save(tmp_path / "a.tif", bands(), rpcs=rpcs))
    io.write_labels(tmp_path / "mask.tif", np.zeros(SIZE, np.uint8), like=image)
    with rasterio.open(tmp_path / "mask.tif") as mask, rasterio.open(tmp_path / "a.tif") as source:
        assert mask.rpcs.to_gdal() == source.rpcs.to_gdal()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(("image", "beside"), [("W.TIF", "W.TFW"), ("x.tif", "x.TFW"), ("y.png", "y.PGW")])
def test_capitals_of_a_world_file(tmp_path: Path, image: str, beside: str) -> None:
    path = tmp_path / image
    if path.suffix == ".png":
        Picture.fromarray(bands()[0]).save(path)
    else:
        save(path, bands())
    world_file(tmp_path / beside)
    with rasterio.open(path) as file:
        expected = tuple(file.transform)[:6]
    georeference = io.read(path).georeference
    assert georeference is not None
    assert georeference.transform == expected == tuple(PLACE)[:6]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("ending", ["_RPC.TXT", "_rpc.txt"])
def test_polynomials_beside_a_scene_come_to_the_mask(tmp_path: Path, ending: str) -> None:
    path = save(tmp_path / "a.tif", bands())
    numbers = {
        f"{axis}_{part}": 45.5 for axis in ("HEIGHT", "LAT", "LINE", "LONG", "SAMP") for part in ("OFF", "SCALE")
    }
    for name in ("LINE_NUM", "LINE_DEN", "SAMP_NUM", "SAMP_DEN"):
        numbers |= {f"{name}_COEFF_{i}": float(i) for i in range(1, 21)}
    (tmp_path / f"a{ending}").write_text("".join(f"{name}: {value}\n" for name, value in numbers.items()))
    image = io.read(path)
    assert any(f"a{ending} beside it used" in note for note in image.notes)
    io.write_labels(tmp_path / "mask.tif", np.zeros(SIZE, np.uint8), like=image)
    with rasterio.open(tmp_path / "mask.tif") as mask, rasterio.open(path) as source:
        assert mask.rpcs.to_gdal().items() >= source.rpcs.to_gdal().items()


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("number", [1, 2])
def test_the_gaps_of_floats_in_lerc(tmp_path: Path, number: int, interleave: str) -> None:
    array = bands(number, np.float32)
    array[0, 5:20, 7:30] = np.nan
    options = {"compress": "LERC", "nodata": np.nan, "interleave": interleave, "tiled": True}
    path = save(tmp_path / "a.tif", array, crs="EPSG:32630", transform=PLACE, blockxsize=16, blockysize=16, **options)
    np.testing.assert_array_equal(io.read(path).array, array)
    with io.open_lazy(path) as lazy:
        np.testing.assert_array_equal(lazy[:1, 3:30, 5:49], array[:1, 3:30, 5:49])


def world_file(path: Path) -> Path:
    path.write_text("\n".join(map(str, (10.0, 0.0, 0.0, -10.0, 499985.0, 4100035.0))))  # of the first pixel's centre
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("name", "beside"), [("a.png", "a.pgw"), ("a.png", "a.wld"), ("a.jpg", "a.jgw"), ("a.bmp", "a.bpw")]
)
def test_world_file_of_a_picture_comes_to_the_mask(name: str, beside: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / name
    Picture.fromarray(bands()[0]).save(path)
    assert io.read(path).georeference is None
    world_file(path.with_name(beside))
    image = io.read(path)
    assert image.georeference is not None
    assert image.georeference.transform == tuple(PLACE)[:6]
    assert any(note.startswith(f"{beside} beside it used") for note in image.notes)
    mask = tmp_path / "mask.tif"
    io.write_labels(mask, np.zeros(SIZE, np.uint8), like=image)
    with rasterio.open(mask) as written, rasterio.open(path) as source:
        assert written.transform == source.transform == PLACE


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_place_of_a_picture_by_aux_xml_is_in_metres(tmp_path: Path) -> None:
    Picture.fromarray(bands()[0]).save(tmp_path / "a.png")
    aux_xml(tmp_path / "a.png", GEO + NODATA)
    image = io.read(tmp_path / "a.png")
    assert image.georeference is not None
    assert (image.georeference.epsg, image.georeference.nodata) == (32630, 7)
    assert (image.spacing, image.unit) == ((10.0, 10.0), "m")


def test_place_inside_of_a_jpeg_2000(tmp_path: Path) -> None:
    """As satellites' scenes come: by GDAL's own writer, and by Pillow without a place."""
    place = {"crs": "EPSG:32630", "transform": PLACE}
    path = tmp_path / "a.jp2"
    options = {"driver": "JP2OpenJPEG", "count": 1, "height": SIZE[0], "width": SIZE[1], "dtype": "uint8"}
    with rasterio.open(path, "w", quality=100, reversible="yes", **options, **place) as file:
        file.write(bands())
    image = io.read(path)
    assert image.georeference is not None
    assert (image.georeference.epsg, image.unit) == (32630, "m")
    assert image.georeference.transform == tuple(PLACE)[:6]
    assert np.array_equal(image.array, bands())
    with io.open_lazy(path) as lazy:
        assert lazy.georeference == image.georeference


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_turned_picture_has_no_place(tmp_path: Path) -> None:
    exif = Picture.Exif()
    exif[0x0112] = 6
    Picture.fromarray(bands()[0]).save(tmp_path / "a.jpg", exif=exif)
    world_file(tmp_path / "a.jgw")
    image = io.read(tmp_path / "a.jpg")
    assert image.georeference is None
    assert "not used" in image.notes[-1]
