"""int8: calibrated on the run's patches, priced on its validation images, refused where it costs too much."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from flat import train_flat
from numpy.lib.stride_tricks import sliding_window_view
from recorder import Recorder, Update

from unetkit.data.normalised import prepare_for_net
from unetkit.data.synthetic import write_synthetic_cells
from unetkit.export import export_model
from unetkit.export import int8 as int8_module
from unetkit.export.int8 import export_int8
from unetkit.inference.engines.int8_card import QuantisationReport, is_current, read_report
from unetkit.inference.engines.openvino import int8_engine, openvino_model
from unetkit.inference.engines.select import choose_engine
from unetkit.inference.prepare import prepare
from unetkit.io import read
from unetkit.model.files import read_model, save_model, weights_hash
from unetkit.nets.net import Net
from unetkit.training.run import Run

pytest.importorskip("openvino")
SMALL: dict[str, Any] = {"widths": (4, 8), "patch": (32, 32), "device": "cpu", "batch": 2}
PRICE = QuantisationReport(
    "00", 4, "validation", 3, 12_288, 0.93, 0.9251, 0.05, 0.06, 0.0123, 2.0, 0.5, 0.005, "openvino 1, nncf 2"
)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    write_synthetic_cells(folder, n=6, size=(64, 64))
    return folder


@pytest.fixture(scope="module")
def trained(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train_flat(cells, out=out, steps=60, learning_rate=1e-2, **SMALL)
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A run of the test's own, without int8."""
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("plan.json", "model.safetensors"):
        (copy / name).write_bytes((trained / name).read_bytes())
    return copy


