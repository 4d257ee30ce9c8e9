"""A label image that is made block by block, whose finished blocks survive a crash."""

from __future__ import annotations

import errno
import json
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path

import numpy as np

from .lazy import Region, overlap

__all__ = ["BlockStore", "PackedBlock"]

_TABLES = """
CREATE TABLE IF NOT EXISTS about (what TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS block (number INTEGER PRIMARY KEY, data BLOB NOT NULL);
"""
_FAST = 1  # of zlib's levels: labels are long runs of one value, and shrink to a hundredth at any level


@dataclass(frozen=True)
class PackedBlock:
    """A block as it is stored, and as it travels from a worker to where it is stored.

    Attributes
    ----------
    size : tuple of int
    dtype : dtype
    data : bytes
        Compressed.
    """

    size: tuple[int, ...]
    dtype: np.dtype
    data: bytes

    @classmethod
    def of(cls, labels: np.ndarray) -> PackedBlock:
        """Pack an array."""
        return cls(labels.shape, labels.dtype, zlib.compress(labels.tobytes(), _FAST))

    @property
    def pixels(self) -> int:
        """Of the block."""
        return prod(self.size)


class BlockStore:
    """Blocks of one label image, in one SQLite file until all of them are written; a source like any image.

    A block is written in a transaction of its own, so that it is whole or absent after a crash at any moment.

    Parameters
    ----------
    path : Path or None
        Created if missing; None keeps the blocks in memory.
    size : sequence of int
        Of the label image in pixels, (y, x) or (z, y, x).
    block : sequence of int
        Of a block, per axis; the last ones are cut at the border.
    dtype : dtype
        Of the labels: integers.
    key : str
        Everything that the labels depend on. Blocks of another key, size, block or dtype are dropped.
    blank : ndarray of shape (), of `dtype`, optional
        Of pixels whose block is not written; 0 by default.

    Attributes
    ----------
    has_dropped : bool
        Whether blocks of another key, size, block or dtype were dropped.

    Raises
    ------
    ValueError
        If size and block have not the same number of axes, or a block has no pixel.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> store = BlockStore(None, (4, 6), block=(2, 6), dtype=np.dtype("uint8"))
    >>> store.write((2, 0), np.ones((2, 6), np.uint8))
    >>> (2, 0) in store, (0, 0) in store, store.read((slice(0, 1), slice(1, 3), slice(0, 2)))[0].tolist()
    (True, False, [[0, 0], [1, 1]])
    """

    spacing: tuple[float, ...]
    unit: str = "px"
    notes: tuple[str, ...] = ()

    def __init__(
        self,
        path: Path | None,
        size: Sequence[int],
        *,
        block: Sequence[int],
        dtype: np.dtype,
        key: str = "",
        blank: np.ndarray | None = None,
    ) -> None:
        if len(size) != len(block) or min(block) < 1:
            raise ValueError(f"blocks of {tuple(block)} pixels for an image of {tuple(size)}: expected 1 or more each")
        self.path, self.size, self.block, self.dtype = path, tuple(size), tuple(block), np.dtype(dtype)
        self.axes, self.shape = {2: "cyx", 3: "czyx"}[len(size)], (1, *size)
        self.spacing = (1.0,) * len(size)
        self._grid = tuple(-(-n // b) for n, b in zip(size, block, strict=True))
        self._lock = threading.Lock()  # a connection serves one thread at a time
        self.has_dropped = False
        self._blank, self._skipped = blank, set[int]()
        with self._failing():
            self._database = self._open(json.dumps([key, self.size, self.block, self.dtype.str]))
            self._written = {number for (number,) in self._database.execute("SELECT number FROM block")}

    def _open(self, identity: str) -> sqlite3.Connection:
        try:
            database, stored = self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) or self.path is None:
                raise
            self.path.unlink()  # a file of something else, or damaged
            self.has_dropped = True
            database, stored = self._connect()
        if stored != [identity]:
            with database:
                database.execute("DELETE FROM block")
                database.execute("DELETE FROM about")
                database.execute("INSERT INTO about VALUES (?)", (identity,))
            self.has_dropped = self.has_dropped or bool(stored)
        return database

    def _connect(self) -> tuple[sqlite3.Connection, list[str]]:
        database = sqlite3.connect(self.path or ":memory:", check_same_thread=False)
        try:
            database.executescript(_TABLES)
            return database, [identity for (identity,) in database.execute("SELECT what FROM about")]
        except sqlite3.DatabaseError:
            database.close()
            raise

    def __contains__(self, start: Sequence[int]) -> bool:
        """Whether the block that starts at a pixel is written, or will not be."""
        number = self._number(start)
        return number in self._written or number in self._skipped

    def __len__(self) -> int:
        """Number of blocks that are written."""
        return len(self._written)

    @property
    def pixels(self) -> int:
        """Pixels of the blocks that are written."""
        return self._pixels(self._written)

    @property
    def left_pixels(self) -> int:
        """Pixels of the blocks that are still to be written."""
        return prod(self.size) - self._pixels(self._written | self._skipped)

    def _pixels(self, numbers: Iterable[int]) -> int:
        return sum(prod(self._size(np.multiply(np.unravel_index(i, self._grid), self.block))) for i in numbers)

    def skip(self, starts: Iterable[Sequence[int]]) -> None:
        """Leave blocks out, by their first pixels: they count as there, and their pixels are blank."""
        self._skipped.update(map(self._number, starts))

    def write(self, start: Sequence[int], labels: np.ndarray | PackedBlock) -> None:
        """Store a block.

        Parameters
        ----------
        start : sequence of int
            Its first pixel, multiples of `block`.
        labels : ndarray or PackedBlock
            Of the block's size, cut at the border.

        Raises
        ------
        ValueError
            If no block starts there, or the size or dtype is another.
        OSError
            If the disk is full or cannot be written; the blocks written before are kept.
        """
        number = self._number(start)
        expected = self._size(start)
        packed = labels if isinstance(labels, PackedBlock) else PackedBlock.of(labels)
        if packed.size != expected or packed.dtype != self.dtype:
            raise ValueError(
                f"block at {tuple(start)}: got {packed.size} of {packed.dtype}, expected {expected} of {self.dtype}"
            )
        with self._failing(), self._lock, self._database:
            self._database.execute("INSERT OR REPLACE INTO block VALUES (?, ?)", (number, packed.data))
        self._written.add(number)

    def read(self, region: Region) -> np.ndarray:
        """Labels of a region of (1, *size); blank where no block is written."""
        box = region[1:]
        result = np.zeros([part.stop - part.start for part in box], self.dtype)
        if self._blank is not None:
            result[...] = self._blank
        touched = (range(p.start // b, -(-p.stop // b)) for p, b in zip(box, self.block, strict=True))
        for place in product(*touched):
            start = tuple(i * b for i, b in zip(place, self.block, strict=True))
            if self._number(start) not in self._written:
                continue
            with self._failing(), self._lock:
                query = self._database.execute("SELECT data FROM block WHERE number = ?", (self._number(start),))
                ((data,),) = query
            size = self._size(start)
            labels = np.frombuffer(zlib.decompress(data), self.dtype).reshape(size)
            source, target = overlap(start, size, box)
            result[target] = labels[source]
        return result[None][region[0]]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def remove(self) -> None:
        """Close the file and delete it."""
        self.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            # A process killed as its last transaction ended leaves a journal without content.
            self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)

    def _number(self, start: Sequence[int]) -> int:
        if any(s % b or not 0 <= s < n for s, b, n in zip(start, self.block, self.size, strict=True)):
            raise ValueError(f"no block starts at {tuple(start)}: blocks are {self.block} pixels of {self.size}")
        return int(np.ravel_multi_index([s // b for s, b in zip(start, self.block, strict=True)], self._grid))

    def _size(self, start: Sequence[int] | np.ndarray) -> tuple[int, ...]:
        return tuple(int(min(b, n - s)) for b, n, s in zip(self.block, self.size, start, strict=True))

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What SQLite says of the disk, as the operating system would."""
        try:
            yield
        except sqlite3.OperationalError as error:
            number = errno.ENOSPC if "full" in str(error) else errno.EIO
            raise OSError(number, f"cannot write {self.path}: {error}; the blocks written before are kept") from error
