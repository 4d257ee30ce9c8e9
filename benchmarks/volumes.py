"""Volumes: a 3D net, 2.5D and 2D nets, a sparsely labelled stack, and MONAI's 3D recipe; same seconds, same cores.

    python benchmarks/volumes.py DATA --set hippocampus vnc_em --how auto 3d 2.5d 2d sparse --who unetkit monai
    python benchmarks/volumes.py DATA --set hippocampus --how auto --who unetkit_usual --fifths 0 1 2 3 4
    python benchmarks/volumes.py DATA --table

DATA is the folder that holds `hippocampus/` and `vnc_em/`, each with `images/` and `masks/`.
Run time: 20 minutes of training per line of hippocampus, 15 per line of vnc_em, and a minute or two for reading,
predicting and scoring; two and a half hours for all of the first command. Expected score: see benchmarks/README.md.

hippocampus: 120 volumes (Medical Segmentation Decathlon, Task04), sorted by name and shuffled once: 96 to train on, 24
held out, the last ones; `--fifths` holds out others. Dice of every class, as the mean over the held-out volumes and of
all their voxels together.
vnc_em: one stack of 14 sections. Sections 0 to 10 are trained on; 11 to 13 are predicted and scored as a volume of
their own, so that no net sees a neighbour that it has learned from. "sparse" is the 3D net with sections 1, 5 and 9
labelled and all others 255 (not labelled). Dice of all voxels of the test sections together.

unetkit runs as `unetkit train TABLE --time 20m --validation 0` (and `--planes 3` for 2.5d, `--planes 1` for 2d) and
`unetkit predict`; "unetkit_float32" with `--precision float32`, "unetkit_usual" without `--validation 0`: it holds a
fifth of the training volumes out itself and keeps the net that is best on them. MONAI gets its usual recipe: BasicUNet
of its own widths ("monai": 32, 32, 64, 128, 256, and 32 at full resolution on the way up; "monai_half": 16 in place of
32 there), AdamW 1e-3, Dice + cross-entropy, cached data, four patches of 32 x 48 x 32, small affine changes, gray-value
changes, a cosine schedule over the same seconds, and `sliding_window_inference` with half overlap and Gaussian weights.
It flips left and right only, because a flip along any other axis would tell it that anterior is posterior.
"monai_bfloat16" is the first of these under autocast, which its users have to ask for. For vnc_em it is the 2D
BasicUNet of `accuracy.py` on single sections, as our own nets did better there in 2D than in 3D.

Every result is a line in `volumes.jsonl`, with the precision that unetkit took and the machine; what is there already
of such a machine is not run again. With `--runs FOLDER` the trainings are kept there, and one that was stopped goes on
where it was (MONAI's starts again).
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, product, repeat
from pathlib import Path
from typing import Any

import accuracy
import numpy as np
import torch

from unetkit.inference.predictor import load_model
from unetkit.io import read, read_labels, write, write_labels
from unetkit.metrics.pixels import confusion, dice
from unetkit.training.loop import train
from unetkit.training.plan.settings import merge_settings

RESULTS = Path(__file__).with_name("volumes.jsonl")
HOW: dict[str, dict[str, Any]] = {
    "auto": {},
    "3d": {"data.planes": 0},
    "2.5d": {"data.planes": 3},
    "2d": {"data.planes": 1},
    "sparse": {"data.planes": 0},
}
TIME_S = {"hippocampus": 1200.0, "vnc_em": 900.0}
CLASSES = {
    "hippocampus": ("background", "anterior", "posterior"),
    "vnc_em": ("membrane", "glia", "mitochondria", "synapse", "intracellular"),
}
TEST_SECTIONS = 3
LABELLED_SECTIONS = (1, 5, 9)
NOT_LABELLED = 255
# As MONAI's recipe, all but "unetkit_usual" learn from every training volume; that holds out what its plan says.
UNETKIT: dict[str, dict[str, Any]] = {
    "unetkit": {"data.validation_fraction": 0.0},
    "unetkit_float32": {"data.validation_fraction": 0.0, "device.precision": "float32"},
    "unetkit_usual": {},
}
# Channels per level, and last those at full resolution on the way up: BasicUNet's default, and half of it there.
_DEFAULT, _HALF = (32, 32, 64, 128, 256, 32), (16, 32, 64, 128, 256, 16)
MONAI: dict[str, dict[str, Any]] = {
    "monai": {"widths": _DEFAULT},
    "monai_half": {"widths": _HALF},
    "monai_bfloat16": {"widths": _DEFAULT, "bfloat16": True},
}
MONAI_2D: dict[str, dict[str, Any]] = {
    "monai": {},
    "monai_bfloat16": {"bfloat16": True},
}  # of sections, as in accuracy.py
MONAI_PATCH, MONAI_BATCH = (32, 48, 32), 4

Files = list[tuple[Path, Path]]


@dataclass(frozen=True)
class Task:
    """Image and mask files to learn from and to be scored on, and the names of the classes."""

    training: Files
    tests: Files
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Budget:
    """Seconds, or steps in their place (to try a path out)."""

    time_s: float
    steps: int | None

    def given(self) -> dict[str, Any]:
        """As `train` takes it."""
        return {"time_s": self.time_s} if self.steps is None else {"steps": self.steps}

    def fraction(self, elapsed_s: float, step: int) -> float:
        """Share that is used, 0 to 1."""
        return min(elapsed_s / self.time_s if self.steps is None else step / self.steps, 1.0)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing and print all results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with hippocampus/ and vnc_em/")
    parser.add_argument("--set", nargs="+", default=list(CLASSES), choices=CLASSES, dest="sets")
    parser.add_argument("--how", nargs="+", default=list(HOW), choices=HOW)
    parser.add_argument("--who", nargs="+", default=["unetkit"], choices=[*UNETKIT, *MONAI])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument(
        "--fifths", nargs="+", type=int, default=[0], choices=range(5), help="of hippocampus, to be held out"
    )
    parser.add_argument(
        "--time", type=float, help="seconds of training (default: 1200 for hippocampus, 900 for vnc_em)"
    )
    parser.add_argument("--steps", type=int, help="steps in place of seconds, to try it out")
    parser.add_argument("--runs", type=Path, help="folder that keeps the trainings, so that a stopped one goes on")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the results as Markdown, run nothing")
    args = parser.parse_args(argv)
    if args.table:
        print(table(_rows(args.results)))
        return
    for seed, fifth in product(args.seeds, args.fifths):
        for name, who, how in _possible(args.sets, args.who, args.how):
            key = {"set": name, "who": who, "how": how, "seed": seed, "fifth": fifth if name == "hippocampus" else 0}
            key |= {"time_s": None if args.steps else args.time or TIME_S[name], "budget_steps": args.steps}
            key |= {"machine": accuracy.machine()}
            if any(key == {field: row[field] for field in key} for row in _rows(args.results)):
                continue
            row = {**key, **_run(args.data, key, args.runs)}
            with args.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


def _rows(results: Path) -> list[dict[str, Any]]:
    lines = results.read_text().splitlines() if results.exists() else []
    return [{"fifth": 0} | json.loads(line) for line in lines]


def _possible(sets: Sequence[str], whos: Sequence[str], hows: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """What there is: sparse labels in vnc_em alone, MONAI's recipes in 3D for hippocampus and in 2D for vnc_em."""
    for name in sets:
        for who in whos:
            for how in hows:
                known = [("hippocampus", "3d", MONAI), ("vnc_em", "2d", MONAI_2D)]
                is_known = any((name, how) == (a, b) and who in recipes for a, b, recipes in known)
                if is_known or (who in UNETKIT and (how != "sparse" or name == "vnc_em")):
                    yield name, who, how


