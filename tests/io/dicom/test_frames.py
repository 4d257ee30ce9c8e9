"""DICOM files of several frames: the same volume as the series of slices that they could have been."""

import numpy as np
import pytest

from unetkit import io

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: pip install 'unetkit[dicom]'")

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
AXIAL, SAGITTAL, OBLIQUE = (1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (0.8, 0.6, 0, 0, 0, -1)


def item(**values):
    made = pydicom.Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def enhanced(path, array, *, positions=None, directions=AXIAL, per_frame=None, shared=None, order=None):
    """Write (k, j, i) as one file, 2 mm from slice to slice; its frames in `order`."""
    normal = np.cross(directions[:3], directions[3:])
    if positions is None:
        positions = [np.array([10.0, -20, 30]) + 2 * k * normal for k in range(len(array))]
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    one = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID = meta.MediaStorageSOPClassUID = ENHANCED_MR
    one.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = "1.2", "1.2.3", "1.9"
    one.Rows, one.Columns = array.shape[1:]
    one.SamplesPerPixel, one.PhotometricInterpretation, one.NumberOfFrames = 1, "MONOCHROME2", len(array)
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
    measures = item(PixelSpacing=[0.5, 0.75], SliceThickness=2, SpacingBetweenSlices=2)
    one.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[measures],
            PlaneOrientationSequence=[item(ImageOrientationPatient=list(map(float, directions)))],
            **(shared or {}),
        )
    ]
    order = list(range(len(array))) if order is None else order
    one.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[float(v) for v in positions[k]])],
            FrameContentSequence=[item(DimensionIndexValues=[k + 1])],
            **(per_frame(k) if per_frame else {}),
        )
        for k in order
    ]
    one.PixelData = array[order].astype(np.int16).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    one.save_as(path, enforce_file_format=True)
    return path


def volume(shape=(5, 6, 7), seed=0):
    return np.random.default_rng(seed).integers(-900, 2000, shape)


def as_series(path, folder):
    """The frames of a file as a file each."""
    folder.mkdir()
    one = pydicom.dcmread(path)
    shared = one.SharedFunctionalGroupsSequence[0]
    for k, (group, plane) in enumerate(zip(one.PerFrameFunctionalGroupsSequence, one.pixel_array, strict=True)):
        slice_ = pydicom.dcmread(path)
        for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "NumberOfFrames"):
            delattr(slice_, name)
        slice_.SOPClassUID, slice_.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", f"1.2.3.{k}"
        slice_.ImagePositionPatient = group.PlanePositionSequence[0].ImagePositionPatient
        slice_.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        slice_.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
        slice_.PixelData = plane.tobytes()
        slice_.save_as(folder / f"{k}.dcm")
    return folder


@pytest.mark.parametrize("directions", [AXIAL, SAGITTAL, OBLIQUE])
def test_frames_are_the_volume_of_their_series(directions, tmp_path):
    path = enhanced(tmp_path / "mr" / "a.dcm", volume(), directions=directions, order=[3, 0, 4, 1, 2])
    assert io.list_images(tmp_path / "mr") == [path]
    image, series = io.read(path), io.read(as_series(path, tmp_path / "series"))
    assert np.array_equal(image.array, series.array)
    assert (image.spacing, image.unit, image.place) == (series.spacing, series.unit, series.place)
    assert "5 frames of one DICOM file" in image.notes


@pytest.mark.parametrize("directions", [AXIAL, OBLIQUE])
def test_frames_lie_where_highdicom_has_them(directions, tmp_path):
    highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'unetkit[dicom]'")
    path = enhanced(tmp_path / "a.dcm", volume(), directions=directions, order=[3, 0, 4, 1, 2])
    image, other = io.read(path), highdicom.imread(path).get_volume(dtype=np.int32)
    for index in ((0, 0, 0), (4, 5, 6), (1, 2, 3)):
        place = (other.affine @ [*index, 1])[:3] * [-1, -1, 1]
        x, y, z = np.rint(np.linalg.solve(image.place.affine_in_memory, [*place, 1])[:3]).astype(int)
        assert image.array[0, z, y, x] == other.array[index]


def test_every_frame_has_its_own_slope(tmp_path):
    def scaled(k):
        return {"PixelValueTransformationSequence": [item(RescaleSlope=0.5 * (k + 1), RescaleIntercept=k)]}

    array = volume()
    image = io.read(enhanced(tmp_path / "a.dcm", array, per_frame=scaled))
    expected = np.stack([0.5 * (k + 1) * plane + k for k, plane in enumerate(array)])
    np.testing.assert_allclose(image.array[0], expected[:, ::-1, ::-1])


def test_a_tilted_stack_of_frames_is_sheared(tmp_path):
    places = [np.array([10.0, -20 + k, 30 + 2 * k]) for k in range(5)]
    image = io.read(enhanced(tmp_path / "a.dcm", volume(), positions=places))
    assert any("tilted gantry: every slice is shifted by 1 mm" in note for note in image.notes)


def test_frames_that_are_no_volume_are_refused(tmp_path):
    def echo(k):
        return {"MREchoSequence": [item(EffectiveEchoTime=10.0 + 70 * (k // 3))]}

    twice = [(0.0, 0, 2 * (k % 3)) for k in range(6)]
    path = enhanced(tmp_path / "echoes.dcm", volume((6, 4, 4)), positions=twice, per_frame=echo)
    with pytest.raises(ValueError, match=r"2 slices at each of 3 places.* EffectiveEchoTime \(10\.0, 80\.0\)"):
        io.read(path)
    path = enhanced(tmp_path / "gap.dcm", volume((4, 4, 4)), positions=[(0, 0, z) for z in (0, 2, 4, 8)])
    with pytest.raises(ValueError, match=r"slices are 2 mm apart, but those at 4\.00 and 8\.00 mm are 4"):
        io.read(path)
    one = pydicom.dcmread(path)
    one.NumberOfFrames = 3
    one.save_as(path)
    with pytest.raises(ValueError, match=r"damaged: 3 frames, but positions for 4"):
        io.read(path)


def test_the_mask_of_a_file_of_frames_is_a_volume(tmp_path):
    pytest.importorskip("torch", reason="tests of files run without it too")
    from unetkit.inference.files import mask_name

    frames = enhanced(tmp_path / "a.dcm", volume())
    assert mask_name("a", frames) == "a.nii.gz"
    one = next(as_series(frames, tmp_path / "series").iterdir())
    assert mask_name("b", one) == "b.tif"
    (tmp_path / "bad.dcm").write_bytes(b"")
    assert mask_name("c", tmp_path / "bad.dcm") == "c.tif"
