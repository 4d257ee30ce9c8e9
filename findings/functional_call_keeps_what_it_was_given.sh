#!/usr/bin/env bash
# torch.func.functional_call leaves the tensors that it was given in a module that a net holds in two places.
#
# Versions:  torch 2.13.0 (2.14.1 alike); Python 3.11
# Behaviour: it runs a net with other tensors in place of its parameters, and is said to leave the net as it was. Where a
#            module stands in two places, as a block and in a list of levels (MONAI 1.6.1 DynUNet), the net has the
#            tensor of the call for good, silently, with the names of `named_parameters()`. With tie_weights=False it is
#            put back, unless both names are given. A parameter that two modules share is put back.
# Output (2026-11-30, Python 3.11.7, Linux x86-64):
#   one place: 3 of 3
#   two places: 0 of 3
#   two places, tie_weights=False: 3 of 3
#   two places, both names, tie_weights=False: 0 of 3
#   shared parameter: 3 of 3
# In our code: graph/trace.py puts tensors in place and back by itself; `read_graph` had left such nets without data.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
cat > "$folder/call.py" <<'PYTHON'
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, places):
        super().__init__()
        self.block = nn.Linear(1, 1, bias=False)
        self.levels = nn.ModuleList([self.block] * (places == 2))
        self.other = nn.Linear(1, 1, bias=False)
        if places == 0:  # one parameter, two modules
            self.other.weight = self.block.weight

    def forward(self, x):
        return self.block(x) + self.other(x)


for words, places, both, options in (
    ("one place", 1, False, {}),
    ("two places", 2, False, {}),
    ("two places, tie_weights=False", 2, False, {"tie_weights": False}),
    ("two places, both names, tie_weights=False", 2, True, {"tie_weights": False}),
    ("shared parameter", 0, False, {}),
):
    net = Net(places)
    nn.init.constant_(net.block.weight, 3.0)
    tensors = {name: torch.zeros_like(p) for name, p in net.named_parameters(remove_duplicate=not both)}
    with torch.no_grad():
        torch.func.functional_call(net, tensors, (torch.ones(1, 1),), **options)
    print(f"{words}: {net.block.weight.item():.0f} of 3")
PYTHON
"$folder/venv/bin/python" "$folder/call.py" | tee "$folder/output"
cat > "$folder/expected" <<'OUTPUT'
one place: 3 of 3
two places: 0 of 3
two places, tie_weights=False: 3 of 3
two places, both names, tie_weights=False: 0 of 3
shared parameter: 3 of 3
OUTPUT
diff "$folder/expected" "$folder/output" || { echo "changed: no longer as described above"; exit 1; }
