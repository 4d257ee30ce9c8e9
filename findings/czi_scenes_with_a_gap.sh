#!/usr/bin/env bash
# pylibCZIrw writes a CZI whose scene numbers have a gap, and does not list or read its scenes by number.
#
# Versions:  pylibCZIrw 6.1.0, numpy 2.4.6; Python 3.11
# Behaviour: scenes 0, 1, 2 are listed and read; scenes 1, 2 too. Of scenes 0, 1, 3, as where one was deleted, both raise
#            a ValueError, since the metadata that it wrote itself count four; with a region of pixels beside the number
#            each is read.
# Output (2026-11-30, Python 3.11.7, Linux x86-64):
#   (0, 1, 2): listed [0, 1, 2], read [1, 11, 21], by region [1, 11, 21]
#   (1, 2): listed [1, 2], read [11, 21], by region [11, 21]
#   (0, 1, 3): listed ValueError, read ['ValueError', 'ValueError', 'ValueError'], by region [1, 11, 31]
# In our code: io/formats/czi.py asks for the rectangles of the scenes, so that such a file is refused in the words of
#            the library.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pylibCZIrw==6.1.0 numpy==2.4.6
cat > "$folder/scenes.py" <<'PYTHON'
import sys

import numpy
from pylibCZIrw import czi


def tried(call):
    try:
        return call()
    except ValueError as error:
        return type(error).__name__


for scenes in ((0, 1, 2), (1, 2), (0, 1, 3)):
    with czi.create_czi(sys.argv[1], exist_ok=True) as file:
        for scene in scenes:
            file.write(numpy.full((4, 6, 1), 10 * scene + 1, numpy.uint8), location=(100 * scene, 0), scene=scene)
    with czi.open_czi(sys.argv[1]) as file:
        listed = tried(lambda: sorted(file.scenes_bounding_rectangle))
        read = [tried(lambda: int(file.read(scene=scene).max())) for scene in scenes]
        regions = [(100 * scene, 0, 6, 4) for scene in scenes]
        by_region = [int(file.read(roi=roi, scene=scene).max()) for roi, scene in zip(regions, scenes)]
    print(f"{scenes}: listed {listed}, read {read}, by region {by_region}")
PYTHON
"$folder/venv/bin/python" "$folder/scenes.py" "$folder/a.czi" | tee "$folder/output"
cat > "$folder/expected" <<'OUTPUT'
(0, 1, 2): listed [0, 1, 2], read [1, 11, 21], by region [1, 11, 21]
(1, 2): listed [1, 2], read [11, 21], by region [11, 21]
(0, 1, 3): listed ValueError, read ['ValueError', 'ValueError', 'ValueError'], by region [1, 11, 31]
OUTPUT
diff "$folder/expected" "$folder/output" || { echo "changed: no longer as described above"; exit 1; }
