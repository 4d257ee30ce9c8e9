"""DICOM files for tests: a series of slices, with what writers of segmentations ask of it."""

from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: pip install 'unetkit[dicom]'")

AXIAL = ((1, 0, 0), (0, 1, 0))
SAGITTAL = ((0, 1, 0), (0, 0, -1))


def series(
    folder: Path, array, *, directions=AXIAL, spacing=(2.0, 0.5, 0.75), origin=(10.0, -20.0, 30.0), across=None, **given
):
    """Write (k, j, i) as a file per slice; `spacing` between slices, rows, columns in mm; slices along `across`."""
    folder.mkdir(parents=True, exist_ok=True)
    i, j = (np.array(d, float) for d in directions)
    normal = np.cross(i, j) if across is None else np.array(across, float)
    uid = given.pop("SeriesInstanceUID", "1.2.3")
    for k, plane in enumerate(array):
        meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"{uid}.{k}"
        one = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        one.SeriesInstanceUID, one.SOPInstanceUID, one.InstanceNumber = uid, f"{uid}.{k}", len(array) - k
        one.SOPClassUID = meta.MediaStorageSOPClassUID
        one.Rows, one.Columns = plane.shape
        one.StudyInstanceUID, one.FrameOfReferenceUID, one.Modality, one.PatientID = "1.2", "1.9", "CT", "1"
        one.PatientName, one.PatientBirthDate, one.PatientSex, one.AccessionNumber = "A^B", "", "O", ""
        one.StudyID, one.StudyDate, one.StudyTime, one.ReferringPhysicianName = "1", "20260101", "120000", ""
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation = 15, 1
        one.ImageOrientationPatient = [float(v) for v in (*i, *j)]
        one.ImagePositionPatient = [float(v) for v in np.array(origin) + k * spacing[0] * normal]
        one.PixelSpacing = [spacing[1], spacing[2]]
        one.RescaleSlope, one.RescaleIntercept = 1, 0
        for name, value in given.items():
            setattr(one, name, value)
        one.PixelData = plane.astype(np.int16).tobytes()
        one.save_as(folder / f"{(k * 7) % 100:03}.dcm", enforce_file_format=True)  # names say nothing of the order
    return folder


def volume(shape=(5, 6, 7), seed=0):
    return np.random.default_rng(seed).integers(-900, 2000, shape)
