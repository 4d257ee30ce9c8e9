"""Classes that files name are kept by the plan and the model: a resume, masks and scores mean the same by them."""

import json

import numpy as np
import pytest
from PIL import Image as Picture

from unetkit.data.dataset import load_dataset
from unetkit.data.pairs import find_pairs
from unetkit.inference.files import predict_files
from unetkit.inference.predictor import Predictor
from unetkit.labels.options import LabelOptions, classes_text, parse_classes
from unetkit.metrics.folders import evaluate
from unetkit.model.files import read_model
from unetkit.training.loop import train
from unetkit.training.plan.rules import make_plan

SETTINGS = {"net": {"widths": (4, 8)}, "patches": {"size": (16, 16), "batch": 1}, "device": {"name": "cpu"}}


def box(y, x, side=9):
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]


@pytest.fixture
def data(tmp_path):
    """Images, LabelMe files, and label images with the same objects: wall is 30, cell 60."""
    for name in ("images", "outlines", "masks"):
        (tmp_path / name).mkdir()
    for i in range(4):
        boxes = {"wall": box(2, 3 + i), "a cell, round": box(20, 4 + i)}
        labels = np.zeros((32, 36), np.uint8)
        for value, ring in zip((30, 60), boxes.values(), strict=True):
            (x, y), (right, bottom) = ring[0], ring[2]
            labels[y : bottom + 1, x : right + 1] = value
        noise = np.random.default_rng(i).integers(0, 20, labels.shape)
        Picture.fromarray((labels * 3 + noise).astype(np.uint8)).save(tmp_path / f"images/a{i}.png")
        Picture.fromarray(labels).save(tmp_path / f"masks/a{i}.png")
        shapes = [{"label": name, "points": ring, "shape_type": "polygon"} for name, ring in boxes.items()]
        content = {"shapes": shapes, "imageHeight": 32, "imageWidth": 36}
        (tmp_path / f"outlines/a{i}.json").write_text(json.dumps(content))
    return tmp_path


NAMES = ["background", "a cell, round", "wall"]


@pytest.mark.slow
def test_names_of_outlines_are_kept(data, tmp_path):
    out = tmp_path / "run"
    images, outlines = data / "images", data / "outlines"
    train(images, outlines, out=out, steps=2, settings=SETTINGS)
    plan = json.loads((out / "plan.json").read_text())["data"]
    assert parse_classes(plan["classes"]) == tuple(enumerate(NAMES))
    assert plan["ignore"] == "none"
    train(images, outlines, out=out, steps=3, settings=SETTINGS, resume=True)
    card = read_model(out)[1]
    assert card.classes == NAMES
    assert card.labels.names == tuple(NAMES)
    predict_files(Predictor.load([out]), [images], tmp_path / "predicted")
    assert json.loads((tmp_path / "predicted/labels.json").read_text()) == {"values": [0, 1, 2], "names": NAMES}


def test_scores_know_which_number_is_which_name(data):
    """Of predictions with another order of the names, as a net that was trained on more classes writes them."""
    predicted = data / "masks"
    (predicted / "labels.json").write_text(json.dumps({"values": [0, 30, 60], "names": ["-", "wall", "a cell, round"]}))
    result = evaluate(predicted, data / "outlines")
    assert result.mean.dice == 1
    assert [score.name for score in result.per_image[0].classes] == ["-", "wall", "a cell, round"]


def test_a_resume_does_not_need_the_statement_any_more(data, tmp_path):
    statement = data / "masks" / "labels.json"
    statement.write_text(json.dumps({"values": [0, 30], "names": ["air", "wall"], "ignore": 60}))
    out = tmp_path / "run"
    train(data / "images", data / "masks", out=out, steps=1, settings=SETTINGS)
    plan = json.loads((out / "plan.json").read_text())["data"]
    assert (plan["classes"], plan["ignore"]) == ("0=air,30=wall", 60)
    statement.unlink()
    train(data / "images", data / "masks", out=out, steps=2, settings=SETTINGS, resume=True)
    assert read_model(out)[1].labels.ignore == 60


def test_what_a_person_says_is_not_replaced(data):
    classes = ((0, "air"), (30, "wall"), (60, "cell"))
    pairs = find_pairs(data / "images", data / "masks")
    dataset = load_dataset(pairs, labels=LabelOptions(classes=classes))
    settings = SETTINGS | {"data": {"classes": "0=air, 30=wall, 60=cell"}}
    assert make_plan(dataset, steps=1, settings=settings).data.classes == "0=air, 30=wall, 60=cell"
    assert make_plan(load_dataset(pairs), steps=1, settings=SETTINGS).data.classes == ""


@pytest.mark.parametrize("names", [("a", "b"), ("a, b", "c"), ("a=1", "2"), ("{", "}"), ("ä", " b ")])
def test_names_of_any_kind_are_kept(names):
    classes = tuple(enumerate(names))
    assert parse_classes(classes_text(classes)) == classes
