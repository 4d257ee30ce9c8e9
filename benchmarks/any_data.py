"""Training on more than memory holds: peak memory, time to the first step, steps per second, and the same net.

    python benchmarks/any_data.py FOLDER --size 4GB --memory 500MB 2GB
    python benchmarks/any_data.py FOLDER --size 60GB --memory 2GB --no-held
    python benchmarks/any_data.py FOLDER --slide 30000 --memory 2GB

Makes, in FOLDER (outside of the tree, and kept for the next time), images of `--side` squared pixels of synthetic cells
in 8 bits with their masks, as many as take `--size`: one half as tiled TIFF, the other as OME-Zarr. With `--slide` a
single OME-Zarr, of which twelve squares are labelled. Then `train` runs by one plan, in a process of its own each time:
with every `--memory`, and, but for `--no-held`, with as much as all arrays take; `--repeat` times in turn. A line for
each: the most resident memory (VmHWM; Linux only), the seconds to the first step, steps per second after it, the share
of the time that steps waited for data, and a digest of the net, which is to be the same in all.

`--cache` also trains on the same images as PNG, which are decoded whole and so go through the cache, twice: the second
time they are found there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import tifffile

from unetkit import io
from unetkit.data.synthetic import synthetic_cells
from unetkit.image import Image
from unetkit.io.lazy import Region
from unetkit.io.zarr.writing import write_pyramid
from unetkit.model.files import read_model
from unetkit.processors import byte_count
from unetkit.progress import Progress
from unetkit.training.loop import train
from unetkit.training.plan.settings import PlanSettings
from unetkit.training.run import Run

SCENE, TILE, SQUARES, SQUARE = 1024, 256, 12, 512
IGNORE = 255


class Cells:
    """A source of one scene of cells, repeated without end and shifted by the number of the image."""

    axes, spacing, unit, notes = "cyx", (0.5, 0.5), "µm", ()
    dtype = np.dtype(np.uint8)

    def __init__(self, scene: np.ndarray, side: int, number: int, squares: list[Region] | None = None) -> None:
        self._scene, self.shape = np.roll(scene, (37 * number, 91 * number), (0, 1)), (1, side, side)
        self._squares = squares

    def read(self, region: Region) -> np.ndarray:
        """Pixels of a region; where there are squares, all outside of them is not labelled."""
        _, *space = region
        rows, columns = (np.arange(part.start, part.stop) for part in space)
        pixels = self._scene[np.ix_(rows % SCENE, columns % SCENE)]
        if self._squares is not None:
            inside = np.zeros(pixels.shape, bool)
            for ys, xs in self._squares:
                inside |= ((rows >= ys.start) & (rows < ys.stop))[:, None] & (
                    (columns >= xs.start) & (columns < xs.stop)
                )
            pixels = np.where(inside, pixels, IGNORE).astype(np.uint8)
        return pixels[None]

    def close(self) -> None:
        """Nothing to release."""


def main() -> None:
    """Make the data, train in each way, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for the data and the runs")
    parser.add_argument("--size", default="4GB", help="of images and masks together")
    parser.add_argument("--side", type=int, default=8192, help="pixels of an image")
    parser.add_argument(
        "--slide", type=int, help="pixels of the side of one sparsely labelled slide, in place of these"
    )
    parser.add_argument("--memory", nargs="+", default=["500MB"], help="as train --memory")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--no-held", action="store_true", help="not with all arrays in memory")
    parser.add_argument("--cache", action="store_true", help="also as PNG, through the cache")
    parser.add_argument("--one", nargs=3, metavar=("DATA", "OUT", "MEMORY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(Path(args.one[0]), Path(args.one[1]), args.one[2], args.steps)))
        return
    n = max(byte_count(args.size) // (2 * args.side**2), 2)
    data = args.folder / (f"slide-{args.slide}" if args.slide else f"{args.side}-{n}")
    if not data.exists():
        make_slide(data, args.slide) if args.slide else make_images(data, args.side, n)
    ways = [(data, memory) for memory in args.memory]
    if not args.no_held:
        ways.insert(0, (data, f"{4 * (args.slide or args.side) ** 2 * (1 if args.slide else n)}"))
    if args.cache:
        pictures = data.with_name(f"{data.name}-png")
        if not pictures.exists():
            as_png(data, pictures)
        ways += [(pictures, memory) for memory in args.memory for _ in range(2)]
    for number, (source, memory) in product(range(args.repeat), ways):
        out = args.folder / f"run-{source.name}-{memory}"
        if number or not source.name.endswith("-png"):
            shutil.rmtree(out, ignore_errors=True)
        for path in out.glob("*") if out.exists() else ():  # all but the cache
            if path.name != "cache":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        command = [sys.executable, __file__, str(args.folder), "--steps", str(args.steps)]
        command += ["--one", str(source), str(out), memory]
        found = subprocess.run(command, check=True, capture_output=True, text=True)
        print(
            json.dumps({"data": source.name, "memory": memory, **json.loads(found.stdout.splitlines()[-1])}), flush=True
        )


def make_images(data: Path, side: int, n: int) -> None:
    """Images and masks, one half as tiled TIFF and the other as OME-Zarr."""
    scene, mask = scene_of_cells()
    for part, values in (("images", scene), ("masks", mask)):
        (data / part).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            source = Cells(values, side, i)
            if i % 2:
                write_pyramid(data / part / f"c{i:04}.ome.zarr", source, is_labels=part == "masks")
                continue
            starts = product(range(0, side, TILE), repeat=2)
            tiles = (source.read((slice(0, 1), slice(y, y + TILE), slice(x, x + TILE)))[0] for y, x in starts)
            options = {"tile": (TILE, TILE), "photometric": "minisblack", "compression": "zlib"}
            tifffile.imwrite(data / part / f"c{i:04}.tif", tiles, shape=(side, side), dtype=np.uint8, **options)


def make_slide(data: Path, side: int) -> None:
    """One image as OME-Zarr, of which some squares are labelled."""
    scene, mask = scene_of_cells()
    corners = np.random.default_rng(0).integers(0, side - SQUARE, (SQUARES, 2)).tolist()
    squares = [(slice(y, y + SQUARE), slice(x, x + SQUARE)) for y, x in corners]
    for part, source in (("images", Cells(scene, side, 0)), ("masks", Cells(mask, side, 0, squares))):
        (data / part).mkdir(parents=True, exist_ok=True)
        write_pyramid(data / part / "slide.ome.zarr", source, is_labels=part == "masks")


def as_png(data: Path, pictures: Path) -> None:
    """The same images in a format that is decoded whole."""
    for part in ("images", "masks"):
        (pictures / part).mkdir(parents=True, exist_ok=True)
        for path in sorted((data / part).iterdir()):
            array = io.read(path).array
            io.write(pictures / part / f"{path.name.split('.')[0]}.png", Image(array, "cyx", (1.0, 1.0)))


def scene_of_cells() -> tuple[np.ndarray, np.ndarray]:
    """Gray values, and 0 for background and 1 for cells, of 8 bits."""
    image, ids = synthetic_cells((SCENE, SCENE), seed=0)
    low, high = np.percentile(image, (0.1, 99.9))
    return ((image - low) / (high - low) * 254).clip(0, 254).astype(np.uint8).reshape(SCENE, SCENE), (ids > 0).astype(
        np.uint8
    )


class Clock(Progress):
    """When the first step was done, and what was said of memory."""

    def __init__(self) -> None:
        self.start, self.first, self.last, self.step, self.lines = time.perf_counter(), 0.0, 0.0, 0, list[str]()

    def update(self, done: float = 0.0, total: float = 0.0, message: str = "", **values: float) -> None:
        """Take a message, or the number of a step."""
        if message.startswith(("memory", "validation", "patches.draw")):
            self.lines.append(message)
        if "step" in values:
            self.last, self.step = time.perf_counter(), int(values["step"])
            self.first = self.first or self.last


def measure(data: Path, out: Path, memory: str, steps: int) -> dict[str, object]:
    """Train, in this process."""
    clock = Clock()
    settings: PlanSettings = {
        "device": {"memory": memory, "precision": "float32"},
        "data": {"validation_fraction": 0.0},
    }
    run = train(data / "images", data / "masks", out=out, steps=steps, settings=settings, resume=True, progress=clock)
    status = Path("/proc/self/status").read_text()
    return {
        "peak_mb": int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024,  # type: ignore[index]
        "first_step_s": round(clock.first - clock.start, 1),
        "steps_per_s": round((clock.step - 1) / max(clock.last - clock.first, 1e-9), 3),
        "waiting": Run.open(out).log()[-1].get("waiting"),
        "net": digest_of(run),
        "said": clock.lines,
    }


def digest_of(run: Run) -> str:
    """Of all weights."""
    digest = hashlib.blake2b(digest_size=6)
    for tensor in read_model(run.paths.root)[0].state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
