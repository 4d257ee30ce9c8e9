"""A prediction of 10^15 pixels by a thousand workers, simulated from costs that are measured here.

    python benchmarks/cluster.py --work FOLDER
    python benchmarks/cluster.py --work FOLDER --side 2048 --tasks 200          # to try it out

Measured, each by itself: what a worker with one thread takes per pixel to read an image (a tiled TIFF of `--side`
squared pixels of 8 bits), for the net (widths 16 to 256), and to pack the mask; what Dask takes per task that computes
nothing and returns a packed block, with 1, 2 and 4 workers; what the process that hands out tasks takes to keep a
block, and per pixel to write the mask at last. On a machine with few cores the workers take time from the scheduler, so
that a task costs less elsewhere.

Simulated: workers that each have two tasks at a time, as `predict --cluster` gives them, and one process that serves
them one after another. Images of 30000 x 30000; a task is some rows of one, and computes the halo above and below them
too. What comes out: pixels per second, the share of the time in which workers compute, and the days for 10^15 pixels.
"""

from __future__ import annotations

import argparse
import heapq
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tifffile
import torch

from unetkit import io
from unetkit.data.synthetic import synthetic_cells
from unetkit.inference.dask import task_pixels
from unetkit.inference.execution import Execution
from unetkit.inference.outputs import Outputs, PixelRecords
from unetkit.inference.predictor import load_model
from unetkit.io.block_store import BlockStore, PackedBlock
from unetkit.labels.kind import LabelKind
from unetkit.model.card import Card
from unetkit.model.files import save_model
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet

PIXELS, IMAGE, SCENE, TILE = 1e15, 30000, 1024, 512
WORKERS, TASKS = (1, 10, 100, 300, 1000), (2**20, 2**23, 2**25, 2**27, 2**29)


@dataclass(frozen=True)
class Costs:
    """Seconds: of a worker per pixel, of the serving process per task and per pixel; and rows of halo."""

    read: float
    net: float
    pack: float
    task: float
    keep: float
    write: float
    halo: int

    def of_worker(self, pixels: int) -> float:
        """One task."""
        rows = pixels / IMAGE
        return pixels * ((self.read + self.net) * (1 + 2 * self.halo / rows) + self.pack)

    def of_server(self, pixels: int, *, writes: bool) -> float:
        """One task."""
        return self.task + pixels * (self.keep + writes * self.write)


def main() -> None:
    """Measure, simulate, and print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--side", type=int, default=8192)
    parser.add_argument("--tasks", type=int, default=2000)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    costs, by_workers = measure(args.work, args.side, args.tasks)
    print(json.dumps(asdict(costs) | {"seconds_per_task": by_workers}))
    print("\n| workers | pixels of a task | Mpx/s | workers compute | served | days | without the masks' writing |")
    print("|---|---|---|---|---|---|---|")
    for workers, pixels in product(WORKERS, (*TASKS, 0)):
        own = pixels or task_pixels(int(PIXELS), workers)
        rate, busy, serving = simulate(costs, workers, own, writes=True)
        free, *_ = simulate(costs, workers, own, writes=False)
        label = f"{own / 1e6:.1f} M" + ("" if pixels else ", chosen")
        days, days_free = (PIXELS / each / 86400 for each in (rate, free))
        print(
            f"| {workers} | {label} | {rate / 1e6:.1f} | {busy:.0%} | {serving:.0%} | {days:,.1f} | {days_free:,.1f} |"
        )


# --- measured ---


def measure(work: Path, side: int, tasks: int) -> tuple[Costs, dict[int, float]]:
    """Every cost by itself, on one thread."""
    torch.set_num_threads(1)
    image, run = work / f"image-{side}.tif", work / "run"
    if not image.is_file():
        make_image(image, side)
    if not run.is_dir():
        make_model(run)
    predictor = load_model(run, Execution(device="cpu", memory_bytes=2**30))
    card = predictor.file_card
    records = PixelRecords(card, Outputs())
    with io.open_lazy(image) as lazy:
        region = tuple(slice(0, n) for n in lazy.shape)
        read = timed(lambda: [lazy[(region[0], rows, region[2])] for rows in bands(side)]) / side**2
    part = np.asarray(io.read(image).array[0, :2048, :2048], np.float32)
    logits = torch.from_numpy(np.asarray(predictor.run(part[None], lambda k: k.numpy())))
    net = timed(lambda: predictor.run(part[None], records.encode)) / part.size
    labels = records.encode(logits)
    labels = np.tile(labels, (1, side // labels.shape[1]))[: 2**21 // side]
    pack = timed(lambda: PackedBlock.of(labels)) / labels.size
    block = PackedBlock.of(labels)
    n = max(side // len(labels), 1)
    size = (n * len(labels), side)
    keep = timed(lambda: fill(work / "blocks.sqlite", size, block)) / prod(size)
    with io.open_lazy(image) as like:
        store = BlockStore(None, (side, side), block=(len(labels), side), dtype=labels.dtype)
        for row in range(0, side, len(labels)):
            store.write((row, 0), labels[: side - row])
        store.spacing = like.spacing
        write = timed(lambda: io.write_labels_from(work / "mask.tif", store, like=like)) / side**2
    by_workers = {workers: seconds_per_task(workers, tasks, block.data) for workers in (1, 2, 4)}
    halo = predictor.net.geometry.halo[0]
    return Costs(read, net, pack, min(by_workers.values()), keep, write, halo), by_workers


def bands(side: int) -> Iterator[slice]:
    """Rows of tiles."""
    return (slice(start, min(start + TILE, side)) for start in range(0, side, TILE))


def timed(work: Callable[[], Any]) -> float:
    """The median of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def fill(path: Path, size: Sequence[int], block: PackedBlock) -> None:
    """Keep blocks as they come from workers."""
    path.unlink(missing_ok=True)
    store = BlockStore(path, size, block=block.size, dtype=block.dtype)
    for row in range(0, size[0], block.size[0]):
        store.write((row, 0), block)
    store.remove()


