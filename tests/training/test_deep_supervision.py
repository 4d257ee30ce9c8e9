"""Deep supervision: a loss on several maps while learning, and nothing of it in the net."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.nets.layers import center_crop
from unetkit.training.deep_supervision import Supervised
from unetkit.training.losses import dice_cross_entropy


def net(ndim: int = 2, **options: Any) -> Any:
    torch.manual_seed(0)
    defaults: dict[str, Any] = {"widths": (4, 6, 8, 10), "ndim": ndim, "out_channels": 3}
    return build(Architecture(**(defaults | options)))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("options", [{}, {"padding": "valid"}, {"topology": "unet++"}, {"block": "dense", "stem": 4}])
def test_every_map_gives_logits_of_the_outputs_size(ndim: int, options: dict[str, Any]) -> None:
    inner = net(ndim, **options)
    deep = Supervised(inner, deep=True)
    size = inner.geometry.above([8 + sum(margin) for margin in inner.geometry.margin])
    rows = deep(torch.randn(2, 1, *size))
    assert [tuple(row.shape) for row in rows] == [(2, 3, *inner.geometry.output_size(size))] * 3
    assert len(deep.heads) == 2  # the first map has the net's own


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_coarse_maps_pixel_lies_over_the_pixels_it_stands_for(ndim: int) -> None:
    """A stage that is the image shrunk gives, enlarged, the image blurred: nothing is shifted."""
    inner = net(ndim, padding="valid")
    deep = Supervised(inner, deep=True)
    size = inner.geometry.above([40 + sum(margin) for margin in inner.geometry.margin])
    maps = [s.shape[2:] for s in inner.stages(torch.zeros(2, 1, *size))]
    ramp = (torch.arange(size[0], dtype=torch.float32) - size[0] / 2).reshape(-1, *(1,) * (ndim - 1)).expand(size)
    target = center_crop(ramp[None, None], maps[0])
    for level, (shape, stride) in enumerate(zip(maps, inner.stage_strides, strict=True)):
        covered = center_crop(ramp[None, None], [m * s for m, s in zip(shape, stride, strict=True)])
        pooled = F.avg_pool2d(covered, stride) if ndim == 2 else F.avg_pool3d(covered, stride)
        # A map of the ramp's means, enlarged, is the ramp, but for the rows nearest to the map's border.
        assert (deep._enlarged(pooled, stride, target) - target)[:, :, 4:-4].abs().max() < 1e-3
        # The graph agrees on where the map's first element lies.
        axis, names = inner.geometry.axes[0], inner.geometry.names
        last = max(i for i, name in enumerate(names) if name.startswith(f"decoder.{level}."))
        pixels, first = axis.places[last]
        assert (pixels, first) == (stride[0], (size[0] - shape[0] * stride[0]) / 2 + (stride[0] - 1) / 2)


def test_weights_halve_for_a_u_net_and_are_equal_for_unet_plus_plus() -> None:
    assert Supervised(net(), deep=True).weights == pytest.approx((4 / 7, 2 / 7, 1 / 7))
    assert Supervised(net(topology="unet++", heads="all"), deep=True).weights == pytest.approx((1 / 3,) * 3)
    assert Supervised(net(), deep=True, weights=(2, 1, 1)).weights == pytest.approx((0.5, 0.25, 0.25))
    for weights in ((1, 1), (1, 0, 1)):
        with pytest.raises(ValueError, match=r"weights are \(1, .*; expected 3 positive numbers"):
            Supervised(net(), deep=True, weights=weights)


def test_the_loss_is_the_weighted_sum() -> None:
    deep = Supervised(net(), deep=True, weights=(3, 2, 1))
    x, labels = torch.randn(2, 1, 16, 16), torch.randint(0, 3, (2, 16, 16))
    rows = deep(x)
    parts = [dice_cross_entropy(row, labels) for row in rows]
    expected = (3 * parts[0] + 2 * parts[1] + parts[2]) / 6
    torch.testing.assert_close(deep.loss(rows, labels), expected)


def test_without_it_the_output_alone_is_supervised() -> None:
    inner = net().eval()
    plain = Supervised(inner)
    x = torch.randn(1, 1, 16, 16)
    assert len(plain.heads) == 0
    assert plain.weights == (1.0,)
    [row] = plain(x)
    assert torch.equal(row, inner.body(x))


def test_nothing_remains_in_the_net_and_its_own_heads_are_used() -> None:
    inner = net()
    before = set(inner.state_dict())
    deep = Supervised(inner, deep=True)
    assert set(inner.state_dict()) == before
    nested = net(topology="unet++", heads="all")
    assert len(Supervised(nested, deep=True).heads) == 0
    deep.loss(deep(torch.randn(1, 1, 16, 16)), torch.zeros(1, 16, 16).long()).backward()
    assert all(p.grad is not None for p in deep.parameters())
