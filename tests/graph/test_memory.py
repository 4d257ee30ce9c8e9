"""Predicted peak memory against torch's allocator, against the operating system, and against sums by hand."""

import gc
import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unetkit.graph import memory
from unetkit.graph.allocation import laid_out_as
from unetkit.graph.memory import measured_bytes, peak_memory, window_memory
from unetkit.graph.read import read
from unetkit.inference.prepare import prepare
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.nets.papers import named

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}

NETS = {
    "U-Net": (Architecture(widths=(16, 32, 64, 128, 256)), ((192, 192), (160, 256))),
    "residual": (Architecture(widths=(32, 64, 128), block="residual"), ((128, 128), (96, 160))),
    "UNet++": (Architecture(widths=(16, 32, 64, 128), topology="unet++", heads="all"), ((160, 160), (128, 224))),
    "valid": (named("ronneberger2015", width_divisor=4), ((220, 220), (236, 204))),
    "attention, 3D": (named("oktay2018", width_divisor=4), ((32, 64, 64), (48, 48, 48))),
    "valid, 3D": (named("cicek2016", width_divisor=8), ((92, 92, 92), (100, 92, 108))),
    "group norm": (Architecture(widths=(16, 32, 64), norm="group"), ((128, 128), (96, 160))),
    "instance norm": (Architecture(widths=(16, 32, 64), norm="instance"), ((128, 128), (96, 160))),
    "blurred": (Architecture(widths=(16, 32, 64), down="blur", up="linear"), ((128, 128), (96, 160))),
}


@pytest.mark.parametrize("name", NETS)
def test_five_nets_and_more_take_what_is_predicted(name: str) -> None:
    """Ready to predict (batch norm folded, channels last), at two sizes; within 2 % where 15 are asked for."""
    architecture, sizes = NETS[name]
    torch.manual_seed(0)
    net = prepare(build(architecture).eval())
    graph = read(net)
    for size in sizes:
        size = graph.geometry.above(size)
        image = laid_out_as(net, torch.randn(1, net.in_channels, *size))
        found = peak_memory(net, size, graph=graph)
        assert found.peak_bytes == pytest.approx(measured_bytes(net, image), rel=0.02)
        assert found.peak_bytes == max(found.layers_bytes) == found.maps_bytes + found.workspace_bytes
        if not any(sum(margin) for margin in graph.geometry.margin):  # there the graph takes crops for copies
            assert found.peak_bytes >= graph.activation_bytes(size)  # which knows of no reference that Python holds


@pytest.mark.parametrize("name", ["U-Net", "UNet++", "attention, 3D"])
def test_nets_as_they_were_built_take_what_is_predicted(name: str) -> None:
    """Channels first, norms not folded: maps are copied into oneDNN's blocks and back."""
    architecture, (size, _) = NETS[name]
    net = build(architecture).eval()
    found = peak_memory(net, size)
    assert found.peak_bytes == pytest.approx(measured_bytes(net, torch.randn(1, net.in_channels, *size)), rel=0.02)
    if net.ndim == 2:
        assert found.peak_bytes > peak_memory(prepare(net), size).peak_bytes


