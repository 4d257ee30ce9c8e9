"""What sampling down does to fine detail: what it loses, and what it folds (aliases) into false coarse waves.

Every sampling-down is something computed at each pixel (a maximum, a mean, a convolution), of which only each s-th
value is kept. What of the former is finer than the coarse grid holds does not vanish with the values that are left
out: it shows up as a coarse wave that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from math import pi, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ...graph.graph import Graph
from ...graph.hooks import Edge, run_with_hooks
from ...graph.roles import Role
from ...graph.stages import Arrow, structure
from ...nets.layers import MAX_POOL
from ...nets.sampling import BlurPool
from ...plotting.matplotlib_style import COLOURS, INK, LINE, new_figure
from ..inspection import Inspection
from .spectra import Spectrum, radial_spectrum, share_above

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Folded", "Folding", "detail_share", "draw_folding", "draw_gratings", "folded_energy", "folded_share"]
__all__ += ["folding", "low_passed", "poolings"]

Pool = Callable[[Tensor], Tensor]
_AVERAGE: dict[int, Any] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
_LONG, _SHORT = 128, 16  # a grating, along its axis and across
_PHASES = 16
_MOST = {2: 256, 3: 64}  # elements per axis of a map that are looked at: more cost time and say the same


@dataclass(frozen=True)
class Folding:
    """A sampling-down of a net, on an image.

    Attributes
    ----------
    stage : str
        Whose map it reads.
    strides : tuple of int
        Per axis.
    channels : int
    size : tuple of int
        Of the map that it reads, in elements.
    has_skip : bool
        Whether a skip leaves that stage, too.
    spacing : tuple of float
        Pixels of the image per element of that map.
    spectrum : Spectrum
        Of that map, in cycles per pixel of the image.
    folded : float
        See `folded_share`, of the net's own layer.
    detail : float
        See `detail_share`, of the net's own layer.
    others : dict
        `folded_share` of other poolings on the same map, by their names in `poolings`. All shares are those of the
        middle of a map with more than 256 elements per axis (3D: 64).
    """

    stage: str
    strides: tuple[int, ...]
    channels: int
    size: tuple[int, ...]
    has_skip: bool
    spacing: tuple[float, ...]
    spectrum: Spectrum
    folded: float
    detail: float
    others: dict[str, float]

    @property
    def above(self) -> float:
        """Share of the map's energy which the coarse grid cannot hold: all that plain striding would fold."""
        return self.others["plain striding"]

    @property
    def limit(self) -> float:
        """The lowest frequency that the coarse grid cannot hold along some axis, in cycles per pixel of the image."""
        return min(1 / (2 * s * d) for s, d in zip(self.strides, self.spacing, strict=True) if s > 1)


@dataclass(frozen=True)
class Folded:
    """What a pooling makes of gratings.

    Attributes
    ----------
    frequencies : ndarray of shape (F,)
        Of the gratings, in cycles per pixel.
    appear_at : ndarray of shape (F,)
        Where what is left of each has its frequency afterwards, in cycles per pixel of the fine grid.
    energy : ndarray of shape (F,)
        Variance of what comes out over that of what went in.
    """

    frequencies: np.ndarray
    appear_at: np.ndarray
    energy: np.ndarray


def poolings(strides: Sequence[int], *, channels: int) -> dict[str, Pool]:
    """The usual ways to sample down without learning, by name: maps (N, channels, *spatial) to coarser ones."""
    strides, ndim = tuple(strides), len(strides)
    every = (..., *(slice(None, None, s) for s in strides))
    return {
        "plain striding": lambda x: x[every],
        "max pooling": MAX_POOL[ndim](strides),
        "average pooling": _AVERAGE[ndim](strides),
        "blur pooling": BlurPool(channels, strides),
    }


