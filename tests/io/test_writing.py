import errno
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from unetkit import io
from unetkit.image import Image

RNG = np.random.default_rng(0)
SIZES = [(9, 11), (3, 9, 11)]
TIFF_DTYPES = ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
OME_DTYPES = ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"]


def image_of(channels: int, size: tuple[int, ...], dtype: object = np.uint8, **more: object) -> Image:
    array = RNG.integers(0, 120, (channels, *size))
    array = array > 60 if np.dtype(dtype) == bool else array.astype(dtype)
    spacing = (0.7, 1 / 3, 0.1)[-len(size) :]
    return Image(array, "c" + "zyx"[-len(size) :], **{"spacing": spacing, "unit": "µm", **more})


def assert_round_trip(path: Path, image: Image) -> None:
    io.write(path, image)
    back = io.read(path)
    assert back.array.dtype == image.array.dtype
    assert np.array_equal(back.array, image.array)
    assert (back.axes, back.unit, back.notes) == (image.axes, image.unit, ())
    assert back.spacing == pytest.approx(image.spacing, rel=1e-6)
    with io.open_lazy(path) as lazy:
        assert np.array_equal(lazy[:], image.array)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "name, dtype", [("a.tif", d) for d in TIFF_DTYPES] + [("a.ome.tif", d) for d in OME_DTYPES] + [("a.OME.TIFF", "u1")]
)
def test_tiff_round_trip(tmp_path: Path, name: str, dtype: str, channels: int, size: tuple[int, ...]) -> None:
    assert_round_trip(tmp_path / name, image_of(channels, size, dtype))
    with tifffile.TiffFile(tmp_path / name) as tif:
        assert tif.is_ome == ("ome" in name.lower())
        is_rgb = channels == 3 and dtype in ("u1", "u2")
        assert (tif.pages[0].photometric == tifffile.PHOTOMETRIC.RGB) == is_rgb


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
def test_three_equal_channels_stay_three(tmp_path: Path, name: str) -> None:
    gray = image_of(1, (9, 11))
    assert_round_trip(tmp_path / name, Image(np.repeat(gray.array, 3, axis=0), "cyx", gray.spacing, gray.unit))


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    spacing=st.tuples(*[st.floats(1e-9, 1e9)] * 3),
    unit=st.sampled_from(["px", "nm", "µm", "mm", "cm", "m", "Å", "in"]),
    name=st.sampled_from(["a.tif", "a.ome.tif"]),
)
def test_any_spacing_round_trips(tmp_path: Path, spacing: tuple[float, ...], unit: str, name: str) -> None:
    for size in ((3, 4), (2, 3, 4)):
        image = image_of(1, size, spacing=spacing[-len(size) :], unit=unit)
        io.write(tmp_path / name, image)
        back = io.read(tmp_path / name)
        assert back.spacing == pytest.approx(image.spacing, rel=1e-6)
        assert back.unit == unit


def test_a_unit_of_ones_own(tmp_path: Path) -> None:
    image = image_of(1, (4, 5), unit="furlong")
    assert_round_trip(tmp_path / "a.tif", image)
    with pytest.raises(ValueError, match=r"unit 'furlong' is not known to OME-TIFF: use px, pm, .*or write \.tif"):
        io.write(tmp_path / "a.ome.tif", image)


def test_other_programs_find_the_pixel_size(tmp_path: Path) -> None:
    io.write(tmp_path / "a.tif", image_of(1, (9, 11), spacing=(0.25, 0.5)))
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        page = tif.pages[0]
        assert page.resolution == pytest.approx((20000, 40000))  # x, y, per centimetre
        assert page.resolutionunit == 3


def test_volume_of_one_plane_stays_a_volume_in_tiff(tmp_path: Path) -> None:
    assert_round_trip(tmp_path / "a.tif", image_of(2, (1, 9, 11)))
    assert_round_trip(tmp_path / "a.tif", image_of(1, (1, 9, 11)))


