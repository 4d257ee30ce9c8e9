"""Memory that a convolution takes on a CPU while it runs, beyond the maps that it reads and writes.

Rules of torch and of oneDNN, the library that it calls, as its allocator shows them (float32, torch 2.13, AVX-512):

- oneDNN's kernels copy the weights, output channels filled up to multiples of 16, at every call.
- Maps with channels last are read and written in place. Others are copied into blocks of 16 channels (fewer than 16
  are read in place), computed there, and copied back.
- Transposed convolutions copy their input once per thread.
- Small maps, and 1x1 convolutions on a single thread, go to torch's own kernels, which unfold what the taps read into
  one matrix; for volumes they have channels first only. That matters: "small" is counted without the last axis
  (`_SMALL`), so the first convolution of a 3D net unfolds its image 27 times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import torch
from torch import Tensor

__all__ = ["is_channels_last", "laid_out_on_cpu", "workspace_bytes"]

_BLOCK = 16  # floats in a vector register of 512 bits
_SMALL = 20480  # samples x channels x the first two axes, in torch's `ConvParams::use_mkldnn` (ATen, Convolution.cpp)
_CONVOLUTION = torch.ops.aten.convolution.default
_GRADIENTS = torch.ops.aten.convolution_backward.default
_GROUP_NORM = torch.ops.aten.native_group_norm.default
_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


def is_channels_last(tensor: Tensor) -> bool:
    """Whether the channels of a pixel lie side by side in memory."""
    return tensor.ndim in _LAYOUTS and tensor.stride(1) == 1 and tensor.stride(-1) == tensor.shape[1]


def laid_out_on_cpu(func: Any, args: tuple[Any, ...], result: Any) -> Any:
    """Give the result of an operation without data the layout that it has on a CPU.

    Parameters
    ----------
    func : operation of torch.ops.aten
    args : tuple
        Its arguments.
    result : Any
        What it returned for tensors on the meta device: after convolutions and group norm always channels first.
    """
    if func is _CONVOLUTION:
        return _Work.of(args).lay_out(result)
    if func is _GRADIENTS:
        work = _Work.of(args[1:])
        return work.lay_out(result[0]), work.lay_out(result[1]), result[2]
    if func is _GROUP_NORM and is_channels_last(args[0]):
        return torch.empty_like(args[0]), *result[1:]
    return result


def workspace_bytes(func: Any, args: tuple[Any, ...], result: Any) -> int:
    """Bytes that an operation takes beyond its arguments and results, at its highest; 0 for all but convolutions.

    Parameters
    ----------
    func : operation of torch.ops.aten
    args : tuple
        Its arguments.
    result : Any
        What it returned.
    """
    if func is _CONVOLUTION:
        return _Work.of(args).forward(result)
    if func is _GRADIENTS:
        return _Work.of(args[1:]).backward(args[0], result[0])
    return 0


@dataclass(frozen=True)
class _Work:
    """One convolution: its arguments, and the kernel that runs it."""

    x: Tensor
    weights: Tensor
    strides: Sequence[int]
    is_transposed: bool
    groups: int
    is_dilated: bool

    @classmethod
    def of(cls, args: tuple[Any, ...]) -> _Work:
        """From (input, weight, bias, stride, padding, dilation, transposed, output padding, groups, ...)."""
        x, weights, _, strides, _, dilation, transposed, _, groups = args[:9]
        return cls(x, weights, strides, transposed, groups, any(d != 1 for d in dilation))

    @property
    def is_onednn(self) -> bool:
        """Whether oneDNN computes it, as torch decides."""
        x, taps = self.x, self.weights.shape[-2:]
        if self.is_transposed and self.groups == x.shape[1] > 1:
            return False
        is_worth_it = self.is_dilated or self.is_strided or x.shape[0] >= 16 or prod(taps) > 1
        is_large = self.groups > 1 or min(taps) > 3 or x.shape[0] > 1 or prod(x.shape[:4]) > _SMALL
        return torch.backends.mkldnn.is_available() and (is_worth_it or torch.get_num_threads() > 1) and is_large

    @property
    def is_strided(self) -> bool:
        return any(s != 1 for s in self.strides)

    @property
    def is_last(self) -> bool:
        """Whether it works with channels last."""
        is_possible = self.is_onednn or self.x.ndim == 4
        return is_possible and (is_channels_last(self.x) or is_channels_last(self.weights))

    def lay_out(self, result: Tensor | None) -> Tensor | None:
        """A result in the layout that it works with."""
        return None if result is None else result.contiguous(memory_format=self._layout(result))

    def _layout(self, tensor: Tensor) -> torch.memory_format:
        return _LAYOUTS[tensor.ndim] if self.is_last else torch.contiguous_format

    def forward(self, y: Tensor) -> int:
        copies = self._copied(self.x)
        if not self.is_onednn:
            return copies + self._columns(y)
        if self.is_last:
            return copies + self._reordered() + self._per_thread(self.x if self.is_transposed else None)
        inner = _blocked(self.x) + self._reordered() + _blocked(y, fills=True) - _bytes(y)
        after = _blocked(y, fills=True) + (_bytes(y) if self.is_transposed else 0)
        return copies + max(inner, after, 0)

    def backward(self, of_y: Tensor, of_x: Tensor | None) -> int:
        copies = self._copied(self.x) + self._copied(of_y)
        if not self.is_onednn:
            return copies + self._columns(of_y)
        if self.is_last:  # gradients of weights are computed in a copy, and laid out from there
            spread = self._per_thread(of_y if self.is_strided and not self.is_transposed else None)
            return copies + max(2 * self._reordered(), self._reordered() + spread)
        both = _blocked(of_y) + _blocked(self.x)
        return copies + (both if of_x is None else max(both, 2 * _blocked(self.x)))

    def _copied(self, tensor: Tensor) -> int:
        """Bytes of the copy of a map that is not laid out as it is read."""
        return 0 if tensor.is_contiguous(memory_format=self._layout(tensor)) else _bytes(tensor)

    def _reordered(self) -> int:
        """The copy of the weights."""
        out = self.weights.shape[1] * self.groups if self.is_transposed else self.weights.shape[0]
        return _bytes(self.weights) * ceil(out / _BLOCK) * _BLOCK // out if self.groups == 1 else _bytes(self.weights)

    def _per_thread(self, tensor: Tensor | None) -> int:
        return 0 if tensor is None else torch.get_num_threads() * _bytes(tensor)

    def _columns(self, y: Tensor) -> int:
        """The unfolded map: per output pixel all that its taps read, or, transposed, per input pixel all it writes."""
        taps = prod(self.weights.shape[2:])
        if taps == 1 and not self.is_strided:
            return 0
        channels, pixels = (y.shape[1], self.x) if self.is_transposed else (self.x.shape[1], y)
        ones = prod(y.shape[2:]) if self.is_transposed else 0  # by which the bias is spread
        return (channels * taps * prod(pixels.shape[2:]) + ones) * y.element_size()


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _blocked(tensor: Tensor, *, fills: bool = False) -> int:
    """A map in blocks of channels; one of few channels is read as it is, but written in a whole block."""
    channels = tensor.shape[1]
    if channels < _BLOCK and not fills:
        return 0
    return _bytes(tensor) * ceil(channels / _BLOCK) * _BLOCK // channels
