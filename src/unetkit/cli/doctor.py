"""Look at the machine: versions, devices, speed, and the fix for what is missing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import torch

from ..inference.outputs import most_likely
from ..nets.architecture import Architecture
from ..nets.net import Net
from ..nets.unet import UNet
from ..processors import count_processors
from ..training.losses import dice_cross_entropy
from ..training.plan.device import usual_precision

__all__ = ["examine"]

_SHOWN = ("torch", "numpy", "tifffile")
_NOT_FOR_USERS = ("dev", "bench")
_PATCH, _IMAGE, _USUAL_BATCH = 256, 512, 4
_LEAST_DISK, _LEAST_MEMORY = 1 * 2**30, 2 * 2**30  # a run folder with states and previews; a small training step
_COMPILERS = {
    "linux": ("g++", "sudo apt install g++"),
    "darwin": ("clang++", "xcode-select --install"),
    "win32": ("cl", "winget install Microsoft.VisualStudio.2022.BuildTools"),
}


def examine(*, seconds: float = 3.0) -> list[str]:
    """Examine this machine and the installation.

    Parameters
    ----------
    seconds : float
        About how long the speed test may take, above 0; at least one step of each kind is always timed.

    Returns
    -------
    list of str
        Lines for the user. The last ones say that everything needed is here, or list the fixes.

    Raises
    ------
    ValueError
        If `seconds` is not above 0.
    """
    if not seconds > 0:
        raise ValueError(f"seconds is {seconds:g}; expected more than 0, such as 3")
    lines, fixes = [], []
    for part in (_versions, _optional, _machine, _load, lambda: _speed(seconds), _folder):
        found, wanted = part()
        lines += found
        fixes += wanted
    if not fixes:
        return [*lines, "Everything needed is here."]
    return [*lines, f"{len(fixes)} thing{'s'[: len(fixes) > 1]} to fix:", *(f"  {fix}" for fix in fixes)]


_Found = tuple[list[str], list[str]]  # lines, and fixes of what is needed and missing


# --- what is installed ---


def _versions() -> _Found:
    """Versions, and what the package declares to need but does not find."""
    shown = ", ".join(f"{name} {_version(name) or 'missing'}" for name in _SHOWN)
    lines = [f"unetkit {_version('unetkit') or 'not installed'}, Python {platform.python_version()}, {shown}"]
    missing = [name for name, extra in _declared() if extra is None and _version(name) is None]
    return lines, [f"pip install {' '.join(missing)}"] if missing else []


def _optional() -> _Found:
    """Extras that users can add, and a compiler; none of them is needed."""
    extras: dict[str, list[str]] = {}
    for name, extra in _declared():
        if extra is not None and extra not in _NOT_FOR_USERS:
            extras.setdefault(extra, []).append(name)
    lines = []
    for extra, names in extras.items():
        missing = [name for name in names if _version(name) is None]
        state = f"not here ({', '.join(missing)}): pip install 'unetkit[{extra}]'" if missing else "present"
        lines.append(f"optional {extra}: {state}")
    compiler, install = _COMPILERS.get(sys.platform, _COMPILERS["linux"])
    if shutil.which(compiler):
        lines.append(f"compiler for torch.compile: {compiler} present")
    else:
        lines.append(
            f"compiler for torch.compile: no {compiler}, so long trainings run about a tenth slower: {install}"
        )
    return lines, []


def _declared() -> list[tuple[str, str | None]]:
    """What the installed package declares: (distribution, extra or None)."""
    try:
        found = requires("unetkit") or []
    except PackageNotFoundError:
        return []
    rows: list[tuple[str, str | None]] = []
    for line in found:
        name = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", line)
        if name:
            rows.append((name[0], extra[1] if extra else None))
    return rows


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


# --- what the machine has ---


def _cores_text() -> str:
    """Cores that this process may use, and those of the machine where these are more."""
    own, whole = count_processors(), os.cpu_count() or 1
    return f"{own} cores" if own == whole else f"{own} cores (of the machine's {whole})"


def _machine() -> _Found:
    """Processor, memory and accelerators."""
    lines = [f"processor: {_cpu_name()}, {torch.get_num_threads()} of {_cores_text()} used by torch"]
    free, fixes = _free_memory(), []
    if free is None:
        lines.append("memory: free amount not known on this system")
    else:
        lines.append(f"memory: {free / 2**30:.1f} GB free")
        if free < _LEAST_MEMORY:
            fixes.append(f"close other programs: {free / 2**30:.1f} GB of memory are free, training needs about 2 GB")
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    lines += [f"GPU {i}: {gpu.name}, {gpu.total_memory / 2**30:.0f} GB" for i, gpu in enumerate(gpus)]
    if torch.backends.mps.is_available():
        lines.append("GPU: Apple (mps); the plan does not choose it by itself")
    elif not gpus:
        lines.append("GPU: none that torch can use; training runs on the processor")
    return lines, fixes


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", info.read_text(), flags=re.MULTILINE) if info.is_file() else []
    return names[0] if names else platform.processor() or platform.machine() or "unknown"


def _free_memory() -> int | None:
    """Bytes that a new program can use, within the limit of a container; None where the system does not say."""
    info = Path("/proc/meminfo")
    available = (
        re.search(r"^MemAvailable:\s*(\d+) kB", info.read_text(), flags=re.MULTILINE) if info.is_file() else None
    )
    if available is None:
        return None
    free, group = int(available[1]) * 1024, Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free
    return max(0, min(free, limit))


def _load() -> _Found:
    """Whether other programs want the same cores: threads that wait for each other then cost many times more."""
    if not hasattr(os, "getloadavg"):
        return [], []
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load < 0.75 * cores:
        return [], []
    return [
        f"other programs are running (load {load:.1f} on {cores} cores): the speed below is lower than this machine's "
        "own; where they stay, training with OMP_NUM_THREADS=1 set may be faster"
    ], []


# --- how fast it is ---


def _speed(seconds: float) -> _Found:
    """Time training steps and inference of the usual net, and say what that comes to."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    net: Net = UNet(Architecture(widths=(16, 32, 64, 128, 256))).to(device)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = _rate(_training_step(net, device), seconds / 2, device)
    images = _rate(_inference(net.eval(), device), seconds / 2, device)
    pixels = images * _IMAGE**2 / 1e6
    many = steps * 600 / _USUAL_BATCH
    precision = usual_precision(device)
    return [
        f"speed on {device}, usual net (16 to 256 channels): {steps:.2g} training steps per second on one patch of "
        f"{_PATCH} x {_PATCH} in {precision}, inference {pixels:.2g} million pixels per second",
        f"  that is about {_rounded(many):,} training steps of {_USUAL_BATCH} patches in 10 minutes, and an image of "
        f"4096 x 4096 segmented in about {_rounded(4096**2 / 1e6 / pixels):,} s",
    ], []


