"""The smallest parts, 2D and 3D by the same names."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any, Literal

from torch import Tensor, nn

Padding = Literal["same", "valid"]
Norm = Literal["batch", "instance", "group", "none"]
Activation = Literal["relu", "leaky_relu", "prelu"]

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
LINEAR = {2: "bilinear", 3: "trilinear"}
MAX_POOL: dict[int, Any] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_BATCH_NORM: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE_NORM: dict[int, Any] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_GROUP_WIDTH = 16  # channels per group (Wu and He 2018, table 3: 16 is as good as 32 groups)


def norm_layer(norm: Norm, ndim: int, channels: int) -> nn.Module:
    """Normalisation of `channels` maps: "batch", "instance" (with scale and shift), "group" or "none"."""
    if norm == "batch":
        return _BATCH_NORM[ndim](channels)
    if norm == "instance":
        return _INSTANCE_NORM[ndim](channels, affine=True)
    if norm == "group":
        groups = max(1, channels // _GROUP_WIDTH)
        return nn.GroupNorm(groups if channels % groups == 0 else 1, channels)
    return nn.Identity()


def activation_layer(activation: Activation, channels: int, *, inplace: bool) -> nn.Module:
    """The non-linearity: "relu", "leaky_relu" (slope 0.01) or "prelu" (a slope per channel, learned)."""
    if activation == "prelu":
        return nn.PReLU(channels)
    return nn.ReLU(inplace=inplace) if activation == "relu" else nn.LeakyReLU(inplace=inplace)


def center_crop(features: Tensor, size: Sequence[int]) -> Tensor:
    """Crop the middle of `features` so that a skip fits its decoder map.

    Unpadded convolutions shrink the map, so the encoder's copy is larger than the
    map it joins ("copy and crop" in [1]_, fig. 1).

    Parameters
    ----------
    features : Tensor of shape (N, C, *spatial)
    size : sequence of int
        Wanted spatial size in pixels, one entry per axis.

    Returns
    -------
    Tensor of shape (N, C, *size)
        A view; no data is copied.

    Raises
    ------
    ValueError
        If an axis is smaller than `size`, or differs by an odd number of pixels.

    References
    ----------
    .. [1] Ronneberger, Fischer, Brox, U-Net, MICCAI 2015, doi:10.1007/978-3-319-24574-4_28
    """
    extra = [have - want for have, want in zip(features.shape[2:], size, strict=True)]
    if any(e < 0 or e % 2 for e in extra):
        raise ValueError(
            f"cannot crop a map of {tuple(features.shape[2:])} to its middle {tuple(size)}: "
            "the difference must be even and not negative on every axis"
        )
    if not any(extra):
        return features
    middle = tuple(slice(e // 2, e // 2 + want) for e, want in zip(extra, size, strict=True))
    return features[(slice(None), slice(None), *middle)]


def initialise(net: nn.Module) -> nn.Module:
    """Draw every convolution's weights from a Gaussian of standard deviation sqrt(2 / N), biases 0, in place.

    N is the number of incoming nodes of one neuron: 3 x 3 x 64 channels make N = 576
    (Ronneberger 2015, section 3, after He et al. 2015). A transposed convolution of
    kernel 2 and stride 2 has one incoming pixel per output, so N is its input channels.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            incoming = module.weight[0].numel()
        elif isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d):
            incoming = module.in_channels * prod(module.kernel_size) // prod(module.stride)
        else:
            continue
        nn.init.normal_(module.weight, std=sqrt(2 / max(incoming, 1)))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return net
