"""Bands: every region as the source has it, and no band of a running read is decoded twice."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from unetkit.image import Image
from unetkit.io import open_lazy, write
from unetkit.io.bands import Banded
from unetkit.io.lazy import Region, WholeImage
from unetkit.io.tiff.regions import TiffRegions

VALUES = np.arange(2 * 23 * 7).reshape(2, 23, 7)


class Counted(WholeImage):
    def __init__(self) -> None:
        super().__init__(Image(VALUES, "cyx", (1.0, 1.0)))
        self.rows: list[tuple[int, int]] = []

    def read(self, region: Region) -> np.ndarray:
        self.rows.append((region[1].start, region[1].stop))
        return super().read(region)


@given(height=st.integers(2, 30), reads=st.lists(st.tuples(st.integers(0, 22), st.integers(1, 23)), max_size=8))
def test_every_region(height: int, reads: list[tuple[int, int]]) -> None:
    source = Banded(Counted(), height)
    for start, n in reads:
        region = (slice(0, 2), slice(start, min(start + n, 23)), slice(1, 6))
        assert np.array_equal(source.read(region), VALUES[region])


def test_a_band_is_decoded_once() -> None:
    counted = Counted()
    source = Banded(counted, 10)
    for start in range(0, 23, 4):
        source.read((slice(0, 1), slice(start, min(start + 4, 23)), slice(0, 7)))
    assert counted.rows == [(0, 10), (10, 20), (20, 23)]
    source.read((slice(0, 1), slice(3, 20), slice(0, 7)))  # more than a band is not kept
    source.read((slice(0, 1), slice(12, 14), slice(2, 5)))  # other columns are another band
    assert counted.rows[3:] == [(3, 20), (10, 20)]


@pytest.mark.parametrize("how", [{"tile": (32, 16)}, {"rowsperstrip": 32}], ids=["tiles", "strips"])
def test_compressed_tiffs(tmp_path: Path, how: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 9, (70, 50), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, compression="zlib", **how)
    reads: list[Region] = []
    read = TiffRegions.read
    monkeypatch.setattr(TiffRegions, "read", lambda self, region: reads.append(region) or read(self, region))
    with open_lazy(tmp_path / "a.tif") as image:
        rows = [image[:, start : start + 8, 3:40] for start in range(0, 70, 8)]
        rows[0][:] = 0  # its own copy
        assert np.array_equal(image[:, 0:8, 3:40][0], values[:8, 3:40])
    assert np.array_equal(np.concatenate(rows[1:], 1)[0], values[8:, 3:40])
    assert [(part.start, part.stop) for _, part, _ in reads] == [(0, 32), (32, 64), (64, 70), (0, 32)]


def test_zarr_chunks(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    values = np.random.default_rng(0).integers(0, 9, (1, 70, 50), dtype=np.uint8)
    write(tmp_path / "a.ome.zarr", Image(values, "cyx", (1.0, 1.0)))
    with open_lazy(tmp_path / "a.ome.zarr") as image:
        assert np.array_equal(np.concatenate([image[:, i : i + 9] for i in range(0, 70, 9)], 1), values)