_RESIDENT = """
import json, re, sys, torch
from pathlib import Path
from unetkit.inference.prepare import prepare
from unetkit.graph.allocation import laid_out_as
from unetkit.graph.memory import peak_memory
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.graph.read import read

def status(key):
    return 1024 * int(re.search(rf"{key}:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

torch.set_num_threads(1)
for options, size in json.loads(sys.argv[1]):
    net = prepare(build(Architecture(**options)).eval())
    image = laid_out_as(net, torch.randn(1, net.in_channels, *size))
    with torch.inference_mode():
        net(image)  # compiles oneDNN's kernels
        before = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        net(image)
    resident = status("VmHWM") - before + image.numel() * 4
    print(json.dumps([resident, peak_memory(net, size, graph=read(net)).peak_bytes]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_operating_system_sees_what_is_predicted() -> None:
    """Within 15 %, in a process whose freed blocks are returned at once (glibc keeps some of them otherwise)."""
    jobs = [
        (architecture.to_dict(), tuple(2 * n for n in sizes[0]) if architecture.ndim == 2 else sizes[0])
        for architecture, sizes in (NETS[name] for name in ("U-Net", "attention, 3D"))
    ]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _RESIDENT, json.dumps(jobs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(jobs)
    for resident, predicted in rows:
        assert predicted == pytest.approx(resident, rel=0.15)


class Keeps(nn.Module):
    """Holds every map in a list, as an encoder does, though only the last is read again."""

    def __init__(self, ndim: int, *, lets_go: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList([CONV[ndim](4, 4, 3, padding=1) for _ in range(5)])
        self.lets_go = lets_go

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
            if self.lets_go:
                maps = maps[-1:]
        return maps[-1]


@pytest.mark.parametrize("ndim", [2, 3])
def test_references_in_python_keep_maps_alive(ndim: int) -> None:
    size = (40, 48, 36)[:ndim]
    one = 4 * 4 * torch.Size(size).numel()
    assert peak_memory(Keeps(ndim), size).maps_bytes == 6 * one
    assert peak_memory(Keeps(ndim, lets_go=True), size).maps_bytes == 3 * one  # the caller's, what is read and written
    assert read(Keeps(ndim)).activation_bytes(size) == 2 * one


def test_writing_in_place_takes_nothing() -> None:
    size, one = (32, 32), 4 * 32 * 32
    plain, inplace = (nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(inplace=i)) for i in (False, True))
    assert peak_memory(plain, size).maps_bytes == (1 + 8 + 8) * one
    assert peak_memory(inplace, size).maps_bytes == (1 + 8) * one


def test_max_pooling_counts_its_indices() -> None:
    found = peak_memory(nn.Sequential(nn.Conv2d(1, 8, 1), nn.MaxPool2d(2)), (32, 32))
    assert found.maps_bytes == 4 * 32 * 32 * (1 + 8) + 8 * 16 * 16 * (4 + 8)
    assert found.at == "1"
    assert found.layer == 2


def test_what_no_output_needs_counts_while_it_is_computed() -> None:
    class Side(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.side = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 50, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.main(x)
            self.side(y)
            return y

    found = peak_memory(Side(), (16, 16))
    assert found.maps_bytes == 4 * 256 * (1 + 2 + 50)
    assert found.at == "main"  # the layer before it


@pytest.mark.parametrize("ndim", [2, 3])
def test_maps_grow_with_the_image(ndim: int) -> None:
    net = prepare(build(Architecture(ndim=ndim, widths=(8, 16, 24))).eval())
    small = {2: (96, 112), 3: (160, 144, 96)}[ndim]  # large enough for oneDNN on every level that matters
    large = tuple(2 * n for n in small)
    assert peak_memory(net, large).maps_bytes == 2**ndim * peak_memory(net, small).maps_bytes


def test_nets_without_weights_in_memory_are_predicted_too() -> None:
    with torch.device("meta"):
        bare = build(Architecture(widths=(8, 16, 24)))
    real = build(Architecture(widths=(8, 16, 24)))
    ghost, found = (prepare(net.eval(), device=next(net.parameters()).device) for net in (bare, real))
    assert peak_memory(ghost, (64, 96)) == peak_memory(found, (64, 96))


def test_the_callers_mode_does_not_matter() -> None:
    net = prepare(build(named("oktay2018", width_divisor=4)).eval())
    found = peak_memory(net, (32, 64, 64))
    with torch.inference_mode():
        assert peak_memory(net, (32, 64, 64)) == found


def trained_bytes(net: nn.Module, image: Tensor) -> int:
    """What torch's allocator gives out in a forward and backward pass, gradients of all parameters with it."""
    net.train()

    def step() -> None:
        y = net(image)
        y.backward(torch.ones_like(y))

    step()
    net.zero_grad(set_to_none=True)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with torch.autograd.profiler.profile(profile_memory=True) as recorded:
        step()
    taken = [0]
    events: Any = recorded.kineto_results
    for event in sorted((e for e in events.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        taken.append(taken[-1] + event.nbytes())
    return max(taken) + image.numel() * 4


@pytest.mark.parametrize(
    "options, size",
    [
        ({}, (128, 160)),
        ({"block": "residual", "skip": "attention"}, (96, 128)),
        ({"topology": "unet++"}, (96, 128)),
        ({"ndim": 3}, (40, 48, 48)),
    ],
    ids=str,
)
def test_training_takes_what_is_predicted(options: dict[str, Any], size: tuple[int, ...]) -> None:
    if "ndim" in options and not getattr(torch.cpu, "get_capabilities", dict)().get("avx512_f", True):
        pytest.skip("oneDNN's blocks are smaller on this processor: 8 % less is given out than is predicted")
    net = build(Architecture(widths=(16, 32, 64), **options))
    net = net.to(memory_format=torch.channels_last if net.ndim == 2 else torch.channels_last_3d)  # type: ignore[call-overload]
    found = peak_memory(net, size, is_training=True)
    assert found.peak_bytes == pytest.approx(trained_bytes(net, laid_out_as(net, torch.randn(1, 1, *size))), rel=0.05)
    assert found.peak_bytes > peak_memory(net, size).peak_bytes


def test_what_training_keeps_beside_the_maps() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    found, trained = (peak_memory(net, (20, 20), is_training=is_training) for is_training in (False, True))
    assert found.weights_bytes == trained.weights_bytes == 4 * (27 + 3 + 3 + 3 + 3 + 3) + 8  # a counter of int64
    assert found.optimiser_bytes == 0
    assert trained.optimiser_bytes == 2 * 4 * (27 + 3 + 3 + 3)  # not the running statistics
    assert trained.total_bytes == trained.peak_bytes + trained.weights_bytes + trained.optimiser_bytes
    assert trained.at == "backward pass"
    assert trained.layer is None


def test_sizes_that_do_not_fit() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2))
    with pytest.raises(ValueError, match="input size 11 does not fit the net: nearest sizes are 10 and 12"):
        peak_memory(net, (10, 11))


