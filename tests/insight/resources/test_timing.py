"""Times per layer and stage, by a clock that ticks as it is told: no test depends on how fast the machine is."""

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from unetkit.graph.cost import cost
from unetkit.graph.graph import Graph
from unetkit.graph.read import read
from unetkit.graph.stages import structure
from unetkit.insight.resources import timing
from unetkit.insight.resources.timing import LayerTimes, draw_times, layer_times, predict_time, stage_times
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}


def ticking(monkeypatch: pytest.MonkeyPatch, ticks: Iterator[float]) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += next(ticks)
        return now[0]

    monkeypatch.setattr(timing, "perf_counter", clock)


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_call_is_timed_once(ndim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(CONV[ndim](1, 4, 3), nn.ReLU(inplace=True), CONV[ndim](4, 2, 1)).eval()
    graph = read(net)
    ticking(monkeypatch, cycle([1.0]))
    found = layer_times(net, graph, torch.zeros(1, 1, *(8,) * ndim))
    assert found.seconds == (0.0, 1.0, 1.0, 1.0)
    assert found.total_s == 1.0
    assert found.macs == tuple(layer.macs for layer in cost(graph, (8,) * ndim).layers)
    assert found.rates == (0.0, float(found.macs[1]), 0.0, float(found.macs[3]))


def test_medians_of_several_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings come in pairs, a run's and then its layer's: of 1 and 7, 2 and 30, 6 and 9 seconds."""
    net = nn.Sequential(nn.Conv2d(1, 2, 1)).eval()
    ticking(monkeypatch, iter([0, 1, 0, 7, 0, 2, 0, 30, 0, 6, 0, 9]))
    found = layer_times(net, read(net), torch.zeros(1, 1, 4, 4), repeats=3)
    assert (found.total_s, found.seconds) == (2, (0, 9))


def test_computing_weights_is_part_of_their_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(weight_norm(nn.Conv2d(1, 2, 1)), nn.ReLU()).eval()
    ticking(monkeypatch, cycle([1.0]))
    found = layer_times(net, read(net), torch.zeros(1, 1, 4, 4))
    assert found.seconds[1] > 1
    assert found.seconds[2] == 1


def test_enough_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of four seconds, each made twice: the second one ends it."""
    net = nn.Sequential(nn.Conv2d(1, 2, 1)).eval()
    ticking(monkeypatch, iter([0, 4, 0, 4, 0, 4, 0, 4]))
    assert layer_times(net, read(net), torch.zeros(1, 1, 4, 4), repeats=9, enough_s=10).total_s == 4
    ticking(monkeypatch, iter([0, 4, 0, 5]))
    assert layer_times(net, read(net), torch.zeros(1, 1, 4, 4), enough_s=0).seconds == (0, 5)


def test_a_batch_has_as_many_multiplications_as_images() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1)).eval()
    found = layer_times(net, read(net), torch.zeros(3, 1, 4, 4), repeats=1)
    assert found.macs == (0, 3 * 2 * 16)
    assert found.seconds[1] > 0


def test_errors_of_layer_times() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2)).eval()
    graph = read(net)
    with pytest.raises(ValueError, match="repeats is 0; expected at least 1"):
        layer_times(net, graph, torch.zeros(1, 1, 10, 10), repeats=0)
    with pytest.raises(ValueError, match="input size 11 does not fit"):
        layer_times(net, graph, torch.zeros(1, 1, 10, 11))


