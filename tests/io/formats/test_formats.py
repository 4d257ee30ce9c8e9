"""Formats that a library reads: each file is made by that library or another, and read as another reads it."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from unetkit.io import images_within, list_images, open_lazy, read, read_labels
from unetkit.io.formats import FORMATS
from unetkit.io.formats.sliced import SlicedSource, assumed_order
from unetkit.io.placement import turn_onto
from unetkit.io.read_options import AS_STATED

RNG = np.random.default_rng(0)


def same_by_region(path: Path, region: tuple[slice, ...]) -> bool:
    with open_lazy(path) as image:
        return np.array_equal(image[region], read(path).array[region])


# --- pictures ---


@pytest.mark.parametrize("suffix", [".bmp", ".gif", ".webp", ".jp2"])
def test_pictures_of_gray_and_colours(tmp_path: Path, suffix: str) -> None:
    path, gray = tmp_path / f"a{suffix}", RNG.integers(0, 255, (20, 30), dtype=np.uint8)
    options: dict[str, Any] = {".webp": {"lossless": True}, ".jp2": {"irreversible": False}}.get(suffix, {})
    Picture.fromarray(gray).save(path, **options)
    image = read(path)
    assert np.array_equal(image.array, gray[None])
    assert read_labels(path).array.shape == (20, 30)
    assert same_by_region(path, (slice(None), slice(3, 9), slice(5, 30)))
    if suffix != ".gif":
        colours = RNG.integers(0, 255, (20, 30, 3), dtype=np.uint8)
        Picture.fromarray(colours).save(path, **options)
        assert np.array_equal(read(path).array, colours.transpose(2, 0, 1))


def test_sixteen_bits_of_jpeg_2000(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    values = RNG.integers(0, 2**16, (24, 30), dtype=np.uint16)
    path = tmp_path / "a.j2k"
    path.write_bytes(imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k", reversible=True))
    assert np.array_equal(read(path).array[0], values)
    assert np.array_equal(read_labels(path).array, values)


def test_lossy_pictures_are_no_masks_of_ids(tmp_path: Path) -> None:
    ids = np.kron(np.arange(16, dtype=np.uint8).reshape(4, 4) * 10, np.ones((8, 8), np.uint8))
    Picture.fromarray(np.stack([ids] * 3, -1)).save(tmp_path / "a.webp", quality=50)
    with pytest.raises(ValueError, match="lossy"):
        read_labels(tmp_path / "a.webp")


def test_gray_that_lossy_webp_stores_as_colours(tmp_path: Path) -> None:
    gray = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1))
    Picture.fromarray(gray).convert("RGB").save(tmp_path / "a.webp", quality=80)
    image = read(tmp_path / "a.webp")
    assert image.channels == 1
    assert np.abs(image.array[0].astype(int) - gray).max() < 20


def test_a_film_gives_its_first_frame_and_says_so(tmp_path: Path) -> None:
    frames = [Picture.fromarray(np.full((8, 9), value, np.uint8)) for value in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert "first of 2 frames read" in read(tmp_path / "a.gif").notes


# --- arrays ---


@pytest.mark.parametrize(
    "shape, order",
    [((20, 30), "yx"), ((20, 30, 3), "yxc"), ((3, 20, 30), "cyx"), ((9, 20, 30), "zyx"), ((9, 20, 30, 2), "zyxc")],
)
def test_axes_by_shape(shape: tuple[int, ...], order: str) -> None:
    notes: list[str] = []
    assert assumed_order(shape, AS_STATED, notes) == order
    assert len(notes) == (len(shape) > 2)


def test_axes_that_no_shape_tells() -> None:
    with pytest.raises(ValueError, match="no axis at either end"):
        assumed_order((9, 20, 30, 8), AS_STATED, [])
    with pytest.raises(ValueError, match="names none of its 5 axes"):
        assumed_order((2, 9, 20, 30, 8), AS_STATED, [])


def test_npy_is_read_by_region_through_a_memory_map(tmp_path: Path) -> None:
    values = RNG.normal(size=(9, 20, 30)).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    assert np.array_equal(read(tmp_path / "a.npy").array[0], values)
    assert same_by_region(tmp_path / "a.npy", (slice(None), slice(2, 5), slice(3, 9), slice(5, 30)))
    np.save(tmp_path / "b.npy", np.asfortranarray(values))
    assert np.array_equal(read(tmp_path / "b.npy").array[0], values)


def test_no_pickle_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for name in ("a.npy", "b.npz"):
        with pytest.raises(ValueError, match=f"{name}: "):
            read(tmp_path / name)


def test_npz_with_an_image_and_its_mask(tmp_path: Path) -> None:
    image, mask = RNG.random((20, 30)), RNG.integers(0, 3, (20, 30))
    np.savez(tmp_path / "a.npz", image=image, mask=mask)
    assert np.array_equal(read(tmp_path / "a.npz").array[0], image)
    assert np.array_equal(read_labels(tmp_path / "a.npz").array, mask)
    np.savez(tmp_path / "b.npz", first=image, second=mask)
    with pytest.raises(ValueError, match=r"b.npz: holds the arrays first, second: expected one"):
        read(tmp_path / "b.npz")


# --- HDF5 ---


def test_hdf5_of_3dunet(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    raw, label = RNG.random((9, 20, 30), np.float32), RNG.integers(0, 5, (9, 20, 30), dtype=np.uint16)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=raw, chunks=(3, 8, 8)).attrs["element_size_um"] = (2.0, 0.5, 0.25)
        file["label"] = label
    image = read(tmp_path / "a.h5")
    assert np.array_equal(image.array[0], raw)
    assert (image.spacing, image.unit) == ((2.0, 0.5, 0.25), "µm")
    assert np.array_equal(read_labels(tmp_path / "a.h5").array, label)
    assert same_by_region(tmp_path / "a.h5", (slice(None), slice(2, 5), slice(3, 9), slice(5, 30)))


def test_hdf5_of_ilastik_says_its_axes(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    values = RNG.random((1, 20, 30, 6), np.float32)
    tags = '{"axes": [{"key": "t"}, {"key": "y"}, {"key": "x"}, {"key": "c"}]}'
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("exported_data", data=values).attrs["axistags"] = tags
    image = read(tmp_path / "a.h5")
    assert image.axes == "cyx"
    assert np.array_equal(image.array, values[0].transpose(2, 0, 1))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("exported_data", data=np.zeros((5, 20, 30, 1))).attrs["axistags"] = tags
    with pytest.raises(ValueError, match=r"axes t: 5, .*name one by its number, #t1"):
        read(tmp_path / "b.h5")
    assert [path.name for path in images_within(tmp_path / "b.h5")] == [f"b.h5#t{i}" for i in (1, 2, 3, 4, 5)]
    assert images_within(tmp_path / "a.h5") == [tmp_path / "a.h5"]
    assert read(tmp_path / "b.h5#t5").array.shape == (1, 20, 30)


def test_hdf5_with_several_datasets_is_not_guessed(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["one"], file["two"] = np.zeros((4, 5)), np.zeros((4, 5))
    with pytest.raises(ValueError, match=r"a.h5: its datasets .* one \(4, 5\), two \(4, 5\)"):
        read(tmp_path / "a.h5")
    with h5py.File(tmp_path / "c.h5", "w") as file:  # as BigDataViewer writes it, with 40000 as -25536
        for name in ("s00/resolutions", "s00/subdivisions"):
            file[name] = np.ones((1, 3))
        file["t00000/s00/0/cells"] = np.full((2, 4, 5), 40000, np.uint16).view(np.int16)
    listed = r"s00/resolutions \(1, 3\), s00/subdivisions \(1, 3\), t00000/s00/0/cells \(2, 4, 5\)"
    with pytest.raises(ValueError, match=rf"c.h5: its datasets of two axes and more are {listed}: expected one"):
        read(tmp_path / "c.h5")
    (tmp_path / "b.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40))
    with pytest.raises(ValueError, match=r"b.h5: damaged, truncated or unsupported HDF5"):
        read(tmp_path / "b.h5")


def test_hdf5_chunks_that_are_not_stored_are_said(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("raw", (9, 20, 30), np.uint8, chunks=(3, 10, 10), fillvalue=7)
        data[:3] = 1
    image = read(tmp_path / "a.h5")
    assert (image.array[0, 3:] == 7).all()
    assert "12 of 18 chunks not stored: their pixels are the fill value 7" in image.notes
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("raw", data=np.ones((5, 21)), chunks=(2, 8))
    assert not any("chunks" in note for note in read(tmp_path / "b.h5").notes)


def test_a_region_that_a_library_cannot_decode_is_named(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    values = RNG.integers(0, 255, (64, 64), dtype=np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("raw", data=values, chunks=(32, 32), compression="gzip")
        at, n = data.id.get_chunk_info(3).byte_offset, data.id.get_chunk_info(3).size
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[at : at + n] = bytes(n)
    (tmp_path / "a.h5").write_bytes(content)
    with open_lazy(tmp_path / "a.h5") as image:
        assert np.array_equal(image[:, :32, :32][0], values[:32, :32])
        with pytest.raises(ValueError, match=r"a\.h5: damaged, truncated or unsupported HDF5"):
            image[:, 40:, 40:]


# --- volumes with a place ---


def test_mrc_keeps_its_pixel_size(tmp_path: Path) -> None:
    mrcfile = pytest.importorskip("mrcfile")
    values = RNG.integers(-99, 99, (5, 20, 30)).astype(np.int16)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(values)
        file.voxel_size = (13.5, 13.5, 20.0)
    image = read(tmp_path / "a.mrc")
    assert np.array_equal(image.array[0], values)
    assert image.spacing == pytest.approx((20.0, 13.5, 13.5))
    assert image.unit == "Å"
    assert same_by_region(tmp_path / "a.mrc", (slice(None), slice(2, 5), slice(3, 9), slice(5, 30)))


@pytest.mark.parametrize("maps", ["zyx", "yxz", "xzy"])  # of sections, rows and columns
def test_mrc_axes_that_its_header_maps(tmp_path: Path, maps: str) -> None:
    mrcfile = pytest.importorskip("mrcfile")
    values = RNG.integers(-99, 99, (3, 4, 5)).astype(np.int16)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(values)
        file.voxel_size = (1.5, 2.5, 3.5)
        file.header.maps, file.header.mapr, file.header.mapc = ("xyz".index(letter) + 1 for letter in maps)
    image = read(tmp_path / "a.mrc")
    assert np.array_equal(image.array[0], values.transpose([maps.index(letter) for letter in "zyx"]))
    assert image.spacing == pytest.approx((3.5, 2.5, 1.5))
    assert same_by_region(tmp_path / "a.mrc", (slice(None), slice(1, 3), slice(0, 2), slice(1, 3)))


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_one_volume_in_three_formats_lies_at_one_place(tmp_path: Path, suffix: str) -> None:
    """Written by SimpleITK, turned about two axes; the NIfTI that it writes is read the same way."""
    sitk = pytest.importorskip("SimpleITK")
    for module in ("nrrd", "nibabel"):
        pytest.importorskip(module)
    values = RNG.integers(0, 999, (5, 7, 9)).astype(np.int16)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.5, 0.75, 2.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    image.SetDirection((0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    sitk.WriteImage(image, str(tmp_path / "b.nii"))
    found, expected = read(tmp_path / f"a{suffix}"), read(tmp_path / "b.nii")
    assert np.array_equal(found.array, expected.array)
    assert found.spacing == pytest.approx(expected.spacing)
    assert found.place is not None
    assert expected.place is not None
    np.testing.assert_allclose(found.place.affine_in_memory, expected.place.affine_in_memory, atol=1e-5)
    turn, note = turn_onto(found, expected)  # ITK refuses to combine files whose origins differ by 5e-6 mm
    assert not turn.changes
    assert note == ""
    assert same_by_region(tmp_path / f"a{suffix}", (slice(None), slice(1, 5), slice(3, 6), slice(2, 7)))


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow")  # of pynrrd 1.1.3, where it writes, on Python 3.12
def test_nrrd_spaces_and_channels(tmp_path: Path) -> None:
    nrrd = pytest.importorskip("nrrd")
    pytest.importorskip("nibabel")
    values = RNG.integers(0, 99, (9, 7, 5, 2)).astype(np.uint8)  # x, y, z, list
    header = {"space": "right-anterior-superior", "kinds": ["domain"] * 3 + ["list"]}
    header["space directions"] = np.array([[2, 0, 0], [0, 2, 0], [0, 0, 3], [np.nan] * 3])
    nrrd.write(str(tmp_path / "a.nrrd"), values, header | {"space origin": [1.0, 2.0, 3.0]})
    image = read(tmp_path / "a.nrrd")
    assert image.axes == "czyx"
    assert image.spacing == (3.0, 2.0, 2.0)
    assert np.array_equal(image.array, values.transpose(3, 2, 1, 0))
    nrrd.write(str(tmp_path / "b.nrrd"), values[..., 0], {"spacings": [0.5, 0.5, 2.0], "axis mins": [9.0] * 3})
    plain = read(tmp_path / "b.nrrd")
    assert plain.spacing == (2.0, 0.5, 0.5)
    assert plain.place is None  # axis mins without directions say none
    first = {"kinds": ["list"] + ["domain"] * 3, "space directions": np.roll(header["space directions"], 1, 0)}
    named = {"space units": ["um"] * 3, "encoding": "bzip2"}
    nrrd.write(str(tmp_path / "d.nrrd"), values.transpose(3, 0, 1, 2), header | first | named)
    other = read(tmp_path / "d.nrrd")
    assert np.array_equal(other.array, image.array)
    assert (other.spacing, other.unit, image.unit) == (image.spacing, "µm", "mm")
    header |= {"space": "scanner-xyz", "space origin": [0.0, 0.0, 0.0]}
    nrrd.write(str(tmp_path / "c.nrrd"), values, header)
    with pytest.raises(ValueError, match="space 'scanner-xyz': expected one of"):
        read(tmp_path / "c.nrrd")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_planes_of_itk_keep_their_pixel_size(tmp_path: Path, suffix: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    pytest.importorskip("nrrd")
    values = RNG.integers(0, 99, (20, 30)).astype(np.uint8)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.7, 0.5))
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    found = read(tmp_path / f"a{suffix}")
    assert np.array_equal(found.array[0], values)
    assert (found.spacing, found.unit) == ((0.5, 0.7), "mm")
    if suffix == ".nrrd":
        content = (tmp_path / "a.nrrd").read_bytes()
        (tmp_path / "a.nrrd").write_bytes(content.replace(b"sizes:", b'space units: "um" "um"\nsizes:'))
        assert read(tmp_path / "a.nrrd").unit == "µm"


# --- microscopes and slides ---


def write_czi(path: Path, values: np.ndarray, scale: float = 0.0) -> None:
    """Of shape (c, z, y, x, samples)."""
    czi = pytest.importorskip("pylibCZIrw.czi")
    with czi.create_czi(str(path)) as file:
        for c, planes in enumerate(values):
            for z, plane in enumerate(planes):
                file.write(np.ascontiguousarray(plane), plane={"C": c, "Z": z, "T": 0})
        file.write_metadata(scale_x=scale, scale_y=scale, scale_z=2 * scale)


def test_czi_by_channel_and_region(tmp_path: Path) -> None:
    values = RNG.integers(0, 999, (2, 3, 40, 50, 1)).astype(np.uint16)
    write_czi(tmp_path / "a.czi", values, 0.25e-6)
    image = read(tmp_path / "a.czi")
    assert np.array_equal(image.array, values[..., 0])
    assert image.spacing == pytest.approx((0.5, 0.25, 0.25))
    assert image.unit == "µm"
    assert same_by_region(tmp_path / "a.czi", (slice(1, 2), slice(1, 3), slice(3, 9), slice(5, 30)))


def test_czi_colours_come_as_rgb(tmp_path: Path) -> None:
    """As ZEN stores them: blue first."""
    bgr = RNG.integers(0, 255, (1, 1, 20, 30, 3)).astype(np.uint8)
    write_czi(tmp_path / "a.czi", bgr)
    image = read(tmp_path / "a.czi")
    assert np.array_equal(image.array, bgr[0, 0].transpose(2, 0, 1)[::-1])
    assert image.unit == "px"
    assert same_by_region(tmp_path / "a.czi", (slice(1, 3), slice(3, 9), slice(5, 30)))


def test_scenes_of_a_czi_are_images_of_their_own(tmp_path: Path) -> None:
    """Also where they overlap and lie left of zero."""
    czi = pytest.importorskip("pylibCZIrw.czi")
    scenes = {0: ((-5, 3), (8, 9)), 1: ((20, 0), (12, 7)), 2: ((24, 2), (6, 30))}
    values = {index: RNG.integers(1, 99, (*shape, 1)).astype(np.uint8) for index, (_, shape) in scenes.items()}
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        for index, (location, _) in scenes.items():
            file.write(values[index], location=location, scene=index)
    write_czi(tmp_path / "b.czi", RNG.integers(0, 99, (1, 1, 8, 9, 1)).astype(np.uint8))
    listed = [path.name for path in list_images(tmp_path)]
    assert listed == ["a.czi#1", "a.czi#2", "a.czi#3", "b.czi"]
    for index in scenes:
        path = tmp_path / f"a.czi#{index + 1}"
        assert np.array_equal(read(path).array[0], values[index][..., 0])
        assert same_by_region(path, (slice(None), slice(2, 5), slice(1, 6)))
    several = r"a.czi.*: holds 3 scenes \(1, 2, 3\), each an image of its own: name one, such as a.czi#3"
    for wrong in ("a.czi", "a.czi#4"):
        with pytest.raises(ValueError, match=several):
            read(tmp_path / wrong)
    assert read(tmp_path / "b.czi#1").array.shape == (1, 8, 9)
    with pytest.raises(FileNotFoundError, match=r"c\.czi#1"):
        read(tmp_path / "c.czi#1")


def test_tiles_of_a_czi_that_overlap_and_leave_gaps(tmp_path: Path) -> None:
    """Those that are written later lie on top; where there is none, it is 0."""
    czi = pytest.importorskip("pylibCZIrw.czi")
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        for value, location in ((50, (-15, -5)), (60, (-10, -5)), (70, (10, 0))):
            file.write(np.full((10, 10, 1), value, np.uint8), location=location)
    expected = np.zeros((15, 35), np.uint8)
    expected[:10, :10], expected[:10, 5:15], expected[5:, 25:] = 50, 60, 70
    assert np.array_equal(read(tmp_path / "a.czi").array[0], expected)
    assert same_by_region(tmp_path / "a.czi", (slice(None), slice(3, 12), slice(2, 30)))


def test_channels_of_a_czi_of_different_pixel_types(tmp_path: Path) -> None:
    czi = pytest.importorskip("pylibCZIrw.czi")
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        for channel, dtype in enumerate((np.uint16, np.uint8)):
            file.write(np.ones((8, 9, 1), dtype), plane={"C": channel, "Z": 0, "T": 0})
    with pytest.raises(ValueError, match=r"a\.czi: pixels of Gray16 and Gray8: expected one of"):
        read(tmp_path / "a.czi")


def test_a_slide_is_white_where_the_scanner_left_pixels_out() -> None:
    pytest.importorskip("openslide")
    from unetkit.io.formats.slides import _Level

    class Slide:
        level_dimensions = ((9, 8),)

        def read_region(self, corner: tuple[int, int], level: int, size: tuple[int, int]) -> Picture.Image:
            pixels = np.zeros((8, 9, 4), np.uint8)
            pixels[:5, :6] = (10, 20, 30, 255)
            return Picture.fromarray(pixels).crop((*corner, corner[0] + size[0], corner[1] + size[1]))

    found = _Level(Slide())[2:8, 4:9, 0:3]  # type: ignore[arg-type]
    assert found.shape == (6, 5, 3)
    assert (found[:3, :2] == (10, 20, 30)).all()
    assert (found[3:] == 255).all()
    assert (found[:, 2:] == 255).all()


def test_a_slide_at_full_resolution(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    tifffile = pytest.importorskip("tifffile")
    colours = RNG.integers(0, 255, (300, 400, 3), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.svs") as file:
        options: dict[str, Any] = {"tile": (64, 64), "photometric": "rgb", "metadata": None}
        text = "Aperio Image Library v1\r\n400x300 |AppMag = 20|MPP = 0.4990"
        file.write(colours, description=text, **options)
        file.write(colours[::2, ::2], description=text, subfiletype=1, **options)
    image = read(tmp_path / "a.svs")
    assert np.array_equal(image.array, colours.transpose(2, 0, 1))
    assert image.spacing == (0.499, 0.499)
    assert image.unit == "µm"
    assert same_by_region(tmp_path / "a.svs", (slice(0, 3), slice(133, 290), slice(205, 307)))


# --- all ---


def test_axes_that_are_neither_channels_nor_space() -> None:
    with pytest.raises(ValueError, match="t: 3"):
        SlicedSource(np.zeros((3, 4, 5)), "tyx")
    source = SlicedSource(np.arange(20).reshape(1, 4, 5), "tyx", spacing={"y": 2.0, "x": 3.0}, unit="mm")
    assert (source.shape, source.axes, source.spacing, source.unit) == ((1, 4, 5), "cyx", (2.0, 3.0), "mm")


def test_folders_list_them(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", np.zeros((4, 5)))
    Picture.new("L", (4, 5)).save(tmp_path / "a.bmp")
    assert [path.name for path in list_images(tmp_path)] == ["a.bmp", "b.npy"]
    suffixes = [suffix for each in FORMATS for suffix in each.suffixes]
    assert len(suffixes) == len(set(suffixes))


def test_a_library_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "unetkit.io.formats.hdf5", raising=False)
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ImportError, match=r"HDF5 needs h5py: pip install 'unetkit\[formats\]'"):
        read(tmp_path / "a.h5")


def test_a_pickle_of_cellpose_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a_seg.npy", {"masks": np.ones((4, 4), int)}, allow_pickle=True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"a_seg\.npy: holds Python objects .* save the masks as TIFF or PNG"):
        read_labels(tmp_path / "a_seg.npy")


@pytest.mark.parametrize("suffix", [".gif", ".bmp", ".png"])
def test_a_small_file_that_states_a_huge_picture_takes_no_memory(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Picture.fromarray(RNG.integers(0, 255, (20, 30), dtype=np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    at, size = {".gif": (6, b"\xff\xff\xff\xff"), ".bmp": (18, b"\0\0\1\0\0\0\1\0"), ".png": (16, b"\0\1\0\0\0\1\0\0")}[
        suffix
    ]
    content[at : at + len(size)] = size
    if suffix == ".png":
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged: its header states 4\d+ bytes of pixels, more than a file"):
        read(path)


def test_compressed_pixels_of_metaimage_that_cannot_be_unpacked(tmp_path: Path) -> None:
    """ITK prints a line then, and gives zeros."""
    sitk = pytest.importorskip("SimpleITK")
    for size in ((6, 20, 30), (20, 30)):
        values = RNG.integers(1, 9, size).astype(np.int16)
        sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "a.mha"), True)
        assert np.array_equal(np.sort(read(tmp_path / "a.mha").array, None), np.sort(values, None))
        content = (tmp_path / "a.mha").read_bytes()
        at = content.index(b"LOCAL\n") + len(b"LOCAL\n")
        nameless = content.replace(b"CompressedDataSize", b"CompressedDataSi\1\1")
        for damaged in (content[: at + 20] + bytes(40) + content[at + 60 :], content[:-50], nameless):
            (tmp_path / "b.mha").write_bytes(damaged)
            with pytest.raises(ValueError, match=r"b\.mha: damaged"):
                read(tmp_path / "b.mha")


@pytest.mark.parametrize("name", ["../a.raw", "/etc/hostname", "LIST\n../a.raw"])
def test_no_header_names_pixels_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    for module in ("SimpleITK", "nrrd"):
        pytest.importorskip(module)
    (tmp_path / "in").mkdir()
    (tmp_path / "a.raw").write_bytes(bytes(600))
    text = f"NDims = 2\nDimSize = 30 20\nElementType = MET_UCHAR\nElementDataFile = {name}\n"
    (tmp_path / "in/a.mhd").write_text(f"ObjectType = Image\n{text}")
    lines = ("NRRD0004", "type: uint8", "dimension: 2", "sizes: 30 20", "encoding: raw", f"data file: {name}", "")
    (tmp_path / "in/a.nhdr").write_text("\n".join(lines))
    for file in ("a.mhd", "a.nhdr"):
        with pytest.raises(ValueError, match=rf"{file}: "):
            read(tmp_path / "in" / file)
    (tmp_path / "in/a.raw").write_bytes(bytes(600))
    (tmp_path / "in/a.mhd").write_text(f"ObjectType = Image\n{text.replace(name, 'a.raw')}")
    assert read(tmp_path / "in/a.mhd").size == (20, 30)