@pytest.fixture
def uncalibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The float32 model in place of the int8 one: what is around it is quicker to test."""
    monkeypatch.setattr(int8_module, "calibrated_model", lambda net, patches, n: openvino_model(net))


def test_a_trained_net_in_int8(trained: Path, cells: Path) -> None:
    pytest.importorskip("nncf")
    recorder = Recorder()
    price = export_int8(trained, patches=24, allowed_loss=0.05, progress=recorder)
    folder = trained / "int8"
    assert {path.name for path in folder.iterdir()} == {"model.xml", "model.bin", "price.json"}
    assert (folder / "model.bin").stat().st_size < 0.6 * (trained / "model.safetensors").stat().st_size
    assert [path.name for path in trained.iterdir() if path.name.startswith(".")] == []
    assert read_report(folder) == price
    assert is_current(trained, price)
    assert json.loads((folder / "price.json").read_text())["weights"] == weights_hash(trained)
    assert (price.measured_on, price.images, price.pixels, price.patches) == ("validation", 1, 64 * 64, 24)
    written = json.loads((trained / "validation.json").read_text())
    assert price.pixel_error_float32 == pytest.approx(written["pixel_error"], abs=1e-9)  # as the training scored it
    assert price.dice_float32 > 0.6
    assert abs(price.loss) < 0.05
    assert 0 < price.changed_share < 0.05
    assert price.made_with.startswith("openvino 20")
    assert recorder.messages[0].startswith("calibrated on 24 patches of the training images in ")
    net = prepare(read_model(trained)[0])
    image = prepare_for_net(read(cells / "images" / "cells_003.png"), channels=1, ndim=2)
    x = torch.from_numpy(image[None, :, :46, :58])  # another size than the patches'
    with torch.inference_mode():
        expected = net.body(x)
    found = choose_engine(net, trained, "int8")(x)
    assert 0 < float((found - expected).std() / expected.std()) < 0.3  # so few channels round coarsely
    assert float((found.argmax(1) == expected.argmax(1)).float().mean()) > 0.95


@pytest.mark.usefixtures("uncalibrated")
def test_other_weights_are_calibrated_anew(run: Path) -> None:
    export_int8(run)
    before, net = read_report(run / "int8"), prepare(read_model(run)[0])
    assert before is not None
    updates: list[Update] = []
    choose_engine(net, run, "int8", progress=Recorder(updates))
    assert [update.message for update in updates] == [before.describe()]
    changed, card = read_model(run)
    changed.heads[0].bias.data += 0.1
    save_model(run / "model.safetensors", changed, card)
    assert not is_current(run, before)
    with pytest.raises(ValueError, match=r"int8 model is of other weights .* unetkit export .* --format int8"):
        choose_engine(net, run, "int8")
    recorder = Recorder()
    export_int8(run, progress=recorder)
    message = f"{run / 'int8'}: was calibrated for other weights than the run has now; calibrating again"
    assert message in recorder.messages
    now = read_report(run / "int8")
    assert now is not None
    assert is_current(run, now)
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []


def test_what_costs_too_much_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(net: Net, patches: Any, n: int) -> Any:
        """As if the rounding had moved every pixel to the background."""
        other = prepare(net)
        other.heads[0].bias.data[0] += 100
        return openvino_model(other)

    monkeypatch.setattr(int8_module, "calibrated_model", spoilt)
    message = (
        r"int8 lowers the Dice from 0\.\d{4} to 0\.\d{4}, by 0\.\d{4} on 1 validation images, and changes \d+\.\d\d%"
    )
    with pytest.raises(
        ValueError, match=message + r".*; 1e-06 is allowed, so nothing was kept: .* --allow-loss 0\.\d{3}$"
    ):
        export_int8(run, allowed_loss=1e-6)
    assert sorted(path.name for path in run.iterdir()) == ["model.safetensors", "plan.json"]
    price = export_int8(run, allowed_loss=1.0)
    assert price.loss > 1e-6
    assert price.is_allowed
    with pytest.raises(ValueError, match="1e-06 is allowed"):
        export_int8(run, allowed_loss=1e-6)
    assert read_report(run / "int8") == price  # the one that was allowed is still there


@pytest.mark.usefixtures("uncalibrated")
def test_without_validation_images_the_price_is_that_of_the_training(cells: Path, tmp_path: Path) -> None:
    train_flat(cells, out=tmp_path / "run", steps=1, validation=0.0, **SMALL)
    recorder = Recorder()
    price = export_int8(tmp_path / "run", out=tmp_path / "other", progress=recorder)
    assert (price.measured_on, price.images) == ("training", 6)
    assert recorder.messages[-1].startswith("the run has no validation images: the loss is measured on the images")
    assert price.describe().endswith("measured on 6 training images, which the net knows")
    assert read_report(tmp_path / "other") == price
    assert not (tmp_path / "run" / "int8").exists()


def test_calibration_sees_plain_training_patches(run: Path, cells: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []

    def calibrated(net: Net, patches: Any, n: int) -> Any:
        taken.extend(patches)
        return openvino_model(net)

    monkeypatch.setattr(int8_module, "calibrated_model", calibrated)
    export_int8(run, patches=7)
    assert [patch.shape for patch in taken] == [(1, 1, 32, 32)] * 7
    training, held_out = Run.open(run).split()
    assert (len(training), len(held_out)) == (5, 1)
    for patch in taken:  # cut out of a training image, pixel for pixel
        places = (sliding_window_view(case.image[0], (32, 32)) == patch[0, 0] for case in training)
        assert any(place.all((2, 3)).any() for place in places)


# --- a price, written ---


def test_a_price_in_words_and_numbers() -> None:
    assert PRICE.loss == pytest.approx(0.0049)
    assert PRICE.is_allowed
    assert not replace(PRICE, dice_int8=0.92).is_allowed
    assert PRICE.describe() == (
        "int8 is 4.0 times as fast as float32 by torch, changes 1.230% of the pixels and the Dice by -0.0049, measured "
        "on 3 validation images"
    )
    first, second = PRICE.table()
    assert (first["engine"], first["dice"], first["changed pixels"]) == ("float32", 0.93, "-")
    assert (second["engine"], second["changed pixels"], second["s"]) == ("int8", "1.230%", 0.5)
    assert second["Mpx/s"] == pytest.approx(0.024576)


@pytest.mark.parametrize("text", ["{", "[]", '{"weights": "00"}'])
def test_a_damaged_price(tmp_path: Path, text: str) -> None:
    assert read_report(tmp_path) is None
    (tmp_path / "price.json").write_text(text)
    with pytest.raises(ValueError, match=r"price\.json: is damaged \(\w+: .*\); make it anew: delete the folder"):
        read_report(tmp_path)


# --- refused before any work ---


@pytest.mark.parametrize(
    ("options", "numbers"), [({"allowed_loss": -1}, "-1 and patches 192"), ({"patches": 0}, "0.005 and patches 0")]
)
def test_values_that_are_not_possible(run: Path, options: dict[str, Any], numbers: str) -> None:
    with pytest.raises(
        ValueError, match=f"allowed_loss is {numbers}; expected a Dice of 0 to 1, such as 0.01, and at least 1"
    ):
        export_int8(run, **options)


def test_folders_of_others_are_left_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds something else than an int8 model; name another folder"):
        export_int8(run, out=tmp_path)
    with pytest.raises(FileExistsError, match=r"notes\.txt: is a file; name a folder for the int8 model"):
        export_int8(run, out=tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_runs_that_cannot_be_calibrated(run: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no plan\.json"):
        export_int8(tmp_path)
    plan = json.loads((run / "plan.json").read_text())
    plan["data"]["n_images"] = 9
    (run / "plan.json").write_text(json.dumps(plan))
    message = r"now holds 6 images for 1 channels and 2 classes; .*run was trained on 9, 1 and 2, so the images"
    with pytest.raises(ValueError, match=message):
        export_int8(run)
    (run / "plan.json").write_text('{"batch": "many"}')
    with pytest.raises(ValueError, match=r"plan\.json: is not a plan: patches\.batch is 'many'"):
        export_int8(run)
    (run / "plan.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no plan\.json"):
        export_int8(run)
    assert [path.name for path in run.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("module", ["openvino", "nncf"])
def test_what_is_not_installed_is_said_before_any_image_is_read(
    run: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(Run, "split", None)
    with pytest.raises(
        ImportError, match=rf"^int8 needs {module}, which is not installed: pip install 'unetkit\[fast\]'$"
    ):
        export_int8(run)


def test_formats_that_there_are(run: Path) -> None:
    with pytest.raises(ValueError, match="format is 'onnx'; expected int8"):
        export_model(run, "onnx")


def test_a_model_that_is_not_there(run: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.xml: there is no such model"):
        int8_engine(prepare(read_model(run)[0]), run / "int8")
