#!/usr/bin/env bash
# tifffile reads the gaps (NaN) of floats that GDAL compressed by LERC as 0, and mixes up interleaved bands with a gap.
#
# Versions:  tifffile 2026.3.3, imagecodecs 2026.3.6, rasterio 1.4.4, numpy 2.4.6; Python 3.11 or newer
# Behaviour: LERC keeps a mask of valid pixels beside the values. tifffile asks imagecodecs for the values alone, so that
#            a pixel without data is 0, a real measurement. Where one of several interleaved bands has a gap, GDAL stores
#            the bands one after the other, and tifffile takes them for interleaved.
# Output (2026-11-30, Python 3.11.7, Linux x86-64):
#   one band: GDAL reads 1 NaN, tifffile 0 NaN and 1 zero
#   three bands: GDAL reads 1 NaN and ramps, tifffile 0 NaN and other values in 46 of 48 samples
# In our code: io/tiff/layout.py reads floats in LERC by rasterio (io/sidecars.py), or refuses them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 tifffile==2026.3.3 imagecodecs==2026.3.6 rasterio==1.4.4
cat > "$folder/gaps.py" <<'PYTHON'
import sys
import warnings

import numpy
import rasterio
import tifffile

warnings.simplefilter("ignore")
folder = sys.argv[1]


def both(count):
    bands = numpy.stack([numpy.arange(16, dtype="float32").reshape(4, 4) + 100 * (i + 1) for i in range(count)])
    bands[0, 1, 2] = numpy.nan
    options = {"driver": "GTiff", "height": 4, "width": 4, "count": count, "dtype": "float32", "compress": "LERC"}
    with rasterio.open(f"{folder}/a.tif", "w", interleave="pixel", max_z_error=0, **options) as file:
        file.write(bands)
    with rasterio.open(f"{folder}/a.tif") as file:
        by_gdal = file.read()
    by_tifffile = tifffile.imread(f"{folder}/a.tif").reshape(4, 4, count).transpose(2, 0, 1)
    assert numpy.array_equal(by_gdal, bands, equal_nan=True)
    return by_gdal, by_tifffile


def gaps(array):
    return int(numpy.isnan(array).sum())


gdal, other = both(1)
print(f"one band: GDAL reads {gaps(gdal)} NaN, tifffile {gaps(other)} NaN and {int((other == 0).sum())} zero")
gdal, other = both(3)
wrong = int((~numpy.isclose(gdal, other, equal_nan=True)).sum())
print(f"three bands: GDAL reads {gaps(gdal)} NaN and ramps, tifffile {gaps(other)} NaN and other values in {wrong} of {gdal.size} samples")
PYTHON
"$folder/venv/bin/python" "$folder/gaps.py" "$folder" | tee "$folder/output"
cat > "$folder/expected" <<'OUTPUT'
one band: GDAL reads 1 NaN, tifffile 0 NaN and 1 zero
three bands: GDAL reads 1 NaN and ramps, tifffile 0 NaN and other values in 46 of 48 samples
OUTPUT
diff "$folder/expected" "$folder/output" || { echo "changed: no longer as described above"; exit 1; }
