"""DICOM series: in the patient's place, whatever the order and direction of the slices."""

import numpy as np
import pytest
from dicom_files import SAGITTAL, pydicom, series, slices, volume

from unetkit import io


def test_an_axial_series_lies_as_the_patient_does(tmp_path):
    array = volume()
    image = io.read(series(tmp_path / "ct", array))
    assert (image.axes, image.size, image.spacing, image.unit) == ("czyx", (5, 6, 7), (2.0, 0.5, 0.75), "mm")
    # In DICOM columns go to the patient's left and rows to the back; in memory x goes right and y to the front.
    assert np.array_equal(image.array[0], array[:, ::-1, ::-1])
    affine = image.place.affine_in_memory
    corner = affine @ [6, 5, 0, 1]  # the first pixel of the first slice: x and y are turned
    np.testing.assert_allclose(corner[:3], [-10, 20, 30], atol=1e-5)
    assert "5 slices of one DICOM series" in image.notes


def test_a_sagittal_series_is_turned(tmp_path):
    array = volume()
    image = io.read(series(tmp_path / "mr", array, directions=SAGITTAL))
    assert image.size == (6, 7, 5)  # rows go down, columns to the back, slices from one side to the other
    assert image.spacing == (0.5, 0.75, 2.0)
    at = image.place.affine_in_memory
    for k, j, i in ((0, 0, 0), (4, 5, 6), (2, 3, 1)):
        normal = np.cross(*map(np.array, SAGITTAL))
        place = (
            np.array([10, -20, 30])
            + 2.0 * k * normal
            + 0.5 * j * np.array(SAGITTAL[1])
            + 0.75 * i * np.array(SAGITTAL[0])
        )
        x, y, z = np.rint(np.linalg.solve(at, [*(place * [-1, -1, 1]), 1])[:3]).astype(int)
        assert image.array[0, z, y, x] == array[k, j, i]


def test_the_mask_of_a_series_is_a_nifti_volume_in_the_same_place(tmp_path):
    image = io.read(series(tmp_path / "ct", volume()))
    io.write_labels(tmp_path / "mask.nii.gz", (image.array[0] > 0).astype(np.uint8), like=image)
    mask = io.read_labels(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(mask.place.affine_in_memory, image.place.affine_in_memory, atol=1e-4)
    assert np.array_equal(mask.array, image.array[0] > 0)


@pytest.mark.parametrize(
    ("slope", "offset", "dtype"), [(1, -1024, np.int16), (0.5, 3, np.float32), (1, 40000, np.int32)]
)
def test_slope_and_intercept_are_applied(slope, offset, dtype, tmp_path):
    array = volume()
    image = io.read(series(tmp_path / "ct", array, RescaleSlope=slope, RescaleIntercept=offset))
    assert image.array.dtype == dtype
    np.testing.assert_allclose(image.array[0], array[:, ::-1, ::-1] * slope + offset)


def test_every_slice_has_its_own_slope(tmp_path):
    array, slopes = volume(), np.array([1, 0.37, 0.5, 1, 0.25])
    folder = series(tmp_path / "pet", array)
    for each, slope in zip(slices(folder), slopes, strict=True):
        each.RescaleSlope = str(slope)
        each.save_as(each.filename)
    image = io.read(folder)
    assert image.array.dtype == np.float32
    np.testing.assert_allclose(image.array[0], (array * slopes[:, None, None])[:, ::-1, ::-1], atol=1e-4)


def test_regions_equal_the_whole(tmp_path):
    folder = series(tmp_path / "ct", volume())
    with io.open_lazy(folder) as image:
        assert np.array_equal(image[:, 1:3, 2:5], io.read(folder).array[:, 1:3, 2:5])


def test_series_are_listed_as_images(tmp_path):
    for name in ("b", "a"):
        series(tmp_path / name, volume())
    assert io.list_images(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(ValueError, match=r"a: one image, expected a folder of images; name the folder that holds it"):
        io.list_images(tmp_path / "a")


def refused(folder, message):
    with pytest.raises(ValueError, match=message) as caught:
        io.read(folder)
    assert str(caught.value).startswith(str(folder))


def test_what_is_no_volume_is_refused(tmp_path):
    folder = series(tmp_path / "gap", volume())
    (folder / "014.dcm").unlink()
    refused(folder, r"slices are 2 mm apart, but those at .* are 4: some are missing, or the spacing varies")
    folder = series(tmp_path / "twice", volume())
    (folder / "again.dcm").write_bytes((folder / "014.dcm").read_bytes())
    refused(folder, r"two slices lie at 34\.00 and 34\.00 mm, the same place")
    folder = series(tmp_path / "two", volume((2, 4, 4)))
    series(tmp_path / "other", volume((3, 4, 4)), SeriesInstanceUID="9.9")
    for file in (tmp_path / "other").iterdir():
        file.rename(folder / f"x{file.name}")
    refused(folder, r"holds 2 series \(3 files of 9\.9, 2 files of 1\.2\.3\): put each into a folder of its own")
    folder = series(tmp_path / "sizes", volume((2, 4, 4)))
    series(tmp_path / "more", volume((1, 4, 5)), origin=(10, -20, 34))
    next((tmp_path / "more").iterdir()).rename(folder / "more.dcm")
    refused(folder, r"slices of different sizes: 2 of \(4, 4\), 1 of \(4, 5\)")
    folder = series(tmp_path / "scout", volume((2, 4, 4)))
    series(tmp_path / "side", volume((1, 4, 4)), directions=SAGITTAL)
    next((tmp_path / "side").iterdir()).rename(folder / "scout.dcm")
    refused(folder, r"slices that are not parallel, such as a localiser among them: leave those files out")
    folder = series(tmp_path / "frames", volume((3, 4, 4)))
    one = pydicom.dcmread(folder / "014.dcm")
    one.NumberOfFrames = 4
    one.save_as(folder / "014.dcm")
    refused(folder, r"holds slices and a file of several frames: put each into a folder of its own")
    folder = tmp_path / "none"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(b"\0" * 300)
    refused(folder, r"DICOM file a\.dcm")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ImagePositionPatient", [1.0], r"damaged: ImagePositionPatient is '1.0', expected 3 numbers"),
        ("PixelSpacing", None, r"damaged: PixelSpacing is 'None', expected 2 numbers"),
        ("RescaleSlope", [1.0, 2.0], r"damaged: RescaleSlope is '\[1.0, 2.0\]', expected one number"),
    ],
)
def test_elements_with_other_than_their_numbers(name, value, message, tmp_path):
    refused(series(tmp_path / "ct", volume((2, 4, 4)), **{name: value}), message)


