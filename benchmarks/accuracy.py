"""Masks per minute: unetkit and MONAI's BasicUNet, same images, same seconds, same cores.

    python benchmarks/accuracy.py DATA --set isbi2012 --seeds 0 1 2 --time 600
    python benchmarks/accuracy.py DATA --set nuclei --time 1200
    python benchmarks/accuracy.py DATA --who unetkit --time 60 120 300 600 1200    points of the time-to-score curve
    python benchmarks/accuracy.py DATA --set nuclei --who unetkit --time 90 --images 1 2 4 --seeds 0 1    few images
    python benchmarks/accuracy.py DATA --table
    python benchmarks/accuracy.py DATA --curve benchmarks/accuracy.png    score against time, drawn from all results

DATA is the folder that holds `isbi2012/` and `nuclei/`; volumes are in `volumes.py`.
isbi2012: trained on slices 00 to 19, scored on 20 to 23. nuclei: 240 images sorted by name, every fifth is scored and
the others are trained on; objects are scored too (AP at IoU 0.5, and the mean over 0.5 to 0.95). No side sees the
images that it is scored on. With `--images N` it is trained on N of them, picked at random among the gray ones (2 are
those of 1 and one more), and scored on the gray ones.

MONAI gets its usual recipe: BasicUNet of widths 32 to 512 (instance norm, LeakyReLU: its defaults), AdamW 1e-3, Dice +
cross-entropy, flips, quarter turns, elastic deformation, gray-value changes, cached data, four patches of 256 x 256,
and `sliding_window_inference` with half overlap and Gaussian weights; every connected part of its foreground is an
object. It also gets a cosine schedule over the same seconds, which helps it, and once more under autocast to bfloat16
("monai_bfloat16"), which its users have to ask for. unetkit runs as `unetkit train TABLE --time 20m`, for isbi2012 with
`--validation 0` ("unetkit_usual" without it), and with `--precision float32`. Every result is a line in
`accuracy.jsonl`, with the precision that unetkit took and the machine; what is there already of such a machine is not
run again, so that a stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from unetkit.inference.execution import Execution
from unetkit.inference.predictor import load_model
from unetkit.io import read, read_labels, write_labels
from unetkit.metrics.folders import evaluate
from unetkit.training.loop import train
from unetkit.training.plan.settings import merge_settings

RESULTS = Path(__file__).with_name("accuracy.jsonl")
PATCH, BATCH = 256, 4
CURVES = (
    ("isbi2012", "pixel_error", "isbi2012: pixel error (less is better)"),
    ("nuclei", "dice", "nuclei: Dice"),
    ("nuclei", "ap50", "nuclei: AP at IoU 0.5"),
)
NAMES, COLOURS = {"unetkit": "unetkit", "monai": "MONAI"}, {"unetkit": "#0072B2", "monai": "#D55E00"}
TICKS = (1, 2, 5, 10, 20)


@dataclass(frozen=True)
class Task:
    """Images to learn from and to be scored on, by name, and what is said to unetkit beside the time."""

    folder: Path
    training: tuple[str, ...]
    tests: tuple[str, ...]
    settings: dict[str, Any]
    classes: int = 2
    kept: Path | None = None

    def image(self, name: str) -> Path:
        """File of an image."""
        return self.folder / "images" / f"{name}.png"

    def mask(self, name: str) -> Path:
        """File of its mask."""
        return self.folder / "masks" / f"{name}.png"


def isbi2012(data: Path) -> Task:
    """Slices 00 to 19, and 20 to 23."""
    names = tuple(sorted(path.stem for path in (data / "isbi2012" / "images").glob("*.png")))
    return Task(data / "isbi2012", names[:20], names[20:24], {"data.validation_fraction": 0.0})


def nuclei(data: Path) -> Task:
    """All but every fifth image, and these."""
    names = sorted(path.stem for path in (data / "nuclei" / "images").glob("*.png"))
    tests = tuple(names[4::5])
    return Task(data / "nuclei", tuple(name for name in names if name not in tests), tests, {})


def few(task: Task, n: int, seed: int) -> Task:
    """So many of the training images at random, and all tests, of those with as many channels as most have."""
    channels = {name: read(task.image(name)).channels for name in (*task.training, *task.tests)}
    usual = Counter(channels.values()).most_common(1)[0][0]
    training, tests = (
        tuple(name for name in names if channels[name] == usual) for names in (task.training, task.tests)
    )
    return replace(task, training=tuple(random.Random(seed).sample(training, len(training))[:n]), tests=tests)


SETS = {"isbi2012": isbi2012, "nuclei": nuclei}


def main() -> None:
    """Run what is missing and print all results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with isbi2012/ and nuclei/")
    parser.add_argument("--set", nargs="+", default=list(SETS), choices=SETS, dest="sets")
    parser.add_argument("--who", nargs="+", default=["monai", "unetkit"], choices=RUNNERS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--time", nargs="+", type=float, default=[600.0], help="seconds of training")
    parser.add_argument("--images", nargs="+", type=int, default=[None], help="train on so many, picked by the seed")
    parser.add_argument("--runs", type=Path, help="folder that keeps the trainings, so that a stopped one goes on")
    parser.add_argument("--table", action="store_true", help="print the results as Markdown, run nothing")
    parser.add_argument("--curve", type=Path, metavar="PNG", help="draw score against time, run nothing")
    args = parser.parse_args()
    if args.table:
        print(table(_rows()))
        return
    if args.curve:
        draw_curve(_rows(), args.curve)
        return
    for name, time_s, images, seed, who in product(args.sets, args.time, args.images, args.seeds, args.who):
        key = {"set": name, "who": who, "seed": seed, "time_s": time_s, "images": images, "machine": machine()}
        if any(key == {field: row.get(field) for field in key} for row in _rows()):
            continue
        task = SETS[name](args.data)
        if images:
            task = few(task, images, seed)
        if args.runs:
            kept = f"{name}_{who}_seed{seed}_{time_s:g}s" + (f"_{images}images" if images else "")
            task = replace(task, kept=args.runs / kept)
        row = {field: value for field, value in key.items() if value is not None} | RUNNERS[who](task, seed, time_s)
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def _rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def machine() -> str:
    """What a score at equal time depends on: cores, and how they multiply."""
    able = torch.cpu.get_capabilities()
    kinds = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 BF16", "avx512_f": "AVX-512", "avx2": "AVX2"}
    return f"{torch.get_num_threads()} cores, {next((kinds[name] for name in kinds if able.get(name)), 'no AVX2')}"


def table(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown, a table per set, by time."""
    columns = [
        "who",
        "images",
        "seed",
        "time_s",
        "steps",
        "precision",
        "machine",
        "pixel_error",
        "dice",
        "ap50",
        "mean_ap",
        "pixel_error_symmetries",
    ]
    parts = []
    for name in SETS:
        found = sorted(
            (row for row in rows if row["set"] == name), key=lambda row: (row["time_s"], row["who"], row["seed"])
        )
        shown = [column for column in columns if any(column in row for row in found)]
        lines = [name, "", *(f"| {' | '.join(cells)} |" for cells in (shown, ["---"] * len(shown)))]
        lines += [f"| {' | '.join(str(row.get(column, '')) for column in shown)} |" for row in found]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def draw_curve(rows: list[dict[str, Any]], path: Path) -> None:
    """Score against minutes of training, of unetkit and MONAI on the first row's machine: small dots, and means."""
    of = rows[0]["machine"]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for axes, (name, score, title) in zip(figure.subplots(1, len(CURVES)), CURVES, strict=True):
        found = [row for row in rows if row["set"] == name and "images" not in row and row["machine"] == of]
        for who, colour in COLOURS.items():
            scores: dict[float, list[float]] = {}
            for row in sorted((row for row in found if row["who"] == who), key=lambda row: row["time_s"]):
                scores.setdefault(row["time_s"] / 60, []).append(row[score])
            if not scores:
                continue
            dots = [(minutes, value) for minutes, values in scores.items() for value in values]
            axes.plot(*zip(*dots, strict=True), ".", color=colour, alpha=0.5)
            axes.plot(list(scores), [np.mean(v) for v in scores.values()], "o-", color=colour, ms=4, label=NAMES[who])
        axes.set(title=title, xlabel="minutes of training, two cores", xscale="log")
        axes.set_xticks(TICKS, [f"{minutes:g}" for minutes in TICKS])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="best")
    figure.savefig(path, dpi=110)


def _score(task: Task, masks: Path) -> dict[str, float]:
    """Of a folder of predicted masks."""
    found = evaluate(masks, task.folder / "masks")
    result = {"pixel_error": found.pixel_error, "dice": found.pooled[1].dice}
    if found.objects is not None:
        result |= {"ap50": found.objects.ap50, "mean_ap": found.objects.mean_ap, "pq": found.objects.panoptic}
    return {name: round(float(value), 5) for name, value in result.items()}


class Messages:
    """Prints the messages of a training."""

    def update(self, done: float = 0.0, total: float = 0.0, message: str = "", **values: float) -> None:
        """Take the state of the training."""
        if message:
            print(message, flush=True)


def run_unetkit(task: Task, seed: int, time_s: float, settings: dict[str, Any] | None = None) -> dict:
    """Train and predict through the public functions, as the command line does."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = Path(folder) / "train.csv"
        with pairs.open("w", newline="") as file:
            rows = [(task.image(n).resolve(), task.mask(n).resolve()) for n in task.training]
            csv.writer(file).writerows([("image", "mask"), *rows])
        run = task.kept or Path(folder) / "run"
        chosen = merge_settings({"budget.seed": seed, **task.settings, **(settings or {})}.items())
        done = train(pairs, out=run, resume=True, time_s=time_s, settings=chosen, progress=Messages())
        tests = [task.image(name) for name in task.tests]
        result: dict = {
            "steps": done.steps,
            "trained_s": round(done.time_s, 1),
            "precision": done.plan.device.precision,
        }
        for key, symmetries in (("", False), ("_symmetries", True)):
            out = Path(folder) / f"masks{key}"
            load_model(run, Execution(tta=symmetries)).predict_files(tests, out)
            result |= {name + key: value for name, value in _score(task, out).items()}
    return result


def run_valid(task: Task, seed: int, time_s: float) -> dict:
    """The 2015 paper's valid-convolution net, widths divided by four."""
    return run_unetkit(task, seed, time_s, {"net.name": "ronneberger2015", "net.width_divisor": 4})


def run_usual(task: Task, seed: int, time_s: float) -> dict:
    """unetkit with nothing said but the time, so that it holds images out of isbi2012 itself."""
    return run_unetkit(replace(task, settings={}), seed, time_s)


def run_float32(task: Task, seed: int, time_s: float) -> dict:
    """unetkit in float32, on a processor that multiplies bfloat16."""
    return run_unetkit(task, seed, time_s, {"device.precision": "float32"})


def run_monai(task: Task, seed: int, time_s: float, *, bfloat16: bool = False) -> dict:
    """Train and predict with MONAI, and score the masks."""
    with tempfile.TemporaryDirectory() as out:
        result = monai_masks(task, seed, time_s, Path(out), bfloat16=bfloat16)
        return result | _score(task, Path(out))


def monai_masks(task: Task, seed: int, time_s: float, out: Path, *, bfloat16: bool = False) -> dict:
    """MONAI's BasicUNet with its usual recipe: writes the masks of the tests, and says what it did."""
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
        SpatialPadd,
    )  # fmt: skip

    monai.utils.set_determinism(seed)
    both = ["image", "label"]
    transforms = Compose([
        NormalizeIntensityd("image"),
        SpatialPadd(both, (PATCH, PATCH)),
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
    channels = max(read(task.image(n)).channels for n in task.training)
    items = [
        {
            "image": _channels(read(task.image(n)).array, channels),
            "label": _classes(read_labels(task.mask(n)).array, task.classes)[None].astype(np.float32),
        }
        for n in task.training
    ]
    items *= max(1, 40 // len(items))  # a crop of each per epoch: of large sections several
    dataset = CacheDataset(items, transforms, progress=False)
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True, drop_last=True, num_workers=1, persistent_workers=True)
    net = BasicUNet(
        spatial_dims=2, in_channels=channels, out_channels=task.classes, features=(32, 64, 128, 256, 512, 32)
    )
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
    normalise, begun = NormalizeIntensityd("image"), time.perf_counter()
    with torch.inference_mode():
        for name in task.tests:
            array = _channels(read(task.image(name)).array, channels)
            image = torch.as_tensor(normalise({"image": array})["image"])[None]
            logits = sliding_window_inference(image, (PATCH, PATCH), 4, net, overlap=0.5, mode="gaussian")
            mask = torch.as_tensor(logits)[0].argmax(0).numpy().astype(np.uint8)
            write_labels(out / f"{name}.png", mask)
    predicted_s = time.perf_counter() - begun
    return {"steps": steps, "trained_s": round(elapsed, 1), "predicted_s": round(predicted_s, 2)}


def _classes(labels: np.ndarray, n: int) -> np.ndarray:
    """Any id is the foreground of two classes."""
    return labels > 0 if n == 2 else labels


def _channels(array: np.ndarray, n: int) -> np.ndarray:
    """Gray repeated where other images are in colour."""
    return np.repeat(array, n // len(array), 0).astype(np.float32)


RUNNERS = {
    "monai": run_monai,
    "monai_bfloat16": partial(run_monai, bfloat16=True),
    "unetkit": run_unetkit,
    "unetkit_usual": run_usual,
    "unetkit_float32": run_float32,
    "unetkit_valid": run_valid,
}

if __name__ == "__main__":
    main()
