"""What the corners of a polygon mean: edges of pixels, or their middles, by the format; areas against other readers."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw
from scipy.ndimage import binary_dilation, binary_erosion

from unetkit.io import read_labels
from unetkit.io.grid import Grid
from unetkit.io.reading import read_coded_labels

SIZE = (40, 50)
SQUARE = [(2.0, 2.0), (6.0, 2.0), (6.0, 6.0), (2.0, 6.0)]
# Off the grid of pixels, and not convex.
ARROW = [(10.3, 5.2), (40.7, 20.4), (11.9, 35.1), (20.2, 19.8)]
# Columns from, and up to, that OpenCV 4.14.0 and 5.0.0 fill of it, row by row from 5 on:
# cv2.fillPoly(np.zeros(SIZE, np.uint8), [np.asarray(ARROW).astype(np.int32)], 1)
ARROW_OF_OPENCV = [(10, 12), (11, 14), (11, 16), (12, 18), (13, 20), (14, 22), (14, 24), (15, 26)]
ARROW_OF_OPENCV += [(16, 28), (16, 30), (17, 32), (18, 34), (19, 36), (19, 38), (20, 40), (19, 41)]
ARROW_OF_OPENCV += [(19, 40), (18, 38), (18, 36), (17, 34), (17, 32), (16, 30), (15, 28), (15, 26)]
ARROW_OF_OPENCV += [(14, 24), (14, 22), (13, 20), (13, 18), (12, 16), (12, 14), (11, 12)]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Pillow.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def closed(points):
    return [list(point) for point in (*points, points[0])]


def geojson(path: Path, *polygons) -> Path:
    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [closed(points)]}}
        for points in polygons
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def labelme(path: Path, *polygons) -> Path:
    shapes = [{"label": "cell", "points": [*map(list, points)], "shape_type": "polygon"} for points in polygons]
    path.write_text(json.dumps({"shapes": shapes, "imageHeight": SIZE[0], "imageWidth": SIZE[1]}))
    return path


def coco(path: Path, *polygons) -> Path:
    annotations = [
        {"id": i, "image_id": 1, "category_id": 1, "segmentation": [np.ravel(points).tolist()]}
        for i, points in enumerate(polygons, start=1)
    ]
    images = [{"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    path.write_text(json.dumps(content))
    return path


def yolo(path: Path, *polygons) -> Path:
    rows = [
        " ".join(f"{value:.6f}" for point in points for value in np.divide(point, SIZE[::-1])) for points in polygons
    ]
    path.write_text("".join(f"0 {row}\n" for row in rows))
    return path


def rois(path: Path, *polygons) -> Path:
    roifile = pytest.importorskip("roifile")
    for points in polygons:
        roifile.ImagejRoi.frompoints(np.asarray(points, np.float32)).tofile(path)
    return path


@pytest.mark.parametrize(
    "write, name, pixels",
    [
        (geojson, "a.geojson", 16),
        (rois, "a.roi", 16),
        (coco, "coco.json", 16),
        (labelme, "a.json", 25),
        (yolo, "a.txt", 25),
    ],
)
def test_a_square_of_four(image, tmp_path, write, name, pixels):
    if write is coco:
        pytest.importorskip("pycocotools")
    labels = read_labels(write(tmp_path / name, SQUARE), image=image).array
    assert np.count_nonzero(labels) == pixels
    assert labels.dtype == np.int32
    assert labels[2:6, 2:6].all()


def test_geojson_is_drawn_as_rasterio_does(image, tmp_path):
    features = pytest.importorskip("rasterio.features")
    shape = {"type": "Polygon", "coordinates": [closed(ARROW)]}
    labels = read_labels(geojson(tmp_path / "a.geojson", ARROW), image=image).array
    np.testing.assert_array_equal(labels, features.rasterize([shape], SIZE))


def test_imagej_rois_are_pixels_whose_middle_lies_inside(image, tmp_path):
    labels = read_labels(rois(tmp_path / "a.roi", ARROW), image=image).array
    from matplotlib.path import Path as Curve

    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    inside = Curve(np.asarray(ARROW, np.float32)).contains_points(np.stack([x.ravel(), y.ravel()], -1))
    np.testing.assert_array_equal(labels > 0, inside.reshape(SIZE))


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of pycocotools
def test_coco_is_drawn_as_pycocotools_does(image, tmp_path):
    mask = pytest.importorskip("pycocotools.mask")
    outside = [(-8.2, 30.1), (15.5, 31.9), (12.0, 55.3)]
    labels = read_labels(coco(tmp_path / "coco.json", ARROW, outside), image=image).array
    runs = mask.frPyObjects([np.ravel(points).tolist() for points in (ARROW, outside)], *SIZE)
    first, second = np.moveaxis(mask.decode(runs), -1, 0).astype(bool)
    np.testing.assert_array_equal(labels, np.where(second, 2, first))


def test_labelme_is_drawn_as_labelme_does(image, tmp_path):
    """By Pillow on the whole image, with the outline (labelme.utils.shape_to_mask of LabelMe 5)."""
    picture = Pillow.new("1", SIZE[::-1])
    ImageDraw.Draw(picture).polygon(ARROW, outline=1, fill=1)
    labels = read_labels(labelme(tmp_path / "a.json", ARROW), image=image).array
    np.testing.assert_array_equal(labels > 0, np.asarray(picture))


def test_yolo_is_drawn_as_opencv_fills(image, tmp_path):
    labels = read_labels(yolo(tmp_path / "a.txt", ARROW), image=image).array
    expected = np.zeros(SIZE, np.uint8)
    for row, (first, end) in enumerate(ARROW_OF_OPENCV, start=5):
        expected[row, first:end] = 1
    assert expected.sum() == 353
    assert np.count_nonzero(labels) == pytest.approx(expected.sum(), rel=0.1)
    touched = binary_dilation(labels > 0) & ~binary_erosion(labels > 0)
    assert (touched | (labels == expected)).all()  # lines that are not straight differ by a pixel


@pytest.mark.parametrize("size", [(9, 9), (20, 14), (301, 300)])
def test_an_oval_of_imagej_has_its_area(tmp_path, size):
    roifile = pytest.importorskip("roifile")
    height, width = size
    roi = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.OVAL, top=1, left=2, bottom=1 + height, right=2 + width)
    roi.tofile(tmp_path / "a.roi")
    grid = Grid(tmp_path / "a.png", (height + 4, width + 4), (1.0, 1.0))
    labels, _ = read_coded_labels(tmp_path / "a.roi", grid=grid)
    y, x = np.mgrid[: height + 4, : width + 4]
    inside = ((y - 0.5 - height / 2) / height) ** 2 + ((x - 1.5 - width / 2) / width) ** 2 <= 0.25
    assert np.count_nonzero(inside != (labels.array > 0)) <= 0.001 * inside.sum()
    rows, columns = np.nonzero(labels.array)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, height, 2, width + 1)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_coco_polygons_anywhere_are_those_of_the_whole_image(image, tmp_path):
    """Coordinates with one decimal lie on the ties of pycocotools' fifths of pixels."""
    mask = pytest.importorskip("pycocotools.mask")
    draw = np.random.default_rng(0)
    for _ in range(30):
        corners = (draw.uniform(-10, 60, 2) + draw.uniform(-12, 12, (5, 2))).round(1)
        runs = mask.frPyObjects([corners.ravel().tolist()], *SIZE)
        expected = mask.decode(runs)[..., 0]
        if expected.any():
            labels = read_labels(coco(tmp_path / "coco.json", corners), image=image).array
            np.testing.assert_array_equal(labels, expected)


def test_decimals_of_yolo_are_whole_pixels(tmp_path):
    """Where 0.333333 of 12 pixels is 4, and not 3.999996 rounded down."""
    (tmp_path / "a.txt").write_text("0 0.083333 0.083333 0.333333 0.083333 0.333333 0.333333 0.083333 0.333333\n")
    labels, _ = read_coded_labels(tmp_path / "a.txt", grid=Grid(tmp_path / "a.png", (12, 12), (1.0, 1.0)))
    rows, columns = np.nonzero(labels.array)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 4, 1, 4)
