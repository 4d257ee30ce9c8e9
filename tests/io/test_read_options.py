"""What a person states of image files: the order of axes that a file does not name, and the channels to read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from unetkit.io import open_lazy, read, read_coded_labels
from unetkit.io.read_options import ReadOptions, parse_channels


def values(*shape: int, dtype: type = np.uint16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def as_npy(folder: Path, array: np.ndarray) -> Path:
    np.save(folder / "a.npy", array)
    return folder / "a.npy"


def as_hdf5(folder: Path, array: np.ndarray) -> Path:
    with pytest.importorskip("h5py").File(folder / "a.h5", "w") as file:
        file["raw"] = array
    return folder / "a.h5"


def as_zarr(folder: Path, array: np.ndarray) -> Path:
    pytest.importorskip("zarr").save_array(str(folder / "a.zarr"), array)
    return folder / "a.zarr"


def as_tiff(folder: Path, array: np.ndarray) -> Path:
    tifffile.imwrite(folder / "a.tif", array, photometric="minisblack", metadata=None)
    return folder / "a.tif"


@pytest.mark.parametrize("write", [as_npy, as_hdf5, as_zarr, as_tiff])
def test_axes_that_a_file_does_not_name(write: Callable[[Path, np.ndarray], Path], tmp_path: Path) -> None:
    array = values(6, 30, 40)
    path = write(tmp_path, array)
    image = read(path, axes="cyx")
    assert image.axes == "cyx"
    assert np.array_equal(image.array, array)
    with open_lazy(path, axes="cyx") as lazy:
        assert lazy.axes == "cyx"
        assert np.array_equal(lazy[2:5, 3:9], array[2:5, 3:9])
    volume = read(path, axes="zyx")
    assert volume.axes == "czyx"
    assert np.array_equal(volume.array, array[None])


@pytest.mark.parametrize("write", [as_npy, as_hdf5, as_zarr])
def test_channels_between_other_axes(write: Callable[[Path, np.ndarray], Path], tmp_path: Path) -> None:
    array = values(7, 5, 20, 30)
    path = write(tmp_path, array)
    assert np.array_equal(read(path, axes="zcyx").array, array.swapaxes(0, 1))
    with pytest.raises(ValueError, match="--axes"):
        read(path)


def test_a_mask_has_no_channels(tmp_path: Path) -> None:
    array = values(3, 20, 30, dtype=np.uint8)  # as an image, three channels
    image, _ = read_coded_labels(as_npy(tmp_path, array), axes="czyx")
    assert image.axes == "zyx"
    assert np.array_equal(image.array, array)


def test_axes_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.npy: an array of shape \(6, 30, 40\), told to have the axes y, x"):
        read(as_npy(tmp_path, values(6, 30, 40)), axes="yx")


def test_frames_that_are_planes(tmp_path: Path) -> None:
    array = values(5, 16, 24)
    tifffile.imwrite(tmp_path / "a.tif", array, imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(ValueError, match="--axes"):
        read(tmp_path / "a.tif")
    image = read(tmp_path / "a.tif", axes="zyx")
    assert image.axes == "czyx"
    assert np.array_equal(image.array[0], array)
    assert any("T: 5" in note and "as told" in note for note in image.notes)


def test_axes_that_a_file_names_are_kept(tmp_path: Path) -> None:
    array = values(5, 16, 24)
    tifffile.imwrite(tmp_path / "a.ome.tif", array, ome=True, metadata={"axes": "CYX"})
    assert read(tmp_path / "a.ome.tif", axes="zyx").axes == "cyx"


def test_channels_of_a_picture_with_alpha(tmp_path: Path) -> None:
    array = values(20, 30, 4, dtype=np.uint8)
    Pillow.fromarray(array, "RGBA").save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").channels == 3
    image = read(tmp_path / "a.png", channels=(4, 1))
    assert np.array_equal(image.array, np.moveaxis(array, -1, 0)[[3, 0]])
    assert "channels 4, 1 of 4" in image.notes[-1]


def test_three_equal_channels_stay_three_where_told(tmp_path: Path) -> None:
    gray = values(20, 30, dtype=np.uint8)
    Pillow.fromarray(np.stack([gray] * 3, -1)).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").channels == 1
    assert read(tmp_path / "a.png", channels=(1, 2, 3)).channels == 3


@pytest.mark.parametrize("size", [(20, 30), (4, 20, 30)])
def test_channels_of_a_tiff_whole_and_by_region(size: tuple[int, ...], tmp_path: Path) -> None:
    array = values(4, *size)
    axes = "CYX" if len(size) == 2 else "CZYX"
    tifffile.imwrite(tmp_path / "a.ome.tif", array, ome=True, metadata={"axes": axes})
    assert np.array_equal(read(tmp_path / "a.ome.tif", channels=(4, 2, 3)).array, array[[3, 1, 2]])
    with open_lazy(tmp_path / "a.ome.tif", channels=(4, 2, 3)) as lazy:
        assert lazy.shape == (3, *size)
        assert np.array_equal(lazy[1:3, 2:], array[[1, 2], 2:])
        assert np.array_equal(lazy[:, :, 5:9], array[[3, 1, 2], :, 5:9])


def test_stated_alpha_of_a_tiff_is_data_where_told(tmp_path: Path) -> None:
    array = values(20, 30, 4, dtype=np.uint8)
    array[..., 3] = np.where(array[..., 0] > 100, 255, 0)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["unassalpha"])
    assert read(tmp_path / "a.tif").channels == 3
    assert np.array_equal(read(tmp_path / "a.tif", channels=(1, 2, 3, 4)).array, np.moveaxis(array, -1, 0))
    with open_lazy(tmp_path / "a.tif", channels=(4,)) as lazy:
        assert np.array_equal(lazy[:], array[None, ..., 3])


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.tif"])
def test_channels_that_a_file_does_not_hold(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    {".png": lambda: Pillow.fromarray(values(9, 9, dtype=np.uint8)).save(path)}.get(
        path.suffix, lambda: (as_npy if path.suffix == ".npy" else as_tiff)(tmp_path, values(9, 9))
    )()
    for opener in (read, open_lazy):
        with pytest.raises(ValueError, match="holds 1 channel, told to read number 2"):
            opener(path, channels=(2,))


@pytest.mark.parametrize("axes", ["yy", "c", "ty", "zc", "ttyx"])
def test_axes_that_cannot_be(axes: str) -> None:
    with pytest.raises(ValueError, match="expected y and x"):
        ReadOptions(axes)


@pytest.mark.parametrize("text", ["0", "1,1", "a", "1-", "-2", "1;2"])
def test_channels_that_cannot_be(text: str) -> None:
    with pytest.raises(ValueError, match="expected numbers from 1 on"):
        parse_channels(text)
