"""Files of outlines that are damaged, hostile, or of another image: refused in a line that names them."""

import base64
import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from unetkit.io import read_labels
from unetkit.io.grid import Grid
from unetkit.io.reading import read_coded_labels

SIZE = (20, 30)
SQUARE = [[2, 2], [6, 2], [6, 6], [2, 6], [2, 2]]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Pillow.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def feature(coordinates, kind="Polygon", **properties):
    geometry = None if coordinates is None else {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def collection(*features):
    return {"type": "FeatureCollection", "features": list(features)}


def labelme(*shapes, **more):
    return {"shapes": list(shapes), "imageHeight": SIZE[0], "imageWidth": SIZE[1], **more}


def shape(points, kind="polygon", **more):
    return {"label": "cell", "points": points, "shape_type": kind, **more}


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "nested more than 100 levels deep"),
        (b"\xff\xfe\x00", "not JSON"),
        ({"answer": 42}, "this is an object of answer"),
        ([], "this is other"),
        ({"type": "FeatureCollection"}, "without a list of features"),
        (collection(7), r"feature 0"),
        (collection(feature(None)), "holds no polygon: 1 features without a geometry"),
        (collection(feature([1, 2], "Point"), feature([[0, 0], [3, 3]], "LineString")), "1 Point, 1 LineString"),
        (collection(feature([])), "1 empty polygons"),
        (collection(feature([[[0, 0], [1, 1]]])), "fewer than three points"),
        (collection(feature([[[0, 0], [1, "x"], [2, 2], [0, 0]]])), "not two or more numbers each"),
        (collection(feature([[[0, 0], [1], [2, 2], [0, 0]]])), "not two or more numbers each"),
        (collection(feature([[0, 0], [1, 1], [2, 2]])), "of one number"),
        (collection(feature([7])), "expected rings, lists of points"),
        (collection(feature([[[0, 0], [float("nan"), 1], [2, 2], [0, 0]]])), "not a finite number"),
        (collection(feature([[[0, 0], [1e300, 1], [2, 2], [0, 0]]])), "no place in an image"),
        (collection(feature([[[50, 50], [60, 50], [60, 60], [50, 50]]])), "nothing lies on a.png"),
        (collection(feature([SQUARE], value=2**40)), "values from"),
        ({**collection(feature([SQUARE])), "crs": 7}, "its crs is 7"),
    ],
)
def test_geojson(image, tmp_path, content, message):
    path = tmp_path / "a.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=rf"^{path}: .*{message}"):
        read_labels(path, image=image)


def test_what_is_lost_is_noted(image, tmp_path):
    far, tiny = [[90, 90], [95, 90], [95, 95], [90, 90]], [[9.1, 9.1], [9.2, 9.1], [9.2, 9.2], [9.1, 9.1]]
    larger = [[1, 1], [8, 1], [8, 8], [1, 8]]  # not closed
    features = [feature([ring]) for ring in (SQUARE, far, tiny, larger)]
    (tmp_path / "a.geojson").write_text(json.dumps(collection(*features, feature([1, 2], "Point"))))
    mask = read_labels(tmp_path / "a.geojson", image=image)
    notes = "; ".join(mask.notes)
    assert "left out: 1 Point" in notes
    assert "1 of 4 outlines lie outside of the image" in notes
    assert "overlap in 16 pixels: there the later ones win" in notes
    assert "2 of 3 objects have no pixel" in notes
    assert "1 ring is not closed" in notes
    assert np.count_nonzero(mask.array) == 49


@pytest.mark.parametrize("content", [collection(), labelme(), ""])
def test_files_without_an_outline_are_background(image, tmp_path, content):
    path = tmp_path / ("a.txt" if content == "" else "a.json")
    path.write_text(content or "" if isinstance(content, str) else json.dumps(content))
    mask = read_labels(path, image=image)
    assert not mask.array.any()
    assert any("no outlines: background only" in note for note in mask.notes)


def mask_shape(array, points):
    stream = io.BytesIO()
    Pillow.fromarray(array).save(stream, "PNG")
    return shape(points, "mask", mask=base64.b64encode(stream.getvalue()).decode())


