"""Scores and times of every pruned level of a UNet++, on the images that its training held out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ..inference.execution import Execution
from ..inference.predictor import Predictor
from ..model.files import read_model
from ..nets.unetpp import UNetPlusPlus
from .run import Run
from .validation import validate

__all__ = ["LevelScore", "compare_levels"]


@dataclass(frozen=True)
class LevelScore:
    """A level of a UNet++ by itself.

    Attributes
    ----------
    level : str
        "L1", "L2", ..., or "all", the mean of all heads.
    parameters : int
    dice : float
        Mean over the foreground classes.
    pixel_error : float
    s_per_image : float
    """

    level: str
    parameters: int
    dice: float
    pixel_error: float
    s_per_image: float


def compare_levels(folder: Path | str, *, data: Path | None = None) -> list[LevelScore]:
    """Score and time each level on the held-out images.

    Parameters
    ----------
    folder : path
        Run folder of a UNet++ with a head on every depth; its images are read from where they were.
    data : path, optional
        Where its images and masks are now.

    Returns
    -------
    list of LevelScore
        The smallest first, then the mean of all heads.

    Raises
    ------
    FileNotFoundError
        If the run has no plan or model.
    ValueError
        If the net has no levels, or the training held nothing out.
    """
    run = Run.open(folder, data=data)
    net, card = read_model(run.paths.root)
    if not isinstance(net, UNetPlusPlus) or net.architecture.heads != "all":
        raise ValueError(f"{folder}: its net has one head, so there are no levels to compare; train with --net unet++")
    if run.plan.data.validation_fraction == 0:
        raise ValueError(f"{folder}: was trained with --validation 0, so no images are left to compare levels on")
    _, held_out = run.split()
    nets = {f"L{level}": net.prune(level) for level in range(1, net.depth + 1)} | {"all": net}
    rows = []
    for level, pruned in nets.items():
        score = validate(Predictor(pruned, card, Execution(device=run.plan.device.name)), held_out)
        parameters = sum(p.numel() for p in pruned.parameters())
        dice = math.nan if score.mean_dice is None else score.mean_dice
        rows.append(LevelScore(level, parameters, dice, score.pixel_error, score.time_s / len(held_out)))
    return rows
