"""A net made ready for inference: evaluation mode, norms folded, channels last."""

from __future__ import annotations

import copy
from itertools import chain

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..nets.foreign import ForeignNet
from ..nets.net import Net

__all__ = ["CHANNELS_LAST", "prepare"]

CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def prepare(net: Net, *, device: torch.device | str = "cpu") -> Net:
    """A copy of the net for inference: evaluation mode, batch norm folded into the convolutions, channels last.

    Folding changes float32 results by rounding only (about 1e-6 of their range). Foreign nets with group norm keep
    their channels first: with channels last torch computes it from sums of squares, and is off by 0.5 to 4 where the
    mean is 100 times the deviation, as in an image that is not normalised (torch 2.13).
    """
    net.read()  # before the copy, so that copies share the graph
    ready = copy.deepcopy(net).eval().requires_grad_(False)
    for module in list(ready.modules()):
        if isinstance(module, nn.Sequential):
            _fold(module)
    ready = ready.to(device=device)
    if isinstance(net, ForeignNet) and any(layer.function == "group_norm" for layer in net.graph.layers):
        return ready
    for tensor in chain(ready.parameters(), ready.buffers()):
        if tensor.ndim == net.ndim + 2:  # others may have as many axes as the other formats ask for
            tensor.data = tensor.data.contiguous(memory_format=CHANNELS_LAST[net.ndim])
    return ready


def _fold(block: nn.Sequential) -> None:
    for i in range(len(block) - 1):
        layer, norm = block[i], block[i + 1]
        is_norm = type(norm) in (nn.BatchNorm2d, nn.BatchNorm3d)  # exactly: some of timm's hold an activation too
        if is_norm and isinstance(layer, nn.Conv2d | nn.Conv3d) and isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
            block[i] = fuse_conv_bn_eval(layer, norm)
            block[i + 1] = nn.Identity()
