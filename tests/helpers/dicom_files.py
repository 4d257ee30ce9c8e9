"""DICOM files for tests: a series of slices, with what writers of segmentations ask of it."""

from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: pip install 'unetkit[dicom]'")

AXIAL = ((1, 0, 0), (0, 1, 0))
SAGITTAL = ((0, 1, 0), (0, 0, -1))
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SPACING, ORIGIN = (2.0, 0.5, 0.75), np.array([10.0, -20.0, 30.0])  # by default


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


def slices(folder):
    """The files of a series, by place."""
    files = [pydicom.dcmread(file) for file in folder.iterdir()]
    for file in files:
        file.SliceThickness = 2
    normal = np.cross(files[0].ImageOrientationPatient[:3], files[0].ImageOrientationPatient[3:])
    return sorted(files, key=lambda file: float(np.dot(file.ImagePositionPatient, normal)))


def segmentation(path, sources, array, names, kind="BINARY"):
    """Write (k, j, i) of values 0 to n, or (k, j, i, n) of a share or an overlap, as segments with these names."""
    import highdicom

    code = pydicom.sr.codedict.codes.SCT.Tissue
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=code,
            segmented_property_type=code,
            algorithm_type="MANUAL",
        )
        for number, name in enumerate(names, start=1)
    ]
    made = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=array,
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid="1.7",
        series_number=2,
        sop_instance_uid="1.7.1",
        instance_number=1,
        manufacturer="a",
        manufacturer_model_name="b",
        software_versions="1",
        device_serial_number="1",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path)
    return path


def rtstruct(path, regions, *, kinds=None):
    """Write regions {name: [points (n, 3) in mm, left posterior superior]}; `kinds` of contours by name."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    one = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID = meta.MediaStorageSOPClassUID = RTSTRUCT
    one.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = "1.2.9"
    one.SeriesInstanceUID, one.Modality = "1.2.8", "RTSTRUCT"
    rois, drawn, observed = [], [], []
    for number, (name, contours) in enumerate(regions.items(), start=1):
        kind = (kinds or {}).get(name, "CLOSED_PLANAR")
        roi, contoured, observation = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        roi.ROINumber, roi.ROIName = number, name
        contoured.ReferencedROINumber = observation.ReferencedROINumber = number
        contoured.ContourSequence = []
        for points in contours:
            contour = pydicom.Dataset()
            contour.ContourGeometricType = "CLOSED_PLANAR" if kind == "EXTERNAL" else kind
            contour.ContourData = [f"{value:.6g}" for value in np.ravel(points)]
            contoured.ContourSequence.append(contour)
        observation.RTROIInterpretedType = "EXTERNAL" if kind == "EXTERNAL" else "ORGAN"
        rois.append(roi)
        drawn.append(contoured)
        observed.append(observation)
    one.StructureSetROISequence, one.ROIContourSequence, one.RTROIObservationsSequence = rois, drawn, observed
    path.parent.mkdir(parents=True, exist_ok=True)
    one.save_as(path, enforce_file_format=True)
    return path


def in_body(points, k, directions=AXIAL):
    """Points (row, column) of slice k in the body."""
    i, j = (np.array(each, float) for each in directions)
    rows, columns = np.asarray(points, float).T
    place = ORIGIN + SPACING[0] * k * np.cross(i, j)
    return place + np.outer(rows * SPACING[1], j) + np.outer(columns * SPACING[2], i)


def box(top, left, bottom, right):
    return [(top, left), (top, right), (bottom, right), (bottom, left)]
