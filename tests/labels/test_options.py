"""Statements about masks: on the command line, in labels.json and in nnU-Net's dataset.json."""

import json

import pytest

from unetkit.labels.options import LabelOptions, label_options, parse_classes, parse_ignore, stated_beside


def beside(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return [folder / "a.png"]


def test_a_statement_names_values_and_what_is_not_labelled(tmp_path):
    masks = beside(tmp_path / "m", "labels.json", {"values": [0, 3, 7], "names": ["none", "oak", "elm"], "ignore": 9})
    stated = stated_beside(masks)
    assert stated.classes == ((0, "none"), (3, "oak"), (7, "elm"))
    assert stated.ignore == 9
    assert stated.source.endswith("labels.json")


def test_names_alone_count_from_0_and_null_ignores_nothing(tmp_path):
    stated = stated_beside(beside(tmp_path, "labels.json", {"names": ["sky", "tree"], "ignore": None}))
    assert stated.classes == ((0, "sky"), (1, "tree"))
    assert stated.ignore == "none"


@pytest.mark.parametrize(
    "labels", [{"background": 0, "liver": 1, "cyst": 2}, {"0": "background", "1": "liver", "2": "cyst"}]
)
def test_both_versions_of_nnunet_name_classes(tmp_path, labels):
    (tmp_path / "labelsTr").mkdir()
    beside(tmp_path, "dataset.json", {"labels": labels})
    stated = stated_beside([tmp_path / "labelsTr" / "a.nii.gz"])
    assert stated.classes == ((0, "background"), (1, "liver"), (2, "cyst"))
    assert stated.ignore == "auto"


def test_nnunets_ignore_is_no_class(tmp_path):
    stated = stated_beside(beside(tmp_path, "dataset.json", {"labels": {"background": 0, "rib": 1, "ignore": 2}}))
    assert stated.ignore == 2
    assert len(stated.classes) == 2


def test_a_dataset_json_above_other_folders_is_not_of_the_masks(tmp_path):
    (tmp_path / "masks").mkdir()
    beside(tmp_path, "dataset.json", {"labels": {"background": 0, "rib": 1}})
    assert stated_beside([tmp_path / "masks" / "a.png"]) == LabelOptions()


def test_regions_are_refused_unless_masks_are_read_otherwise(tmp_path):
    content = {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]}
    masks = beside(tmp_path, "dataset.json", content)
    with pytest.raises(ValueError, match=r"dataset\.json: .*regions.*whole.*--classes"):
        stated_beside(masks)
    assert label_options("foreground", masks).labels == "foreground"
    assert label_options(LabelOptions(classes=((0, "a"), (1, "b"))), masks).classes == ((0, "a"), (1, "b"))


def test_what_a_person_says_comes_before_the_file(tmp_path):
    masks = beside(tmp_path, "labels.json", {"values": [0, 1], "ignore": 2})
    options = label_options(LabelOptions(ignore="none"), masks)
    assert options.ignore == "none"
    assert options.classes == ((0, "class 0"), (1, "class 1"))
    assert label_options("instances", masks).classes == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ([1], "expected an object"),
        ({"value": [0, 1]}, "value not known"),
        ({"values": [0, "1"]}, "expected a list of integers"),
        ({"values": [0, 1], "names": ["a"]}, "one name for each"),
        ({"values": [0]}, "one class only"),
        ({"values": [0, 1], "ignore": 1}, "1 is a class"),
        ({"values": [0, 1], "ignore": "white"}, "ignore is 'white'"),
    ],
)
def test_a_statement_that_says_nothing_is_named(tmp_path, content, words):
    with pytest.raises(ValueError, match=rf"labels\.json: .*{words}"):
        stated_beside(beside(tmp_path, "labels.json", content))


def test_two_folders_must_agree(tmp_path):
    masks = beside(tmp_path / "a", "labels.json", {"values": [0, 1]})
    masks += beside(tmp_path / "b", "labels.json", {"values": [0, 2]})
    with pytest.raises(ValueError, match="different labels"):
        stated_beside(masks)


@pytest.mark.parametrize("text", ["0", "0=a,0=b", "x=a", "0=,1=b", "0=a"])
def test_classes_that_cannot_be_read(text):
    with pytest.raises(ValueError, match=r"0|x"):
        parse_classes(text)


def test_an_ignored_value_is_a_number_or_a_word():
    assert (parse_ignore("-1"), parse_ignore("auto")) == (-1, "auto")
    with pytest.raises(ValueError, match="'white'"):
        parse_ignore("white")
