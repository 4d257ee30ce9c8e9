"""Data sets whose masks need a statement, or look as if their values were no classes."""

import json

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image as Picture

from unetkit.data.check import check
from unetkit.data.dataset import load_dataset
from unetkit.data.pairs import find_pairs
from unetkit.labels.options import LabelOptions


def make(folder, masks):
    """TIFF images with these masks."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i, mask in enumerate(masks):
        image = np.random.default_rng(i).integers(0, 200, mask.shape, np.uint8)
        for part, array in (("images", image), ("masks", mask)):
            tifffile.imwrite(folder / part / f"s{i}.tif", array, metadata={"axes": "ZYX"[-mask.ndim :]})
    return folder


def drawn(value, ndim=2):
    mask = np.zeros((12, 16, 16)[-ndim:], np.uint8)
    mask[..., 4:10, 4:10] = value
    return mask


@pytest.mark.parametrize("ndim", [2, 3])
def test_labels_json_beside_the_masks(tmp_path, ndim):
    data = make(tmp_path, [drawn(value, ndim) for value in (30, 60, 30)])
    (data / "masks" / "labels.json").write_text(json.dumps({"values": [0, 30], "names": ["air", "wall"], "ignore": 60}))
    result = check(data)
    assert result.dataset.class_names == ["air", "wall"]
    assert result.dataset.labelled_share < 1


def test_options_come_before_labels_json(tmp_path):
    data = make(tmp_path, [drawn(30), drawn(60)])
    (data / "masks" / "labels.json").write_text(json.dumps({"values": [0, 30], "ignore": 60}))
    stated = LabelOptions(ignore="none", classes=((0, "a"), (30, "b"), (60, "c")))
    assert load_dataset(find_pairs(data), labels=stated).class_names == ["a", "b", "c"]


def test_nnunets_names_and_ignore(tmp_path):
    for name in ("imagesTr", "labelsTr"):
        (tmp_path / name).mkdir()
    for i in range(2):
        labels = drawn(1, 3)
        labels[:3] = 2
        for part, name, array in (("imagesTr", f"k{i}_0000", labels * 40), ("labelsTr", f"k{i}", labels)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / part / f"{name}.nii.gz")
    content = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "knee": 1, "ignore": 2}}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    dataset = load_dataset(find_pairs(tmp_path))
    assert dataset.class_names == ["background", "knee"]
    assert dataset.labelled_share == pytest.approx(0.75)


@pytest.mark.parametrize("ndim", [2, 3])
def test_files_of_the_rarer_convention_are_named(tmp_path, ndim):
    result = check(make(tmp_path, [drawn(value, ndim) for value in (1, 255, 255, 255)]))
    assert [issue.path.name for issue in result.issues if "by 1, others by 255" in issue.reason] == ["s0.tif"]
    assert result.dataset.labelled_share == 1


def test_files_with_interpolated_edges_are_named(tmp_path):
    blurred = drawn(255)
    blurred[4:10, 3] = 120
    result = check(make(tmp_path, [blurred, drawn(255), drawn(255)]))
    reasons = [issue.reason for issue in result.issues if issue.path.name == "s0.tif" and "edges" in issue.reason]
    assert len(reasons) == 1
    assert "6 pixels of value 120" in reasons[0]


def test_files_with_a_second_white_are_named(tmp_path):
    result = check(make(tmp_path, [drawn(254), drawn(255), drawn(255)]))
    assert any("holds 254, and the set 255" in issue.reason for issue in result.issues)


# --- colours ---

COLOURS = np.array([(0, 0, 0), (200, 0, 0), (0, 200, 0), (0, 0, 200)], np.uint8)
SHOWN = [(1, 2, 3), (1, 3), (2,), (2, 3)]


def colourful(folder, way):
    """Pictures in which not every class is seen; the pixels of each class."""
    pixels = np.zeros(4, int)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for i, shown in enumerate(SHOWN):
        classes = np.random.default_rng(i).choice((0, *shown), (20, 20)).astype(np.uint8)
        pixels += np.bincount(classes.ravel(), minlength=4)
        Picture.fromarray((classes * 50).astype(np.uint8)).save(folder / "images" / f"{i}.png")
        picture = Picture.fromarray(COLOURS[classes])
        if way == "palette":  # each with a palette of its own, as `quantize` makes it
            picture = picture.quantize(4)
        if way == "tiff16":
            tifffile.imwrite(folder / "masks" / f"{i}.tif", COLOURS[classes].astype(np.uint16) * 257, photometric="rgb")
        else:
            picture.save(folder / "masks" / f"{i}.{'tif' if way == 'tiff' else 'png'}")
    return pixels


@pytest.mark.parametrize("way", ["rgb", "palette", "tiff", "tiff16"])
def test_a_colour_is_one_class_in_all_files(tmp_path, way):
    pixels = colourful(tmp_path, way)
    dataset = load_dataset(find_pairs(tmp_path))
    np.testing.assert_array_equal(dataset.class_pixels, pixels[[0, 3, 2, 1]])  # by red, green and blue
    assert any("#c80000 = 3" in note for note in dataset.notes)


def test_numbers_among_colours_are_named(tmp_path):
    colourful(tmp_path, "rgb")
    Picture.fromarray(np.full((20, 20), 2, np.uint8)).save(tmp_path / "masks" / "0.png")
    with pytest.raises(ValueError, match=r"0\.png: holds numbers, the other masks colours"):
        load_dataset(find_pairs(tmp_path))


@pytest.mark.parametrize("part", ["images", "masks"])
def test_links_to_nothing_are_named(tmp_path, part):
    data = make(tmp_path, [drawn(1), drawn(1)])
    (data / part / "s1.tif").unlink()
    (data / part / "s1.tif").symlink_to(tmp_path / "unmounted" / "s1.tif")
    with pytest.raises(ValueError, match=rf"{part}/s1\.tif"):
        load_dataset(find_pairs(data))


def test_stated_colours_of_pictures(tmp_path):
    """Their values, whatever colours a file shows; and no other colour may occur."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for i in range(2):
        colours = np.zeros((12, 16, 3), np.uint8)
        colours[4:8, 4:8, i] = 255  # red in one file, green in the other
        Picture.fromarray(colours).save(tmp_path / f"masks/s{i}.png")
        Picture.fromarray(np.random.default_rng(i).integers(0, 200, (12, 16)).astype(np.uint8)).save(
            tmp_path / f"images/s{i}.png"
        )
    statement = {"names": ["sky", "tree", "road", "house"], "colours": ["#000000", "#00ff00", "#ff0000", "#0000ff"]}
    (tmp_path / "masks" / "labels.json").write_text(json.dumps(statement))
    dataset = load_dataset(find_pairs(tmp_path))
    assert dataset.class_names == statement["names"]
    assert [case.labels.max() for case in dataset.cases] == [2, 1]
    frozen = LabelOptions(classes=tuple(enumerate(statement["names"])))  # as the plan of a run has them
    assert [case.labels.max() for case in load_dataset(find_pairs(tmp_path), labels=frozen).cases] == [2, 1]
    statement["colours"][1] = "#123456"
    (tmp_path / "masks" / "labels.json").write_text(json.dumps(statement))
    with pytest.raises(ValueError, match="masks show #00ff00: expected the stated colours #000000, #123456"):
        load_dataset(find_pairs(tmp_path))


@pytest.mark.parametrize(
    "colours, message",
    [
        ("red", "expected one for each of 2 values"),
        (["#000000"], "expected one for each of 2 values"),
        (["#000000", "red"], "colour 'red': expected red, green and blue"),
        (["#000000", "#000000"], "one colour has two values"),
    ],
)
def test_colours_that_cannot_be_meant(tmp_path, colours, message):
    data = make(tmp_path, [drawn(1), drawn(1)])
    (data / "masks" / "labels.json").write_text(json.dumps({"values": [0, 1], "colours": colours}))
    with pytest.raises(ValueError, match=rf"labels.json: .*{message}"):
        load_dataset(find_pairs(data))
