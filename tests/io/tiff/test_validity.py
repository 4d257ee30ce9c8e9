"""Where a map holds data: as rasterio's dataset_mask has it, whole and by region, whatever says so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.transform import Affine

from unetkit import io

SIZE = (40, 50)
PLACE = Affine(10.0, 0.0, 499980.0, 0.0, -10.0, 4100040.0)
INSIDE = np.zeros(SIZE, bool)
INSIDE[5:30, 7:41] = True


def bands(dtype: Any, number: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 100, (number, *SIZE)).astype(dtype)


def save(path: Path, array: np.ndarray, mask: np.ndarray | None = None, inside: str = "YES", **options: Any) -> Path:
    profile = {"driver": "GTiff", "count": len(array), "height": array.shape[1], "width": array.shape[2]}
    profile |= {"dtype": array.dtype, "crs": "EPSG:32630", "transform": PLACE, "tiled": True}
    profile |= {"blockxsize": 16, "blockysize": 16}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside), rasterio.open(path, "w", **profile, **options) as file:
        file.write(array)
        if mask is not None:
            file.write_mask(mask)
    return path


def assert_as_rasterio(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        expected = file.dataset_mask() > 0
    image = io.read(path)
    valid = image.valid_mask()
    assert np.array_equal(np.ones(image.size, bool) if valid is None else valid, expected)
    with io.open_lazy(path) as lazy:
        for box in ((slice(0, 40), slice(0, 50)), (slice(3, 20), slice(5, 49))):
            held = lazy.holds_data(lazy[(slice(None), *box)], box)
            assert np.array_equal(held.any(0), expected[box])
    assert not expected.all()
    return expected


@pytest.mark.parametrize("compress", [None, "deflate"])
@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", 0), ("int16", -9999), ("float32", -9999), ("float32", np.nan)])
def test_nodata_of_several_bands(tmp_path: Path, dtype: str, nodata: float, compress: str | None) -> None:
    array = bands(dtype)
    array[:, :4] = nodata
    array[1, 10:20, 10:20] = nodata
    assert assert_as_rasterio(save(tmp_path / "a.tif", array, nodata=nodata, compress=compress)).mean() == 0.9


@pytest.mark.parametrize("inside", ["YES", "NO"])
@pytest.mark.parametrize("nodata", [None, 1])
def test_a_mask_in_the_file_or_beside_it_comes_before_nodata(tmp_path: Path, inside: str, nodata: int | None) -> None:
    path = save(tmp_path / "a.tif", bands("uint8"), INSIDE, inside, nodata=nodata)
    assert (tmp_path / "a.tif.msk").exists() == (inside == "NO")
    assert np.array_equal(assert_as_rasterio(path), INSIDE)
    assert "a mask says where it holds data" in io.read(path).notes
    assert not any("image series" in note for note in io.read(path).notes)


def test_a_mask_of_another_size_is_not_used(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", bands("uint8"), INSIDE, "NO")
    tifffile.imwrite(tmp_path / "a.tif.msk", np.zeros((7, 8), np.uint8))
    assert io.read(path).valid is None
    assert "a.tif.msk is not a mask of the size of this image: not used" in io.read(path).notes
    (tmp_path / "a.tif.msk").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a\.tif: .*unsupported mask a\.tif\.msk"):
        io.read(path)


@pytest.mark.parametrize("photometric", ["RGB", "MINISBLACK"])
def test_alpha_of_a_map(tmp_path: Path, photometric: str) -> None:
    array = bands("uint8", 4 if photometric == "RGB" else 2)
    array[-1] = INSIDE * 255
    path = save(tmp_path / "a.tif", array, photometric=photometric, ALPHA="YES")
    assert np.array_equal(assert_as_rasterio(path), INSIDE)
    assert io.read(path).channels == len(array) - 1


def test_alpha_of_a_picture_says_nothing_of_data(tmp_path: Path) -> None:
    array = np.moveaxis(bands("uint8", 4), 0, -1)
    array[..., 3] = INSIDE * 255
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["unassalpha"])
    assert io.read(tmp_path / "a.tif").valid_mask() is None
