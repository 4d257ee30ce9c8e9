"""BMP, GIF and WebP, by Pillow; JPEG 2000 by imagecodecs, which keeps 16 bits."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ..decoder_errors import Refused, check_packed, warned
from ..filenames import suffix_of
from ..png_jpeg import picture_palette, stored_picture
from ..samples import Colour, Stored

# The classes themselves, since Image.open refuses images of more than 179 million pixels.
_CLASSES: dict[str, Any] = {".bmp": BmpImageFile, ".gif": GifImageFile, ".webp": WebPImageFile}
# Pixels that a byte unpacks to, at most: runs of 255 in two bytes; codes of 12 bits for 4095 pixels.
_MOST_PACKED = {".bmp": 128, ".gif": 2731}
_ROUNDING = 2  # by which the colours of a gray picture differ after lossy WebP
_CODING_STYLE, _TRANSFORMATION = b"\xff\x52", 13  # ISO/IEC 15444-1, A.6.1: the marker COD, and where it says how


def read(path: Path) -> Stored:
    """Read all samples of a picture; of several frames the first."""
    suffix = suffix_of(path)
    if suffix not in _CLASSES:
        return _jpeg2000(path.read_bytes())
    content, notes = path.read_bytes(), list[str]()
    with warned(notes):
        picture = _CLASSES[suffix](io.BytesIO(content))
        if suffix in _MOST_PACKED:
            check_packed(picture.width * picture.height, len(content), _MOST_PACKED[suffix])
        picture.load()
    if picture.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        raise Refused(f"a picture of mode {picture.mode}: expected gray, a palette or colours")
    if getattr(picture, "n_frames", 1) > 1:
        notes.append(f"first of {picture.n_frames} frames read")
    palette = picture_palette(picture) if picture.mode == "P" else None
    is_lossy = suffix == ".webp" and b"VP8 " in content[:64]  # VP8L is the lossless kind
    samples = np.asarray(picture)
    if is_lossy and samples.shape[2:] == (3,) and np.ptp(samples, axis=-1).max() <= _ROUNDING:
        samples = samples[..., 1]
        notes.append("gray, which WebP stores as colours: read as one channel")
    return stored_picture(samples, picture, palette, notes, is_lossy=is_lossy)


def _jpeg2000(content: bytes) -> Stored:
    samples = imagecodecs.jpeg2k_decode(content)
    array = samples[None] if samples.ndim == 2 else np.moveaxis(samples, -1, 0)
    at = content.find(_CODING_STYLE)
    is_lossy = at < 0 or content[at + _TRANSFORMATION : at + _TRANSFORMATION + 1] != b"\x01"  # 1: whole numbers
    alpha = len(array) - 1 if len(array) in (2, 4) else None
    return Stored(array, "yx", Colour("rgb" if len(array) >= 3 else "plain", alpha), (1.0, 1.0), is_lossy=is_lossy)
