"""Gradient of the loss at every stage of a net.

In backpropagation a gradient is multiplied by the weights of every layer that it passes. In a long chain of layers it
can shrink to nothing (it vanishes: the first layers do not learn) or grow without bound. On skips and the shortcuts of
residual blocks it passes few layers; batch norm brings maps, and so gradients, back to one size.

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
from ..plotting.matplotlib_style import new_figure, set_log_ticks
from ..plotting.palette import ACCENT, WARM
from ..training.losses import IGNORE_INDEX, cross_entropy, dice_cross_entropy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GradientFlow", "Loss", "StageFlow", "draw_flow", "gradient_flow", "loss_against"]

Loss = Callable[[Tensor], Tensor]  # logits (N, K, *spatial) to a number


@dataclass(frozen=True)
class StageFlow:
    """A stage of a net in one pass forward and back.

    Attributes
    ----------
    name : str
        As in the drawing: "encoder 0", "bottom", "decoder 0", "node 0,1".
    level : int
        0 the finest.
    activation : float
        Root mean square of the last map of the stage, which later stages read.
    gradient : float
        Root mean square of the loss's gradient with respect to that map. Coarser maps have fewer elements, each of
        which stands for more pixels, so compare stages of one level.
    weight, weight_gradient : float
        Norm of the weights of the stage's layers, and of the loss's gradient with respect to them.
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
        Batch norms used mean and variance of these images, as in a training step; else their stored statistics.
    """

    stages: tuple[StageFlow, ...]
    loss: float
    is_batch: bool

    @property
    def reach(self) -> float:
        """Gradient at the first stage as a multiple of that at the last; nan where none leaves the last."""
        return self.stages[0].gradient / self.stages[-1].gradient if self.stages[-1].gradient else math.nan


def loss_against(truth: np.ndarray | None) -> Loss:
    """Make the loss of one image: cross-entropy and Dice against its truth, as in training.

    Parameters
    ----------
    truth : ndarray of shape (*spatial), integer, or None
        Classes of the pixels that the net predicts, 255 where not labelled. Without a labelled pixel the loss is the
        cross-entropy against the net's own mask, whose gradient makes the net more confident.

    Returns
    -------
    callable
        Maps logits (1, K, *spatial) to the loss; one channel is taken as that of the foreground of two classes.
    """
    is_labelled = truth is not None and bool((truth != IGNORE_INDEX).any())
    labels = torch.from_numpy(truth.astype(np.int64))[None] if truth is not None and is_labelled else None

    def loss(logits: Tensor) -> Tensor:
        if logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        if labels is None:
            return cross_entropy(logits, logits.detach().argmax(dim=1), check=False)
        return dice_cross_entropy(logits, labels)

    return loss


def gradient_flow(net: nn.Module, graph: Graph, x: Tensor, *, loss: Loss) -> GradientFlow:
    """Follow the gradient of a loss back through a net, in one pass.

    As in a training step batch norms use the statistics of `x` (unless a map of one pixel has none), but there is no
    dropout. Mode, gradients and statistics of the net are restored.

    Parameters
    ----------
    net : Module
    graph : Graph
        Of `graph.read.read` for this net.
    x : Tensor of shape (N, in_channels, *spatial)
        Of a size that fits the net.
    loss : callable
        Maps the output of the net's body, (N, K, *spatial), to a number: see `loss_against`.

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
    >>> flow = gradient_flow(net, net.graph, torch.rand(1, 1, 16, 16), loss=loss_against(None))
    >>> [stage.name for stage in flow.stages]
    ['encoder 0', 'bottom', 'decoder 0']
    """
    named = structure(graph)
    last = [_last_map(graph, stage) for stage in named.stages]
    is_batch = not _has_lone_values(graph, x.shape)
    maps: dict[int, Tensor] = {}

    def keep(i: int, features: Tensor) -> Tensor | None:
        if i not in last:
            return None
        maps[i] = features
        return features.clone()  # later operations in place change the copy

    with _all_learning(net, is_batch=is_batch), torch.enable_grad():
        weights = dict(net.named_parameters())
        start = x.detach().requires_grad_().clone()  # a net that reads its input twice in a stage has a gradient there
        value = loss(run_with_hooks(net, graph, start, on_layer=keep))
        sources = [*(maps[i] for i in last), *weights.values()]
        gradients = torch.autograd.grad(value, sources, allow_unused=True)
    of_weights = dict(zip(weights, gradients[len(last) :], strict=True))
    layers = _layer_of_parameters(net, graph)
    stages = []
    for stage, i, gradient in zip(named.stages, last, gradients, strict=False):
        own = [name for name, layer in layers.items() if layer in stage.layers]
        sizes = _rms(maps[i]), _rms(gradient), _norm(weights[n] for n in own), _norm(of_weights[n] for n in own)
        stages.append(StageFlow(named.name(stage.key), stage.key.level, *sizes))
    return GradientFlow(tuple(stages), float(value.detach()), is_batch)


def _last_map(graph: Graph, stage: Stage) -> int:
    """The layer whose map later stages read; for a stage with a head, the one that the head reads."""
    before = graph.layers[stage.bars[-1]].inputs[0] if stage.has_head else 0
    return before if before and before in stage.layers else stage.exit


def _has_lone_values(graph: Graph, shape: Sequence[int]) -> bool:
    """True if a batch norm gets one value per channel, which has no variance."""
    sizes = map_sizes(graph, shape[2:])
    rows = zip(graph.layers, sizes, strict=True)
    alone = [layer for layer, size in rows if layer.fixed_size or math.prod(size) == 1]
    return shape[0] == 1 and any(layer.function == "batch_norm" for layer in alone)


@contextmanager
def _all_learning(net: nn.Module, *, is_batch: bool) -> Iterator[None]:
    """Give all parameters gradients and put batch norms into training mode; restore all in the end."""
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    modes = {module: module.training for module in net.modules()}
    required = {parameter: parameter.requires_grad for parameter in net.parameters()}
    kept = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    try:
        net.eval()
        for norm in norms:
            norm.train(is_batch)
        for parameter in required:
            parameter.requires_grad_(True)
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, is_required in required.items():
            parameter.requires_grad_(is_required)
        with torch.no_grad():
            for buffer, values in kept:
                buffer.copy_(values)


def _layer_of_parameters(net: nn.Module, graph: Graph) -> dict[str, int]:
    """The layer that each parameter belongs to, by name; parameters that the output does not need are left out.

    That is the layer of its module; else, for weights that a function uses (`F.conv2d`), one whose name begins with the
    module's, of the weight's shape if there is one.
    """
    learned = {i: layer for i, layer in enumerate(graph.layers) if layer.parameters}
    names = {i: layer.name for i, layer in learned.items()}
    layers = {}
    for name, parameter in net.named_parameters():
        module = name.rpartition(".")[0].partition(".parametrizations")[0]
        # a parameter of the net itself has no module's name
        near = [i for i, n in names.items() if (f"{n}.".startswith(f"{module}.") if module else "." not in n)]
        if near:
            shape = tuple(parameter.shape)
            layers[name] = min((names[i] != module, learned[i].weights != shape, i) for i in near)[2]
    return layers


def _rms(values: Tensor | None) -> float:
    return 0.0 if values is None else float(values.detach().norm()) / math.sqrt(values.numel())


def _norm(parts: Any) -> float:
    return math.hypot(*(float(part.detach().norm()) for part in parts if part is not None))


def draw_flow(flow: GradientFlow) -> Figure:
    """Draw activation and gradient of every stage, in order of computation from top to bottom; zeros are left out."""
    rows = range(len(flow.stages))
    figure, axes = new_figure(1, 2, height=1.0 + 0.24 * len(flow.stages))
    for axis, quantity, colour in zip(axes[0], ("activation", "gradient"), (ACCENT, WARM), strict=True):
        values = [getattr(stage, quantity) for stage in flow.stages]
        axis.plot([v if v > 0 else math.nan for v in values], rows, "o-", color=colour, markersize=5, linewidth=1)
        axis.set_yticks(rows, [stage.name for stage in flow.stages])
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_title(quantity, loc="left", fontsize=9)
        axis.set_xlabel("root mean square")
        set_log_ticks(axis.xaxis, values)
    axes[0, 1].tick_params(labelleft=False)
    return figure
