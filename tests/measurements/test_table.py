"""Tables of objects: sizes and places in physical units, gray values, outlines that ImageJ reads."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import roifile
import tifffile
from rasterio.features import shapes
from rasterio.transform import Affine
from rasterio.warp import transform_geom

from unetkit import io
from unetkit.errors import Problems
from unetkit.image import Image
from unetkit.measurements.table import measure, measure_objects

DATA = Path(os.environ.get("UNETKIT_DATA", Path(__file__).parents[3] / "shared" / "data"))


def disc(size=(40, 50), centre=(15, 20), radius=8.0):
    y, x = np.indices(size)
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def rows_of(table):
    with table.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_disc_is_measured():
    ids = np.where(disc(), 7, 0)
    (row,) = measure_objects(ids, spacing=(0.5, 0.5), unit="µm")
    assert (row["object"], row["pixels"], row["at_border"]) == (7, int(disc().sum()), 0)
    assert row["area_um2"] == pytest.approx(disc().sum() / 4)
    assert (row["y_um"], row["x_um"]) == pytest.approx((7.5, 10.0))
    assert row["diameter_um"] == pytest.approx(8.0, abs=0.1)
    assert row["major_axis_um"] == pytest.approx(8.0, abs=0.1)
    assert (row["y_first"], row["y_last"], row["x_first"], row["x_last"]) == (7, 23, 12, 28)


def test_volumes_have_volumes_by_their_spacing():
    ids = np.zeros((6, 8, 8), np.uint16)
    ids[1:3, 2:6, 0:4] = 3
    (row,) = measure_objects(ids, spacing=(2.0, 0.5, 0.5), unit="mm")
    assert row["volume_mm3"] == pytest.approx(32 * 0.5)
    assert (row["z_mm"], row["y_mm"], row["x_mm"]) == pytest.approx((3.0, 1.75, 0.75))
    assert row["at_border"] == 1


def test_gray_values_by_channel():
    ids = np.array([[1, 1, 0, 4]])
    image = np.array([[[2, 4, 9, 5]], [[10, 20, 90, 50]]])
    first, second = measure_objects(ids, image=image)
    assert [first[f"{name}_0"] for name in ("mean", "min", "max")] == [3, 2, 4]
    assert [second[f"{name}_1"] for name in ("mean", "min", "max")] == [50, 50, 50]
    with pytest.raises(ValueError, match=r"\(1, 4\).*\(2, 4\)"):
        measure_objects(ids, image=np.zeros((1, 2, 4)))


def test_no_object_is_no_row():
    assert measure_objects(np.zeros((4, 5), int)) == []


def folder(path, masks, images=None):
    path.mkdir(parents=True)
    for name, mask in masks.items():
        io.write_labels(path / name, Image(mask, "yx", (0.5, 0.5), "µm"))
    return path


def test_a_folder_of_ids_and_of_classes(tmp_path):
    ids = {f"{i}.tif": np.where(disc(radius=3 + i), i + 1, 0).astype(np.uint16) for i in range(3)}
    ids["0.tif"][30:34, 30:34] = 9
    measurements = measure([folder(tmp_path / "ids", ids)], tmp_path / "out", labels="instances")
    rows = rows_of(measurements.table)
    assert [(row["mask"], row["object"]) for row in rows] == [
        ("0.tif", "1"),
        ("0.tif", "9"),
        ("1.tif", "2"),
        ("2.tif", "3"),
    ]
    assert (measurements.masks, measurements.objects, measurements.unit) == (3, 4, "µm²")
    assert float(rows[1]["area_um2"]) == 4
    assert measurements.sizes[1] == 4
    classes = {"a.tif": np.zeros((20, 20), np.uint8)}
    classes["a.tif"][2:4, 2:4], classes["a.tif"][10:12, 2:4], classes["a.tif"][5:9, 5:9] = 1, 1, 2
    measurements = measure([folder(tmp_path / "classes", classes)], tmp_path / "out2")
    assert [(row["class"], row["object"]) for row in rows_of(measurements.table)] == [
        ("1", "1"),
        ("1", "2"),
        ("2", "1"),
    ]


def test_outlines_for_imagej(tmp_path):
    mask = np.zeros((20, 30), np.uint8)
    mask[2:5, 3:9] = 4
    mask[10:12, 10:12] = 6
    measurements = measure([folder(tmp_path / "m", {"a.tif": mask})], tmp_path / "out", labels="instances", rois=True)
    rois = roifile.roiread(measurements.rois[0])
    assert [roi.name for roi in rois] == ["00004-1", "00006-1"]
    assert (rois[0].left, rois[0].top) == (3, 2)
    x, y = rois[0].coordinates().T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert area == 18  # edges of pixels, not their middles


def test_all_problems_at_once(tmp_path):
    masks = folder(tmp_path / "m", {"a.tif": np.ones((8, 8), np.uint8), "b.tif": np.ones((8, 9), np.uint8)})
    images = tmp_path / "i"
    images.mkdir()
    io.write(images / "a.tif", Image(np.zeros((1, 8, 8), np.uint8), "cyx", (1.0, 1.0)))
    with pytest.raises(Problems, match=r"1 unusable mask:\n.*b\.tif: no image") as caught:
        measure([masks], tmp_path / "o", images=images)
    assert caught.value.bad_files == {masks / "b.tif"}
    io.write(images / "b.tif", Image(np.zeros((1, 8, 8), np.uint8), "cyx", (1.0, 1.0)))
    io.write_labels(masks / "c.tif", Image(np.ones((8, 8), np.uint8), "yx", (1.0, 1.0), "px"))
    io.write(images / "c.tif", Image(np.zeros((1, 8, 8), np.uint8), "cyx", (1.0, 1.0)))
    with pytest.raises(ValueError, match=r"(?s)b\.tif: is \(8, 9\).*most are 2D in µm.*c\.tif"):
        measure([masks], tmp_path / "o", images=images)
    assert not (tmp_path / "o").exists()
    (masks / "c.tif").unlink()
    io.write(images / "b.tif", Image(np.zeros((1, 8, 9), np.uint8), "cyx", (1.0, 1.0)))
    measure([masks], tmp_path / "o", images=images)
    with pytest.raises(FileExistsError, match=r"objects\.csv"):
        measure([masks], tmp_path / "o")
    measure([masks], tmp_path / "o", overwrite=True)


# --- results without an object, holes, pixels without data, ids far apart ---


@pytest.mark.parametrize("labels, shape", [("auto", (9, 8)), ("instances", (3, 9, 8))])
def test_masks_without_an_object_are_a_table_without_a_row(tmp_path, labels, shape):
    masks = tmp_path / "m"
    masks.mkdir()
    for name in ("a.tif", "b.tif"):
        io.write_labels(masks / name, Image(np.zeros(shape, np.uint8), "zyx"[-len(shape) :], (0.5,) * len(shape), "µm"))
    found = measure([masks], tmp_path / "out", labels=labels)
    assert (found.masks, found.objects, found.describe()) == (2, 0, "2 masks hold no object")
    (header,) = found.table.read_text().splitlines()
    assert header.startswith("mask,object,pixels,area_um2" if len(shape) == 2 else "mask,object,pixels,volume_um3")


def area(ring):
    x, y = np.asarray(ring, float).T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def test_holes_are_left_out_of_outlines(tmp_path):
    mask = np.zeros((30, 40), np.uint8)
    mask[2:20, 3:30] = 1
    mask[5:9, 6:11], mask[12:15, 20:24], mask[24:28, 30:38] = 0, 0, 1
    found = measure([folder(tmp_path / "m", {"a.tif": mask})], tmp_path / "out", rois=True)
    holed, whole = roifile.roiread(found.rois[0])
    assert (holed.composite, whole.composite, holed.name) == (True, False, "00001-1")
    assert (holed.left, holed.top) == (3, 2)
    outer, *holes = sorted(map(area, holed.coordinates(multi=True)), reverse=True)
    assert (outer - sum(holes), holes) == (18 * 27 - 32, [20, 12])
    assert area(whole.coordinates()) == 32


def save_map(path, array, epsg=None, transform=(500000, 10, 0, 5e6, 0, -10), nodata=None):
    """A map as GDAL writes it."""
    c, a, b, f, d, e = transform
    height, width = array.shape
    shape = {"height": height, "width": width, "count": 1, "dtype": array.dtype}
    place = {"crs": epsg and f"EPSG:{epsg}", "transform": Affine(a, b, c, d, e, f), "nodata": nodata}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
        file.write(array, 1)
    return path


@pytest.mark.parametrize("labels, nodata", [("auto", 7), ("instances", 65535)])
def test_pixels_without_data_are_no_object_and_no_gray_value(tmp_path, labels, nodata):
    mask, image = np.zeros((12, 20), np.uint16), np.full((12, 20), 5, np.float32)
    mask[2:5, 2:6], mask[:, 15:] = 1, nodata
    image[2, 2:6] = -9999
    save_map(tmp_path / "m.tif", mask, 32633, nodata=nodata)
    save_map(tmp_path / "i.tif", image, 32633, nodata=-9999)
    found = measure([tmp_path / "m.tif"], tmp_path / "out", labels=labels, images=tmp_path / "i.tif")
    (row,) = rows_of(found.table)
    assert (row["pixels"], float(row["area_m2"]), float(row["mean_0"]), float(row["min_0"])) == ("12", 1200, 5, 5)


@pytest.mark.parametrize("ids", [(3, 4_000_000_000), (2, 2**62)])
def test_ids_far_apart_cost_nothing(ids):
    for ndim in (2, 3):
        labels = np.zeros((6,) * ndim, np.int64)
        labels[1], labels[4] = ids
        rows = measure_objects(labels)
        assert [(row["object"], row["pixels"]) for row in rows] == [(i, 6 ** (ndim - 1)) for i in ids]


# --- on the ground ---


def ground_area(path, epsg):
    """Area of the only object on the ground, by its corners in a projection that keeps areas there (rasterio, PROJ)."""
    with rasterio.open(path) as file:
        (polygon,) = (g for g, value in shapes(file.read(1), transform=file.transform) if value)
        return area(transform_geom(file.crs, f"EPSG:{epsg}", polygon)["coordinates"][0][:-1])


@pytest.mark.parametrize(
    "epsg, transform, utm",
    [
        (3857, (1113194, 10, 0, 8399737, 0, -10), 32632),  # 60 degrees north
        (3857, (1113194, 10, 0, -4865942, 0, 10), 32732),  # 40 degrees south, rows from south to north
        (4326, (9.0, 1e-4, 0, 51.0, 0, -1e-4), 32632),
        (2263, (1000000, 3, 0, 200000, 0, -3), 32618),  # New York, US survey feet
    ],
)
def test_areas_are_those_on_the_ground(tmp_path, epsg, transform, utm):
    mask = np.zeros((40, 50), np.uint8)
    mask[10:30, 10:40] = 1
    path = save_map(tmp_path / "m.tif", mask, epsg, transform)
    found = measure([path], tmp_path / "out")
    (row,) = rows_of(found.table)
    assert found.unit == "m²"
    assert float(row["area_m2"]) == pytest.approx(ground_area(path, utm), rel=2e-3)
    assert "metres on the ground" in found.notes[0]


def test_an_object_is_measured_at_its_own_latitude(tmp_path):
    mask = np.zeros((400, 4), np.uint8)
    mask[2:4, 1:3], mask[396:398, 1:3] = 1, 1
    path = save_map(tmp_path / "m.tif", mask, 3857, (0, 10000, 0, 8400000, 0, -10000))
    north, south = (float(row["area_m2"]) for row in rows_of(measure([path], tmp_path / "out").table))
    assert south / north > 2


def test_a_table_that_has_no_place_is_said_first(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file, and so has no place for it"):
        measure([folder(tmp_path / "m", {"a.tif": np.ones((4, 4), np.uint8)})], tmp_path / "file" / "out")


def test_real_nuclei(tmp_path):
    if not (DATA / "nuclei").is_dir():
        pytest.skip(f"no {DATA / 'nuclei'}")
    names = sorted(path.name for path in (DATA / "nuclei" / "masks").iterdir())[:3]
    measurements = measure(
        [DATA / "nuclei" / "masks" / name for name in names], tmp_path, images=DATA / "nuclei" / "images"
    )
    truth = [np.unique(io.read_labels(DATA / "nuclei" / "masks" / name).array) for name in names]
    assert measurements.objects == sum(len(ids) - 1 for ids in truth)


def test_an_image_that_lies_elsewhere_is_refused_and_one_stored_another_way_up_is_turned(tmp_path):
    labels = np.zeros((6, 7), np.uint8)
    labels[1, 1:4] = 1
    gray = np.arange(42, dtype=np.uint8).reshape(6, 7)

    def placed(array, y_step, y, axes):
        matrix = (1.0, 0.0, 0.0, 0.0, 0.0, y_step, 0.0, y, *[0.0] * 7, 1.0)
        return Image(array, axes, (1.0, 1.0), georeference=io.GeoReference(matrix=matrix))

    io.write_labels(tmp_path / "m.tif", placed(labels, -1.0, 6.0, "yx"))
    io.write(tmp_path / "i.tif", placed(gray[None, ::-1], 1.0, 0.0, "cyx"))
    found = measure([tmp_path / "m.tif"], tmp_path / "out", images=tmp_path / "i.tif")
    with found.table.open() as file:
        (row,) = csv.DictReader(file)
    assert float(next(value for name, value in row.items() if name.startswith("mean"))) == gray[1, 1:4].mean()
    io.write(tmp_path / "i.tif", placed(gray[None], -1.0, 60.0, "cyx"))
    with pytest.raises(Problems, match=r"i\.tif: lies elsewhere than its counterpart, by up to 54 along y"):
        measure([tmp_path / "m.tif"], tmp_path / "out2", images=tmp_path / "i.tif")


@pytest.mark.parametrize("ndim", [2, 3])
def test_it_is_said_how_few_ids_are_read_and_how_to_have_it_otherwise(tmp_path, ndim):
    ids = np.zeros((20,) * ndim, np.uint8)
    ids[2:4], ids[..., 9:12], ids[8:10, 2:5], ids[14:17, 2:5] = 1, 2, 3, 4  # 1 lies in two parts
    (tmp_path / "m").mkdir()
    tifffile.imwrite(tmp_path / "m" / "a.tif", ids, metadata={"axes": "ZYX"[-ndim:]})
    found = measure([tmp_path / "m"], tmp_path / "o")
    assert "read as 5 classes" in found.notes[-1]
    assert "--labels instances" in found.notes[-1]


def test_a_colour_is_one_class_in_all_masks(tmp_path):
    (tmp_path / "m").mkdir()
    for name, colours in {"a": [(200, 0, 0), (0, 200, 0)], "b": [(200, 0, 0)]}.items():
        drawn = np.zeros((20, 20, 3), np.uint8)
        for i, colour in enumerate(colours):
            drawn[6 * i + 1 : 6 * i + 5, 3:9] = colour
        tifffile.imwrite(tmp_path / "m" / f"{name}.tif", drawn, photometric="rgb")
    measure([tmp_path / "m"], tmp_path / "o")
    rows = (tmp_path / "o" / "objects.csv").read_text().splitlines()[1:]
    assert [row.split(",")[:2] for row in rows] == [["a.tif", "1"], ["a.tif", "2"], ["b.tif", "2"]]
