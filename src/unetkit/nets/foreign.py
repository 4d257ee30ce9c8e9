"""Nets of other libraries, and of the user: any Module that can be read, with the attributes of a `Net`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from ..geometry import Geometry
from ..graph.graph import Graph
from ..graph.memory import WindowMemory, window_memory
from ..graph.read import read, takes
from ..graph.trace import chosen_output
from .net import Net

__all__ = ["ForeignNet", "as_net"]


class ForeignNet(nn.Module):
    """A Module with the attributes of a `Net`, all read from its own computation.

    Parameters
    ----------
    module : Module
        Taken as it is; `torch.compile`'s wrapper is removed.
    in_channels, ndim, output
        As `graph.read.read` takes them.

    Raises
    ------
    ValueError
        If the module cannot be read; the layer is named.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        in_channels: int | None = None,
        ndim: int | None = None,
        output: int | str | None = None,
    ) -> None:
        super().__init__()
        self.module: nn.Module = getattr(module, "_orig_mod", module)
        self.output = output
        self.graph: Graph = read(self.module, in_channels=in_channels, ndim=ndim, output=output)
        self.ndim = len(self.graph.geometry.axes)
        self.in_channels, self.out_channels = self.graph.layers[0].channels, self.graph.layers[-1].channels

    @property
    def geometry(self) -> Geometry:
        """The net as integers."""
        return self.graph.geometry

    @property
    def is_local(self) -> bool:
        """Whether an output depends on its receptive field only."""
        return self.graph.is_local

    @property
    def memory(self) -> WindowMemory:
        """Peak memory by window size."""
        return window_memory(self, self.graph)

    def takes(self, size: Sequence[int]) -> bool:
        """Whether the module takes an image of this size as it is; the geometry knows sizes of which more is known."""
        return self.geometry.fits(size) or takes(self.module, self.in_channels, size, self.output)

    def read(self) -> None:
        """Nothing: the graph was read at the start."""

    def body(self, x: Tensor) -> Tensor:
        """The module's own computation, for inputs of a size that fits."""
        return chosen_output(self.module(x), self.output)

    def forward(self, x: Tensor) -> Tensor:
        """As `body`."""
        return self.body(x)


def as_net(
    module: nn.Module, *, in_channels: int | None = None, ndim: int | None = None, output: int | str | None = None
) -> Net:
    """A net of this package as it is, any other module as a `ForeignNet`."""
    if isinstance(module, Net):
        return module
    has_interface = all(hasattr(module, name) for name in ("body", "geometry", "is_local", "ndim"))
    wrapped: Any = module if has_interface else ForeignNet(module, in_channels=in_channels, ndim=ndim, output=output)
    return cast(Net, wrapped)
