"""What sets of masks mean: drawn cases and the real sets."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Picture

from unetkit.labels.kind import from_classes, to_classes
from unetkit.labels.options import LabelOptions
from unetkit.labels.recognise import recognise
from unetkit.labels.statistics import label_statistics

DATA = Path(os.environ.get("UNETKIT_DATA", Path(__file__).parents[3] / "shared" / "data"))


def scattered(values, *, seed=0, shape=(32, 32)):
    """A mask with all the values, each in many places."""
    return np.random.default_rng(seed).choice(np.array(values), shape)


def objects(n, *, ndim=2, step=1):
    """A mask with ids step, 2 step, ..., each one block."""
    labels = np.zeros((3 * n,) + (3,) * (ndim - 1), dtype=np.int64)
    for i in range(n):
        labels[3 * i : 3 * i + 2] = (i + 1) * step
    return labels


def kind_of(*masks, **options):
    return recognise([label_statistics(mask) for mask in masks], **options)


@pytest.mark.parametrize("foreground", [1, 255, 7, 65535])
@pytest.mark.parametrize("ndim", [2, 3])
def test_one_nonzero_value_is_a_foreground(foreground, ndim):
    masks = [scattered([0, foreground], seed=i, shape=(6,) * ndim) for i in range(3)]
    kind = kind_of(*masks)
    assert (kind.kind, kind.values, kind.ignore, kind.n_classes) == ("binary", (0, foreground), None, 2)
    assert kind.description == f"masks hold 0 and {foreground} in all 3 files: read as background and foreground"


def test_values_need_not_be_in_every_file():
    kind = kind_of(np.zeros((4, 4), int), np.full((4, 4), 255), scattered([0, 255]))
    assert (kind.kind, kind.values) == ("binary", (0, 255))
    assert "in 3 files" in kind.description


@pytest.mark.parametrize(
    "values, classes, ignore",
    [
        ((0, 1, 2), (0, 1, 2), None),
        ((1, 2), (1, 2), None),
        ((0, 50, 100), (0, 50, 100), None),
        ((0, 1, 2, 255), (0, 1, 2), 255),
        ((-1, 0, 1, 2), (0, 1, 2), -1),
        ((-1, 0, 1, 2, 255), (0, 1, 2, 255), -1),
        ((0, 128, 255), (0, 128, 255), None),  # gray levels: 255 is the third
        ((1, 255), (1, 255), None),
        ((0, 1, 252, 255), (0, 1, 252, 255), None),
        ((*range(19), 255), tuple(range(19)), 255),  # Cityscapes train ids
    ],
)
def test_few_shared_values_are_classes(values, classes, ignore):
    kind = kind_of(*(scattered(values, seed=i) for i in range(2)))
    assert (kind.kind, kind.values, kind.ignore) == ("classes", classes, ignore)
    assert f"read as {len(classes)} classes" in kind.description
    assert ("numbered 0" in kind.description) == (classes != tuple(range(len(classes))))
    assert (f"{ignore} = not labelled" in kind.description) == (ignore is not None)


def test_classes_with_some_absent_in_most_files():
    kind = kind_of(scattered([0, 1]), scattered([0, 4, 9]), scattered([2]))
    assert (kind.kind, kind.values) == ("classes", (0, 1, 2, 4, 9))


@pytest.mark.parametrize("values, ignore", [((0, 1, 255), 255), ((-1, 0, 1), -1)])
def test_binary_with_a_value_for_not_labelled(values, ignore):
    kind = kind_of(scattered(values))
    assert (kind.kind, kind.values, kind.ignore) == ("binary", (0, 1), ignore)


def test_an_explicit_ignore_wins():
    assert kind_of(scattered([0, 1, 9]), ignore=9).values == (0, 1)
    assert kind_of(scattered([0, 1, 255]), ignore=1).values == (0, 255)
    assert kind_of(scattered([0, -7, 3]), ignore=-7).ignore == -7


@pytest.mark.parametrize("ndim", [2, 3])
def test_counted_connected_ids_are_instances(ndim):
    kind = kind_of(objects(4, ndim=ndim), objects(193, ndim=ndim), objects(1, ndim=ndim))
    assert (kind.kind, kind.values, kind.ignore) == ("instances", (0, 1), None)
    assert kind.description == (
        "masks hold 1 to 193 ids per file, each one connected object: read as instances, foreground = any id"
    )


def test_sparse_ids_are_instances_where_there_are_many():
    kind = kind_of(objects(40, step=255), objects(60, step=17))  # 255 is one id among others
    assert (kind.kind, kind.ignore) == ("instances", None)


def test_a_few_split_objects_do_not_matter():
    labels = objects(20)
    labels[0], labels[-1] = 20, 3  # two of them get a far away second part
    kind = kind_of(labels)
    assert kind.kind == "instances"
    assert "90 % of them one connected object" in kind.description
    assert "if these are classes, say --labels classes" in kind.description


@pytest.mark.parametrize(
    "numbers, kind", [((3,), "classes"), ((5,), "classes"), ((6,), "instances"), ((1, 2, 3), "instances"),
                      ((2, 2, 2), "classes"), ((13, 13, 13, 12), "classes"), ((29, 10, 10), "instances")]
)  # fmt: skip
def test_small_cases(numbers, kind):
    recognised = kind_of(*map(objects, numbers))
    assert recognised.kind == kind
    other = {"classes": "instances", "instances": "classes"}[kind]
    assert f"say --labels {other}" in recognised.description


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("with_gaps, kind", [(1, "instances"), (2, "instances"), (4, "classes")])
def test_an_object_that_was_taken_out_of_a_few_masks_leaves_ids(ndim, with_gaps, kind):
    masks = [objects(n, ndim=ndim) for n in (5, 9, 12, 14, 7, 11, 8, 6, 13, 10)]
    for mask in masks[:with_gaps]:
        mask[mask == 2] = 0
    assert kind_of(*masks).kind == kind


def test_organs_that_some_scans_lack_are_classes():
    scans = [objects(13, ndim=3) for _ in range(10)]
    for scan, lacking in zip(scans, ((13,), (12, 13), (5,), (1, 2), (13,), (12,), (3,), (13, 4), (), ()), strict=True):
        scan[np.isin(scan, lacking)] = 0
    assert kind_of(*scans).kind == "classes"


def test_one_split_value_among_few_speaks_for_classes():
    labels = objects(8)
    labels[-1] = 2
    assert kind_of(labels).kind == "classes"


def test_instances_with_void():
    labels = objects(8)
    labels[-1] = 255
    kind = kind_of(labels, objects(9), ignore=None)
    assert (kind.kind, kind.ignore) == ("instances", 255)


def test_override():
    three = objects(3)
    assert kind_of(three, override="instances").kind == "instances"
    assert kind_of(objects(40), override="classes").n_classes == 41
    assert kind_of(scattered([0, 255]), override="classes").kind == "classes"
    assert kind_of(np.full((2, 2), 3), override="classes").values == (0, 3)
    assert kind_of(scattered([0, 4]), override="binary").values == (0, 4)
    with pytest.raises(
        ValueError, match=r"hold 3 non-zero values \(1, 2 and 3\): expected one; say --labels foreground"
    ):
        kind_of(three, override="binary")
    with pytest.raises(ValueError, match="labels='Binary': expected one of auto, binary, classes, instances"):
        kind_of(three, override="Binary")


def test_refuses_sets_that_teach_nothing():
    with pytest.raises(ValueError, match="got 0 files"):
        recognise([])
    with pytest.raises(ValueError, match="background only: 5 files, only value 0"):
        kind_of(*[np.zeros((3, 3), int)] * 5)
    with pytest.raises(ValueError, match="background only: 1 file, only value -1 and 0"):
        kind_of(np.array([[0, -1]]))
    with pytest.raises(ValueError, match=r"negative values \(-3 \(2 px\)\) in 1 file"):
        kind_of(np.array([[0, 1, -3, -3]]))


def test_refuses_pictures_and_jpeg_masks():
    picture = scattered(range(256), shape=(64, 64))
    with pytest.raises(ValueError, match=r"256 different values from 0 to 255 in 2 files.*at most 250 classes"):
        kind_of(picture, picture)
    blurred = scattered([*range(12), *range(245, 256)])
    with pytest.raises(ValueError, match=r"23 different values from 0 to 255 in 1 file.*JPEG"):
        kind_of(blurred)
    assert kind_of(blurred, override="classes").n_classes == 23
    assert kind_of(blurred, override="instances").n_classes == 2
    with pytest.raises(ValueError, match="256 classes: expected 2 to 250"):
        kind_of(picture, override="classes")


@pytest.mark.parametrize(
    "name, n, expected",
    [
        ("isbi2012", 24, ("binary", (0, 255), None)),
        ("nuclei", 20, ("instances", (0, 1), None)),
        ("floods", 8, ("binary", (0, 1), -1)),
        ("vnc_em", 1, ("classes", (0, 1, 2, 3, 4), None)),
    ],
)
def test_real_sets(name, n, expected):
    paths = sorted((DATA / name / "masks").glob("*"))[:n]
    if not paths:
        pytest.skip(f"no real data in {DATA / name}")
    masks = [tifffile.imread(p) if p.suffix == ".tif" else np.array(Picture.open(p)) for p in paths]
    kind = kind_of(*masks)
    assert (kind.kind, kind.values, kind.ignore) == expected
    classes = to_classes(masks[-1], kind)
    back = from_classes(classes, kind)
    assert np.array_equal(back, np.where(masks[-1] > 0, 255, 0) if kind.kind == "instances" else masks[-1])


# --- what is stated, and what only looks like a class ---


@pytest.mark.parametrize("ndim", [2, 3])
def test_stated_classes_are_kept_where_masks_lack_them(ndim):
    options = LabelOptions(classes=((0, "soil"), (40, "oak"), (50, "elm")), source="labels.json")
    kind = recognise([label_statistics(scattered([0, 40, 255], shape=(6,) * ndim))], options)
    assert (kind.kind, kind.values, kind.ignore, kind.names) == ("classes", (0, 40, 50), 255, ("soil", "oak", "elm"))
    with pytest.raises(ValueError, match=r"60 \(\d+ px\), which labels.json does not name"):
        recognise([label_statistics(scattered([0, 60]))], options)


def test_sparse_labels_need_a_statement():
    kind = kind_of(scattered([0, 255]), override=LabelOptions(ignore=255, classes=((0, "none"), (1, "cell"))))
    assert (kind.values, kind.ignore) == ((0, 1), 255)


def test_nothing_is_ignored_where_so_stated():
    assert kind_of(scattered([0, 1, 2, 255])).ignore == 255
    assert kind_of(scattered([0, 1, 2, 255]), ignore="none").values == (0, 1, 2, 255)


@pytest.mark.parametrize("ndim", [2, 3])
def test_masks_of_two_conventions_mean_one_foreground(ndim):
    masks = [scattered([0, value], shape=(6,) * ndim) for value in (1, 255, 1)]
    kind = kind_of(*masks, np.zeros((6,) * ndim, np.uint8))
    assert (kind.kind, kind.values, kind.aliases) == ("binary", (0, 255), ((1, 255),))
    assert all(np.array_equal(to_classes(mask, kind), mask > 0) for mask in masks)


def test_255_beside_1_in_one_file_is_not_labelled():
    kind = kind_of(scattered([0, 1]), scattered([0, 1, 255]))
    assert (kind.values, kind.ignore) == ((0, 1), 255)


def test_nodata_of_maps_is_not_labelled():
    files = [label_statistics(scattered([0, 1, 2, 99], seed=i), nodata=99.0) for i in range(2)]
    assert recognise(files).ignore == 99
    untagged = label_statistics(scattered([0, 1, 99]))
    with pytest.raises(ValueError, match="99, and 1 file without the tag"):
        recognise([*files, untagged])
    with pytest.raises(ValueError, match="98 and 99"):
        recognise([*files, label_statistics(scattered([0, 98]), nodata=98)])
    assert recognise([*files, untagged], ignore="none").values == (0, 1, 2, 99)
    assert recognise([label_statistics(scattered([0, 7]), nodata=0.0)]).ignore is None


@pytest.mark.parametrize("ndim", [2, 3])
def test_ids_cut_out_of_a_large_image_are_instances(ndim):
    masks = [np.where(objects(5, ndim=ndim) > 0, objects(5, ndim=ndim) * 37 + 1000 * i, 0) for i in range(4)]
    assert kind_of(*masks).kind == "instances"
    again = [np.where(objects(5, ndim=ndim) > 0, objects(5, ndim=ndim) * 37, 0) for _ in range(4)]
    assert kind_of(*again).kind == "classes"


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_value_along_edges_is_doubted(ndim):
    mask = np.zeros((12,) * ndim, np.uint8)
    mask[2:8], mask[8] = 200, 90
    assert "90 only along edges" in kind_of(mask).description
    mask[8:11] = 90  # a band of three pixels is not what interpolation makes
    assert "along edges" not in kind_of(mask).description


def test_class_numbers_are_not_taken_for_edges():
    mask = np.zeros((12, 12), np.uint8)
    mask[2:8], mask[8] = 2, 1
    assert "along edges" not in kind_of(mask).description


def test_254_beside_255_is_doubted():
    assert "254 beside 255" in kind_of(scattered([0, 254, 255])).description
    assert "beside 255" not in kind_of(scattered([0, 100, 200, 255])).description
