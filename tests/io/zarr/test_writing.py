"""OME-Zarr as written here: read back, by zarr alone, and by a reader that is not ours."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import zarr

from unetkit import io
from unetkit.image import Image
from unetkit.io import write_labels_from
from unetkit.io.lazy import Region, WholeImage
from unetkit.io.zarr import pyramid as omezarr_plan
from unetkit.io.zarr import writing as omezarr_writing

RNG = np.random.default_rng(0)
SIZES = [(45, 37), (5, 45, 37)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks and shards so small that a tiny image has several levels of several shards."""
    for ndim, chunk, shard in ((2, (8, 8), (16, 16)), (3, (4, 8, 8), (8, 16, 16))):
        monkeypatch.setitem(omezarr_plan.CHUNK, ndim, chunk)
        monkeypatch.setitem(omezarr_plan.SHARD, ndim, shard)


def image_of(channels: int, size: tuple[int, ...], dtype: object = np.uint8, **more: object) -> Image:
    array = RNG.integers(0, 120, (channels, *size))
    array = array > 60 if np.dtype(dtype) == bool else array.astype(dtype)
    return Image(array, "c" + "zyx"[-len(size) :], **{"spacing": (0.7, 1 / 3, 0.3)[-len(size) :], "unit": "µm", **more})


def ome_of(path: Path) -> dict:
    return json.loads((path / "zarr.json").read_text())["attributes"]["ome"]


class Counted(WholeImage):
    """A source that remembers how many pixels were asked for at once."""

    def __init__(self, image: Image) -> None:
        super().__init__(image)
        self.asked: list[int] = []

    def read(self, region: Region) -> np.ndarray:
        part = super().read(region)
        self.asked.append(part.size)
        return part


# --- round trips ---


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("size", [(20, 21), (5, 17, 18)])
@pytest.mark.parametrize(
    ("dtype", "channels"), [("bool", 1), ("u1", 3), (">u2", 2), ("i4", 1), ("u8", 1), ("f2", 2), ("f8", 1)]
)
def test_images(tmp_path: Path, size: tuple[int, ...], channels: int, dtype: str) -> None:
    image, path = image_of(channels, size, dtype), tmp_path / "a.ome.zarr"
    io.write(path, image)
    back = io.read(path)
    assert np.array_equal(back.array, image.array)
    assert back.array.dtype == image.array.dtype.newbyteorder("=")
    assert (back.axes, back.spacing, back.unit, back.notes) == (image.axes, image.spacing, "µm", ())
    with io.open_lazy(path) as lazy:
        assert np.array_equal(lazy[:, 3:17, ::-3], image.array[:, 3:17, ::-3])
    assert os.listdir(tmp_path) == ["a.ome.zarr"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["bool", "u1", "u2", "i4", "i8", "u8"])
def test_labels(tmp_path: Path, size: tuple[int, ...], dtype: str) -> None:
    labels = RNG.integers(0, 2 if dtype == "bool" else 100, size).astype(dtype)
    io.write_labels(tmp_path / "a.zarr", labels, like=image_of(2, size))
    back = io.read_labels(tmp_path / "a.zarr")
    assert np.array_equal(back.array, labels)
    assert back.array.dtype == ("u1" if dtype == "bool" else dtype)
    assert (back.axes, back.spacing, back.unit) == ("zyx"[-len(size) :], (0.7, 1 / 3, 0.3)[-len(size) :], "µm")
    io.write_labels(tmp_path / "b.zarr", back)
    assert io.read_labels(tmp_path / "b.zarr").spacing == back.spacing


@pytest.mark.parametrize("unit", ["px", "pm", "Å", "nm", "µm", "mm", "cm", "m", "in", "furlong"])
def test_units(tmp_path: Path, unit: str) -> None:
    image = image_of(1, (9, 11), spacing=(1e-9, 12345.678), unit=unit)
    io.write(tmp_path / "a.zarr", image)
    back = io.read(tmp_path / "a.zarr")
    assert (back.spacing, back.unit) == (image.spacing, unit)


