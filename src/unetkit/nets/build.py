"""From an architecture, or its name and fields, to its net."""

from __future__ import annotations

from typing import Any

from .architecture import Architecture
from .net import Net
from .papers import named
from .pretrained import check_encoder, load_encoder
from .unet import UNet
from .unetpp import UNetPlusPlus


def build(architecture: Architecture | str = "unet", *, weights: str | None = None, **fields: Any) -> Net:
    """Build a net, with fresh weights, or with an encoder that was trained on photographs.

    Parameters
    ----------
    architecture : Architecture or str
        Or a name, as `nets.papers.named` takes it.
    weights : str, optional
        Of the `encoder`: "imagenet", "none" (the default), or the path of a .safetensors file; see
        `nets.pretrained.load_encoder`.
    **fields
        Of `Architecture`, with a name. With `encoder` alone the widths and strides are those of the encoder.

    Raises
    ------
    MemoryError
        If the weights do not fit into memory.
    TypeError
        If there are fields beside an `Architecture`.
    ValueError, ImportError, FileNotFoundError
        If a field is out of range, timm is missing or has no such encoder, or a file does not fit it.

    Examples
    --------
    >>> build(widths=(8, 16), out_channels=3).geometry.stride
    (2, 2)
    >>> build("unet++", widths=(4, 8, 16)).architecture.topology
    'unet++'

    `build(encoder="resnet34", in_channels=3, weights="imagenet")` has an encoder of timm.
    """
    if isinstance(architecture, Architecture):
        if fields:
            raise TypeError(f"got an Architecture and the fields {', '.join(fields)}: use dataclasses.replace")
    else:
        architecture = named(architecture, **fields)
    if weights is not None:
        check_encoder(architecture.encoder, weights)
    try:
        net: Net = {"unet": UNet, "unet++": UNetPlusPlus}[architecture.topology](architecture)
    except RuntimeError as error:  # of torch's allocator
        if "allocate memory" not in str(error):
            raise
        raise MemoryError(f"the weights of a net of widths {architecture.widths} do not fit into it") from None
    if weights is not None:
        load_encoder(net, weights)
    return net
