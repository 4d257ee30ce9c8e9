"""Sampling down: gratings against theory, shares by two roads, and every net's own layers."""

from itertools import product
from math import cos, pi, sin
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.insight.frequency.aliasing import (
    aliased_share,
    detail_share,
    draw_aliasing,
    draw_gratings,
    grating_response,
    low_passed,
    measure_aliasing,
    poolings,
)
from unetkit.insight.frequency.spectra import share_above
from unetkit.insight.inspection import Inspection, inspect_array, inspect_noise
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
MAX_POOL: dict[int, Any] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVG_POOL: dict[int, Any] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
FREQUENCIES = [0.03, 0.11, 0.2, 0.27, 0.34, 0.4, 0.47]
SIZE = {2: (48, 64), 3: (24, 32, 28)}


def striding(s: int) -> Any:
    return lambda x: x[..., ::s]


def cosine(size: tuple[int, ...], waves: tuple[int, ...]) -> Tensor:
    """A product of waves of k/(2 n) cycles per pixel that mirror themselves at the borders: (1, 1, *size)."""
    x = torch.ones(())
    for n, k in zip(size, waves, strict=True):
        x = x[..., None] * torch.cos(pi * k * (torch.arange(n, dtype=torch.float64) + 0.5) / n)
    return x[None, None]


@pytest.mark.parametrize("ndim", [2, 3])
def test_striding_keeps_the_energy_of_every_grating(ndim: int) -> None:
    found = grating_response(striding(2), FREQUENCIES, ndim=ndim)
    assert found.energy == pytest.approx(np.ones(len(FREQUENCIES)))
    assert found.appear_at == pytest.approx([min(f, 0.5 - f) for f in FREQUENCIES])


@pytest.mark.parametrize("s", [2, 3, 4])
def test_a_grating_appears_where_it_is_said_to(s: int) -> None:
    found = grating_response(striding(s), FREQUENCIES)
    x = np.arange(0, 3000, s)
    for frequency, place in zip(FREQUENCIES, found.appear_at, strict=True):
        power = np.abs(np.fft.rfft(np.hanning(len(x)) * np.cos(2 * pi * frequency * x)))
        assert np.fft.rfftfreq(len(x), s)[power.argmax()] == pytest.approx(place, abs=2 / 3000)


@pytest.mark.parametrize(("ndim", "s"), [(2, 2), (3, 2), (2, 3)])
def test_a_mean_attenuates_as_its_kernel_says(ndim: int, s: int) -> None:
    found = grating_response(AVG_POOL[ndim](s), FREQUENCIES, ndim=ndim)
    assert found.energy == pytest.approx([(sin(s * pi * f) / (s * sin(pi * f))) ** 2 for f in FREQUENCIES])


@pytest.mark.parametrize("taps", [(1, 1), (1, 2, 1), (1, 3, 3, 1)])
def test_a_blur_attenuates_as_a_power_of_the_cosine(taps: tuple[int, ...]) -> None:
    kernel = torch.tensor(taps, dtype=torch.float64).reshape(1, 1, 1, -1) / sum(taps)
    found = grating_response(lambda x: F.conv2d(x, kernel, stride=(1, 2)), FREQUENCIES)
    assert found.energy == pytest.approx([cos(pi * f) ** (2 * (len(taps) - 1)) for f in FREQUENCIES])


@pytest.mark.parametrize("ndim", [2, 3])
def test_an_ideal_low_pass_leaves_nothing_to_fold(ndim: int) -> None:
    strides = (1,) * (ndim - 1) + (2,)
    found = grating_response(lambda x: low_passed(x, strides)[..., ::2], FREQUENCIES, ndim=ndim)
    expected = [float(f < 0.25) for f in FREQUENCIES]
    assert found.energy == pytest.approx(expected, abs=0.01)  # the mirrored border is a kink


def test_a_maximum_leaves_something_of_fine_gratings_and_a_blur_after_it_less() -> None:
    pools = poolings((2, 2), channels=1)
    found = {name: grating_response(pool, [0.3, 0.35, 0.4]).energy.mean() for name, pool in pools.items()}
    assert found["plain striding"] > found["max pooling"] > found["blur pooling"] > 0
    assert found["plain striding"] == pytest.approx(1)


@pytest.mark.parametrize("frequency", [0.0, 0.5, -0.1, 0.7, float("nan")])
def test_gratings_lie_between_zero_and_a_half(frequency: float) -> None:
    with pytest.raises(ValueError, match=rf"frequencies are \[0.2, {frequency}\]; expected numbers between 0 and 0.5"):
        grating_response(striding(2), [0.2, frequency])


