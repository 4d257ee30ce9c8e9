"""What each layer does to space: which keep a net local, and which cannot be read."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from own_net import Net
from torch import Tensor, nn

from unetkit.graph.cost import cost
from unetkit.graph.read import read


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.gate(self.pool(x)))


class Attention(nn.Module):
    """Every pixel looks at every other."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        q = self.query(x).flatten(2)
        weights = torch.matmul(q.transpose(1, 2), q).softmax(-1)
        return torch.matmul(q, weights).reshape(x.shape[0], 4, *x.shape[2:])


LOCAL = {
    "batch": (lambda: nn.BatchNorm2d(4), True),
    "batch, statistics of the batch": (lambda: nn.BatchNorm2d(4, track_running_stats=False), False),
    "instance": (lambda: nn.InstanceNorm2d(4), False),
    "group": (lambda: nn.GroupNorm(2, 4), False),
    "squeeze and excite": (SqueezeExcite, False),
    "mean over space": (lambda: Net(lambda net, x: x * x.mean((2, 3), keepdim=True).sigmoid()), False),
    "maximum over space": (lambda: Net(lambda net, x: x - x.amax(dim=[-2, -1], keepdim=True)), False),
    "mean over channels and space": (lambda: Net(lambda net, x: x / x.std(dim=(1, 2, 3), keepdim=True)), False),
    "channels": (lambda: Net(lambda net, x: F.normalize(x, dim=1)), True),
    "softmax": (lambda: nn.Softmax(dim=1), True),
    "mean over channels": (lambda: Net(lambda net, x: x - x.mean(1, keepdim=True)), True),
    "prelu": (lambda: nn.PReLU(4), True),
    "scale per channel": (lambda: Net(lambda net, x: x * torch.ones(4, 1, 1, device=x.device)), True),
    "instance, running statistics": (lambda: nn.InstanceNorm2d(4, track_running_stats=True), True),
    "layer norm, channels last": (lambda: Net(_channels_last, norm=nn.LayerNorm(4), linear=nn.Linear(4, 4)), True),
    "layer norm of tokens": (lambda: Net(_tokens, norm=nn.LayerNorm(4), linear=nn.Linear(4, 4)), True),
    "channel shuffle": (lambda: nn.ChannelShuffle(2), True),
    "shuffled by hand": (lambda: Net(_shuffled), True),
    "channels repeated": (lambda: Net(lambda net, x: x.repeat(1, 2, 1, 1)), True),
    "channels stacked": (lambda: Net(lambda net, x: torch.stack([x, -x], 1).flatten(1, 2)), True),
    "channels taken apart": (lambda: Net(lambda net, x: x.unflatten(1, (2, 2)).unbind(1)[1] + x[:, 0:1]), True),
    "channels joined by einsum": (lambda: Net(_weighed, table=nn.Linear(4, 3)), True),
    "channels of zeros": (
        lambda: Net(lambda net, x: torch.cat([x, torch.zeros_like(x), x.new_zeros(x.shape)], 1)),
        True,
    ),
    "zeros of the image's shape": (lambda: Net(lambda net, x: x + torch.zeros(x.shape, device=x.device)), True),
    "attention of heads": (lambda: Net(_attention_of_channels), True),
    "pixels of windows": (lambda: Net(_windows, linear=nn.Linear(4, 4)), True),
    "attention in windows": (lambda: Net(_attention_in_windows), False),
    "attention": (lambda: Attention(), False),
    "attention by einsum": (lambda: Net(_einsum), False),
    "multi-head attention": (lambda: Net(_multi_head, attention=nn.MultiheadAttention(4, 2, batch_first=True)), False),
    "scaled dot product": (lambda: Net(_scaled), False),
    "layer norm over space": (lambda: Net(lambda net, x: F.layer_norm(x, x.shape[1:])), False),
    "softmax over space": (lambda: nn.Softmax(dim=-1), False),
    "pooled over one axis": (lambda: Net(lambda net, x: x * x.amax(dim=(3,), keepdim=True)), False),
    "pooled and enlarged": (
        lambda: Net(lambda net, x: x + F.interpolate(x.mean((2, 3), keepdim=True), x.shape[2:])),
        False,
    ),
    "pooled and expanded": (lambda: Net(lambda net, x: x + x.mean((2, 3), keepdim=True).expand_as(x)), False),
    "pooled to cells": (lambda: Net(_pyramid, pool=nn.AdaptiveAvgPool2d(2), conv=nn.Conv2d(4, 4, 1)), False),
    "pooled to a vector": (lambda: Net(_squeezed, linear=nn.Linear(4, 4)), False),
    "align_corners": (lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), False),
    "wrapped around": (lambda: nn.Conv2d(4, 1, 3, padding=1, padding_mode="circular"), False),
    "rolled": (lambda: Net(lambda net, x: x.roll(1, -1)), False),
    "mirrored": (lambda: Net(lambda net, x: x + x.flip(-1)), False),
    "spectrum": (lambda: Net(lambda net, x: torch.fft.fft2(x).real), False),
    "positions, counted": (lambda: Net(_counted), False),
    "positions, written": (lambda: Net(_written_into), False),
    "positions, filled": (lambda: Net(_filled), False),
    "positions, drawn": (lambda: Net(_random), False),
    "positions": (lambda: Net(lambda net, x: x + torch.arange(x.shape[-1], device=x.device)), False),
}


