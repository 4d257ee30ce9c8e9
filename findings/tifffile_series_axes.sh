#!/usr/bin/env bash
# tifffile 2026.5.2 removed TiffPageSeries.get_axes and get_shape; until 2026.8.23 it drops an axis that it kept before.
#
# Versions:  tifffile 2026.4.11, 2026.5.2, 2026.9.9 with numpy 2.5.5; Python 3.12 or newer
# Behaviour: a volume of one plane, written with axes ZYX, has the axes ZYX before 2026.5.2 and from 2026.9.9 on, and YX
#            in between. get_axes(squeeze=False) is an AttributeError from 2026.5.2 on.
# Output (2026-11-30, Python 3.13.0, Linux x86-64):
#   2026.4.11 ZYX (1, 8, 7) get_axes: yes
#   2026.5.2 YX (8, 7) get_axes: no
#   2026.9.9 ZYX (1, 8, 7) get_axes: no
# In our code: io/tiff/layout.py reads series.axes and series.shape, and takes a Z of length 1 from shaped_metadata.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.5.5
cat > "$folder/axes.py" <<'PYTHON'
import sys

import numpy
import tifffile

path = sys.argv[1]
tifffile.imwrite(path, numpy.zeros((1, 8, 7), "uint8"), photometric="minisblack", metadata={"axes": "ZYX"})
with tifffile.TiffFile(path) as tif:
    series = tif.series[0]
    has_get_axes = "yes" if hasattr(series, "get_axes") else "no"
    print(tifffile.__version__, series.axes, series.shape, "get_axes:", has_get_axes)
PYTHON
for version in 2026.4.11 2026.5.2 2026.9.9; do
  "$folder/venv/bin/pip" install --quiet "tifffile==$version"
  "$folder/venv/bin/python" "$folder/axes.py" "$folder/a.tif"
done | tee "$folder/output"
cat > "$folder/expected" <<'OUTPUT'
2026.4.11 ZYX (1, 8, 7) get_axes: yes
2026.5.2 YX (8, 7) get_axes: no
2026.9.9 ZYX (1, 8, 7) get_axes: no
OUTPUT
diff "$folder/expected" "$folder/output" || { echo "changed: no longer as described above"; exit 1; }
