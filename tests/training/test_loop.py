"""Training from files to a run folder: repeatable, resumable, and nothing half-written whatever goes wrong."""

import errno
import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from flat import train_flat
from recorder import Recorder
from safetensors.torch import load_file
from scipy import ndimage

from unetkit import io
from unetkit.data.synthetic import synthetic_cells, write_synthetic_cells
from unetkit.image import Image
from unetkit.inference.predictor import load_model
from unetkit.io.lock import sole_writer
from unetkit.model.files import read_model
from unetkit.training import loop as train_module
from unetkit.training import state as loop
from unetkit.training.checkpoint import load_state
from unetkit.training.plan.files import read_plan_file

SMALL = {"widths": (4, 8), "patch": (32, 32), "device": "cpu"}


@pytest.fixture(scope="session")
def cells(tmp_path_factory):
    """Six images of 64 x 64 with their masks."""
    folder = tmp_path_factory.mktemp("cells")
    write_synthetic_cells(folder, n=6, size=(64, 64))
    return folder


def fit(data, out, **options):
    return train_flat(data, out=out, **{"steps": 4, **SMALL, **options})


def weights(run):
    return load_file(run / "model.safetensors")


def same_weights(one, other):
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def logged(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def leftovers(folder):
    return [path for path in folder.rglob("*") if ".tmp" in path.name]


# --- what a run gives ---


def test_a_run_learns_and_leaves_everything_behind(cells, tmp_path):
    recorder = Recorder()
    result = fit(cells, tmp_path / "run", steps=60, learning_rate=1e-2, progress=recorder)
    run = result.paths.root
    steps = recorder.steps
    assert [update.values["step"] for update in steps] == list(range(1, 61))
    losses = [update.values["loss"] for update in steps]
    assert losses[-1] < 0.7 * np.mean(losses[:5])
    assert steps[-1].share == 1.0
    assert steps[-1].values["time_left_s"] == 0.0
    assert "dice" not in steps[0].values
    assert 0 <= steps[-1].values["dice"] <= 1
    assert (result.steps, result.was_interrupted) == (60, False)
    assert result.dice > 0.6
    assert {path.name for path in run.iterdir()} == {
        "plan.json", "data.json", "model.safetensors", "last", "log.jsonl", "previews", "validation.json",
        "validation.csv",
    }  # fmt: skip
    names = {path.name for path in (run / "previews").iterdir()}
    assert names == {"early.png", "latest.png", "best.png", "median.png", "worst.png"}
    entries = logged(run)
    assert [entry["step"] for entry in entries] == list(range(3, 61, 3))
    assert all(0 <= entry["mean_dice"] <= 1 and entry["loss"] > 0 for entry in entries)
    net, card = read_model(run)
    assert card.score == pytest.approx(result.dice)
    assert card.classes == ["background", "foreground"]
    assert net.architecture.widths == (4, 8)
    plan = read_plan_file(run / "plan.json")
    assert (plan.budget.steps, plan.patches.size, plan.data.n_images, plan.data.images) == (60, (32, 32), 6, str(cells))
    assert "reading files: 6 of 6" in recorder.messages
    assert any(message.startswith("patches.size 32 x 32: ") for message in recorder.messages)


def test_the_same_seed_gives_the_same_bits(cells, tmp_path):
    for name in ("a", "b"):
        fit(cells, tmp_path / name, steps=6, seed=3)
    fit(cells, tmp_path / "c", steps=6, seed=4)
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


def test_training_on_everything(cells, tmp_path):
    result = fit(cells, tmp_path / "run", validation=0)
    assert (result.dice, result.scores, result.steps) == (None, None, 4)
    assert read_model(tmp_path / "run")[1].score is None
    assert not (tmp_path / "run" / "validation.json").exists()
    assert "dice" not in logged(tmp_path / "run")[0]


def test_a_budget_of_time(cells, tmp_path):
    result = fit(cells, tmp_path / "run", steps=None, time_s=1.5)
    assert result.steps > 1
    assert result.time_s < 3
    assert result.dice is not None
    assert logged(tmp_path / "run")


def test_the_original_net_with_unpadded_convolutions(cells, tmp_path):
    """It sees 188 pixels and predicts 36 of them; the masks have the size of the images all the same."""
    options = {"net": "ronneberger2015", "divide_width": 16, "widths": None, "patch": None, "batch": 1}
    fit(cells, tmp_path / "run", **options, steps=2)
    plan = read_plan_file(tmp_path / "run" / "plan.json")
    assert plan.patches.size == (220, 220)
    net, card = read_model(tmp_path / "run")
    torch.nn.init.zeros_(net.heads[0].weight)
    net.heads[0].bias.data = torch.tensor([0.0, 1.0])
    from unetkit.model.files import save_model

    save_model(tmp_path / "all.safetensors", net, card)
    image = tmp_path / "odd.png"
    io.write(image, Image(np.zeros((1, 61, 75), np.uint8), "cyx", (1.0, 1.0)))
    (done,) = load_model(tmp_path / "all.safetensors").predict_files([image], tmp_path / "masks")
    mask = io.read_labels(done.mask).array
    assert mask.shape == (61, 75)
    assert (mask == 255).all()  # every pixel is predicted, to the border


def test_border_weights_change_what_is_learned(cells, tmp_path):
    fit(cells, tmp_path / "plain")
    fit(cells, tmp_path / "weighted", border_weight=True)
    assert not same_weights(tmp_path / "plain", tmp_path / "weighted")
    assert read_plan_file(tmp_path / "weighted" / "plan.json").patches.border_weight


@pytest.mark.parametrize("size", [(20, 64), (5, 7)])
def test_images_smaller_than_the_patch(tmp_path, size):
    for i in range(3):
        image = np.random.default_rng(i).integers(0, 255, (1, *size), dtype=np.uint8)
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        io.write(tmp_path / f"images/{i}.png", Image(image, "cyx", (1.0, 1.0)))
        io.write_labels(tmp_path / f"masks/{i}.png", (image[0] > 128).astype(np.uint8) * 255)
    result = fit(tmp_path, tmp_path / "run")
    assert result.steps == 4
    (done,) = load_model(tmp_path / "run").predict_files([tmp_path / "images/0.png"], tmp_path / "out")
    assert io.read_labels(done.mask).size == size


def test_volumes(tmp_path):
    write_synthetic_cells(tmp_path, n=3, size=(16, 32, 32))
    result = fit(tmp_path, tmp_path / "run", patch=16, steps=2)
    assert result.dice is not None
    assert read_model(tmp_path / "run")[0].ndim == 3


def noise(folder, *, n=2, size=(10, 24, 24), channels=1, every=1, spacing=(1.0, 1.0, 1.0)):
    """Volumes of smooth noise, their masks where it is high; labelled in one plane out of `every`, else 255."""
    for i in range(n):
        rng = np.random.default_rng(i)
        values = ndimage.gaussian_filter(rng.normal(size=(channels, *size)), (0, 2, 2, 2))
        values = (255 * (values - values.min()) / np.ptp(values)).astype(np.uint8)
        labels = (values[0] > np.median(values[0])).astype(np.uint8)
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        axes = Image(values, "czyx", spacing, "µm")
        io.write(folder / f"images/{i}.ome.tif", axes)
        labels[[z for z in range(size[0]) if z % every]] = 255
        io.write_labels(folder / f"masks/{i}.ome.tif", labels, like=axes)
    return folder


@pytest.mark.parametrize(("planes", "channels"), [(1, 1), (3, 2)])
def test_planes_of_volumes(tmp_path, planes, channels):
    data = noise(tmp_path / "data", channels=channels)
    result = fit(data, tmp_path / "run", planes=planes, patch=16, steps=2)
    assert 0 <= result.dice <= 1
    net, card = read_model(tmp_path / "run")
    assert (net.ndim, net.in_channels, card.planes) == (2, planes * channels, planes)
    (done,) = load_model(tmp_path / "run").predict_files([data / "images/0.ome.tif"], tmp_path / "masks")
    assert io.read_labels(done.mask).size == (10, 24, 24)
    again = fit(data, tmp_path / "run", planes=planes, patch=16, steps=2, resume=True)
    assert (again.steps, again.dice) == (2, result.dice)
    with pytest.raises(ValueError, match=rf"planned with data\.planes {planes}, not 5"):
        fit(data, tmp_path / "run", planes=5, patch=16, steps=2, resume=True)


@pytest.mark.parametrize("planes", [None, pytest.param(1, marks=pytest.mark.slow)])
def test_one_labelled_plane_in_five(tmp_path, planes):
    data = noise(tmp_path / "data", every=5, n=1)
    recorder = Recorder()
    patch = (5, 16, 16) if planes is None else 16
    options = {"planes": planes, "patch": patch, "steps": 40, "validation": 0, "learning_rate": 1e-2}
    fit(data, tmp_path / "run", **options, progress=recorder)
    losses = [update.values["loss"] for update in recorder.steps]
    assert "20% of the voxels are labelled; the others are left out" in recorder.messages
    assert losses[-1] < 0.7 * np.mean(losses[:5])


def test_sections_are_not_turned_into_each_other(tmp_path, monkeypatch):
    """Voxel sizes reach the augmentation, and a run that goes on keeps the one that it was planned with."""
    data = noise(tmp_path / "data", spacing=(8.0, 1.0, 1.0))
    used = []
    real = loop.Sampler

    def sampler(cases, patch, target, batch, augmentation, seed, **options):
        used.append(augmentation)
        return real(cases, patch, target, batch, augmentation, seed, **options)

    monkeypatch.setattr(loop, "Sampler", sampler)
    fit(data, tmp_path / "run", patch=(4, 16, 16), steps=1)
    fit(data, tmp_path / "run", patch=(4, 16, 16), steps=1, resume=True)
    fit(data, tmp_path / "none", patch=(4, 16, 16), steps=1, augmentation="none")
    assert [one.spacing for one in used] == [(8.0, 1.0, 1.0), (8.0, 1.0, 1.0), None]
    assert [one.flip for one in used] == [True, True, False]
    architecture = read_model(tmp_path / "run")[0].architecture
    assert (architecture.strides, architecture.kernels) == (((1, 2, 2),), ((1, 3, 3), (1, 3, 3)))


def test_a_table_whose_images_share_their_names(cells, tmp_path):
    rows = ["image,mask,group"]
    for i, name in enumerate(f"cells_00{i}" for i in range(6)):
        folder = tmp_path / f"p{i}"
        folder.mkdir()
        (folder / "scan.png").write_bytes((cells / f"images/{name}.png").read_bytes())
        (folder / "mask.png").write_bytes((cells / f"masks/{name}.png").read_bytes())
        rows.append(f"p{i}/scan.png,p{i}/mask.png,p{i}")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    fit(tmp_path / "table.csv", tmp_path / "run", validation=0.34)
    evaluation = json.loads((tmp_path / "run" / "validation.json").read_text())
    assert len({image["name"] for image in evaluation["per_image"]}) == 2


# --- resuming ---


def test_a_resumed_run_is_the_same_bits_and_logs_no_step_twice(cells, tmp_path, monkeypatch):
    fit(cells, tmp_path / "whole", steps=8)
    monkeypatch.setattr(train_module, "_SAVE_EVERY_S", 0.0)
    stop_after(monkeypatch, 5)
    interrupted = fit(cells, tmp_path / "run", steps=8)
    monkeypatch.undo()
    assert (interrupted.steps, interrupted.was_interrupted) == (5, True)
    assert read_model(tmp_path / "run")[1].score is not None  # usable as it is
    with (tmp_path / "run" / "log.jsonl").open("a") as log:
        log.write('{"step": 7, "later": "than the state"}\n{"step": 8, "torn')
    (tmp_path / "run" / "last" / ".state.safetensors.123.tmp").write_bytes(b"half")
    recorder = Recorder()
    result = fit(cells, tmp_path / "run", steps=8, resume=True, progress=recorder)
    assert "resumed at step 5" in recorder.messages
    assert (result.steps, result.was_interrupted) == (8, False)
    assert same_weights(tmp_path / "whole", tmp_path / "run")
    assert [entry["step"] for entry in logged(tmp_path / "run")] == list(range(1, 9))
    assert not leftovers(tmp_path / "run")


def stop_after(monkeypatch, n, number=signal.SIGINT):
    """Ctrl-C in the middle of step n."""
    real = train_module.Training.take_step

    def take_step(self):
        if self.step == n - 1:
            signal.raise_signal(number)
        return real(self)

    monkeypatch.setattr(train_module.Training, "take_step", take_step)


def test_ctrl_c_before_the_first_step_still_gives_a_model(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(train_module, "choose_forward", lambda training: signal.raise_signal(signal.SIGINT) or "")
    result = fit(cells, tmp_path / "run")
    assert (result.steps, result.was_interrupted) == (1, True)
    read_model(tmp_path / "run")


def test_a_second_ctrl_c_stops_at_once(cells, tmp_path, monkeypatch):
    def impatient(self):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(train_module.Training, "take_step", impatient)
    with pytest.raises(KeyboardInterrupt):
        fit(cells, tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) == before


def test_resuming_a_run_that_never_saved_starts_it(cells, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".plan.json.7.tmp").write_text("{")
    with pytest.raises(FileExistsError, match="add --resume"):
        fit(cells, tmp_path / "run")
    fit(cells, tmp_path / "run", resume=True)
    fit(cells, tmp_path / "whole", resume=True)
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    assert not leftovers(tmp_path / "run")


def test_resuming_a_finished_run_changes_nothing(cells, tmp_path):
    first = fit(cells, tmp_path / "run")
    before = weights(tmp_path / "run")
    again = fit(cells, tmp_path / "run", resume=True)
    assert (again.steps, again.dice) == (first.steps, first.dice)
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(tmp_path / "run").items())


@pytest.fixture(scope="module")
def finished(cells, tmp_path_factory):
    """A run that is over, for tests that try to resume it in a wrong way."""
    run = tmp_path_factory.mktemp("finished") / "run"
    fit(cells, run, steps=2)
    return run


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": None, "time_s": 60.0}, r"planned with budget\.time_s None, not 60.0"),
        ({"seed": 5}, r"planned with budget\.seed 0, not 5"),
        ({"widths": (8, 16)}, r"planned with net\.widths \[4, 8\], not \(8, 16\)"),
        ({"patch": 16}, r"planned with patches\.size \(32, 32\), not \(16, 16\)"),
        ({"net": "ronneberger2015"}, r"planned with net\.name unet, not ronneberger2015"),
    ],
)
def test_resuming_by_another_plan(cells, finished, given, message):
    with pytest.raises(ValueError, match=message):
        fit(cells, finished, resume=True, **{"steps": 2, **given})


