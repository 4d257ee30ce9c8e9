"""Plans as files: format 1 is upgraded, a newer one is refused, and every error names the file."""

import json

import pytest

from unetkit.training.plan.files import read_plan, read_plan_file, upgrade_plan_1
from unetkit.training.plan.plan import Plan

# Written by version 0.1: flat, without a format.
FORMAT_1 = {
    "images": "images", "masks": "masks", "labels": "instances", "time_s": None, "steps": 40, "seed": 3, "net": "unet",
    "divide_width": None, "weights": None, "start": "runs/first", "architecture": {"ndim": 2, "widths": [4, 8]},
    "patch": [32, 48], "batch": 2, "planes": None, "augmentation": "oriented", "flip": [True, False], "spacing": [],
    "resample": False, "validation": 0.25, "fold": [1, 5], "learning_rate": 0.01, "final_rate": 1.0,
    "weight_decay": 0.5, "warmup": 0.1, "clip_norm": 2.0, "average": 0.3, "border_weight": True, "supervision": True,
    "loss": "focal", "device": "cpu", "precision": "bfloat16", "compile": "no", "n_images": 6,
    "reasons": {"batch": "given", "final_rate": "so it stays", "widths": "more steps"},
}  # fmt: skip


def test_a_plan_of_format_1_keeps_every_value():
    plan = read_plan(json.dumps(FORMAT_1))
    assert plan.format == 2
    assert (plan.budget.steps, plan.budget.seed, plan.budget.threads) == (40, 3, None)
    assert (plan.data.labels, plan.data.validation_fraction, plan.data.fold) == ("instances", 0.25, (1, 5))
    assert (plan.data.resample, plan.data.n_images) == (False, 6)
    assert (plan.net.init_from, plan.net.deep_supervision) == ("runs/first", True)
    assert (plan.patches.size, plan.patches.flip_axes, plan.patches.border_weight) == ((32, 48), (True, False), True)
    assert (plan.optim.final_lr_fraction, plan.optim.warmup_fraction, plan.optim.ema_share) == (1.0, 0.1, 0.3)
    assert (plan.optim.loss, plan.device.precision, plan.device.compile) == ("focal", "bfloat16", "no")
    assert plan.reasons == {
        "patches.batch": "given", "optim.final_lr_fraction": "so it stays", "net.widths": "more steps"
    }  # fmt: skip
    rows = {path: value for path, value, _ in plan.describe()}
    assert rows["net.widths"] == "4 x 8"


def test_every_name_of_format_1_was_tried():
    values = upgrade_plan_1(FORMAT_1)
    count = sum(len(group) for name, group in values.items() if name not in ("format", "reasons"))
    assert count == len(FORMAT_1) - 1


def test_a_plan_written_by_hand_needs_no_format():
    assert read_plan('{"budget": {"steps": 3}}') == Plan(budget={"steps": 3})


@pytest.mark.parametrize("version", [3, 10])
def test_a_newer_plan_is_refused_with_both_versions(version):
    with pytest.raises(ValueError, match=rf"format {version}, newer than the 2 .*pip install --upgrade unetkit"):
        read_plan(json.dumps({"format": version, "colour": "red"}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "invalid JSON"),
        ("[]", "expected an object, got list"),
        ('{"format": 2, "patches": {"batch": 0}}', "batch"),
    ],
)
def test_errors_begin_with_the_path(tmp_path, text, message):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"plan\.json: is not a plan: .*{message}") as caught:
        read_plan_file(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"plan\.json: there is no such file"):
        read_plan_file(tmp_path / "plan.json")


def test_plans_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Plan().budget.seed = 3
