"""Receptive fields: theoretical, from the integers of the net's layers, and effective, measured by gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor, nan
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..geometry import ReceptiveField
from ..graph.graph import Graph
from ..graph.hooks import Edge, run_with_hooks
from ..graph.stages import structure
from ..plotting.matplotlib_style import Picture, image_grid, middle_plane, new_figure, show_image
from ..plotting.palette import COLOURS, PAPER
from .inspection import Inspection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "EffectiveField",
    "StageField",
    "draw_boxes",
    "draw_energy",
    "draw_profiles",
    "effective_fields",
    "skip_edges",
    "stage_fields",
]


@dataclass(frozen=True)
class StageField:
    """The theoretical receptive field of a stage.

    Attributes
    ----------
    name : str
        "encoder 0", ..., "bottom", "output".
    layer : int
        Its last layer.
    field : tuple of ReceptiveField
        Exact, for each phase of the pooling grid; per axis.
    is_skipped : bool
        True if a skip carries this map to the decoder.
    """

    name: str
    layer: int
    field: tuple[ReceptiveField, ...]
    is_skipped: bool = False


def stage_fields(graph: Graph) -> tuple[StageField, ...]:
    """Compute the receptive fields of the contracting path, the bottom and the output.

    Parameters
    ----------
    graph : Graph
        Of any net that `graph.read.read` reads.

    Returns
    -------
    tuple of StageField
        The stages of the contracting path, finest first, then the output.

    References
    ----------
    .. [1] Araujo, Norris, Sim, Computing receptive fields of convolutional neural networks, Distill 2019,
       doi:10.23915/distill.00021
    """
    net, last = structure(graph), len(graph.layers) - 1
    skipped = {arrow.source for arrow in net.arrows if arrow.kind == "skip"}

    def field(name: str, layer: int, *, is_skipped: bool = False) -> StageField:
        axes = tuple(axis.receptive_field(layer) for axis in graph.geometry.axes)
        return StageField(name, layer, axes, is_skipped)

    fields = [
        field(net.name(stage.key), stage.exit, is_skipped=stage.key in skipped)
        for stage in net.stages
        if stage.key.level == stage.key.deepest and stage.exit != last
    ]
    return (*fields, field("output", last))


def skip_edges(graph: Graph) -> dict[Edge, Callable[[Tensor], Tensor]]:
    """All skip edges with the function that makes them carry zeros, for `graph.hooks`."""
    arrows = (arrow for arrow in structure(graph).arrows if arrow.kind == "skip")
    return {edge: torch.zeros_like for arrow in arrows for edge in arrow.arrivals}


@dataclass(frozen=True)
class EffectiveField:
    """The effective receptive field of an element of a map, measured by gradients.

    Attributes
    ----------
    name : str
    energy : ndarray of shape (*window), float64
        Squared gradient with respect to each pixel, summed over the image's channels and averaged over probes; sums to
        1 (or is 0 everywhere if all gradients are 0). Its sizes are odd: the element's own pixel is
        in the middle.
    theoretical : tuple of int
        Largest receptive field per axis, in pixels.
    is_cut : bool
        True if the image was too small to hold the whole receptive field.
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
    inspection: Inspection, *, probes: int = 8, seed: int = 0, without_skips: bool = False, output_only: bool = False
) -> tuple[EffectiveField, ...]:
    """Measure the effective receptive fields of the stages that `stage_fields` lists.

    For an element of a map the gradient of a random combination of its channels with respect to the image is taken;
    its square is the energy that each pixel contributes (Luo 2016). Elements are chosen at random places of the image
    and in random phases of the pooling grid, each in the middle of a window that holds its whole receptive field where
    the image is large enough.

    Parameters
    ----------
    inspection : Inspection
    probes : int
        Elements per stage, at least 1.
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
    graph, draw = inspection.graph, np.random.default_rng(seed)
    stages = stage_fields(graph)[-1:] if output_only else stage_fields(graph)
    window = _window(inspection)
    sums = [np.zeros([2 * (n - 1) + 1 for n in window]) for _ in stages]
    edges = skip_edges(graph) if without_skips else {}
    batch = max(1, min(8, 600_000 // int(np.prod(window))))
    for first in range(0, probes, batch):
        x = _windows(inspection, window, min(batch, probes - first), draw)
        for k, energies, pixels in _probe(inspection, x, stages, edges, draw):
            for energy, pixel in zip(energies, pixels, strict=True):
                corner = tuple(slice(n - 1 - p, 2 * n - 1 - p) for n, p in zip(window, pixel, strict=True))
                sums[k][corner] += energy
    fields = []
    for stage, total in zip(stages, sums, strict=True):
        reach = [min(max(axis.reach, 1), n - 1) for axis, n in zip(stage.field, window, strict=True)]
        kept = total[tuple(slice(n - 1 - r, n + r) for n, r in zip(window, reach, strict=True))]
        energy = kept / kept.sum() if kept.sum() > 0 else kept
        sizes = tuple(axis.largest for axis in stage.field)
        is_cut = any(s > n for s, n in zip(sizes, window, strict=True))
        fields.append(EffectiveField(stage.name, energy, sizes, is_cut))
    return tuple(fields)


def _window(inspection: Inspection) -> tuple[int, ...]:
    """Pixels around an element that hold its receptive field in every phase, as far as the image has them."""
    geometry = inspection.graph.geometry
    wanted = [axis.receptive_field().largest + 2 * axis.stride for axis in geometry.axes]
    fitting = geometry.above([min(w, n) for w, n in zip(wanted, inspection.size, strict=True)])
    return tuple(min(w, n) for w, n in zip(fitting, inspection.size, strict=True))  # the image itself fits


def _windows(inspection: Inspection, window: Sequence[int], n: int, draw: np.random.Generator) -> Tensor:
    """`n` windows (n, C, *window) at random places of the image."""
    parts = []
    for _ in range(n):
        start = [int(draw.integers(0, have - w + 1)) for have, w in zip(inspection.size, window, strict=True)]
        part: Any = (0, slice(None), *(slice(a, a + w) for a, w in zip(start, window, strict=True)))
        parts.append(inspection.image[part])
    return torch.stack(parts).requires_grad_()


def _probe(
    inspection: Inspection,
    x: Tensor,
    stages: Sequence[StageField],
    edges: Mapping[Edge, Callable[[Tensor], Tensor]],
    draw: np.random.Generator,
) -> Iterator[tuple[int, np.ndarray, list[tuple[int, ...]]]]:
    """Yield (index of the stage, energies (N, *window), own pixels): one pass forward, one back per stage."""
    maps: dict[int, Tensor] = {}
    layers = {stage.layer for stage in stages}

    def keep(i: int, features: Tensor) -> None:
        if i in layers:
            maps[i] = features

    with torch.enable_grad():
        run_with_hooks(inspection.net, inspection.graph, x, on_layer=keep, on_edge=edges)
    for k, stage in enumerate(stages):
        features, seed = maps[stage.layer], torch.zeros_like(maps[stage.layer])
        pixels = []
        for sample in range(len(x)):
            at = _middle(inspection.graph, stage.layer, tuple(features.shape[2:]), draw)
            signs = draw.integers(0, 2, features.shape[1]) * 2 - 1
            element: Any = (sample, slice(None), *at)
            seed[element] = torch.from_numpy(signs).to(seed)
            pixels.append(_own_pixel(inspection.graph, stage.layer, at, x.shape[2:]))
        (gradient,) = torch.autograd.grad(features, x, seed, retain_graph=k < len(stages) - 1, allow_unused=True)
        if gradient is not None:  # without skips a map may not depend on the image at all
            yield k, gradient.double().square().sum(1).numpy(), pixels


def _middle(graph: Graph, layer: int, size: Sequence[int], draw: np.random.Generator) -> tuple[int, ...]:
    """An element near the middle of a map, in a random phase of the pooling grid."""
    at = []
    for axis, n in zip(graph.geometry.axes, size, strict=True):
        period = max(1, int(axis.stride / axis.places[layer][0]))
        at.append(min(max(n // 2 - period // 2 + int(draw.integers(0, period)), 0), n - 1))
    return tuple(at)


def _own_pixel(graph: Graph, layer: int, at: Sequence[int], window: Sequence[int]) -> tuple[int, ...]:
    """The pixel of the window at the centre of an element's receptive field."""
    pixels = []
    for axis, i, n in zip(graph.geometry.axes, at, window, strict=True):
        stride, centre = axis.places[layer]
        pixels.append(min(max(floor(centre + i * stride), 0), n - 1))
    return tuple(pixels)


