"""Gradients and updates of each part of a net, against weights before and after a step."""

import math

import pytest
import torch
from torch import nn
from trainings import equal, take_steps, training

from unetkit.training.diagnostics import LayerUpdate, adamw_update, update_ratios


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.01}, {"weight_decay": 0.5, "learning_rate": 0.1}], ids=str)
@pytest.mark.parametrize("ndim", [2, 3])
def test_an_update_is_what_the_step_took_from_the_weights(ndim, options):
    """Second road: weights in float64 before and after, and gradients before clipping, summed per part."""
    run = training(ndim, **options)
    take_steps(run, 4)
    clip = nn.utils.clip_grad_norm_
    unclipped = {}

    def keep(parameters, norm):
        unclipped.update({name: p.grad.double().clone() for name, p in run.net.named_parameters()})
        return clip(list(parameters), norm)

    before = {name: p.detach().double().clone() for name, p in run.net.named_parameters()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.utils, "clip_grad_norm_", keep)
        run.take_step()
    assert (run.gradient_norm > run.plan.optim.clip_norm) == ("clip_norm" in options)
    group = {id(p): group for group in run.optimiser.param_groups for p in group["params"]}
    for name, p in run.net.named_parameters():
        update = adamw_update(p.detach(), group[id(p)], run.optimiser.state[p]).double()
        expected = before[name] - p.detach().double()
        assert (update - expected).norm() <= 1e-5 * p.detach().double().norm() + 1e-9
        assert (update - expected).norm() <= 1e-2 * expected.norm()
    for part, update_of_part in update_ratios(run).items():
        names = [name for name in before if name.startswith(f"{part}.")]
        old, new, gradients = (
            torch.cat([tensors[name].flatten() for name in names])
            for tensors in (before, {n: p.detach().double() for n, p in run.net.named_parameters()}, unclipped)
        )
        assert update_of_part.gradient == pytest.approx(float(gradients.norm()), rel=1e-4)
        assert update_of_part.weight == pytest.approx(float(new.norm()), rel=1e-5)
        assert update_of_part.update == pytest.approx(float((old - new).norm()), rel=1e-3)
        assert update_of_part.ratio == update_of_part.update / update_of_part.weight


@pytest.mark.parametrize(
    "net, expected",
    [
        ({"widths": (4, 8)}, "encoder.blocks.0 encoder.blocks.1 ups.0 decoder.0 heads.0"),
        (
            {"widths": (4, 8, 8), "topology": "unet++", "heads": "all", "stem": 4},
            "encoder.stem encoder.blocks.0 encoder.blocks.1 encoder.blocks.2 ups.0_1 ups.1_1 ups.0_2 "
            "nodes.0_1 nodes.1_1 nodes.0_2 heads.0 heads.1",
        ),
    ],
    ids=["unet", "nested"],
)
def test_parts_are_the_modules_of_a_net_and_make_up_all_of_it(net, expected):
    run = training(net=net)
    run.take_step()
    parts = update_ratios(run)
    assert list(parts) == expected.split()
    total = sum(float(p.detach().double().square().sum()) for p in run.net.parameters())
    assert sum(part.weight**2 for part in parts.values()) == pytest.approx(total, rel=1e-5)
    assert sum(part.gradient**2 for part in parts.values()) == pytest.approx(run.gradient_norm**2, rel=1e-4)


def test_looking_at_parts_changes_nothing_and_needs_a_step():
    run, other = training(), training()
    assert update_ratios(run) == {}
    for _ in range(3):
        run.take_step()
        other.take_step()
        assert update_ratios(run).keys() == update_ratios(other).keys()
        update_ratios(run)
    assert equal(run.tensors(), other.tensors())
    resumed = training()
    resumed.restore({name: tensor.clone() for name, tensor in run.tensors().items()}, run.numbers())
    assert update_ratios(resumed) == {}
    resumed.take_step()
    other.take_step()
    assert update_ratios(resumed) == update_ratios(other)


def test_a_first_batch_that_is_bad_leaves_no_update():
    run = training(net={"widths": (4, 8), "norm": "none"})
    good = run.sampler.draw
    run.sampler.draw = lambda step: (batch := good(step)).images.fill_(math.nan) is not None and batch
    run.drawn.close()  # those that were drawn ahead
    run.take_step()
    assert update_ratios(run) == {}
    assert not run.optimiser.state


def test_weights_of_zero_have_no_ratio():
    assert math.isnan(LayerUpdate(1.0, 0.0, 0.5).ratio)
    assert LayerUpdate(1.0, 4.0, 0.5).ratio == 0.125
