"""Time of each layer of a run, and a prediction of the time for an image of another size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ...graph.allocation import ReleasingTracer, laid_out_as
from ...graph.cost import cost
from ...graph.graph import Graph
from ...graph.stages import structure
from ...graph.trace import Body, TracedCall
from ...plotting.matplotlib_style import new_figure
from ...plotting.palette import ACCENT, WARM

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "LayerTimes",
    "StageTime",
    "TimePrediction",
    "draw_times",
    "layer_times",
    "predict_time",
    "stage_times",
]

_CROP_MACS = 3 * 10**9  # a crop that takes some hundredths of a second: long enough to time, short enough to wait for
_SMALLEST_SHARE = 8  # ... but not below this part of the image's sides: borders and small maps run at another speed


@dataclass(frozen=True)
class LayerTimes:
    """Seconds of one run, medians over several.

    Attributes
    ----------
    seconds : tuple of float
        Per layer of the graph; 0 for the input.
    total_s : float
        Of the whole run, without a clock on every layer.
    macs : tuple of int
        Multiplications per layer.
    """

    seconds: tuple[float, ...]
    total_s: float
    macs: tuple[int, ...]

    @property
    def rates(self) -> tuple[float, ...]:
        """Multiplications per second of each layer, 0 for a layer without any."""
        return tuple(m / s if m and s > 0 else 0.0 for m, s in zip(self.macs, self.seconds, strict=True))


@dataclass(frozen=True)
class StageTime:
    """The cost of a stage: sums over its layers.

    Attributes
    ----------
    name : str
        "encoder 0", "bottom", "decoder 0"; "other" for layers of no stage.
    parameters, macs : int
    memory_bytes : int
        Of all its maps.
    time_s : float
    """

    name: str
    parameters: int
    macs: int
    memory_bytes: int
    time_s: float

    @property
    def rate(self) -> float:
        """Multiplications per second."""
        return self.macs / self.time_s if self.time_s > 0 else 0.0


@dataclass(frozen=True)
class TimePrediction:
    """The predicted time of an image, from a smaller one.

    Attributes
    ----------
    size, crop : tuple of int
        Of the image, and of the smaller one that was timed, in pixels.
    crop_s : float
        Measured, median.
    predicted_s : float
        `crop_s` times the ratio of multiplications.
    """

    size: tuple[int, ...]
    crop: tuple[int, ...]
    crop_s: float
    predicted_s: float


@torch.inference_mode()
def layer_times(net: nn.Module, graph: Graph, image: Tensor, *, repeats: int = 3, enough_s: float = inf) -> LayerTimes:
    """Time every layer of a run.

    Parameters
    ----------
    net : Module
        In evaluation mode.
    graph : Graph
        Of `graph.read.read` for this net as it is now (`inference.prepare.prepare` folds layers away).
    image : Tensor of shape (N, C, *spatial)
        Of a size that fits.
    repeats : int
        Runs, at least 1, after one that is not counted; each is done twice, as a whole and with a clock per layer.
    enough_s : float
        Stop after this time in total.

    Raises
    ------
    ValueError
        If the size does not fit the net, or `repeats` is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; expected at least 1")
    counted = cost(graph, tuple(image.shape[2:]))
    body, runs, totals = Body(net), [], []
    body(image)
    for _ in range(repeats):
        totals.append(_seconds(body, image))
        clock = _Clock(image)
        with clock:
            body(image)
        runs.append([clock.seconds.get(layer.call, 0.0) for layer in graph.layers])
        if 2 * sum(totals) >= enough_s:
            break
    seconds = tuple(median(values) for values in zip(*runs, strict=True))
    return LayerTimes(seconds, median(totals), tuple(image.shape[0] * layer.macs for layer in counted.layers))


