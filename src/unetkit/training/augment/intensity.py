"""Gray-value changes of a batch, each sample with its own strength: contrast, gamma, blur, noise.

Strengths are drawn and settings are read in `augment`. Every function returns a new tensor.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Shape `values` to broadcast over `like`: (N,) -> (N, 1, ...), (N, C) -> (N, C, 1, ...), on its device."""
    return values.reshape(*values.shape, *[1] * (like.ndim - values.ndim)).to(like.device)


def stretch(images: Tensor, factors: Tensor, shifts: Tensor) -> Tensor:
    """Stretch gray values about each channel's mean, then shift them; factor 1 with shift 0 keeps every bit.

    Parameters
    ----------
    images : Tensor of shape (N, C, *spatial), float
    factors, shifts : Tensor of shape (N, C)
        Contrast, and brightness in units of the image.

    Returns
    -------
    Tensor of shape (N, C, *spatial)
    """
    factors, shifts = per_sample(factors, images), per_sample(shifts, images)
    mean = images.flatten(2).mean(2).reshape(shifts.shape)
    return images * factors + ((1 - factors) * mean + shifts)


def gamma(images: Tensor, exponents: Tensor) -> Tensor:
    """Raise each channel, rescaled to its own 0..1, to a power, and scale it back: minimum and maximum stay.

    Parameters
    ----------
    images : Tensor of shape (N, C, *spatial), float
    exponents : Tensor of shape (N, C)
        Above 0; below 1 brightens the dark, above 1 darkens it.

    Returns
    -------
    Tensor of shape (N, C, *spatial)
        A constant channel stays as it is.
    """
    low, high = (per_sample(value, images) for value in torch.aminmax(images.flatten(2), dim=2))
    spread = (high - low).clamp(min=torch.finfo(images.dtype).tiny)
    unit = ((images - low) / spread).clamp(0, 1)
    return unit ** per_sample(exponents, images) * (high - low) + low


def blur(images: Tensor, sigmas: Tensor, *, axes: Sequence[bool] | None = None) -> Tensor:
    """Blur each sample by its own Gaussian, one axis at a time, edges repeated.

    Samples and channels become groups of one depthwise convolution per axis.

    Parameters
    ----------
    images : Tensor of shape (N, C, *spatial), float
        With 2 or 3 spatial axes.
    sigmas : Tensor of shape (N,)
        In pixels; 0 leaves a sample as it is. Kernels end at three times the largest.
    axes : sequence of bool, optional
        Which axes to blur, all by default.

    Returns
    -------
    Tensor of shape (N, C, *spatial)
    """
    size = tuple(images.shape[2:])
    convolve = {2: F.conv2d, 3: F.conv3d}[len(size)]
    radius = max(1, math.ceil(3 * float(sigmas.max())))
    steps = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-(steps**2) / (2 * sigmas.clamp(min=1e-3)[:, None] ** 2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(images.shape[1], 0).to(images)
    flat = images.reshape(1, -1, *size)  # (1, N * C, *spatial)
    for axis, wanted in enumerate(axes or [True] * len(size)):
        if not wanted:
            continue
        pad = [0, 0] * (len(size) - 1 - axis) + [radius, radius] + [0, 0] * axis  # F.pad counts from the last axis
        weight = kernel.reshape(-1, 1, *[len(steps) if other == axis else 1 for other in range(len(size))])
        flat = convolve(F.pad(flat, pad, mode="replicate"), weight, groups=flat.shape[1])
    return flat.reshape(images.shape)


def noise(images: Tensor, stds: Tensor, *, generator: Generator) -> Tensor:
    """Add white Gaussian noise, each sample with its own std, drawn on the CPU: a seed gives the same on every device.

    Parameters
    ----------
    images : Tensor of shape (N, C, *spatial), float
    stds : Tensor of shape (N,)
        In units of the image.
    generator : torch.Generator

    Returns
    -------
    Tensor of shape (N, C, *spatial)
    """
    drawn = torch.randn(images.shape, generator=generator, dtype=images.dtype)
    return images + drawn.to(images.device) * per_sample(stds, images)
