"""Whatever the bytes: the exact image, or one line that starts with the path."""

import logging
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from unetkit import io
from unetkit.io.decoder_errors import decoding
from unetkit.io.tiff.geotags import geo_tags

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (24, 31, 3), dtype=np.uint8)
STACK = RNG.integers(0, 256, (3, 24, 31), dtype=np.uint8)
PLACE = io.GeoReference(
    (2.0, 2.0, 0.0), (0.0, 0.0, 0.0, 7.0, 8.0, 0.0), keys=(1, 1, 0, 1, 1024, 0, 1, 1), text=b"a|\x00"
)


def tiff(array: np.ndarray, **options: object) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, array, **{"photometric": "minisblack", **options})


WRITERS = {
    "rgb.png": lambda path: Pillow.fromarray(COLOUR).save(path),
    "deep.png": lambda path: path.write_bytes(imagecodecs.png_encode(COLOUR * np.uint16(257))),
    "a.jpg": lambda path: Pillow.fromarray(COLOUR).save(path),
    "pages.tif": tiff(STACK, metadata=None),
    "strips.tif": tiff(STACK, metadata=None, compression="zlib", rowsperstrip=7),
    "tiles.tif": tiff(COLOUR, photometric="rgb", tile=(16, 16), compression="lzw"),
    "big.tif": tiff(COLOUR, photometric="rgb", tile=(16, 16), compression="zlib", bigtiff=True),
    "map.tif": tiff(STACK[0], tile=(16, 16), compression="zlib", metadata=None, extratags=geo_tags(PLACE)),
    "planar.tif": tiff(STACK, photometric="rgb", planarconfig="separate", tile=(16, 16), compression="zlib"),
    "imagej.tif": tiff(STACK, imagej=True, metadata={"axes": "ZYX"}),
    "ome.tif": tiff(STACK, ome=True, metadata={"axes": "ZYX"}),
    "omez.tif": tiff(STACK, ome=True, metadata={"axes": "ZYX"}, compression="zlib"),
    "shaped.tif": tiff(STACK, metadata={"axes": "ZYX"}),
    "shapedz.tif": tiff(STACK, metadata={"axes": "ZYX"}, compression="zlib"),
}


def result_or_line(path: Path, function: Callable[[Path], np.ndarray]) -> np.ndarray | None:
    try:
        return function(path)
    except (ValueError, MemoryError) as error:
        kind, message = type(error), str(error)
    assert kind in (ValueError, MemoryError)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return None


def read_lazily(path: Path) -> np.ndarray:
    with io.open_lazy(path) as image:
        return image[:]


