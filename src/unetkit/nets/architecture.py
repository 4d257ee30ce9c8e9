"""A net as a table of plain values, as a paper prints it and a model file stores it; checked for meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .layers import Activation, Norm, Padding

Topology = Literal["unet", "unet++"]
Block = Literal["plain", "residual", "preactivation", "dense"]
Skip = Literal["concat", "reduce", "add", "attention", "none"]
Down = Literal["max", "strided", "first", "blur", "transition"]
Up = Literal["transposed", "overlapping", "nearest", "linear"]
PerLevel = int | Sequence[int] | Sequence[Sequence[int]]
_MOST_LEVELS = 16  # the image is 2^15 times as large as the bottom's map then
_MOST_CONVOLUTIONS = 1000  # of a block: more are a slip, and take minutes to build
_CHOICES = {
    "topology": ("unet", "unet++"),
    "block": ("plain", "residual", "preactivation", "dense"),
    "skip": ("concat", "reduce", "add", "attention", "none"),
    "down": ("max", "strided", "first", "blur", "transition"),
    "up": ("transposed", "overlapping", "nearest", "linear"),
    "padding": ("same", "valid"),
    "norm": ("batch", "instance", "group", "none"),
    "activation": ("relu", "leaky_relu", "prelu"),
    "widen": ("first", "last"),
    "dropout_at": ("bottom", "convolutions"),
}
# Choices that make a net depend on pixels beyond a border, which a "valid" net promises not to do.
_NOT_VALID = {
    ("up", "linear"): "repeats the edge pixel at the border of its map",
    ("up", "overlapping"): "misses the neighbour beyond the border of its map",
    ("down", "blur"): "repeats the edge pixel at the border of its map",
    ("down", "first"): "puts its outputs half a pixel off the pooling grid without padding",
}


@dataclass(frozen=True)
class Architecture:
    """A member of the U-Net family.

    Attributes
    ----------
    in_channels, out_channels : int
        Channels of the image, and classes (background included).
    ndim : 2 or 3
        Spatial axes.
    widths : tuple of int
        Channels per level, finest first; one level more than there are poolings. For dense blocks the channels that a
        level adds: its layers times their growth rate.
    topology : "unet" or "unet++"
        One decoder, or nested dense nodes between encoder and decoder (Zhou 2018).
    block : "plain", "residual", "preactivation" or "dense"
        See `nets.blocks`.
    convolutions : int, or per level
        Convolutions per block (layers of a dense block).
    widen : "first" or "last"
        Which convolution of an encoder block brings the level's width; "last" doubles it before pooling (Cicek 2016).
    skip : "concat", "reduce", "add", "attention" or "none"
        How the decoder joins the encoder's features; see `nets.skips`.
    down, up : str
        How maps are shrunk and enlarged; see `nets.sampling`.
    up_keeps_channels : bool
        Enlarging keeps the coarse level's channels; otherwise it brings them to the fine level's width.
    icnr : bool
        Start transposed convolutions as nearest-neighbour enlargement (Aitken 2017), free of checkerboard.
    padding : "same" or "valid"
        Zero-padded convolutions, whose masks have the size of the image, or unpadded
        ones that compute only where all of their input exists (the 2015 paper).
    norm : "batch", "instance", "group" or "none"
    activation : "relu", "leaky_relu" or "prelu"
    dropout : float
        Share of activations dropped.
    dropout_at : "bottom" or "convolutions"
        At the end of the contracting path (its two coarsest levels), or after every convolution.
    kernels : int, or per level, or per level and axis
        Odd kernel sizes of the blocks.
    strides : int, or per pooling, or per pooling and axis
        What each pooling divides the size by; 1 keeps an axis as it is (anisotropic volumes).
    stem : int
        Channels of a first convolution before all blocks; 0 for none.
    decoder_widths : tuple of int, optional
        Channels of the decoder's blocks, finest first, where they differ from the encoder's (one less than `widths`).
    heads : "last" or "all"
        Of "unet++": one head on its last node, or one on every node of the finest row. The
        output is then the mean of their probabilities, and the net can be pruned.
    encoder : str, optional
        Name of a timm model that takes the place of the contracting path below the finest level; see
        `nets.pretrained`, whose `encoder_shape` gives the widths and strides that go with it.

    Raises
    ------
    ValueError
        If a value is outside its range, or a combination has no meaning; the message says why.
    """

    in_channels: int = 1
    out_channels: int = 2
    ndim: int = 2
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    topology: Topology = "unet"
    block: Block = "plain"
    convolutions: int | tuple[int, ...] = 2
    widen: Literal["first", "last"] = "first"
    skip: Skip = "concat"
    down: Down = "max"
    up: Up = "transposed"
    up_keeps_channels: bool = False
    icnr: bool = False
    padding: Padding = "same"
    norm: Norm = "batch"
    activation: Activation = "relu"
    dropout: float = 0.0
    dropout_at: Literal["bottom", "convolutions"] = "bottom"
    kernels: PerLevel = 3
    strides: PerLevel = 2
    stem: int = 0
    decoder_widths: tuple[int, ...] | None = None
    heads: Literal["last", "all"] = "last"
    encoder: str | None = None

    def __post_init__(self) -> None:
        self._check_numbers()
        for name, choices in (*_CHOICES.items(), ("heads", ("last", "all"))):
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"{name} is {value!r}; expected one of {', '.join(choices)}")
        levels = len(self.widths)
        rows = {
            "widths": tuple(self.widths),
            "convolutions": _counts(self.convolutions, levels),
            "kernels": _per_level("kernels", self.kernels, levels, self.ndim),
            "strides": _per_level("strides", self.strides, levels - 1, self.ndim),
            "decoder_widths": None if self.decoder_widths is None else tuple(self.decoder_widths),
        }
        for name, row in rows.items():
            object.__setattr__(self, name, row)
        even = [k for level in rows["kernels"] for k in level if k % 2 == 0]  # type: ignore[union-attr]
        if even:
            raise ValueError(f"kernels hold the even size {even[0]}; expected odd sizes, which have a middle pixel")
        if self.decoder_widths is not None and len(self.decoder_widths) != levels - 1:
            raise ValueError(f"decoder_widths are {self.decoder_widths}; expected {levels - 1}, one per pooling")
        self._check_meaning()

    def _check_numbers(self) -> None:
        if self.ndim not in (2, 3):
            raise ValueError(f"ndim is {self.ndim}; expected 2 or 3")
        if not 2 <= len(self.widths) <= _MOST_LEVELS or min(self.widths) < 1:
            raise ValueError(
                f"widths are {tuple(self.widths)}; expected at least two levels of at least 1 channel, and at most "
                f"{_MOST_LEVELS}"
            )
        if self.in_channels < 1 or self.out_channels < 1:
            raise ValueError(
                f"got {self.in_channels} input and {self.out_channels} output channels; expected 1 or more"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; expected 0 <= dropout < 1")
        if self.stem < 0:
            raise ValueError(f"stem is {self.stem}; expected the channels of a first convolution, or 0 for none")

    def _check_meaning(self) -> None:
        """Refuse combinations that have no meaning, with the reason."""
        for (name, choice), effect in _NOT_VALID.items():
            if self.padding == "valid" and getattr(self, name) == choice:
                instead = 'up="transposed" or up="nearest"' if name == "up" else 'down="max" or down="strided"'
                raise ValueError(
                    f'{name}="{choice}" {effect}, which padding="valid" promises not to do: use {instead}, '
                    'or padding="same"'
                )
        if self.topology == "unet++" and self.skip == "none":
            raise ValueError(
                'topology="unet++" consists of its nested skips, so skip="none" leaves nothing of it: '
                'use topology="unet"'
            )
        if self.topology == "unet" and self.heads == "all":
            raise ValueError('heads="all" belongs to topology="unet++": a U-Net has one node at full resolution')
        if self.icnr and self.up != "transposed":
            raise ValueError(f'icnr=True starts transposed convolutions, but up is "{self.up}": use up="transposed"')
        if self.down == "blur" and any(s > 2 for row in self.strides for s in row):  # type: ignore[union-attr]
            raise ValueError(f'down="blur" halves; strides are {self.strides}: use 1 and 2 per axis, or down="max"')
        self._check_encoder()
        if self.block == "dense":
            for width, layers in zip(self.widths, self.convolutions, strict=True):  # type: ignore[arg-type]
                if width % layers:
                    raise ValueError(
                        f"a dense block of {layers} layers cannot add {width} channels: its layers grow alike, so "
                        f"widths must be multiples of {layers} here"
                    )

    def _check_encoder(self) -> None:
        if self.encoder is None:
            return
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", self.encoder):  # "hf-hub:..." would be fetched from anywhere
            raise ValueError(f"encoder is {self.encoder!r}; expected the plain name of a timm model, such as resnet34")
        if self.ndim != 2:
            raise ValueError(
                f"encoder {self.encoder} is a 2D net, but ndim is {self.ndim}: use ndim=2 (planes of a volume: "
                "--planes 3), or leave out encoder"
            )
        if self.padding == "valid":
            raise ValueError(
                f'encoder {self.encoder} pads its convolutions, which padding="valid" promises not to do: use '
                'padding="same"'
            )
        if self.stem:
            raise ValueError(f"stem is {self.stem}, but encoder {self.encoder} begins with its own: use stem=0")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `Architecture(**d)` gives the same architecture back."""
        return asdict(self)


