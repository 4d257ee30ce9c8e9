"""The base of all nets of this package: images of any size are padded, the geometry is read from the net itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..geometry import Geometry, mirror
from ..graph.graph import Graph
from ..graph.memory import WindowMemory, window_memory
from ..graph.read import read
from .architecture import Architecture


class Net(nn.Module):
    """A segmentation net; `UNet` and `UNetPlusPlus` are the two.

    Attributes
    ----------
    architecture : Architecture
    ndim, in_channels, out_channels : int
    geometry : Geometry
        Sizes, total stride, receptive fields and halo, read from the net itself.
    is_local : bool
        Whether tiles of an image can give exactly what the whole image gives.
    heads : ModuleList
        1x1 convolutions, one per map of `stages` that has one, in the same order.
    stage_channels : tuple of int
        Of each map of `stages`.
    stage_strides : tuple of tuple of int
        Pixels of the output per element of each map of `stages`, per axis.
    """

    heads: nn.ModuleList
    stage_channels: tuple[int, ...]
    stage_strides: tuple[tuple[int, ...], ...]

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.ndim, self.in_channels, self.out_channels = a.ndim, a.in_channels, a.out_channels

    @cached_property
    def graph(self) -> Graph:
        """The layers of this net, read from its computation."""
        return read(self)

    def read(self) -> None:
        """Read the graph now, once: copies that are made of the net from then on share it."""
        _ = self.graph

    @property
    def geometry(self) -> Geometry:
        """The net as integers."""
        return self.graph.geometry

    @property
    def memory(self) -> WindowMemory:
        """Peak memory in evaluation mode by window size, of the net as its layers are now."""
        return window_memory(self, self.graph)

    @property
    def is_local(self) -> bool:
        """Whether an output depends on its receptive field only."""
        return self.graph.is_local

    def takes(self, size: Sequence[int]) -> bool:
        """Whether the body takes an image of this size as it is."""
        return self.geometry.fits(size)

    def stages(self, x: Tensor) -> list[Tensor]:
        """Maps that a head can be put on, the one that matters most first; for deep supervision."""
        raise NotImplementedError

    def body(self, x: Tensor) -> Tensor:
        """Logits for inputs of a size that fits."""
        result: Tensor = self.heads[0](self.stages(x)[0])
        return result

    def forward(self, x: Tensor) -> Tensor:
        """Logits for an image of any size ("same") or of a size that fits ("valid").

        Parameters
        ----------
        x : Tensor of shape (N, in_channels, *spatial), float

        Returns
        -------
        Tensor of shape (N, out_channels, *spatial)
            Of the input's size for "same", which is mirrored at its far borders to a size that fits; smaller by
            `geometry.margin` for "valid".

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
            below = ", ".join("none" if n is None else str(n) for n in self.geometry.below(size))
            above = ", ".join(map(str, self.geometry.above(size)))
            raise ValueError(
                f"input size {size} does not fit depth {len(self.architecture.widths) - 1} with valid convolutions: "
                f"nearest sizes are ({below}) below and ({above}) above; crop, mirror the border, or build the net "
                'with padding="same"'
            )
        for axis, (have, want) in enumerate(zip(size, self.geometry.above(size), strict=True), start=2):
            x = x.index_select(axis, torch.from_numpy(mirror(0, want, have)).to(x.device))
        near: Any = (..., *(slice(n) for n in size))
        return self.body(x)[near]