def stage_times(graph: Graph, size: Sequence[int], times: LayerTimes) -> tuple[StageTime, ...]:
    """Sum up layers to stages, from the encoder's first to the decoder's last.

    Parameters
    ----------
    graph : Graph
    size : sequence of int
        Of the image, in pixels.
    times : LayerTimes
        Of the same net.
    """
    net, layers = structure(graph), cost(graph, size).layers
    order = sorted(net.stages, key=lambda s: (s.key.turn, 2 * s.key.deepest - s.key.level, s.key.level))
    groups = [(net.name(stage.key), stage.layers) for stage in order]
    placed = {i for _, group in groups for i in group}
    left = tuple(i for i in range(len(layers)) if i not in placed)
    return tuple(
        StageTime(
            name,
            sum(layers[i].parameters for i in group),
            sum(layers[i].macs for i in group),
            sum(layers[i].memory_bytes for i in group),
            sum(times.seconds[i] for i in group),
        )
        for name, group in (*groups, ("other", left))
        if group
    )


@torch.inference_mode()
def predict_time(net: nn.Module, graph: Graph, size: Sequence[int], *, repeats: int = 3) -> TimePrediction:
    """Predict the time of an image: time a smaller one, and scale by the multiplications.

    Parameters
    ----------
    net : Module
        In evaluation mode.
    graph : Graph
        Of `graph.read.read` for this net.
    size : sequence of int
        Of the image, one that fits.
    repeats : int
        Runs of the smaller one, after one that is not counted.

    Raises
    ------
    ValueError
        If the size does not fit the net.
    """
    size = tuple(size)
    whole, crop = cost(graph, size).macs, _crop(graph, size)
    weight = next(net.parameters())
    image = laid_out_as(net, torch.zeros(1, graph.layers[0].channels, *crop, dtype=weight.dtype, device=weight.device))
    body = Body(net)
    body(image)
    crop_s = median(_seconds(body, image) for _ in range(repeats))
    return TimePrediction(size, crop, crop_s, crop_s * whole / max(cost(graph, crop).macs, 1))


def _crop(graph: Graph, size: tuple[int, ...]) -> tuple[int, ...]:
    """A smaller size of about the same proportions that fits and costs little; `size` itself if it costs little."""
    geometry = graph.geometry
    floor = geometry.above([max(1, n // _SMALLEST_SHARE) for n in size])
    crop = size
    while cost(graph, crop).macs > _CROP_MACS:
        below = geometry.below([int(0.8 * n) for n in crop])
        smaller = tuple(min(n, max(f, b or f)) for n, f, b in zip(crop, floor, below, strict=True))
        if smaller == crop:
            break
        crop = smaller
    return crop


def _seconds(body: nn.Module, image: Tensor) -> float:
    start = perf_counter()
    body(image)
    return perf_counter() - start


class _Clock(ReleasingTracer):
    """Times every call; computations on weights alone count to the call that reads them, which is the next."""

    def __init__(self, x: Tensor) -> None:
        super().__init__(x)
        self.seconds: dict[int, float] = {}

    def execute(self, func: Callable[..., Any], call: TracedCall) -> Any:
        start = perf_counter()
        result = super().execute(func, call)
        self.seconds[self.count] = self.seconds.get(self.count, 0.0) + perf_counter() - start
        return result


def draw_times(stages: Sequence[StageTime]) -> Figure:
    """Draw each stage's share of the time and its share of the multiplications."""
    figure, axes = new_figure(height=0.8 + 0.36 * len(stages))
    axis, at = axes[0, 0], np.arange(len(stages))
    macs, times = np.array([s.macs for s in stages], float), np.array([s.time_s for s in stages])
    axis.barh(at - 0.19, 100 * times / max(times.sum(), 1e-12), 0.36, color=WARM, label="time")
    axis.barh(at + 0.19, 100 * macs / max(macs.sum(), 1), 0.36, color=ACCENT, label="multiplications")
    axis.set_yticks(at, [stage.name for stage in stages])
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("share of the whole net (%)")
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return figure
