"""Ways to pool: what do a strided convolution and a blur change, in the score and when the image moves a little?

    python recipes/pooling.py DATA/isbi2012 --steps 400 --out POOLING

A net that pools is only sure to give the same mask for an image that moved by multiples of its total stride, here
16 px. The plan's U-Net learns cell membranes from sections 00 to 19 three times, alike but for its way down:
max-pooling, a strided convolution (V-Net), and the maximum at every pixel followed by a blur before every second one is
taken (Zhang, ICML 2019). On sections 20 to 23 each is scored, and each section is moved by 1 to 16 px along both axes:
how many pixels of the mask, moved back, change their class? Only pixels are compared that see no border.

Run time: about 16 minutes for 400 steps on two cores (estimated: 3 trainings at 0.6 to 0.9 s per step, and the moves).
Expected score: see the table in recipes/README.md. `--seeds 0 1 2` repeats everything with other weights and batches.

POOLING then holds a run folder per net, `masks/`, `moves/`, `results.jsonl`, `table.md` with the verdict, and the
picture `pooling.png`. Stop it at any moment: the same command goes on, and what is in `results.jsonl` is not run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import story
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from unetkit import read
from unetkit.data.normalised import prepare_for_net
from unetkit.insight.shift import Shifts, shift_changes
from unetkit.model.files import read_model

WAYS = {"max": "max-pooling", "strided": "strided convolution", "blur": "max and blur"}
SHIFTS = tuple(range(1, 17))  # px
SHOWN = (1, 2, 4, 8, 15, 16)  # in the table
# Three seeds of one net differed by 0.002 in pixel error (benchmarks/README.md): less is not told from chance.
TELLING = 0.003
ALIKE = 0.05  # shares of changed pixels closer than this, relative to each other, are called alike

ROW, TITLE, FOOT, CROP = 3.1, 0.6, 0.72, 200  # inches; pixels
COLOURS = {"max": "#1f6f9c", "strided": "#c25400", "blur": "#3a8c4d"}
CHANGES = LinearSegmentedColormap.from_list("changes", ["#F4F4F1", "#3B0F5C"])  # none of the moves, all of them


def main(argv: Sequence[str] | None = None) -> None:
    """Train, score and move what is missing, then write the table, the verdict and the picture."""
    parser = story.options(__doc__, "folder isbi2012 with images/ and masks/")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="repeat with each of them")
    parser.add_argument("--only", nargs="+", choices=list(WAYS), help="some of the ways to pool")
    args = parser.parse_args(argv)
    task, budget = story.isbi2012(args.data), story.budget(args, steps=400)
    ways = [way for way in WAYS if not args.only or way in args.only]
    for seed in args.seeds:
        for way in ways:
            _run(way, seed, task, args.out, budget)
    rows = [row for row in story.results(args.out) if budget.items() <= row.items() and row["seed"] in args.seeds]
    rows.sort(key=lambda row: list(WAYS).index(row["way"]))
    text = "\n".join([table_of(rows), *verdict(rows)]) + "\n"
    (args.out / "table.md").write_text(text)
    print(text)
    draw(task, rows, args.out).savefig(args.out / "pooling.png", dpi=200)
    print(args.out / "pooling.png")


def _run(way: str, seed: int, task: story.Task, out: Path, budget: dict[str, float]) -> None:
    """Train, score and move, if that was not done before."""
    key, run = f"{way}/{seed}", out / "runs" / way / str(seed)
    if story.is_known(out, key, budget):
        print(f"{key}: done before", flush=True)
        return
    table = story.write_pairs(task.training, out / "training.csv")
    done = story.trained(table, run, f"{WAYS[way]}, seed {seed}", {"budget.seed": seed, "net.down": way}, budget)
    found, _ = story.scored(run, task, out / "masks" / key)
    print("  moving the test images", flush=True)
    moved = _moved(run, [image for image, _ in task.tests])
    _keep_map(out / "moves" / f"{key}.npz", moved[0])
    row = {"key": key, "way": way, "seed": seed, **budget, **story.described(run, done), **story.scores(found)}
    story.keep(out, row | changes(moved))


def _moved(run: Path, images: Sequence[Path]) -> list[Shifts]:
    net, _ = read_model(run)
    arrays = (prepare_for_net(read(image), channels=net.in_channels, ndim=net.ndim) for image in images)
    return [shift_changes(net, array, shifts=SHIFTS) for array in arrays]


def changes(moved: Sequence[Shifts]) -> dict[str, Any]:
    """Share of pixels whose class changes for each move, and share at outlines: means over images and axes."""
    changed = np.mean([one.changed.mean(0) for one in moved], axis=0)
    return {
        "changed": {str(shift): float(share) for shift, share in zip(moved[0].shifts, changed, strict=True)},
        "outline": float(np.mean([one.outline for one in moved])),
        "stride": max(moved[0].strides),
        "is_clear": all(one.is_clear for one in moved),
    }


def _keep_map(file: Path, moved: Shifts) -> None:
    """Where the mask of an image changes, and where in the image that is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, where=moved.where, place=[(side.start, side.stop) for side in moved.place])


