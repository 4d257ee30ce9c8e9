"""Shift equivariance: changes of the mask when the image moves by a few pixels.

A net that pools by s at d levels is guaranteed to give the same output only for shifts by multiples of s^d pixels (its
total stride): other shifts change the position of the pooling grid on the objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..graph.cost import cost
from ..graph.graph import Graph
from ..graph.read import read
from ..nets.net import Net
from ..plotting.matplotlib_style import new_figure, show_image
from ..plotting.palette import ACCENT, QUIET, WARM
from .frequency.checkerboard import inner
from .inspection import Inspection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Shifts", "draw_shifts", "draw_where", "shift_changes", "shift_equivariance"]

_COMPARED = {2: 64, 3: 24}  # pixels along an axis that are compared, at least, if the image is large enough
_LEAST = 8  # compared pixels along an axis; with fewer, pixels with borders in their field are compared as well
_MOST_S = 8.0  # for all shifts together, estimated for one core
_SHIFTS = (tuple(range(1, 17)), (1, 2, 4, 8, 16), (1, 4, 16))  # the first that takes no longer
_MACS_PER_S, _S_PER_ELEMENT = 4e10, {2: 1.5e-9, 3: 1.3e-8}  # convolutions; all other operations on maps
_LABELS = ("class changes, %", "probability, %")


@dataclass(frozen=True)
class Shifts:
    """Changes of the mask when the image moves and the mask is moved back.

    Attributes
    ----------
    shifts : tuple of int
        In pixels.
    axes : tuple of int
        Spatial axes along which the image moved.
    strides : tuple of int
        The net's total stride along those.
    changed : ndarray of shape (axes, shifts), float64
        Share of the compared pixels whose class changes, 0 to 1.
    probability : ndarray of shape (axes, shifts), float64
        Mean over the compared pixels of the probability that moves to other classes (for two classes: the absolute
        change of the foreground's), 0 to 1.
    outline : float
        Share of the compared pixels next to another class in the unmoved mask: about the change if every outline moved
        by one pixel.
    where : ndarray of shape (*spatial), float64
        For the pixels that are compared for all shifts along the last of `axes`: share of the shifts that change their
        class.
    place : tuple of slice
        Position of those pixels in the image.
    is_clear : bool
        True if no compared pixel has a border of the moved window in its receptive field; else the image is too small
        for that, and a part of the change comes from the borders.
    """

    shifts: tuple[int, ...]
    axes: tuple[int, ...]
    strides: tuple[int, ...]
    changed: np.ndarray
    probability: np.ndarray
    outline: float
    where: np.ndarray
    place: tuple[slice, ...]
    is_clear: bool


def shift_equivariance(inspection: Inspection, *, shifts: Sequence[int] | None = None) -> Shifts:
    """Measure the changes of an inspected image's mask when the image moves; see `shift_changes`.

    Parameters
    ----------
    inspection : Inspection
    shifts : sequence of int, optional
        In pixels. Default: 1 to 16, or a few of those if the net takes long, up to an eighth of the image.
    """
    if shifts is None:
        axes, longest = _shifted_axes(inspection.ndim), max(_SHIFTS[0])
        window = _window(inspection.graph, inspection.size, axes[-1], longest)
        one_run = cost(inspection.graph, window or inspection.size)
        run_s = one_run.macs / _MACS_PER_S + one_run.memory_bytes / 4 * _S_PER_ELEMENT[inspection.ndim]
        affordable = (row for row in _SHIFTS if len(axes) * (1 + len(row)) * run_s <= _MOST_S)
        most = max(1, min(inspection.size[axis] for axis in axes) // 8)
        shifts = [shift for shift in next(affordable, _SHIFTS[-1]) if shift <= most]
    return shift_changes(inspection.net, inspection.image[0].numpy(), graph=inspection.graph, shifts=shifts)


@torch.no_grad()
def shift_changes(
    net: nn.Module, image: np.ndarray, *, graph: Graph | None = None, shifts: Sequence[int] = _SHIFTS[0]
) -> Shifts:
    """Measure the changes of a net's mask when the image moves.

    The image is moved by cropping windows from it, along each of its last two axes, so no pixel is invented; only
    pixels with their whole receptive field within both windows are compared, if the image is large enough.

    Parameters
    ----------
    net : Module
        In evaluation mode; gives a mask of the image's scale.
    image : ndarray of shape (C, *spatial)
        As the net takes it, of its dtype.
    graph : Graph, optional
        Of `graph.read.read` for this net, if it is at hand.
    shifts : sequence of int
        Pixels, at least 1.

    Raises
    ------
    ValueError
        If a shift is below 1, the image is too small to be moved that far, or the mask has another scale.

    References
    ----------
    .. [1] Azulay, Weiss, Why do deep convolutional networks generalize so poorly to small image transformations?,
       JMLR 20, 2019
    .. [2] Rumberger et al., How Shift Equivariance Impacts Metric Learning for Instance Segmentation, ICCV 2021,
       arXiv:2101.05846
    """
    graph = graph or (net.graph if isinstance(net, Net) else read(net))
    shifts, geometry = tuple(shifts), graph.geometry
    if not shifts or min(shifts) < 1:
        raise ValueError(f"shifts are {shifts}; expected whole numbers of pixels, at least 1")
    if set(geometry.scale) != {1}:
        scale = " x ".join(map(str, geometry.scale))
        raise ValueError(f"the net's mask has one pixel per {scale} of the image: shifts need a mask of its scale")
    axes = _shifted_axes(image.ndim - 1)
    windows = [_ShiftedWindow(net, graph, image, axis=axis, longest=max(shifts)) for axis in axes]
    pairs = [[window.compare(s) for s in shifts] for window in windows]
    changed, probability = (np.array([[pair[k] for pair in row] for row in pairs]) for k in (0, 1))
    where, place = windows[-1].where(len(shifts))
    return Shifts(
        shifts,
        axes,
        tuple(geometry.stride[axis] for axis in axes),
        changed,
        probability,
        float(np.mean([window.outline() for window in windows])),
        where,
        place,
        all(window.is_clear for window in windows),
    )


def _shifted_axes(ndim: int) -> tuple[int, ...]:
    return tuple(range(ndim))[-2:]


def _window(graph: Graph, size: Sequence[int], axis: int, longest: int) -> tuple[int, ...] | None:
    """Size of the windows: large enough for some pixels without borders in their field, or as the image allows."""
    window = []
    for k, (geometry, n) in enumerate(zip(graph.geometry.axes, size, strict=True)):
        field = geometry.receptive_field()
        extra = longest if k == axis else 0
        needed = geometry.above(max(field.left) + max(field.right) + _COMPARED[len(size)] + extra)
        length = needed if needed <= n - extra else geometry.below(n - extra)
        if length is None:
            return None
        window.append(length)
    return tuple(window)


class _ShiftedWindow:
    """Outputs of a net for windows of an image, moved along one axis."""

    def __init__(self, net: nn.Module, graph: Graph, image: np.ndarray, *, axis: int, longest: int) -> None:
        self.net, self.image, self.axis, self.longest = net, image, axis, longest
        size = tuple(image.shape[1:])
        window = _window(graph, size, axis, longest)
        n = 0 if window is None else window[axis]
        clear = inner(graph.geometry.axes[axis], n) if window else range(0)
        self.is_clear = len(clear) >= longest + _LEAST
        outputs = graph.geometry.axes[axis].output_size(n) if window else 0
        self.compared = clear if self.is_clear else range(outputs // 4, outputs - outputs // 4)
        if window is None or len(self.compared) <= longest:
            raise ValueError(
                f"the image has {' x '.join(map(str, size))} pixels: too few along axis {axis} to move by {longest} "
                "and still compare; use a larger image or smaller shifts"
            )
        free = [n - (longest if k == axis else 0) for k, n in enumerate(size)]
        self.start = tuple((n - m) // 2 for n, m in zip(free, window, strict=True))
        self.window = window
        # pixels by which the mask starts after the image; a mask as large as the image covers it
        sizes = zip(window, graph.geometry.output_size(window), graph.geometry.margin, strict=True)
        self.margin = tuple(0 if m == n else before for n, m, (before, _) in sizes)
        self.classes, self.shares = self._predict(0)
        self.flips: np.ndarray = np.zeros(self._kept(self.classes, 0, longest).shape)

    def _predict(self, shift: int) -> tuple[np.ndarray, np.ndarray]:
        """Classes (*spatial) and probabilities (K, *spatial) of the window that is moved by `shift`."""
        start = [a + shift * (k == self.axis) for k, a in enumerate(self.start)]
        part = self.image[(slice(None), *(slice(a, a + n) for a, n in zip(start, self.window, strict=True)))]
        logits: Tensor = self.net(torch.from_numpy(np.ascontiguousarray(part))[None])[0]
        if len(logits) == 1:
            logits = torch.cat([torch.zeros_like(logits), logits])  # a sigmoid is a softmax with 0
        return logits.argmax(0).numpy(), logits.softmax(0).numpy()

    def _kept(self, output: np.ndarray, shift: int, most: int) -> np.ndarray:
        """The compared pixels of an output (..., *spatial) for the window moved by `shift`, for shifts up to `most`."""
        index: list[Any] = [slice(None)] * len(self.window)
        index[self.axis] = slice(self.compared.start + most - shift, self.compared.stop - shift)
        kept: np.ndarray = output[(..., *index)]
        return kept

    def compare(self, shift: int) -> tuple[float, float]:
        """Share of the pixels whose class changes, and mean change of the probability."""
        classes, shares = self._predict(shift)
        differs = self._kept(self.classes, 0, shift) != self._kept(classes, shift, shift)
        moved = np.abs(self._kept(self.shares, 0, shift) - self._kept(shares, shift, shift)).sum(0) / 2
        self.flips += self._kept(self.classes, 0, self.longest) != self._kept(classes, shift, self.longest)
        return float(differs.mean()), float(moved.mean(dtype=np.float64))

    def outline(self) -> float:
        """Share of pixels next to another class."""
        kept = self._kept(self.classes, 0, 0)
        is_outline = np.zeros(kept.shape, dtype=bool)
        for axis in range(kept.ndim):
            rows, edges = np.moveaxis(kept, axis, 0), np.moveaxis(is_outline, axis, 0)
            steps = rows[1:] != rows[:-1]
            edges[1:] |= steps
            edges[:-1] |= steps
        return float(is_outline.mean())

    def where(self, n_shifts: int) -> tuple[np.ndarray, tuple[slice, ...]]:
        """Share of the shifts that changed the class of each pixel, and position of those pixels in the image."""
        first = [0] * len(self.window)
        first[self.axis] = self.compared.start + self.longest
        corner = [a + m + b for a, m, b in zip(self.start, self.margin, first, strict=True)]
        place = tuple(slice(a, a + n) for a, n in zip(corner, self.flips.shape, strict=True))
        return self.flips / n_shifts, place


def draw_shifts(shifts: Shifts) -> Figure:
    """Draw the share of pixels that change class and the mean change of probability; dotted: total strides."""
    figure, axes = new_figure(2, 1, height=4.0)
    names = dict(zip(shifts.axes, ("y", "x")[-len(shifts.axes) :], strict=True))
    for axis, rows, label in zip(axes[:, 0], (shifts.changed, shifts.probability), _LABELS, strict=True):
        for k, row, stride, colour in zip(shifts.axes, rows, shifts.strides, (WARM, ACCENT), strict=False):
            axis.plot(
                shifts.shifts, 100 * row, "o-", color=colour, linewidth=1.4, markersize=4, label=f"along {names[k]}"
            )
            for multiple in range(stride, max(shifts.shifts) + 1, stride) if stride > 1 else ():
                axis.axvline(multiple, color=QUIET, linewidth=0.8, linestyle=(0, (1, 2)))
        axis.set_ylim(0, max(float(100 * rows.max()) * 1.12, 0.01))
        axis.set_ylabel(label)
    ticks = shifts.shifts if len(shifts.shifts) < 9 else range(2, max(shifts.shifts) + 1, 2)
    for axis in axes[:, 0]:
        axis.set_xticks(list(ticks))
    axes[1, 0].set_xlabel("image moved by, px")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def draw_where(shifts: Shifts, image: np.ndarray) -> Figure:
    """Draw the compared pixels of an image (C, *spatial), and how often each changes its class.

    A square around the centre of the changes; of a volume in the plane with most of them.
    """
    part, where = image[(slice(None), *shifts.place)].mean(0), shifts.where
    while where.ndim > 2:
        plane = int(where.reshape(len(where), -1).sum(axis=1).argmax())
        part, where = part[plane], where[plane]
    side, cut = min(where.shape), []
    for k, n in enumerate(where.shape):
        weights = where.sum(axis=1 - k)
        centre = np.average(np.arange(n), weights=weights) if weights.any() else n / 2
        start = min(max(round(float(centre) - side / 2), 0), n - side)
        cut.append(slice(start, start + side))
    figure, axes = new_figure(1, 2, height=2.9)
    show_image(axes[0, 0], part[cut[0], cut[1]], title="image", cmap="gray")
    shares = 100 * where[cut[0], cut[1]]
    shown = show_image(axes[0, 1], shares, title="class changes", cmap="inferno", vmin=0, vmax=100)
    figure.colorbar(shown, ax=axes[0, 1], location="bottom", label="% of the shifts", shrink=0.9)
    return figure
