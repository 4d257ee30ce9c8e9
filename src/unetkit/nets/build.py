"""From an architecture to its net."""

from __future__ import annotations

from .architecture import Architecture
from .net import Net
from .unet import UNet
from .unetpp import UNetPlusPlus


def build(architecture: Architecture) -> Net:
    """Build the net of an architecture, with fresh weights."""
    return {"unet": UNet, "unet++": UNetPlusPlus}[architecture.topology](architecture)
