"""The U-Net, in 2D and 3D, with padded ("same") or unpadded ("valid") convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry import Geometry
from .blocks import ConvBlock
from .graph import Graph, read
from .layers import CONV, MAX_POOL, TRANSPOSED, Norm, Padding, initialise
from .skips import Concatenate

Up = Literal["transposed", "nearest", "linear"]
PerLevel = int | Sequence[int] | Sequence[Sequence[int]]
_CHOICES = {
    "padding": ("same", "valid"),
    "norm": ("batch", "instance", "group", "none"),
    "up": ("transposed", "nearest", "linear"),
}


@dataclass(frozen=True)
class Architecture:
    """A U-Net as a table of plain values: what a paper prints, and what a model file stores.

    Attributes
    ----------
    in_channels, out_channels : int
        Channels of the image, and classes (background included).
    ndim : 2 or 3
        Spatial axes.
    widths : tuple of int
        Channels per level, finest first; one level more than there are poolings.
    padding : "same" or "valid"
        Zero-padded convolutions, whose masks have the size of the image, or unpadded
        ones that compute only where all of their input exists (the 2015 paper).
    norm : "batch", "instance", "group" or "none"
    up : "transposed", "nearest" or "linear"
        Transposed convolution with kernel = stride; nearest-neighbour interpolation and
        a convolution of the level's kernel; linear interpolation and a 1x1 convolution.
    dropout : float
        Share of activations dropped at the end of the contracting path (its two coarsest levels).
    kernels : int, or per level, or per level and axis
        Odd kernel sizes of the blocks.
    strides : int, or per pooling, or per pooling and axis
        What each pooling divides the size by; 1 keeps an axis as it is (anisotropic volumes).

    Raises
    ------
    ValueError
        If a value is outside its range; the message names it and what is possible.
    """

    in_channels: int = 1
    out_channels: int = 2
    ndim: int = 2
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    padding: Padding = "same"
    norm: Norm = "batch"
    up: Up = "transposed"
    dropout: float = 0.0
    kernels: PerLevel = 3
    strides: PerLevel = 2

    def __post_init__(self) -> None:
        if self.ndim not in (2, 3):
            raise ValueError(f"ndim is {self.ndim}; expected 2 or 3")
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ValueError(f"widths are {tuple(self.widths)}; expected at least two levels of at least 1 channel")
        if self.in_channels < 1 or self.out_channels < 1:
            raise ValueError(
                f"got {self.in_channels} input and {self.out_channels} output channels; expected 1 or more"
            )
        for name, choices in _CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"{name} is {value!r}; expected one of {', '.join(choices)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; expected 0 <= dropout < 1")
        if self.padding == "valid" and self.up == "linear":
            raise ValueError(
                'up="linear" repeats the edge pixel at the border of its map, which padding="valid" promises '
                'not to do: use up="transposed" or up="nearest"'
            )
        levels = len(self.widths)
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "kernels", _per_level("kernels", self.kernels, levels, self.ndim))
        object.__setattr__(self, "strides", _per_level("strides", self.strides, levels - 1, self.ndim))
        even = [k for level in self.kernels for k in level if k % 2 == 0]  # type: ignore[union-attr]
        if even:
            raise ValueError(f"kernels hold the even size {even[0]}; expected odd sizes, which have a middle pixel")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `Architecture(**d)` gives the same architecture back."""
        return asdict(self)


def _per_level(name: str, value: PerLevel, levels: int, ndim: int) -> tuple[tuple[int, ...], ...]:
    """Broadcast an int, a value per level, or one per level and axis to a table of levels x axes."""
    rows: list[Any] = [value] * levels if isinstance(value, int) else list(value)
    table = tuple((row,) * ndim if isinstance(row, int) else tuple(row) for row in rows)
    if len(table) != levels or any(len(row) != ndim for row in table):
        raise ValueError(f"{name} are {value}; expected {levels} entries (one per level), each an int or {ndim} ints")
    if any(n < 1 for row in table for n in row):
        raise ValueError(f"{name} are {value}; expected whole numbers of at least 1")
    return table


