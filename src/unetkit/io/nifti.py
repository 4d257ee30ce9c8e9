"""NIfTI: volumes in one orientation in memory, and back in the file's own.

In a file the axes are x, y, z (channels last) in any direction, which the affine states. In memory they are
(C, z, y, x) and point as nearly as axes can to superior, anterior and right, so that all volumes are oriented alike:

    file "LPS"   i -> left       j -> posterior   k -> superior
    memory       x -> right      y -> anterior    z -> superior     x = i reversed, y = j reversed, z = k
"""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Header, Nifti2Image
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt2axcodes, ornt_transform

from ..image import Image, WorldAffine
from .atomic import replace_file
from .decoder_errors import MOST_DEFLATED, Refused, check_packed, decoding, logged, warned
from .filenames import file_of, time_of
from .samples import Colour, Stored
from .spacing import METRES

GZIP = b"\x1f\x8b"
HEADER_BYTES = {Nifti1Image: 348, Nifti2Image: 540}
UNITS = {1: "m", 2: "mm", 3: "µm"}  # xyzt_units, bits 0 to 2; bits 3 to 5 are of the fourth axis
UNIT_CODES = {unit: code for code, unit in UNITS.items()}
QUATERNION = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
TIMES = {8: "s", 16: "ms", 24: "µs"}
# ITK and FSL write seconds into every file, so that the unit alone does not distinguish a time series from channels.
MOST_CHANNELS = 16
FLAT = 1e-4  # volume of the box of unit axes below which an affine is singular; float32 headers have 1e-7
FORMS_APART = 0.75  # voxels
LONGEST = 32767  # NIfTI-1 stores lengths in 16 bits
GZIP_LEVEL = 6
SURPLUS = 1 << 20  # bytes behind the pixels

Nifti = Nifti1Image | Nifti2Image


def read_nifti(path: Path) -> Stored:
    """Read all channels of a NIfTI-1 or NIfTI-2 volume, channels first and in the orientation closest to RAS.

    Pixels with a scale or offset in the header become float32, or float64 from 32-bit integers on. A unit that the
    header does not state is taken to be mm, as other readers do. The path may name a time point: film.nii.gz#t3.
    """
    time, path = time_of(path), file_of(path)
    with path.open("rb") as file:
        is_packed = file.read(len(GZIP)) == GZIP
    return read_nifti_bytes(_unpacked(path) if is_packed else path.read_bytes(), [], time=time)


def time_points(path: Path, *, are_told: bool = False) -> int:
    """Number of time points of a file, as its header states them; 1 where its fourth axis is channels.

    With `are_told`, its fourth axis is times whatever the header states.

    Raises
    ------
    ValueError
        If it has no header of NIfTI.
    """
    header = _header(path)
    shape = header.get_data_shape()
    return int(shape[3]) if are_told and len(shape) > 3 else _times(header)[0]


def pixel_bytes(path: Path) -> int:
    """Bytes of the pixels of a file, as its header states them.

    Raises
    ------
    ValueError
        If it has no header of NIfTI.
    """
    header = _header(path)
    return (
        int(np.prod([max(int(n), 0) for n in header.get_data_shape()], dtype=object)) * header.get_data_dtype().itemsize
    )


def _header(path: Path) -> Nifti1Header | Nifti2Header:
    with decoding("NIfTI"), path.open("rb") as file:
        head = file.read(HEADER_BYTES[Nifti2Image])
        if head.startswith(GZIP):
            file.seek(0)
            with gzip.open(file) as packed:
                head = packed.read(HEADER_BYTES[Nifti2Image])
        kind = _kind(head)
        header: Nifti1Header | Nifti2Header = kind.header_class(head[: HEADER_BYTES[kind]], check=False)
        return header


def _unpacked(path: Path) -> bytes:
    """The content of a gzip file, of which no more is unpacked than its header states."""
    with decoding("gzip"), gzip.open(path) as file:
        head = file.read(HEADER_BYTES[Nifti2Image])
        kind = _kind(head)
        header = kind.header_class(head[: HEADER_BYTES[kind]], check=False)
        n_pixels = np.prod([max(int(n), 0) for n in header.get_data_shape()], dtype=object)
        stated = int(header["vox_offset"]) + int(n_pixels) * header.get_data_dtype().itemsize
        size = path.stat().st_size
        check_packed(stated, size, MOST_DEFLATED)
        content = head + file.read(max(stated - len(head), 0) + SURPLUS)
        if file.read(1):
            raise Refused(f"damaged: it unpacks to far more than the {stated} bytes that its header states")
        return content