def architecture_of(values: Mapping[str, Any]) -> Architecture:
    """An architecture from the values of a file.

    Raises
    ------
    ValueError
        In a line, if a value is not possible, of another type, or has an unknown name.
    """
    try:
        return Architecture(**values)
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"its values are not those of an architecture: {error}") from None


def _counts(value: int | Sequence[int], levels: int) -> tuple[int, ...]:
    row = (value,) * levels if isinstance(value, int) else tuple(value)
    if len(row) != levels or any(not isinstance(n, int) or not 1 <= n <= _MOST_CONVOLUTIONS for n in row):
        raise ValueError(
            f"convolutions are {value}; expected one whole number from 1 to {_MOST_CONVOLUTIONS}, or {levels}, one per "
            "level"
        )
    return row


def _per_level(name: str, value: PerLevel, levels: int, ndim: int) -> tuple[tuple[int, ...], ...]:
    """Broadcast an int, a value per level, or one per level and axis to a table of levels x axes."""
    rows: list[Any] = [value] * levels if isinstance(value, int) else list(value)
    table = tuple((row,) * ndim if isinstance(row, int) else tuple(row) for row in rows)
    if len(table) != levels or any(len(row) != ndim for row in table):
        raise ValueError(f"{name} are {value}; expected {levels} entries (one per level), each an int or {ndim} ints")
    if any(n < 1 for row in table for n in row):
        raise ValueError(f"{name} are {value}; expected whole numbers of at least 1")
    return table
