"""Few images: does UNet++ with deep supervision vary less from training to training than a U-Net?

    python recipes/small_data.py DATA/isbi2012 --out SMALL

Both nets learn cell membranes from 2, 4, 8 and 16 of the sections 00 to 19, five times each, and are scored on
sections 20 to 23. The seed draws the sections, the weights and the batches, the same for both nets; each number of
images has five seeds of its own, so that its scores repeat nothing of the others' (but 16 of 20 sections are nearly
the same for every seed: there the spread is mostly that of the training). The nets are small (widths 16 to 128, patches
of 128 x 128 px) so that a training takes about a minute; both take the same number of steps, of which one of UNet++
costs more: parameters and seconds are in the table.

What is asked is the spread over seeds: standard deviations with their 95 % intervals (chi-square), the Brown-Forsythe
test for each number of images, and one test over all of them (the two scores of a seed are swapped at random). Five
seeds say little of a variance; the script says how little.

Run time: 18 minutes for 40 trainings of 300 steps on two cores (18 s each for the U-Net, 33 s for UNet++). Scores: Dice
0.941 to 0.944 for the U-Net, 0.936 to 0.939 for UNet++; the tables and what they mean are in recipes/README.md.

SMALL then holds a run folder per training, `masks/`, `results.jsonl`, `table.md` with the verdict, and the picture
`small_data.png`. Stop it at any moment: the same command goes on, and what is in `results.jsonl` is not run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import story
from matplotlib.figure import Figure
from scipy import stats

from unetkit.plotting.matplotlib_style import new_figure
from unetkit.plotting.palette import COLOURS, QUIET

NETS = {"unet": "U-Net", "unetpp": "UNet++"}
SMALL = {"net.widths": (16, 32, 64, 128), "patches.size": 128, "patches.batch": 4}
SETTINGS: dict[str, dict[str, Any]] = {
    "unet": {},
    "unetpp": {"net.name": "unet++"},
}  # a head on every depth, all supervised
IMAGES, SEEDS = (2, 4, 8, 16), 5
SCORES = {"dice": "cell Dice", "pixel_error": "pixel error"}
SWAPS = 9999  # of the test over all numbers of images


def main(argv: Sequence[str] | None = None) -> None:
    """Train and score what is missing, then write the tables, the verdict and the picture."""
    parser = story.options(__doc__, "folder isbi2012 with images/ and masks/")
    parser.add_argument("--images", nargs="+", type=int, default=list(IMAGES), help="numbers of images to learn from")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="trainings of each net on each number of images")
    args = parser.parse_args(argv)
    if args.seeds < 3 or not all(1 <= n <= story.N_TRAINING for n in args.images):
        parser.error(f"expected 3 seeds or more, and 1 to {story.N_TRAINING} images")
    task, budget = story.isbi2012(args.data), story.budget(args, steps=300)
    wanted = [(net, n, seed_of(n, place)) for place in range(args.seeds) for n in args.images for net in NETS]
    for one in wanted:
        _run(*one, task, args.out, budget)
    keys = {_key(*one) for one in wanted}
    rows = [row for row in story.results(args.out) if budget.items() <= row.items() and row["key"] in keys]
    text = "\n".join([table_of(rows), tests_of(rows), *verdict(rows)]) + "\n"
    (args.out / "table.md").write_text(text)
    print(text)
    draw(rows).savefig(args.out / "small_data.png", dpi=200)
    print(args.out / "small_data.png")


def _key(net: str, n: int, seed: int) -> str:
    return f"{net}/{n}/{seed}"


def _run(net: str, n: int, seed: int, task: story.Task, out: Path, budget: dict[str, float]) -> None:
    """Train and score, if that was not done before."""
    key = _key(net, n, seed)
    if story.is_known(out, key, budget):
        print(f"{key}: done before", flush=True)
        return
    table = story.write_pairs([task.training[i] for i in chosen(n, seed)], out / "tables" / f"{n}_{seed}.csv")
    run, title = out / "runs" / key, f"{NETS[net]}, {n} images, seed {seed}"
    done = story.trained(table, run, title, {"budget.seed": seed, **SMALL, **SETTINGS[net]}, budget, quiet=True)
    found, _ = story.scored(run, task, out / "masks" / key)
    row = {"key": key, "net": net, "images": n, "seed": seed, **budget, "trained_s": round(done.time_s, 1)}
    row |= story.described(run, done) | story.scores(found)
    story.keep(out, row)
    print(f"  {done.steps} steps in {done.time_s:.0f} s, cell Dice {row['dice']:.4f}", flush=True)


def seed_of(n: int, place: int) -> int:
    """The seed of a training: others for each number of images, or a seed's luck would count once for each of them."""
    return 1000 * n + place


