"""Vanishing gradients: does the gradient die out on its way back through a deep U-Net, and what keeps it alive?

    python recipes/vanishing_gradients.py DATA/isbi2012 --steps 300 --out VANISHING

Sixty small U-Nets: 2 to 6 poolings deep, plain or residual blocks, with and without skips, and in three settings:
without norm; without norm and with first weights half as large as He's rule (ICCV 2015) makes them; with batch norm.
Of each, before any training: the norm of the loss's gradient by the map of the first encoder stage, as a multiple of
that by the map of the last decoder stage (both are of the same size and width; three seeds, their geometric mean). Then
each learns cell membranes for a few steps, from the same batches of sections 00 to 19: does its loss fall
below that of a blind net, which knows how many pixels are cell and nothing of the image?

Everything else is the plan's: He's initialisation, AdamW with warm-up and cosine, gradients clipped at a norm of 5, a
learning rate of 0.002 with batch norm and 0.0003 without. `--seeds 0 1 2` trains with other weights and batches.

Run time: 12 minutes on two cores for 300 steps. Expected result: see the table in recipes/README.md.

VANISHING then holds `results.jsonl`, `table.md` with the verdict, and the picture `vanishing_gradients.png`. Stop it at
any moment: the same command goes on, and what is in `results.jsonl` is not run again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, isfinite, log
from pathlib import Path
from statistics import fmean
from typing import Any

import story
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unetkit.data.dataset import Case, load_dataset
from unetkit.data.pairs import find_pairs
from unetkit.insight.gradient_flow import gradient_flow
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.nets.net import Net
from unetkit.plotting.matplotlib_style import new_figure
from unetkit.plotting.palette import ACCENT, INK, WARM
from unetkit.training.augment.augment import Augmentation
from unetkit.training.losses import dice_cross_entropy
from unetkit.training.plan.plan import BudgetPlan, NetPlan, OptimPlan, PatchPlan, Plan
from unetkit.training.sampler import Batch, Sampler
from unetkit.training.state import Training

DEPTHS = (2, 3, 4, 5, 6)  # poolings
FIRST_WIDTH, MOST_WIDTH = 8, 128  # channels: doubled from level to level, up to a limit
PATCH, BATCH = (128, 128), 4
RATES = {"none": 3e-4, "halved": 3e-4, "batch": 2e-3}  # the plan's, see learn/rules.py
FRESH = (0, 1, 2)  # seeds of the nets that are looked at before training
VANISHED, EXPLODED = 0.1, 10.0  # from the shallowest to the deepest net, a factor that is called so
TELLING = 0.05  # of loss: less between two nets is not told from chance
MOST_LOSS = 2.0  # of the picture
BLOCKS, SKIPS = ("plain", "residual"), ("concat", "none")
SETTINGS = {"none": "no norm", "halved": "no norm, weights halved", "batch": "batch norm"}


@dataclass(frozen=True)
class Kind:
    """A family of nets that differ in depth alone."""

    block: str
    skip: str
    setting: str

    @property
    def title(self) -> str:
        """As a reader calls it."""
        return f"{self.block}, {'no skips' if self.skip == 'none' else 'skips'}"

    def architecture(self, depth: int) -> Architecture:
        """Its member of a depth."""
        widths = tuple(min(FIRST_WIDTH * 2**level, MOST_WIDTH) for level in range(depth + 1))
        norm = "batch" if self.setting == "batch" else "none"
        given: dict[str, Any] = {"block": self.block, "skip": self.skip, "norm": norm}
        return Architecture(widths=widths, **given)

    def start(self, net: Net) -> Net:
        """A net that was just built, with its first weights as the setting wants them."""
        if self.setting == "halved":
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter.div_(2)
        return net


KINDS = tuple(Kind(block, skip, setting) for setting in SETTINGS for block in BLOCKS for skip in SKIPS)
Rows = Sequence[dict[str, Any]]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and train what is missing, then write the table, the verdict and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder isbi2012 with images/ and masks/")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything that is made")
    parser.add_argument("--steps", type=int, default=300, help="of training, for each net; a few to try it out")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="train with each of them")
    parser.add_argument("--depths", nargs="+", type=int, choices=DEPTHS, default=list(DEPTHS), help="some of them")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    cases = _cases(args.data)
    for seed in args.seeds:
        for depth in args.depths:
            for kind in KINDS:
                run(kind, depth, seed, cases, args)
    rows = [row for row in story.results(args.out) if row["steps"] == args.steps and row["seed"] in args.seeds]
    text = f"{table(rows)}\n" + "".join(f"- {sentence}\n" for sentence in verdict(rows))
    (args.out / "table.md").write_text(text)
    print(text)
    draw(rows).savefig(args.out / "vanishing_gradients.png", dpi=200)
    print(args.out / "vanishing_gradients.png")


def _cases(data: Path) -> list[Case]:
    chosen = {image.resolve() for image, _ in story.isbi2012(data).training}
    pairs = [pair for pair in find_pairs(data / "images", data / "masks") if pair.image.resolve() in chosen]
    return load_dataset(pairs).cases


def run(kind: Kind, depth: int, seed: int, cases: Sequence[Case], args: argparse.Namespace) -> None:
    """Look at a net and train it, if `results.jsonl` has no such line yet."""
    row = {"block": kind.block, "skip": kind.skip, "setting": kind.setting}
    row |= {"depth": depth, "seed": seed, "steps": args.steps}
    if any(row.items() <= known.items() for known in story.results(args.out)):
        return
    begin = time.perf_counter()
    plan = Plan(
        budget=BudgetPlan(steps=args.steps, seed=seed),
        net=NetPlan(architecture=kind.architecture(depth).to_dict()),
        patches=PatchPlan(size=PATCH, batch=BATCH),
        optim=OptimPlan(learning_rate=RATES[kind.setting]),
    )
    training = Training(plan, Sampler(cases, PATCH, PATCH, BATCH, Augmentation(), seed))
    kind.start(training.net)
    batch = training.sampler.draw(0)
    row |= before(kind, depth, batch) | {"blind": round(blind_loss(batch), 4)} | after(training)
    story.keep(args.out, row | {"seconds": round(time.perf_counter() - begin, 1)})
    name = f"{depth} poolings, {SETTINGS[kind.setting]}, {kind.title}"
    print(f"{name}: gradient {number(row['reach'])}, loss {row['loss']}", flush=True)


def before(kind: Kind, depth: int, batch: Batch) -> dict[str, Any]:
    """Norms of the gradient by the first encoder map and the last decoder map of fresh nets, one per seed."""
    first, last = [], []
    for seed in FRESH:
        torch.manual_seed(seed)
        net = kind.start(build(kind.architecture(depth)))
        found = gradient_flow(net, net.graph, batch.images, loss=lambda k: dice_cross_entropy(k, batch.labels))
        scale = (BATCH * FIRST_WIDTH * PATCH[0] * PATCH[1]) ** 0.5  # from the root of the mean square to the norm
        first.append(found.stages[0].gradient * scale)
        last.append(found.stages[-1].gradient * scale)
    return {"first": first, "last": last, "reach": geometric_mean([a / b for a, b in zip(first, last, strict=True)])}


def geometric_mean(values: Sequence[float]) -> float:
    """0 where one of the values is."""
    return exp(fmean(map(log, values))) if min(values) > 0 else 0.0


def blind_loss(batch: Batch) -> float:
    """The loss of a net that knows how many pixels are cell, and nothing of the image."""
    share = float((batch.labels == 1).float().mean())
    logits = torch.tensor([log(1 - share), log(share)])[None, :, None, None].expand(-1, -1, *batch.labels.shape[1:])
    return float(dice_cross_entropy(logits.expand(len(batch.labels), -1, -1, -1), batch.labels))


def after(training: Training) -> dict[str, Any]:
    """The loss at the end of the training, the mean over its last tenth; None where it diverged."""
    steps = training.plan.budget.steps or 0
    try:
        losses = [training.take_step() for _ in range(steps)]
    except RuntimeError as error:
        print(f"  {error}", flush=True)
        return {"loss": None}
    loss = fmean(losses[-max(1, steps // 10) :])
    return {"loss": round(loss, 4) if isfinite(loss) else None}


# --- what came out ---


def one(rows: Rows, kind: Kind, depth: int) -> dict[str, Any] | None:
    """Of a net, the means over the seeds that it was trained with; None where it was not run."""
    is_one = {"block": kind.block, "skip": kind.skip, "setting": kind.setting}.items()
    found = [row for row in rows if is_one <= row.items()]
    found = [row for row in found if row["depth"] == depth]
    if not found:
        return None
    losses = [row["loss"] for row in found]
    loss = None if None in losses else fmean(losses)
    return {"reach": geometric_mean([row["reach"] for row in found]), "loss": loss, "blind": found[0]["blind"]}


def number(value: float) -> str:
    """Two digits: 0.00031, 2.4, 1,400."""
    return f"{float(f'{value:.2g}'):,.0f}" if 100 <= value < 1e6 else f"{value:.2g}"


def depths_of(rows: Rows) -> list[int]:
    """Those that were run, shallowest first."""
    return sorted({row["depth"] for row in rows})


def table(rows: Rows) -> str:
    """A row per kind of net, a column per depth: gradient at the first stage as a multiple of the last, and loss."""
    depths = depths_of(rows)
    header = ["setting", "net", *(f"gradient, {d} poolings" for d in depths), *(f"loss, {d} poolings" for d in depths)]
    body = []
    for kind in KINDS:
        found = [one(rows, kind, depth) for depth in depths]
        if any(found):
            reaches = [number(f["reach"]) if f else "" for f in found]
            losses = [("diverged" if f["loss"] is None else f"{f['loss']:.3f}") if f else "" for f in found]
            body.append([SETTINGS[kind.setting], kind.title, *reaches, *losses])
    return story.markdown(header, body)


def verdict(rows: Rows) -> list[str]:
    """What the textbook says, and whether these numbers bear it out."""
    depths = depths_of(rows)
    return (
        [sentence for setting in SETTINGS for sentence in _claims(rows, setting, depths[0], depths[-1])]
        if depths
        else []
    )


def _claims(rows: Rows, setting: str, low: int, high: int) -> Iterator[str]:
    where = SETTINGS[setting].capitalize()
    bare = Kind("plain", "none", setting)
    shallow, deep = one(rows, bare, low), one(rows, bare, high)
    if shallow and deep and low < high:
        yield f"{where}: {_fate(shallow['reach'], deep['reach'], low, high)}"
    for kind, what in (
        (Kind("plain", "concat", setting), "skips"),
        (Kind("residual", "none", setting), "residual blocks"),
    ):
        other = one(rows, kind, high)
        if deep and other:
            yield f"{where}, {high} poolings: {_help(what, deep, other)}"


def _fate(shallow: float, deep: float, low: int, high: int) -> str:
    """Whether the gradient of plain nets without skips vanishes with depth."""
    factor = deep / shallow if shallow else 0.0
    if factor < VANISHED:
        words = "it vanishes, as the textbook says"
    elif factor > EXPLODED:
        words = "it does not vanish, it explodes"
    else:
        words = "it neither vanishes nor explodes, so the textbook's claim does not hold here"
    return (
        f"in plain nets without skips the gradient at the first stage is {number(shallow)} times that at the last with "
        f"{low} poolings, and {number(deep)} times with {high}: {words}."
    )


def _help(what: str, bare: dict[str, Any], other: dict[str, Any]) -> str:
    """What skips or residual blocks do to the gradient and the loss of the deepest plain net without skips."""
    if bare["reach"] and other["reach"]:
        far = abs(log(bare["reach"])) - abs(log(other["reach"]))
        nearer = "closer to 1" if far > log(1.5) else "farther from 1" if far < -log(1.5) else "as far from 1 as before"
        flow = f"{what} bring the gradient from {number(bare['reach'])} to {number(other['reach'])}, {nearer}"
    else:
        flow = f"the gradient is {number(bare['reach'])} without {what} and {number(other['reach'])} with them"
    return f"{flow}; {_learning(what, bare, other)}."


def _learning(what: str, bare: dict[str, Any], other: dict[str, Any]) -> str:
    a, b = bare["loss"], other["loss"]
    if a is None or b is None:
        who = "both nets diverge" if a is b else f"the net {'without' if a is None else 'with'} {what} diverges"
        return f"in training {who}"
    change = "about the same" if abs(a - b) < TELLING else "better" if b < a else "worse"
    blind = [words for loss, words in ((a, "without"), (b, "with")) if loss > bare["blind"] - TELLING]
    lost = f"; {' and '.join(blind)} them nothing is learnt that a blind net would not know" if blind else ""
    return f"the loss after training goes from {a:.3f} to {b:.3f}, {change}{lost}"


# --- picture ---


def draw(rows: Rows) -> Figure:
    """Gradient before training and loss after it, over depth, in every setting."""
    figure, axes = new_figure(2, 3, width=10.5, height=6.4)
    for column, setting in enumerate(SETTINGS):
        for kind in (kind for kind in KINDS if kind.setting == setting):
            style = {"color": ACCENT if kind.block == "plain" else WARM, "label": kind.title}
            style |= {"linestyle": "--" if kind.skip == "none" else "-"}
            found = [(depth, it) for depth in depths_of(rows) if (it := one(rows, kind, depth))]
            _line(axes[0, column], [(d, it["reach"]) for d, it in found if it["reach"] > 0], style)
            _line(axes[1, column], [(d, it["loss"]) for d, it in found if it["loss"] is not None], style)
        axes[0, column].set_title(SETTINGS[setting], loc="left", fontsize=11)
        axes[0, column].set_yscale("log")
        axes[0, column].axhline(1, color=INK, linewidth=0.8)
        blind = next((row["blind"] for row in rows), None)
        if blind is not None:
            axes[1, column].axhline(blind, color=INK, linewidth=0.8)
            axes[1, column].annotate("blind", (0, blind), (3, 3), xycoords=("axes fraction", "data"), ha="left",
                                     textcoords="offset points", fontsize=9, color=INK)  # fmt: skip
        axes[1, column].set_xlabel("poolings")
    axes[0, 0].set_ylabel("gradient, first stage / last\n(before training)")
    axes[1, 0].set_ylabel(f"loss at the end of training\n(lines of more than {MOST_LOSS:g} leave it)")
    for i, row in enumerate(axes):
        limits = [limit for axis in row for limit in axis.get_ylim()]
        for axis in row:
            axis.set_ylim(*((min(limits), max(limits)) if i == 0 else (0, min(max(limits), MOST_LOSS))))
            axis.set_xticks(depths_of(rows))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=10)
    return figure


def _line(axis: Axes, points: Sequence[tuple[int, float]], style: dict[str, Any]) -> None:
    axis.plot([x for x, _ in points], [y for _, y in points], marker="o", markersize=4, linewidth=1.6, **style)


if __name__ == "__main__":
    main()
