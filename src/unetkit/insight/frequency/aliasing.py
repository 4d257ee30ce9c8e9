"""Aliasing in down-sampling layers: fine detail that they turn into false coarse waves.

Every down-sampling computes something at each pixel (a maximum, a mean, a convolution) and keeps each s-th value.
Detail that is too fine for the coarse grid does not vanish with the values that are left out: it appears as a coarse
wave that the map does not contain.
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
from ...plotting.matplotlib_style import new_figure
from ...plotting.palette import COLOURS, INK, LINE
from ..inspection import Inspection
from .spectra import Spectrum, radial_spectrum, share_above

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Aliasing",
    "GratingResponse",
    "aliased_share",
    "detail_share",
    "draw_aliasing",
    "draw_gratings",
    "grating_response",
]
__all__ += ["low_passed", "measure_aliasing", "poolings"]

Pool = Callable[[Tensor], Tensor]
_AVERAGE: dict[int, Any] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
_LONG, _SHORT = 128, 16  # a grating, along its axis and across
_PHASES = 16
_MOST = {2: 256, 3: 64}  # elements per axis of a map that are measured: more cost time and give the same result


@dataclass(frozen=True)
class Aliasing:
    """Aliasing in a down-sampling layer of a net, for one image.

    Attributes
    ----------
    stage : str
        Whose map the layer reads.
    strides : tuple of int
        Per axis.
    channels : int
    size : tuple of int
        Of the map that it reads, in elements.
    has_skip : bool
        True if a skip carries that stage's map to the decoder.
    spacing : tuple of float
        Pixels of the image per element of that map.
    spectrum : Spectrum
        Of that map, in cycles per pixel of the image.
    aliased : float
        See `aliased_share`, of the net's own layer.
    detail : float
        See `detail_share`, of the net's own layer.
    others : dict
        `aliased_share` of other poolings on the same map, by their names in `poolings`. All shares are those of the
        middle of a map with more than 256 elements per axis (3D: 64).
    """

    stage: str
    strides: tuple[int, ...]
    channels: int
    size: tuple[int, ...]
    has_skip: bool
    spacing: tuple[float, ...]
    spectrum: Spectrum
    aliased: float
    detail: float
    others: dict[str, float]

    @property
    def above(self) -> float:
        """Share of the map's energy that the coarse grid cannot represent, all of which plain striding would alias."""
        return self.others["plain striding"]

    @property
    def limit(self) -> float:
        """The lowest Nyquist limit of the coarse grid along an axis, in cycles per pixel of the image."""
        return min(1 / (2 * s * d) for s, d in zip(self.strides, self.spacing, strict=True) if s > 1)


@dataclass(frozen=True)
class GratingResponse:
    """The response of a pooling to gratings.

    Attributes
    ----------
    frequencies : ndarray of shape (F,)
        Of the gratings, in cycles per pixel.
    appear_at : ndarray of shape (F,)
        The frequency of each grating's response, in cycles per pixel of the fine grid.
    energy : ndarray of shape (F,)
        Variance of the output over that of the input.
    """

    frequencies: np.ndarray
    appear_at: np.ndarray
    energy: np.ndarray


def poolings(strides: Sequence[int], *, channels: int) -> dict[str, Pool]:
    """The usual down-samplings without weights, by name: maps (N, channels, *spatial) to coarser ones."""
    strides, ndim = tuple(strides), len(strides)
    every = (..., *(slice(None, None, s) for s in strides))
    return {
        "plain striding": lambda x: x[every],
        "max pooling": MAX_POOL[ndim](strides),
        "average pooling": _AVERAGE[ndim](strides),
        "blur pooling": BlurPool(channels, strides),
    }


def low_passed(x: Tensor, strides: Sequence[int]) -> Tensor:
    """Remove exactly what a grid of every s-th element cannot represent: an ideal low-pass at 1/(2 s) per axis.

    The map is extended by its mirror image (cosine transform), so that its borders add no false detail.

    Parameters
    ----------
    x : Tensor of shape (N, C, *spatial)
    strides : sequence of int
        s per axis; 1 leaves an axis unchanged.
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
def aliased_share(pool: Pool, x: Tensor, strides: Sequence[int]) -> float:
    """Measure the aliased share of the energy of a down-sampled map.

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
    return _aliased_energy(pool(_every_phase(x, strides)), strides)


