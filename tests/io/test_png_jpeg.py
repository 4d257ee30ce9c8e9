import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps
from PIL.PngImagePlugin import PngInfo

from unetkit import io
from unetkit.io.png_jpeg import PASSES, SIGNATURE, read_png, upright

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (20, 31), dtype=np.uint8)
RGB = RNG.integers(0, 256, (20, 31, 3), dtype=np.uint8)


def with_alpha(pixels: np.ndarray, alpha: np.ndarray | int) -> np.ndarray:
    colour = pixels if pixels.ndim == 3 else pixels[..., None]
    last = np.broadcast_to(np.asarray(alpha, pixels.dtype), pixels.shape[:2])
    return np.concatenate([colour, last[..., None]], axis=-1)


def channels_first(pixels: np.ndarray) -> np.ndarray:
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


@pytest.mark.parametrize("pixels", [GRAY, RGB, GRAY * np.uint16(257), RGB * np.uint16(257) + np.uint16(1)])
def test_png_keeps_depth_and_channels(tmp_path: Path, pixels: np.ndarray) -> None:
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    image = io.read(tmp_path / "a.png")
    assert image.array.dtype == pixels.dtype
    assert np.array_equal(image.array, channels_first(pixels))
    assert (image.axes, image.spacing, image.unit, image.notes) == ("cyx", (1.0, 1.0), "px", ())


def test_bilevel_png_is_bool_as_image_and_0_or_1_as_labels(tmp_path: Path) -> None:
    Pillow.fromarray(GRAY > 128).save(tmp_path / "a.png")
    assert np.array_equal(io.read(tmp_path / "a.png").array, (GRAY > 128)[None])
    labels = io.read_labels(tmp_path / "a.png").array
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, GRAY > 128)


@pytest.mark.parametrize("bits", [2, 4])
def test_low_bit_gray_keeps_the_values_stored(tmp_path: Path, bits: int) -> None:
    ids = np.tile(np.arange(2**bits, dtype=np.uint8), (3, 2))
    # Pillow can write 2 and 4 bits only for a palette; turning colour type 3 into 0 makes gray of the same bits.
    picture = Pillow.fromarray(ids)
    picture.putpalette([0] * 768)
    picture.save(tmp_path / "p.png", bits=bits)
    (tmp_path / "a.png").write_bytes(as_gray(tmp_path / "p.png"))
    image = io.read(tmp_path / "a.png")
    assert np.array_equal(image.array[0], ids)
    assert image.notes == (f"{bits}-bit gray: values kept as stored, 0 to {2**bits - 1}",)
    assert np.array_equal(io.read_labels(tmp_path / "a.png").array, ids)


def as_gray(path: Path) -> bytes:
    """The palette PNG at `path` with colour type 0 and no palette."""
    content, result, place = path.read_bytes(), b"\x89PNG\r\n\x1a\n", 8
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        kind, body = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            body = body[:9] + b"\x00" + body[10:]
        if kind != b"PLTE":
            result += struct.pack(">I", length) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        place += 12 + length
    return result


@pytest.mark.parametrize("factor", [1, 257])
@pytest.mark.parametrize("pixels", [GRAY, RGB])
def test_alpha_is_dropped_and_said(tmp_path: Path, pixels: np.ndarray, factor: int) -> None:
    wide = pixels.astype(np.uint16) * 257 if factor == 257 else pixels
    full = 255 * factor
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(with_alpha(wide, full)))
    image = io.read(tmp_path / "a.png")
    assert np.array_equal(image.array, channels_first(wide))
    assert image.notes == (f"alpha is {full} everywhere: dropped",)

    ramp = np.linspace(7, 250, 31).astype(wide.dtype)
    (tmp_path / "b.png").write_bytes(imagecodecs.png_encode(with_alpha(wide, ramp)))
    image = io.read(tmp_path / "b.png")
    assert np.array_equal(image.array, channels_first(wide))
    assert image.notes == ("alpha varies from 7 to 250: dropped, the pixels keep the values stored under it",)


def test_gray_stored_as_colour_is_one_channel(tmp_path: Path) -> None:
    gray_rgb = np.repeat(GRAY[..., None], 3, axis=-1)
    Pillow.fromarray(gray_rgb).save(tmp_path / "rgb.png")
    Pillow.fromarray(with_alpha(gray_rgb, 255)).save(tmp_path / "rgba.png")
    for name, kind in (("rgb.png", "RGB"), ("rgba.png", "RGBA")):
        image = io.read(tmp_path / name)
        assert np.array_equal(image.array, GRAY[None])
        assert image.notes[-1] == f"gray stored as {kind}: read as one channel"
    almost = gray_rgb.copy()
    almost[-1, -1, 2] ^= 1
    Pillow.fromarray(almost).save(tmp_path / "almost.png")
    assert io.read(tmp_path / "almost.png").channels == 3


