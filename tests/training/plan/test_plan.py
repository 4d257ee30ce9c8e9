"""The plan: every value derived with its reason, open to override, and refused in one line where it is not possible."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from unetkit.data.dataset import Case, Dataset
from unetkit.labels.kind import LabelKind
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet
from unetkit.training.augment.augment import Augmentation, window_size
from unetkit.training.plan.device import check_device, multiplies_bfloat16, usual_precision
from unetkit.training.plan.files import read_plan
from unetkit.training.plan.net import fitting_patch
from unetkit.training.plan.plan import GROUPS, Plan, augmentation_of
from unetkit.training.plan.reuse import check_resumable
from unetkit.training.plan.rules import make_plan
from unetkit.training.plan.settings import OLD_NAMES, first_error, merge_settings


def dataset(size=(64, 64), *, channels=1, n=4, values=(0, 255), spacing=None, is_oriented=False):
    labels = np.zeros(size, np.uint8)
    image = np.zeros((channels, *size), np.float32)
    cases = [Case(f"c{i}", image, labels, None, None, Path(f"c{i}.png")) for i in range(n)]
    kind = LabelKind("binary" if len(values) == 2 else "classes", values)
    ndim = len(size)
    unit, spacing = ("px", (1.0,) * ndim) if spacing is None else ("nm", spacing)
    return Dataset(cases, kind, channels, ndim, spacing, unit, np.array([1] * len(values)), [], is_oriented)


def plan(size=(64, 64), *, data=None, seed=0, **given):
    """A plan from settings by their flat names."""
    names = {"steps", "time_s"} & set(given)
    budget = {name: given.pop(name) for name in names} if names else {"steps": 10}
    settings = merge_settings((OLD_NAMES.get(name, name), value) for name, value in given.items())
    return make_plan(data or dataset(size), **budget, seed=seed, settings=settings)


def refused(message, **given):
    with pytest.raises(ValueError, match=message) as caught:
        plan(**given)
    assert "\n" not in str(caught.value)


# --- derived ---


def test_the_net_fits_the_data():
    made = plan((20, 64, 64), data=dataset((20, 64, 64), channels=3, values=(0, 1, 2, 5)), widths=(4, 8, 16))
    architecture = Architecture(**made.net.architecture)
    assert (architecture.ndim, architecture.in_channels, architecture.out_channels) == (3, 3, 4)
    assert made.patches.size == (20, 64, 64)
    assert made.data.n_images == 4


@pytest.mark.parametrize(("size", "patch"), [((512, 700), (128, 128)), ((100, 70), (96, 64)), ((5, 9), (16, 16))])
def test_patches_come_from_the_typical_image(size, patch):
    made = plan(size)
    assert made.patches.size == patch
    assert UNet(Architecture(**made.net.architecture)).geometry.fits(made.patches.size)


def test_minutes_on_a_processor_have_smaller_patches_and_hours_more_channels():
    big = dataset((512, 512), n=1)
    assert plan(data=big, time_s=600.0, device="cpu").patches.size == (128, 128)
    assert plan(data=big, time_s=4 * 3600.0, device="cpu").patches.size == (256, 256)
    several = dataset((512, 512), n=1, values=(0, 1, 2))
    assert plan(data=several, time_s=600.0, device="cpu").patches.size == (256, 256)
    assert plan(data=several, time_s=60.0, device="cpu").patches.size == (128, 128)
    valid = plan(data=big, time_s=600.0, device="cpu", net="ronneberger2015")
    assert UNet(Architecture(**valid.net.architecture)).geometry.output_size(valid.patches.size) == (164, 164)
    assert plan(data=big, time_s=600.0, device="cpu").net.architecture["widths"] == (16, 32, 64, 128, 256)
    assert plan(data=big, time_s=4 * 3600.0).net.architecture["widths"] == (32, 64, 128, 256, 512)


def test_a_papers_net_in_its_own_terms():
    made = plan((64, 64), net="ronneberger2015", divide_width=16)
    assert made.net.architecture["widths"] == (4, 8, 16, 32, 64)
    assert made.net.architecture["padding"] == "valid"
    assert made.optim.learning_rate == 3e-4
    output_size = UNet(Architecture(**made.net.architecture)).geometry.output_size(made.patches.size)
    assert output_size == (36, 36)  # half the image
    assert "divided by 16" in made.reasons["net.widths"]
    assert plan(net="ronneberger2015").reasons["net.widths"] == "ronneberger2015"


def test_what_is_given_is_kept_and_said():
    made = plan(patch=(40, 33), batch=2, validation=0.0, learning_rate=1e-3, seed=7, border_weight=True, widths=(4, 8))
    assert made.patches.size == (40, 32)
    assert (made.patches.batch, made.data.validation_fraction) == (2, 0.0)
    assert (made.optim.learning_rate, made.budget.seed) == (1e-3, 7)
    assert made.patches.border_weight
    given = {name for name, reason in made.reasons.items() if reason == "set"}
    assert given == {
        "patches.size", "patches.batch", "data.validation_fraction", "optim.learning_rate", "net.widths"
    }  # fmt: skip
    assert plan((8, 40, 40), patch=20, widths=(4, 8)).patches.size == (20, 20, 20)


def test_every_row_has_a_value_and_a_reason():
    rows = {name: (value, reason) for name, value, reason in plan(time_s=600.0).describe()}
    why = "the typical image is 64 x 64; at most 128, fitting the net: one thing on its background needs steps more"
    assert rows["patches.size"] == ("64 x 64", f"{why} than context")
    assert rows["optim.learning_rate"] == ("0.002", "AdamW, warm-up and cosine")
    assert rows["net.widths"][0] == "16 x 32 x 64 x 128 x 256"
    assert set(rows) == {
        "device.name", "device.precision", "net.widths", "patches.size", "patches.batch", "patches.augmentation",
        "net.deep_supervision", "data.validation_fraction", "optim.learning_rate", "optim.final_lr_fraction",
        "optim.ema_share", "optim.weight_decay", "optim.loss",
    }  # fmt: skip


@pytest.mark.parametrize("given", [{}, {"net": "ronneberger2015", "divide_width": 16}, {"time_s": 1.5}])
def test_a_plan_survives_json(given):
    made = plan(**given)
    again = read_plan(made.model_dump_json(indent=2))
    assert Architecture(**again.net.architecture) == Architecture(**made.net.architecture)
    assert again.model_dump_json() == made.model_dump_json()


def test_a_budget_may_stand_in_the_settings():
    made = make_plan(dataset(), settings={"budget": {"time_s": 600.0, "seed": 4}})
    assert (made.budget.time_s, made.budget.steps, made.budget.seed) == (600.0, None, 4)
    assert made == make_plan(dataset(), time_s=600.0, seed=4)


# --- volumes ---


def test_small_isotropic_scans():
    made = plan(data=dataset((35, 50, 36), spacing=(1.0, 1.0, 1.0)), device="cpu")
    assert (made.patches.size, made.patches.batch, made.data.planes) == ((40, 56, 40), 2, None)
    assert made.net.architecture["widths"] == (16, 32, 64, 128)
    assert made.net.architecture["strides"] == ((2, 2, 2),) * 3
    rows = {name: (value, reason) for name, value, reason in made.describe()}
    assert rows["net.strides"] == (
        "2 x 2 x 2, 2 x 2 x 2, 2 x 2 x 2",
        "voxels of 1 x 1 x 1 nm: coarse axes later, and no map below 4 voxels",
    )
    whole = "the typical image is 35 x 50 x 36, which is seen whole: at most 131072 voxels"
    assert rows["patches.size"][1].startswith(whole)
    short = plan(data=dataset((35, 50, 36), spacing=(1.0, 1.0, 1.0)), device="cpu", time_s=60.0)
    assert (short.patches.size, short.patches.batch) == ((32, 32, 32), 2)
    assert rows["data.planes"][0] == "none"


@pytest.mark.parametrize(
    ("given", "patch", "batch"),
    [
        ({}, (10, 112, 112), 2),
        ({"time_s": 60.0}, (6, 72, 72), 2),
        ({"batch": 1}, (13, 136, 144), 1),
        ({"batch": 8}, (6, 72, 72), 8),
        ({"patch": (8, 64, 128)}, (8, 64, 128), 4),
        ({"patch": (8, 256, 256)}, (8, 256, 256), 2),
    ],
)
def test_thick_sections(given, patch, batch):
    sections = dataset((14, 1024, 1024), spacing=(50.0, 4.6, 4.6), n=1)
    made = plan(data=sections, device="cpu", planes=0, **given)
    assert made.net.architecture["strides"][:3] == ((1, 2, 2),) * 3
    assert made.net.architecture["kernels"][:3] == ((1, 3, 3),) * 3
    assert (made.patches.size, made.patches.batch) == (patch, batch)
    assert given.get("patch") or batch * np.prod(patch) <= 2**18 // (4 if "time_s" in given else 1)
    assert UNet(Architecture(**made.net.architecture)).geometry.fits(made.patches.size)


def test_widths_say_how_many_levels():
    made = plan(data=dataset((35, 50, 36)), widths=(4, 8))
    assert (made.patches.size, made.net.architecture["strides"]) == ((36, 50, 36), ((2, 2, 2),))
    tiny = plan(data=dataset((5, 6, 7)))
    assert (tiny.patches.size, tiny.net.architecture["widths"]) == ((5, 6, 7), (16, 32))
    assert tiny.net.architecture["strides"] == ((1, 1, 1),)


def test_a_gpu_has_room_for_more(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("unetkit.training.plan.device.multiplies_bfloat16", lambda device: True)
    made = plan(data=dataset((100, 300, 300)), device="cuda")
    assert np.prod(made.patches.size) * made.patches.batch <= 2**21
    assert np.prod(made.patches.size) * made.patches.batch > 2**20
    assert made.net.architecture["widths"] == (32, 64, 128, 256, 320)


@pytest.mark.parametrize("planes", [1, 3, 5])
@pytest.mark.parametrize("channels", [1, 2])
def test_planes_are_the_channels_of_a_2d_net(planes, channels):
    made = plan(data=dataset((14, 300, 200), channels=channels, spacing=(50.0, 4.6, 4.6)), planes=planes, device="cpu")
    architecture = Architecture(**made.net.architecture)
    assert (architecture.ndim, architecture.in_channels) == (2, planes * channels)
    assert (made.data.planes, made.patches.size, made.patches.batch, made.data.spacing) == (planes, (128, 128), 4, ())
    assert made.reasons["data.planes"] == "set"
    assert "net.strides" not in made.reasons
    assert read_plan(made.model_dump_json()).data.planes == planes
    again = dataset((14, 300, 200), channels=channels)
    check_resumable(made, again, settings={"data": {"planes": planes}})
    with pytest.raises(ValueError, match=rf"the run was planned with data.planes {planes}, not 7"):
        check_resumable(made, again, settings={"data": {"planes": 7}})


@pytest.mark.parametrize(("size", "batch"), [((36, 50, 35), 16), ((9, 80, 80), 8), ((9, 300, 300), 4)])
def test_small_planes_come_in_larger_batches(size, batch):
    assert plan(data=dataset(size), planes=3, device="cpu").patches.batch == batch
    assert plan(data=dataset(size), planes=3, device="cpu", batch=3).patches.batch == 3
    assert plan(data=dataset(size[1:]), device="cpu").patches.batch == 4


def test_sections_far_apart_are_a_2d_nets():
    far, near = (dataset((14, 1024, 1024), spacing=(z, 4.6, 4.6), n=1) for z in (50.0, 30.0))
    made = plan(data=far, device="cpu")
    assert (made.data.planes, made.net.architecture["ndim"], made.patches.size) == (1, 2, (128, 128))
    assert made.reasons["data.planes"].startswith("planes are 10.9 pixels apart, more than 8")
    assert plan(data=near, device="cpu").data.planes is None
    assert (plan(data=far, planes=3).data.planes, plan(data=far, planes=3).reasons["data.planes"]) == (3, "set")


def test_a_2d_paper_for_planes():
    made = plan(data=dataset((20, 64, 64)), net="ronneberger2015", divide_width=16, planes=3)
    assert (made.net.architecture["in_channels"], made.patches.size) == (
        3,
        plan(net="ronneberger2015", divide_width=16).patches.size,
    )


@pytest.mark.parametrize("size", [(64, 64), (20, 64, 64)])
def test_augmentation_follows_the_data(size):
    free, turned = dataset(size), dataset(size, is_oriented=True)
    assert (plan(data=free).patches.augmentation, plan(data=turned).patches.augmentation) == ("full", "oriented")
    assert plan(data=turned, augmentation="none").reasons["patches.augmentation"] == "set"
    assert augmentation_of(plan(data=free, augmentation="none")) == Augmentation.none()
    spacing = (1.0,) * 3 if len(size) == 3 else None
    assert augmentation_of(plan(data=free)) == Augmentation(spacing=spacing)
    settings = augmentation_of(read_plan(plan(data=turned).model_dump_json()))
    assert (settings.flip, settings.spacing, settings.scale) == (False, spacing, (0.8, 1.25))
    assert settings.rotation_deg == ((30.0,) * 3 if len(size) == 3 else 30.0)
    planes = augmentation_of(plan(data=dataset((20, 64, 64), is_oriented=True), planes=3))
    assert (planes.flip, planes.rotation_deg) == (False, 30.0)
    for made in (settings, planes):  # of a form that `augment` takes
        window_size((16,) * (len(size) if made is settings else 2), made)


def test_only_volumes_that_are_never_mirrored_keep_their_rate():
    def end(size, is_oriented=True, **given):
        made = plan(data=dataset(size, is_oriented=is_oriented), batch=2, widths=(4, 8), **given)
        return made.optim.final_lr_fraction, made.optim.ema_share, made.optim.weight_decay

    usual = (0.01, 0.05, 0.01)
    assert end((20, 64, 64)) == (1.0, 0.3, 0.5)
    assert end((20, 64, 64), weight_decay=0.1) == (1.0, 0.3, 0.1)
    assert end((20, 64, 64), is_oriented=False) == usual
    assert end((20, 64, 64), flip=(False, False, True)) == usual
    assert end((20, 64, 64), planes=3) == usual
    assert end((64, 64)) == usual
    assert end((64, 64), augmentation="none") == usual


@pytest.mark.parametrize(("n", "share"), [(4, 0.2), (120, 0.2), (192, 0.125), (1000, 0.05)])
def test_of_many_images_fewer_are_held_out(n, share):
    assert plan(data=dataset((8, 8), n=n)).data.validation_fraction == share


def test_plans_of_older_versions():
    old = read_plan('{"steps": 3, "architecture": {"ndim": 3}}')
    assert (old.data.planes, old.patches.augmentation, old.data.spacing) == (None, "full", ())
    assert augmentation_of(old) == Augmentation()


# --- refused ---


@pytest.mark.parametrize("given", [{"time_s": None, "steps": None}, {"time_s": 9.0, "steps": 9}])
def test_one_budget(given):
    refused(r"give one budget: a time, such as --time 10m, or a number of steps, such as --steps 2000", **given)


@pytest.mark.parametrize("given", [{"steps": 0}, {"steps": -3}, {"time_s": 0.0}, {"time_s": float("nan")}])
def test_budgets_above_zero(given):
    refused(rf"the budget is {next(iter(given.values()))}; expected more than 0", **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch": 0}, "patches.batch is 0: input should be greater than or equal to 1"),
        ({"seed": -1}, "budget.seed is -1: input should be greater than or equal to 0"),
        ({"validation": 1.0}, "data.validation_fraction is 1.0: input should be less than 1"),
        ({"learning_rate": 0.0}, "optim.learning_rate is 0.0: input should be greater than 0"),
        ({"final_rate": 1.5}, "optim.final_lr_fraction is 1.5: input should be less than or equal to 1"),
        ({"compile": "maybe"}, "device.compile is 'maybe': input should be 'auto', 'yes' or 'no'"),
        ({"patch": (64,)}, r"patches\.size is \(64,\); expected 2 sizes for a 2D net"),
        ({"patch": (0, 64)}, r"patches\.size is \(0, 64\); expected at least 1 pixel per axis"),
        ({"net": "segnet"}, "no net is named 'segnet'; expected unet, unet\\+\\+, ronneberger2015"),
        ({"bath": 3}, "bath is not a setting of a plan: did you mean patches.batch"),
        ({"architecture": {}}, "net.architecture is not a setting"),
        ({"device": "tpu"}, "device is 'tpu'; expected cpu, cuda, mps or xpu"),
        ({"divide_width": 2}, "width_divisor is 2, but unet has no paper's widths to divide; give widths"),
        ({"divide_width": 0, "net": "ronneberger2015"}, "width_divisor is 0; expected 1 or more"),
        ({"widths": (4, 8), "net": "ronneberger2015"}, r"widths are \(4, 8\), but ronneberger2015 has its paper's"),
        ({"planes": 2}, "planes is 2; expected an odd number, such as 1, 3 or 5: the middle one is predicted"),
        ({"planes": 3}, "planes is 3, but the images have 2 spatial axes: it is for volumes, leave it out"),
        ({"augmentation": "some"}, "patches.augmentation is 'some': input should be 'full', 'oriented' or 'none'"),
        ({"spacing": (1.0, 1.0)}, "data.spacing is not a setting"),
        ({"flip": (True, False)}, r"flip_axes is of oriented images, but patches\.augmentation is 'full'"),
        ({"widths": (4,)}, r"widths are \(4,\); expected at least two levels"),
        ({"batch": 1, "patch": 2, "widths": (4, 8)}, r"batch 1 of patches of \(2, 2\) pixels leaves one value per"),
    ],
)
def test_values_that_are_not_possible(given, message):
    refused(message, **given)


def test_a_2d_paper_for_volumes():
    with pytest.raises(ValueError, match=r"ronneberger2015 is a 2D net, but the images have 3 spatial axes: use unet"):
        plan((20, 64, 64), net="ronneberger2015")


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check_device("cpu")
    with pytest.raises(ValueError, match=r"device is 'cuda', but torch finds no CUDA device here"):
        check_device("cuda")


def test_devices_that_are_not_tried(monkeypatch):
    """They are taken by name, in float32 and as they are; no rule chooses them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert plan().device.name == "cpu"
    made = plan(device="mps").device
    assert (made.name, made.precision, made.compile) == ("mps", "float32", "no")
    for options in ({"precision": "bfloat16"}, {"compile": "yes"}):
        refused("on mps training is in float32 and not compiled", device="mps", **options)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    refused("device is 'mps', but torch finds no GPU of Apple", device="mps")
    monkeypatch.setattr("unetkit.training.plan.device.world_size", lambda: 2)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    refused("device is 'xpu', on which one process trains alone", device="xpu")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a plan: invalid JSON"),
        ('{"batch": 0}', "is not a plan: patches.batch is 0: input should be greater"),
        ('{"bats": 1}', "is not a plan: bats is not a setting of a plan: did you mean patches.batch?"),
    ],
)
def test_a_plan_that_cannot_be_read(text, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_plan(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("padding", "expected"), [("same", (32, 48)), ("valid", (44, 52))])
def test_patches_fit_the_net(padding, expected):
    architecture = Architecture(widths=(4, 8, 16), padding=padding)
    assert fitting_patch(architecture, (35, 51), 4) == expected
    assert UNet(architecture).geometry.fits(expected)


def test_a_default_plan_is_possible():
    assert Plan().model_dump()["device"]["compile"] == "auto"


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16"])
def test_precision_on_a_cpu_follows_what_it_multiplies(monkeypatch, name):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: True}, raising=False)
    made = plan((64, 64))
    assert (made.device.precision, made.reasons["device.precision"][:15]) == ("bfloat16", "multiplied here")
    assert plan((64, 64), precision="float32").device.precision == "float32"
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    made = plan((64, 64))
    assert (made.device.precision, made.reasons["device.precision"]) == (
        "float32",
        "this processor does not multiply bfloat16",
    )
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not multiplies_bfloat16("cpu")


