"""From file values to class indices and back."""

import numpy as np
import pytest

from unetkit.labels.kind import LabelKind, from_classes, nodata_value, to_classes


def scattered(values, shape):
    """A mask with all the values, each in many places."""
    return np.random.default_rng(0).choice(np.array(values), shape)


def test_kind_checks_its_values():
    with pytest.raises(ValueError, match=r"\(0, 3, 2\) must be ascending"):
        LabelKind("classes", (0, 3, 2))
    with pytest.raises(ValueError, match="1 classes: expected 2 to 250"):
        LabelKind("classes", (0,))
    assert LabelKind("classes", tuple(range(250))).n_classes == 250


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.float32])
@pytest.mark.parametrize("shape", [(9, 8), (4, 5, 6)])
def test_there_and_back(shape, dtype):
    labels = scattered([-1, 0, 3, 200], shape).astype(dtype)
    kind = LabelKind("classes", (0, 3, 200), ignore=-1)
    classes = to_classes(labels, kind)
    assert classes.dtype == np.uint8
    assert np.array_equal(np.unique(classes), [0, 1, 2, 255])
    assert np.array_equal(from_classes(classes, kind), labels)


@pytest.mark.parametrize("shape", [(9, 8), (4, 5, 6)])
def test_any_id_is_foreground(shape):
    labels = scattered([0, 1, 300, 70000], shape)
    kind = LabelKind("instances", (0, 1))
    classes = to_classes(labels, kind)
    assert np.array_equal(classes, (labels > 0).astype(np.uint8))
    assert np.array_equal(from_classes(classes, kind), np.where(labels > 0, 255, 0))


@pytest.mark.parametrize(
    "kind, classes, dtype, values",
    [
        (LabelKind("binary", (0, 255)), [0, 1], np.uint8, [0, 255]),
        (LabelKind("binary", (0, 1), ignore=255), [0, 1, 255], np.uint8, [0, 1, 255]),
        (LabelKind("binary", (0, 1), ignore=-1), [0, 1], np.uint8, [0, 1]),  # no need for a sign
        (LabelKind("binary", (0, 1), ignore=-1), [0, 255], np.int16, [0, -1]),
        (LabelKind("classes", (1, 256)), [0, 1], np.uint16, [1, 256]),
        (LabelKind("instances", (0, 1), ignore=255), [0, 1, 255], np.uint8, [0, 1, 255]),
    ],
)
def test_written_values_and_dtype(kind, classes, dtype, values):
    written = from_classes(np.array(classes), kind)
    assert np.can_cast(written.dtype, dtype)
    assert (written.dtype.kind == "u") == (np.dtype(dtype).kind == "u")
    assert written.tolist() == values


def test_unexpected_values_are_named_with_counts():
    kind = LabelKind("classes", (0, 1, 2), ignore=255)
    with pytest.raises(ValueError, match=r"3 \(2 px\), 9 \(1 px\): expected 0, 1 and 2, and 255 for not labelled"):
        to_classes(np.array([0, 3, 3, 9, 255]), kind)
    with pytest.raises(ValueError, match=r"-2 \(1 px\): expected 0 and positive ids"):
        to_classes(np.array([0, -2, 9]), LabelKind("instances", (0, 1)))
    with pytest.raises(ValueError, match=r"1000 \(1 px\), 1001 \(1 px\).*and 42 more: expected 0 and 1"):
        to_classes(np.arange(1000, 1050), LabelKind("binary", (0, 1)))
    with pytest.raises(ValueError, match=r"class indices 3 \(1 px\): expected 0 to 2"):
        from_classes(np.array([0, 3, 255]), kind)
    with pytest.raises(ValueError, match=r"class indices 255 \(2 px\): expected 0 to 1, file values 0 and 255"):
        from_classes(np.array([255, 255, 1]), LabelKind("binary", (0, 255)))


@pytest.mark.parametrize(
    "kind, expected",
    [
        (LabelKind("binary", (0, 1), ignore=-1), 255),  # masks are uint8, which holds no -1
        (LabelKind("binary", (0, 1), ignore=7), 7),
        (LabelKind("binary", (0, 1)), 255),
        (LabelKind("binary", (0, 255)), 254),
        (LabelKind("classes", (0, 254, 255)), 253),
        (LabelKind("classes", (0, 5, 700)), 255),
        (LabelKind("classes", (0, 5, 700), ignore=65535), 65535),
        (LabelKind("classes", tuple(range(6, 256))), 5),
        (LabelKind("classes", (0, 255, 65535)), 65534),
        (LabelKind("instances", (0, 1)), 254),
        (LabelKind("instances", (0, 1), ignore=255), 255),
    ],
)
def test_no_data_is_a_value_that_means_no_class(kind, expected):
    value = nodata_value(kind)
    assert value == expected
    written = from_classes(np.arange(kind.n_classes), kind)
    assert np.array(value).astype(written.dtype) == value
    assert value not in written
