"""Read any net, ours or a user's own Module, into a small graph of layers.

The net is run once on tensors that have a shape but no data; every torch function that
touches them is recorded with its window per axis. Plain Python in `forward` (loops,
sizes, crops computed from shapes) is therefore no obstacle, and names come from the
modules in which a function was called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ..geometry import Axis, Geometry, Window
from .trace import Body, CallTracer, TracedCall, mode, without_data
from .windows import Misfit, Unreadable, interpret, pools_space

# Sizes to try when reading a net: round ones first, then every residue of a total stride up to 64, small and large.
_SIZES = (256, 64, *range(257, 321), *range(769, 833))
_FAILURES = (RuntimeError, ValueError, AssertionError, IndexError)


@dataclass(frozen=True)
class Layer:
    """One step of a net.

    Attributes
    ----------
    name : str
        Path of the module, followed by the function where a module calls several.
    kind : str
        "input", "convolution", "transposed convolution", "pooling", "interpolation",
        "pad", "join", "pointwise" or "statistics" (reads all of space: instance and group norm, global pooling).
    inputs : tuple of int
        Indices of the layers that it reads.
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
    is_pixel : bool
        Its map is one pixel, pooled over all of space or computed from such (squeeze and excitation). In `Geometry` it
        has the size of the map it was pooled from, over which it is laid.
    """

    name: str
    kind: str
    inputs: tuple[int, ...]
    windows: tuple[Window, ...]
    channels: int
    function: str = ""
    weights: tuple[int, ...] = ()
    parameters: int = 0
    is_pixel: bool = False
    call: int = 0


@dataclass(frozen=True)
class Graph:
    """The layers of a net, in order of computation; entry 0 is the input, the last one the output.

    Attributes
    ----------
    layers : tuple of Layer
    is_gridded : bool
        Whether it holds for multiples of the total stride alone: of other sizes maps are resized by no whole factor, or
        padded and cropped.
    """

    layers: tuple[Layer, ...]
    is_gridded: bool = False

    @property
    def is_local(self) -> bool:
        """Whether an output depends on its receptive field only, so that tiles can be exact."""
        return all(layer.kind != "statistics" for layer in self.layers)

    @cached_property
    def geometry(self) -> Geometry:
        """The net as integers: sizes, stride, receptive fields, halo."""
        inputs = tuple(layer.inputs for layer in self.layers)
        windows = zip(*(layer.windows for layer in self.layers), strict=True)
        axes = [Axis(tuple(w), inputs) for w in windows]
        if self.is_gridded:
            axes = [replace(axis, multiple=axis.stride) for axis in axes]
        return Geometry(tuple(axes), tuple(layer.name for layer in self.layers))

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
        for sizes in per_axis:
            sizes = tuple(1 if layer.is_pixel else n for layer, n in zip(self.layers, sizes, strict=True))
            weights = [w * n for w, n in zip(weights, sizes, strict=True)]
        last_use = list(range(len(self.layers)))
        for i, layer in enumerate(self.layers):
            for j in layer.inputs:
                last_use[j] = i
        alive = [sum(w for j, w in enumerate(weights[: i + 1]) if last_use[j] >= i) for i in range(len(weights))]
        return max(alive)


def read(net: nn.Module, *, in_channels: int | None = None, ndim: int | None = None) -> Graph:
    """Read a net into its graph of layers.

    Parameters
    ----------
    net : Module
        Maps one tensor (N, C, *spatial) to one tensor (N, K, *spatial). Its weights are
        not touched, and it is read as it works in evaluation mode.
    in_channels, ndim : int, optional
        Taken from the net's attributes, else from its first convolution.

    Returns
    -------
    Graph

    Raises
    ------
    ValueError
        If a layer cannot be read (it is named), works differently for images of different
        sizes, or no input size passes the net.
    """
    if in_channels is None or ndim is None:
        own_channels, own_ndim = _signature(net)
        in_channels, ndim = in_channels or own_channels, ndim or own_ndim
    inner = Body(net)
    failure: Exception | None = None
    for n in _SIZES:
        try:
            graph = _trace(inner, (1, in_channels, *(n,) * ndim))
        except Misfit as error:
            failure = failure or error
        except Unreadable as error:
            raise ValueError(str(error)) from None
        except _FAILURES as error:
            failure = failure or error  # most often a size that does not fit: try the next
        else:
            if graph.geometry.fits((n,) * ndim):  # else its crops and paddings mend a size that does not fit
                return _holding_elsewhere(inner, graph, in_channels, n)
            failure = failure or ValueError(f"{n} pixels leave some out, or maps of different sizes are joined")
    if isinstance(failure, Unreadable):
        raise ValueError(str(failure))
    raise ValueError(f"the net ran on none of the sizes {min(_SIZES)} to {max(_SIZES)}; its first error was: {failure}")


def _holding_elsewhere(net: nn.Module, graph: Graph, in_channels: int, n: int) -> Graph:
    """The graph, which holds for other sizes too: for all that fit, or else for the multiples of its stride."""
    try:
        _check_other_sizes(net, graph, in_channels, n)
    except ValueError as error:
        gridded = replace(graph, is_gridded=True)
        if not gridded.geometry.fits((n,) * len(gridded.geometry.axes)):
            raise
        try:
            _check_other_sizes(net, gridded, in_channels, n)
        except ValueError:
            raise error from None
        return gridded
    return graph


def _check_other_sizes(net: nn.Module, graph: Graph, in_channels: int, n: int) -> None:
    """Read the net once more with other sizes, different per axis: a crop to a fixed size shows only there."""
    size = []
    for axis in graph.geometry.axes:
        n = axis.above(n + 1)
        size.append(n)
    try:
        other = _trace(net, (1, in_channels, *size))
    except Unreadable as error:
        raise ValueError(str(error)) from None
    except _FAILURES as error:
        raise ValueError(f"the net passes some sizes, but not {tuple(size)}, which should fit too: {error}") from None
    for here, there in zip(graph.layers, other.layers, strict=False):
        if here != there:
            raise ValueError(
                f"layer {here.name!r} ({here.kind}) cannot be read: for an image of {tuple(size)} pixels it works "
                "differently than for one of another size; crops and resizes must follow from the sizes of maps"
            )


def _signature(net: nn.Module) -> tuple[int, int]:
    """(in_channels, ndim) from the net's attributes, else from its first convolution."""
    declared: Any = net
    if hasattr(net, "in_channels") and hasattr(net, "ndim"):
        return int(declared.in_channels), int(declared.ndim)
    for module in net.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            return module.in_channels, module.weight.ndim - 2
    raise ValueError("the net has no convolution to tell its input channels from: pass in_channels and ndim")


