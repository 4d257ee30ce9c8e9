"""The card of a model file: how images enter the net, and what its output means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .. import __version__
from ..io.read_options import ReadOptions, read_options
from ..labels.instances import InstanceThresholds
from ..labels.kind import LabelKind

__all__ = ["FORMAT", "Card", "parse_card"]

FORMAT = 2  # raised when the meaning of a field changes; `_UPGRADES` then gets a function


class Card(BaseModel):
    """The facts that weights alone do not tell; stored as JSON in the model file.

    Attributes
    ----------
    format : int
        Version of this card.
    version : str
        Version of the package that wrote it.
    architecture : dict
        As `Architecture.to_dict`.
    classes : list of str
        Names, background first.
    labels : LabelKind
        The values that masks hold for these classes, in and out.
    intensity : str
        Normalisation of images: "zscore", each channel of each image by its own mean and standard deviation.
    spacing : list of float, unit : str
        Typical pixel size of the training images, per axis.
    score : float or None
        Validation Dice, mean over the foreground classes.
    planes : int or None
        A 2D net for volumes takes this many adjacent planes as channels, those of channel 0 first, and predicts the
        middle one. None where images have the net's own axes.
    augmentation : str
        "full", "oriented" (trained with flips along `flip_axes` alone) or "none".
    flip_axes : list of bool
        Axes of the net along which an oriented one was trained with flips; empty for none.
    decoding : InstanceThresholds or None
        How the maps of a net for objects become objects.
    resample : bool
        Whether images of another pixel size are brought to `spacing` first.
    axes : str, channels : list of int
        Axes of files that do not name theirs, and channels that are read, as they were stated for the training.
    temperature : float
        Divisor of the logits that calibrates probabilities (`training.calibration`).
    """

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    version: str = __version__
    architecture: dict[str, Any]
    classes: list[str]
    labels: LabelKind
    intensity: str = "zscore"
    spacing: list[float] = []
    unit: str = "px"
    score: float | None = None
    planes: int | None = None
    augmentation: str = "full"
    flip_axes: list[bool] = []
    decoding: InstanceThresholds | None = None
    resample: bool = False
    axes: str = ""
    channels: list[int] = []
    temperature: Annotated[float, Field(gt=0)] = 1.0

    @property
    def scored_classes(self) -> list[str]:
        """Names of the classes that predictions are scored by: levels inside of objects are one foreground."""
        return ["background", "foreground"] if self.labels.has_distance else self.classes

    @property
    def flips(self) -> list[bool] | None:
        """Axes of the net along which it was trained with flips; None if with quarter turns as well."""
        return None if self.augmentation == "full" else self.flip_axes or [False] * self.architecture.get("ndim", 2)

    @property
    def read_options(self) -> ReadOptions:
        """How files of images are read."""
        return read_options(self.axes, self.channels)

    @model_validator(mode="after")
    def _check_reading(self) -> Card:
        ndim, channels = self.architecture.get("ndim", 2), self.architecture.get("in_channels", 1)
        if self.planes is not None and (ndim != 2 or self.planes < 1 or self.planes % 2 == 0 or channels % self.planes):
            raise ValueError(f"planes is {self.planes} for a {ndim}D net of {channels} input channels")
        read_options(self.axes, self.channels)  # raises where they cannot be meant
        return self


def parse_card(fields: Mapping[str, Any]) -> Card:
    """Make a card of its JSON, of this format or an older one.

    Raises
    ------
    ValueError
        In one line: if the card is of a newer format, or a field is missing, unknown or out of range.
    """
    fields = dict(fields)
    written = fields.get("format", 1)
    if isinstance(written, int) and written > FORMAT:
        raise ValueError(
            f"written by unetkit {fields.get('version')} in format {written}; this is unetkit {__version__}, which "
            f"reads formats up to {FORMAT}: pip install --upgrade unetkit"
        )
    if isinstance(written, int) and written < FORMAT:
        for upgrade in _UPGRADES[max(written, 1) - 1 :]:
            fields = upgrade(fields)
        fields["format"] = FORMAT
    try:
        return Card.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"its card cannot be used: {': '.join([*map(str, first['loc']), first['msg']])}") from None


def _upgrade_card_1(fields: dict[str, object]) -> dict[str, object]:
    """Rename `flip` and the thresholds of objects."""
    names = {"foreground": "foreground", "valley": "split_ratio", "smallest": "min_size", "sure": "confidence"}
    if isinstance(decoding := fields.get("decoding"), dict):
        # The first cards had a fixed "seed" in place of the ratio: they get the usual ratio.
        decoding = {names.get(name, name): value for name, value in decoding.items() if name != "seed"}
    renamed = {"flip_axes" if name == "flip" else name: value for name, value in fields.items()}
    return renamed | ({"decoding": decoding} if decoding else {})


_UPGRADES: tuple[Callable[[dict[str, object]], dict[str, object]], ...] = (_upgrade_card_1,)  # from format 1, 2, ...
