"""What the maps of a net hold for one image: active channels of every stage, attention, the heads of a UNet++."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..graph.hooks import run_with_hooks
from ..graph.roles import LayerRoles
from ..graph.stages import structure
from ..nets.layers import center_crop
from ..nets.unetpp import UNetPlusPlus
from ..plotting.matplotlib_style import new_figure, show_image
from .ablation import middle, to_classes_of
from .inspection import Inspection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Attention",
    "Heads",
    "StageMaps",
    "attention_maps",
    "draw_attention",
    "draw_heads",
    "draw_stages",
    "head_masks",
    "stage_maps",
]

_MOST_STAGES = 12


@dataclass(frozen=True)
class StageMaps:
    """The most active channels of one stage.

    Attributes
    ----------
    name : str
    channels : tuple of int
        Their indices, the most active first.
    maps : ndarray of shape (n, *spatial), float32
        At the stage's own resolution.
    activity : ndarray of shape (C,), float64
        Standard deviation over space of every channel of the stage, not only of those that are kept.
    """

    name: str
    channels: tuple[int, ...]
    maps: np.ndarray
    activity: np.ndarray

    @property
    def silent(self) -> int:
        """Channels that say the same everywhere."""
        return int((self.activity < 1e-6 * max(self.activity.max(), 1e-30)).sum())


def _maps_of(subject: Inspection, layers: set[int]) -> dict[int, Tensor]:
    """The maps of some layers for the subject's image, (C, *spatial) each."""
    maps: dict[int, Tensor] = {}

    def see(i: int, found: Tensor) -> None:
        if i in layers:
            maps[i] = found[0].clone()  # a later layer may write over it

    with torch.no_grad():
        run_with_hooks(subject.net, subject.graph, subject.image, on_layer=see)
    return maps


def stage_maps(subject: Inspection, *, n: int = 3) -> tuple[StageMaps, ...]:
    """The `n` most active channels of every stage, in order of computation; activity is deviation over space."""
    found = structure(subject.graph)
    layers = {stage.exit: found.name(stage.key) for stage in found.stages}
    rows = []
    for i, maps in sorted(_maps_of(subject, set(layers)).items()):
        activity = maps.double().flatten(1).std(1, unbiased=False).numpy()
        order = np.argsort(-activity, kind="stable")[:n]
        rows.append(StageMaps(layers[i], tuple(order.tolist()), maps[order.copy()].numpy(), activity))
    return tuple(rows)


@dataclass(frozen=True)
class Attention:
    """Coefficients of one attention gate: where it lets a skip through.

    Attributes
    ----------
    name : str
        The gate's layer.
    alpha : ndarray of shape (*spatial), float32
        0 (held back) to 1 (let through), of the skip's size.
    """

    name: str
    alpha: np.ndarray


def attention_maps(subject: Inspection) -> tuple[Attention, ...]:
    """Attention coefficients of every gate, in order of computation; empty for a net without gates.

    Gates are found in the net's graph: what is multiplied with a map and comes from a sigmoid (or softmax). Gates of
    one number per channel (squeeze and excitation) are not places, and are left out.
    """
    roles = LayerRoles(subject.graph)
    layers = subject.graph.layers
    gates = {
        j: layers[product].name
        for product in sorted(roles.products)
        for j in layers[product].inputs
        if j in roles.gates and not layers[j].is_pixel
    }
    maps = _maps_of(subject, set(gates))
    return tuple(Attention(gates[i].rsplit(".", 1)[0], maps[i].mean(0).numpy()) for i in sorted(maps))


@dataclass(frozen=True)
class Heads:
    """The masks of the heads of a UNet++, and where they disagree.

    Attributes
    ----------
    classes : tuple of ndarray of shape (*spatial), uint8
        L1 first, cropped to the smallest for unpadded nets.
    disagreement : ndarray of shape (*spatial), float64
        Share of the heads that say another class than most of them: 0 where all agree.
    """

    classes: tuple[np.ndarray, ...]
    disagreement: np.ndarray

    @property
    def disputed(self) -> float:
        """Share of the pixels on which not all heads agree."""
        return float((self.disagreement > 0).mean())


def head_masks(subject: Inspection) -> Heads | None:
    """The masks of all heads of a UNet++; None for other nets, and for one with a single head."""
    net = subject.net
    if not isinstance(net, UNetPlusPlus) or len(net.heads) < 2:
        return None
    with torch.no_grad():
        levels = net.levels(subject.image)
    smallest = min((level.shape[2:] for level in levels), key=lambda s: tuple(s))
    classes = tuple(to_classes_of(center_crop(level, smallest)[0]) for level in levels)
    votes = np.stack([(np.stack(classes) == c).mean(0) for c in range(int(max(c.max() for c in classes)) + 1)])
    return Heads(classes, 1 - votes.max(0))


def draw_stages(rows: Sequence[StageMaps]) -> Figure:
    """A row of maps per stage, each from its own darkest to its own brightest value."""
    shown = rows if len(rows) <= _MOST_STAGES else [rows[round(i)] for i in np.linspace(0, len(rows) - 1, _MOST_STAGES)]
    columns = max(len(row.channels) for row in shown)
    figure, axes = new_figure(len(shown), columns, width=4.8, height=1.5 * len(shown) + 0.2)
    for line, row in zip(axes, shown, strict=True):
        for axis in line[len(row.channels) :]:
            axis.set_visible(False)
        for axis, channel, found in zip(line, row.channels, row.maps, strict=False):
            plane = middle(found)
            title = f"{row.name}, channel {channel}" if axis is line[0] else f"channel {channel}"
            show_image(axis, plane, title=title, cmap="gray")
            axis.title.set_fontsize(7.5)
    return figure


def draw_attention(subject: Inspection, rows: Sequence[Attention], *, columns: int = 3) -> Figure:
    """Each gate's coefficients, from 0 (black) to 1 (yellow)."""
    lines = -(-len(rows) // columns)
    figure, axes = new_figure(lines, columns, width=4.8, height=1.75 * lines + 0.5)
    drawn: Any = None
    for axis in axes.flat[len(rows) :]:
        axis.set_visible(False)
    for axis, row in zip(axes.flat, rows, strict=False):
        size = " x ".join(map(str, row.alpha.shape))
        drawn = show_image(axis, middle(row.alpha), title=f"{row.name}\n{size}", cmap="inferno", vmin=0, vmax=1)
        axis.title.set_fontsize(7.5)
    figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.6, label="attention coefficient", aspect=40)
    return figure


def draw_heads(found: Heads, *, columns: int = 3) -> Figure:
    """The mask of every head, and where they disagree."""
    top = max(1, int(max(c.max() for c in found.classes)))
    pictures = [(f"L{i}", middle(c), {"cmap": "viridis", "vmax": top}) for i, c in enumerate(found.classes, start=1)]
    pictures.append(("disagreement", middle(found.disagreement), {"cmap": "magma", "vmax": 0.5}))
    lines = -(-len(pictures) // columns)
    figure, axes = new_figure(lines, columns, width=4.8, height=1.75 * lines + 0.1)
    for axis in axes.flat[len(pictures) :]:
        axis.set_visible(False)
    for axis, (title, picture, options) in zip(axes.flat, pictures, strict=False):
        show_image(axis, picture, title=title, vmin=0, **options)
    return figure
