"""The response of a net to a constant image: checkerboard artefacts of its down- and up-sampling."""

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
from .spectra import PeriodicEnergy, periodic_energy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CheckerboardArtefact", "constant_response", "draw_artefact", "inner"]

_MOST_CONSTANT_MACS = 6 * 10**10


@dataclass(frozen=True)
class CheckerboardArtefact:
    """The response of a net to a constant image, away from the borders.

    Attributes
    ----------
    logits : ndarray of shape (K, *spatial), float32
        Without the mean over the channels if there are several, which no softmax depends on.
    periodic : PeriodicEnergy
        Of the logits.
    is_clear : bool
        True if no border has an influence; else borders may cause all but the exact repetition (`periodic`).
    """

    logits: np.ndarray
    periodic: PeriodicEnergy
    is_clear: bool


def inner(axis: Axis, n: int) -> range:
    """The outputs of an image of `n` pixels whose receptive field holds no border, along one axis; all without padding.

    Examples
    --------
    >>> from torch import nn
    >>> from unetkit.graph.read import read
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
def constant_response(inspection: Inspection) -> CheckerboardArtefact | None:
    """Run a net on a constant image, the mean of the inspected one, and measure its response away from the borders.

    A shift-equivariant net gives a constant, too: any variation is an artefact of the net, which repeats with its total
    stride. None for a net that never changes the scale, or if the image is smaller than the total stride.
    """
    axes = inspection.graph.geometry.axes
    stride = lcm(*(axis.stride for axis in axes))
    size = tuple(_constant_size(axis) for axis in axes)
    is_clear = cost(inspection.graph, size).macs <= _MOST_CONSTANT_MACS
    size = size if is_clear else inspection.size
    blocks = [_block(axis, n, is_clear) for axis, n in zip(axes, size, strict=True)]
    if stride == 1 or any(len(block) == 0 for block in blocks):
        return None
    mean = inspection.image.mean(dim=tuple(range(2, inspection.image.ndim)), keepdim=True)
    logits: Tensor = inspection.net(mean.expand(1, -1, *size).contiguous())[0]
    logits = logits - logits.mean(0) if len(logits) > 1 else logits
    array = logits[(slice(None), *(slice(block.start, block.stop) for block in blocks))].numpy()
    repeated = np.tile(array, (1, *(stride // axis.stride for axis in axes)))  # all axes as long as the longest period
    return CheckerboardArtefact(
        array, periodic_energy(repeated, ndim=inspection.ndim, periods=_periods(stride)), is_clear
    )


def _periods(stride: int) -> tuple[int, ...]:
    """2, 4, 8, 16 for 16; in general every further prime factor gives the next period."""
    factors = []
    for p in range(2, stride + 1):
        while stride % p == 0:
            factors.append(p)
            stride //= p
    return tuple(accumulate(factors, mul))


def _constant_size(axis: Axis) -> int:
    """The smallest image with at least one total stride of outputs away from the borders."""
    field = axis.receptive_field()
    n = axis.above(max(field.left) + max(field.right) + axis.stride)
    while len(inner(axis, n)) < axis.stride:
        n = axis.above(n + 1)
    return n


def _block(axis: Axis, n: int, is_clear: bool) -> range:
    """Outputs in the middle: one total stride of them, or the middle half, where borders have least influence."""
    outputs = inner(axis, n) if is_clear else range(axis.output_size(n))
    most = axis.stride if is_clear else len(outputs) // 2
    length = max(most - most % axis.stride, axis.stride) if len(outputs) >= axis.stride else 0
    start = outputs.start + (len(outputs) - length) // 2
    return range(start, start + length)


def draw_artefact(artefact: CheckerboardArtefact) -> Figure:
    """Draw the artefact in the first class that is not background, four times side by side; in 3D the middle plane."""
    plane = artefact.logits[min(1, len(artefact.logits) - 1)]
    picture = np.tile(plane[tuple(n // 2 for n in plane.shape[:-2])], (2, 2))
    figure, axes = new_figure(height=3.0)
    shown = show_image(axes[0, 0], picture, cmap="gray")
    figure.colorbar(shown, ax=axes[0, 0], label="logit")
    return figure