@pytest.mark.parametrize("channels, dtype", [(1, "bool"), (1, "u1"), (3, "u1"), (1, "u2"), (3, "u2")])
def test_png_round_trip(tmp_path: Path, channels: int, dtype: str) -> None:
    assert_round_trip(tmp_path / "a.png", image_of(channels, (9, 11), dtype, spacing=(1.0, 1.0), unit="px"))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_close(tmp_path: Path, channels: int) -> None:
    smooth = np.add.outer(np.arange(32), np.arange(40)) * np.arange(1, channels + 1)[:, None, None]
    image = Image(smooth.astype(np.uint8), "cyx", (1.0, 1.0))
    io.write(tmp_path / "a.jpg", image)
    assert np.abs(io.read(tmp_path / "a.jpg").array.astype(int) - image.array).max() <= 4


@pytest.mark.parametrize(
    "name, image, message",
    [
        ("a.bmp", image_of(1, (4, 5)), r"a\.bmp: suffix '\.bmp' cannot be written; supported are \.png"),
        ("a.png", image_of(1, (3, 4, 5)), r"PNG holds 2D images, got size \(3, 4, 5\): use \.tif"),
        ("a.png", image_of(2, (4, 5)), r"PNG holds 1 or 3 channels, got 2 of uint8"),
        ("a.png", image_of(3, (4, 5), bool), r"PNG holds 1 or 3 channels, got 3 of bool"),
        ("a.png", image_of(1, (4, 5), np.float32), "PNG holds bool, uint8, uint16, got float32"),
        ("a.jpg", image_of(1, (4, 5), np.uint16), "JPEG holds uint8, got uint16"),
        ("a.tif", image_of(1, (4, 5), np.complex64), "TIFF holds integers, floats and bool, got complex64"),
        ("a.ome.tif", image_of(1, (4, 5), np.int64), "OME-TIFF holds bool, uint8, .*, got int64"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path: Path, name: str, image: Image, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        io.write(tmp_path / name, image)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name, size", [("a.png", (9, 11)), *[(name, size) for name in ("a.tif", "a.ome.tif") for size in SIZES]]
)
@pytest.mark.parametrize("dtype", ["bool", "u1", "u2", "i4", "i8", "u8"])
def test_labels_round_trip(tmp_path: Path, name: str, size: tuple[int, ...], dtype: str) -> None:
    labels = RNG.integers(0, 2 if dtype == "bool" else 200, size).astype(dtype)
    like = image_of(2, size)
    io.write_labels(tmp_path / name, labels, like=like)
    back = io.read_labels(tmp_path / name)
    assert np.array_equal(back.array, labels)
    assert back.axes == like.axes[1:]
    assert back.array.dtype.kind in "ui"
    if name != "a.png":
        assert (back.spacing, back.unit) == (pytest.approx(like.spacing, rel=1e-6), "µm")
        with tifffile.TiffFile(tmp_path / name) as tif:
            assert tif.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
    again = tmp_path / f"again_{name}"
    io.write_labels(again, back)
    assert np.array_equal(io.read_labels(again).array, labels)
    assert io.read_labels(again).spacing == back.spacing


@pytest.mark.parametrize("high, bits", [(255, 8), (256, 16), (65535, 16)])
def test_png_labels_take_the_smallest_depth(tmp_path: Path, high: int, bits: int) -> None:
    labels = np.array([[0, high]], np.int64)
    io.write_labels(tmp_path / "a.png", labels)
    assert io.read_labels(tmp_path / "a.png").array.dtype == np.dtype(f"u{bits // 8}")
    assert np.asarray(Pillow.open(tmp_path / "a.png")).tolist() == labels.tolist()


@pytest.mark.parametrize("low, high, dtype", [(0, 2**31 + 5, "u4"), (-1, 9, "i4")])
def test_ome_tiff_labels_of_64_bits(tmp_path: Path, low: int, high: int, dtype: str) -> None:
    labels = np.array([[low, high]], np.int64)
    io.write_labels(tmp_path / "a.ome.tif", labels)
    assert io.read_labels(tmp_path / "a.ome.tif").array.dtype == dtype
    assert io.read_labels(tmp_path / "a.ome.tif").array.tolist() == labels.tolist()
    io.write_labels(tmp_path / "a.tif", labels)
    assert io.read_labels(tmp_path / "a.tif").array.dtype == np.int64


@pytest.mark.parametrize(
    "name, labels, message",
    [
        ("a.jpg", np.zeros((4, 5), np.uint8), r"a\.jpg: JPEG is lossy and would change ids: use \.png or \.tif"),
        ("a.png", np.array([[0, 65536]]), r"PNG holds ids from 0 to 65535, got 0 to 65536: use \.tif"),
        ("a.png", np.array([[-1, 2]]), "PNG holds ids from 0 to 65535, got -1 to 2"),
        ("a.png", np.zeros((2, 4, 5), np.uint8), r"PNG holds 2D images, got size \(2, 4, 5\): use \.tif"),
        ("a.tif", np.zeros((4, 5)), "labels of dtype float64: expected integers or bool"),
        ("a.tif", np.zeros(5, int), r"labels of shape \(5,\): expected 2 or 3 axes"),
        ("a.tif", np.zeros((5, 4), int), r"labels of shape \(5, 4\) for an image of size \(4, 5\)"),
        ("a.ome.tif", np.array([[2**40]]), "got int64"),
    ],
)
def test_wrong_labels_are_refused(tmp_path: Path, name: str, labels: np.ndarray, message: str) -> None:
    like = image_of(1, (4, 5)) if labels.shape == (5, 4) else None
    with pytest.raises(ValueError, match=message):
        io.write_labels(tmp_path / name, labels, like=like)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.ome.tif"])
def test_a_failure_leaves_the_file_before_and_nothing_else(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(b"before")

    def half(target: Path, *_: object, **__: object) -> None:
        with open(target, "wb") as file:
            file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    monkeypatch.setattr(tifffile, "imwrite", half)
    with pytest.raises(OSError, match=r"cannot write .*a\..*: No space left on device") as caught:
        io.write(path, image_of(1, (4, 5)))
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def half(target: Path, *_: object, **__: object) -> None:
        Path(target).touch()
        raise error

    monkeypatch.setattr(tifffile, "imwrite", half)
    with pytest.raises(type(error)):
        io.write(tmp_path / "a.tif", image_of(1, (4, 5)))
    assert os.listdir(tmp_path) == []


def test_missing_folder(tmp_path: Path) -> None:
    for name in ("a.png", "a.tif"):
        with pytest.raises(FileNotFoundError, match=rf"cannot write .*none/{name}: No such file or directory"):
            io.write(tmp_path / "none" / name, image_of(1, (4, 5)))


def test_written_files_have_the_permissions_of_new_files(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    io.write(tmp_path / "a.tif", image_of(1, (4, 5)))
    assert (tmp_path / "a.tif").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_bigtiff_beyond_4_gb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, is_big in ((99, False), (98, True)):
        monkeypatch.setattr("unetkit.io.tiff.writing.BIGTIFF_BYTES", limit)
        assert_round_trip(tmp_path / "a.tif", image_of(1, (9, 11)))
        with tifffile.TiffFile(tmp_path / "a.tif") as tif:
            assert tif.is_bigtiff == is_big


def test_label_images_can_be_written_as_images(tmp_path: Path) -> None:
    labels = Image(RNG.integers(0, 9, (3, 4, 5)), "zyx", (2.0, 1.0, 1.0), "nm")
    io.write(tmp_path / "a.tif", labels)
    back = io.read_labels(tmp_path / "a.tif")
    assert np.array_equal(back.array, labels.array)
    assert (back.spacing, back.unit) == (labels.spacing, "nm")
