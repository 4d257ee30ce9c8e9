"""Nets of other libraries through the Predictor: what it gives is what the module gives for the whole image."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from own_net import Net
from torch import Tensor, nn

from unetkit.inference.arrays import Sliceable
from unetkit.inference.execution import Execution
from unetkit.inference.predictor import Predictor

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE: dict[int, Any] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
POOL: dict[int, Any] = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
SIZES = {2: (640, 448), 3: (96, 64, 56)}


def block(d: int, a: int, b: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(CONV[d](a, b, 3, stride=stride, padding=1, bias=False), BATCH[d](b), nn.ReLU(inplace=True))


def with_resnet(d: int) -> nn.Module:
    """As those of the field: strided blocks with norms by attribute, the coarse map resized to the skip."""

    def forward(net: Any, x: Tensor) -> Tensor:
        skip = net.first(x)
        y = F.relu(net.norm(net.down(skip)) + net.short(skip))
        y = F.interpolate(y, size=skip.shape[2:], mode="nearest")
        return net.head(net.merge(torch.cat([y, skip], 1)))

    layers = {"first": block(d, 1, 4), "down": CONV[d](4, 8, 3, stride=2, padding=1), "norm": BATCH[d](8)}
    layers |= {"short": CONV[d](4, 8, 1, stride=2), "merge": block(d, 12, 6)}
    return Net(forward, **layers, head=CONV[d](6, 3, 1))


def with_convnext(d: int) -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.stem(x)
        z = net.mlp(net.norm(net.wide(y).movedim(1, -1))).movedim(-1, 1)
        return net.up(y + net.scale * z)

    layers = {"stem": CONV[d](1, 8, 4, stride=4), "wide": CONV[d](8, 8, 7, padding=3, groups=8)}
    mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
    net = Net(forward, **layers, norm=nn.LayerNorm(8), mlp=mlp, up=TRANSPOSED[d](8, 3, 4, stride=4))
    net.scale = nn.Parameter(torch.ones(8, *(1,) * d))
    return net


def with_shuffle(d: int) -> nn.Module:
    """Channels shuffled by reshapes, which are called with the size of the whole map."""

    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        n, c, *size = y.shape
        return net.b(y.view(n, 2, c // 2, *size).transpose(1, 2).reshape(n, c, *size))

    return Net(forward, a=block(d, 1, 4), b=CONV[d](4, 3, 3, padding=1))


def with_deconvolution(d: int) -> nn.Module:
    up = nn.Sequential(TRANSPOSED[d](6, 4, 2, stride=2), BATCH[d](4), nn.LeakyReLU(0.1), CONV[d](4, 3, 1))
    return nn.Sequential(block(d, 1, 6, stride=2), up)


def with_zeros(d: int) -> nn.Module:
    """As shortcuts of residual nets: zeros of the size of the map in place of channels; and one that is added."""

    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        zeros = torch.zeros(y.shape[0], 2, *y.shape[2:], device=y.device)
        return net.b(torch.cat([y, zeros], dim=1)) + torch.ones_like(y[:, :1])

    return Net(forward, a=block(d, 1, 4), b=CONV[d](6, 3, 3, padding=1))


LOCAL = {f.__name__: f for f in (with_zeros, with_resnet, with_convnext, with_shuffle, with_deconvolution)}


def trained(net: nn.Module) -> nn.Module:
    """Weights and statistics of norms as after training: gains near 1, none that hides what a layer reads."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                    assert isinstance(tensor, Tensor)
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return net.eval()


def picture(size: tuple[int, ...], channels: int = 1) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(channels, *size)).astype(np.float32)


