"""The U-Net family side by side: what does each part of a net change, in the same minutes on the same images?

    python recipes/variants.py DATA/isbi2012 --time 5m --out VARIANTS

Seven nets learn cell membranes from 20 sections of electron microscopy and are scored on four others: the U-Net, the
same without skips, with skips reduced by a 1x1 convolution, with residual blocks, with dense blocks, with attention
gates, and UNet++ (whole, and cut to its levels L1 to L4). Nothing else differs: the plan's defaults, seed 0.

Run time: seven times `--time` on an idle machine, and less than a minute per net for predictions and scores (40 minutes
for 5m on two cores). Expected score: see the table in recipes/README.md.

VARIANTS then holds a run folder per net, `masks/`, `results.jsonl`, `table.md` and `variants.png`. Stop it at any
moment: the same command goes on, and what is in `results.jsonl` is not run again.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.ndimage import uniform_filter

from unetkit import load_model, predict, read, read_labels, train
from unetkit.insight.cost import cost
from unetkit.masks.metrics import evaluate_arrays
from unetkit.nets.net import Net
from unetkit.nets.unetpp import UNetPlusPlus
from unetkit.options import seconds

N_TRAINING, N_TESTS = 20, 4
COST_SIZE = (256, 256)
NOTE = "Pixel error: wrong pixels in four sections that no net has seen, as a share of all."
CREDIT = "Images: ISBI 2012 EM challenge (Drosophila nerve cord, 4 nm per pixel), Arganda-Carreras et al. 2015."

CROP, COLUMNS = 200, 5  # pixels; panels per row
WIDTH, ROW, TITLE, FOOT = 12.0, 2.83, 0.5, 0.78  # inches
# Okabe and Ito's vermilion and blue, which colour-blind eyes tell apart too; grays for what is right.
MISSED, ADDED, MEMBRANE, CELL = "#D55E00", "#0072B2", "#555555", "#F4F4F1"
FEW, MANY = "#F4F4F1", "#3B0F5C"  # nets that are wrong at a pixel


@dataclass(frozen=True)
class Variant:
    """A net: its folder, what a reader calls it, and how it differs from the plan's default."""

    key: str
    title: str
    given: dict[str, Any] = field(default_factory=dict)


VARIANTS = (
    Variant("unet", "U-Net"),
    Variant("no_skip", "no skips", {"skip": "none"}),
    Variant("reduce", "1 x 1 skips", {"skip": "reduce"}),
    Variant("residual", "residual blocks", {"block": "residual"}),
    Variant("dense", "dense blocks", {"block": "dense"}),
    Variant("attention", "attention gates", {"skip": "attention"}),
    Variant("unetpp", "UNet++", {"net": "unet++"}),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Train and score what is missing, then write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder isbi2012 with images/ and masks/")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything that is made")
    parser.add_argument("--time", type=seconds, default="5m", help="of training, for each net: 90s, 5m, 1h")
    parser.add_argument("--steps", type=int, help="steps in place of time, to try it out")
    parser.add_argument("--only", nargs="+", choices=[v.key for v in VARIANTS], help="some of the nets")
    args = parser.parse_args(argv)
    budget = {"steps": args.steps} if args.steps else {"time_s": args.time}
    names = sorted(path.name for path in (args.data / "images").glob("*.png"))
    args.out.mkdir(parents=True, exist_ok=True)
    table = _write_pairs(args.data, names[:N_TRAINING], args.out / "training.csv")
    tests = [(args.data / "images" / n, args.data / "masks" / n) for n in names[N_TRAINING : N_TRAINING + N_TESTS]]
    for variant in VARIANTS:
        if not args.only or variant.key in args.only:
            for row in _rows_of(variant, table, tests, args.out, budget):
                with (args.out / "results.jsonl").open("a") as file:
                    file.write(json.dumps(row) + "\n")
    text = markdown(results(args.out))
    (args.out / "table.md").write_text(text)
    print(text)
    draw(tests, args.out).savefig(args.out / "variants.png", dpi=200)
    print(args.out / "variants.png")


def results(out: Path) -> list[dict[str, Any]]:
    """The lines of `results.jsonl`."""
    file = out / "results.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _write_pairs(data: Path, names: Sequence[str], table: Path) -> Path:
    with table.open("w", newline="") as file:
        rows = [((data / "images" / n).resolve(), (data / "masks" / n).resolve()) for n in names]
        csv.writer(file).writerows([("image", "mask"), *rows])
    return table