# --- in words ---


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    """A line per way to pool; with several seeds the mean and the standard deviation."""
    header = ["pooling", "parameters", "GMACs at 256 x 256", "steps", "s per step", "pixel error", "cell Dice"]
    header += ["boundary F1, 2 px", "pixels that change, moved by 1 to 15 px"]
    shown = [shift for shift in SHOWN if shift in SHIFTS]
    lines = []
    for way, title in WAYS.items():
        same = [row for row in rows if row["way"] == way]
        if not same:
            continue
        cells = [title, f"{same[0]['parameters']:,}", f"{same[0]['gmacs']:.2f}"]
        cells += [f"{_mean(same, 'steps_taken'):.0f}", f"{_mean(same, 'seconds_per_step'):.2f}"]
        cells += [_spread([row[name] for row in same]) for name in ("pixel_error", "dice", "boundary_f1")]
        cells += [f"{between(same):.2%}"]
        cells += [f"{mean(row['changed'][str(shift)] for row in same):.2%}" for shift in shown]
        lines.append(cells)
    return story.markdown([*header, *(f"by {shift} px" for shift in shown)], lines)


def between(rows: Sequence[dict[str, Any]]) -> float:
    """Mean share of pixels that change, over moves that are no multiple of the total stride."""
    return mean(v for row in rows for shift, v in row["changed"].items() if int(shift) % row["stride"])


def _mean(rows: Sequence[dict[str, Any]], name: str) -> float:
    return mean(row[name] for row in rows)


def _spread(values: Sequence[float]) -> str:
    return f"{values[0]:.4f}" if len(values) == 1 else f"{mean(values):.4f} ± {stdev(values):.4f}"


