"""Places to draw around, found block by block; images drawn by their labels; large images validated in windows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unetkit.data.case import Case
from unetkit.data.dataset import Dataset
from unetkit.data.readable import ByRegion
from unetkit.labels.kind import IGNORE_INDEX, LabelKind
from unetkit.training import data_record
from unetkit.training.augment.augment import Augmentation
from unetkit.training.data_record import check_record, write_record
from unetkit.training.places import LookedUp, PlacesOfCases, places_of
from unetkit.training.plan.rules import make_plan
from unetkit.training.sampler import Sampler
from unetkit.training.windows import validation_cases

SIZES = {2: (130, 90), 3: (14, 40, 33)}


class OnDisk(ByRegion):
    """An array that is only read by region; the largest region that was read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.largest = array, array.shape, array.dtype, 0

    def _read(self, region):
        part = self.array[region]
        self.largest = max(self.largest, part.size)
        return part.copy()


def case_of(labels, image=None, name="c", ids=None):
    image = np.zeros((1, *labels.shape), np.float32) if image is None else image
    return Case(name, image, labels, None, None, Path(name), ids)


def sparse_labels(ndim, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, SIZES[ndim]).astype(np.uint8)
    labels[rng.random(SIZES[ndim]) < 0.7] = IGNORE_INDEX
    return labels


@pytest.mark.parametrize("ndim", [2, 3])
def test_places_are_those_of_a_scan_of_the_whole(monkeypatch, ndim):
    monkeypatch.setattr("unetkit.training.places._REMEMBERED", 100)
    labels = sparse_labels(ndim)
    expected, rng = [], np.random.default_rng([7, 3])
    for value in (1, 2, 3):
        pixels = np.flatnonzero(labels.ravel() == value)
        expected.append(rng.choice(pixels, min(len(pixels), 100), replace=False))
    pixels = np.flatnonzero(labels.ravel() != IGNORE_INDEX)
    labelled = np.random.default_rng([7, 3, 3]).choice(pixels, 100, replace=False)
    for most in (2**24, 500, 20):
        monkeypatch.setattr("unetkit.data.case.COUNTED_PIXELS", most)
        stored = OnDisk(labels)
        places = places_of(case_of(stored), seed=7, index=3)
        assert all(np.array_equal(a, b) for a, b in zip(places.foreground, expected, strict=True))
        assert np.array_equal(places.any_label, labelled)
        assert stored.largest <= most


@pytest.mark.parametrize("ndim", [2, 3])
def test_pixels_of_a_large_case_are_looked_up_as_often_as_they_are_there(monkeypatch, ndim):
    labels = sparse_labels(ndim)
    labels[labels == 2] = 0  # a class that is not there
    flat, parts = labels.ravel(), {}
    for most in (2**24, 500, 20):
        monkeypatch.setattr("unetkit.data.case.COUNTED_PIXELS", most)
        stored = OnDisk(labels)
        pixels, again = (LookedUp(case_of(stored), seed=3, index=1) for _ in range(2))
        assert (pixels.n_classes, pixels.is_partly_labelled) == (2, True)
        drawn = [[pixels.of_class(i, np.random.default_rng(n)) for n in range(900)] for i in (0, 1)]
        drawn.append([pixels.labelled(np.random.default_rng(n)) for n in range(900)])
        assert [set(flat[each].tolist()) for each in drawn] == [{1}, {3}, {0, 1, 3}]
        assert again.of_class(1, np.random.default_rng(500)) == drawn[1][500]  # whatever was drawn before
        assert stored.largest <= most
        assert 0.45 < np.mean(drawn[2]) / flat.size < 0.55
        parts[most] = len(set(drawn[2]))
    assert min(parts.values()) > 300
    assert LookedUp(case_of(np.zeros((5, 6), np.uint8)), seed=0, index=0).n_classes == 0


def test_places_of_whole_and_of_empty_labels():
    assert places_of(case_of(np.zeros((5, 6), np.uint8)), seed=0, index=0).any_label is None
    assert places_of(case_of(np.full((5, 6), IGNORE_INDEX, np.uint8)), seed=0, index=0).foreground == []


def test_places_that_were_let_go_of_are_found_again(monkeypatch):
    monkeypatch.setattr("unetkit.training.places._MOST_BYTES", 10)
    cases, places = [case_of(sparse_labels(2, i)) for i in range(3)], PlacesOfCases(1)
    first = [places(case, i) for i, case in enumerate(cases)]
    again = places(cases[0], 0)
    assert again is not first[0]
    assert all(np.array_equal(a, b) for a, b in zip(again.foreground, first[0].foreground, strict=True))