def test_resuming_on_other_data(cells, finished, tmp_path):
    write_synthetic_cells(tmp_path / "seven", n=7, size=(64, 64))
    with pytest.raises(ValueError, match=r"planned with data\.n_images 6, not 7"):
        fit(tmp_path / "seven", finished, steps=2, resume=True)
    write_synthetic_cells(tmp_path / "colour", n=6, size=(64, 64))
    for path in (tmp_path / "colour" / "images").iterdir():
        rgb = np.random.default_rng(0).integers(0, 255, (3, 64, 64), dtype=np.uint8)
        io.write(path, Image(rgb, "cyx", (1.0, 1.0)))
    with pytest.raises(ValueError, match="planned with channels 1, not 3"):
        fit(tmp_path / "colour", finished, steps=2, resume=True)


def test_resuming_with_a_plan_that_cannot_be_read(cells, tmp_path):
    (tmp_path / "plan.json").write_text('{"batch": "many"}')
    message = r"plan\.json: is not a plan: patches\.batch is 'many': input should be a valid integer"
    with pytest.raises(ValueError, match=message):
        fit(cells, tmp_path, resume=True)


# --- bad input leaves nothing behind ---


def refused(error, message, data, out, **options):
    with pytest.raises(error, match=message):
        fit(data, out, **options)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 1.5}, r"data\.validation_fraction is 1\.5"),
        ({"batch": 0}, "batch is 0"),
        ({"net": "vgg"}, "no net is named 'vgg'"),
        ({"bath": 3}, r"bath is not a setting of a plan: did you mean patches\.batch"),
        ({"labels": "some"}, "labels='some': expected one of"),
        ({"steps": None}, "give one budget"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"planes": 3}, "planes is 3, but the images have 2 spatial axes: it is for volumes"),
        ({"planes": 4}, "planes is 4; expected an odd number"),
        ({"planes": -1}, "planes is -1; expected an odd number"),
    ],
)
def test_values_that_are_not_possible(cells, tmp_path, options, message):
    refused(ValueError, message, cells, tmp_path / "run", **options)