@pytest.mark.parametrize(
    "content, message",
    [
        (labelme(shape([[1, 1], [2, 2]])), r"shape 0 \(cell\): a polygon of 2 points"),
        (labelme(shape([[1, 1], [2, 2]], "line")), "no shape with an area: 1 line"),
        (labelme(shape([[1, float("inf")], [2, 2], [3, 3]])), "points.0.1"),
        (labelme(shape([[1, 1e12], [2, 2], [3, 3]])), "no place in an image"),
        (labelme(imageWidth=31), "image of 31 x 20 pixels"),
        (labelme(imageWidth=20, imageHeight=30), "was one of the two turned"),
        (labelme(shape([[1, 1], [3, 3]], "mask", mask="AAAA")), "its mask is not a PNG"),
        (labelme(mask_shape(np.ones((4, 4), np.uint8), [[1, 1], [3, 3]])), r"of \(4, 4\) pixels for a box of \(3, 3\)"),
        (labelme(shape([[40, 40], [50, 40], [50, 50]])), "all of its 1 outlines lie outside"),
    ],
)
def test_labelme(image, tmp_path, content, message):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"a.json: .*{message}"):
        read_labels(tmp_path / "a.json", image=image)


def test_every_shape_of_labelme_with_an_area(image, tmp_path):
    drawn = np.array([[255, 0], [255, 255]], np.uint8)
    shapes = [
        shape([[2, 2], [6, 6]], "rectangle"),
        shape([[15, 10], [15, 13]], "circle"),
        mask_shape(drawn, [[20, 2], [21, 3]]),
        shape([[25, 15], [29, 15], [29, 19], [25, 19]], group_id=1),
        shape([[25, 2], [29, 2], [29, 6], [25, 6]], group_id=1),
    ]
    (tmp_path / "a.json").write_text(json.dumps(labelme(*shapes, flags={"blurred": True, "checked": False})))
    mask = read_labels(tmp_path / "a.json", image=image)
    assert np.bincount(mask.array.ravel())[[1, 3, 4]].tolist() == [25, 3, 50]  # group 1 is one object
    assert mask.array[2:4, 20:22].tolist() == [[3, 0], [3, 3]]
    assert any("flags set in LabelMe, not used: blurred" in note for note in mask.notes)


@pytest.mark.parametrize(
    "line, message",
    [
        ("0 0.5 0.5 0.2 0.2", "line 1: a box .class, x, y, width, height."),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2 0.9", "8 numbers"),
        ("0 0.1 0.1 0.2 0.1 0.2 nan", "expected shares from 0 to 1"),
        ("0 10 10 20 10 20 20", "coordinates from 10 to 20"),
        ("-1 0.1 0.1 0.2 0.1 0.2 0.2", "class -1"),
        ("cell 0.1 0.1 0.2 0.1 0.2 0.2", "are not numbers"),
        ("5 0.1 0.1 0.2 0.1 0.2 0.2", "class 5, but the names are of 2 classes"),
        ("\u00e4", "not a text file of YOLO"),
    ],
)
def test_yolo(image, tmp_path, line, message):
    (tmp_path / "classes.txt").write_text("cell\nwall\n")
    (tmp_path / "a.txt").write_text(line + "\n")
    with pytest.raises(ValueError, match=rf"a.txt: .*{message}"):
        read_labels(tmp_path / "a.txt", image=image)


def coco(**annotation):
    images = [{"id": 1, "file_name": "../../a.png", "height": SIZE[0], "width": SIZE[1]}]
    own = {"id": 5, "image_id": 1, "category_id": 3, "segmentation": [[2, 2, 6, 2, 6, 6]], **annotation}
    return {"images": images, "annotations": [own], "categories": [{"id": 3, "name": "cell"}]}


