"""Files that are written whole or not at all: under a temporary name beside their place, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replace_file", "write_bytes", "write_text"]


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to `path` if all goes well, else remove it.

    A crash leaves the previous file whole; what it may leave beside it is named .NAME.XXXXXXXX.tmp.

    Raises
    ------
    OSError
        Of the same number as the one inside (disk full, no permission), naming `path`.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}; nothing was written") from error
    finally:
        temporary.unlink(missing_ok=True)


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
    """Write a text in UTF-8, all or nothing."""
    write_bytes(path, content.encode())
