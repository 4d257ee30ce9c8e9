"""Masks of several channels, of which one is set in every pixel; names of values; gaps in masks of maps."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from unetkit.data.check import check
from unetkit.data.dataset import load_dataset
from unetkit.data.pairs import find_pairs
from unetkit.io.category_names import category_names
from unetkit.io.reading import read_coded_labels
from unetkit.metrics.folders import evaluate

SIZES = [(12, 15), (4, 12, 15)]


def planes(size, n=3, *, full=1, all_set=True):
    """Channels first: class k - 1 on a stripe of the last axis."""
    index = np.broadcast_to(np.arange(size[-1]) * n // size[-1], size)
    array = np.stack([(index == k) for k in range(n)]).astype(np.uint8) * full
    if not all_set:
        array[0] = 0
    return array


def write(path: Path, array, axes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, array, photometric="minisblack", metadata={"axes": axes})
    return path


def axes_of(size):
    return "C" + "ZYX"[-len(size) :]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("full", [1, 255])
@pytest.mark.parametrize("all_set", [True, False])
def test_channels_that_exclude_each_other_are_classes(tmp_path, size, full, all_set):
    array = planes(size, full=full, all_set=all_set)
    stored = array if len(size) == 2 else array.swapaxes(0, 1)
    path = write(tmp_path / "a.ome.tif", stored, axes_of(size) if len(size) == 2 else "ZCYX")
    labels, code = read_coded_labels(path)
    assert labels.size == size
    assert np.unique(labels.array).tolist() == ([1, 2, 3] if all_set else [0, 2, 3])
    np.testing.assert_array_equal(labels.array == 2, array[1] > 0)
    assert code.keys[3] == "channel 3"
    assert any("3 channels of which at most one is set" in note for note in labels.notes)


def test_overlapping_and_gray_channels_are_refused(tmp_path):
    array = planes((12, 15))
    array[2, 3:5, 1] = 1
    with pytest.raises(ValueError, match=r"several are set in 2 of 180 pixels, such as 1 and 3 at \(3, 1\)"):
        read_coded_labels(write(tmp_path / "a.ome.tif", array, "CYX"))
    with pytest.raises(ValueError, match=r"3 channels with values from 0 to 128.*expected one id per pixel"):
        read_coded_labels(
            write(tmp_path / "b.ome.tif", planes((12, 15)) * np.uint8(128) // np.uint8([[[1]], [[2]], [[1]]]), "CYX")
        )


def test_the_channels_of_a_dark_picture_are_classes(tmp_path):
    Pillow.fromarray(np.moveaxis(planes((12, 15)), 0, -1)).save(tmp_path / "a.png")
    assert np.unique(read_coded_labels(tmp_path / "a.png")[0].array).tolist() == [1, 2, 3]
    array = planes((12, 15))
    array[1, :, 0] = 1
    Pillow.fromarray(np.moveaxis(array, 0, -1)).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match="3 channels that overlap"):
        read_coded_labels(tmp_path / "b.png")


def test_channels_mean_the_same_in_all_files(tmp_path):
    """Whether the first is set wherever no other is, or not at all."""
    for i in range(2):
        write(tmp_path / f"images/a{i}.tif", np.random.default_rng(i).integers(0, 255, (12, 15), np.uint8), "YX")
        write(tmp_path / f"masks/a{i}.ome.tif", planes((12, 15), all_set=i == 0), "CYX")
    dataset = load_dataset(find_pairs(tmp_path))
    assert dataset.class_names == ["background", "channel 1", "channel 2", "channel 3"]
    assert dataset.class_pixels.tolist() == [60, 60, 120, 120]


CATEGORIES = "<Category>sea</Category><Category>wood</Category><Category/><Category>rock</Category>"
TABLE = """<GDALRasterAttributeTable tableType="thematic">
<FieldDefn index="0"><Name>Count</Name><Type>0</Type><Usage>1</Usage></FieldDefn>
<FieldDefn index="1"><Name>Wert</Name><Type>0</Type><Usage>5</Usage></FieldDefn>
<FieldDefn index="2"><Name>Art</Name><Type>2</Type><Usage>2</Usage></FieldDefn>
<Row index="0"><F>9</F><F>0</F><F>sea</F></Row><Row index="1"><F>9</F><F>3</F><F>rock</F></Row>
</GDALRasterAttributeTable>"""


def aux(mask: Path, content: str, band=1) -> None:
    text = f'<PAMDataset>\n<PAMRasterBand band="{band}">{content}</PAMRasterBand>\n</PAMDataset>'
    mask.with_name(mask.name + ".aux.xml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "content, names",
    [
        (f"<CategoryNames>{CATEGORIES}</CategoryNames>", {0: "sea", 1: "wood", 3: "rock"}),
        (TABLE, {0: "sea", 3: "rock"}),
        (TABLE.replace("<Usage>2<", "<Usage>0<").replace("Art", "Class_Name"), {0: "sea", 3: "rock"}),
        (TABLE.replace("<Usage>2<", "<Usage>0<"), {}),
        ("<Metadata/>", {}),
    ],
)
def test_names_of_values_as_gdal_keeps_them(tmp_path, content, names):
    aux(tmp_path / "a.tif", content)
    assert category_names(tmp_path / "a.tif") == names
    assert category_names(tmp_path / "b.tif") == {}


@pytest.mark.parametrize(
    "content, message",
    [
        ("<PAMDataset><CategoryNames>", r"a.tif.aux.xml beside it is not XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><PAMDataset><CategoryNames/></PAMDataset>', "declares a document type"),
    ],
)
def test_names_that_cannot_be_read(tmp_path, content, message):
    path = write(tmp_path / "a.tif", np.zeros((4, 5), np.uint8), "YX")
    (tmp_path / "a.tif.aux.xml").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_coded_labels(path)


@pytest.mark.parametrize("size", SIZES)
def test_category_names_are_those_of_the_classes(tmp_path, size):
    for i in range(2):
        write(
            tmp_path / f"images/a{i}.tif", np.random.default_rng(i).integers(0, 255, size, np.uint8), axes_of(size)[1:]
        )
        mask = write(tmp_path / f"masks/a{i}.tif", planes(size)[1] + 3 * planes(size)[2], axes_of(size)[1:])
        aux(mask, f"<CategoryNames>{CATEGORIES}</CategoryNames>")
    dataset = check(tmp_path).dataset
    assert dataset.class_names == ["sea", "wood", "rock"]
    assert "3 classes as each file states: 0 sea, 1 wood, 3 rock" in dataset.kind.description
    assert evaluate(tmp_path / "masks", tmp_path / "masks").mean.dice == 1


def test_categories_that_differ_by_file_are_one_class_by_name(tmp_path):
    for i, names in enumerate((("sea", "wood"), ("sea", "rock", "wood"))):
        write(tmp_path / f"images/a{i}.tif", np.random.default_rng(i).integers(0, 255, (12, 15), np.uint8), "YX")
        mask = write(tmp_path / f"masks/a{i}.tif", planes((12, 15), 2)[1] * np.uint8(i + 1), "YX")
        aux(mask, f"<CategoryNames>{''.join(f'<Category>{name}</Category>' for name in names)}</CategoryNames>")
    dataset = load_dataset(find_pairs(tmp_path))
    woods = [case.labels[case.labels > 0] for case in dataset.cases]
    assert {dataset.class_names[value] for values in woods for value in np.unique(values)} == {"wood"}


def test_gaps_of_float_masks_are_not_labelled(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(2, 0, 9, 0, -2, 9), "driver": "GTiff", "count": 1}
    mask = planes((12, 15))[1].astype(np.float32)
    mask[3:5] = np.nan
    for part, array in (("images", np.arange(180, dtype=np.uint8).reshape(12, 15) + 1), ("masks", mask)):
        (tmp_path / part).mkdir()
        nodata = {"nodata": np.nan} if part == "masks" else {}
        with rasterio.open(
            tmp_path / part / "a.tif", "w", height=12, width=15, dtype=array.dtype, **place, **nodata
        ) as file:
            file.write(array, 1)
    dataset = load_dataset(find_pairs(tmp_path))
    assert dataset.kind.values == (0, 1)
    np.testing.assert_array_equal(dataset.cases[0].labels == 255, np.isnan(mask))
    assert any("NaN, which holds no data in a map: not labelled" in note for note in dataset.notes)
    score = evaluate(tmp_path / "masks", tmp_path / "masks")
    assert score.mean.dice == 1
    assert sum(each.pixels for each in score.per_image[0].classes) == 150


def test_nan_in_a_mask_that_is_no_map_is_refused(tmp_path):
    mask = np.zeros((6, 7), np.float32)
    mask[2, 3] = np.nan
    with pytest.raises(ValueError, match="1 values that are not integers, such as nan"):
        read_coded_labels(write(tmp_path / "a.tif", mask, "YX"))
