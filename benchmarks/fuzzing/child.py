"""A process of its own for each damaged file: limits, verdicts, and what is told to the one that started it."""

from __future__ import annotations

import json
import os
import re
import resource
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb
from typing import Any

__all__ = ["WORST", "Differs", "Verb", "attempt", "judge", "report", "run_forked"]

WORST = ("CRASH", "HANG", "MEMORY", "TRACEBACK", "DIFFERS", "refused", "said", "read")
NAMED = (ValueError, OSError, MemoryError)  # what the command line prints in a line
HANG_S, ASLEEP_S = 30, 240  # of processor time for a verb; of time for all of them, on a machine that is busy

Verb = tuple[str, Callable[[], str | None]]  # its name, and a function that returns what it said

_PIPE = -1


class Differs(Exception):
    """Read otherwise than by another reader."""


def report(**row: Any) -> None:
    """Tell the parent where the child is."""
    if _PIPE >= 0:
        os.write(_PIPE, json.dumps(row).encode() + b"\n")


def judge(verbs: list[Verb], target: Path, folder: Path, memory_mb: int) -> dict[str, Any]:
    """Run verbs in a child; the worst verdict, with the verb and what was said."""

    def work() -> None:
        for name, verb in verbs:
            report(verb=name)
            used = resource.getrusage(resource.RUSAGE_SELF)
            until = int(used.ru_utime + used.ru_stime + HANG_S) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))  # SIGXCPU from then on
            report(**attempt(name, verb, target, folder))

    reader, code = run_forked(work, memory_mb)
    rows = [json.loads(line) for line in reader.splitlines() if line]
    results = [row for row in rows if "verdict" in row]
    if code != 0:
        last = next((row["verb"] for row in reversed(rows)), "")
        results.append(
            {
                "verb": last,
                "verdict": "HANG" if code in (-signal.SIGALRM, -signal.SIGXCPU) else "CRASH",
                "said": f"exit {code}",
            }
        )
        if last == "peer":
            results[-1] |= {"verdict": "read", "said": f"the other library ended with {code}"}
    return min(results, key=lambda row: WORST.index(row["verdict"]))


def attempt(name: str, verb: Callable[[], str | None], target: Path, folder: Path) -> dict[str, str]:
    """Run one verb."""
    try:
        said = verb() or ""
        return {"verb": name, "verdict": "said" if said else "read", "said": said[:300]}
    except Differs as error:
        return {"verb": name, "verdict": "DIFFERS", "said": str(error)}
    except Exception as error:
        text = str(error)
        lines = text.splitlines()
        is_named = (target.name in text or "/set" in text) and (
            len(lines) == 1 or hasattr(error, "problems") or name == "check"
        )
        if isinstance(error, NAMED) and is_named:
            return {"verb": name, "verdict": "refused", "said": text[-300:]}
        verdict = "MEMORY" if isinstance(error, MemoryError) else "TRACEBACK"
        return {"verb": name, "verdict": verdict, "said": f"{type(error).__name__}: {text[:400]} [{_where(error)}]"}


def _where(error: BaseException) -> str:
    """The last lines of our code."""
    frames = [frame for frame in extract_tb(error.__traceback__) if "unetkit" in frame.filename]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[::-1][:3])


def run_forked(work: Callable[[], object], memory_mb: int) -> tuple[str, int]:
    """Run a function in a fork with limits; return its reports and its exit status (minus the signal)."""
    global _PIPE
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _PIPE = writer
        status = 1
        try:
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            used = int(re.findall(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[0]) * 1024
            resource.setrlimit(resource.RLIMIT_AS, (used + 2 * memory_mb * 10**6,) * 2)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            work()
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    text, until = b"", time.monotonic() + ASLEEP_S
    while select.select([reader], [], [], max(until - time.monotonic(), 0))[0]:
        part = os.read(reader, 1 << 16)
        if not part:
            break
        text += part
    else:
        os.kill(child, signal.SIGALRM)
    os.close(reader)
    return text.decode(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