def test_label_images_can_be_written_as_images(tmp_path: Path) -> None:
    io.write(tmp_path / "a.zarr", Image(np.arange(12).reshape(3, 4), "yx", (2.0, 1.0), "nm"))
    assert io.read_labels(tmp_path / "a.zarr").array.tolist() == np.arange(12).reshape(3, 4).tolist()


# --- pyramids ---


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("channels", [0, 2])  # 0: a label image, which has no axis of channels
@pytest.mark.parametrize(
    ("size", "spacing", "steps"),
    [
        ((40, 35), (1.0, 1.0), [(1, 1), (2, 2), (4, 4), (8, 8)]),
        ((33, 17), (4.0, 1.0), [(1, 1), (1, 2), (1, 4), (2, 8)]),
        ((9, 20, 37), (2.0, 1.0, 1.0), [(1, 1, 1), (1, 2, 2), (2, 4, 4)]),
        ((10, 21, 19), (1.0, 1.0, 1.0), [(1, 1, 1), (2, 2, 2), (4, 4, 4)]),
        ((7, 9), (1.0, 1.0), [(1, 1)]),
    ],
)
def test_levels_are_every_second_pixel(
    tmp_path: Path, channels: int, size: tuple[int, ...], spacing: tuple[float, ...], steps: list[tuple[int, ...]]
) -> None:
    image, path = image_of(max(channels, 1), size, np.uint16, spacing=spacing), tmp_path / "a.ome.zarr"
    if channels:
        io.write(path, image)
    else:
        io.write_labels(path, image.array[0], like=image)
    array = image.array if channels else image.array[0]
    lead = array.ndim - len(size)
    root = zarr.open_group(store=str(path), mode="r")
    levels = ome_of(path)["multiscales"][0]["datasets"]
    assert [level["path"] for level in levels] == [str(i) for i in range(len(steps))]
    for level, step in zip(levels, steps, strict=True):
        stored = root[level["path"]]
        expected = array[(slice(None),) * lead + tuple(slice(None, None, s) for s in step)]
        assert np.array_equal(stored[...], expected)
        (transform,) = level["coordinateTransformations"]
        assert transform["scale"] == [*[1.0] * lead, *(width * s for width, s in zip(spacing, step, strict=True))]
        assert stored.metadata.dimension_names == tuple("czyx" if len(size) == 3 else "cyx")[1 - lead :]
        assert stored.shards is not None
        assert stored.chunks[lead:] == tuple(map(min, omezarr_plan.CHUNK[len(size)], stored.shape[lead:]))
        assert all(s <= full for s, full in zip(stored.shards[lead:], omezarr_plan.SHARD[len(size)], strict=True))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("size", "most"), [((40, 50), 16 * 16), ((10, 20, 30), 8 * 16 * 16)])
def test_the_source_is_read_once_and_never_whole(tmp_path: Path, size: tuple[int, ...], most: int) -> None:
    source = Counted(image_of(1, size))
    write_labels_from(tmp_path / "a.zarr", source)
    assert max(source.asked) <= most
    assert sum(source.asked) == np.prod(size)
    assert np.array_equal(io.read(tmp_path / "a.zarr").array, source._array)


@pytest.mark.usefixtures("small")
def test_levels_are_read_a_shard_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    read = omezarr_writing._Stack.read

    def counted(self: object, channel: int, box: Region) -> np.ndarray:
        part = read(self, channel, box)  # type: ignore[arg-type]
        sizes.append(part.size)
        return part

    monkeypatch.setattr(omezarr_writing._Stack, "read", counted)
    write_labels_from(tmp_path / "a.zarr", WholeImage(image_of(1, (40, 50))))
    assert max(sizes) == 16 * 16


