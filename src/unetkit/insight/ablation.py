"""What each path of a net carries: silence it, and see what becomes of the mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..graph.hooks import Edge, run_with_hooks
from ..graph.stages import Arrow, Structure, structure
from ..metrics.evaluation import score_image
from ..plotting.matplotlib_style import ACCENT, WARM, new_figure, show_image
from .inspection import Inspection
from .receptive_field import plane_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["HOW", "Mask", "Silencing", "draw_effects", "draw_masks", "silence"]

HOW: dict[str, Callable[[Tensor], Tensor]] = {
    "zero": torch.zeros_like,
    "mean": lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=True).expand_as(x),
}
_TOLERANCE = 2.0  # pixels
_MOST_PATHS = 14  # of a UNet++ the arrows into the last nodes, which every other node goes through


@dataclass(frozen=True)
class Mask:
    """What the net answers with one path silenced.

    Attributes
    ----------
    path : str
        "skip 1 (encoder 1 to decoder 1)"; "" for the net as it is.
    how : str
        "zero": the path carries zeros; "mean": each channel its mean over the image, so that the level of signals is
        kept and only what they say of *where* is lost.
    classes : ndarray of shape (*spatial), uint8
    changed : float
        Share of the pixels whose class is another than without silencing.
    dice, boundary_f1 : float
        Mean over the foreground classes that occur, against the truth; without a truth, against the net as it is.
    """

    path: str
    how: str
    classes: np.ndarray
    changed: float
    dice: float
    boundary_f1: float


@dataclass(frozen=True)
class Silencing:
    """All paths of a net, silenced one at a time.

    Attributes
    ----------
    whole : Mask
        The net as it is.
    masks : tuple of Mask
        One per path and way of silencing; the last two are all skips together.
    is_scored : bool
        Whether there is a truth; else scores are agreement with the net as it is.
    tolerance : float
        Of boundary F1, in pixels.
    """

    whole: Mask
    masks: tuple[Mask, ...]
    is_scored: bool
    tolerance: float = _TOLERANCE

    def of(self, how: str) -> tuple[Mask, ...]:
        """Those silenced in one way."""
        return tuple(mask for mask in self.masks if mask.how == how)


def silence(subject: Inspection, *, tolerance: float = _TOLERANCE) -> Silencing:
    """Silence every skip, and what comes from the bottom, and score the masks that result.

    Parameters
    ----------
    subject : Subject
    tolerance : float
        Distance in pixels within which boundaries match.

    Returns
    -------
    Silencing
        Without masks where the net has no skips and no levels.
    """
    found = structure(subject.graph)
    truth = subject.output_truth
    plain = _classes(subject, {})
    reference = plain if truth is None else truth
    whole = _scored(subject, "", "", plain, plain, reference, tolerance)
    masks = []
    for path, edges in _paths(found):
        for how, change in HOW.items():
            classes = _classes(subject, dict.fromkeys(edges, change))
            masks.append(_scored(subject, path, how, classes, plain, reference, tolerance))
    return Silencing(whole, tuple(masks), truth is not None, tolerance)


def _paths(found: Structure) -> list[tuple[str, tuple[Edge, ...]]]:
    """Names of the paths that are silenced, and where: skips finest first, the bottom, all skips."""
    skips = sorted((a for a in found.arrows if a.kind == "skip" and a.arrivals), key=_order)
    shown = skips if len(skips) <= _MOST_PATHS else [a for a in skips if a.target.deepest == found.depth]
    rows = [(f"{found.name(a.source)} to {found.name(a.target)}", a.arrivals) for a in shown]
    ups = [a for a in found.arrows if a.kind == "up" and a.source.level == found.depth]
    rows += [("the bottom", tuple(edge for a in ups for edge in a.arrivals))] if ups else []
    if len(skips) > 1:
        rows.append(("all skips", tuple(edge for a in skips for edge in a.arrivals)))
    return rows


def _order(arrow: Arrow) -> tuple[int, ...]:
    return (arrow.source.turn, arrow.source.level, arrow.target.level, arrow.source.deepest, arrow.target.deepest)


@torch.no_grad()
def _classes(subject: Inspection, edges: Mapping[Edge, Callable[[Tensor], Tensor]]) -> np.ndarray:
    logits = run_with_hooks(subject.net, subject.graph, subject.image, on_edge=edges)[0]
    return to_classes_of(logits)


def to_classes_of(logits: Tensor) -> np.ndarray:
    """Class indices (*spatial), uint8, of logits (K, *spatial); one channel is foreground where it is positive."""
    classes = logits[0] > 0 if logits.shape[0] == 1 else logits.argmax(0)
    return classes.to(torch.uint8).numpy()


def _scored(
    subject: Inspection,
    path: str,
    how: str,
    classes: np.ndarray,
    plain: np.ndarray,
    reference: np.ndarray,
    tolerance: float,
) -> Mask:
    names = subject.classes
    top = int(max(classes.max(), plain.max(), reference[reference < 255].max(initial=0))) + 1
    names = names if len(names) >= top else tuple(f"class {i}" for i in range(max(top, 2)))
    score = score_image(subject.source, classes, reference, names, tolerance=tolerance)
    foreground = [one for one in score.classes[1:] if one.occurs]
    dice, edge = ([getattr(one, key) for one in foreground] for key in ("dice", "boundary_f1"))
    changed = float((classes != plain).mean())
    return Mask(path, how, classes, changed, _mean(dice), _mean(edge))


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else float("nan")


def draw_effects(found: Silencing) -> Figure:
    """Change of Dice and of boundary F1 with each path silenced (by its mean)."""
    masks = found.of("mean")
    figure, axes = new_figure(height=0.75 + 0.42 * len(masks))
    axis, at = axes[0, 0], np.arange(len(masks))
    rows = (("Dice", "dice", ACCENT, -0.19), ("boundary F1", "boundary_f1", WARM, 0.19))
    for name, key, colour, offset in rows:
        before = getattr(found.whole, key)
        axis.barh(at + offset, [getattr(m, key) - before for m in masks], 0.34, color=colour, label=name)
    axis.axvline(0, color="#68707a", linewidth=0.8)
    axis.set_yticks(at, [mask.path for mask in masks])
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("change when silenced")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def draw_masks(subject: Inspection, found: Silencing, *, columns: int = 3) -> Figure:
    """The mask with each path silenced (by its mean), beside the image, the truth and the net as it is."""
    image = plane_of(subject.image[0].numpy())
    pictures: list[tuple[str, np.ndarray, dict[str, Any]]] = [("image", image, {"cmap": "gray"})]
    top = int(max(mask.classes.max() for mask in (found.whole, *found.masks)))
    look: dict[str, Any] = {"cmap": "viridis", "vmin": 0, "vmax": max(top, 1)}
    truth = subject.output_truth
    if truth is not None:
        pictures.append(("truth", middle(np.where(truth == 255, 0, truth)), look))
    pictures.append(("the net as it is", middle(found.whole.classes), look))
    pictures += [(f"without\n{mask.path}", middle(mask.classes), look) for mask in found.of("mean")]
    rows = -(-len(pictures) // columns)
    height, width = image.shape
    figure, axes = new_figure(rows, columns, width=4.8, height=rows * (1.55 * min(1.5, height / width) + 0.4))
    for axis in axes.flat:
        axis.set_visible(False)
    for axis, (title, picture, options) in zip(axes.flat, pictures, strict=False):
        axis.set_visible(True)
        show_image(axis, picture, title=title, **options)
        axis.title.set_fontsize(7.5)
    return figure


def middle(classes: np.ndarray) -> np.ndarray:
    """A plane (y, x) of a label image: itself in 2D, the middle one of a volume."""
    return classes if classes.ndim == 2 else classes[classes.shape[0] // 2]
