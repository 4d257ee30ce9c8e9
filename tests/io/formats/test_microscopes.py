"""LIF and ND2: axes by name, pixel sizes in µm, and what is not one image."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from lif_files import write_lif

from unetkit.io import images_within, list_images, open_lazy, read

RNG = np.random.default_rng(0)


def numbers(*shape: int, dtype: type = np.uint16) -> np.ndarray:
    return RNG.integers(0, 250, shape).astype(dtype)


# --- LIF ---


@pytest.fixture
def liffile():
    return pytest.importorskip("liffile", reason="liffile is not installed: pip install 'unetkit[formats]'")


@pytest.mark.parametrize(
    ("shape", "axes", "own"),
    [
        ((20, 30), "yx", "cyx"),
        ((3, 20, 30), "cyx", "cyx"),
        ((5, 20, 30), "zyx", "czyx"),
        ((2, 5, 20, 30), "czyx", "czyx"),
        ((5, 2, 20, 30), "zcyx", "czyx"),
    ],
)
def test_lif_by_the_names_of_its_axes(liffile, tmp_path: Path, shape, axes, own) -> None:
    values = numbers(*shape)
    path = write_lif(tmp_path / "a.lif", {"cells": (values, axes)})
    image = read(path)
    order = [axes.index(axis) for axis in own if axis in axes]
    expected = values.transpose(order)
    assert image.axes == own
    assert np.array_equal(image.array, expected if "c" in axes else expected[None])
    assert np.array_equal(image.array.squeeze(), liffile.imread(path).transpose(order).squeeze())
    with open_lazy(path) as lazy:
        region = (slice(0, 1), *([slice(1, 3)] * (len(own) == 4)), slice(3, 9), slice(5, 30))
        assert np.array_equal(lazy[region], image.array[region])


def test_pixels_of_a_lif_are_counted_from_middle_to_middle(liffile, tmp_path: Path) -> None:
    lengths = {"x": 29 * 0.25e-6, "y": 19 * 0.5e-6, "z": 4 * 1.5e-6}
    image = read(write_lif(tmp_path / "a.lif", {"a": (numbers(5, 20, 30), "zyx")}, lengths=lengths))
    np.testing.assert_allclose(image.spacing, (1.5, 0.5, 0.25))
    assert image.unit == "µm"
    assert read(write_lif(tmp_path / "b.lif", {"a": (numbers(20, 30), "yx")})).unit == "px"


def test_colours_of_a_lif_are_rgb(liffile, tmp_path: Path) -> None:
    bgr = numbers(20, 30, 3, dtype=np.uint8)
    image = read(write_lif(tmp_path / "a.lif", {"a": (bgr, "yxs")}))
    assert np.array_equal(image.array, bgr[..., ::-1].transpose(2, 0, 1))


def test_images_of_a_lif_are_named_by_number(liffile, tmp_path: Path) -> None:
    two = {"cells": (numbers(20, 30), "yx"), "nuclei": (numbers(20, 30), "yx")}
    path = write_lif(tmp_path / "a.lif", two)
    assert [image.name for image in list_images(tmp_path)] == ["a.lif#1", "a.lif#2"]
    for number, (values, axes) in enumerate(two.values(), start=1):
        assert np.array_equal(read(f"{path}#{number}").array.squeeze(), values), axes
    with pytest.raises(ValueError, match=r"a\.lif: holds 2 images \(1 cells, 2 nuclei\), each an image of its own"):
        read(path)
    with pytest.raises(ValueError, match=r"b\.lif: axes t: 4, y: 20, x: 30: expected only channels and space"):
        read(write_lif(tmp_path / "b.lif", {"film": (numbers(4, 20, 30), "tyx")}))
    with pytest.raises(ValueError, match=r"c\.lif: axes m: 4"):
        read(write_lif(tmp_path / "c.lif", {"mosaic": (numbers(4, 20, 30), "myx")}))


def test_a_truncated_lif_is_refused(liffile, tmp_path: Path) -> None:
    path = write_lif(tmp_path / "a.lif", {"a": (numbers(5, 20, 30), "zyx")})
    content = path.read_bytes()
    for length in (5, 300, len(content) - 900, len(content) - 7000):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"a\.lif: "):
            read(path)


# --- ND2: nobody but Nikon writes it, so that what nd2 gives is stood in for ---


def stand_in(values: np.ndarray, sizes: dict[str, int], *, is_calibrated: bool = True, n_written: int | None = None):
    """What nd2.ND2File has of a file: axes longer than 1, frames of channels, rows, columns and samples."""
    loops = [n for name, n in sizes.items() if name not in "CYXS"]
    n_frames = int(np.prod(loops, dtype=int))
    frames = values.reshape(n_frames, *(n for name, n in sizes.items() if name in "CYXS"))
    volume = SimpleNamespace(axesCalibrated=(is_calibrated, is_calibrated, is_calibrated))
    return SimpleNamespace(
        sizes=sizes,
        dtype=values.dtype,
        read_frame=lambda index: frames[index],
        voxel_size=lambda: SimpleNamespace(x=0.25, y=0.5, z=1.5),
        metadata=SimpleNamespace(channels=[SimpleNamespace(volume=volume)]),
        _rdr=SimpleNamespace(_frame_offsets=dict.fromkeys(range(n_frames if n_written is None else n_written))),
        close=lambda: None,
    )


@pytest.fixture
def nd2_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Gives the path of a file that nd2 would read as this."""
    pytest.importorskip("nd2", reason="nd2 is not installed: pip install 'unetkit[formats]'")
    from unetkit.io.formats import nd2

    def made(*given, **more) -> Path:
        monkeypatch.setattr(nd2, "ND2File", lambda path: stand_in(*given, **more))
        (tmp_path / "a.nd2").write_bytes(b"\xda\xce\xbe\n" * 8)
        return tmp_path / "a.nd2"

    return made


