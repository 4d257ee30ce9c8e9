"""One writer of a folder or a file: the second process is refused, and told which one is the first."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from filelock import FileLock, Timeout

from .atomic import check_folder_writable, writing

__all__ = ["LOCK_FILES", "sole_writer", "sole_writer_of"]

LOCK_FILES = frozenset({".lock", ".writer"})  # the lock itself, and the process that holds it, in words


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold a folder, made where there is none, as its only writer.

    The lock is the operating system's, so it ends with the process, however that ends. A folder that was empty and is
    empty again is removed.

    Raises
    ------
    FileExistsError
        If another process holds the folder; it is named. Or if there is a file of its name.
    OSError
        If the folder cannot be made or written to.
    """
    check_folder_writable(folder)
    was_there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _held(folder / ".lock", folder / ".writer", f"{folder}: {{}} writes into this folder"):
            yield
    finally:
        if not was_there:
            with suppress(OSError):  # it holds what was written, or was removed by another
                folder.rmdir()


@contextmanager
def sole_writer_of(path: Path) -> Iterator[None]:
    """Hold a file in an existing folder as its only writer; what a killed one left of it, half-written, is removed.

    Raises
    ------
    FileExistsError
        If another process holds it; it is named.
    """
    lock, writer = (path.with_name(f".{path.name}.{name}") for name in ("lock", "writer"))
    with _held(lock, writer, f"{path}: {{}} writes this file"):
        for leftover in path.parent.glob(f".{escape(path.name)}.*.tmp"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        yield


@contextmanager
def _held(path: Path, writer: Path, text: str) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FileExistsError(
            f"{text.format(_writer_text(writer))}; name another one, or wait until it has ended"
        ) from None
    try:
        began = time.strftime("%Y-%m-%d %H:%M:%S")
        with writing(writer):
            writer.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {began},", encoding="utf-8")
        yield
    finally:
        writer.unlink(missing_ok=True)
        if os.name == "posix":  # while the lock is held: a process that waits for the file then makes a new one
            path.unlink(missing_ok=True)
        lock.release()


def _writer_text(writer: Path) -> str:
    try:
        return writer.read_text(encoding="utf-8") or "another process"
    except OSError:  # it has only just begun
        return "another process"
