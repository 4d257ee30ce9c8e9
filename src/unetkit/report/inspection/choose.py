"""The net, the image and its true mask for an inspection: those that the user named, or those of a run folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ...data.pairs import Pair
from ...data.split import FEW, split
from ...insight.inspection import Inspection, inspect_array, inspect_image, inspect_noise
from ...io.atomic import check_writable
from ...io.filenames import file_of, is_image_folder
from ...model.files import read_model
from ...model.run_paths import RunPaths
from ...nets.build import build
from ...nets.net import Net
from ...training.data_record import held_out_names
from ..run import ObjectSizes, Run, measure_objects, read_run

__all__ = ["choose_inspection", "inspect_module", "page_path"]


def choose_inspection(
    model: Path | Net,
    *,
    image: Path | None = None,
    mask: Path | None = None,
    data: Path | None = None,
    name: str | None = None,
) -> tuple[Inspection, ObjectSizes | None]:
    """Choose the image for the inspection of a model.

    Parameters
    ----------
    model : Path or Net
        A run folder, a model file, or a net that is built again with random weights.
    image, mask : Path, optional
        An image file, and its true mask. Without a mask the image is looked up in the run's own data; without an
        image the first one is used that the run held out for validation.
    data : Path, optional
        Where the images and masks of the run are now.
    name : str, optional
        Of a net without a run, for the page.

    Returns
    -------
    inspection : Inspection
    objects : ObjectSizes or None
        Of the training data's masks, where they are at hand.

    Raises
    ------
    ValueError
        If a mask is given without an image or without a trained net, or the image does not suit the net.
    FileNotFoundError
        If a file does not exist.
    """
    if mask is not None and (image is None or isinstance(model, Net)):
        needed = "an image: add --image" if image is None else "a trained net, for the values in masks: name a run"
        raise ValueError(f"mask {mask} needs {needed}")
    for file in (image, mask):
        if file is not None and not (file_of(file).is_file() or is_image_folder(file)):
            raise FileNotFoundError(f"{file}: there is no such file")
    if isinstance(model, Net):
        return _untrained(model, image, name or "unet"), None
    name = _net_name(model, None)
    net, card = read_model(model)
    run = read_run(model, data=data) if RunPaths(model).plan.is_file() else None
    pair, note = _find_pair(run, image)
    objects = measure_objects(run, card.labels) if run else None
    files = pair.files if pair else (image,) if image else ()
    if files:
        mask = mask or (pair.mask if pair else None)
        inspection = inspect_image(net, card, files, mask=mask, name=name)
    else:
        inspection = inspect_noise(net, name=name, is_trained=True)
    notes = (*filter(None, [note]), *inspection.notes)
    return replace(inspection, notes=notes), objects if objects and len(objects.diameters) else None


def inspect_module(net: nn.Module, image: np.ndarray | None, truth: np.ndarray | None, *, name: str) -> Inspection:
    """Inspect a Module in memory with an array as the Module takes it; without an array, with noise."""
    if image is not None:
        return inspect_array(net, image, name=name, source="the image", truth=truth)
    if truth is not None:
        raise ValueError(f"a mask of {truth.shape} pixels was given without an image: give both")
    return inspect_noise(net, name=name, is_trained=True)


def page_path(model: Path | None, net: str | None, *, image: Path | None, out: Path | None) -> Path | None:
    """Choose the file name of the page; None for a net by name or a model file without image and without `out`.

    Raises
    ------
    FileNotFoundError
        If the folder of `out` does not exist.
    """
    if out is not None and not out.parent.is_dir():
        raise FileNotFoundError(f"{out}: there is no folder {out.parent}; make it first")
    if out is not None:
        check_writable(out, suffix=".html")
        return out
    if model is not None and model.is_dir():
        return RunPaths(model).inspection
    return Path(f"{_net_name(model, net)}.html") if image else None


def _net_name(model: Path | None, net: str | None) -> str:
    """The run's folder, or the name of the net itself."""
    return net or "unet" if model is None else (model if model.is_dir() else model.parent).resolve().name


def _untrained(net: Net, image: Path | None, name: str) -> Inspection:
    torch.manual_seed(0)
    net = build(net.architecture)
    note = "the net has random weights: train one and inspect its run to see a trained net at work"
    inspection = inspect_image(net, None, (image,), name=name) if image else inspect_noise(net, name=name)
    return replace(inspection, is_trained=False, notes=(note,))


def _find_pair(run: Run | None, image: Path | None) -> tuple[Pair | None, str]:
    """The pair of the run's data that holds an image, or the first that was held out; and a note."""
    if run is None:
        note = "a model file names no images: noise is used; add --image, or name the run folder"
        return None, "" if image else note
    try:
        pairs, names = run.pairs(), held_out_names(run.paths.data_record)
        if names is None:  # a run of before, whose split looked at the names alone
            data = run.plan.data
            fraction = data.validation_fraction if len(pairs) >= FEW else 0.0  # of a few images, parts were held out
            _, unseen = split(pairs, fraction=fraction, seed=run.plan.budget.seed, fold=data.fold)
            names = {pair.name for pair in unseen}
        training = [pair for pair in pairs if pair.name not in names]
        held_out = [pair for pair in pairs if pair.name in names]
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        return None, "" if image else f"the run's images are not at hand ({reason}): noise is used; add --image"
    if image is None:
        if held_out:
            return held_out[0], f"{held_out[0].image}: the first image that was held out for validation"
        return training[0], f"{training[0].image}: the net was trained on this image, as on all; add --image"
    for pair in pairs:
        if any(file.resolve() == image.resolve() for file in pair.files):
            use = "the net was trained on this image" if pair in training else "held out from training"
            return pair, f"{image}: {use}; its mask is {pair.mask}"
    return None, ""
