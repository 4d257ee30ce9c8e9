"""Options that several verbs share, and how their words are read; no verb's module is loaded for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

Images = Annotated[
    Path, typer.Argument(help="Folder of images; a table (.csv: image, mask, group); or one folder that holds both.")
]
Masks = Annotated[
    Path | None,
    typer.Argument(help="Folder of masks or outlines, by the images' names; or one file of outlines (COCO)."),
]
Labels = Annotated[
    str,
    typer.Option(
        help="What the masks hold: auto (recognised), binary, classes, instances (told apart) or foreground.",
        show_default=True,
    ),
]
Ignore = Annotated[
    str, typer.Option(metavar="VALUE|none", help="Value of the masks that means not labelled.", show_default=True)
]
Classes = Annotated[
    str,
    typer.Option(metavar="VALUE=NAME,...", help="What the values mean: 0=background,85=cell; none other may occur."),
]
Axes = Annotated[
    str, typer.Option(metavar="LETTERS", help="Axes of files that name none, in order: zyxc; tyx: pages are times.")
]
Channels = Annotated[str, typer.Option(metavar="1,2,4", help="Channels to read, from 1 on; none is alpha then.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting that unetkit plan shows; may be repeated."),
]
Data = Annotated[Path | None, typer.Option(help="Folder of the run's images and masks, where it was moved.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for machines.")]

NETS = (
    "unet, unet++, or a paper's: ronneberger2015, cicek2016, milletari2016, jegou2017 (-67, -56), zhang2018, "
    "oktay2018, zhou2018"
)

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """Read a duration: "90s", "10m", "1h30m", or plain seconds.

    >>> seconds("1h30m"), seconds("45")
    (5400.0, 45.0)
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration: expected one such as 90s, 10m or 1h30m")
    total = sum(float(number) * _UNITS_S[unit or "s"] for number, unit in parts)
    if not total > 0:
        raise ValueError(f"the duration is {text!r}; expected more than 0")
    return float(total)


def _whole_numbers(text: str, separator: str, *, expected: str) -> tuple[int, ...]:
    parts = text.replace(" ", "").split(separator)
    if not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"{text!r} is not a {expected}")
    return tuple(int(part) for part in parts)


def widths_of(text: str) -> tuple[int, ...]:
    """Channels per level: "16,32,64"."""
    return _whole_numbers(text, ",", expected="row of widths: expected channels per level, such as 16,32,64,128")


def sides(text: str, name: str = "patch") -> int | tuple[int, ...]:
    """A size: "128" for all axes, "8x128x128" for each."""
    expected = f"{name}: expected a side in pixels, such as 128, or one per axis: 8x128x128"
    numbers = _whole_numbers(text.lower(), "x", expected=expected)
    return numbers[0] if len(numbers) == 1 else numbers


def label_settings(ignore: str, classes: str) -> list[tuple[str, Any]]:
    """Settings of a plan for what is stated of the masks; none for what is left to be recognised."""
    from ..labels.options import parse_classes, parse_ignore

    stated = {"data.ignore": option(parse_ignore, ignore), "data.classes": classes}
    option(parse_classes, classes)
    return [(path, value) for path, value in stated.items() if value not in ("auto", "")]


def read_settings(axes: str, channels: str) -> list[tuple[str, Any]]:
    """Settings of a plan for what is stated of the images; none for what the files say."""
    from ..io.read_options import ReadOptions, parse_channels

    options = option(lambda text: ReadOptions(axes, parse_channels(text)), channels)
    stated = {"data.axes": options.axes, "data.channels": options.channels}
    return [(path, value) for path, value in stated.items() if value]


def default_run(images: Path) -> Path:
    """runs/NAME, runs/NAME-2, ... after the data's folder."""
    resolved = images.resolve()
    name = resolved.parent.name if resolved.name.lower() in ("images", "imgs", "image") else resolved.stem
    return free(f"runs/{name or 'run'}")


def free(wanted: str) -> Path:
    """The first of NAME, NAME-2, NAME-3 ... that does not exist."""
    path, number = Path(wanted), 1
    while path.exists():
        number += 1
        path = Path(f"{wanted}-{number}")
    return path


def option(convert: Callable[[str], Any], text: str) -> Any:
    """A value from its words; an error in them is wrong use of the command line."""
    try:
        return convert(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
