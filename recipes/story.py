"""What the recipes share: images to learn from and to be scored on, runs that go on after a stop, tables and panels.

A recipe is run as a script, `python recipes/NAME.py ...`; Python then finds this file beside it.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.ndimage import uniform_filter

from unetkit import Execution, load_model, read, read_labels, train
from unetkit.cli.options import seconds
from unetkit.data.pairs import find_pairs
from unetkit.data.split import split
from unetkit.graph.cost import cost
from unetkit.metrics.evaluation import Evaluation, evaluate_arrays
from unetkit.nets.net import Net
from unetkit.progress import SILENT
from unetkit.training.plan.settings import merge_settings
from unetkit.training.run import Run

N_TRAINING, N_TESTS = 20, 4  # sections of isbi2012
COST_SIZE = (256, 256)
ISBI2012 = "Images: ISBI 2012 EM challenge (Drosophila nerve cord, 4 nm per pixel), Arganda-Carreras et al. 2015."
NUCLEI = "Nuclei: Data Science Bowl 2018 (BBBC038), Caicedo et al. 2019, CC0."

# Okabe and Ito's vermilion and blue, which colour-blind eyes tell apart too; grays for what is right.
MISSED, ADDED, BACKGROUND, FOREGROUND = "#D55E00", "#0072B2", "#555555", "#F4F4F1"
EDGE, INK, QUIET, LINE = "#9a9a9a", "#1a1a1a", "#4a4a4a", "#e3e6e9"
WIDTH, PANEL, GAP = 12.0, 2.1, 0.12  # inches: of a figure, a panel, and between panels

Pairs = list[tuple[Path, Path]]


@dataclass(frozen=True)
class Task:
    """Images to learn from and others to be scored on, as pairs (image, mask).

    `classes` are what the masks show, background first; `credit` is said under every picture.
    """

    training: Pairs
    tests: Pairs
    classes: tuple[str, str]
    credit: str


def isbi2012(data: Path) -> Task:
    """Sections 00 to 19 to learn from and 20 to 23 to be scored on."""
    names = sorted(path.name for path in (data / "images").glob("*.png"))
    if len(names) < N_TRAINING + N_TESTS:
        raise ValueError(f"{data / 'images'} holds {len(names)} sections (.png); expected {N_TRAINING + N_TESTS}")
    pairs = [(data / "images" / name, data / "masks" / name) for name in names]
    return Task(pairs[:N_TRAINING], pairs[N_TRAINING : N_TRAINING + N_TESTS], ("membrane", "cell"), ISBI2012)


def nuclei(data: Path) -> Task:
    """The fifth to be scored on that a training with seed 0 would hold out, the others to learn from."""
    parts = split(find_pairs(data), fraction=0.2, seed=0)  # type: ignore[type-var]
    training, tests = ([(pair.image, pair.mask) for pair in part] for part in parts)
    return Task(training, tests, ("background", "nucleus"), NUCLEI)


# --- the command line, and results that are kept ---


def options(text: str | None, data: str) -> argparse.ArgumentParser:
    """What every recipe is told: the data, a folder for everything, and a budget for each training."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help=data)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything that is made")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--time", type=seconds, help="of each training: 90s, 5m, 1h")
    either.add_argument("--steps", type=int, help="of each training; a few of them to try it out")
    return parser


def budget(args: argparse.Namespace, **default: float) -> dict[str, float]:
    """The budget of each training, as `train` takes it: what was given, or the recipe's own."""
    given = {"steps": args.steps, "time_s": args.time}
    return {name: value for name, value in given.items() if value is not None} or default


def results(out: Path) -> list[dict[str, Any]]:
    """The lines of `results.jsonl`."""
    file = out / "results.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def keep(out: Path, row: dict[str, Any]) -> None:
    """Add a line to `results.jsonl`."""
    with (out / "results.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def is_known(out: Path, key: str, budget: dict[str, float]) -> bool:
    """Whether `results.jsonl` has a line of this key and budget."""
    return any(row["key"] == key and budget.items() <= row.items() for row in results(out))


# --- training and scoring ---


def write_pairs(pairs: Pairs, table: Path) -> Path:
    """A table (.csv) of images and masks, for `train`."""
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "mask"), *((i.resolve(), m.resolve()) for i, m in pairs)])
    return table


class _Messages:
    """Prints the messages of a training."""

    def update(self, done: float = 0.0, total: float = 0.0, message: str = "", **values: float) -> None:
        """Take the state of the training."""
        if message:
            print(f"  {message}", flush=True)


def trained(
    table: Path, run: Path, title: str, settings: dict[str, Any], budget: dict[str, Any], *, quiet: bool = False
) -> Run:
    """Train a net on all images of a table, or continue where it was stopped; stopped again, the script ends here.

    Recipes are about pixels: touching objects are not separated. Settings are by dotted path: {"net.skip": "none"}.
    """
    print(f"{title}: training", flush=True)
    settings = {"data.validation_fraction": 0.0, "data.labels": "foreground", **settings}
    progress = SILENT if quiet else _Messages()
    done = train(table, out=run, resume=True, settings=merge_settings(settings.items()), progress=progress, **budget)
    if done.was_interrupted:
        raise SystemExit(f"stopped after {done.steps} steps of {title}: the same command goes on from there")
    return done


def size_of(net: Net) -> dict[str, float]:
    """Parameters, and billions of multiplications for an image of 256 x 256."""
    counted = cost(net.graph, COST_SIZE)
    return {"parameters": counted.parameters, "gmacs": round(counted.macs / 1e9, 3)}