@pytest.mark.parametrize("is_gray", [False, True])
def test_palette_is_expanded_as_pillow_does(tmp_path: Path, is_gray: bool) -> None:
    palette = RNG.integers(0, 256, (6, 3), dtype=np.uint8)
    if is_gray:
        palette[:] = palette[:, :1]
    picture = Pillow.fromarray(GRAY % 6)
    picture.putpalette(palette.ravel().tolist())
    picture.save(tmp_path / "a.png")
    image = io.read(tmp_path / "a.png")
    expected = channels_first(np.asarray(Pillow.open(tmp_path / "a.png").convert("RGB")))
    assert np.array_equal(image.array, expected[:1] if is_gray else expected)
    said = "gray stored as a palette: read as one channel" if is_gray else "a palette read as RGB"
    assert image.notes == (said,)
    labels = io.read_labels(tmp_path / "a.png")
    assert np.array_equal(labels.array, GRAY % 6)
    assert labels.notes == ("palette indices kept as ids (0 to 5)",)


def test_palette_transparency_is_said(tmp_path: Path) -> None:
    picture = Pillow.fromarray(GRAY % 3)
    picture.putpalette([9, 8, 7] * 3)
    picture.save(tmp_path / "a.png", transparency=1)
    assert "transparency of the palette ignored" in io.read(tmp_path / "a.png").notes


def test_first_frame_of_an_animation_is_said(tmp_path: Path) -> None:
    frames = [Pillow.fromarray(GRAY), Pillow.fromarray(255 - GRAY)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    image = io.read(tmp_path / "a.png")
    assert np.array_equal(image.array, GRAY[None])
    assert image.notes == ("first of 2 frames read",)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_equals_pillow(tmp_path: Path, mode: str) -> None:
    Pillow.fromarray(RGB).convert(mode).save(tmp_path / "a.jpg", quality=90)
    image = io.read(tmp_path / "a.jpg")
    expected = Pillow.open(tmp_path / "a.jpg")
    expected = expected.convert("RGB") if mode == "CMYK" else expected
    assert np.array_equal(image.array, channels_first(np.asarray(expected)))
    assert image.notes == (("CMYK read as RGB",) if mode == "CMYK" else ())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_exif_orientation_is_applied_as_pillow_does(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    Pillow.fromarray(RGB).save(path, exif=exif)
    expected = ImageOps.exif_transpose(Pillow.open(path))
    image = io.read(path)
    assert np.array_equal(image.array, channels_first(np.asarray(expected)))
    said = f"turned upright by its Exif orientation {orientation}"
    assert image.notes == (() if orientation == 1 else (said,))


def test_orientations_are_the_eight_symmetries_of_the_square() -> None:
    pixels = np.arange(6).reshape(2, 3)
    assert len({upright(pixels, o).tobytes() + bytes(upright(pixels, o).shape) for o in range(1, 9)}) == 8


def test_format_is_told_by_content(tmp_path: Path) -> None:
    Pillow.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(io.read(tmp_path / "a.jpg").array, channels_first(RGB))


def test_images_beyond_the_limit_of_pillow_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Pillow.fromarray(RGB).save(tmp_path / "a.png")
    Pillow.fromarray(RGB).save(tmp_path / "a.jpg")
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 100)
    for name in ("a.png", "a.jpg"):
        with pytest.raises(Pillow.DecompressionBombError):
            Pillow.open(tmp_path / name)
        assert io.read(tmp_path / name).size == (20, 31)


def test_corrupt_exif_becomes_a_note_not_a_warning(tmp_path: Path) -> None:
    Pillow.fromarray(RGB).save(tmp_path / "a.jpg", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x05\x00\x12\x01")
    image = io.read(tmp_path / "a.jpg")
    assert image.size == (20, 31)
    assert any("EXIF" in note or "Truncated" in note for note in image.notes)


def test_text_chunks_do_not_matter(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("Comment", "x" * 1000)
    Pillow.fromarray(GRAY).save(tmp_path / "a.png", pnginfo=info, dpi=(300, 300))
    assert io.read(tmp_path / "a.png").spacing == (1.0, 1.0)


def interlaced(pixels: np.ndarray, colour_type: int) -> bytes:
    """A PNG by Adam7, of samples of 16 bits: (y, x, samples)."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b""
    for y, x, dy, dx in PASSES:
        part = pixels[y::dy, x::dx].astype(">u2")
        rows += b"".join(b"\0" + row.tobytes() for row in part if row.size)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour_type, 0, 0, 1)
    packed = zlib.compress(rows)
    halves = chunk(b"IDAT", packed[:30]) + chunk(b"IDAT", packed[30:])
    return SIGNATURE + chunk(b"IHDR", header) + halves + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(19, 23), (1, 1), (2, 9), (8, 3)])
@pytest.mark.parametrize(("colour_type", "samples"), [(2, 3), (4, 2), (6, 4)])
def test_interlaced_colours_of_16_bits(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], size: tuple[int, int], colour_type: int, samples: int
) -> None:
    pixels = np.random.default_rng(0).integers(1, 2**16, (*size, samples)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(interlaced(pixels, colour_type))
    stored = read_png(tmp_path / "a.png")
    np.testing.assert_array_equal(stored.array, np.moveaxis(pixels, -1, 0))
    assert capfd.readouterr() == ("", "")  # libpng would warn on the screen


def test_an_interlaced_picture_that_ends_early(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 2**16, (20, 20, 3)).astype(np.uint16)
    whole = interlaced(pixels, 2)
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a\.png: .*truncated"):
        io.read(tmp_path / "a.png")
