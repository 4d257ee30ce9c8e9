from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from unetkit import io
from unetkit.image import Image
from unetkit.io.lazy import Banded, LazyImage, Region, WholeImage
from unetkit.io.tiff.layout import TiffImage, can_slice
from unetkit.io.tiff.regions import TiffRegions

RNG = np.random.default_rng(0)


def pixels(*shape: int, dtype: object = np.uint16) -> np.ndarray:
    return RNG.integers(0, 250, shape).astype(dtype)


TIFFS: dict[str, tuple[np.ndarray, dict]] = {
    "contiguous plane": (pixels(45, 37), {}),
    "contiguous big-endian": (pixels(45, 37), {"byteorder": ">"}),
    "contiguous stack": (pixels(5, 45, 37), {"metadata": {"axes": "ZYX"}}),
    "imagej hyperstack": (pixels(4, 2, 45, 37), {"imagej": True, "metadata": {"axes": "ZCYX"}}),
    "uncompressed strips per page": (pixels(3, 45, 37), {"metadata": None, "rowsperstrip": 10}),
    "compressed strips": (pixels(45, 37), {"compression": "zlib", "rowsperstrip": 7, "predictor": True}),
    "one row per strip": (pixels(45, 37), {"compression": "lzw", "rowsperstrip": 1}),
    "tiles": (pixels(45, 37), {"tile": (16, 32)}),
    "compressed tiles, stack": (pixels(3, 45, 37), {"tile": (16, 16), "compression": "zlib"}),
    "channels before z": (pixels(2, 3, 45, 37), {"metadata": {"axes": "CZYX"}, "compression": "zlib"}),
    "z before channels": (pixels(3, 2, 45, 37), {"metadata": {"axes": "ZCYX"}, "compression": "zlib"}),
    "ome": (pixels(3, 2, 45, 37), {"ome": True, "metadata": {"axes": "ZCYX"}, "compression": "zlib"}),
    "rgb": (pixels(45, 37, 3), {"photometric": "rgb", "tile": (16, 16)}),
    "rgb uncompressed": (pixels(45, 37, 3), {"photometric": "rgb"}),
    "rgba": (pixels(45, 37, 4), {"photometric": "rgb", "compression": "zlib", "rowsperstrip": 9}),
    "alpha between channels": (
        pixels(45, 37, 5),
        {"photometric": "rgb", "extrasamples": ["unassalpha", "unspecified"], "tile": (16, 16)},
    ),
    "rgb planar": (pixels(3, 45, 37), {"photometric": "rgb", "planarconfig": "separate", "tile": (16, 16)}),
    "planar strips": (
        pixels(4, 45, 37),
        {"planarconfig": "separate", "rowsperstrip": 8, "compression": "zlib", "photometric": "minisblack"},
    ),
    "rgb stack": (pixels(3, 45, 37, 3), {"photometric": "rgb", "metadata": {"axes": "ZYXS"}, "compression": "zlib"}),
    "channels of rgb": (pixels(2, 45, 37, 3), {"photometric": "rgb", "metadata": {"axes": "CYXS"}, "tile": (16, 16)}),
    "volumetric tiles": (pixels(20, 45, 37), {"volumetric": True, "tile": (16, 16, 16), "compression": "zlib"}),
    "jpeg tiles": (
        pixels(45, 37, 3, dtype=np.uint8),
        {"photometric": "ycbcr", "compression": "jpeg", "tile": (16, 16)},
    ),
    "palette": (
        pixels(45, 37, dtype=np.uint8),
        {"photometric": "palette", "colormap": pixels(3, 256) * np.uint16(257), "tile": (16, 16)},
    ),
    "cmyk": (pixels(45, 37, 4, dtype=np.uint8), {"photometric": "separated", "tile": (16, 16)}),
    "bool": (pixels(45, 37) > 99, {"compression": "zlib", "rowsperstrip": 8}),
    "bool uncompressed": (pixels(45, 37) > 99, {}),
    "float with NaN": (np.where(pixels(2, 45, 37) > 99, np.nan, 1.5).astype(np.float32), {"compression": "zlib"}),
    "one row": (pixels(1, 37), {"compression": "zlib"}),
    "one column": (pixels(3, 45, 1), {"compression": "zlib", "metadata": {"axes": "ZYX"}}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lazy")
    for name, (array, options) in TIFFS.items():
        tifffile.imwrite(path / f"{name}.tif", array, **{"photometric": "minisblack", **options})
    return path


def decoder(image: io.LazyImage) -> Any:
    """What reads the file, behind the bands that are kept."""
    return getattr(image._source, "_source", image._source)


def assert_same(region: np.ndarray, expected: np.ndarray) -> None:
    assert type(region) is np.ndarray
    assert region.dtype == expected.dtype
    assert region.dtype.isnative
    assert region.shape == expected.shape
    assert np.array_equal(region, expected, equal_nan=region.dtype.kind == "f")
    assert region.flags.owndata
    assert region.flags.writeable


@pytest.mark.parametrize("name", TIFFS)
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_region_equals_that_of_the_whole(folder: Path, name: str, data: st.DataObject) -> None:
    path = folder / f"{name}.tif"
    whole = io.read(path)
    regions = [
        tuple(data.draw(st.slices(length)) for length in whole.array.shape[: data.draw(st.integers(0, 4))])
        for _ in range(3)
    ]
    with io.open_lazy(path) as image:
        assert isinstance(decoder(image), TiffRegions)
        assert (image.shape, image.dtype, image.axes) == (whole.array.shape, whole.array.dtype, whole.axes)
        assert (image.size, image.ndim) == (whole.size, whole.ndim)
        assert (image.spacing, image.unit) == (whole.spacing, whole.unit)
        for region in regions:
            assert_same(image[region], whole.array[region])


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_pictures_are_sliced_in_memory(tmp_path: Path, suffix: str) -> None:
    Pillow.fromarray(pixels(20, 31, 3, dtype=np.uint8)).save(tmp_path / f"a{suffix}")
    whole = io.read(tmp_path / f"a{suffix}").array
    with io.open_lazy(tmp_path / f"a{suffix}") as image:
        assert_same(image[1:, 3:9, ::-2], whole[1:, 3:9, ::-2])
        image[:][:] = 0
        assert_same(image[:], whole)


def test_gray_stored_as_rgb_keeps_its_channels(tmp_path: Path) -> None:
    gray = pixels(20, 31)
    tifffile.imwrite(tmp_path / "a.tif", np.stack([gray] * 3, axis=-1), photometric="rgb")
    assert io.read(tmp_path / "a.tif").channels == 1
    with io.open_lazy(tmp_path / "a.tif") as image:
        assert image.shape == (3, 20, 31)
        assert_same(image[:], np.stack([gray] * 3))


def test_only_the_tiles_of_the_region_are_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with io.open_lazy(folder / "compressed tiles, stack.tif") as image:
        assert isinstance(decoder(image), TiffRegions)
        page, decoded = decoder(image)._tiff.page, []
        decode = page.decode
        monkeypatch.setitem(
            page.__dict__, "decode", lambda data, i, **more: decoded.append(i) or decode(data, i, **more)
        )
        image[:, 1:2, 15:17, 20:30]
        assert decoded == [1, 4]  # 3 x 3 tiles of 16: rows 0 and 1, column 1, of one of three pages
        decoded.clear()
        image[:, 1:1]
        assert decoded == []


def test_sparse_tiles_are_no_data(tmp_path: Path) -> None:
    path, array = tmp_path / "a.tif", pixels(32, 32, dtype=np.uint8)
    array[:16, 16:] = 0
    with tifffile.TiffWriter(path) as tif:
        tiles = (array[y : y + 16, x : x + 16] if (y, x) != (0, 16) else None for y in (0, 16) for x in (0, 16))
        tif.write(tiles, shape=(32, 32), dtype=np.uint8, tile=(16, 16), compression="zlib", photometric="minisblack")
    assert np.array_equal(io.read(path).array[0], array)
    with io.open_lazy(path) as image:
        assert_same(image[:], array[None])


def test_layouts_that_cannot_be_sliced_are_read_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "tiles.tif"
    monkeypatch.setattr("unetkit.io.reading.can_slice", lambda tiff: False)
    with io.open_lazy(path) as image:
        assert isinstance(image._source, WholeImage)
        assert_same(image[:, 3:9], io.read(path).array[:, 3:9])


def test_a_transformed_series_cannot_be_sliced(folder: Path) -> None:
    tiff = TiffImage(folder / "tiles.tif")
    assert can_slice(tiff)
    tiff.series.transform = np.sqrt  # as tifffile does for gels
    assert not can_slice(tiff)
    tiff.close()


def test_threads_read_what_one_would(folder: Path) -> None:
    path = folder / "z before channels.tif"
    whole = io.read(path).array
    regions = [(slice(None), slice(i % 3, 3), slice(i, i + 9), slice(5, 30)) for i in range(40)]
    with io.open_lazy(path) as image, ThreadPoolExecutor(4) as pool:
        for region, result in zip(regions, pool.map(image.__getitem__, regions), strict=True):
            assert np.array_equal(result, whole[region])


@pytest.mark.parametrize("name", ["tiles", "contiguous plane"])
def test_wrong_use(folder: Path, name: str) -> None:
    image = io.open_lazy(folder / f"{name}.tif")
    with pytest.raises(TypeError, match=r"expected slices over \(C, \*spatial\), got \(0, slice.*: write i:i\+1"):
        image[0, :]  # type: ignore[index]
    with pytest.raises(ValueError, match=r"got 4 slices for an image of shape \(1, 45, 37\)"):
        image[:, :, :, :]
    image.close()
    image.close()
    with pytest.raises(ValueError, match=rf"{name}\.tif: closed; open it again"):
        image[:]


def test_lazy_image_of_any_source() -> None:
    whole = Image(pixels(2, 3, 4, 5), "czyx", (3.0, 1.0, 1.0), "nm", ("said",))
    image = LazyImage(Path("memory"), WholeImage(whole))
    assert (image.axes, image.spacing, image.unit, image.notes) == ("czyx", (3.0, 1.0, 1.0), "nm", ("said",))
    assert_same(image[1:, :, -2:], whole.array[1:, :, -2:])


# --- bands: no band of a running read is decoded twice ---

VALUES = np.arange(2 * 23 * 7).reshape(2, 23, 7)


class Counted(WholeImage):
    def __init__(self) -> None:
        super().__init__(Image(VALUES, "cyx", (1.0, 1.0)))
        self.rows: list[tuple[int, int]] = []

    def read(self, region: Region) -> np.ndarray:
        self.rows.append((region[1].start, region[1].stop))
        return super().read(region)


@given(height=st.integers(2, 30), reads=st.lists(st.tuples(st.integers(0, 22), st.integers(1, 23)), max_size=8))
def test_every_region(height: int, reads: list[tuple[int, int]]) -> None:
    source = Banded(Counted(), height)
    for start, n in reads:
        region = (slice(0, 2), slice(start, min(start + n, 23)), slice(1, 6))
        assert np.array_equal(source.read(region), VALUES[region])


def test_a_band_is_decoded_once() -> None:
    counted = Counted()
    source = Banded(counted, 10)
    for start in range(0, 23, 4):
        source.read((slice(0, 1), slice(start, min(start + 4, 23)), slice(0, 7)))
    assert counted.rows == [(0, 10), (10, 20), (20, 23)]
    source.read((slice(0, 1), slice(3, 20), slice(0, 7)))  # more than a band is not kept
    source.read((slice(0, 1), slice(12, 14), slice(2, 5)))  # other columns are another band
    assert counted.rows[3:] == [(3, 20), (10, 20)]


@pytest.mark.parametrize("options", [{"tile": (32, 16)}, {"rowsperstrip": 32}], ids=["tiles", "strips"])
def test_compressed_tiffs(tmp_path: Path, options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 9, (70, 50), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, compression="zlib", **options)
    reads: list[Region] = []
    read = TiffRegions.read
    monkeypatch.setattr(TiffRegions, "read", lambda self, region: reads.append(region) or read(self, region))
    with io.open_lazy(tmp_path / "a.tif") as image:
        rows = [image[:, start : start + 8, 3:40] for start in range(0, 70, 8)]
        rows[0][:] = 0  # its own copy
        assert np.array_equal(image[:, 0:8, 3:40][0], values[:8, 3:40])
    assert np.array_equal(np.concatenate(rows[1:], 1)[0], values[8:, 3:40])
    assert [(part.start, part.stop) for _, part, _ in reads] == [(0, 32), (32, 64), (64, 70), (0, 32)]


def test_zarr_chunks(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    values = np.random.default_rng(0).integers(0, 9, (1, 70, 50), dtype=np.uint8)
    io.write(tmp_path / "a.ome.zarr", Image(values, "cyx", (1.0, 1.0)))
    with io.open_lazy(tmp_path / "a.ome.zarr") as image:
        assert np.array_equal(np.concatenate([image[:, i : i + 9] for i in range(0, 70, 9)], 1), values)