def test_nd2_by_the_names_of_its_axes(nd2_of) -> None:
    values = numbers(5, 2, 20, 30)
    path = nd2_of(values, {"Z": 5, "C": 2, "Y": 20, "X": 30})
    image = read(path)
    assert (image.axes, image.spacing, image.unit) == ("czyx", (1.5, 0.5, 0.25), "µm")
    assert np.array_equal(image.array, values.transpose(1, 0, 2, 3))
    with open_lazy(path) as lazy:
        assert np.array_equal(lazy[1:2, 2:4, 3:9, 5:], image.array[1:2, 2:4, 3:9, 5:])
    flat = numbers(20, 30)
    image = read(nd2_of(flat, {"Y": 20, "X": 30}, is_calibrated=False))
    assert (image.axes, image.unit) == ("cyx", "px")
    assert np.array_equal(image.array[0], flat)
    colours = numbers(20, 30, 3, dtype=np.uint8)
    image = read(nd2_of(colours, {"Y": 20, "X": 30, "S": 3}))
    assert np.array_equal(image.array, colours.transpose(2, 0, 1))
    assert "colours in the order in which the file holds them" in image.notes


@pytest.mark.parametrize("first", ["P", "Z"])
def test_positions_of_an_nd2_are_named_by_number(nd2_of, first: str) -> None:
    values = numbers(3, 4, 20, 30)  # position, z, y, x
    loops = {"P": 3, "Z": 4} if first == "P" else {"Z": 4, "P": 3}
    path = nd2_of(values if first == "P" else values.swapaxes(0, 1), {**loops, "Y": 20, "X": 30})
    assert [image.name for image in images_within(path)] == ["a.nd2#1", "a.nd2#2", "a.nd2#3"]
    for number in (1, 2, 3):
        assert np.array_equal(read(f"{path}#{number}").array[0], values[number - 1])
    with pytest.raises(ValueError, match=r"a\.nd2: holds 3 positions \(1, 2, 3\), each an image of its own"):
        read(path)


