"""Masks per minute: unetkit and MONAI's BasicUNet, same images, same seconds, same cores.

    python benchmarks/accuracy.py DATA --who monai unetkit --seeds 0 1 2 --time 600

Both train on isbi2012 slices 00 to 19 and are scored on 20 to 23, which neither sees before. MONAI gets its usual
recipe: BasicUNet of widths 32 to 512 (instance norm, LeakyReLU: its defaults), AdamW 1e-3, Dice + cross-entropy,
flips, quarter turns, elastic deformation, gray-value changes, cached data, four patches of 256 x 256, and
`sliding_window_inference` with half overlap and Gaussian weights. It also gets a cosine schedule over the same seconds,
which helps it, and once more under autocast to bfloat16 ("monai_bfloat16"), which its users have to ask for. unetkit
runs as `unetkit train TABLE --time 10m --validation 0`, and with `--precision bfloat16`. Every result is a line in
`accuracy.jsonl`; what is there already is not run again, so that a stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unetkit.infer.predict import predict
from unetkit.io import read, read_labels
from unetkit.learn.train import train
from unetkit.masks.metrics import evaluate_arrays

RESULTS = Path(__file__).with_name("accuracy.jsonl")
PATCH, BATCH = 256, 4


def main() -> None:
    """Run what is missing and print all results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder isbi2012 with images/ and masks/")
    parser.add_argument("--who", nargs="+", default=["monai", "unetkit"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--time", type=float, default=600.0, help="seconds of training")
    args = parser.parse_args()
    for seed in args.seeds:
        for who in args.who:
            if not _known(who, seed, args.time):
                row = {"who": who, "seed": seed, "time_s": args.time, **RUNNERS[who](args.data, seed, args.time)}
                with RESULTS.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)


def _known(who: str, seed: int, time_s: float) -> bool:
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    return any((row["who"], row["seed"], row["time_s"]) == (who, seed, time_s) for row in rows)


def _names(data: Path, part: str) -> list[str]:
    names = sorted(path.stem for path in (data / "images").glob("*.png"))
    return names[:20] if part == "train" else names[20:24]


def _score(data: Path, predictions: dict[str, np.ndarray]) -> dict[str, float]:
    truth = {name: (read_labels(data / "masks" / f"{name}.png").array > 0).astype(np.uint8) for name in predictions}
    result = evaluate_arrays(((n, predictions[n], truth[n]) for n in predictions), ["membrane", "cell"])
    return {"pixel_error": round(result.pixel_error, 5), "dice": round(result.pooled[1].dice, 5)}


def run_unetkit(data: Path, seed: int, time_s: float, **given: Any) -> dict:
    """Train and predict through the public functions, as the command line does."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "train.csv"
        with table.open("w", newline="") as file:
            rows = [(data / "images" / f"{n}.png", data / "masks" / f"{n}.png") for n in _names(data, "train")]
            csv.writer(file).writerows([("image", "mask"), *rows])
        run = Path(folder) / "run"
        done = train(
            table, out=run, time_s=time_s, seed=seed, validation=0.0, **given,
            observer=lambda p: print(p.message) if p.message else None,
        )  # fmt: skip
        tests = [data / "images" / f"{name}.png" for name in _names(data, "test")]
        result: dict = {"steps": done.steps, "trained_s": round(done.time_s, 1)}
        for key, symmetries in (("", False), ("_symmetries", True)):
            out = Path(folder) / f"masks{key}"
            predict(run, tests, out=out, average_symmetries=symmetries)
            masks = {path.stem: (read_labels(path).array > 0).astype(np.uint8) for path in out.iterdir()}
            result |= {name + key: value for name, value in _score(data, masks).items()}
    return result


def run_valid(data: Path, seed: int, time_s: float) -> dict:
    """The 2015 paper's valid-convolution net, widths divided by four."""
    return run_unetkit(data, seed, time_s, net="ronneberger2015", divide_width=4)


def run_bfloat16(data: Path, seed: int, time_s: float) -> dict:
    """unetkit in bfloat16, on a processor that multiplies it."""
    return run_unetkit(data, seed, time_s, precision="bfloat16")


def run_monai(data: Path, seed: int, time_s: float, *, bfloat16: bool = False) -> dict:
    """MONAI's BasicUNet with its usual recipe."""
    import monai
    from monai.data import CacheDataset, DataLoader
    from monai.inferers import sliding_window_inference
    from monai.losses import DiceCELoss
    from monai.networks.nets import BasicUNet
    from monai.transforms import (
        Compose,
        NormalizeIntensityd,
        Rand2DElasticd,
        RandAdjustContrastd,
        RandFlipd,
        RandGaussianNoised,
        RandRotate90d,
        RandScaleIntensityd,
        RandShiftIntensityd,
        RandSpatialCropd,
    )  # fmt: skip

    monai.utils.set_determinism(seed)
    both = ["image", "label"]
    transforms = Compose([
        NormalizeIntensityd("image"),
        RandSpatialCropd(both, (PATCH, PATCH), random_size=False),
        RandFlipd(both, prob=0.5, spatial_axis=0),
        RandFlipd(both, prob=0.5, spatial_axis=1),
        RandRotate90d(both, prob=0.75),
        Rand2DElasticd(
            both, spacing=(64, 64), magnitude_range=(2, 8), prob=0.5, mode=["bilinear", "nearest"],
            padding_mode="reflection",
        ),
        RandScaleIntensityd("image", factors=0.2, prob=0.3),
        RandShiftIntensityd("image", offsets=0.2, prob=0.3),
        RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5)),
        RandGaussianNoised("image", prob=0.2, std=0.15),
    ])  # fmt: skip
    items = [
        {
            "image": read(data / "images" / f"{n}.png").array.astype(np.float32),
            "label": (read_labels(data / "masks" / f"{n}.png").array > 0)[None].astype(np.float32),
        }
        for n in _names(data, "train")
    ]
    dataset = CacheDataset(items, transforms, progress=False)
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True, drop_last=True, num_workers=1, persistent_workers=True)
    net = BasicUNet(spatial_dims=2, in_channels=1, out_channels=2, features=(32, 64, 128, 256, 512, 32))
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    loss_function = DiceCELoss(to_onehot_y=True, softmax=True)
    start, steps = time.perf_counter(), 0
    net.train()
    while (elapsed := time.perf_counter() - start) < time_s:
        for batch in loader:
            fraction = min((time.perf_counter() - start) / time_s, 1.0)
            for group in optimiser.param_groups:
                group["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * fraction))
            optimiser.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
                logits = net(batch["image"])
            loss = loss_function(logits.float(), batch["label"])
            loss.backward()
            optimiser.step()
            steps += 1
            if time.perf_counter() - start >= time_s:
                break
    net.eval()
    normalise = NormalizeIntensityd("image")
    predictions = {}
    with torch.inference_mode():
        for name in _names(data, "test"):
            array = read(data / "images" / f"{name}.png").array.astype(np.float32)
            image = torch.as_tensor(normalise({"image": array})["image"])[None]
            logits = sliding_window_inference(image, (PATCH, PATCH), 4, net, overlap=0.5, mode="gaussian")
            predictions[name] = torch.as_tensor(logits)[0].argmax(0).numpy().astype(np.uint8)
    return {"steps": steps, "trained_s": round(elapsed, 1), **_score(data, predictions)}


RUNNERS = {
    "monai": run_monai,
    "monai_bfloat16": partial(run_monai, bfloat16=True),
    "unetkit": run_unetkit,
    "unetkit_bfloat16": run_bfloat16,
    "unetkit_valid": run_valid,
}

if __name__ == "__main__":
    main()
