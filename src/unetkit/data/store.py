"""Where the arrays of a training lie: in memory as far as a budget allows, else in files of a cache that is kept."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from ..io.atomic import replace_file, write_text
from ..io.filenames import file_of
from ..io.read_options import ReadOptions
from .opened import OpenFiles
from .readable import ByRegion, Readable, Region, bytes_of

__all__ = ["ArrayStore", "SavedArray"]

_FORMAT = 1  # of the cache: arrays of another one are made anew
_BYTES_PER_PIXEL = 64  # of the work on a mask at most: distances in float64, and what they are made of
_LEAST_BLOCK = 2**20  # pixels

_Record = TypeVar("_Record")


class SavedArray(ByRegion):
    """An array in a .npy file. The file is open, and mapped, only while a region is read.

    So thousands need no more than one, and none of their pages stay in memory.
    """

    def __init__(self, path: Path) -> None:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        self.path, self.shape, self.dtype = path, mapped.shape, mapped.dtype
        self._offset = int(getattr(mapped, "offset", 0))

    def _read(self, region: Region) -> np.ndarray:
        return np.array(self._map("r")[region])

    def write(self, region: Region, values: np.ndarray) -> None:
        """Set the values of a region."""
        self._map("r+")[region] = values

    def _map(self, mode: Any) -> np.ndarray:
        return np.memmap(self.path, self.dtype, mode, self._offset, self.shape)


@dataclass
class ArrayStore:
    """Keeps arrays in memory up to half of a budget, since work on them takes the rest; others in a cache folder.

    Parameters
    ----------
    memory_bytes : int, optional
        None: all arrays are held.
    folder : Path, optional
        Of the cache; needed where there is a budget.
    """

    memory_bytes: int | None = None
    folder: Path | None = None
    opened: OpenFiles = field(default_factory=OpenFiles)
    held_bytes: int = 0
    saved_bytes: int = 0
    in_files_bytes: int = 0
    _siblings: dict[Path, dict[str, list[str]]] = field(default_factory=dict, repr=False)

    @cached_property
    def limit_bytes(self) -> float:
        """Bytes of arrays that are held at most."""
        return float("inf") if self.memory_bytes is None or self.folder is None else self.memory_bytes / 2

    @cached_property
    def block_pixels(self) -> float:
        """Pixels of a mask that are worked on at a time."""
        return max(self.limit_bytes / _BYTES_PER_PIXEL, _LEAST_BLOCK)

    @property
    def left_bytes(self) -> int:
        """Bytes that may still be held; at least 0."""
        return int(max(min(self.limit_bytes - self.held_bytes, 2**62), 0))

    def keep(self, name: str, array: np.ndarray) -> Readable:
        """The array, if it may be held, else its copy in the cache, which is read by region."""
        if array.nbytes <= self.left_bytes:
            self.held_bytes += array.nbytes
            return array
        path = self._path(name, ".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as temporary, temporary.open("wb") as file:
            np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
        return self._saved(path)

    def saved(self, name: str) -> Readable | None:
        """An array of the cache, read into memory if it may be held; None where there is none."""
        if self.folder is None or not (path := self._path(name, ".npy")).is_file():
            return None
        try:
            array = SavedArray(path)
        except (ValueError, OSError):
            return None
        if array.nbytes > self.left_bytes:
            return self._saved(path)
        self.held_bytes += array.nbytes
        return np.asarray(array)

    def _saved(self, path: Path) -> SavedArray:
        array = SavedArray(path)
        self.saved_bytes += array.nbytes
        return array

    def create(self, name: str, shape: Sequence[int], dtype: np.dtype) -> SavedArray:
        """A new array of zeros in the cache, to be written block by block and then given its name by `finish`."""
        path = self._path(f".{name}.{secrets.token_hex(4)}", ".tmp")  # several processes may make the same
        path.parent.mkdir(parents=True, exist_ok=True)
        np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=tuple(shape)).flush()
        return SavedArray(path)

    def finish(self, name: str, array: SavedArray) -> Readable:
        """The array under its own name, by which it is found again; read into memory if it may be held."""
        path = self._path(name, ".npy")
        array.path.replace(path)
        found = self.saved(name)
        return self._saved(path) if found is None else found

    def release(self, array: Readable) -> None:
        """Take an array that is let go of from the budget."""
        if not isinstance(array, ByRegion):
            self.held_bytes -= bytes_of(array)

    def write_record(self, name: str, record: object) -> None:
        """Write what is known of an array, or of several, beside them: last, so that they are all there."""
        if self.folder is not None:
            text = TypeAdapter(type(record)).dump_json(record, indent=1).decode()
            write_text(self._path(name, ".json"), text)

    def record(self, name: str, kind: type[_Record]) -> _Record | None:
        """What is known of arrays in the cache; None where there is none, or it cannot be read."""
        if self.folder is None or not (path := self._path(name, ".json")).is_file():
            return None
        try:
            return TypeAdapter(kind).validate_json(path.read_bytes())
        except (ValidationError, OSError):
            return None

    def _path(self, name: str, suffix: str) -> Path:
        if self.folder is None:
            raise ValueError("a budget of memory needs a folder for the arrays beyond it")
        return self.folder / f"{name}{suffix}"

    # --- names of arrays ---

    def name_of(self, files: Sequence[Path], options: ReadOptions) -> str:
        """A name for what files hold, and how they are read; another one once they change.

        Files of the same stem beside them count too: they may say where a map lies, or name its classes.
        """
        digest = hashlib.blake2b(f"{_FORMAT} {options}".encode(), digest_size=8)
        for file in files:
            digest.update(str(file.absolute()).encode())
            for path in self._with_siblings(file_of(file)):
                state = path.stat()
                digest.update(f"{path.name} {state.st_size} {state.st_mtime_ns}".encode())
        stem = "".join(letter if letter.isalnum() else "-" for letter in files[0].stem)[:40]
        return f"{stem}-{digest.hexdigest()}"

    def _with_siblings(self, path: Path) -> list[Path]:
        if path.is_dir():
            return sorted(file for file in path.rglob("*") if file.is_file())
        folder = path.parent
        if folder not in self._siblings:
            by_stem: dict[str, list[str]] = defaultdict(list)
            for entry in sorted(os.listdir(folder)) if folder.is_dir() else ():  # reading says what is missing
                by_stem[entry.split(".")[0]].append(entry)
            self._siblings[folder] = dict(by_stem)
        return [
            file
            for name in self._siblings[folder].get(path.name.split(".")[0], [])
            if (file := folder / name).is_file()
        ]

    # --- for the user ---

    def describe(self) -> str:
        """Where the arrays lie, in a sentence."""
        held = f"memory: {_size(self.held_bytes)} of images and masks held"
        if self.memory_bytes is None:
            return held
        of = f" (of {_size(self.memory_bytes)}, half of which is for the work on them; --memory)"
        if not (self.saved_bytes or self.in_files_bytes):
            return held + of
        rest = f"; {_size(self.in_files_bytes)} are read by region from their files" if self.in_files_bytes else ""
        if self.saved_bytes:
            rest += f"; {_size(self.saved_bytes)} lie in the cache {self.folder}, which may be removed afterwards"
        return held + of + rest


def _size(n: int) -> str:
    for unit, name in ((2**30, "GB"), (2**20, "MB")):
        if n >= unit:
            return f"{n / unit:.3g} {name}"
    return f"{n / 2**10:.3g} kB"
