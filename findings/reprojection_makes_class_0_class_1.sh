#!/usr/bin/env bash
# rasterio's nearest reprojection of a class map turns class 0 into class 1 where 0 is the destination's nodata.
#
# Versions:  rasterio 1.5.2, numpy 2.4.6; Python 3.12 or newer
# Behaviour: GDAL's warper moves valid values off the nodata value of the destination, so that they stay valid. For class
#            0, which is as good a class as any, that is 1: neither an error nor a warning, and 1 is mostly a class too.
# Output (2026-11-30, Python 3.13.0, Linux x86-64):
#   source: {0: 8, 2: 8}
#   nodata not named: {0: 8, 2: 8}
#   nodata 0 of the destination: {1: 8, 2: 8}
# In our code: nothing is reprojected; masks that lie in another coordinate system are refused (io/placement.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 rasterio==1.5.2
cat > "$folder/classes.py" <<'PYTHON'
import numpy
from rasterio.transform import from_origin
from rasterio.warp import Resampling, reproject

classes = numpy.array([[0, 0, 2, 2]] * 4, "uint8")
place = {"src_transform": from_origin(500000, 4000000, 10, 10), "src_crs": "EPSG:32630"}
same = {"dst_transform": place["src_transform"], "dst_crs": "EPSG:32630", "resampling": Resampling.nearest}


def counts(array):
    return {int(value): int(n) for value, n in zip(*numpy.unique(array, return_counts=True))}


print("source:", counts(classes))
for words, options in (("nodata not named", {}), ("nodata 0 of the destination", {"dst_nodata": 0, "src_nodata": 255})):
    moved = numpy.full_like(classes, 9)
    reproject(classes, moved, **place, **same, **options)
    print(f"{words}:", counts(moved))
PYTHON
"$folder/venv/bin/python" "$folder/classes.py" | tee "$folder/output"
cat > "$folder/expected" <<'OUTPUT'
source: {0: 8, 2: 8}
nodata not named: {0: 8, 2: 8}
nodata 0 of the destination: {1: 8, 2: 8}
OUTPUT
diff "$folder/expected" "$folder/output" || { echo "changed: no longer as described above"; exit 1; }