def whole(net: nn.Module, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        result = net(torch.from_numpy(image)[None])
    result = next(iter(result.values())) if isinstance(result, dict) else result
    return (result[0] if isinstance(result, list | tuple) else result)[0].numpy()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("build", LOCAL.values(), ids=LOCAL)
def test_a_local_net_gives_what_it_gives_for_the_whole_image(build: Callable[[int], nn.Module], ndim: int) -> None:
    torch.manual_seed(0)
    net, image = trained(build(ndim)), picture(SIZES[ndim])
    expected = whole(net, image)
    predictor = Predictor(net, execution=Execution(memory_bytes=2**23 if ndim == 2 else 2**24))
    tiling = predictor.plan(SIZES[ndim])
    assert predictor.net.is_local
    assert tiling.is_exact
    assert (tiling.slab is None) == (build is with_shuffle)
    assert len(tiling.tiles) > 1 or tiling.slab
    np.testing.assert_allclose(predictor(image).logits, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def with_attention(d: int) -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.stem(x)
        tokens = y.flatten(2).transpose(1, 2)
        tokens = tokens + net.attention(tokens, tokens, tokens)[0]
        return net.up(tokens.transpose(1, 2).reshape(y.shape))

    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    return Net(forward, stem=CONV[d](1, 4, 4, stride=4), attention=attention, up=TRANSPOSED[d](4, 3, 4, stride=4))


def with_excitation(d: int) -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.stem(x)
        return net.head(y * net.gate(net.pool(y)).sigmoid())

    return Net(forward, stem=block(d, 1, 4), pool=POOL[d](1), gate=CONV[d](4, 4, 1), head=CONV[d](4, 3, 1))


def with_instance_norm(d: int) -> nn.Module:
    return nn.Sequential(CONV[d](1, 4, 3, padding=1), INSTANCE[d](4, affine=True), nn.ReLU(), CONV[d](4, 3, 1))


FAR = {
    with_attention: r"\(multi_head_attention_forward\): pixels attend to others",
    with_excitation: r"'pool' \(adaptive_avg_pool{d}d\): it pools the image to one value",
    with_instance_norm: r"'1' \(instance_norm\): it takes the mean and deviation",
}


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("build", FAR, ids=lambda build: build.__name__)
def test_a_net_that_is_not_local_runs_whole_or_says_why_not(build: Callable[[int], nn.Module], ndim: int) -> None:
    torch.manual_seed(0)
    net = trained(build(ndim))
    image = picture((48, 40, 32)[:ndim])
    expected = whole(net, image)
    predictor = Predictor(net)
    assert not predictor.net.is_local
    np.testing.assert_allclose(predictor(image).logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    tight = Predictor(net, execution=Execution(memory_bytes=predictor.plan(image.shape[1:]).memory_bytes // 2))
    tiling = tight.plan(image.shape[1:])
    assert not tiling.is_exact
    with pytest.raises(AssertionError, match=FAR[build].replace("{d}", str(ndim))):
        raise AssertionError(tight.describe(tiling))
    blended = tight(image).logits
    assert blended is not None
    assert blended.shape == expected.shape
    assert np.abs(blended - expected).max() < 2 * np.abs(expected).max()


def test_a_net_that_is_not_local_gets_the_image_in_its_own_size() -> None:
    """It reads all of space: a border that is added, and cut off again, would change every pixel."""

    def forward(net: Any, x: Tensor) -> Tensor:
        y = F.interpolate(net.down(x), size=x.shape[2:], mode="bilinear", align_corners=True)
        return net.head(y)

    net = Net(forward, down=nn.Conv2d(1, 4, 3, stride=2, padding=1), head=nn.Conv2d(4, 2, 1)).eval()
    image = picture((67, 53))
    np.testing.assert_allclose(Predictor(net)(image).logits, whole(net, image), rtol=0, atol=1e-6)


class Tokens(nn.Module):
    """A transformer with a table of positions for images of one size."""

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        d = len(size)
        self.stem, self.up = CONV[d](1, 4, 8, stride=8), TRANSPOSED[d](4, 2, 8, stride=8)
        self.positions = nn.Parameter(torch.randn(1, np.prod([n // 8 for n in size]), 4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        tokens = y.flatten(2).transpose(1, 2) + self.positions
        tokens = tokens + F.scaled_dot_product_attention(tokens, tokens, tokens)
        return self.up(tokens.transpose(1, 2).reshape(y.shape))


@pytest.mark.parametrize("size", [(64, 96), (32, 64, 32)])
def test_a_net_for_one_size_runs_in_blended_tiles_of_that_size(size: tuple[int, ...]) -> None:
    net = Tokens(size).eval()
    net.img_size = size  # type: ignore[assignment]
    predictor, image = Predictor(net), picture(size)
    assert predictor.net.graph.only == size
    np.testing.assert_allclose(predictor(image).logits, whole(net, image), rtol=0, atol=1e-5)
    larger = tuple(n + 21 for n in size)
    tiling = predictor.plan(larger)
    assert {tile.window_size for tile in tiling.tiles} == {size}
    assert not tiling.is_exact
    assert predictor(picture(larger)).labels.shape == larger
    smaller = tuple(n - 9 for n in size)
    assert predictor(picture(smaller)).labels.shape == smaller


def test_one_of_several_outputs() -> None:
    net = Net(lambda net, x: {"out": net.a(x), "aux": net.b(x)}, a=nn.Conv2d(1, 2, 3, padding=1), b=nn.Conv2d(1, 5, 1))
    image = picture((40, 30))
    assert Predictor(net)(image).logits.shape == (2, 40, 30)  # type: ignore[union-attr]
    aux = Predictor(net, output="aux")
    with torch.no_grad():
        expected = net.b(torch.from_numpy(image)[None])[0].numpy()
    np.testing.assert_allclose(aux(image).logits, expected, atol=1e-6)
    small = Predictor(net, execution=Execution(memory_bytes=2**20), output="aux")
    np.testing.assert_allclose(small(picture((600, 500))).logits, whole(net.b, picture((600, 500))), atol=1e-6)
    with pytest.raises(ValueError, match="the net returns the outputs 'out', 'aux'; output is 'mask'"):
        Predictor(net, output="mask")


def test_channels_that_the_net_does_not_show() -> None:
    net = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 8, 3, padding=1), nn.PixelShuffle(2))
    with pytest.raises(ValueError, match="pass in_channels"):
        Predictor(net)
    image = picture((40, 30), channels=3)
    np.testing.assert_allclose(Predictor(net, in_channels=3)(image).logits, whole(net, image), atol=1e-6)


def test_an_output_that_is_smaller_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"returns 1/4 x 1/4 of the image's pixels per axis; .* wrap it"):
        Predictor(nn.Conv2d(1, 2, 4, stride=4))


def test_a_group_norm_of_an_image_that_is_not_normalised_is_as_exact_as_the_nets_own() -> None:
    net = nn.Sequential(nn.GroupNorm(1, 8), nn.Conv2d(8, 2, 3, padding=1)).eval()
    image = 1000 + picture((64, 48), channels=8)
    expected = net.double()(torch.from_numpy(image)[None].double())[0].detach().numpy()
    assert np.abs(Predictor(net.float())(image).logits - expected).max() < 1e-2


# --- arrays of any library ---


class Blocks:
    """An array that is read and written by region only, and remembers how much at a time."""

    def __init__(self, array: np.ndarray, chunks: tuple[int, ...] | None = None) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.largest, self.rows = 0, list[tuple[int, int]]()
        if chunks:
            self.chunks = chunks

    def __getitem__(self, region: tuple[slice, ...]) -> np.ndarray:
        part = self.array[region]
        self.largest = max(self.largest, part.size)
        return part

    def __setitem__(self, region: tuple[slice, ...], values: np.ndarray) -> None:
        rows = region[-len(self.array.shape[-2:])]
        self.rows.append((rows.start, rows.stop))
        self.array[region] = values


@pytest.mark.parametrize("ndim", [2, 3])
def test_from_and_into_what_can_be_sliced(ndim: int) -> None:
    net, size = trained(with_resnet(ndim)), (1300, 1100) if ndim == 2 else (90, 96, 96)
    image = (picture(size) * 50 + 100).astype(np.uint8)
    predictor = Predictor(net, execution=Execution(memory_bytes=2**24 if ndim == 2 else 2**25))
    expected = predictor(image)
    read = Blocks(image[0])
    labels, logits = Blocks(np.zeros(size, np.uint8), (64,) * ndim), Blocks(np.zeros((3, *size), np.float32))
    assert isinstance(read, Sliceable)
    predictor.predict_into(read, labels=labels, logits=logits)
    assert np.array_equal(labels.array, expected.labels)
    assert expected.logits is not None
    assert np.array_equal(logits.array, expected.logits)
    assert read.largest < image.size / 2
    if ndim == 2:
        assert all(start % 64 == 0 for start, _ in labels.rows)


def test_into_arrays_that_do_not_fit() -> None:
    predictor, image = Predictor(with_resnet(2).eval()), picture((64, 48))
    with pytest.raises(ValueError, match="got neither labels nor logits"):
        predictor.predict_into(image)
    with pytest.raises(ValueError, match=r"labels has shape \(48, 64\); expected \(64, 48\)"):
        predictor.predict_into(image, labels=np.zeros((48, 64), np.uint8))
    with pytest.raises(ValueError, match=r"logits has shape \(2, 64, 48\); expected \(3, 64, 48\)"):
        predictor.predict_into(image, logits=np.zeros((2, 64, 48), np.float32))
    with pytest.raises(ValueError, match="labels has dtype float32, which does not hold 2"):
        predictor.predict_into(image, labels=np.zeros((64, 48), np.float32))
    image[0, 3, 3] = np.nan
    with pytest.raises(ValueError, match=r"values of the image at \(0:64, 0:48\) are NaN"):
        predictor.predict_into(Blocks(image), labels=np.zeros((64, 48), np.uint8))