def test_bad_files(cells, tmp_path):
    refused(FileNotFoundError, "there is no such folder of images", tmp_path / "none", tmp_path / "run")
    broken = tmp_path / "broken"
    write_synthetic_cells(broken, n=3, size=(64, 64))
    for name in ("cells_000.png", "cells_002.png"):
        (broken / "images" / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    message = r"2 unusable files:\n  .*cells_000\.png: .*\n  .*cells_002\.png: "
    refused(ValueError, message, broken, tmp_path / "run")


def test_a_single_image_is_enough(tmp_path):
    """A part of it is held out."""
    write_synthetic_cells(tmp_path / "one", n=1, size=(64, 64))
    recorder = Recorder()
    assert 0 <= fit(tmp_path / "one", tmp_path / "run", progress=recorder).dice <= 1
    assert any("20% of every image held out" in message for message in recorder.messages)
    assert fit(tmp_path / "one", tmp_path / "all", validation=0, steps=1).dice is None


def test_a_run_folder_that_exists(cells, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=re.escape(f"{tmp_path}: exists and is not empty; add --resume")):
        fit(cells, tmp_path)
    with pytest.raises(FileExistsError, match=r"notes\.txt: is a file; name a folder"):
        fit(cells, tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    fit(cells, tmp_path / "empty", steps=1)


# --- while it runs ---


def test_a_training_that_diverges_says_so_and_keeps_its_last_good_model(cells, tmp_path):
    with pytest.raises(RuntimeError, match=r"training diverged: .* smaller learning rate than 1e\+30"):
        fit(cells, tmp_path / "run", steps=400, learning_rate=1e30)
    read_model(tmp_path / "run")


def test_a_disk_that_fills_up_keeps_the_last_good_model(cells, tmp_path, monkeypatch):
    fit(cells, tmp_path / "whole", steps=8)
    real, renamed = os.replace, []

    def replace(source, target):
        renamed.append(Path(target).name)
        if renamed.count("state.safetensors") > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match=r"state\.safetensors: No space left on device; nothing was written"):
        fit(cells, tmp_path / "run", steps=8)
    monkeypatch.undo()
    assert load_state(tmp_path / "run" / "last" / "state.safetensors")[1]["step"] == 3
    read_model(tmp_path / "run")
    assert not leftovers(tmp_path / "run")
    fit(cells, tmp_path / "run", steps=8, resume=True)  # there is room again
    assert same_weights(tmp_path / "whole", tmp_path / "run")
    assert [entry["step"] for entry in logged(tmp_path / "run")] == list(range(1, 9))


# --- starting from a model ---


def test_a_training_goes_on_from_another_model(cells, tmp_path):
    first = fit(cells, tmp_path / "first", steps=40, learning_rate=1e-2)
    again = train_flat(
        cells, out=tmp_path / "again", steps=1, patch=(32, 32), device="cpu", start=str(first.paths.root)
    )
    assert again.dice == pytest.approx(first.dice, abs=0.05)
    net, _ = read_model(again.paths.root)
    assert net.architecture.widths == (4, 8)
    plan = json.loads(again.paths.plan.read_text())
    assert plan["net"]["init_from"] == str(first.paths.root)
    assert plan["optim"]["learning_rate"] == 3e-4


def test_a_model_to_start_from_has_its_own_net(cells, tmp_path):
    first = fit(cells, tmp_path / "first")
    for options in ({"widths": (4, 8)}, {"block": "dense"}, {"net": "unet++"}):
        with pytest.raises(ValueError, match="leave out net"):
            train_flat(cells, out=tmp_path / "again", steps=1, start=str(first.paths.root), **options)
    with pytest.raises(FileNotFoundError):
        train_flat(cells, out=tmp_path / "again", steps=1, start=str(tmp_path / "nothing"))
    assert not (tmp_path / "again").exists()


# --- pixels of several sizes ---


def test_images_of_other_pixels_are_resampled_and_masks_are_their_size(tmp_path):
    for i in range(6):
        image, ids = synthetic_cells((64, 64), seed=i, n_cells=5)
        factor = 2 if i == 0 else 1
        grown = [np.kron(one, np.ones((factor, factor), one.dtype)) for one in (image, ids)]
        for part, array in zip(("images", "masks"), grown, strict=True):
            (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
            path, step = tmp_path / "data" / part / f"c{i}.tif", 0.5 / factor
            if part == "images":
                io.write(path, Image(array[None], "cyx", (step, step), "µm"))
            else:
                io.write_labels(path, Image(array, "yx", (step, step), "µm"))
    recorder = Recorder()
    result = fit(tmp_path / "data", tmp_path / "run", steps=2, progress=recorder)
    assert any("1 of 6 images have pixels of another size: resampled to 0.5 x 0.5 µm" in m for m in recorder.messages)
    assert read_model(result.paths.root)[1].resample
    (done,) = result.predictor().predict_files([tmp_path / "data" / "images" / "c0.tif"], tmp_path / "out")
    assert io.read_labels(done.mask).size == (128, 128)
    recorder = Recorder()
    fit(tmp_path / "data", tmp_path / "as_they_are", steps=1, resample=False, progress=recorder)
    assert not any("another size" in message for message in recorder.messages)
    assert not read_model(tmp_path / "as_they_are")[1].resample


# --- one run, one writer; the end of a job ---


def test_a_run_that_another_process_writes(cells, tmp_path):
    with sole_writer(tmp_path / "run"), pytest.raises(FileExistsError, match=r"process .* writes into this folder"):
        fit(cells, tmp_path / "run")


def test_sigterm_leaves_a_model_and_a_state(cells, tmp_path, monkeypatch):
    stop_after(monkeypatch, 3, signal.SIGTERM)
    before = signal.getsignal(signal.SIGTERM)
    stopped = fit(cells, tmp_path / "run", steps=5)
    monkeypatch.undo()
    assert (stopped.steps, stopped.was_interrupted) == (3, True)
    assert signal.getsignal(signal.SIGTERM) == before
    assert fit(cells, tmp_path / "run", steps=5, resume=True).steps == 5


def test_a_large_seed(cells, tmp_path):
    assert fit(cells, tmp_path / "run", steps=2, seed=2**63 - 1).steps == 2
    with pytest.raises(ValueError, match=r"seed is .*less than 9223372036854775808"):
        fit(cells, tmp_path / "none", steps=2, seed=2**63)
    assert not (tmp_path / "none").exists()


def test_images_without_an_object_have_no_dice(cells, tmp_path):
    for path in (cells / "images").iterdir():
        mask = io.read_labels(next((cells / "masks").glob(f"{path.stem}.*")))
        is_first = path.stem == min(other.stem for other in (cells / "images").iterdir())
        (tmp_path / "d" / "masks").mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / "images").mkdir(exist_ok=True)
        (tmp_path / "d" / "images" / path.name).write_bytes(path.read_bytes())
        io.write_labels(tmp_path / "d" / "masks" / f"{path.stem}.png", (mask.array > 0).astype(np.uint8) * is_first)
    recorder = Recorder()
    run = fit(tmp_path / "d", tmp_path / "run", steps=3, progress=recorder)
    assert (run.dice, read_model(tmp_path / "run")[1].score) == (None, None)
    assert any(message.startswith("no object in the images held out") for message in recorder.messages)
    assert all("mean_dice" not in entry and "pixel_error" in entry for entry in logged(tmp_path / "run"))


def test_a_finished_run_goes_on_with_more_steps_and_not_with_other_data(cells, tmp_path):
    shutil.copytree(cells, tmp_path / "d")
    fit(tmp_path / "d", tmp_path / "run", steps=2)
    recorder = Recorder()
    run = fit(tmp_path / "d", tmp_path / "run", steps=4, resume=True, progress=recorder)
    assert (run.steps, run.plan.budget.steps, read_plan_file(tmp_path / "run" / "plan.json").budget.steps) == (4, 4, 4)
    assert [entry["step"] for entry in logged(tmp_path / "run")][-1] == 4
    assert any(message.startswith("budget: 4, not 2 steps as planned") for message in recorder.messages)
    for part in ("images", "masks"):
        first = min((tmp_path / "d" / part).iterdir())
        first.rename(first.with_stem("zz"))
    with pytest.raises(ValueError, match=r"under other names: .* as zz"):
        fit(tmp_path / "d", tmp_path / "run", steps=6, resume=True)
    with pytest.raises(ValueError, match="under other names"):
        run.dataset()