def _counted(net: Any, x: Tensor) -> Tensor:
    """Positions as DETR has them: ones, summed up."""
    return x + torch.ones(x.shape[2:], device=x.device).cumsum(-1)


def _written_into(net: Any, x: Tensor) -> Tensor:
    table = torch.zeros(x.shape[2:], device=x.device)
    table[:, 3] = 1
    return x + table


def _filled(net: Any, x: Tensor) -> Tensor:
    table = torch.zeros(x.shape[2:], device=x.device)
    table[:, 3].fill_(1)
    return x + table


def _random(net: Any, x: Tensor) -> Tensor:
    return x + torch.zeros(x.shape[2:], device=x.device).normal_()


def _channels_last(net: Any, x: Tensor) -> Tensor:
    return x + net.linear(net.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


def _tokens(net: Any, x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    return net.linear(net.norm(tokens)).transpose(1, 2).reshape(x.shape)


def _shuffled(net: Any, x: Tensor) -> Tensor:
    n, channels, *size = x.shape
    return x.view(n, 2, channels // 2, *size).transpose(1, 2).reshape(n, channels, *size)


def _weighed(net: Any, x: Tensor) -> Tensor:
    return torch.einsum("nchw,kc->nkhw", x, net.table.weight)


def _attention_of_channels(net: Any, x: Tensor) -> Tensor:
    """Every pixel by itself: its channels attend to one another."""
    heads = x.flatten(2).transpose(1, 2).unflatten(-1, (2, 2))
    weights = (heads @ heads.transpose(-1, -2)).softmax(-1)
    return (weights @ heads).flatten(2).transpose(1, 2).view(x.shape)


def _cut(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)


def _laid_back(windows: Tensor, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return windows.view(n, h // 4, w // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4).reshape(x.shape)


def _windows(net: Any, x: Tensor) -> Tensor:
    return _laid_back(net.linear(_cut(x)), x)


def _attention_in_windows(net: Any, x: Tensor) -> Tensor:
    tokens = _cut(x)
    return _laid_back((tokens @ tokens.mT).softmax(-1) @ tokens, x)


def _einsum(net: Any, x: Tensor) -> Tensor:
    tokens = x.flatten(2)
    weights = torch.einsum("ncl,ncm->nlm", tokens, tokens).softmax(-1)
    return torch.einsum("nlm,ncm->ncl", weights, tokens).view(x.shape)


def _multi_head(net: Any, x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    return net.attention(tokens, tokens, tokens)[0].transpose(1, 2).reshape(x.shape)


def _scaled(net: Any, x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(tokens, tokens, tokens).transpose(1, 2).reshape(x.shape)


def _pyramid(net: Any, x: Tensor) -> Tensor:
    return torch.cat([x, F.interpolate(net.conv(net.pool(x)), x.shape[2:], mode="bilinear")], 1)


def _squeezed(net: Any, x: Tensor) -> Tensor:
    return x * net.linear(x.mean((2, 3)))[..., None, None]


# Attention in windows of 4 pixels ends at pixel 8; the others depend on the image's size, or on the position alone.
ONLY_BY_STRUCTURE = ("attention in windows", "align_corners", "positions")


@pytest.mark.parametrize("name, build, is_local", [(k, *v) for k, v in LOCAL.items()], ids=LOCAL)
def test_a_net_is_local_unless_it_reads_all_of_space(name: str, build: Callable[[], nn.Module], is_local: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), build()).eval()
    assert read(net).is_local == is_local
    near, far = torch.rand(1, 1, 24, 24), torch.rand(1, 1, 24, 24)
    far[..., :9] = near[..., :9]
    with torch.no_grad():
        is_same = torch.allclose(net(near)[..., :8], net(far)[..., :8], rtol=0, atol=1e-6)
        assert is_same == is_local or name.startswith(ONLY_BY_STRUCTURE)


class Positional(nn.Module):
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


def _written(net: Net, x: Tensor) -> Tensor:
    y = x.clone()
    y[..., 1:] = x[..., :-1]
    return y


def _unknown(d: int) -> nn.Module:
    return Net(lambda net, x: torch.fft.ifftn(torch.fft.fftn(x, dim=[2, 3])).abs())


FAR = {
    "group norm": (nn.GroupNorm(2, 4), r"'block\.1' \(group_norm\): it takes the mean and deviation of the image$"),
    "attention": (
        Attention(4),
        r"'block\.1\.matmul' \(matmul\): pixels attend to others, near or far, and 2 more layers",
    ),
    "align_corners": (
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        r"'block\.1' \(interpolate\): align_corners=True shifts pixels by the image's size",
    ),
    "joined over space": (Net(lambda net, x: torch.cat([x, x], dim=2)), r"\(cat\): it joins maps along an axis"),
    "cut in two": (Net(lambda net, x: torch.cat(x.chunk(2, 2)[::-1], 2)), r"\(chunk\): it takes a part of the image"),
    "one row": (Net(lambda net, x: x - x[:, :, :1] - x[..., 0, None]), r"it reads one row of the image alone"),
    "unknown": (_unknown(2), r"\(fft_fftn\): its effect on space is not known"),
    "weights of a size": (
        Positional((1, 4, 64, 64)),
        r"'block\.1' \(add\): it holds weights that depend on the position",
    ),
    "weights of two axes": (Positional((64, 64)), r"'block\.1' \(add\).*depend on the position"),
    "weights of a row": (Positional((64,)), r"'block\.1' \(add\).*depend on the position"),
}


@pytest.mark.parametrize("layer, message", FAR.values(), ids=FAR)
def test_why_a_net_is_not_local_is_told(layer: nn.Module, message: str) -> None:
    graph = read(nn.ModuleDict({"block": nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), layer)})["block"])
    assert not graph.is_local
    assert re.search(message.replace(r"block\.", ""), graph.describe_reach())


def test_a_net_with_weights_by_position_takes_one_size() -> None:
    graph = read(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), Positional((1, 4, 64, 64))))
    assert graph.only == (64, 64)
    assert graph.geometry.fits((64, 64))
    assert not graph.geometry.fits((96, 96))
    assert graph.geometry.above((20, 64)) == (64, 64)


UNREADABLE = {
    "adaptive pooling": (nn.AdaptiveMaxPool2d(8), r"returns a tensor of shape \(1, 4, 8, 8\).*which follows the image"),
    "linear": (
        nn.Sequential(nn.Flatten(), nn.Linear(4 * 256 * 256, 2, device="meta")),
        r"returns a tensor of shape \(1, 2\) for an image of \(256, 256\) pixels",
    ),
    "interpolation of no whole factor": (
        nn.Upsample(scale_factor=1.5, mode="nearest"),
        r"layer 'block\.1' \(interpolate.*\).*resizes 256 to 384 pixels, which is no whole factor",
    ),
    "interpolation to a small size": (nn.Upsample(size=(8, 8), mode="area"), r"layer 'block\.1' .*works differently"),
    "interpolation to an odd size": (nn.Upsample(size=(513, 513)), r"layer 'block\.1' .*resizes 256 to 513 pixels"),
    "interpolation to a size": (nn.Upsample(size=(512, 512)), r"layer 'block\.1' .*resizes 257 to 512 pixels"),
    "multiplied by a pooled vector": (
        Net(lambda net, x: x * net.pool(x), pool=nn.MaxPool2d(256)),
        r"layer 'block\.1\.mul' \(mul, test_windows\.py line \d+\).* joins maps of the shapes .*mixes all of space",
    ),
    "turned": (Net(lambda net, x: x.mT), r"returns a tensor of shape \(1, 4, 256, 256\).*follows the image"),
    "picked": (Net(lambda net, x: x[:, :, [0, 1]]), r"layer 'block\.1' \(statistics\).*works differently"),
    "written into": (Net(_written), r"layer 'block\.1_\d' \(setitem, test_windows\.py line \d+\).*writes into a part"),
    "crop to a size": (
        Net(lambda net, x: x[..., :100, :100]),
        r"layer 'block\.1' \(pad\).*an image of \(257, 258\) pixels it works differently",
    ),
    "narrowed to a size": (Net(lambda net, x: x.narrow(2, 3, 20)), r"layer 'block\.1' \(pad\).*works differently"),
}


@pytest.mark.parametrize("layer, message", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_named(layer: nn.Module, message: str) -> None:
    net: Any = nn.Module()
    net.add_module("block", nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), layer))
    net.forward = lambda x: net.block(x)
    with pytest.raises(ValueError, match=message):
        read(net)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_map_pooled_over_all_of_space_changes_no_size_and_costs_one_pixel(ndim: int) -> None:
    convolution: Any = {2: nn.Conv2d, 3: nn.Conv3d}[ndim]
    pool: Any = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[ndim]
    net = Net(
        lambda net, x: (y := net.conv(x)) * net.gate(net.pool(y)).sigmoid(),
        conv=convolution(1, 4, 3, padding=1),
        pool=pool(1),
        gate=convolution(4, 4, 1),
    )
    graph = read(net)
    assert [layer.name for layer in graph.layers if layer.fixed_size] == ["pool", "gate", "sigmoid"]
    assert not graph.is_local
    assert graph.geometry.output_size((9,) * ndim) == (9,) * ndim
    assert graph.geometry.receptive_field()[0].largest == 3  # beside the statistics
    counted = cost(graph, (9,) * ndim)
    assert counted.macs == 4 * 3**ndim * 9**ndim + 4 * 4
    assert counted.parameters == sum(p.numel() for p in net.parameters())
    # alive at the peak: the first map, and either the product or the image that it came from; pixels beside them
    assert graph.activation_bytes((9,) * ndim) == 4 * (2 * 4 * 9**ndim + 4)
