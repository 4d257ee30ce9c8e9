"""Label images written from a source: every id in its place, each region read once, levels that readers know."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile

from unetkit import io
from unetkit.image import Image
from unetkit.io import write_labels_from
from unetkit.io.lazy import Region, WholeImage
from unetkit.io.tiff.pyramid import TILE

RNG = np.random.default_rng(0)
LEVELS = {(1100, 700): 3, (700, 513): 2, (3, 2050): 3, (1, 1500): 1, (600, 2): 2}
PLACE = io.GeoReference(
    pixel_scale=(10.0, 20.0, 0.0),
    tiepoints=(0.0, 0.0, 0.0, 499980.0, 4100040.0, 0.0),
    keys=(1, 1, 0, 4, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32630, 3076, 0, 1, 9001),
    nodata_text="7",
)


class Counted(WholeImage):
    """A source in memory that counts how often each pixel is read, and how many at once at most."""

    def __init__(self, array: np.ndarray, spacing: tuple[float, ...] = (), unit: str = "px") -> None:
        axes = "c" + "zyx"[-array.ndim :]
        super().__init__(Image(array[None], axes, spacing or (1.0,) * array.ndim, unit))
        self.times, self.most = np.zeros(array.shape, int), 0

    def read(self, region: Region) -> np.ndarray:
        self.times[region[1:]] += 1
        part = super().read(region)
        self.most = max(self.most, part.size)
        return part


def blobs(*size: int, dtype: Any = np.uint8) -> np.ndarray:
    """Ids in patches of 7 pixels, as labels are."""
    coarse = RNG.integers(0, 2 if np.dtype(dtype).kind == "b" else 9, [-(-length // 7) for length in size]).astype(
        dtype
    )
    for axis, length in enumerate(size):
        coarse = coarse.repeat(7, axis).take(range(length), axis)
    return coarse


def like(path: Path, size: tuple[int, ...], **given: Any) -> io.LazyImage:
    """An image of the size, opened."""
    given = {"spacing": (2.0, 0.5, 0.25)[-len(size) :], "unit": "µm"} | given
    io.write(path, Image(np.zeros((1, *size), np.uint8), "c" + "zyx"[-len(size) :], **given))
    return io.open_lazy(path)


# --- what is written ---


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
@pytest.mark.parametrize("size", LEVELS)
def test_ids_and_levels(tmp_path: Path, name: str, size: tuple[int, ...]) -> None:
    labels, path = blobs(*size), tmp_path / name
    source = Counted(labels)
    write_labels_from(path, source)
    assert (source.times == 1).all()
    assert source.most <= TILE * size[1]
    back = io.read_labels(path)
    assert np.array_equal(back.array, labels)
    assert (back.axes, back.notes) == ("yx", ())
    with tifffile.TiffFile(path) as tif:
        assert len(tif.series) == 1
        (series,) = tif.series
        assert len(series.levels) == LEVELS[size]
        page = series.levels[0].keyframe
        assert (page.tilelength, page.tilewidth) == tuple(min(512, -(-length // 16) * 16) for length in size)
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        for number, level in enumerate(series.levels):
            step = 2**number
            assert np.array_equal(level.asarray().reshape(labels[::step, ::step].shape), labels[::step, ::step])
            assert level.keyframe.is_reduced == (number > 0)
        assert tif.is_ome == ("ome" in name)
        assert not tif.is_bigtiff
    with io.open_lazy(path) as lazy:
        assert np.array_equal(lazy[:, 0:3, -9:], labels[None, 0:3, -9:])
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name, levels", [("a.tif", 1), ("a.ome.tif", 2)])
@pytest.mark.parametrize("size", [(3, 530, 600), (1, 20, 520), (2, 20, 513)])
def test_volumes(tmp_path: Path, name: str, levels: int, size: tuple[int, ...]) -> None:
    labels, path = blobs(*size, dtype=np.uint16), tmp_path / name
    source = Counted(labels)
    write_labels_from(path, source)
    assert (source.times == 1).all()
    back = io.read_labels(path)
    assert np.array_equal(back.array.reshape(size), labels)
    if size[0] > 1:
        assert (back.axes, back.notes) == ("zyx", ())
    with tifffile.TiffFile(path) as tif:
        assert [len(series.levels) for series in tif.series] == [levels]
        reduced = tif.series[0].levels[-1].asarray().reshape(size[0], *tif.series[0].levels[-1].shape[-2:])
        assert np.array_equal(reduced, labels[:, :: 2 ** (levels - 1), :: 2 ** (levels - 1)])
    assert os.listdir(tmp_path) == [name]


def test_gdal_lists_overviews_place_and_nodata(tmp_path: Path) -> None:
    labels, path = blobs(1100, 700), tmp_path / "a.tif"
    with like(tmp_path / "image.tif", labels.shape, georeference=PLACE) as image:
        assert (image.spacing, image.unit) == ((20.0, 10.0), "m")
        write_labels_from(path, Counted(labels), like=image, nodata=255)
    with rasterio.open(path) as ours, rasterio.open(tmp_path / "image.tif") as theirs:
        assert (ours.crs, ours.transform) == (theirs.crs, theirs.transform)
        assert ours.crs.to_epsg() == 32630
        assert (ours.nodata, theirs.nodata) == (255, 7)
        assert ours.overviews(1) == [2, 4]
        assert ours.block_shapes == [(512, 512)]
        assert np.array_equal(ours.read(1), labels)
        assert ours.subdatasets == []
    with rasterio.open(path, overview_level=1) as small:
        assert np.array_equal(small.read(1), labels[::4, ::4])
        assert small.nodata == 255
    back = io.read_labels(path)
    assert back.georeference == PLACE.with_nodata(255)
    assert (back.spacing, back.unit) == ((20.0, 10.0), "m")


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
@pytest.mark.parametrize("size", [(520, 30), (2, 520, 30)])
def test_spacing_is_that_of_the_image_or_of_the_source(tmp_path: Path, name: str, size: tuple[int, ...]) -> None:
    source = Counted(blobs(*size), (3.0, 2.0, 1.5)[-len(size) :], "nm")
    write_labels_from(tmp_path / name, source)
    back = io.read_labels(tmp_path / name)
    assert (back.spacing, back.unit) == (pytest.approx(source.spacing), "nm")
    with like(tmp_path / "image.tif", size) as image:
        write_labels_from(tmp_path / name, source, like=image)
        back = io.read_labels(tmp_path / name)
        assert (back.spacing, back.unit) == (pytest.approx(image.spacing), "µm")


@pytest.mark.parametrize("dtype", ["?", "u1", "u2", "u4", "i2", "i4", "u8", "<u4", ">u2"])
@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
def test_dtypes(tmp_path: Path, name: str, dtype: str) -> None:
    labels = blobs(40, 530, dtype=np.dtype(dtype))
    if dtype == "u4":
        labels[0, 0] = 2**32 - 1
    if dtype == "u8" and "ome" in name:
        with pytest.raises(ValueError, match=r"a\.ome\.tif: OME-TIFF holds bool, uint8.*, got uint64: use \.tif"):
            write_labels_from(tmp_path / name, Counted(labels))
        return
    write_labels_from(tmp_path / name, Counted(labels))
    back = io.read_labels(tmp_path / name).array
    assert back.dtype == (np.uint8 if dtype == "?" else np.dtype(dtype).newbyteorder("="))
    assert np.array_equal(back, labels)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.ome.tif", "a.nii.gz"])
@pytest.mark.parametrize("size", [(30, 40), (2, 30, 40)])
def test_small_images_and_other_formats_are_as_write_labels_has_them(
    tmp_path: Path, name: str, size: tuple[int, ...]
) -> None:
    if (name, len(size)) in (("a.png", 3), ("a.nii.gz", 2)):
        pytest.skip("a format of the other dimension")
    labels = blobs(*size)
    with like(tmp_path / "image.tif", size) as image:
        write_labels_from(tmp_path / name, Counted(labels), like=image, nodata=99)
        io.write_labels(tmp_path / f"whole_{name}", labels, like=image, nodata=99)
    ours, whole = (io.read_labels(tmp_path / one) for one in (name, f"whole_{name}"))
    assert np.array_equal(ours.array, labels)
    assert (ours.spacing, ours.unit, ours.georeference) == (whole.spacing, whole.unit, whole.georeference)


def test_large_pictures_of_other_formats(tmp_path: Path) -> None:
    labels = blobs(600, 20)
    write_labels_from(tmp_path / "a.png", Counted(labels, (2.0, 2.0), "µm"))
    assert np.array_equal(io.read_labels(tmp_path / "a.png").array, labels)


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
@pytest.mark.parametrize("size", [(600, 1), (2, 600, 1)])
def test_one_column(tmp_path: Path, name: str, size: tuple[int, ...]) -> None:
    labels = blobs(*size)
    write_labels_from(tmp_path / name, Counted(labels))
    assert np.array_equal(io.read_labels(tmp_path / name).array.reshape(size), labels)


def test_many_small_planes_are_not_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unetkit.io.tiff.pyramid.SMALL_BYTES", 999)
    source = Counted(blobs(5, 20, 10))
    write_labels_from(tmp_path / "a.tif", source)
    assert source.most == 200
    assert np.array_equal(io.read_labels(tmp_path / "a.tif").array, source.read((slice(0, 1),))[0])


def test_bigtiff_where_4_gb_might_not_suffice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = blobs(600, 700)
    padded = 1024 * 1024 + 512 * 512
    for name in ("a.tif", "a.ome.tif"):
        for limit, is_big in ((padded, False), (padded - 1, True)):
            monkeypatch.setattr("unetkit.io.tiff.pyramid.BIGTIFF_BYTES", limit)
            write_labels_from(tmp_path / name, Counted(labels))
            with tifffile.TiffFile(tmp_path / name) as tif:
                assert tif.is_bigtiff == is_big
                assert [len(series.levels) for series in tif.series] == [2]
            assert np.array_equal(io.read_labels(tmp_path / name).array, labels)


def test_a_source_can_be_a_file(tmp_path: Path) -> None:
    """From one TIFF into the other, without either being whole in memory."""
    labels = blobs(1100, 530)
    write_labels_from(tmp_path / "a.tif", Counted(labels))
    with io.open_lazy(tmp_path / "a.tif") as first:
        assert first._source is not None
        write_labels_from(tmp_path / "b.ome.tif", first._source)
    assert np.array_equal(io.read_labels(tmp_path / "b.ome.tif").array, labels)


# --- what goes wrong ---


class Failing(Counted):
    """A source that fails, or ends, at a row."""

    def __init__(self, array: np.ndarray, failure: Exception | None, row: int = 512) -> None:
        super().__init__(array)
        self.failure, self.row = failure, row

    def read(self, region: Region) -> np.ndarray:
        part = super().read(region)
        if region[-2].stop <= self.row:
            return part
        if self.failure is not None:
            raise self.failure
        return part[..., : self.row - region[-2].start, :]


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "a.png"])
@pytest.mark.parametrize(
    "failure, kind, message",
    [
        (ValueError("b.tif: truncated"), ValueError, r"its labels cannot be read: b\.tif: truncated"),
        (OSError(5, "Input/output error"), OSError, "its labels cannot be read: Input/output error"),
        (None, ValueError, r"its labels end early: region \(0:1, .*:900, 0:30\) has shape \(1, .*, 30\), expected"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
)
def test_a_source_that_fails_leaves_the_file_before(
    tmp_path: Path, name: str, failure: Exception | None, kind: type[BaseException], message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(b"before")
    with pytest.raises(kind, match=message):
        write_labels_from(path, Failing(blobs(900, 30), failure, 600))
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == [name]


class Full:
    """A file on a disk that takes so many bytes in all."""

    left = 0

    def __init__(self, file: Any) -> None:
        self.file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> "Full":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, content: bytes) -> int:
        Full.left -= len(content)
        if Full.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(self.file.write(content))


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
@pytest.mark.parametrize("left", [0, 100, 60000, 130000, 320000])
def test_a_full_disk_leaves_the_file_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, left: int
) -> None:
    path, real_open, real_temporary = tmp_path / name, Path.open, tempfile.TemporaryFile
    path.write_bytes(b"before")
    noise = RNG.integers(0, 255, (600, 400), np.uint8)  # 240 kB that cannot be compressed, 60 kB to the temporary file
    Full.left = left
    monkeypatch.setattr(Path, "open", lambda self, *given: Full(real_open(self, *given)))
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **given: Full(real_temporary(**given)))
    with pytest.raises(OSError, match=rf"cannot write .*{name}: No space left on device") as caught:
        write_labels_from(path, Counted(noise))
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == [name]


def test_errors_on_closing_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last bytes are written when the file is closed, and a disk may be full then."""
    real_open = Path.open

    class Last(Full):
        def __exit__(self, *_: object) -> None:
            self.file.close()
            raise OSError(errno.ENOSPC, "No space left on device")

    Full.left = 10**9
    monkeypatch.setattr(Path, "open", lambda self, *given: Last(real_open(self, *given)))
    with pytest.raises(OSError, match="No space left on device"):
        write_labels_from(tmp_path / "a.tif", Counted(blobs(600, 30)))
    assert os.listdir(tmp_path) == []


