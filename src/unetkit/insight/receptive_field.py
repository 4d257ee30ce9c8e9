"""What the parts of a net see: the field that they can see, from its integers, and the field that counts, measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, nan
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..geometry import ReceptiveField
from ..graph.graph import Graph
from ..graph.hooks import Edge, run_with_hooks
from ..graph.stages import structure
from ..plotting.matplotlib_style import ACCENT, COLOURS, WARM, new_figure, show_image
from .inspection import Inspection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "EffectiveField",
    "StageField",
    "draw_boxes",
    "draw_energy",
    "effective_fields",
    "skip_edges",
    "stage_fields",
]

SHARES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class StageField:
    """What one place of a net can see at most.

    Attributes
    ----------
    name : str
        "encoder 0", ..., "bottom", "output".
    layer : int
        Its last layer.
    field : tuple of ReceptiveField
        Exact, for each phase of the pooling grid; per axis.
    is_skipped : bool
        Whether a skip carries this map to the decoder.
    """

    name: str
    layer: int
    field: tuple[ReceptiveField, ...]
    is_skipped: bool = False


def stage_fields(graph: Graph) -> tuple[StageField, ...]:
    """Receptive fields on the way down, at the bottom, and at the output.

    Parameters
    ----------
    graph : Graph
        Of any net that `graph.graph.read` reads.

    Returns
    -------
    tuple of StageField
        The stages of the contracting path, finest first, then the output.

    References
    ----------
    .. [1] Araujo, Norris, Sim, Computing receptive fields of convolutional neural networks, Distill 2019,
       doi:10.23915/distill.00021
    """
    found = structure(graph)
    skipped = {arrow.source for arrow in found.arrows if arrow.kind == "skip"}
    fields = [
        StageField(found.name(stage.key), stage.exit, _field(graph, stage.exit), stage.key in skipped)
        for stage in found.stages
        if stage.key.level == stage.key.deepest and stage.exit != len(graph.layers) - 1
    ]
    return (*fields, StageField("output", len(graph.layers) - 1, _field(graph, len(graph.layers) - 1)))


def _field(graph: Graph, layer: int) -> tuple[ReceptiveField, ...]:
    return tuple(axis.receptive_field(layer) for axis in graph.geometry.axes)


def skip_edges(graph: Graph) -> dict[Edge, Callable[[Tensor], Tensor]]:
    """For `graph.hooks`: every skip carries zeros."""
    arrows = (arrow for arrow in structure(graph).arrows if arrow.kind == "skip")
    return {edge: torch.zeros_like for arrow in arrows for edge in arrow.arrivals}


@dataclass(frozen=True)
class EffectiveField:
    """What an element of a map depends on, measured by gradients.

    Attributes
    ----------
    name : str
    energy : ndarray of shape (*window), float64
        Squared gradient with respect to each pixel, summed over the image's channels and averaged over probes; sums to
        1 (or is 0 everywhere, where nothing that was probed answered). Its sizes are odd: the element's own pixel is
        in the middle.
    theoretical : tuple of int
        Largest receptive field per axis, in pixels.
    is_cut : bool
        Whether the image was too small to hold the whole receptive field.
    """

    name: str
    energy: np.ndarray
    theoretical: tuple[int, ...]
    is_cut: bool = False

    @property
    def std(self) -> float:
        """Standard deviation of the energy in pixels, root mean square over the axes; nan without energy."""
        if not self.energy.any():
            return nan
        variances = []
        for axis, n in enumerate(self.energy.shape):
            profile = self.energy.sum(tuple(k for k in range(self.energy.ndim) if k != axis))
            at = np.arange(n) - n // 2
            variances.append((profile * at**2).sum() - (profile * at).sum() ** 2)
        return float(np.sqrt(np.mean(variances)))

    def side(self, share: float) -> int:
        """Side in pixels of the smallest centred square (cube) that holds a share of the energy; 0 without energy."""
        if not 0 < share <= 1:
            raise ValueError(f"share is {share}; expected a part of the energy, above 0 and at most 1")
        if not self.energy.any():
            return 0
        offsets = np.meshgrid(*(np.abs(np.arange(n) - n // 2) for n in self.energy.shape), indexing="ij", sparse=True)
        radius = np.broadcast_to(np.maximum.reduce(np.broadcast_arrays(*offsets)), self.energy.shape)
        held = np.cumsum(np.bincount(radius.ravel(), weights=self.energy.ravel()))
        return 2 * int(np.searchsorted(held, share * held[-1] * (1 - 1e-9))) + 1


def effective_fields(
    subject: Inspection, *, probes: int = 8, seed: int = 0, without_skips: bool = False, output_only: bool = False
) -> tuple[EffectiveField, ...]:
    """Measure what the places of `stage_fields` really depend on.

    For an element of a map the gradient of a random combination of its channels with respect to the image is taken;
    its square is the energy that each pixel contributes (Luo 2016). Elements are chosen at random places of the image
    and in random phases of the pooling grid, each in the middle of a window that holds its whole receptive field where
    the image is large enough.

    Parameters
    ----------
    subject : Subject
    probes : int
        Elements per place, at least 1.
    seed : int
    without_skips : bool
        Let all skips carry zeros.
    output_only : bool
        Measure the output alone.

    Returns
    -------
    tuple of EffectiveField

    References
    ----------
    .. [1] Luo, Li, Urtasun, Zemel, Understanding the effective receptive field in deep convolutional neural networks,
       NeurIPS 2016, arXiv:1701.04128
    """
    if probes < 1:
        raise ValueError(f"probes is {probes}; expected 1 or more")
    graph, draw = subject.graph, np.random.default_rng(seed)
    places = stage_fields(graph)[-1:] if output_only else stage_fields(graph)
    window = _window(subject)
    sums = [np.zeros([2 * (n - 1) + 1 for n in window]) for _ in places]
    edges = skip_edges(graph) if without_skips else {}
    batch = max(1, min(8, 600_000 // int(np.prod(window))))
    for first in range(0, probes, batch):
        x = _windows(subject, window, min(batch, probes - first), draw)
        for place, gradients, own in _probe(subject, x, places, edges, draw):
            for energy, pixel in zip(gradients, own, strict=True):
                corner = tuple(slice(n - 1 - p, 2 * n - 1 - p) for n, p in zip(window, pixel, strict=True))
                sums[place][corner] += energy
    return tuple(_effective(place, total, window) for place, total in zip(places, sums, strict=True))


def _effective(place: StageField, total: np.ndarray, window: tuple[int, ...]) -> EffectiveField:
    reach = [min(max(axis.reach, 1), n - 1) for axis, n in zip(place.field, window, strict=True)]
    kept = total[tuple(slice(n - 1 - r, n + r) for n, r in zip(window, reach, strict=True))]
    energy = kept / kept.sum() if kept.sum() > 0 else kept
    sizes = tuple(axis.largest for axis in place.field)
    return EffectiveField(place.name, energy, sizes, any(s > n for s, n in zip(sizes, window, strict=True)))


def _window(subject: Inspection) -> tuple[int, ...]:
    """Pixels around an element that hold its receptive field in every phase, as far as the image has them."""
    geometry = subject.graph.geometry
    wanted = [axis.receptive_field().largest + 2 * axis.stride for axis in geometry.axes]
    fitting = geometry.above([min(w, n) for w, n in zip(wanted, subject.size, strict=True)])
    return tuple(min(w, n) for w, n in zip(fitting, subject.size, strict=True))  # the image itself fits


def _windows(subject: Inspection, window: Sequence[int], n: int, draw: np.random.Generator) -> Tensor:
    """`n` windows (n, C, *window) at random places of the image."""
    parts = []
    for _ in range(n):
        start = [int(draw.integers(0, have - w + 1)) for have, w in zip(subject.size, window, strict=True)]
        part: Any = (0, slice(None), *(slice(a, a + w) for a, w in zip(start, window, strict=True)))
        parts.append(subject.image[part])
    return torch.stack(parts).requires_grad_()


def _probe(
    subject: Inspection,
    x: Tensor,
    places: Sequence[StageField],
    edges: Mapping[Edge, Callable[[Tensor], Tensor]],
    draw: np.random.Generator,
) -> Any:
    """Yield (place, energies (N, *window), own pixels): one pass forward, one back per place."""
    maps: dict[int, Tensor] = {}
    wanted = {place.layer for place in places}

    def see(i: int, found: Tensor) -> None:
        if i in wanted:
            maps[i] = found

    with torch.enable_grad():
        run_with_hooks(subject.net, subject.graph, x, on_layer=see, on_edge=edges)
    for k, place in enumerate(places):
        found, seed = maps[place.layer], torch.zeros_like(maps[place.layer])
        own = []
        for sample in range(len(x)):
            at = _middle(subject.graph, place.layer, tuple(found.shape[2:]), draw)
            signs = draw.integers(0, 2, found.shape[1]) * 2 - 1
            element: Any = (sample, slice(None), *at)
            seed[element] = torch.from_numpy(signs).to(seed)
            own.append(_own_pixel(subject.graph, place.layer, at, x.shape[2:]))
        (gradient,) = torch.autograd.grad(found, x, seed, retain_graph=k < len(places) - 1, allow_unused=True)
        if gradient is not None:  # without skips a map may not depend on the image at all
            yield k, gradient.double().square().sum(1).numpy(), own


def _middle(graph: Graph, layer: int, size: Sequence[int], draw: np.random.Generator) -> tuple[int, ...]:
    """An element near the middle of a map, in a random phase of the pooling grid."""
    at = []
    for axis, n in zip(graph.geometry.axes, size, strict=True):
        period = max(1, int(axis.stride / axis.places[layer][0]))
        at.append(min(max(n // 2 - period // 2 + int(draw.integers(0, period)), 0), n - 1))
    return tuple(at)


def _own_pixel(graph: Graph, layer: int, at: Sequence[int], window: Sequence[int]) -> tuple[int, ...]:
    """The pixel of the window that an element stands for."""
    pixels = []
    for axis, i, n in zip(graph.geometry.axes, at, window, strict=True):
        stride, centre = axis.places[layer]
        pixels.append(min(max(floor(centre + i * stride), 0), n - 1))
    return tuple(pixels)


def draw_boxes(subject: Inspection, fields: Sequence[StageField], effective: Sequence[EffectiveField]) -> Figure:
    """Nested boxes over the image: what each level can see (lines), and what holds 95 % of its energy (dashes)."""
    from matplotlib.patches import Rectangle

    picture = plane_of(subject.image[0].numpy())
    height, width = picture.shape[:2]
    figure, axes = new_figure(width=4.8, height=4.8 * min(1.4, height / width) + 0.9)
    axis = axes[0, 0]
    show_image(axis, picture, cmap="gray")
    for k, (place, found) in enumerate(zip(fields, effective, strict=True)):
        colour = COLOURS[k % len(COLOURS)]
        sides = [one.largest for one in place.field[-2:]]
        dashed = [found.side(0.95)] * 2
        for (h, w), style, label in ((sides, "-", place.name), (dashed, (0, (2, 1.5)), None)):
            corner = (width / 2 - w / 2, height / 2 - h / 2)
            box = Rectangle(corner, w, h, fill=False, edgecolor=colour, linewidth=1.6, linestyle=style)
            axis.add_patch(box)
            if label:
                seen = [str(one.largest) for one in place.field]
                box.set_label(f"{label}: {seen[0] if len(set(seen)) == 1 else ' x '.join(seen)} px")
    axis.set_xlim(-0.5, width - 0.5)
    axis.set_ylim(height - 0.5, -0.5)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def draw_energy(effective: Sequence[EffectiveField], *, columns: int = 3) -> Figure:
    """Heat of the gradient energy (logarithmic, four decades) per place, a box around 95 % of it."""
    from matplotlib.patches import Rectangle

    rows = ceil(len(effective) / columns)
    figure, axes = new_figure(rows, columns, width=4.8, height=1.85 * rows + 0.15)
    for axis, found in zip(axes.flat, effective, strict=False):
        plane = found.energy if found.energy.ndim == 2 else found.energy[found.energy.shape[0] // 2]
        heat = np.log10(np.maximum(plane / max(plane.max(), 1e-300), 1e-4))
        h, w = plane.shape
        show_image(axis, heat, title=f"{found.name}\n{w} px wide", cmap="magma", vmin=-4, vmax=0)
        side = found.side(0.95)
        box = ((w - side) / 2 - 0.5, (h - side) / 2 - 0.5)
        axis.add_patch(Rectangle(box, side, side, fill=False, edgecolor="#ffffff", linewidth=1.2))
    for axis in axes.flat[len(effective) :]:
        axis.set_visible(False)
    return figure


def draw_profiles(effective: Sequence[EffectiveField]) -> Figure:
    """Share of the energy within a square, against its side, for several measurements of the output."""
    figure, axes = new_figure(height=2.8)
    axis = axes[0, 0]
    for found, colour in zip(effective, (ACCENT, WARM, *COLOURS[2:]), strict=False):
        shares = np.linspace(0.02, 1, 99)
        axis.plot([found.side(s) for s in shares], shares * 100, color=colour, label=found.name)
    axis.set_xlabel("side of a square around the pixel (px)")
    axis.set_ylabel("energy within (%)")
    axis.set_ylim(0, 102)
    axis.legend(loc="lower right")
    return figure


def plane_of(array: np.ndarray) -> np.ndarray:
    """A picture (y, x) of an image (C, *spatial): its first channel, of a volume the middle plane."""
    first = array[0]
    return first if first.ndim == 2 else first[first.shape[0] // 2]
