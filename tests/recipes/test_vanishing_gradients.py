"""Vanishing gradients: end to end on small patches, and the verdict against numbers made up for it."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from unetkit.io import read
from unetkit.training.sampler import Batch


@pytest.mark.slow
def test_vanishing_gradients_end_to_end(
    vanishing: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line for every kind of net, again with the same numbers, a table with a verdict, and a picture."""
    monkeypatch.setattr(vanishing, "PATCH", (32, 32))
    monkeypatch.setattr(vanishing, "FRESH", (0,))
    given = [str(data / "isbi2012"), "--steps", "2", "--depths", "2", "--out"]
    vanishing.main([*given, str(tmp_path / "one")])
    file = tmp_path / "one" / "results.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == len({(row["block"], row["skip"], row["setting"]) for row in rows}) == 12
    assert all(row["reach"] > 0 and row["loss"] > 0 for row in rows)
    assert len({row["reach"] for row in rows}) == 12
    table = (tmp_path / "one" / "table.md").read_text().splitlines()
    assert sum(line.startswith("|") for line in table) == 2 + 12
    assert sum(line.startswith("- ") for line in table) == 6  # one depth: nothing can be said of growing deeper
    assert read(tmp_path / "one" / "vanishing_gradients.png").size == (1280, 2100)
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))  # as if it had been stopped
    vanishing.main([*given, str(tmp_path / "one")])
    again = [json.loads(line) for line in file.read_text().splitlines()]
    assert [{**row, "seconds": 0} for row in again] == [{**row, "seconds": 0} for row in rows]


def _row(depth: int, reach: float, loss: float | None, **given: Any) -> dict[str, Any]:
    kind = {"block": "plain", "skip": "none", "setting": "none"} | given
    return kind | {"depth": depth, "reach": reach, "loss": loss, "blind": 0.75, "seed": 0, "steps": 9}


@pytest.mark.parametrize(
    "reaches, words",
    [
        ((1.0, 1e-3), "it vanishes, as the textbook says"),
        ((1.0, 50.0), "it does not vanish, it explodes"),
        ((1.0, 0.5), "does not hold here"),
        ((1.0, 0.0), "it vanishes"),
    ],
)
def test_the_fate_of_the_gradient(vanishing: ModuleType, reaches: tuple[float, float], words: str) -> None:
    (sentence,) = vanishing.verdict([_row(d, r, 0.6) for d, r in zip((2, 6), reaches, strict=True)])
    assert words in sentence


@pytest.mark.parametrize(
    "bare, other, words",
    [
        (
            (1e-3, 0.76),
            (0.5, 0.5),
            "from 0.001 to 0.5, closer to 1; the loss after training goes from 0.760 to 0.500, better; "
            "without them nothing is learnt",
        ),
        ((1.0, 0.5), (60.0, 0.52), "farther from 1; the loss after training goes from 0.500 to 0.520, about the same."),
        ((2.0, 0.5), (1.9, 0.6), "as far from 1 as before; the loss after training goes from 0.500 to 0.600, worse."),
        ((2.0, None), (1.9, 0.6), "in training the net without skips diverges"),
        ((0.0, None), (1.9, None), "the gradient is 0 without skips and 1.9 with them; in training both nets diverge"),
    ],
)
def test_what_skips_do(vanishing: ModuleType, bare: Any, other: Any, words: str) -> None:
    rows = [_row(6, *bare), _row(6, *other, skip="concat")]
    (sentence,) = vanishing.verdict(rows)
    assert words in sentence


def test_a_blind_net_knows_the_share_of_cells(vanishing: ModuleType) -> None:
    """By hand: a quarter of the pixels is cell."""
    labels = (torch.arange(64).reshape(1, 8, 8) % 4 == 0).to(torch.uint8)
    loss = vanishing.blind_loss(Batch(torch.zeros(1, 1, 8, 8), labels, None))
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert loss == pytest.approx(entropy + 1 - (2 * 16 * 0.25 + 1) / (16 + 16 + 1), rel=1e-5)