def test_wrong_labels_are_refused(tmp_path: Path) -> None:
    two = WholeImage(Image(np.zeros((2, 600, 30), np.uint8), "cyx", (1.0, 1.0)))
    floats = WholeImage(Image(np.zeros((1, 600, 30)), "cyx", (1.0, 1.0)))
    path = tmp_path / "a.tif"
    with pytest.raises(ValueError, match=r"a\.tif: labels of 2 channels, shape \(2, 600, 30\): expected one id"):
        write_labels_from(path, two)
    with pytest.raises(ValueError, match=r"a\.tif: labels of dtype float64: expected integers or bool"):
        write_labels_from(path, floats)
    with (
        like(tmp_path / "image.tif", (30, 600)) as image,
        pytest.raises(ValueError, match=r"labels of shape \(600, 30\) for an image of size \(30, 600\)"),
    ):
        write_labels_from(path, Counted(blobs(600, 30)), like=image)
    with pytest.raises(ValueError, match=r"nodata is 256, but labels of uint8 hold 0 to 255"):
        write_labels_from(path, Counted(blobs(600, 30)), nodata=256)
    with pytest.raises(ValueError, match=r"a\.jpg: JPEG is lossy"):
        write_labels_from(tmp_path / "a.jpg", Counted(blobs(600, 30)))
    with pytest.raises(FileNotFoundError, match=r"cannot write .*none/a\.tif: No such file or directory"):
        write_labels_from(tmp_path / "none" / "a.tif", Counted(blobs(600, 30)))
    assert os.listdir(tmp_path) == ["image.tif"]
