"""The U-Net family side by side: what does each part of a net change, in the same minutes on the same images?

    python recipes/variants.py DATA/isbi2012 --time 5m --out VARIANTS

Seven nets learn cell membranes from 20 sections of electron microscopy and are scored on four others: the U-Net, the
same without skips, with skips reduced by a 1x1 convolution, with residual blocks, with dense blocks, with attention
gates, and UNet++ (whole, and cut to its levels L1 to L4). Nothing else differs: the plan's defaults, seed 0.

Run time: 36 minutes for 5m on two idle cores: seven times `--time`, and seconds per net for predictions and scores.
Score: pixel error 0.0777 for the U-Net, 0.0806 without skips; the others and what they mean are in recipes/README.md.

VARIANTS then holds a run folder per net, `masks/`, `results.jsonl`, `table.md` and `variants.png`. Stop it at any
moment: the same command goes on, and what is in `results.jsonl` is not run again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import story
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from unetkit.model.files import read_model
from unetkit.nets.unetpp import UNetPlusPlus

NOTE = "Pixel error: wrong pixels in four sections that no net has seen, as a share of all."
CROP, COLUMNS = 200, 5  # pixels; panels per row
ROW, TITLE, FOOT = 2.83, 0.5, 0.78  # inches
FEW, MANY = "#F4F4F1", "#3B0F5C"  # nets that are wrong at a pixel


@dataclass(frozen=True)
class Variant:
    """A net: its folder, what a reader calls it, and how it differs from the plan's default."""

    key: str
    title: str
    settings: dict[str, Any] = field(default_factory=dict)