def chosen(n: int, seed: int) -> list[int]:
    """The training sections of a seed, the same for both nets."""
    return sorted(np.random.default_rng(seed).permutation(story.N_TRAINING)[:n].tolist())


# --- mean and spread ---


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Chi-square interval of the standard deviation that values were drawn with, if they are normally distributed."""
    freedom, spread = len(values) - 1, stdev(values)
    low, high = stats.chi2.ppf([(1 + level) / 2, (1 - level) / 2], freedom)
    return spread * (freedom / low) ** 0.5, spread * (freedom / high) ** 0.5


def brown_forsythe(first: Sequence[float], second: Sequence[float]) -> float:
    """The p-value of equal variances (Brown, Forsythe 1974, doi:10.1080/01621459.1974.10482955); nan without any."""
    if not (stdev(first) or stdev(second)):
        return float("nan")
    return float(stats.levene(first, second, center="median").pvalue)


def swapped(scores: np.ndarray, *, swaps: int = SWAPS, seed: int = 0) -> tuple[float, float]:
    """Ratio of the variances of two nets, its geometric mean over numbers of images, and its p-value.

    Were the nets alike but for their means, the two deviations of a seed could be swapped: the p-value is the share of
    such random swaps that give a ratio as far from 1 as the real one. Approximate, as the means are estimated.

    Parameters
    ----------
    scores : ndarray of shape (numbers of images, seeds, 2)
    swaps, seed : int
    """
    centred = scores - scores.mean(1, keepdims=True)
    flip = np.random.default_rng(seed).random((swaps, *scores.shape[:2])) < 0.5
    found = _log_ratio(centred[None])[0]
    others = _log_ratio(np.where(flip[..., None], centred[None, ..., ::-1], centred[None]))
    p = (1 + np.count_nonzero(np.abs(others) >= abs(found) - 1e-12)) / (1 + swaps)
    return float(np.exp(found)), float(p)


def _log_ratio(scores: np.ndarray) -> np.ndarray:
    """(R, numbers of images, seeds, 2) to the mean log ratio of variances, second over first, of each of R."""
    variance = scores.var(2, ddof=1) + 1e-18
    ratio: np.ndarray = np.log(variance[..., 1] / variance[..., 0]).mean(1)
    return ratio


def telling_ratio(seeds: int) -> float:
    """The least ratio of two variances that an F test of so many seeds each tells from 1, two-sided at 5 %."""
    return float(stats.f.ppf(0.975, seeds - 1, seeds - 1))


def scores_of(rows: Sequence[dict[str, Any]], name: str) -> dict[int, np.ndarray]:
    """A score for each number of images: (seeds, 2), U-Net first."""
    found: dict[int, np.ndarray] = {}
    for n in sorted({row["images"] for row in rows}):
        by_key = {(row["seed"], row["net"]): row[name] for row in rows if row["images"] == n}
        seeds = sorted({seed for seed, _ in by_key})
        found[n] = np.array([[by_key[seed, net] for net in NETS] for seed in seeds])
    return found


# --- in words ---


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each number of images and net."""
    header = ["images", "net", "parameters", "s per training"]
    header += [part for name in SCORES.values() for part in (f"{name}, mean", "standard deviation (95 % interval)")]
    lines = []
    for n in sorted({row["images"] for row in rows}):
        for net, title in NETS.items():
            same = [row for row in rows if (row["images"], row["net"]) == (n, net)]
            cells = [str(n), title, f"{same[0]['parameters']:,}", f"{mean(row['trained_s'] for row in same):.0f}"]
            for name in SCORES:
                values = [row[name] for row in same]
                low, high = interval(values)
                cells += [f"{mean(values):.4f}", f"{stdev(values):.4f} ({low:.4f} to {high:.4f})"]
            lines.append(cells)
    return story.markdown(header, lines)


