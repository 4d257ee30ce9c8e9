"""The plan: every value derived with its reason, open to override, and refused in one line where it is not possible."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from unetkit.learn.data import Case, Dataset
from unetkit.learn.plan import Plan, check_device, fitting_patch, make_plan, multiplies_bfloat16, read_plan
from unetkit.masks.labels import LabelKind
from unetkit.nets.unet import Architecture, UNet


def dataset(size=(64, 64), *, channels=1, n=4, values=(0, 255)):
    labels = np.zeros(size, np.uint8)
    image = np.zeros((channels, *size), np.float32)
    cases = [Case(f"c{i}", image, labels, None, None, Path(f"c{i}.png")) for i in range(n)]
    kind = LabelKind("binary" if len(values) == 2 else "classes", values)
    ndim = len(size)
    return Dataset(cases, kind, channels, ndim, (1.0,) * ndim, "px", np.array([1] * len(values)), [])


def plan(size=(64, 64), *, divide_width=None, data=None, **given):
    budget = {} if {"steps", "time_s"} & set(given) else {"steps": 10}
    return make_plan(data or dataset(size), given={**budget, **given}, divide_width=divide_width)


def refused(message, **given):
    with pytest.raises(ValueError, match=message) as caught:
        plan(**given)
    assert "\n" not in str(caught.value)


# --- derived ---


def test_the_net_fits_the_data():
    made = plan((20, 64, 64), data=dataset((20, 64, 64), channels=3, values=(0, 1, 2, 5)), widths=(4, 8, 16))
    architecture = Architecture(**made.architecture)
    assert (architecture.ndim, architecture.in_channels, architecture.out_channels) == (3, 3, 4)
    assert made.patch == (20, 64, 64)
    assert made.n_images == 4


@pytest.mark.parametrize(("size", "patch"), [((512, 700), (256, 256)), ((100, 70), (96, 64)), ((5, 9), (16, 16))])
def test_patches_come_from_the_typical_image(size, patch):
    made = plan(size)
    assert made.patch == patch
    assert UNet(Architecture(**made.architecture)).geometry.fits(made.patch)


def test_short_budgets_have_smaller_patches_and_hours_more_channels():
    big = dataset((512, 512), n=1)
    assert plan(data=big, time_s=60.0).patch == (128, 128)
    assert plan(data=big, time_s=600.0).patch == (256, 256)
    assert plan(data=big, time_s=600.0, device="cpu").architecture["widths"] == (16, 32, 64, 128, 256)
    assert plan(data=big, time_s=4 * 3600.0).architecture["widths"] == (32, 64, 128, 256, 512)


def test_a_papers_net_in_its_own_terms():
    made = plan((64, 64), net="ronneberger2015", divide_width=16)
    assert made.architecture["widths"] == (4, 8, 16, 32, 64)
    assert made.architecture["padding"] == "valid"
    assert made.learning_rate == 3e-4
    assert UNet(Architecture(**made.architecture)).geometry.output_size(made.patch) == (36, 36)  # half the image
    assert "divided by 16" in made.reasons["widths"]
    assert plan(net="ronneberger2015").reasons["widths"] == "ronneberger2015"


def test_what_is_given_is_kept_and_said():
    made = plan(patch=(40, 33), batch=2, validation=0.0, learning_rate=1e-3, seed=7, border_weight=True, widths=(4, 8))
    assert made.patch == (40, 32)
    assert (made.batch, made.validation, made.learning_rate, made.seed) == (2, 0.0, 1e-3, 7)
    assert made.border_weight
    given = {name for name, reason in made.reasons.items() if reason == "given"}
    assert given == {"patch", "batch", "validation", "learning_rate", "widths"}
    assert plan(batch=None, net=None, widths=None).batch == 4
    assert plan((8, 40, 40), patch=20, widths=(4, 8)).patch == (20, 20, 20)


def test_every_row_has_a_value_and_a_reason():
    rows = {name: (value, reason) for name, value, reason in plan(time_s=600.0).describe()}
    assert rows["patch"] == ("64 x 64", "the typical image is 64 x 64; at most 256, fitting the net")
    assert rows["learning_rate"] == ("0.002", "AdamW, warm-up and cosine")
    assert rows["widths"][0] == "16 x 32 x 64 x 128 x 256"
    assert set(rows) == {"device", "precision", "widths", "patch", "batch", "validation", "learning_rate"}


@pytest.mark.parametrize("given", [{}, {"net": "ronneberger2015", "divide_width": 16}, {"time_s": 1.5}])
def test_a_plan_survives_json(given):
    made = plan(**given)
    again = read_plan(made.model_dump_json(indent=2))
    assert Architecture(**again.architecture) == Architecture(**made.architecture)
    assert again.model_dump_json() == made.model_dump_json()


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
        ({"batch": 0}, "batch is 0: input should be greater than or equal to 1"),
        ({"seed": -1}, "seed is -1: input should be greater than or equal to 0"),
        ({"validation": 1.0}, "validation is 1.0: input should be less than 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0: input should be greater than 0"),
        ({"compile": "maybe"}, "compile is 'maybe': input should be 'auto', 'yes' or 'no'"),
        ({"patch": (64,)}, r"patch is \(64,\); expected 2 sizes for a 2D net"),
        ({"patch": (0, 64)}, r"patch is \(0, 64\); expected at least 1 pixel per axis"),
        ({"net": "segnet"}, "no net is named 'segnet'; expected unet, ronneberger2015"),
        ({"depth": 4, "bath": 3}, "no value of a plan is named bath, depth; expected average, batch"),
        ({"architecture": {}}, "no value of a plan is named architecture"),
        ({"device": "tpu"}, "device is 'tpu'; expected cpu or cuda"),
        ({"divide_width": 2}, "divide_width is 2, but unet has no paper's widths to divide; give widths"),
        ({"divide_width": 0, "net": "ronneberger2015"}, "divide_width is 0; expected 1 or more"),
        ({"widths": (4, 8), "net": "ronneberger2015"}, r"widths are \(4, 8\), but ronneberger2015 has its paper's"),
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no plan: invalid JSON"),
        ('{"batch": 0}', "is no plan: batch is 0: input should be greater"),
        ('{"bats": 1}', "is no plan: bats is 1: extra inputs are not permitted"),
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
    assert Plan(steps=1).model_dump()["compile"] == "auto"


def test_precision_follows_the_processor(monkeypatch):
    for capabilities, precision in (
        ({}, "float32"),
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found, raising=False)
        assert plan((64, 64)).precision == precision
        assert plan((64, 64), precision="float32").precision == "float32"
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not multiplies_bfloat16("cpu")