VARIANTS = (
    Variant("unet", "U-Net"),
    Variant("no_skip", "no skips", {"net.skip": "none"}),
    Variant("reduce", "1 x 1 skips", {"net.skip": "reduce"}),
    Variant("residual", "residual blocks", {"net.block": "residual"}),
    Variant("dense", "dense blocks", {"net.block": "dense"}),
    Variant("attention", "attention gates", {"net.skip": "attention"}),
    Variant("unetpp", "UNet++", {"net.name": "unet++"}),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Train and score what is missing, then write the table and the picture."""
    parser = story.options(__doc__, "folder isbi2012 with images/ and masks/")
    parser.add_argument("--only", nargs="+", choices=[v.key for v in VARIANTS], help="some of the nets")
    args = parser.parse_args(argv)
    task = story.isbi2012(args.data)
    table = story.write_pairs(task.training, args.out / "training.csv")
    for variant in VARIANTS:
        if not args.only or variant.key in args.only:
            for row in _rows_of(variant, table, task, args.out, story.budget(args, time_s=300.0)):
                story.keep(args.out, row)
    text = table_of(story.results(args.out))
    (args.out / "table.md").write_text(text)
    print(text)
    draw(task, args.out).savefig(args.out / "variants.png", dpi=200)
    print(args.out / "variants.png")


def _rows_of(
    variant: Variant, table: Path, task: story.Task, out: Path, budget: dict[str, float]
) -> Iterator[dict[str, Any]]:
    """Results that are not there yet: of the net, and of a UNet++ for every level that it can be cut to."""
    known = {row["key"] for row in story.results(out) if budget.items() <= row.items()}
    if variant.key in known:  # written last
        print(f"{variant.title}: done before", flush=True)
        return
    done = story.trained(table, out / variant.key, variant.title, variant.settings, budget)
    net, _ = read_model(out / variant.key)
    levels = range(1, net.depth + 1) if isinstance(net, UNetPlusPlus) else ()
    for level in (*levels, None):
        key = variant.key if level is None else f"{variant.key}_L{level}"
        if key not in known:
            title = variant.title if level is None else f"{variant.title}, cut to L{level}"
            cut = net.prune(level) if isinstance(net, UNetPlusPlus) and level else net
            row = {"key": key, "title": title, **budget, "steps_taken": done.steps, **story.size_of(cut)}
            found, time_s = story.scored(out / variant.key, task, out / "masks" / key, level=level)
            values = story.scores(found)
            yield row | {"cell_dice": values.pop("dice")} | values | {"seconds_per_image": round(time_s, 3)}


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    """A table of the results, in the order of `VARIANTS`."""
    order = {variant.key: i for i, variant in enumerate(VARIANTS)}
    header = ("net", "parameters", "GMACs at 256 x 256", "steps", "pixel error", "cell Dice", "boundary F1, 2 px")
    lines = []
    for row in sorted(rows, key=lambda row: (order[row["key"].split("_L")[0]], row["key"])):
        cells = [row["title"], f"{row['parameters'] / 1e6:.2f} M", f"{row['gmacs']:.2f}", str(row["steps_taken"])]
        cells += [f"{row['pixel_error']:.4f}", f"{row['cell_dice']:.4f}", f"{row['boundary_f1']:.4f}"]
        lines.append([*cells, f"{row['seconds_per_image']:.2f}"])
    return story.markdown((*header, "s per image"), lines)


def draw(task: story.Task, out: Path) -> Figure:
    """Image, truth, every net's errors and how many nets are wrong where, on the crop where they differ most."""
    errors = {row["key"]: row["pixel_error"] for row in story.results(out)}
    shown = [variant for variant in VARIANTS if variant.key in errors]
    images, truths = [image for image, _ in task.tests], [story.foreground(truth) for _, truth in task.tests]
    predicted = {v.key: [story.foreground(out / "masks" / v.key / image.name) for image in images] for v in shown}
    wrong = [sum((predicted[v.key][i] != truth).astype(int) for v in shown) for i, truth in enumerate(truths)]
    i, crop = story.where_they_differ(wrong, len(shown), CROP)
    truth = truths[i][crop]
    figure, grid = _sheet(ceil((len(shown) + 3) / COLUMNS))
    axes = iter(grid.ravel())
    story.panel(next(axes), story.view(images[i], crop), "image", f"section {images[i].stem}")
    story.panel(next(axes), story.overlay(truth, truth), "truth", "membranes dark")
    for variant in shown:
        picture = story.overlay(predicted[variant.key][i][crop], truth)
        story.panel(next(axes), picture, variant.title, f"pixel error {errors[variant.key]:.4f}")
    steps = ListedColormap(np.linspace(to_rgb(FEW), to_rgb(MANY), len(shown) + 1))
    counts = steps(wrong[i][crop])[..., :3]
    story.panel(next(axes), counts, "where they fail", f"nets that are wrong, of {len(shown)}")
    for rest in axes:
        rest.set_axis_off()
    _legend(figure, steps, len(shown), task.credit)
    return figure


def _sheet(rows: int) -> tuple[Figure, np.ndarray]:
    """An empty figure of panels, with room for their titles above them and for the legend at the foot."""
    height = ROW * rows + FOOT
    figure = Figure(figsize=(story.WIDTH, height), facecolor="white")
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    figure.subplots_adjust(0.008, FOOT / height, 0.992, 1 - TITLE / height, 0.035, 0.225)
    return figure, grid


def _legend(figure: Figure, steps: ListedColormap, n: int, credit: str) -> None:
    names = {
        "membrane missed: cells merge": story.MISSED,
        "membrane added: cells are cut": story.ADDED,
        "membrane": story.BACKGROUND,
        "cell": story.FOREGROUND,
    }
    story.foot(figure, names, f"{NOTE} {credit}")
    counts = [Patch(facecolor=steps(k), edgecolor=story.EDGE, linewidth=0.6, label=str(k)) for k in range(n + 1)]
    figure.legend(
        handles=counts, loc="lower right", bbox_to_anchor=(0.992, 0.38 / figure.get_figheight()), ncols=n + 1,
        frameon=False, fontsize=11, borderaxespad=0, borderpad=0, handlelength=1.1, handleheight=1.1,
        handletextpad=0.4, columnspacing=0.8,
    )  # fmt: skip


if __name__ == "__main__":
    main()
