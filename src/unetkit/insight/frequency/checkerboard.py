"""What a net says of an image that is the same everywhere: its own pattern, made by sampling down and up."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from math import floor, lcm
from operator import mul
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...geometry import Axis
from ...graph.cost import cost
from ...plotting.matplotlib_style import new_figure, show_image
from ..inspection import Inspection
from .spectra import Checkerboard, checkerboard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Pattern", "constant_answer", "draw_pattern", "inner"]

_MOST_CONSTANT_MACS = 6 * 10**10


@dataclass(frozen=True)
class Pattern:
    """The answer of a net to an image that is the same everywhere, away from the borders.

    Attributes
    ----------
    logits : ndarray of shape (K, *spatial), float32
        Without the mean over the channels where there are several, which no softmax sees.
    board : Checkerboard
        Of the logits.
    is_clear : bool
        Whether no border is seen; else all but exact repetition (`board`) may be its doing.
    """

    logits: np.ndarray
    board: Checkerboard
    is_clear: bool


def inner(axis: Axis, n: int) -> range:
    """The outputs of an image of `n` pixels that see none of its borders, along one axis; all, where nothing is padded.

    Examples
    --------
    >>> from torch import nn
    >>> from unetkit.nets.graph import read
    >>> net = nn.Sequential(nn.Conv2d(1, 1, 5, padding=2), nn.Conv2d(1, 1, 3, padding=1))
    >>> inner(read(net).geometry.axes[0], 16)
    range(3, 13)
    """
    field, (step, centre) = axis.receptive_field(), axis.places[-1]
    sides = list(zip(field.left, field.right, strict=True))
    places = [(floor(centre + o * step), *sides[o % len(sides)]) for o in range(axis.output_size(n))]
    clear = [o for o, (at, left, right) in enumerate(places) if at >= left and at + right < n]
    return range(clear[0], clear[-1] + 1) if clear else range(0)


@torch.no_grad()
def constant_answer(subject: Inspection) -> Pattern | None:
    """Give a net an image of one value, the mean of the subject's, and look at its answer away from the borders.

    A net that treats all places alike gives one value, too: what varies is its own pattern, which repeats with its
    total stride. None for a net that never changes the scale, or if the image is smaller than the total stride.
    """
    axes = subject.graph.geometry.axes
    stride = lcm(*(axis.stride for axis in axes))
    size = tuple(_constant_size(axis) for axis in axes)
    is_clear = cost(subject.graph, size).macs <= _MOST_CONSTANT_MACS
    size = size if is_clear else subject.size
    blocks = [_block(axis, n, is_clear) for axis, n in zip(axes, size, strict=True)]
    if stride == 1 or any(len(block) == 0 for block in blocks):
        return None
    mean = subject.image.mean(dim=tuple(range(2, subject.image.ndim)), keepdim=True)
    logits: Tensor = subject.net(mean.expand(1, -1, *size).contiguous())[0]
    logits = logits - logits.mean(0) if len(logits) > 1 else logits
    array = logits[(slice(None), *(slice(block.start, block.stop) for block in blocks))].numpy()
    repeated = np.tile(array, (1, *(stride // axis.stride for axis in axes)))  # all axes as long as the longest period
    return Pattern(array, checkerboard(repeated, ndim=subject.ndim, periods=_periods(stride)), is_clear)


def _periods(stride: int) -> tuple[int, ...]:
    """2, 4, 8, 16 for 16; in general every further prime factor makes the next period."""
    factors = []
    for p in range(2, stride + 1):
        while stride % p == 0:
            factors.append(p)
            stride //= p
    return tuple(accumulate(factors, mul))


def _constant_size(axis: Axis) -> int:
    """The smallest image with at least one total stride of outputs that see no border."""
    field = axis.receptive_field()
    n = axis.above(max(field.left) + max(field.right) + axis.stride)
    while len(inner(axis, n)) < axis.stride:
        n = axis.above(n + 1)
    return n


def _block(axis: Axis, n: int, is_clear: bool) -> range:
    """Outputs in the middle: one total stride of them, or as many as lie in the half that borders reach least."""
    outputs = inner(axis, n) if is_clear else range(axis.output_size(n))
    most = axis.stride if is_clear else len(outputs) // 2
    length = max(most - most % axis.stride, axis.stride) if len(outputs) >= axis.stride else 0
    start = outputs.start + (len(outputs) - length) // 2
    return range(start, start + length)


def draw_pattern(found: Pattern) -> Figure:
    """The pattern of the first class that is not background, four times side by side; the middle plane of 3D."""
    plane = found.logits[min(1, len(found.logits) - 1)]
    picture = np.tile(plane[tuple(n // 2 for n in plane.shape[:-2])], (2, 2))
    figure, axes = new_figure(height=3.0)
    shown = show_image(axes[0, 0], picture, cmap="gray")
    figure.colorbar(shown, ax=axes[0, 0], label="logit")
    return figure