@pytest.mark.parametrize("name", WRITERS)
def test_truncated_files_are_refused_or_read_exactly(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    WRITERS[name](tmp_path / name)
    content, whole = (tmp_path / name).read_bytes(), io.read(tmp_path / name).array
    path = tmp_path / f"cut_{name}"
    lengths = {0, *range(0, len(content), len(content) // 30), *range(len(content) - 12, len(content))}
    refused = 0
    for length in sorted(lengths):
        path.write_bytes(content[:length])
        for function in (lambda p: io.read(p).array, read_lazily):
            result = result_or_line(path, function)
            refused += result is None
            assert result is None or np.array_equal(result, whole), length
    assert refused >= len(lengths)  # of twice as many
    assert not caplog.records


@pytest.mark.parametrize("name", WRITERS)
def test_flipped_bytes_raise_nothing_else(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    WRITERS[name](tmp_path / name)
    content = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(1)
    path = tmp_path / f"flipped_{name}"
    for attempt in range(40):
        changed = bytearray(content)
        reach = min(600, len(content)) if attempt % 2 else len(content)  # headers are most of what can go wrong
        for place in rng.integers(0, reach, 3):
            changed[place] = rng.integers(0, 256)
        path.write_bytes(changed)
        for function in (lambda p: io.read(p).array, lambda p: io.read_labels(p).array, read_lazily):
            result_or_line(path, function)
    assert not caplog.records


def test_damaged_pixels_in_a_lazy_region(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0], tile=(16, 16), compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[0].dataoffsets[3]
    content = bytearray(path.read_bytes())
    content[offset : offset + 8] = b"\xff" * 8
    path.write_bytes(content)
    with io.open_lazy(path) as image:
        assert np.array_equal(image[:, :16, :16], STACK[:1, :16, :16])
        with pytest.raises(ValueError, match=r"a\.tif: damaged, truncated or unsupported TIFF"):
            image[:, 16:, 16:]
        assert np.array_equal(image[:, :16, 16:], STACK[:1, :16, 16:])


def test_too_few_strips_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0], rowsperstrip=8, compression="zlib", metadata=None, byteorder="<")
    content = path.read_bytes()
    for tag in (b"\x11\x01", b"\x17\x01"):  # StripOffsets, StripByteCounts: 3 -> 2
        at = next(i for i in range(len(content)) if content[i : i + 2] == tag and content[i + 4 : i + 8] == b"\3\0\0\0")
        content = content[: at + 4] + b"\2\0\0\0" + content[at + 8 :]
    path.write_bytes(content)
    with pytest.raises(ValueError, match="page 0 has 2 strips or tiles, expected 3"):
        io.read(path)


@pytest.mark.parametrize("function", [io.read, io.read_labels, io.open_lazy])
def test_foreign_files(tmp_path: Path, function: Callable[[Path], object]) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("cells, nuclei and more")
    (tmp_path / "picture.doc").write_bytes(b"BM")
    (tmp_path / "folder.tif").mkdir()
    for name, message in {
        "empty.png": r"empty\.png: empty file \(0 bytes\)",
        "text.png": r"text\.png: not a PNG, JPEG or TIFF file: it starts with b'cells, nuclei an'",
        "picture.doc": r"picture\.doc: suffix '\.doc' is not supported; supported are \.png, \.jpg, .*\.tiff",
        "folder.tif": r"folder\.tif: a folder, expected an image file",
    }.items():
        with pytest.raises(ValueError, match=message):
            function(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: '.*missing\.png'"):
        function(tmp_path / "missing.png")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_permission_errors_stay_what_they_are(tmp_path: Path) -> None:
    WRITERS["rgb.png"](tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(PermissionError):
        io.read(tmp_path / "a.png")


def test_errors_of_the_system_pass_and_of_memory_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS["tiles.tif"](tmp_path / "a.tif")
    broken, full = OSError(5, "Input/output error"), MemoryError("no room for 9 TiB")
    errors = iter([broken, full])

    def fail(*_: object) -> None:
        raise next(errors)

    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", fail)
    with pytest.raises(OSError, match="Input/output error") as caught:
        io.read(tmp_path / "a.tif")
    assert caught.value is broken
    with pytest.raises(MemoryError, match=r"a\.tif: too large for the memory at hand.* \(no room for 9 TiB\)"):
        io.read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "fault", [AttributeError("no attribute 'get_axes'"), TypeError("2 arguments"), KeyError("axes")]
)
def test_faults_of_our_code_are_not_called_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """Nor is anything of numpy and the standard library that our code calls wrongly."""
    WRITERS["tiles.tif"](tmp_path / "a.tif")

    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", fail)
    with pytest.raises(type(fault)) as caught:
        io.read(tmp_path / "a.tif")
    assert caught.value is fault
    with pytest.raises(TypeError, match="integer"), decoding("TIFF"):
        np.reshape(np.zeros(3), "3")  # type: ignore[call-overload]


def test_a_fault_of_a_decoder_names_it_and_its_version(tmp_path: Path) -> None:
    """A tag where tifffile compares a number with what is a tuple here."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0], metadata=None, byteorder="<")
    content = bytearray(path.read_bytes())
    at = content.index(b"\x02\x01\x03\0\x01\0\0\0")  # BitsPerSample, one short
    content[at + 2 : at + 4] = b"\x05\0"  # a fraction
    path.write_bytes(content)
    with pytest.raises(ValueError, match="fails on this TIFF") as caught:
        io.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: tifffile {tifffile.__version__} fails on this TIFF (TypeError: ")
    assert message.endswith("): if other programs open it, install another version of tifffile")


def test_a_warning_as_an_error_and_a_missing_codec_are_not_damage() -> None:
    for error in (DeprecationWarning("soon gone"), ImportError("no codec")):
        with pytest.raises(type(error)) as caught, decoding("TIFF"):
            raise error
        assert caught.value is error


@pytest.mark.parametrize(
    "code, kind, count, message",
    [
        (259, 3, 2, "compression is '.*', expected a whole number"),
        (262, 3, 2, "photometric is '.*', expected a whole number"),
        (273, 11, 1, "the places of its strips or tiles are not whole numbers from 0 on"),
        (320, 3, 3, r"a colour map of shape \(3, 1\), expected \(3, 256\)"),
    ],
)
def test_tags_of_another_kind_are_damage(tmp_path: Path, code: int, kind: int, count: int, message: str) -> None:
    path = tmp_path / "a.tif"
    colours = np.zeros((3, 256), np.uint16)
    tifffile.imwrite(path, STACK[0], photometric="palette", colormap=colours, metadata=None, byteorder="<")
    content = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, first)
    at = next(
        at for at in range(first + 2, first + 2 + 12 * entries, 12) if struct.unpack_from("<H", content, at)[0] == code
    )
    struct.pack_into("<HI", content, at + 2, kind, count)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"a.tif: damaged: {message}"):
        io.read(path)


def test_a_tiff_without_an_image(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0" + bytes(12))
    with pytest.raises(ValueError, match=r"a\.tif: holds no image"):
        io.read(tmp_path / "a.tif")


def test_a_png_shorter_than_its_header(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(4))
    with pytest.raises(ValueError, match=r"a\.png: truncated: 12 bytes, less than the header of a PNG"):
        io.read(tmp_path / "a.png")


def test_log_of_others_still_reaches_them(tmp_path: Path) -> None:
    WRITERS["tiles.tif"](tmp_path / "a.tif")
    before = list(logging.getLogger("tifffile").filters)
    io.read(tmp_path / "a.tif")
    assert logging.getLogger("tifffile").filters == before


def test_importing_io_does_not_import_torch() -> None:
    subprocess.run([sys.executable, "-c", "import sys, unetkit.io; assert 'torch' not in sys.modules"], check=True)


def test_a_place_before_the_file_is_damage(tmp_path: Path) -> None:
    """The operating system calls the seek an invalid argument, and knows no name of it."""
    (tmp_path / "a").write_bytes(b"")
    refusal = pytest.raises(ValueError, match=r"unsupported NPZ \(.*Invalid argument")
    with (tmp_path / "a").open("rb", buffering=0) as file, refusal, decoding("NPZ"):
        file.seek(-5)


def test_entities_of_ome_xml_are_not_expanded(tmp_path: Path) -> None:
    entities = '<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">'
    text = f'<?xml version="1.0"?><!DOCTYPE OME [{entities}]><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, STACK[0], description=f"{text}<Image><Pixels/></Image>&b;</OME>", metadata=None)
    for function in (io.read, io.read_labels, io.open_lazy):
        with pytest.raises(ValueError, match=r"a\.ome\.tif: its OME-XML declares a document type"):
            function(path)
