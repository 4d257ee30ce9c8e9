"""Which net, which image, which truth: what the user named, or what a run folder knows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ...data.pairs import Pair, find_pairs
from ...data.split import FEW, split
from ...insight.inspection import Inspection, image_subject, noise_subject, subject
from ...io.filenames import is_image_folder
from ...model.files import read_model
from ...model.run_paths import RunPaths
from ...nets.build import build
from ...nets.net import Net
from ..run import Run, measure_objects, read_run
from .receptive_fields import Objects

__all__ = ["Choice", "choose", "choose_own", "page_path"]


@dataclass(frozen=True)
class Choice:
    """What is looked at.

    Attributes
    ----------
    subject : Subject
    objects : (diameters, sentence) or None
        Of the training data's masks, where they are at hand.
    notes : tuple of str
        What the user should know about how the image was chosen.
    """

    subject: Inspection
    objects: Objects | None = None
    notes: tuple[str, ...] = ()


def choose(
    model: Path | Net, *, image: Path | None = None, mask: Path | None = None, name: str | None = None
) -> Choice:
    """Find the image that a net is looked at with.

    Parameters
    ----------
    model : Path or Net
        A run folder, a model file, or a net that is built anew with random weights.
    image, mask : Path, optional
        An image file, and its true mask. Without a mask the run's own data are searched for that image; without an
        image the first one is taken that the run has held out for validation.
    name : str, optional
        Of a net without a run: the page says it.

    Raises
    ------
    ValueError
        If a mask is given without an image or without a trained net, or the image does not fit the net.
    FileNotFoundError
        If a file does not exist.
    """
    if mask is not None and (image is None or isinstance(model, Net)):
        what = "an image: add --image" if image is None else "a trained net, which knows what masks hold: name a run"
        raise ValueError(f"mask {mask} needs {what}")
    for file in (image, mask):
        if file is not None and not (file.is_file() or is_image_folder(file)):
            raise FileNotFoundError(f"{file}: there is no such file")
    if isinstance(model, Net):
        return _untrained(model, image, name or "unet")
    name = _net_name(model, None)
    trained, card = read_model(model)
    run = read_run(model) if RunPaths(model).plan.is_file() else None
    pair, note = _pair(run, image)
    objects = measure_objects(run.plan, card.labels) if run else None
    if pair is not None:
        files = pair.files
    elif image is not None:
        files = (image,)
    else:
        return Choice(noise_subject(trained, name=name, is_trained=True), objects, (note,))
    truth = mask or (pair.mask if pair is not None else None)
    found = image_subject(trained, card, files, mask=truth, name=name)
    return Choice(found, objects if objects is not None and len(objects[0]) else None, (note,) if note else ())


def choose_own(net: nn.Module, image: np.ndarray | None, truth: np.ndarray | None, *, name: str) -> Choice:
    """A Module in memory, and an array as the Module takes it; without an array, noise."""
    if image is None:
        if truth is not None:
            raise ValueError(f"a mask of {truth.shape} pixels was given without an image: give both")
        return Choice(noise_subject(net, name=name, is_trained=True))
    return Choice(subject(net, image, name=name, source="the image", truth=truth))


def page_path(model: Path | None, net: str | None, *, image: Path | None, out: Path | None) -> Path | None:
    """Where the page goes; None where none was asked for: a net by name, or a model file, without image or file name.

    Raises
    ------
    FileNotFoundError
        If the folder of `out` does not exist.
    """
    if out is not None and not out.parent.is_dir():
        raise FileNotFoundError(f"{out}: there is no folder {out.parent}; make it first")
    if out is not None:
        return out
    if model is not None and model.is_dir():
        return RunPaths(model).inspection
    return Path(f"{_net_name(model, net)}.html") if image else None


def _net_name(model: Path | None, net: str | None) -> str:
    """What a page calls the net: the run's folder, or its own name."""
    return net or "unet" if model is None else (model if model.is_dir() else model.parent).resolve().name


def _untrained(net: Net, image: Path | None, name: str) -> Choice:
    torch.manual_seed(0)
    fresh = build(net.architecture)
    note = "the net has random weights: train one, and inspect its run, to see what a trained net does"
    if image is None:
        return Choice(noise_subject(fresh, name=name), None, (note,))
    found = image_subject(fresh, None, (image,), mask=None, name=name)
    return Choice(replace(found, is_trained=False), None, (note,))


def _pair(run: Run | None, image: Path | None) -> tuple[Pair | None, str]:
    """The pair of the run's data that shows an image, or the first that was held out; and a remark."""
    if run is None:
        return (
            None,
            "" if image else "a model file knows no images: noise is shown; add --image, or name the run folder",
        )
    try:
        data = run.plan.data
        pairs = find_pairs(data.images, data.masks)
        fraction = data.validation_fraction if len(pairs) >= FEW else 0.0  # of a few images, parts were held out
        training, held_out = split(pairs, fraction=fraction, seed=run.plan.budget.seed, fold=data.fold)
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        return None, "" if image else f"the run's images are not at hand ({reason}): noise is shown; add --image"
    if image is None:
        if held_out:
            return held_out[0], f"{held_out[0].image}: the first image that was held out for validation"
        return training[0], f"{training[0].image}: the net was trained on this image, as all were; add --image"
    for pair in pairs:
        if any(file.resolve() == image.resolve() for file in pair.files):
            seen = "the net was trained on this image" if pair in training else "held out from training"
            return pair, f"{image}: {seen}; its mask is {pair.mask}"
    return None, ""
