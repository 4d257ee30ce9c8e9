"""What version 0.1 wrote: runs load, predict and resume, and a half-made mask is resumed."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from recorder import Recorder
from safetensors.numpy import load_file
from typer.testing import CliRunner

from unetkit import io
from unetkit.cli.main import app
from unetkit.inference.predictor import load_model
from unetkit.training.run import Run

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "expected.json").read_text())
RUNS = ("2d", "objects", "3d", "unetpp", "folds")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A copy of all of it, as the working folder: paths in the plans are relative."""
    shutil.copytree(HERE / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "runs")
    return tmp_path / "runs"


def counts(labels):
    return dict(zip(*(part.tolist() for part in np.unique(labels, return_counts=True)), strict=True))


def assert_close(labels, expected):
    """But for a few pixels near a tie, which another processor may round otherwise."""
    found, wanted = counts(labels), {int(value): n for value, n in expected.items()}
    assert found.keys() == wanted.keys()
    assert all(abs(found[value] - n) <= 0.01 * labels.size for value, n in wanted.items())


@pytest.mark.parametrize("name", RUNS)
def test_a_run_predicts_as_it_did(runs, name):
    image = io.read(EXPECTED[name]["image"])
    assert_close(load_model(name)(image).labels, EXPECTED[name]["counts"])


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "2d")) for name in RUNS])
def test_a_run_is_resumed_to_the_same_model(runs, name):
    done = CliRunner().invoke(app, ["train", *EXPECTED[name]["train"]])
    assert done.exit_code == 0, done.output
    sums = EXPECTED[name]["abs_sums"]
    files = {key.partition(":")[0] for key in sums}
    tensors = {f"{file}:{key}": value for file in files for key, value in load_file(Path(name, file)).items()}
    assert {key: abs(tensors[key]).sum() for key in sums} == pytest.approx(sums, rel=2e-2)


def test_a_plan_of_format_1_is_read_in_groups(runs):
    plan = Run.open("objects").plan
    assert (plan.format, plan.budget.steps, plan.net.name, plan.patches.batch) == (2, 120, "unet", 2)
    assert plan.optim.learning_rate == 0.01
    assert plan.budget.threads is None


def test_a_half_made_mask_is_resumed(runs):
    expected, image = EXPECTED["partial"], Path("data/large/flat.png")
    os.utime(image, (1_700_000_000, 1_700_000_000))  # its name, size and time are part of the key
    updates = []
    (done,) = load_model("2d").predict_files([image], "partial", progress=Recorder(updates))
    assert "flat.png: resuming: 67% done" in [update.message for update in updates]
    assert done.pixels == 1024 * 2048  # of 3072 x 2048
    assert os.listdir("partial") == ["flat.png"]
    assert_close(io.read_labels(done.mask).array, expected["counts"])