def _training_step(net: Net, device: str) -> Callable[[], object]:
    image = torch.randn(1, 1, _PATCH, _PATCH, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 2, (1, _PATCH, _PATCH), device=device)
    optimiser = torch.optim.AdamW(net.parameters())

    def step() -> None:
        net.train()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=usual_precision(device) == "bfloat16"):
            logits = net.body(image)
        loss = dice_cross_entropy(logits.float(), labels, check=False)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def _inference(net: Net, device: str) -> Callable[[], object]:
    image = torch.randn(1, 1, _IMAGE, _IMAGE, device=device).contiguous(memory_format=torch.channels_last)

    def predict() -> None:
        with torch.inference_mode():
            most_likely(net.body(image)[0])

    return predict


def _rate(work: Callable[[], object], seconds: float, device: str) -> float:
    """Times per second, after one untimed run; the first one prepares memory and kernels."""

    def now() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    work()
    n, start = 0, now()
    while True:
        work()
        n += 1
        spent = now() - start
        if spent >= seconds:
            return n / spent


def _rounded(value: float) -> int:
    """To two digits: a short test knows no more."""
    return int(float(f"{value:.2g}")) if value >= 1 else 1


# --- where it runs ---


def _folder() -> _Found:
    """Whether run folders can be made here."""
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    lines, fixes = [f"folder {here}: {free / 2**30:.1f} GB free"], []
    try:
        with tempfile.TemporaryFile(dir=here):
            pass
    except OSError as error:
        lines[0] += ", cannot be written"
        fixes.append(f"change to a folder that you can write, or name one by --out: {here}: {error.strerror}")
    else:
        lines[0] += ", can be written"
    if free < _LEAST_DISK:
        fixes.append(f"free some disk: {here} has {free / 2**20:.0f} MB left, a run folder needs up to 1 GB")
    return lines, fixes