def draw_boxes(inspection: Inspection, fields: Sequence[StageField], effective: Sequence[EffectiveField]) -> Figure:
    """Draw nested boxes over the image: theoretical fields (solid) and the squares with 95 % of the energy (dashed)."""
    from matplotlib.patches import Rectangle

    picture = middle_plane(inspection.image[0, 0].numpy())
    height, width = picture.shape[:2]
    figure, axes = new_figure(width=4.8, height=4.8 * min(1.4, height / width) + 0.9)
    axis = axes[0, 0]
    show_image(axis, picture, cmap="gray")
    for k, (stage, measured) in enumerate(zip(fields, effective, strict=True)):
        colour = COLOURS[k % len(COLOURS)]
        sides = [axis.largest for axis in stage.field]
        size = f"{sides[0]}" if len(set(sides)) == 1 else " x ".join(map(str, sides))
        dashed = [measured.side(0.95)] * 2
        for (h, w), style, label in ((sides[-2:], "-", f"{stage.name}: {size} px"), (dashed, (0, (2, 1.5)), "")):
            corner = (width / 2 - w / 2, height / 2 - h / 2)
            box = Rectangle(corner, w, h, fill=False, edgecolor=colour, linewidth=1.6, linestyle=style)
            axis.add_patch(box)
            if label:
                box.set_label(label)
    axis.set_xlim(-0.5, width - 0.5)
    axis.set_ylim(height - 0.5, -0.5)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def draw_energy(effective: Sequence[EffectiveField], *, columns: int = 3) -> Figure:
    """Draw the gradient energy of each stage (logarithmic, four decades), and a box around 95 % of it."""
    from matplotlib.patches import Rectangle

    pictures: list[Picture] = []
    for field in effective:
        plane = middle_plane(field.energy)
        heat = np.log10(np.maximum(plane / max(plane.max(), 1e-300), 1e-4))
        title = f"{field.name}\n{plane.shape[1]} px wide"
        pictures.append((title, heat, {"cmap": "magma", "vmin": -4, "vmax": 0}))
    figure, axes, _ = image_grid(pictures, columns=columns, row_height=1.85, extra=0.15)
    for axis, field, (_, heat, _) in zip(axes.flat, effective, pictures, strict=False):
        side, (h, w) = field.side(0.95), heat.shape
        corner = ((w - side) / 2 - 0.5, (h - side) / 2 - 0.5)
        axis.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=PAPER, linewidth=1.2))
    return figure


def draw_profiles(effective: Sequence[EffectiveField]) -> Figure:
    """Draw the share of the energy within a square over its side, for several measurements of the output."""
    figure, axes = new_figure(height=2.8)
    axis, shares = axes[0, 0], np.linspace(0.02, 1, 99)
    for field, colour in zip(effective, COLOURS, strict=False):
        axis.plot([field.side(s) for s in shares], shares * 100, color=colour, label=field.name)
    axis.set_xlabel("side of a square around the pixel (px)")
    axis.set_ylabel("energy within (%)")
    axis.set_ylim(0, 102)
    axis.legend(loc="lower right")
    return figure
