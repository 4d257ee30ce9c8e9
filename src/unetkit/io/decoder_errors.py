"""Turn errors, warnings and log messages of decoders into one-line errors and notes."""

from __future__ import annotations

import errno
import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb

from ..errors import Problems

# tifffile fills missing strips and planes with zeros, or quietly reads fewer pages, and reports it in its log only.
DAMAGE = re.compile(r"missing|invalid (page|offset)|corrupt|truncat|expected \d+ (segments|frames)", re.IGNORECASE)
FIRST_PRIVATE_TAG = 32768  # TIFF 6.0, section 2
# catch_warnings replaces the filters of the whole process: two at once would leave each other's behind.
WARNING_LOCK = threading.Lock()

MOST_DEFLATED = 1032  # bytes that a byte of deflate unpacks to, at most; zlib.net/zlib_tech.html

DECODERS = {"tifffile", "imagecodecs", "PIL", "nibabel", "pydicom", "highdicom", "zarr", "numcodecs"}
DECODERS |= {"h5py", "mrcfile", "nrrd", "SimpleITK", "pylibCZIrw", "liffile", "nd2", "openslide"}  # io.formats
DECODERS |= {"rasterio", "roifile", "pyogrio", "shapely", "pycocotools", "yaml", "pydantic"}  # io.vectors
# Raised by Python where code is wrong, and by no decoder for a damaged file.
FAULTS_OF_CODE = (AttributeError, TypeError, NameError, AssertionError)


class Refused(ValueError):
    """An error whose message is complete: `decoding` leaves it as it is, `naming` puts the path before it."""


def check_packed(stated: int, held: int, most: int) -> None:
    """Raise Refused where a header states more bytes of pixels than a file can hold, before memory is taken for them.

    Parameters
    ----------
    stated : int
    held : int
        Bytes of the file.
    most : int
        Bytes that one byte of it unpacks to, at most.
    """
    if stated > held * most:
        raise Refused(f"damaged: its header states {stated} bytes of pixels, more than a file of {held} bytes can hold")


def check_inside(name: str, folder: Path) -> None:
    """Raise Refused where a name that a file states leads out of its folder."""
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise Refused(
            f"names {name!r}, which lies outside of {folder}: a file of pixels is read from its own folder only"
        )


@contextmanager
def naming(path: Path, *others: Path) -> Iterator[None]:
    """Put the path before the message of any ValueError raised inside, and into one of MemoryError.

    A message that begins with it, or with another file of the same image, is left as it is.
    """
    begins = tuple(f"{file}: " for file in (path, *others))
    try:
        yield
    except MemoryError as error:
        if str(error).startswith(begins):
            raise
        reason = str(error) or "allocation failed"
        raise MemoryError(f"{path}: too large for the memory at hand, or damaged ({reason})") from error
    except ValueError as error:
        if isinstance(error, Problems) or str(error).startswith(begins):  # which name their files
            raise
        raise ValueError(f"{path}: {error}") from error


@contextmanager
def decoding(kind: str) -> Iterator[None]:
    """Turn errors of a decoder inside into a ValueError with a plain message.

    Decoders report damaged bytes in many ways: ValueError, OSError, EOFError, RuntimeError (imagecodecs),
    SyntaxError (Pillow), struct.error, zlib.error, errors of their own. Errors of wrong code are not
    damage: from our code they pass as they are; from a decoder's, the message has its name and version, since either
    the file or that version may be at fault. A LookupError is damage in a decoder, which looks up names in the file
    (tifffile: KeyError for a missing tag), and passes as it is from our code.

    Parameters
    ----------
    kind : str
        Format of the file, for example "TIFF".

    Raises
    ------
    ValueError
        If a decoder fails. These pass as they are: `Refused`, a MemoryError, an OSError of the operating system
        (permission, disk), an ImportError, a warning that is turned into an error, and the faults of our code.
    """
    try:
        yield
    except (MemoryError, Refused, ImportError, Warning):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: a place before the file
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if isinstance(error, (*FAULTS_OF_CODE, LookupError)):
            decoder = _raised_in(error)
            if decoder is None:
                raise
            if isinstance(error, FAULTS_OF_CODE):
                version = getattr(sys.modules[decoder], "__version__", "")
                raise ValueError(
                    f"{decoder} {version} fails on this {kind} ({type(error).__name__}: {reason}): if other programs "
                    f"open it, install another version of {decoder}"
                ) from error
        raise ValueError(f"damaged, truncated or unsupported {kind} ({reason})") from error


def _raised_in(error: Exception) -> str | None:
    """The decoder in whose code an error was raised; None where it was raised in ours.

    The innermost frame of either counts: errors of numpy and the standard library are those of their caller.
    """
    packages = [frame.f_globals.get("__name__", "").split(".")[0] for frame, _ in walk_tb(error.__traceback__)]
    last = next((package for package in reversed(packages) if package in DECODERS | {"unetkit"}), None)
    return last if last in DECODERS else None


@contextmanager
def logged(logger: str, notes: list[str]) -> Iterator[None]:
    """Collect the warnings that `logger` logs in this thread into `notes` instead of letting them reach the screen.

    Raises
    ------
    ValueError
        On leaving, if a message says that data is missing or damaged.
    """
    thread = threading.get_ident()
    damage: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        if record.thread != thread or record.levelno < logging.WARNING:
            return True
        message = " ".join(record.getMessage().split())
        target = damage if _is_damage(record.levelno, message) else notes
        target.append(re.sub(r"<tifffile\S+.*?>", "", message).strip()[:200])
        return False

    log = logging.getLogger(logger)
    log.addFilter(collect)
    try:
        yield
    finally:
        log.removeFilter(collect)
    if damage:
        raise Refused(f"damaged, truncated or unsupported ({damage[0]})")


def _is_damage(level: int, message: str) -> bool:
    """Whether a log message reports missing pixels, rather than a private tag that nothing here needs."""
    tag = re.search(r"TiffTag (\d+)", message)
    if tag is not None and int(tag[1]) >= FIRST_PRIVATE_TAG:
        return False
    return level >= logging.ERROR or DAMAGE.search(message) is not None


@contextmanager
def warned(notes: list[str]) -> Iterator[None]:
    """Collect the warnings raised inside into `notes`; for short stretches, since only one thread can do so."""
    with WARNING_LOCK, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    notes.extend(" ".join(str(warning.message).split())[:200] for warning in caught)
