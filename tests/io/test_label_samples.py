from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from unetkit import io

RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 5, (20, 31))


@pytest.mark.parametrize("size", [(20, 31), (4, 20, 31)])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "uint64"])
def test_integers_are_kept(tmp_path: Path, size: tuple[int, ...], dtype: str) -> None:
    ids = RNG.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, size, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", ids, photometric="minisblack")
    labels = io.read_labels(tmp_path / "a.tif")
    assert labels.array.dtype == dtype
    assert np.array_equal(labels.array, ids)
    assert labels.axes == "zyx"[-len(size) :]


@pytest.mark.parametrize("alpha", [False, True])
def test_gray_stored_as_rgb_is_one_channel(tmp_path: Path, alpha: bool) -> None:
    samples = np.stack([IDS] * 3 + [np.full_like(IDS, 255)] * alpha, axis=-1).astype(np.uint8)
    Pillow.fromarray(samples).save(tmp_path / "a.png")
    labels = io.read_labels(tmp_path / "a.png")
    assert np.array_equal(labels.array, IDS)
    assert f"gray stored as {'RGBA' if alpha else 'RGB'}: read as one channel" in labels.notes


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_become_ids_in_sorted_order(tmp_path: Path, dtype: type) -> None:
    full = np.iinfo(dtype).max
    colours = np.array([(0, 0, 0), (0, 0, full), (0, full, 0), (full, 0, 0), (full, full, 1)], dtype)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(colours[IDS]))
    labels = io.read_labels(tmp_path / "a.png")
    assert labels.array.dtype == np.uint8
    assert np.array_equal(labels.array, IDS)
    assert labels.notes[0].startswith(f"5 colours read as ids in this file: (0, 0, 0)=0, (0, 0, {full})=1")


def test_id_0_is_left_to_black(tmp_path: Path) -> None:
    colours = np.array([(1, 2, 3), (9, 9, 0)], np.uint8)
    Pillow.fromarray(colours[IDS % 2]).save(tmp_path / "a.png")
    assert np.array_equal(io.read_labels(tmp_path / "a.png").array, IDS % 2 + 1)


@pytest.mark.parametrize("count", [64, 65])
def test_at_most_64_colours(tmp_path: Path, count: int) -> None:
    pixels = np.zeros((5, count, 3), np.uint8)
    pixels[..., 1] = np.arange(count)
    Pillow.fromarray(pixels).save(tmp_path / "a.png")
    if count == 64:
        labels = io.read_labels(tmp_path / "a.png")
        assert np.array_equal(labels.array[0], np.arange(64))
        assert labels.notes[0].endswith(", ...")
        return
    with pytest.raises(ValueError, match=r"a\.png: label image with 65 different colours: at most 64"):
        io.read_labels(tmp_path / "a.png")


def test_float_colours_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RNG.random((8, 9, 3)).astype(np.float32), photometric="rgb")
    with pytest.raises(ValueError, match=r"three bands of dtype float32.*planes of a volume"):
        io.read_labels(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_integral_floats_become_int32(tmp_path: Path, dtype: type) -> None:
    tifffile.imwrite(tmp_path / "a.tif", (IDS - 1).astype(dtype))
    labels = io.read_labels(tmp_path / "a.tif")
    assert labels.array.dtype == np.int32
    assert np.array_equal(labels.array, IDS - 1)
    assert labels.notes == (f"ids stored as {np.dtype(dtype)}: read as integers",)


def test_large_integral_floats_become_int64_or_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[2.0**40, 0.0]]))
    assert io.read_labels(tmp_path / "a.tif").array.tolist() == [[2**40, 0]]
    tifffile.imwrite(tmp_path / "a.tif", np.array([[1e30, 0.0]]))
    with pytest.raises(ValueError, match=r"values from 0\.0 to 1e\+30: beyond 64-bit integers"):
        io.read_labels(tmp_path / "a.tif")


@pytest.mark.parametrize("value", [0.25, np.nan, np.inf])
def test_other_floats_are_refused_with_an_example(tmp_path: Path, value: float) -> None:
    ids = IDS.astype(np.float32)
    ids[3, 7] = value
    tifffile.imwrite(tmp_path / "a.tif", ids)
    with pytest.raises(ValueError, match=rf"a\.tif: .*1 values that are not integers, such as {value} at \(3, 7\)"):
        io.read_labels(tmp_path / "a.tif")


