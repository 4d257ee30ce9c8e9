"""Data sets whose masks are outlines: paired, drawn on their images, numbered over all files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from unetkit.data.check import check
from unetkit.data.dataset import load_dataset
from unetkit.data.pairs import find_pairs
from unetkit.errors import Problems
from unetkit.labels.options import LabelOptions

SIZE = (48, 60)


def box(y, x, side=8):
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def feature(ring, name="", **properties):
    properties |= {"classification": {"name": name}, "objectType": "annotation"} if name else {}
    return {"type": "Feature", "properties": properties, "geometry": {"type": "Polygon", "coordinates": [ring]}}


def collection(*features):
    return json.dumps({"type": "FeatureCollection", "features": features})


def shape(ring, label, **more):
    return {"label": label, "points": ring[:-1], "shape_type": "polygon", "group_id": None, **more}


def labelme(*shapes):
    return json.dumps({"shapes": shapes, "imageHeight": SIZE[0], "imageWidth": SIZE[1], "imagePath": "x.png"})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 255, SIZE).astype(np.uint8)
        Pillow.fromarray(pixels).save(tmp_path / "images" / f"a{i}.png")
    return tmp_path


def load(data: Path, masks: str | None = "masks", labels: str | LabelOptions = "auto"):
    pairs = find_pairs(data / "images", None if masks is None else data / masks)
    return load_dataset(pairs, labels=labels)


def test_objects_of_one_class_are_instances(data):
    for i in range(3):
        outlines = [feature(box(4, 4 + 9 * k)) for k in range(i + 1)]
        (data / "masks" / f"a{i}.geojson").write_text(collection(*outlines))
    dataset = load(data)
    assert dataset.kind.kind == "instances"
    assert [int(case.ids.max()) for case in dataset.cases] == [1, 2, 3]
    assert any("without a class: each is an object" in line for line in dataset.describe())


def test_classes_have_one_number_in_all_files(data):
    held = [("Wall", "Cell"), ("Cell",), ("Wall", "Gap")]
    for i, names in enumerate(held):
        outlines = [feature(box(10 * k, 5), name) for k, name in enumerate(names)]
        (data / "masks" / f"a{i}.geojson").write_text(collection(*outlines))
    dataset = load(data)
    assert dataset.class_names == ["background", "Cell", "Gap", "Wall"]
    assert dataset.class_pixels[1:].tolist() == [128, 64, 128]
    assert dataset.cases[0].labels[2, 7] == 3
    assert any("1 Cell, 2 Gap, 3 Wall; outside of them is background" in line for line in dataset.describe())


def test_stated_classes_are_those_of_the_outlines(data):
    for i in range(3):
        (data / "masks" / f"a{i}.json").write_text(labelme(shape(box(2, 2), "cell"), shape(box(20, 20), "wall")))
    stated = LabelOptions(classes=((0, "background"), (1, "wall"), (2, "cell"), (3, "gap")))
    dataset = load(data, labels=stated)
    assert dataset.cases[0].labels[3, 3] == 2
    assert dataset.class_names == ["background", "wall", "cell", "gap"]
    (data / "masks" / "labels.json").write_text(json.dumps({"names": ["background", "cell"]}))
    with pytest.raises(ValueError, match=r"name the classes wall, which .*labels.json does not"):
        load(data)


def test_labelme_files_beside_their_images(data):
    for i in range(3):
        (data / "images" / f"a{i}.json").write_text(labelme(*(shape(box(4, 4 + 12 * k), "cell") for k in range(3))))
    (data / "images" / "notes.txt").write_text("not of an image")
    pairs = find_pairs(data / "images")
    assert [pair.mask.name for pair in pairs] == ["a0.json", "a1.json", "a2.json"]
    assert load_dataset(pairs).kind.kind == "instances"


@pytest.mark.parametrize("name", ["a{}_RoiSet.zip", "a{}.zip", "a{}_rois.zip"])
def test_rois_of_imagej(data, name):
    roifile = pytest.importorskip("roifile")
    for i in range(3):
        rois = [roifile.ImagejRoi.frompoints(np.array(box(4, 4 + 12 * k)[:-1], float), name=f"{k}") for k in range(2)]
        roifile.roiwrite(data / "masks" / name.format(i), rois, mode="w")
    dataset = load(data)
    assert dataset.kind.kind == "instances"
    assert [np.count_nonzero(case.ids) for case in dataset.cases] == [128] * 3


def test_a_table_names_outlines(data):
    for i in range(3):
        (data / "masks" / f"outline {i}.txt").write_text("2 0.1 0.1 0.4 0.1 0.4 0.5 0.1 0.5\n0 0.6 0.6 0.9 0.6 0.9 0.9")
    (data / "masks" / "classes.txt").write_text("cell\nwall\ngap\n")
    rows = [f"images/a{i}.png,masks/outline {i}.txt" for i in range(3)]
    (data / "pairs.csv").write_text("\n".join(["image,mask", *rows]))
    dataset = load_dataset(find_pairs(data / "pairs.csv"))
    assert dataset.class_names == ["background", "cell", "gap"]


def coco(data: Path, n=3, **more) -> Path:
    images = [{"id": 7 + i, "file_name": f"train/a{i}.jpg", "height": 48, "width": 60} for i in range(n)]
    annotations = [
        {"id": k, "image_id": 7 + i, "category_id": 1 + k % 2, "segmentation": [np.ravel(box(4, 4 + 9 * k)).tolist()]}
        for i in range(n)
        for k in range(3)
    ]
    categories = [{"id": 1, "name": "wall"}, {"id": 2, "name": "cell"}]
    content = {"images": images, "annotations": annotations, "categories": categories, **more}
    (data / "annotations.json").write_text(json.dumps(content))
    return data / "annotations.json"


@pytest.mark.parametrize("place", ["annotations.json", "masks"])
def test_one_file_of_coco_for_a_folder(data, place):
    pytest.importorskip("pycocotools")
    file = coco(data)
    if place == "masks":
        file.rename(data / "masks" / file.name)
    dataset = load(data, place)
    assert dataset.class_names == ["background", "cell", "wall"]
    assert all(np.bincount(case.labels.ravel()).tolist() == [2688, 64, 128] for case in dataset.cases)
    if place == "masks":
        assert load_dataset(find_pairs(data)).class_names == dataset.class_names


def test_images_that_coco_does_not_name(data):
    coco(data, n=2)
    with pytest.raises(
        Problems, match=r"a2.png: .*annotations.json has no image of its name among 2, such as train/a0"
    ):
        find_pairs(data / "images", data / "annotations.json")


def test_one_bad_image_leaves_the_others_of_a_shared_file(data):
    pytest.importorskip("pycocotools")
    coco(data)
    Pillow.fromarray(np.zeros((10, 10), np.uint8)).save(data / "images" / "a1.png")
    result = check(data / "images", data / "annotations.json")
    assert len(result.dataset.cases) == 2
    assert "drawn on an image of 60 x 48 pixels (width x height), a1.png has 10 x 10" in "".join(result.errors)


def test_masks_of_pixels_come_before_outlines(data):
    for i in range(3):
        Pillow.fromarray(np.pad(np.full((8, 8), 255, np.uint8), ((0, 40), (0, 52)))).save(data / f"masks/a{i}.png")
        (data / "masks" / f"a{i}.json").write_text('{"author": "somebody"}')
    assert {pair.mask.suffix for pair in find_pairs(data)} == {".png"}
    (data / "masks" / "a2.png").unlink()
    (data / "masks" / "a2.json").write_text(labelme(shape(box(0, 0), "cell")))
    assert [pair.mask.suffix for pair in find_pairs(data)] == [".png", ".png", ".json"]


def test_outlines_without_an_image_and_images_without_outlines(data):
    for name in ("a0", "a1", "b7"):
        (data / "masks" / f"{name}.geojson").write_text(collection(feature(box(4, 4))))
    (data / "masks" / "a2.xml").write_text("<annotation/>")
    with pytest.raises(Problems) as caught:
        find_pairs(data)
    text = str(caught.value)
    assert "a2.png: no mask named a2.* (or a2_mask.*)" in text
    assert "(a2.xml: no format that is read)" in text
    assert "b7.geojson: no image belongs to this mask" in text


def test_names_and_numbers_are_not_mixed(data):
    for i in range(2):
        (data / "masks" / f"a{i}.json").write_text(labelme(shape(box(2, 2), "cell"), shape(box(20, 20), "wall")))
    Pillow.fromarray(np.full(SIZE, 1, np.uint8)).save(data / "masks" / "a2.png")
    with pytest.raises(Problems, match=r"a2.png: holds numbers, the other masks names"):
        load(data)


def test_rois_on_planes_of_a_volume(tmp_path):
    roifile, tifffile = pytest.importorskip("roifile"), pytest.importorskip("tifffile")
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for i in range(2):
        volume = np.random.default_rng(i).integers(0, 255, (5, *SIZE)).astype(np.uint8)
        tifffile.imwrite(tmp_path / f"images/a{i}.tif", volume, metadata={"axes": "ZYX"})
        rois = [roifile.ImagejRoi.frompoints(np.array(box(4, 4)[:-1], float), position=z) for z in (2, 3)]
        roifile.roiwrite(tmp_path / f"masks/a{i}.zip", rois, mode="w")
    dataset = load(tmp_path)
    assert dataset.ndim == 3
    labels = dataset.cases[0].labels
    assert [np.count_nonzero(plane) for plane in labels] == [0, 0, 64, 64, 0]  # roifile counts positions from 0
    assert any("do not say which of them are one object" in note for note in dataset.notes)


def tiles(folder: Path) -> list[Path]:
    """Three maps of 20 by 20 pixels of 10 m, side by side."""
    rasterio = pytest.importorskip("rasterio")
    (folder / "images").mkdir()
    paths = [folder / "images" / f"t{i}.tif" for i in range(3)]
    for i, path in enumerate(paths):
        pixels = np.random.default_rng(i).integers(1, 255, (20, 20)).astype(np.uint8)
        place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 5e5 + 200 * i, 0, -10, 5e6)}
        with rasterio.open(path, "w", driver="GTiff", height=20, width=20, count=1, dtype="uint8", **place) as file:
            file.write(pixels, 1)
    return paths


def test_one_file_of_polygons_for_the_tiles_of_a_map(tmp_path):
    """One polygon across the border of two tiles; nothing on the third."""
    tiles(tmp_path)
    ring = [[5e5 + 150, 5e6 - 50], [5e5 + 250, 5e6 - 50], [5e5 + 250, 5e6 - 100], [5e5 + 150, 5e6 - 100]]
    content = json.loads(collection(feature([*ring, ring[0]], **{"class": "field"})))
    content["crs"] = {"type": "name", "properties": {"name": "EPSG:32633"}}
    (tmp_path / "fields.geojson").write_text(json.dumps(content))
    dataset = load(tmp_path, "fields.geojson")
    assert [int((case.labels == 1).sum()) for case in dataset.cases] == [25, 25, 0]
    assert dataset.class_names == ["background", "field"]
    result = check(tmp_path / "images", tmp_path / "fields.geojson")
    assert [(issue.path.name, issue.reason[:13]) for issue in result.issues] == [("t2.tif", "marks nothing")]
    rows = "\n".join(f"images/t{i}.tif,fields.geojson" for i in range(3))
    (tmp_path / "pairs.csv").write_text(f"image,mask\n{rows}\n")
    assert load_dataset(find_pairs(tmp_path / "pairs.csv")).class_pixels.tolist() == dataset.class_pixels.tolist()


def test_a_shared_file_with_a_fault_names_the_image(data):
    pytest.importorskip("pycocotools")
    coco(data, categories=[{"id": 1, "name": "wall"}])
    with pytest.raises(Problems, match=r"annotations.json: annotation 1: category 2 is not among .*for .*a0.png"):
        load(data, "annotations.json")


def test_coco_beside_its_images(data):
    """As Roboflow exports it."""
    pytest.importorskip("pycocotools")
    coco(data).rename(data / "images" / "_annotations.coco.json")
    pairs = find_pairs(data / "images")
    assert [pair.image.name for pair in pairs] == ["a0.png", "a1.png", "a2.png"]
    assert load_dataset(pairs).class_names == ["background", "cell", "wall"]


def test_a_folder_of_yolo(data):
    """labels/train/*.txt, with the names of the classes two folders above."""
    pytest.importorskip("yaml")
    labels = data / "labels" / "train"
    labels.mkdir(parents=True)
    for i in range(3):
        (labels / f"a{i}.txt").write_text(f"{i % 2} 0.1 0.1 0.4 0.1 0.4 0.5 0.1 0.5\n")
    (data / "data.yaml").write_text("path: .\nnames:\n  0: root\n  1: leaf\n")
    dataset = load_dataset(find_pairs(data / "images", labels))
    assert dataset.class_names == ["background", "leaf", "root"]
    (data / "data.yaml").write_text("names: [root, leaf]\nkpt_shape: [17, 3]\n")
    with pytest.raises(Problems, match=r"data.yaml describes keypoints"):
        load_dataset(find_pairs(data / "images", labels))