def _run(data: Path, key: dict[str, Any], runs: Path | None) -> dict[str, Any]:
    """Train, predict and score one line."""
    budget = Budget(key["time_s"] or 0.0, key["budget_steps"])
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        task = hippocampus(data, key["fifth"]) if key["set"] == "hippocampus" else vnc_em(data, scratch, how=key["how"])
        if key["who"] in UNETKIT:
            size = f"{budget.steps}steps" if budget.steps else f"{budget.time_s:g}s"
            of = f"{key['set']}{key['fifth'] or ''}"
            kept = (runs or scratch) / "_".join([of, key["who"], key["how"], f"seed{key['seed']}", size])
            settings = {"budget.seed": key["seed"]} | HOW[key["how"]] | UNETKIT[key["who"]]
            result, predictions = run_unetkit(task, budget, settings, kept, scratch)
        elif key["how"] == "2d":
            result, predictions = run_monai_2d(task, key["time_s"], key["seed"], scratch, **MONAI_2D[key["who"]])
        else:
            result, predictions = run_monai(task, budget, key["seed"], **MONAI[key["who"]])
        truths = [read_labels(mask).array for _, mask in task.tests]
        return {**result, **score(predictions, truths, task.classes)}


def hippocampus(data: Path, fifth: int = 0) -> Task:
    """Four fifths of the volumes for training, one held out, counted from the end of a fixed shuffle."""
    folder = data / "hippocampus"
    names = sorted(path.name for path in (folder / "images").glob("*.nii.gz"))
    random.Random(0).shuffle(names)
    files = [(folder / "images" / name, folder / "masks" / name) for name in names]
    tests = files[len(files) * (4 - fifth) // 5 : len(files) * (5 - fifth) // 5]
    return Task([pair for pair in files if pair not in tests], tests, CLASSES["hippocampus"])


def vnc_em(data: Path, scratch: Path, *, how: str) -> Task:
    """Cut the stack into a volume to train on and one of the last sections, which keep the voxel size."""
    image = read(data / "vnc_em" / "images" / "stack.tif")
    mask = read_labels(data / "vnc_em" / "masks" / "stack.tif")
    cut = image.size[0] - TEST_SECTIONS
    pairs = []
    for name, part in (("train", slice(0, cut)), ("test", slice(cut, None))):
        labels = mask.array[part].astype(np.uint8)
        if how == "sparse" and name == "train":
            dropped = [z for z in range(len(labels)) if z not in LABELLED_SECTIONS]
            labels[dropped] = NOT_LABELLED
        pair = (scratch / f"{name}.ome.tif", scratch / f"{name}_mask.ome.tif")
        write(pair[0], replace(image, array=image.array[:, part], place=None))
        write_labels(pair[1], replace(mask, array=labels, place=None))
        pairs.append(pair)
    return Task(pairs[:1], pairs[1:], CLASSES["vnc_em"])


def score(predictions: Sequence[np.ndarray], truths: Sequence[np.ndarray], classes: Sequence[str]) -> dict[str, Any]:
    """Dice per class: `dice` of all voxels together, `volume_dice` as the mean over volumes; 1 is best.

    The means are over the foreground (all classes but the first), and over all classes.
    """
    matrices = [confusion(p, t, len(classes)) for p, t in zip(predictions, truths, strict=True)]
    pooled = dice(np.sum(matrices, axis=0))
    by_volume = np.mean([dice(matrix) for matrix in matrices], axis=0)
    result: dict[str, Any] = {}
    for name, values in (("dice", pooled), ("volume_dice", by_volume)):
        result[name] = {c: round(float(v), 5) for c, v in zip(classes, values, strict=True)}
        result[f"{name}_foreground"] = round(float(values[1:].mean()), 5)
        result[f"{name}_all"] = round(float(values.mean()), 5)
    return result


def run_unetkit(
    task: Task, budget: Budget, settings: dict[str, Any], kept: Path, scratch: Path
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Train (or go on) and predict through the public functions, as the command line does."""
    pairs = scratch / "train.csv"
    with pairs.open("w", newline="") as file:
        rows = [(image.resolve(), mask.resolve()) for image, mask in task.training]
        csv.writer(file).writerows([("image", "mask"), *rows])
    done = train(
        pairs, out=kept, resume=True, settings=merge_settings(settings.items()), progress=accuracy.Messages(),
        **budget.given(),
    )  # fmt: skip
    if done.was_interrupted:
        raise SystemExit(f"stopped after {done.steps} steps; with --runs the same command goes on from there")
    out = scratch / "masks"
    written = load_model(kept).predict_files([image for image, _ in task.tests], out)
    predictions = [read_labels(one.mask).array for one in written]
    seconds = sum(one.time_s for one in written)
    result = {"steps": done.steps, "trained_s": round(done.time_s, 1), "predicted_s": round(seconds, 2)}
    return result | {"precision": done.plan.device.precision}, predictions


def run_monai_2d(
    task: Task, time_s: float, seed: int, scratch: Path, **given: Any
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """MONAI's 2D BasicUNet on single sections, with the recipe of `accuracy`."""
    folder, names = scratch / "sections", {}
    for part, files in (("train", task.training), ("test", task.tests)):
        image, mask = read(files[0][0]).array[0], read_labels(files[0][1]).array
        names[part] = tuple(f"{part}_{z:02d}" for z in range(len(mask)))
        for kind, planes in (("images", image), ("masks", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            for name, plane in zip(names[part], planes, strict=True):
                write_labels(folder / kind / f"{name}.png", plane.astype(np.uint8))
    out = scratch / "sections_masks"
    out.mkdir()
    sections = accuracy.Task(folder, names["train"], names["test"], {}, len(task.classes))
    result = accuracy.monai_masks(sections, seed, time_s, out, **given)
    return result, [np.stack([read_labels(out / f"{name}.png").array for name in names["test"]])]


def run_monai(
    task: Task, budget: Budget, seed: int, *, widths: tuple[int, ...], bfloat16: bool = False
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """MONAI's 3D BasicUNet with its usual recipe."""
    import monai
    from monai.inferers import sliding_window_inference
    from monai.losses import DiceCELoss
    from monai.networks.nets import BasicUNet
    from monai.transforms import NormalizeIntensityd

    monai.utils.set_determinism(seed)
    batches = _monai_batches(task)
    net = BasicUNet(spatial_dims=3, in_channels=1, out_channels=len(task.classes), features=widths)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    loss_function = DiceCELoss(to_onehot_y=True, softmax=True)
    start, steps, used = time.perf_counter(), 0, 0.0
    net.train()
    while used < 1:
        batch = next(batches)
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * used))
        optimiser.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            logits = net(batch["image"])
        loss_function(logits.float(), batch["label"]).backward()
        optimiser.step()
        steps += 1
        used = budget.fraction(time.perf_counter() - start, steps)
    trained_s = time.perf_counter() - start
    net.eval()
    infer = partial(
        sliding_window_inference, roi_size=MONAI_PATCH, sw_batch_size=4, predictor=net, overlap=0.5, mode="gaussian"
    )
    normalise, predictions, predicted_s = NormalizeIntensityd("image"), [], 0.0
    for image, _ in task.tests:
        array = torch.as_tensor(normalise({"image": read(image).array.astype(np.float32)})["image"])[None]
        start = time.perf_counter()
        with torch.inference_mode():
            predictions.append(torch.as_tensor(infer(array))[0].argmax(0).numpy().astype(np.uint8))
        predicted_s += time.perf_counter() - start
    return {"steps": steps, "trained_s": round(trained_s, 1), "predicted_s": round(predicted_s, 2)}, predictions


def _monai_batches(task: Task) -> Iterator[dict[str, Any]]:
    """Cached data, augmented in a process of its own, without end."""
    from monai.data import CacheDataset, DataLoader
    from monai.transforms import (
        Compose,
        NormalizeIntensityd,
        RandAdjustContrastd,
        RandAffined,
        RandFlipd,
        RandGaussianNoised,
        RandScaleIntensityd,
        RandShiftIntensityd,
        RandSpatialCropd,
        SpatialPadd,
    )  # fmt: skip

    both = ["image", "label"]
    transforms = Compose([
        NormalizeIntensityd("image"),
        SpatialPadd(both, MONAI_PATCH),
        RandSpatialCropd(both, MONAI_PATCH, random_size=False),
        RandFlipd(both, prob=0.5, spatial_axis=2),  # x, left and right
        RandAffined(
            both, prob=0.5, rotate_range=(math.pi / 12,) * 3, scale_range=(0.15,) * 3, mode=("bilinear", "nearest"),
            padding_mode="border",
        ),
        RandScaleIntensityd("image", factors=0.2, prob=0.3),
        RandShiftIntensityd("image", offsets=0.2, prob=0.3),
        RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5)),
        RandGaussianNoised("image", prob=0.2, std=0.15),
    ])  # fmt: skip
    items = [
        {
            "image": read(image).array.astype(np.float32),
            "label": read_labels(mask).array[None].astype(np.float32),
        }
        for image, mask in task.training
    ]
    dataset = CacheDataset(items, transforms, progress=False)
    loader = DataLoader(
        dataset, batch_size=MONAI_BATCH, shuffle=True, drop_last=True, num_workers=1, persistent_workers=True
    )
    return chain.from_iterable(repeat(loader))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The results as Markdown, a table per set."""
    parts = []
    for name, classes in CLASSES.items():
        found = [row for row in rows if row["set"] == name]
        kind = "volume_dice" if name == "hippocampus" else "dice"
        shown = classes[1:] if name == "hippocampus" else classes
        means = {f"{kind}_foreground": f"mean of {len(classes) - 1}"}
        means |= {"dice_foreground": "all voxels"} if name == "hippocampus" else {"dice_all": f"mean of {len(classes)}"}
        known = ("who", "how", "seed", "fifth", "steps", "precision", "machine")
        head = [*known, "trained, s", *shown, *means.values(), "predicted, s"]
        lines = [f"{name}: Dice, {'mean over volumes' if name == 'hippocampus' else 'all test voxels together'}", ""]
        lines += [_line(head), _line(["---"] * len(head))]
        for row in found:
            scores = [*(row[kind][c] for c in shown), *(row[mean] for mean in means)]
            first = [str(row.get(name, "")) for name in known]
            first.append(f"{row['trained_s']:.0f}")
            lines.append(_line([*first, *(f"{value:.4f}" for value in scores), f"{row['predicted_s']:.1f}"]))
        if found:
            parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