def test_exact_numbers_are_kept_and_decide_unless_the_budget_is_far(monkeypatch: pytest.MonkeyPatch) -> None:
    net = prepare(build(Architecture(widths=(8, 16, 24))).eval())
    exact = {n: peak_memory(net, (n, n), graph=net.graph).peak_bytes for n in (64, 128, 256)}
    sizes: list[tuple[int, ...]] = []

    def counted(net: nn.Module, size: tuple[int, ...], *, graph: Any) -> Any:
        sizes.append(size)
        return peak_memory(net, size, graph=graph)

    monkeypatch.setattr(memory, "peak_memory", counted)
    known = window_memory(net, net.graph)
    assert known is window_memory(net, net.graph)
    assert [known.peak_bytes((n, n), budget=exact[n]) for n in (64, 128, 128)] == [exact[64], exact[128], exact[128]]
    assert sizes == [(64, 64), (128, 128)]  # the last was kept
    far = [known.peak_bytes((n, 252), budget=2**30) for n in (252, 248, 244)]
    assert sizes[2:] == [(256, 256)]  # stands for all of them
    assert far == pytest.approx([exact[256] * n * 252 / 256**2 for n in (252, 248, 244)], rel=0.02)
    assert known.peak_bytes((248, 252)) == peak_memory(net, (248, 252), graph=net.graph).peak_bytes
    assert sizes[3:] == [(248, 252)]


def test_numbers_go_with_their_net() -> None:
    net = build(Architecture(widths=(4, 6))).eval()
    window_memory(net, net.graph).peak_bytes((16, 16))
    alive = len(memory._MEMORY)
    del net
    gc.collect()
    assert len(memory._MEMORY) < alive


def test_batch_norms_that_average_over_all_batches_have_a_peak_in_training() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4, momentum=None))
    plain = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4))
    assert peak_memory(net, (32, 32), is_training=True) == peak_memory(plain, (32, 32), is_training=True)
    assert net[1].momentum is None
