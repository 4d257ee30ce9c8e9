"""The images and masks that a run was planned with, by name and content, so that it goes on with the same ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path

import numpy as np

from ..data.balance import content_of
from ..data.case import Case
from ..io.atomic import write_text
from ..io.filenames import file_of
from ..json_text import parse_json
from ..labels.kind import IGNORE_INDEX

__all__ = ["check_record", "held_out_names", "write_record"]

_FORMAT = 3
_MOST_NAMES = 5
_CHUNK = 1 << 20


@dataclass(frozen=True)
class _Rule:
    """Bytes of a file or folder, and pixels of a mask, that are digested whole; and parts of larger files."""

    whole_bytes: float = inf
    parts: int = 1
    whole_pixels: float = inf


_RULES = {1: _Rule(), 2: _Rule(1 << 28, 64), 3: _Rule(1 << 25, 8, 1 << 24)}  # by format

_Contents = dict[str, tuple[str, str]]  # name of an image -> digests of its file and of its classes


def write_record(path: Path, cases: Sequence[Case], *, held_out: Collection[str] = ()) -> None:
    """Write the names and contents of all cases, and which of them the training does not see."""
    rows = [
        {"name": name, "image": image, "labels": labels, "held_out": name in held_out}
        for name, (image, labels) in _contents(cases, _RULES[_FORMAT]).items()
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
        rule = _RULES[document["format"]]
        before: _Contents = {row["name"]: (row["image"], row["labels"]) for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    if parts := _differences(before, _contents(cases, rule)):
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


def _contents(cases: Sequence[Case], rule: _Rule) -> _Contents:
    """By name, digests of the image's file and of the mask."""
    digests = {file: _digest(file, rule) for file in dict.fromkeys(file_of(case.path) for case in cases)}
    return {case.name: (digests[file_of(case.path)], _mask_content(case, rule)) for case in cases}


def _mask_content(case: Case, rule: _Rule) -> str:
    """A digest of all pixels; of a large mask of the pixels of every class in each of its blocks."""
    if prod(case.size) <= rule.whole_pixels:
        return content_of(case.classes)
    digest = hashlib.blake2b(repr(case.size).encode(), digest_size=8)
    for _, counts in case.label_blocks:
        if case.ids is not None:  # whatever is made of the distances inside of objects
            counts = np.array([counts[0], counts[1:IGNORE_INDEX].sum()], np.uint32)
        digest.update(counts.tobytes())
    return digest.hexdigest()


def _digest(path: Path, rule: _Rule) -> str:
    """Of the bytes of a file, or of all files of a folder: pixels in memory differ in the last bit between machines.

    Of large ones the sizes, and parts spread over them.
    """
    digest = hashlib.blake2b(digest_size=8)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    sizes = [file.stat().st_size if file.is_file() else 0 for file in files]
    step = 1 if sum(sizes) <= rule.whole_bytes else max(sum(sizes) // (rule.parts * _CHUNK), 2)
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
