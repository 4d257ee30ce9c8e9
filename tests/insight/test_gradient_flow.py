"""The gradient at every stage, against hooks and plain backward passes; the net is left as it was."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from unetkit.graph.read import read
from unetkit.insight.gradient_flow import GradientFlow, StageFlow, draw_flow, gradient_flow, loss_against, set_log_ticks
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.training.losses import cross_entropy, dice_cross_entropy

SIZE = {2: (16, 24), 3: (8, 16, 8)}


def made(ndim: int = 2, **options: Any) -> Any:
    torch.manual_seed(0)
    return build(Architecture(ndim=ndim, **{"widths": (4, 6, 8)} | options)).double()


def image(ndim: int = 2, *, n: int = 1, size: tuple[int, ...] | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn((n, 1, *(size or SIZE[ndim])), generator=generator, dtype=torch.float64)


def labels(size: tuple[int, ...]) -> np.ndarray:
    found = np.zeros(size, np.uint8)
    found[..., 2:7] = 1
    found[0] = 255
    return found


def rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def by_hooks(net: Any, x: Tensor, loss: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """Map and gradient of every block of a U-Net, from one backward pass in training mode."""
    depth, maps = len(net.decoder), {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            maps[name] = output.clone()
            output.register_hook(lambda gradient: gradients.__setitem__(name, gradient))

        return hook

    gradients: dict[str, Tensor] = {}
    for i, block in enumerate(net.encoder.blocks):
        block.register_forward_hook(keep("bottom" if i == depth else f"encoder {i}"))
    for i, block in enumerate(net.decoder):
        block.register_forward_hook(keep(f"decoder {i}"))
    net.train()
    loss(net.body(x)).backward()
    return {name: (maps[name].detach(), gradients[name]) for name in maps}


@pytest.mark.parametrize(
    "options",
    [{}, {"norm": "none"}, {"norm": "instance", "block": "residual"}, {"block": "preactivation"}, {"skip": "none"}],
    ids=str,
)
@pytest.mark.parametrize("ndim", [2, 3])
def test_maps_and_gradients_are_those_of_a_plain_backward_pass(ndim: int, options: dict[str, Any]) -> None:
    net, x, loss = made(ndim, **options), image(ndim), loss_against(labels(SIZE[ndim]))
    found = gradient_flow(net, net.graph, x, loss=loss)
    expected = by_hooks(net, x, loss)
    assert [stage.name for stage in found.stages] == [*list(expected)[:3], "decoder 1", "decoder 0"]
    for stage in found.stages:
        activation, gradient = expected[stage.name]
        assert stage.activation == pytest.approx(rms(activation))
        assert stage.gradient == pytest.approx(rms(gradient))
        assert stage.gradient > 0
    owners = {"encoder.blocks.0": 0, "encoder.blocks.1": 1, "encoder.blocks.2": 2, "1": 3, "0": 4}
    for i, stage in enumerate(found.stages):
        own = [p for name, p in net.named_parameters() if _owner(name, owners) == i]
        assert stage.weight == pytest.approx(math.sqrt(sum(float(p.detach().square().sum()) for p in own)))
        assert stage.weight_gradient == pytest.approx(math.sqrt(sum(float(p.grad.square().sum()) for p in own)))
    assert found.reach == found.stages[0].gradient / found.stages[-1].gradient


def _owner(name: str, owners: dict[str, int]) -> int:
    """Index of the stage: a block of the encoder, or whatever else has the level's number."""
    first, number, *rest = name.split(".")
    return owners[f"encoder.blocks.{rest[0]}"] if first == "encoder" else owners[number]


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_gradient_is_the_slope_of_the_loss(ndim: int) -> None:
    """By finite differences: the loss changes by the square of its gradient times a small step against it."""
    net, x = made(ndim), image(ndim)

    def loss(logits: Tensor) -> Tensor:
        return logits.square().mean()

    found = gradient_flow(net, net.graph, x, loss=loss)
    step, moved = 1e-6, made(ndim).train()
    loss(moved.body(x)).backward()
    block = moved.encoder.blocks[0]
    with torch.no_grad():
        for p in block.parameters():
            p -= step * p.grad
        after = float(loss(moved.body(x)))
    assert (found.loss - after) / step == pytest.approx(found.stages[0].weight_gradient ** 2, rel=1e-3)