@pytest.mark.parametrize(
    "content, message",
    [
        (coco(category_id=4), "annotation 5: category 4 is not among"),
        (coco(segmentation=[[2, 2, 6, 2]]), r"polygons of \[4\] numbers"),
        (coco(segmentation=[[2, 2, 6, 2, 6, float("nan")]]), "segmentation"),
        (coco(segmentation=[[2, 2, 6, 2, 6, 1e9]]), "no place in an image"),
        (coco(segmentation=[[0, 0, 9e6, 0] * 20]), "an outline of"),
        (coco(segmentation=[]), "has neither an outline"),
        (coco(segmentation=[], bbox=[1, 1, 3, 3]), "boxes only for a.png"),
        (coco(segmentation={"counts": [1, 2], "size": [20, 30]}), "do not add up to 20 x 30"),
        (coco(segmentation={"counts": "````", "size": [20, 30]}), "do not fit 20 x 30"),
        (coco(segmentation={"counts": "0", "size": [10**9, 10**9]}), "runs for an image of size"),
        ({"images": [], "annotations": []}, "0 of its images are named as a.png"),
        ({"images": [{"id": 1}]}, "not a file of COCO: images.0.file_name"),
        ({**coco(), "images": coco()["images"] * 2}, "2 of its images are named as a.png"),
        ({**coco(), "images": [{"id": 1, "file_name": "a.png", "height": 9, "width": 9}]}, "image of 9 x 9"),
    ],
)
def test_coco(image, tmp_path, content, message):
    pytest.importorskip("pycocotools")
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"c.json: .*{message}"):
        read_labels(tmp_path / "c.json", image=image)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_runs_of_both_kinds_crowds_and_boxes(image, tmp_path):
    mask = pytest.importorskip("pycocotools.mask")
    region = np.zeros(SIZE, np.uint8, order="F")
    region[10:14, 10:20] = 1
    packed = mask.encode(region)["counts"].decode()
    counts = [10 * 20 + 10, *[4, 16] * 9, 4, 20 * 10 + 6]
    size, box = list(SIZE), [24.5, 3.0, 1.0, 2.0]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 3, "segmentation": {"counts": packed, "size": size}, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 3, "segmentation": {"counts": counts, "size": size}, "iscrowd": 1},
        {"id": 3, "image_id": 1, "category_id": 3, "segmentation": [], "bbox": box},
    ]
    (tmp_path / "c.json").write_text(json.dumps({**coco(), "annotations": annotations[::2]}))
    found = read_labels(tmp_path / "c.json", image=image)
    np.testing.assert_array_equal(found.array == 1, region)
    assert np.argwhere(found.array == -1).tolist() == [[3, 24], [3, 25], [4, 24], [4, 25]]
    assert any("annotation 3" in note and "boxes are not labelled" in note for note in found.notes)
    (tmp_path / "c.json").write_text(json.dumps({**coco(), "annotations": annotations[1:2]}))
    np.testing.assert_array_equal(read_labels(tmp_path / "c.json", image=image).array > 0, region)


def zipped(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_rois_of_imagej(image, tmp_path):
    roifile = pytest.importorskip("roifile")
    roi = roifile.ImagejRoi.frompoints(np.array(SQUARE[:-1], float)).tobytes()
    line = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.LINE, x2=5, y2=5).tobytes()
    for entries, message in (
        ({"readme.txt": b"x"}, "without ROIs of ImageJ .*holds readme.txt"),
        ({"a.roi": b"Iout" + bytes(10)}, "(too short|ROI a is damaged, truncated)"),
        ({"a.roi": roi[:70]}, "ROI a is damaged, truncated"),
        ({"a.roi": line}, "no ROI with an area: 1 line"),
        ({"a.roi": bytes(2**26 + 1)}, "unpacks to more than"),
    ):
        path = zipped(tmp_path / "a.zip", entries)
        with pytest.raises(ValueError, match=rf"a.zip: .*{message}"):
            read_labels(path, image=image)
    mask = read_labels(zipped(tmp_path / "a.zip", {"x.roi": roi, "y.roi": line, "z.txt": b""}), image=image)
    assert np.count_nonzero(mask.array) == 16
    assert any("left out: 1 line" in note for note in mask.notes)
    whole = bytearray((tmp_path / "a.zip").read_bytes())
    whole[whole.index(b"PK\x01\x02") + 8] |= 1  # as if it were encrypted
    (tmp_path / "c.zip").write_bytes(whole)
    with pytest.raises(ValueError, match=r"c.zip: a zip that is damaged or cannot be unpacked"):
        read_labels(tmp_path / "c.zip", image=image)
    (tmp_path / "b.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"b.zip: "):
        read_labels(tmp_path / "b.zip", image=image)


def test_composites_rectangles_and_planes_of_imagej(image, tmp_path):
    roifile = pytest.importorskip("roifile")
    from unetkit.measurements.rois import object_rois

    ids = np.zeros(SIZE, np.uint8)
    ids[2:12, 2:12], ids[5:8, 5:8] = 1, 0
    (ring,) = object_rois(ids, None)
    ring.tofile(tmp_path / "a.roi")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.roi", image=image).array, ids)
    box = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, top=3, left=4, bottom=9, right=6, group=2)
    box.tofile(tmp_path / "b.roi")
    assert np.count_nonzero(read_labels(tmp_path / "b.roi", image=image).array[3:9, 4:6]) == 12
    for field in ("position", "z"):  # the latter of a stack with channels or times
        stack = [roifile.ImagejRoi.frompoints(np.array(SQUARE[:-1], float), **{field: z}) for z in (0, 4)]
        roifile.roiwrite(tmp_path / "c.zip", stack, mode="w")
        with pytest.raises(ValueError, match=r"several planes of a stack \(1, 5\), but the image has one"):
            read_labels(tmp_path / "c.zip", image=image)


