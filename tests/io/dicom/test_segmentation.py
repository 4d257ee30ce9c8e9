"""DICOM SEG: segments as highdicom writes them, by highdicom and where their series lies."""

import sys

import numpy as np
import pytest
from dicom_files import AXIAL, SAGITTAL, pydicom, segmentation, series, slices, volume

from unetkit import io
from unetkit.io.dicom.on_grid import laid_on

highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'unetkit[dicom]'")

OBLIQUE = ((0.8, 0.6, 0), (0, 0, -1))


def labels(shape=(7, 6, 9)):
    """Two blocks that leave slices empty at both ends and in the middle."""
    array = np.zeros(shape, np.uint8)
    array[1:3, 1:4, 2:7] = 1
    array[5:6, 3:5, 1:8] = 2
    return array


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_segments_are_classes_with_their_numbers(kind, tmp_path):
    folder = series(tmp_path / "ct", np.zeros(labels().shape, int))
    path = segmentation(tmp_path / "seg.dcm", slices(folder), labels(), ("liver", "spleen"), kind)
    mask = io.read_labels(path)
    own, expected = (array[array.any((1, 2))] for array in (mask.array, labels()[:, ::-1, ::-1]))
    assert np.array_equal(own, expected)
    assert (mask.spacing, mask.unit, mask.array.dtype) == ((2.0, 0.5, 0.75), "mm", np.uint8)
    assert "DICOM SEG of 2 segments: 1 liver, 2 spleen" in mask.notes


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("directions", [AXIAL, SAGITTAL, OBLIQUE])
def test_segments_lie_on_their_image(directions, kind, tmp_path):
    folder = series(tmp_path / "mr", np.zeros(labels().shape, int), directions=directions)
    path = segmentation(tmp_path / "seg.dcm", slices(folder), labels(), ("liver", "spleen"), kind)
    same = series(tmp_path / "same", labels(), directions=directions)  # whose gray values are the labels
    assert np.array_equal(laid_on(io.read_labels(path), io.read(folder)), io.read(same).array[0])


def test_segments_elsewhere_are_refused_with_their_distance(tmp_path):
    folder = series(tmp_path / "ct", np.zeros(labels().shape, int))
    mask = io.read_labels(segmentation(tmp_path / "seg.dcm", slices(folder), labels(), ("liver", "spleen")))
    for name, message, place in (
        ("up", r"44 of its voxels lie outside of its image, by up to 5 along z", {"origin": (10, -20, 42)}),
        ("beside", r"lies between its voxels, by up to 0\.4 along y", {"origin": (10, -19.8, 30)}),
        ("coarse", r"voxels 0\.75 x 1 x 1 times as large \(along x, y, z\)", {"spacing": (2, 0.5, 1)}),
    ):
        image = io.read(series(tmp_path / name, volume(labels().shape), **place))
        with pytest.raises(ValueError, match=message):
            laid_on(mask, image)
    half = np.zeros((2, *labels().shape[1:]))  # an image of the slices 1 and 2, that holds one segment
    one = io.read_labels(segmentation(tmp_path / "1.dcm", slices(folder), labels() % 2, ("liver",)))
    image = io.read(series(tmp_path / "part", half, origin=(10, -20, 32)))
    assert np.array_equal(laid_on(one, image), one.array)


def test_a_file_without_an_index_of_its_frames(tmp_path):
    folder = series(tmp_path / "ct", np.zeros(labels().shape, int))
    path = segmentation(tmp_path / "seg.dcm", slices(folder), labels(), ("liver", "spleen"))
    expected, one = io.read_labels(path), pydicom.dcmread(path)
    del one.DimensionIndexSequence
    one.save_as(path)
    mask = io.read_labels(path)
    assert np.array_equal(mask.array, expected.array)
    assert "states no index of its frames: taken by their segments and positions" in mask.notes


def test_a_gap_between_frames_is_background(tmp_path):
    folder = series(tmp_path / "ct", np.zeros(labels().shape, int))
    mask = io.read_labels(segmentation(tmp_path / "seg.dcm", slices(folder), labels(), ("liver", "spleen")))
    assert [int(plane.max()) for plane in mask.array] == [1, 1, 0, 0, 2]


def test_fractions_are_cut_at_a_half(tmp_path):
    folder = series(tmp_path / "ct", np.zeros((3, 4, 5), int))
    share = np.zeros((3, 4, 5), np.float32)
    share[0, 0, :4], share[2, 1, 1] = (0.49, 0.5, 0.51, 1), 0.2
    mask = io.read_labels(segmentation(tmp_path / "seg.dcm", slices(folder), share, ("nodule",), "FRACTIONAL"))
    assert mask.array[0, ::-1, ::-1][0].tolist() == [0, 1, 1, 1, 0]
    assert mask.array.sum() == 3
    assert "fractional segments (probability): 0.5 and more are the segment" in mask.notes


def test_segments_that_overlap_are_refused_by_name(tmp_path):
    folder = series(tmp_path / "ct", np.zeros((3, 4, 5), int))
    both = np.zeros((3, 4, 5, 2), np.uint8)
    both[1, :3, :, 0], both[1, 2:, :, 1] = 1, 1
    path = segmentation(tmp_path / "seg.dcm", slices(folder), both, ("liver", "tumour"))
    with pytest.raises(ValueError, match=r"seg\.dcm: segment 2 tumour overlaps with 1 liver in 5 voxels"):
        io.read_labels(path)


def test_without_highdicom_its_extra_is_named(tmp_path, monkeypatch):
    folder = series(tmp_path / "ct", np.zeros((2, 4, 5), int))
    path = segmentation(tmp_path / "seg.dcm", slices(folder), np.ones((2, 4, 5), np.uint8), ("all",))
    monkeypatch.setitem(sys.modules, "highdicom.seg", None)
    with pytest.raises(ImportError, match=r"DICOM SEG needs highdicom: pip install 'unetkit\[dicom\]'"):
        io.read_labels(path)


def test_damaged_segmentations_are_refused(tmp_path):
    folder = series(tmp_path / "ct", np.zeros((2, 4, 5), int))
    path = segmentation(tmp_path / "seg.dcm", slices(folder), np.ones((2, 4, 5), np.uint8), ("all",))
    whole = pydicom.dcmread(path)
    for name in ("SegmentSequence", "PerFrameFunctionalGroupsSequence", "PixelData"):
        one = pydicom.dcmread(path)
        delattr(one, name)
        one.save_as(tmp_path / "bad.dcm")
        with pytest.raises(ValueError, match=r"bad\.dcm: "):
            io.read_labels(tmp_path / "bad.dcm")
    whole.PixelData = whole.PixelData[:2]
    whole.save_as(tmp_path / "short.dcm")
    with pytest.raises(ValueError, match=r"short\.dcm: "):
        io.read_labels(tmp_path / "short.dcm")