def read_nifti_bytes(content: bytes, notes: list[str], *, time: int = 0) -> Stored:
    """Read the content of an uncompressed file; remarks are added to `notes`. Of a series a time point, from 1 on."""
    with decoding("NIfTI"), logged("nibabel.global", notes):
        picture = _opened(content, notes)
        _check_axes(picture, notes, time)
        _check_pixels(picture, len(content))
        place, spacing, unit = _place(picture, notes)
        array = _scaled(picture)
    array = array.reshape(*_size(picture), -1)
    array = array[..., time - 1 : time] if time else array
    turned = apply_orientation(array, axcodes2ornt(place.orientation))
    step = _step(picture)
    return Stored(turned.T, "zyx", Colour(), spacing, unit, tuple(dict.fromkeys(notes)), place=place, step=step)


def write_nifti(path: Path, image: Image) -> None:
    """Write a volume in the orientation, affine and unit of `image.place`, or RAS from the spacing alone.

    Parameters
    ----------
    path : Path
        Compressed by gzip where it ends in .gz.
    image : Image of shape (C, *spatial)
        Bool is stored as uint8, float16 as float32; a 2D image is a volume of one plane. Channels, where there are
        several, are the fourth axis.

    Raises
    ------
    ValueError
        If NIfTI cannot hold the dtype or unit, there are no pixels, or the place is that of a volume of another size.
    """
    array = _storable(image.array)
    array = array.T if image.ndim == 3 else array.T[:, :, None]
    array = array[..., 0] if image.channels == 1 else array
    if image.place is not None:
        if image.size != image.place.size:
            raise ValueError(
                f"image of size {image.size} with the place of a volume of size {image.place.size}: a cropped or "
                "resampled image lies elsewhere; set its place to None"
            )
        array = apply_orientation(array, ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(image.place.orientation)))
    kind = Nifti2Image if _is_beyond_nifti1(array.shape, image.place) else Nifti1Image
    header = kind.header_class()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    if image.place is None:
        _put_spacing(header, image)
    else:
        place = image.place
        header["pixdim"][:4] = place.pixdim
        header["sform_code"], header["qform_code"] = place.codes
        header["xyzt_units"] = place.units
        for name, value in zip(QUATERNION, place.quaternion, strict=True):
            header[name] = value
        for name, row in zip("xyz", place.affine if place.codes[0] else (), strict=False):
            header[f"srow_{name}"] = row
    content = kind(array, None, header, dtype=array.dtype).to_bytes()
    with replace_file(path) as temporary:
        temporary.write_bytes(gzip.compress(content, GZIP_LEVEL, mtime=0) if path.suffix.lower() == ".gz" else content)


def _kind(content: bytes) -> type[Nifti1Image] | type[Nifti2Image]:
    """NIfTI-1 or NIfTI-2, by the first bytes of a file."""
    kind = Nifti2Image if content[4:8] in (b"n+2\0", b"ni2\0") else Nifti1Image
    if len(content) < HEADER_BYTES[kind]:
        raise Refused(f"truncated: {len(content)} bytes, less than a NIfTI header of {HEADER_BYTES[kind]}")
    magic = content[4:8] if kind is Nifti2Image else content[344:348]
    if magic in (b"ni1\0", b"ni2\0"):
        raise Refused("the header of a pair .hdr and .img: convert both to one .nii.gz file")
    if magic not in (b"n+1\0", b"n+2\0"):
        raise Refused(f"not a NIfTI file: it starts with {content[:16]!r} and has {magic!r} where NIfTI-1 has b'n+1'")
    return kind


def _opened(content: bytes, notes: list[str]) -> Nifti:
    """The file with its header parsed; its pixels are not read."""
    kind = _kind(content)
    with warned(notes):
        return kind.from_bytes(content)


def _size(picture: Nifti) -> tuple[int, ...]:
    return (*picture.shape, 1)[:3]  # a 2D picture is a volume of one plane


def _times(header: Nifti1Header | Nifti2Header) -> tuple[int, str]:
    """Number of time points, and the time between them; 1 where the fourth axis is taken for channels."""
    shape = header.get_data_shape()
    frames, unit = int(shape[3]) if len(shape) > 3 else 1, TIMES.get(int(header["xyzt_units"]) & 0x38)
    step = float(header["pixdim"][4])
    is_series = unit and frames > 1 and (step not in (0, 1) or frames > MOST_CHANNELS)
    return (frames, f"{step:g} {unit}") if is_series else (1, "")