class Own(nn.Module):
    """Two branches joined, no attribute but forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 2, stride=2)
        self.up, self.last = nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu_(self.first(x))
        result: Tensor = self.last(torch.cat([y, self.up(torch.relu_(self.down(y)))], 1))
        return result


def numbered(graph: Graph, size: tuple[int, ...]) -> LayerTimes:
    """A second for the first layer, two for the next, ..."""
    layers = cost(graph, size).layers
    return LayerTimes(tuple(float(i) for i in range(len(layers))), 1.0, tuple(layer.macs for layer in layers))


@pytest.mark.parametrize(
    "net",
    [
        build(Architecture(widths=(4, 6, 8))),
        build(Architecture(ndim=3, widths=(4, 6, 8), block="residual", skip="add")),
        build(Architecture(widths=(4, 6, 8), topology="unet++", heads="all")),
        build(Architecture(widths=(4, 6, 8), padding="valid", norm="none")),
        build(Architecture(ndim=3, widths=(4, 6, 8), skip="attention")),
        Own(),
    ],
    ids=lambda net: type(net).__name__,
)
def test_stages_add_up_to_the_net(net: nn.Module) -> None:
    graph = read(net)
    size = graph.geometry.above((48,) * len(graph.geometry.axes))
    counted, times = cost(graph, size), numbered(graph, size)
    found = stage_times(graph, size, times)
    assert sum(stage.parameters for stage in found) == counted.parameters
    assert sum(stage.macs for stage in found) == counted.macs
    assert sum(stage.memory_bytes for stage in found) == counted.memory_bytes
    assert sum(stage.time_s for stage in found) == pytest.approx(sum(times.seconds))
    names = structure(graph)
    assert {stage.name for stage in found} - {"other"} == {names.name(stage.key) for stage in names.stages}
    assert all(stage.rate == stage.macs / stage.time_s for stage in found if stage.time_s)


def test_stages_go_down_and_up_again() -> None:
    graph = read(build(Architecture(widths=(4, 6, 8))))
    names = [stage.name for stage in stage_times(graph, (16, 16), numbered(graph, (16, 16)))]
    assert names == ["encoder 0", "encoder 1", "bottom", "decoder 1", "decoder 0"]


@pytest.mark.parametrize(
    "net, size",
    [
        (build(Architecture(widths=(4, 6, 8))).eval(), (64, 96)),
        (build(Architecture(ndim=3, widths=(4, 6, 8))).eval(), (32, 48, 64)),
        (build(Architecture(widths=(4, 6, 8), padding="valid", norm="none")).eval(), (84, 100)),
        (Own().eval(), (64, 96)),
    ],
    ids=["2D", "3D", "valid", "own"],
)
def test_a_crop_is_scaled_by_the_multiplications(
    net: nn.Module, size: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = read(net)
    whole = cost(graph, size).macs
    monkeypatch.setattr(timing, "_CROP_MACS", whole // 3)
    ticking(monkeypatch, cycle([0.0, 0.5]))
    found = predict_time(net, graph, size)
    crop = cost(graph, found.crop).macs
    assert crop <= whole // 3
    assert crop > whole / 64  # no smaller than needed
    assert found.crop_s == 0.5
    assert found.predicted_s == pytest.approx(0.5 * whole / crop)
    assert found.size == size


def test_a_small_image_is_its_own_crop() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3)).eval()
    found = predict_time(net, read(net), (9, 10), repeats=1)
    assert found.crop == (9, 10)
    assert found.predicted_s == found.crop_s > 0


def test_crops_end_at_an_eighth_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_CROP_MACS", 1)
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2)).eval()
    assert predict_time(net, read(net), (160, 80), repeats=1).crop == (20, 10)
    with pytest.raises(ValueError, match="input size 81 does not fit"):
        predict_time(net, read(nn.Sequential(nn.Conv2d(1, 2, 2, stride=2))), (80, 81))


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_picture_shows_shares(ndim: int) -> None:
    graph = read(build(Architecture(ndim=ndim, widths=(4, 6, 8))))
    stages = stage_times(graph, (16,) * ndim, numbered(graph, (16,) * ndim))
    axis = draw_times(stages).axes[0]
    time, macs = ([bar.get_width() for bar in bars] for bars in axis.containers)
    assert sum(time) == pytest.approx(100)
    assert sum(macs) == pytest.approx(100)
    assert time[0] == pytest.approx(100 * stages[0].time_s / sum(s.time_s for s in stages))
    assert [label.get_text() for label in axis.get_yticklabels()] == [stage.name for stage in stages]