def returned(_: int, data: bytes) -> bytes:
    """A task that computes nothing."""
    return bytes(bytearray(data))


def seconds_per_task(workers: int, n: int, data: bytes) -> float:
    """By Dask, for tasks that are handed out and taken as `inference.dask` does."""
    from distributed import Client, LocalCluster, as_completed

    options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": None}
    with LocalCluster(**options) as local, Client(local) as client:
        [sent] = client.scatter([data], broadcast=True)
        client.submit(returned, 0, sent, pure=False).result()
        start, numbers, waiting = time.perf_counter(), iter(range(n)), as_completed(with_results=True)
        for number in [next(numbers) for _ in range(2 * workers)]:
            waiting.add(client.submit(returned, number, sent, pure=False))
        for _ in waiting:
            if (number := next(numbers, None)) is not None:
                waiting.add(client.submit(returned, number, sent, pure=False))
        return (time.perf_counter() - start) / n


def make_image(path: Path, side: int) -> None:
    """Synthetic cells, one scene repeated."""
    scene, _ = synthetic_cells((SCENE, SCENE), seed=0)
    low, high = np.percentile(scene, (0.1, 99.9))
    gray = ((scene - low) / (high - low) * 255).clip(0, 255).astype(np.uint8).reshape(SCENE, SCENE)
    options: dict[str, Any] = {"tile": (TILE, TILE), "photometric": "minisblack", "compression": "zlib"}
    tifffile.imwrite(path, np.tile(gray, (side // SCENE, side // SCENE)), **options)


def make_model(run: Path) -> None:
    """A net of random weights: it takes as long as any."""
    torch.manual_seed(0)
    architecture = Architecture(widths=(16, 32, 64, 128, 256))
    run.mkdir()
    card = Card(architecture=architecture.to_dict(), classes=["background", "cell"], labels=LabelKind("binary", (0, 1)))
    save_model(run / "model.safetensors", UNet(architecture), card)


# --- simulated ---


def simulate(costs: Costs, workers: int, pixels: int, *, writes: bool) -> tuple[float, float, float]:
    """Pixels per second in the steady state, and the shares of the time in which workers and the server are busy."""
    work, service = costs.of_worker(pixels), costs.of_server(pixels, writes=writes)
    rng = np.random.default_rng(0)
    queued = [1] * workers  # tasks that a worker has beside the one that it computes
    computes = [True] * workers
    events = [(work * (0.5 + rng.random()), worker, True) for worker in range(workers)]  # True: a task has ended
    heapq.heapify(events)
    free_at = served = busy = now = 0.0
    done = 0

    def begin(worker: int) -> None:
        computes[worker] = True
        heapq.heappush(events, (now + work * (0.95 + 0.1 * rng.random()), worker, True))

    while done < 30 * workers:
        now, worker, is_end = heapq.heappop(events)
        if is_end:
            busy, done, computes[worker] = busy + work, done + 1, False
            free_at = max(free_at, now) + service  # the result is taken, and another task is given
            served += service
            heapq.heappush(events, (free_at, worker, False))
        else:
            queued[worker] += 1
        if queued[worker] and not computes[worker]:
            queued[worker] -= 1
            begin(worker)
    elapsed = max(free_at, now)
    return done * pixels / elapsed, min(busy / (elapsed * workers), 1.0), min(served / elapsed, 1.0)


if __name__ == "__main__":
    main()
