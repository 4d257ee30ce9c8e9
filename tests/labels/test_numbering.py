"""Names of classes in files of outlines and of categories, numbered over all files of a set."""

import numpy as np
import pytest

from unetkit.io.label_samples import ValueCode
from unetkit.labels.kind import LabelKind
from unetkit.labels.numbering import number_values, numbering_of
from unetkit.labels.options import LabelOptions
from unetkit.labels.recognise import recognise
from unetkit.labels.statistics import label_statistics


def outlines(*names: str, crowds=()) -> ValueCode:
    return ValueCode(dict(enumerate(names, start=1)), are_objects=True, crowds=frozenset(crowds))


def categories(names: dict[int, str]) -> ValueCode:
    return ValueCode(names, is_numbered=True)


def kind_of(arrays, codes, options=LabelOptions()):  # noqa: B008
    numbering = number_values(codes, options)
    arrays = [numbering.array(np.asarray(array), code) for array, code in zip(arrays, codes, strict=True)]
    own = zip(arrays, codes, strict=True)
    statistics = [numbering.statistics(label_statistics(array), code) for array, code in own]
    return recognise(statistics, options)


def test_one_name_is_one_class_in_all_files():
    first, second = outlines("wall", "cell", "cell"), outlines("nucleus 10", "nucleus 2")
    numbering = number_values([first, second])
    assert list(numbering.values) == ["cell", "nucleus 2", "nucleus 10", "wall"]
    assert numbering.array(np.array([[0, 1, 2, 3]]), first).tolist() == [[0, 4, 1, 1]]
    assert numbering.array(np.array([[1, 2, 0]]), second).tolist() == [[3, 2, 0]]
    assert "3 nucleus 10" in numbering.text


@pytest.mark.parametrize("shape", [(4, 6), (2, 4, 6)])
def test_several_names_are_classes_and_one_is_objects(shape):
    ids = np.zeros(shape, int)
    ids[..., 0, :2], ids[..., 2, 3:] = 1, 2
    kind = kind_of([ids], [outlines("cell", "wall")])
    assert (kind.kind, kind.values, kind.names) == ("classes", (0, 1, 2), ("background", "cell", "wall"))
    assert kind_of([ids], [outlines("cell", "cell")]).kind == "instances"
    assert kind_of([ids, ids], [outlines("", ""), outlines("", "")]).kind == "instances"


def test_one_object_per_file_is_a_named_foreground():
    ids = np.array([[0, 1, 1]])
    kind = kind_of([ids, ids], [outlines("lake"), outlines("lake")])
    assert (kind.kind, kind.names) == ("binary", ("background", "lake"))


def test_what_is_stated_wins():
    ids = np.array([[0, 1, 2]])
    codes = [outlines("Cell", "wall")]
    assert kind_of([ids], codes, LabelOptions("instances")).kind == "instances"
    stated = LabelOptions(classes=((0, "background"), (3, "wall"), (7, "cell"), (9, "gap")))
    assert kind_of([ids], codes, stated).values == (0, 3, 7, 9)
    assert number_values(codes, stated).array(ids, codes[0]).tolist() == [[0, 7, 3]]
    with pytest.raises(ValueError, match=r"wall, which --classes.*expected background, cell"):
        number_values(codes, LabelOptions(classes=((0, "background"), (1, "cell"))))


def test_background_and_ignore_are_no_classes():
    ids, code = np.array([[0, 1, 2, 3, 4]]), outlines("cell", "wall", "Ignore*", "_background_")
    assert number_values([code]).array(ids, code).tolist() == [[0, 1, 2, -1, 0]]
    assert kind_of([ids], [code]).ignore == -1
    sparse = LabelOptions(ignore=0)  # what is not drawn is not labelled, what is drawn as background is
    numbering = number_values([code], sparse)
    assert numbering.array(ids, code).tolist() == [[0, 2, 3, 0, 1]]
    kind = kind_of([ids], [code], sparse)
    assert kind.names == ("_background_", "cell", "wall")
    assert kind.ignore == 0


def test_names_that_never_come_again_are_those_of_objects():
    names = [f"tree {i}" for i in range(12)]
    numbering = number_values([outlines(*names)])
    assert not numbering.values
    assert "12 outlines, no two of one name" in numbering.text
    assert len(number_values([outlines(*names)], LabelOptions("classes")).values) == 12


def test_a_crowd_is_no_object_but_of_its_class():
    ids, code = np.array([[0, 1, 2]]), outlines("cell", "cell", crowds=[2])
    assert number_values([code]).array(ids, code).tolist() == [[0, 1, -1]]
    code = outlines("cell", "wall", crowds=[2])
    assert number_values([code]).array(ids, code).tolist() == [[0, 1, 2]]


def test_names_that_are_numbers_are_the_values():
    assert number_values([outlines("7", "85")]).values == {"7": 7, "85": 85}


def test_categories_keep_their_values_where_files_agree():
    codes = [categories({1: "water", 2: "wood"}), categories({2: "wood", 5: "rock"})]
    assert not number_values(codes).values
    array = np.array([[0, 1, 2]])
    kind = kind_of([array, array], codes)
    assert kind.values == (0, 1, 2, 5)
    assert kind.names == ("background", "water", "wood", "rock")


def test_categories_that_differ_are_numbered_by_name():
    codes = [categories({1: "water", 2: "wood"}), categories({1: "wood"})]
    numbering = number_values(codes)
    assert numbering.values == {"water": 1, "wood": 2}
    assert numbering.array(np.array([[0, 1]]), codes[1]).tolist() == [[0, 2]]


def test_objects_and_numbers_that_are_no_ids_are_not_mixed():
    drawn, numbers = np.array([[0, 1, 2]]), np.array([[0, 255, 0, 255]])
    with pytest.raises(ValueError, match=r"1 file outline objects one by one, 1 file hold numbers"):
        kind_of([drawn, numbers], [outlines("", ""), None])


def test_one_more_file_for_a_trained_net():
    code = outlines("wall", "cell")
    ids = np.array([[0, 1, 2]])
    classes = LabelKind("classes", (0, 1, 2), names=("background", "cell", "wall"))
    assert numbering_of(classes, code).array(ids, code).tolist() == [[0, 2, 1]]
    assert numbering_of(LabelKind("binary", (0, 255)), code).array(ids, code).tolist() == [[0, 255, 255]]
    assert numbering_of(LabelKind("instances", (0, 1)), code).array(ids, code).tolist() == [[0, 1, 2]]
    with pytest.raises(ValueError, match="gap, which the model does not"):
        numbering_of(classes, outlines("gap"))


def test_categories_keep_their_numbers_by_name_when_they_are_stated():
    """As by the plan of a run that is resumed."""
    codes = [categories({0: "sea", 1: "wood"}), categories({0: "sea", 1: "rock", 2: "wood"})]
    numbering = number_values(codes)
    assert numbering.values == {"sea": 0, "rock": 1, "wood": 2}
    stated = LabelOptions(classes=((0, "sea"), (1, "rock"), (2, "wood")))
    assert number_values(codes, stated).values == numbering.values
    assert not number_values(codes, LabelOptions(classes=((0, "a"), (1, "b"), (2, "c")))).values


def test_colours_and_names_are_not_mixed():
    with pytest.raises(ValueError, match="some masks show colours, others name their classes"):
        number_values([outlines("cell"), ValueCode({0: (0, 0, 0), 1: (255, 0, 0)})])
