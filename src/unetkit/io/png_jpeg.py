"""PNG and JPEG: decode to stored samples, encode from arrays."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image as Pillow
from PIL import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from ..image import Image
from .atomic import replace_file
from .decoder_errors import MOST_DEFLATED, Refused, check_packed, decoding, warned
from .filenames import PNG_SUFFIXES, suffix_of
from .samples import Colour, Stored

# PNG, third edition, 11.2.1: bit depth and colour type are bytes 24 and 25 of the file
BIT_DEPTH, COLOUR_TYPE, INTERLACE = 24, 25, 28
SIGNATURE = b"\x89PNG\r\n\x1a\n"
SAMPLES = {2: 3, 4: 2, 6: 4}  # of a pixel, by colour type
# Of interlaced pictures: first row and column, and the steps between theirs.
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
GRAY, PALETTE = 0, 3
ORIENTATION = 0x0112  # Exif 2.32, tag 274
JPEG_QUALITY = 95
TURNED = "turned upright"  # as the note begins


def read_png(path: Path) -> Stored:
    """Read all samples of a PNG in their own depth: 1-bit is bool, up to 8 bits uint8, 16 bits uint16."""
    content = path.read_bytes()
    notes: list[str] = []
    with decoding("PNG"):
        if len(content) <= COLOUR_TYPE:
            raise Refused(f"truncated: {len(content)} bytes, less than the header of a PNG")
        depth, colour_type = content[BIT_DEPTH], content[COLOUR_TYPE]
        width, height = struct.unpack(">II", content[16:24])
        check_packed(width * height * depth * SAMPLES.get(colour_type, 1) // 8, len(content), MOST_DEFLATED)
        with warned(notes):
            # The class itself, since Image.open refuses images of more than 179 million pixels.
            picture = PngImageFile(io.BytesIO(content))
        picture.load()
        if depth == 16 and colour_type != GRAY:
            is_interlaced = len(content) > INTERLACE and content[INTERLACE] == 1
            # Pillow would reduce these to 8 bits, silently.
            samples = _interlaced(content, colour_type) if is_interlaced else imagecodecs.png_decode(content)
        else:
            samples = np.asarray(picture)
            if depth == 16:
                samples = samples.astype(np.uint16)  # older Pillow: int32
    if colour_type == GRAY and depth in (2, 4):
        samples = samples // (255 // (2**depth - 1))  # Pillow spreads them over 0 to 255; ids must stay ids
        notes.append(f"{depth}-bit gray: values kept as stored, 0 to {2**depth - 1}")
    if getattr(picture, "n_frames", 1) > 1:
        notes.append(f"first of {picture.n_frames} frames read")
    palette = picture_palette(picture) if colour_type == PALETTE else None
    if palette is not None and "transparency" in picture.info:
        notes.append("transparency of the palette ignored")
    return stored_picture(samples, picture, palette, notes)


def picture_pixels(path: Path) -> int:
    """Pixels of a picture by its header alone; 0 where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its size
            with Pillow.open(path) as picture:
                return picture.width * picture.height
    except Pillow.DecompressionBombError:
        return 2 * (Pillow.MAX_IMAGE_PIXELS or 0)  # more than that
    except (OSError, ValueError):
        return 0  # named when it is read


def _interlaced(content: bytes, colour_type: int) -> np.ndarray:
    """Samples of 16 bits of an interlaced PNG, (y, x, samples): each pass is a picture of its own.

    libpng decodes them too, but prints a warning that no caller can turn off.
    """
    width, height = struct.unpack(">II", content[16:24])
    samples, packed, at = SAMPLES[colour_type], [], len(SIGNATURE)
    while at + 8 <= len(content):
        length, name = struct.unpack(">I4s", content[at : at + 8])
        packed += [content[at + 8 : at + 8 + length]] if name == b"IDAT" else []
        at += length + 12
    passes = [(part, len(range(part[0], height, part[2])), len(range(part[1], width, part[3]))) for part in PASSES]
    sizes = [rows * (1 + columns * samples * 2) if columns else 0 for _, rows, columns in passes]
    data = zlib.decompressobj().decompress(b"".join(packed), sum(sizes) + 1)
    if len(data) < sum(sizes):
        raise Refused(f"truncated: its pixels take {sum(sizes)} bytes, the file holds {len(data)}")
    picture, start = np.zeros((height, width, samples), np.uint16), 0
    for ((y, x, dy, dx), rows, columns), size in zip(passes, sizes, strict=True):
        if size:
            header = struct.pack(">IIBBBBB", columns, rows, 16, colour_type, 0, 0, 0)
            chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(data[start : start + size], 0)), (b"IEND", b""))
            plain = SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks)
            picture[y::dy, x::dx] = imagecodecs.png_decode(plain).reshape(rows, columns, samples)
        start += size
    return picture


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def read_jpeg(path: Path) -> Stored:
    """Read all samples of a JPEG, uint8: gray, RGB or CMYK."""
    notes: list[str] = []
    with decoding("JPEG"), path.open("rb") as file:
        with warned(notes):
            picture = JpegImageFile(file)
        samples = np.asarray(picture)
    return stored_picture(samples, picture, None, notes, is_lossy=True)


