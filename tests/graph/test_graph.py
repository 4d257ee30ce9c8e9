"""Any net, read once: what the graph says against what the net does."""

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from math import ceil
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from own_net import Net
from torch import Tensor, nn

from unetkit.geometry import Window
from unetkit.graph.graph import Graph
from unetkit.graph.read import read
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
MAX_POOL: dict[int, Any] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVG_POOL: dict[int, Any] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
LINEAR = {2: "bilinear", 3: "trilinear"}


def plain(d: int) -> nn.Module:
    return nn.Sequential(CONV[d](1, 2, 3, padding=1), nn.ReLU(), CONV[d](2, 1, 5, padding=2))


def dilated(d: int) -> nn.Module:
    return nn.Sequential(CONV[d](1, 2, 3, padding=2, dilation=2), nn.ReLU(), CONV[d](2, 2, 3, dilation=3, groups=2))


def same_by_word(d: int) -> nn.Module:
    return nn.Sequential(CONV[d](1, 1, 4, padding="same"), CONV[d](1, 1, 2, padding="same"))


def strided(d: int) -> nn.Module:
    down = nn.Sequential(CONV[d](1, 2, 3, stride=2, padding=1), nn.ReLU(), CONV[d](2, 2, 4, stride=2, padding=1))
    return nn.Sequential(down, TRANSPOSED[d](2, 2, 4, stride=2, padding=1), TRANSPOSED[d](2, 1, 2, stride=2))


def overlapping_up(d: int) -> nn.Module:
    up = TRANSPOSED[d](1, 1, 3, stride=2, padding=1, output_padding=1)
    return nn.Sequential(MAX_POOL[d](2), CONV[d](1, 1, 3, padding=1), up)


def overlapping_pool(d: int) -> nn.Module:
    return nn.Sequential(MAX_POOL[d](3, 2, 1), CONV[d](1, 1, 3, padding=1), TRANSPOSED[d](1, 1, 2, stride=2))


def up_to_the_ceiling(d: int) -> nn.Module:
    return nn.Sequential(AVG_POOL[d](2, ceil_mode=True), CONV[d](1, 1, 3, padding=1))


