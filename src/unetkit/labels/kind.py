"""The meaning of the values in masks, and the way from file values to class indices and back.

Masks come as 0/255 pictures, as class numbers with or without a "not labelled" value, or as one id per object.
`labels.recognise` tells which from the masks themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

import numpy as np

from .instances import distance_levels
from .statistics import as_integers, count_values, counts_text, values_text

IGNORE_INDEX = 255  # the class index that means "not labelled" in every class array of the package
MAX_CLASSES = 250  # class indices are uint8 and 255 is taken; a set with more values holds ids or intensities

__all__ = [
    "IGNORE_INDEX",
    "MAX_CLASSES",
    "LabelKind",
    "check_values",
    "from_classes",
    "nodata_value",
    "to_classes",
    "written_values",
]


@dataclass(frozen=True)
class LabelKind:
    """The meaning of the values in a set of masks.

    Attributes
    ----------
    kind : {"binary", "classes", "instances"}
    values : tuple of int
        The file values of class 0, 1, 2, ..., ascending. For instances (0, 1): background and any id; or (0, ..., L):
        background, and L levels of distance to an object's border, up to its middle.
    ignore : int or None
        The file value that means "not labelled".
    description : str
        One sentence for the user: the values in the masks and their meaning.
    names : tuple of str
        Of the classes, where they are stated; else empty.
    aliases : tuple of (int, int)
        Further file values, each with the one of `values` that it stands for.

    Raises
    ------
    ValueError
        If `values` is not ascending, or names fewer than 2 or more than 250 classes.
    """

    kind: Literal["binary", "classes", "instances"]
    values: tuple[int, ...]
    ignore: int | None = None
    description: str = ""
    names: tuple[str, ...] = ()
    aliases: tuple[tuple[int, int], ...] = ()

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
        """Whether the classes are levels of distance inside objects, so that objects can be told apart."""
        return self.kind == "instances" and self.n_classes > 2

    def with_distance(self, levels: int) -> LabelKind:
        """The same kind, with instances read as so many levels of distance."""
        if self.kind != "instances":
            raise ValueError(f"masks are {self.kind}, which have no levels of distance: expected instances")
        words = self.description.replace("foreground = any id", f"{levels} levels of distance inside each")
        return replace(self, values=tuple(range(levels + 1)), description=words)


def to_classes(labels: np.ndarray, kind: LabelKind, *, spacing: Sequence[float] | None = None) -> np.ndarray:
    """Turn the values of a label image into class indices.

    Parameters
    ----------
    labels : ndarray of shape (*spatial)
        File values: integers or booleans; floats only if all are whole numbers.
    kind : LabelKind
    spacing : sequence of float, optional
        Pixel size per axis, in any unit, by which distances are measured.

    Returns
    -------
    ndarray of shape (*spatial), uint8
        Class indices 0 to K - 1; 255 where not labelled.

    Raises
    ------
    ValueError
        If the image holds values that `kind` does not have; they are named with their pixel counts.

    Examples
    --------
    >>> to_classes(np.array([0, 50, 100, -1]), LabelKind("classes", (0, 50, 100), ignore=-1))
    array([  0,   1,   2, 255], dtype=uint8)
    """
    classes, known = _encoded(as_integers(labels), kind, spacing)
    if not known.all():
        raise _unexpected(count_values(as_integers(labels)[~known]), kind)
    return classes


def check_values(counts: Mapping[int, int], kind: LabelKind) -> None:
    """Raise the ValueError of `to_classes` if a label image of so many pixels of each value holds one of another kind.

    Parameters
    ----------
    counts : mapping of int to int
        Pixels of every value.
    kind : LabelKind
    """
    values = np.array(list(counts), np.int64)
    _, known = _encoded(values, kind, None)
    if not known.all():
        raise _unexpected({value: counts[value] for value in values[~known].tolist()}, kind)


def _encoded(labels: np.ndarray, kind: LabelKind, spacing: Sequence[float] | None) -> tuple[np.ndarray, np.ndarray]:
    """Class indices, and which of the values the kind has."""
    if labels.dtype.kind == "u" and labels.dtype.itemsize <= 2 and labels.size > 2**16 and not kind.has_distance:
        classes, known = _encoded(np.arange(256**labels.dtype.itemsize), kind, spacing)  # of every value: a table
        return classes[labels], known[labels]
    if kind.kind == "instances":
        classes, known = _levels(labels, kind, spacing), labels >= 0
    else:
        values = np.asarray(kind.values)
        for other, value in kind.aliases:
            labels = np.where(labels == other, value, labels)
        index = np.searchsorted(values, labels).clip(max=len(values) - 1)
        classes, known = index.astype(np.uint8), values[index] == labels
    if kind.ignore is not None:
        ignored = labels == kind.ignore
        classes[ignored] = IGNORE_INDEX
        known |= ignored
    return classes, known


def _unexpected(counts: dict[int, int], kind: LabelKind) -> ValueError:
    expected = "0 and positive ids" if kind.kind == "instances" else values_text(kind.values)
    ignored = "" if kind.ignore is None else f", and {kind.ignore} for not labelled"
    return ValueError(f"mask holds unexpected values {counts_text(counts)}: expected {expected}{ignored}")


def _levels(ids: np.ndarray, kind: LabelKind, spacing: Sequence[float] | None) -> np.ndarray:
    """0 for background, 1 to L by distance inside an object."""
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
        If an index is not a class of `kind`, or is 255 where `kind` has no value for "not labelled".

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
        raise ValueError(
            f"class indices {counts_text(count_values(classes[wrong]))}: expected 0 to {len(values) - 1}, "
            f"file values {values_text(values)}"
        )
    written = [*values, kind.ignore] if kind.ignore is not None and ignored.any() else values
    table = np.zeros(IGNORE_INDEX + 1, dtype=np.result_type(*map(np.min_scalar_type, written)))
    table[: len(values)] = values
    if len(written) > len(values):
        table[IGNORE_INDEX] = kind.ignore
    return table[classes]


def nodata_value(kind: LabelKind) -> int:
    """Choose the value that stands in a mask where its image holds no data: one that means no class.

    It is the value for "not labelled", where the dtype that `from_classes` writes holds it, else 255, else the highest
    that is free.

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
