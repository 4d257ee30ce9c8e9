"""Cards: old ones are upgraded, newer and damaged ones refused."""

import pytest
from pydantic import ValidationError

from unetkit import __version__
from unetkit.labels.instances import InstanceThresholds
from unetkit.labels.kind import LabelKind
from unetkit.model.card import FORMAT, Card, parse_card
from unetkit.nets.architecture import Architecture

OLD = {  # as version 0.1.0 wrote it
    "format": 1,
    "version": "0.1.0",
    "architecture": Architecture(ndim=2, widths=(4, 8)).to_dict(),
    "classes": ["background", "cell"],
    "labels": {"kind": "instances", "values": [0, 1, 2, 3, 4], "ignore": None, "description": "cells"},
    "spacing": [0.5, 0.5],
    "unit": "µm",
    "score": 0.75,
    "augmentation": "oriented",
    "flip": [False, True],
    "decoding": {"foreground": 0.4, "valley": 0.65, "smallest": 30, "sure": 0.8},
    "temperature": 1.5,
}


def test_an_old_card_is_upgraded():
    card = parse_card(OLD)
    assert card.format == FORMAT
    assert card.version == "0.1.0"
    assert card.flip_axes == card.flips == [False, True]
    assert card.decoding == InstanceThresholds(foreground=0.4, split_ratio=0.65, min_size=30, confidence=0.8)
    assert (card.planes, card.resample, card.temperature) == (None, False, 1.5)
    assert parse_card(card.model_dump(mode="json")).model_dump_json() == card.model_dump_json()
    assert "valley" in OLD["decoding"]  # the argument is left as it is


def test_cards_with_a_seed_depth_get_the_usual_ratio():
    old = OLD | {"decoding": {"foreground": 0.4, "seed": 0.3, "smallest": 30, "sure": 0.8}}
    assert parse_card(old).decoding == InstanceThresholds(foreground=0.4, min_size=30, confidence=0.8)


@pytest.mark.parametrize("missing", ["format", "flip", "decoding", "temperature"])
def test_fields_that_old_cards_lack(missing):
    card = parse_card({name: value for name, value in OLD.items() if name != missing})
    assert card.flips == ([False, False] if missing == "flip" else [False, True])


def test_a_newer_card_is_refused_with_both_versions():
    with pytest.raises(ValueError, match=rf"unetkit 9\.9 in format 7; this is unetkit {__version__}.* up to {FORMAT}"):
        parse_card(OLD | {"format": 7, "version": "9.9", "novelty": True})


@pytest.mark.parametrize("change", [{"format": "new"}, {"classes": 3}, {"comment": "x"}, {"temperature": 0}])
def test_a_damaged_card_is_refused_in_a_line(change):
    with pytest.raises(ValueError, match=rf"^its card cannot be used: {next(iter(change))}[^\n]*$"):
        parse_card(OLD | change)


@pytest.mark.parametrize("change", [{"axes": "q" * 100_000}, {"channels": [0] * 100_000}])
def test_what_a_card_says_of_reading_is_checked_and_told_in_short(change):
    with pytest.raises(ValueError, match=rf"^its card cannot be used: .*{next(iter(change))} .{{1,300}}$"):
        parse_card(OLD | change)


def test_scored_classes():
    assert parse_card(OLD).scored_classes == ["background", "foreground"]


def test_cards_hold_nothing_else():
    with pytest.raises(ValidationError, match="comment"):
        Card(architecture={}, classes=[], labels=LabelKind("binary", (0, 1)), comment="x")
