"""Training with a timm encoder, on a stand-in for timm: the plan, the weights at the start, and never again."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flat import train_flat
from safetensors.torch import load_file, save_file

from unetkit import cli
from unetkit.data.dataset import Case, Dataset
from unetkit.data.synthetic import write_synthetic_cells
from unetkit.inference.predictor import load_model
from unetkit.labels.kind import LabelKind
from unetkit.model.files import read_model
from unetkit.nets.architecture import Architecture
from unetkit.training.plan.files import read_plan
from unetkit.training.plan.plan import Plan
from unetkit.training.plan.reuse import check_resumable
from unetkit.training.plan.rules import make_plan
from unetkit.training.plan.settings import OLD_NAMES, merge_settings
from unetkit.training.state import Training

SMALL: dict[str, Any] = {"patch": (64, 64), "batch": 2, "device": "cpu", "validation": 0.25}


def dataset(*size: int, channels: int = 1) -> Dataset:
    labels = np.zeros(size, np.uint8)
    cases = [Case(f"c{i}", np.zeros((channels, *size), np.float32), labels, None, None, Path("c.png")) for i in (0, 1)]
    ndim, kind = len(size), LabelKind("binary", (0, 255))
    return Dataset(cases, kind, channels, ndim, (1.0,) * ndim, "px", np.array([1, 1]), [], False)


def plan(*size: int, channels: int = 1, **given: Any) -> Plan:
    settings = merge_settings((OLD_NAMES[name], value) for name, value in ({"device": "cpu"} | given).items())
    return make_plan(dataset(*size or (64, 64), channels=channels), steps=9, settings=settings)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    write_synthetic_cells(folder, n=4, size=(48, 48))
    return folder


@pytest.fixture(autouse=True)
def _without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train by torch's own kernels: on some processors oneDNN (torch 2.13.0) ends the process in the backward pass."""
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)


# --- the plan ---


def test_an_encoder_brings_widths_weights_and_a_smaller_rate(timm: Any) -> None:
    made = plan(encoder="tiny", channels=3)
    architecture = Architecture(**made.net.architecture)
    assert (architecture.encoder, architecture.widths) == ("tiny", (16, 4, 6, 8))
    assert (made.net.encoder_weights, made.optim.learning_rate, architecture.in_channels) == ("imagenet", 3e-4, 3)
    assert made.reasons["net.encoder"] == "set"
    assert "full resolution" in made.reasons["net.widths"]
    assert {"net.encoder", "net.encoder_weights"} <= {row[0] for row in made.describe()}
    assert plan(encoder="tiny", weights="none").optim.learning_rate == plan().optim.learning_rate == 2e-3
    assert plan().net.encoder_weights is None
    assert {call["pretrained"] for call in timm.calls} == {False}  # a plan fetches nothing


