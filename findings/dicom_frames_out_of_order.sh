#!/usr/bin/env bash
# ITK reads an enhanced multi-frame DICOM in its stored order, and forgets its spacing where that is not the order in
# space; highdicom refuses one whose slices are shifted, as by a tilted gantry.
#
# Versions:  SimpleITK 2.5.7, highdicom 0.28.2, pydicom 3.0.2, numpy 2.4.6; Python 3.11
# Behaviour: four frames 2 mm apart, of values 0 to 3 from foot to head, pixels of 0.5 mm. SimpleITK gives the values in
#            the order in which they are stored, and spacing (1, 1, 1) where that is not the order in space. highdicom
#            sorts, from head to foot; it gives no geometry where each slice lies 1 mm beside the one before.
# Output (2026-11-30, Python 3.11.7, Linux x86-64):
#   ordered: SimpleITK [0, 1, 2, 3] spacing (0.5, 0.5, 2.0); highdicom [3, 2, 1, 0]
#   shuffled: SimpleITK [2, 0, 3, 1] spacing (1.0, 1.0, 1.0); highdicom [3, 2, 1, 0]
#   shifted: SimpleITK [0, 1, 2, 3] spacing (0.5, 0.5, 2.0); highdicom no geometry
# In our code: io/dicom/frames.py gives frames to the same stack as the files of a series (io/dicom/stack.py), by their
#            positions, with a sheared affine where they are shifted.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet SimpleITK==2.5.7 highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
cat > "$folder/frames.py" <<'PYTHON'
import sys

import highdicom
import numpy
import pydicom
import SimpleITK

SimpleITK.ProcessObject.GlobalWarningDisplayOff()


def item(**values):
    made = pydicom.Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def write(path, order, shift):
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    one = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID = meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedMRImageStorage
    one.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = "1.2", "1.2.3", "1.9"
    one.Modality, one.Rows, one.Columns, one.NumberOfFrames = "MR", 4, 4, len(order)
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
    one.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.5], SliceThickness=2, SpacingBetweenSlices=2)],
            PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        )
    ]
    one.DimensionIndexSequence = [
        item(
            DimensionIndexPointer=pydicom.datadict.tag_for_keyword("InStackPositionNumber"),
            FunctionalGroupPointer=pydicom.datadict.tag_for_keyword("FrameContentSequence"),
        )
    ]
    one.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[0, shift * k, 2 * k])],
            FrameContentSequence=[item(StackID="1", InStackPositionNumber=k + 1, DimensionIndexValues=[k + 1])],
        )
        for k in order
    ]
    one.PixelData = numpy.repeat(numpy.array(order, "<u2"), 16).tobytes()
    one.save_as(path, enforce_file_format=True)


for name, order, shift in (("ordered", (0, 1, 2, 3), 0), ("shuffled", (2, 0, 3, 1), 0), ("shifted", (0, 1, 2, 3), 1)):
    write(sys.argv[1], order, shift)
    image = SimpleITK.ReadImage(sys.argv[1])
    values = SimpleITK.GetArrayFromImage(image)[:, 0, 0].tolist()
    read = highdicom.imread(sys.argv[1])
    geometry = read.get_volume_geometry()
    other = "no geometry" if geometry is None else read.get_volume().array[:, 0, 0].astype(int).tolist()
    print(f"{name}: SimpleITK {values} spacing {image.GetSpacing()}; highdicom {other}")
PYTHON
"$folder/venv/bin/python" "$folder/frames.py" "$folder/a.dcm" | tee "$folder/output"
cat > "$folder/expected" <<'OUTPUT'
ordered: SimpleITK [0, 1, 2, 3] spacing (0.5, 0.5, 2.0); highdicom [3, 2, 1, 0]
shuffled: SimpleITK [2, 0, 3, 1] spacing (1.0, 1.0, 1.0); highdicom [3, 2, 1, 0]
shifted: SimpleITK [0, 1, 2, 3] spacing (0.5, 0.5, 2.0); highdicom no geometry
OUTPUT
diff "$folder/expected" "$folder/output" || { echo "changed: no longer as described above"; exit 1; }
