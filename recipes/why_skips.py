"""Why skips? The same U-Net with and without them, of equal size: is it sharp detail that they carry?

    python recipes/why_skips.py DATA --steps 500 --out SKIPS

Textbooks say: the deep path knows what is there, the skips where its borders are. Two nets learn cell membranes
(DATA/isbi2012, sections 00 to 19 of 24) and nuclei (DATA/nuclei, four fifths): the plan's U-Net, and one without
skips whose widths are all grown by the same factor until it has as many parameters (within 2 %). Nothing else
differs. On images that neither has seen (sections 20 to 23, the last fifth) they are compared by what is coarse and by
what is fine:

- Dice, pixel error, and boundary F1 (share of contour pixels within 2 px of the other contour);
- coarse Dice: of the shares of foreground in blocks of 16 x 16 px, which do not depend on where a contour runs;
- the spectrum of the error (mask - truth): its energy above 1/16, 1/8 and 1/4 cycles per pixel.

Run time: 12 minutes for 500 steps on two cores (4 trainings of 2 to 3.5 minutes, and the predictions).
Expected score: see the table in recipes/README.md. `--seeds 0 1 2` repeats everything with other weights and batches,
`--only nuclei` leaves the other data out.

SKIPS then holds a run folder per net, `masks/`, `results.jsonl`, `table.md` with the verdict, and `why_skips.png`.
Stop it at any moment: the same command goes on, and what is in `results.jsonl` is not run again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from math import log
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import story
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from scipy.stats import t as student

from unetkit import build
from unetkit.insight.frequency.spectra import radial_spectrum, share_above
from unetkit.model.files import read_model
from unetkit.nets.architecture import Architecture

SETS = {"isbi2012": story.isbi2012, "nuclei": story.nuclei}
NETS = {"skips": "with skips", "no_skips": "without skips"}
LIMITS = {"1/16": 1 / 16, "1/8": 1 / 8, "1/4": 1 / 4}  # cycles per pixel
BLOCK = 16  # pixels
# Three seeds of one net differed by 0.001 in Dice (benchmarks/README.md): less than this is not told from chance.
TELLING = 0.005

CROP = 200  # pixels
ROW, TITLE, FOOT = 3.1, 0.6, 0.72  # inches
EDGES = np.geomspace(1 / 64, 1 / 2, 21)  # cycles per pixel: a quarter of an octave from one to the next
LINES = {"skips": "#3a8c4d", "no_skips": "#8a4fa3", "truth": "#9a9a9a"}


def main(argv: Sequence[str] | None = None) -> None:
    """Train and score what is missing, then write the table, the verdict and the picture."""
    parser = story.options(__doc__, "folder that holds isbi2012 and nuclei, each with images/ and masks/")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="repeat with each of them")
    parser.add_argument("--only", nargs="+", choices=list(SETS), help="some of the data")
    args = parser.parse_args(argv)
    budget = story.budget(args, steps=500)
    tasks = {key: SETS[key](args.data / key) for key in args.only or SETS}
    for seed in args.seeds:
        for key, task in tasks.items():
            _compare(key, task, args.out, seed, budget)
    rows = [row for row in story.results(args.out) if budget.items() <= row.items() and row["set"] in tasks]
    text = table_of(rows) + "\n" + "\n\n".join(verdict(rows)) + "\n"
    (args.out / "table.md").write_text(text)
    print(text)
    draw(tasks, rows, args.out).savefig(args.out / "why_skips.png", dpi=200)
    print(args.out / "why_skips.png")


def _compare(key: str, task: story.Task, out: Path, seed: int, budget: dict[str, float]) -> None:
    """Results of both nets that are not there yet."""
    table = story.write_pairs(task.training, out / key / "training.csv")
    settings: dict[str, Any] = {}
    for net, title in NETS.items():
        name, run = f"{key}/{net}_{seed}", out / key / f"{net}_{seed}"
        if net == "no_skips":
            like, _ = read_model(out / key / f"skips_{seed}")
            settings = {"net.skip": "none", "net.widths": as_large(like.architecture).widths}
        if story.is_known(out, name, budget):
            print(f"{name}: done before", flush=True)
            continue
        done = story.trained(table, run, f"{key}, {title}, seed {seed}", {"budget.seed": seed, **settings}, budget)
        found, _ = story.scored(run, task, out / "masks" / name)
        row = {"key": name, "set": key, "net": net, "seed": seed, **budget, **story.described(run, done)}
        masks, truths = _masks(out / "masks" / name, task)
        errors = [a.astype(float) - b for a, b in zip(masks, truths, strict=True)]
        story.keep(out, row | story.scores(found) | {"coarse_dice": coarse_dice(masks, truths)} | energies(errors))


def _masks(folder: Path, task: story.Task) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Predicted and true foreground of the test images."""
    predicted = [story.foreground(folder / image.name) for image, _ in task.tests]
    return predicted, [story.foreground(truth) for _, truth in task.tests]


