"""Which level of a UNet++ is worth its time: every pruned net, scored and timed on the run's own validation images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.dataset import load_dataset
from ..data.pairs import find_pairs
from ..model.files import read_model
from ..model.run_paths import RunPaths
from ..nets.unetpp import UNetPlusPlus
from .plan.files import read_plan_file
from .state import validate


def compare_levels(run: Path | str) -> list[dict[str, Any]]:
    """Score and time of each level on the images that the training held out.

    Parameters
    ----------
    run : path
        Run folder of a UNet++ with a head on every depth; its images are read from where they were.

    Returns
    -------
    list of dict
        Per level, the smallest first, and for the mean of all heads ("all"): level, parameters, Dice (mean over the
        foreground classes), pixel_error, s_per_image.

    Raises
    ------
    FileNotFoundError
        If the run has no plan or model.
    ValueError
        If the net has no levels, or the training held nothing out.
    """
    run = Path(run)
    net, card = read_model(run)
    if not isinstance(net, UNetPlusPlus) or net.architecture.heads != "all":
        raise ValueError(f"{run}: its net has one head, so there are no levels to compare; train with --net unet++")
    plan = read_plan_file(RunPaths(run).plan)
    if plan.data.validation_fraction == 0:
        raise ValueError(f"{run}: was trained with --validation 0, so no images are left to compare levels on")
    pairs = find_pairs(plan.data.images, plan.data.masks)
    dataset = load_dataset(pairs, labels=plan.data.labels, objects=net.out_channels > 2, resample=plan.data.resample)
    _, held_out = plan.split(dataset.cases)
    nets = {f"L{level}": net.prune(level) for level in range(1, net.depth + 1)} | {"all": net}
    rows = []
    for name, one in nets.items():
        score = validate(one, held_out, device=plan.device.name, planes=card.planes)
        parameters = sum(p.numel() for p in one.parameters())
        rows.append(
            {
                "level": name,
                "parameters": parameters,
                "dice": score.mean_dice,
                "pixel_error": score.pixel_error,
                "s_per_image": score.time_s / len(held_out),
            }
        )
    return rows
