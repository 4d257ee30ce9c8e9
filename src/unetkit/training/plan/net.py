"""Which net a plan has: levels, channels, strides and kernels from the data and the budget, and patches that fit it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from ...geometry import Geometry
from ...model.card import Card
from ...nets.architecture import Architecture
from ...nets.build import build
from ...nets.papers import CONFIGURABLE, named
from ...nets.pretrained import encoder_shape
from .fingerprint import Fingerprint
from .pooling import plan_pooling

__all__ = ["OF_ARCHITECTURE", "choose_net", "finetune_net", "fitting_patch", "per_axis", "usual_patch"]

# What a user may set of an architecture, beside the values of a plan.
OF_ARCHITECTURE = ("widths", "block", "skip", "down", "encoder")


def _layers(
    sides: tuple[int, ...], spacing: tuple[float, ...], default: tuple[int, ...], widths: Sequence[int] | None
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Default widths cut to the levels that a patch of these sides can be pooled to, and the strides and kernels."""
    levels = min(len(plan_pooling(sides, spacing).kernels), len(default)) if widths is None else len(widths)
    shape = plan_pooling(sides, spacing, levels=levels)
    return default[:levels], {"strides": shape.strides, "kernels": shape.kernels}


def _encoder_layers(
    net: str, encoder: str, seen: Fingerprint, width: int, widths: Sequence[int] | None
) -> dict[str, Any]:
    """What a timm encoder behind an own finest level of `width` asks of an architecture."""
    if net not in CONFIGURABLE:
        raise ValueError(f"encoder is {encoder}, but {net} has its paper's own: use net {' or '.join(CONFIGURABLE)}")
    if widths is not None:
        raise ValueError(f"widths are {tuple(widths)}, but encoder {encoder} has its own: leave out one of the two")
    return encoder_shape(encoder, in_channels=seen.channels, width=width)


def finetune_net(start: Card, seen: Fingerprint, given: dict[str, Any], divide_width: int | None) -> Architecture:
    """The architecture of a model, for these channels and classes."""
    odd = [name for name in ("net", "weights", *OF_ARCHITECTURE) if name in given and given[name] != "unet"]
    odd += ["divide_width"] * (divide_width is not None)
    if odd:
        raise ValueError(f"the net is that of the model that training starts from: leave out {', '.join(odd)}")
    given.pop("net", None)
    found = Architecture(**start.architecture | {"in_channels": seen.channels, "out_channels": seen.classes})
    if found.ndim != seen.ndim:
        raise ValueError(f"training starts from a {found.ndim}D net, but the images have {seen.ndim} spatial axes")
    return found


def choose_net(
    given: dict[str, Any],
    reasons: dict[str, str],
    seen: Fingerprint,
    sides: tuple[int, ...],
    default: tuple[int, ...],
    wide: bool,
    divide_width: int | None,
) -> tuple[str, str | None, Architecture]:
    """Name, weights and architecture of the net; what was given of it is taken out, and its reasons are added.

    Widths by what the budget can train. On two cores halving all widths gave 3.6 times the steps, and 16 channels at
    1400 steps beat 32 channels at 250 (isbi2012, ten minutes); a GPU trains 32 in the same time. In 3D as many levels
    as the patch can be pooled, coarse axes later.
    """
    net = given.pop("net", "unet")
    layers: dict[str, Any] = {name: given.pop(name) for name in ("block", "skip", "down") if name in given}
    reasons |= dict.fromkeys(layers, "given")
    encoder, weights = given.pop("encoder", None), given.pop("weights", None)
    if encoder is None and weights is not None:
        raise ValueError(f"weights are {weights!r}, but there is no encoder to load them into: give encoder too")
    if encoder is not None:
        if "down" in layers:
            raise ValueError(f"down is {layers['down']!r}, but encoder {encoder} goes down its own way: leave out one")
        layers |= _encoder_layers(net, encoder, seen, default[0], given.get("widths"))
        reasons["weights"] = "what an encoder of another's is worth having for" if weights is None else "given"
        weights = weights or "imagenet"
        reasons |= {"encoder": "given", "widths": f"those of {encoder}, behind an own level at full resolution"}
    elif seen.ndim == 3 and net in CONFIGURABLE:
        default, shape = _layers(per_axis(given.get("patch", sides), 3), seen.spacing, default, given.get("widths"))
        layers |= shape
        size = " x ".join(f"{s:g}" for s in seen.spacing)
        reasons["strides"] = f"voxels of {size} {seen.unit}: coarse axes later, and no map below 4 voxels"
    if encoder is None and ("widths" in given or net in CONFIGURABLE):
        is_given = "widths" in given
        layers["widths"] = given.pop("widths", default)
        why = f"a GPU or hours: {default[0]} to {default[-1]} channels" if wide else "more steps beat more channels"
        reasons["widths"] = "given" if is_given else why
    elif net not in CONFIGURABLE:
        reasons["widths"] = f"{net}" + (f", divided by {divide_width}" if divide_width else "")
    return net, weights, _architecture(net, seen, divide_width=divide_width, options=layers)


def _architecture(net: str, seen: Fingerprint, *, divide_width: int | None, options: dict[str, Any]) -> Architecture:
    axes = {"ndim": seen.ndim} if net in CONFIGURABLE else {}
    options = {"in_channels": seen.channels, "out_channels": seen.classes, **axes, **options}
    architecture = named(net, width_divisor=divide_width, **options)
    if architecture.ndim != seen.ndim:
        raise ValueError(
            f"{net} is a {architecture.ndim}D net, but the images have {seen.ndim} spatial axes: use unet"
            + ", or --planes 1 for single planes" * (seen.ndim == 3)
        )
    return architecture


@lru_cache(maxsize=16)
def _geometry(architecture: Architecture) -> Geometry:
    """Of a net that is built without its weights."""
    with torch.device("meta"):
        return build(architecture).geometry


def usual_patch(architecture: Architecture, sides: Sequence[int]) -> tuple[int, ...]:
    """Patch for a net from the sides that the images have."""
    # A valid net predicts only the middle of its patch: half of the margin is added, so that a good part is left, and
    # for images smaller than the margin as much as makes that half of the image.
    margins = [sum(margin) for margin in _geometry(architecture).margin]
    return tuple(max(side + margin // 2, side // 2 + margin) for side, margin in zip(sides, margins, strict=True))


def per_axis(patch: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """One size for every axis."""
    patch = (patch,) * ndim if isinstance(patch, int) else tuple(patch)
    if len(patch) != ndim:
        raise ValueError(f"patch is {patch}; expected {ndim} sizes for a {ndim}D net")
    if min(patch) < 1:
        raise ValueError(f"patch is {patch}; expected at least 1 pixel per axis")
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