def tests_of(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each number of images: variance of UNet++ over that of U-Net, and whether that is chance."""
    header = ["images"]
    header += [part for name in SCORES.values() for part in (f"variance of {name}, UNet++ / U-Net", "p")]
    columns = [scores_of(rows, name) for name in SCORES]
    lines = []
    for n in columns[0]:
        cells = [str(n)]
        for column in columns:
            first, second = column[n].T.tolist()
            ratio = stdev(second) ** 2 / stdev(first) ** 2 if stdev(first) else float("nan")
            cells += [f"{ratio:.2g}", f"{brown_forsythe(first, second):.2g}"]
        lines.append(cells)
    return story.markdown(header, lines)


def verdict(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the numbers say of "UNet++ reduces variance", whichever way they come out."""
    said = [_of_mean(rows)]
    for name, title in SCORES.items():
        scores = np.stack(list(scores_of(rows, name).values()))
        ratio, p = swapped(scores)
        if p >= 0.05:
            what = "chance alone could do that, so whether UNet++ varies less is not decided"
        else:
            what = "more than chance: UNet++ varies " + ("less here" if ratio < 1 else "more here, not less")
        said.append(
            f"Variance of the {title} over seeds, all numbers of images together: UNet++ has {ratio:.2g} times that "
            f"of U-Net (p = {p:.2g}): {what}."
        )
    seeds = len({row["seed"] for row in rows if row["images"] == rows[0]["images"]})
    said.append(
        f"{seeds} seeds say little of a variance: at one number of images only a ratio beyond "
        f"{telling_ratio(seeds):.1f} (or below {1 / telling_ratio(seeds):.2f}) would be told from chance."
    )
    return [f"{sentence}\n" for sentence in said]


def _of_mean(rows: Sequence[dict[str, Any]]) -> str:
    """On average: the difference of Dice, with its interval over seeds (paired, as they share images)."""
    parts, seconds = [], {net: mean(row["trained_s"] for row in rows if row["net"] == net) for net in NETS}
    for n, scores in scores_of(rows, "dice").items():
        gaps = (scores[:, 1] - scores[:, 0]).tolist()
        half = float(stats.t.ppf(0.975, len(gaps) - 1)) * stdev(gaps) / len(gaps) ** 0.5
        parts.append(f"{mean(gaps):+.4f} ± {half:.4f} at {n}")
    return (
        f"Mean cell Dice of UNet++ minus that of U-Net (with 95 % interval): {', '.join(parts)} images. For the same "
        f"steps UNet++ took {seconds['unetpp'] / max(seconds['unet'], 1e-9):.1f} times as long."
    )


# --- the picture ---


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """Every training as a dot, over the number of images; means are joined."""
    figure, grid = new_figure(1, len(SCORES), width=9.6, height=3.9)
    for axes, (name, title) in zip(grid[0], SCORES.items(), strict=True):
        for k, label in enumerate(NETS.values()):
            found = {n: scores[:, k] for n, scores in scores_of(rows, name).items()}
            side = 1.06 ** (2 * k - 1)  # the two nets beside each other
            middle = [float(values.mean()) for values in found.values()]
            axes.plot([n * side for n in found], middle, color=COLOURS[k], linewidth=1.2, label=f"{label}, mean")
            for n, values in found.items():
                axes.plot([n * side] * len(values), values, "o", color=COLOURS[k], markersize=5, alpha=0.65, mew=0)
        axes.set_xscale("log", base=2)
        axes.margins(x=0.08)
        axes.set_xticks(sorted({row["images"] for row in rows}))
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set_xlabel("images to learn from")
        axes.set_title(f"{title}: every dot is a training", loc="left")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False)
    note = "Scored on four sections that no net has seen. " + story.ISBI2012.replace("Images:", "Data:")
    figure.supxlabel(note, x=0.01, ha="left", fontsize=8, color=QUIET)
    return figure


if __name__ == "__main__":
    main()
