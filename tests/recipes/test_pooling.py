"""Ways to pool: scores, moves, and the verdict."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from unetkit import read
from unetkit.insight.shift import Shifts
from unetkit.model.files import read_model


@pytest.mark.slow
def test_pooling_end_to_end(
    pooling: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, narrow: None
) -> None:
    """Two ways: nets that pool so, a share of changes for each move, a picture; a second run adds nothing."""
    monkeypatch.setattr(pooling, "SHIFTS", (1, 2, 4))
    given = [str(data / "isbi2012"), "--steps", "1", "--out", str(tmp_path), "--only", "blur", "max"]
    pooling.main(given)
    rows = pooling.story.results(tmp_path)
    assert [row["key"] for row in rows] == ["max/0", "blur/0"]
    for row in rows:
        net, _ = read_model(tmp_path / "runs" / row["key"])
        assert net.architecture.down == row["way"]
        assert row["stride"] == 2
        assert list(row["changed"]) == ["1", "2", "4"]
        assert all(0 <= share <= 1 for share in row["changed"].values())
    lines = (tmp_path / "table.md").read_text().splitlines()
    ways = [line.split("|")[1].strip() for line in lines if line.startswith("|")]
    assert ways[2:] == ["max-pooling", "max and blur"]
    assert any(line.startswith("Max and blur ") for line in lines)
    assert read(tmp_path / "pooling.png").size[1] == 2400
    kept = (tmp_path / "results.jsonl").read_text()
    pooling.main(given)
    assert (tmp_path / "results.jsonl").read_text() == kept


def _row(way: str, changed: float, error: float, at_stride: float = 0.0, is_clear: bool = True) -> dict:
    shares = {"1": changed, "15": 3 * changed, "16": at_stride}
    row = {"way": way, "changed": shares, "stride": 16, "outline": 0.125, "is_clear": is_clear}
    return row | {"pixel_error": error}


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (_row("blur", 0.01, 0.070), ["2.00% with max and blur", "none changes", "steadier (0.50", "0.0100 lower"]),
        (_row("blur", 0.03, 0.081), ["6.00% with", "less steady (1.50 times", "differs by +0.0010, less than"]),
        (_row("strided", 0.0202, 0.09, 1e-6), ["leaves the mask about as unsteady", "rounding", "0.0100 higher"]),
        (_row("strided", 0.02, 0.08, 0.01, False), ["up to 1.00% change, as the images are too small"]),
    ],
)
def test_the_verdict_on_pooling_follows_the_numbers(pooling: ModuleType, other: dict, expected: list[str]) -> None:
    said = " ".join(pooling.verdict([_row("max", 0.02, 0.08), other]))
    assert "less than the total stride, 16 px, of the pixels change 4.00% with max-pooling" in said
    assert "12.5% lie at an outline" in said
    assert all(part in said for part in expected)


def test_changes_are_means_over_images_and_axes(pooling: ModuleType) -> None:
    def moved(changed: list[list[float]], outline: float, is_clear: bool) -> Shifts:
        shape, place = np.zeros((2, 2)), (slice(0, 2), slice(0, 2))
        return Shifts((1, 3), (0, 1), (8, 16), np.array(changed), np.array(changed), outline, shape, place, is_clear)

    found = pooling.changes([moved([[0.1, 0.2], [0.3, 0.4]], 0.5, True), moved([[0.5, 0.6], [0.7, 0.8]], 0.1, False)])
    assert found["changed"] == pytest.approx({"1": 0.4, "3": 0.5})
    assert found["outline"] == pytest.approx(0.3)
    assert (found["stride"], found["is_clear"]) == (16, False)


def test_maps_are_cut_to_what_they_share(pooling: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [np.array([[10, 90], [20, 60]]), np.array([[0, 80], [24, 70]])]
    assert pooling.common(places) == (slice(27, 63), slice(24, 60))  # rows 10 to 80, columns 24 to 60: a square of 36
    monkeypatch.setattr(pooling, "CROP", 10)
    assert pooling.common(places) == (slice(40, 50), slice(37, 47))
