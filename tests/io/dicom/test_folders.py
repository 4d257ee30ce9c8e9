"""Folders of DICOM files: the slices of a volume, or images of their own."""

from pathlib import Path

import numpy as np
import pytest

from unetkit import io
from unetkit.io.dicom import headers
from unetkit.io.filenames import is_image_folder

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: pip install 'unetkit[dicom]'")

CT, RADIOGRAPH, RTSTRUCT = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "1.1", "481.3"))


def file(path: Path, array, *, series="1.2", position=None, sop_class=CT, **given):
    """Write one file: a slice where it has a position."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    one = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID = meta.MediaStorageSOPClassUID = sop_class
    one.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = f"{series}.{abs(hash(path.name)) % 10**9}"
    one.SeriesInstanceUID = series
    if array is not None:
        kind = array.dtype
        one.Rows, one.Columns = array.shape[:2]
        one.SamplesPerPixel, one.PhotometricInterpretation = (3, "RGB") if array.ndim == 3 else (1, "MONOCHROME2")
        one.BitsAllocated = one.BitsStored = 8 * kind.itemsize
        one.HighBit, one.PixelRepresentation = 8 * kind.itemsize - 1, int(kind.kind == "i")
        if array.ndim == 3:
            one.PlanarConfiguration = 0
        one.PixelData = array.tobytes()
    if position is not None:
        one.ImagePositionPatient, one.ImageOrientationPatient = list(position), [1, 0, 0, 0, 1, 0]
        one.PixelSpacing = [0.5, 0.75]
    for name, value in given.items():
        setattr(one, name, value)
    one.save_as(path, enforce_file_format=True)
    return path


def picture(seed=0, dtype=np.uint16, shape=(6, 8)):
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def test_radiographs_are_a_folder_of_images(tmp_path):
    for k in (0, 1, 10, 2):
        file(tmp_path / f"p{k}.dcm", picture(k), series=f"1.{k}", sop_class=RADIOGRAPH, ImagerPixelSpacing=[0.1, 0.2])
    assert [path.name for path in io.list_images(tmp_path)] == ["p0.dcm", "p1.dcm", "p2.dcm", "p10.dcm"]
    image = io.read(tmp_path / "p2.dcm")
    assert (image.axes, image.array.dtype, image.spacing, image.unit) == ("cyx", np.uint16, (0.1, 0.2), "mm")
    assert np.array_equal(image.array[0], picture(2))
    assert any("that at the detector" in note for note in image.notes)
    with io.open_lazy(tmp_path / "p2.dcm") as lazy:
        assert np.array_equal(lazy[:, 2:4, 1:5], image.array[:, 2:4, 1:5])
    with pytest.raises(ValueError, match=r"holds 4 DICOM files that are images of their own: name one of them"):
        io.read(tmp_path)


def test_pictures_of_one_series_without_positions_are_images(tmp_path):
    for k in range(12):
        file(tmp_path / f"{k}.dcm", picture(k))
    assert len(io.list_images(tmp_path)) == 12


def test_slices_that_are_a_series_each_are_images_and_one_alone_is_a_volume(tmp_path):
    for k in range(10):
        file(tmp_path / "many" / f"{k}", picture(k), series=f"1.{k}", position=(0, 0, k))  # without a suffix
    assert len(io.list_images(tmp_path / "many")) == 10
    image = io.read(tmp_path / "many" / "3")
    assert (image.axes, image.spacing, image.unit) == ("cyx", (0.5, 0.75), "mm")
    assert "one slice: the folder of its series is a volume" in image.notes
    file(tmp_path / "one" / "a.dcm", picture(), position=(0, 0, 0))
    file(tmp_path / "one" / "rs.dcm", None, series="9", sop_class=RTSTRUCT)
    assert is_image_folder(tmp_path / "one")
    assert io.read(tmp_path / "one").size == (1, 6, 8)


def test_a_series_is_one_whatever_lies_beside_its_slices(tmp_path):
    for k in range(40):
        file(tmp_path / f"IM{k:03}.dcm", picture(k), position=(0, 0, k))
    file(tmp_path / "A.dcm", None, series="9", sop_class=RTSTRUCT)
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "notes.txt").write_text("of the radiologist")
    assert is_image_folder(tmp_path)
    image = io.read(tmp_path)
    assert image.size == (40, 6, 8)
    assert "1 file of contours in the folder: not part of the volume" in image.notes


def test_few_headers_decide(tmp_path, monkeypatch):
    for k in range(100):
        file(tmp_path / f"{k:03}.dcm", picture(shape=(2, 2)), position=(0, 0, k))
    read, count = headers.read_header, []
    monkeypatch.setattr(headers, "read_header", lambda path: count.append(path) or read(path))
    assert is_image_folder(tmp_path)
    assert len(count) <= 8


def test_colours_and_palettes_of_pictures(tmp_path):
    rgb = picture(dtype=np.uint8, shape=(5, 7, 3))
    image = io.read(file(tmp_path / "rgb.dcm", rgb))
    assert np.array_equal(image.array, rgb.transpose(2, 0, 1))
    index = picture(dtype=np.uint8) % 3
    table = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour, entries in (("Red", [0, 65535, 0]), ("Green", [0, 0, 65535]), ("Blue", [0, 0, 0]))
        for part, value in (("Descriptor", [3, 0, 16]), ("Data", np.array(entries, np.uint16).tobytes()))
    }
    path = file(tmp_path / "palette.dcm", index, PhotometricInterpretation="PALETTE COLOR", **table)
    image = io.read(path)
    assert np.array_equal(image.array[0] > 0, index == 1)
    assert np.array_equal(image.array[1] > 0, index == 2)


def test_low_values_that_are_bright_and_a_slope_in_a_picture(tmp_path):
    image = io.read(file(tmp_path / "a.dcm", picture(), PhotometricInterpretation="MONOCHROME1"))
    assert "stored as MONOCHROME1 (low is bright): values kept as stored" in image.notes
    image = io.read(file(tmp_path / "b.dcm", picture(), RescaleSlope=0.5, RescaleIntercept=-3))
    np.testing.assert_allclose(image.array[0], picture() * 0.5 - 3)


def test_files_that_are_no_image(tmp_path):
    with pytest.raises(ValueError, match=r"sr\.dcm: a DICOM file without pixels \(Basic Text SR Storage\)"):
        io.read(file(tmp_path / "sr.dcm", None, sop_class="1.2.840.10008.5.1.4.1.1.88.11"))
    film = picture(dtype=np.uint8)
    path = file(tmp_path / "film.dcm", film, NumberOfFrames=2, PixelData=np.stack([film, film]).tobytes())
    with pytest.raises(ValueError, match=r"2 frames that state no positions, as of a film"):
        io.read(path)
    (tmp_path / "bad.dcm").write_bytes(b"\0" * 300)
    with pytest.raises(ValueError, match=r"bad\.dcm: damaged, truncated or unsupported DICOM"):
        io.read(tmp_path / "bad.dcm")


def test_without_pydicom_a_folder_is_taken_for_a_series(tmp_path, monkeypatch):
    file(tmp_path / "a.dcm", picture())
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    assert is_image_folder(tmp_path)
    with pytest.raises(ImportError, match=r"DICOM needs pydicom: pip install 'unetkit\[dicom\]'"):
        io.read(tmp_path / "a.dcm")
