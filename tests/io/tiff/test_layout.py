from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from unetkit import io
from unetkit.io.samples import Colour

RNG = np.random.default_rng(0)


def pixels(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return RNG.integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_every_dtype_in_native_order(tmp_path: Path, dtype: str, byteorder: Any, compression: str | None) -> None:
    array = (pixels(20, 31) > 100) if dtype == "bool" else pixels(20, 31, dtype=dtype)
    tifffile.imwrite(
        tmp_path / "a.tif",
        array,
        byteorder=byteorder,
        compression=compression,
        photometric="minisblack",
        rowsperstrip=8,
    )
    image = io.read(tmp_path / "a.tif")
    assert image.array.dtype == np.dtype(dtype)
    assert image.array.dtype.isnative
    assert np.array_equal(image.array, array[None])


@pytest.mark.parametrize(
    "axes, shape, options, expected",
    [
        ("CYX", (2, 8, 9), {}, "cyx"),
        ("YXC", (8, 9, 2), {}, "cyx"),
        ("ZCYX", (4, 2, 8, 9), {}, "czyx"),
        ("CZYX", (2, 4, 8, 9), {}, "czyx"),
        ("ZYX", (4, 8, 9), {}, "czyx"),
        ("ZYX", (1, 8, 9), {}, "czyx"),
        ("TZCYX", (1, 4, 1, 8, 9), {}, "czyx"),
        ("ZCYX", (4, 2, 8, 9), {"imagej": True}, "czyx"),
        ("ZYX", (4, 8, 9), {"imagej": True}, "czyx"),
        ("CYX", (2, 8, 9), {"imagej": True}, "cyx"),
        ("ZCYX", (4, 2, 8, 9), {"ome": True}, "czyx"),
        ("CZYX", (2, 4, 8, 9), {"ome": True}, "czyx"),
        ("CYX", (2, 8, 9), {"ome": True}, "cyx"),
        ("YX", (8, 9), {"ome": True}, "cyx"),
        ("YX", (1, 9), {}, "cyx"),
        ("YX", (8, 1), {}, "cyx"),
    ],
)
def test_named_axes_come_channels_first(
    tmp_path: Path, axes: str, shape: tuple[int, ...], options: dict, expected: str
) -> None:
    array = pixels(*shape)
    tifffile.imwrite(tmp_path / "a.tif", array, metadata={"axes": axes}, photometric="minisblack", **options)
    image = io.read(tmp_path / "a.tif")
    wanted = array.squeeze(axis=tuple(i for i, letter in enumerate(axes) if letter not in expected.upper()))
    left = [letter for letter in axes if letter in expected.upper()]
    wanted = wanted.transpose([left.index(letter) for letter in expected.upper() if letter in left])
    assert image.axes == expected
    assert np.array_equal(image.array, wanted if "C" in left else wanted[None])


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize("depth", [None, 3])
def test_rgb_of_both_planar_configurations(tmp_path: Path, planarconfig: str, depth: int | None) -> None:
    colour = pixels(3, *([depth] if depth else []), 8, 9)
    stored = np.moveaxis(colour, 0, -1 if planarconfig == "contig" else -3)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planarconfig)
    assert np.array_equal(io.read(tmp_path / "a.tif").array, colour)


def test_channels_of_samples(tmp_path: Path) -> None:
    array = pixels(2, 8, 9, 3)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", metadata={"axes": "CYXS"})
    assert np.array_equal(io.read(tmp_path / "a.tif").array, np.moveaxis(array, -1, 1).reshape(6, 8, 9))


def test_pages_without_a_name_are_a_stack(tmp_path: Path) -> None:
    array = pixels(5, 8, 9)
    for metadata in (None, {}):
        tifffile.imwrite(tmp_path / "a.tif", array, metadata=metadata, photometric="minisblack")
        image = io.read(tmp_path / "a.tif")
        assert np.array_equal(image.array, array[None])
        assert image.notes == ("5 pages without a stated axis: read as a stack along z",)


@pytest.mark.parametrize(
    "axes, shape, message",
    [
        ("TYX", (3, 8, 9), "axes T: 3, Y: 8, X: 9: expected only channels .* so that T cannot be read"),
        ("TZYX", (3, 4, 8, 9), "axes T: 3, Z: 4"),
        ("QZYX", (3, 4, 8, 9), "so that Q cannot be read"),
        ("QQYX", (3, 4, 8, 9), "axes Q: 3, Q: 4, .*so that Q cannot be read"),
    ],
)
def test_axes_beyond_channels_and_space_are_refused(
    tmp_path: Path, axes: str, shape: tuple[int, ...], message: str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels(*shape), metadata={"axes": axes}, photometric="minisblack")
    for function in (io.read, io.read_labels, io.open_lazy):
        with pytest.raises(ValueError, match=message):
            function(tmp_path / "a.tif")