def test_spacing_of_the_image_that_labels_belong_to(tmp_path: Path) -> None:
    io.write(tmp_path / "image.tif", image_of(2, (45, 37), spacing=(0.5, 0.25)))
    with io.open_lazy(tmp_path / "image.tif") as like:
        write_labels_from(tmp_path / "a.zarr", WholeImage(image_of(1, (45, 37), unit="px")), like=like)
        assert io.read(tmp_path / "a.zarr").spacing == (0.5, 0.25)
        assert io.read(tmp_path / "a.zarr").unit == "µm"
        with pytest.raises(
            ValueError, match=r"b\.zarr: labels of shape \(37, 45\) for an image of size \(45, 37\): they"
        ):
            write_labels_from(tmp_path / "b.zarr", WholeImage(image_of(1, (37, 45))), like=like)
    assert sorted(os.listdir(tmp_path)) == ["a.zarr", "image.tif"]


# --- metadata ---


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (np.array([[0, 255], [255, 0]], np.uint8), [0, 255]),
        (np.array([[3, 1], [1, 2]], np.uint8), [1, 2, 3]),
        (np.array([[True, False]]), [0, 1]),
        (np.arange(80, dtype=np.uint8)[None], []),
        (np.array([[0, 1]], np.uint16), []),
    ],
)
def test_colours_of_class_masks(tmp_path: Path, labels: np.ndarray, values: list[int]) -> None:
    io.write_labels(tmp_path / "a.ome.zarr", labels)
    said = ome_of(tmp_path / "a.ome.zarr")
    assert (said["version"], said["multiscales"][0]["name"]) == ("0.5", "a")
    assert said["image-label"]["version"] == "0.5"
    assert [entry["label-value"] for entry in said["image-label"].get("colors", [])] == values


def test_images_are_no_label_images(tmp_path: Path) -> None:
    io.write(tmp_path / "a.zarr", image_of(1, (9, 11)))
    assert "image-label" not in ome_of(tmp_path / "a.zarr")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("is_label", [True, False])
def test_an_independent_reader_agrees(tmp_path: Path, size: tuple[int, ...], is_label: bool) -> None:
    """ngff-zarr checks the metadata against the schemas of OME-Zarr, and decodes the shards without zarr-python."""
    ngff_zarr = pytest.importorskip("ngff_zarr")  # here, since it takes a second

    image, path = image_of(1 if is_label else 2, size, np.uint8, spacing=(1.0,) * len(size)), tmp_path / "a.ome.zarr"
    image = Image(image.array % 5, image.axes, image.spacing, "µm")
    if is_label:
        io.write_labels(path, image.array[0], like=image)
    else:
        io.write(path, image)
    found = ngff_zarr.from_ngff_zarr(str(path), validate=True)
    array, axes = (image.array[0], image.axes[1:]) if is_label else (image.array, image.axes)
    assert len(found.images) == len(ome_of(path)["multiscales"][0]["datasets"]) > 2
    for number, level in enumerate(found.images):
        step = tuple(1 if axis == "c" else 2**number for axis in axes)
        assert tuple(level.dims) == tuple(axes)
        assert np.array_equal(np.asarray(level.data), array[tuple(slice(None, None, s) for s in step)])
        assert {axis: level.scale[axis] for axis in axes if axis != "c"} == {
            axis: s for axis, s in zip(axes, step, strict=True) if axis != "c"
        }
        assert level.axes_units["x"] == "micrometer"
    for model in ("image", "label") if is_label else ("image",):
        ngff_zarr.validate({"ome": ome_of(path)}, version="0.5", model=model, strict=True)


