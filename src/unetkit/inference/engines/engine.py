"""What computes a net: torch, or a runtime that is built for inference, behind one small contract.

An engine takes the place of a net's `body` for windows of a size that fits; what cuts an image into windows need not
know which engine it is. Runtimes compile for one window size, since dynamic shapes are slow, and keep the last few.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from ...graph.trace import Body
from ...nets.net import Net

__all__ = [
    "Engine",
    "RuntimeEngine",
    "check_device",
    "compiled_engine",
    "portable",
    "smallest_window",
    "torch_engine",
    "window_core",
    "with_engine",
]

_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
_WINDOW = {2: 1024, 3: 128}  # pixels that a window of float32 writes along each axis, at most
_KEPT = 4  # compiled sizes; each holds the memory of its maps
Infer = Callable[[np.ndarray], np.ndarray]


class Engine(Protocol):
    """Computes logits for windows, one call at a time.

    Attributes
    ----------
    name : str
        "torch", "torch compiled", "openvino float32", "openvino int8", ...
    key : str
        By which it is asked for, so that every machine takes the same one: "torch", "openvino", "int8", ...
    values_per_float : int
        How many values of its maps take the memory of one in float32.
    """

    name: str
    key: str
    values_per_float: int

    def __call__(self, x: Tensor) -> Tensor:
        """Logits of windows.

        Parameters
        ----------
        x : Tensor of shape (N, C, *window), float32
            Of a size that fits the net.

        Returns
        -------
        Tensor of shape (N, K, *window'), float32
            Of its own memory; `window'` is smaller by the margin for an unpadded net.
        """
        ...


class RuntimeEngine(ABC):
    """A runtime beside torch, on the processor: it compiles for an input's shape, and the last few are kept.

    Parameters
    ----------
    net : Net
        From `inference.prepare`.
    name, key : str
    threads : int, optional
        By default as many as torch uses.
    values_per_float : int

    Raises
    ------
    ValueError
        If the net is on another device.
    """

    def __init__(self, net: Net, name: str, key: str, threads: int | None, *, values_per_float: int = 1) -> None:
        check_device(net, name)
        self.name, self.key, self.values_per_float = name, key, values_per_float
        self.classes, self.geometry = net.out_channels, net.geometry
        self.threads = torch.get_num_threads() if threads is None else threads
        self.compiled: OrderedDict[tuple[int, ...], Infer] = OrderedDict()

    @abstractmethod
    def compile(self, shape: tuple[int, ...]) -> Infer:
        """What computes inputs (N, C, *window) of this shape; what it returns is its caller's to keep."""

    def __call__(self, x: Tensor) -> Tensor:
        """Logits of windows, as `Engine` has it."""
        array = x.detach().to("cpu", torch.float32).contiguous().numpy()
        if array.shape not in self.compiled:
            while len(self.compiled) >= _KEPT:
                self.compiled.popitem(last=False)
            self.compiled[array.shape] = self.compile(array.shape)
        self.compiled.move_to_end(array.shape)
        logits = self.compiled[array.shape](array)
        expected = (len(array), self.classes, *self.geometry.output_size(array.shape[2:]))
        if logits.shape != expected:
            raise ValueError(
                f"engine {self.name} gives {logits.shape} for an input of {array.shape}, the net {expected}: "
                "use engine torch"
            )
        return torch.from_numpy(logits)


class _TorchEngine:
    """A net as it is, or compiled."""

    values_per_float = 1

    def __init__(self, name: str, key: str, net: Net, forward: Callable[[Tensor], Tensor]) -> None:
        self.name, self.key, self.ndim, self.forward = name, key, net.ndim, forward
        self.device = next(net.parameters()).device

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x.to(self.device).contiguous(memory_format=_CHANNELS_LAST[self.ndim]))


def torch_engine(net: Net) -> Engine:
    """The net itself, on the device where it is.

    Parameters
    ----------
    net : Net
        From `inference.prepare`.
    """
    return _TorchEngine("torch", "torch", net, net.body)


def compiled_engine(net: Net) -> Engine:
    """The net compiled by `torch.compile`: about a minute for each window size, then often a little faster.

    Parameters
    ----------
    net : Net
        From `inference.prepare`.
    """
    return _TorchEngine("torch compiled", "compiled", net, torch.compile(Body(net), dynamic=False))


class _EngineNet(nn.Module):
    """A net whose `body` an engine computes; everything else is the net's own."""

    def __init__(self, net: Net, engine: Engine) -> None:
        super().__init__()
        self.net, self.engine = net, engine

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("net"), name)

    def body(self, x: Tensor) -> Tensor:
        """Logits of windows."""
        return self.engine(x)


def with_engine(net: Net, engine: Engine) -> Net:
    """A net with all attributes of `net`, whose `body` an engine computes.

    Whatever runs nets over images (`inference.runner`, `inference.predictor`) then runs engines as well. The weights
    are shared, not copied.

    Parameters
    ----------
    net : Net
        The one that the engine was made from.
    engine : Engine
    """
    return cast(Net, _EngineNet(net, engine))


def window_core(ndim: int, values_per_float: int = 1) -> int:
    """Pixels that a window of an engine writes along each axis, at most: as many as take the same memory.

    >>> window_core(2), window_core(2, 4), window_core(3, 4)
    (1024, 2048, 203)
    """
    return int(_WINDOW[ndim] * values_per_float ** (1 / ndim))


def portable(net: Net) -> nn.Module:
    """A net's body as a Module with its weights laid out plainly, for what reads nets into formats of its own."""
    return Body(copy.deepcopy(net).to("cpu").to(memory_format=torch.contiguous_format)).eval()  # type: ignore[call-overload]


def smallest_window(net: Net) -> Tensor:
    """An input for tracing, zeros (1, C, *window): a stride above the least that fits, so that no map is one pixel."""
    least = net.geometry.above((1,) * net.ndim)
    window = net.geometry.above([n + stride for n, stride in zip(least, net.geometry.stride, strict=True)])
    return torch.zeros(1, net.in_channels, *window)


def check_device(net: Net, engine: str) -> None:
    """Raise ValueError if a net lies elsewhere than where a runtime computes."""
    device = next(net.parameters()).device
    if device.type != "cpu":
        raise ValueError(f"engine {engine} computes on the processor, but the net is on {device}: use engine torch")
