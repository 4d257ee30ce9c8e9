"""Feature maps of a net for one image: active channels of every stage, attention, the heads of a UNet++."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..graph.hooks import run_with_hooks
from ..graph.roles import LayerRoles
from ..graph.stages import structure
from ..nets.layers import center_crop
from ..nets.unetpp import UNetPlusPlus
from ..plotting.matplotlib_style import image_grid, middle_plane, new_figure, show_image
from .ablation import predicted_classes
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
        """Number of channels that are constant over the image."""
        return int((self.activity < 1e-6 * max(self.activity.max(), 1e-30)).sum())


def _maps_of(inspection: Inspection, layers: set[int]) -> dict[int, Tensor]:
    """The maps of some layers for the inspected image, (C, *spatial) each."""
    maps: dict[int, Tensor] = {}

    def keep(i: int, features: Tensor) -> None:
        if i in layers:
            maps[i] = features[0].clone()  # a later layer may write over it

    with torch.no_grad():
        run_with_hooks(inspection.net, inspection.graph, inspection.image, on_layer=keep)
    return maps


def stage_maps(inspection: Inspection, *, n: int = 3) -> tuple[StageMaps, ...]:
    """The `n` most active channels of every stage, in order of computation; activity is deviation over space."""
    net = structure(inspection.graph)
    layers = {stage.exit: net.name(stage.key) for stage in net.stages}
    rows = []
    for i, maps in sorted(_maps_of(inspection, set(layers)).items()):
        activity = maps.double().flatten(1).std(1, unbiased=False).numpy()
        order = np.argsort(-activity, kind="stable")[:n]
        rows.append(StageMaps(layers[i], tuple(order.tolist()), maps[order.copy()].numpy(), activity))
    return tuple(rows)


@dataclass(frozen=True)
class Attention:
    """Coefficients of one attention gate.

    Attributes
    ----------
    name : str
        The gate's layer.
    alpha : ndarray of shape (*spatial), float32
        Factors of the skip's pixels, 0 (suppressed) to 1 (passed), of the skip's size.
    """

    name: str
    alpha: np.ndarray


def attention_maps(inspection: Inspection) -> tuple[Attention, ...]:
    """Attention coefficients of every gate, in order of computation; empty for a net without gates.

    A gate, in the net's graph, is the output of a sigmoid (or softmax) that is multiplied with a map. Gates of one
    number per channel (squeeze and excitation) are not spatial, and are left out.
    """
    roles = LayerRoles(inspection.graph)
    layers = inspection.graph.layers
    gates = {
        j: layers[product].name
        for product in sorted(roles.products)
        for j in layers[product].inputs
        if j in roles.gates and not layers[j].fixed_size
    }
    maps = _maps_of(inspection, set(gates))
    return tuple(Attention(gates[i].rsplit(".", 1)[0], maps[i].mean(0).numpy()) for i in sorted(maps))


@dataclass(frozen=True)
class Heads:
    """The masks of the heads of a UNet++, and where they disagree.

    Attributes
    ----------
    classes : tuple of ndarray of shape (*spatial), uint8
        L1 first, cropped to the smallest for unpadded nets.
    disagreement : ndarray of shape (*spatial), float64
        Share of the heads that give another class than most of them: 0 where all agree.
    """

    classes: tuple[np.ndarray, ...]
    disagreement: np.ndarray

    @property
    def disputed(self) -> float:
        """Share of the pixels on which not all heads agree."""
        return float((self.disagreement > 0).mean())


def head_masks(inspection: Inspection) -> Heads | None:
    """The masks of all heads of a UNet++; None for other nets, and for one with a single head."""
    net = inspection.net
    if not isinstance(net, UNetPlusPlus) or len(net.heads) < 2:
        return None
    with torch.no_grad():
        levels = net.levels(inspection.image)
    smallest = min((level.shape[2:] for level in levels), key=lambda s: tuple(s))
    classes = tuple(predicted_classes(center_crop(level, smallest)[0]) for level in levels)
    votes = np.stack([(np.stack(classes) == c).mean(0) for c in range(int(max(c.max() for c in classes)) + 1)])
    return Heads(classes, 1 - votes.max(0))


def draw_stages(rows: Sequence[StageMaps]) -> Figure:
    """Draw a row of maps per stage, each from its own darkest to its own brightest value."""
    shown = rows if len(rows) <= _MOST_STAGES else [rows[round(i)] for i in np.linspace(0, len(rows) - 1, _MOST_STAGES)]
    columns = max(len(row.channels) for row in shown)
    figure, axes = new_figure(len(shown), columns, height=1.5 * len(shown) + 0.2)
    for line, row in zip(axes, shown, strict=True):
        for axis in line[len(row.channels) :]:
            axis.set_visible(False)
        for axis, channel, features in zip(line, row.channels, row.maps, strict=False):
            title = f"{row.name}, channel {channel}" if axis is line[0] else f"channel {channel}"
            show_image(axis, middle_plane(features), title=title, cmap="gray")
            axis.title.set_fontsize(7.5)
    return figure


def draw_attention(gates: Sequence[Attention], *, columns: int = 3) -> Figure:
    """Draw each gate's coefficients, from 0 (black) to 1 (yellow)."""
    style = {"cmap": "inferno", "vmin": 0, "vmax": 1}
    pictures = [(f"{g.name}\n{' x '.join(map(str, g.alpha.shape))}", middle_plane(g.alpha), style) for g in gates]
    figure, axes, last = image_grid(pictures, columns=columns, row_height=1.75, extra=0.5)
    figure.colorbar(last, ax=axes, location="bottom", shrink=0.6, label="attention coefficient", aspect=40)
    return figure


def draw_heads(heads: Heads, *, columns: int = 3) -> Figure:
    """Draw the mask of every head, and where they disagree."""
    style = {"cmap": "viridis", "vmin": 0, "vmax": max(1, int(max(c.max() for c in heads.classes)))}
    pictures = [(f"L{i}", middle_plane(classes), style) for i, classes in enumerate(heads.classes, start=1)]
    pictures.append(("disagreement", middle_plane(heads.disagreement), {"cmap": "magma", "vmin": 0, "vmax": 0.5}))
    return image_grid(pictures, columns=columns, row_height=1.75, extra=0.1)[0]
