"""Gradients and updates of each part of a net, for the log: whether all of it trains, and at a sensible rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .state import Training

__all__ = ["LayerUpdate", "adamw_update", "update_ratios"]


@dataclass(frozen=True)
class LayerUpdate:
    """The last step of a part of a net.

    Attributes
    ----------
    gradient : float
        Norm of the loss's gradient by its weights, before clipping.
    weight : float
        Norm of its weights.
    update : float
        Norm of what the step subtracted from the weights.
    """

    gradient: float
    weight: float
    update: float

    @property
    def ratio(self) -> float:
        """The update as a share of the weights; nan where all weights are 0."""
        return self.update / self.weight if self.weight else math.nan


@torch.no_grad()
def update_ratios(training: Training) -> dict[str, LayerUpdate]:
    """The last step of each part of the net, computed from the state that it left; nothing is changed.

    A part is the name of a parameter up to its first number: "encoder.blocks.0", "decoder.1", "nodes.0_1", "heads.0".
    Without a step since the start or since a resume there are no gradients, and {} is returned.
    """
    unclipped = max(1.0, (training.gradient_norm + 1e-6) / training.plan.optim.clip_norm)  # as clip_grad_norm_ divided
    names = {parameter: _part_name(name) for name, parameter in training.net.named_parameters()}
    squares: dict[str, list[float]] = {}
    for group in training.optimiser.param_groups:
        for p in group["params"]:
            state = training.optimiser.state.get(p)  # not by [p], which would make an entry
            if p in names and p.grad is not None and state:
                norms = p.grad.norm() * unclipped, p.norm(), adamw_update(p, group, state).norm()
                sums = squares.setdefault(names[p], [0.0] * 3)
                squares[names[p]] = [a + float(b) ** 2 for a, b in zip(sums, norms, strict=True)]
    order = dict.fromkeys(name for name in names.values() if name in squares)
    return {name: LayerUpdate(*map(math.sqrt, squares[name])) for name in order}


def _part_name(parameter: str) -> str:
    """The name up to its first number; without one, that of the module."""
    words = parameter.split(".")
    numbers = (i for i, word in enumerate(words) if word.replace("_", "").isdigit())
    return ".".join(words[: next(numbers, len(words) - 2) + 1])


def adamw_update(weights: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]) -> Tensor:
    """The last update of AdamW: the weights before its step, minus the weights now.

    Of Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101, algorithm 2, lines 9 to 12. Subtracting stored weights
    would leave few digits of a small difference; the moments that the step left give all of them.

    Parameters
    ----------
    weights : Tensor
        After the step.
    group, state : mapping
        Of `torch.optim.AdamW`: the weights' group, with the rate of that step, and their own state.

    Returns
    -------
    Tensor of the weights' shape
    """
    (beta1, beta2), step = group["betas"], float(state["step"])
    mean, square = state["exp_avg"] / (1 - beta1**step), state["exp_avg_sq"] / (1 - beta2**step)
    moved: Tensor = group["lr"] * mean / (square.sqrt() + group["eps"])
    decay = group["lr"] * group["weight_decay"]
    return moved + decay * (weights + moved) / (1 - decay)  # decay is of the weights before the step
