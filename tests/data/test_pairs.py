"""Pairs of images and masks: every sensible naming is understood, everything else is named at once."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from unetkit import io
from unetkit.data.pairs import Pair, channel_number, find_pairs, group_channels, match_files
from unetkit.image import Image


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def names_of(pairs):
    return [(pair.image.name, pair.mask.name) for pair in pairs]


def refused(images, masks=None):
    with pytest.raises(ValueError, match=re.escape(str(images.parent))) as caught:
        find_pairs(images, masks)
    return str(caught.value)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.png", "a.tif"),
        ("a.jpg", "a_mask.png"),
        ("a.png", "a_MASK.png"),
        ("a_image.png", "a_label.png"),
        ("a_raw.tif", "a_seg.tif"),
        ("a.ome.tif", "a_labels.ome.tif"),
        ("slide.1.png", "slide.1_mask.png"),
        ("x_label.png", "x_label.png"),
    ],
)
def test_names_match_by_stem_and_endings(tmp_path, image, mask):
    images, masks = touch(tmp_path / "i", image), touch(tmp_path / "m", mask)
    assert names_of(find_pairs(images, masks)) == [(image, mask)]


def test_pairs_are_in_natural_order_with_stems_as_names(tmp_path):
    images = touch(tmp_path / "i", "c10.png", "c2.png", "c1.png", "notes.txt", ".hidden.png")
    masks = touch(tmp_path / "m", "c1.png", "c2.png", "c10.png")
    pairs = find_pairs(str(images), str(masks))
    assert [pair.name for pair in pairs] == ["c1", "c2", "c10"]
    assert pairs[0] == Pair(images / "c1.png", masks / "c1.png", "c1", None)


def test_dots_in_names_do_not_make_them_one(tmp_path):
    files = ("slide.1.png", "slide.2.png")
    pairs = find_pairs(touch(tmp_path / "i", *files), touch(tmp_path / "m", *files))
    assert [pair.name for pair in pairs] == ["slide.1", "slide.2"]


def test_the_same_name_wins_over_an_ending(tmp_path):
    files = ("x.png", "x_label.png")
    pairs = find_pairs(touch(tmp_path / "i", *files), touch(tmp_path / "m", *files))
    assert names_of(pairs) == [("x.png", "x.png"), ("x_label.png", "x_label.png")]


def test_every_unpaired_file_is_named_at_once(tmp_path):
    images = touch(tmp_path / "i", "a.png", "b.png", "c.png")
    masks = touch(tmp_path / "m", "aa.png", "c_mask.png", "d.png", "b.png", "b_mask.png", "b_seg.tif")
    text = refused(images, masks)
    assert text.startswith("5 unpaired files:\n")
    assert f"{images / 'a.png'}: no mask named a.* (or a_mask.*) in {masks}" in text
    assert f"{masks / 'aa.png'}: no image belongs to this mask" in text
    assert f"{masks / 'd.png'}: no image belongs to this mask" in text
    assert f"{masks / 'b_mask.png'}: no image belongs to this mask" in text
    assert f"{masks / 'b_seg.tif'}: no image belongs to this mask" in text
    assert "c.png" not in text


def test_an_image_with_two_masks(tmp_path):
    text = refused(touch(tmp_path / "i", "b.png"), touch(tmp_path / "m", "b_mask.png", "b_seg.png"))
    assert text.startswith("1 unpaired file:\n")
    assert "b.png: 2 masks fit it: b_mask.png, b_seg.png" in text


@pytest.mark.parametrize("twin", ["a.jpg", "a_image.png"])
def test_two_images_of_one_mask(tmp_path, twin):
    text = refused(touch(tmp_path / "i", "a.png", twin), touch(tmp_path / "m", "a_mask.png"))
    assert "a_mask.png: 2 images fit this mask: " in text
    assert twin in text


@pytest.mark.parametrize(
    ("images", "masks"), [("images", "masks"), ("Images", "Labels"), ("imagesTr", "labelsTr"), ("img", "gt")]
)
def test_one_folder_that_holds_both(tmp_path, images, masks):
    touch(tmp_path, f"{images}/a.png", f"{masks}/a.png", "readme.txt", ".cache/x.png")
    assert find_pairs(tmp_path) == [Pair(tmp_path / images / "a.png", tmp_path / masks / "a.png", "a")]


def test_a_folder_per_case_is_a_group_per_case(tmp_path):
    touch(tmp_path, "p1/scan.png", "p1/scan_mask.png", "p2/x.tif", "p2/label.tif", "__MACOSX/junk")
    pairs = find_pairs(tmp_path)
    assert [(pair.name, pair.group, pair.mask.name) for pair in pairs] == [
        ("p1", "p1", "scan_mask.png"),
        ("p2", "p2", "label.tif"),
    ]


def test_case_folders_that_cannot_be_used_are_all_named(tmp_path):
    touch(
        tmp_path, "p1/scan.png", "p1/scan_mask.png", "p2/x.tif", "p3/notes.txt", "p4/a.png", "p4/b.png", "p4/m_seg.png"
    )
    text = refused(tmp_path)
    assert text.startswith("3 unusable case folders:\n")
    assert f"{tmp_path / 'p2'}: expected one image and one file with 'mask' or 'label' in its name, got 1 and 0" in text
    assert f"{tmp_path / 'p3'}: no images among 1 .txt" in text
    assert "got 2 and 1" in text


def test_a_folder_of_images_alone(tmp_path):
    with pytest.raises(ValueError, match=r"holds no folders; expected images/ and masks/ in it"):
        find_pairs(touch(tmp_path, "a.png"))


def test_missing_and_empty_folders(tmp_path):
    images = touch(tmp_path / "i", "a.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"nowhere: there is no such folder of images"):
        find_pairs(tmp_path / "nowhere", images)
    with pytest.raises(FileNotFoundError, match=r"nowhere: there is no such folder of masks"):
        find_pairs(images, tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"a\.png: is a file, expected a folder of images"):
        find_pairs(images / "a.png", images)
    with pytest.raises(ValueError, match=r"empty: no images among no files"):
        find_pairs(tmp_path / "empty", images)


# --- tables ---


def table(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_a_table_with_groups_and_relative_paths(tmp_path):
    touch(tmp_path, "x/a.png", "y/a.png", "b.png")
    pairs = find_pairs(table(tmp_path, "image,group,mask\nx/a.png,patient 1,y/a.png\nb.png,,y/a.png\n"))
    assert pairs == [
        Pair(tmp_path / "x/a.png", tmp_path / "y/a.png", "a", "patient 1"),
        Pair(tmp_path / "b.png", tmp_path / "y/a.png", "b", None),
    ]


def test_names_of_a_table_are_unique(tmp_path):
    touch(tmp_path, "p1/t.1.png", "p2/t.1.png", "p1/m.png", "p2/m.png")
    pairs = find_pairs(table(tmp_path, "image,mask\np1/t.1.png,p1/m.png\np2/t.1.png,p2/m.png\n"))
    assert [pair.name for pair in pairs] == ["p1/t.1", "p2/t.1"]


def test_a_table_saved_by_a_spreadsheet(tmp_path):
    touch(tmp_path, "a.png", "m.png")
    assert names_of(find_pairs(table(tmp_path, "image,mask\r\na.png,m.png\r\n", "utf-8-sig"))) == [("a.png", "m.png")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"column image and mask missing; got nothing, expected image, mask"),
        ("picture,mask\na,b\n", r"column image missing; got picture, mask, expected image"),
        ("image;mask\na;b\n", r"column image and mask missing; got image;mask"),
        ("image,mask\n", r"has no rows below its header"),
    ],
)
def test_tables_that_hold_no_pairs(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        find_pairs(table(tmp_path, text))


def test_wrong_rows_are_all_named_with_their_lines(tmp_path):
    touch(tmp_path, "a.png", "m.png")
    text = refused(table(tmp_path, "image,mask\na.png,m.png\n\ngone.png,lost.png\n,m.png\na.png\na.png,m.png\n"))
    assert text.startswith("6 wrong rows:\n")
    assert f"line 4: {tmp_path / 'gone.png'} does not exist" in text
    assert f"line 4: {tmp_path / 'lost.png'} does not exist" in text
    assert "line 5: no image is named" in text
    assert "line 6: no mask is named" in text
    assert f"line 6: {tmp_path / 'a.png'} is listed on line 2 already" in text
    assert "line 7" in text


def test_a_table_in_another_encoding(tmp_path):
    with pytest.raises(ValueError, match=r"table\.csv: is not a table in UTF-8 .*save it as CSV UTF-8"):
        find_pairs(table(tmp_path, "image,mask\nKöln.png,m.png\n", "latin-1"))


def test_a_table_that_is_missing_or_has_masks_beside_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.csv: there is no such table"):
        find_pairs(tmp_path / "gone.csv")
    with pytest.raises(ValueError, match=r"names the masks itself; leave out the folder"):
        find_pairs(tmp_path / "gone.csv", tmp_path)


# --- a file per channel ---


def case_files(*cases, channels=2, suffix=".nii.gz"):
    return [f"{case}_{channel:04d}{suffix}" for case in cases for channel in range(channels)]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".png", ".ome.tif"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_files_of_channels_are_one_image(tmp_path, suffix, channels):
    images = touch(tmp_path / "i", *case_files("la_10", "la_2", channels=channels, suffix=suffix))
    masks = touch(tmp_path / "m", f"la_2{suffix}", f"la_10{suffix}")
    pairs = find_pairs(images, masks)
    assert [pair.name for pair in pairs] == ["la_2", "la_10"]
    assert [file.name for file in pairs[0].files] == case_files("la_2", channels=channels, suffix=suffix)
    assert pairs[0] == Pair(pairs[0].files[0], masks / f"la_2{suffix}", "la_2", None, pairs[0].files[1:])


def test_plain_names_come_first(tmp_path):
    files = ("frame_0000.png", "frame_0001.png")
    pairs = find_pairs(touch(tmp_path / "i", *files), touch(tmp_path / "m", *files))
    assert [pair.files for pair in pairs] == [(tmp_path / "i" / name,) for name in files]
    text = refused(touch(tmp_path / "i", "frame_0002.png"), touch(tmp_path / "m", "frame.png"))
    assert "frame_0002.png: no mask named frame_0002.*" in text
    assert "frame.png: no image belongs to this mask" in text


def test_names_that_fit_neither_way_are_said_as_they_are(tmp_path):
    text = refused(touch(tmp_path / "i", *case_files("a")), touch(tmp_path / "m", "b.nii.gz"))
    assert text.startswith("3 unpaired files:\n")
    assert "a_0001.nii.gz: no mask named a_0001.*" in text


@pytest.mark.parametrize("names", ["channel_names", "modality"])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_raw_layout_of_nnunet(tmp_path, names, channels):
    touch(tmp_path, *(f"imagesTr/{name}" for name in case_files("a", "b", channels=channels)))
    touch(tmp_path, "labelsTr/a.nii.gz", "labelsTr/b.nii.gz", "imagesTs/c_0000.nii.gz")
    said = {str(channel): "MRI" for channel in range(channels)}
    (tmp_path / "dataset.json").write_text(json.dumps({names: said, "numTraining": 2}))
    pairs = find_pairs(tmp_path)
    assert [(pair.name, pair.mask.name, len(pair.files)) for pair in pairs] == [
        ("a", "a.nii.gz", channels),
        ("b", "b.nii.gz", channels),
    ]


def test_dataset_json_knows_of_channels_that_all_cases_lack(tmp_path):
    touch(tmp_path, *(f"imagesTr/{name}" for name in case_files("a", "b")), "labelsTr/a.nii.gz", "labelsTr/b.nii.gz")
    assert len(find_pairs(tmp_path)) == 2
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "T1", "1": "T2", "2": "FLAIR"}}')
    text = refused(tmp_path)
    assert text.startswith("2 unusable cases:\n")
    assert f"{tmp_path / 'imagesTr' / 'b'}: b_0002.nii.gz missing; has 2 of 3 channels" in text
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "T1"}}')
    assert "a_0001.nii.gz: expected channels 0 to 0, this is 1" in refused(tmp_path)


@pytest.mark.parametrize("text", ['{"name": "Heart"}', "[]", '{"channel_names": 3}'])
def test_a_dataset_json_that_names_no_channels(tmp_path, text):
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
    (tmp_path / "dataset.json").write_text(text)
    assert [pair.name for pair in find_pairs(tmp_path)] == ["a"]


@pytest.mark.parametrize("content", [b"{,}", b"", b"\xff\xfe\xff"])
def test_a_broken_dataset_json(tmp_path, content):
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
    (tmp_path / "dataset.json").write_bytes(content)
    assert "dataset.json: is not JSON (" in refused(tmp_path)


def test_every_missing_channel_is_named(tmp_path):
    images = touch(tmp_path / "i", *case_files("a", "b", "c", channels=3))
    for name in ("a_0001.nii.gz", "c_0000.nii.gz", "c_0002.nii.gz"):
        (images / name).unlink()
    touch(images, "b_0001.nii")
    text = refused(images, touch(tmp_path / "m", "a.nii.gz", "b.nii.gz", "c.nii.gz"))
    assert text.startswith("3 unusable cases:\n")
    assert f"{images / 'a'}: a_0001.nii.gz missing; has 2 of 3 channels" in text
    assert f"{images / 'c'}: c_0000.nii.gz, c_0002.nii.gz missing; has 1 of 3 channels" in text
    assert "channel 0001 of b is b_0001" in text


def test_cases_without_a_mask_are_named_once(tmp_path):
    text = refused(touch(tmp_path / "i", *case_files("a", "b")), touch(tmp_path / "m", "a.nii.gz", "c.nii.gz"))
    assert text.startswith("2 unpaired files:\n")
    assert "b_0000.nii.gz: no mask named b.*" in text
    assert "c.nii.gz: no image belongs to this mask" in text


def test_grouping_by_channel():
    files = [Path(name) for name in ("x/a_0001.tif", "x/a_0000.tif", "y/a_0000.tif", "y/a_0001.tif")]
    assert group_channels(files) == [
        ("a", (Path("x/a_0000.tif"), Path("x/a_0001.tif"))),
        ("a", (Path("y/a_0000.tif"), Path("y/a_0001.tif"))),
    ]
    assert [channel_number(Path(name)) for name in ("a_0012.nii.gz", "a_12.png", "_0001.png", "a.png")] == [
        12,
        None,
        None,
        None,
    ]
    with pytest.raises(ValueError, match=r"^a\.png: its name does not end in the number of a channel, such as _0000$"):
        group_channels([Path("a.png")])


def test_labels_inside_of_omezarr_images_are_their_masks(tmp_path):
    array, ids = np.zeros((1, 8, 9), np.uint8), np.zeros((8, 9), np.uint8)
    for name, labels in (("a", ["cells"]), ("b", ["cells"]), ("c", ["cells", "nuclei"]), ("d", [])):
        root = tmp_path / f"{name}.ome.zarr"
        io.write(root, Image(array, "cyx", (1.0, 1.0)))
        for label in labels:
            (root / "labels").mkdir(exist_ok=True)
            io.write_labels(tmp_path / "own.ome.zarr", ids)
            (tmp_path / "own.ome.zarr").rename(root / "labels" / label)
        if labels:
            group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"labels": labels}}}
            (root / "labels" / "zarr.json").write_text(json.dumps(group))
    pairs, problems = match_files(tmp_path)
    root = tmp_path / "a.ome.zarr"
    assert [pair.name for pair in pairs] == ["a", "b"]
    assert (pairs[0].image, pairs[0].mask) == (root, root / "labels" / "cells")
    assert io.read_labels(pairs[0].mask).size == (8, 9)
    assert "c.ome.zarr: an image with 2 label images in it (cells, nuclei): name the pairs in a table" in str(problems)
    assert "d.ome.zarr: an image with 0 label images in it: name the folder of masks as well" in str(problems)


# --- names as programs and people write them ---


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("c1.png", "c1_cp_masks.png"),
        ("c1.png", "c1_Simple Segmentation.tif"),
        ("c1.png", "c1-labelled.png"),
        ("c1.png", "c1_Object Identities.tif"),
        ("c1.png", "mask_c1.png"),
        ("image_1.png", "label_1.png"),
        ("Slide1.PNG", "slide1_MASK.png"),
        ("Z\u00fcrich.png", "Zu\u0308rich_seg.png"),
    ],
)
def test_names_that_programs_give(tmp_path, image, mask):
    assert names_of(find_pairs(touch(tmp_path, f"images/{image}", f"masks/{mask}"))) == [(image, mask)]


def test_files_that_differ_in_capitals_only_are_two(tmp_path):
    names = ["a.png", "A.png"]
    touch(tmp_path, *(f"{part}/{name}" for part in ("images", "masks") for name in names))
    assert sorted(names_of(find_pairs(tmp_path))) == [(name, name) for name in sorted(names)]


def test_images_and_masks_in_one_folder(tmp_path):
    touch(tmp_path, "x1.png", "x1_cp_masks.png", "x2.tif", "x2_masks.tif", "x1_flows.tif", "x1_cp_outlines.png")
    assert names_of(find_pairs(tmp_path)) == [("x1.png", "x1_cp_masks.png"), ("x2.tif", "x2_masks.tif")]
    touch(tmp_path, "x1_seg.npy", "x2_seg.npy")  # Cellpose's own, which hold Python objects
    assert names_of(find_pairs(tmp_path)) == [("x1.png", "x1_cp_masks.png"), ("x2.tif", "x2_masks.tif")]


def test_an_image_without_a_mask_in_one_folder_is_named(tmp_path):
    touch(tmp_path, "x1.png", "x1_mask.png", "x2.png")
    assert "x2.png: no mask named" in refused(tmp_path)


def test_a_table_written_by_hand(tmp_path):
    touch(tmp_path, "i/a.png", "m/b.png")
    (tmp_path / "t.csv").write_text("Image , MASK, Group\ni/a.png ,  m/b.png, p 1\n")
    (pair,) = find_pairs(tmp_path / "t.csv")
    assert (pair.image, pair.mask, pair.group) == (tmp_path / "i/a.png", tmp_path / "m/b.png", "p 1")