# --- equal parameters ---


def parameters(architecture: Architecture) -> int:
    """Learned numbers of a net, which is built without its weights."""
    with torch.device("meta"):
        return sum(p.numel() for p in build(architecture).parameters())


def as_large(architecture: Architecture) -> Architecture:
    """The net without skips, its widths grown alike until it has as many parameters as `architecture`."""
    bottom, wanted = architecture.widths[-1], parameters(architecture)

    def grown(width: int) -> Architecture:
        widths = tuple(max(1, round(w * width / bottom)) for w in architecture.widths)
        return replace(architecture, skip="none", widths=widths)

    reached = bottom + bisect_left(range(bottom, 2 * bottom), wanted, key=lambda w: parameters(grown(w)))
    return min((grown(w) for w in (reached - 1, reached)), key=lambda a: abs(parameters(a) - wanted))


# --- what is coarse and what is fine ---


def coarse_dice(masks: Sequence[np.ndarray], truths: Sequence[np.ndarray], block: int = BLOCK) -> float:
    """Dice of the shares of foreground in blocks, 2 sum(min(p, t)) / sum(p + t), over all images.

    For blocks of one pixel it is Dice. The rest beyond the last whole block is left out.
    """
    common = both = 0.0
    for mask, truth in zip(masks, truths, strict=True):
        p, t = (_block_means(one, block) for one in (mask, truth))
        common, both = common + float(np.minimum(p, t).sum()), both + float((p + t).sum())
    return round(2 * common / both, 5) if both else 1.0


