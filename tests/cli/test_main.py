"""The command line: every verb end to end, errors in a line and exit codes that mean something."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from unetkit import cli, io
from unetkit.cli.main import PANELS
from unetkit.data.synthetic import write_synthetic_cells
from unetkit.image import Image
from unetkit.model.files import read_model

VERBS = [verb for panel in PANELS.values() for verb in panel]
FAST = ("--set", "patches.size=32", "--set", "patches.batch=2", "--device", "cpu")


def in_process(*arguments, **options):
    """A process of its own: what a shell shows."""
    command = [sys.executable, "-c", "from unetkit.cli.main import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "cells"
    write_synthetic_cells(folder, n=4, size=(64, 64))
    return folder


@pytest.fixture(scope="module")
def trained(cells, tmp_path_factory):
    """A run folder made by the command line."""
    run = tmp_path_factory.mktemp("runs") / "run"
    done = CliRunner().invoke(cli.app, ["train", str(cells), "--out", str(run), "--steps", "2", *FAST])
    assert done.exit_code == 0, done.output
    return run


# --- help ---


def test_help_of_the_whole_and_of_every_verb():
    assert set(VERBS) >= {"check", "train", "predict", "evaluate", "report", "demo", "doctor"}
    done = CliRunner().invoke(cli.app, ["--help"])
    assert done.exit_code == 0
    for verb in VERBS:
        assert re.search(rf"^\s+{verb}\s", done.output, flags=re.MULTILINE)
        own = CliRunner().invoke(cli.app, [verb, "--help"])
        assert own.exit_code == 0
        assert "Usage:" in own.output
        assert "--help" in own.output


def test_help_imports_nothing_heavy():
    script = (
        "import sys\nfrom unetkit.cli.main import main\n"
        "sys.argv = ['unetkit', *sys.argv[1:]]\n"
        "try:\n    main()\n"
        "finally:\n    print('heavy:', sorted({'torch', 'numpy', 'scipy', 'skimage'} & set(sys.modules)))"
    )
    for arguments in ([], ["train"]):
        command = [sys.executable, "-c", script, *arguments, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.endswith("heavy: []\n")


def test_no_verb_shows_the_help():
    assert "train" in CliRunner().invoke(cli.app, []).output


# --- end to end ---


def test_check(run_cli, cells):
    code, out, err = run_cli("check", cells / "images", cells / "masks")
    assert (code, err) == (0, "")
    assert "4 images, 1 channel: 4 of 64 x 64" in out
    assert "read as background and foreground" in out
    assert out.endswith("All files can be used. Next: unetkit train, with the same folders.\n")
    code, out, _ = run_cli("check", cells, "--json")
    found = json.loads(out)
    assert (found["images"], found["channels"], sum(found["pixels"].values())) == (4, 1, 4 * 64 * 64)


def test_train_predict_evaluate(run_cli, cells, tmp_path):
    run, masks = tmp_path / "run", tmp_path / "masks"
    code, out, err = run_cli("train", cells, "--out", run, "--steps", 2, *FAST)
    assert (code, err) == (0, "")
    assert re.search(r"^Done: 2 steps in 0:0\d, validation Dice 0\.\d{4}$", out, flags=re.MULTILINE)
    assert out.rstrip().endswith(f"Look at {run / 'report.html'}. Next: unetkit predict {run} IMAGES --out MASKS")
    code, out, err = run_cli("predict", run, cells / "images", "--out", masks)
    assert (code, err) == (0, "")
    assert f"4 masks in {masks}, " in out
    assert "cells_000.png: 64 x 64 pixels, whole image at once" in out
    code, out, err = run_cli("evaluate", masks, cells / "masks", "--csv", tmp_path / "scores.csv")
    assert (code, err) == (0, "")
    assert "4 images, tolerance 2 px" in out
    assert len((tmp_path / "scores.csv").read_text().splitlines()) >= 5
    code, out, _ = run_cli("evaluate", cells / "masks", cells / "masks", "--json")
    assert code == 0
    assert len(json.loads(out)["per_image"]) == 4


def test_json_of_train_and_predict_is_all_that_is_printed(run_cli, cells, tmp_path):
    run = tmp_path / "run"
    code, out, _ = run_cli("train", cells, "--out", run, "--steps", 1, "--validation", 0, "--json", *FAST)
    result = json.loads(out)
    assert (code, result["run"], result["steps"], result["dice"]) == (0, str(run), 1, None)
    code, out, _ = run_cli("predict", run, cells / "images/cells_001.png", "--out", tmp_path / "m", "--json")
    (row,) = json.loads(out)
    assert (code, row["size"], row["mask"]) == (0, [64, 64], str(tmp_path / "m/cells_001.png"))
    assert row["time_s"] > 0


def test_options_of_predict(run_cli, trained, cells, tmp_path):
    arguments = (
        "predict",
        trained,
        cells / "images/cells_000.png",
        "--out",
        tmp_path,
        "--tta",
        "--memory",
        "20M",
    )
    assert run_cli(*arguments)[0] == 0
    code, _, err = run_cli(*arguments)
    assert code == 1
    assert err == (
        "error: 1 mask exists; add --overwrite, or --resume to make the others, or name another folder:\n"
        f"  {tmp_path / 'cells_000.png'}\n"
    )
    assert run_cli(*arguments, "--overwrite")[0] == 0


def test_volumes_take_a_patch_of_one_number(run_cli, tmp_path):
    write_synthetic_cells(tmp_path / "v", n=2, size=(16, 32, 32))
    code, _, err = run_cli(
        "train",
        tmp_path / "v",
        "--out",
        tmp_path / "run",
        "--steps",
        1,
        "--set",
        "patches.size=16",
        "--set",
        "patches.batch=2",
    )
    assert (code, err) == (0, "")
    assert read_model(tmp_path / "run")[0].ndim == 3


@pytest.mark.slow
def test_planes_patches_per_axis_and_augmentation(run_cli, tmp_path):
    write_synthetic_cells(tmp_path / "v", n=2, size=(16, 32, 32))
    options = ("--steps", 1, "--set", "patches.batch=2", "--device", "cpu")
    code, out, err = run_cli(
        "train", tmp_path / "v", "--out", tmp_path / "a", "--set", "patches.size=8x16x24", *options
    )
    assert (code, err) == (0, "")
    assert "patches.size 8 x 16 x 24: set" in out
    plain = ("--set", "patches.augmentation=none")
    arguments = ("train", tmp_path / "v", "--planes", 3, "--set", "patches.size=16", *plain, *options)
    code, out, err = run_cli(*arguments, "--out", tmp_path / "b")
    assert (code, err) == (0, "")
    assert "patches.augmentation none: set" in out
    net, card = read_model(tmp_path / "b")
    assert (net.ndim, net.in_channels, card.planes) == (2, 3, 3)
    code, out, err = run_cli("predict", tmp_path / "b", tmp_path / "v/images", "--out", tmp_path / "masks")
    assert (code, err) == (0, "")
    assert "16 x 32 x 32 pixels, plane by plane, each whole image at once" in out


def test_check_says_the_voxel_size_and_what_is_labelled(run_cli, tmp_path):
    labels = np.full((5, 20, 20), 255, np.uint8)
    labels[1], labels[1, :9] = 0, 1
    gray = np.random.default_rng(0).integers(0, 255, (1, 5, 20, 20), dtype=np.uint8)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    image = Image(gray, "czyx", (50.0, 4.6, 4.6), "nm")
    io.write(tmp_path / "images/s.ome.tif", image)
    io.write_labels(tmp_path / "masks/s.ome.tif", labels, like=image)
    code, out, err = run_cli("check", tmp_path)
    assert (code, err) == (0, "")
    assert "voxel size 50 x 4.6 x 4.6 nm\n" in out
    assert "20% of the voxels are labelled; the others are left out\n" in out
    code, out, _ = run_cli("check", tmp_path, "--json")
    found = json.loads(out)
    assert (found["spacing"], found["unit"], found["labelled"]) == ([50.0, 4.6, 4.6], "nm", 0.2)


def test_runs_are_named_after_their_data(run_cli, cells, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for images, masks in ((cells, None), (cells / "images", cells / "masks")):
        folders = [images] if masks is None else [images, masks]
        assert run_cli("train", *folders, "--steps", 1, "--validation", 0, *FAST)[0] == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["cells", "cells-2"]


def test_all_settings_are_listed_without_images(run_cli):
    code, out, err = run_cli("plan", "--settings")
    assert (code, err) == (0, "")
    assert "optim.learning_rate: float  [default: by rule]" in out.splitlines()
    assert run_cli("plan")[0] == 2  # images are missing


def test_report(run_cli, trained, tmp_path):
    code, out, _ = run_cli("report", trained, "--out", tmp_path / "page.html")
    assert (code, out) == (0, f"Look at {tmp_path / 'page.html'}\n")
    assert "<html" in (tmp_path / "page.html").read_text()[:500].lower()


# --- failed: exit 1, "error: ..." on stderr, no traceback ---


def failed(result, *parts):
    code, _, err = result
    assert code == 1
    assert err.startswith("error: ")
    assert "Traceback" not in err
    for part in parts:
        assert part in err
    return err


def test_bad_files_are_all_named(run_cli, cells, tmp_path):
    write_synthetic_cells(tmp_path / "d", n=4, size=(64, 64))
    (tmp_path / "d/images/cells_001.png").write_bytes(b"")
    (tmp_path / "d/masks/cells_003.png").write_text("?")
    names = ("cells_001.png: empty file (0 bytes)", "cells_003.png: not a PNG, JPEG or TIFF file")
    for arguments in (("check",), ("train", "--steps", 1, "--out", tmp_path / "run")):
        verb, *options = arguments
        err = failed(run_cli(verb, tmp_path / "d", *options), "error: 2 unusable files:\n", *names)
        assert len(err.splitlines()) == 3
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--validation", "2"], "error: data.validation_fraction is 2.0: input should be less than 1\n"),
        (["--net", "vgg"], "error: no net is named 'vgg'; expected unet, unet++, ronneberger2015"),
        (["--labels", "odd"], "error: labels='odd': expected one of auto, binary, classes, instances, foreground\n"),
        (
            ["--set", "device.compile=no way"],
            "error: device.compile is 'no way': input should be 'auto', 'yes' or 'no'\n",
        ),
        (
            ["--planes", "3"],
            "error: planes is 3, but the images have 2 spatial axes: it is for volumes, leave it out\n",
        ),
        (["--planes", "2"], "error: planes is 2; expected an odd number, such as 1, 3 or 5: the middle one"),
        (
            ["--set", "patches.augmentation=odd"],
            "error: patches.augmentation is 'odd': input should be 'full', 'oriented' or 'none'\n",
        ),
        (["--set", "patches.size=8x16x16"], "error: patches.size is (8, 16, 16); expected 2 sizes for a 2D net\n"),
        (["--set", "optim.learning_rate=-1"], "error: optim.learning_rate is -1.0: input should be greater than 0\n"),
        (
            ["--device", "cuda"],
            "error: device is 'cuda', but torch finds no CUDA device here: use --device cpu\n",
        ),
    ],
)
def test_values_that_are_not_possible(run_cli, cells, tmp_path, monkeypatch, options, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, _, err = run_cli("train", cells, "--steps", 1, "--out", tmp_path / "run", *options)
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith(message)
    assert not (tmp_path / "run").exists()


def test_folders_and_models_that_are_missing_or_foreign(run_cli, cells, trained, tmp_path):
    failed(run_cli("check", tmp_path / "none"), "there is no such folder of images")
    failed(run_cli("train", cells, "--steps", 1, "--out", trained), "add --resume to continue it")
    failed(
        run_cli("train", cells, "--steps", 2, "--seed", 9, "--out", trained, "--resume", *FAST),
        "planned with budget.seed 0, not 9",
    )
    failed(run_cli("evaluate", tmp_path / "none", cells / "masks"), "does not exist")
    out = ("--out", tmp_path / "out")
    failed(run_cli("predict", tmp_path, cells / "images", *out), "holds no model.safetensors")
    torch.save({"a": 1}, tmp_path / "model.pt")
    failed(run_cli("predict", tmp_path / "model.pt", cells / "images", *out), "is pickled")
    (tmp_path / "cut.safetensors").write_bytes((trained / "model.safetensors").read_bytes()[:5000])
    failed(run_cli("predict", tmp_path / "cut.safetensors", cells / "images", *out), "is truncated", "5000 bytes")
    failed(
        run_cli("predict", trained, cells / "images", *out, "--memory", "1k"), "a memory budget of 0 MB is too small"
    )
    colour = np.random.default_rng(0).integers(0, 255, (3, 64, 64), dtype=np.uint8)
    io.write(tmp_path / "rgb.png", Image(colour, "cyx", (1.0, 1.0)))
    failed(run_cli("predict", trained, tmp_path / "rgb.png", *out), "rgb.png: got an image of 3 channels, expected 1")
    assert not (tmp_path / "out").exists()


def test_an_error_in_a_shell_and_its_traceback():
    done = in_process("check", "nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: nowhere: there is no such folder of images\n"
    done = in_process("check", "nowhere", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("FileNotFoundError: nowhere: there is no such folder of images\n")


# --- wrong use: exit 2 ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "CELLS"], "give one budget: --time 10m, or --steps 2000"),
        (["train", "CELLS", "--time", "1m", "--steps", "5"], "give one budget: --time 10m, or --steps 2000"),
        (["train", "CELLS", "--steps", "5", "--resume"], "--resume continues a run: name its folder with --out"),
        (["train", "CELLS", "--time", "soon"], "'soon' is not a duration: expected one such as 90s, 10m or 1h30m"),
        (["train", "CELLS", "--time", "0s"], "the duration is '0s'; expected more than 0"),
        (["train", "CELLS", "--steps", "0"], "Invalid value for '--steps': "),
        (
            ["train", "CELLS", "--steps", "5", "--set", "patches.batch"],
            "'patches.batch' sets nothing: expected PATH=VALUE, such as patches.batch=2",
        ),
        (
            ["train", "CELLS", "--steps", "5", "--set", "patches.bach=2"],
            "patches.bach is not a setting of a plan: did you mean patches.batch?",
        ),
        (["train", "CELLS", "--steps", "5", "--seed", "-1"], "Invalid value for '--seed': "),
        (
            ["predict", "RUN", "CELLS", "--out", "m", "--memory", "lots"],
            "'lots' is not a memory size",
        ),
        (["predict", "RUN", "--out", "m"], "Missing argument"),
        (["train", "CELLS", "--stpes", "5"], "No such option: --stpes"),
        (["fly"], "No such command 'fly'"),
    ],
)
def test_wrong_use(run_cli, cells, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli(*(cells if argument == "CELLS" else argument for argument in arguments))
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


# --- stopped ---


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to a process")
def test_ctrl_c_stops_with_a_usable_model(cells, tmp_path):
    run = tmp_path / "run"
    script = "from unetkit.cli.main import main; main()"
    arguments = ["train", str(cells), "--out", str(run), "--time", "10m", "--set", "device.compile=no", *FAST]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    lines = []
    deadline = time.monotonic() + 60
    while not any("step 1 " in line for line in lines):
        assert select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))[0], lines
        lines.append(process.stdout.readline())
        assert lines[-1], process.stderr.read()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert re.search(r"^Stopped: [1-9]\d* steps in 0:\d\d, validation Dice 0\.\d{4}$", out, flags=re.MULTILINE)
    read_model(run)
    assert (run / "last" / "state.safetensors").exists()


def test_ctrl_c_elsewhere_exits_130(run_cli, cells, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("unetkit.data.check.load_usable", interrupted)
    code, out, err = run_cli("check", cells)
    assert (code, out) == (130, "")
    assert "Traceback" not in err


# --- real files ---


def test_real_data_can_be_used(run_cli):
    data = Path(os.environ.get("UNETKIT_DATA", Path(__file__).parents[2] / "shared/data"))
    if not data.is_dir():
        pytest.skip(f"no real data: {data} does not exist")
    code, out, err = run_cli("check", data / "isbi2012")
    assert (code, err) == (0, "")
    assert "24 images, 1 channel: 24 of 512 x 512" in out
    assert "the names count up" in out or "neighbours" in out


# --- plans, folds, tables ---


def test_a_plan_is_shown_changed_kept_and_followed(run_cli, cells, tmp_path):
    code, out, _ = run_cli(
        "plan", cells, "--time", "30s", "--set", "widths=4,8", "--set", "batch=2", "--out", tmp_path / "p"
    )
    assert code == 0
    assert re.search(r"net\.widths\s+4 x 8\s+set", out)
    assert re.search(r"learning_rate\s+0\.002\s+AdamW", out)
    assert re.search(r"On this machine: \d+ ms per step, about \d+ steps in 0:30, each image seen .* times", out)
    code, out, _ = run_cli("train", cells, "--plan", tmp_path / "p", "--steps", 2, "--out", tmp_path / "run", "--json")
    assert (code, json.loads(out)["steps"]) == (0, 2)
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert (plan["net"]["architecture"]["widths"], plan["patches"]["batch"]) == ([4, 8], 2)
    assert (plan["budget"]["steps"], plan["budget"]["time_s"]) == (2, None)
    code, _, err = run_cli(
        "train", cells, "--plan", tmp_path / "p", "--set", "patches.batch=3", "--out", tmp_path / "other"
    )
    assert (code, "leave out patches.batch" in err) == (1, True)
    code, _, err = run_cli("plan", cells, "--set", "bath=3")
    assert (code, "did you mean patches.batch?" in " ".join(err.split())) == (2, True)
    code, _, err = run_cli("plan", cells, "--set", "batch")
    assert (code, "expected PATH=VALUE" in err) == (2, True)


@pytest.mark.slow
def test_folds_and_what_follows(run_cli, cells, tmp_path):
    small = ("--set", "net.widths=4,8", "--set", "patches.size=32")
    code, out, _ = run_cli("train", cells, "--folds", 2, "--steps", 4, "--out", tmp_path / "run", *small)
    assert code == 0
    assert "Dice of the folds" in out
    assert (tmp_path / "run" / "report.html").is_file()
    code, out, _ = run_cli("predict", tmp_path / "run", cells / "images", "--out", tmp_path / "masks", "--uncertainty")
    assert code == 0
    assert len(list((tmp_path / "masks" / "uncertainty").iterdir())) == 4
    code, out, _ = run_cli(
        "measure", "table", cells / "masks", "--images", cells / "images", "--out", tmp_path / "t", "--rois"
    )
    assert code == 0
    assert re.search(r"\d+ objects in 4 masks: .* px²", out)
    assert len(list((tmp_path / "t").glob("*_rois.zip"))) == 4
    code, _, err = run_cli("inspect", tmp_path / "run", "--out", tmp_path / "page.html")
    assert (code, "holds the nets of 2 folds" in err) == (1, True)


def test_starting_from_a_run(run_cli, cells, trained, tmp_path):
    code, out, _ = run_cli("train", cells, "--from", trained, "--steps", 1, "--out", tmp_path / "run", "--json")
    assert (code, json.loads(out)["steps"]) == (0, 1)


def test_check_says_what_looks_wrong(run_cli, cells, tmp_path):
    shutil.copytree(cells, tmp_path / "data")
    images = sorted((tmp_path / "data" / "images").iterdir())
    shutil.copy(images[0], images[1])
    code, out, _ = run_cli("check", tmp_path / "data")
    assert code == 0
    assert re.search(rf"looks wrong: .*{images[1].name}: has the same pixels as {images[0].name}", out)
    code, out, _ = run_cli("check", tmp_path / "data", "--json")
    assert (code, len(json.loads(out)["suspicious"])) == (0, 1)
    images[2].write_bytes(b"\x89PNG\r\n\x1a\n")
    code, out, err = run_cli("check", tmp_path / "data")
    assert code == 1
    assert images[2].name in err
    assert images[1].name in out


def test_a_table_that_cannot_be_written_is_said_before_the_work(run_cli, cells, tmp_path):
    (tmp_path / "notes.txt").write_text("")
    for table, text in ((tmp_path / "notes.txt" / "a.csv", "is a file"), (tmp_path, "is a folder; name a file")):
        failed(run_cli("evaluate", tmp_path / "no masks", tmp_path / "none", "--csv", table), text)
    code, _, _ = run_cli("evaluate", cells / "masks", cells / "masks", "--csv", tmp_path / "new" / "folder" / "a.csv")
    assert code == 0
    assert (tmp_path / "new" / "folder" / "a.csv").is_file()
