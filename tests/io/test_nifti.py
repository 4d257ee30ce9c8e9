"""Volumes in one orientation in memory and back in the file's own; nibabel's own functions are the second road."""

import gzip
import itertools
import os
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt2axcodes, ornt_transform

from unetkit import io
from unetkit.image import Image

DATA = Path(os.environ.get("UNETKIT_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
ORIENTATIONS = [
    "".join(letters) for pairs in itertools.permutations(("RL", "AP", "SI")) for letters in itertools.product(*pairs)
]
HEADER_FIELDS = ("pixdim", "xyzt_units", "sform_code", "qform_code", "srow_x", "srow_y", "srow_z")
HEADER_FIELDS += ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")


def oblique() -> np.ndarray:
    """An affine of steps 0.7, 1.2 and 3 mm, turned by a few degrees about two axes."""
    a, b = np.deg2rad(12), np.deg2rad(-7)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([0.7, 1.2, 3.0])
    affine[:3, 3] = -30.5, 12.25, 7
    return affine


def volume(
    shape: tuple[int, ...] = (4, 5, 6), orientation: str = "RAS", dtype: object = np.int16, **fields: object
) -> nibabel.Nifti1Image:
    """A volume stored in an orientation, with both transforms, in mm; `fields` are set in its header."""
    array = np.random.default_rng(0).integers(0, 120, shape).astype(dtype)
    base = nibabel.Nifti1Image(array, oblique(), dtype=np.dtype(dtype))
    turned = base.as_reoriented(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation)))
    turned.set_sform(turned.affine, code=1)
    turned.set_qform(turned.affine, code=3)
    turned.header.set_xyzt_units("mm")
    for name, value in fields.items():
        turned.header[name] = value
    return turned


def saved(path: Path, picture: nibabel.Nifti1Image) -> Path:
    nibabel.save(picture, path)
    return path


def written(path: Path) -> nibabel.Nifti1Image:
    picture = nibabel.load(path)
    assert isinstance(picture, nibabel.Nifti1Image | nibabel.Nifti2Image)
    return picture


# --- orientation ---


def test_there_are_48_orientations() -> None:
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_any_orientation_is_turned_and_put_back(tmp_path: Path, orientation: str) -> None:
    source = saved(tmp_path / "a.nii", volume(orientation=orientation))
    stored = written(source)
    assert "".join(nibabel.aff2axcodes(stored.affine)) == orientation
    closest = nibabel.as_closest_canonical(stored)
    image = io.read(source)
    assert np.array_equal(image.array[0].transpose(2, 1, 0), np.asanyarray(closest.dataobj))
    assert image.place is not None
    assert image.place.orientation == orientation
    assert image.place.affine_in_memory == pytest.approx(closest.affine, abs=1e-5)
    assert image.spacing == pytest.approx((3, 1.2, 0.7), rel=1e-6)
    assert (image.axes, image.unit, image.notes) == ("czyx", "mm", ())

    io.write(tmp_path / "back.nii.gz", image)
    io.write_labels(tmp_path / "labels.nii.gz", image.array[0].astype(np.int64), like=image)
    for name, dtype in (("back.nii.gz", np.int16), ("labels.nii.gz", np.uint8)):
        back = written(tmp_path / name)
        assert np.array_equal(np.asanyarray(back.dataobj), np.asanyarray(stored.dataobj))
        assert back.get_data_dtype() == dtype
        assert np.array_equal(back.affine, stored.affine)
        assert all(np.array_equal(back.header[field], stored.header[field]) for field in HEADER_FIELDS)


