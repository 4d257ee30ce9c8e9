"""Nets that take any size, but are exact at multiples of their stride alone: they resize to the size of another map."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from unetkit.graph.read import read


class ToTheSkip(nn.Module):
    """Every map is resized to that of the skip, whatever its size."""

    def __init__(self, ndim: int) -> None:
        super().__init__()
        conv = (nn.Conv2d, nn.Conv3d)[ndim - 2]
        self.down, self.deep = conv(1, 4, 3, stride=2, padding=1), conv(4, 4, 3, stride=2, padding=1)
        self.merge = conv(8, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.down(x)
        up = functional.interpolate(self.deep(skip), size=skip.shape[2:])
        return functional.interpolate(self.merge(torch.cat([up, skip], 1)), size=x.shape[2:])


class PaddedAndCropped(nn.Module):
    """The image is padded to a multiple of 4, and the result cropped."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 4, 4, stride=4), nn.ConvTranspose2d(4, 2, 4, stride=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        padded = functional.pad(x, (0, -width % 4, 0, -height % 4))
        return self.up(self.down(padded))[:, :, :height, :width]


@pytest.mark.parametrize("ndim", [2, 3])
def test_sizes_are_multiples_of_the_stride(ndim: int) -> None:
    graph = read(ToTheSkip(ndim), in_channels=1, ndim=ndim)
    geometry = graph.geometry
    assert graph.grid == 1
    assert geometry.stride == (4,) * ndim
    assert geometry.fits((64,) * ndim)
    assert not geometry.fits((62,) * ndim)
    assert geometry.above((61,) * ndim) == (64,) * ndim
    assert geometry.below((63,) * ndim) == (60,) * ndim


def test_an_aligned_tile_is_exact() -> None:
    torch.manual_seed(0)
    net = ToTheSkip(2).double().eval()
    (halo, _), x = read(net).geometry.halo, torch.randn(1, 1, 64, 96, dtype=torch.float64)
    with torch.inference_mode():
        whole, tile = net(x)[..., 32:], net(x[..., 32 - halo :])[..., halo:]
    torch.testing.assert_close(whole, tile, rtol=0, atol=1e-12)


def test_padding_to_a_multiple_is_none_on_multiples() -> None:
    assert read(PaddedAndCropped()).geometry.above((33, 41)) == (36, 44)


def test_a_crop_to_a_fixed_size_is_still_refused() -> None:
    class Cropped(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x)[..., :64, :64]

    with pytest.raises(ValueError, match="works differently"):
        read(Cropped(1, 1, 3, padding=1))


@pytest.mark.parametrize("given", [{"in_channels": 1}, {"in_channels": 1, "ndim": 2}])
def test_channels_that_are_given_are_used(given: dict[str, int]) -> None:
    """A net that begins by moving pixels into channels has more of them in its first convolution."""
    net = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, 8, 3, padding=1), nn.PixelShuffle(2))
    assert read(net, **given).geometry.stride == (2, 2)
