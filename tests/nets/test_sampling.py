"""Down and up: sizes, filters, and a start without checkerboard."""

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter

from unetkit.nets.architecture import Architecture
from unetkit.nets.blocks import Style
from unetkit.nets.layers import TRANSPOSED
from unetkit.nets.sampling import BlurPool, icnr, strided, transition, up_layer
from unetkit.nets.unet import UNet


@pytest.mark.parametrize("ndim", [2, 3])
def test_blur_pool_is_maximum_blur_and_every_second_pixel(ndim: int) -> None:
    x = np.random.default_rng(0).normal(size=(12, 10, 8)[:ndim])
    high = maximum_filter(x, size=2, origin=-1, mode="nearest")  # of each pixel and the next one
    for axis in range(ndim):
        high = high.take(range(high.shape[axis] - 1), axis=axis)  # without padding the maximum is a pixel shorter
        bordered = np.pad(high, [(1, 2) if i == axis else (0, 0) for i in range(ndim)], mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(bordered, 4, axis=axis)
        high = (windows @ (np.array([1, 3, 3, 1]) / 8)).take(range(0, x.shape[axis], 2), axis=axis)
    expected = high
    found = BlurPool(1, (2,) * ndim)(torch.from_numpy(x)[None, None])[0, 0].numpy()
    assert found.shape == tuple(n // 2 for n in x.shape)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_blur_pool_is_steadier_under_a_shift_than_max_pooling() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.avg_pool2d(torch.randn(1, 1, 65, 65, generator=generator), 3, 1)
    errors = {}
    for name, pool in (("blur", BlurPool(1, (2, 2))), ("max", torch.nn.MaxPool2d(2))):
        a, b = pool(x[..., :-1, :-1])[..., 4:-4, 4:-4], pool(x[..., 1:, 1:])[..., 4:-4, 4:-4]
        errors[name] = float((a - b).std() / a.std())
    assert errors["blur"] < 0.8 * errors["max"]


def test_blur_pool_leaves_axes_of_stride_1_alone() -> None:
    x = torch.randn(1, 2, 5, 8, 6)
    y = BlurPool(2, (1, 2, 2))(x)
    assert y.shape == (1, 2, 5, 4, 3)
    flat = BlurPool(2, (2, 2))
    for z in range(5):
        torch.testing.assert_close(y[:, :, z], flat(x[:, :, z]))
    assert torch.equal(BlurPool(3, (2, 2))(torch.ones(1, 3, 2, 2)), torch.ones(1, 3, 1, 1))  # one pixel passes


@pytest.mark.parametrize("ndim", [2, 3])
def test_learned_and_transition_down(ndim: int) -> None:
    style, stride = Style((3,) * ndim, dropout=0.2), (2,) * ndim
    x = torch.randn(2, 3, *(8,) * ndim)
    assert strided(3, 5, stride=stride, style=style)(x).shape == (2, 5, *(4,) * ndim)
    down = transition(3, stride=stride, style=style)
    assert down(x).shape == (2, 3, *(4,) * ndim)
    names = [type(m).__name__.rstrip("23d") for m in down]
    assert names == ["BatchNorm", "ReLU", "Conv", "Dropout", "MaxPool"]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("up", ["transposed", "overlapping", "nearest", "linear"])
@pytest.mark.parametrize("channels", [3, 4, None])
def test_up_layers_enlarge_by_the_stride(ndim: int, up: str, channels: int | None) -> None:
    stride = (1, 2, 3)[:ndim]
    layer = up_layer(up, 4, channels, stride=stride, style=Style((3,) * ndim))  # type: ignore[arg-type]
    y = layer(torch.randn(1, 4, *(5,) * ndim))
    assert y.shape == (1, channels or 4, *(5 * s for s in stride))
    is_free = up in ("nearest", "linear") and channels is None
    assert (sum(p.numel() for p in layer.parameters()) == 0) == is_free


@pytest.mark.parametrize("ndim", [2, 3])
def test_icnr_starts_as_nearest_neighbour(ndim: int) -> None:
    torch.manual_seed(0)
    layer = TRANSPOSED[ndim](4, 3, 2, stride=2)
    icnr(layer)
    x = torch.randn(1, 4, *(5,) * ndim)
    y = layer(x)
    coarse = y[(..., *(slice(None, None, 2),) * ndim)]
    assert torch.allclose(y, torch.nn.functional.interpolate(coarse, scale_factor=2, mode="nearest"))
    assert layer.weight.std().item() == pytest.approx((2 / 4) ** 0.5, rel=0.6)


def test_a_net_with_icnr_has_it_on_every_transposed_convolution() -> None:
    plain, smooth = (UNet(Architecture(widths=(4, 6, 8), icnr=value)) for value in (False, True))
    for net, expected in ((plain, False), (smooth, True)):
        for up in net.ups:
            weight = up.weight
            assert torch.equal(weight, weight[:, :, :1, :1].expand_as(weight)) == expected
