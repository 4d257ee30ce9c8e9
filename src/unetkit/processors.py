"""The processors and the memory that this process may use, of a shared machine those of the job; and accelerators."""

from __future__ import annotations

import os
import re
from math import ceil
from pathlib import Path

__all__ = ["DEVICES", "UNTRIED_DEVICES", "byte_count", "check_device", "count_processors", "limit_threads"]
__all__ += ["machine_memory"]

UNTRIED_DEVICES = ("mps", "xpu")  # by us, for want of one: float32 alone, nothing compiled, never chosen by a rule
DEVICES = ("cpu", "cuda", *UNTRIED_DEVICES)
_NAMES = {"cuda": "CUDA device", "mps": "GPU of Apple (mps)", "xpu": "GPU of Intel (xpu)"}

_CGROUPS = Path("/sys/fs/cgroup")
_UNITS_BYTES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_USUAL_MEMORY = 8 * 2**30  # bytes, where the system does not say


def count_processors() -> int:
    """Processors by the affinity of the process (taskset, Slurm) and the quota of its control group (containers).

    A quota of 1.5 processors counts as 2. Systems without affinity or control groups give those of the machine.
    """
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min([n, *(ceil(quota) for quota in _quotas())]), 1)


def limit_threads() -> None:
    """Let torch compute with no more threads than processors, unless OMP_NUM_THREADS asks for a number.

    OpenMP counts by affinity, and does not know of the quota of a container: threads beyond it wait for each other.
    """
    import torch

    n = count_processors()
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > n:
        torch.set_num_threads(n)


def check_device(device: str) -> None:
    """Raise ValueError if torch cannot compute on a device, one of `DEVICES`, on this machine."""
    import torch

    if device not in DEVICES:
        raise ValueError(f"device is {device!r}; expected {', '.join(DEVICES[:-1])} or {DEVICES[-1]}")
    if device == "cpu":
        return
    backend = torch.backends.mps if device == "mps" else getattr(torch, device)
    if not backend.is_available():
        raise ValueError(f"device is {device!r}, but torch finds no {_NAMES[device]} here: use --device cpu")


def _quotas() -> list[float]:
    """Limits in processors, of the control group of this process and of those that it lies in."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:  # "0::/job" of version 2, "4:cpu,cpuacct:/job" of version 1
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = _CGROUPS / "cpu" if controllers else _CGROUPS
        own = root / path.strip("/")
        for folder in (own, *own.parents):
            if not folder.is_relative_to(root):
                break
            quota = _quota(folder, is_old=bool(controllers))
            found += [] if quota is None else [quota]
    return found


def _quota(group: Path, *, is_old: bool) -> float | None:
    """Processors that a control group may use; None where it has no limit, or none can be read."""
    try:
        if is_old:
            texts = [(group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")]
        else:
            texts = (group / "cpu.max").read_text().split()
        used, period = map(int, texts)  # of "max 100000", the first is no number
    except (OSError, ValueError):
        return None
    return used / period if used > 0 and period > 0 else None


def machine_memory() -> int:
    """Bytes of memory of this machine, or those that the control group of this process may use."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has none
        total = _USUAL_MEMORY
    limits = [total]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # of version 2 and 1; "max" where there is none
        try:
            limits.append(int((_CGROUPS / name).read_text()))
        except (OSError, ValueError):
            continue
    return min(limits)


def byte_count(text: str) -> int:
    """Read a memory size: "2GB", "512M" or plain bytes; units are powers of 1024.

    >>> byte_count("2GB") == 2 * 2**30
    True
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), flags=re.IGNORECASE)
    if not match:
        raise ValueError(f"{text!r} is not a memory size: expected one such as 2GB or 500MB")
    return int(float(match[1]) * _UNITS_BYTES[match[2].upper()])