def test_elements_that_are_missing_or_empty(tmp_path):
    image = io.read(series(tmp_path / "ct", volume((1, 4, 4)), RescaleSlope=None, NumberOfFrames=None))
    assert image.spacing == (1.0, 0.5, 0.75)
    folder = series(tmp_path / "no_size", volume((2, 4, 4)))
    for file, names in zip(sorted(folder.iterdir()), (["SamplesPerPixel"], ["Rows"]), strict=True):
        one = pydicom.dcmread(file)
        for name in names:
            delattr(one, name)
        one.save_as(file)
    refused(folder, r"damaged: its files do not state Rows, SamplesPerPixel")
    folder = series(tmp_path / "no_colours", volume((2, 4, 4)), PhotometricInterpretation=None)
    for file in folder.iterdir():
        one = pydicom.dcmread(file)
        del one.PhotometricInterpretation
        one.save_as(file)
    refused(folder, rf"pydicom {pydicom.__version__} fails on this DICOM \(AttributeError: Missing required element")


def test_slices_of_a_tilted_gantry_lie_where_their_positions_say(tmp_path):
    array, across = volume(), (0.0, 0.5, 1.0)
    image = io.read(series(tmp_path / "ct", array, across=across))
    assert any("tilted gantry: every slice is shifted by 1 mm" in note for note in image.notes)
    for k in range(5):
        world = (np.array([10, -20, 30]) + 2.0 * k * np.array(across)) * [-1, -1, 1]
        x, y, z = np.linalg.solve(image.place.affine_in_memory, [*world, 1])[:3]
        np.testing.assert_allclose((x, y, z), (6, 5, k), atol=1e-4)
        assert image.array[0, k, 5, 6] == array[k, 0, 0]


def test_a_slice_beside_the_others_is_refused(tmp_path):
    folder = series(tmp_path / "ct", volume())
    file = folder / "014.dcm"
    one = pydicom.dcmread(file)
    one.ImagePositionPatient = [float(v) for v in np.add(one.ImagePositionPatient, (3, 0, 0))]
    one.save_as(file)
    refused(folder, r"slice 3 of 5 lies 3 mm beside the line through the others")


def test_several_volumes_in_one_series_are_refused_with_what_tells_them(tmp_path):
    folder = series(tmp_path / "ct", volume(), EchoTime=10.0)
    for file in series(tmp_path / "late", volume(seed=1), EchoTime=80.0).iterdir():
        file.rename(folder / f"late{file.name}")
    refused(folder, r"2 slices at each of 5 places, as of phases, echoes .*; they differ in EchoTime \(10\.0, 80\.0\)")


def test_low_values_that_are_bright_are_kept_and_said(tmp_path):
    array = volume((2, 4, 4))
    image = io.read(series(tmp_path / "cr", array, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(image.array[0], array[:, ::-1, ::-1])
    assert "stored as MONOCHROME1 (low is bright): values kept as stored" in image.notes
    refused(series(tmp_path / "p", array, PhotometricInterpretation="PALETTE COLOR"), r"indices of a palette")
