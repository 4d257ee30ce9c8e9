"""How many processors draw the batches of a GPU that takes 5 ms a step: measured per batch, then simulated.

    python benchmarks/drawing.py FOLDER

Measured on one thread, per batch of `--batch` patches of `--patch` squared pixels with the usual augmentation: cutting
and normalising the windows of images that are held in memory, that lie in the cache, and that are read by region from
tiled TIFF and OME-Zarr (8 bits; made in FOLDER); and augmenting them, which is done on the GPU where there is one.

Simulated, for every number of processors that draw: steps of `--step-ms`, each with the batch that is next, drawn with
the times that were measured, in random order; the share of the time in which the GPU waits. `--real` also runs it: that
many threads draw, and a step is a pause.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch

from unetkit.data.case import Case
from unetkit.data.dataset import load_dataset
from unetkit.data.pairs import find_pairs
from unetkit.data.store import ArrayStore
from unetkit.training.augment.augment import Augmentation
from unetkit.training.drawing import DrawnAhead
from unetkit.training.sampler import Sampler

PROCESSORS = (1, 2, 4, 8, 16, 32)


def main() -> None:
    """Measure each way in which images may lie, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--patch", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--step-ms", type=float, default=5.0)
    parser.add_argument("--real", type=int, default=0, metavar="THREADS")
    args = parser.parse_args()
    torch.set_num_threads(1)
    ways = {name: sampler_of(cases, args) for name, cases in cases_of(args).items()}
    print("| images | draws | ms per batch | " + " | ".join(map(str, PROCESSORS)) + " processors wait |")
    print("|---" * (3 + len(PROCESSORS)) + "|")
    for name, sampler in ways.items():
        for augments, settings in (("cuts", None), ("cuts, augments", sampler.augmentation)):
            drawn = sampler if settings else only_cutting(sampler)
            times = [seconds(lambda step: drawn.draw(step), step) for step in range(args.batches)][2:]  # noqa: B023
            waits = [waiting(times, n, args.step_ms / 1e3) for n in PROCESSORS]
            cells = " | ".join(f"{share:.0%}" for share in waits)
            print(f"| {name} | {augments} | {median(times) * 1e3:.1f} | {cells} |", flush=True)
            if args.real:
                found = real(drawn, args.real, args.step_ms / 1e3, args.batches)
                print(json.dumps({"images": name, "draws": augments, "threads": args.real, "waiting": found}))


def cases_of(args: argparse.Namespace) -> dict[str, Sequence[Case]]:
    """The same images in memory, in the cache, and by region from either format."""
    from any_data import as_png, make_images

    data = args.folder / f"{args.side}-{args.images}"
    if not data.exists():
        make_images(data, args.side, args.images)
    pictures = data.with_name(f"{data.name}-png")
    if not pictures.exists():
        as_png(data, pictures)
    half = args.images * args.side**2  # bytes of all images, and of all masks

    def load(source: Path, memory_bytes: int, suffix: str = "") -> Sequence[Case]:
        pairs = [pair for pair in find_pairs(source / "images", source / "masks") if pair.image.name.endswith(suffix)]
        store = ArrayStore(memory_bytes, args.folder / "cache")
        return load_dataset(pairs, store=store).cases

    return {
        "memory": load(data, 8 * half),
        "cache": load(pictures, 2**20),
        "TIFF by region": load(data, 2**20, ".tif"),
        "OME-Zarr by region": load(data, 2**20, ".zarr"),
    }


def sampler_of(cases: Sequence[Case], args: argparse.Namespace) -> Sampler:
    """As a plan for two dimensions has it."""
    patch = (args.patch, args.patch)
    return Sampler(cases, patch, patch, args.batch, Augmentation(quarter_turns=True), 0)


class _Cut(Sampler):
    """Windows of the usual size, of which no more than the middle is taken."""

    def draw(self, step: int) -> None:  # type: ignore[override]
        rng = np.random.default_rng([self.seed, 1, step])
        window = tuple(int(1.5 * n) for n in self.patch)
        crops = [self._crop(index, self._centre(index, rng), window) for index in self._chosen(step)]
        np.stack([crop[0] for crop in crops])
        np.stack([crop[1] for crop in crops])


def only_cutting(sampler: Sampler) -> Sampler:
    """What is left for processors where a GPU augments."""
    return _Cut(sampler.cases, sampler.patch, sampler.target, sampler.batch, sampler.augmentation, sampler.seed)


def seconds(draw: Callable[[int], object], step: int) -> float:
    start = time.perf_counter()
    draw(step)
    return time.perf_counter() - start


def waiting(times: Sequence[float], processors: int, step_s: float, n: int = 2000) -> float:
    """The share of the time in which the GPU waits, where so many processors draw the batches in turn."""
    rng = np.random.default_rng(0)
    free = [0.0] * processors
    taken = [0.0] * n  # when a batch is taken, and the place of the one after the last that may be ahead is free
    now = waited = 0.0
    for batch in range(n):
        worker = batch % processors
        may_begin = taken[batch - processors - 2] if batch >= processors + 2 else 0.0
        free[worker] = max(free[worker], may_begin) + rng.choice(times)
        waited += max(free[worker] - now, 0.0)
        now = max(now, free[worker])
        taken[batch] = now
        now += step_s
    return waited / now


def real(sampler: Sampler, threads: int, step_s: float, n: int) -> float:
    """The same with threads here, and a pause in place of a step."""
    ahead = DrawnAhead(lambda step: sampler.draw(step), threads)
    ahead(0)
    before, start = ahead.waited_s, time.perf_counter()
    for step in range(1, n):
        time.sleep(step_s)
        ahead(step)
    share = (ahead.waited_s - before) / (time.perf_counter() - start)
    ahead.close()
    return round(share, 3)


if __name__ == "__main__":
    main()