def _check_axes(picture: Nifti, notes: list[str], time: int) -> None:
    """Raise unless the axes are space and, at most, channels, or the time points of which one is asked for."""
    shape, header = tuple(int(length) for length in picture.shape), picture.header
    if len(shape) < 2 or min(shape) < 1:
        raise Refused(f"shape {shape}: expected a volume (x, y, z) or (x, y, z, channels) of at least one pixel")
    if max(shape[4:], default=1) > 1:
        raise Refused(
            f"{len(shape)} axes of lengths {shape}: expected a volume (x, y, z) or (x, y, z, channels); save every "
            "time point or component as a file of its own"
        )
    frames, unit = shape[3] if len(shape) > 3 else 1, TIMES.get(int(header["xyzt_units"]) & 0x38)
    times, step = _times(header)
    if time > frames or (time and frames == 1):
        raise Refused(f"holds {frames} time point{'s'[: frames > 1]}, numbered from 1: there is no {time}")
    if time:
        notes.append(f"a series of {frames} time points, each an image of its own")
    elif times > 1:
        raise Refused(
            f"shape {shape} with a fourth axis of {times} time points {step} apart: a time series; name one of them, "
            "such as #t1 behind its name, or the folder that holds it for all; or, where they are channels, set the "
            "unit of time to unknown"
        )
    elif unit and frames > 1:
        notes.append(f"fourth axis of length {frames}, in {unit} by its header: read as channels")


def _check_pixels(picture: Nifti, bytes_held: int) -> None:
    """Raise before anything is allocated for pixels that are missing, or not numbers."""
    dtype = picture.get_data_dtype()
    if dtype.kind not in "buif":
        name = "RGB colour" if dtype.kind == "V" else str(dtype)
        raise Refused(f"pixels of {name}: expected integers or floats; save the channels along a fourth axis")
    end = int(_pixels(picture).offset) + int(np.prod(picture.shape, dtype=object)) * dtype.itemsize
    if end > bytes_held:
        raise Refused(f"truncated: its pixels reach to byte {end}, but the file has {bytes_held} bytes")


def _pixels(picture: Nifti) -> ArrayProxy:
    pixels = picture.dataobj  # not the header, whose offset nibabel sets to 0 on reading it
    assert isinstance(pixels, ArrayProxy), f"pixels of {type(pixels)}, though they were read from a file"
    return pixels


