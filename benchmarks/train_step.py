"""One training step, side by side with MONAI: same widths, same patches, alternating, medians.

    python benchmarks/train_step.py

Forward, loss (Dice + cross-entropy), backward and optimiser step of 4 patches of 256 x 256. MONAI's BasicUNet has its
defaults (instance norm, LeakyReLU, contiguous tensors, float32, its DiceCELoss), and once more under autocast to
bfloat16, which its users have to ask for; unetkit's net has its own (batch norm, ReLU, channels last), in float32 and
in bfloat16, which its plan chooses where the processor multiplies it, as it is and compiled.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from monai.losses import DiceCELoss
from monai.networks.nets import BasicUNet

from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet
from unetkit.training.losses import dice_cross_entropy


def main() -> None:
    """Time all nets in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--patch", type=int, default=256)
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    images = torch.randn(args.batch, 1, args.patch, args.patch)
    labels = torch.randint(0, 2, (args.batch, args.patch, args.patch)).to(torch.uint8)
    widths = (32, 64, 128, 256, 512)
    nets = {"MONAI BasicUNet": _monai(widths, images, labels)}
    nets["MONAI BasicUNet, bfloat16"] = _monai(widths, images, labels, bfloat16=True)
    for precision in ("float32", "bfloat16"):
        bfloat16 = precision == "bfloat16"
        nets[f"unetkit, {precision}"] = _unetkit(widths, images, labels, bfloat16=bfloat16, compiled=False)
        if not args.no_compile:
            nets[f"unetkit, {precision}, compiled"] = _unetkit(widths, images, labels, bfloat16=bfloat16, compiled=True)
    times: dict[str, list[float]] = {name: [] for name in nets}
    for step in nets.values():  # warm up: allocation, kernels' own layouts, compilation
        step()
        step()
    for _ in range(args.rounds):
        for name, step in nets.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    slowest = median(times["MONAI BasicUNet"])
    print("| net | s per step (median) | times as fast |\n|---|---|---|")
    for name, values in times.items():
        print(f"| {name} | {median(values):.3f} | {slowest / median(values):.2f} |")


def _monai(
    widths: tuple[int, ...], images: torch.Tensor, labels: torch.Tensor, *, bfloat16: bool = False
) -> Callable[[], None]:
    net = BasicUNet(spatial_dims=2, in_channels=1, out_channels=2, features=(*widths, widths[0]))
    optimiser, loss = torch.optim.AdamW(net.parameters(), lr=1e-3), DiceCELoss(to_onehot_y=True, softmax=True)
    target = labels[:, None].float()

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            logits = net(images)
        loss(logits.float(), target).backward()
        optimiser.step()

    return step


def _unetkit(
    widths: tuple[int, ...], images: torch.Tensor, labels: torch.Tensor, *, bfloat16: bool, compiled: bool
) -> Callable[[], None]:
    net = UNet(Architecture(widths=widths)).to(memory_format=torch.channels_last)
    forward = torch.compile(net.body, dynamic=False) if compiled else net.body
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    batch = images.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            logits = forward(batch)
        dice_cross_entropy(logits.float(), labels, check=False).backward()
        optimiser.step()

    return step


if __name__ == "__main__":
    main()