@pytest.mark.parametrize(
    ("size", "strides"), [((16, 24), (2, 2)), ((12, 18), (1, 3)), ((7, 9), (2, 2)), ((8, 6, 10), (1, 2, 2))]
)
def test_low_pass_keeps_what_the_coarse_grid_holds_and_nothing_else(
    size: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    ends = [(0, -(-n // s) - 1, *((-(-n // s), n - 1) if s > 1 else ())) for n, s in zip(size, strides, strict=True)]
    for waves in product(*ends):
        x = cosine(size, waves)
        is_held = all(k < n / s for k, n, s in zip(waves, size, strides, strict=True))
        torch.testing.assert_close(low_passed(x, strides), x if is_held else torch.zeros_like(x))
    noise = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    once = low_passed(noise, strides)
    torch.testing.assert_close(low_passed(once, strides), once)
    assert low_passed(noise.float(), strides).dtype == torch.float32


@pytest.mark.parametrize("ndim", [2, 3])
def test_striding_folds_all_that_is_above_the_limit(ndim: int) -> None:
    x = torch.randn(1, 2, *SIZE[ndim], generator=torch.Generator().manual_seed(1))
    for strides in ((2,) * ndim, (1,) * (ndim - 1) + (4,)):
        pool = poolings(strides, channels=2)["plain striding"]
        expected = share_above(x[0].numpy(), [1 / (2 * s) for s in strides], ndim=ndim)
        assert aliased_share(pool, x, strides) == pytest.approx(expected)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_mean_folds_what_it_leaves_of_fine_waves(ndim: int) -> None:
    size, strides = (*(12,) * (ndim - 1), 128), (1,) * (ndim - 1) + (2,)
    at = torch.arange(128).expand(size)
    x = 3 * torch.cos(2 * pi * 0.13 * at) + 4 * torch.sin(2 * pi * 0.37 * at)
    left = [9 * cos(pi * 0.13) ** 2, 16 * cos(pi * 0.37) ** 2]
    found = aliased_share(AVG_POOL[ndim](strides), x[None, None], strides)
    assert found == pytest.approx(left[1] / sum(left), abs=0.01)


def test_only_what_is_above_the_limit_is_detail() -> None:
    coarse, fine = cosine((32, 64), (3, 5)), cosine((32, 64), (3, 40))
    x = 2 * coarse + fine
    striding_2 = poolings((2, 2), channels=1)["plain striding"]
    kept, false = (striding_2(part) for part in (2 * coarse, fine))
    expected = float((false**2).sum() / ((kept + false) ** 2).sum())
    assert detail_share(striding_2, x, (2, 2)) == pytest.approx(expected, rel=0.01)
    assert 0.05 < expected < 0.5
    assert detail_share(lambda y: low_passed(y, (2, 2))[..., ::2, ::2], x, (2, 2)) == pytest.approx(0, abs=1e-20)
    assert detail_share(striding_2, torch.ones(1, 1, 8, 8), (2, 2)) == 0


class Own(nn.Module):
    """A user's net: its first map is sampled down by a pooling or a strided convolution, and it has no attribute."""

    def __init__(self, ndim: int, down: nn.Module, *, has_skip: bool) -> None:
        super().__init__()
        self.first, self.down = CONV[ndim](1, 3, 3, padding=1), down
        self.last = CONV[ndim](6 if has_skip else 3, 2, 1)
        self.has_skip = has_skip

    def forward(self, x: Tensor) -> Tensor:
        fine = torch.relu(self.first(x))
        up = F.interpolate(torch.tanh(self.down(fine)), scale_factor=2)
        y: Tensor = self.last(torch.cat([fine, up], 1) if self.has_skip else up)
        return y


def inspection(net: nn.Module, ndim: int) -> Inspection:
    rng = np.random.default_rng(ndim)
    return inspect_array(net, rng.normal(size=(1, *SIZE[ndim])).astype(np.float32), name="own", source="own.png")


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_nets_pooling_is_measured_on_the_map_that_it_reads(ndim: int) -> None:
    torch.manual_seed(0)
    pool, strides = MAX_POOL[ndim](2), (2,) * ndim
    net = Own(ndim, pool, has_skip=True)
    given = inspection(net, ndim)
    before = given.logits()
    (found,) = measure_aliasing(given)
    with torch.no_grad():
        x = torch.relu(net.first(given.image))
    limits = [1 / 4] * ndim
    assert (found.stage, found.strides, found.channels, found.size) == ("encoder 0", strides, 3, SIZE[ndim])
    assert found.has_skip
    assert found.limit == 1 / 4
    assert found.above == pytest.approx(share_above(x[0].numpy(), limits, ndim=ndim), rel=1e-5)
    assert found.aliased == pytest.approx(aliased_share(pool, x, strides), rel=1e-5)
    assert found.aliased == pytest.approx(found.others["max pooling"])
    assert found.detail == pytest.approx(detail_share(pool, x, strides), rel=1e-4)
    assert found.others["blur pooling"] < found.aliased < found.above
    torch.testing.assert_close(given.logits(), before, rtol=0, atol=0)  # the net is as it was


def test_a_strided_convolution_folds_what_is_fine_in_the_same_without_stride() -> None:
    torch.manual_seed(1)
    down = nn.Conv2d(3, 4, 2, stride=2)
    net = Own(2, down, has_skip=False)
    net.last = nn.Conv2d(4, 2, 1)
    given = inspection(net, 2)
    (found,) = measure_aliasing(given)
    with torch.no_grad():
        fine = torch.relu(net.first(given.image))
        dense = F.conv2d(F.pad(fine, (0, 1, 0, 1), mode="replicate"), down.weight, down.bias)
    assert found.aliased == pytest.approx(share_above(dense[0].numpy(), [1 / 4] * 2, ndim=2), rel=1e-3)
    assert not found.has_skip


NETS: dict[str, dict[str, Any]] = {
    "max": {"widths": (4, 8, 8)},
    "strided": {"widths": (4, 8, 8), "down": "strided"},
    "first, residual": {"widths": (4, 8, 8), "down": "first", "block": "residual"},
    "transition": {"widths": (4, 8, 8), "down": "transition", "block": "dense"},
    "no skips": {"widths": (4, 8, 8), "down": "blur", "skip": "none"},
    "nested": {"widths": (4, 8, 8), "topology": "unet++"},
    "valid": {"widths": (4, 8, 8), "padding": "valid", "norm": "none"},
    "instance": {"widths": (4, 8, 8), "norm": "instance"},
    "volume": {"widths": (2, 4, 4), "ndim": 3, "strides": ((1, 2, 2), 2)},
}


@pytest.mark.parametrize("name", NETS)
def test_every_sampling_down_of_a_net_is_found(name: str) -> None:
    torch.manual_seed(2)
    net = build(Architecture(**NETS[name])).eval()
    size = net.geometry.above((32,) * net.ndim)
    image = np.random.default_rng(0).normal(size=(1, *size)).astype(np.float32)
    found = measure_aliasing(inspect_array(net, image, name=name, source="noise"))
    first = "node 0,0", "node 1,0"
    assert [one.stage for one in found] == list(first if name == "nested" else ("encoder 0", "encoder 1"))
    assert [one.strides for one in found] == ([(1, 2, 2), (2, 2, 2)] if net.ndim == 3 else [(2, 2)] * 2)
    assert [one.spacing for one in found] == ([(1, 1, 1), (1, 2, 2)] if net.ndim == 3 else [(1, 1), (2, 2)])
    assert [one.limit for one in found] == [1 / 4, 1 / 8]
    assert [one.has_skip for one in found] == [name != "no skips"] * 2
    for one in found:
        assert 0 < one.aliased < 1
        assert 0 < one.above < 1
        assert one.detail > 0
        assert one.spectrum.energy > 0


def test_blurred_pooling_folds_less_than_the_same_without_blur() -> None:
    torch.manual_seed(3)
    (found,) = measure_aliasing(inspect_noise(build(Architecture(widths=(4, 8), down="blur")), name="blur"))
    assert found.aliased == pytest.approx(found.others["blur pooling"])
    assert found.aliased < 0.2 * found.others["max pooling"]


def test_a_net_that_keeps_its_scale_folds_nothing() -> None:
    assert measure_aliasing(inspect_noise(nn.Conv2d(1, 2, 3, padding=1), name="flat")) == ()


def test_pictures_show_every_stage_and_pooling() -> None:
    torch.manual_seed(4)
    found = measure_aliasing(inspect_noise(build(Architecture(widths=(2, 2, 4))), name="net"))
    axis = draw_aliasing(found).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["encoder 0", "encoder 1"]
    assert [bar.get_width() for bar in axis.containers[0]] == [100 * one.aliased for one in found]
    assert len(axis.containers) == 5
    rows = [(name, grating_response(pool, FREQUENCIES)) for name, pool in poolings((2, 2), channels=1).items()]
    assert len(draw_gratings(rows, limit=0.25).axes[0].lines) == 4


def test_of_large_maps_the_middle_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unetkit.insight.frequency.aliasing._MOST", {2: 33})
    torch.manual_seed(5)
    pool = nn.MaxPool2d(2)
    net = Own(2, pool, has_skip=True)
    given = inspection(net, 2)  # 48 x 64
    (found,) = measure_aliasing(given)
    with torch.no_grad():
        middle = torch.relu(net.first(given.image))[:, :, 8:40, 16:48]
    assert found.size == (48, 64)
    assert found.above == pytest.approx(share_above(middle[0].numpy(), 1 / 4, ndim=2), rel=1e-5)
    assert found.aliased == pytest.approx(aliased_share(pool, middle, (2, 2)), rel=1e-5)
    assert found.detail == pytest.approx(detail_share(pool, middle, (2, 2)), rel=1e-4)
