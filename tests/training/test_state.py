"""The loop: steps that can be repeated, an average with statistics of its own, and a score of every pixel."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from unetkit.data.dataset import Case
from unetkit.inference.prepare import prepare
from unetkit.metrics.pixels import dice, pixel_error
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet
from unetkit.training.augment.augment import Augmentation
from unetkit.training.plan.files import upgrade_plan_1
from unetkit.training.plan.plan import Plan
from unetkit.training.sampler import Sampler
from unetkit.training.state import Part, Score, Training, adamw_update, choose_forward, predict_classes, validate

PATCH = {2: (16, 16), 3: (8, 8, 8)}


def cases(ndim, n=3, seed=0):
    made = []
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        labels = np.zeros((30, 34) if ndim == 2 else (10, 18, 20), np.uint8)
        labels[..., 5:14, 4:15] = 1
        image = (labels * 2.0 - 0.5 + rng.normal(0, 0.3, labels.shape)).astype(np.float32)[None]
        made.append(Case(f"c{i}", image, labels, None, None, Path(f"c{i}")))
    return made


def training(ndim=2, *, augmentation=None, net=None, **given):
    net = net or {"widths": (4, 8)}
    architecture = Architecture(ndim=ndim, **net)
    settings = {"steps": 20, "batch": 2, "learning_rate": 1e-2, "device": "cpu"} | given
    flat = {"architecture": architecture.to_dict(), "patch": PATCH[ndim], **settings}
    plan = Plan(**upgrade_plan_1(flat))
    sampler = Sampler(
        cases(ndim),
        plan.patches.size,
        plan.patches.size,
        plan.patches.batch,
        augmentation or Augmentation.none(),
        plan.budget.seed,
    )
    return Training(plan, sampler)


def take_steps(run, n):
    for _ in range(n):
        run.take_step()


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


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
    assert math.isnan(run.take_step())
    assert all(torch.equal(a, b) for a, b in zip(before, run.net.parameters(), strict=True))
    run.sampler.draw = good
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


# --- validation ---


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_score_counts_all_pixels_of_all_images(ndim):
    torch.manual_seed(0)
    net = UNet(Architecture(ndim=ndim, widths=(4, 8), out_channels=3)).eval()
    some = cases(ndim)
    some[0].labels[..., 20:, :] = 255
    some[1].labels[..., 2, 2] = 2
    score = validate(net, some, device="cpu")
    matrix = np.zeros((3, 3), np.int64)
    for case in some:
        with torch.no_grad():
            predicted = net(torch.from_numpy(case.image)[None])[0].argmax(0).numpy()
        known = case.labels != 255
        np.add.at(matrix, (case.labels[known], predicted[known]), 1)
    assert score.dice == pytest.approx(tuple(dice(matrix)[1:]))
    assert score.pixel_error == pytest.approx(pixel_error(matrix))
    assert score.mean_dice == pytest.approx(dice(matrix)[1:].mean())


def test_classes_that_do_not_occur_have_no_score():
    score = Score((0.5, float("nan"), 0.7), 0.1, 1.0)
    assert score.mean_dice == pytest.approx(0.6)
    assert Score((float("nan"),), 0.1, 1.0).mean_dice == 0.0


def test_predicted_classes_are_of_the_size_of_the_image():
    net = UNet(Architecture(widths=(4, 8), padding="valid")).eval()
    classes = predict_classes(net, np.zeros((1, 31, 47), np.float32))
    assert (classes.shape, classes.dtype) == ((31, 47), np.uint8)


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


@pytest.mark.parametrize("planes", [1, 3])
def test_volumes_are_scored_plane_by_plane(planes):
    """A 2D net of adjacent planes: every voxel of every volume counts, at whatever depth it lies."""
    torch.manual_seed(0)
    net, volumes = UNet(Architecture(in_channels=planes, widths=(4, 8))), cases(3)
    predictions = [predict_classes(prepare(net), case.image, planes=planes) for case in volumes]
    wrong = [predicted != case.labels for predicted, case in zip(predictions, volumes, strict=True)]
    overlap = sum(int((predicted & case.labels).sum()) for predicted, case in zip(predictions, volumes, strict=True))
    marked = sum(
        int(predicted.sum()) + int(case.labels.sum()) for predicted, case in zip(predictions, volumes, strict=True)
    )
    score = validate(net, volumes, device="cpu", planes=planes)
    assert score.pixel_error == pytest.approx(np.mean(wrong))
    assert score.dice == (pytest.approx(2 * overlap / marked),)
    assert 0 < score.pixel_error < 1


# --- parts ---


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
    for part, found in run.parts().items():
        names = [name for name in before if name.startswith(f"{part}.")]
        old, new, gradients = (
            torch.cat([tensors[name].flatten() for name in names])
            for tensors in (before, {n: p.detach().double() for n, p in run.net.named_parameters()}, unclipped)
        )
        assert found.gradient == pytest.approx(float(gradients.norm()), rel=1e-4)
        assert found.weight == pytest.approx(float(new.norm()), rel=1e-5)
        assert found.update == pytest.approx(float((old - new).norm()), rel=1e-3)
        assert found.ratio == found.update / found.weight


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
    parts = run.parts()
    assert list(parts) == expected.split()
    total = sum(float(p.detach().double().square().sum()) for p in run.net.parameters())
    assert sum(part.weight**2 for part in parts.values()) == pytest.approx(total, rel=1e-5)
    assert sum(part.gradient**2 for part in parts.values()) == pytest.approx(run.gradient_norm**2, rel=1e-4)


def test_looking_at_parts_changes_nothing_and_needs_a_step():
    run, other = training(), training()
    assert run.parts() == {}
    for _ in range(3):
        run.take_step()
        other.take_step()
        assert run.parts().keys() == other.parts().keys()
        run.parts()
    assert equal(run.tensors(), other.tensors())
    resumed = training()
    resumed.restore({name: tensor.clone() for name, tensor in run.tensors().items()}, run.numbers())
    assert resumed.parts() == {}
    resumed.take_step()
    other.take_step()
    assert resumed.parts() == other.parts()


def test_a_first_batch_that_is_bad_leaves_no_update():
    run = training(net={"widths": (4, 8), "norm": "none"})
    good = run.sampler.draw
    run.sampler.draw = lambda step: (batch := good(step)).images.fill_(math.nan) is not None and batch
    run.take_step()
    assert run.parts() == {}
    assert not run.optimiser.state


def test_weights_of_zero_have_no_ratio():
    assert math.isnan(Part(1.0, 0.0, 0.5).ratio)
    assert Part(1.0, 4.0, 0.5).ratio == 0.125