def test_several_channels_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([IDS, 2 * IDS]).astype(np.uint8), metadata={"axes": "CYX"})
    with pytest.raises(ValueError, match=r"label image of 2 channels with values from 0 to 8, shape \(2, 20, 31\)"):
        io.read_labels(tmp_path / "a.tif")


def squares() -> np.ndarray:
    mask = np.zeros((64, 64), np.uint8)
    mask[10:40, 16:50] = 255
    return mask


@pytest.mark.parametrize("quality", [75, 90])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_noise_around_black_and_white_is_removed(tmp_path: Path, mode: str, quality: int) -> None:
    Pillow.fromarray(squares()).convert(mode).save(tmp_path / "a.jpg", quality=quality)
    values = len(np.unique(np.asarray(Pillow.open(tmp_path / "a.jpg"))))
    assert values > 2
    labels = io.read_labels(tmp_path / "a.jpg")
    assert np.array_equal(labels.array, squares())
    assert f"JPEG noise ({values} different values): set to 0 and 255" in labels.notes


def test_jpeg_of_two_values_is_exact(tmp_path: Path) -> None:
    mask = np.full((16, 16), 255, np.uint8)
    mask[:8] = 0  # along the border of 8 x 8 blocks
    Pillow.fromarray(mask).save(tmp_path / "a.jpg", quality=95)
    labels = io.read_labels(tmp_path / "a.jpg")
    assert np.array_equal(labels.array, mask)
    assert labels.notes == ()


@pytest.mark.parametrize("ids", [squares() // 2, squares() // 51, 255 - squares() // 51])
def test_jpeg_of_ids_is_refused(tmp_path: Path, ids: np.ndarray) -> None:
    ids[50:, 50:] = ids[50:, 50:] // 2 + 3
    Pillow.fromarray(ids).save(tmp_path / "a.jpg", quality=90)
    with pytest.raises(ValueError, match=r"compressed with loss .*: [0-9]+ different values, among them [0-9]+"):
        io.read_labels(tmp_path / "a.jpg")


def test_jpeg_inside_tiff_is_lossy_too(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", squares() // 2, compression="jpeg", compressionargs={"level": 80})
    with pytest.raises(ValueError, match=r"compressed with loss"):
        io.read_labels(tmp_path / "a.tif")


@pytest.mark.parametrize("size", [(8, 9), (3, 8, 9)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ids_off_by_rounding_are_rounded(tmp_path: Path, size: tuple[int, ...], dtype: type) -> None:
    ids = RNG.integers(0, 5, size)
    array = np.nextafter(ids.astype(dtype), dtype(9))
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
    labels = io.read_labels(tmp_path / "a.tif")
    np.testing.assert_array_equal(labels.array, ids)
    assert any("off by rounding" in note for note in labels.notes)


def test_float32_ids_that_may_have_become_one_are_said(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 2**24 + 1]], np.float32))
    assert any("neighbours may have become one" in note for note in io.read_labels(tmp_path / "a.tif").notes)


def test_ids_beyond_63_bits_are_numbered_among_a_set(tmp_path: Path) -> None:
    ids = np.array([[0, 7], [2**63 + 5, 2**64 - 1]], np.uint64)
    tifffile.imwrite(tmp_path / "a.tif", ids)
    labels, _ = io.read_coded_labels(tmp_path / "a.tif")
    assert labels.array.tolist() == [[0, 1], [2, 3]]
    np.testing.assert_array_equal(io.read_labels(tmp_path / "a.tif").array, ids)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("under", [0, 255])
def test_a_mask_drawn_by_alpha(tmp_path: Path, mode: str, under: int) -> None:
    drawn = RNG.integers(0, 2, (8, 9)).astype(np.uint8)
    array = np.where(drawn[..., None] > 0, 255, under).repeat(len(mode), -1).astype(np.uint8)
    array[..., -1] = drawn * 255
    Pillow.fromarray(array).save(tmp_path / "a.png")
    np.testing.assert_array_equal(io.read_labels(tmp_path / "a.png").array, drawn * 255)


def test_ids_under_alpha_are_kept(tmp_path: Path) -> None:
    array = RNG.integers(1, 4, (8, 9, 2)).astype(np.uint8)
    array[..., 1] = RNG.integers(0, 2, (8, 9)) * 255
    Pillow.fromarray(array).save(tmp_path / "a.png")
    np.testing.assert_array_equal(io.read_labels(tmp_path / "a.png").array, array[..., 0])
