"""SIGKILL at random moments: does every training, prediction, export and table go on, and end as if nothing had been?

    python benchmarks/kills.py --out kills.jsonl                         # all, about half an hour on two cores
    python benchmarks/kills.py --out kills.jsonl --what training --kills 20
    python benchmarks/kills.py --out kills.jsonl --sums                  # only print what is there

Each case is run once without a kill, which tells its time and its result. Then it is started in a process of its own,
forked from one that has imported everything, is killed at a moment drawn by the seed, and started again with the same
command, again and again; after `--chain` kills it may end. What it wrote is then compared byte by byte: for a training
the weights, for a prediction the mask, for a table the table. A chain is a line of JSON in `--out`.

    training     tiny nets of four kinds, 2D and 3D, saved after every step, resumed with the same --steps     100 kills
    prediction   a mask of 4.4 million pixels as TIFF, GeoTIFF, OME-Zarr, in 3D, and of objects                100 kills
    cluster      the same by two Dask workers: the starter and its workers are killed, or one worker alone      20 kills
    int8         the export of a run; whatever is there afterwards must be whole (needs unetkit[fast])          10 kills
    table        measure table, with outlines for ImageJ                                                        10 kills

Linux only (fork).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch._dynamo  # noqa: F401 - torch loads it late, in seconds
from kill_cases import CASES, Case, save_often

KILLS = {"training": 100, "prediction": 100, "cluster": 20, "int8": 10, "table": 10}


def main() -> None:
    """Run the chains that are missing, and print the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="lines of JSON; what is there is not run again")
    parser.add_argument("--what", nargs="+", choices=list(KILLS), default=list(KILLS))
    parser.add_argument("--kills", type=int, help="of each (default: as above)")
    parser.add_argument("--chain", type=int, default=5, help="kills before a case may end")
    parser.add_argument("--sums", action="store_true", help="print the sums of --out, and stop")
    args = parser.parse_args()
    if not args.sums:
        save_often()
        with tempfile.TemporaryDirectory(prefix="kills_") as work:
            for what in args.what:
                run(what, args.kills or KILLS[what], Path(work), args)
    print_sums(args.out)


def run(what: str, kills: int, work: Path, args: argparse.Namespace) -> None:
    """Kill one kind of work so often, over all its cases in turn."""
    rows = [row for row in _rows(args.out) if row["what"] == what]
    done, seed = sum(row["kills"] for row in rows), len(rows)
    if done >= kills:
        return
    cases = CASES[what](work / what)
    whole: dict[str, tuple[str, float]] = {}
    while done < kills:
        case = cases[seed % len(cases)]
        if case.name not in whole:
            folder, began = work / what / f"whole_{case.name}", time.monotonic()
            status = wait(start(case, folder))
            whole[case.name] = case.result(folder), time.monotonic() - began
            if status or not whole[case.name][0]:
                raise SystemExit(f"{what} {case.name}: without a kill it ended with {status}")
        row = chain(case, work / what / f"killed_{seed}", whole[case.name], seed, min(args.chain, kills - done))
        with args.out.open("a") as file:
            file.write(json.dumps({"what": what, "case": case.name, "seed": seed} | row) + "\n")
        print(what, case.name, row, flush=True)
        done, seed = done + row["kills"], seed + 1


def chain(case: Case, folder: Path, whole: tuple[str, float], seed: int, most: int) -> dict[str, Any]:
    """Start, kill, start again; the last start may end."""
    rng, kills, moments, problems = np.random.default_rng(seed), 0, [], []
    result, time_s = whole
    while kills < most:
        moment = float(rng.uniform(0, time_s * 0.7))
        process = start(case, folder)
        time.sleep(moment)
        victim = process
        if case.has_workers and rng.random() < 0.5:
            victim = next(iter(rng.permutation(workers_of(process))), process)
        os.kill(victim, signal.SIGKILL)
        status = wait(process)
        kills, moments = kills + (victim != process or status != 0), [*moments, round(moment, 2)]
        if status not in (0, -signal.SIGKILL):
            problems.append(f"ended with {status} after kill {kills}")
        if case.result(folder):
            break
    if not case.result(folder):
        status = wait(start(case, folder))
        problems += [f"the last start ended with {status}"] if status else []
    left = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in (".tmp", ".partial")]
    is_same = case.result(folder) == result
    shutil.rmtree(folder)
    return {"kills": kills, "identical": is_same, "moments_s": moments, "problems": problems, "left": left}


def workers_of(process: int) -> list[int]:
    """Processes that a process has started to work for it."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def start(case: Case, folder: Path) -> int:
    """Fork a process that does the work; its number."""
    folder.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 1)
            case.work(folder)
            status = 0
        except Exception as error:
            print(f"{case.name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    return child


def wait(child: int) -> int:
    """The exit status of a process, minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def print_sums(path: Path) -> None:
    """Kills, chains, and what was wrong, by kind of work."""
    sums: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in _rows(path):
        sums[row["what"]].append(row)
    print("| what | chains | kills | not identical | problems |\n|---|---|---|---|---|")
    for what, rows in sums.items():
        wrong = sum(not row["identical"] for row in rows)
        print(
            f"| {what} | {len(rows)} | {sum(row['kills'] for row in rows)} | {wrong} | "
            f"{'; '.join(text for row in rows for text in row['problems'])} |"
        )


if __name__ == "__main__":
    main()
