"""OME-Zarr as other programs write it: metadata by hand, arrays by zarr-python."""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unetkit import io
from unetkit.io.zarr.reading import ZarrRegions

RNG = np.random.default_rng(0)
KINDS = {"t": "time", "c": "channel"}
VERSIONS = ["0.4", "0.5"]


def pixels(*shape: int, dtype: object = np.uint16) -> np.ndarray:
    return RNG.integers(0, 100, shape).astype(dtype)


def store(
    folder: Path,
    array: np.ndarray,
    axes: str,
    *,
    version: str = "0.5",
    unit: str | None = "micrometer",
    scale: tuple[float, ...] | None = None,
    **options: object,
) -> Path:
    """Write an image with a second level, which nobody should read."""
    form = 3 if version == "0.5" else 2
    named = {"dimension_names": list(axes)} if form == 3 else {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    root = zarr.create_group(store=str(folder), zarr_format=form)
    options = {"chunks": tuple(min(16, length) for length in array.shape), **options}
    root.create_array("0", shape=array.shape, dtype=array.dtype, **named, **options)[...] = array
    root.create_array("1", shape=(1,) * array.ndim, dtype=array.dtype, **named)
    said = [{"name": a, "type": KINDS.get(a, "space")} for a in axes]
    for axis in said:
        if axis["type"] == "space" and unit is not None:
            axis["unit"] = unit
    steps = scale or tuple(0.5 + index for index in range(array.ndim))
    levels = [
        {"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": [step * 9**i for step in steps]}]}
        for i in range(2)
    ]
    multiscales = [{"version": version, "name": "test", "axes": said, "datasets": levels}]
    root.attrs.update(
        {"ome": {"version": version, "multiscales": multiscales}} if form == 3 else {"multiscales": multiscales}
    )
    return folder


