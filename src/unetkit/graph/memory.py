"""Peak memory of a run: predicted from the net without data, and measured by torch's allocator."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch.autograd.profiler import profile

from .allocation import BACKWARD, laid_out_as, trace_allocations
from .graph import Graph
from .read import read
from .trace import Body

__all__ = ["PeakMemory", "WindowMemory", "allocated_bytes", "measured_bytes", "peak_memory", "window_memory"]

_MOMENTS = 2  # AdamW keeps two numbers per parameter
_FAR = 8  # a window whose maps fit the budget so many times fits it with all else


@dataclass(frozen=True)
class PeakMemory:
    """Peak memory of a run, in bytes of float32.

    Attributes
    ----------
    size : tuple of int
        Of the image, in pixels.
    maps_bytes, workspace_bytes : int
        At the peak: tensors that the net holds, the image with them, and (in training) gradients; and the workspace
        of the convolution that runs then (`graph.workspace`).
    at : str
        Name of the layer that runs at the peak, or "backward pass".
    layer : int or None
        Its index in the graph; None in the backward pass.
    layers_bytes : tuple of int
        The highest sum of both while each layer of the graph runs; the first entry is the image alone.
    weights_bytes : int
        Of parameters and buffers, which are there before.
    optimiser_bytes : int
        Of AdamW's moments, 0 without training.
    """

    size: tuple[int, ...]
    maps_bytes: int
    workspace_bytes: int
    at: str
    layer: int | None
    layers_bytes: tuple[int, ...]
    weights_bytes: int
    optimiser_bytes: int = 0

    @property
    def peak_bytes(self) -> int:
        """Maps and workspace: memory that the run takes beyond the weights."""
        return self.maps_bytes + self.workspace_bytes

    @property
    def total_bytes(self) -> int:
        """Maps, workspace, weights and the optimiser's state."""
        return self.peak_bytes + self.weights_bytes + self.optimiser_bytes


@torch.inference_mode(False)  # in which torch shows other operations, and not what they allocate
def peak_memory(
    net: nn.Module, size: Sequence[int], *, graph: Graph | None = None, is_training: bool = False
) -> PeakMemory:
    """Predict the peak memory of one image through a net, in float32 on a CPU, by a run on tensors without data.

    Parameters
    ----------
    net : Module
        As it will run: `inference.prepare` saves maps. Its weights are not touched, and may be on the meta device.
    size : sequence of int
        Of the image in pixels per axis, one that fits.
    graph : Graph, optional
        Of `graph.read.read` for this net as it is now, if it is at hand.
    is_training : bool
        Forward and backward pass with gradients of all parameters, and AdamW's state. The loss between the two comes
        on top: a few maps of as many channels as the net's output.

    Returns
    -------
    PeakMemory

    Raises
    ------
    ValueError
        If the net cannot be read, or the size does not fit.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.ReLU())
    >>> peak = peak_memory(net, (64, 64))
    >>> peak.at, peak.maps_bytes == (1 + 4 + 4) * 64 * 64 * 4  # the image, what is read and what is written
    ('1', True)
    """
    graph, size = read(net) if graph is None else graph, tuple(size)
    graph.geometry.output_size(size)
    x = laid_out_as(net, torch.empty(1, graph.layers[0].channels, *size, device="meta"))
    counter = trace_allocations(net, x, is_training=is_training)
    call = max(counter.highest, key=lambda c: sum(counter.highest[c]))
    at = None if call == BACKWARD else max(i for i, layer in enumerate(graph.layers) if layer.call <= call)
    maps, work = counter.highest[call]
    learned = sum(_bytes(t) for t in net.parameters())
    return PeakMemory(
        size,
        maps,
        work,
        "backward pass" if at is None else graph.layers[at].name,
        at,
        tuple(sum(counter.highest.get(layer.call, (0, 0))) for layer in graph.layers),
        sum(_bytes(t) for t in chain(net.parameters(), net.buffers())),
        _MOMENTS * learned if is_training else 0,
    )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * (4 if tensor.is_floating_point() else tensor.element_size())


class WindowMemory:
    """Peak memory of one net by window size: exact numbers, and estimates where the budget is far above.

    An exact number (`peak_memory`) takes 15 to 65 ms of a core, the count of the graph's maps (`activation_bytes`) 0.5
    to 1 ms. Their ratio, 1.23 for a U-Net and 1.5 for dense and nested nets, changes with the size where torch unfolds
    maps (2.8 for a U-Net at 64 x 64 pixels), so that an estimate takes that of a size near by.

    Parameters
    ----------
    net : Module
        As it runs in evaluation mode. Not kept alive.
    graph : Graph
        Of `graph.read.read` for this net.
    """

    def __init__(self, net: nn.Module, graph: Graph) -> None:
        self._net, self._graph = ref(net), graph
        self._exact: dict[tuple[int, ...], int] = {}
        self._counts: dict[tuple[int, ...], int] = {}
        self._ratios: dict[tuple[int, ...], float] = {}

    def maps_bytes(self, size: tuple[int, ...]) -> int:
        """Count of the maps of one window that are alive together, `activation_bytes`: a lower bound."""
        if size not in self._counts:
            self._counts[size] = self._graph.activation_bytes(size)
        return self._counts[size]

    def peak_bytes(self, size: tuple[int, ...], *, budget: int | None = None) -> int:
        """Peak bytes of one window of a size that fits: exact, unless the budget in bytes is far above.

        Estimates are counts times the ratio at the next larger powers of two: images of hundreds of different sizes,
        all small, need few exact numbers.
        """
        if size in self._exact:
            return self._exact[size]
        if budget is not None and self._graph.only is None and _FAR * self.maps_bytes(size) <= budget:
            near = tuple(2 ** (n - 1).bit_length() for n in size)
            if near not in self._ratios:
                fitting = self._graph.geometry.above(near)
                self._ratios[near] = self.peak_bytes(fitting) / self.maps_bytes(fitting)
            return round(self._ratios[near] * self.maps_bytes(size))
        net = self._net()
        if net is None:
            raise ReferenceError("the net whose memory is asked for is no longer there")
        self._exact[size] = peak_memory(net, size, graph=self._graph).peak_bytes
        return self._exact[size]


_MEMORY: WeakKeyDictionary[nn.Module, WindowMemory] = WeakKeyDictionary()


def window_memory(net: nn.Module, graph: Graph) -> WindowMemory:
    """Return the `WindowMemory` of a net, whose layers must not change any more; it lives as long as the net."""
    return _MEMORY.setdefault(net, WindowMemory(net, graph))


@torch.inference_mode()
def measured_bytes(net: nn.Module, image: Tensor) -> int:
    """Measure the peak memory of one image through a net: the highest that torch's allocator gave out, and the image.

    Parameters
    ----------
    net : Module
        In evaluation mode, on the CPU.
    image : Tensor of shape (N, C, *spatial)
        Of a size that fits.

    Returns
    -------
    int
        Bytes; to be compared with `PeakMemory.peak_bytes`.
    """
    body = Body(net)
    return allocated_bytes(lambda: body(image)) + image.numel() * image.element_size()


def allocated_bytes(run: Callable[[], object]) -> int:
    """Measure the highest number of bytes that torch's allocator gave out on the CPU during a call of `run`."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes lines of its own to stderr
    with profile(profile_memory=True) as recorded:
        run()
    events = recorded.kineto_results.events() if recorded.kineto_results else []
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    taken = peak = 0
    for _, change in changes:
        taken += change
        peak = max(peak, taken)
    return peak