def test_alpha_by_its_tag(tmp_path: Path) -> None:
    array = pixels(8, 9, 4)
    array[..., 3] = 255 * (pixels(8, 9) % 2)
    array[0, :3, 3] = 7, 100, 250  # a soft edge
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["unassalpha"])
    image = io.read(tmp_path / "a.tif")
    assert np.array_equal(image.array, np.moveaxis(array[..., :3], -1, 0))
    assert image.notes[0].startswith("alpha varies from 0 to 255")
    # A fourth sample that is not said to be alpha, such as near infrared, is a channel.
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(io.read(tmp_path / "a.tif").array, np.moveaxis(array, -1, 0))
    tifffile.imwrite(
        tmp_path / "a.tif", array[..., 2:], photometric="minisblack", planarconfig="contig", extrasamples=["assocalpha"]
    )
    assert np.array_equal(io.read(tmp_path / "a.tif").array, array[None, ..., 2])


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("size", [(8, 9), (700, 40)])
def test_what_is_called_alpha_and_varies_is_data_and_what_is_called_nothing_may_be_alpha(
    tmp_path: Path, planar: str, size: tuple[int, int]
) -> None:
    def write(name: str, array: np.ndarray, extra: str) -> tuple[np.ndarray, str]:
        stored = array if planar == "contig" else np.moveaxis(array, -1, 0)
        tifffile.imwrite(
            tmp_path / name, stored, photometric="rgb", planarconfig=planar, extrasamples=[extra], tile=(16, 16)
        )
        image = io.read(tmp_path / name)
        with io.open_lazy(tmp_path / name) as lazy:
            assert lazy.shape == image.array.shape
            assert np.array_equal(lazy[:, 2:7, 3:8], image.array[:, 2:7, 3:8])
        return np.moveaxis(image.array, 0, -1), " ".join(image.notes)

    infrared = pixels(*size, 4)
    array, notes = write("infrared.tif", infrared, "unassalpha")
    assert np.array_equal(array, infrared)
    assert "sample 4 is called alpha and holds other values than 0 and" in notes
    masked = infrared.copy()
    masked[..., 3] = 255
    masked[2:5] = 0
    array, notes = write("masked.tif", masked, "unspecified")
    assert np.array_equal(array, masked[..., :3])
    assert "sample 4, of no stated meaning, is 0 or 255 and masks the others: taken for alpha" in notes
    masked[3, 3, 0] = 9  # something is seen where it would be clear
    array, notes = write("two.tif", masked, "unspecified")
    assert np.array_equal(array, masked)
    assert "sample 4 is of no stated meaning: read as a channel of data" in notes


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_gray_stored_as_rgb(tmp_path: Path, dtype: type) -> None:
    gray = pixels(8, 9, dtype=dtype)
    if dtype is np.float32:
        gray[2, 3] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", np.stack([gray] * 3, axis=-1), photometric="rgb")
    image = io.read(tmp_path / "a.tif")
    assert np.array_equal(image.array, gray[None], equal_nan=dtype is np.float32)
    assert image.notes == ("gray stored as RGB: read as one channel",)


@pytest.mark.parametrize("factor, dtype", [(257, np.uint8), (256, np.uint8), (255, np.uint16)])
def test_palette(tmp_path: Path, factor: int, dtype: type) -> None:
    colours = RNG.integers(1, 256, (3, 256)).astype(np.uint16)
    indices = pixels(8, 9)
    tifffile.imwrite(tmp_path / "a.tif", indices, photometric="palette", colormap=colours * np.uint16(factor))
    image = io.read(tmp_path / "a.tif")
    assert image.array.dtype == dtype
    assert np.array_equal(image.array, (colours * (1 if dtype is np.uint8 else 255))[:, indices])
    assert np.array_equal(io.read_labels(tmp_path / "a.tif").array, indices)


def test_cmyk(tmp_path: Path) -> None:
    inks = pixels(8, 9, 4)
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated")
    light = np.moveaxis((255.0 - inks[..., :3]) * (255 - inks[..., 3:]) / 255, -1, 0)
    assert np.abs(io.read(tmp_path / "a.tif").array - light).max() <= 0.5


def test_cmyk_white_and_black() -> None:
    inks = np.array([[0, 0, 0, 0], [9, 8, 7, 65535], [65535] * 4, [65535, 0, 0, 0]], np.uint16).T[..., None]
    rgb = Colour("cmyk").convert(inks)[..., 0].T
    assert rgb.tolist() == [[65535] * 3, [0] * 3, [0] * 3, [0, 65535, 65535]]


def test_min_is_white_keeps_the_values_stored(tmp_path: Path) -> None:
    mask = pixels(8, 9) > 100
    tifffile.imwrite(tmp_path / "a.tif", mask)  # tifffile marks bool so without inverting it
    assert np.array_equal(io.read(tmp_path / "a.tif").array, mask[None])
    labels = io.read_labels(tmp_path / "a.tif")
    assert np.array_equal(labels.array, mask)
    assert labels.notes == ("stored as min-is-white: values kept as stored",)


@pytest.mark.parametrize("photometric", ["cielab", "cfa"])
def test_other_colour_spaces_are_refused(tmp_path: Path, photometric: str) -> None:
    shape = (8, 9, 3) if photometric == "cielab" else (8, 9)
    tifffile.imwrite(tmp_path / "a.tif", pixels(*shape), photometric=photometric)
    with pytest.raises(ValueError, match=rf"a\.tif: colour space {photometric.upper()}: expected gray"):
        io.read(tmp_path / "a.tif")