def low_passed(x: Tensor, strides: Sequence[int]) -> Tensor:
    """Remove exactly what a grid of every s-th element cannot hold: an ideal low-pass at 1/(2 s) per axis.

    The map is continued by its mirror image (cosine transform), so that its borders make no false detail.

    Parameters
    ----------
    x : Tensor of shape (N, C, *spatial)
    strides : sequence of int
        s per axis; 1 leaves an axis alone.
    """
    for axis, (n, s) in enumerate(zip(x.shape[2:], strides, strict=True), start=2):
        if s > 1:
            waves = torch.arange(-(-n // s), dtype=torch.float64)[:, None]  # of k/(2 n) cycles per element: k < n/s
            basis = torch.cos(pi / n * waves * (torch.arange(n) + 0.5)) * sqrt(2 / n)
            basis[0] /= sqrt(2)
            keep = (basis.T @ basis).to(x.dtype)
            x = (x.movedim(axis, -1) @ keep).movedim(-1, axis)
    return x


@torch.no_grad()
def folded_share(pool: Pool, x: Tensor, strides: Sequence[int]) -> float:
    """Measure how much of what a sampling-down computes is folded.

    The layer runs on the map moved by every offset within its stride, which gives its values at each element instead
    of every s-th. The share of their energy above 1/(2 s) is false in the coarse map.

    Parameters
    ----------
    pool : callable
        Maps (N, C, *spatial) to (N, C', *spatial / strides): a pooling, a strided convolution.
    x : Tensor of shape (1, C, *spatial)
    strides : sequence of int

    Returns
    -------
    float
        0 to 1, of the energy without the mean.

    References
    ----------
    .. [1] Zhang, Making Convolutional Networks Shift-Invariant Again, ICML 2019, arXiv:1904.11486, section 3
    """
    return _folded(pool(_every_phase(x, strides)), strides)


@torch.no_grad()
def detail_share(pool: Pool, x: Tensor, strides: Sequence[int]) -> float:
    """Measure how much of the coarse map comes from detail too fine for it, folded or (by a maximum) summed up.

    That is ``|pool(x) - pool(low_passed(x))|^2 / |pool(x)|^2``, both without the mean of each channel; parameters as
    for `folded_share`. It can exceed 1.
    """
    return _difference(pool(x), pool(low_passed(x, strides)))


@torch.no_grad()
def folded_energy(pool: Pool, frequencies: Sequence[float] | np.ndarray, *, ndim: int = 2) -> Folded:
    """Give gratings of known frequency to a pooling, and measure what is left of each.

    A grating above 1/(2 s) can only appear as another one: all that is left of it is false. Each is given in 16
    phases, so that the result does not hang on where its waves lie.

    Parameters
    ----------
    pool : callable
        Maps (N, 1, *spatial) to (N, 1, *spatial / s).
    frequencies : sequence of float
        Cycles per pixel along the last axis, between 0 and 1/2.
    ndim : int
        Spatial axes.

    Raises
    ------
    ValueError
        If a frequency is not between 0 and 1/2.

    Examples
    --------
    >>> found = folded_energy(torch.nn.AvgPool2d(2), [0.4])  # cos(0.4 pi)^2
    >>> round(float(found.energy[0]), 3), round(float(found.appear_at[0]), 3)
    (0.095, 0.1)
    """
    given = np.asarray(frequencies, dtype=np.float64)
    if given.ndim != 1 or not ((given > 0) & (given < 0.5)).all():
        raise ValueError(f"frequencies are {given.tolist()}; expected numbers between 0 and 0.5 cycles per pixel")
    phases = 2 * pi / _PHASES * torch.arange(_PHASES, dtype=torch.float64)[:, None]
    angles = 2 * pi * torch.from_numpy(given)[:, None, None] * torch.arange(_LONG, dtype=torch.float64) + phases
    waves = torch.cos(angles).reshape(-1, 1, *(1,) * (ndim - 1), _LONG).expand(-1, 1, *(_SHORT,) * (ndim - 1), _LONG)
    coarse = pool(waves.contiguous())
    stride = round(_LONG / coarse.shape[-1])
    middle: list[Any] = [slice(n // 4, n - n // 4) for n in coarse.shape[2:]]  # away from what the pooling pads
    kept = coarse[(..., *middle)].reshape(len(given), -1)
    energy = kept.var(dim=1, correction=0) / 0.5  # of a wave of amplitude 1
    return Folded(given, np.abs(given - np.rint(given * stride) / stride), energy.numpy())


@torch.no_grad()
def folding(subject: Inspection) -> tuple[Folding, ...]:
    """Measure every sampling-down of a net on an image, in order of computation; empty for a net that has none."""
    found = structure(subject.graph)
    skipped = {arrow.source for arrow in found.arrows if arrow.kind == "skip"}
    downs = [arrow for arrow in found.arrows if arrow.kind in ("pool", "strided")]
    return tuple(_folding(subject, arrow, found.name(arrow.source), arrow.source in skipped) for arrow in downs)


def _folding(subject: Inspection, arrow: Arrow, stage: str, has_skip: bool) -> Folding:
    axes, shares, details, maps = subject.graph.geometry.axes, [], [], []
    rows = dict(_layers(subject.graph, arrow))  # two of a residual block whose shortcut is strided, too
    for down, edge in rows.items():
        strides = tuple(int(axis.places[down][0] / axis.places[edge[1]][0]) for axis in axes)
        x, coarse = _run(subject, down, edge, strides)
        shares.append(_folded(coarse[:-1], strides))
        details.append(_difference(coarse[:1], coarse[-1:]))
        maps.append(x)
    x, source = maps[0], next(iter(rows.values()))[1]
    spacing = tuple(float(axis.places[source][0]) for axis in axes)
    part, pools = _middle(x, strides), poolings(strides, channels=x.shape[1])
    return Folding(
        stage,
        strides,
        x.shape[1],
        tuple(x.shape[2:]),
        has_skip,
        spacing,
        radial_spectrum(x[0].numpy(), ndim=subject.ndim, spacing=spacing),
        float(np.mean(shares)),
        float(np.mean(details)),
        {name: folded_share(pool, part, strides) for name, pool in pools.items()},
    )


def _layers(graph: Graph, arrow: Arrow) -> Iterator[tuple[int, Edge]]:
    """(layer that samples down, the edge by which it is given the stage's map) of each way of an arrow."""

    def scale(i: int) -> list[Any]:
        return [axis.places[i][0] for axis in graph.geometry.axes]

    def coarse(way: Role) -> int:
        return next(i for i in (*reversed(way.layers), way.target) if scale(i) == scale(way.target))

    for way, edge in zip(arrow.roles, arrow.departures, strict=True):
        yield coarse(way), edge


class _Enough(Exception):
    """The map that is wanted has been computed; the rest of the net need not be."""


def _run(subject: Inspection, down: int, edge: Edge, strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The map that is read, and what a layer makes of all of its phases (the first: as it is) and of it low-passed."""
    kept: dict[str, Tensor] = {}

    def change(x: Tensor) -> Tensor:
        kept["map"], part = x.clone(), _middle(x, strides)
        return torch.cat([_every_phase(part, strides), low_passed(part, strides)])

    def see(i: int, m: Tensor) -> None:
        if i == down:
            kept["coarse"] = m.clone()
            raise _Enough

    with suppress(_Enough):
        run_with_hooks(subject.net, subject.graph, subject.image, on_layer=see, on_edge={edge: change})
    return kept["map"], kept["coarse"]


def _middle(x: Tensor, strides: Sequence[int]) -> Tensor:
    """The middle of a large map, whole strides of it."""
    most, index = _MOST[len(strides)], [slice(None), slice(None)]
    for n, s in zip(x.shape[2:], strides, strict=True):
        length = n if n <= most else most - most % s
        index.append(slice((n - length) // 2, (n - length) // 2 + length))
    return x[tuple(index)]


def _every_phase(x: Tensor, strides: Sequence[int]) -> Tensor:
    """A map moved by every offset within the strides, as samples; its last elements are repeated."""
    moved = []
    for offsets in product(*(range(s) for s in strides)):
        part = x
        for axis, offset in enumerate(offsets, start=2):
            n = x.shape[axis]
            part = part.index_select(axis, (torch.arange(n) + offset).clamp(max=n - 1)) if offset else part
        moved.append(part)
    return torch.cat(moved)


def _folded(phases: Tensor, strides: Sequence[int]) -> float:
    """The share above 1/(2 s) of coarse maps (phase, C, *coarse), put together to one fine map."""
    d, (_, channels, *coarse) = len(strides), phases.shape
    order = [d, *(k for axis in range(d) for k in (d + 1 + axis, axis))]
    fine = phases.reshape(*strides, channels, *coarse).permute(order)
    whole = fine.reshape(channels, *(n * s for n, s in zip(coarse, strides, strict=True)))
    return share_above(whole.numpy(), [1 / (2 * s) for s in strides], ndim=d)


def _difference(one: Tensor, other: Tensor) -> float:
    space = tuple(range(2, one.ndim))
    a, b = (m - m.mean(space, keepdim=True) for m in (one, other))
    energy = float((a**2).sum())
    return float(((a - b) ** 2).sum()) / energy if energy > 0 else 0.0


def draw_folding(found: Sequence[Folding]) -> Figure:
    """Per stage the share that its sampling-down folds, beside what other poolings would fold of the same map."""
    names = ["this net's own", *found[0].others]
    figure, axes = new_figure(height=0.9 + 0.75 * len(found))
    axis, at, width = axes[0, 0], np.arange(len(found)), 0.8 / len(names)
    for k, (name, colour) in enumerate(zip(names, (INK, *COLOURS), strict=False)):
        shares = [100 * (one.others[name] if k else one.folded) for one in found]
        axis.barh(at + (k + 0.5) * width - 0.4, shares, 0.85 * width, color=colour, label=name)
    axis.set_yticks(at, [one.stage for one in found])
    axis.set_ylim(len(found) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")
    axis.set_xlim(left=0)
    axis.set_xlabel("folded, % of the energy")
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    return figure


def draw_gratings(rows: Sequence[tuple[str, Folded]], *, limit: float) -> Figure:
    """What poolings leave of gratings, over their frequency; beyond the limit all of it is false."""
    figure, axes = new_figure(height=3.2)
    axis = axes[0, 0]
    axis.axvspan(limit, 0.5, color=LINE, linewidth=0)
    for (name, found), colour in zip(rows, COLOURS, strict=False):
        axis.plot(found.frequencies, 100 * found.energy, color=colour, linewidth=1.8, label=name)
    axis.text((limit + 0.5) / 2, 108, "appears as a false wave", ha="center", va="center", fontsize=8)
    axis.set_xlim(0, 0.5)
    axis.set_ylim(0, 116)
    axis.set_xlabel("cycles per pixel")
    axis.set_ylabel("energy left, %")
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    return figure
