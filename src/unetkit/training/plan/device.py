"""Devices, precision and threads of a training."""

from __future__ import annotations

import os
from typing import Any, Literal

import torch

from ... import processors
from ..distributed import world_size

__all__ = [
    "Precision",
    "check_device",
    "multiplies_bfloat16",
    "use_threads",
    "usual_precision",
    "usual_threads",
    "why_precision",
]

Precision = Literal["float32", "bfloat16"]


def check_device(device: str) -> None:
    """Raise ValueError if this machine, or the processes that train as one, cannot compute on `device`."""
    processors.check_device(device)
    if device in processors.UNTRIED_DEVICES and world_size() > 1:
        raise ValueError(f"device is {device!r}, on which one process trains alone: leave out --devices")


def multiplies_bfloat16(device: str) -> bool:
    """Whether `device` has instructions for bfloat16 (CPU: AVX-512 BF16 or AMX) rather than emulating them."""
    if device in processors.UNTRIED_DEVICES:
        return False
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: Any = getattr(torch.cpu, "get_capabilities", dict)()  # torch >= 2.10
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def usual_precision(device: str) -> Precision:
    """bfloat16 where `device` multiplies it, else float32."""
    return "bfloat16" if multiplies_bfloat16(device) else "float32"


def why_precision(device: str) -> str:
    """The reason of `usual_precision`, in words."""
    if device in processors.UNTRIED_DEVICES:
        return f"float32, and not compiled: {device} is not tried by us"
    if not multiplies_bfloat16(device):
        return f"this {'processor' if device == 'cpu' else 'GPU'} does not multiply bfloat16"
    return "multiplied here: more steps in the same time"


def usual_threads() -> int | None:
    """The number of threads that a plan records; None for several processes, whose sums are divided otherwise."""
    return torch.get_num_threads() if world_size() == 1 else None


def use_threads(threads: int | None) -> str:
    """Compute with the number of threads that a plan records, on which the last bits of every sum depend.

    Parameters
    ----------
    threads : int or None
        `plan.budget.threads`; None, of old plans and of several processes, changes nothing.

    Returns
    -------
    str
        A message, such as that OMP_NUM_THREADS asks for another number; "" where nothing changes.
    """
    before = torch.get_num_threads()
    if threads is None or threads == before:
        return ""
    torch.set_num_threads(threads)
    asked = os.environ.get("OMP_NUM_THREADS")
    source = f"OMP_NUM_THREADS={asked}" if asked else "this machine's"
    return f"{threads} threads as the plan records, not {before} ({source}): the same steps then give the same net"