def _rows_of(
    variant: Variant, table: Path, tests: Sequence[tuple[Path, Path]], out: Path, budget: dict[str, float]
) -> Iterator[dict[str, Any]]:
    """Results that are not there yet: of the net, and of a UNet++ for every level that it can be cut to."""
    known = {row["key"] for row in results(out) if budget.items() <= row.items()}
    if variant.key in known:  # written last
        print(f"{variant.title}: done before", flush=True)
        return
    print(f"{variant.title}: training", flush=True)
    done = train(
        table, out=out / variant.key, resume=True, seed=0, validation=0.0, **budget, **variant.given,
        observer=lambda p: print(f"  {p.message}", flush=True) if p.message else None,
    )  # fmt: skip
    if done.was_interrupted:
        raise SystemExit(f"stopped after {done.steps} steps of {variant.title}: the same command goes on from there")
    net, _ = load_model(out / variant.key)
    levels = range(1, net.depth + 1) if isinstance(net, UNetPlusPlus) else ()
    for level in (*levels, None):
        key = variant.key if level is None else f"{variant.key}_L{level}"
        if key not in known:
            title = variant.title if level is None else f"{variant.title}, cut to L{level}"
            cut = net.prune(level) if isinstance(net, UNetPlusPlus) and level else net
            row = {"key": key, "title": title, **budget, "steps_taken": done.steps, **_size(cut)}
            yield row | _score(out / variant.key, tests, out / "masks" / key, level)


def _size(net: Net) -> dict[str, float]:
    counted = cost(net.graph, COST_SIZE)
    return {"parameters": counted.parameters, "gmacs": round(counted.macs / 1e9, 3)}


def _score(run: Path, tests: Sequence[tuple[Path, Path]], masks: Path, level: int | None) -> dict[str, float]:
    """Predict the test images, keep the masks, and compare them with the truth."""
    written = predict(run, [image for image, _ in tests], out=masks, prune=level, overwrite=True)
    triples = [(one.mask.name, _cells(one.mask), _cells(truth)) for one, (_, truth) in zip(written, tests, strict=True)]
    found = evaluate_arrays(triples, ["membrane", "cell"])
    return {
        "pixel_error": round(found.pixel_error, 5),
        "cell_dice": round(found.pooled[1].dice, 5),
        "boundary_f1": round(found.pooled[1].boundary_f1, 5),
        "seconds_per_image": round(median(one.time_s for one in written), 3),
    }


def _cells(mask: Path) -> np.ndarray:
    """1 in cells, 0 on membranes."""
    return (read_labels(mask).array > 0).astype(np.uint8)


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table of the results, in the order of `VARIANTS`."""
    order = {variant.key: i for i, variant in enumerate(VARIANTS)}
    lines = [
        "| net | parameters | GMACs at 256 x 256 | steps | pixel error | cell Dice | boundary F1, 2 px | s per image |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (order[row["key"].split("_L")[0]], row["key"])):
        cells = [row["title"], f"{row['parameters'] / 1e6:.2f} M", f"{row['gmacs']:.2f}", str(row["steps_taken"])]
        cells += [f"{row['pixel_error']:.4f}", f"{row['cell_dice']:.4f}", f"{row['boundary_f1']:.4f}"]
        cells += [f"{row['seconds_per_image']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(tests: Sequence[tuple[Path, Path]], out: Path) -> Figure:
    """Image, truth, every net's errors and how many nets are wrong where, on the crop where they differ most."""
    errors = {row["key"]: row["pixel_error"] for row in results(out)}
    shown = [variant for variant in VARIANTS if variant.key in errors]
    truths = [_cells(truth) for _, truth in tests]
    predicted = {v.key: [_cells(out / "masks" / v.key / image.name) for image, _ in tests] for v in shown}
    wrong = [sum((predicted[v.key][i] != truth).astype(int) for v in shown) for i, truth in enumerate(truths)]
    i, crop = where_they_differ(wrong, len(shown))
    truth = truths[i][crop]
    image = read(tests[i][0]).array[0][crop]
    figure, grid = _sheet(ceil((len(shown) + 3) / COLUMNS))
    axes = iter(grid.ravel())
    low, high = np.percentile(image, (0.5, 99.5))
    _panel(
        next(axes),
        np.clip((image - low) / max(high - low, 1), 0, 1),
        "image",
        f"section {tests[i][0].stem}",
        cmap="gray",
    )
    _panel(next(axes), overlay(truth, truth), "truth", "membranes dark")
    for variant in shown:
        picture = overlay(predicted[variant.key][i][crop], truth)
        _panel(next(axes), picture, variant.title, f"pixel error {errors[variant.key]:.4f}")
    steps = ListedColormap(np.linspace(to_rgb(FEW), to_rgb(MANY), len(shown) + 1))
    counts = steps(wrong[i][crop])[..., :3]
    _panel(next(axes), counts, "where they fail", f"nets that are wrong, of {len(shown)}")
    for rest in axes:
        rest.set_axis_off()
    _legend(figure, steps, len(shown))
    return figure


