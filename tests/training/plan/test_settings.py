"""Settings have one nested shape; a misspelled one names the nearest real one, wherever it stands."""

import re
from typing import get_type_hints

import pytest

from unetkit.training.plan.files import read_plan
from unetkit.training.plan.plan import GROUPS
from unetkit.training.plan.settings import (
    DERIVED,
    OLD_NAMES,
    TYPES,
    PlanSettings,
    check_settings,
    flat_settings,
    list_settings,
    merge_settings,
    old_name_hints,
    parse_setting,
)


@pytest.mark.parametrize(
    ("group", "name", "nearest"),
    [
        ("optim", "learning_rat", "optim.learning_rate"),
        ("optim", "batch", "patches.batch"),
        ("patches", "patch_size", "patches.size"),
        ("net", "widhts", "net.widths"),
        ("data", "validation", "data.validation_fraction"),
    ],
)
def test_a_misspelled_setting_names_the_nearest_one(group, name, nearest):
    path = f"{group}.{name}"
    message = re.escape(f"{path} is not a setting of a plan: did you mean {nearest}?")
    with pytest.raises(ValueError, match=message):
        check_settings({group: {name: 1}})
    with pytest.raises(ValueError, match=message):
        parse_setting(f"{path}=1")


def test_a_misspelled_setting_in_a_plan_file():
    message = r"optim\.learning_rat is not a setting of a plan: did you mean optim\.learning_rate\?"
    with pytest.raises(ValueError, match=message):
        read_plan('{"format": 2, "optim": {"learning_rat": 0.001}}')
    with pytest.raises(ValueError, match=r"optin is not a setting of a plan"):
        read_plan('{"format": 2, "optin": {"learning_rate": 0.001}}')


@pytest.mark.parametrize("text", ["xyzzy=1", "batches=8", "optim=1", "averge=1"])
def test_flat_names_that_are_unknown(text):
    hint = {"batches=8": r"did you mean patches\.batch", "averge=1": r"did you mean optim\.ema_share"}
    name = text.partition("=")[0]
    with pytest.raises(ValueError, match=rf"{name} is not a setting of a plan: {hint.get(text, '')}"):
        parse_setting(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("batch=8", ("patches.batch", 8)),
        ("loss=cldice", ("optim.loss", "cldice")),
        ("final_rate=0.3", ("optim.final_lr_fraction", 0.3)),
        ("average=0.1", ("optim.ema_share", 0.1)),
        ("patches.size=8x128x128", ("patches.size", (8, 128, 128))),
        ("patches.flip_axes=true,false", ("patches.flip_axes", (True, False))),
        ("net.init_from=2024", ("net.init_from", "2024")),
        ("net.encoder_weights=a,b.safetensors", ("net.encoder_weights", "a,b.safetensors")),
        ("data.resample=false", ("data.resample", False)),
    ],
)
def test_words_of_the_command_line(text, expected):
    assert parse_setting(text) == expected
    path, value = expected
    assert flat_settings(merge_settings([parse_setting(text)])) == {path: value}


@pytest.mark.parametrize("text", ["batch", "batch=", "=8"])
def test_words_that_set_nothing(text):
    with pytest.raises(ValueError, match="expected PATH=VALUE"):
        parse_setting(text)


@pytest.mark.parametrize(
    ("text", "flag"), [("steps=8", "--steps"), ("budget.time_s=9", "--time"), ("seed=1", "--seed")]
)
def test_the_budget_is_not_a_setting(text, flag):
    with pytest.raises(ValueError, match=f"is not a setting: give it by {flag}"):
        parse_setting(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patches": {"batch": "many"}}, r"patches\.batch is 'many': input should be a valid integer"),
        ({"optim": {"loss": "focl"}}, r"optim\.loss is 'focl': input should be 'dice', 'focal'"),
        ({"optim": 3}, "optim is not a setting"),
        ({"net": {"widths": "16"}}, r"net\.widths is '16'"),
    ],
)
def test_values_of_another_type(settings, message):
    with pytest.raises(ValueError, match=message):
        check_settings(settings)


def test_old_names_are_told_with_their_paths():
    assert old_name_hints(["patches.batch=8"]) == []
    assert old_name_hints(["average=1", "net=unet++"]) == [
        "--set average is now --set optim.ema_share",
        "--set net is now --set net.name",
    ]


def test_settings_are_values_of_a_plan():
    """Each is a field of its group, or a value of an architecture, and every one is described."""
    architecture = {"net.widths", "net.block", "net.skip", "net.down", "net.encoder"}
    fields = {f"{group}.{name}" for group, model in GROUPS.items() for name in model.model_fields}
    assert set(TYPES) - architecture <= fields
    assert set(OLD_NAMES.values()) - {"net.strides", *architecture} <= fields
    assert set(TYPES) >= DERIVED
    assert set(get_type_hints(PlanSettings)) == set(GROUPS)
    rows = {row.path: row for row in list_settings()}
    assert set(TYPES) - set(rows) == {"budget.time_s", "budget.steps", "budget.seed"}
    assert all(row.description.endswith(".") for row in rows.values())
    assert (rows["patches.batch"].type, rows["patches.batch"].default) == ("int", "by rule")
    assert rows["device.compile"].type == "auto | yes | no"
    assert rows["optim.clip_norm"].default == "5.0"