def verdict(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the numbers say of each way against max-pooling, whichever way they come out."""
    by_way = {way: [row for row in rows if row["way"] == way] for way in WAYS}
    by_way = {way: same for way, same in by_way.items() if same}
    said = [_of_stride(by_way)]
    if "max" in by_way:
        said += [_against(by_way["max"], same, WAYS[way]) for way, same in by_way.items() if way != "max"]
    return [f"{sentence}\n" for sentence in said]


def _of_stride(by_way: dict[str, list[dict[str, Any]]]) -> str:
    """What changes between the multiples of the total stride, and at them."""
    parts = [f"{between(same):.2%} with {WAYS[way]}" for way, same in by_way.items()]
    rows = [row for same in by_way.values() for row in same]
    said = f"Moved by less than the total stride, {rows[0]['stride']} px, of the pixels change {', '.join(parts)}; "
    said += f"{_mean(rows, 'outline'):.1%} lie at an outline of the mask. "
    at = [v for row in rows for shift, v in row["changed"].items() if int(shift) % row["stride"] == 0]
    if not at:
        return said.strip()
    if max(at) == 0:
        return said + "Moved by the total stride none changes, as it must be."
    if max(at) < 0.05 * min(between(same) for same in by_way.values()):
        return said + f"Moved by the total stride at most {max(at):.1g} of them change, which is rounding."
    clear = "" if all(row["is_clear"] for row in rows) else ", as the images are too small to see no border"
    return said + f"Moved by the total stride up to {max(at):.2%} change{clear}."


def _against(usual: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]], title: str) -> str:
    ratio = between(other) / max(between(usual), 1e-12)
    gap = _mean(other, "pixel_error") - _mean(usual, "pixel_error")
    if abs(ratio - 1) < ALIKE:
        steady = f"leaves the mask about as unsteady as max-pooling ({ratio:.2f} times the changes)"
    else:
        how = "steadier" if ratio < 1 else "less steady"
        steady = f"makes the mask {how} ({ratio:.2f} times the changes of max-pooling)"
    if abs(gap) < TELLING:
        score = f"a pixel error that differs by {gap:+.4f}, less than can be told from chance ({TELLING})"
    else:
        score = f"a pixel error that is {abs(gap):.4f} {'lower' if gap < 0 else 'higher'}"
    return f"{title[0].upper()}{title[1:]} {steady}, at {score}."


# --- the picture ---


def draw(task: story.Task, rows: Sequence[dict[str, Any]], out: Path) -> Figure:
    """A section, where its mask changes as it moves, and how much changes for each move."""
    first = {row["way"]: row for row in reversed(rows)}
    first = {way: first[way] for way in WAYS if way in first}
    maps = {way: np.load(out / "moves" / f"{row['key']}.npz") for way, row in first.items()}
    crop = common([found["place"] for found in maps.values()])
    image = task.tests[0][0]
    figure = Figure(figsize=(story.WIDTH, ROW + FOOT), facecolor="white")
    places = story.strip(figure, ROW + FOOT - TITLE, len(WAYS) + 1)
    story.panel(places[0], story.view(image, crop), "isbi2012", f"section {image.stem}")
    for axes, way in zip(places[1:], WAYS, strict=False):
        if way not in maps:
            axes.set_axis_off()
            continue
        start = maps[way]["place"][:, 0]
        inside = tuple(slice(c.start - s, c.stop - s) for c, s in zip(crop, start, strict=True))
        share = between([row for row in rows if row["way"] == way])
        story.panel(axes, CHANGES(maps[way]["where"][inside])[..., :3], WAYS[way], f"{share:.2%} of pixels change")
    _lines(places[-1], rows)
    marks = {f"{share:.0%}": to_hex(CHANGES(share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)}
    note = f"Moves along x by {SHIFTS[0]} to {SHIFTS[-1]} px that change the class of a pixel, as a share of all. "
    story.foot(figure, marks, note + task.credit)
    return figure


def common(places: Sequence[np.ndarray]) -> tuple[slice, ...]:
    """The middle of what all places, each rows (start, stop) per axis, have in common: at most `CROP` px, a square."""
    table = np.stack(places)
    low, high = table[..., 0].max(0), table[..., 1].min(0)
    side = min(CROP, int((high - low).min()))
    starts = [int(a) + (int(b) - int(a) - side) // 2 for a, b in zip(low, high, strict=True)]
    return tuple(slice(a, a + side) for a in starts)


def _lines(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    for way, title in WAYS.items():
        same = [row for row in rows if row["way"] == way]
        if same:
            shares = [100 * mean(row["changed"][str(shift)] for row in same) for shift in SHIFTS]
            axes.plot(SHIFTS, shares, color=COLOURS[way], linewidth=1.8, label=title)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(FixedLocator([1, 4, 8, 12, 16]))
    axes.legend(fontsize=9, frameon=False, loc="lower center", borderaxespad=0.2, handlelength=1.4)
    story.graph(axes, "pixels that change", "in %, mean of all sections", x="the image moved by, px")


if __name__ == "__main__":
    main()