def test_times_of_an_nd2_are_images_of_their_own(nd2_of) -> None:
    values = numbers(2, 3, 20, 30)
    path = nd2_of(values, {"T": 2, "Z": 3, "Y": 20, "X": 30})
    assert [image.name for image in images_within(path)] == ["a.nd2#t1", "a.nd2#t2"]
    assert np.array_equal(read(f"{path}#t2").array[0], values[1])
    with pytest.raises(ValueError, match=r"a\.nd2: axes t: 2, z: 3.*name one by its number, #t1"):
        read(path)
    with pytest.raises(ValueError, match=r"a\.nd2#t3: holds 2 time points, numbered from 1: there is no 3"):
        read(f"{path}#t3")
    path = nd2_of(values, {"T": 2, "P": 3, "Y": 20, "X": 30})
    assert [image.name for image in images_within(path)] == [f"a.nd2#{p}#t{t}" for p in (1, 2, 3) for t in (1, 2)]
    with open_lazy(f"{path}#3#t2") as lazy:
        assert np.array_equal(lazy[:, 3:9, 5:][0], values[1, 2, 3:9, 5:])


def test_times_of_a_lif_are_images_of_their_own(liffile, tmp_path: Path) -> None:
    film, volumes = numbers(4, 20, 30), numbers(2, 3, 20, 30)
    two = {"film": (film, "tyx"), "still": (numbers(20, 30), "yx"), "volumes": (volumes, "tzyx")}
    path = write_lif(tmp_path / "a.lif", two)
    names = [image.name for image in list_images(tmp_path)]
    assert names == [*(f"a.lif#1#t{i}" for i in (1, 2, 3, 4)), "a.lif#2", "a.lif#3#t1", "a.lif#3#t2"]
    assert np.array_equal(read(f"{path}#1#t3").array[0], film[2])
    assert np.array_equal(read(f"{path}#3#t2").array[0], volumes[1])
    alone = write_lif(tmp_path / "b.lif", {"film": (film, "tyx")})
    assert np.array_equal(read(f"{alone}#t4").array[0], film[3])


@pytest.mark.parametrize("n_scenes", [1, 2])
def test_times_of_a_czi_are_images_of_their_own(tmp_path: Path, n_scenes: int) -> None:
    czi = pytest.importorskip("pylibCZIrw.czi", reason="pylibCZIrw is not installed: pip install 'unetkit[formats]'")
    path, values = tmp_path / "a.czi", numbers(n_scenes, 3, 20, 30)
    with czi.create_czi(str(path)) as file:
        for scene, times in enumerate(values):
            for time, plane in enumerate(times):
                where = {"location": (100 * scene, 0), "scene": scene} if n_scenes > 1 else {}
                file.write(np.ascontiguousarray(plane[..., None]), plane={"T": time}, **where)
        file.write_metadata(scale_x=0.5e-6, scale_y=0.5e-6)
    scenes = [f"#{scene + 1}" if n_scenes > 1 else "" for scene in range(n_scenes)]
    names = [f"a.czi{scene}#t{time}" for scene in scenes for time in (1, 2, 3)]
    assert [image.name for image in list_images(tmp_path)] == names
    for name, plane in zip(names, values.reshape(-1, 20, 30), strict=True):
        image = read(tmp_path / name)
        assert np.array_equal(image.array[0], plane)
        assert "a series of 3 time points, each an image of its own" in image.notes
    with pytest.raises(ValueError, match=r"axes T: 3: expected only channels and space; name one by its number, #t1"):
        read(tmp_path / f"a.czi{scenes[0]}")
    with pytest.raises(ValueError, match="holds 3 time points, numbered from 1: there is no 4"):
        read(tmp_path / f"a.czi{scenes[0]}#t4")


def test_nd2_with_frames_that_were_not_written(nd2_of) -> None:
    with pytest.raises(ValueError, match=r"a\.nd2: 2 of its 5 frames are missing: an acquisition that was stopped"):
        read(nd2_of(numbers(5, 20, 30), {"Z": 5, "Y": 20, "X": 30}, n_written=3))


def test_a_file_that_is_no_nd2(tmp_path: Path) -> None:
    pytest.importorskip("nd2")
    (tmp_path / "a.nd2").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"a\.nd2: not a file of ND2: it starts with"):
        read(tmp_path / "a.nd2")