def _trace(net: nn.Module, shape: tuple[int, ...]) -> Graph:
    ghosts = without_data(net)
    x = torch.empty(shape, device="meta")
    learned = {name for name, _ in net.named_parameters()}
    tape = _Tape(x, {name: ghost for name, ghost in ghosts.items() if name in learned})
    try:
        with torch.no_grad(), mode(net, is_training=False), _names(net, tape.path), tape:
            y = torch.func.functional_call(net, ghosts, (x,))
    except _FAILURES as error:
        raise next(iter(tape.unread.values()), error) from None  # an unread layer says more than what follows from it
    if not isinstance(y, Tensor) or id(y) not in tape.known:
        raise Unreadable(f"the net returns {type(y).__name__} that is not one tensor computed from its input")
    return tape.graph(y)


@contextmanager
def _names(net: nn.Module, path: list[tuple[str, bool]]) -> Iterator[None]:
    """Keep `path[-1]` at the (name, is a leaf) of the module that runs."""

    def enter(entry: tuple[str, bool]) -> Callable[..., None]:
        return lambda *_: path.append(entry)

    hooks = []
    for name, module in net.named_modules():
        entry = (name.removeprefix("net").removeprefix("."), not any(module.children()))
        hooks.append(module.register_forward_pre_hook(enter(entry)))
        hooks.append(module.register_forward_hook(lambda *_: path.pop() and None, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Tape(CallTracer):
    """Records every torch function that a traced tensor passes through."""

    def __init__(self, x: Tensor, learned: dict[str, Tensor]) -> None:
        super().__init__(x)
        self.ndim = x.ndim - 2
        self.path: list[tuple[str, bool]] = []
        self.layers = [Layer("input", "input", (), (Window(),) * self.ndim, x.shape[1])]
        self.learned = {id(ghost): {name: ghost.numel()} for name, ghost in learned.items()}  # and what comes of them
        self.reads: list[dict[str, int]] = [{}]  # per layer, its parameters and their sizes
        self.names = {"input": 1}
        self.unread: dict[int, Unreadable] = {}  # layers, and why; no matter while the output does not need them

    def on_maps(self, call: TracedCall, outputs: list[Tensor]) -> list[Tensor]:
        self.reads += [self._learned(call)] * len(outputs)
        pooled = tuple(self.layers[self.known[id(t)]].is_pixel for t in call.maps)
        self._write(replace(call, result=outputs[0].shape, pooled=pooled), outputs)
        return outputs

    def execute(self, func: Callable[..., Any], call: TracedCall) -> Any:
        if call.numbers and call.function == "setitem":
            raise Unreadable(
                f"layer {self._name(call.function)!r} ({call.function}) cannot be read: it writes into a part of a map"
            )
        if call.numbers and call.function == "batch_norm":  # for which torch takes as long as for all else without data
            x, *statistics = (call.bind()[name] for name in ("input", "running_mean", "weight"))
            if isinstance(x, Tensor) and all(t is None or t.shape == x.shape[1:2] for t in statistics):
                return torch.empty_like(x)
        return super().execute(func, call)

    def on_constants(self, call: TracedCall, outputs: list[Tensor]) -> None:
        learned = self._learned(call)
        if learned:  # weights computed from parameters, as by weight norm
            self.learned |= {id(output): learned for output in outputs}
            self.alive += outputs

    def _learned(self, call: TracedCall) -> dict[str, int]:
        return {name: n for t in call.constants for name, n in self.learned.get(id(t), {}).items()}

    def _write(self, call: TracedCall, outputs: list[Tensor]) -> None:
        name, kind, windows = self._name(call.function), "unread", (Window(),) * self.ndim
        reason = next((self.unread[i] for i in call.numbers if i in self.unread), None)
        if reason is None:
            try:
                kind, windows = interpret(call)
            except Unreadable as error:
                reason = type(error)(f"layer {name!r} ({call.function}) cannot be read: {error}")
        weights = max((tuple(t.shape) for t in call.constants), key=lambda s: (len(s), prod(s)), default=())
        is_pixel = reason is None and pools_space(call)
        for output in outputs:
            if reason is not None:
                self.unread[len(self.layers)] = reason
            channels = output.shape[1] if output.ndim > 1 else 1
            layer = Layer(name, kind, call.numbers, windows, channels, call.function, weights, is_pixel=is_pixel)
            self.layers.append(layer)

    def _name(self, function: str) -> str:
        path, is_leaf = self.path[-1] if self.path else ("", False)
        name = path if is_leaf and path else f"{path}.{function}".strip(".")
        self.names[name] = self.names.get(name, 0) + 1
        return name if self.names[name] == 1 else f"{name}_{self.names[name]}"

    def graph(self, output: Tensor) -> Graph:
        """The layers that the output depends on, renumbered, the output last; `Unreadable` if one of them is."""
        wanted, stack = set(), [self.known[id(output)]]
        while stack:
            i = stack.pop()
            if i not in wanted:
                wanted.add(i)
                stack.extend(self.layers[i].inputs)
        for i in sorted(wanted & self.unread.keys()):
            raise self.unread[i]
        number = {old: new for new, old in enumerate(sorted(wanted))}
        layers, counted = [], set[str]()
        for i in sorted(wanted):
            inputs = tuple(number[j] for j in self.layers[i].inputs)
            parameters = sum(n for name, n in self.reads[i].items() if name not in counted)
            counted |= self.reads[i].keys()
            layers.append(replace(self.layers[i], inputs=inputs, parameters=parameters, call=i))
        return Graph(tuple(layers))
