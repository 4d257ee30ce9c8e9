"""Inference on a large image, side by side with MONAI's sliding window: same weights, alternating, medians.

    python benchmarks/inference.py --size 2048

unetkit runs its net whole and in exact tiles; MONAI's `sliding_window_inference` runs the same net with its default
overlap (0.25, constant) and with 0.5 and Gaussian weights, on windows of 256 x 256, four at a time. The largest
difference is that of the logits to the whole-image output, as a share of their standard deviation.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from monai.inferers import sliding_window_inference

from unetkit.infer.prepare import prepare
from unetkit.infer.tiled import run
from unetkit.infer.tiling import plan_tiles
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet


def main() -> None:
    """Time all in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=float, default=2.0, help="GB for tiles")
    args = parser.parse_args()
    torch.manual_seed(0)
    net = UNet(Architecture(widths=(32, 64, 128, 256, 512))).eval()
    net.train()
    with torch.no_grad():  # batch-norm statistics that are not the initial ones
        net.body(torch.randn(2, 1, 128, 128))
    net.eval()
    image = torch.randn(1, args.size, args.size)
    ready = prepare(net)
    size = (args.size, args.size)
    tiles = plan_tiles(ready, size, memory_bytes=int(args.memory * 2**30))
    runners: dict[str, Callable[[], torch.Tensor]] = {
        f"unetkit, {tiles.describe()}": lambda: run(ready, image, tiles),
        "unetkit, whole image": lambda: run(ready, image, plan_tiles(ready, size)),
        "MONAI sliding window, defaults (0.25, constant)": lambda: _monai(net, image, 0.25, "constant"),
        "MONAI sliding window, 0.5, gaussian": lambda: _monai(net, image, 0.5, "gaussian"),
    }
    with torch.inference_mode():
        reference = net(image[None])[0]
    times: dict[str, list[float]] = {name: [] for name in runners}
    errors = {}
    for _ in range(args.rounds):
        for name, runner in runners.items():
            start = time.perf_counter()
            output = runner()
            times[name].append(time.perf_counter() - start)
            errors[name] = float((output - reference).abs().max() / reference.std())
    slowest = median(times["MONAI sliding window, 0.5, gaussian"])
    print("| who | s (median) | Mpx/s | times as fast | largest difference |\n|---|---|---|---|---|")
    for name, values in times.items():
        t = median(values)
        print(f"| {name} | {t:.2f} | {args.size**2 / 1e6 / t:.2f} | {slowest / t:.2f} | {errors[name]:.1e} |")


@torch.inference_mode()
def _monai(net: UNet, image: torch.Tensor, overlap: float, mode: str) -> torch.Tensor:
    output = sliding_window_inference(image[None], (256, 256), 4, net, overlap=overlap, mode=mode)
    return torch.as_tensor(output)[0]


if __name__ == "__main__":
    main()
