"""Blocks: plain, residual, dense; padded and not; against their definitions written out."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unetkit.nets.blocks import DenseBlock, PlainBlock, ResidualBlock, Style
from unetkit.nets.layers import CONV, center_crop

CONVOLVE = {2: F.conv2d, 3: F.conv3d}


def convolutions(module: nn.Module, ndim: int) -> list[nn.Module]:
    return [m for m in module.modules() if isinstance(m, CONV[ndim])]


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 5), (1, 3, 3), (3, 3, 3)])
def test_plain_block_is_twice_convolution_norm_relu(kernel: tuple[int, ...], padding: str, norm: str) -> None:
    block = PlainBlock(2, (5, 5), style=Style(kernel, padding, norm))  # type: ignore[arg-type]
    ndim = len(kernel)
    size = (9,) * ndim
    lost = [0 if padding == "same" else 2 * (k - 1) for k in kernel]
    y = block(torch.rand(1, 2, *size))
    assert y.shape == (1, 5, *(n - m for n, m in zip(size, lost, strict=True)))
    assert (y >= 0).all()
    weights = torch.Size(kernel).numel() * (2 * 5 + 5 * 5)
    assert sum(p.numel() for p in block.parameters()) == weights + 10 * (2 if norm == "batch" else 1)
    assert [module.bias is None for module in convolutions(block, ndim)] == [norm == "batch"] * 2


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("in_channels", [3, 4])
def test_residual_block_adds_its_input(ndim: int, padding: str, in_channels: int) -> None:
    torch.manual_seed(0)
    block = ResidualBlock(in_channels, (4, 4), style=Style((3,) * ndim, padding, "none"))  # type: ignore[arg-type]
    x = torch.randn(2, in_channels, *(8,) * ndim)
    first, second = convolutions(block.path, ndim)
    pads = 1 if padding == "same" else 0
    y = F.relu(CONVOLVE[ndim](x, first.weight, first.bias, padding=pads))
    y = CONVOLVE[ndim](y, second.weight, second.bias, padding=pads)
    if in_channels == 4:
        assert isinstance(block.shortcut, nn.Identity)
        shortcut = x
    else:
        [project] = convolutions(block.shortcut, ndim)
        assert tuple(project.weight.shape[2:]) == (1,) * ndim
        shortcut = CONVOLVE[ndim](x, project.weight, project.bias)
    expected = F.relu(y + center_crop(shortcut, y.shape[2:]))
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_preactivated_block_activates_first_and_leaves_the_sum_alone(ndim: int, norm: str) -> None:
    torch.manual_seed(0)
    style = Style((3,) * ndim, "same", norm)  # type: ignore[arg-type]
    block = ResidualBlock(4, (4, 4), style=style, preactivation=True).eval()
    x = torch.randn(2, 4, *(6,) * ndim)
    kept = x.clone()
    first, second = convolutions(block.path, ndim)
    scale = (1 + 1e-5) ** -0.5 if norm == "batch" else 1.0  # fresh running statistics: mean 0, variance 1
    y = CONVOLVE[ndim](F.relu(x * scale), first.weight, first.bias, padding=1)
    y = CONVOLVE[ndim](F.relu(y * scale), second.weight, second.bias, padding=1)
    torch.testing.assert_close(block(x), x + y)
    assert torch.equal(x, kept)  # nothing was written into the shortcut's input
    assert all(c.bias is not None for c in (first, second))


def test_a_preactivated_block_on_the_image_starts_with_its_convolution() -> None:
    style = Style((3, 3), "same", "batch")
    block = ResidualBlock(1, (4, 4), style=style, preactivation=True, is_first=True)
    assert [type(m).__name__ for m in block.path] == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d"]
    dense = DenseBlock(1, 2, 4, style=style, keeps_input=True, is_first=True)
    assert [[type(m).__name__ for m in layer] for layer in dense.layers] == [
        ["Conv2d"],
        ["BatchNorm2d", "ReLU", "Conv2d"],
    ]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("keeps_input", [True, False])
def test_dense_layers_read_all_before_them(ndim: int, padding: str, keeps_input: bool) -> None:
    torch.manual_seed(0)
    style = Style((3,) * ndim, padding, "none")  # type: ignore[arg-type]
    block = DenseBlock(2, 3, 4, style=style, keeps_input=keeps_input)
    assert block.out_channels == 12 + 2 * keeps_input
    x = torch.randn(2, 2, *(10,) * ndim)
    pads = 1 if padding == "same" else 0
    stack, new = x, x[:, :0]
    for layer in block.layers:
        [convolution] = convolutions(layer, ndim)
        assert convolution.weight.shape[:2] == (4, stack.shape[1])
        grown = CONVOLVE[ndim](F.relu(stack), convolution.weight, convolution.bias, padding=pads)
        stack, new = (torch.cat([center_crop(m, grown.shape[2:]), grown], 1) for m in (stack, new))
    torch.testing.assert_close(block(x), stack if keeps_input else new)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_strided_block_halves_both_of_its_paths(ndim: int) -> None:
    style, stride = Style((3,) * ndim), (2,) * ndim
    x = torch.randn(2, 4, *(8,) * ndim)
    blocks = [
        PlainBlock(4, (4, 4), style=style, stride=stride),
        ResidualBlock(4, (4, 4), style=style, stride=stride),
        ResidualBlock(4, (4, 4), style=style, stride=stride, preactivation=True),
    ]
    for block in blocks:
        assert block(x).shape == (2, 4, *(4,) * ndim)
    dense = DenseBlock(4, 2, 3, style=style, keeps_input=True, stride=stride)
    assert dense(x).shape == (2, dense.out_channels, *(4,) * ndim)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "prelu"])
def test_dropout_follows_every_convolution(activation: str) -> None:
    style = Style((3, 3), "same", "batch", activation, 0.5)  # type: ignore[arg-type]
    blocks = [
        PlainBlock(2, (4, 4), style=style),
        ResidualBlock(2, (4, 4), style=style),
        ResidualBlock(2, (4, 4), style=style, preactivation=True),
        DenseBlock(2, 2, 4, style=style, keeps_input=False),
    ]
    for block in blocks:
        assert sum(isinstance(m, nn.Dropout) for m in block.modules()) == 2
        x = torch.randn(1, 2, 8, 8)
        torch.manual_seed(0)
        one = block(x)
        torch.manual_seed(1)
        assert not torch.equal(one, block(x))
        assert torch.equal(block.eval()(x), block(x))
