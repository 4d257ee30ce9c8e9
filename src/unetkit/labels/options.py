"""Statements about the values of masks: by a person, by `labels.json` beside them, or by nnU-Net's `dataset.json`.

What a statement leaves open is recognised from the masks themselves (`recognise`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..json_text import parse_json

__all__ = ["Ignore", "LabelOptions", "label_options", "parse_classes", "parse_ignore", "stated_beside"]

Ignore = int | Literal["auto", "none"]
STATEMENT, NNUNET = "labels.json", "dataset.json"


@dataclass(frozen=True)
class LabelOptions:
    """The stated part of what masks mean.

    Attributes
    ----------
    labels : {"auto", "binary", "classes", "instances", "foreground"}
    ignore : int, "auto" or "none"
        The file value that means "not labelled"; "none": every value is a class.
    classes : tuple of (int, str)
        File value and name of every class, background first; empty where it is not stated.
    source : str
        The file that states it; "" for a person.
    """

    labels: str = "auto"
    ignore: Ignore = "auto"
    classes: tuple[tuple[int, str], ...] = ()
    source: str = ""

    def over(self, stated: LabelOptions) -> LabelOptions:
        """These options, with what they leave open as another statement has it."""
        # Classes by a file are of no use to someone who wants them read otherwise.
        classes = self.classes or (stated.classes if self.labels in ("auto", "classes", "binary") else ())
        ignore = stated.ignore if self.ignore == "auto" else self.ignore
        labels = stated.labels if self.labels == "auto" else self.labels
        return LabelOptions(labels, ignore, classes, stated.source)


def label_options(labels: str | LabelOptions, masks: Iterable[Path]) -> LabelOptions:
    """Options of a set of masks: those given, and for the rest what stands beside the masks.

    Raises
    ------
    ValueError
        If a statement cannot be read, or two folders of masks state different things.
    """
    options = labels if isinstance(labels, LabelOptions) else LabelOptions(labels)
    if options.classes:
        return options
    return options.over(stated_beside(masks, is_overridden=options.labels not in ("auto", "classes", "binary")))


def parse_classes(text: str) -> tuple[tuple[int, str], ...]:
    """Values and names of classes: "0=background,85=cell".

    >>> parse_classes("0=background, 85=cell")
    ((0, 'background'), (85, 'cell'))
    """
    classes: dict[int, str] = {}
    for part in text.split(",") if text.strip() else ():
        value, sign, name = (word.strip() for word in part.partition("="))
        if not sign or not name or not value.lstrip("-").isdecimal():
            raise ValueError(f"{text!r} does not name classes: expected VALUE=NAME, such as 0=background,85=cell")
        if int(value) in classes:
            raise ValueError(f"{text!r} names the value {value} twice")
        classes[int(value)] = name
    return _checked(classes, repr(text))


def parse_ignore(text: str) -> Ignore:
    """A value for "not labelled": a number, none or auto.

    >>> parse_ignore("255"), parse_ignore("none")
    (255, 'none')
    """
    if text == "auto" or text == "none":
        return text  # type: ignore[return-value]
    if not text.lstrip("-").isdecimal():
        raise ValueError(f"{text!r} is not a value for 'not labelled': expected a number, none or auto")
    return int(text)


def stated_beside(masks: Iterable[Path], *, is_overridden: bool = False) -> LabelOptions:
    """What `labels.json` in the folder of the masks states, or else nnU-Net's `dataset.json` there or above it.

    Parameters
    ----------
    masks : iterable of Path
    is_overridden : bool
        Whether classes that are not understood may be passed over, as they are read otherwise anyway.
    """
    stated: dict[Path, LabelOptions] = {}
    for folder in dict.fromkeys(mask.parent for mask in masks):
        above = [folder.parent / NNUNET] if folder.name.lower().startswith("labels") else []
        file = next((file for file in (folder / STATEMENT, folder / NNUNET, *above) if file.is_file()), None)
        if file is not None:
            stated[file] = _read(file, is_overridden=is_overridden)
    meanings = {(each.labels, each.ignore, each.classes) for each in stated.values()}
    if len(meanings) > 1:
        raise ValueError(f"{' and '.join(map(str, stated))} state different labels: read the folders one by one")
    return next(iter(stated.values()), LabelOptions())


def _read(file: Path, *, is_overridden: bool) -> LabelOptions:
    try:
        content = parse_json(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # not UTF-8, or not JSON
        raise ValueError(f"{file}: is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file}: expected an object with values, names and ignore")
    try:
        return _of_nnunet(content, file, is_overridden) if file.name == NNUNET else _of_statement(content, file)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _of_statement(content: Mapping[str, Any], file: Path) -> LabelOptions:
    """{"values": [0, 1, 2], "names": [...], "ignore": 255}, each of them optional."""
    if unknown := sorted(set(content) - {"values", "names", "ignore", "labels"}):
        raise ValueError(f"{', '.join(unknown)} not known: expected values, names, ignore and labels")
    values, names, ignore = content.get("values"), content.get("names"), content.get("ignore", "auto")
    if values is None and names is not None:
        values = list(range(len(names)))
    values = values or []
    if not isinstance(values, list) or not all(isinstance(value, int) for value in values):
        raise ValueError(f"values are {values!r}: expected a list of integers, one per class")
    names = [f"class {value}" for value in values] if names is None else names
    if not isinstance(names, list) or len(names) != len(values) or len(set(values)) < len(values):
        raise ValueError(f"{len(values)} values {values} and names {names!r}: expected one name for each, each once")
    if not isinstance(ignore, int | None) and ignore not in ("auto", "none"):
        raise ValueError(f"ignore is {ignore!r}: expected an integer, or null for none")
    stated: Ignore = ignore if isinstance(ignore, int) else "auto" if ignore == "auto" else "none"
    classes = _checked(dict(zip(values, map(str, names), strict=True)), "values", ignore=stated)
    return LabelOptions(str(content.get("labels", "auto")), stated, classes, str(file))


def _of_nnunet(content: Mapping[str, Any], file: Path, is_overridden: bool) -> LabelOptions:
    """{"labels": {"background": 0, "tumour": 1, "ignore": 2}}, or the other way round as in version 1."""
    labels = content.get("labels")
    if not isinstance(labels, dict) or not labels or is_overridden:
        return LabelOptions()
    regions = [name for name, value in labels.items() if isinstance(value, list)]
    if regions or content.get("regions_class_order"):
        raise ValueError(
            f"its labels are regions that overlap ({', '.join(regions) or 'regions_class_order'}), which one mask per "
            "image cannot be trained on: name the classes of the files with --classes 0=background,1=..., or in "
            f"{STATEMENT} beside the masks"
        )
    if all(str(key).isdecimal() and isinstance(name, str) for key, name in labels.items()):
        labels = {name: int(value) for value, name in labels.items()}
    if not all(isinstance(value, int) for value in labels.values()):
        raise ValueError(f"labels are {labels!r}: expected a name and an integer for each")
    ignore: Ignore = labels.get("ignore", "auto")
    classes = {value: name for name, value in labels.items() if name != "ignore"}
    return LabelOptions("auto", ignore, _checked(classes, "labels", ignore=ignore), str(file))


def _checked(classes: Mapping[int, str], where: str, *, ignore: Ignore = "auto") -> tuple[tuple[int, str], ...]:
    """Classes by ascending value, as `LabelKind` keeps them."""
    if classes and len(classes) < 2:
        raise ValueError(f"{where}: one class only ({next(iter(classes.values()))}); expected background and another")
    if ignore in classes:
        raise ValueError(f"{where}: {ignore} is a class ({classes[ignore]}), and not labelled as well")  # type: ignore[index]
    return tuple(sorted(classes.items()))
