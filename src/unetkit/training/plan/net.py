"""Rules 6 and 7: the levels, channels, strides and kernels of the net; and patches that fit a net."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import torch

from ...geometry import Geometry
from ...model.card import Card
from ...nets.architecture import Architecture
from ...nets.build import build
from ...nets.papers import CONFIGURABLE, named
from ...nets.pretrained import encoder_shape
from .context import Choice, PlanContext
from .pooling import fit_patch, fit_whole, plan_pooling

__all__ = ["choose_net", "fitting_patch", "per_axis", "sides_of_patch", "usual_patch"]

# Channels per level of the default net, finest first: (up to 3 hours on a CPU, more than that or a GPU).
_WIDTHS = {
    2: ((16, 32, 64, 128, 256), (32, 64, 128, 256, 512)),
    3: ((16, 32, 64, 128), (32, 64, 128, 256, 320)),
}


# 6. Sides of a patch: those of the typical image, in 2D at most 256. In 3D two patches may hold as many voxels as
#    four of 256 x 256 have pixels (eight times that on a GPU, a quarter for a quick look): a whole image where it
#    fits (hippocampus: 0.868 after five minutes and after twenty; patches of 32 x 48 x 32: 0.864 and 0.869), else
#    its sides are shrunk, the physically longest first.
def sides_of_patch(context: PlanContext, most: int = 256) -> tuple[tuple[int, ...], str]:
    data = context.fingerprint
    reason = f"the typical image is {' x '.join(f'{side:g}' for side in data.typical)}"
    typical = [int(side) for side in data.typical]
    if data.ndim == 2:
        return tuple(min(most, side) for side in typical), f"{reason}; at most {most}, fitting the net"
    levels = len(context.settings.get("net.widths", _usual_widths(context)))
    voxels = context.voxels // max(context.settings.get("patches.batch", 2), 1)
    whole = fit_whole(typical, data.spacing, levels=levels)
    if prod(whole) <= voxels:
        return whole, f"{reason}, which is seen whole: at most {voxels} voxels, fitting the net"
    sides = fit_patch(typical, data.spacing, voxels=max(voxels, 1), levels=levels)
    return sides, f"{reason}; at most {voxels} voxels, longest side first, fitting the net"


def _usual_widths(context: PlanContext) -> tuple[int, ...]:
    if context.init_from is not None:
        return tuple(context.init_from.architecture["widths"])
    return _WIDTHS[context.fingerprint.ndim][context.is_large]


# 7. Net: that of the model that training starts from, or as many channels as the budget can train. On two cores
#    halving all widths gave 3.6 times the steps, and 16 channels at 1400 steps beat 32 channels at 250 (isbi2012,
#    ten minutes); a GPU trains 32 in the same time. In 3D as many levels as the patch can be pooled, coarse axes
#    later.
def choose_net(context: PlanContext) -> dict[str, Choice]:
    if context.init_from is not None:
        return _net_to_finetune(context, context.init_from)
    settings = context.settings
    name, encoder = settings.get("net.name", "unet"), settings.get("net.encoder")
    options = {key: settings[f"net.{key}"] for key in ("block", "skip", "down") if f"net.{key}" in settings}
    choices = {"net.name": Choice("unet", ""), "net.encoder_weights": Choice(None, "")}
    if encoder is not None:
        options |= _encoder_options(context, name, encoder)
        choices["net.encoder_weights"] = Choice("imagenet", "a pretrained encoder is used for its weights")
        reason = f"those of {encoder}, behind an own level at full resolution"
    elif "net.encoder_weights" in settings:
        weights = settings["net.encoder_weights"]
        raise ValueError(f"net.encoder_weights is {weights!r}, but there is no encoder to load them into: set both")
    elif name in CONFIGURABLE:
        options |= _levels(context)
        first, last = options["widths"][0], options["widths"][-1]
        reason = f"a GPU or hours: {first} to {last} channels" if context.is_large else "more steps beat more channels"
        if "strides" in options:
            size = " x ".join(f"{step:g}" for step in context.fingerprint.spacing)
            why = f"voxels of {size} {context.fingerprint.unit}: coarse axes later, and no map below 4 voxels"
            choices["net.strides"] = Choice(options["strides"], why)
    else:
        options |= {"widths": settings["net.widths"]} if "net.widths" in settings else {}
        divisor = settings.get("net.width_divisor")
        reason = name + (f", divided by {divisor}" if divisor else "")
    architecture = _architecture(context, name, options)
    values = {f"net.{key}": Choice(getattr(architecture, key), "") for key in ("block", "skip", "down", "encoder")}
    choices |= {**values, "net.widths": Choice(architecture.widths, reason)}
    return {**choices, "net.architecture": Choice(architecture, "")}


def _net_to_finetune(context: PlanContext, card: Card) -> dict[str, Choice]:
    """The architecture of a model, for these channels and classes."""
    allowed = {"net.init_from", "net.deep_supervision"}
    odd = [path for path, value in context.settings.items() if path.startswith("net.") and path not in allowed]
    odd = [path for path in odd if (path, context.settings[path]) != ("net.name", "unet")]
    if odd:
        raise ValueError(f"the net is that of the model that training starts from: leave out {', '.join(odd)}")
    data = context.fingerprint
    architecture = Architecture(**card.architecture | {"in_channels": data.channels, "out_channels": data.classes})
    if architecture.ndim != data.ndim:
        raise ValueError(
            f"training starts from a {architecture.ndim}D net, but the images have {data.ndim} spatial axes"
        )
    reason = "the net is that model's, its weights too where channels and classes are the same"
    return {
        "net.name": Choice("unet", ""),
        "net.init_from": Choice(None, ""),
        "net.encoder_weights": Choice(None, ""),
        "net.widths": Choice(architecture.widths, reason),
        "net.architecture": Choice(architecture, ""),
    }


def _encoder_options(context: PlanContext, name: str, encoder: str) -> dict[str, Any]:
    """Values of an architecture with a timm encoder behind a finest level of its own."""
    settings = context.settings
    if name not in CONFIGURABLE:
        raise ValueError(f"encoder is {encoder}, but {name} has its paper's own: use net {' or '.join(CONFIGURABLE)}")
    if "net.down" in settings:
        raise ValueError(
            f"down is {settings['net.down']!r}, but encoder {encoder} has its own: leave out one of the two"
        )
    if "net.widths" in settings:
        widths = tuple(settings["net.widths"])
        raise ValueError(f"widths are {widths}, but encoder {encoder} has its own: leave out one")
    return encoder_shape(encoder, in_channels=context.fingerprint.channels, width=_usual_widths(context)[0])


def _levels(context: PlanContext) -> dict[str, Any]:
    """Widths of a net of ours; in 3D as many levels as a patch can be pooled to, with their strides and kernels."""
    data, widths = context.fingerprint, tuple(context.settings.get("net.widths", _usual_widths(context)))
    if data.ndim == 2:
        return {"widths": widths}
    sides = per_axis(context.settings.get("patches.size", sides_of_patch(context)[0]), 3)
    if "net.widths" not in context.settings:
        widths = widths[: len(plan_pooling(sides, data.spacing).kernels)]
    pooling = plan_pooling(sides, data.spacing, levels=len(widths))
    return {"widths": widths, "strides": pooling.strides, "kernels": pooling.kernels}


def _architecture(context: PlanContext, name: str, options: dict[str, Any]) -> Architecture:
    data = context.fingerprint
    axes = {"ndim": data.ndim} if name in CONFIGURABLE else {}
    options = {"in_channels": data.channels, "out_channels": data.classes, **axes, **options}
    architecture = named(name, width_divisor=context.settings.get("net.width_divisor"), **options)
    if architecture.ndim != data.ndim:
        raise ValueError(
            f"{name} is a {architecture.ndim}D net, but the images have {data.ndim} spatial axes: use unet"
            + ", or --planes 1 for single planes" * (data.ndim == 3)
        )
    return architecture


@lru_cache(maxsize=16)
def _geometry(architecture: Architecture) -> Geometry:
    with torch.device("meta"):  # without its weights
        return build(architecture).geometry


# A valid net predicts only the middle of its patch: half of the margin is added, so that a good part is left, and
# for images smaller than the margin as much as makes that half of the image.
def usual_patch(architecture: Architecture, sides: Sequence[int]) -> tuple[int, ...]:
    margins = [sum(margin) for margin in _geometry(architecture).margin]
    return tuple(max(side + margin // 2, side // 2 + margin) for side, margin in zip(sides, margins, strict=True))


def per_axis(patch: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """One size for every axis."""
    patch = (patch,) * ndim if isinstance(patch, int) else tuple(patch)
    if len(patch) != ndim:
        raise ValueError(f"patches.size is {patch}; expected {ndim} sizes for a {ndim}D net")
    if min(patch) < 1:
        raise ValueError(f"patches.size is {patch}; expected at least 1 pixel per axis")
    return patch


def fitting_patch(architecture: Architecture, patch: int | Sequence[int], batch: int) -> tuple[int, ...]:
    """The patch in sizes that fit the net: at most as large for a "same" net, at least as large for a "valid" one."""
    geometry = _geometry(architecture)
    patch = per_axis(patch, architecture.ndim)
    size = tuple(
        axis.below(n) or axis.above(n) if sum(axis.margin) == 0 else axis.above(n)
        for axis, n in zip(geometry.axes, patch, strict=True)
    )
    if architecture.norm == "batch" and batch == 1 and size == geometry.stride:
        raise ValueError(
            f"batch 1 of patches of {size} pixels leaves one value per channel at the bottom of the net, which batch "
            "norm cannot normalise; give a larger batch or patch"
        )
    return size
