"""Damaged files of every format that is read: is each read as others read it, or refused in a line that names it?

    python benchmarks/fuzz.py --out fuzz.jsonl                           # 2,640 files, about half an hour on two cores
    python benchmarks/fuzz.py --out fuzz.jsonl --formats PNG NRRD --files 200
    python benchmarks/fuzz.py --out fuzz.jsonl --table                   # only print what is there

Small valid files (fuzzing/samples.py) are damaged by their seed (fuzzing/damage.py), and verbs run on each in a
process of its own, forked from one that has imported everything: it may take twice `--memory` more than it began with,
and 30 s of processor time for each verb. One in `--commands` goes through `unetkit check` as well. Of each file the
worst of:

    read       equal to what an independent library reads, or that one refuses the file, or there is none
    said       read otherwise than by the other library, and a note says why
    refused    ValueError, OSError or MemoryError with the name of the file, or of the folder that was given
    TRACEBACK  any other exception, or a message without the name
    DIFFERS    read otherwise than by the other library, without a word
    HANG       more than 30 s of processor time for a verb
    MEMORY     MemoryError without a name, or killed for memory
    CRASH      the process died, as where a decoder in C aborts

Every file is a line of JSON in `--out`; files that have one are skipped, so that the same command goes on after a stop.
Other libraries, where installed: GDAL (rasterio), ITK (SimpleITK), TensorStore, pyfive. Linux only (fork, rlimits).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}

sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))  # which write DICOM and LIF

import numpy as np
from fuzzing.child import WORST, attempt, judge, run_forked
from fuzzing.damage import damage
from fuzzing.samples import GRAY, MASK, SAMPLES, THICK, VOLUME, Sample, write_image
from fuzzing.verbs import command, verbs_of

from unetkit import io
from unetkit.image import Image
from unetkit.inference.execution import Execution
from unetkit.report import write_report
from unetkit.training.loop import train


def main() -> None:
    """Damage, run, note down, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="lines of JSON; what is there is not run again")
    parser.add_argument("--files", type=int, default=2640, help="in all, the same number of each format")
    parser.add_argument("--formats", nargs="+", choices=[sample.name for sample in SAMPLES], metavar="FORMAT")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--memory", type=int, default=400, help="MB, as predict --memory")
    parser.add_argument(
        "--commands", type=int, default=40, help="one file in so many goes through the command line too"
    )
    parser.add_argument("--table", action="store_true", help="print the table of --out, and stop")
    args = parser.parse_args()
    samples = [sample for sample in SAMPLES if not args.formats or sample.name in args.formats]
    if not args.table:
        n = -(-args.files // len(samples))
        with tempfile.TemporaryDirectory(prefix="fuzz_") as work:
            fuzz(samples, range(args.first, args.first + n), Path(work), args)
    print_table(args.out)


def fuzz(samples: list[Sample], seeds: range, work: Path, args: argparse.Namespace) -> None:
    """Run what is missing."""
    done = {(row["format"], row["seed"]) for row in _rows(args.out)}
    runs = {is_volume: make_run(work / f"trained_{is_volume}", is_volume) for is_volume in (False, True)}
    warm_up(work, runs)
    execution = Execution(memory_bytes=args.memory * 10**6)
    for sample in samples:
        run = runs[sample.is_volume]
        bases, notes = [], []
        for variant in range(len(sample.write)):
            base = work / "bases" / f"{SAMPLES.index(sample)}_{variant}"
            run_forked(partial(make_sample, sample, variant, base, run), 10**6)
            bases.append(base)
            notes.append(notes_of(base / sample.target) if sample.is_image else [])
        for seed in seeds:
            if (sample.name, seed) in done:
                continue
            rng, folder = np.random.default_rng([seed, SAMPLES.index(sample)]), work / "set"
            shutil.rmtree(folder, ignore_errors=True)
            variant = int(rng.integers(len(bases)))
            shutil.copytree(bases[variant], folder)
            row = {"format": sample.name, "seed": seed, "damage": damage(folder / sample.target, sample.text, rng)}
            verbs = verbs_of(sample, folder, run, notes[variant], execution=execution, is_inspected=seed % 4 == 0)
            if (seed + SAMPLES.index(sample)) % args.commands == 0:
                verbs.append(("command", lambda folder=folder: command(folder)))
            began = time.monotonic()
            row |= judge(verbs, folder / sample.target, folder, args.memory)
            row["time_s"] = round(time.monotonic() - began, 2)
            with args.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            if row["verdict"].isupper():
                print(json.dumps(row), flush=True)


def make_run(work: Path, is_volume: bool) -> Path:
    """A tiny net, trained on two images."""
    data, suffix = work / "data", "nii.gz" if is_volume else "png"
    first, axes, mask = (VOLUME, "czyx", THICK) if is_volume else (GRAY, "cyx", MASK)
    for name, image in (("a", first), ("b", first[..., ::-1, :])):
        for part in ("images", "masks"):
            (data / part).mkdir(parents=True, exist_ok=True)
        io.write(data / "images" / f"{name}.{suffix}", Image(image[None], axes, (1.0,) * image.ndim))
        io.write_labels(data / "masks" / f"{name}.{suffix}", mask)
    settings: Any = {"net": {"widths": (4, 8)}, "patches": {"size": (4, 16, 16)[-first.ndim :], "batch": 2}}
    settings |= {"data": {"validation_fraction": 0.5, "resample": False}, "device": {"name": "cpu"}}
    train(data, out=work / "run", steps=4, settings=settings)
    return work / "run"


def warm_up(work: Path, runs: dict[bool, Path]) -> None:
    """Run the verbs once, so that the forks find every module imported."""
    for name in ("PNG", "model"):
        sample, folder = next(sample for sample in SAMPLES if sample.name == name), work / f"warm_{name}"
        make_sample(sample, 0, folder, runs[False])
        for verb in verbs_of(sample, folder, runs[False], [], execution=Execution(), is_inspected=True):
            attempt(*verb, folder / sample.target, folder)
    write_report(runs[False])
    for module in ("SimpleITK", "rasterio", "h5py", "zarr", "nrrd", "mrcfile", "pydicom", "pyfive", "tensorstore"):
        with suppress(ImportError):
            import_module(module)


def make_sample(sample: Sample, variant: int, folder: Path, run: Path) -> None:
    """The folder of a sample, whole."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    suffix = "".join(Path(sample.target).suffixes) if sample.is_image else ".png"
    mask = THICK if sample.is_volume else MASK
    mask_suffix = ".tif" if sample.is_volume else ".png"
    for name in "ab" if not sample.is_image else "":
        write_image(sample, folder / "images", name)
    if sample.target.startswith("run/"):
        shutil.copytree(run, folder / "run")
    sample.write[variant](folder / sample.target)
    if sample.is_image:
        sample.write[0](folder / "images" / f"b{suffix}")
    if sample.is_mask and Path(sample.target).stem == "a":
        sample.write[variant]((folder / sample.target).with_stem("b"))
    for name in "ab" if not sample.is_mask else "":
        io.write_labels(folder / "masks" / f"{name}{mask_suffix}", mask)


def notes_of(target: Path) -> list[str]:
    """What is said of a whole file; nothing where it is a bomb that cannot be read."""
    reader, writer = os.pipe()
    run_forked(lambda: os.write(writer, json.dumps(io.read(target).notes).encode()) and None, 10**6)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        return list(json.loads(file.read() or b"[]"))


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def print_table(path: Path) -> None:
    """Verdicts by format, as Markdown."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in _rows(path):
        counts[row["format"]][row["verdict"]] += 1
    names = WORST[::-1]
    print(f"| format | files | {' | '.join(names)} |\n|---|{'---|' * (len(names) + 1)}")
    for name, count in counts.items():
        print(f"| {name} | {count.total()} | {' | '.join(str(count[verdict] or '') for verdict in names)} |")
    total = sum(counts.values(), Counter())
    print(f"| all | {total.total()} | {' | '.join(str(total[verdict]) for verdict in names)} |")


if __name__ == "__main__":
    main()
