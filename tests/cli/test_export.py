"""`unetkit export`: the price as a table, a sentence and JSON; a refusal is one line."""

import json
import sys

import pytest
from flat import train_flat

from unetkit import cli
from unetkit.data.synthetic import write_synthetic_cells
from unetkit.export import int8 as int8_module
from unetkit.inference.engines.int8_card import read_report
from unetkit.inference.prepare import prepare


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_synthetic_cells(folder, n=4, size=(64, 64))
    return train_flat(
        folder, out=folder / "run", steps=40, widths=(4, 8), patch=(32, 32), device="cpu", learning_rate=1e-2
    ).paths.root


@pytest.fixture
def export(monkeypatch, capfd):
    """`unetkit export ...` in this process, by a model that sees background alone: (exit code, stdout, stderr)."""
    pytest.importorskip("openvino")
    from unetkit.inference.engines.openvino import openvino_model

    def blind(net, patches, n):
        other = prepare(net)
        other.heads[0].bias.data[0] += 100
        return openvino_model(other)

    monkeypatch.setattr(int8_module, "calibrated_model", blind)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["unetkit", "export", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capfd.readouterr()
        return caught.value.code or 0, out, err

    return call


def test_the_price_is_printed_and_kept(export, run):
    code, out, err = export(run, "--allow-loss", "1")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("calibrated on 192 patches of the training images in ")
    assert lines[1].split() == ["engine", "dice", "pixel", "error", "changed", "pixels", "s", "Mpx/s"]
    rows = [line.split() for line in lines if line.startswith(("float32", "int8 "))]
    price = read_report(run / "int8")
    assert rows[0][:2] == ["float32", f"{price.dice_float32:.4f}"]
    assert rows[1][:4] == [
        "int8",
        f"{price.dice_int8:.4f}",
        f"{price.pixel_error_int8:.4f}",
        f"{price.changed_share:.3%}",
    ]
    assert lines[-1] == f"{price.describe()}; kept in {run / 'int8'}"


def test_json(export, run, tmp_path):
    code, out, err = export(run, "--allow-loss", "1", "--out", tmp_path / "small", "--json")
    found = json.loads(out)
    assert (code, err, found["folder"]) == (0, "", str(tmp_path / "small"))
    assert found["loss"] == pytest.approx(found["dice_float32"] - found["dice_int8"])


def test_a_refusal_is_one_line(export, run, tmp_path):
    code, _, err = export(run, "--allow-loss", "0.0001", "--out", tmp_path / "small")
    assert code == 1
    assert err.startswith(f"error: {run}: int8 lowers the Dice from ")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "small").exists()