def _scaled(picture: Nifti) -> np.ndarray:
    """Pixels in the byte order of the machine, with scale and offset applied where the header has them."""
    pixels = _pixels(picture)
    stored, slope, offset = np.asarray(pixels.get_unscaled()), float(pixels.slope), float(pixels.inter)
    if (slope, offset) == (1, 0):
        return stored.astype(stored.dtype.newbyteorder("="), copy=False)
    wide = np.result_type(stored.dtype.newbyteorder("="), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # infinite pixels are reported where the image is used
        return stored.astype(wide) * wide.type(slope) + wide.type(offset)


def _step(picture: Nifti) -> float:
    """Between the values that scaled integers can take; 0 where pixels are stored as they are."""
    pixels = _pixels(picture)
    is_scaled = (float(pixels.slope), float(pixels.inter)) != (1, 0) and picture.get_data_dtype().kind in "ui"
    return abs(float(pixels.slope)) if is_scaled else 0.0


def _place(picture: Nifti, notes: list[str]) -> tuple[WorldAffine, tuple[float, ...], str]:
    """Position of the volume, and its spacing along z, y, x with the unit."""
    header, affine = picture.header, np.asarray(picture.affine, np.float64)
    codes = int(header["sform_code"]), int(header["qform_code"])
    if not any(codes):
        # nibabel makes up axes to the left about the middle, ITK others from the first voxel on: none is stated.
        affine = np.diag([*np.linalg.norm(affine[:3, :3], axis=0), 1.0])
        notes.append("sform_code and qform_code are 0: it states no place in the body, axes as they are stored")
    elif all(codes):
        _compare_forms(picture, notes)
    with np.errstate(over="ignore"):  # of an axis that is infinitely long, which is singular below
        steps = np.sqrt((affine[:3, :3] ** 2).sum(0))
    if not np.isfinite(affine).all() or not steps.all() or abs(np.linalg.det(affine[:3, :3] / steps)) < FLAT:
        rows = " ".join(f"({', '.join(f'{value:g}' for value in row)})" for row in affine[:3])
        raise Refused(f"its affine {rows} is singular: the three axes do not span space; repair the header's sform")
    order = io_orientation(affine)
    pixdim, sizes = np.asarray(header["pixdim"]), _size(picture)
    along = _steps(pixdim[1:4], steps, notes)
    by_axis = {int(axis): index for index, axis in enumerate(order[:, 0])}  # x, y, z in memory -> axis of the file
    code = int(header["xyzt_units"])
    if code & 7 not in UNITS:
        notes.append("unit of length not stated: taken to be mm")
    place = WorldAffine(
        affine=tuple(tuple(float(value) for value in row) for row in affine),
        orientation="".join(ornt2axcodes(order)),
        size=tuple(int(sizes[by_axis[axis]]) for axis in (2, 1, 0)),
        codes=codes,
        quaternion=tuple(float(header[name]) for name in QUATERNION),
        pixdim=tuple(float(value) for value in pixdim[:4]),
        units=code,
    )
    return place, tuple(along[by_axis[axis]] for axis in (2, 1, 0)), UNITS.get(code & 7, "mm")


def _compare_forms(picture: Nifti, notes: list[str]) -> None:
    """Note where sform and qform put a voxel at different places: programs take one or the other."""
    sform, qform = (np.asarray(form, np.float64) for form in (picture.get_sform(), picture.get_qform()))
    corners = np.array(list(itertools.product(*((0, length - 1) for length in _size(picture)))))
    gap = sform - qform
    with np.errstate(all="ignore"):
        steps = np.linalg.norm(sform[:3, :3], axis=0)
        apart = float(np.linalg.norm(corners @ gap[:3, :3].T + gap[:3, 3], axis=1).max() / steps.min())
    if not apart <= FORMS_APART:
        notes.append(
            f"its sform and qform lie up to {apart:.3g} voxels apart: the sform's place is taken, as nibabel does; ITK "
            "may take the qform"
        )


def _steps(stated: np.ndarray, of_affine: np.ndarray, notes: list[str]) -> list[float]:
    """Spacing along the axes of the file."""
    if np.allclose(np.abs(stated), of_affine, rtol=1e-3, atol=0):
        return [float(str(abs(step))) for step in stated]  # 0.7 and not 0.699999988
    header_text, affine_text = (", ".join(f"{step:.4g}" for step in steps) for steps in (stated, of_affine))
    notes.append(f"pixel size {header_text} in the header, {affine_text} by its affine: the affine's taken")
    return [float(step) for step in of_affine]


def _storable(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "buif" or array.dtype.itemsize > 8:
        raise ValueError(f"NIfTI holds integers, floats and bool, got {array.dtype}")
    if array.size == 0:
        raise ValueError(f"NIfTI holds at least one pixel, got shape {array.shape}")
    if array.dtype == bool:
        return array.astype(np.uint8)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _is_beyond_nifti1(shape: tuple[int, ...], place: WorldAffine | None) -> bool:
    """Whether a length or a number of the header needs NIfTI-2, with 64 bits where NIfTI-1 has 8 to 32."""
    if max(shape) > LONGEST or place is None:
        return max(shape) > LONGEST
    rows = place.affine if place.codes[0] else ()
    numbers = np.concatenate([*map(np.array, rows), place.quaternion, place.pixdim])
    with np.errstate(over="ignore"):
        is_single = np.array_equal(numbers.astype(np.float32), numbers, equal_nan=True)
    return not is_single or max(map(abs, place.codes)) > LONGEST or place.units not in range(256)


def _put_spacing(header: Nifti1Header | Nifti2Header, image: Image) -> None:
    """Axes to the right, anterior and superior from the origin, in a unit that NIfTI has."""
    unit, factor = image.unit, 1.0
    if unit in METRES and unit not in UNIT_CODES:
        unit, factor = "mm", METRES[unit] / METRES["mm"]
    if unit != "px" and unit not in UNIT_CODES:
        raise ValueError(f"unit {unit!r} is not known to NIfTI: use px, {', '.join(METRES)}, or write .tif")
    steps = [step * factor for step in reversed(image.spacing)]
    steps += steps[:1] * (3 - len(steps))  # a plane is as thick as its pixels are wide
    header["pixdim"][1:4] = steps
    header.set_sform(np.diag([*steps, 1.0]), code="aligned")
    header["xyzt_units"] = UNIT_CODES.get(unit, 0)
