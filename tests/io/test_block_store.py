"""Blocks of a label image: each written once and kept for good, whatever happens between."""

import os
import signal
import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from unetkit.io.block_store import BlockStore, PackedBlock
from unetkit.io.lazy import LazyImage

SIZES = {2: ((23, 31), (8, 10)), 3: ((5, 23, 31), (2, 8, 31))}


def labels(size, dtype="uint16"):
    return np.random.default_rng(0).integers(0, 700, size).astype(dtype)


def starts(size, block):
    return list(product(*(range(0, n, b) for n, b in zip(size, block, strict=True))))


def write_all(store, array, places):
    for start in places:
        box = tuple(slice(s, s + b) for s, b in zip(start, store.block, strict=True))
        store.write(start, array[box])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("in_memory", [False, True])
def test_blocks_in_any_order_are_one_image(ndim, in_memory, tmp_path):
    size, block = SIZES[ndim]
    array, path = labels(size), None if in_memory else tmp_path / "a.partial"
    store = BlockStore(path, size, block=block, dtype=array.dtype)
    places = starts(size, block)
    write_all(store, array, places[::-1])
    assert (len(store), store.pixels) == (len(places), array.size)
    with LazyImage(tmp_path / "a", store) as image:
        assert (image.shape, image.size, image.axes) == ((1, *size), size, {2: "cyx", 3: "czyx"}[ndim])
        assert np.array_equal(image[:][0], array)
        some = (slice(3, 4), slice(5, 19), slice(9, 30))[-ndim:]
        assert np.array_equal(image[(slice(None), *some)][0], array[some])
    assert in_memory or path.exists()


def test_what_was_written_is_there_after_a_kill(tmp_path):
    """Killed while it writes block after block: every block that is there is whole."""
    path = tmp_path / "a.partial"
    code = f"""
import numpy as np, pathlib, itertools
from unetkit.io.block_store import BlockStore
store = BlockStore(pathlib.Path({str(path)!r}), (4000, 64), block=(1, 64), dtype=np.dtype("uint8"))
for i in itertools.count():
    store.write((i % 4000, 0), np.full((1, 64), i % 250, np.uint8))
    print(i, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        for _ in range(20):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    store = BlockStore(path, (4000, 64), block=(1, 64), dtype=np.dtype("uint8"))
    assert len(store) >= 20
    assert not store.has_dropped
    found = store.read((slice(0, 1), slice(0, len(store)), slice(0, 64)))[0]
    assert np.array_equal(found, np.repeat(np.arange(len(store)) % 250, 64).reshape(-1, 64))
    path.with_name("a.partial-journal").touch()  # as is left by a kill at the end of a transaction
    store.remove()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "change", [{"key": "other"}, {"block": (4, 10)}, {"dtype": np.dtype("uint8")}, {"size": (23, 30)}]
)
def test_blocks_of_something_else_are_dropped(change, tmp_path):
    given = {"size": (23, 31), "block": (8, 10), "dtype": np.dtype("uint16"), "key": "this"}
    store = BlockStore(tmp_path / "a", **given)
    write_all(store, labels((23, 31)), [(0, 0), (8, 20)])
    store.close()
    again = BlockStore(tmp_path / "a", **given)
    assert (len(again), again.has_dropped) == (2, False)
    again.close()
    other = BlockStore(tmp_path / "a", **(given | change))
    assert (len(other), other.has_dropped) == (0, True)
    other.close()


def test_a_file_of_something_else_is_replaced(tmp_path):
    (tmp_path / "a").write_bytes(b"this is no database" * 100)
    store = BlockStore(tmp_path / "a", (8, 8), block=(8, 8), dtype=np.dtype("uint8"))
    assert (len(store), store.has_dropped) == (0, True)
    store.close()


def test_a_full_disk_keeps_what_is_there(tmp_path):
    store = BlockStore(tmp_path / "a", (64, 64), block=(8, 64), dtype=np.dtype("uint8"))
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    write_all(store, noise, [(0, 0)])
    store._database.execute("PRAGMA max_page_count = 1")  # as many as there are
    with pytest.raises(OSError, match=r"cannot write .*a: database or disk is full; the blocks written before are"):
        write_all(store, noise, starts((64, 64), (8, 64))[1:])
    n = len(store)
    store.close()
    again = BlockStore(tmp_path / "a", (64, 64), block=(8, 64), dtype=np.dtype("uint8"))
    assert len(again) == n >= 1
    assert np.array_equal(again.read((slice(0, 1), slice(0, 8 * n), slice(0, 64)))[0], noise[: 8 * n])
    again.close()


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(OSError, match=r"cannot write .*b: unable to open database file"):
        BlockStore(tmp_path / "missing" / "b", (8, 8), block=(8, 8), dtype=np.dtype("uint8"))


def test_blocks_that_do_not_fit_are_refused():
    store = BlockStore(None, (20, 20), block=(8, 10), dtype=np.dtype("uint8"))
    with pytest.raises(ValueError, match=r"no block starts at \(4, 0\): blocks are \(8, 10\) pixels of \(20, 20\)"):
        store.write((4, 0), np.zeros((8, 10), np.uint8))
    with pytest.raises(ValueError, match=r"no block starts at \(24, 0\)"):
        store.write((24, 0), np.zeros((8, 10), np.uint8))
    with pytest.raises(ValueError, match=r"block at \(16, 0\): got \(8, 10\) of uint8, expected \(4, 10\) of uint8"):
        store.write((16, 0), np.zeros((8, 10), np.uint8))
    with pytest.raises(ValueError, match=r"got \(8, 10\) of int64, expected \(8, 10\) of uint8"):
        store.write((0, 0), np.zeros((8, 10), np.int64))
    with pytest.raises(ValueError, match=r"blocks of \(8, 0\) pixels for an image of \(20, 20\): expected 1 or more"):
        BlockStore(None, (20, 20), block=(8, 0), dtype=np.dtype("uint8"))
    store.close()


def test_a_packed_block_is_stored_as_its_array():
    store = BlockStore(None, (4, 6), block=(2, 6), dtype=np.dtype("uint16"))
    labels = np.arange(12, dtype=np.uint16).reshape(2, 6)
    packed = PackedBlock.of(labels[:, ::-1])
    store.write((2, 0), packed)
    assert np.array_equal(store.read((slice(0, 1), slice(2, 4), slice(0, 6)))[0], labels[:, ::-1])
    assert packed.pixels == 12
    for wrong in (labels[:1], labels.astype(np.uint8)):
        with pytest.raises(ValueError, match=r"block at \(0, 0\): got"):
            store.write((0, 0), PackedBlock.of(wrong))
