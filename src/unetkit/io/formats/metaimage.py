"""MetaImage (MHA, MHD), by SimpleITK: a volume turned and placed as a NIfTI volume is, or a picture."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..decoder_errors import Refused, check_inside
from ..samples import Colour, Stored
from .placed import placed_volume

_MOST_HEADER = 1 << 16  # bytes


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The lines of the header, and where it ends; the names of a list of files follow each other."""
    with path.open("rb") as file:
        head = file.read(_MOST_HEADER)
    rows, at = {}, 0
    for line in head.split(b"\n"):
        key, equals, value = line.decode("latin-1").partition("=")
        at += len(line) + 1
        if not equals:
            break
        rows[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            break
    if rows.get("ElementDataFile") == "LIST":
        rows["ElementDataFile"] = "\n".join(head[at:].decode("latin-1").split())
    return rows, at


def _check_unpacked(packed: bytes, n_bytes: int) -> None:
    """Raise where compressed pixels cannot be unpacked: ITK prints a line then, and gives zeros."""
    try:
        unpacked = len(zlib.decompressobj().decompress(packed, n_bytes + 1))
    except zlib.error as error:
        raise Refused(f"damaged: its pixels cannot be unpacked ({error})") from None
    if unpacked != n_bytes:
        raise Refused(f"damaged: its pixels unpack to {unpacked} bytes, expected {n_bytes}")


def read(path: Path) -> Stored:
    """Read all of a file; components of a pixel are channels."""
    header, start = _header(path)
    data_file = header.get("ElementDataFile", "LOCAL")
    for name in data_file.split("\n"):
        check_inside(name, path.parent)
    image = sitk.ReadImage(str(path))
    ndim, n_channels = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if ndim not in (2, 3):
        raise Refused(f"an image of {ndim} axes: expected two or three in space")
    values = sitk.GetArrayFromImage(image)  # z, y, x and channels
    if header.get("CompressedData") == "True" and len(data_file.split("\n")) == 1:
        content = path.read_bytes()[start:] if data_file == "LOCAL" else (path.parent / data_file).read_bytes()
        if not header.get("CompressedDataSize", "").isdigit():  # without it ITK gives zeros, too
            raise Refused("damaged: its header does not state the size of its compressed pixels (CompressedDataSize)")
        _check_unpacked(content[: int(header["CompressedDataSize"])], values.nbytes)
    if ndim == 2:
        array = np.moveaxis(values, -1, 0) if n_channels > 1 else values[None]
        return Stored(array, "yx", Colour(), tuple(reversed(image.GetSpacing())), "mm")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # left, posterior to right, anterior
    volume = values.transpose(2, 1, 0, 3) if n_channels > 1 else values.T
    return placed_volume(volume, affine, "mm")
