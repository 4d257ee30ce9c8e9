"""Statements about the values of masks: by a person, by `labels.json` beside them, or by nnU-Net's `dataset.json`.

What a statement leaves open is recognised from the masks themselves (`recognise`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..json_text import parse_json

__all__ = [
    "STATEMENT",
    "Ignore",
    "LabelOptions",
    "classes_text",
    "label_options",
    "parse_classes",
    "parse_ignore",
    "stated_beside",
    "statement_text",
]

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
    colours : tuple of ((red, green, blue), int)
        File values of the colours of masks that are pictures; empty where it is not stated.
    """

    labels: str = "auto"
    ignore: Ignore = "auto"
    classes: tuple[tuple[int, str], ...] = ()
    source: str = ""
    colours: tuple[tuple[tuple[int, int, int], int], ...] = ()

    def over(self, stated: LabelOptions) -> LabelOptions:
        """These options, with what they leave open as another statement has it."""
        # Classes by a file are of no use to someone who wants them read otherwise.
        classes = self.classes or (stated.classes if self.labels in ("auto", "classes", "binary") else ())
        ignore = stated.ignore if self.ignore == "auto" else self.ignore
        labels = stated.labels if self.labels == "auto" else self.labels
        return LabelOptions(labels, ignore, classes, stated.source, self.colours or stated.colours)


def label_options(labels: str | LabelOptions, masks: Iterable[Path]) -> LabelOptions:
    """Options of a set of masks: those given, and for the rest what stands beside the masks.

    Raises
    ------
    ValueError
        If a statement cannot be read, or two folders of masks state different things.
    """
    options = labels if isinstance(labels, LabelOptions) else LabelOptions(labels)
    if options.classes:  # colours are stated by a file alone
        return replace(options, colours=options.colours or stated_beside(masks, is_overridden=True).colours)
    return options.over(stated_beside(masks, is_overridden=options.labels not in ("auto", "classes", "binary")))


def parse_classes(text: str) -> tuple[tuple[int, str], ...]:
    """Values and names of classes: "0=background,85=cell"; names with a comma as JSON: {"0": "a, b", "85": "c"}.

    >>> parse_classes("0=background, 85=cell")
    ((0, 'background'), (85, 'cell'))
    """
    if text.lstrip().startswith("{"):
        return _of_json_classes(text)
    classes: dict[int, str] = {}
    for part in text.split(",") if text.strip() else ():
        value, sign, name = (word.strip() for word in part.partition("="))
        if not sign or not name or not value.lstrip("-").isdecimal():
            raise ValueError(f"{text!r} does not name classes: expected VALUE=NAME, such as 0=background,85=cell")
        if int(value) in classes:
            raise ValueError(f"{text!r} names the value {value} twice")
        classes[int(value)] = name
    return _checked(classes, repr(text))


def _of_json_classes(text: str) -> tuple[tuple[int, str], ...]:
    try:
        content = parse_json(text)
        return _checked({int(value): str(name) for value, name in content.items()}, repr(text))
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{text!r} does not name classes ({error})") from None


def classes_text(classes: Iterable[tuple[int, str]]) -> str:
    """Values and names of classes as `parse_classes` takes them.

    >>> classes_text([(0, "background"), (85, "cell")])
    '0=background,85=cell'
    """
    classes = tuple(classes)
    text = ",".join(f"{value}={name}" for value, name in classes)
    try:
        if parse_classes(text) == classes:
            return text
    except ValueError:  # a name with a comma
        pass
    return json.dumps({str(value): name for value, name in classes}, ensure_ascii=False)


def statement_text(classes: Iterable[tuple[int, str]]) -> str:
    """The content of a `labels.json` that states these classes."""
    values, names = zip(*classes, strict=True)
    return json.dumps({"values": values, "names": names}, ensure_ascii=False, indent=1) + "\n"


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
    meanings = {(each.labels, each.ignore, each.classes, each.colours) for each in stated.values()}
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
    if unknown := sorted(set(content) - {"values", "names", "ignore", "labels", "colours"}):
        raise ValueError(f"{', '.join(unknown)} not known: expected values, names, ignore, labels and colours")
    values, names, ignore = content.get("values"), content.get("names"), content.get("ignore", "auto")
    for each in (names, content.get("colours")):
        if values is None and isinstance(each, list):
            values = list(range(len(each)))
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
    colours = _colours(content.get("colours"), values)
    return LabelOptions(str(content.get("labels", "auto")), stated, classes, str(file), colours)


def _colours(colours: Any, values: list[int]) -> tuple[tuple[tuple[int, int, int], int], ...]:
    """["#000000", "#ff0000"], one for each value."""
    if colours is None:
        return ()
    if not isinstance(colours, list) or len(colours) != len(values):
        raise ValueError(f"colours are {colours!r}: expected one for each of {len(values)} values, such as #ff0000")
    parsed = []
    for colour in colours:
        match = re.fullmatch(r"#?([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", str(colour).strip().lower())
        if match is None:
            raise ValueError(f"colour {colour!r}: expected red, green and blue as #ff0000")
        parsed.append((int(match[1], 16), int(match[2], 16), int(match[3], 16)))
    if len(set(parsed)) < len(parsed):
        raise ValueError(f"colours are {colours!r}: one colour has two values")
    return tuple(zip(parsed, values, strict=True))


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
