"""Cross-validation: every image is scored by the net that has not seen it, and all nets predict as one."""

import json

import numpy as np
import pytest
import torch
from flat import cross_validate_flat
from recorder import Recorder

from unetkit import io
from unetkit.data.dataset import Case, load_dataset
from unetkit.data.pairs import find_pairs
from unetkit.data.split import split, train_val_split
from unetkit.data.synthetic import write_synthetic_cells
from unetkit.inference.execution import Execution
from unetkit.inference.outputs import Outputs
from unetkit.inference.predictor import load_model
from unetkit.model.files import read_members, read_model
from unetkit.report import write_report
from unetkit.training.cross_validation import DoubtfulMask

STEPS = 60
SMALL = {"widths": (4, 8), "patch": (32, 32), "device": "cpu", "learning_rate": 1e-2}


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Six images, one of which has the mask of nothing, in three folds."""
    folder = tmp_path_factory.mktemp("folds")
    write_synthetic_cells(folder / "cells", n=6, size=(64, 64))
    recorder = Recorder()
    result = cross_validate_flat(folder / "cells", out=folder / "run", folds=3, steps=STEPS, progress=recorder, **SMALL)
    return folder, result, recorder


def test_every_image_is_held_out_once():
    cases = [
        Case(f"c{i}", np.zeros((1, 4, 4)), np.zeros((4, 4), np.uint8), None, f"g{i // 2}", None) for i in range(10)
    ]
    seen = []
    for k in range(4):
        training, held_out = split(cases, fraction=0.2, seed=0, fold=(k, 4))
        assert len(training) + len(held_out) == 10
        assert not {case.group for case in training} & {case.group for case in held_out}
        seen += [case.name for case in held_out]
    assert sorted(seen) == sorted(case.name for case in cases)
    with pytest.raises(ValueError, match="fold 0 of 6 cannot be made of 5 images or groups"):
        split(cases, fraction=0.2, seed=0, fold=(0, 6))


def test_strips_of_few_images_are_folds():
    case = Case("c", np.zeros((1, 10, 41)), np.ones((10, 41), np.uint8), None, None, None)
    held_out = [train_val_split([case], fraction=0.2, seed=0, fold=(k, 4))[1][0].labels != 255 for k in range(4)]
    assert (np.sum(held_out, axis=0) == 1).all()


def test_what_is_left_behind(run):
    folder, found, recorder = run
    names = {path.name for path in found.paths.root.iterdir()}
    folds = {f"fold_{k}" for k in range(3)}
    assert names == folds | {"out_of_fold", "validation.json", "validation.csv", "folds.json", "ensemble.json"}
    assert (len(found.dice), found.steps, found.was_interrupted) == (3, STEPS, False)
    assert len(found.evaluation.per_image) == 6
    assert found.evaluation.mean.dice == pytest.approx(np.mean(found.dice), abs=0.1)
    masks = sorted(path.name for path in (found.paths.root / "out_of_fold").iterdir())
    assert masks == sorted(path.name for path in (folder / "cells" / "images").iterdir())
    shares = [update.share for update in recorder.updates if update.total]
    assert shares == sorted(shares)
    assert "fold 2 of 3" in recorder.messages
    left = [update.values["time_left_s"] for update in recorder.steps]
    assert left[0] > left[-10] > left[-1] == 0
    assert json.loads((found.paths.root / "folds.json").read_text())["dice"] == list(found.dice)


def test_all_nets_predict_as_one(run, tmp_path):
    folder, found, _ = run
    images = sorted((folder / "cells" / "images").iterdir())[:2]
    load_model(found.paths.root).predict_files(
        images, tmp_path / "out", outputs=Outputs(probabilities=True, uncertainty=True)
    )
    nets, card = read_members(found.paths.root)
    assert len(nets) == 3
    dataset = load_dataset(find_pairs(folder / "cells"))
    with torch.no_grad():
        logits = [net(torch.from_numpy(np.asarray(dataset.cases[0].image))[None])[0] for net in nets]
    mean = torch.stack([one.softmax(0) for one in logits]).mean(0)
    calibrated = (mean.log() / card.temperature).softmax(0)
    foreground = 1 - calibrated[0].numpy() if card.labels.has_distance else calibrated[1].numpy()
    written = io.read_labels(tmp_path / "out" / "probability" / images[0].name).array
    assert np.abs(written - 100 * foreground).max() <= 0.51
    entropy = -(foreground * np.log(foreground) + (1 - foreground) * np.log(1 - foreground)) / np.log(2)
    unsure = io.read_labels(tmp_path / "out" / "uncertainty" / images[0].name).array
    assert np.abs(unsure - 100 * entropy).max() <= 1
    load_model(found.paths.root, Execution(memory_bytes=2**21)).predict_files(
        images[:1], tmp_path / "small", outputs=Outputs(probabilities=True)
    )
    small = io.read_labels(tmp_path / "small" / "probability" / images[0].name).array
    assert np.abs(small.astype(int) - written).max() <= 1


def test_engines_and_one_net_are_refused_where_there_are_several(run, tmp_path):
    folder, found, _ = run
    with pytest.raises(ValueError, match="holds the nets of 3 folds: name one, such as"):
        read_model(found.paths.root)
    with pytest.raises(ValueError, match="an ensemble of 3 nets is computed by torch"):
        load_model(found.paths.root, Execution(engine="openvino")).predict_files(
            [folder / "cells" / "images"], tmp_path / "out"
        )


def test_the_page(run, tmp_path):
    _, found, _ = run
    text = write_report(found.paths.root, tmp_path / "page.html").read_text()
    assert f"<b>{found.evaluation.mean.dice:.3f}</b>" in text
    assert text.count('href="fold_') == 3
    assert "Masks in doubt" in text


def test_a_mask_in_doubt():
    one = DoubtfulMask("a", 0.2, 0.4)
    assert "even by nets trained on it" in str(one)
    assert "rare" in str(DoubtfulMask("a", 0.2, 0.95))


def test_a_cross_validation_is_resumed(run):
    folder, found, _ = run
    again = cross_validate_flat(folder / "cells", out=found.paths.root, folds=3, steps=STEPS, resume=True, **SMALL)
    assert again.dice == found.dice
    with pytest.raises(FileExistsError):
        cross_validate_flat(folder / "cells", out=found.paths.root, folds=3, steps=STEPS, **SMALL)


def test_a_single_image_in_strips(tmp_path):
    write_synthetic_cells(tmp_path / "one", n=1, size=(64, 96))
    found = cross_validate_flat(tmp_path / "one", out=tmp_path / "run", folds=2, steps=4, **SMALL)
    assert len(found.evaluation.per_image) == 1
    assert len(list((tmp_path / "run" / "out_of_fold").iterdir())) == 1