@pytest.mark.parametrize("codes", [(0, 0), (0, 1), (2, 0), (4, 1)])
@pytest.mark.parametrize("version", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_the_transform_that_counts_is_kept_and_so_is_the_other(
    tmp_path: Path, codes: tuple[int, int], version: type
) -> None:
    picture = version.from_image(volume(orientation="LPS"))
    other = oblique()
    other[:3, 3] += 5
    picture.set_qform(other, code=codes[1])
    picture.set_sform(oblique() @ np.diag([1, -1, 1, 1]), code=codes[0])
    source = saved(tmp_path / "a.nii.gz", picture)
    stored = written(source)
    image = io.read(source)
    io.write(tmp_path / "b.nii.gz", image)
    back = written(tmp_path / "b.nii.gz")
    assert type(back) is version
    assert np.array_equal(back.affine, stored.affine)
    assert back.header.get_zooms() == stored.header.get_zooms()
    if codes[1]:
        assert np.array_equal(back.get_qform(), stored.get_qform())
    assert tuple(int(back.header[name]) for name in ("sform_code", "qform_code")) == codes
    expected = nibabel.as_closest_canonical(stored) if any(codes) else stored  # nothing is stated, nothing turned
    assert np.array_equal(image.array[0].T, np.asanyarray(expected.dataobj))
    assert any("it states no place in the body" in note for note in image.notes) == (not any(codes))
    assert any("its sform and qform lie up to" in note for note in image.notes) == all(codes)


def test_an_affine_of_double_precision_stays_so(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.nii", nibabel.Nifti2Image(np.zeros((2, 3, 4), np.uint8), oblique()))
    io.write(tmp_path / "b.nii", io.read(source))
    assert np.array_equal(written(tmp_path / "b.nii").affine, oblique())
    assert isinstance(written(tmp_path / "b.nii"), nibabel.Nifti2Image)


def test_a_shear_is_kept(tmp_path: Path) -> None:
    affine = oblique()
    affine[:3, 2] += 0.8 * affine[:3, 1]  # a tilted gantry
    source = saved(tmp_path / "a.nii", nibabel.Nifti1Image(np.zeros((2, 3, 4), np.uint8), affine))
    io.write(tmp_path / "b.nii", io.read(source))
    assert np.array_equal(written(tmp_path / "b.nii").affine, written(source).affine)
    assert "".join(ornt2axcodes(io_orientation(affine))) == "RAS"


# --- axes, units, dtypes ---


@pytest.mark.parametrize(
    "shape, array_shape",
    [((4, 5, 6), (1, 6, 5, 4)), ((4, 5, 6, 3), (3, 6, 5, 4)), ((4, 5, 1), (1, 1, 5, 4)), ((4, 5, 6, 1), (1, 6, 5, 4))],
)
def test_axes_of_three_and_four(tmp_path: Path, shape: tuple[int, ...], array_shape: tuple[int, ...]) -> None:
    picture = volume(shape, "PIR") if len(shape) == 3 else volume(shape[:3])
    if len(shape) == 4:
        picture = nibabel.Nifti1Image(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), oblique())
    source = saved(tmp_path / "a.nii.gz", picture)
    image = io.read(source)
    if len(shape) == 4:
        assert image.array.shape == array_shape
    assert image.array.transpose(3, 2, 1, 0).reshape(-1).tolist() == [
        *np.asanyarray(nibabel.as_closest_canonical(picture).dataobj).reshape(-1)
    ]
    io.write(tmp_path / "b.nii.gz", image)
    back = written(tmp_path / "b.nii.gz")
    assert back.shape == (picture.shape if shape[3:] != (1,) else shape[:3])
    assert np.array_equal(np.asanyarray(back.dataobj).reshape(picture.shape), np.asanyarray(picture.dataobj))


def test_a_picture_without_third_axis_is_a_volume_of_one_plane(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.nii", nibabel.Nifti1Image(np.arange(20, dtype=np.uint8).reshape(4, 5), np.eye(4)))
    image = io.read(source)
    assert image.array.tolist() == [[np.arange(20).reshape(4, 5).T.tolist()]]
    assert image.axes == "czyx"


@pytest.mark.parametrize("name, unit", [("mm", "mm"), ("micron", "µm"), ("meter", "m")])
def test_units(tmp_path: Path, name: str, unit: str) -> None:
    picture = volume()
    picture.header.set_xyzt_units(name, "sec")
    image = io.read(saved(tmp_path / "a.nii", picture))
    assert (image.unit, image.notes) == (unit, ())
    io.write_labels(tmp_path / "b.nii", image.array[0], like=image)
    assert written(tmp_path / "b.nii").header.get_xyzt_units() == (name, "sec")


def test_an_unknown_unit_is_taken_to_be_mm_and_stays_unknown(tmp_path: Path) -> None:
    image = io.read(saved(tmp_path / "a.nii", volume(xyzt_units=0)))
    assert (image.unit, image.notes) == ("mm", ("unit of length not stated: taken to be mm",))
    io.write(tmp_path / "b.nii", image)
    assert written(tmp_path / "b.nii").header.get_xyzt_units() == ("unknown", "unknown")


def test_spacing_is_the_number_that_was_meant(tmp_path: Path) -> None:
    picture = nibabel.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.diag([0.7, -0.3, 1.1, 1]))
    assert io.read(saved(tmp_path / "a.nii", picture)).spacing == (1.1, 0.3, 0.7)


def test_a_header_that_contradicts_its_affine(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii", volume(dtype=np.uint8))
    content = bytearray(path.read_bytes())
    content[80:92] = np.array([1, 1, 1], "<f4").tobytes()  # pixdim[1:4]
    path.write_bytes(content)
    image = io.read(path)
    assert image.spacing == pytest.approx((3, 1.2, 0.7), rel=1e-6)
    assert "pixel size 1, 1, 1 in the header, 0.7, 1.2, 3 by its affine: the affine's taken" in image.notes
    io.write(tmp_path / "b.nii", image)
    assert written(tmp_path / "b.nii").header.get_zooms() == (1, 1, 1)
    assert np.array_equal(written(tmp_path / "b.nii").affine, written(path).affine)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_dtype_round_trips(tmp_path: Path, dtype: str, order: str) -> None:
    array = np.random.default_rng(0).integers(0, 120, (3, 4, 5)).astype(order + dtype)
    header = nibabel.Nifti1Header(endianness=order)
    source = saved(tmp_path / "a.nii", nibabel.Nifti1Image(array, oblique(), header, dtype=array.dtype))
    image = io.read(source)
    assert image.array.dtype == np.dtype(dtype)
    assert np.array_equal(image.array[0].T, array)
    io.write(tmp_path / "b.nii", image)
    assert written(tmp_path / "b.nii").get_data_dtype() == np.dtype(dtype)
    assert np.array_equal(np.asanyarray(written(tmp_path / "b.nii").dataobj), array)


@pytest.mark.parametrize("stored, expected", [(np.uint8, np.float32), (np.int16, np.float32), (np.int32, np.float64)])
def test_scale_and_offset_are_applied(tmp_path: Path, stored: type, expected: type) -> None:
    path = saved(tmp_path / "a.nii", volume(dtype=stored))
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([0.25, -1024.5], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(content)
    image = io.read(path)
    assert image.array.dtype == expected
    assert np.array_equal(image.array[0].T, written(path).get_fdata())
    assert image.array.min() < -900


def test_labels_stored_as_floats_or_scaled(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii", volume(dtype=np.float64))
    labels = io.read_labels(path)
    assert labels.notes == ("ids stored as float64: read as integers",)
    assert labels.array.dtype == np.int32
    assert np.array_equal(labels.array.T, written(path).get_fdata())
    assert labels.place == io.read(path).place
    io.write_labels(tmp_path / "b.nii", labels)
    assert np.array_equal(written(tmp_path / "b.nii").affine, written(path).affine)
    picture = volume(dtype=np.float64)
    picture.dataobj[1, 2, 3] = 0.5
    saved(path, picture)
    with pytest.raises(ValueError, match=r"a\.nii: label image of float64 with 1 values that are not integers, .*0\.5"):
        io.read_labels(path)


@pytest.mark.parametrize("slope", [1000 / 32767, 4095 / 65535, 0.3, 0.9])
def test_labels_under_the_slope_of_their_image(tmp_path: Path, slope: float) -> None:
    """As programs leave them that save a mask with the header of its image: each a multiple of the slope."""
    labels = np.random.default_rng(0).integers(0, 4, (5, 6, 7)).astype(np.int16)
    picture = nibabel.Nifti1Image(np.rint(labels / slope).astype(np.int16), np.eye(4))
    picture.header.set_slope_inter(slope, 0)
    read = io.read_labels(saved(tmp_path / "a.nii", picture))
    assert np.array_equal(read.array.T, labels)
    assert "pixels of them off by rounding" in read.notes[-1]


def test_labels_that_a_slope_has_lost_are_refused_with_it(tmp_path: Path) -> None:
    picture = nibabel.Nifti1Image(np.ones((2, 3, 4), np.uint8), np.eye(4))
    picture.header.set_slope_inter(1000 / 255, 0)
    with pytest.raises(ValueError, match=r"a\.nii: label image .* such as 3\.92.*saved under a slope of 3\.92157"):
        io.read_labels(saved(tmp_path / "a.nii", picture))
    halves = nibabel.Nifti1Image(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.eye(4))
    halves.header.set_slope_inter(1 / 23, 0)
    with pytest.raises(ValueError, match="is this a probability map"):
        io.read_labels(saved(tmp_path / "b.nii", halves))


@pytest.mark.parametrize("intent", [0, 1006])  # 1006: displacements, of which ITK turns x and y around
def test_vectors_are_channels_as_stored(tmp_path: Path, intent: int) -> None:
    source = saved(tmp_path / "a.nii", volume((4, 5, 6, 3), intent_code=intent))
    assert np.array_equal(io.read(source).array.T, np.asanyarray(written(source).dataobj))
    saved(source, volume((4, 5, 6, 1, 3), intent_code=intent))
    with pytest.raises(ValueError, match=r"a\.nii: 5 axes of lengths \(4, 5, 6, 1, 3\)"):
        io.read(source)


# --- writing ---


@pytest.mark.parametrize(
    "low, high, dtype",
    [
        (0, 1, "u1"),
        (0, 255, "u1"),
        (0, 256, "u2"),
        (0, 70000, "u4"),
        (0, 2**40, "u8"),
        (-1, 127, "i1"),
        (-1, 128, "i2"),
    ],
)
def test_labels_take_the_smallest_integers(tmp_path: Path, low: int, high: int, dtype: str) -> None:
    labels = np.full((2, 3, 4), low, np.int64)
    labels[1, 2, 3] = high
    io.write_labels(tmp_path / "a.nii.gz", labels)
    assert written(tmp_path / "a.nii.gz").get_data_dtype() == dtype
    assert np.array_equal(io.read_labels(tmp_path / "a.nii.gz").array, labels)


@pytest.mark.parametrize("dtype, stored", [(bool, np.uint8), (np.float16, np.float32)])
def test_what_nifti_lacks_is_widened(tmp_path: Path, dtype: type, stored: type) -> None:
    image = Image(np.ones((1, 2, 3, 4), dtype), "czyx", (1.0,) * 3)
    io.write(tmp_path / "a.nii", image)
    assert io.read(tmp_path / "a.nii").array.dtype == stored


@pytest.mark.parametrize(
    "unit, stored, factor",
    [("mm", "mm", 1), ("µm", "micron", 1), ("nm", "mm", 1e-6), ("cm", "mm", 10), ("px", "unknown", 1)],
)
def test_without_a_place_it_is_written_along_the_axes_of_the_world(
    tmp_path: Path, unit: str, stored: str, factor: float
) -> None:
    image = Image(np.arange(24).reshape(1, 2, 3, 4).astype(np.uint8), "czyx", (3.0, 2.0, 0.5), unit)
    io.write(tmp_path / "a.nii.gz", image)
    back = written(tmp_path / "a.nii.gz")
    assert back.affine == pytest.approx(np.diag([0.5 * factor, 2 * factor, 3 * factor, 1]), rel=1e-6)
    assert back.header.get_zooms() == pytest.approx((0.5 * factor, 2 * factor, 3 * factor), rel=1e-6)
    assert back.header.get_xyzt_units()[0] == stored
    assert "".join(nibabel.aff2axcodes(back.affine)) == "RAS"
    assert np.array_equal(io.read(tmp_path / "a.nii.gz").array, image.array)


def test_a_plane_becomes_a_volume_of_one(tmp_path: Path) -> None:
    io.write(tmp_path / "a.nii.gz", Image(np.arange(12).reshape(1, 3, 4).astype(np.uint8), "cyx", (2.0, 0.5), "mm"))
    back = io.read(tmp_path / "a.nii.gz")
    assert back.array.tolist() == [[np.arange(12).reshape(3, 4).tolist()]]
    assert back.spacing == (0.5, 2.0, 0.5)


def test_tiff_keeps_the_spacing_of_a_volume(tmp_path: Path) -> None:
    image = io.read(saved(tmp_path / "a.nii", volume(orientation="LPS")))
    io.write(tmp_path / "a.tif", image)
    back = io.read(tmp_path / "a.tif")
    assert (back.spacing, back.unit, back.place) == (image.spacing, "mm", None)
    assert np.array_equal(back.array, image.array)


def test_the_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    image = io.read(saved(tmp_path / "a.nii", volume()))
    for name in ("b.nii.gz", "c.nii.gz"):
        io.write(tmp_path / name, image)
    assert (tmp_path / "b.nii.gz").read_bytes() == (tmp_path / "c.nii.gz").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.nii", "b.nii.gz", "c.nii.gz"]


def test_long_axes_need_nifti_2(tmp_path: Path) -> None:
    image = Image(np.zeros((1, 1, 2, 32768), np.uint8), "czyx", (1.0,) * 3)
    io.write(tmp_path / "a.nii.gz", image)
    assert isinstance(written(tmp_path / "a.nii.gz"), nibabel.Nifti2Image)
    assert io.read(tmp_path / "a.nii.gz").size == (1, 2, 32768)


@pytest.mark.parametrize(
    "image, message",
    [
        (Image(np.zeros((1, 2, 3, 4), np.complex64), "czyx", (1.0,) * 3), "NIfTI holds integers, .*, got complex64"),
        (Image(np.zeros((1, 0, 3, 4), np.uint8), "czyx", (1.0,) * 3), r"at least one pixel, got shape \(1, 0, 3, 4\)"),
        (
            Image(np.zeros((1, 2, 3, 4)), "czyx", (1.0,) * 3, "furlong"),
            "unit 'furlong' is not known to NIfTI: use px, pm",
        ),
    ],
)
def test_what_nifti_cannot_hold_is_refused(tmp_path: Path, image: Image, message: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.nii\.gz: .*{message}"):
        io.write(tmp_path / "a.nii.gz", image)
    assert list(tmp_path.iterdir()) == []


def test_a_cropped_image_is_not_put_back(tmp_path: Path) -> None:
    image = io.read(saved(tmp_path / "a.nii", volume()))
    cropped = replace(image, array=image.array[:, 1:])
    with pytest.raises(ValueError, match=r"size \(5, 5, 4\) with the place of a volume of size \(6, 5, 4\)"):
        io.write(tmp_path / "b.nii", cropped)
    io.write(tmp_path / "b.nii", replace(cropped, place=None))


# --- names ---


def test_folders_list_both_suffixes_and_no_other_gzip(tmp_path: Path) -> None:
    for name in ("a10.nii.gz", "a2.nii", "b.NII.GZ", "table.csv.gz", "x.gz", "._a.nii.gz"):
        (tmp_path / name).touch()
    assert [path.name for path in io.list_images(tmp_path)] == ["a2.nii", "a10.nii.gz", "b.NII.GZ"]


def test_a_lone_gzip_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"x", mtime=0))
    with pytest.raises(ValueError, match=r"no images among 1 \.gz; supported are .*\.nii, \.nii\.gz"):
        io.list_images(tmp_path)
    with pytest.raises(ValueError, match=r"x\.gz: suffix '\.gz' is not supported"):
        io.read(tmp_path / "x.gz")
    with pytest.raises(ValueError, match=r"x\.gz: suffix '\.gz' cannot be written; supported are .*\.nii\.gz"):
        io.write(tmp_path / "x.gz", Image(np.zeros((1, 2, 3)), "cyx", (1.0,) * 2))


def test_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    picture = volume()
    zipped, plain = saved(tmp_path / "a.nii.gz", picture), saved(tmp_path / "a.nii", picture)
    zipped.rename(tmp_path / "zipped.nii")
    plain.rename(tmp_path / "plain.nii.gz")
    for name in ("zipped.nii", "plain.nii.gz"):
        assert np.array_equal(io.read(tmp_path / name).array[0].T, np.asanyarray(picture.dataobj))


def test_lazily_the_same(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.nii.gz", volume(orientation="SLA"))
    image = io.read(source)
    with io.open_lazy(source) as lazy:
        assert np.array_equal(lazy[:, 1:3, 2:], image.array[:, 1:3, 2:])
        assert (lazy.spacing, lazy.unit, lazy.place) == (image.spacing, image.unit, image.place)


# --- damage ---


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_truncated_files_are_refused(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    content = saved(tmp_path / name, volume(dtype=np.uint8)).read_bytes()
    for length in {0, *range(0, len(content), len(content) // 25), *range(len(content) - 9, len(content))}:
        (tmp_path / name).write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"{name}: .*") as caught:
            io.read(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not caplog.records


@pytest.mark.parametrize("name", ["a.nii", "b.nii"])
def test_flipped_bytes_raise_nothing_else(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    picture = volume(dtype=np.uint8)
    path = saved(tmp_path / name, picture if name == "a.nii" else nibabel.Nifti2Image.from_image(picture))
    content = path.read_bytes()
    caplog.clear()  # nibabel has something to say about making a header
    rng = np.random.default_rng(2)
    lines = []
    for _ in range(150):
        changed = bytearray(content)
        for place in rng.integers(0, min(560, len(content)), 4):
            changed[place] = rng.integers(0, 256)
        path.write_bytes(changed)
        for function in (io.read, io.read_labels):
            try:
                function(path)
            except ValueError as error:
                lines.append((type(error), str(error)))
    assert all(kind is ValueError and line.startswith(f"{path}: ") and "\n" not in line for kind, line in lines)
    assert 20 < len(lines) < 300
    assert not caplog.records


def test_a_flipped_bit_in_a_gzip_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii.gz", volume())
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # of the checksum
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.nii\.gz: damaged, truncated or unsupported gzip \(CRC check failed"):
        io.read(path)


def five_axes() -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image(np.zeros((2, 3, 4, 1, 3), np.uint8), np.eye(4))


def series(frames: int, step: float) -> nibabel.Nifti1Image:
    picture = nibabel.Nifti1Image(np.zeros((2, 3, 4, frames), np.uint8), np.eye(4))
    picture.header.set_xyzt_units("mm", "sec")
    picture.header.set_zooms((1, 1, 1, step))
    return picture


def colours() -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image(np.zeros((2, 3, 4), [(name, "u1") for name in "RGB"]), np.eye(4))


@pytest.mark.parametrize(
    "picture, message",
    [
        (five_axes, r"5 axes of lengths \(2, 3, 4, 1, 3\): expected a volume \(x, y, z\) or \(x, y, z, channels\)"),
        (
            lambda: series(4, 2.5),
            r"shape \(2, 3, 4, 4\) with a fourth axis of 4 time points 2\.5 s apart: a time series",
        ),
        (lambda: series(17, 1), r"shape \(2, 3, 4, 17\) with a fourth axis of 17 time points 1 s apart: a time series"),
        (colours, "pixels of RGB colour: expected integers or floats"),
        (lambda: nibabel.Nifti1Image(np.zeros((2, 3, 4), np.complex64), np.eye(4)), "pixels of complex64"),
        (lambda: nibabel.Nifti1Image(np.zeros(5, np.uint8), np.eye(4)), r"shape \(5,\): expected a volume"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path: Path, picture: object, message: str) -> None:
    source = saved(tmp_path / "a.nii.gz", picture())
    for function in (io.read, io.read_labels, io.open_lazy):
        with pytest.raises(ValueError, match=rf"a\.nii\.gz: {message}"):
            function(source)


def test_few_frames_one_second_apart_are_channels(tmp_path: Path) -> None:
    # So ITK and FSL mark every file, whatever its fourth axis is.
    image = io.read(saved(tmp_path / "a.nii.gz", series(4, 1)))
    assert image.array.shape == (4, 4, 3, 2)
    assert image.notes == ("fourth axis of length 4, in s by its header: read as channels",)


@pytest.mark.parametrize(
    "at, value, message",
    [
        (280, [0, 0, 0, 1], r"affine \(0, 0, 0, 1\) .* is singular: the three axes do not span space"),
        (280, [np.nan, 0, 0, 1], r"affine \(nan, 0, 0, 1\) .* is singular"),
        (296, [0.68473, 0.14451, 0.07604, 5], "is singular"),  # the second row a copy of the first
    ],
)
def test_singular_affines(tmp_path: Path, at: int, value: list[float], message: str) -> None:
    path = saved(tmp_path / "a.nii", volume(dtype=np.uint8))
    content = bytearray(path.read_bytes())
    content[at : at + 16] = np.array(value, "<f4").tobytes()
    if at == 296:
        content[280:292] = content[296:308]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.nii: .*{message}"):
        io.read(path)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", r"empty file \(0 bytes\)"),
        (b"hello, volumes", "not a NIfTI file: it starts with b'hello, volumes'"),
        (gzip.compress(b"", mtime=0), "truncated: 0 bytes, less than a NIfTI header of 348"),
        (
            gzip.compress(b"\x5c\x01\0\0" + b"x" * 400, mtime=0),
            "not a NIfTI file: it starts with .* b'xxxx' where NIfTI-1 has",
        ),
        (b"\x5c\x01\0\0" + bytes(340) + b"ni1\0" + bytes(90), r"a pair \.hdr and \.img: convert both to one \.nii\.gz"),
        (b"\x1c\x02\0\0n+2\0\r\n\x1a\n" + bytes(90), "truncated: 102 bytes, less than a NIfTI header of 540"),
        (
            gzip.compress(bytes(range(256)) * 4, mtime=0)[:60],
            r"damaged, truncated or unsupported gzip \(Compressed file ended",
        ),
    ],
)
def test_what_is_no_nifti(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.nii\.gz: .*{message}"):
        io.read(tmp_path / "a.nii.gz")


def test_a_header_that_promises_too_much_allocates_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii", volume(dtype=np.uint8))
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([30000] * 3, "<i2").tobytes()  # dim[1:4]: 27 TB
    path.write_bytes(content)
    with pytest.raises(ValueError, match="pixels reach to byte 27000000000352, but the file has 472 bytes"):
        io.read(path)


# --- real volumes ---


@pytest.mark.skipif(not (DATA / "hippocampus").is_dir(), reason=f"no hippocampus volumes in {DATA}")
def test_real_volumes(tmp_path: Path) -> None:
    for source in io.list_images(DATA / "hippocampus" / "masks")[:5]:
        image, labels = io.read(source.parents[1] / "images" / source.name), io.read_labels(source)
        stored = nibabel.load(source)
        assert image.size == labels.size == stored.shape[::-1]
        assert (image.spacing, image.unit) == ((1, 1, 1), "mm")
        io.write_labels(tmp_path / source.name, labels.array, like=image)
        back = nibabel.load(tmp_path / source.name)
        assert np.array_equal(np.asanyarray(back.dataobj), np.asanyarray(stored.dataobj))
        assert np.array_equal(back.affine, stored.affine)
        assert back.header.get_xyzt_units() == stored.header.get_xyzt_units()


def test_gzip_is_unpacked_no_further_than_its_header_states(tmp_path):
    """Members of a gzip file follow each other: 16 MB of zeros take 16 kB."""
    path = tmp_path / "a.nii.gz"
    io.write(path, Image(np.ones((1, 4, 5, 6), np.int16), "czyx", (1.0, 1.0, 1.0), "mm"))
    whole = path.read_bytes()
    path.write_bytes(whole + gzip.compress(bytes(2**24)) * 3)
    with pytest.raises(ValueError, match=r"a\.nii\.gz: damaged: it unpacks to far more than the \d+ bytes"):
        io.read(path)
    path.write_bytes(whole + gzip.compress(bytes(500)))
    assert io.read(path).array.all()


@pytest.mark.parametrize("lengths", [(3, 30000, 30000, 30000), (3, 32767, 32767, 32767)])
def test_a_small_gzip_file_that_states_a_huge_volume(tmp_path, lengths):
    path = tmp_path / "a.nii.gz"
    io.write(path, Image(np.ones((1, 4, 5, 6), np.int16), "czyx", (1.0, 1.0, 1.0), "mm"))
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[40:48] = np.array(lengths, "<i2").tobytes()
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=r"a\.nii\.gz: damaged: its header states \d+ bytes of pixels"):
        io.read(path)
