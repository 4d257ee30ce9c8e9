"""The images and masks that a run was planned with, by name and content, so that it goes on with the same ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path

from ..data.balance import content_of
from ..data.case import Case
from ..io.atomic import write_text
from ..io.filenames import file_of
from ..json_text import parse_json

__all__ = ["check_record", "held_out_names", "write_record"]

_FORMAT = 3  # 2 digested large masks whole, 1 large files too
_MOST_NAMES = 5
_CHUNK = 1 << 20
_WHOLE = 1 << 28  # bytes of a file, or of all in a folder, up to which it is digested whole; of others some parts
_PARTS = 64

_Contents = dict[str, tuple[str, str]]  # name of an image -> digests of its file and of its classes


def write_record(path: Path, cases: Sequence[Case], *, held_out: Collection[str] = ()) -> None:
    """Write the names and contents of all cases, and which of them the training does not see."""
    rows = [
        {"name": name, "image": image, "labels": labels, "held_out": name in held_out}
        for name, (image, labels) in _contents(cases).items()
    ]
    write_text(path, json.dumps({"format": _FORMAT, "cases": rows}, indent=1))


def held_out_names(path: Path) -> set[str] | None:
    """Names of the images that a training has not seen; None where its record does not tell, or there is none."""
    if not path.is_file():
        return None
    try:
        rows = parse_json(path.read_text(encoding="utf-8"))["cases"]
        return {row["name"] for row in rows if row["held_out"]}
    except (ValueError, KeyError, TypeError):
        return None


def check_record(path: Path, cases: Sequence[Case]) -> None:
    """Compare cases with a record; runs of before have none, and nothing is compared.

    Raises
    ------
    ValueError
        If files were changed, renamed, added or removed: the images that were held out may have been learned then.
    """
    if not path.is_file():
        return
    try:
        document = parse_json(path.read_text(encoding="utf-8"))
        rows = document["cases"]
        has_whole = document["format"] == 1, document["format"] < _FORMAT
        before: _Contents = {row["name"]: (row["image"], row["labels"]) for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    if parts := _differences(before, _contents(cases, has_whole)):
        raise ValueError(
            f"the data are not those that {path.parent} was planned with: {'; '.join(parts)}. The images held out "
            "would be others: bring the data back, or begin a new run from its weights (--from)"
        )


def _differences(before: _Contents, now: _Contents) -> list[str]:
    new = {contents: name for name, contents in now.items() if name not in before}
    gone = [name for name in before if name not in now]
    renamed = {name: new[before[name]] for name in gone if before[name] in new}
    parts = [
        _listed([f"{name} as {other}" for name, other in renamed.items()], "under other names:"),
        _listed([name for name in gone if name not in renamed], "missing:"),
        _listed([name for name in now if name not in before and name not in renamed.values()], "new:"),
    ]
    for i, noun in enumerate(("image", "mask")):
        changed = [name for name in before if name in now and before[name][i] != now[name][i]]
        parts.append(_listed(changed, f"with another {noun}:"))
    return [part for part in parts if part]


def _listed(names: Sequence[str], words: str) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{words} {', '.join(names[:_MOST_NAMES])}{more}"


def _contents(cases: Sequence[Case], has_whole: tuple[bool, bool] = (False, False)) -> _Contents:
    """By name, digests of the image's file and of the mask; of a large one of parts of it, unless all is wanted."""
    files, masks = has_whole
    digests = {file: _digest(file, is_whole=files) for file in dict.fromkeys(file_of(case.path) for case in cases)}
    return {case.name: (digests[file_of(case.path)], content_of(case.classes, is_whole=masks)) for case in cases}


def _digest(path: Path, *, is_whole: bool) -> str:
    """Of the bytes of a file, or of all files of a folder: pixels in memory differ in the last bit between machines.

    Of large ones the sizes, and parts spread over them, unless all is to be read.
    """
    digest = hashlib.blake2b(digest_size=8)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    sizes = [file.stat().st_size if file.is_file() else 0 for file in files]
    step = 1 if is_whole or sum(sizes) <= _WHOLE else max(sum(sizes) // (_PARTS * _CHUNK), 2)
    number = 0  # of a chunk, over all files
    for file, size in zip(files, sizes, strict=True):
        if not file.is_file():
            continue
        digest.update(file.relative_to(path).as_posix().encode())
        if step > 1:
            digest.update(str(size).encode())
        with file.open("rb") as stream:
            for start in range(0, size, _CHUNK):
                if number % step == 0:
                    stream.seek(start)
                    digest.update(stream.read(_CHUNK))
                number += 1
    return digest.hexdigest()
