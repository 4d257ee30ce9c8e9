"""Predicted masks scored against true outlines, and outlines that are measured."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from unetkit.labels.options import LabelOptions
from unetkit.measurements.table import measure
from unetkit.metrics.folders import evaluate

SIZE = (40, 50)


def box(y, x, side=8):
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]


def labelme(path: Path, *shapes: tuple[str, list]) -> None:
    rows = [{"label": label, "points": points, "shape_type": "polygon"} for label, points in shapes]
    path.write_text(json.dumps({"shapes": rows, "imageHeight": SIZE[0], "imageWidth": SIZE[1]}))


def geojson(path: Path, *rings) -> None:
    polygons = [{"type": "Polygon", "coordinates": [[*ring, ring[0]]]} for ring in rings]
    features = [{"type": "Feature", "properties": {}, "geometry": polygon} for polygon in polygons]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def mask(path: Path, *boxes: tuple[int, int, int], side=8) -> None:
    array = np.zeros(SIZE, np.uint8)
    for value, y, x in boxes:
        array[y : y + side, x : x + side] = value
    Pillow.fromarray(array).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("predicted", "truth"):
        (tmp_path / name).mkdir()
    return tmp_path / "predicted", tmp_path / "truth"


def test_objects_against_outlines(folders):
    predicted, truth = folders
    for i in range(2):
        mask(predicted / f"a{i}.png", (1, 2, 2), (2, 2, 10), (3, 25, 25))
        geojson(truth / f"a{i}.geojson", box(2, 2), box(2, 10), box(25, 25))
    result = evaluate(predicted, truth)
    assert result.mean.dice == 1
    assert result.objects is not None
    one = evaluate(predicted / "a0.png", truth / "a0.geojson")
    assert one.mean.dice == 1
    assert evaluate(truth, predicted).mean.dice == 1


def test_a_binary_prediction_against_objects(folders):
    predicted, truth = folders
    mask(predicted / "a.png", (255, 2, 2), (255, 20, 20))
    geojson(truth / "a.geojson", box(2, 2), box(20, 20))
    assert evaluate(predicted, truth).mean.dice == 1


def test_classes_by_name(folders):
    predicted, truth = folders
    mask(predicted / "a.png", (1, 2, 2), (2, 20, 20), side=9)
    labelme(truth / "a.json", ("wall", box(2, 2)), ("cell", box(20, 20)))
    doubted = evaluate(predicted, truth)
    assert doubted.mean.dice == 0
    assert any("1 cell, 2 wall" in note and "are they in this order?" in note for note in doubted.notes)
    stated = LabelOptions(classes=((0, "background"), (1, "wall"), (2, "cell")))
    assert evaluate(predicted, truth, labels=stated).mean.dice == 1
    (predicted / "labels.json").write_text(json.dumps({"names": ["background", "wall", "cell"]}))
    assert evaluate(predicted, truth).mean.dice == 1


def test_outlines_of_two_people_are_drawn_on_their_image(folders):
    one, other = folders
    images = one.parent / "images"
    images.mkdir()
    for i in range(2):
        Pillow.fromarray(np.zeros(SIZE, np.uint8)).save(images / f"a{i}.png")
        geojson(one / f"a{i}.geojson", box(2, 2), box(2, 20))
        geojson(other / f"a{i}_mask.geojson", box(2, 2), box(2, 20 + 4 * i))
    with pytest.raises(ValueError, match=r"drawn on an image, as .* is: name the image, or the folder of images"):
        evaluate(one, other)
    result = evaluate(one, other, images=images)
    assert [image.dice for image in result.per_image] == [1, pytest.approx(0.75)]
    assert result.objects is not None
    assert evaluate(one / "a1.geojson", other / "a1_mask.geojson", images=images / "a1.png").dice == pytest.approx(0.75)
    (images / "a1.png").rename(images / "b.png")
    with pytest.raises(ValueError, match=r"a1\.geojson: no image of its name in .*images"):
        evaluate(one, other, images=images)


def test_two_files_of_coco_are_compared_image_by_image(tmp_path):
    """Also an image that one of them alone has objects in."""
    (tmp_path / "images").mkdir()
    boxes = {"one": {1: [box(2, 2)], 2: [box(9, 9)]}, "other": {1: [box(2, 6)]}}
    for i in (1, 2, 3):
        Pillow.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "images" / f"a{i}.png")
    for name, rings in boxes.items():
        rows = [{"id": i, "file_name": f"a{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in (1, 2)]
        outlines = [(i, ring) for i, several in rings.items() for ring in several]
        annotations = [
            {"id": k, "image_id": i, "category_id": 1, "iscrowd": 0, "segmentation": [np.ravel(ring).tolist()]}
            for k, (i, ring) in enumerate(outlines, start=1)
        ]
        content = {"images": rows, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    result = evaluate(tmp_path / "one.json", tmp_path / "other.json", images=tmp_path / "images")
    assert [(image.name, round(image.dice, 3)) for image in result.per_image] == [("a1", 0.5), ("a2", 0.0)]


def test_one_file_of_coco_is_the_truth_of_all(folders):
    pytest.importorskip("pycocotools")
    predicted, truth = folders
    images = [{"id": i, "file_name": f"a{i}.jpg", "height": SIZE[0], "width": SIZE[1]} for i in range(2)]
    rows = [{"image_id": i, "category_id": 1, "segmentation": [np.ravel(box(2, 2 + i)).tolist()]} for i in range(2)]
    content = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "cell"}]}
    (truth / "all.json").write_text(json.dumps(content))
    for i in range(2):
        mask(predicted / f"a{i}.png", (255, 2, 2 + i))
    for path in (truth, truth / "all.json"):
        assert evaluate(predicted, path).mean.dice == 1


def test_outlines_are_measured_on_their_image(folders, tmp_path):
    images, outlines = folders
    mask(images / "a.png", (200, 2, 2), (200, 20, 20))
    geojson(outlines / "a.geojson", box(2, 2), box(20, 20))
    result = measure([outlines / "a.geojson"], tmp_path / "out", images=images)
    assert result.objects == 2
    with result.table.open(newline="") as file:
        assert [row["area_px2"] for row in csv.DictReader(file)] == ["64.0", "64.0"]
    with pytest.raises(ValueError, match=r"a.geojson: outlines.*name the image"):
        measure([outlines / "a.geojson"], tmp_path / "out2")