class UNet(nn.Module):
    """Encoder, decoder, and the skips that carry sharp detail from one to the other.

    Parameters
    ----------
    architecture : Architecture

    Attributes
    ----------
    ndim, in_channels, out_channels : int
    geometry : Geometry
        Sizes, total stride, receptive fields and halo, read from the net itself.
    is_local : bool
        Whether tiles of an image can give exactly what the whole image gives.

    Examples
    --------
    >>> import torch
    >>> net = UNet(Architecture(in_channels=1, out_channels=2, widths=(8, 16, 32)))
    >>> net(torch.zeros(1, 1, 50, 61)).shape
    torch.Size([1, 2, 50, 61])
    >>> net.geometry.stride, net.geometry.halo
    ((4, 4), (24, 24))

    References
    ----------
    .. [1] Ronneberger, Fischer, Brox, U-Net, MICCAI 2015, doi:10.1007/978-3-319-24574-4_28
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.ndim, self.in_channels, self.out_channels = a.ndim, a.in_channels, a.out_channels
        widths = a.widths
        self.skips = nn.ModuleList(Concatenate() for _ in widths[1:])
        self.encoder = nn.ModuleList(
            self._block(i, c, width) for i, (c, width) in enumerate(zip((a.in_channels, *widths), widths, strict=False))
        )
        self.pools = nn.ModuleList(MAX_POOL[a.ndim](stride) for stride in self._strides)
        self.dropouts = nn.ModuleList(
            nn.Dropout(a.dropout) if a.dropout and i >= len(widths) - 2 else nn.Identity() for i in range(len(widths))
        )
        self.ups = nn.ModuleList(self._up(i, coarse, fine) for i, (fine, coarse) in enumerate(pairwise(widths)))
        self.decoder = nn.ModuleList(
            self._block(i, Concatenate.channels(width, width), width) for i, width in enumerate(widths[:-1])
        )
        self.head = CONV[a.ndim](widths[0], a.out_channels, 1)
        initialise(self)

    @property
    def _strides(self) -> tuple[tuple[int, ...], ...]:
        return self.architecture.strides  # type: ignore[return-value]

    def _block(self, level: int, in_channels: int, out_channels: int) -> nn.Module:
        a = self.architecture
        kernel: tuple[int, ...] = a.kernels[level]  # type: ignore[index,assignment]
        return ConvBlock(in_channels, out_channels, kernel=kernel, padding=a.padding, norm=a.norm)

    def _up(self, level: int, in_channels: int, out_channels: int) -> nn.Module:
        """From level + 1 to level: enlarge by the stride, and halve the channels."""
        a, stride = self.architecture, self._strides[level]
        if a.up == "transposed":
            return TRANSPOSED[a.ndim](in_channels, out_channels, stride, stride=stride)
        kernel: tuple[int, ...] = a.kernels[level] if a.up == "nearest" else (1,) * a.ndim  # type: ignore[index,assignment]
        pads = tuple(k // 2 for k in kernel) if a.padding == "same" else 0
        mode = "nearest" if a.up == "nearest" else {2: "bilinear", 3: "trilinear"}[a.ndim]
        scale = tuple(float(s) for s in stride)
        convolution = CONV[a.ndim](in_channels, out_channels, kernel, padding=pads)
        return nn.Sequential(nn.Upsample(scale_factor=scale, mode=mode), convolution)

    @cached_property
    def graph(self) -> Graph:
        """The layers of this net, read from its computation."""
        return read(self)

    @cached_property
    def geometry(self) -> Geometry:
        """The net as integers."""
        return self.graph.geometry

    @property
    def is_local(self) -> bool:
        """Whether an output depends on its receptive field only."""
        return self.graph.is_local

    def body(self, x: Tensor) -> Tensor:
        """The net proper, for inputs of a size that fits."""
        features = []
        for i, block in enumerate(self.encoder):
            x = self.dropouts[i](block(x if i == 0 else self.pools[i - 1](x)))
            features.append(x)
        features.pop()
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](self.skips[level](features.pop(), self.ups[level](x)))
        return self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits for an image of any size ("same") or of a size that fits ("valid").

        Parameters
        ----------
        x : Tensor of shape (N, in_channels, *spatial), float

        Returns
        -------
        Tensor of shape (N, out_channels, *spatial)
            Of the input's size for "same"; smaller by `geometry.margin` for "valid".

        Raises
        ------
        ValueError
            If channels or axes differ from the net's, or a "valid" net gets a size that
            does not fit; the two nearest sizes are named.
        """
        if x.ndim != self.ndim + 2 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"input has the shape {tuple(x.shape)}; expected (N, {self.in_channels}, "
                f"{', '.join('zyx'[-self.ndim :])}) for this {self.ndim}D net of {self.in_channels} channels"
            )
        size = tuple(x.shape[2:])
        if self.geometry.fits(size):
            return self.body(x)
        if self.architecture.padding == "valid":
            raise ValueError(self._misfit(size))
        pads = [(0, want - have) for have, want in zip(size, self.geometry.above(size), strict=True)]
        flat = [p for pair in reversed(pads) for p in pair]  # torch lists the last axis first
        middle: Any = (..., *(slice(n) for n in size))
        return self.body(F.pad(x, flat))[middle]

    def _misfit(self, size: tuple[int, ...]) -> str:
        below = ["none" if n is None else str(n) for n in self.geometry.below(size)]
        above = [str(n) for n in self.geometry.above(size)]
        return (
            f"input size {size} does not fit depth {len(self.pools)} with valid convolutions: nearest sizes are "
            f"({', '.join(below)}) below and ({', '.join(above)}) above; crop, mirror the border, "
            'or build the net with padding="same"'
        )
