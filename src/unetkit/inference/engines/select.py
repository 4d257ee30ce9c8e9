"""Which engine computes a net: the one that was asked for, or the fastest that this machine has."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from math import prod
from pathlib import Path
from statistics import median
from typing import get_args

import torch
from torch import Tensor

from ...model.files import read_model
from ...model.run_paths import RunPaths
from ...nets.net import Net
from ...progress import SILENT, Progress
from ..execution import Engine as EngineKey
from ..runner import run as run_image
from ..streaming.stream import Stream
from ..tiling import plan_stream
from .engine import Engine, RuntimeEngine, check_device, compiled_engine, torch_engine, window_core
from .int8_card import is_current, read_report
from .onnxruntime import onnxruntime_engine
from .openvino import int8_engine, openvino_engine

__all__ = ["choose_engine"]

_FLOAT32: dict[str, Callable[[Net], Engine]] = {
    "torch": torch_engine,
    "openvino": openvino_engine,
    "onnxruntime": onnxruntime_engine,
}
_TIMED_PIXELS = 2**16  # of the window on which engines are compared
_RUNS = 5


def choose_engine(
    net: Net,
    run: Path | None,
    key: str,
    *,
    window: Sequence[int] | None = None,
    time_s: float = 4.0,
    progress: Progress = SILENT,
) -> Engine:
    """The engine of a key, or the fastest.

    Parameters
    ----------
    net : Net
        From `inference.prepare`.
    run : Path, optional
        The run folder that it is from, where int8 is looked up.
    key : str
        As `Execution.engine`. "auto" measures torch and what else is installed, in float32, and int8 where the run has
        it at an allowed loss; torch as it will run, streamed where the net can be, the others with the halo that
        their windows compute twice.
    window : sequence of int, optional
        Pixels per axis that its windows will write; by default as many as `plan_tiles` gives at most.
    time_s : float
        About how long "auto" may measure; torch is always measured.
    progress : Progress
        Told what was measured.

    Raises
    ------
    ImportError
        If what was asked for is not installed.
    FileNotFoundError
        If the run has no int8 model; the command that makes it is named.
    ValueError
        If the engine cannot run where the net is, there is no run folder for int8, or its int8 model is one of other
        weights.
    """
    if key == "compiled":
        return compiled_engine(net)
    if key in _FLOAT32:
        return _FLOAT32[key](net)
    if key == "bfloat16":
        return openvino_engine(net, precision="bfloat16")
    if key == "int8":
        return _int8(net, run, progress)
    if key != "auto":
        raise ValueError(f"engine is {key!r}; expected one of {', '.join(get_args(EngineKey))}")
    if next(net.parameters()).device.type != "cpu":
        return torch_engine(net)
    return _fastest(net, _available(net, run), window or (window_core(net.ndim),) * net.ndim, time_s, progress)


def _int8(net: Net, run: Path | None, progress: Progress) -> Engine:
    check_device(net, "int8")
    if run is None or not run.is_dir():
        raise ValueError(f"engine int8 is calibrated on the images of a run, but {run} is not a run folder: name one")
    if not _is_whole(net, run):
        raise ValueError(
            f"engine int8 is calibrated for the whole net of {run}, not for a level of it: leave out one of the two"
        )
    command = f"unetkit export {run} --format int8"
    report = read_report(RunPaths(run).int8)
    if report is None:
        raise FileNotFoundError(f"{run}: has no int8 model yet; make it, which also measures its loss, with {command}")
    if not is_current(run, report):
        raise ValueError(f"{run}: its int8 model is of other weights than the run has now; make it again: {command}")
    progress.update(message=report.describe())
    return int8_engine(net, RunPaths(run).int8)


def _is_whole(net: Net, run: Path) -> bool:
    """Whether a net is the run's own, not a level of it."""
    return read_model(run)[0].architecture == net.architecture


def _available(net: Net, run: Path | None) -> dict[str, Callable[[Net], Engine]]:
    """What can be measured, torch first."""
    makers = {name: make for name, make in _FLOAT32.items() if find_spec(name) is not None}
    if run is None or "openvino" not in makers or (report := read_report(RunPaths(run).int8)) is None:
        return makers
    if report.is_allowed and is_current(run, report) and _is_whole(net, run):
        makers["int8"] = lambda whole: int8_engine(whole, RunPaths(run).int8)
    return makers


def _fastest(
    net: Net, makers: dict[str, Callable[[Net], Engine]], window: Sequence[int], time_s: float, progress: Progress
) -> Engine:
    x, start = _probe(net, window), time.perf_counter()
    streamed, twice = _streamed(net), _redundancy(net, window)
    engines: list[tuple[float, Engine]] = []
    for i, (name, make) in enumerate(makers.items(), start=1):
        if engines and time.perf_counter() - start > time_s:
            break
        until = start + time_s * i / len(makers)
        try:
            engine = make(net)
            engine(x)  # compiles
        except Exception as error:  # a net that a runtime cannot read; torch, the first, can
            if not engines:
                raise
            progress.update(message=f"engine {name} cannot run this net: {str(error).splitlines()[0][:200]}")
            continue
        if name == "torch" and streamed is not None:
            engines.append((_time(streamed, x, until), engine))
        else:
            engines.append((_time(engine, x, until) * twice, engine))
    engines.sort(key=lambda row: row[0])
    rates = [f"{engine.name} {x[0, 0].numel() / 1e6 / t:.2f}" for t, engine in engines]
    progress.update(message=f"engine {engines[0][1].name}; million pixels per second here: {', '.join(rates)}")
    fastest = engines[0][1]
    if isinstance(fastest, RuntimeEngine):
        fastest.compiled.clear()  # the window that it was measured on may never come again
    return fastest


def _streamed(net: Net) -> Callable[[Tensor], Tensor] | None:
    """Torch as it runs large images: as a stream; None where the net cannot be streamed."""
    try:
        stream = Stream(net)
    except ValueError:
        return None

    def flow(x: Tensor) -> Tensor:
        return run_image(net, x[0], plan_stream(net, stream, x.shape[2:]), stream=stream)

    return flow


def _redundancy(net: Net, window: Sequence[int]) -> float:
    """Pixels computed per pixel of a window's core: its halo is computed for each window again."""
    halos = net.geometry.halo if net.is_local else (0,) * net.ndim
    return prod((n + 2 * halo) / n for n, halo in zip(window, halos, strict=True))


def _probe(net: Net, window: Sequence[int]) -> Tensor:
    """Noise of about the window's proportions, in a size that fits and is quickly computed."""
    geometry, size = net.geometry, net.geometry.above(window)
    least = geometry.above((1,) * net.ndim)
    while prod(size) > _TIMED_PIXELS and size != least:
        below = geometry.below([int(0.8 * n) for n in size])
        size = tuple(max(n or m, m) for n, m in zip(below, least, strict=True))
    return torch.randn(1, net.in_channels, *size, generator=torch.Generator().manual_seed(0))


def _time(compute: Callable[[Tensor], Tensor], x: Tensor, until: float) -> float:
    """Seconds of a run, the median of up to five; one at least."""
    times: list[float] = []
    while not times or (len(times) < _RUNS and time.perf_counter() < until):
        start = time.perf_counter()
        compute(x)
        times.append(time.perf_counter() - start)
    return median(times)
