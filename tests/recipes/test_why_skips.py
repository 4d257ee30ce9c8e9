"""With and without skips: equal parameters, what is coarse and what is fine, and the verdict."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from unetkit import Architecture, build, read, read_labels
from unetkit.graph.cost import cost
from unetkit.metrics.evaluation import evaluate_arrays
from unetkit.model.files import read_model


@pytest.mark.slow
def test_why_skips_end_to_end(why_skips: ModuleType, data: Path, tmp_path: Path, narrow: None) -> None:
    """Both nets on both data: equal parameters, errors that are those of the masks, and a second run adds nothing."""
    given = [str(data), "--steps", "1", "--out", str(tmp_path)]
    why_skips.main(given)
    rows = {row["key"]: row for row in why_skips.story.results(tmp_path)}
    assert list(rows) == [f"{key}/{net}_0" for key in ("isbi2012", "nuclei") for net in ("skips", "no_skips")]
    for key in ("isbi2012", "nuclei"):
        counts = [rows[f"{key}/{net}_0"]["parameters"] for net in ("skips", "no_skips")]
        assert counts[1] == pytest.approx(counts[0], rel=0.02)
        net, _ = read_model(tmp_path / key / "no_skips_0")
        assert net.architecture.skip == "none"
    for name, row in rows.items():
        task = why_skips.SETS[row["set"]](data / row["set"])
        truths = [(read_labels(mask).array > 0).astype(float) for _, mask in task.tests]
        masks = [(read_labels(tmp_path / "masks" / name / image.name).array > 0) for image, _ in task.tests]
        errors = [mask - truth for mask, truth in zip(masks, truths, strict=True)]
        pixels = sum(error.size for error in errors)
        # Wrong pixels, less what a mask is too large or too small as a whole.
        assert row["pixel_error"] == pytest.approx(sum((e != 0).sum() for e in errors) / pixels, abs=1e-5)
        without_mean = row["pixel_error"] - sum(e.size * e.mean() ** 2 for e in errors) / pixels
        assert row["energy"] == pytest.approx(without_mean, abs=1e-5)
        assert row["energy"] >= row["above"]["1/16"] >= row["above"]["1/8"] >= row["above"]["1/4"] >= 0
    text = (tmp_path / "table.md").read_text()
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 2 + len(rows)
    assert "**isbi2012**, 1 seed" in text
    assert read(tmp_path / "why_skips.png").size == (round(200 * (2 * 3.1 + 0.72)), 2400)
    kept = (tmp_path / "results.jsonl").read_text()
    why_skips.main([*given, "--only", "nuclei"])
    assert (tmp_path / "results.jsonl").read_text() == kept
    assert "isbi2012" not in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"widths": (16, 32, 64, 128, 256)},
        {"widths": (32, 64, 128), "ndim": 3, "in_channels": 3},
        {"block": "residual"},
    ],
)
def test_the_net_without_skips_is_as_large(why_skips: ModuleType, given: dict) -> None:
    """Counted on the real nets, as they are read."""
    like = Architecture(**given)
    found = why_skips.as_large(like)
    assert found.skip == "none"
    assert replace(found, skip="concat", widths=like.widths) == like
    assert all(a < b for a, b in zip(like.widths, found.widths, strict=True))
    counts = [cost(build(one).graph, (32,) * like.ndim).parameters for one in (like, found)]
    assert counts[1] == pytest.approx(counts[0], rel=0.02)
    for step in (-1, 1):  # a channel less or more at the bottom is no nearer
        bottom = found.widths[-1] + step
        widths = tuple(round(w * bottom / like.widths[-1]) for w in like.widths)
        assert abs(why_skips.parameters(replace(found, widths=widths)) - counts[0]) >= abs(counts[1] - counts[0])


def test_coarse_dice_does_not_see_where_a_contour_runs(why_skips: ModuleType) -> None:
    """Blocks of one pixel are Dice; a mask that is moved within its blocks is as good as the truth."""
    rng = np.random.default_rng(0)
    masks, truths = ([rng.integers(0, 2, size) for size in ((20, 24), (16, 9))] for _ in range(2))
    pooled = evaluate_arrays(zip("ab", masks, truths, strict=True), ("background", "cell")).pooled[1]
    assert why_skips.coarse_dice(masks, truths, 1) == pytest.approx(pooled.dice, abs=1e-5)
    truth = np.zeros((16, 16), int)
    truth[0:4, 0:6] = 1
    assert why_skips.coarse_dice([np.roll(truth, (3, 2), (0, 1))], [truth], 8) == 1
    # In blocks of 8 columns the truth has 24 pixels of the left; moved by 4 it has 16 there, and 8 in the right.
    assert why_skips.coarse_dice([np.roll(truth, 4, 1)], [truth], 8) == pytest.approx(2 * 16 / 48, abs=1e-5)


def test_energies_of_a_grating(why_skips: ModuleType) -> None:
    """Waves of 1/12, 1/5 and 2/5 cycles per pixel, of energies 2, 0.5 and 4.5; two images of different size."""
    waves = ((2.0, 1 / 12), (1.0, 1 / 5), (3.0, 2 / 5))
    arrays = []
    for size in ((120, 180), (240, 120)):
        y, x = np.indices(size)
        arrays.append(sum(a * np.sin(2 * np.pi * f * (y if f == 1 / 5 else x)) for a, f in waves) + 7)
    found = why_skips.energies(arrays)
    assert found["energy"] == pytest.approx(7, rel=1e-3)
    assert found["above"] == pytest.approx({"1/16": 7, "1/8": 5, "1/4": 4.5}, rel=0.01)


def test_a_spectrum_is_that_of_noise_and_of_a_wave(why_skips: ModuleType) -> None:
    """White noise has its variance at every frequency, whatever the size; a wave has its energy at its own."""
    rng = np.random.default_rng(0)
    noise = [3 * rng.standard_normal(size) for size in ((128, 128), (96, 200))]
    # The first steps hold few modes: a tenth of a hundred is chance.
    assert np.median(why_skips.spectrum(noise)) == pytest.approx(9, rel=0.1)
    assert np.mean(why_skips.spectrum([noise[0]])[10:]) == pytest.approx(9, rel=0.1)
    assert np.mean(why_skips.spectrum([noise[1]])[10:]) == pytest.approx(9, rel=0.1)
    wave = np.sin(2 * np.pi * 0.2 * np.arange(128)) + np.zeros((128, 1))
    step = int(why_skips.spectrum([wave]).argmax())
    assert why_skips.EDGES[step] <= 0.2 * 1.05
    assert why_skips.EDGES[step + 1] >= 0.2 * 0.95
    assert why_skips.spectrum([np.zeros((32, 32))]).max() == 0


def _skip_rows(fine: float, coarse: float, energy: tuple[float, float], seeds: int = 1) -> list[dict]:
    """Of both nets: with skips boundary F1 0.9, coarse Dice 0.95, and energies 0.04 (coarse) and 0.02 (fine)."""
    rows = []
    for seed in range(seeds):
        for net, k in (("skips", 0), ("no_skips", 1)):
            low, high = (0.04, 0.02) if k == 0 else energy
            above = {"1/16": high + 0.01, "1/8": high, "1/4": 0.001}
            row = {"set": "cells", "net": net, "seed": seed, "boundary_f1": 0.9 - k * fine, "above": above}
            rows.append(row | {"coarse_dice": 0.95 - k * coarse, "energy": low + high + 0.01})
    return rows


@pytest.mark.parametrize(
    ("fine", "coarse", "energy", "expected"),
    [
        (
            0.05,
            0.001,
            (0.044, 0.04),
            ("F1 is 0.0500 higher with", "2.00 times that above", "fine scales", "holds here"),
        ),
        (
            0.05,
            0.02,
            (0.08, 0.02),
            ("Coarse Dice is 0.0200 higher", "2.00 times the energy", "coarse", "holds in part"),
        ),
        (0.004, 0.0, (0.04, 0.0201), ("a difference of +0.0040, less than", "hardly differ", "not borne out")),
        (-0.05, 0.0, (0.04, 0.01), ("F1 is 0.0500 lower with skips", "0.50 times that above", "not borne out")),
    ],
)
def test_the_verdict_on_skips_follows_the_numbers(
    why_skips: ModuleType, fine: float, coarse: float, energy: tuple[float, float], expected: tuple[str, ...]
) -> None:
    (said,) = why_skips.verdict(_skip_rows(fine, coarse, energy))
    assert all(part in said for part in expected)


def test_several_seeds_must_agree(why_skips: ModuleType) -> None:
    """Differences of 0.10 and 0.02 are 0.06 on average, within a 95 % interval of 12.7 times 0.04."""
    rows = _skip_rows(0.1, 0.0, (0.04, 0.02), seeds=2)
    (said,) = why_skips.verdict(rows)
    assert "**cells**, 2 seeds. Boundary F1 is 0.1000 higher" in said
    rows[3]["boundary_f1"] = 0.88
    (said,) = why_skips.verdict(rows)
    assert "Boundary F1: a difference of +0.0600, less than the 0.5082 that can be told" in said
    assert why_skips.verdict(rows[:1]) == []
