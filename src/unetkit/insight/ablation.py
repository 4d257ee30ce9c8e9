"""Ablation of the paths of a net: replace what each skip carries, and score the masks that result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isnan, nan
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..graph.hooks import Edge, run_with_hooks
from ..graph.stages import Structure, structure
from ..metrics.evaluation import score_image
from ..plotting.matplotlib_style import Picture, image_grid, middle_plane, new_figure
from ..plotting.palette import ACCENT, QUIET, WARM
from .inspection import Inspection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["REPLACEMENTS", "AblatedMask", "Ablation", "ablate_paths", "draw_effects", "draw_masks"]
__all__ += ["predicted_classes"]

REPLACEMENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "zero": torch.zeros_like,
    "mean": lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=True).expand_as(x),
}
_TOLERANCE = 2.0  # pixels
_MOST_PATHS = 14  # of a UNet++ the arrows into the last nodes, on which all other nodes depend


@dataclass(frozen=True)
class AblatedMask:
    """The mask of a net with one path replaced.

    Attributes
    ----------
    path : str
        "skip 1 (encoder 1 to decoder 1)"; "" for the whole net.
    replacement : str
        "zero": the path carries zeros; "mean": each channel carries its mean over the image, so that the level of its
        signals is kept and only their spatial information is lost.
    classes : ndarray of shape (*spatial), uint8
    changed : float
        Share of the pixels whose class is another than that of the whole net.
    dice, boundary_f1 : float
        Mean over the foreground classes that occur, against the truth; without a truth, against the whole net.
    """

    path: str
    replacement: str
    classes: np.ndarray
    changed: float
    dice: float
    boundary_f1: float


@dataclass(frozen=True)
class Ablation:
    """All paths of a net, replaced one at a time.

    Attributes
    ----------
    whole : AblatedMask
        Of the net as it is.
    masks : tuple of AblatedMask
        One per path and replacement; the last two are of all skips together.
    is_scored : bool
        True if there is a truth; else scores are agreement with the whole net.
    tolerance : float
        Of boundary F1, in pixels.
    """

    whole: AblatedMask
    masks: tuple[AblatedMask, ...]
    is_scored: bool
    tolerance: float = _TOLERANCE

    def by(self, replacement: str) -> tuple[AblatedMask, ...]:
        """Masks of one kind of replacement."""
        return tuple(mask for mask in self.masks if mask.replacement == replacement)


def ablate_paths(inspection: Inspection, *, tolerance: float = _TOLERANCE) -> Ablation:
    """Replace every skip, and the path up from the bottom, and score the masks that result.

    Parameters
    ----------
    inspection : Inspection
    tolerance : float
        Distance in pixels within which boundaries match.

    Returns
    -------
    Ablation
        Without masks if the net has no skips and no levels.
    """
    truth = inspection.output_truth
    plain = _classes(inspection, {})
    reference = plain if truth is None else truth

    def score(path: str, replacement: str, classes: np.ndarray) -> AblatedMask:
        n = max(2, 1 + int(max(classes.max(), plain.max(), reference[reference < 255].max(initial=0))))
        names = inspection.classes if len(inspection.classes) >= n else tuple(f"class {i}" for i in range(n))
        scores = score_image(inspection.source, classes, reference, names, tolerance=tolerance).classes[1:]
        means = []
        for key in ("dice", "boundary_f1"):
            values = [value for c in scores if c.occurs and not isnan(value := getattr(c, key))]
            means.append(float(np.mean(values)) if values else nan)
        return AblatedMask(path, replacement, classes, float((classes != plain).mean()), *means)

    masks = [
        score(path, replacement, _classes(inspection, dict.fromkeys(edges, replace)))
        for path, edges in _paths(structure(inspection.graph))
        for replacement, replace in REPLACEMENTS.items()
    ]
    return Ablation(score("", "", plain), tuple(masks), truth is not None, tolerance)


def _paths(net: Structure) -> list[tuple[str, tuple[Edge, ...]]]:
    """Names and edges of the paths: skips finest first, the bottom, all skips."""
    skips = [a for a in net.arrows if a.kind == "skip" and a.arrivals]
    skips.sort(key=lambda a: (a.source.turn, a.source.level, a.target.level, a.source.deepest, a.target.deepest))
    shown = skips if len(skips) <= _MOST_PATHS else [a for a in skips if a.target.deepest == net.depth]
    paths = [(f"{net.name(a.source)} to {net.name(a.target)}", a.arrivals) for a in shown]
    ups = [a for a in net.arrows if a.kind == "up" and a.source.level == net.depth]
    paths += [("the bottom", tuple(edge for a in ups for edge in a.arrivals))] if ups else []
    if len(skips) > 1:
        paths.append(("all skips", tuple(edge for a in skips for edge in a.arrivals)))
    return paths


@torch.no_grad()
def _classes(inspection: Inspection, edges: Mapping[Edge, Callable[[Tensor], Tensor]]) -> np.ndarray:
    return predicted_classes(run_with_hooks(inspection.net, inspection.graph, inspection.image, on_edge=edges)[0])


def predicted_classes(logits: Tensor) -> np.ndarray:
    """Class indices (*spatial), uint8, of logits (K, *spatial); one channel is foreground where it is positive."""
    classes = logits[0] > 0 if logits.shape[0] == 1 else logits.argmax(0)
    return classes.to(torch.uint8).numpy()


def draw_effects(ablation: Ablation) -> Figure:
    """Draw the change of Dice and of boundary F1 without each path (replaced by its mean)."""
    masks = ablation.by("mean")
    figure, axes = new_figure(height=0.75 + 0.42 * len(masks))
    axis, at = axes[0, 0], np.arange(len(masks))
    rows = (("Dice", "dice", ACCENT, -0.19), ("boundary F1", "boundary_f1", WARM, 0.19))
    for name, key, colour, offset in rows:
        before = getattr(ablation.whole, key)
        axis.barh(at + offset, [getattr(m, key) - before for m in masks], 0.34, color=colour, label=name)
    axis.axvline(0, color=QUIET, linewidth=0.8)
    axis.set_yticks(at, [mask.path for mask in masks])
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("change without the path")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def draw_masks(inspection: Inspection, ablation: Ablation, *, columns: int = 3) -> Figure:
    """Draw the image, the truth, the mask of the whole net, and the masks without each path (its mean)."""
    image = middle_plane(inspection.image[0, 0].numpy())
    top = int(max(mask.classes.max() for mask in (ablation.whole, *ablation.masks)))
    style = {"cmap": "viridis", "vmin": 0, "vmax": max(top, 1)}
    pictures: list[Picture] = [("image", image, {"cmap": "gray"})]
    truth = inspection.output_truth
    if truth is not None:
        pictures.append(("truth", middle_plane(np.where(truth == 255, 0, truth)), style))
    pictures.append(("the whole net", middle_plane(ablation.whole.classes), style))
    pictures += [(f"without\n{mask.path}", middle_plane(mask.classes), style) for mask in ablation.by("mean")]
    height, width = image.shape
    return image_grid(pictures, columns=columns, row_height=1.55 * min(1.5, height / width) + 0.4)[0]