def _sheet(rows: int) -> tuple[Figure, np.ndarray]:
    """An empty figure of panels, with room for their titles above them and for the legend at the foot."""
    height = ROW * rows + FOOT
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    figure.subplots_adjust(0.008, FOOT / height, 0.992, 1 - TITLE / height, 0.035, 0.225)
    return figure, grid


def where_they_differ(wrong: Sequence[np.ndarray], n: int) -> tuple[int, tuple[slice, slice]]:
    """The image, and in it the square, where some of the `n` nets are right and others wrong most often."""
    best = (-1.0, 0, (slice(0), slice(0)))
    for i, count in enumerate(wrong):
        size = [min(CROP, length) for length in count.shape]
        split = uniform_filter((count * (n - count)).astype(float), size, mode="constant")
        # A filter of size s, centred at pixel c, covers c - s // 2 and the s - 1 pixels after it.
        inside = tuple(slice(s // 2, length - s + s // 2 + 1) for s, length in zip(size, count.shape, strict=True))
        y, x = np.unravel_index(split[inside].argmax(), split[inside].shape)
        value = float(split[inside][y, x])
        if value > best[0]:
            best = (value, i, (slice(int(y), int(y) + size[0]), slice(int(x), int(x) + size[1])))
    return best[1], best[2]


def overlay(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What is right in grays, membranes that were missed or added in two colours; float (y, x, 3) from 0 to 1."""
    picture = np.where(truth[..., None] > 0, to_rgb(CELL), to_rgb(MEMBRANE))
    picture[(predicted > 0) & (truth == 0)] = to_rgb(MISSED)
    picture[(predicted == 0) & (truth > 0)] = to_rgb(ADDED)
    return picture


def _panel(axes: Axes, picture: np.ndarray, title: str, text: str, *, cmap: str | None = None) -> None:
    axes.imshow(picture, cmap=cmap, vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color="#9a9a9a", linewidth=0.6)
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color="#1a1a1a", pad=19)
    axes.text(0, 1.025, text, transform=axes.transAxes, fontsize=11, color="#4a4a4a", va="bottom")


def _legend(figure: Figure, steps: ListedColormap, n: int) -> None:
    names = {
        "membrane missed: cells merge": MISSED,
        "membrane added: cells are cut": ADDED,
        "membrane": MEMBRANE,
        "cell": CELL,
    }
    marks = [Patch(facecolor=colour, edgecolor="#9a9a9a", linewidth=0.6, label=name) for name, colour in names.items()]
    counts = [Patch(facecolor=steps(k), edgecolor="#9a9a9a", linewidth=0.6, label=str(k)) for k in range(n + 1)]
    place: dict[str, Any] = {"borderaxespad": 0, "borderpad": 0, "frameon": False, "fontsize": 11}
    place |= {"handlelength": 1.1, "handleheight": 1.1, "handletextpad": 0.4}
    height = figure.get_figheight()
    figure.legend(
        handles=marks, loc="lower left", bbox_to_anchor=(0.008, 0.38 / height), ncols=4, columnspacing=1.2, **place
    )
    figure.legend(
        handles=counts,
        loc="lower right",
        bbox_to_anchor=(0.992, 0.38 / height),
        ncols=n + 1,
        columnspacing=0.8,
        **place,
    )
    figure.text(0.008, 0.11 / height, f"{NOTE} {CREDIT}", fontsize=9, color="#4a4a4a")


if __name__ == "__main__":
    main()
