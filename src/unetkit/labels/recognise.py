"""Recognise from the masks themselves what their values mean, and describe it.

Nobody should have to say it: `label_statistics` takes a few numbers from each file, and `recognise` decides over all
files at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from .kind import IGNORE_INDEX, MAX_CLASSES, LabelKind
from .statistics import LabelStatistics, counts_text, values_text

__all__ = ["recognise"]

OVERRIDES = ("auto", "binary", "classes", "instances", "foreground")


def recognise(statistics: Sequence[LabelStatistics], override: str = "auto", *, ignore: int | None = None) -> LabelKind:
    """Decide over all files together what the values of a set of masks mean.

    One non-zero value is a foreground. Several are classes, unless they look like ids: counted 1 to n with an n that
    differs from file to file, or more than 30 per file, each one connected object. -1 means "not labelled", and so does
    255 beside values that are class numbers (at most 249, and not spread out like gray levels).

    Parameters
    ----------
    statistics : sequence of LabelStatistics
        One per file, from `label_statistics`.
    override : {"auto", "binary", "classes", "instances", "foreground"}
        Read the masks so, whatever they hold. "foreground" is any value but 0: instances that are not told apart.
    ignore : int, optional
        The file value that means "not labelled", where it is neither -1 nor 255.

    Returns
    -------
    LabelKind

    Raises
    ------
    ValueError
        If there are no files, only background, negative values other than the ignored one, more than 250 classes, or
        values that look like gray levels (a picture, or a mask saved as JPEG).
    """
    if override not in OVERRIDES:
        raise ValueError(f"labels={override!r}: expected one of {', '.join(OVERRIDES)}")
    if not statistics:
        raise ValueError("no masks to recognise: got 0 files")
    counts: Counter[int] = Counter()  # pixels of every value over all files
    for file in statistics:
        counts.update(file.counts)
    is_ignore_set = ignore is not None
    if ignore is None:
        ignore = _not_labelled(counts)
    values = sorted(set(counts) - {ignore})
    _refuse_unusable(values, counts, n_files=len(statistics))
    is_sure = override != "auto"
    if override in ("instances", "foreground") or (override == "auto" and _are_instances(statistics, ignore)):
        counted = all(_is_counted(_ids(file, ignore)) for file in statistics)
        if not is_ignore_set and ignore == IGNORE_INDEX and not counted:
            ignore = None  # 255 is one id among others
        return LabelKind("instances", (0, 1), ignore, _instances_text(statistics, ignore, is_sure=is_sure))
    nonzero = [value for value in values if value]
    if override == "binary" and len(nonzero) != 1:
        raise ValueError(
            f"labels='binary', but the masks hold {len(nonzero)} non-zero values ({values_text(nonzero)}): "
            "expected one; say --labels foreground to read any non-zero value as foreground"
        )
    if len(nonzero) == 1 and override != "classes":
        text = f"{_values_in_files((0, nonzero[0]), statistics)}: read as background and foreground"
        return LabelKind("binary", (0, nonzero[0]), ignore, text + _ignored_text(ignore))
    if override == "auto":
        _refuse_gray_levels(values, len(statistics))
    if len(values) < 2:  # override "classes" of masks that are one value everywhere
        values = [0, *values]
    return LabelKind("classes", tuple(values), ignore, _classes_text(values, statistics, ignore, is_sure=is_sure))


def _not_labelled(values: Iterable[int]) -> int | None:
    """-1, or 255 beside class numbers."""
    values = set(values)
    if -1 in values:
        return -1
    others = sorted(values - {IGNORE_INDEX})
    if IGNORE_INDEX not in values or len(others) < 2 or others[-1] >= MAX_CLASSES:
        return None
    # Gray levels (0, 128, 255) lie far apart, class numbers do not.
    return IGNORE_INDEX if min(np.diff(others)) < 10 else None


def _ids(file: LabelStatistics, ignore: int | None) -> frozenset[int]:
    return frozenset(value for value in file.counts if value not in (0, ignore))


def _is_counted(ids: frozenset[int]) -> bool:  # exactly 1, 2, ..., n
    return not ids or (min(ids) == 1 and max(ids) == len(ids))


def _are_instances(statistics: Sequence[LabelStatistics], ignore: int | None) -> bool:
    """Whether the values are ids of objects: one connected object each, and as many as there happen to be."""
    ids = [_ids(file, ignore) for file in statistics]
    largest = max(map(len, ids))
    connected = _connected_fraction(statistics, ignore)
    if largest > 30:  # few sets of classes are so large, and hardly any with each class in one piece
        return connected > 0.5
    if largest < 10 and connected < 1:
        return False
    filled = [file_ids for file_ids in ids if file_ids]
    least = 3 if len(set(filled)) >= 3 else 6  # organs, say, are also connected and may be missing here and there
    return largest >= least and connected >= 0.8 and _varies(filled) and all(map(_is_counted, filled))


def _varies(ids: list[frozenset[int]]) -> bool:
    """Whether the sets of ids differ as numbers of objects do; one set may be either."""
    # Of classes most are in every file.
    commonest = Counter(ids).most_common(1)[0][1]
    return len(ids) == 1 or commonest <= len(ids) / 2 or max(map(len, ids)) >= 2 * min(map(len, ids))


def _connected_fraction(statistics: Sequence[LabelStatistics], ignore: int | None) -> float:
    """Fraction of the ids (per file) that are one connected component; 0 where none could be judged."""
    tested = [n for file in statistics for value, n in file.components.items() if value != ignore]
    return sum(n == 1 for n in tested) / len(tested) if tested else 0.0


def _refuse_unusable(values: list[int], counts: Counter[int], *, n_files: int) -> None:
    negative = {value: counts[value] for value in values if value < 0}
    if negative:
        raise ValueError(
            f"masks hold negative values ({counts_text(negative)}) in {_files_text(n_files)}: expected class numbers "
            "or ids from 0 up, and -1 for not labelled; give another value for not labelled as ignore"
        )
    if not any(values):
        raise ValueError(
            f"masks show background only: {_files_text(n_files)}, only value {values_text(sorted(counts))}; expected a "
            "foreground value in at least one file"
        )


def _refuse_gray_levels(values: list[int], n_files: int) -> None:
    # Many scattered values that reach white are a picture, or a mask blurred by JPEG.
    is_gray = len(values) > 16 and 235 <= values[-1] <= 255
    if len(values) <= MAX_CLASSES and not is_gray:
        return
    raise ValueError(
        f"masks hold {len(values)} different values from {values[0]} to {values[-1]} in {_files_text(n_files)}: "
        f"expected at most {MAX_CLASSES} classes, or ids of connected objects; these look like pictures, or masks "
        "saved as JPEG; threshold them and save as PNG or TIFF, or say --labels foreground: any non-zero is foreground"
    )


# --- description ---


def _files_text(n: int) -> str:
    return f"{n} file" if n == 1 else f"{n} files"


def _values_in_files(values: Sequence[int], statistics: Sequence[LabelStatistics]) -> str:
    n = len(statistics)
    everywhere = n > 1 and all(set(values) <= set(file.counts) for file in statistics)
    return f"masks hold {values_text(values)} in {'all ' if everywhere else ''}{_files_text(n)}"


def _ignored_text(ignore: int | None) -> str:
    return "" if ignore is None else f"; {ignore} = not labelled"


def _classes_text(
    values: list[int], statistics: Sequence[LabelStatistics], ignore: int | None, *, is_sure: bool
) -> str:
    renumbered = values != list(range(len(values)))
    order = f", numbered {values_text(range(len(values)))} in this order" if renumbered else ""
    is_doubtful = not is_sure and _connected_fraction(statistics, ignore) == 1
    doubt = " (if each value is one object, say --labels instances)" if is_doubtful else ""
    text = f"{_values_in_files(values, statistics)}: read as {len(values)} classes"
    return f"{text}{order}{_ignored_text(ignore)}{doubt}"


def _instances_text(statistics: Sequence[LabelStatistics], ignore: int | None, *, is_sure: bool) -> str:
    numbers = [len(_ids(file, ignore)) for file in statistics]
    span = str(max(numbers)) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"
    connected = _connected_fraction(statistics, ignore)
    share = "" if connected == 0 else ", each" if connected == 1 else f", {100 * connected:.0f} % of them"
    objects = f"{share} one connected object" if share else ""
    doubt = " (if these are classes, say --labels classes)" if not is_sure and max(numbers) <= 30 else ""
    text = f"masks hold {span} {'id' if span == '1' else 'ids'} per file{objects}"
    return f"{text}: read as instances, foreground = any id{_ignored_text(ignore)}{doubt}"