def test_rois_of_imagej_beyond_65535(tmp_path):
    """The header has 16 bits for a place, the coordinates more."""
    pytest.importorskip("roifile")
    from unetkit.measurements.rois import object_rois, write_rois

    grid = Grid(tmp_path / "a.tif", (9, 70010), (1.0, 1.0))
    ids = np.zeros(grid.size, np.uint8)
    ids[1:4, 70000:70005], ids[1:6, 65530:65540], ids[3, 65534:65538] = 1, 2, 0  # the second has a hole
    write_rois(tmp_path / "a.zip", list(object_rois(ids, None)))
    np.testing.assert_array_equal(read_coded_labels(tmp_path / "a.zip", grid=grid)[0].array, ids)


def test_outlines_need_their_image(tmp_path):
    (tmp_path / "a.geojson").write_text(json.dumps(collection()))
    with pytest.raises(ValueError, match=r"a.geojson: outlines.*name the image"):
        read_labels(tmp_path / "a.geojson")
    with pytest.raises(FileNotFoundError, match=r"b.geojson"):
        read_labels(tmp_path / "b.geojson")


def test_many_points(image, tmp_path):
    angle = np.linspace(0, 2 * np.pi, 100_000)
    ring = np.stack([15 + 8 * np.cos(angle), 10 + 8 * np.sin(angle)], -1).round(6).tolist()
    (tmp_path / "a.geojson").write_text(json.dumps(collection(feature([ring]))))
    assert np.count_nonzero(read_labels(tmp_path / "a.geojson", image=image).array) == pytest.approx(201, abs=8)


@pytest.mark.parametrize(
    "name, content, missing, message",
    [
        ("a.geojson", collection(feature([SQUARE])), "rasterio", r"outlines need rasterio: .*unetkit\[geo\]"),
        ("c.json", coco(), "pycocotools", r"COCO need pycocotools: .*unetkit\[vectors\]"),
        ("a.gpkg", {}, "pyogrio", r"GeoPackages and shapefiles need pyogrio and shapely: .*unetkit\[vectors\]"),
    ],
)
def test_libraries_that_are_missing(image, tmp_path, monkeypatch, name, content, missing, message):
    for module in (missing, f"{missing}.features", f"{missing}.enums"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ImportError, match=message):
        read_labels(tmp_path / name, image=image)


def test_planes_as_qupath_writes_them(tmp_path):
    """On a volume each outline lies on its plane; one without a plane, or beyond the last, is refused."""
    grid = Grid(tmp_path / "a.tif", (4, *SIZE), (1.0, 1.0, 1.0))
    first, second = feature([SQUARE], objectType="annotation"), feature([SQUARE], objectType="annotation")
    first["geometry"]["plane"], second["geometry"]["plane"] = {"c": -1, "z": 1, "t": 0}, {"c": -1, "z": 3, "t": 0}
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(collection(first, second)))
    labels, code = read_coded_labels(path, grid=grid)
    assert [np.count_nonzero(plane) for plane in labels.array] == [0, 16, 0, 16]
    assert code.keys == {1: ""}
    second["geometry"]["plane"]["z"] = 4
    path.write_text(json.dumps(collection(first, second)))
    with pytest.raises(ValueError, match=r"a.geojson: outlines on plane 5 of a volume of 4 planes"):
        read_coded_labels(path, grid=grid)
    path.write_text(json.dumps(collection(first, feature([SQUARE], objectType="annotation"))))
    with pytest.raises(ValueError, match="1 of 2 outlines state no plane"):
        read_coded_labels(path, grid=grid)
