"""Nets of other libraries, and of the user: any Module that can be read, with the attributes of a `Net`."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from ..geometry import Geometry
from ..graph.graph import Graph
from ..graph.memory import WindowMemory, window_memory
from ..graph.read import read
from .net import Net

__all__ = ["ForeignNet", "as_net"]


class ForeignNet(nn.Module):
    """A Module with the attributes of a `Net`, all read from its own computation.

    Parameters
    ----------
    module : Module
        Taken as it is; `torch.compile`'s wrapper is removed.

    Raises
    ------
    ValueError
        If the module cannot be read; the layer is named.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module: nn.Module = getattr(module, "_orig_mod", module)
        self.graph: Graph = read(self.module)
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

    def read(self) -> None:
        """Nothing: the graph was read at the start."""

    def body(self, x: Tensor) -> Tensor:
        """The module's own computation, for inputs of a size that fits."""
        return cast(Tensor, self.module(x))

    def forward(self, x: Tensor) -> Tensor:
        """As `body`."""
        return self.body(x)


def as_net(module: nn.Module) -> Net:
    """A net of this package as it is, any other module as a `ForeignNet`."""
    if isinstance(module, Net):
        return module
    has_interface = all(hasattr(module, name) for name in ("body", "geometry", "is_local", "ndim"))
    wrapped: Any = module if has_interface else ForeignNet(module)
    return cast(Net, wrapped)
