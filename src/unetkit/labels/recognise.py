"""Recognise from the masks themselves what their values mean, and describe it.

Nobody should have to say it: `label_statistics` takes a few numbers from each file, and `recognise` decides over all
files at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from .doubts import values_doubt
from .kind import IGNORE_INDEX, MAX_CLASSES, LabelKind
from .options import Ignore, LabelOptions
from .statistics import LabelStatistics, counts_text, values_text

__all__ = ["recognise"]

_MOSTLY, _WHOLE = 0.8, 0.95  # shares: of files counted 1 to n, and of ids that are one piece, for gaps to be forgiven
OVERRIDES = ("auto", "binary", "classes", "instances", "foreground")


def recognise(
    statistics: Sequence[LabelStatistics], override: str | LabelOptions = "auto", *, ignore: Ignore | None = None
) -> LabelKind:
    """Decide over all files together what the values of a set of masks mean.

    What is stated comes first: classes, the value for "not labelled", and the nodata value of a map. Else one non-zero
    value is a foreground, and so are 1 in some files and 255 in the others. Several are classes, unless they look like
    ids: each one connected object, and counted 1 to n in nearly all files with an n that differs from file to file, or
    more than 30 per file, or other numbers in every file. -1 means "not labelled", and so does 255 beside values that
    are class numbers (at most 249, and not spread out like gray levels).

    Parameters
    ----------
    statistics : sequence of LabelStatistics
        One per file, from `label_statistics`.
    override : str or LabelOptions
        "auto"; or read the masks as "binary", "classes", "instances" or "foreground", whatever they hold. "foreground"
        is any value but 0: instances that are not told apart. `LabelOptions` also state classes and their names.
    ignore : int, "auto" or "none", optional
        The file value that means "not labelled"; "none": no value does.

    Returns
    -------
    LabelKind

    Raises
    ------
    ValueError
        If there are no files, only background, negative values other than the ignored one, more than 250 classes,
        values that look like gray levels (a picture, or a mask saved as JPEG), values that are not among the stated
        ones, or maps with different nodata values.
    """
    options = override if isinstance(override, LabelOptions) else LabelOptions(override)
    if ignore is not None:
        options = replace(options, ignore=ignore)
    if options.labels not in OVERRIDES:
        raise ValueError(f"labels={options.labels!r}: expected one of {', '.join(OVERRIDES)}")
    if not statistics:
        raise ValueError("no masks to recognise: got 0 files")
    counts: Counter[int] = Counter()  # pixels of every value over all files
    for file in statistics:
        counts.update(file.counts)
    stated = _stated_ignore(statistics, options)
    if options.labels not in ("instances", "foreground"):
        if options.classes:
            return _stated_kind(counts, options, stated)
        if names := _names(statistics, stated):
            return _stated_kind(counts, replace(options, classes=names, source="each file"), stated)
    is_mixed = stated is None and options.ignore == "auto" and options.labels == "auto" and _is_mixed(statistics)
    ignored = stated if options.ignore == "none" or stated is not None or is_mixed else _not_labelled(counts)
    if ignored == IGNORE_INDEX and stated is None and any(file.are_objects for file in statistics):
        ignored = None  # an id among others, or the foreground of a picture
    values = sorted(set(counts) - {ignored})
    _refuse_unusable(values, counts, n_files=len(statistics))
    if is_mixed:
        text = f"{_values_in_files((0, 1, 255), statistics)}, 1 in some and 255 in the others"
        return LabelKind("binary", (0, 255), None, f"{text}: both read as foreground", aliases=((1, 255),))
    if options.labels in ("instances", "foreground") or (
        options.labels == "auto" and _are_instances(statistics, ignored)
    ):
        counted = all(_is_counted(_ids(file, ignored)) for file in statistics)
        if stated is None and ignored == IGNORE_INDEX and not counted:
            ignored = None  # 255 is one id among others
        is_sure = options.labels != "auto"
        return LabelKind("instances", (0, 1), ignored, _instances_text(statistics, ignored, is_sure=is_sure))
    return _by_values(values, statistics, options, ignored)


def _by_values(
    values: list[int], statistics: Sequence[LabelStatistics], options: LabelOptions, ignored: int | None
) -> LabelKind:
    """A foreground, or classes."""
    nonzero = [value for value in values if value]
    if options.labels == "binary" and len(nonzero) != 1:
        raise ValueError(
            f"labels='binary', but the masks hold {len(nonzero)} non-zero values ({values_text(nonzero)}): "
            "expected one; say --labels foreground to read any non-zero value as foreground"
        )
    if len(nonzero) == 1 and options.labels != "classes":
        text = f"{_values_in_files((0, nonzero[0]), statistics)}: read as background and foreground"
        return LabelKind("binary", (0, nonzero[0]), ignored, text + _ignored_text(ignored))
    if options.labels == "auto":
        _refuse_gray_levels(values, len(statistics))
    if len(values) < 2:  # labels "classes" of masks that are one value everywhere
        values = [0, *values]
    is_sure = options.labels != "auto"
    text = _classes_text(values, statistics, ignored, is_sure=is_sure)
    if not is_sure and (doubt := values_doubt(statistics, values)):
        text += f"; {doubt}"
    return LabelKind("classes", tuple(values), ignored, text)


def _stated_ignore(statistics: Sequence[LabelStatistics], options: LabelOptions) -> int | None:
    """The value for "not labelled" that a person or the files state; of a map its nodata value, where it occurs."""
    if options.ignore != "auto":
        return None if options.ignore == "none" else options.ignore
    # 0 is background whatever the tag says, as geographic programs like to put it there.
    tags = {file.nodata for file in statistics if file.nodata and file.nodata in file.counts}
    if not tags or {value for value, _ in options.classes} & tags:
        return None
    untagged = sum(bool(tags & set(file.counts)) and file.nodata not in tags for file in statistics)
    if len(tags) > 1 or untagged:
        more = f", and {_files_text(untagged)} without the tag hold it too" if untagged else ""
        raise ValueError(
            f"masks state the nodata value {values_text(sorted(tags))}{more}: say which value is not labelled with "
            "--ignore VALUE, or --ignore none"
        )
    return tags.pop()


def _names(statistics: Sequence[LabelStatistics], ignored: int | None) -> tuple[tuple[int, str], ...]:
    """Classes as the files name them, and the values that they show beside; empty where none names any."""
    names: dict[int, set[str]] = {}
    for file in statistics:
        for value, name in file.names.items():
            names.setdefault(value, set()).add(name)
    if not names:
        return ()
    if unclear := {value: " and ".join(sorted(each)) for value, each in names.items() if len(each) > 1}:
        listed = ", ".join(f"{value} {each}" for value, each in unclear.items())
        raise ValueError(f"masks give one value several names ({listed}): say --classes 0=background,1=...")
    others = {value for file in statistics for value in file.counts} - {-1, IGNORE_INDEX, ignored, *names}
    classes = {value: f"class {value}" if value else "background" for value in others}
    classes |= {value: next(iter(each)) for value, each in names.items()}
    return tuple(sorted((classes if len(classes) > 1 else {0: "background"} | classes).items()))


def _stated_kind(counts: Counter[int], options: LabelOptions, ignored: int | None) -> LabelKind:
    """The classes that are stated, whether the masks show each of them or not."""
    values, names = zip(*options.classes, strict=True)
    if ignored is None and options.ignore == "auto":
        ignored = next((value for value in (-1, IGNORE_INDEX) if value in counts and value not in values), None)
    unknown = {value: n for value, n in counts.items() if value not in values and value != ignored}
    where = options.source or "--classes"
    if unknown:
        raise ValueError(
            f"masks hold {counts_text(unknown)}, which {where} does not name: expected {values_text(values)}; name "
            "them there, or say --ignore VALUE where one means not labelled"
        )
    listed = ", ".join(f"{value} {name}" for value, name in options.classes[:8]) + ", ..." * (len(values) > 8)
    is_binary = len(values) == 2 and values[0] == 0 and options.labels != "classes"
    kind = "background and foreground" if is_binary else f"{len(values)} classes"
    text = f"{kind} as {where} states: {listed}{_ignored_text(ignored)}"
    return LabelKind("binary" if is_binary else "classes", values, ignored, text, names=names)


def _is_mixed(statistics: Sequence[LabelStatistics]) -> bool:
    """Whether some files are 0/1 and the others 0/255: masks of two conventions put together."""
    shown = [set(file.counts) - {0} for file in statistics]
    return all(values in (set(), {1}, {IGNORE_INDEX}) for values in shown) and {1} in shown and {IGNORE_INDEX} in shown


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
    if any(file.are_objects for file in statistics):
        return _are_drawn_objects(statistics, ignore)
    ids = [_ids(file, ignore) for file in statistics]
    largest = max(map(len, ids))
    connected = _connected_fraction(statistics, ignore)
    if largest > 30:  # few sets of classes are so large, and hardly any with each class in one piece
        return connected > 0.5
    if largest < 10 and connected < 1:
        return False
    filled = [file_ids for file_ids in ids if file_ids]
    if _are_cut_out(filled) and largest >= 3 and connected >= 0.8:
        return True
    least = 3 if len(set(filled)) >= 3 else 6  # organs, say, are also connected and may be missing here and there
    counted = sum(map(_is_counted, filled)) / max(len(filled), 1)
    # Where an object was taken out, its number is missing.
    is_counted = counted == 1 or (counted >= _MOSTLY and connected >= _WHOLE)
    return largest >= least and connected >= 0.8 and _varies(filled) and is_counted


def _are_drawn_objects(statistics: Sequence[LabelStatistics], ignore: int | None) -> bool:
    """Whether files hold objects that were drawn one by one, and some of them several."""
    drawn = [file for file in statistics if file.are_objects]
    others = [file for file in statistics if not file.are_objects and _ids(file, ignore)]
    if others and not _are_instances(others, ignore):
        raise ValueError(
            f"{_files_text(len(drawn))} outline objects one by one, {_files_text(len(others))} hold numbers that do "
            "not look like ids: say --labels foreground to read any object and any number as foreground"
        )
    return any(len(_ids(file, ignore)) > 1 for file in statistics)


def _are_cut_out(ids: list[frozenset[int]]) -> bool:
    """Whether hardly a value is in two files, as in pieces of one large image of ids: classes come again."""
    files = Counter(value for file_ids in ids for value in file_ids)
    return len(ids) >= 3 and sum(n > 1 for n in files.values()) < 0.2 * len(files)


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
        "saved as JPEG; threshold them and save as PNG or TIFF, or say --labels foreground: any non-zero is "
        "foreground, or --labels instances where each value is one object"
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
    is_doubtful = not is_sure and _connected_fraction(statistics, ignore) > 0.5  # objects may lie across others
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
