"""Whether the mask moves with the image: how much of it changes when the image moves by a few pixels.

A net that pools by s at d levels is sure to give the same answer only for moves by multiples of s^d pixels (its total
stride): anything else puts the pooling grid elsewhere on the objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..graph.cost import cost
from ..graph.graph import Graph, read
from ..nets.net import Net
from ..plotting.matplotlib_style import ACCENT, QUIET, WARM, new_figure, show_image
from .frequency.checkerboard import inner
from .inspection import Inspection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Shifts", "draw_shifts", "draw_where", "shift_changes", "shift_equivariance"]

_COMPARED = {2: 64, 3: 24}  # pixels along an axis that are compared, at least, where the image has them
_LEAST = 8  # compared pixels along an axis below which borders are let in instead
_MOST_S = 8.0  # of all moves together, estimated for one core
_SHIFTS = (tuple(range(1, 17)), (1, 2, 4, 8, 16), (1, 4, 16))  # the first that takes no longer
_MACS_PER_S, _S_PER_ELEMENT = 4e10, {2: 1.5e-9, 3: 1.3e-8}  # convolutions; all else that is done to maps
_LABELS = ("class changes, %", "probability, %")


@dataclass(frozen=True)
class Shifts:
    """What changes when the image moves and the mask is moved back.

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
        Mean over the compared pixels of the probability that goes to other classes (for two classes: the absolute
        change of the foreground's), 0 to 1.
    outline : float
        Share of the compared pixels beside which the unmoved mask has another class: what a change of one pixel in
        every outline would make, about.
    where : ndarray of shape (*spatial), float64
        For the pixels that all moves along the last of `axes` compare: share of those moves that change their class.
    place : tuple of slice
        Where those pixels are in the image.
    is_clear : bool
        Whether the compared pixels see no border of the moved window; else the image is too small for that, and a part
        of the change comes from the borders.
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


def shift_equivariance(subject: Inspection, *, shifts: Sequence[int] | None = None) -> Shifts:
    """Measure how much the mask of a subject's image changes when the image moves; see `shift_changes`.

    Parameters
    ----------
    subject : Subject
    shifts : sequence of int, optional
        In pixels. Default: 1 to 16, or a few of those where the net takes long, up to an eighth of the image.
    """
    if shifts is None:
        shifts = _chosen(subject)
    return shift_changes(subject.net, subject.image[0].numpy(), graph=subject.graph, shifts=shifts)


@torch.no_grad()
def shift_changes(
    net: nn.Module, image: np.ndarray, *, graph: Graph | None = None, shifts: Sequence[int] = _SHIFTS[0]
) -> Shifts:
    """Measure how much of a net's mask changes when the image moves.

    The image is moved by cropping windows out of it, along each of its last two axes, so no pixel is invented; only
    pixels are compared that have all they see within both windows, where the image is large enough for that.

    Parameters
    ----------
    net : Module
        In evaluation mode; gives a mask of the image's scale.
    image : ndarray of shape (C, *spatial)
        As the net is given images, of its dtype.
    graph : Graph, optional
        Of `graph.graph.read` for this net, where it is at hand.
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
    axes = _moving(image.ndim - 1)
    rows = [_Move(net, graph, image, axis=axis, longest=max(shifts)) for axis in axes]
    found = [[row.compare(s) for s in shifts] for row in rows]
    changed, probability = (np.array([[pair[k] for pair in row] for row in found]) for k in (0, 1))
    where, place = rows[-1].where(len(shifts))
    return Shifts(
        shifts,
        axes,
        tuple(geometry.stride[axis] for axis in axes),
        changed,
        probability,
        float(np.mean([row.outline() for row in rows])),
        where,
        place,
        all(row.is_clear for row in rows),
    )


def _chosen(subject: Inspection) -> tuple[int, ...]:
    """As many shifts as take a few seconds."""
    axes, longest = _moving(subject.ndim), max(_SHIFTS[0])
    found = cost(subject.graph, _window(subject.graph, subject.size, axes[-1], longest) or subject.size)
    each_s = found.macs / _MACS_PER_S + found.memory_bytes / 4 * _S_PER_ELEMENT[subject.ndim]
    rows = (row for row in _SHIFTS if len(axes) * (1 + len(row)) * each_s <= _MOST_S)
    most = max(1, min(subject.size[axis] for axis in axes) // 8)
    return tuple(s for s in next(rows, _SHIFTS[-1]) if s <= most)


def _moving(ndim: int) -> tuple[int, ...]:
    return tuple(range(ndim))[-2:]


def _window(graph: Graph, size: Sequence[int], axis: int, longest: int) -> tuple[int, ...] | None:
    """Size of the windows: as the net needs for some pixels to be clear of borders, or what the image has."""
    window = []
    for k, (one, n) in enumerate(zip(graph.geometry.axes, size, strict=True)):
        field = one.receptive_field()
        extra = longest if k == axis else 0
        wanted = one.above(max(field.left) + max(field.right) + _COMPARED[len(size)] + extra)
        room = n - extra
        found = wanted if wanted <= room else one.below(room)
        if found is None:
            return None
        window.append(found)
    return tuple(window)


def _margin(graph: Graph, window: Sequence[int]) -> tuple[int, ...]:
    """Pixels that the mask begins after the image; a mask as large as the image covers it."""
    rows = zip(window, graph.geometry.output_size(window), graph.geometry.margin, strict=True)
    return tuple(0 if have == n else before for n, have, (before, _) in rows)


class _Move:
    """Windows of an image, moved along one axis, through a net."""

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
                "and still compare; give a larger image or smaller shifts"
            )
        room = [have - (longest if k == axis else 0) for k, have in enumerate(size)]
        self.start = tuple((have - want) // 2 for have, want in zip(room, window, strict=True))
        self.window = window
        self.margin = _margin(graph, window)
        self.classes, self.shares = self._answer(0)
        self.flips: np.ndarray = np.zeros(self._kept(self.classes, 0, longest).shape)

    def _answer(self, shift: int) -> tuple[np.ndarray, np.ndarray]:
        """Classes (*spatial) and probabilities (K, *spatial) of the window that is moved by `shift`."""
        start = [a + shift * (k == self.axis) for k, a in enumerate(self.start)]
        part = self.image[(slice(None), *(slice(a, a + n) for a, n in zip(start, self.window, strict=True)))]
        logits: Tensor = self.net(torch.from_numpy(np.ascontiguousarray(part))[None])[0]
        one = torch.cat([torch.zeros_like(logits), logits]) if len(logits) == 1 else logits  # a sigmoid is a softmax
        return one.argmax(0).numpy(), one.softmax(0).numpy()

    def _kept(self, answer: np.ndarray, shift: int, most: int) -> np.ndarray:
        """What is compared of an answer (..., *spatial) of the window moved by `shift`, up to moves by `most`."""
        index: list[Any] = [slice(None)] * len(self.window)
        index[self.axis] = slice(self.compared.start + most - shift, self.compared.stop - shift)
        kept: np.ndarray = answer[(..., *index)]
        return kept

    def compare(self, shift: int) -> tuple[float, float]:
        """Shares of the pixels whose class changes, and of the probability that does."""
        classes, shares = self._answer(shift)
        differs = self._kept(self.classes, 0, shift) != self._kept(classes, shift, shift)
        moved = np.abs(self._kept(self.shares, 0, shift) - self._kept(shares, shift, shift)).sum(0) / 2
        self.flips += self._kept(self.classes, 0, self.longest) != self._kept(classes, shift, self.longest)
        return float(differs.mean()), float(moved.mean(dtype=np.float64))

    def outline(self) -> float:
        """Share of pixels beside another class."""
        kept = self._kept(self.classes, 0, 0)
        beside = np.zeros(kept.shape, dtype=bool)
        for axis in range(kept.ndim):
            rows, edges = np.moveaxis(kept, axis, 0), np.moveaxis(beside, axis, 0)
            steps = rows[1:] != rows[:-1]
            edges[1:] |= steps
            edges[:-1] |= steps
        return float(beside.mean())

    def where(self, moves: int) -> tuple[np.ndarray, tuple[slice, ...]]:
        """Per pixel the share of the moves that changed its class, and where those pixels are in the image."""
        first = [0] * len(self.window)
        first[self.axis] = self.compared.start + self.longest
        corner = [a + m + b for a, m, b in zip(self.start, self.margin, first, strict=True)]
        place = tuple(slice(a, a + n) for a, n in zip(corner, self.flips.shape, strict=True))
        return self.flips / moves, place


def draw_shifts(found: Shifts) -> Figure:
    """Share of pixels that change class, and mean change of probability, over the shift; dotted: total strides."""
    figure, axes = new_figure(2, 1, height=4.0)
    names = dict(zip(found.axes, ("y", "x")[-len(found.axes) :], strict=True))
    for axis, rows, label in zip(axes[:, 0], (found.changed, found.probability), _LABELS, strict=True):
        for k, row, stride, colour in zip(found.axes, rows, found.strides, (WARM, ACCENT), strict=False):
            axis.plot(
                found.shifts, 100 * row, "o-", color=colour, linewidth=1.4, markersize=4, label=f"along {names[k]}"
            )
            for multiple in range(stride, max(found.shifts) + 1, stride) if stride > 1 else ():
                axis.axvline(multiple, color=QUIET, linewidth=0.8, linestyle=(0, (1, 2)))
        axis.set_ylim(0, max(float(100 * rows.max()) * 1.12, 0.01))
        axis.set_ylabel(label)
    ticks = found.shifts if len(found.shifts) < 9 else range(2, max(found.shifts) + 1, 2)
    for axis in axes[:, 0]:
        axis.set_xticks(list(ticks))
    axes[1, 0].set_xlabel("image moved by, px")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False, fontsize=8)
    return figure


def draw_where(found: Shifts, image: np.ndarray) -> Figure:
    """The compared pixels of an image (C, *spatial), and how often each changes its class, where most do.

    Of a volume the plane with most changes; of both a square around their centre.
    """
    part, where = image[(slice(None), *found.place)].mean(0), found.where
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
    figure.colorbar(shown, ax=axes[0, 1], location="bottom", label="% of the moves", shrink=0.9)
    return figure
