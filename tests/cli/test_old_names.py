"""Verbs and flags of version 0.1 are translated, each with a line that names the new one."""

import pytest

from unetkit.cli.old_names import translate


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        (["train", "I", "--rate", "1e-3"], ["train", "I", "--set", "optim.learning_rate=1e-3"], "--rate is now --set"),
        (["train", "I", "--widths=16,32"], ["train", "I", "--set", "net.widths=16,32"], "--set net.widths=16,32"),
        (["train", "--supervise", "I"], ["train", "--set", "net.deep_supervision=true", "I"], "--supervise is now"),
        (["predict", "R", "I", "--symmetries"], ["predict", "R", "I", "--tta"], "--symmetries is now --tta"),
        (["predict", "R", "I", "--prune", "2"], ["predict", "R", "I", "--level", "2"], "--prune is now --level"),
        (["quantise", "R"], ["export", "--format", "int8", "R"], "unetkit export --format int8"),
        (["objects", "M", "--out", "T"], ["measure", "table", "M", "--out", "T"], "unetkit measure table"),
        (["polygons", "M"], ["measure", "polygons", "M"], "unetkit measure polygons"),
        (["evaluate", "R", "--levels"], ["levels", "R"], "levels RUN"),
        (["inspect", "--net", "unet", "--out", "a.svg"], ["draw", "--net", "unet", "--out", "a.svg"], "draw"),
        (["inspect", "--out=a.svg"], ["draw", "--out=a.svg"], "draw"),
    ],
)
def test_an_old_name_is_translated_and_the_new_one_is_said(old, new, hint):
    args, hints = translate(old)
    assert args == new
    assert len(hints) == 1
    assert hint in hints[0]


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--help"],
        ["train", "I", "--out", "R", "--set", "patches.batch=8"],
        ["inspect", "R", "--out", "page.html"],
        ["evaluate", "A", "B"],
        ["train", "I", "--batch"],  # without its value: click refuses it
    ],
)
def test_everything_else_is_left_as_it_is(args):
    assert translate(args) == (args, [])
