"""Predicted against measured peak memory: five nets, two image sizes each, every one in a process of its own.

    python benchmarks/memory.py

Predicted: `graph.memory.peak_memory`, from the net alone. Given out: the most that torch's allocator had
given out at one time. Resident: what the operating system saw at most (VmHWM) above what the process held before the
run, with glibc returning freed blocks at once (MALLOC_MMAP_THRESHOLD_=65536), after a first run in which kernels were
compiled. First: the same for that first run, as glibc is by default, with the kernels and the freed blocks
that it keeps. The net is as `predict` runs it. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from unetkit.graph.allocation import laid_out_as
from unetkit.graph.memory import measured_bytes, peak_memory
from unetkit.graph.read import read
from unetkit.inference.prepare import prepare
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.nets.net import Net
from unetkit.nets.papers import named

NETS = {
    "U-Net, widths 16 to 256": Architecture(widths=(16, 32, 64, 128, 256)),
    "residual U-Net, 32 to 512": Architecture(widths=(32, 64, 128, 256, 512), block="residual"),
    "UNet++, 16 to 128, four heads": Architecture(widths=(16, 32, 64, 128), topology="unet++", heads="all"),
    "ronneberger2015 / 4 (valid)": named("ronneberger2015", width_divisor=4),
    "oktay2018 / 2 (attention, 3D)": named("oktay2018", width_divisor=2),
}
SIZES = {2: ((512, 512), (768, 1024)), 3: ((64, 64, 64), (48, 96, 96))}


def main() -> None:
    """Measure each in a process of its own and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", nargs=2, metavar=("NET", "SIZE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.one:
        size = tuple(int(n) for n in args.one[1].split("x"))
        print(json.dumps(measure(args.one[0], size)))
        return
    print("| net | image | predicted | given out | resident | predicted / resident | first | predicted / first |")
    print("|---|---|---|---|---|---|---|---|")
    for name, architecture in NETS.items():
        for size in SIZES[architecture.ndim]:
            steady, usual = (in_process(name, size, args.threads, is_steady=steady) for steady in (True, False))
            values = [steady["predicted"], steady["given_out"], steady["resident"]]
            cells = " | ".join(f"{n / 1e6:.1f}" for n in values)
            image = " x ".join(map(str, steady["size"]))
            ratio, first = steady["predicted"] / steady["resident"], usual["first"]
            rest = f"{first / 1e6:.1f} | {steady['predicted'] / first:.2f}"
            print(f"| {name} | {image} | {cells} | {ratio:.3f} | {rest} |", flush=True)


def in_process(name: str, size: tuple[int, ...], threads: int, *, is_steady: bool) -> dict[str, int]:
    """The numbers of `measure` from a fresh process."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    environment |= {"OMP_NUM_THREADS": str(threads)} | ({"MALLOC_MMAP_THRESHOLD_": "65536"} if is_steady else {})
    command = [sys.executable, __file__, "--threads", str(threads), "--one", name, "x".join(map(str, size))]
    found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    numbers: dict[str, int] = json.loads(found.stdout)
    return numbers


@torch.inference_mode()
def measure(name: str, size: tuple[int, ...]) -> dict[str, object]:
    """Bytes predicted, given out by torch's allocator, and resident at the peak."""
    torch.manual_seed(0)
    net = prepare(build(NETS[name]).eval())
    graph, size = read(net), net.geometry.above(size)
    predicted = peak_memory(net, size, graph=graph).peak_bytes
    image = laid_out_as(net, torch.randn(1, net.in_channels, *size))
    net(laid_out_as(net, torch.randn(1, net.in_channels, *net.geometry.above((1,) * net.ndim))))  # loads the libraries
    first = resident_bytes(net, image)
    given_out = measured_bytes(net, image)
    resident = resident_bytes(net, image)
    return {"size": size, "predicted": predicted, "given_out": given_out, "resident": resident, "first": first}


def resident_bytes(net: Net, image: Tensor) -> int:
    """Highest resident memory of a run, above that before it, and the image."""
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    net(image)
    return status("VmHWM") - before + image.numel() * image.element_size()


def status(key: str) -> int:
    """A number of /proc/self/status, in bytes."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise OSError(f"/proc/self/status has no {key}: this needs Linux")
    return int(found[1]) * 1024


if __name__ == "__main__":
    main()