def test_complex_pixels_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 9), np.complex64))
    with pytest.raises(ValueError, match="pixels of dtype complex64: expected integers, floats or bool"):
        io.read(tmp_path / "a.tif")


def test_first_series_and_full_resolution(tmp_path: Path) -> None:
    array = pixels(64, 64)
    with tifffile.TiffWriter(tmp_path / "two.tif") as tif:
        tif.write(array)
        tif.write(pixels(10, 12))
    image = io.read(tmp_path / "two.tif")
    assert np.array_equal(image.array[0], array)
    assert image.notes == ("first of 2 image series read",)
    with tifffile.TiffWriter(tmp_path / "pyramid.ome.tif", ome=True) as tif:
        tif.write(array, subifds=1, tile=(16, 16))
        tif.write(array[::2, ::2], subfiletype=1, tile=(16, 16))
    image = io.read(tmp_path / "pyramid.ome.tif")
    assert np.array_equal(image.array[0], array)
    assert image.notes == ()


def test_orientation_is_said(tmp_path: Path) -> None:
    array = pixels(8, 9)
    tifffile.imwrite(tmp_path / "a.tif", array, extratags=[(274, 3, 1, 4, True)])
    image = io.read(tmp_path / "a.tif")
    assert np.array_equal(image.array[0], array)
    assert image.notes == ("TIFF orientation 4 not applied: pixels in stored order",)


def test_bad_private_tags_are_a_note(tmp_path: Path) -> None:
    path, array = tmp_path / "a.tif", pixels(8, 9)
    tifffile.imwrite(path, array, extratags=[(65123, 2, 300, b"x" * 300, True)], byteorder="<")
    content = path.read_bytes()
    at = content.index((65123).to_bytes(2, "little"))
    path.write_bytes(content[: at + 8] + (10**9).to_bytes(4, "little") + content[at + 12 :])
    image = io.read(path)
    assert np.array_equal(image.array[0], array)
    assert len(image.notes) == 1
    assert "invalid value offset" in image.notes[0]


def test_parts_of_ome_tiffs_in_several_files_are_refused(tmp_path: Path) -> None:
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="9" SizeY="8" SizeZ="2" '
        'SizeC="1" SizeT="1">'
        + "".join(
            f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="{z}.ome.tif">urn:uuid:{z}</UUID></TiffData>'
            for z in (0, 1)
        )
        + "</Pixels></Image></OME>"
    )
    for z in (0, 1):
        tifffile.imwrite(
            tmp_path / f"{z}.ome.tif", pixels(8, 9), ome=False, description=xml.format(own=z), metadata=None
        )
    with pytest.raises(ValueError, match="one part of an OME-TIFF in several files"):
        io.read(tmp_path / "0.ome.tif")
    (tmp_path / "1.ome.tif").unlink()
    with pytest.raises(ValueError, match="1 of 2 planes are missing"):
        io.read(tmp_path / "0.ome.tif")


def test_image_without_pixels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels(8, 9), metadata=None, byteorder="<")
    content = path.read_bytes()
    at = content.index(b"\x00\x01\x04\x00")  # ImageWidth, LONG
    path.write_bytes(content[: at + 8] + bytes(4) + content[at + 12 :])
    with pytest.raises(ValueError, match=r"a\.tif: holds no pixels \(axes Y: 8, X: 0\)"):
        io.read(path)


@pytest.mark.parametrize("shape", [(8, 9), (4, 8, 9)])
def test_a_lookup_table_of_imagej_is_for_display(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    fire = np.random.default_rng(1).integers(0, 2**16, (3, 256)).astype(np.uint16)
    axes = {"axes": "ZYX"[-len(shape) :]}
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, photometric="palette", colormap=fire, metadata=axes)
    image = io.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.array[0], values)
    assert "ImageJ's lookup table is for display: the stored values are read" in image.notes
    np.testing.assert_array_equal(io.read_labels(tmp_path / "a.tif").array, values)


@pytest.mark.parametrize("shape", [(5, 6), (3, 5, 6)])
def test_the_ome_xml_of_another_image_is_not_used(tmp_path: Path, shape: tuple[int, ...]) -> None:
    whole = np.zeros((*shape[:-2], 16, 18), np.uint8)
    metadata = {"axes": "ZYX"[-len(shape) :], "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(tmp_path / "whole.ome.tif", whole, metadata=metadata)
    with tifffile.TiffFile(tmp_path / "whole.ome.tif") as file:
        text = (file.ome_metadata or "").encode("ascii", "xmlcharrefreplace").decode()
    crop = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "crop.tif") as writer:
        for number, plane in enumerate(crop.reshape(-1, 5, 6)):
            writer.write(plane, description=None if number else text, metadata=None, photometric="minisblack")
    image = io.read(tmp_path / "crop.tif")
    np.testing.assert_array_equal(image.array[0], crop)
    assert image.unit == "px"
    assert any("its OME-XML describes an image of 16 x 18 pixels, the file holds 5 x 6" in note for note in image.notes)
