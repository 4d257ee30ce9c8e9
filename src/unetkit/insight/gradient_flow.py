"""How much of the loss's gradient reaches every stage of a net.

A gradient is multiplied by the weights of every layer that it passes on its way back. In a long chain of layers it
can shrink to nothing (it vanishes: the first layers do not learn) or grow without bound. Skips and the shortcuts of
residual blocks are ways on which it passes few layers; batch norm brings maps, and so gradients, back to one size.

References
----------
.. [1] Glorot and Bengio, Understanding the difficulty of training deep feedforward networks, AISTATS 2010
.. [2] He, Zhang, Ren, Sun, Identity Mappings in Deep Residual Networks, ECCV 2016, doi:10.1007/978-3-319-46493-0_38
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..graph.cost import map_sizes
from ..graph.graph import Graph
from ..graph.hooks import run_with_hooks
from ..graph.stages import Stage, structure
from ..plotting.matplotlib_style import ACCENT, WARM, new_figure
from ..training.losses import IGNORE_INDEX, cross_entropy, dice_cross_entropy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GradientFlow", "Loss", "StageFlow", "draw_flow", "gradient_flow", "loss_against", "set_log_ticks"]

Loss = Callable[[Tensor], Tensor]  # logits (N, K, *spatial) to a number


@dataclass(frozen=True)
class StageFlow:
    """A stage of a net in one pass forward and back.

    Attributes
    ----------
    name : str
        As the drawing calls it: "encoder 0", "bottom", "decoder 0", "node 0,1".
    level : int
        0 the finest.
    activation : float
        Root of the mean square of the last map of the stage, the one that it hands on.
    gradient : float
        Root of the mean square of the loss's gradient by that map. Coarser maps have fewer elements, each of which
        speaks for more pixels, so compare stages of one level.
    weight, weight_gradient : float
        Norm of the weights of the stage's layers, and of the loss's gradient by them.
    """

    name: str
    level: int
    activation: float
    gradient: float
    weight: float
    weight_gradient: float


@dataclass(frozen=True)
class GradientFlow:
    """All stages in order of computation.

    Attributes
    ----------
    stages : tuple of StageFlow
    loss : float
    is_batch : bool
        Batch norms took mean and variance of the given images, as in a training step; else those that they have stored.
    """

    stages: tuple[StageFlow, ...]
    loss: float
    is_batch: bool

    @property
    def reach(self) -> float:
        """Gradient at the first stage as a multiple of that at the last; nan where none leaves the last."""
        return self.stages[0].gradient / self.stages[-1].gradient if self.stages[-1].gradient else math.nan


def loss_against(truth: np.ndarray | None) -> Loss:
    """The loss of one image: cross-entropy and Dice against its truth, as in training.

    Parameters
    ----------
    truth : ndarray of shape (*spatial), integer, or None
        Classes of the pixels that the net predicts, 255 where not labelled. Without a labelled pixel the loss is the
        cross-entropy against the mask that the net itself gives: how strongly it would be pulled to be surer.

    Returns
    -------
    callable
        Maps logits (1, K, *spatial) to the loss; one channel is taken as that of the foreground of two classes.
    """
    labels = (
        None if truth is None or not (truth != IGNORE_INDEX).any() else torch.from_numpy(truth.astype(np.int64))[None]
    )

    def loss(logits: Tensor) -> Tensor:
        if logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        if labels is None:
            return cross_entropy(logits, logits.detach().argmax(dim=1), check=False)
        return dice_cross_entropy(logits, labels)

    return loss


def gradient_flow(net: nn.Module, graph: Graph, x: Tensor, *, loss: Loss) -> GradientFlow:
    """Follow the gradient of a loss back through a net, in one pass.

    As in a training step batch norms use the statistics of `x` (unless a map of one pixel has none), but nothing is
    dropped. The net is left as it was: its mode, its gradients, its statistics.

    Parameters
    ----------
    net : Module
    graph : Graph
        Of `graph.graph.read` for this net.
    x : Tensor of shape (N, in_channels, *spatial)
        Of a size that fits the net.
    loss : callable
        Maps what the net's body returns, (N, K, *spatial), to a number: see `loss_against`.

    Returns
    -------
    GradientFlow

    Raises
    ------
    ValueError
        If the size does not fit; the nearest ones are named.

    Examples
    --------
    >>> from unetkit.nets.architecture import Architecture
    >>> from unetkit.nets.build import build
    >>> net = build(Architecture(widths=(4, 8)))
    >>> found = gradient_flow(net, net.graph, torch.rand(1, 1, 16, 16), loss=loss_against(None))
    >>> [stage.name for stage in found.stages]
    ['encoder 0', 'bottom', 'decoder 0']
    """
    found = structure(graph)
    last = [_last_map(graph, stage) for stage in found.stages]
    is_batch = not _has_lone_values(graph, x.shape)
    maps: dict[int, Tensor] = {}

    def see(i: int, seen: Tensor) -> Tensor | None:
        if i not in last:
            return None
        maps[i] = seen
        return seen.clone()  # what is done to it in place, later on, is done to the copy

    with _all_learning(net, is_batch=is_batch), torch.enable_grad():
        weights = dict(net.named_parameters())
        start = x.detach().requires_grad_().clone()  # a net that reads its input twice in a stage has a gradient there
        value = loss(run_with_hooks(net, graph, start, on_layer=see))
        wanted = [*(maps[i] for i in last), *weights.values()]
        found_gradients = torch.autograd.grad(value, wanted, allow_unused=True)
    of_weights = dict(zip(weights, found_gradients[len(last) :], strict=True))
    homes = _homes(net, graph)
    rows = []
    for stage, i, gradient in zip(found.stages, last, found_gradients, strict=False):
        own = [name for name, home in homes.items() if home in stage.layers]
        sizes = _rms(maps[i]), _rms(gradient), _norm(weights[n] for n in own), _norm(of_weights[n] for n in own)
        rows.append(StageFlow(found.name(stage.key), stage.key.level, *sizes))
    return GradientFlow(tuple(rows), float(value.detach()), is_batch)


def _last_map(graph: Graph, stage: Stage) -> int:
    """The layer whose map a stage hands on; where it ends in a head, the one that the head reads."""
    before = graph.layers[stage.bars[-1]].inputs[0] if stage.has_head else 0
    return before if before and before in stage.layers else stage.exit


def _has_lone_values(graph: Graph, shape: Sequence[int]) -> bool:
    """Whether a batch norm meets one value per channel, which has no variance."""
    sizes = map_sizes(graph, shape[2:])
    rows = zip(graph.layers, sizes, strict=True)
    alone = [layer for layer, size in rows if layer.is_pixel or math.prod(size) == 1]
    return shape[0] == 1 and any(layer.function == "batch_norm" for layer in alone)


@contextmanager
def _all_learning(net: nn.Module, *, is_batch: bool) -> Iterator[None]:
    """All parameters ask for gradients and batch norms are in training; put back as it was in the end."""
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    modes = {module: module.training for module in net.modules()}
    asked = {parameter: parameter.requires_grad for parameter in net.parameters()}
    kept = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    try:
        net.eval()
        for norm in norms:
            norm.train(is_batch)
        for parameter in asked:
            parameter.requires_grad_(True)
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, asks in asked.items():
            parameter.requires_grad_(asks)
        with torch.no_grad():
            for buffer, values in kept:
                buffer.copy_(values)


def _homes(net: nn.Module, graph: Graph) -> dict[str, int]:
    """The layer that each parameter belongs to, by name; those that the output does not need are left out.

    That is the layer of its module; else, for weights that a function uses (`F.conv2d`), one whose name begins with the
    module's, of the weight's shape if there is one.
    """
    learned = {i: layer for i, layer in enumerate(graph.layers) if layer.parameters}
    homes = {}
    for name, parameter in net.named_parameters():
        module = name.rpartition(".")[0].partition(".parametrizations")[0]

        def rank(i: int, module: str = module, shape: tuple[int, ...] = tuple(parameter.shape)) -> tuple[bool, ...]:
            return learned[i].name != module, learned[i].weights != shape

        near = [i for i, layer in learned.items() if _are_one(layer.name, module)]
        if near:
            homes[name] = min(near, key=rank)
    return homes


def _are_one(layer: str, module: str) -> bool:
    if not module:  # of the net itself
        return "." not in layer
    return layer == module or layer.startswith(f"{module}.")


def _rms(values: Tensor | None) -> float:
    return 0.0 if values is None else float(values.detach().norm()) / math.sqrt(values.numel())


def _norm(parts: Any) -> float:
    return math.hypot(*(float(part.detach().norm()) for part in parts if part is not None))


# --- picture ---


def draw_flow(found: GradientFlow) -> Figure:
    """Activation and gradient of every stage, in order of computation from top to bottom; zeros are left out."""
    rows = range(len(found.stages))
    figure, axes = new_figure(1, 2, height=1.0 + 0.24 * len(found.stages))
    for axis, what, colour in zip(axes[0], ("activation", "gradient"), (ACCENT, WARM), strict=True):
        values = [getattr(stage, what) for stage in found.stages]
        axis.plot([v if v > 0 else math.nan for v in values], rows, "o-", color=colour, markersize=5, linewidth=1)
        axis.set_yticks(rows, [stage.name for stage in found.stages])
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_title(what, loc="left", fontsize=9)
        axis.set_xlabel("root mean square")
        set_log_ticks(axis.xaxis, values)
    axes[0, 1].tick_params(labelleft=False)
    return figure


def set_log_ticks(axis: Any, values: Sequence[float]) -> None:
    """Make a matplotlib axis logarithmic, around the values above 0, with at most four round numbers.

    Parameters
    ----------
    axis : matplotlib Axis
        `axes.xaxis` or `axes.yaxis`.
    values : sequence of float
        At least one of them above 0 and finite.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    positive = [v for v in values if 0 < v < math.inf]
    low, high = math.log10(min(positive)), math.log10(max(positive))
    pad = max(0.08 * (high - low), 0.15)
    low, high = low - pad, high + pad
    decades = range(math.floor(low), math.ceil(high) + 1)
    for steps in ((1,), (1, 2, 5), range(1, 10)):
        ticks = [m * 10.0**e for e in decades for m in steps if low <= math.log10(m * 10.0**e) <= high]
        if len(ticks) > 1:
            break
    ticks = ticks[:: -(-len(ticks) // 4) or 1]
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (10.0**low, 10.0**high)})
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("e-0", "e-")))
    axis.set_minor_locator(NullLocator())
