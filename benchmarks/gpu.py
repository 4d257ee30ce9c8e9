"""A training step and inference of the 31 M net on a GPU: milliseconds, TFLOP/s, share of what the chip can do.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu --widths 8,16,32 --size 128 --rounds 2     # to try it out without one

The net has the widths of 2015 (64 to 1024) with padded convolutions and batch norm; one image is 512 x 512, or
`--size`. Training: forward, Dice + cross-entropy, backward, AdamW, with the batch of `--batch`. Inference: the prepared
net (norms folded) on one window after the other. In float32 (TF32 off), bfloat16 autocast, bfloat16 compiled, and for
inference in bfloat16 as a CUDA graph. Every row alternates with the others; medians over `--rounds`, synchronised.

`waiting`: a training through `train` on `--images` synthetic images, for `--seconds`, at 256 x 256 by 16: steps per
second, and the share of the time in which they wait for data, which threads cut and the GPU augments.

FLOP are twice the multiplications that `graph.cost` counts, three times that for a training step (forward, and the
gradients by maps and by weights). The peak is the chip's dense bfloat16 figure as its maker prints it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from unetkit.data.synthetic import write_synthetic_cells
from unetkit.graph.cost import cost
from unetkit.inference.prepare import prepare
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet
from unetkit.training.loop import train
from unetkit.training.losses import dice_cross_entropy
from unetkit.training.plan.settings import PlanSettings

RESULTS = Path(__file__).with_name("gpu.jsonl")
# Dense bfloat16 TFLOP/s, by a part of the name that the driver gives (makers' data sheets).
PEAKS = {"H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "4090": 165, "3090": 71}
Step = Callable[[], Any]


def main() -> None:
    """Time all rows in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--widths", default="64,128,256,512,1024")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "torch sees no GPU here (torch.cuda.is_available() is False); --device cpu tries the script out"
        )
    torch.manual_seed(0)
    net = UNet(Architecture(widths=tuple(int(width) for width in args.widths.split(","))))
    flop = 2 * cost(net.graph, (args.size, args.size)).macs
    name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    peak = next((value for part, value in PEAKS.items() if part in name), None)
    rows = _training(net, args) | _inference(net, args)
    times: dict[str, list[float]] = {row: [] for row in rows}
    for step in rows.values():  # allocation, choice of kernels, compilation
        for _ in range(3):
            step()
    for _ in range(args.rounds):
        for row, step in rows.items():
            times[row].append(_timed(step, args.device))
    print(f"{name}, torch {torch.__version__}\n\n| | ms | images per s | TFLOP/s | of {peak} |\n|---|---|---|---|---|")
    for row, values in times.items():
        images, factor = (args.batch, 3) if row.startswith("training") else (1, 1)
        seconds = median(values)
        rate = images * factor * flop / seconds / 1e12
        share = f"{rate / peak:.0%}" if peak else ""
        print(f"| {row} | {seconds * 1e3:.2f} | {images / seconds:.1f} | {rate:.2f} | {share} |")
        found = {"device": name, "row": row, "size": args.size, "batch": images, "ms": seconds * 1e3, "tflops": rate}
        with args.results.open("a") as file:
            file.write(json.dumps(found) + "\n")
    found = {"device": name, "row": "waiting", **_waiting(net, args)}
    print(f"\ntraining by files: {found['steps_per_s']:.1f} steps per second, waiting {found['waiting']:.1%}")
    with args.results.open("a") as file:
        file.write(json.dumps(found) + "\n")


def _waiting(net: UNet, args: argparse.Namespace) -> dict[str, float]:
    """A training from files to its end."""
    settings: PlanSettings = {
        "net": {"widths": net.architecture.widths},
        "patches": {"size": 256, "batch": 16},
        "device": {"name": args.device, "compile": "no"},
        "data": {"validation_fraction": 0.0},
    }
    with TemporaryDirectory() as folder:
        images, masks = write_synthetic_cells(folder, n=args.images, size=(1024, 1024))
        run = train(images, masks, out=Path(folder) / "run", time_s=args.seconds, settings=settings)
        last = run.log()[-1]
    return {"steps_per_s": last["step"] / last["elapsed_s"], "waiting": last["waiting"]}


def _timed(step: Step, device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _training(net: UNet, args: argparse.Namespace) -> dict[str, Step]:
    def made(*, bfloat16: bool, compiled: bool) -> Step:
        own = UNet(net.architecture).to(args.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = torch.randn(args.batch, 1, args.size, args.size, device=args.device)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = torch.randint(0, 2, (args.batch, args.size, args.size), device=args.device).to(torch.uint8)
        optimiser = torch.optim.AdamW(own.parameters(), lr=1e-3, fused=args.device == "cuda")
        forward = torch.compile(own.body) if compiled else own.body

        def step() -> None:
            with torch.autocast(args.device, dtype=torch.bfloat16, enabled=bfloat16):
                logits = forward(images)
            loss = dice_cross_entropy(logits, labels, check=False)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()

        return step

    rows = {"training, float32": made(bfloat16=False, compiled=False)}
    rows["training, bfloat16"] = made(bfloat16=True, compiled=False)
    rows["training, bfloat16, compiled"] = made(bfloat16=True, compiled=True)
    return rows


def _inference(net: UNet, args: argparse.Namespace) -> dict[str, Step]:
    ready = prepare(net, device=args.device)
    image = torch.randn(1, 1, args.size, args.size, device=args.device).contiguous(memory_format=torch.channels_last)

    def made(forward: Callable[[Tensor], Tensor], *, bfloat16: bool) -> Step:
        @torch.inference_mode()
        def step() -> None:
            with torch.autocast(args.device, dtype=torch.bfloat16, enabled=bfloat16):
                forward(image)

        return step

    rows = {
        "inference, float32": made(ready.body, bfloat16=False),
        "inference, bfloat16": made(ready.body, bfloat16=True),
    }
    rows["inference, bfloat16, compiled"] = made(torch.compile(ready.body), bfloat16=True)
    if args.device == "cuda":
        rows["inference, bfloat16, CUDA graph"] = _captured(made(ready.body, bfloat16=True))
    return rows


def _captured(step: Step) -> Step:
    """A step recorded as a CUDA graph, which is replayed without Python between its kernels."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


if __name__ == "__main__":
    main()
