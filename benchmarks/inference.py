"""Inference side by side with peers: same weights, same machine, rounds alternating, medians; every row a process.

    python benchmarks/inference.py --size 2048 4096                 2D, the net of widths 32 to 512
    python benchmarks/inference.py --cube 128 192                   3D, a net of depth 3, widths 32 to 256
    python benchmarks/inference.py --size 2048 --run RUN            a trained net, its own int8 model, synthetic cells

Seconds are of the first image of a process; engines have compiled for their window before. Memory is the most that the
process held (VmHWM): Python, torch, weights and image with it. The largest difference is that of the logits to the
whole-image output of the net as it was trained (or, where that does not fit into memory, to the first exact row that
does), as a share of their standard deviation; changed pixels have another class there. A net with random weights
changes more pixels than a trained one, as many of its pixels are near a tie. Results are kept in a file of JSON lines,
one per row, size and round; what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unetkit.allocator import keep_freed_memory
from unetkit.data.normalise import standardise
from unetkit.inference.engines.engine import Engine, window_core, with_engine
from unetkit.inference.engines.openvino import calibrated_model, int8_engine, openvino_engine, save_openvino
from unetkit.inference.prepare import prepare
from unetkit.inference.runner import run
from unetkit.inference.streaming.stream import Stream
from unetkit.inference.tiling import plan_stream, plan_tiles
from unetkit.model.files import read_model
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.nets.net import Net

PLAIN = "torch, whole image, net as trained"
INT8 = "unetkit, openvino int8, tiles"
EXACT = (PLAIN, "unetkit, whole image", "unetkit, tiles", "unetkit, stream")
WIDTHS = {2: (32, 64, 128, 256, 512), 3: (32, 64, 128, 256)}
CALIBRATION = "calibration"
PEER_WINDOW = {2: 256, 3: 96}  # of MONAI
PATCHES = 24  # for calibration where there is no run


@dataclass(frozen=True)
class Task:
    """What every row is given.

    Attributes
    ----------
    net : Net
        As it was trained, in evaluation mode, channels last.
    image : Tensor of shape (C, *spatial)
    memory_bytes : int
        For the tiles and streams of torch.
    window : int or None
        Sides of the windows of engines, at most; None leaves it to them.
    int8 : Path
        Folder of the int8 model.
    """

    net: Net
    image: Tensor
    memory_bytes: int
    window: int | None
    int8: Path

    @property
    def size(self) -> tuple[int, ...]:
        """Of the image, in pixels."""
        return tuple(self.image.shape[1:])


Runner = Callable[[], Tensor]


def main() -> None:
    """Run what is missing, each in a process of its own, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs="*", default=[], help="sides of square images")
    parser.add_argument("--cube", type=int, nargs="*", default=[], help="sides of volumes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", help="only rows whose names contain one of these words, separated by commas")
    parser.add_argument("--run", type=Path, help="run folder: its net, and its int8 model (unetkit quantise)")
    parser.add_argument("--memory", type=float, default=1.0, help="GB for the maps of torch's tiles and streams")
    parser.add_argument("--window", type=int, help="sides of the windows of engines (default: as predict has it)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/inference.jsonl"))
    parser.add_argument("--one", nargs=3, metavar=("ROW", "SIZE", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        row, text, folder = args.one
        size = tuple(map(int, text.split("x")))
        one = calibrate if row == CALIBRATION else measure
        print(json.dumps(one(row, size, Path(folder), args)))
        return
    for size in [*((n, n) for n in args.size), *((n, n, n) for n in args.cube)]:
        with tempfile.TemporaryDirectory() as folder:
            run_all(size, Path(folder), args)
        print_table(size, results(args.out, size, args))


def run_all(size: tuple[int, ...], folder: Path, args: argparse.Namespace) -> None:
    """All rows in turn, round by round; the plain one first, as the others are held against its output."""
    words = args.rows.split(",") if args.rows else [""]
    names = [name for name in ROWS if any(word in name for word in words)]
    for number in range(args.rounds):
        done = {found["row"] for found in results(args.out, size, args) if found["round"] == number}
        missing = [name for name in names if name not in done]
        for name in EXACT if missing and PLAIN not in missing else ():
            if not (folder / "reference.npy").exists():
                in_process(name, size, folder, args)  # for its output alone
        if args.run is None and INT8 in missing and not (folder / "int8").exists():
            in_process(CALIBRATION, size, folder, args)
        for name in missing:
            found = in_process(name, size, folder, args)
            with args.out.open("a") as file:
                file.write(json.dumps({"row": name, **key(size, args), "round": number, **found}) + "\n")


def key(size: tuple[int, ...], args: argparse.Namespace) -> dict[str, Any]:
    """What makes results comparable."""
    run = None if args.run is None else args.run.resolve().name
    return {"size": list(size), "run": run, "threads": args.threads, "memory": args.memory, "window": args.window}


def results(path: Path, size: tuple[int, ...], args: argparse.Namespace) -> list[dict[str, Any]]:
    """What the file holds of this size."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return [row for row in rows if key(size, args).items() <= row.items()]


def in_process(row: str, size: tuple[int, ...], folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The numbers of `measure` from a fresh process; where it fails, what it said last."""
    command = [sys.executable, __file__, "--threads", str(args.threads), "--memory", str(args.memory)]
    command += [
        *(["--window", str(args.window)] if args.window else []),
        *(["--run", str(args.run)] if args.run else []),
    ]
    command += ["--one", row, "x".join(map(str, size)), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    print(f"{'x'.join(map(str, size))} {row}", file=sys.stderr, flush=True)
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        print(f"  failed: {said[-1]}", file=sys.stderr, flush=True)
        return {"failed": said[-1]}
    numbers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def print_table(size: tuple[int, ...], found: list[dict[str, Any]]) -> None:
    """Medians over the rounds."""
    print(f"\n## {' x '.join(map(str, size))}\n")
    print("| who | s | Mpx/s | times as fast as plain | peak GB | largest difference | changed pixels |")
    print("|---|---|---|---|---|---|---|")
    groups = {name: [row for row in found if row["row"] == name] for name in ROWS}
    whole = [row["time_s"] for row in groups[PLAIN] if "time_s" in row]
    for name, rows in groups.items():
        good = [row for row in rows if "time_s" in row]
        if good:
            t = median(row["time_s"] for row in good)
            times = f"{median(whole) / t:.2f}" if whole else "-"
            peak = median(row["peak_bytes"] for row in good) / 1e9
            last = f"{good[-1]['difference']:.1e} | {good[-1]['changed']:.3%}"
            print(f"| {name} | {t:.2f} | {np.prod(size) / 1e6 / t:.3f} | {times} | {peak:.2f} | {last} |")
        elif rows:
            print(f"| {name} | failed: {rows[-1]['failed']} | | | | | |")


def measure(row: str, size: tuple[int, ...], folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One image by one row: seconds, bytes, and how far its logits are from the plain ones."""
    torch.set_num_threads(args.threads)
    if "unetkit" in row:  # as predict does
        keep_freed_memory()
    limit_memory()
    net = net_of(len(size), args.run)
    int8 = folder / "int8" if args.run is None else args.run / "int8"
    image = image_of(size, net, args.run)
    runner = ROWS[row](Task(net, image, int(args.memory * 2**30), args.window, int8))
    start = time.perf_counter()
    with torch.inference_mode():
        output = runner()
    numbers = {"time_s": time.perf_counter() - start, "peak_bytes": status("/proc/self/status", "VmHWM")}
    reference = folder / "reference.npy"
    if row in EXACT and not reference.exists():
        np.save(reference, output.numpy())
    return numbers | compare(output.numpy(), np.load(reference, mmap_mode="r"))


def compare(output: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Largest difference of logits (K, *spatial) in standard deviations, and the share of pixels of another class."""
    worst, changed = 0.0, 0
    for ours, theirs in zip(np.moveaxis(output, 1, 0), np.moveaxis(expected, 1, 0), strict=True):  # row by row
        worst = max(worst, float(np.abs(ours - theirs).max()))
        changed += int(np.count_nonzero(ours.argmax(0) != theirs.argmax(0)))
    return {"difference": worst / float(expected[:, ::4, ::4].std()), "changed": changed / (output[0].size)}


def calibrate(row: str, size: tuple[int, ...], folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """An int8 model of the net of random weights, from noise such as its images are."""
    ready = prepare(net_of(len(size), None))
    side = ready.geometry.above(({2: 256, 3: 48}[ready.ndim],) * ready.ndim)
    patches = (torch.randn(1, ready.in_channels, *side).numpy() for _ in range(PATCHES))
    (folder / "int8").mkdir()
    save_openvino(calibrated_model(ready, patches, n=PATCHES), folder / "int8" / "model.xml")
    return {}


def net_of(ndim: int, folder: Path | None) -> Net:
    """The run's net, or one of random weights whose batch-norm statistics are not the initial ones."""
    if folder is not None:
        net, _ = read_model(folder)
        if net.architecture.padding == "valid":
            raise ValueError(f"{folder}: its net is unpadded; the rows here are for padded ones")
    else:
        torch.manual_seed(0)
        net = build(Architecture(ndim=ndim, widths=WIDTHS[ndim]))
        with torch.no_grad():
            net.train().body(torch.randn(2, 1, *(64,) * ndim))
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[ndim]
    return net.eval().requires_grad_(False).to(memory_format=layout)  # type: ignore[call-overload,no-any-return]


def image_of(size: tuple[int, ...], net: Net, folder: Path | None) -> Tensor:
    """Noise; for a trained net synthetic cells, of which a part is made and mirrored."""
    if folder is None:
        return torch.randn(net.in_channels, *size, generator=torch.Generator().manual_seed(1))
    from unetkit.data.synthetic import synthetic_cells  # here, as what it imports would count as memory of every row

    part = tuple(min(n, {2: 1024, 3: 128}[len(size)]) for n in size)
    cells, _ = synthetic_cells(part, seed=7)
    whole = np.pad(cells, [(0, n - m) for n, m in zip(size, part, strict=True)], mode="symmetric")
    return torch.from_numpy(standardise(np.repeat(whole[None], net.in_channels, axis=0)))


# --- the rows ---


def plain(task: Task) -> Runner:
    """The whole image through the net, as one would do without this package."""
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[task.net.ndim]
    batch = task.image[None].contiguous(memory_format=layout)
    return lambda: task.net(batch)[0]


def whole(task: Task) -> Runner:
    """Batch norm folded, maps dropped as soon as they were read."""
    ready = prepare(task.net)
    return lambda: run(ready, task.image, plan_tiles(ready, task.size))


def tiles(task: Task) -> Runner:
    """Exact tiles within a budget."""
    ready = prepare(task.net)
    return lambda: run(ready, task.image, plan_tiles(ready, task.size, memory_bytes=task.memory_bytes))


def stream(task: Task) -> Runner:
    """Slabs through the layers, in strips where the budget asks for it."""
    ready = prepare(task.net)
    flow = Stream(ready)
    tiling = plan_stream(ready, flow, task.size, memory_bytes=task.memory_bytes)
    return lambda: run(ready, task.image, tiling, stream=flow)


def by_engine(make: Callable[[Net, Task], Engine]) -> Callable[[Task], Runner]:
    """An engine on windows of one size."""

    def row(task: Task) -> Runner:
        ready = prepare(task.net)
        halo, engine = max(ready.geometry.halo), make(ready, task)
        most = window_core(ready.ndim, engine.name) if task.window is None else task.window - 2 * halo
        if most < 1:
            raise ValueError(f"windows of {task.window} pixels are all halo, {halo} on both sides: give more --window")
        tiling = plan_tiles(ready, task.size, most=most)
        engine(torch.zeros(1, ready.in_channels, *tiling.tiles[0].window_size))
        return lambda: run(with_engine(ready, engine), task.image, tiling)

    return row


def monai(overlap: float, mode: str) -> Callable[[Task], Runner]:
    """`sliding_window_inference`, four windows at a time."""

    def row(task: Task) -> Runner:
        from monai.inferers import sliding_window_inference

        side = (PEER_WINDOW[task.net.ndim],) * task.net.ndim
        return lambda: torch.as_tensor(
            sliding_window_inference(task.image[None], side, 4, task.net, overlap=overlap, mode=mode)
        )[0]

    return row


ROWS: dict[str, Callable[[Task], Runner]] = {
    PLAIN: plain,
    "unetkit, whole image": whole,
    "unetkit, tiles": tiles,
    "unetkit, stream": stream,
    "unetkit, openvino float32, tiles": by_engine(lambda ready, task: openvino_engine(ready)),
    "unetkit, openvino bfloat16, tiles": by_engine(lambda ready, task: openvino_engine(ready, precision="bfloat16")),
    INT8: by_engine(lambda ready, task: int8_engine(ready, task.int8)),
    "MONAI sliding window, defaults (0.25, constant)": monai(0.25, "constant"),
    "MONAI sliding window, 0.5, gaussian": monai(0.5, "gaussian"),
}


def limit_memory() -> None:
    """An image that does not fit is to fail by itself, before the system ends whatever process it likes."""
    free = status("/proc/meminfo", "MemAvailable")
    resource.setrlimit(resource.RLIMIT_DATA, (free, free))


def status(file: str, name: str) -> int:
    """A number of /proc/self/status or /proc/meminfo, in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(file).read_text())
    if found is None:
        raise OSError(f"{file} has no {name}: this needs Linux")
    return int(found[1]) * 1024


if __name__ == "__main__":
    main()