def test_a_loss_three_times_as_large_has_gradients_three_times_as_large() -> None:
    net, x, loss = made(), image(), loss_against(None)
    one = gradient_flow(net, net.graph, x, loss=loss)
    three = gradient_flow(net, net.graph, x, loss=lambda logits: 3 * loss(logits))
    for a, b in zip(one.stages, three.stages, strict=True):
        assert (b.activation, b.weight) == (a.activation, a.weight)
        assert b.gradient == pytest.approx(3 * a.gradient)
        assert b.weight_gradient == pytest.approx(3 * a.weight_gradient)


@pytest.mark.parametrize("is_training", [True, False])
def test_the_net_is_left_as_it_was(is_training: bool) -> None:
    net = made(dropout=0.5).train(is_training)
    net.encoder.blocks[0].train(not is_training)
    net.heads[0].weight.requires_grad_(False)
    net.heads[0].bias.grad = torch.ones(2, dtype=torch.float64)
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    x, random = image(), torch.random.get_rng_state()
    with torch.no_grad():
        found = gradient_flow(net, net.graph, x, loss=loss_against(None))
        again = gradient_flow(net, net.graph, x, loss=loss_against(None))
    assert found == again  # nothing is dropped, and no statistics have moved
    assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == ["heads.0.weight"]
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["heads.0.bias"]
    assert torch.equal(net.heads[0].bias.grad, torch.ones(2))
    assert not x.requires_grad
    assert torch.equal(random, torch.random.get_rng_state())


def test_frozen_weights_have_gradients_all_the_same() -> None:
    net, x = made(), image()
    expected = gradient_flow(net, net.graph, x, loss=loss_against(None))
    assert gradient_flow(net.requires_grad_(False), net.graph, x, loss=loss_against(None)) == expected


def test_batch_norm_needs_more_than_one_value() -> None:
    """One pixel at the bottom has no variance; two images, or no batch norm, are no problem."""
    net = made()
    assert gradient_flow(net, net.graph, image(size=(8, 4)), loss=loss_against(None)).is_batch
    assert not gradient_flow(net, net.graph, image(size=(4, 4)), loss=loss_against(None)).is_batch
    two = gradient_flow(net, net.graph, image(n=2, size=(4, 4)), loss=lambda logits: logits.square().mean())
    assert two.is_batch
    plain = made(norm="none")
    assert gradient_flow(plain, plain.graph, image(size=(4, 4)), loss=loss_against(None)).is_batch


def test_a_size_that_does_not_fit_is_refused() -> None:
    net = made()
    with pytest.raises(ValueError, match=r"18"):
        gradient_flow(net, net.graph, image(size=(18, 24)), loss=loss_against(None))


