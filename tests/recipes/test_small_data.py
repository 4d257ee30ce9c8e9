"""Few images: who learns from what, statistics of the spread, and the verdict."""

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from unetkit import read


@pytest.mark.slow
def test_small_data_end_to_end(
    small_data: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every training once, both nets of a seed on the same images; a second run adds nothing."""
    monkeypatch.setattr(small_data, "SMALL", {"net.widths": (4, 8), "patches.size": 16, "patches.batch": 2})
    given = [str(data / "isbi2012"), "--steps", "2", "--out", str(tmp_path), "--images", "2", "--seeds", "3"]
    small_data.main(given)
    rows = {row["key"]: row for row in small_data.story.results(tmp_path)}
    assert sorted(rows) == sorted(f"{net}/2/200{place}" for net in ("unet", "unetpp") for place in range(3))
    plans = {key: json.loads((tmp_path / "runs" / key / "plan.json").read_text()) for key in rows}
    for key, row in rows.items():
        assert (plans[key]["data"]["n_images"], plans[key]["budget"]["seed"]) == (row["images"], row["seed"])
        is_nested = plans[key]["net"]["architecture"]["topology"] == "unet++"
        assert plans[key]["net"]["deep_supervision"] == is_nested == (row["net"] == "unetpp")
        assert plans[key]["data"]["images"] == plans[key.replace("unetpp", "unet")]["data"]["images"]
    text = (tmp_path / "table.md").read_text()
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 2 + 2 + 2 + 1
    assert "3 seeds say little of a variance" in text
    assert read(tmp_path / "small_data.png").size[1] == 1920
    kept = (tmp_path / "results.jsonl").read_text()
    small_data.main(given)
    assert (tmp_path / "results.jsonl").read_text() == kept


@pytest.mark.parametrize("given", [("--seeds", "2"), ("--images", "2", "21"), ("--images", "0")])
def test_small_data_refuses_what_it_cannot_compare(
    small_data: ModuleType, given: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        small_data.main(["DATA", "--out", "OUT", *given])
    assert "expected 3 seeds or more, and 1 to 20 images" in capsys.readouterr().err


def test_every_number_of_images_has_seeds_of_its_own(small_data: ModuleType) -> None:
    """Else a seed's luck, its weights and its images, would count four times over all numbers of images."""
    seeds = [small_data.seed_of(n, place) for n in (2, 4, 8, 16) for place in range(5)]
    assert len(set(seeds)) == 20
    for n in (2, 4, 8, 16):
        drawn = [small_data.chosen(n, small_data.seed_of(n, place)) for place in range(5)]
        assert all(len(set(one)) == n and set(one) <= set(range(20)) for one in drawn)
        assert len(set(map(tuple, drawn))) == 5


def test_the_interval_of_a_standard_deviation(small_data: ModuleType) -> None:
    """Of five values 0.599 and 2.874 times their own (tables of chi-square: 11.143 and 0.484 at 4)."""
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    spread = 2.5**0.5
    assert small_data.interval(values) == pytest.approx(((10 / 11.143) ** 0.5, (10 / 0.4844) ** 0.5), rel=1e-3)
    assert small_data.interval(values) == pytest.approx((0.599 * spread, 2.874 * spread), rel=1e-3)
    assert small_data.telling_ratio(5) == pytest.approx(9.60, abs=0.01)  # tables of F at (4, 4), 2.5 %


def test_brown_forsythe_is_an_analysis_of_deviations(small_data: ModuleType) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, 9), rng.normal(0, 4, 9)
    deviations = [np.abs(one - np.median(one)) for one in (first, second)]
    assert small_data.brown_forsythe(first, second) == pytest.approx(stats.f_oneway(*deviations).pvalue)
    assert np.isnan(small_data.brown_forsythe([0.5, 0.5, 0.5], [0.7, 0.7, 0.7]))


def test_swaps_tell_variances_apart(small_data: ModuleType) -> None:
    """A tenth of the spread is found; nets turned round give the inverse ratio; equal nets and constants give 1."""
    rng = np.random.default_rng(0)
    one = rng.normal(0.9, 0.01, (4, 5, 1)) + np.arange(4)[:, None, None]
    less = np.concatenate([one, 0.3 + one.mean(1, keepdims=True) + 0.1 * (one - one.mean(1, keepdims=True))], axis=2)
    ratio, p = small_data.swapped(less)
    assert ratio == pytest.approx(0.01, rel=1e-6)
    assert p < 0.01
    back = small_data.swapped(less[..., ::-1])
    assert back[0] == pytest.approx(100, rel=1e-6)
    assert back[1] == pytest.approx(p, abs=0.005)
    assert small_data.swapped(np.concatenate([one, one + 1], axis=2)) == pytest.approx((1, 1))
    assert small_data.swapped(np.ones((4, 5, 2))) == pytest.approx((1, 1))


def test_swaps_are_rarely_wrong(small_data: ModuleType) -> None:
    """Nets that are alike: p is below 0.2 in about a fifth of the cases."""
    rng = np.random.default_rng(0)
    found = [small_data.swapped(rng.normal(size=(4, 5, 2)), swaps=199, seed=k)[1] < 0.2 for k in range(200)]
    assert 0.12 < np.mean(found) < 0.28


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(0.05, "varies less here"), (20.0, "varies more here, not less"), (1.0, "is not decided")],
)
def test_the_verdict_on_variance_follows_the_numbers(small_data: ModuleType, factor: float, expected: str) -> None:
    rng = np.random.default_rng(1)
    rows = []
    for n in (2, 4, 8, 16):
        for seed in range(n, n + 5):
            for net, spread, plus in (("unet", 0.001, 0.0), ("unetpp", 0.001 * factor, 0.01)):
                dice = 0.9 + plus + spread * rng.standard_normal()
                row = {"net": net, "images": n, "seed": seed, "dice": dice, "pixel_error": 1 - dice}
                rows.append(row | {"trained_s": 60.0 if net == "unetpp" else 30.0, "parameters": 1000})
    assert [len(axes.lines) for axes in small_data.draw(rows).axes] == [10, 10]  # of 2 nets a mean and 4 rows of dots
    mean, *variances, seeds = small_data.verdict(rows)
    gap = np.mean([row["dice"] * (1 if row["net"] == "unetpp" else -1) for row in rows if row["images"] == 16]) * 2
    assert f"{gap:+.4f} ± " in mean
    assert "at 16 images" in mean
    assert "2.0 times as long" in mean
    assert len(variances) == 2
    assert all(expected in said for said in variances)
    assert "5 seeds say little of a variance" in seeds
    assert "only a ratio beyond 9.6 (or below 0.10) would be told from chance" in seeds
