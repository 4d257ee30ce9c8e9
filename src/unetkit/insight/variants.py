"""The gradient in a net before any training, and in its relatives: without skips, with residual blocks, deeper.

The same image, the same seed, one difference at a time: what a skip, a shortcut or a norm does for the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from ..graph.cost import cost, map_sizes
from ..nets.architecture import Architecture
from ..nets.build import build
from ..nets.net import Net
from ..plotting.matplotlib_style import ACCENT, COLOURS, LINE, QUIET, WARM, new_figure
from .gradient_flow import GradientFlow, gradient_flow, loss_against, set_log_ticks
from .inspection import Inspection, subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Relative", "draw_relatives", "relatives"]

_SIDES = {2: (192, 128), 3: (48, 32)}  # pixels of the image's middle on which nets are compared
_MOST_MACS = 4 * 10**9  # else on the smaller one


@dataclass(frozen=True)
class Relative:
    """A net that was never trained, and differs from another in one respect or two.

    Attributes
    ----------
    name : str
        How it differs: "as it is", "no skips", "residual blocks, no skips", "two levels deeper".
    architecture : Architecture
        Its norm is that of the net, or another that shows what the norm does.
    flow : GradientFlow
    is_halved : bool
        Its first weights are half as large as He's rule makes them, which is fitted to keep the size of maps.
    """

    name: str
    architecture: Architecture
    flow: GradientFlow
    is_halved: bool = False

    @property
    def setting(self) -> str:
        """Its norm and its weights in words: "batch norm", "no norm", "no norm, weights halved"."""
        if self.architecture.norm != "none":
            return f"{self.architecture.norm} norm"
        return "no norm, weights halved" if self.is_halved else "no norm"


def relatives(looked_at: Inspection, *, seed: int = 0) -> tuple[Relative, ...]:
    """Follow the gradient at initialisation, in a net and in others like it: without skips, residual, deeper.

    Each is built with fresh weights and given the middle of the image, 192 x 192 or 48 x 48 x 48 pixels (128 or 32 a
    side for large nets). Each comes three times: with the net's norm (batch norm, where it has none); without any; and
    without any and its weights halved, a poor start with which each layer on the way back makes the gradient smaller.

    Parameters
    ----------
    looked_at : Subject
    seed : int
        Of the fresh weights; the state of torch's generator is left as it was.

    Returns
    -------
    tuple of Relative
        Empty for a net that is not one of this package, whose parts cannot be exchanged. Left out is what the image is
        too small for: the coarsest map has at least two pixels per axis.
    """
    net = looked_at.net
    if not isinstance(net, Net):
        return ()
    middle = _middle(looked_at)
    own = net.architecture
    found = []
    for name, architecture in _kin(own, looked_at.image[middle].shape[2:]).items():
        for norm in (own.norm, "batch" if own.norm == "none" else "none"):
            changed = replace(architecture, norm=norm)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                fresh = build(changed)
            for is_halved in (False, True) if norm == "none" else (False,):
                flow = _flow_of(_halved(fresh) if is_halved else fresh, looked_at, middle)
                if flow is not None:
                    found.append(Relative(name, changed, flow, is_halved))
    return tuple(found)


@torch.no_grad()
def _halved(net: Net) -> Net:
    for parameter in net.parameters():
        if parameter.ndim > 1:
            parameter.div_(2)
    return net


def _middle(looked_at: Inspection) -> tuple[slice, ...]:
    """The part of an image that is used, batch and channels first."""
    graph, have = looked_at.graph, looked_at.size
    large, small = ([min(n, side) for n in have] for side in _SIDES[looked_at.ndim])
    sides = list(have)
    for tried in (large, small):
        fitting = graph.geometry.below(tried)
        if None not in fitting:
            sides = tried
            if cost(graph, fitting).macs <= _MOST_MACS:  # type: ignore[arg-type]
                break
    starts = [(n - m) // 2 for n, m in zip(have, sides, strict=True)]
    return slice(None), slice(None), *(slice(a, a + m) for a, m in zip(starts, sides, strict=True))


def _kin(own: Architecture, size: Sequence[int]) -> dict[str, Architecture]:
    """The architectures to compare, by what makes them differ."""
    found, base = {"as it is": own}, own
    if own.topology == "unet++":
        base = replace(own, topology="unet", heads="last")
        found["as a U-Net"] = base
    word = "with skips" if base.skip == "none" else "no skips"
    turned: dict[str, Any] = {"skip": "concat" if base.skip == "none" else "none"}
    found[word] = replace(base, **turned)
    if own.encoder is not None:
        return found
    if own.block != "dense":
        other: dict[str, Any] = {"block": "residual" if own.block == "plain" else "plain"}
        found[f"{other['block']} blocks"] = replace(base, **other)
        found[f"{other['block']} blocks, {word}"] = replace(base, **other, **turned)
    for n, number in ((2, "two levels"), (1, "one level")):
        deep = _deeper(base, n)
        rows: Any = deep.strides
        if all(2 * math.prod(strides) <= m for strides, m in zip(zip(*rows, strict=True), size, strict=True)):
            return found | {f"{number} deeper": deep, f"{number} deeper, {word}": replace(deep, **turned)}
    return found


def _deeper(a: Architecture, n: int) -> Architecture:
    """With `n` more levels below, each like the coarsest."""
    longer: dict[str, Any] = {
        name: (*row, *[row[-1]] * n)
        for name in ("widths", "convolutions", "kernels", "strides", "decoder_widths")
        if (row := getattr(a, name)) is not None
    }
    return replace(a, **longer)


def _flow_of(net: Net, looked_at: Inspection, middle: tuple[slice, ...]) -> GradientFlow | None:
    image = looked_at.image[middle][0].numpy()
    if None in net.geometry.below(image.shape[1:]):
        return None
    truth = None if looked_at.truth is None else looked_at.truth[middle[2:]]
    part = subject(net, image, name="", source="", truth=truth)
    rows = zip(part.graph.layers, map_sizes(part.graph, part.size), strict=True)
    if min(min(size) for layer, size in rows if not layer.is_pixel) < 2:
        return None
    return gradient_flow(net, part.graph, part.image, loss=loss_against(part.output_truth))


def draw_relatives(found: Sequence[Relative]) -> Figure:
    """Gradient at the first encoder stage as a multiple of that at the last decoder stage: a row per net."""
    names = list(dict.fromkeys(one.name for one in found))
    settings = list(dict.fromkeys(one.setting for one in found))
    figure, axes = new_figure(height=1.2 + 0.3 * len(names))
    axis = axes[0, 0]
    for setting, colour, marker in zip(settings, (ACCENT, WARM, COLOURS[3]), ("o", "D", "s"), strict=False):
        rows = [(one.flow.reach, names.index(one.name)) for one in found if one.setting == setting]
        shown = [(reach, row) for reach, row in rows if reach > 0] or [(math.nan, 0)]
        axis.plot(*zip(*shown, strict=True), marker, color=colour, markersize=6, label=setting)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.axvline(1, color=QUIET, linewidth=1, linestyle="--", zorder=1)
    set_log_ticks(axis.xaxis, [1.0, *(one.flow.reach for one in found)])
    axis.grid(visible=False, axis="y")
    axis.hlines(range(len(names)), *axis.get_xlim(), color=LINE, linewidth=0.8, zorder=0)
    axis.set_xlabel("gradient at the first stage / at the last")
    figure.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=8, columnspacing=1, handletextpad=0.2)
    return figure