@pytest.mark.parametrize(
    "options, size, names",
    [
        ({"padding": "valid"}, (44, 52), ["encoder 0", "encoder 1", "bottom", "decoder 1", "decoder 0"]),
        (
            {"topology": "unet++", "heads": "all"},
            (16, 16),
            ["node 0,0", "node 1,0", "node 2,0", "node 0,1", "node 1,1", "node 0,2"],
        ),
        ({"skip": "attention"}, (16, 16), ["encoder 0", "encoder 1", "bottom", "decoder 1", "decoder 0"]),
        ({"block": "dense", "norm": "group"}, (16, 16), ["encoder 0", "encoder 1", "bottom", "decoder 1", "decoder 0"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("ndim", [2, 3])
def test_every_stage_of_every_variant_has_a_gradient(
    ndim: int, options: dict[str, Any], size: tuple[int, ...], names: list[str]
) -> None:
    net = made(ndim, **options)
    x = image(ndim, size=(size[0],) * (ndim - 2) + size)
    found = gradient_flow(net, net.graph, x, loss=loss_against(None))
    assert sorted(stage.name for stage in found.stages) == sorted(names)
    assert all(min(s.activation, s.gradient, s.weight, s.weight_gradient) > 0 for s in found.stages)
    total = math.sqrt(sum(float(p.detach().square().sum()) for p in net.parameters()))
    assert math.hypot(*(stage.weight for stage in found.stages)) == pytest.approx(total)


class Odd(nn.Module):
    """Weights of the net itself, weights computed from others, activations in place, one channel out."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 1, 3, 3) / 3)
        self.down = weight_norm(nn.Conv2d(4, 8, 2, stride=2))
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.out = nn.Parameter(torch.randn(1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(F.conv2d(x, self.weight, padding=1), inplace=True)
        z = F.relu(self.down(y), inplace=True)
        result = F.conv2d(F.relu(y + self.up(z), inplace=True), self.out)
        return result


def test_a_net_of_ones_own() -> None:
    torch.manual_seed(3)
    net = Odd().double()
    x = image()
    found = gradient_flow(net, read(net, in_channels=1, ndim=2), x, loss=loss_against(labels(SIZE[2])))
    fine, coarse, last = found.stages
    down = [net.down.parametrizations.weight.original0, net.down.parametrizations.weight.original1, net.down.bias]
    for stage, parameters in (
        (fine, [net.weight]),
        (coarse, down),
        (last, [*net.up.parameters(), net.out]),
    ):
        assert stage.weight == pytest.approx(math.hypot(*(float(p.detach().norm()) for p in parameters)))
    y = F.relu(F.conv2d(x, net.weight, padding=1)).detach().requires_grad_()
    logits = F.conv2d(F.relu(y + net.up(F.relu(net.down(y)))), net.out)
    loss_against(labels(SIZE[2]))(logits).backward()
    assert fine.activation == pytest.approx(rms(y.detach()))
    assert fine.gradient == pytest.approx(rms(y.grad))


class Reused(nn.Module):
    """Writes into a map after another stage has read a copy of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.low = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        z = self.low(F.pixel_unshuffle(y, 2))
        y += F.pixel_shuffle(z, 2)
        result: Tensor = self.head(y)
        return result


def test_a_map_that_is_written_over_is_seen_as_it_was() -> None:
    torch.manual_seed(0)
    net, x = Reused().double(), image()
    found = gradient_flow(net, read(net), x, loss=loss_against(None))
    y = net.first(x).detach().requires_grad_()
    loss_against(None)(net.head(y + F.pixel_shuffle(net.low(F.pixel_unshuffle(y, 2)), 2))).backward()
    assert found.stages[0].activation == pytest.approx(rms(y.detach()))
    assert found.stages[0].gradient == pytest.approx(rms(y.grad))


# --- losses ---


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_loss_is_that_of_training_where_there_is_a_truth(ndim: int) -> None:
    logits, truth = torch.randn(1, 2, *SIZE[ndim]), labels(SIZE[ndim])
    assert loss_against(truth)(logits) == dice_cross_entropy(logits, torch.from_numpy(truth)[None])


@pytest.mark.parametrize("truth", [None, np.full(SIZE[2], 255, np.uint8)], ids=["none", "not labelled"])
def test_without_a_truth_the_nets_own_mask_takes_its_place(truth: np.ndarray | None) -> None:
    logits = torch.randn(1, 3, *SIZE[2])
    assert loss_against(truth)(logits) == cross_entropy(logits, logits.argmax(1))
    assert float(loss_against(truth)(logits)) > 0


def test_one_channel_is_that_of_the_foreground() -> None:
    logits = torch.randn(1, 1, *SIZE[2], dtype=torch.float64)
    expected = F.binary_cross_entropy_with_logits(logits, (logits > 0).double())
    assert float(loss_against(None)(logits)) == pytest.approx(float(expected), rel=1e-6)


# --- picture ---


def flow(*gradients: float) -> GradientFlow:
    return GradientFlow(tuple(StageFlow(f"stage {i}", i, 1.0, g, 1.0, 1.0) for i, g in enumerate(gradients)), 1.0, True)


def test_where_no_gradient_leaves_the_last_stage_nothing_reaches_the_first() -> None:
    assert math.isnan(flow(1.0, 0.0).reach)
    assert flow(1.0, 4.0).reach == 0.25


def test_the_picture_shows_what_is_above_zero() -> None:
    figure = draw_flow(flow(1e-6, 0.0, 3e-4))
    (_, right) = figure.axes
    (line,) = right.lines
    np.testing.assert_equal(np.asarray(line.get_xdata(), float), [1e-6, np.nan, 3e-4])
    assert right.get_xscale() == "log"
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["stage 0", "stage 1", "stage 2"]


@pytest.mark.parametrize(
    "values, expected",
    [
        ([1e-6, 3e-4], ["1e-6", "1e-5", "0.0001"]),
        ([1e-9, 1.0], ["1e-9", "1e-6", "0.001", "1"]),
        ([0.3, 0.9], ["0.5", "1"]),
        ([3.1, 3.9, 0.0, math.nan], ["3", "4", "5"]),
    ],
)
def test_ticks_are_few_and_within_the_axis(values: list[float], expected: list[str]) -> None:
    axis = draw_flow(flow(1.0)).axes[0]
    set_log_ticks(axis.xaxis, values)
    low, high = axis.get_xlim()
    ticks = axis.xaxis.get_majorticklocs()
    assert all(low <= tick <= high for tick in ticks)
    assert all(low < value < high for value in values if value > 0)
    assert [axis.xaxis.get_major_formatter()(tick) for tick in ticks] == expected
