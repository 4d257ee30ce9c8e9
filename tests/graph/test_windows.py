"""What each layer does to space: which keep a net local, and which cannot be read."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unetkit.graph.cost import cost
from unetkit.graph.graph import read


class Net(nn.Module):
    """A user's own net: layers by name, and a `forward` of plain Python."""

    def __init__(self, forward: Callable[[Any, Tensor], Any], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._forward = forward

    def forward(self, x: Tensor) -> Any:
        return self._forward(self, x)


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.gate(self.pool(x)))


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
}


@pytest.mark.parametrize("build, is_local", LOCAL.values(), ids=LOCAL)
def test_a_net_is_local_unless_it_takes_statistics_over_space(build: Callable[[], nn.Module], is_local: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), build()).eval()
    assert read(net).is_local == is_local
    near, far = torch.rand(1, 1, 24, 24), torch.rand(1, 1, 24, 24)
    far[..., :8] = near[..., :8]
    with torch.no_grad():
        assert torch.allclose(net(near)[..., :7], net(far)[..., :7], rtol=0, atol=1e-6) == is_local


class Attention(nn.Module):
    """Every pixel looks at every other."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Conv2d(1, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        q = self.query(x).flatten(2)
        weights = torch.matmul(q.transpose(1, 2), q).softmax(-1)
        return torch.matmul(q, weights).reshape(x.shape[0], 4, *x.shape[2:])


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


UNREADABLE = {
    "adaptive pooling": (nn.AdaptiveMaxPool2d(8), r"layer 'block\.1' \(adaptive_max_pool2d\).* not known"),
    "linear": (
        nn.Sequential(nn.Flatten(), nn.Linear(4 * 256 * 256, 2, device="meta")),
        r"layer 'block\.1\.0' \(flatten\).*axes from 4 to 2",
    ),
    "attention": (nn.Sequential(nn.Conv2d(4, 1, 1), Attention()), r"layer 'block\.1\.1\.flatten' \(flatten\).* 4 to 3"),
    "align_corners": (
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        r"layer 'block\.1' \(interpolate\).*align_corners=True maps pixels differently",
    ),
    "interpolation of no whole factor": (
        nn.Upsample(scale_factor=1.5, mode="nearest"),
        r"layer 'block\.1' \(interpolate\).*resizes 256 to 384 pixels, which is no whole factor",
    ),
    "interpolation without a window": (
        nn.Upsample(size=(8, 8), mode="area"),
        r"layer 'block\.1' \(interpolate\).*mode 'area' .* has no fixed window",
    ),
    "interpolation to an odd size": (nn.Upsample(size=(513, 513)), r"layer 'block\.1' .*resizes 256 to 513 pixels"),
    "interpolation to a size": (nn.Upsample(size=(512, 512)), r"layer 'block\.1' .*resizes 257 to 512 pixels"),
    "pooled over one axis": (
        Net(lambda net, x: x * x.amax(dim=(2,), keepdim=True)),
        r"layer 'block\.1' \(amax\).*along axis 2, not along the channels",
    ),
    "pooled and enlarged": (
        Net(lambda net, x: x + F.interpolate(x.mean((2, 3), keepdim=True), x.shape[2:])),
        r"layer 'block\.1_2' \(interpolate\).*it enlarges a map that was pooled over all of space",
    ),
    "softmax over space": (nn.Softmax(dim=-1), r"layer 'block\.1' \(softmax\).*along axis -1"),
    "joined over space": (
        Net(lambda net, x: torch.cat([x, x], dim=2)),
        r"layer 'block\.1' \(cat\).*along axis 2",
    ),
    "multiplied by a pooled vector": (
        Net(lambda net, x: x * net.pool(x), pool=nn.MaxPool2d(256)),
        r"layer 'block\.1\.mul' \(mul\).*sizes \[\(1, 1\), \(256, 256\)\], so it mixes all of space",
    ),
    "positional table": (
        Positional((1, 4, 256, 256)),
        r"layer 'block\.1' \(add\).*weights that depend on the position",
    ),
    "positional table of two axes": (Positional((256, 256)), r"layer 'block\.1' \(add\).*depend on the position"),
    "positional row": (Positional((256,)), r"layer 'block\.1' \(add\).*depend on the position"),
    "wrapped around": (
        nn.Conv2d(4, 1, 3, padding=1, padding_mode="circular"),
        r"layer 'block\.1' \(pad\).*circular padding reads the opposite border",
    ),
    "turned": (Net(lambda net, x: x.mT), r"layer 'block\.1' \(get\).*\[\(257, 258\), \(258, 257\)\]"),
    "picked": (Net(lambda net, x: x[:, :, [0, 1]]), r"layer 'block\.1' \(getitem\).*only slices can be read"),
    "written into": (Net(_written), r"layer 'block\.1_\d' \(setitem\).*it writes into a part of a map"),
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
    assert [layer.name for layer in graph.layers if layer.is_pixel] == ["pool", "gate", "sigmoid"]
    assert not graph.is_local
    assert graph.geometry.output_size((9,) * ndim) == (9,) * ndim
    assert graph.geometry.receptive_field()[0].largest == 3  # beside the statistics
    counted = cost(graph, (9,) * ndim)
    assert counted.macs == 4 * 3**ndim * 9**ndim + 4 * 4
    assert counted.parameters == sum(p.numel() for p in net.parameters())
    # alive at the peak: the first map, and either the product or the image that it came from; pixels beside them
    assert graph.activation_bytes((9,) * ndim) == 4 * (2 * 4 * 9**ndim + 4)
