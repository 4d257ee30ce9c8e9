"""From an architecture to its net."""

from __future__ import annotations

from .architecture import Architecture
from .net import Net
from .unet import UNet
from .unetpp import UNetPlusPlus


def build(architecture: Architecture) -> Net:
    """Build the net of an architecture, with fresh weights; MemoryError where they do not fit into memory."""
    try:
        return {"unet": UNet, "unet++": UNetPlusPlus}[architecture.topology](architecture)
    except RuntimeError as error:  # of torch's allocator
        if "allocate memory" not in str(error):
            raise
        raise MemoryError(f"the weights of a net of widths {architecture.widths} do not fit into it") from None
