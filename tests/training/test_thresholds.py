"""Objects from masks of ids to masks of ids: trained, tuned, predicted whole and in blocks, scored."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from flat import train_flat

from unetkit import io
from unetkit.data.dataset import load_dataset
from unetkit.data.pairs import find_pairs
from unetkit.data.synthetic import synthetic_cells
from unetkit.image import Image
from unetkit.inference import mask_file
from unetkit.inference.execution import Execution
from unetkit.inference.predictor import Predictor, load_model
from unetkit.labels.instances import InstanceThresholds, decode, pack_maps, unpack_maps
from unetkit.metrics.folders import evaluate
from unetkit.model.files import read_model
from unetkit.training.thresholds import tune_thresholds, usual_thresholds
from unetkit.training.validation import predict_maps


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for i in range(6):
        image, ids = synthetic_cells((128, 160), seed=i)
        io.write(folder / "images" / f"{i}.png", Image(image[None], "cyx", (1.0, 1.0)))
        io.write_labels(folder / "masks" / f"{i}.png", ids)
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    return train_flat(
        data, out=out, steps=150, widths=(8, 16, 24), patch=(64, 64), batch=4, device="cpu", learning_rate=5e-3
    ).paths.root


def test_what_the_masks_say(data: Path) -> None:
    pairs = find_pairs(data)
    dataset = load_dataset(pairs)
    assert dataset.kind.has_distance
    assert dataset.kind.values == (0, 1, 2, 3, 4)
    assert "4 levels of distance" in dataset.kind.description
    case = dataset.cases[0]
    assert case.ids is not None
    assert np.array_equal(case.labels > 0, case.ids > 0)
    assert set(np.unique(case.classes)) == {0, 1}
    for plain in (load_dataset(pairs, labels="foreground"), load_dataset(pairs, objects=False)):
        assert plain.kind.values == (0, 1)
        assert plain.cases[0].ids is None
        assert np.array_equal(plain.cases[0].labels, case.classes)
    how = usual_thresholds(dataset.cases)
    assert 1 <= how.min_size < 300


def test_codes() -> None:
    probabilities = torch.rand(5, 6, 7).softmax(0).numpy()
    foreground, distance = unpack_maps(pack_maps(probabilities))
    assert np.allclose(foreground, 1 - probabilities[0], atol=1 / 255)
    assert np.allclose(distance, np.tensordot([0.125, 0.375, 0.625, 0.875], probabilities[1:], 1), atol=1 / 255)


@pytest.mark.slow
def test_a_run_finds_objects(data: Path, run: Path, tmp_path: Path) -> None:
    net, card = read_model(run)
    assert net.out_channels == 5
    assert isinstance(card.decoding, InstanceThresholds)
    scores = json.loads((run / "validation.json").read_text())
    assert [row["name"] for row in scores["pooled"]] == ["background", "foreground"]
    assert scores["objects"]["ap50"] > 0.2  # of a single image, to which the thresholds are not fitted
    [done] = load_model(run).predict_files([data / "images" / "0.png"], tmp_path)
    ids = io.read_labels(done.mask).array
    dataset = load_dataset(find_pairs(data))
    case = next(case for case in dataset.cases if case.name == "0")
    assert np.array_equal(ids, decode(*unpack_maps(predict_maps(Predictor(net, card), case)), card.decoding))
    found = evaluate(done.mask, data / "masks" / "0.png", labels="instances").objects
    assert found is not None
    assert found.ap50 > 0.3


@pytest.mark.slow
def test_a_large_image_is_made_in_blocks(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, _ = synthetic_cells((300, 260), seed=77)
    io.write(tmp_path / "a.tif", Image(image[None], "cyx", (1.0, 1.0)))
    whole = load_model(run).predict_files([tmp_path / "a.tif"], tmp_path / "whole")[0].mask
    monkeypatch.setattr(mask_file, "_OBJECT_BLOCK", {2: 64, 3: 16})
    monkeypatch.setattr(mask_file, "_STORED_FROM", 2**12)
    parts = load_model(run, Execution(tta=False)).predict_files([tmp_path / "a.tif"], tmp_path / "parts")[0].mask
    assert np.array_equal(io.read_labels(whole).array, io.read_labels(parts).array)
    averaged = load_model(run, Execution(tta=True)).predict_files([tmp_path / "a.tif"], tmp_path / "averaged")[0].mask
    assert io.read_labels(averaged).array.max() > 3


def test_thresholds_are_the_best_of_those_tried(data: Path) -> None:
    cases = load_dataset(find_pairs(data)).cases[:2]
    how = usual_thresholds(cases)
    levels = np.arange(5).reshape(-1, 1, 1)
    sure = [pack_maps(0.96 * (case.labels == levels) + 0.008) for case in cases]
    shy = [((code >> 8) // 2 << 8 | (code & 255)).astype(np.uint16) for code in sure]
    assert tune_thresholds(sure, cases, how).foreground == 0.5
    assert tune_thresholds(shy, cases, how).foreground < 0.5
    assert tune_thresholds(shy[:1], cases[:1], how).foreground < 0.5


def test_thresholds_of_a_single_image_are_kept_unless_all_of_it_gains(data: Path) -> None:
    """Where one of its strips alone would gain by another threshold, that may be chance."""
    case = load_dataset(find_pairs(data)).cases[0]
    how = usual_thresholds([case])
    levels = np.arange(5).reshape(-1, 1, 1)
    packed = pack_maps(0.96 * (case.labels == levels) + 0.008)
    packed[:, :40] = (packed[:, :40] >> 8) // 2 << 8 | (packed[:, :40] & 255)
    assert tune_thresholds([packed], [case], how) == how
