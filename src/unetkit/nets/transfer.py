"""Copy weights to a net of the same architecture whose images have other channels or other classes."""

from __future__ import annotations

import torch
from torch import Tensor

from .net import Net

__all__ = ["copy_weights"]


@torch.no_grad()
def copy_weights(source: Net, target: Net) -> list[str]:
    """Copy all weights that fit, in place; first convolutions are fitted to other channels, new heads stay fresh.

    Parameters
    ----------
    source, target : Net
        Of one architecture but for `in_channels` and `out_channels`.

    Returns
    -------
    list of str
        A line for each kind of weights that was not simply copied.

    Raises
    ------
    ValueError
        If other weights differ in shape, or one net has some that the other lacks.
    """
    theirs, own = source.state_dict(), target.state_dict()
    if theirs.keys() != own.keys():
        odd = sorted(theirs.keys() ^ own.keys())
        raise ValueError(f"the nets differ in {len(odd)} weights, the first is {odd[0]}: expected one architecture")
    before, now = source.in_channels, target.in_channels
    fitted, fresh = [], []
    for name, weight in own.items():
        value = theirs[name]
        if value.shape == weight.shape:
            weight.copy_(value)
        elif _is_of(value, before, 1) and _is_of(weight, now, 1) and value.shape[0] == weight.shape[0]:
            weight.copy_(_of_channels(value, now))
            fitted.append(name)
        elif _is_of(value, source.out_channels, 0) and _is_of(weight, target.out_channels, 0):
            fresh.append(name)
        else:
            raise ValueError(f"{name} is {tuple(value.shape)} there and {tuple(weight.shape)} here")
    lines = [f"channels {before} to {now}: {', '.join(fitted)} fitted"] if fitted else []
    if fresh:
        lines.append(f"classes {source.out_channels} to {target.out_channels}: {', '.join(fresh)} start fresh")
    return lines


def _is_of(weight: Tensor, n: int, axis: int) -> bool:
    return weight.ndim > axis and weight.shape[axis] == n


def _of_channels(weight: Tensor, n: int) -> Tensor:
    """For `n` input channels, which get the old ones in turn; scaled so that maps keep their size."""
    before = weight.shape[1]
    turns = torch.arange(n) % before if n > 1 else torch.arange(before)
    kept = weight[:, turns]
    return kept.sum(1, keepdim=True) if n == 1 else kept * (before / n)
