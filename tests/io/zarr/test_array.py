"""Chunks that are damaged are named; chunks that are missing are counted."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from unetkit import io
from unetkit.io.zarr.array import make_array, open_array

ARRAY = np.random.default_rng(0).integers(1, 250, (45, 37)).astype(np.uint16)
# File of the chunk (1, 2), in a grid of 3 x 3 chunks of 16 x 16.
STORES = {
    "v2, nested": ({"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}}, "1/2"),
    "v2, flat": ({"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "."}}, "1.2"),
    "v2, raw": ({"zarr_format": 2, "compressors": None}, "1.2"),
    "v3": ({}, "c/1/2"),
    "v3, flat": ({"chunk_key_encoding": {"name": "default", "separator": "."}}, "c.1.2"),
    "v3, raw": ({"compressors": None}, "c/1/2"),
    "v3, sharded": ({"chunks": (8, 16), "shards": (16, 16)}, "c/1/2"),
    "v3, sharded, a chunk each": ({"shards": (16, 16)}, "c/1/2"),
    "v3, sharded, index first": (
        {"chunks": (8, 16), "shards": {"shape": (16, 16), "index_location": "start"}},
        "c/1/2",
    ),
}


def stored(folder: Path, name: str) -> Path:
    """An array of zarr-python; the path of the file that holds the pixels from (16, 32) on."""
    options, file = STORES[name]
    zarr.create_array(store=str(folder), data=ARRAY, **{"chunks": (16, 16), **options})
    assert (folder / file).is_file()
    return folder / file


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("damage", ["truncated", "empty", "longer", "noise"])
def test_a_damaged_chunk_is_named_and_the_others_are_read(tmp_path: Path, name: str, damage: str) -> None:
    path = tmp_path / "a.zarr"
    file = stored(path, name)
    content = file.read_bytes()
    noise = np.random.default_rng(1).integers(0, 256, len(content), dtype=np.uint8).tobytes()
    file.write_bytes(
        {"truncated": content[: len(content) // 2], "empty": b"", "longer": content + b"12", "noise": noise}[damage]
    )
    with io.open_lazy(path) as image:
        assert image.notes[1:] == ()  # the chunk is there
        assert np.array_equal(image[:, :, :32][0], ARRAY[:, :32])
        try:
            part = image[:, 16:32]
        except ValueError as error:
            said = str(error)
        else:  # raw noise is as good as any; some decoders stop at the end of their data
            assert damage == "longer" or (damage, name.split()[-1]) == ("noise", "raw")
            assert damage == "noise" or np.array_equal(part[0], ARRAY[16:32])
            return
    index = "(1, 2) of shard (1, 2)" if "each" in name else "(2, 2) of shard (1, 2)" if "sharded" in name else "(1, 2)"
    assert said.startswith(f"{path}: array, chunk {index}: damaged, truncated or unsupported chunk (")
    assert "\n" not in said
    with pytest.raises(ValueError, match=r"a\.zarr: array, chunk \("):
        io.read(path)


@pytest.mark.parametrize("name", STORES)
def test_missing_chunks_are_counted_and_have_the_fill_value(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.zarr"
    file = stored(path, name)
    (file.parent / "7.7.partial").touch()
    unit = "shard" if "sharded" in name else "chunk"
    assert open_array(path, "").missing() == []
    file.unlink()
    image = io.read(path)
    assert image.notes[1:] == (f"1 of 9 {unit}s not stored: their pixels are the fill value 0",)
    expected = ARRAY.copy()
    expected[16:32, 32:] = 0
    assert np.array_equal(image.array[0], expected)


def test_no_chunk_at_all(tmp_path: Path) -> None:
    zarr.create_array(store=str(tmp_path), shape=(45, 37), chunks=(16, 16), dtype="f4", fill_value=np.nan)
    assert open_array(tmp_path, "").missing() == ["none of its 9 chunks is stored: every pixel is the fill value nan"]
    assert np.isnan(open_array(tmp_path, "").read((slice(0, 9), slice(30, 37)))).all()


def test_the_name_of_an_array_is_in_its_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="damaged, truncated or unsupported Zarr array 'deep/0' \\("):
        open_array(tmp_path, "deep/0")
    stored(tmp_path / "deep" / "0", "v3").write_bytes(b"?")
    with pytest.raises(ValueError, match=r"array 'deep/0', chunk \(1, 2\): damaged"):
        open_array(tmp_path, "deep/0").read((slice(0, 45), slice(0, 37)))


def test_a_fault_that_does_not_come_back_is_told_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path, "v3")
    array = open_array(tmp_path, "")
    calls = []

    class Once:
        def __getitem__(self, region: object) -> np.ndarray:
            calls.append(region)
            if len(calls) == 1:
                raise RuntimeError("once")
            return ARRAY[:16, :16]

    monkeypatch.setattr(array, "_array", Once())
    with pytest.raises(ValueError, match=r"^damaged, truncated or unsupported chunk \(once\)$"):
        array.read((slice(0, 20), slice(0, 20)))
    assert len(calls) == 5


def test_what_is_made_is_whole(tmp_path: Path) -> None:
    """Chunks of zeros are stored, and every chunk has a checksum."""
    made = make_array(tmp_path, "0", shape=(40, 40), dtype=np.dtype("u1"), chunks=(8, 8), shards=(16, 16), axes="yx")
    made.write((slice(0, 40), slice(0, 40)), np.zeros((40, 40), np.uint8))
    back = zarr.open_array(store=str(tmp_path / "0"), mode="r")
    assert (back.chunks, back.shards, back.metadata.dimension_names) == ((8, 8), (16, 16), ("y", "x"))
    assert open_array(tmp_path, "0").missing() == []
    assert len(list((tmp_path / "0" / "c").rglob("*"))) == 3 + 9
    file = tmp_path / "0" / "c" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[10] ^= 1  # inside the first chunk
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"array '0', chunk \(0, 0\) of shard \(0, 0\): damaged"):
        open_array(tmp_path, "0").read((slice(0, 8), slice(0, 8)))
