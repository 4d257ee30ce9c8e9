"""Counting storages: births, deaths, views, and the numbers of calls."""

import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unetkit.graph.allocation import BACKWARD, AllocationCounter, ReleasingTracer, trace_allocations
from unetkit.graph.trace import Body, TracedCall
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build


def meta(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def test_a_storage_counts_from_its_birth_to_its_death() -> None:
    counter = AllocationCounter()
    with counter:
        a = torch.zeros(10, device="meta")
        b = a[2:4]  # a view
        c = a.relu_()  # written in place
        assert counter.alive == 40
        d = b + 1
        assert counter.alive == 48
        del a, c
        assert counter.alive == 48  # the view still holds it
        del b
        assert counter.alive == 8
        del d
    assert counter.alive == 0
    assert counter.highest == {0: (48, 0)}


def test_what_only_autograd_holds_is_alive() -> None:
    counter = AllocationCounter()
    weight = meta(10).requires_grad_()
    counter.add(weight, counts=False)
    with counter:
        y = (weight * 2).sigmoid().sum()
        assert counter.alive == 40 + 4  # sigmoid's result is what its gradient needs; the product is gone
        counter.call = BACKWARD
        y.backward()
    del y
    gc.collect()
    assert counter.alive == 40  # the gradient
    assert set(counter.highest) == {0, BACKWARD}


def test_weights_are_not_entered_but_what_is_computed_from_them() -> None:
    counter, weight = AllocationCounter(), meta(4, 3)
    counter.add(weight, counts=False)
    with counter:
        view = weight.view(12)
        assert counter.alive == 0
        scaled = view * 2
        assert counter.alive == 48
        del scaled, view
    assert counter.alive == 0


class Listening(ReleasingTracer):
    """Writes down the function behind every number."""

    def __init__(self, x: Tensor) -> None:
        super().__init__(x)
        self.functions: dict[int, str] = {}

    def on_maps(self, call: TracedCall, outputs: list[Tensor]) -> list[Tensor]:
        self.functions |= {self.count + i: call.function for i in range(len(outputs))}
        return outputs


@pytest.mark.parametrize(
    "options",
    [{}, {"topology": "unet++", "heads": "all"}, {"skip": "attention", "block": "residual"}, {"block": "dense"}],
    ids=str,
)
@pytest.mark.parametrize("ndim", [2, 3])
def test_numbers_are_those_of_the_graph_though_no_map_is_kept(ndim: int, options: dict[str, Any]) -> None:
    net = build(Architecture(ndim=ndim, widths=(4, 6, 8), **options)).eval()
    x = torch.randn(1, 1, *(16,) * ndim)
    watcher = Listening(x)
    with torch.no_grad(), watcher:
        Body(net)(x)
    assert [watcher.functions[layer.call] for layer in net.graph.layers[1:]] == [
        layer.function for layer in net.graph.layers[1:]
    ]
    gc.collect()
    assert len(watcher.known) == 1  # the input's: all others have died
    assert not watcher.alive


def test_the_net_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout())
    net[2].eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    counter = trace_allocations(net, meta(2, 1, 8, 8), is_training=True)
    assert [module.training for module in net] == [True, True, False]
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(p.grad is None and p.device.type == "cpu" for p in net.parameters())
    assert BACKWARD in counter.highest
    assert BACKWARD not in trace_allocations(net, meta(1, 1, 8, 8), is_training=False).highest