def test_patches_by_shares():
    cases = [case_of(np.ones((32, 32), np.uint8), np.full((1, 32, 32), float(i), np.float32)) for i in range(3)]
    sampler = Sampler(cases, (16, 16), (16, 16), 4, Augmentation.none(), 0, shares=(900, 100, 0))
    drawn = np.concatenate([sampler.draw(step).images[:, 0, 0, 0].numpy() for step in range(100)])
    assert np.mean(drawn == 0) == pytest.approx(0.9, abs=0.05)
    assert not (drawn == 2).any()
    assert np.array_equal(sampler.draw(4).images, sampler.draw(4).images)


def dataset_of(sizes):
    cases = [case_of(np.tile(np.uint8([0, 1]), (n, n // 2)), name=f"c{i}") for i, n in enumerate(sizes)]
    pixels = np.array([1, 1]) * sum(n * n // 2 for n in sizes)
    return Dataset(cases, LabelKind("binary", (0, 255)), 1, 2, (1.0, 1.0), "px", pixels, [])


def test_a_large_image_beside_small_ones_is_drawn_by_its_labels():
    plan = make_plan(dataset_of((640, 64, 64, 64)), steps=1)
    assert plan.patches.draw == "labelled"
    assert "100 times the labelled pixels that are usual" in plan.reasons["patches.draw"]
    assert make_plan(dataset_of((128, 64, 64, 64)), steps=1).patches.draw == "images"
    asked = make_plan(dataset_of((640, 64, 64, 64)), steps=1, settings={"patches": {"draw": "images"}})
    assert (asked.patches.draw, asked.reasons["patches.draw"]) == ("images", "set")


@pytest.mark.parametrize("ndim", [2, 3])
def test_windows_of_a_large_image_show_its_labels(monkeypatch, ndim):
    monkeypatch.setattr("unetkit.training.windows._LARGE", 1000)
    monkeypatch.setattr("unetkit.training.windows._ALL", 5 * 16**ndim)
    monkeypatch.setattr("unetkit.training.windows._SIDE", {2: 16, 3: 16})
    size = (100, 90) if ndim == 2 else (40, 50, 30)
    labels = np.full(size, IGNORE_INDEX, np.uint8)
    for value, start in ((0, 2), (1, 20), (2, 18)):
        labels[tuple(slice(start, start + 6) for _ in size)] = value
    image = np.random.default_rng(0).normal(size=(2, *size)).astype(np.float32)
    large = case_of(OnDisk(labels), OnDisk(image), "slide", OnDisk(labels))
    small = case_of(np.zeros((8,) * ndim, np.uint8), name="crop")
    cases, text = validation_cases([small, large], seed=3)
    assert text.startswith(
        f"validation: {len(cases) - 1} windows of {' x '.join(['16'] * ndim)} pixels in 1 large image"
    )
    assert cases[0] is small
    assert 1 < len(cases) - 1 <= 5
    assert {1, 2} <= set(np.concatenate([np.unique(case.labels) for case in cases]))
    for case in cases[1:]:
        start = [int(n) for n in case.name.removeprefix("slide at ").split(", ")]
        space = tuple(slice(s, s + n) for s, n in zip(start, case.size, strict=True))
        assert (case.labels != IGNORE_INDEX).any()
        assert np.array_equal(case.labels, labels[space])
        assert np.array_equal(np.asarray(case.image), image[(slice(None), *space)])
        assert np.array_equal(case.ids, labels[space])
    assert [case.name for case in validation_cases([small, large], seed=3)[0]] == [case.name for case in cases]
    assert validation_cases([small], seed=3) == ([small], "")


def test_large_files_are_recorded_by_parts_of_them(tmp_path, monkeypatch):
    rules = data_record._RULES | {3: data_record._Rule(1000, 4, 3)}
    monkeypatch.setattr(data_record, "_CHUNK", 100)
    path = tmp_path / "a.tif"
    path.write_bytes(bytes(range(250)) * 8)
    case = Case("a", np.zeros((1, 2, 2)), np.ones((2, 2), np.uint8), None, None, path)
    write_record(tmp_path / "whole.json", [case])
    monkeypatch.setattr(data_record, "_RULES", rules)
    write_record(tmp_path / "parts.json", [case])
    assert (tmp_path / "whole.json").read_text() != (tmp_path / "parts.json").read_text()
    check_record(tmp_path / "parts.json", [case])
    before = (tmp_path / "whole.json").read_text()
    for number in (1, 2):  # digested whole, as they were
        (tmp_path / "old.json").write_text(before.replace('"format": 3', f'"format": {number}'))
        check_record(tmp_path / "old.json", [case])
    with pytest.raises(ValueError, match="with another mask: a"):
        check_record(tmp_path / "parts.json", [replace(case, labels=np.uint8([[1, 1], [1, 0]]))])
    path.write_bytes(bytes(range(250)) * 8 + b"1")
    with pytest.raises(ValueError, match="with another image: a"):
        check_record(tmp_path / "parts.json", [case])
