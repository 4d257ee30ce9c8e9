"""Files and folders that are written whole or not at all: under a temporary name in the same folder, then renamed."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = [
    "check_folder_writable",
    "check_writable",
    "replace_file",
    "replace_folder",
    "write_bytes",
    "write_text",
    "writing",
]


def check_writable(path: Path, *, suffix: str = "") -> None:
    """Raise if a file plainly cannot be written, before the work whose result it is to hold.

    Its folder may be missing, as `write_bytes` makes it.

    Parameters
    ----------
    path : Path
    suffix : str
        That its name must have: a page named by mistake as an image or a model would replace it.

    Raises
    ------
    ValueError
        If its name ends otherwise.
    OSError
        If it is a folder, or the folder that it lies in is a file or cannot be written to.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; name a file")
    if suffix and path.suffix.lower() != suffix:
        raise ValueError(f"{path}: expected the name of a {suffix} file")
    _check_access(path, next(parent for parent in path.absolute().parents if parent.exists()))


def check_folder_writable(path: Path) -> None:
    """Raise OSError if no file can be written into a folder, which may be missing, before the work starts."""
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path}: is a file; name a folder")
    above = (path.absolute(), *path.absolute().parents)
    _check_access(path, next(folder for folder in above if folder.exists()))


def _check_access(path: Path, folder: Path) -> None:
    if not folder.is_dir():
        raise NotADirectoryError(f"{path}: {folder} is a file, and so has no place for it; name another one")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{path}: {folder} cannot be written to: no permission, or a read-only disk")


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to `path` if all goes well, else remove it.

    A crash leaves the previous file whole; what it may leave beside it is named .NAME.XXXXXXXX.tmp.

    Raises
    ------
    OSError
        Of the same number as the one inside (disk full, no permission), naming `path`.
    """
    temporary = _temporary(path)
    try:
        with writing(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        with suppress(OSError):  # a read-only disk says so of a file that is not there, too
            temporary.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Give a new temporary folder in the same folder; rename it to `path` if all goes well, else remove it.

    A folder that is at `path` already is replaced with all that it holds; a failure leaves it as it was.

    Raises
    ------
    OSError
        Of the same number as the one inside (disk full, no permission), naming `path`.
    """
    temporary = _temporary(path)
    former = temporary.with_suffix(".old")
    try:
        with writing(path):
            temporary.mkdir()
            yield temporary
            if not path.exists():
                os.replace(temporary, path)
                return
            os.replace(path, former)  # a folder can be renamed only to a name that is free
            try:
                os.replace(temporary, path)
            except BaseException:
                os.replace(former, path)
                raise
            _remove(former)
    finally:
        _remove(temporary)


def _remove(folder: Path) -> None:
    """Remove a folder; threads of a library that failed may write into it for a moment yet (zarr 3)."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.02)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Put the path before the message of any OSError raised inside (disk full, no permission)."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}; nothing was written") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, all or nothing; it is on the disk, not only in its cache, before it takes its name.

    Its folder is made where there is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, content: str) -> None:
    """Write a text in UTF-8, all or nothing; bytes of file names that are not UTF-8 become escapes, as "\\udce9"."""
    write_bytes(path, content.encode(errors="backslashreplace"))
