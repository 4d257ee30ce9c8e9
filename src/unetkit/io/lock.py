"""One writer of a folder: the second process is refused, and told which one is the first."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .atomic import check_folder_writable

__all__ = ["LOCK_FILES", "sole_writer"]

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
    path, writer = folder / ".lock", folder / ".writer"
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FileExistsError(
            f"{folder}: {_writer_text(writer)} writes into this folder; name another one, or wait until it has ended"
        ) from None
    try:
        began = time.strftime("%Y-%m-%d %H:%M:%S")
        writer.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {began},", encoding="utf-8")
        yield
    finally:
        writer.unlink(missing_ok=True)
        if os.name == "posix":  # while the lock is held: a process that waits for the file then makes a new one
            path.unlink(missing_ok=True)
        lock.release()
        if not was_there:
            with suppress(OSError):  # it holds what was written
                folder.rmdir()


def _writer_text(writer: Path) -> str:
    try:
        return writer.read_text(encoding="utf-8") or "another process"
    except OSError:  # it has only just begun
        return "another process"
