"""What convolutions take for themselves, one by one, against torch's allocator."""

from typing import Any

import pytest
import torch
from torch import nn

from unetkit.graph.allocation import laid_out_as, trace_allocations
from unetkit.graph.memory import measured_bytes, peak_memory
from unetkit.graph.read import read
from unetkit.graph.workspace import is_channels_last, laid_out_on_cpu, workspace_bytes

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
LAST: dict[int, Any] = {2: torch.channels_last, 3: torch.channels_last_3d}
SMALL_CHANGE = 48_000  # bytes of scratch per call that the rules leave out

CASES = {
    "plain": (CONV, (32, 16, 3), {"padding": 1}, (64, 80)),
    "few channels": (CONV, (3, 16, 3), {"padding": 1}, (96, 100)),
    "channels filled up": (CONV, (20, 24, 3), {"padding": 1}, (64, 80)),
    "many weights": (CONV, (128, 64, 3), {"padding": 1}, (24, 40)),
    "first of a volume": (CONV, (1, 16, 3), {"padding": 1}, (24, 40)),
    "of a small map": (CONV, (8, 8, 3), {"padding": 1}, (20, 24)),
    "five taps": (CONV, (16, 16, 5), {"padding": 2}, (40, 44)),
    "strided": (CONV, (16, 32, 2), {"stride": 2}, (64, 80)),
    "pointwise": (CONV, (32, 16, 1), {}, (64, 80)),
    "grouped": (CONV, (32, 32, 3), {"groups": 4, "padding": 1}, (48, 64)),
    "dilated": (CONV, (32, 32, 3), {"dilation": 2, "padding": 2}, (64, 80)),
    "transposed": (TRANSPOSED, (64, 32, 2), {"stride": 2}, (40, 48)),
    "transposed, small": (TRANSPOSED, (16, 8, 2), {"stride": 2}, (16, 20)),
    "transposed, overlapping": (TRANSPOSED, (64, 16, 3), {"stride": 2, "padding": 1, "output_padding": 1}, (40, 48)),
}
HAS_AVX512 = bool(getattr(torch.cpu, "get_capabilities", dict)().get("avx512_f", True))  # torch >= 2.10 says


@pytest.mark.parametrize("is_last", [True, False], ids=["channels last", "channels first"])
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_one_convolution_takes_what_the_allocator_gives_out(case: str, ndim: int, *, is_last: bool) -> None:
    if case == "channels filled up" and not is_last and not HAS_AVX512:
        pytest.skip("oneDNN fills channels up to blocks of 8 on this processor, not of 16: less is given out")
    make, (inner, outer, kernel), options, sides = CASES[case]
    layer = make[ndim](inner, outer, kernel, **options).eval()
    net = nn.Sequential(layer.to(memory_format=LAST[ndim]) if is_last else layer)
    size = (*sides, 16)[:ndim]
    image = laid_out_as(net, torch.randn(1, inner, *size))
    found = peak_memory(net, size, graph=read(net, in_channels=inner, ndim=ndim))
    share = 0.05 if case.endswith("overlapping") else 0.02  # oneDNN widens the rows that it copies by a few pixels
    assert found.peak_bytes == pytest.approx(measured_bytes(net, image), abs=SMALL_CHANGE, rel=share)


def test_one_channel_may_be_taken_for_either_layout() -> None:
    image = torch.zeros(1, 1, 8, 9)
    assert not is_channels_last(image)
    assert is_channels_last(
        image.contiguous(memory_format=torch.channels_last)
        .expand(1, 4, 8, 9)
        .contiguous(memory_format=torch.channels_last)
    )
    assert not is_channels_last(torch.zeros(4, 3, 1, 1))  # a 1x1 kernel
    assert is_channels_last(torch.zeros(1, 4, 2, 8, 9).contiguous(memory_format=torch.channels_last_3d)[..., 2:5])
    assert not is_channels_last(torch.zeros(4, 4))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_transposed_convolution_copies_its_input_per_thread(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    x = torch.empty(1, 32, 64, 64, device="meta").to(memory_format=torch.channels_last)
    weights = torch.empty(32, 16, 2, 2, device="meta").to(memory_format=torch.channels_last)
    args = (x, weights, None, [2, 2], [0, 0], [1, 1], True, [0, 0], 1)
    y = torch.ops.aten.convolution.default(*args)
    copied = 4 * 32 * 64 * 64
    assert workspace_bytes(torch.ops.aten.convolution.default, args, y) == threads * copied + weights.numel() * 4
    assert is_channels_last(laid_out_on_cpu(torch.ops.aten.convolution.default, args, y))


def test_other_operations_take_nothing_and_stay_as_they_are() -> None:
    x = torch.empty(1, 4, 8, 8, device="meta")
    relu = torch.ops.aten.relu.default
    assert workspace_bytes(relu, (x,), x) == 0
    assert laid_out_on_cpu(relu, (x,), x) is x


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("size", [(64, 72, 12), (12, 12, 12)], ids=["large", "small"])
def test_layouts_without_data_are_those_with_data(ndim: int, size: tuple[int, ...]) -> None:
    """Large maps (oneDNN) and small ones (torch's own kernels), norms, pooling: told by their strides."""
    layers = [CONV[ndim](6, 32, 3, padding=1), nn.GroupNorm(2, 32), nn.ReLU(), CONV[ndim](32, 64, 3, padding=1)]
    net = nn.Sequential(*layers, TRANSPOSED[ndim](64, 4, 2, stride=2)).to(memory_format=LAST[ndim]).eval()
    seen: list[bool] = []
    for module in net:
        module.register_forward_hook(lambda _module, _inputs, output: seen.append(is_channels_last(output)))
    image = laid_out_as(net, torch.randn(1, 6, *size[:ndim]))
    with torch.no_grad():
        net(image)
    trace_allocations(net, torch.empty_like(image, device="meta"), is_training=False)
    assert len(seen) == 10
    assert seen[5:] == seen[:5]
