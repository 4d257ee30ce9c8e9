"""What the recipes share."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from unetkit.data.dataset import load_dataset
from unetkit.data.pairs import find_pairs
from unetkit.data.split import split
from unetkit.model.run_paths import RunPaths
from unetkit.training.plan.plan import Plan
from unetkit.training.run import Run


@pytest.mark.parametrize("seed", range(3))
def test_the_crop_is_where_nets_differ_most(story: ModuleType, seed: int) -> None:
    """Against every window of every image, one by one."""
    rng = np.random.default_rng(seed)
    wrong = [rng.integers(0, 4, (11, 9)), rng.integers(0, 4, (8, 12))]
    found, crop = story.where_they_differ(wrong, 3, 5)

    def split(i: int, y: int, x: int) -> int:
        part = wrong[i][y : y + 5, x : x + 5]
        return int((part * (3 - part)).sum())

    windows = [(i, y, x) for i, w in enumerate(wrong) for y in range(w.shape[0] - 4) for x in range(w.shape[1] - 4)]
    assert [side.stop - side.start for side in crop] == [5, 5]
    assert split(found, crop[0].start, crop[1].start) == max(split(*window) for window in windows)


def test_errors_have_two_colours(story: ModuleType) -> None:
    """Rows: truth; columns: prediction; background first."""
    truth, predicted = np.array([[0, 0], [1, 1]]), np.array([[0, 1], [0, 1]])
    found = (story.overlay(predicted, truth) * 255).round().astype(int)
    names = [[story.BACKGROUND, story.MISSED], [story.ADDED, story.FOREGROUND]]
    expected = [[[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in row] for row in names]
    assert found.tolist() == expected


def test_sections_are_split_by_number(story: ModuleType, data: Path, tmp_path: Path) -> None:
    task = story.isbi2012(data / "isbi2012")
    assert [image.name for image, _ in task.training] == [f"{i:02}.png" for i in range(20)]
    assert [image.name for image, _ in task.tests] == [f"{i}.png" for i in range(20, 24)]
    assert all(image.name == mask.name for image, mask in (*task.training, *task.tests))
    with pytest.raises(ValueError, match=r"images holds 0 sections \(\.png\); expected 24"):
        story.isbi2012(tmp_path)


def test_nuclei_held_out_are_those_of_a_training(story: ModuleType, data: Path) -> None:
    """The fifth that `train` holds out with seed 0, as its own function splits the cases that it read."""
    task = story.nuclei(data / "nuclei")
    cases = load_dataset(find_pairs(data / "nuclei")).cases
    training, held_out = split(cases, fraction=0.2, seed=0)
    assert {image for image, _ in task.training} == {case.path for case in training}
    assert {image for image, _ in task.tests} == {case.path for case in held_out}
    assert len(task.tests) == 2


def test_a_budget_is_steps_or_time(story: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    parser = story.options("About it", "a folder")
    given = ["DATA", "--out", "OUT"]
    assert story.budget(parser.parse_args(given), steps=7) == {"steps": 7}
    assert story.budget(parser.parse_args([*given, "--time", "2m"]), steps=7) == {"time_s": 120.0}
    assert story.budget(parser.parse_args([*given, "--steps", "3"]), time_s=300.0) == {"steps": 3}
    with pytest.raises(SystemExit):
        parser.parse_args([*given, "--steps", "3", "--time", "2m"])
    assert "not allowed with" in capsys.readouterr().err


def test_results_are_known_by_key_and_budget(story: ModuleType, tmp_path: Path) -> None:
    story.keep(tmp_path, {"key": "a", "steps": 3, "dice": 0.5})
    story.keep(tmp_path, {"key": "b", "time_s": 60.0})
    assert [row["key"] for row in story.results(tmp_path)] == ["a", "b"]
    assert story.is_known(tmp_path, "a", {"steps": 3})
    assert not story.is_known(tmp_path, "a", {"steps": 4})
    assert not story.is_known(tmp_path, "b", {"steps": 3})
    assert not story.is_known(tmp_path / "none", "a", {"steps": 3})


def test_a_training_that_was_stopped_ends_the_script(
    story: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 3, "elapsed_s": 1.0}\n')
    monkeypatch.setattr(story, "train", lambda *_, **__: Run(RunPaths(tmp_path), Plan(), True))
    with pytest.raises(SystemExit, match="stopped after 3 steps of U-Net: the same command goes on"):
        story.trained(tmp_path / "pairs.csv", tmp_path / "run", "U-Net", {}, {"steps": 5})


def test_a_view_is_stretched_between_0_and_1(story: ModuleType, data: Path) -> None:
    gray = story.view(data / "isbi2012" / "images" / "20.png", (slice(2, 12), slice(0, 20)))
    colour = story.view(data / "nuclei" / "images" / "1.png", (slice(2, 12), slice(0, 20)))
    assert (gray.shape, colour.shape) == ((10, 20), (10, 20, 3))
    for found in (gray, colour):
        assert (found.min(), found.max()) == (0, 1)


def test_a_table_is_markdown(story: ModuleType) -> None:
    assert story.markdown(("a", "b"), [("1", "2")]) == "| a | b |\n|---|---|\n| 1 | 2 |\n"
