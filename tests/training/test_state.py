"""Steps that can be repeated, and an average with statistics of its own."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from trainings import equal, take_steps, training

from unetkit.training.augment.augment import Augmentation
from unetkit.training.state import choose_forward, time_steps

# --- steps ---


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_loss_falls(ndim, precision):
    run = training(ndim, steps=40, batch=4, precision=precision)
    losses = [run.take_step() for _ in range(40)]
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:10])
    assert run.step == 40
    assert run.losses == losses


def test_bfloat16_computes_the_convolutions_and_nothing_is_stored_in_it():
    run = training(precision="bfloat16")
    seen = []
    run.net.encoder.blocks[0].register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    run.take_step()
    assert seen == [torch.bfloat16]
    assert {t.dtype for t in run.tensors().values()} <= {torch.float32, torch.int64}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"net": {"widths": (4, 8), "dropout": 0.5, "norm": "none"}},
        {"net": {"widths": (4, 6, 8)}, "supervision": True, "precision": "bfloat16"},
        {"net": {"widths": (4, 6, 8), "topology": "unet++", "heads": "all"}, "supervision": True},
    ],
    ids=["plain", "dropout", "deep", "nested"],
)
def test_steps_are_the_same_again_from_any_saved_state(options):
    whole = training(**options, augmentation=Augmentation())
    for _ in range(6):
        whole.take_step()
    half = training(**options, augmentation=Augmentation())
    for _ in range(3):
        half.take_step()
    tensors = {name: tensor.clone() for name, tensor in half.tensors().items()}
    numbers = half.numbers()
    torch.manual_seed(123)
    resumed = training(**options, augmentation=Augmentation())
    resumed.restore(tensors, numbers)
    for _ in range(3):
        resumed.take_step()
    assert equal(whole.tensors(), resumed.tensors())
    assert whole.losses == resumed.losses
    other = training(**options, augmentation=Augmentation(), seed=1)
    other.take_step()
    assert other.losses[0] != whole.losses[0]


def test_the_loss_of_every_step_is_kept_for_the_report():
    run = training()
    run.losses = [float(i) for i in range(100)]
    loss = run.take_step()
    assert run.numbers()["losses"] == [*map(float, range(100)), loss]


def test_the_rate_warms_up_and_falls():
    run = training(steps=1000, warmup=0.1, learning_rate=0.5, final_rate=0.2)
    rates = []
    for run.step in range(1001):
        rates.append(run.learning_rate())
    assert rates[0] == pytest.approx(0.005)
    assert np.argmax(rates) in (99, 100)
    assert max(rates) == pytest.approx(0.5, rel=0.01)
    assert rates[550] == pytest.approx(0.5 * (0.2 + 0.8 * 0.5))
    assert rates[1000] == pytest.approx(0.1)
    assert (np.diff(rates[:100]) > 0).all()
    assert (np.diff(rates[100:]) < 0).all()


def test_the_fraction_of_time_or_steps():
    run = training(steps=40)
    run.step = 10
    assert run.fraction() == 0.25
    run = training(steps=None, time_s=8.0)
    run.elapsed_s = 2.0
    assert run.fraction() == 0.25
    run.elapsed_s = 80.0
    assert run.fraction() == 1.0


def test_norms_and_biases_are_not_decayed():
    groups = training(weight_decay=0.5).optimiser.param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    assert all(p.ndim > 1 for p in groups[0]["params"])
    assert all(p.ndim == 1 for p in groups[1]["params"])


# --- divergence ---


def test_a_diverged_loss_names_the_step_and_the_rate():
    run = training(learning_rate=3e-3, steps=100)
    for _ in range(5):
        run.take_step()
    nn.init.constant_(run.net.heads[0].bias, math.inf)
    with pytest.raises(RuntimeError, match=r"not finite 20 steps in a row up to step 24; .* smaller .* than 0\.003"):
        take_steps(run, 30)


def test_an_absurd_rate_diverges():
    run = training(learning_rate=1e30, steps=1000)
    with pytest.raises(RuntimeError, match=r"training diverged: .*than 1e\+30"):
        take_steps(run, 60)


def test_a_single_bad_batch_changes_no_weights():
    run = training(net={"widths": (4, 8), "norm": "none"})
    run.take_step()
    before = [p.clone() for p in run.net.parameters()]
    good = run.sampler.draw
    run.sampler.draw = lambda step: (batch := good(step)).images.fill_(math.nan) is not None and batch
    run.drawn.close()  # those that were drawn ahead
    assert math.isnan(run.take_step())
    assert all(torch.equal(a, b) for a, b in zip(before, run.net.parameters(), strict=True))
    run.sampler.draw = good
    run.drawn.close()
    assert math.isfinite(run.take_step())


# --- the average ---


def test_the_average_is_a_mean_whose_memory_grows():
    """Second road: the same recursion in float64 on one weight."""
    run = training(average=0.2)
    expected = run.averaged.heads[0].bias.double().clone()
    for step in range(1, 9):
        run.take_step()
        expected += (run.net.heads[0].bias.detach().double() - expected) / (1 + 0.2 * step)
    torch.testing.assert_close(run.averaged.heads[0].bias.double(), expected, atol=1e-6, rtol=1e-5)
    assert not any(p.requires_grad for p in run.averaged.parameters())


@pytest.mark.parametrize("ndim", [2, 3])
def test_statistics_of_the_average_are_those_of_a_plain_pass(ndim):
    run = training(ndim)
    for _ in range(5):
        run.take_step()
    run.update_batch_norm()
    inputs: dict[str, list[torch.Tensor]] = {}
    for name, module in run.averaged.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
            module.register_forward_hook(lambda m, x, y, name=name: inputs.setdefault(name, []).append(x[0]))
    kept = {name: tensor.clone() for name, tensor in run.averaged.state_dict().items()}
    with torch.no_grad():
        for step in range(run.step, run.step + 20):
            run.averaged.body(run.sampler.draw(step).images)
    assert len(inputs) == 6
    for name, maps in inputs.items():
        flat = [x.transpose(0, 1).flatten(1) for x in maps]
        mean = torch.stack([x.mean(1) for x in flat]).mean(0)
        variance = torch.stack([x.var(1) for x in flat]).mean(0)
        torch.testing.assert_close(kept[f"{name}.running_mean"], mean, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(kept[f"{name}.running_var"], variance, atol=1e-4, rtol=1e-3)


def test_reestimation_changes_no_weight_and_needs_a_norm():
    run = training(net={"widths": (4, 8), "norm": "group"})
    before = {name: tensor.clone() for name, tensor in run.averaged.state_dict().items()}
    run.update_batch_norm()
    assert equal(before, run.averaged.state_dict())
    run = training()
    before = [p.clone() for p in run.averaged.parameters()]
    run.update_batch_norm()
    assert all(torch.equal(a, b) for a, b in zip(before, run.averaged.parameters(), strict=True))
    assert not run.averaged.training


# --- compiling ---


def test_training_by_steps_is_never_compiled_by_the_clock():
    run = training()
    assert choose_forward(run) == "not compiled"
    assert run.step == 0


@pytest.mark.parametrize("given", [{"compile": "yes"}, {"steps": None, "time_s": 3600.0}])
def test_a_compiler_that_is_missing_is_no_error(monkeypatch, given):
    def missing(*args, **options):
        raise OSError("no C++ compiler\nlong story")

    monkeypatch.setattr(torch, "compile", missing)
    run = training(**given)
    eager = run.forward
    assert choose_forward(run) == "not compiled: OSError: no C++ compiler"
    assert run.forward == eager
    run.take_step()


@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_what_is_faster_is_chosen(monkeypatch, seconds):
    """A "compiler" that slows steps down is not used; one that does not might be."""
    import time

    def compiled(body, dynamic):
        return lambda x: (time.sleep(seconds), body(x))[1]

    monkeypatch.setattr(torch, "compile", compiled)
    run = training(steps=None, time_s=3600.0)
    eager = run.forward
    verdict = choose_forward(run)
    assert "ms per step compiled" in verdict
    assert (run.forward == eager) == verdict.startswith("not compiled")
    if seconds:
        assert verdict.startswith("not compiled: ")
    run = training(compile="yes")
    assert choose_forward(run) == "compiled, as asked"
    assert run.step == 1


@pytest.mark.parametrize(("seconds", "steps", "expected"), [((5, 1, 2, 3), 4, 2), ((60, 70), 1, 60), ((6, 5, 9), 2, 5)])
def test_huge_steps_are_timed_by_few(monkeypatch, seconds, steps, expected):
    """A plan of 1,000 patches a step is estimated in one of them, not in four."""
    clock, taken = [0.0], []

    class Steps:
        def take_step(self):
            clock[0] += seconds[len(taken)]
            taken.append(clock[0])

    monkeypatch.setattr("unetkit.training.state.time.perf_counter", lambda: clock[0])
    assert time_steps(Steps()) == expected
    assert len(taken) == steps
