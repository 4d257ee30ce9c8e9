"""The gradient in an untrained net and in variants of it: without skips, with residual blocks, deeper.

The same image, the same seed, one difference at a time show the effect of a skip, a shortcut or a norm on the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from ..graph.cost import cost, map_sizes
from ..nets.architecture import Architecture, Block, Skip
from ..nets.build import build
from ..nets.net import Net
from ..plotting.matplotlib_style import new_figure, set_log_ticks
from ..plotting.palette import ACCENT, COLOURS, LINE, QUIET, WARM
from .gradient_flow import GradientFlow, gradient_flow, loss_against
from .inspection import Inspection, inspect_array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Variant", "compare_variants", "draw_variants"]

_SIDES = {2: (192, 128), 3: (48, 32)}  # pixels of the image's middle with which nets are compared
_MOST_MACS = 4 * 10**9  # for more, the smaller side is used


@dataclass(frozen=True)
class Variant:
    """An untrained net that differs from another in one respect or two.

    Attributes
    ----------
    name : str
        The difference: "as it is", "no skips", "residual blocks, no skips", "two levels deeper".
    architecture : Architecture
        Its norm is that of the net, or another that shows the effect of the norm.
    flow : GradientFlow
    is_halved : bool
        Its initial weights are half as large as by He's rule, which keeps the size of maps constant.
    """

    name: str
    architecture: Architecture
    flow: GradientFlow
    is_halved: bool = False

    @property
    def setting(self) -> str:
        """Norm and weights in words: "batch norm", "no norm", "no norm, weights halved"."""
        if self.architecture.norm != "none":
            return f"{self.architecture.norm} norm"
        return "no norm, weights halved" if self.is_halved else "no norm"


def compare_variants(inspection: Inspection, *, seed: int = 0) -> tuple[Variant, ...]:
    """Measure the gradient at initialisation in a net and its variants: without skips, residual, deeper.

    Each is built with new weights and run on the middle of the image, 192 x 192 or 48 x 48 x 48 pixels (128 or 32 a
    side for large nets), in three settings: with the net's norm (batch norm if it has none); without a norm; and
    without a norm and with halved weights, a poor initialisation in which each layer makes the gradient smaller.

    Parameters
    ----------
    inspection : Inspection
    seed : int
        Of the new weights; the state of torch's generator is restored.

    Returns
    -------
    tuple of Variant
        Empty for a net that is not one of this package, whose parts cannot be exchanged. Variants that the image is too
        small for are left out: their coarsest map has less than two pixels along an axis.
    """
    net = inspection.net
    if not isinstance(net, Net):
        return ()
    middle = _middle(inspection)
    own = net.architecture
    variants = []
    for name, architecture in _architectures(own, inspection.image[middle].shape[2:]).items():
        for norm in (own.norm, "batch" if own.norm == "none" else "none"):
            changed = replace(architecture, norm=norm)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                untrained = build(changed)
            for is_halved in (False, True) if norm == "none" else (False,):
                for parameter in untrained.parameters() if is_halved else ():
                    if parameter.ndim > 1:
                        parameter.data.div_(2)
                flow = _flow_of(untrained, inspection, middle)
                if flow is not None:
                    variants.append(Variant(name, changed, flow, is_halved))
    return tuple(variants)


def _middle(inspection: Inspection) -> tuple[slice, ...]:
    """The part of an image that is used, batch and channels first."""
    graph, whole = inspection.graph, inspection.size
    sides = list(whole)
    for most in _SIDES[inspection.ndim]:
        candidate = [min(n, most) for n in whole]
        fitting = graph.geometry.below(candidate)
        if None not in fitting:
            sides = candidate
            if cost(graph, fitting).macs <= _MOST_MACS:  # type: ignore[arg-type]
                break
    starts = [(n - m) // 2 for n, m in zip(whole, sides, strict=True)]
    return slice(None), slice(None), *(slice(a, a + m) for a, m in zip(starts, sides, strict=True))


def _architectures(own: Architecture, size: Sequence[int]) -> dict[str, Architecture]:
    """The architectures to compare, by their difference."""
    variants, base = {"as it is": own}, own
    if own.topology == "unet++":
        base = replace(own, topology="unet", heads="last")
        variants["as a U-Net"] = base
    skip: Skip
    skip, words = ("concat", "with skips") if base.skip == "none" else ("none", "no skips")
    variants[words] = replace(base, skip=skip)
    if own.encoder is not None:
        return variants
    if own.block != "dense":
        block: Block = "residual" if own.block == "plain" else "plain"
        variants[f"{block} blocks"] = replace(base, block=block)
        variants[f"{block} blocks, {words}"] = replace(base, block=block, skip=skip)
    for n, number in ((2, "two levels"), (1, "one level")):
        deep = _deeper(base, n)
        rows: Any = deep.strides
        if all(2 * math.prod(strides) <= m for strides, m in zip(zip(*rows, strict=True), size, strict=True)):
            return variants | {f"{number} deeper": deep, f"{number} deeper, {words}": replace(deep, skip=skip)}
    return variants


def _deeper(a: Architecture, n: int) -> Architecture:
    """Add `n` levels below, each like the coarsest."""
    rows = {name: getattr(a, name) for name in ("widths", "convolutions", "kernels", "strides", "decoder_widths")}
    longer: dict[str, Any] = {name: (*row, *[row[-1]] * n) for name, row in rows.items() if row is not None}
    return replace(a, **longer)


def _flow_of(net: Net, inspection: Inspection, middle: tuple[slice, ...]) -> GradientFlow | None:
    image = inspection.image[middle][0].numpy()
    if None in net.geometry.below(image.shape[1:]):
        return None
    truth = None if inspection.truth is None else inspection.truth[middle[2:]]
    part = inspect_array(net, image, name="", source="", truth=truth)
    rows = zip(part.graph.layers, map_sizes(part.graph, part.size), strict=True)
    if min(min(size) for layer, size in rows if not layer.fixed_size) < 2:
        return None
    return gradient_flow(net, part.graph, part.image, loss=loss_against(part.output_truth))


def draw_variants(variants: Sequence[Variant]) -> Figure:
    """Draw the gradient at the first encoder stage as a multiple of that at the last decoder stage: a row per net."""
    names = list(dict.fromkeys(variant.name for variant in variants))
    settings = list(dict.fromkeys(variant.setting for variant in variants))
    figure, axes = new_figure(height=1.2 + 0.3 * len(names))
    axis = axes[0, 0]
    for setting, colour, marker in zip(settings, (ACCENT, WARM, COLOURS[3]), ("o", "D", "s"), strict=False):
        rows = [(v.flow.reach, names.index(v.name)) for v in variants if v.setting == setting]
        shown = [(reach, row) for reach, row in rows if reach > 0] or [(math.nan, 0)]
        axis.plot(*zip(*shown, strict=True), marker, color=colour, markersize=6, label=setting)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.axvline(1, color=QUIET, linewidth=1, linestyle="--", zorder=1)
    set_log_ticks(axis.xaxis, [1.0, *(variant.flow.reach for variant in variants)])
    axis.grid(visible=False, axis="y")
    axis.hlines(range(len(names)), *axis.get_xlim(), color=LINE, linewidth=0.8, zorder=0)
    axis.set_xlabel("gradient at the first stage / at the last")
    figure.legend(loc="outside upper right", ncols=3, columnspacing=1, handletextpad=0.2)
    return figure