@pytest.mark.parametrize("fast", [True, False])
def test_precision_on_a_gpu_follows_what_it_multiplies(monkeypatch, fast):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: fast)
    assert usual_precision("cuda") == ("bfloat16" if fast else "float32")


def test_blocks_skips_and_topologies_are_chosen_by_name():
    made = plan(net="unet++", block="residual", skip="attention", down="blur", widths=(4, 8))
    assert made.net.architecture["topology"] == "unet++"
    assert (made.net.architecture["block"], made.net.architecture["skip"]) == ("residual", "attention")
    assert (made.net.architecture["heads"], made.net.deep_supervision) == ("all", True)
    assert made.net.architecture["down"] == "blur"
    assert made.reasons["net.block"] == made.reasons["net.skip"] == made.reasons["net.down"] == "set"
    assert plan(net="zhou2018", divide_width=16).net.deep_supervision
    assert not plan().net.deep_supervision
    assert plan(supervision=True).net.deep_supervision
    assert plan(net="ronneberger2015", skip="reduce", divide_width=16).net.architecture["skip"] == "reduce"
    volume = plan((16, 32, 32), net="unet++", block="dense")
    assert (volume.net.architecture["ndim"], volume.net.architecture["block"]) == (3, "dense")


def test_a_run_is_not_resumed_with_another_block_or_divisor():
    saved = plan(net="ronneberger2015", divide_width=16)
    settings = {"name": "ronneberger2015", "width_divisor": 16, "block": "plain"}
    check_resumable(saved, dataset(), settings={"net": settings})
    with pytest.raises(ValueError, match=r"planned with net\.width_divisor 16, not 8: resume it with the same command"):
        check_resumable(saved, dataset(), settings={"net": {"width_divisor": 8}})
    with pytest.raises(ValueError, match=r"planned with net\.block plain, not dense"):
        check_resumable(saved, dataset(), settings={"net": {"block": "dense"}})


@pytest.mark.parametrize(
    "group, name, value, words",
    [
        ("optim", "learning_rate", float("inf"), "learning_rate is inf: input should be a finite number"),
        ("optim", "clip_norm", float("inf"), "clip_norm is inf: input should be a finite number"),
        ("budget", "time_s", float("nan"), "time_s is nan: input should be a finite number"),
        ("data", "fold", (9, 3), "expected a fold, from 0, and the number of folds, got 9 of 3"),
        ("data", "fold", (0, 0), "got 0 of 0"),
    ],
)
def test_values_beyond_reason_are_refused_in_words(group, name, value, words):
    with pytest.raises(ValidationError) as caught:
        GROUPS[group](**{name: value})
    assert words in first_error(caught.value)
