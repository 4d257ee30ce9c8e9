"""The full state of a training on disk, for a resume that gives the same net to the last bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor
from typing_extensions import TypedDict  # of typing, from 3.12 on, as pydantic needs it

from ..model.files import read_tensors, write_tensors

__all__ = ["Numbers", "flatten_optimiser", "load_state", "numbers_of", "restore_optimiser", "save_state"]


class Numbers(TypedDict, total=False):
    """What a state holds beside its tensors: of the last step, the best validation Dice, and the loss of every step."""

    step: int
    elapsed_s: float
    best: float
    losses: list[float]


_NUMBERS = TypeAdapter(Numbers)


def save_state(path: Path, tensors: Mapping[str, Tensor], numbers: Numbers) -> None:
    """Write the full state of a training, all or nothing."""
    write_tensors(path, tensors, json.dumps(numbers))


def load_state(path: Path) -> tuple[dict[str, Tensor], Numbers]:
    """Read the tensors and numbers of `save_state`.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    tensors, values = read_tensors(path)
    try:
        numbers = numbers_of(values)
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    if missing := Numbers.__annotations__.keys() - numbers.keys():
        raise ValueError(f"{path}: cannot be read: {', '.join(sorted(missing))} missing")
    return tensors, numbers


def numbers_of(values: object) -> Numbers:
    """Check that numbers of a file are those of a state; ValueError, in a line, where they are not."""
    try:
        return _NUMBERS.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(": ".join([".".join(map(str, first["loc"])), first["msg"]])) from None


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
