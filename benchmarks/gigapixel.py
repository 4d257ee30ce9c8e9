"""One image of a gigapixel through `unetkit predict`: memory, speed, and what is left of it after a kill.

    python benchmarks/gigapixel.py --work FOLDER
    python benchmarks/gigapixel.py --work FOLDER --side 4096        # a minute or two, to try it out

Makes, in FOLDER, a model (widths 32 to 512, 7.8 M parameters, a short training on synthetic cells), and a BigTIFF of
`--side` squared pixels of synthetic cells in tiles of 512 x 512, uncompressed. Then `unetkit predict` runs in a process
of its own, is killed (SIGKILL) when `--kill` of the blocks are there, and is started again. What is measured: seconds
of both parts, Mpx/s, and the most resident memory of either (VmHWM; Linux only).

The mask is checked in two ways: at random places against the net run at once on a window that holds all that those
pixels see (`--places`), and, with `--twice`, byte for byte against the mask of an uninterrupted run. Every result is a
line in `gigapixel.jsonl`. Run time for 32768 x 32768 on two cores: about an hour, twice that with `--twice`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch

from unetkit.data.normalise import measure_normalisation
from unetkit.data.synthetic import synthetic_cells, write_synthetic_cells
from unetkit.inference.prepare import prepare
from unetkit.io import open_lazy
from unetkit.labels.kind import from_classes
from unetkit.model.files import read_model
from unetkit.tiles import tile
from unetkit.training.loop import train

RESULTS = Path(__file__).with_name("gigapixel.jsonl")
WIDTHS = (32, 64, 128, 256, 512)
TILE, SCENE = 512, 2048


def main() -> None:
    """Make what is missing, predict, kill, go on, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the model, the image and the masks")
    parser.add_argument("--side", type=int, default=32768, help="pixels")
    parser.add_argument("--memory", default="1GB", help="as predict --memory")
    parser.add_argument("--engine", default="torch", help="as predict --engine")
    parser.add_argument("--kill", type=float, default=0.5, help="share of the blocks after which the process is killed")
    parser.add_argument("--places", type=int, default=8, help="windows in which the mask is checked")
    parser.add_argument("--twice", action="store_true", help="compare with an uninterrupted run too")
    parser.add_argument("--steps", type=int, default=100, help="of training the model")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    run, image = model(args.work, args.steps), make_image(args.work, args.side)
    out = args.work / f"masks_{args.side}"
    shutil.rmtree(out, ignore_errors=True)
    program = str(Path(sys.executable).with_name("unetkit"))
    command = [program, "predict", str(run), str(image), "--memory", args.memory, "--engine", args.engine]
    killed = predict([*command, "--out", str(out)], out / f".{image.name}.partial", kill_at=args.kill)
    rest = predict([*command, "--out", str(out)], out / f".{image.name}.partial", kill_at=2.0)
    mask = out / image.name
    time_s = killed["time_s"] + rest["time_s"]
    row: dict[str, Any] = {
        "side": args.side,
        "engine": args.engine,
        "memory": args.memory,
        "killed": killed,
        "rest": rest,
    }
    row |= {"time_s": round(time_s, 1), "mpx_per_s": round(args.side**2 / 1e6 / time_s, 3)}
    row |= check(run, image, mask, args.places)
    if args.twice:
        other = args.work / f"masks_{args.side}_again"
        shutil.rmtree(other, ignore_errors=True)
        row["uninterrupted"] = predict([*command, "--out", str(other)], other / "none", kill_at=2.0)
        row["identical"] = digest(mask) == digest(other / image.name)
    with args.results.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row, indent=2))


def model(work: Path, steps: int) -> Path:
    """A run folder, made once."""
    run = work / "run"
    if not (run / "model.safetensors").is_file() or not (run / "validation.json").is_file():
        shutil.rmtree(run, ignore_errors=True)
        images, masks = write_synthetic_cells(work / "data", n=12)
        train(
            images,
            masks,
            out=run,
            steps=steps,
            settings={"net": {"widths": WIDTHS}, "patches": {"batch": 2, "size": 256}},
        )
    return run


def make_image(work: Path, side: int) -> Path:
    """A BigTIFF of synthetic cells, tile by tile: each is another part of one scene, turned and dimmed."""
    path = work / f"cells_{side}.tif"
    if path.is_file():
        return path
    scene = synthetic_cells((SCENE, SCENE), seed=1)[0]
    temporary = path.with_suffix(".tmp")
    tifffile.imwrite(
        temporary, _tiles(scene, side), shape=(side, side), dtype=scene.dtype, tile=(TILE, TILE), bigtiff=True,
        photometric="minisblack",
    )  # fmt: skip
    temporary.rename(path)
    return path


def _tiles(scene: np.ndarray, side: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range((-(-side // TILE)) ** 2):
        y, x = rng.integers(0, SCENE - TILE, 2)
        part = np.rot90(scene[y : y + TILE, x : x + TILE], rng.integers(4))
        yield np.ascontiguousarray((part * rng.uniform(0.7, 1.0)).astype(scene.dtype))


def predict(command: list[str], partial: Path, *, kill_at: float) -> dict[str, Any]:
    """Run a prediction, watch its memory, and kill it when a share of the blocks is there."""
    start, peak_kb, share = time.perf_counter(), 0, 0.0
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while process.poll() is None:
        time.sleep(0.2)
        peak_kb = max(peak_kb, _peak_kb(process.pid))
        share = _share(partial) if kill_at < 1 else 0.0
        if share >= kill_at:
            process.send_signal(signal.SIGKILL)
            process.wait()
    time_s = time.perf_counter() - start
    text = (process.stdout.read() if process.stdout else "").strip()
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"predict failed:\n{text}")
    return {"time_s": round(time_s, 1), "peak_gb": round(peak_kb / 1e6, 3), "killed_at": round(share, 3), "said": text}


def _peak_kb(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)


def _share(partial: Path) -> float:
    """Of all blocks, those that are there, as the file itself says."""
    if not partial.is_file():
        return 0.0
    try:
        with sqlite3.connect(f"file:{partial}?mode=ro", uri=True, timeout=1) as database:
            ((what,),) = database.execute("SELECT what FROM about")
            ((n,),) = database.execute("SELECT count(*) FROM block")
        database.close()
    except (sqlite3.Error, ValueError):
        return 0.0
    _, size, block, _ = json.loads(what)
    return n / float(np.prod([-(-s // b) for s, b in zip(size, block, strict=True)]))


@torch.inference_mode()
def check(run: Path, image: Path, mask: Path, places: int) -> dict[str, Any]:
    """Compare the mask with the net as it was trained, run at once on windows that hold all that matters."""
    net, card = read_model(run)
    ready, rng, side = prepare(net), np.random.default_rng(7), min(256, TILE)
    wrong = total = 0
    with open_lazy(image) as source, open_lazy(mask) as labels:
        scaling = measure_normalisation(source)
        size = source.size
        for _ in range(places):
            y, x = (int(rng.integers(0, n - side + 1)) for n in size)
            found = tile(net.geometry, net.geometry.above(size), (slice(y, y + side), slice(x, x + side)))
            window = tuple(slice(w.start, min(w.stop, n)) for w, n in zip(found.window, size, strict=True))
            batch = torch.from_numpy(scaling(source[(slice(None), *window)]))[None]
            classes = ready(batch)[0][(slice(None), *found.keep)].argmax(0).to(torch.uint8).numpy()
            expected = from_classes(classes, card.labels)
            wrong += int((labels[(slice(None), *found.core)][0] != expected).sum())
            total += expected.size
    return {"checked": total, "changed": wrong}


def digest(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
