"""Which engine computes a net: the one that was asked for, or the fastest that this machine has."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from math import prod
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from ...export.int8 import quantise
from ...model.files import read_model
from ...nets.net import Net
from .engine import Engine, RuntimeEngine, check_device, compiled_engine, torch_engine
from .int8_card import is_current, read_price
from .onnxruntime import onnxruntime_engine
from .openvino import int8_engine, openvino_engine

__all__ = ["ENGINES", "choose_engine", "engine_key"]

ENGINES = ("auto", "torch", "compiled", "openvino", "onnxruntime", "bfloat16", "int8")
_FLOAT32: dict[str, Callable[[Net], Engine]] = {
    "torch": torch_engine,
    "openvino": openvino_engine,
    "onnxruntime": onnxruntime_engine,
}
_TIMED_PIXELS = 2**16  # of the window on which engines are compared
_RUNS = 5
Say = Callable[[str], None]


def engine_key(name: str) -> str:
    """The name by which an engine is asked for, so that every machine takes the same one.

    >>> asked_as("openvino int8"), asked_as("openvino float32"), asked_as("torch")
    ('int8', 'openvino', 'torch')
    """
    runtime, *precision = name.split()
    return runtime if precision in ([], ["float32"]) else precision[0]


def choose_engine(
    net: Net,
    run: Path | str | None,
    name: str,
    *,
    window: Sequence[int],
    seconds: float = 4.0,
    observer: Say | None = None,
) -> Engine:
    """The engine of a name, or the fastest.

    Parameters
    ----------
    net : Net
        From `inference.prepare.prepare`.
    run : path, optional
        The run folder that it is from, where int8 is looked for.
    name : str
        One of `ENGINES`; "compiled" is torch's; "bfloat16" and "int8" are OpenVINO's. The latter is calibrated now
        where the run has none, or one for other weights. "auto" measures
        torch and what else is installed, in float32, and int8 where the run has it at an allowed price.
    window : sequence of int
        Size of the windows that it will be given, in pixels.
    seconds : float
        About how long "auto" may measure; torch is always measured.
    observer : callable, optional
        Called with a line for the user.

    Raises
    ------
    ImportError
        If what was asked for is not installed.
    ValueError
        If there is no engine of this name, it cannot run where the net is, there is no run folder for int8, or int8
        costs too much.
    """
    say = observer or (lambda line: None)
    if name not in ENGINES:
        raise ValueError(f"engine is {name!r}; expected one of {', '.join(ENGINES)}")
    if name == "compiled":
        return compiled_engine(net)
    if name in _FLOAT32:
        return _FLOAT32[name](net)
    if name == "bfloat16":
        return openvino_engine(net, precision="bfloat16")
    if name == "int8":
        return _int8(net, run, say)
    if next(net.parameters()).device.type != "cpu":
        return torch_engine(net)
    return _fastest(net, _available(net, run), window, seconds, say)


def _int8(net: Net, run: Path | str | None, say: Say) -> Engine:
    check_device(net, "int8")
    if run is None or not Path(run).is_dir():
        raise ValueError(f"engine int8 is calibrated on the images of a run, but {run} is no run folder: name the run")
    if not _is_whole(net, run):
        raise ValueError(
            f"engine int8 is calibrated for the whole net of {run}, not for one that was pruned: leave out one of both"
        )
    folder = Path(run) / "int8"
    price = read_price(folder)
    if price is None or not is_current(run, price):
        say("int8 has to be calibrated first, once; unetkit quantise does the same")
        price = quantise(run, observer=say)
    say(price.describe())
    return int8_engine(net, folder)


def _is_whole(net: Net, run: Path | str) -> bool:
    """Whether a net is the run's own, not one that was pruned out of it."""
    return read_model(run)[0].architecture == net.architecture


def _available(net: Net, run: Path | str | None) -> dict[str, Callable[[Net], Engine]]:
    """What can be measured, torch first."""
    found = {name: make for name, make in _FLOAT32.items() if find_spec(name) is not None}
    if run is None or "openvino" not in found or (price := read_price(Path(run) / "int8")) is None:
        return found
    if price.is_allowed and is_current(run, price) and _is_whole(net, run):
        found["int8"] = lambda one: int8_engine(one, Path(run) / "int8")
    return found


def _fastest(
    net: Net, makers: dict[str, Callable[[Net], Engine]], window: Sequence[int], seconds: float, say: Say
) -> Engine:
    x, start = _probe(net, window), time.perf_counter()
    engines: list[tuple[float, Engine]] = []
    for i, (name, make) in enumerate(makers.items(), start=1):
        if engines and time.perf_counter() - start > seconds:
            break
        try:
            engine = make(net)
            engine(x)  # compiles
        except Exception as error:  # a net that a runtime cannot read; torch, the first, can
            if not engines:
                raise
            say(f"engine {name} cannot run this net: {str(error).splitlines()[0][:200]}")
            continue
        engines.append((_time(engine, x, start + seconds * i / len(makers)), engine))
    engines.sort(key=lambda row: row[0])
    rates = [f"{one.name} {x[0, 0].numel() / 1e6 / t:.2f}" for t, one in engines]
    say(f"engine {engines[0][1].name}; million pixels per second here: {', '.join(rates)}")
    fastest = engines[0][1]
    if isinstance(fastest, RuntimeEngine):
        fastest.compiled.clear()  # the window that it was measured on may never come again
    return fastest


def _probe(net: Net, window: Sequence[int]) -> Tensor:
    """Noise of about the window's proportions, in a size that fits and is quickly computed."""
    geometry, size = net.geometry, net.geometry.above(window)
    least = geometry.above((1,) * net.ndim)
    while prod(size) > _TIMED_PIXELS and size != least:
        below = geometry.below([int(0.8 * n) for n in size])
        size = tuple(max(n or m, m) for n, m in zip(below, least, strict=True))
    return torch.randn(1, net.in_channels, *size, generator=torch.Generator().manual_seed(0))


def _time(engine: Engine, x: Tensor, until: float) -> float:
    """Seconds of a run, the median of up to five; one at least."""
    times: list[float] = []
    while not times or (len(times) < _RUNS and time.perf_counter() < until):
        start = time.perf_counter()
        engine(x)
        times.append(time.perf_counter() - start)
    return median(times)
