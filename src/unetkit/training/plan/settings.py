"""Settings: the values of a plan that a user may choose, in the shape of `plan.json`, checked by name and type.

The same dotted paths hold in a plan file, in `settings`, and on the command line (`--set optim.loss=focal`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, TypedDict, cast, get_args, get_origin, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from ...io.read_options import ReadOptions, read_options
from ...labels.options import Ignore, LabelOptions, parse_classes
from ...nets.architecture import Block, Down, Skip
from .device import Precision
from .plan import GROUPS, AugmentationKind, Compile, Draw, Loss

__all__ = [
    "DERIVED",
    "OLD_NAMES",
    "BudgetSettings",
    "DataSettings",
    "PlanSettings",
    "SettingRow",
    "check_settings",
    "first_error",
    "flat_settings",
    "list_settings",
    "merge_settings",
    "nested",
    "old_name_hints",
    "options_of",
    "parse_setting",
    "read_options_of",
    "unknown_setting",
]


class BudgetSettings(TypedDict, total=False):
    """Of the group `budget`: seconds or steps, one of them."""

    time_s: float | None
    steps: int | None
    seed: int


class DataSettings(TypedDict, total=False):
    """Of the group `data`."""

    labels: str
    ignore: Ignore
    classes: str
    axes: str
    channels: Sequence[int]
    validation_fraction: float
    fold: tuple[int, int]
    resample: bool
    planes: int


class NetSettings(TypedDict, total=False):
    """Of the group `net`, and of its architecture."""

    name: str
    width_divisor: int
    encoder_weights: str
    init_from: str
    deep_supervision: bool
    widths: Annotated[Sequence[int], Field(description="Channels per level, finest first: 16,32,64.")]
    block: Annotated[Block, Field(description="plain, residual, preactivation or dense.")]
    skip: Annotated[Skip, Field(description="concat, reduce (1x1 to half), add, attention or none.")]
    down: Annotated[Down, Field(description="max, strided, first, blur or transition.")]
    encoder: Annotated[str, Field(description="A timm model, such as resnet34, in place of the contracting path.")]


class PatchSettings(TypedDict, total=False):
    """Of the group `patches`."""

    size: int | Sequence[int]
    batch: int
    draw: Draw
    augmentation: AugmentationKind
    flip_axes: Sequence[bool]
    border_weight: bool


class OptimSettings(TypedDict, total=False):
    """Of the group `optim`."""

    loss: Loss
    learning_rate: float
    final_lr_fraction: float
    warmup_fraction: float
    weight_decay: float
    clip_norm: float
    ema_share: float


class DeviceSettings(TypedDict, total=False):
    """Of the group `device`."""

    name: str
    precision: Precision
    compile: Compile
    memory: str


class PlanSettings(TypedDict, total=False):
    """The values of a plan that a user may choose.

    Examples
    --------
    >>> settings: PlanSettings = {"net": {"name": "unet++"}, "optim": {"learning_rate": 1e-3}}
    """

    budget: BudgetSettings
    data: DataSettings
    net: NetSettings
    patches: PatchSettings
    optim: OptimSettings
    device: DeviceSettings


TYPES: Mapping[str, Any] = {
    f"{group}.{name}": annotation
    for group, table in get_type_hints(PlanSettings).items()
    for name, annotation in get_type_hints(table, include_extras=True).items()
}

# Settings that a rule chooses where the user does not.
DERIVED = frozenset(
    {
        "data.validation_fraction",
        "data.resample",
        "data.planes",
        "net.encoder_weights",
        "net.widths",
        "net.deep_supervision",
        "patches.size",
        "patches.batch",
        "patches.draw",
        "patches.augmentation",
        "patches.flip_axes",
        "optim.loss",
        "optim.learning_rate",
        "optim.final_lr_fraction",
        "optim.weight_decay",
        "optim.ema_share",
        "device.name",
        "device.precision",
    }
)
# Values of a plan that stand beside the settings.
_BESIDE = {
    "budget.time_s": "--time",
    "budget.steps": "--steps",
    "budget.seed": "--seed",
    "data.images": "the first argument",
    "data.masks": "the second argument",
}

# Flat names of version 0.1, in plans of format 1 and on the command line, and their paths.
OLD_NAMES = {
    "time_s": "budget.time_s",
    "steps": "budget.steps",
    "seed": "budget.seed",
    "images": "data.images",
    "masks": "data.masks",
    "labels": "data.labels",
    "validation": "data.validation_fraction",
    "fold": "data.fold",
    "resample": "data.resample",
    "spacing": "data.spacing",
    "planes": "data.planes",
    "n_images": "data.n_images",
    "net": "net.name",
    "divide_width": "net.width_divisor",
    "architecture": "net.architecture",
    "weights": "net.encoder_weights",
    "start": "net.init_from",
    "supervision": "net.deep_supervision",
    "widths": "net.widths",
    "block": "net.block",
    "skip": "net.skip",
    "down": "net.down",
    "strides": "net.strides",
    "encoder": "net.encoder",
    "patch": "patches.size",
    "batch": "patches.batch",
    "augmentation": "patches.augmentation",
    "flip": "patches.flip_axes",
    "border_weight": "patches.border_weight",
    "loss": "optim.loss",
    "learning_rate": "optim.learning_rate",
    "final_rate": "optim.final_lr_fraction",
    "warmup": "optim.warmup_fraction",
    "weight_decay": "optim.weight_decay",
    "clip_norm": "optim.clip_norm",
    "average": "optim.ema_share",
    "device": "device.name",
    "precision": "device.precision",
    "compile": "device.compile",
}


def check_settings(settings: Mapping[str, Any]) -> PlanSettings:
    """Settings whose names and types are checked; their ranges are, when the plan is made.

    Raises
    ------
    ValueError
        In one line: an unknown name, with the nearest real one, or a value of another type.
    """
    checked: dict[str, dict[str, object]] = {}
    for group, values in settings.items():
        if not isinstance(values, Mapping) or not any(path.startswith(f"{group}.") for path in TYPES):
            raise ValueError(unknown_setting(group, TYPES))
        for name, value in values.items():
            path = f"{group}.{name}"
            if path not in TYPES:
                raise ValueError(unknown_setting(path, TYPES))
            try:
                value = TypeAdapter(TYPES[path]).validate_python(value)
            except ValidationError as error:
                raise ValueError(first_error(error, path)) from None
            checked.setdefault(group, {})[name] = value
    return cast(PlanSettings, checked)


def options_of(data: DataSettings) -> LabelOptions:
    """What the settings of the group `data` state of the masks."""
    classes = parse_classes(data.get("classes", ""))
    return LabelOptions(data.get("labels", "auto"), data.get("ignore", "auto"), classes)


def read_options_of(data: DataSettings) -> ReadOptions:
    """What the settings of the group `data` state of the images."""
    return read_options(data.get("axes", ""), data.get("channels", ()))


def parse_setting(text: str) -> tuple[str, Any]:
    """Read PATH=VALUE: a number, true or false, a size (8x128x128), a row (16,32,64), or a word.

    Flat names of version 0.1 are taken too (`OLD_NAMES`).

    Examples
    --------
    >>> parse_setting("optim.learning_rate=1e-3"), parse_setting("patches.size=8x128x128")
    (('optim.learning_rate', 0.001), ('patches.size', (8, 128, 128)))
    >>> parse_setting("net.widths=16,32"), parse_setting("batch=8")
    (('net.widths', (16, 32)), ('patches.batch', 8))
    """
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise ValueError(f"{text!r} sets nothing: expected PATH=VALUE, such as patches.batch=2")
    path = OLD_NAMES.get(name, name)
    if path in _BESIDE:
        raise ValueError(f"{name} is not a setting: give it by {_BESIDE[path]}")
    if path not in TYPES:
        raise ValueError(unknown_setting(name, TYPES))
    return path, value if str in (TYPES[path], *get_args(TYPES[path])) else _parse(value)


def _parse(text: str) -> object:
    if re.fullmatch(r"\d+(x\d+)+", text) or "," in text:
        return tuple(_parse(part) for part in re.split("[x,]", text))
    if text in ("true", "false"):
        return text == "true"
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def old_name_hints(texts: Iterable[str]) -> list[str]:
    """Lines for the user on flat names among PATH=VALUE texts: each with the path that takes its place.

    Examples
    --------
    >>> old_name_hints(["batch=8", "optim.loss=focal"])
    ['--set batch is now --set patches.batch']
    """
    names = (text.partition("=")[0] for text in texts)
    return [f"--set {name} is now --set {OLD_NAMES[name]}" for name in names if name in OLD_NAMES]


@dataclass(frozen=True)
class SettingRow:
    """A setting for a reader: its path, type, default ("by rule" where a rule chooses it), and a line on it."""

    path: str
    type: str
    default: str
    description: str


def list_settings() -> list[SettingRow]:
    """All settings, in the order of a plan."""
    rows = []
    for path, annotation in TYPES.items():
        group, name = path.split(".")
        if path in _BESIDE:
            continue
        field = GROUPS[group].model_fields.get(name)
        if field is None:  # of the architecture: type and description stand in the table above
            kind, info = get_args(annotation)
            usual = "none" if name == "encoder" else "the net's"
        else:
            kind, info, usual = annotation, field, "none" if field.default is None else str(field.default).lower()
        default = "by rule" if path in DERIVED else usual
        rows.append(SettingRow(path, _type_words(kind), default, info.description or ""))
    return rows


def _type_words(annotation: Any) -> str:
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, arguments))
    if isinstance(annotation, UnionType):
        return " | ".join(map(_type_words, arguments))
    if arguments:  # a sequence
        return ",".join([_type_words(arguments[0])] * 2) + "..." * (get_origin(annotation) is Sequence)
    return str(annotation.__name__)


def merge_settings(pairs: Iterable[tuple[str, Any]]) -> PlanSettings:
    """Settings from pairs (dotted path, value), checked; a later pair replaces an earlier one.

    Examples
    --------
    >>> merge_settings([("patches.batch", 8), ("optim.loss", "focal")])
    {'patches': {'batch': 8}, 'optim': {'loss': 'focal'}}
    """
    return check_settings(nested(pairs))


def nested(pairs: Iterable[tuple[str, Any]]) -> dict[str, dict[str, object]]:
    """Values by dotted path, in groups."""
    groups: dict[str, dict[str, object]] = {}
    for path, value in pairs:
        group, _, name = path.partition(".")
        groups.setdefault(group, {})[name] = value
    return groups


def flat_settings(settings: PlanSettings) -> Mapping[str, Any]:
    """Settings by dotted path.

    Examples
    --------
    >>> flat_settings({"optim": {"loss": "focal"}})
    {'optim.loss': 'focal'}
    """
    groups = cast(Mapping[str, Mapping[str, object]], settings)
    return {f"{group}.{name}": value for group, values in groups.items() for name, value in values.items()}


def unknown_setting(name: str, known: Iterable[str]) -> str:
    """The error of a name that is not a setting, with the nearest one that is."""
    paths = {path: path for path in known}
    paths |= {old: path for old, path in OLD_NAMES.items() if path in paths}

    def likeness(candidate: str) -> float:
        whole, last = ((name, candidate), (name.rpartition(".")[2], candidate.rpartition(".")[2]))
        return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in (whole, last))

    nearest = max(paths, key=likeness)
    hint = f"did you mean {paths[nearest]}?" if likeness(nearest) > 0.6 else "unetkit plan --settings lists them"
    return f"{name} is not a setting of a plan: {hint}"


def first_error(error: ValidationError, path: str = "") -> str:
    """The first of pydantic's findings in a line: "patches.batch is 0: input should be greater than or equal to 1"."""
    first = error.errors()[0]
    name = path or ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return unknown_setting(name, [f"{group}.{key}" for group in GROUPS for key in GROUPS[group].model_fields])
    message = first["msg"]
    value = f"{name} is {first['input']!r}: " if name else ""
    return f"{value}{message[:1].lower()}{message[1:]}"
