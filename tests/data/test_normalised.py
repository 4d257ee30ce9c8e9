"""Images that are kept as they are stored: a region cut and normalised is that of the whole, to the last bit."""

from pathlib import Path

import numpy as np
import pytest

from unetkit.data.case import Case
from unetkit.data.normalise import standardise
from unetkit.data.normalised import normalise_image, prepare_for_net
from unetkit.data.readable import Tabulated, read_rows, region_of
from unetkit.geometry import mirror
from unetkit.georeference import GeoReference
from unetkit.image import Image
from unetkit.training.augment.augment import Augmentation
from unetkit.training.sampler import Sampler

SIZES = {2: (61, 47), 3: (9, 31, 22)}
AXES = {2: "cyx", 3: "czyx"}


def image(ndim, dtype, channels=2, **place):
    values = np.random.default_rng(ndim).normal(120, 40, (channels, *SIZES[ndim])).clip(1, 250)
    return Image(values.astype(dtype), AXES[ndim], (1.0,) * ndim, **place)


def mirrored_rows(ndim):
    """Rows of a window that reaches over two borders."""
    return [mirror(-4, 20, SIZES[ndim][0]), *(mirror(n - 13, 16, n) for n in SIZES[ndim][1:])]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float16", "float32", "float64"])
def test_cut_then_normalised_is_normalised_then_cut(ndim, dtype):
    stored = image(ndim, dtype)
    whole, kept = standardise(stored.array), normalise_image(stored, channels=2, ndim=ndim)
    assert (kept.shape, kept.dtype) == (whole.shape, np.float32)
    assert kept.stored.dtype == ("float32" if dtype == "float64" else dtype)
    rows = mirrored_rows(ndim)
    assert np.array_equal(read_rows(kept, rows), whole[(slice(None), *np.ix_(*rows))])
    region = (slice(1, 2), slice(3, 8), slice(-9, None))
    assert np.array_equal(kept[region], whole[region])
    assert np.array_equal(np.asarray(kept), whole)
    assert np.array_equal(kept[0], whole[0])  # as numpy indexes
    assert len(kept) == 2
    assert kept.ndim == whole.ndim


@pytest.mark.parametrize("ndim", [2, 3])
def test_gray_is_kept_once_where_it_is_repeated(ndim):
    stored = image(ndim, "uint8", channels=1)
    kept = normalise_image(stored, channels=3, ndim=ndim)
    assert kept.stored.shape == (1, *SIZES[ndim])
    assert np.array_equal(np.asarray(kept), standardise(np.repeat(stored.array, 3, axis=0)))
    assert np.array_equal(kept[1:3, 2:5], np.asarray(kept)[1:3, 2:5])


def test_values_too_wide_for_float32_stay_as_they_are():
    values = np.array([[[-3e34, 3e34, 0, 1e33]]])
    kept = normalise_image(Image(values, "cyx", (1.0, 1.0)), channels=1, ndim=2)
    assert kept.stored.dtype == np.float64
    assert np.array_equal(kept[:, :, 1:3], standardise(values)[:, :, 1:3])


@pytest.mark.parametrize("has_mask", [False, True])
def test_gaps_of_a_map(has_mask):
    stored = image(2, "int16", georeference=GeoReference(nodata_text="7"))
    stored.array[0, 5:9, 4:20] = 7
    valid = np.random.default_rng(3).random(SIZES[2]) < 0.8 if has_mask else None
    stored = Image(stored.array, "cyx", (1.0, 1.0), georeference=stored.georeference, valid=valid)
    whole, kept = standardise(stored.array, stored.holds_data()), normalise_image(stored, channels=2, ndim=2)
    assert not kept[0:1, 5:9, 4:20].any() or has_mask
    assert np.array_equal(kept[:, 3:30, 2:40], whole[:, 3:30, 2:40])
    assert np.array_equal(prepare_for_net(stored, channels=2, ndim=2), whole)


@pytest.mark.parametrize("ndim", [2, 3])
def test_batches_are_the_same_to_the_last_bit(ndim):
    stored, labels = image(ndim, "uint8"), (image(ndim, "uint8", 1).array[0] > 130).astype(np.uint8)
    weights = 1 + np.hypot(*np.indices(SIZES[ndim])[:2]).astype(np.float32) % 5
    table = Tabulated.of(weights)
    assert isinstance(table, Tabulated)
    assert table.nbytes < weights.nbytes
    size = (16, 16, 16)[:ndim]
    batches = []
    for array, kept in (
        (standardise(stored.array), weights),
        (normalise_image(stored, channels=2, ndim=ndim), table),
    ):
        case = Case("c", array, labels, kept, None, Path())
        batches.append(Sampler([case], size, size, 2, Augmentation(), 5).draw(3))
    for name in ("images", "labels", "weights"):
        assert np.array_equal(getattr(batches[0], name), getattr(batches[1], name)), name


def test_a_table_is_used_only_where_it_is_smaller():
    many = np.arange(70_000, dtype=np.float32)[None]
    assert Tabulated.of(many) is many
    few = Tabulated.of(many % 3)
    assert np.array_equal(few[:, 10:20], (many % 3)[:, 10:20])


def test_regions():
    assert region_of(slice(1, None), (4, 5)) == (slice(1, 4), slice(0, 5))
    assert region_of((slice(None), slice(9, 2)), (4, 5)) == (slice(0, 4), slice(5, 5))
    assert region_of(0, (4, 5)) is None
    assert region_of((slice(None, None, 2),), (4, 5)) is None
