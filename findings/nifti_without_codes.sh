#!/usr/bin/env bash
# A NIfTI whose header states no place (sform_code 0, qform_code 0) lies mirrored in SimpleITK against nibabel.
#
# Versions:  nibabel 5.4.2, SimpleITK 2.5.7, numpy 2.4.6; Python 3.11 or newer
# Behaviour: nibabel gives its default: x runs to the left, the origin is the middle of the volume. SimpleITK gives the
#            identity in its own axes, which run to the left and to the back, with the origin in the first voxel. As
#            right, anterior, superior: along y one runs to the front, the other to the back.
# Output (2026-11-30, Python 3.11.7, Linux x86-64):
#   nibabel: axes LAS first voxel at [3.5, -4.5, -5.5]
#   SimpleITK: axes LPS first voxel at [0.0, 0.0, 0.0]
# In our code: such a volume has no place (io/nifti.py); it is laid on others as it is stored, and a note says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 nibabel==5.4.2 SimpleITK==2.5.7
cat > "$folder/place.py" <<'PYTHON'
import sys

import nibabel
import numpy
import SimpleITK

path = f"{sys.argv[1]}/a.nii"
volume = nibabel.Nifti1Image(numpy.zeros((8, 10, 12), "uint8"), None)
volume.header.set_sform(None, 0)
volume.header.set_qform(None, 0)
nibabel.save(volume, path)
read = nibabel.load(path)
assert (int(read.header["sform_code"]), int(read.header["qform_code"])) == (0, 0)
print("nibabel: axes", "".join(nibabel.aff2axcodes(read.affine)), "first voxel at", read.affine[:3, 3].tolist())

image = SimpleITK.ReadImage(path)
turn = numpy.diag([-1, -1, 1])  # ITK's world runs to the left and to the back
affine = numpy.eye(4)
affine[:3, :3] = turn @ numpy.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
affine[:3, 3] = turn @ numpy.array(image.GetOrigin()) + 0.0
print("SimpleITK: axes", "".join(nibabel.aff2axcodes(affine)), "first voxel at", affine[:3, 3].tolist())
PYTHON
"$folder/venv/bin/python" "$folder/place.py" "$folder" | tee "$folder/output"
cat > "$folder/expected" <<'OUTPUT'
nibabel: axes LAS first voxel at [3.5, -4.5, -5.5]
SimpleITK: axes LPS first voxel at [0.0, 0.0, 0.0]
OUTPUT
diff "$folder/expected" "$folder/output" || { echo "changed: no longer as described above"; exit 1; }
