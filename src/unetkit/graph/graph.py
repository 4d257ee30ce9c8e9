"""A net as a small graph of layers with a window per axis; `graph.read` makes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from ..geometry import Axis, Geometry, Window

__all__ = ["Graph", "Layer"]


@dataclass(frozen=True)
class Layer:
    """One step of a net.

    Attributes
    ----------
    name : str
        Path of the module, followed by the function where a module calls several.
    kind : str
        "input", "convolution" (with linear layers along the channels), "transposed convolution", "pooling",
        "interpolation", "pad", "join", "pointwise" or "statistics" (reads all of space: instance and group norm, global
        pooling, attention).
    inputs : tuple of int
        Indices of the layers that it reads; the first is one whose size its own follows.
    windows : tuple of Window
        Per spatial axis.
    channels : int
    function : str
        Name of the torch function: "conv2d", "cat", "add", "sigmoid".
    weights : tuple of int
        Shape of its main weight, that of most axes; () without.
    parameters : int
        Learned numbers that it reads, without those that an earlier layer counts: the sum over layers is the net's.
    call : int
        Its number among all maps of a run (`graph.trace`), by which `graph.hooks` recognises it.
    fixed_size : tuple of int
        Of a map that was pooled over all of space, or computed from such (squeeze and excitation): its own size, which
        does not follow that of the image. In `Geometry` it has the size of the map it was pooled from, over which it is
        laid. () of all others.
    is_map : bool
        Whether its tensor is (N, channels, *spatial); not so where a net works on tokens, or with channels last.
    reason : str
        Why its values depend on more of the image than its window shows; empty where they do not.
    """

    name: str
    kind: str
    inputs: tuple[int, ...]
    windows: tuple[Window, ...]
    channels: int
    function: str = ""
    weights: tuple[int, ...] = ()
    parameters: int = 0
    fixed_size: tuple[int, ...] = ()
    is_map: bool = True
    reason: str = ""
    call: int = 0


@dataclass(frozen=True)
class Graph:
    """The layers of a net, in order of computation; entry 0 is the input, the last one the output.

    Attributes
    ----------
    layers : tuple of Layer
    grid : int
        It holds for multiples of so many total strides alone: of other sizes maps are resized by no whole factor, or
        padded and cropped, or the net refuses them. 0: for all sizes that fit.
    only : tuple of int or None
        The one size that the net takes, where it takes no other.
    """

    layers: tuple[Layer, ...]
    grid: int = 0
    only: tuple[int, ...] | None = None

    @property
    def is_local(self) -> bool:
        """Whether an output depends on its receptive field only, so that tiles can be exact."""
        return self.only is None and all(not layer.reason for layer in self.layers)

    @property
    def far_reaching(self) -> tuple[Layer, ...]:
        """Layers that read beyond their window, each with its reason: why the net is not local."""
        return tuple(layer for layer in self.layers if layer.reason)

    def describe_reach(self) -> str:
        """Why the net is not local, in words; empty where it is."""
        if self.is_local:
            return ""
        layers = sorted(self.far_reaching, key=lambda layer: layer.kind != "statistics")
        if not layers:
            return f"it takes images of {' x '.join(map(str, self.only or ()))} pixels alone"
        more = f", and {len(layers) - 1} more layers" if len(layers) > 1 else ""
        return f"{layers[0].name!r} ({layers[0].function}): {layers[0].reason}{more}"

    @cached_property
    def geometry(self) -> Geometry:
        """The net as integers: sizes, stride, receptive fields, halo."""
        inputs = tuple(map(self._sized_inputs, self.layers))
        windows = zip(*(layer.windows for layer in self.layers), strict=True)
        axes = [Axis(tuple(w), inputs) for w in windows]
        if self.grid:
            axes = [replace(axis, multiple=self.grid * axis.stride) for axis in axes]
        if self.only is not None:
            axes = [replace(axis, only=n) for axis, n in zip(axes, self.only, strict=True)]
        return Geometry(tuple(axes), tuple(layer.name for layer in self.layers))

    def _sized_inputs(self, layer: Layer) -> tuple[int, ...]:
        """Inputs whose size its own follows: not maps of a fixed size, nor the keys of an attention."""
        if layer.kind == "statistics":
            return layer.inputs[:1]
        return tuple(i for i in layer.inputs if not self.layers[i].fixed_size) or layer.inputs[:1]

    def activation_bytes(self, size: tuple[int, ...], *, itemsize: int = 4) -> int:
        """Peak of the maps alive at one time in a forward pass, in bytes.

        A map lives from the layer that writes it to the last layer that reads it. What
        the kernels allocate for themselves comes on top.

        Parameters
        ----------
        size : tuple of int
            Spatial size of one input that fits the net.
        itemsize : int
            Bytes per number: 4 for float32.
        """
        per_axis = [axis.sizes(n) or () for axis, n in zip(self.geometry.axes, size, strict=True)]
        weights = [layer.channels * itemsize for layer in self.layers]
        for axis, sizes in enumerate(per_axis):
            sizes = tuple(x.fixed_size[axis] if x.fixed_size else n for x, n in zip(self.layers, sizes, strict=True))
            weights = [w * n for w, n in zip(weights, sizes, strict=True)]
        last_use = list(range(len(self.layers)))
        for i, layer in enumerate(self.layers):
            for j in layer.inputs:
                last_use[j] = i
        alive = [sum(w for j, w in enumerate(weights[: i + 1]) if last_use[j] >= i) for i in range(len(weights))]
        return max(alive)
