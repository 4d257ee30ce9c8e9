"""How thin the lines in some masks are, and which way is up."""

from pathlib import Path

import numpy as np
import pytest

from unetkit.data.dataset import Case, Dataset
from unetkit.labels.kind import LabelKind
from unetkit.training.plan.fingerprint import line_width, orientation


def dataset(*masks):
    cases = [Case(f"c{i}", mask[None] * 1.0, mask, None, None, Path()) for i, mask in enumerate(masks)]
    n = max(2, int(max(mask.max() for mask in masks)) + 1)
    counts = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=n)
    kind = LabelKind("classes", tuple(range(n)), None, "")
    return Dataset(cases, kind, 1, masks[0].ndim, (1.0,) * masks[0].ndim, "px", counts, [])


def line(width, size=(64, 64)):
    mask = np.zeros(size, np.uint8)
    mask[..., 10 : 10 + width, 4:60] = 1
    return mask


@pytest.mark.parametrize(("width", "half"), [(1, 1), (3, 2), (9, 4), (30, np.inf)])
def test_lines_are_as_thin_as_they_are(width, half):
    assert line_width(dataset(line(width))) == half


def test_dots_and_discs_are_no_lines():
    dots = np.zeros((64, 64), np.uint8)
    dots[4::8, 4::8] = 1
    y, x = np.indices((64, 64))
    assert line_width(dataset(dots)) == np.inf
    assert line_width(dataset(((y - 30) ** 2 + (x - 30) ** 2 < 200).astype(np.uint8))) == np.inf


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_class_that_fills_its_image_is_no_line(ndim):
    """Its border is not in sight; a tenth of the class and more that lies in it is wide, whatever the rest is."""
    filled = np.ones((24,) * ndim, np.uint8)
    assert line_width(dataset(filled)) == np.inf
    comb = np.zeros((200, 200) if ndim == 2 else (40, 60, 60), np.uint8)
    for row in range(3):
        comb[..., row::10, :] = 1
    comb[..., :3] = 1
    assert line_width(dataset(comb)) < 3
    share = int((np.count_nonzero(comb) / 8.7) ** (1 / ndim)) + 1  # pixels per axis: 10.3% of all
    assert line_width(dataset(comb, np.ones((share,) * ndim, np.uint8))) == np.inf


def test_the_thinnest_of_several_classes():
    mask = line(3)
    mask[40:60, 10:50] = 2
    assert line_width(dataset(mask)) == 2


def test_masks_of_nothing():
    empty = dataset(np.zeros((8, 8), np.uint8))
    assert line_width(empty) == np.inf


def skies(n, *, turned=0):
    """Masks whose upper part, of any height, is class 1; some upside down."""
    rng, masks = np.random.default_rng(0), []
    for i in range(n):
        mask = np.zeros((40, 50), np.uint8)
        mask[: rng.integers(8, 24)] = 1
        masks.append(mask[::-1].copy() if i < turned else mask)
    return masks


def test_which_way_is_up():
    assert orientation(dataset(*skies(20))).endswith("of class 0 lie in the lower half of the images")
    assert orientation(dataset(*[mask.T.copy() for mask in skies(20)])).endswith("in the right half of the images")
    assert orientation(dataset(*skies(20, turned=10))) is None
    assert orientation(dataset(*skies(10))) is None
    rng = np.random.default_rng(0)
    assert orientation(dataset(*[rng.integers(0, 2, (40, 50), np.uint8) for _ in range(20)])) is None