@torch.no_grad()
def detail_share(pool: Pool, x: Tensor, strides: Sequence[int]) -> float:
    """Measure how much of the coarse map comes from detail too fine for it, aliased or (by a maximum) accumulated.

    That is ``|pool(x) - pool(low_passed(x))|^2 / |pool(x)|^2``, both without the mean of each channel; parameters as
    for `aliased_share`. It can exceed 1.
    """
    return _relative_difference(pool(x), pool(low_passed(x, strides)))


@torch.no_grad()
def grating_response(pool: Pool, frequencies: Sequence[float] | np.ndarray, *, ndim: int = 2) -> GratingResponse:
    """Measure the response of a pooling to gratings of known frequency.

    A grating above 1/(2 s) can only appear as another one: all of its response is false. Each is given in 16 phases, so
    that the result does not depend on the position of its waves.

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
    >>> response = grating_response(torch.nn.AvgPool2d(2), [0.4])  # cos(0.4 pi)^2
    >>> round(float(response.energy[0]), 3), round(float(response.appear_at[0]), 3)
    (0.095, 0.1)
    """
    waves_at = np.asarray(frequencies, dtype=np.float64)
    if waves_at.ndim != 1 or not ((waves_at > 0) & (waves_at < 0.5)).all():
        raise ValueError(f"frequencies are {waves_at.tolist()}; expected numbers between 0 and 0.5 cycles per pixel")
    phases = 2 * pi / _PHASES * torch.arange(_PHASES, dtype=torch.float64)[:, None]
    angles = 2 * pi * torch.from_numpy(waves_at)[:, None, None] * torch.arange(_LONG, dtype=torch.float64) + phases
    waves = torch.cos(angles).reshape(-1, 1, *(1,) * (ndim - 1), _LONG).expand(-1, 1, *(_SHORT,) * (ndim - 1), _LONG)
    coarse = pool(waves.contiguous())
    stride = round(_LONG / coarse.shape[-1])
    middle: list[Any] = [slice(n // 4, n - n // 4) for n in coarse.shape[2:]]  # away from the padding
    kept = coarse[(..., *middle)].reshape(len(waves_at), -1)
    energy = kept.var(dim=1, correction=0) / 0.5  # of a wave of amplitude 1
    return GratingResponse(waves_at, np.abs(waves_at - np.rint(waves_at * stride) / stride), energy.numpy())


@torch.no_grad()
def measure_aliasing(inspection: Inspection) -> tuple[Aliasing, ...]:
    """Measure every down-sampling of a net for an image, in order of computation; empty for a net without any."""
    net = structure(inspection.graph)
    skipped = {arrow.source for arrow in net.arrows if arrow.kind == "skip"}
    downs = [arrow for arrow in net.arrows if arrow.kind in ("pool", "strided")]
    return tuple(_aliasing(inspection, arrow, net.name(arrow.source), arrow.source in skipped) for arrow in downs)


def _aliasing(inspection: Inspection, arrow: Arrow, stage: str, has_skip: bool) -> Aliasing:
    axes, shares, details, maps = inspection.graph.geometry.axes, [], [], []
    rows = dict(_layers(inspection.graph, arrow))  # two of a residual block whose shortcut is strided, too
    for down, edge in rows.items():
        strides = tuple(int(axis.places[down][0] / axis.places[edge[1]][0]) for axis in axes)
        x, coarse = _run(inspection, down, edge, strides)
        shares.append(_aliased_energy(coarse[:-1], strides))
        details.append(_relative_difference(coarse[:1], coarse[-1:]))
        maps.append(x)
    x, source = maps[0], next(iter(rows.values()))[1]
    spacing = tuple(float(axis.places[source][0]) for axis in axes)
    part, pools = _middle(x, strides), poolings(strides, channels=x.shape[1])
    return Aliasing(
        stage,
        strides,
        x.shape[1],
        tuple(x.shape[2:]),
        has_skip,
        spacing,
        radial_spectrum(x[0].numpy(), ndim=inspection.ndim, spacing=spacing),
        float(np.mean(shares)),
        float(np.mean(details)),
        {name: aliased_share(pool, part, strides) for name, pool in pools.items()},
    )


def _layers(graph: Graph, arrow: Arrow) -> Iterator[tuple[int, Edge]]:
    """(down-sampling layer, edge on which the stage's map enters its path) of each path of an arrow."""

    def scale(i: int) -> list[Any]:
        return [axis.places[i][0] for axis in graph.geometry.axes]

    def coarse(role: Role) -> int:
        return next(i for i in (*reversed(role.layers), role.target) if scale(i) == scale(role.target))

    for role, edge in zip(arrow.roles, arrow.departures, strict=True):
        yield coarse(role), edge


class _Stop(Exception):
    """The map has been computed; the rest of the net need not run."""


def _run(inspection: Inspection, down: int, edge: Edge, strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The map that a layer reads, and its output for all phases of the map (the first: unmoved) and for a low-pass."""
    kept: dict[str, Tensor] = {}

    def change(x: Tensor) -> Tensor:
        kept["map"], part = x.clone(), _middle(x, strides)
        return torch.cat([_every_phase(part, strides), low_passed(part, strides)])

    def keep(i: int, features: Tensor) -> None:
        if i == down:
            kept["coarse"] = features.clone()
            raise _Stop

    with suppress(_Stop):
        run_with_hooks(inspection.net, inspection.graph, inspection.image, on_layer=keep, on_edge={edge: change})
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


def _aliased_energy(phases: Tensor, strides: Sequence[int]) -> float:
    """The share above 1/(2 s) of coarse maps (phase, C, *coarse), interleaved to one fine map."""
    d, (_, channels, *coarse) = len(strides), phases.shape
    order = [d, *(k for axis in range(d) for k in (d + 1 + axis, axis))]
    fine = phases.reshape(*strides, channels, *coarse).permute(order)
    whole = fine.reshape(channels, *(n * s for n, s in zip(coarse, strides, strict=True)))
    return share_above(whole.numpy(), [1 / (2 * s) for s in strides], ndim=d)


def _relative_difference(a: Tensor, b: Tensor) -> float:
    space = tuple(range(2, a.ndim))
    a, b = (m - m.mean(space, keepdim=True) for m in (a, b))
    energy = float((a**2).sum())
    return float(((a - b) ** 2).sum()) / energy if energy > 0 else 0.0


def draw_aliasing(layers: Sequence[Aliasing]) -> Figure:
    """Draw per stage the aliased share of its down-sampling, and that of other poolings of the same map."""
    names = ["this net's own", *layers[0].others]
    figure, axes = new_figure(height=0.9 + 0.75 * len(layers))
    axis, at, width = axes[0, 0], np.arange(len(layers)), 0.8 / len(names)
    for k, (name, colour) in enumerate(zip(names, (INK, *COLOURS), strict=False)):
        shares = [100 * (layer.others[name] if k else layer.aliased) for layer in layers]
        axis.barh(at + (k + 0.5) * width - 0.4, shares, 0.85 * width, color=colour, label=name)
    axis.set_yticks(at, [layer.stage for layer in layers])
    axis.set_ylim(len(layers) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")
    axis.set_xlim(left=0)
    axis.set_xlabel("aliased, % of the energy")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def draw_gratings(responses: Sequence[tuple[str, GratingResponse]], *, limit: float) -> Figure:
    """Draw the responses of poolings to gratings over their frequency; above the limit all of it is false."""
    figure, axes = new_figure(height=3.2)
    axis = axes[0, 0]
    axis.axvspan(limit, 0.5, color=LINE, linewidth=0)
    for (name, response), colour in zip(responses, COLOURS, strict=False):
        axis.plot(response.frequencies, 100 * response.energy, color=colour, linewidth=1.8, label=name)
    axis.text((limit + 0.5) / 2, 108, "appears as a false wave", ha="center", va="center", fontsize=8)
    axis.set_xlim(0, 0.5)
    axis.set_ylim(0, 116)
    axis.set_xlabel("cycles per pixel")
    axis.set_ylabel("energy left, %")
    figure.legend(loc="outside upper left", ncols=3)
    return figure