def stored_picture(
    samples: np.ndarray,
    picture: ImageFile.ImageFile,
    palette: np.ndarray | None,
    notes: list[str],
    is_lossy: bool = False,
) -> Stored:
    """Channels first and upright, from samples of shape (y, x) or (y, x, samples)."""
    with decoding("Exif"), warned(notes):
        orientation = picture.getexif().get(ORIENTATION, 1)
    if orientation in range(2, 9):
        samples = upright(samples, orientation)
        notes.append(f"{TURNED} by its Exif orientation {orientation}")
    array = samples[None] if samples.ndim == 2 else np.moveaxis(samples, -1, 0)
    alpha = len(array) - 1 if len(array) in (2, 4) and picture.mode != "CMYK" else None
    if palette is not None:
        colour = Colour("palette", palette=palette)
    elif picture.mode == "CMYK":
        colour = Colour("cmyk")
    else:
        colour = Colour("rgb" if len(array) >= 3 else "plain", alpha)
    return Stored(array, "yx", colour, (1.0, 1.0), notes=tuple(notes), is_lossy=is_lossy)


def picture_palette(picture: ImageFile.ImageFile) -> np.ndarray:
    """Colours of the palette, uint8 of shape (256, 3); entries that the file leaves out are black."""
    stored = np.asarray(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(stored)] = stored
    return palette


def upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an Exif orientation.

    Parameters
    ----------
    samples : ndarray of shape (y, x) or (y, x, samples)
    orientation : int
        2 to 8: the sides of the image that the first row and the first column stored are.

    Returns
    -------
    ndarray
        A view, with the first two axes swapped for 5 to 8.

    References
    ----------
    .. [1] CIPA DC-008 (Exif 2.32), 4.6.4, tag 274
    """
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    flip_y, flip_x = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return samples[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def png_bytes(array: np.ndarray) -> bytes:
    """Encode as PNG an array of shape (1 or 3, y, x), bool (gray only, 1 bit per pixel), uint8 or uint16."""
    pixels = np.ascontiguousarray(array[0] if len(array) == 1 else np.moveaxis(array, 0, -1))
    if pixels.dtype != bool:
        return bytes(imagecodecs.png_encode(pixels))
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def jpeg_bytes(array: np.ndarray) -> bytes:
    """Encode as JPEG a uint8 array of shape (1 or 3, y, x), quality 95, colour at full resolution."""
    pixels = np.ascontiguousarray(array[0] if len(array) == 1 else np.moveaxis(array, 0, -1))
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def write_picture(path: Path, image: Image) -> None:
    """Write a PNG or JPEG, whole or not at all.

    Parameters
    ----------
    path : Path
        Its suffix tells which.
    image : Image of shape (C, y, x)

    Raises
    ------
    ValueError
        If the format does not hold the dimensions, the number of channels or the dtype of the image.
    """
    is_png = suffix_of(path) in PNG_SUFFIXES
    name, allowed = ("PNG", ("bool", "uint8", "uint16")) if is_png else ("JPEG", ("uint8",))
    if image.ndim != 2:
        raise ValueError(f"{name} holds 2D images, got size {image.size}: use .tif")
    if image.channels not in (1, 3) or (image.channels == 3 and image.array.dtype == bool):
        raise ValueError(f"{name} holds 1 or 3 channels, got {image.channels} of {image.array.dtype}: use .tif")
    if image.array.dtype.name not in allowed:
        raise ValueError(f"{name} holds {', '.join(allowed)}, got {image.array.dtype}: use .tif")
    content = png_bytes(image.array) if is_png else jpeg_bytes(image.array)
    with replace_file(path) as temporary:
        temporary.write_bytes(content)
