"""Outputs that cannot be written, or would replace something else: each verb says it before its work, in a line."""

import shutil
from pathlib import Path

import pytest

from unetkit.data.synthetic import write_synthetic_cells
from unetkit.io.lock import sole_writer
from unetkit.training.loop import train

NET = ("--set", "net.widths=4,8", "--set", "patches.size=16,16")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    write_synthetic_cells(folder / "data", n=3, size=(48, 48))
    settings = {"net": {"widths": (4, 8)}, "patches": {"size": (16, 16), "batch": 2}, "device": {"name": "cpu"}}
    train(folder / "data", out=folder / "run", steps=1, settings=settings)
    return folder


def commands(made: Path, out: Path) -> dict[str, list[object]]:
    data, run, masks = made / "data", made / "run", made / "data/masks"
    return {
        "train": ["train", data, "--steps", 1, *NET, "--out", out / "run"],
        "folds": ["train", data, "--time", "9s", "--folds", 2, *NET, "--out", out / "folds"],
        "plan": ["plan", data, "--steps", 1, *NET, "--out", out / "plan.json"],
        "predict": ["predict", run, data / "images", "--out", out / "masks"],
        "evaluate": ["evaluate", masks, masks, "--csv", out / "scores.csv"],
        "table": ["measure", "table", masks, "--out", out / "table"],
        "polygons": ["measure", "polygons", masks, "--out", out / "polygons"],
        "report": ["report", run, "--out", out / "report.html"],
        "inspect": ["inspect", run, "--out", out / "inspect.html"],
        "draw": ["draw", "--out", out / "u.svg"],
        "export": ["export", run, "--out", out / "int8"],
    }


VERBS = tuple(commands(Path(), Path()))


@pytest.fixture
def refuse_work(monkeypatch):
    """Any reading of data or nets is too late."""

    def work(*_, **__):
        pytest.fail("the work was begun")

    for name in (
        "unetkit.data.kept.read_channels",
        "unetkit.metrics.pairing.read_coded_labels",
        "unetkit.measurements.table.read_coded_labels",
        "unetkit.measurements.polygons.read_labels",
        "unetkit.inference.files.InputImage.open",
        "unetkit.report.write.read_run",
        "unetkit.report.inspection.choose.read_model",
        "unetkit.export.int8.read_model",
    ):
        monkeypatch.setattr(name, work)


@pytest.mark.parametrize("verb", VERBS)
def test_a_place_that_is_read_only(verb, made, run_cli, tmp_path, monkeypatch, refuse_work):
    if verb == "export":
        pytest.importorskip("nncf")
    if verb == "polygons":
        pytest.importorskip("rasterio")
    access = "os.access", lambda path, mode: not str(path).startswith(str(tmp_path))
    monkeypatch.setattr(*access)
    code, _, err = run_cli(*commands(made, tmp_path)[verb])
    assert code == 1
    assert "cannot be written to: no permission, or a read-only disk" in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", VERBS)
def test_a_file_where_a_folder_is_needed(verb, made, run_cli, tmp_path, refuse_work):
    for package in {"export": ["nncf"], "polygons": ["rasterio"]}.get(verb, []):
        pytest.importorskip(package)
    (tmp_path / "file").write_text("kept")
    code, _, err = run_cli(*commands(made, tmp_path / "file")[verb])
    assert code == 1
    assert str(tmp_path / "file") in err
    assert len(err.strip().splitlines()) == 1
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("verb", ["report", "inspect", "evaluate", "plan", "draw"])
def test_an_output_replaces_no_image_and_no_model(verb, made, run_cli, tmp_path):
    shutil.copytree(made, tmp_path / "made")
    for file in (tmp_path / "made/data/masks/cells_000.png", tmp_path / "made/run/model.safetensors"):
        before = file.read_bytes()
        command = commands(tmp_path / "made", tmp_path)[verb]
        code, _, err = run_cli(*command[:-1], file)
        assert (code, file.name in err) == (1, True)
        assert file.read_bytes() == before


def test_one_run_has_one_writer(made, run_cli, tmp_path):
    command = commands(made, tmp_path)["train"]
    with sole_writer(tmp_path / "run"):
        code, _, err = run_cli(*command)
    assert (code, "writes into this folder; name another one, or wait until it has ended" in err) == (1, True)