# Axes, shape, axes in memory, and how the array gets there.
LAYOUTS = {
    "yx": ((45, 37), "cyx", lambda a: a[None]),
    "cyx": ((2, 45, 37), "cyx", lambda a: a),
    "zyx": ((5, 45, 37), "czyx", lambda a: a[None]),
    "czyx": ((2, 5, 45, 37), "czyx", lambda a: a),
    "zcyx": ((5, 2, 45, 37), "czyx", lambda a: a.swapaxes(0, 1)),
    "yxc": ((45, 37, 3), "cyx", lambda a: np.moveaxis(a, -1, 0)),
    "xyz": ((37, 45, 5), "czyx", lambda a: a.T[None]),
    "tczyx": ((1, 2, 5, 45, 37), "czyx", lambda a: a[0]),
    "tczyx flat": ((1, 2, 1, 45, 37), "cyx", lambda a: a[0, :, 0]),
    "zyx flat": ((1, 45, 37), "czyx", lambda a: a[None]),
    "tyx": ((1, 45, 37), "cyx", lambda a: a),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_axes_in_any_order(tmp_path: Path, name: str, version: str) -> None:
    shape, axes, arranged = LAYOUTS[name]
    array, letters = pixels(*shape), name.split()[0]
    image = io.read(store(tmp_path / "a.ome.zarr", array, letters, version=version))
    assert image.axes == axes
    assert np.array_equal(image.array, arranged(array))
    assert image.array.dtype == np.uint16
    assert image.spacing == tuple(0.5 + letters.index(letter) for letter in axes[1:])
    assert (image.unit, image.notes) == ("µm", ())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zarr")
    store(path / "two.zarr", pixels(45, 37), "yx", version="0.4")
    store(path / "three.zarr", pixels(5, 2, 45, 37), "zcyx", chunks=(2, 1, 16, 8))
    store(path / "sharded.zarr", pixels(2, 45, 37), "cyx", chunks=(1, 4, 8), shards=(1, 16, 16))
    return path


@pytest.mark.parametrize("name", ["two", "three", "sharded"])
@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_region_equals_that_of_the_whole(folder: Path, name: str, data: st.DataObject) -> None:
    path = folder / f"{name}.zarr"
    whole = io.read(path)
    region = tuple(data.draw(st.slices(n)) for n in whole.array.shape[: data.draw(st.integers(0, 4))])
    with io.open_lazy(path) as image:
        assert isinstance(getattr(image._source, "_source", image._source), ZarrRegions)  # but for bands that are kept
        assert (image.shape, image.dtype, image.axes) == (whole.array.shape, whole.array.dtype, whole.axes)
        assert (image.spacing, image.unit, image.notes) == (whole.spacing, whole.unit, whole.notes)
        part = image[region]
        assert np.array_equal(part, whole.array[region])
        assert part.flags.owndata
        assert part.flags.c_contiguous


def test_threads_read_what_one_would(folder: Path) -> None:
    whole = io.read(folder / "sharded.zarr").array
    regions = [(slice(None), slice(i, i + 9), slice(5, 30)) for i in range(12)]
    with io.open_lazy(folder / "sharded.zarr") as image, ThreadPoolExecutor(4) as pool:
        for region, result in zip(regions, pool.map(image.__getitem__, regions), strict=True):
            assert np.array_equal(result, whole[region])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("dtype", ["bool", "u1", ">u2", "i4", ">i8", "f2", "f4", ">f8"])
def test_dtypes(tmp_path: Path, dtype: str, version: str) -> None:
    array = (pixels(9, 11) > 50).astype(dtype) if dtype == "bool" else pixels(9, 11, dtype=dtype)
    if array.dtype.kind == "f":
        array[0, 0] = np.nan
    path = store(tmp_path / "a.zarr", array, "yx", version=version)
    image = io.read(path)
    assert image.array.dtype == np.dtype(dtype).newbyteorder("=")
    assert image.array.dtype.isnative
    assert np.array_equal(image.array[0], array, equal_nan=array.dtype.kind == "f")
    with io.open_lazy(path) as lazy:
        assert lazy.dtype.isnative


@pytest.mark.parametrize(
    ("unit", "expected"), [("nanometer", "nm"), ("micrometer", "µm"), ("angstrom", "Å"), (None, "px"), ("foot", "foot")]
)
def test_units(tmp_path: Path, unit: str | None, expected: str) -> None:
    image = io.read(store(tmp_path / "a.zarr", pixels(3, 9, 11), "zyx", unit=unit, scale=(3.0, 0.7, 0.7)))
    assert (image.spacing, image.unit, image.notes) == ((3.0, 0.7, 0.7), expected, ())


def test_a_pixel_size_that_cannot_be(tmp_path: Path) -> None:
    image = io.read(store(tmp_path / "a.zarr", pixels(9, 11), "yx", scale=(0.0, 0.7)))
    assert image.spacing == (0.7, 0.7)
    assert image.notes[0] == "pixel size 0.0 of axis y ignored"


@pytest.mark.parametrize("form", [2, 3])
@pytest.mark.parametrize(("shape", "axes"), [((9, 11), "y, x"), ((3, 9, 11), "z, y, x")])
def test_plain_arrays(tmp_path: Path, form: int, shape: tuple[int, ...], axes: str) -> None:
    array = pixels(*shape)
    zarr.create_array(store=str(tmp_path / "a.zarr"), data=array, zarr_format=form)
    image = io.read(tmp_path / "a.zarr")
    assert np.array_equal(image.array[0], array)
    assert image.notes == (f"a Zarr array of shape {shape} without OME metadata: axes taken to be {axes}",)
    assert (image.spacing, image.unit) == ((1.0,) * len(shape), "px")


def test_a_level_can_be_named_itself(tmp_path: Path) -> None:
    array = pixels(2, 9, 11)
    path = store(tmp_path / "a.zarr", array, "cyx") / "0"  # no suffix: known by its content
    image = io.read(path)
    assert np.array_equal(image.array, array)
    assert (image.axes, image.notes) == ("cyx", ())


def test_labels(tmp_path: Path) -> None:
    labels = pixels(9, 11, dtype=np.uint32)
    back = io.read_labels(store(tmp_path / "a.zarr", labels, "yx"))
    assert np.array_equal(back.array, labels)
    assert (back.axes, back.spacing, back.unit) == ("yx", (0.5, 1.5), "µm")
    with pytest.raises(ValueError, match=r"b\.zarr: label image of 2 channels .*, shape \(2, 9, 11\)"):
        io.read_labels(store(tmp_path / "b.zarr", pixels(2, 9, 11), "cyx"))


# --- what cannot be read ---


def refused(path: Path) -> str:
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        io.read(path)
    with pytest.raises(ValueError, match=re.escape(str(path))) as lazily:
        io.open_lazy(path)
    assert str(caught.value) == str(lazily.value)
    assert type(caught.value) is ValueError
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("version", VERSIONS)
def test_time(tmp_path: Path, version: str) -> None:
    said = refused(store(tmp_path / "a.zarr", pixels(3, 2, 9, 11), "tcyx", version=version))
    assert said == (
        "axes t: 3, c: 2, y: 9, x: 11: expected only channels and space, so that t cannot be read at once: name one "
        "time point, such as a.zarr#t1, or the folder that holds it for all of them"
    )


def test_axes_of_other_meanings(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", pixels(2, 3, 9, 11), "czyx")
    text = (path / "zarr.json").read_text().replace('"z"', '"angle"').replace('"space"', '"custom"', 1)
    (path / "zarr.json").write_text(text)
    assert "so that angle cannot be read; save every position along it as an image of its own" in refused(path)


def test_two_axes_of_channels(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", pixels(2, 3, 9, 11), "tcyx")
    (path / "zarr.json").write_text((path / "zarr.json").read_text().replace('"time"', '"channel"'))
    assert "so that c cannot be read" in refused(path)


def test_axes_that_are_not_those_of_the_array(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", pixels(9, 11), "yx")
    store(tmp_path / "b.zarr", pixels(3, 9, 11), "zyx")
    (path / "zarr.json").write_bytes((tmp_path / "b.zarr" / "zarr.json").read_bytes())
    assert refused(path) == "3 axes (z, y, x) for an array of shape (9, 11)"


def test_no_pixels(tmp_path: Path) -> None:
    assert (
        refused(store(tmp_path / "a.zarr", pixels(0, 11), "yx", chunks=(1, 11))) == "holds no pixels (axes y: 0, x: 11)"
    )


def test_plain_arrays_of_four_axes(tmp_path: Path) -> None:
    zarr.create_array(store=str(tmp_path / "a.zarr"), data=pixels(2, 3, 4, 5))
    assert refused(tmp_path / "a.zarr").startswith(
        "a Zarr array of shape (2, 3, 4, 5) that names none of its 4 axes: expected (y, x) or (z, y, x), or OME"
    )


def test_pixels_that_are_no_numbers(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", pixels(9, 11).astype(np.complex64), "yx")
    assert refused(path) == "pixels of dtype complex64: expected integers, floats or bool"


def test_no_multiscales(tmp_path: Path) -> None:
    zarr.create_group(store=str(tmp_path / "a.zarr")).create_array("raw", shape=(9, 11), dtype="u1")
    expected = "a Zarr group without OME metadata (multiscales): of its arrays raw name one, such as a.zarr/raw"
    assert refused(tmp_path / "a.zarr") == expected


@pytest.mark.parametrize("place", ["", "0"])
@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_truncated_metadata(tmp_path: Path, place: str, share: float) -> None:
    path = store(tmp_path / "a.zarr", pixels(9, 11), "yx")
    file = path / place / "zarr.json"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    assert "damaged" in refused(path)


def test_a_level_that_is_missing(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", pixels(9, 11), "yx")
    (path / "0").rename(path / "gone")
    assert refused(path).startswith("damaged, truncated or unsupported Zarr array '0' (")


def test_an_unknown_codec(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", pixels(9, 11), "yx")
    said = json.loads((path / "0" / "zarr.json").read_text())
    said["codecs"].append({"name": "magic", "configuration": {}})
    (path / "0" / "zarr.json").write_text(json.dumps(said))
    said_of_it = refused(path)
    assert said_of_it.startswith("damaged, truncated or unsupported Zarr array '0' (")
    assert "magic" in said_of_it


def test_folders_and_files_that_are_no_zarr(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    assert refused(tmp_path / "a.zarr").startswith("a folder without zarr.json, .zgroup or .zarray: no Zarr hierarchy")
    (tmp_path / "b.zarr").write_bytes(b"PK")
    assert refused(tmp_path / "b.zarr").startswith("a file, expected a folder with zarr.json or .zgroup in it: unpack")
    (tmp_path / "c").mkdir()
    assert refused(tmp_path / "c") == "a folder, expected an image file, a Zarr folder or one of DICOM slices"
    with pytest.raises(FileNotFoundError, match=r"d\.zarr"):
        io.read(tmp_path / "d.zarr")


def test_without_zarr(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=r"two\.zarr: Zarr needs zarr \(.*\): pip install 'unetkit\[zarr\]'"):
        io.read(folder / "two.zarr")
    old = ModuleType("zarr")
    old.__version__ = "2.18.7"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "zarr", old)
    with pytest.raises(ImportError, match=r"Zarr needs zarr 3, got 2\.18\.7: pip install 'unetkit\[zarr\]'"):
        io.open_lazy(folder / "two.zarr")


# --- lists ---


def test_lists_hold_zarr_folders_and_do_not_look_into_them(tmp_path: Path) -> None:
    store(tmp_path / "b.ome.zarr", pixels(9, 11), "yx")
    (tmp_path / "b.ome.zarr" / "stray.png").touch()
    (tmp_path / "a10.zarr").mkdir()
    (tmp_path / "a2.png").touch()
    (tmp_path / ".b.ome.zarr.1234.tmp").mkdir()
    (tmp_path / ".hidden.zarr").mkdir()
    (tmp_path / "folder").mkdir()
    assert [path.name for path in io.list_images(tmp_path)] == ["a2.png", "a10.zarr", "b.ome.zarr"]
    with pytest.raises(ValueError, match=r"b\.ome\.zarr: one image, expected a folder of images; name the"):
        io.list_images(tmp_path / "b.ome.zarr")
