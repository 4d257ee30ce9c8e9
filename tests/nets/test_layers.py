"""The smallest parts: crops, norms, blocks, skips, and how weights are drawn."""

from collections.abc import Callable
from math import sqrt
from typing import Any

import pytest
import torch
from torch import nn

from unetkit.nets.layers import CONV, TRANSPOSED, center_crop, initialise, norm_layer


@pytest.mark.parametrize("ndim", [2, 3])
def test_center_crop_is_the_middle_and_a_view(ndim: int) -> None:
    size, want = (7, 10, 5)[:ndim], (3, 10, 1)[:ndim]
    x = torch.arange(2 * 3 * torch.Size(size).numel()).reshape(2, 3, *size)
    cropped = center_crop(x, want)
    middle: Any = (..., *(slice((a - b) // 2, a - (a - b) // 2) for a, b in zip(size, want, strict=True)))
    assert torch.equal(cropped, x[middle])
    assert cropped.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    assert center_crop(x, size) is x


@pytest.mark.parametrize("want", [(4, 9), (4, 12), (5, 10)])
def test_center_crop_refuses_what_has_no_middle(want: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"cannot crop a map of \(6, 10\) to its middle \(\d, \d+\).*must be even"):
        center_crop(torch.zeros(1, 1, 6, 10), want)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("transposed, incoming", [(False, lambda taps: 64 * taps), (True, lambda taps: 64)])
def test_weights_are_drawn_from_a_gaussian_of_he_width(
    ndim: int, transposed: bool, incoming: Callable[[int], int]
) -> None:
    torch.manual_seed(0)
    plain = TRANSPOSED[ndim](64, 96, 2, stride=2) if transposed else CONV[ndim](64, 96, 3)
    layer: Any = initialise(plain)
    assert layer is plain
    weight = layer.weight.detach().double()
    expected = sqrt(2 / incoming(3**ndim))
    n = weight.numel()
    assert abs(weight.std().item() / expected - 1) < 4 / sqrt(2 * n)
    assert abs(weight.mean().item()) < 4 * expected / sqrt(n)
    standard = (weight / expected).flatten()
    assert abs(standard.pow(4).mean().item() - 3) < 4 * sqrt(96 / n)  # fourth moment of a Gaussian; uniform has 1.8
    assert torch.count_nonzero(layer.bias) == 0


def test_he_width_of_the_paper() -> None:
    torch.manual_seed(1)
    layer: Any = initialise(nn.Conv2d(64, 256, 3))
    assert sqrt(2 / 576) == pytest.approx(0.058926, abs=5e-7)
    assert layer.weight.std().item() == pytest.approx(0.058926, rel=0.01)


@pytest.mark.parametrize(
    "layer, incoming",
    [
        (nn.Conv2d(256, 256, 3, groups=16), 16 * 9),
        (nn.ConvTranspose2d(64, 64, 4, stride=2), 64 * 4),  # every output lies under 2 x 2 of the 4 x 4 taps
        (nn.ConvTranspose3d(32, 64, (1, 2, 4), stride=(1, 2, 2)), 32 * 2),
    ],
)
def test_incoming_nodes_of_groups_and_of_overlapping_taps(layer: nn.Module, incoming: int) -> None:
    torch.manual_seed(0)
    weight: Any = initialise(layer).weight
    assert weight.std().item() == pytest.approx(sqrt(2 / incoming), rel=0.03)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_norm_gives_mean_0_and_variance_1_where_it_looks(ndim: int, norm: str) -> None:
    torch.manual_seed(0)
    x = 5 + 3 * torch.randn(4, 32, *(6,) * ndim)
    layer = norm_layer(norm, ndim, 32)  # type: ignore[arg-type]
    y = layer(x).detach().double()
    over = {"batch": y.transpose(0, 1).flatten(1), "instance": y.flatten(2), "group": y.reshape(4, 2, -1)}[norm]
    assert torch.allclose(over.mean(-1), torch.zeros(()).double(), atol=1e-5)
    assert torch.allclose(over.var(-1, unbiased=False), torch.ones(()).double(), atol=1e-4)
    assert [tuple(p.shape) for p in layer.parameters()] == [(32,), (32,)]  # scale and shift


def test_norms_of_odd_widths() -> None:
    assert norm_layer("group", 2, 24).num_groups == 1
    assert norm_layer("group", 2, 7).num_groups == 1
    assert norm_layer("group", 2, 64).num_groups == 4
    x = torch.rand(1, 3, 4, 4)
    assert norm_layer("none", 2, 3)(x) is x
