"""Turn what decoders raise, warn and log into one-line errors and notes."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# tifffile fills missing strips and planes with zeros, or quietly reads fewer pages, and says so in its log only.
DAMAGE = re.compile(r"missing|invalid page|invalid offset|corrupt|truncat|expected \d+ (segments|frames)", re.IGNORECASE)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the path before the message of any ValueError raised inside."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


@contextmanager
def decoding(kind: str) -> Iterator[None]:
    """Turn what a decoder raises inside into a ValueError in words.

    Parameters
    ----------
    kind : str
        What the file was taken for, for example "TIFF".

    Raises
    ------
    ValueError
        For any failure to decode. A MemoryError and an OSError of the operating system (permission, disk) pass.
    """
    try:
        yield
    except MemoryError:
        raise
    # Damaged bytes can surface as any exception: struct.error, IndexError, KeyError, zlib.error, SyntaxError (Pillow)...
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"damaged, truncated or unsupported {kind} ({reason})") from error


@contextmanager
def listening(logger: str, notes: list[str]) -> Iterator[None]:
    """Collect warnings and the log messages of `logger` into `notes` instead of letting them reach the user's screen.

    Raises
    ------
    ValueError
        On leaving, if a log message says that data is missing or damaged.
    """
    thread = threading.get_ident()
    damage: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        if record.thread != thread or record.levelno < logging.WARNING:
            return True
        message = " ".join(re.sub(r"<tifffile\S+.*?>", "", record.getMessage()).split())[:200]
        is_damage = record.levelno >= logging.ERROR or DAMAGE.search(message) is not None
        (damage if is_damage else notes).append(message)
        return False

    log = logging.getLogger(logger)
    log.addFilter(collect)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        log.removeFilter(collect)
    notes.extend(" ".join(str(warning.message).split())[:200] for warning in caught)
    if damage:
        raise ValueError(f"damaged or truncated ({damage[0]})")