def test_planes_of_a_volume_are_channels_of_the_encoder(timm: Any) -> None:
    assert plan(8, 64, 64, planes=3, encoder="tiny").net.architecture["in_channels"] == 3
    with pytest.raises(ValueError, match=r"encoder tiny is a 2D net, but ndim is 3: .*--planes 3"):
        plan(8, 64, 64, encoder="tiny")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"encoder": "tiny", "widths": (4, 8)}, r"widths are \(4, 8\), but encoder tiny has its own"),
        ({"encoder": "tiny", "down": "blur"}, "down is 'blur', but encoder tiny has its own"),
        ({"encoder": "tiny", "net": "zhou2018"}, "encoder is tiny, but zhou2018 has its paper's own: use net unet or"),
        ({"weights": "imagenet"}, "net.encoder_weights is 'imagenet', but there is no encoder"),
        ({"encoder": "huge"}, "timm has no encoder 'huge'"),
    ],
)
def test_what_does_not_go_together(timm: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(**given)


def test_a_run_is_resumed_with_its_encoder(timm: Any) -> None:
    saved = read_plan(plan(encoder="tiny").model_dump_json())
    check_resumable(saved, dataset(64, 64), settings={"net": {"encoder": "tiny"}})
    with pytest.raises(ValueError, match=r"planned with net\.encoder tiny, not tiny_se"):
        check_resumable(saved, dataset(64, 64), settings={"net": {"encoder": "tiny_se"}})
    with pytest.raises(ValueError, match=r"planned with net\.encoder_weights imagenet, not none"):
        check_resumable(saved, dataset(64, 64), settings={"net": {"encoder_weights": "none"}})
    del saved.net.architecture["encoder"]  # as older versions wrote it
    with pytest.raises(ValueError, match=r"planned with net\.encoder None, not tiny"):
        check_resumable(saved, dataset(64, 64), settings={"net": {"encoder": "tiny"}})


# --- training ---


@pytest.mark.slow
def test_training_starts_from_the_weights_once(
    timm: Any, cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tiny.safetensors"
    save_file(timm.weights("tiny"), file)
    started: list[torch.Tensor] = []
    load = Training.load_encoder

    def record(training: Training, weights: str) -> None:
        load(training, weights)
        started.append(training.net.state_dict()["encoder.body.layer1.conv1.weight"].clone())
        pairs = zip(training.net.state_dict().values(), training.averaged.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)

    monkeypatch.setattr(Training, "load_encoder", record)
    options = {**SMALL, "steps": 2, "encoder": "tiny", "weights": str(file)}
    train_flat(cells, out=tmp_path / "run", **options)
    assert [torch.equal(one, timm.weights("tiny")["layer1.conv1.weight"]) for one in started] == [True]
    file.unlink()  # neither going on nor using the model needs it
    train_flat(cells, out=tmp_path / "run", resume=True, **{**options, "steps": 2})
    assert len(started) == 1
    net, _ = read_model(tmp_path / "run")
    assert net.architecture.encoder == "tiny"
    masks = load_model(tmp_path / "run").predict_files([cells / "images"], tmp_path / "masks")
    assert len(masks) == 4
    assert not any(call["pretrained"] for call in timm.calls)


@pytest.mark.slow
def test_a_run_that_was_never_saved_starts_from_the_weights(timm: Any, cells: Path, tmp_path: Path) -> None:
    options = {**SMALL, "steps": 1, "encoder": "tiny_se"}
    train_flat(cells, out=tmp_path / "whole", **options)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "plan.json").write_text((tmp_path / "whole" / "plan.json").read_text())
    train_flat(cells, out=tmp_path / "begun", resume=True, **options)
    one, other = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "begun"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_offline_nothing_is_begun(timm: Any, cells: Path, tmp_path: Path) -> None:
    timm.is_offline = True
    with pytest.raises(RuntimeError, match="could not be fetched"):
        train_flat(cells, out=tmp_path / "run", encoder="tiny", steps=1, **SMALL)
    assert not (tmp_path / "run").exists()  # the same command can be given again
    timm.is_offline = False
    train_flat(cells, out=tmp_path / "run", encoder="tiny", steps=1, **SMALL)


def test_without_timm_no_image_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"resnet34 needs timm .*pip install 'unetkit\[pretrained\]'"):
        train_flat(tmp_path / "nowhere", out=tmp_path / "run", encoder="resnet34", steps=1)


def test_from_the_command_line(
    timm: Any, cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*options: str) -> tuple[Any, str, str]:
        small = ("--set", "patches.size=64", "--set", "patches.batch=2")
        arguments = ["train", str(cells), "--out", str(tmp_path / "run"), "--steps", "1", "--json", *small]
        monkeypatch.setattr(sys, "argv", ["unetkit", *arguments, "--device", "cpu", *options])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code or 0, *capsys.readouterr()

    code, _, error = run("--set", "net.encoder_weights=none")
    assert (code, error) == (
        1,
        "error: weights are 'none', but there is no encoder to load them into: give encoder too\n",
    )
    timm.is_offline = True
    code, _, error = run("--set", "net.encoder=tiny")
    assert (code, error.count("\n")) == (1, 1)
    assert "error: the weights of tiny could not be fetched" in error
    code, out, error = run("--set", "net.encoder=tiny", "--set", "net.encoder_weights=none")
    assert (code, error) == (0, "")
    assert json.loads(out)["steps"] == 1
    assert json.loads((tmp_path / "run" / "plan.json").read_text())["net"]["encoder_weights"] == "none"
