#!/usr/bin/env bash
# The type of index_location of zarr's sharding codec changed from an enumeration to a string.
#
# Versions:  zarr 3.1.6, 3.4.2 with numpy 2.4.6; Python 3.12 or newer
# Behaviour: of the same array, codec.index_location is a ShardingCodecIndexLocation (whose word is .value) in 3.1.6, and
#            a str, without .value, in 3.4.2. codec.to_dict(), the JSON of the specification, is the same in both.
# Output (2026-11-30, Python 3.13.0, Linux x86-64):
#   3.1.6 ShardingCodecIndexLocation start
#   3.4.2 str start
# In our code: io/zarr/array.py reads the codec's to_dict().
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
cat > "$folder/location.py" <<'PYTHON'
import sys

import zarr

shards = {"shape": (8, 8), "index_location": "start"}
array = zarr.create_array(store=sys.argv[1], shape=(16, 16), chunks=(4, 4), shards=shards, dtype="uint8", overwrite=True)
(codec,) = array.metadata.codecs
print(zarr.__version__, type(codec.index_location).__name__, codec.to_dict()["configuration"]["index_location"])
PYTHON
for version in 3.1.6 3.4.2; do
  "$folder/venv/bin/pip" install --quiet numpy==2.4.6 "zarr==$version"
  "$folder/venv/bin/python" "$folder/location.py" "$folder/a.zarr"
done | tee "$folder/output"
cat > "$folder/expected" <<'OUTPUT'
3.1.6 ShardingCodecIndexLocation start
3.4.2 str start
OUTPUT
diff "$folder/expected" "$folder/output" || { echo "changed: no longer as described above"; exit 1; }
