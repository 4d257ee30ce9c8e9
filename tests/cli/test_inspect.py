"""`unetkit inspect`: a net by its name, or a trained one, as a table, JSON and a drawing."""

import json
import sys
import xml.etree.ElementTree as ET

import pytest

from unetkit import cli
from unetkit.labels.kind import LabelKind
from unetkit.model.card import Card
from unetkit.model.files import save_model
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build


@pytest.fixture
def inspect(monkeypatch, capfd):
    """`unetkit inspect ...` in this process: (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["unetkit", "inspect", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capfd.readouterr()
        return caught.value.code or 0, out, err

    return run


@pytest.fixture
def run_folder(tmp_path):
    architecture = Architecture(in_channels=3, ndim=3, widths=(4, 8), norm="instance")
    labels = LabelKind("binary", (0, 255), None, "masks hold 0 and 255")
    card = Card(architecture=architecture.to_dict(), classes=["background", "cell"], labels=labels)
    save_model(tmp_path / "run" / "model.safetensors", build(architecture), card)
    return tmp_path / "run"


def test_a_net_of_a_paper(inspect, tmp_path):
    code, out, err = inspect("--net", "ronneberger2015")
    assert (code, err) == (0, "")
    rows = {line.split("  ")[0]: line.split() for line in out.splitlines()}
    assert rows["bottom"][1:] == ["4", "6", "1,024", "28", "x", "28", "140", "14,157,824", "11.6", "G"]
    assert rows["decoder 0"][2:] == ["0", "8", "2", "388", "x", "388", "188", "to", "204", "143,682", "18.0", "G"]
    assert "31,030,658 parameters; 150.4 G multiplications" in out
    assert "Input 572 x 572 fits; output 388 x 388; nearest sizes: 556 x 556 below, 588 x 588 above" in out
    drawing = tmp_path / "u.svg"
    code, out, err = inspect("--net", "ronneberger2015", "--out", drawing)  # as version 0.1 had it
    assert (code, out, err) == (0, f"Look at {drawing}\n", "inspect --out DRAWING.svg is now draw --out DRAWING.svg\n")
    assert "ronneberger2015" in ET.parse(drawing).getroot()[0].text


def test_a_trained_net(inspect, run_folder):
    for model in (run_folder, run_folder / "model.safetensors"):
        code, out, err = inspect(model, "--json", "--size", "30")
        found = json.loads(out)
        assert (code, err) == (0, "")
        assert (found["given_size"], found["size"], found["fits"]) == ([30] * 3, [30] * 3, True)
        assert (found["is_local"], "layers" in found) == (False, False)
        assert [stage["stage"] for stage in found["stages"]] == ["encoder 0", "bottom", "decoder 0"]
        weights = build(Architecture(in_channels=3, ndim=3, widths=(4, 8), norm="instance")).parameters()
        assert found["parameters"] == sum(p.numel() for p in weights)


def test_axes_and_channels_of_unet(inspect):
    code, out, _ = inspect("--size", "64x64x32", "--channels", 2, "--classes", 4, "--json", "--layers")
    found = json.loads(out)
    assert code == 0
    assert found["output_size"] == [64, 64, 32]
    assert (found["layers"][0]["channels"], found["layers"][-1]["channels"]) == (2, 4)
    assert sum(layer["macs"] for layer in found["layers"]) == found["macs"]


def test_every_layer(inspect):
    code, out, _ = inspect("--layers", "--size", "255")
    assert code == 0
    assert "encoder.blocks.0.0" in out
    assert "Input 255 x 255 does not fit, so everything is counted for 256 x 256" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--net", "vnet"], 1, "error: no net is named 'vnet'; expected unet, unet++, ronneberger2015"),
        (
            ["--net", "ronneberger2015", "--size", "9x9x9"],
            1,
            "error: ronneberger2015 is a 2D net, not one of 3 spatial axes",
        ),
        (["--divide-width", "2"], 1, "error: width_divisor is 2, but unet has no paper's widths"),
        (["RUN", "--net", "unet"], 1, "defines its net"),
        (["nowhere.safetensors"], 1, "there is no such model file"),
        (["--out", "u.png"], 1, "u.png: the drawing is an SVG; name a file that ends in .svg"),
        (["--out", "none/u.svg"], 1, "there is no folder none; make it first"),
        (["--size", "big"], 2, "'big' is not a size"),
        (["--channels", "0"], 2, "Invalid value for '--channels'"),
    ],
)
def test_wrong_use(inspect, run_folder, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    found, out, err = inspect(*(run_folder if word == "RUN" else word for word in arguments))
    assert (found, out) == (code, "")
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
