"""Recognise what a set of masks means by looking at it, and say it in words.

Masks come as 0/255 pictures, as class numbers with or without a "not labelled" value, or as one id per object. Nobody
should have to say which: `label_statistics` takes a few numbers from each file, `recognise` decides over all files at
once, and `to_classes` / `from_classes` go from the file's values to class indices and back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

import numpy as np

from .instances import distance_levels
from .statistics import LabelStatistics, as_integers, count_values

IGNORE_INDEX = 255  # the class index that means "not labelled" in every class array of the package
MAX_CLASSES = 250  # class indices are uint8 and 255 is taken; a set with more values holds ids or intensities

__all__ = [
    "IGNORE_INDEX",
    "LabelKind",
    "from_classes",
    "nodata_value",
    "recognise",
    "to_classes",
    "written_values",
]

OVERRIDES = ("auto", "binary", "classes", "instances", "foreground")


@dataclass(frozen=True)
class LabelKind:
    """The meaning of the values in a set of masks.

    Attributes
    ----------
    kind : {"binary", "classes", "instances"}
    values : tuple of int
        The file values of class 0, 1, 2, ..., ascending. For instances (0, 1): background and any id; or (0, ..., L):
        background, and L levels of depth inside an object, from its rim to its middle.
    ignore : int or None
        The file value that means "not labelled".
    description : str
        One sentence for the user: what was found and how it is read.

    Raises
    ------
    ValueError
        If `values` is not ascending, or names fewer than 2 or more than 250 classes.
    """

    kind: Literal["binary", "classes", "instances"]
    values: tuple[int, ...]
    ignore: int | None = None
    description: str = ""

    def __post_init__(self) -> None:
        if not 2 <= len(self.values) <= MAX_CLASSES:
            raise ValueError(
                f"masks with {len(self.values)} classes: expected 2 to {MAX_CLASSES}; if the values are ids of objects "
                "say --labels instances"
            )
        if list(self.values) != sorted(set(self.values)):
            raise ValueError(f"class values {self.values} must be ascending, each once")

    @property
    def n_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.values)

    @property
    def has_distance(self) -> bool:
        """Whether the classes are levels of depth inside of objects, so that objects can be told apart."""
        return self.kind == "instances" and self.n_classes > 2

    def with_distance(self, levels: int) -> LabelKind:
        """The same, instances read as so many levels of depth."""
        if self.kind != "instances":
            raise ValueError(f"masks are {self.kind}, which have no depth: expected instances")
        words = self.description.replace("foreground = any id", f"{levels} levels of depth inside of each")
        return replace(self, values=tuple(range(levels + 1)), description=words)


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
        Decide so without judging. "foreground" is any value but 0, whatever it is: instances that are not told apart.
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
        raise ValueError("no masks to look at: got 0 files")
    counts = _total(statistics)
    given = ignore
    if ignore is None:
        ignore = _not_labelled(counts)
    values = sorted(set(counts) - {ignore})
    _refuse_unusable(values, counts, n_files=len(statistics))
    if override in ("instances", "foreground") or (override == "auto" and _are_instances(statistics, ignore)):
        counted = all(_is_counted(_ids(one, ignore)) for one in statistics)
        if given is None and ignore == IGNORE_INDEX and not counted:
            ignore = None  # 255 is one id among others
        return LabelKind("instances", (0, 1), ignore, _say_instances(statistics, ignore, sure=override != "auto"))
    nonzero = [value for value in values if value]
    if override == "binary" and len(nonzero) != 1:
        raise ValueError(
            f"labels='binary', but the masks hold {len(nonzero)} non-zero values ({_listed(nonzero)}): "
            "expected one; say --labels foreground to read any non-zero value as foreground"
        )
    if len(nonzero) == 1 and override != "classes":
        return LabelKind("binary", (0, nonzero[0]), ignore, _say_binary(nonzero[0], statistics, ignore))
    if override == "auto":
        _refuse_gray_levels(values, len(statistics))
    if len(values) < 2:  # override "classes" of masks that are one value everywhere
        values = [0, *values]
    return LabelKind(
        "classes", tuple(values), ignore, _say_classes(values, statistics, ignore, sure=override != "auto")
    )


def to_classes(labels: np.ndarray, kind: LabelKind, *, spacing: Sequence[float] | None = None) -> np.ndarray:
    """Turn the values of a label image into class indices.

    Parameters
    ----------
    labels : ndarray of shape (*spatial)
        File values: integers or booleans; floats only if all are whole numbers.
    kind : LabelKind
    spacing : sequence of float, optional
        Pixel size per axis, in any unit, by which depths are measured.

    Returns
    -------
    ndarray of shape (*spatial), uint8
        Class indices 0 to K - 1; 255 where not labelled.

    Raises
    ------
    ValueError
        If the image holds values that `kind` does not know; they are named with their pixel counts.

    Examples
    --------
    >>> to_classes(np.array([0, 50, 100, -1]), LabelKind("classes", (0, 50, 100), ignore=-1))
    array([  0,   1,   2, 255], dtype=uint8)
    """
    labels = as_integers(labels)
    if kind.kind == "instances":
        classes, known = _levels(labels, kind, spacing), labels >= 0
    else:
        values = np.asarray(kind.values)
        index = np.searchsorted(values, labels).clip(max=len(values) - 1)
        classes, known = index.astype(np.uint8), values[index] == labels
    if kind.ignore is not None:
        ignored = labels == kind.ignore
        classes[ignored] = IGNORE_INDEX
        known |= ignored
    if not known.all():
        raise ValueError(_say_unexpected(labels[~known], kind))
    return classes


def _levels(ids: np.ndarray, kind: LabelKind, spacing: Sequence[float] | None) -> np.ndarray:
    """0 for background, 1 to L by depth inside of an object."""
    if not kind.has_distance:
        return (ids != 0).astype(np.uint8)
    objects = ids if kind.ignore is None else np.where(ids == kind.ignore, 0, ids)
    return np.ceil(distance_levels(objects, spacing=spacing) * (kind.n_classes - 1)).astype(np.uint8)


def from_classes(classes: np.ndarray, kind: LabelKind) -> np.ndarray:
    """Turn class indices back into the values the user's files hold.

    Parameters
    ----------
    classes : ndarray of shape (*spatial), integer
        Class indices 0 to K - 1; 255 where not labelled.
    kind : LabelKind
        For instances, whose ids are gone, foreground is written as 255 (as 1 if 255 means "not labelled").

    Returns
    -------
    ndarray of shape (*spatial)
        In the smallest unsigned dtype that holds all values of `kind`; signed only where a negative "not labelled"
        value has to be written.

    Raises
    ------
    ValueError
        If an index is not a class of `kind`, or is 255 where `kind` knows no value for "not labelled".

    Examples
    --------
    >>> from_classes(np.array([0, 1, 1]), LabelKind("binary", (0, 255)))
    array([  0, 255, 255], dtype=uint8)
    """
    classes = as_integers(classes)
    values = written_values(kind)
    ignored = classes == IGNORE_INDEX
    wrong = (classes < 0) | (classes >= len(values)) & ~ignored
    if kind.ignore is None:
        wrong |= ignored
    if wrong.any():
        found = _say_counts(count_values(classes[wrong]))
        raise ValueError(f"class indices {found}: expected 0 to {len(values) - 1}, file values {_listed(values)}")
    written = [*values, kind.ignore] if kind.ignore is not None and ignored.any() else values
    table = np.zeros(IGNORE_INDEX + 1, dtype=np.result_type(*map(np.min_scalar_type, written)))
    table[: len(values)] = values
    if len(written) > len(values):
        table[IGNORE_INDEX] = kind.ignore
    return table[classes]


def nodata_value(kind: LabelKind) -> int:
    """The value that stands in a mask where its image holds no data: one that means no class.

    The value for "not labelled", where the dtype that `from_classes` writes holds it, else 255, else the highest that
    is free.

    Examples
    --------
    >>> nodata_value(LabelKind("binary", (0, 1), ignore=-1)), nodata_value(LabelKind("binary", (0, 255)))
    (255, 254)
    """
    values = written_values(kind)
    bounds = np.iinfo(np.result_type(*map(np.min_scalar_type, values)))
    wanted = [value for value in (kind.ignore, IGNORE_INDEX) if value is not None and bounds.min <= value <= bounds.max]
    return next(value for value in chain(wanted, range(int(bounds.max), -1, -1)) if value not in values)


def written_values(kind: LabelKind) -> list[int]:
    """The values that masks are written with, one per class."""
    if kind.kind == "instances":
        return [0] + [1 if kind.ignore == IGNORE_INDEX else 255] * (kind.n_classes - 1)
    return list(kind.values)


# --- deciding ---


def _total(statistics: Sequence[LabelStatistics]) -> Counter[int]:
    """Pixels of every value over all files."""
    total: Counter[int] = Counter()
    for one in statistics:
        total.update(one.counts)
    return total


def _not_labelled(values: Iterable[int]) -> int | None:
    """-1, or 255 beside class numbers. Gray levels (0, 128, 255) lie far apart, class numbers do not."""
    values = set(values)
    if -1 in values:
        return -1
    others = sorted(values - {IGNORE_INDEX})
    if IGNORE_INDEX not in values or len(others) < 2 or others[-1] >= MAX_CLASSES:
        return None
    return IGNORE_INDEX if min(np.diff(others)) < 10 else None


def _ids(one: LabelStatistics, ignore: int | None) -> frozenset[int]:
    return frozenset(value for value in one.counts if value not in (0, ignore))


def _is_counted(ids: frozenset[int]) -> bool:
    """Whether the ids are exactly 1, 2, ..., n."""
    return not ids or (min(ids) == 1 and max(ids) == len(ids))


def _are_instances(statistics: Sequence[LabelStatistics], ignore: int | None) -> bool:
    """Whether the values are ids of objects: one connected object each, and as many as there happen to be."""
    ids = [_ids(one, ignore) for one in statistics]
    largest = max(map(len, ids))
    connected = _connected_fraction(statistics, ignore)
    if largest > 30:  # few sets of classes are so large, and hardly any with each class in one piece
        return connected > 0.5
    if largest < 10 and connected < 1:
        return False
    filled = [one for one in ids if one]
    least = 3 if len(set(filled)) >= 3 else 6  # organs, say, are also connected and may be missing here and there
    return largest >= least and connected >= 0.8 and _varies(filled) and all(map(_is_counted, filled))


def _varies(ids: list[frozenset[int]]) -> bool:
    """Whether the sets of ids differ as numbers of objects do; classes are mostly all there. One set may be either."""
    commonest = Counter(ids).most_common(1)[0][1]
    return len(ids) == 1 or commonest <= len(ids) / 2 or max(map(len, ids)) >= 2 * min(map(len, ids))


def _connected_fraction(statistics: Sequence[LabelStatistics], ignore: int | None) -> float:
    """Fraction of the ids (per file) that are one connected component; 0 where none could be judged."""
    tested = [n for one in statistics for value, n in one.components.items() if value != ignore]
    return sum(n == 1 for n in tested) / len(tested) if tested else 0.0


def _refuse_unusable(values: list[int], counts: Counter[int], *, n_files: int) -> None:
    negative = {value: counts[value] for value in values if value < 0}
    if negative:
        raise ValueError(
            f"masks hold negative values ({_say_counts(negative)}) in {_files(n_files)}: expected class numbers or ids "
            "from 0 up, and -1 for not labelled; give another value for not labelled as ignore"
        )
    if not any(values):
        only = _listed(sorted(counts))
        raise ValueError(
            f"masks show background only: {_files(n_files)}, only value {only} found; expected a foreground value "
            "in at least one file"
        )


def _refuse_gray_levels(values: list[int], n_files: int) -> None:
    """Many scattered values that reach white are a picture or a mask blurred by JPEG, not classes."""
    is_gray = len(values) > 16 and 235 <= values[-1] <= 255
    if len(values) <= MAX_CLASSES and not is_gray:
        return
    raise ValueError(
        f"masks hold {len(values)} different values from {values[0]} to {values[-1]} in {_files(n_files)}: "
        f"expected at most {MAX_CLASSES} classes, or ids of connected objects; these look like pictures, or masks "
        "saved as JPEG; threshold them and save as PNG or TIFF, or say --labels foreground: any non-zero is foreground"
    )


# --- saying it ---


def _listed(values: Iterable[int]) -> str:
    """'0', '0 and 255', '0, 1 and 2', '0, 1, 2, ..., 20'."""
    words = [str(value) for value in values]
    if len(words) > 8:
        words = [*words[:3], "...", words[-1]]
        return ", ".join(words)
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _files(n: int) -> str:
    return f"{n} file" if n == 1 else f"{n} files"


def _say_counts(counts: dict[int, int]) -> str:
    words = [f"{value} ({n} px)" for value, n in sorted(counts.items())]
    return ", ".join(words[:8]) + (f", and {len(words) - 8} more" if len(words) > 8 else "")


def _say_found(values: Sequence[int], statistics: Sequence[LabelStatistics]) -> str:
    n = len(statistics)
    everywhere = n > 1 and all(set(values) <= set(one.counts) for one in statistics)
    return f"masks hold {_listed(values)} in {'all ' if everywhere else ''}{_files(n)}"


def _say_ignored(ignore: int | None) -> str:
    return "" if ignore is None else f"; {ignore} = not labelled"


def _say_binary(value: int, statistics: Sequence[LabelStatistics], ignore: int | None) -> str:
    return f"{_say_found((0, value), statistics)}: read as background and foreground{_say_ignored(ignore)}"


def _say_classes(values: list[int], statistics: Sequence[LabelStatistics], ignore: int | None, *, sure: bool) -> str:
    renumbered = values != list(range(len(values)))
    order = f", numbered {_listed(range(len(values)))} in this order" if renumbered else ""
    is_doubtful = not sure and _connected_fraction(statistics, ignore) == 1
    doubt = " (if each value is one object, say --labels instances)" if is_doubtful else ""
    return f"{_say_found(values, statistics)}: read as {len(values)} classes{order}{_say_ignored(ignore)}{doubt}"


def _say_instances(statistics: Sequence[LabelStatistics], ignore: int | None, *, sure: bool) -> str:
    numbers = [len(_ids(one, ignore)) for one in statistics]
    span = str(max(numbers)) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"
    connected = _connected_fraction(statistics, ignore)
    share = "" if connected == 0 else ", each" if connected == 1 else f", {100 * connected:.0f} % of them"
    objects = f"{share} one connected object" if share else ""
    doubt = " (if these are classes, say --labels classes)" if not sure and max(numbers) <= 30 else ""
    found = f"masks hold {span} {'id' if span == '1' else 'ids'} per file{objects}"
    return f"{found}: read as instances, foreground = any id{_say_ignored(ignore)}{doubt}"


def _say_unexpected(unknown: np.ndarray, kind: LabelKind) -> str:
    expected = "0 and positive ids" if kind.kind == "instances" else _listed(kind.values)
    ignored = "" if kind.ignore is None else f", and {kind.ignore} for not labelled"
    return f"mask holds unexpected values {_say_counts(count_values(unknown))}: expected {expected}{ignored}"