def _block_means(mask: np.ndarray, block: int) -> np.ndarray:
    y, x = (n // block for n in mask.shape)
    return mask[: y * block, : x * block].reshape(y, block, x, block).mean((1, 3))


def energies(errors: Sequence[np.ndarray]) -> dict[str, Any]:
    """Energy of the errors per pixel, without their means: in all, and above each limit along any axis.

    An error of a mask is 1 or -1 at each wrong pixel, so that its energy is about the pixel error.
    """
    pixels = sum(error.size for error in errors)
    totals = [error.size * float(error.var()) / pixels for error in errors]
    above = {
        name: sum(total * share_above(error, limit) for total, error in zip(totals, errors, strict=True))
        for name, limit in LIMITS.items()
    }
    return {"energy": sum(totals), "above": above}


def spectrum(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Mean power density of arrays (y, x) between the frequencies of `EDGES`, each array counting by its pixels."""
    total = np.zeros(len(EDGES) - 1)
    for array in arrays:
        found = radial_spectrum(array)
        rings = np.append(0, found.frequencies)
        # Rings may be wider than the steps between edges: each is spread evenly from the one before to itself.
        energy, modes = (
            np.diff(np.interp(EDGES, rings, np.append(0, np.cumsum(one))))
            for one in (found.power * found.modes, found.modes)
        )
        total += array.size * (energy / modes) * array.size  # a larger image has more modes, each with less energy
    return total / sum(array.size for array in arrays)


# --- in words ---


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    """A line per net and data; with several seeds the mean and the standard deviation."""
    header = ["data", "net", "parameters", "GMACs at 256 x 256", "steps", "s per step", "Dice", "boundary F1, 2 px"]
    header += ["pixel error", f"coarse Dice, {BLOCK} px", f"error above {', '.join(LIMITS)} cycles per px"]
    lines = []
    for key, net in dict.fromkeys((row["set"], row["net"]) for row in rows):
        same = [row for row in rows if (row["set"], row["net"]) == (key, net)]
        cells = [key, NETS[net], f"{same[0]['parameters']:,}", f"{same[0]['gmacs']:.2f}"]
        cells += [f"{mean(row['steps_taken'] for row in same):.0f}", f"{_mean(same, 'seconds_per_step'):.2f}"]
        cells += [
            _spread([row[name] for row in same]) for name in ("dice", "boundary_f1", "pixel_error", "coarse_dice")
        ]
        shares = [mean(row["above"][name] / max(row["energy"], 1e-12) for row in same) for name in LIMITS]
        lines.append([*cells, ", ".join(f"{share:.0%}" for share in shares)])
    return story.markdown(header, lines)


def _mean(rows: Sequence[dict[str, Any]], name: str) -> float:
    return mean(row[name] for row in rows)


def _spread(values: Sequence[float]) -> str:
    return f"{values[0]:.4f}" if len(values) == 1 else f"{mean(values):.4f} ± {stdev(values):.4f}"


def verdict(rows: Sequence[dict[str, Any]]) -> list[str]:
    """For each data what the numbers say of the textbook's sentence, whichever way they come out."""
    said = []
    for key in dict.fromkeys(row["set"] for row in rows):
        by_seed = {(row["net"], row["seed"]): row for row in rows if row["set"] == key}
        seeds = [seed for net, seed in by_seed if net == "skips" and ("no_skips", seed) in by_seed]
        pairs = [(by_seed["skips", seed], by_seed["no_skips", seed]) for seed in seeds]
        if pairs:
            said.append(f"**{key}**, {len(pairs)} seed{'s'[: len(pairs) > 1]}. {_judged(pairs)}")
    return said


def _judged(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    fine, coarse = ([a[name] - b[name] for a, b in pairs] for name in ("boundary_f1", "coarse_dice"))
    is_sharper, same_context = _is_telling(fine) and mean(fine) > 0, not _is_telling(coarse)
    if is_sharper and same_context:
        end = (
            "So the textbook sentence holds here: the skips carry sharp detail, and the context is there without them."
        )
    elif is_sharper:
        end = "So it holds in part: boundaries suffer without skips, but what is coarse changes as well."
    else:
        end = "So the textbook sentence is not borne out here."
    return " ".join([_gap("Boundary F1", fine), _gap("Coarse Dice", coarse), _spectral(pairs), end])


def _gap(name: str, gaps: Sequence[float]) -> str:
    found, least = mean(gaps), _least(gaps)
    if not _is_telling(gaps):
        return f"{name}: a difference of {found:+.4f}, less than the {least:.4f} that can be told from chance."
    return f"{name} is {abs(found):.4f} {'higher' if found > 0 else 'lower'} with skips than without."


def _least(gaps: Sequence[float]) -> float:
    """The smallest mean difference taken for one: `TELLING`, and with several seeds half the 95 % interval."""
    if len(gaps) == 1:
        return TELLING
    return max(TELLING, float(student.ppf(0.975, len(gaps) - 1)) * stdev(gaps) / len(gaps) ** 0.5)


def _is_telling(gaps: Sequence[float]) -> bool:
    return abs(mean(gaps)) > _least(gaps)


def _spectral(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """The energy of the error without skips, as a multiple of that with them, at coarse and at fine scales."""
    coarse, fine = ratios([a for a, _ in pairs], [b for _, b in pairs])
    text = (
        f"Without skips the error has {coarse:.2f} times the energy below 1/16 cycles per pixel, and {fine:.2f} times"
    )
    larger, scale = max((abs(log(coarse)), "coarse"), (abs(log(fine)), "fine"))
    where = "hardly differ at either scale" if larger < log(1.05) else f"differ most at {scale} scales"
    return f"{text} that above 1/8: the nets {where}."


def ratios(first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Energy of the second errors over that of the first: below 1/16 cycles per pixel, and above 1/8."""
    parts = []
    for rows in (first, second):
        below = sum(row["energy"] - row["above"]["1/16"] for row in rows)
        parts.append((max(below, 1e-12), max(sum(row["above"]["1/8"] for row in rows), 1e-12)))
    return parts[1][0] / parts[0][0], parts[1][1] / parts[0][1]


# --- the picture ---


def draw(tasks: dict[str, story.Task], rows: Sequence[dict[str, Any]], out: Path) -> Figure:
    """A row for each data: image, truth, errors of both nets where they differ most, and spectra of the errors."""
    figure = Figure(figsize=(story.WIDTH, ROW * len(tasks) + FOOT), facecolor="white")
    for i, (key, task) in enumerate(tasks.items()):
        places = story.strip(figure, ROW * (len(tasks) - i) + FOOT - TITLE, 4)
        _draw_row(places, key, task, [row for row in rows if row["set"] == key], out)
    names = {"called foreground, and is not": story.MISSED, "foreground that was missed": story.ADDED}
    names |= {"background (membrane)": story.BACKGROUND, "foreground (cell, nucleus)": story.FOREGROUND}
    story.foot(figure, names, " ".join(task.credit for task in tasks.values()))
    return figure


def _draw_row(places: Sequence[Axes], key: str, task: story.Task, rows: Sequence[dict[str, Any]], out: Path) -> None:
    first = {net: next(row for row in rows if row["net"] == net) for net in NETS}
    masks = {net: _masks(out / "masks" / row["key"], task)[0] for net, row in first.items()}
    truths = [story.foreground(truth) for _, truth in task.tests]
    wrong = [sum((masks[net][i] != truth).astype(int) for net in NETS) for i, truth in enumerate(truths)]
    i, crop = story.where_they_differ(wrong, len(NETS), CROP)
    image, truth = task.tests[i][0], truths[i][crop]
    story.panel(places[0], story.view(image, crop), key, f"image {image.stem[:8]}")
    story.panel(places[1], story.overlay(truth, truth), "truth", f"{task.classes[0]} dark")
    for axes, net in zip(places[2:4], NETS, strict=True):
        score = _mean([row for row in rows if row["net"] == net], "boundary_f1")
        story.panel(axes, story.overlay(masks[net][i][crop], truth), NETS[net], f"boundary F1 {score:.3f}")
    _spectra(places[4], masks, truths)


def _spectra(axes: Axes, masks: dict[str, list[np.ndarray]], truths: Sequence[np.ndarray]) -> None:
    """Power of the errors of all test images, and of the truth, over frequency."""
    lines = {"truth": spectrum([truth.astype(float) for truth in truths])}
    for net, found in masks.items():
        lines[net] = spectrum([mask.astype(float) - truth for mask, truth in zip(found, truths, strict=True)])
    for name, power in lines.items():
        style: dict[str, Any] = {"linestyle": "--", "linewidth": 1.2} if name == "truth" else {"linewidth": 1.8}
        label = "truth" if name == "truth" else f"error {NETS[name]}"
        # A perfect mask has no error to draw on a logarithmic axis.
        power = np.where(power > 0, power, np.nan)
        axes.plot(np.sqrt(EDGES[1:] * EDGES[:-1]), power, color=LINES[name], label=label, **style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator([1 / 2**k for k in range(6, 0, -1)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"1/{2**k}" for k in range(6, 0, -1)])
    axes.legend(fontsize=9, frameon=False, loc="lower left", borderaxespad=0.2, handlelength=1.4)
    story.graph(axes, "error by scale", "coarse left, fine right", x="cycles per pixel")


if __name__ == "__main__":
    main()