# --- all or nothing ---


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (image_of(1, (4, 5), np.complex64), r"a\.zarr: OME-Zarr holds integers, floats and bool, got complex64"),
        (image_of(1, (0, 5)), r"a\.zarr: OME-Zarr holds at least one pixel, got shape \(1, 0, 5\)"),
    ],
)
def test_images_that_it_cannot_hold(tmp_path: Path, image: Image, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        io.write(tmp_path / "a.zarr", image)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (image_of(1, (4, 5), np.float32), r"a\.zarr: labels of dtype float32: expected integers or bool"),
        (image_of(2, (4, 5)), r"a\.zarr: labels of 2 channels, shape \(2, 4, 5\): expected one id per pixel"),
    ],
)
def test_sources_that_are_no_labels(tmp_path: Path, image: Image, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_labels_from(tmp_path / "a.zarr", WholeImage(image))
    assert os.listdir(tmp_path) == []


def test_an_existing_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    path.mkdir()
    io.write(path, image_of(2, (9, 11)))  # an empty folder is no loss
    (path / "old").touch()
    image = image_of(1, (5, 6))
    io.write(path, image)
    assert np.array_equal(io.read(path).array, image.array)
    assert not (path / "old").exists()
    assert os.listdir(tmp_path) == ["a.zarr"]


def test_what_is_no_zarr_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "thesis.doc").touch()
    with pytest.raises(
        ValueError, match=r"a\.zarr: a folder without Zarr metadata is at this place, which is not repl"
    ):
        io.write(tmp_path / "a.zarr", image_of(1, (5, 6)))
    (tmp_path / "b.zarr").touch()
    with pytest.raises(ValueError, match=r"b\.zarr: a file is at this place, which is not replaced: remove it, or"):
        io.write_labels(tmp_path / "b.zarr", np.zeros((4, 5), np.uint8))
    assert sorted(os.listdir(tmp_path)) == ["a.zarr", "b.zarr"]
    assert os.listdir(tmp_path / "a.zarr") == ["thesis.doc"]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cannot write .*none/a\.zarr: No such file or directory"):
        io.write(tmp_path / "none" / "a.zarr", image_of(1, (4, 5)))
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("after", [0, 3, 12])
def test_a_full_disk_leaves_the_folder_before_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    path, before = tmp_path / "a.zarr", image_of(1, (45, 37))
    io.write(path, before)
    put, calls = zarr.storage._local._put, []  # what writes a file

    def full(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr("zarr.storage._local._put", full)
        with pytest.raises(OSError, match=r"cannot write .*a\.zarr: No space left on device") as caught:
            io.write(path, image_of(1, (45, 37)))
    assert caught.value.errno == errno.ENOSPC
    assert len(calls) > after
    assert np.array_equal(io.read(path).array, before.array)
    assert os.listdir(tmp_path) == ["a.zarr"]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), MemoryError(), ValueError("chunk (0, 1) of the store: damaged")]
)
def test_a_source_that_fails_leaves_the_folder_before(tmp_path: Path, error: BaseException) -> None:
    path, before = tmp_path / "a.zarr", image_of(1, (45, 37))
    io.write(path, before)

    class Failing(WholeImage):
        def read(self, region: Region) -> np.ndarray:
            raise error

    with pytest.raises(type(error)) as caught:
        write_labels_from(path, Failing(before))
    if isinstance(error, ValueError):
        assert str(caught.value) == f"{path}: {error}"
    assert np.array_equal(io.read(path).array, before.array)
    assert os.listdir(tmp_path) == ["a.zarr"]


def test_a_rename_that_fails_puts_the_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, before = tmp_path / "a.zarr", image_of(1, (45, 37))
    io.write(path, before)
    replace = os.replace

    def refuse(source: Path, target: Path) -> None:
        if Path(source).name.endswith(".tmp") and Path(target) == path:
            raise PermissionError(errno.EACCES, "Permission denied")
        replace(source, target)

    monkeypatch.setattr("unetkit.io.atomic.os.replace", refuse)
    with pytest.raises(PermissionError, match=r"cannot write .*a\.zarr: Permission denied"):
        io.write(path, image_of(1, (9, 11)))
    assert np.array_equal(io.read(path).array, before.array)
    assert os.listdir(tmp_path) == ["a.zarr"]
