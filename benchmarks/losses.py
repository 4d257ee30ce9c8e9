"""Do losses for thin and for rare classes find more of them? Synthetic images, the same steps, seeds and nets.

    python benchmarks/losses.py --steps 400

lines: curves of 3 pixels' width in noise, some of them faint; dots: spots of about 5 pixels' width, 0.1 % of the
pixels. Sixteen images of 256 x 256 to learn from, eight to score. Every result is a line in `losses.jsonl`; what is
there already is not run again. Run time: about 2 minutes per line on two cores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import cast

import numpy as np
from scipy import ndimage
from skimage.morphology import skeletonize

from unetkit import io
from unetkit.image import Image
from unetkit.inference.predictor import load_model
from unetkit.training.loop import train
from unetkit.training.plan.plan import Loss
from unetkit.training.plan.settings import PlanSettings

RESULTS = Path(__file__).with_name("losses.jsonl")
SIDE = 256
LOSSES = {"lines": ("dice", "cldice", "tversky"), "dots": ("dice", "tversky", "focal", "generalised")}


def main() -> None:
    """Run what is missing and print all results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    args = parser.parse_args()
    known = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    for seed in args.seeds:
        for kind, losses in LOSSES.items():
            for loss in losses:
                key = {"kind": kind, "loss": loss, "seed": seed, "steps": args.steps}
                if not any(key == {name: row[name] for name in key} for row in known):
                    row = key | run(kind, loss, seed, args.steps)
                    with RESULTS.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    print(json.dumps(row), flush=True)


def run(kind: str, loss: str, seed: int, steps: int) -> dict[str, float]:
    """Train and score one net."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, n, first in (("training", 16, 0), ("tests", 8, 100)):
            for i in range(n):
                image, mask = (lines if kind == "lines" else dots)(np.random.default_rng(first + i))
                (folder / part / "images").mkdir(parents=True, exist_ok=True)
                (folder / part / "masks").mkdir(exist_ok=True)
                io.write(folder / part / "images" / f"{i:02d}.tif", Image(image[None], "cyx", (1.0, 1.0)))
                io.write_labels(folder / part / "masks" / f"{i:02d}.tif", mask)
        settings: PlanSettings = {
            "budget": {"seed": seed},
            "data": {"validation_fraction": 0.0},
            "patches": {"size": (128, 128)},
            "optim": {"loss": cast(Loss, loss)},
        }
        train(folder / "training", out=folder / "run", steps=steps, settings=settings)
        done = load_model(folder / "run").predict_files([folder / "tests" / "images"], folder / "masks")
        truths = [io.read_labels(folder / "tests" / "masks" / one.mask.name).array for one in done]
        found = [io.read_labels(one.mask).array for one in done]
    return score(list(zip(found, truths, strict=True)))


def score(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Dice of all pixels, recall and precision of centre lines or of dots, and connected parts per true one."""
    both = sum(int(((p > 0) & (t > 0)).sum()) for p, t in pairs)
    total = sum(int((p > 0).sum() + (t > 0).sum()) for p, t in pairs)
    recall, precision, parts, true_parts = [], [], 0, 0
    for predicted, truth in pairs:
        skeletons = skeletonize(predicted > 0), skeletonize(truth > 0)
        precision.append((truth[skeletons[0]] > 0).mean() if skeletons[0].any() else 0.0)
        recall.append((predicted[skeletons[1]] > 0).mean())
        parts += ndimage.label(predicted > 0, np.ones((3, 3)))[1]
        true_parts += ndimage.label(truth > 0, np.ones((3, 3)))[1]
    found = {"dice": 2 * both / total, "recall": np.mean(recall), "precision": np.mean(precision)}
    return {name: round(float(value), 4) for name, value in (found | {"parts": parts / true_parts}).items()}


def lines(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Smooth curves across the image, each of a contrast of its own, which fades along it."""
    mask, light = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE))
    for _ in range(6):
        t = np.linspace(0, 1, 2000)
        start, angle = rng.uniform(0, SIDE, 2), rng.uniform(0, 2 * np.pi)
        bend = angle + 1.5 * np.cumsum(rng.normal(0, 0.03, 2000)) + rng.uniform(-2, 2) * t
        path = start[:, None] + np.cumsum(np.stack([np.sin(bend), np.cos(bend)]) * 0.15, 1)
        y, x = np.rint(path).astype(int)
        inside = (y >= 1) & (y < SIDE - 1) & (x >= 1) & (x < SIDE - 1)
        own = np.zeros((SIDE, SIDE))
        own[y[inside], x[inside]] = (rng.uniform(0.4, 1) * (0.65 + 0.35 * np.sin(6 * t + rng.uniform(0, 6))))[inside]
        own = ndimage.maximum_filter(own, 3)
        light, mask = np.maximum(light, own), mask | (own > 0)
    return _noisy(light, rng), mask.astype(np.uint8)


def dots(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A few spots among as many that are a little wider, which are not meant."""
    mask, light = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE))
    grid = np.indices((SIDE, SIDE))
    for i in range(8):
        distance = np.hypot(*(grid - rng.integers(6, SIDE - 6, 2)[:, None, None]))
        contrast = rng.uniform(0.4, 1)
        if i % 2:
            mask[distance < 2.6] = 1
            light = np.maximum(light, contrast * (distance < 2.6))
        else:
            light = np.maximum(light, contrast * (distance < 5))
    return _noisy(light, rng), mask


def _noisy(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (ndimage.gaussian_filter(light, 0.8) + rng.normal(0, 0.25, light.shape)).astype(np.float32)


if __name__ == "__main__":
    main()
