"""A run read from its folder: everything that its training returned, and nothing of another version."""

import json
from pathlib import Path

import numpy as np
import pytest
from flat import train_flat

from unetkit.data.synthetic import write_synthetic_cells
from unetkit.inference.execution import Execution
from unetkit.metrics.evaluation import Evaluation
from unetkit.training.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("data")
    write_synthetic_cells(folder, n=6, size=(64, 64))
    return train_flat(folder, out=folder / "run", steps=6, widths=(4, 8), patch=(32, 32), device="cpu")


def test_an_opened_run_is_the_one_that_was_trained(run: Run) -> None:
    opened = Run.open(run.paths.root)
    assert opened.paths == run.paths
    assert opened.plan.model_dump_json() == run.plan.model_dump_json()
    assert (opened.steps, opened.dice, opened.was_interrupted) == (6, run.dice, False)
    assert opened.time_s > 0
    assert len(opened.state()["losses"]) == 6
    assert [entry["step"] for entry in opened.log()] == [1, 2, 3, 4, 5, 6]
    training, held_out = opened.split()
    assert (len(training), len(held_out)) == (5, 1)
    scores = opened.scores
    assert scores is not None
    assert [image.name for image in scores.per_image] == [case.name for case in held_out]
    predictor = opened.predictor(Execution(device="cpu"))
    assert predictor.card is not None
    assert predictor(np.zeros((40, 50), np.float32)).labels.shape == (40, 50)


def test_scores_are_read_as_they_were_written(run: Run) -> None:
    text = run.paths.validation_json.read_text()
    assert Evaluation.from_json(text).to_json() == text


def test_a_run_that_was_just_begun(run: Run, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(run.paths.plan.read_text())
    begun = Run.open(tmp_path)
    assert (begun.steps, begun.time_s, begun.dice, begun.scores, begun.log(), begun.state()) == (
        0,
        0,
        None,
        None,
        [],
        {},
    )
    begun.paths.log.write_text('{"step": 3, "elapsed_s": 1.5}\n{"step": 4, "ela')
    assert (begun.steps, begun.time_s, len(begun.log())) == (3, 1.5, 1)
    begun.paths.state.parent.mkdir()
    begun.paths.state.write_bytes(b"half")
    with pytest.raises(ValueError, match=r"state\.safetensors: cannot be read"):
        begun.state()


def test_folders_that_are_no_runs(run: Run, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing: there is no such run folder"):
        Run.open(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"has no plan\.json"):
        Run.open(tmp_path)
    plan = json.loads(run.paths.plan.read_text())
    (tmp_path / "plan.json").write_text(json.dumps(plan | {"format": 9}))
    with pytest.raises(ValueError, match=r"plan\.json: is a plan of format 9, newer than the 2"):
        Run.open(tmp_path)
    plan["data"]["n_images"] = 9
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(ValueError, match=r"now holds 6 images .* was trained on 9, 1 and 2"):
        Run.open(tmp_path).split()


def test_data_named_by_relative_paths_are_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_synthetic_cells(tmp_path / "cells", n=4, size=(64, 64))
    monkeypatch.chdir(tmp_path)
    train_flat(Path("cells"), out=Path("run"), steps=1, widths=(4, 8), patch=(32, 32), device="cpu")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    opened = Run.open(Path("../run"))
    assert opened.plan.data.images == str(tmp_path / "cells")
    assert len(opened.dataset().cases) == 4
    plan = json.loads(opened.paths.plan.read_text())
    plan["data"]["images"] = "cells"  # as older versions wrote it
    opened.paths.plan.write_text(json.dumps(plan))
    assert len(Run.open(Path("../run")).dataset().cases) == 4


@pytest.mark.parametrize("is_table", [False, True])
def test_data_that_were_moved_are_named(tmp_path: Path, is_table: bool) -> None:
    cells = tmp_path / "cells"
    write_synthetic_cells(cells, n=4, size=(64, 64))
    images = cells / "all.csv" if is_table else cells / "images"
    if is_table:
        names = sorted(path.name for path in (cells / "images").iterdir())
        images.write_text("image,mask\n" + "".join(f"images/{name},masks/{name}\n" for name in names))
    masks = None if is_table else cells / "masks"
    train_flat(images, masks, out=tmp_path / "run", steps=1, widths=(4, 8), patch=(32, 32), device="cpu")
    cells.rename(tmp_path / "moved")
    with pytest.raises((ValueError, FileNotFoundError), match="cells"):
        Run.open(tmp_path / "run").dataset()
    assert len(Run.open(tmp_path / "run", data=tmp_path / "moved").dataset().cases) == 4
