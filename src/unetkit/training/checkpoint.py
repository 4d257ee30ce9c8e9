"""The full state of a training on disk, for a resume that gives the same net to the last bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, cast

import torch
from torch import Tensor

from ..model.files import read_tensors, write_tensors

__all__ = ["Numbers", "flatten_optimiser", "load_state", "restore_optimiser", "save_state"]


class Numbers(TypedDict, total=False):
    """What a state holds beside its tensors: of the last step, the best validation Dice, and the loss of every step."""

    step: int
    elapsed_s: float
    best: float
    losses: list[float]


def save_state(path: Path, tensors: Mapping[str, Tensor], numbers: Numbers) -> None:
    """Write the full state of a training, all or nothing."""
    write_tensors(path, tensors, json.dumps(numbers))


def load_state(path: Path) -> tuple[dict[str, Tensor], Numbers]:
    """Read the tensors and numbers of `save_state`."""
    tensors, numbers = read_tensors(path)
    return tensors, cast(Numbers, numbers)


def flatten_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of an optimiser as named tensors; `restore_optimiser` puts them back."""
    states = optimiser.state_dict()["state"]
    return {f"optimiser.{i}.{key}": value for i, state in states.items() for key, value in state.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put the tensors of `flatten_optimiser` back into a fresh optimiser."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, i, key = name.split(".", 2)
            state.setdefault(int(i), {})[key] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
