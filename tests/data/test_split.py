"""Both sides of a split show what the data allow, and no image is on both."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from unetkit.data.balance import split_notes
from unetkit.data.dataset import Case
from unetkit.data.split import EVEN, train_val_split

NAMES = ("background", "cell", "wall")


def case(name, classes=(1,), *, ndim=2, group=None, seed=None):
    """An image whose labels show these classes."""
    labels = np.zeros((6,) * ndim, np.uint8)
    labels[0, : len(classes)] = np.array(classes).reshape(-1, *(1,) * (ndim - 2))
    seed = sum(map(ord, name)) if seed is None else seed
    return Case(name, np.random.default_rng(seed).random((1, *labels.shape)), labels, None, group, Path(name))


def names(cases):
    return [each.name for each in cases]


def sides(cases, seed=0, fold=None, rule=EVEN, fraction=0.2):
    return train_val_split(cases, fraction=fraction, seed=seed, fold=fold, rule=rule)


@pytest.mark.parametrize("fold", [None, (0, 4), (3, 4)])
@pytest.mark.parametrize("grouped", [False, True])
def test_nothing_is_changed_where_nothing_forces_it(fold, grouped):
    for seed in range(20):
        cases = [case(f"a{i}", group=f"g{i % 5}" if grouped else None) for i in range(15)]
        old, new = (sides(cases, seed, fold, rule) for rule in (1, EVEN))
        assert [names(side) for side in old] == [names(side) for side in new]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("rare", [((), (1,)), ((1, 2), (1,)), ((1,), ())])
def test_what_two_images_show_both_sides_show(rare, ndim):
    changed = 0
    for seed in range(12):
        order = np.random.default_rng(seed).permutation(10)
        cases = [case(f"a{i}", rare[i in order[:8]], ndim=ndim) for i in range(10)]
        training, held_out = sides(cases, seed)
        assert len(held_out) == 2
        for side in (training, held_out):
            assert len({tuple(np.unique(each.labels)) for each in side}) == 2
        changed += names(held_out) != names(sides(cases, seed, rule=1)[1])
    assert 0 < changed < 12


def test_a_class_of_one_image_is_to_be_learned():
    for seed in range(8):
        cases = [case(f"a{i}", (1, 2) if i == 3 else (1,)) for i in range(6)]
        assert "a3" in names(sides(cases, seed)[0])


@pytest.mark.parametrize("fold", [None, 3])
def test_equal_images_are_on_one_side(fold):
    cases = [case(f"a{i}", seed=i // 2) for i in range(12)]
    for k in range(fold or 4):
        training, held_out = sides(cases, k, (k, fold) if fold else None)
        pairs = Counter(int(each.name[1:]) // 2 for each in held_out)
        assert set(pairs.values()) == {2}
        assert not set(names(training)) & set(names(held_out))


def test_images_that_are_all_equal_are_split_all_the_same():
    training, held_out = sides([case(f"a{i}", seed=1) for i in range(8)])
    assert (len(training), len(held_out)) == (6, 2)


def test_every_fold_shows_a_class_that_enough_images_have():
    for seed in range(8):
        chosen = set(np.random.default_rng(seed).permutation(16)[:4])
        cases = [case(f"a{i}", (1, 2) if i in chosen else (1,)) for i in range(16)]
        folds = [sides(cases, seed, (k, 4))[1] for k in range(4)]
        assert sorted(name for fold in folds for name in names(fold)) == sorted(names(cases))
        assert all(any((each.labels == 2).any() for each in fold) for fold in folds)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_part_of_an_image_leaves_something_to_learn(ndim):
    labels = np.zeros((20,) * ndim, np.uint8)
    labels[:, 4:16] = 1
    labels[:4, 5:12] = 2  # a class that lies along one side alone
    image = np.random.default_rng(0).random((1, *labels.shape))
    (training,), _ = sides([Case("a", image, labels, None, None, Path("a"))])
    assert {0, 1, 2} <= set(np.unique(training.labels))


def test_what_a_side_lacks_is_said():
    cell, wall, blank = case("a", (1,)), case("b", (1, 2)), case("c", ())
    assert split_notes([cell], [cell], NAMES) == []
    assert split_notes([cell], [], NAMES) == []
    assert split_notes([cell], [wall], NAMES) == ["only held-out images show wall (b): the net cannot learn it"]
    assert split_notes([wall], [cell], NAMES) == ["no held-out image shows wall: left out of the validation Dice"]
    (note,) = split_notes([wall], [blank], NAMES)
    assert note.startswith("no object in the images held out: there is no validation Dice")
    (note,) = split_notes([cell, case("d", seed=ord("a"))], [case("e")], NAMES)
    assert note == "looks wrong: 1 images are there more than once, kept on one side: a = d"