def described(run: Path, done: Run) -> dict[str, Any]:
    """Size of a trained net and the steps that it took, for a line of the results."""
    net = load_model(run).net
    speed = {"steps_taken": done.steps, "seconds_per_step": round(done.time_s / max(done.steps, 1), 4)}
    return speed | size_of(net)


def scored(run: Path, task: Task, masks: Path, *, level: int | None = None) -> tuple[Evaluation, float]:
    """Predict the test images, keep the masks, and compare them with the truth; also the median seconds per image."""
    predictor = load_model(run, Execution(level=level))
    written = predictor.predict_files([image for image, _ in task.tests], masks, existing="overwrite")
    found = [foreground(one.mask) for one in written]
    triples = ((i.stem, mask, foreground(truth)) for mask, (i, truth) in zip(found, task.tests, strict=True))
    return evaluate_arrays(triples, task.classes), median(one.time_s for one in written)


def scores(found: Evaluation) -> dict[str, float]:
    """All test pixels together: of the foreground Dice and boundary F1 (2 px), of all classes the pixel error."""
    one = found.pooled[1]
    values = {"dice": one.dice, "boundary_f1": one.boundary_f1, "pixel_error": found.pixel_error}
    return {name: round(value, 5) for name, value in values.items()}


def foreground(mask: Path) -> np.ndarray:
    """1 where a mask shows an object, 0 where not: uint8 (y, x)."""
    return (read_labels(mask).array > 0).astype(np.uint8)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [f"| {' | '.join(row)} |" for row in (header, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(header)}", *lines[1:]]) + "\n"


# --- panels of a picture ---


def view(image: Path, crop: tuple[slice, ...]) -> np.ndarray:
    """Part of an image, its contrast stretched: float (y, x) or (y, x, 3), 0 to 1."""
    array = read(image).array[:3][(slice(None), *crop)].astype(float)
    low, high = np.percentile(array, (0.5, 99.5))
    array = np.clip((array - low) / max(high - low, 1), 0, 1)
    return array[0] if len(array) == 1 else array.transpose(1, 2, 0)


def where_they_differ(wrong: Sequence[np.ndarray], n: int, side: int) -> tuple[int, tuple[slice, slice]]:
    """The image, and in it the square of `side` pixels, where some of `n` nets are right and others wrong most often.

    `wrong` counts for every image the nets that are wrong at each pixel.
    """
    best = (-1.0, 0, (slice(0), slice(0)))
    for i, count in enumerate(wrong):
        size = [min(side, length) for length in count.shape]
        differ = uniform_filter((count * (n - count)).astype(float), size, mode="constant")
        # A filter of size s, centred at pixel c, covers c - s // 2 and the s - 1 pixels after it.
        inside = tuple(slice(s // 2, length - s + s // 2 + 1) for s, length in zip(size, count.shape, strict=True))
        y, x = np.unravel_index(differ[inside].argmax(), differ[inside].shape)
        value = float(differ[inside][y, x])
        if value > best[0]:
            best = (value, i, (slice(int(y), int(y) + size[0]), slice(int(x), int(x) + size[1])))
    return best[1], best[2]


def overlay(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What is right in grays, background and foreground that were missed in two colours: float (y, x, 3), 0 to 1."""
    picture = np.where(truth[..., None] > 0, to_rgb(FOREGROUND), to_rgb(BACKGROUND))
    picture[(predicted > 0) & (truth == 0)] = to_rgb(MISSED)
    picture[(predicted == 0) & (truth > 0)] = to_rgb(ADDED)
    return picture


def panel(axes: Axes, picture: np.ndarray, title: str, text: str) -> None:
    """Show a picture (y, x) or (y, x, 3) of values 0 to 1, with a title and a line of small text above it."""
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=EDGE, linewidth=0.6)
    headline(axes, title, text)


def headline(axes: Axes, title: str, text: str) -> None:
    """A title and a line of small text above a panel."""
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=INK, pad=19)
    axes.text(0, 1.025, text, transform=axes.transAxes, fontsize=11, color=QUIET, va="bottom")


def strip(figure: Figure, top: float, n: int) -> list[Axes]:
    """Places for `n` square panels in a row and a graph beside them; their upper side is `top` inches from below."""
    height = figure.get_figheight()
    lefts = [0.1 + k * (PANEL + GAP) for k in range(n + 1)]
    places = [(left, PANEL) for left in lefts[:-1]]
    beside = lefts[-1] - GAP + 0.75  # with room for the numbers of its axis
    places.append((beside, WIDTH - beside - 0.15))
    return [figure.add_axes((x / WIDTH, (top - PANEL) / height, w / WIDTH, PANEL / height)) for x, w in places]


def graph(axes: Axes, title: str, text: str, *, x: str) -> None:
    """Dress a graph that stands beside panels; `x` is what its horizontal axis shows."""
    axes.tick_params(which="both", labelsize=9, colors=QUIET)
    axes.set_xlabel(x, fontsize=10, color=QUIET)
    axes.grid(color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set(color=EDGE, visible=side in ("left", "bottom"))
    headline(axes, title, text)


def foot(figure: Figure, marks: dict[str, str], text: str) -> None:
    """What the colours mean, and below it a line of small text, at the foot of a figure."""
    height = figure.get_figheight()
    patches = [Patch(facecolor=c, edgecolor=EDGE, linewidth=0.6, label=name) for name, c in marks.items()]
    figure.legend(
        handles=patches, loc="lower left", bbox_to_anchor=(0.008, 0.38 / height), ncols=len(patches), frameon=False,
        fontsize=11, borderaxespad=0, borderpad=0, handlelength=1.1, handleheight=1.1, handletextpad=0.4,
        columnspacing=1.2,
    )  # fmt: skip
    figure.text(0.008, 0.11 / height, text, fontsize=9, color=QUIET)
