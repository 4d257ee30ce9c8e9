"""Where arrays lie: in memory within a budget, in the cache, or in their files; a training cannot tell."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from unetkit import io
from unetkit.data import normalised
from unetkit.data.case import pixels_of_values
from unetkit.data.dataset import load_dataset
from unetkit.data.encoded import EncodedLabels
from unetkit.data.kept import kept_image
from unetkit.data.opened import OpenedImage
from unetkit.data.pairs import find_pairs
from unetkit.data.readable import ByRegion
from unetkit.data.store import ArrayStore, SavedArray
from unetkit.image import Image
from unetkit.io.read_options import AS_STATED
from unetkit.labels.options import LabelOptions

SIZES = {2: (150, 130), 3: (10, 60, 70)}
AXES = {2: "cyx", 3: "czyx"}


def objects(size, seed):
    """Ids of boxes, some of which touch."""
    rng, ids = np.random.default_rng(seed), np.zeros(size, np.uint16)
    for number in range(1, 16):
        start = [int(rng.integers(0, n - max(n // 6, 2))) for n in size]
        ids[tuple(slice(s, s + max(n // 6, 2)) for s, n in zip(start, size, strict=True))] = 37 * number + seed
    return ids


def make(folder, ndim, suffix, labels="ids", n=3, dtype="uint8"):
    """Pairs of images and masks, the images in tiles where the format has such."""
    for i in range(n):
        size = tuple(side - i for side in SIZES[ndim])
        ids = objects(size, i)
        values = np.random.default_rng(i).integers(1, 250, size) + 40 * (ids > 0)
        array = values.clip(0, 255).astype(dtype)
        mask = ids if labels == "ids" else (ids > 0).astype(np.uint8)
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "masks").mkdir(exist_ok=True)
        if suffix == ".tif":
            tile = {"tile": (32, 32), "compression": "zlib"}
            axes = {"metadata": {"axes": {2: "YX", 3: "ZYX"}[ndim]}}
            tifffile.imwrite(folder / f"images/c{i}.tif", array, photometric="minisblack", **tile, **axes)
            tifffile.imwrite(folder / f"masks/c{i}.tif", mask, photometric="minisblack", **tile, **axes)
        elif suffix == ".npy":
            np.save(folder / f"images/c{i}.npy", array)
            np.save(folder / f"masks/c{i}.npy", mask)
        else:
            io.write(folder / f"images/c{i}{suffix}", Image(array[None], AXES[ndim], (1.0,) * ndim))
            io.write_labels(folder / f"masks/c{i}{suffix}", mask)
    return find_pairs(folder)


def arrays_of(dataset):
    return [
        [None if array is None else np.asarray(array) for array in (c.image, c.labels, c.pixel_weights, c.ids)]
        for c in dataset.cases
    ]


def assert_same(dataset, other):
    assert dataset.describe() == other.describe()
    for some, more in zip(arrays_of(dataset), arrays_of(other), strict=True):
        for one, two in zip(some, more, strict=True):
            assert (one is None) == (two is None)
            assert one is None or np.array_equal(one, two)


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".png"])
@pytest.mark.parametrize("labels", ["ids", "classes"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_cases_are_the_same_wherever_they_lie(tmp_path, ndim, suffix, labels):
    if suffix == ".png" and ndim == 3:
        suffix = ".nii"
    pairs = make(tmp_path / "data", ndim, suffix, labels)
    held = load_dataset(pairs)
    assert held.kind.has_distance == (labels == "ids")
    store = ArrayStore(1000, tmp_path / "cache")
    stored = load_dataset(pairs, store=store)
    assert_same(held, stored)
    kind = SavedArray if suffix in (".png", ".nii") else OpenedImage
    assert all(isinstance(case.image.stored, kind) for case in stored.cases)
    made = EncodedLabels if labels == "classes" else SavedArray
    assert all(isinstance(case.labels, made) for case in stored.cases)
    assert store.held_bytes == 0
    again = ArrayStore(1000, tmp_path / "cache")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert_same(held, load_dataset(pairs, store=again))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == before
    roomy = ArrayStore(10**9, tmp_path / "cache")
    assert_same(held, load_dataset(pairs, store=roomy))
    assert not roomy.saved_bytes
    assert not roomy.in_files_bytes


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("labels", ["ids", "classes"])
def test_a_mask_larger_than_the_budget_is_encoded_block_by_block(tmp_path, monkeypatch, ndim, labels):
    monkeypatch.setattr("unetkit.data.store._LEAST_BLOCK", 40**2 if ndim == 2 else 20**3)
    pairs = make(tmp_path / "data", ndim, ".tif", labels, n=2)
    store = ArrayStore(1000, tmp_path / "cache")
    assert all(isinstance(sample, ByRegion) for sample in (c.labels for c in load_dataset(pairs, store=store).cases))
    assert_same(load_dataset(pairs), load_dataset(pairs, store=store))


@pytest.mark.parametrize("ndim", [2, 3])
def test_labels_that_are_made_where_they_are_read_are_counted_as_those_in_memory(tmp_path, monkeypatch, ndim):
    for module in ("case", "sample"):
        monkeypatch.setattr(f"unetkit.data.{module}.COUNTED_PIXELS", 3000)
    pairs = make(tmp_path / "data", ndim, ".tif", "classes")
    options = LabelOptions("classes", classes=((0, "ground"), (1, "box")))
    held, stored = (load_dataset(pairs, labels=options, store=each) for each in (None, ArrayStore(9, tmp_path / "c")))
    for one, two in zip(held.cases, stored.cases, strict=True):
        assert len(two.label_blocks) > 3
        assert np.array_equal(one.label_pixels, two.label_pixels)
        for space, counts in two.label_blocks:
            assert np.array_equal(counts, pixels_of_values(one.labels, space))


def test_a_value_that_no_other_mask_has_is_named_with_its_pixels(tmp_path):
    pairs = make(tmp_path / "data", 2, ".tif", "classes", n=3)
    mask = io.read_labels(pairs[1].mask).array.astype(np.uint8)
    mask[0, :7] = 9
    tifffile.imwrite(pairs[1].mask, mask, photometric="minisblack", tile=(32, 32))
    options = LabelOptions("classes", classes=((0, "ground"), (1, "box")))
    texts = []
    for store in (None, ArrayStore(9, tmp_path / "cache")):
        with pytest.raises(ValueError, match=r"masks/c1.tif") as caught:
            load_dataset(pairs, labels=options, store=store)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
    assert "9 (7 px)" in texts[0]


def test_masks_of_colours_are_counted_as_they_are_numbered(tmp_path):
    colours = np.uint8([[0, 0, 0], [255, 0, 0], [0, 255, 0]])
    pairs = make(tmp_path / "data", 2, ".png", "classes")
    for i, pair in enumerate(pairs):
        mask = io.read_labels(pair.mask).array.astype(int)
        mask[:4, :9] = mask.max() + (i == 2)  # the first has black and red, the second black and green, the last all
        tifffile.imwrite(pair.mask.with_suffix(".tif"), colours[np.where(mask == 1, 1 + (i == 1), mask)])
        pair.mask.unlink()
    pairs = find_pairs(tmp_path / "data")
    held, store = load_dataset(pairs), ArrayStore(9, tmp_path / "cache")
    stored = load_dataset(pairs, store=store)
    assert held.kind.n_classes == 3
    assert_same(held, stored)
    assert all(isinstance(case.labels, EncodedLabels) for case in stored.cases)
    for one, two in zip(held.cases, stored.cases, strict=True):
        assert np.array_equal(one.label_pixels, two.label_pixels)


def test_images_are_measured_when_they_are_read_and_found_measured(tmp_path, monkeypatch):
    pairs = make(tmp_path / "data", 2, ".tif", "classes")
    held = load_dataset(pairs)
    measured = []
    measure = normalised.measure_normalisation
    monkeypatch.setattr(normalised, "measure_normalisation", lambda *a: measured.append(a) or measure(*a))
    for n in (1, 1):  # the second time from the cache
        dataset = load_dataset(pairs, store=ArrayStore(9, tmp_path / "cache"))
        assert np.array_equal(dataset.cases[1].image[:, 5:9], held.cases[1].image[:, 5:9])
        assert len(measured) == n


def test_a_changed_file_is_read_again_and_a_damaged_cache_made_anew(tmp_path):
    pairs = make(tmp_path / "data", 2, ".png")
    load_dataset(pairs, store=ArrayStore(1000, tmp_path / "cache"))
    make(tmp_path / "data", 2, ".png", labels="classes")
    for path in (tmp_path / "cache").glob("c1*"):
        path.write_bytes(b"damaged")
    assert_same(load_dataset(pairs), load_dataset(pairs, store=ArrayStore(1000, tmp_path / "cache")))


def test_what_a_killed_process_had_made_is_used(tmp_path, monkeypatch):
    pairs = make(tmp_path / "data", 2, ".png")
    read, opened = io.read, []

    def killed(files, options):
        opened.append(files[0].name)
        if len(opened) == 3:
            raise KeyboardInterrupt
        return read(files[0])

    monkeypatch.setattr("unetkit.data.kept.read_channels", killed)
    with pytest.raises(KeyboardInterrupt):
        load_dataset(pairs, store=ArrayStore(1000, tmp_path / "cache"))
    again = load_dataset(pairs, store=ArrayStore(1000, tmp_path / "cache"))
    assert opened == ["c0.png", "c1.png", "c2.png", "c2.png"]
    monkeypatch.undo()
    assert_same(load_dataset(pairs), again)


def test_as_much_as_fits_is_held(tmp_path):
    pairs = make(tmp_path / "data", 2, ".png", "classes")
    store = ArrayStore(2 * 60_000, tmp_path / "cache")
    dataset = load_dataset(pairs, store=store)
    kinds = [isinstance(case.image.stored, ByRegion) for case in dataset.cases]
    assert kinds == [False, False, True]
    text = store.describe()
    assert text.startswith("memory: ")
    assert "lie in the cache" in text
    assert "memory: " in ArrayStore().describe()


def test_all_bad_files_are_named_at_once(tmp_path):
    pairs = make(tmp_path / "data", 2, ".tif", n=4)
    whole = (tmp_path / "data/images/c1.tif").read_bytes()
    (tmp_path / "data/images/c1.tif").write_bytes(whole[:2000])
    (tmp_path / "data/masks/c2.tif").write_bytes(b"")
    with pytest.raises(ValueError, match="2 unusable files") as caught:
        load_dataset(pairs, store=ArrayStore(1000, tmp_path / "cache"))
    assert all(name in str(caught.value) for name in ("images/c1.tif", "masks/c2.tif"))


def test_gray_that_is_stored_as_rgb_is_one_channel(tmp_path):
    gray = np.random.default_rng(0).integers(0, 255, (64, 48), np.uint8)
    for name, array in (("gray", np.stack([gray] * 3, -1)), ("colour", np.stack([gray, gray, gray[::-1]], -1))):
        tifffile.imwrite(tmp_path / f"{name}.tif", array, photometric="rgb", tile=(16, 16))
        image = kept_image([tmp_path / f"{name}.tif"], AS_STATED, ArrayStore(10, tmp_path / "cache"))
        whole = io.read(tmp_path / f"{name}.tif")
        assert isinstance(image.array, OpenedImage)
        assert image.notes == whole.notes
        assert np.array_equal(np.asarray(image.array), whole.array)


def test_thousands_of_arrays_need_no_more_files_than_one(tmp_path):
    resource = pytest.importorskip("resource")
    n = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    store = ArrayStore(2, tmp_path)
    array = store.keep("a", np.arange(12).reshape(3, 4))
    many = [SavedArray(array.path) for _ in range(min(n, 3000) + 10)]
    assert all(int(each[1:2, 2:3][0, 0]) == 6 for each in many)
    assert Path(array.path).is_file()


def test_what_is_wrong_at_every_stage_is_named_as_without_a_store(tmp_path):
    pairs = make(tmp_path / "data", 2, ".png", "classes", n=5)
    (tmp_path / "data/images/c0.png").write_bytes(b"")
    mask = np.zeros((148, 128), np.uint8)
    mask[0, :2] = 1, 2  # values that only this mask has
    io.write_labels(tmp_path / "data/masks/c2.png", mask)
    empty = np.full((147, 127), 255, np.uint8)  # not labelled, where the others hold classes
    io.write_labels(tmp_path / "data/masks/c3.png", empty)
    texts = []
    for store in (None, ArrayStore(1000, tmp_path / "cache")):
        with pytest.raises(ValueError, match="2 problems") as caught:
            load_dataset(pairs, store=store)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
    assert all(name in texts[0] for name in ("c0.png", "c3.png"))


def test_gray_stored_as_rgb_holds_one_channel_only(tmp_path):
    gray = np.random.default_rng(0).integers(0, 255, (32, 32), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", np.stack([gray] * 3, -1), photometric="rgb")
    for folder in (None, tmp_path / "cache"):
        array = kept_image([tmp_path / "a.tif"], AS_STATED, ArrayStore(10**6, folder)).array
        assert array.shape == (1, 32, 32)
        assert array.base is None or array.base.nbytes == array.nbytes


def test_what_was_encoded_block_by_block_is_held_where_it_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(ArrayStore, "block_pixels", 40**2)
    pairs = make(tmp_path / "data", 2, ".tif", "classes", n=2)
    dataset = load_dataset(pairs, store=ArrayStore(10**9, tmp_path / "cache"))
    assert all(isinstance(case.labels, np.ndarray) for case in dataset.cases)
    assert_same(load_dataset(pairs), dataset)


def test_a_missing_folder_is_named_by_its_file(tmp_path):
    pairs = make(tmp_path / "data", 2, ".png")
    gone = replace(pairs[0], image=tmp_path / "gone/c0.png")
    with pytest.raises(ValueError, match=r"No such file or directory: '.*gone/c0.png'"):
        load_dataset([gone, *pairs[1:]], store=ArrayStore(1000, tmp_path / "cache"))


def test_threads_read_more_files_than_are_kept_open(tmp_path, monkeypatch):
    monkeypatch.setattr("unetkit.data.opened._MOST_OPEN", 2)
    pairs = make(tmp_path / "data", 2, ".tif", "classes", n=6)
    held, stored = (load_dataset(pairs, store=each).cases for each in (None, ArrayStore(9, tmp_path / "cache")))

    def is_same(step):
        case = step % 6
        rows = slice(step % 90, step % 90 + 40)
        return np.array_equal(held[case].image[:, rows], stored[case].image[:, rows])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(is_same, range(400)))