def anisotropic(d: int) -> nn.Module:
    kernel, stride = (1, 3, 5)[-d:], (1, 2, 3)[-d:]
    pads = tuple(k // 2 for k in kernel)
    middle = nn.Sequential(MAX_POOL[d](stride), CONV[d](2, 2, 3, padding=1), TRANSPOSED[d](2, 2, stride, stride=stride))
    return nn.Sequential(CONV[d](1, 2, kernel, padding=pads), nn.ReLU(), middle)


def residual(d: int) -> nn.Module:
    layers = {"a": CONV[d](1, 2, 3, padding=1), "b": CONV[d](2, 2, 3, padding=1), "short": CONV[d](1, 2, 1)}
    return Net(lambda net, x: F.relu(net.b(F.relu(net.a(x))) + net.short(x)), **layers, norm=BATCH_NORM[d](2))


def gated(d: int) -> nn.Module:
    layers = {"a": CONV[d](1, 2, 3, padding=1), "gate": CONV[d](1, 1, 5, padding=2)}
    return Net(lambda net, x: net.a(x) * torch.sigmoid(net.gate(x)), **layers)


def resized_skip(mode: str) -> Callable[[int], nn.Module]:
    """The usual U-Net of the field: the coarse map is resized to the skip's size, then joined."""

    def build(d: int) -> nn.Module:
        def forward(net: Any, x: Tensor) -> Tensor:
            skip = net.fine(x)
            x = net.coarse(net.pool(skip))
            kwargs = {} if mode == "nearest" else {"align_corners": False}
            x = F.interpolate(x, size=skip.shape[2:], mode=mode if mode == "nearest" else LINEAR[d], **kwargs)
            return net.head(torch.cat([skip, x], dim=1))

        layers = {"fine": CONV[d](1, 2, 3, padding=1), "pool": MAX_POOL[d](3), "coarse": CONV[d](2, 2, 3, padding=1)}
        return Net(forward, **layers, head=CONV[d](4, 1, 1))

    return build


def padded_to_the_skip(d: int) -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        up = net.up(net.pool(x))
        pads = [p for a, b in zip(x.shape[:1:-1], up.shape[:1:-1], strict=True) for p in (0, a - b)]
        return x + F.pad(up, pads)

    net = Net(forward, pool=MAX_POOL[d](3), up=TRANSPOSED[d](1, 1, 3, stride=3))
    return nn.Sequential(CONV[d](1, 1, 3, padding=1), net)


def mirrored(d: int) -> nn.Module:
    if d == 2:
        return nn.Sequential(nn.Conv2d(1, 1, 5, padding=2, padding_mode="reflect"), nn.Conv2d(1, 1, 3, padding=1))
    return nn.Sequential(nn.Conv3d(1, 1, 5, padding=2, padding_mode="replicate"), nn.Conv3d(1, 1, 3, padding=1))


def uneven_pad(d: int) -> nn.Module:
    return Net(lambda net, x: net.a(F.pad(x, (3, 0) * (d - 1) + (1, 2))), a=CONV[d](1, 1, 4))


def cropped_skip(d: int) -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        deep = net.b(net.a(x))
        lost = (x.shape[2] - deep.shape[2]) // 2
        return deep + x[(slice(None), slice(None), *(slice(lost, -lost),) * d)]

    return Net(forward, a=CONV[d](1, 1, 3), b=CONV[d](1, 1, 5))


def narrowed(d: int) -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        for axis in range(2, d + 2):
            y = y.narrow(axis, axis - 1, y.shape[axis] - 4)  # another crop on every axis
        return y.narrow(1, 0, 1)

    return Net(forward, a=CONV[d](1, 2, 3, padding=1))


def chunked(d: int) -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        a, b = net.a(x).chunk(2, dim=1)
        left, right = torch.split(net.b(a), 1, dim=1)
        return torch.maximum(left, right) * F.softplus(b)

    return Net(forward, a=CONV[d](1, 2, 3, padding=1), b=CONV[d](1, 2, 7, padding=3))


def every_second(d: int) -> nn.Module:
    return Net(lambda net, x: net.a(x)[(..., *(slice(1, None, 2),) * d)], a=CONV[d](1, 1, 3, padding=1))


def shuffled(d: int) -> nn.Module:
    down = nn.Sequential(CONV[d](1, 1, 3), nn.PixelUnshuffle(2), CONV[d](4, 8, 3, padding=1))
    return nn.Sequential(down, CONV[d](8, 4, 3, padding=1), nn.PixelShuffle(2))


def channels_last(d: int) -> nn.Module:
    """As in ConvNeXt: a wide convolution, then linear layers with the channels last."""

    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.wide(net.down(x)).movedim(1, -1)
        return net.up(net.mlp(y).movedim(-1, 1))

    layers = {"down": CONV[d](1, 3, 4, stride=4), "wide": CONV[d](3, 3, 5, padding=2, groups=3)}
    mlp = nn.Sequential(nn.Linear(3, 4), nn.Softplus(), nn.Linear(4, 3))
    return Net(forward, **layers, mlp=mlp, up=TRANSPOSED[d](3, 1, 4, stride=4))


def padded_last(d: int) -> nn.Module:
    """Padded, cropped and taken by the second pixel with the channels last."""

    def forward(net: Any, x: Tensor) -> Tensor:
        y = F.pad(net.a(x).movedim(1, -1), (0, 1) + (2, 3) * d)
        y = y[(slice(None), *(slice(2, None, 2),) * d)]
        return net.b(y.movedim(-1, 1))

    return Net(forward, a=CONV[d](1, 2, 3, padding=1), b=CONV[d](3, 1, 3, padding=1))


def merged(d: int) -> nn.Module:
    """As in Swin: pixels of 2 x 2 are joined as channels; and back by reshapes alone."""

    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        n, c, *size = y.shape
        y = y.view(n, c, *(k for m in size for k in (m // 2, 2)))
        y = y.permute(0, *range(3, 2 * d + 2, 2), 1, *range(2, 2 * d + 2, 2))
        y = net.b(y.reshape(n, c * 2**d, *(m // 2 for m in size)))
        y = y.view(n, *(2,) * d, 1, *y.shape[2:])
        y = y.permute(0, d + 1, *(k for m in range(d) for k in (d + 2 + m, 1 + m)))
        return y.reshape(n, 1, *size)

    return Net(forward, a=CONV[d](1, 2, 3, padding=1), b=CONV[d](2 * 2**d, 2**d, 3, padding=1))


def merged_last(d: int) -> nn.Module:
    """As in Swin, with the channels last: pixels of 2 x 2 are joined, weighed, and taken apart again."""

    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.a(x).movedim(1, -1)
        n, *size, c = y.shape
        y = y.reshape(n, *(k for m in size for k in (m // 2, 2)), c)
        y = net.mlp(y.permute(0, *range(1, 2 * d, 2), *range(2, 2 * d + 1, 2), 2 * d + 1).flatten(d + 1))
        y = y.unflatten(-1, (*(2,) * d, 2)).permute(0, *(k for m in range(d) for k in (1 + m, d + 1 + m)), 2 * d + 1)
        return net.b(y.reshape(n, *size, 2).movedim(-1, 1))

    layers = {"a": CONV[d](1, 2, 3, padding=1), "b": CONV[d](2, 1, 3, padding=1)}
    return Net(forward, **layers, mlp=nn.Linear(2 * 2**d, 2 * 2**d))


def shrunk(d: int) -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = F.interpolate(net.a(x), scale_factor=1 / 4, mode=LINEAR[d])
        return net.b(F.interpolate(y, scale_factor=4))

    return Net(forward, a=CONV[d](1, 1, 3, padding=1), b=CONV[d](1, 1, 3, padding=1))


def shrunk_by_area(d: int) -> nn.Module:
    return nn.Sequential(CONV[d](1, 1, 3, padding=1), nn.Upsample(scale_factor=1 / 3, mode="area"))


def unet(**options: object) -> Callable[[int], nn.Module]:
    return lambda d: UNet(Architecture(**({"ndim": d, "widths": (1, 2, 2), "norm": "none"} | options)))  # type: ignore[arg-type]


NETS: dict[str, Callable[[int], nn.Module]] = {
    **{f.__name__: f for f in (plain, dilated, same_by_word, strided, overlapping_up, overlapping_pool)},
    **{f.__name__: f for f in (up_to_the_ceiling, anisotropic, residual, gated, padded_to_the_skip, mirrored)},
    **{f.__name__: f for f in (uneven_pad, cropped_skip, narrowed, chunked, every_second)},
    **{f.__name__: f for f in (channels_last, padded_last, merged, merged_last, shrunk, shrunk_by_area)},
    "resized skip, nearest": resized_skip("nearest"),
    "resized skip, linear": resized_skip("linear"),
    "U-Net": unet(),
    "U-Net, valid": unet(padding="valid"),
    "U-Net, valid, nearest": unet(padding="valid", up="nearest"),
    "U-Net, linear": unet(up="linear"),
    "U-Net, nearest, batch norm": unet(up="nearest", norm="batch"),
    "U-Net, strides 3 and 2, kernels 5 and 1": unet(strides=(3, 2), kernels=(5, 3, 1)),
}
CASES = [*product(NETS.items(), (2, 3)), (("pixel shuffle", shuffled), 2)]
both = pytest.mark.parametrize(
    "build, ndim", [(build, d) for (_, build), d in CASES], ids=[f"{name}-{d}" for (name, _), d in CASES]
)


@both
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_receptive_field_is_where_the_gradient_is(
    build: Callable[[int], nn.Module], ndim: int, probe: Callable
) -> None:
    torch.manual_seed(0)
    net = build(ndim)
    geometry = read(net).geometry
    for i, axis in enumerate(geometry.axes):
        step, field = axis.places[-1][0], axis.receptive_field()
        first = ceil(max(0, -axis.reads(0, 0)[0]) / axis.stride) * int(axis.stride / step)
        outputs = range(first, first + len(field.sizes))  # one whole period, clear of the border
        size = list(geometry.above((8,) * ndim))
        size[i] = axis.above(axis.reads(outputs[-1], outputs[-1])[1] + 1)
        seen = probe(net, size, axis=i, outputs=outputs)
        assert [axis.reads(o, o) for o in outputs] == seen
        assert field.sizes == tuple(high - low + 1 for low, high in seen)
        centres = [int(axis.places[-1][1] + o * step) for o in outputs]
        assert field.left == tuple(x - low for x, (low, _) in zip(centres, seen, strict=True))
        assert field.right == tuple(high - x for x, (_, high) in zip(centres, seen, strict=True))


@both
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_output_size_is_what_comes_out(build: Callable[[int], nn.Module], ndim: int) -> None:
    torch.manual_seed(0)
    net = build(ndim).eval()
    geometry = read(net).geometry
    smallest = geometry.axes[0].above(5)
    fitting = [n for n in range(smallest, smallest + 14) if geometry.fits((n,) * ndim)]
    assert fitting
    with torch.no_grad():
        for n in fitting:
            assert tuple(net(torch.zeros(1, 1, *(n,) * ndim)).shape[2:]) == geometry.output_size((n,) * ndim)
        mixed = geometry.above([n + 3 * i for i, n in enumerate((smallest,) * ndim)])
        assert tuple(net(torch.zeros(1, 1, *mixed)).shape[2:]) == geometry.output_size(mixed)


STRIDES = {
    "plain": (plain, (1, 1)),
    "stride-2 convolutions": (strided, (4, 4)),
    "max-pool 3/2": (overlapping_pool, (2, 2)),
    "per axis": (anisotropic, (2, 3)),
    "resized skip": (resized_skip("linear"), (3, 3)),
    "U-Net of depth 1": (unet(widths=(2, 2)), (2, 2)),
    "U-Net of depth 3": (unet(widths=(2, 2, 2, 2)), (8, 8)),
    "U-Net 3 x 2": (unet(strides=(3, 2), up="nearest"), (6, 6)),
    "U-Net per axis": (unet(strides=((1, 2), (3, 2)), up="linear"), (3, 4)),
}


@pytest.mark.parametrize("build, stride", STRIDES.values(), ids=STRIDES)
def test_total_stride_is_the_smallest_shift_that_shifts_the_output(
    build: Callable[[int], nn.Module], stride: tuple[int, int]
) -> None:
    torch.manual_seed(3)
    net = build(2).double().eval()
    geometry = read(net).geometry
    assert geometry.stride == stride
    for i, axis in enumerate(geometry.axes):
        size = list(geometry.above((12, 12)))
        size[i] = axis.above(2 * axis.halo + 6 * axis.stride)
        x = torch.rand(1, 1, *size, dtype=torch.float64)
        clear = axis.halo + axis.stride
        with torch.no_grad():
            y = net(x).movedim(i + 2, 0)
            for shift in range(1, axis.stride + 1):
                moved = net(x.roll(shift, i + 2)).movedim(i + 2, 0)
                there = torch.allclose(moved[clear:-clear], y.roll(shift, 0)[clear:-clear], rtol=0, atol=1e-12)
                assert there == (shift == axis.stride), f"shift {shift} of axis {i}"


@pytest.mark.parametrize("ndim", [2, 3])
def test_layers_are_named_by_their_modules(ndim: int) -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return F.relu(net.twice(F.relu(net.twice(x))) + x)

    graph = read(Net(forward, twice=CONV[ndim](1, 1, 3, padding=1)))
    assert [layer.name for layer in graph.layers] == ["input", "twice", "relu", "twice_2", "add", "relu_2"]
    assert [layer.kind for layer in graph.layers][1:] == [
        *("convolution", "pointwise", "convolution", "join", "pointwise")
    ]
    assert graph.layers[4].inputs == (3, 0)
    assert graph.layers[1].windows == (Window(3, before=1, after=1),) * ndim


def test_layers_that_do_not_reach_the_output_are_left_out() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        net.side(x)
        return net.main(x)

    graph = read(Net(forward, side=nn.Conv2d(1, 1, 9), main=nn.Conv2d(1, 3, 3)))
    assert [layer.name for layer in graph.layers] == ["input", "main"]
    assert graph.layers[-1].channels == 3
    assert graph.geometry.output_size((20, 20)) == (18, 18)


def test_what_is_only_watched_may_be_unreadable() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    watched: list[Tensor] = []
    net[0].register_forward_hook(lambda module, x, y: watched.append(y.flatten(1).sort().values.mean()))
    assert [layer.name for layer in read(net).layers] == ["input", "0", "1"]
    assert watched


def test_an_unreadable_layer_says_more_than_the_failure_behind_it() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(7, 2))
    with pytest.raises(ValueError, match=r"first error was: .*same reduction dim"):
        read(net)

    class Written(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x[:, :, 0] = 0
            raise RuntimeError("of no use")

    with pytest.raises(ValueError, match=r"layer '1' \(setitem, test_graph.py line \d+\) cannot be read"):
        read(nn.Sequential(nn.Conv2d(1, 2, 3), Written()))


class WithBody(nn.Module):
    """A user's net with a method that happens to be called `body`."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.tail = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 5)

    def body(self, x: Tensor) -> Tensor:
        return self.first(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.body(x))


def test_what_a_user_calls_body_does_not_stand_for_the_whole_net() -> None:
    net = Net(lambda net, x: net.tail(net.body(x)), body=nn.Conv2d(1, 2, 3), tail=nn.Conv2d(2, 1, 5))
    assert [layer.name for layer in read(net).layers] == ["input", "body", "tail"]
    assert [layer.name for layer in read(WithBody()).layers] == ["input", "first", "tail"]


def test_reading_leaves_the_net_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)).double()
    net[1].eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    assert read(net).is_local
    assert net.training
    assert net[2].training
    assert not net[1].training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_channels_and_axes_come_from_the_first_convolution_or_the_caller() -> None:
    assert read(nn.Sequential(nn.ReLU(), nn.Conv3d(4, 2, 3))).layers[0].channels == 4
    assert read(nn.MaxPool2d(2), in_channels=3, ndim=2).geometry.stride == (2, 2)
    with pytest.raises(ValueError, match="no convolution to tell its input channels from: pass in_channels and ndim"):
        read(nn.MaxPool2d(2))


def test_a_net_for_one_size_takes_no_other() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        if x.shape[2] != 96:
            raise RuntimeError("96 pixels, please")
        return net.a(x)

    graph = read(Net(forward, a=nn.Conv2d(1, 1, 1)))
    assert graph.only == (96, 96)
    assert not graph.is_local
    assert graph.describe_reach() == "it takes images of 96 x 96 pixels alone"
    with pytest.raises(ValueError, match="input size 97 does not fit the net: it takes 96 pixels alone"):
        graph.geometry.output_size((97, 96))


def test_a_size_that_a_part_of_a_net_states_is_tried() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) != (40, 52):
            raise RuntimeError("40 x 52 pixels, please")
        return net.a(x)

    net = Net(forward, a=nn.Conv2d(1, 1, 1))
    net.img_size = (40, 52)  # type: ignore[assignment]
    assert read(net).only == (40, 52)


def test_refused_sizes_are_left_out() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        if x.shape[2] % 8 or x.shape[3] % 8:
            raise RuntimeError("multiples of 8, please")
        return net.up(net.a(x))

    net = Net(forward, a=nn.Conv2d(1, 1, 2, stride=2), up=nn.ConvTranspose2d(1, 1, 2, stride=2))
    graph = read(net)
    assert graph.is_local
    assert [n for n in range(1, 34) if graph.geometry.fits((n, n))] == [8, 16, 24, 32]


def test_a_net_that_fails_everywhere_shows_its_first_error() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        raise RuntimeError(f"no luck with {x.shape[2]}")

    with pytest.raises(ValueError, match="ran on none of the sizes 64 to 832; its first error was: no luck with 256"):
        read(Net(forward, a=nn.Conv2d(1, 2, 3)))


def test_branches_that_never_agree_are_refused() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        odd, even = net.pool(net.a(x)[..., 1:, 1:]), net.pool(net.a(x))[..., 1:, 1:]
        return odd + even  # runs on even sizes, where the first branch leaves a pixel out

    with pytest.raises(ValueError, match="sizes 64 to 832; its first error was: 256 pixels leave some out"):
        read(Net(forward, a=nn.Conv2d(1, 1, 3, padding=1), pool=nn.MaxPool2d(2)))


def test_one_of_several_outputs_is_read() -> None:
    class Named(NamedTuple):
        out: Tensor
        aux: Tensor

    layers = {"a": nn.Conv2d(1, 1, 3), "b": nn.Conv2d(1, 2, 5)}
    for returned in (list, tuple, lambda maps: {"out": maps[0], "aux": maps[1]}, lambda maps: Named(*maps)):
        net = Net(lambda net, x, returned=returned: returned([net.a(x), net.b(x)]), **layers)
        is_named = returned not in (list, tuple)
        assert read(net).layers[-1].channels == 1
        assert read(net, output="out" if is_named else 0).layers[-1].name == "a"
        assert read(net, output="aux" if is_named else -1).layers[-1].name == "b"
        with pytest.raises(ValueError, match="output is 7"):
            read(net, output=7)
    with pytest.raises(ValueError, match="the net returns the outputs 'x'; output is 'y'"):
        read(Net(lambda net, x: {"x": net.a(x)}, a=layers["a"]), output="y")
    with pytest.raises(ValueError, match="the net returns NoneType; expected a tensor, or a list"):
        read(Net(lambda net, x: None, a=layers["a"]))
    with pytest.raises(ValueError, match="not computed from its input"):
        read(Net(lambda net, x: net.a.weight, a=layers["a"]))


def test_a_compiled_net_is_read_as_what_was_compiled() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    assert read(torch.compile(net, backend="eager")) == read(net)  # type: ignore[arg-type]


def test_a_net_that_begins_with_pixel_unshuffle_is_asked_for_its_channels() -> None:
    net = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, 8, 3, padding=1), nn.PixelShuffle(2))
    with pytest.raises(ValueError, match="begins with PixelUnshuffle: pass in_channels"):
        read(net)


def _bytes(graph: Graph, *size: int) -> int:
    return graph.activation_bytes(size)


@pytest.mark.parametrize("ndim", [2, 3])
def test_activation_bytes_count_the_maps_alive(ndim: int) -> None:
    pixels = 8**ndim
    chain = nn.Sequential(CONV[ndim](1, 4, 1), CONV[ndim](4, 4, 1), CONV[ndim](4, 1, 1))
    assert _bytes(read(chain), *(8,) * ndim) == 4 * 8 * pixels  # two maps of 4 channels
    assert read(chain).activation_bytes((8,) * ndim, itemsize=8) == 8 * 8 * pixels
    skip = Net(lambda net, x: torch.cat([x, net.a(x)], 1), a=CONV[ndim](1, 4, 1))
    assert _bytes(read(skip), *(8,) * ndim) == 4 * (1 + 4 + 5) * pixels


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_module_in_two_places_keeps_its_weights(ndim: int) -> None:
    """As in MONAI's DynUNet; `functional_call` of torch 2.13 leaves tensors without data in such a net."""
    inner = nn.Sequential(CONV[ndim](1, 2, 3, padding=1), BATCH_NORM[ndim](2))
    net = Net(lambda net, x: net.outer[0](x), outer=nn.ModuleList([inner]), again=inner)
    net.tied = CONV[ndim](1, 2, 3)
    net.tied.weight = inner[0].weight
    before = {name: (id(t), t.clone()) for name, t in net.named_parameters(remove_duplicate=False)}
    assert [layer.parameters for layer in read(net).layers] == [0, 2 * 3**ndim + 2, 4]
    after = dict(net.named_parameters(remove_duplicate=False))
    assert all(id(after[name]) == own and torch.equal(after[name], value) for name, (own, value) in before.items())


def test_pixels_of_the_output_are_those_of_the_image_though_centres_drift() -> None:
    """Convolutions of stride 2 look at even pixels, nearest neighbours enlarge around the middle of two."""
    down = nn.Sequential(*(nn.Conv2d(1, 1, 3, stride=2, padding=1) for _ in range(4)))
    geometry = read(nn.Sequential(down, nn.Upsample(scale_factor=16))).geometry
    assert geometry.axes[0].places[-1][1] == Fraction(-15, 2)
    assert geometry.margin == ((0, 0), (0, 0))
    assert geometry.axes[0].reads(0, 15) == (-15, 15)
    assert geometry.axes[0].reach == 15
