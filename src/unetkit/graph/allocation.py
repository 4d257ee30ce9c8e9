"""Run a net on tensors without data, and count the bytes in memory at every moment.

A map is in memory from the operation that makes it until nothing refers to it any more: no layer still to come, no list
of features, no argument of a function that has not yet returned, in training no gradient still to be computed. Only
Python and autograd decide that, so the net is run as it is, and every storage is counted from first to last use.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .trace import Body, CallTracer, TracedCall, flat, mode, replaced_tensors, without_data
from .workspace import is_channels_last, laid_out_on_cpu, workspace_bytes

__all__ = ["BACKWARD", "AllocationCounter", "ReleasingTracer", "laid_out_as", "trace_allocations"]

BACKWARD = -1  # in place of the number of a call


class ReleasingTracer(CallTracer):
    """Traces a run without keeping its maps: they are freed when the net drops them, as without the tracer."""

    def __init__(self, x: Tensor) -> None:
        super().__init__(x)
        self.alive = _Passing(self.known)


class _Passing(list[Tensor]):
    """A list that keeps no map, and removes the number of each when it is freed, since ids are used again."""

    def __init__(self, known: dict[int, int]) -> None:
        super().__init__()
        self.known = known

    def append(self, tensor: Tensor) -> None:
        """Remove the number of a tensor when it is freed."""
        weakref.finalize(tensor, self.known.pop, id(tensor), None)


class AllocationCounter(TorchDispatchMode):
    """Counts every storage from the operation that makes it until nothing refers to it.

    Attributes
    ----------
    alive : int
        Bytes of storages now.
    call : int
        Number of the net's call that is running (`graph.trace`), or `BACKWARD`.
    highest : dict of call to (int, int)
        Bytes of storages and of workspace during each call, where their sum is highest.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive, self.call = 0, 0
        self.highest: dict[int, tuple[int, int]] = {}
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.native_batch_norm.default:  # without data torch takes as long as for all else
            result = torch.empty_like(args[0]), *(args[0].new_empty(args[0].shape[1]) for _ in range(2))
        else:
            result = func(*args, **(kwargs or {}))
        result = laid_out_on_cpu(func, args, result)
        for tensor in flat((result,)):
            if isinstance(tensor, Tensor):
                self.add(tensor)
        self.note(workspace_bytes(func, args, result))
        return result

    def add(self, tensor: Tensor, *, counts: bool = True) -> None:
        """Count a tensor's storage, unless it is known: that of a view, or of a map that was written over."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes() if counts else 0
        if key in self._known:
            return
        self.alive += size

        def ended(_: Any) -> None:
            self.alive -= size
            self._known.pop(key, None)

        self._known[key] = weakref.ref(storage, ended)

    def note(self, workspace: int = 0) -> None:
        """Record the bytes taken now, if they are the most during this call."""
        if self.alive + workspace >= sum(self.highest.get(self.call, (0, 0))):
            self.highest[self.call] = (self.alive, workspace)


def trace_allocations(net: nn.Module, x: Tensor, *, is_training: bool) -> AllocationCounter:
    """Run a net, and in training its gradients, without data.

    Parameters
    ----------
    net : Module
        Copies of its weights without data take their place; it is left as it was.
    x : Tensor of shape (N, C, *spatial), on the meta device
        Of a size that fits the net.
    is_training : bool
        In training mode, with a backward pass that begins at the output.
    """
    body = Body(net)
    learned = {name for name, _ in body.named_parameters()}
    ghosts = without_data(body)
    for name in learned if is_training else ():
        ghosts[name].requires_grad_()
    counter = AllocationCounter()
    for ghost in ghosts.values():
        counter.add(ghost, counts=False)
    counter.add(x)
    counter.note()
    with mode(net, is_training=is_training), torch.set_grad_enabled(is_training), counter:
        with replaced_tensors(body, ghosts), _Marker(x, counter):
            y = body(x)
        if is_training:
            counter.call = BACKWARD
            torch.autograd.backward(y, torch.empty_like(y))
    return counter


class _Marker(ReleasingTracer):
    """Sets the number of the running call in a counter of allocations."""

    def __init__(self, x: Tensor, counter: AllocationCounter) -> None:
        super().__init__(x)
        self.counter = counter

    def execute(self, func: Callable[..., Any], call: TracedCall) -> Any:
        if call.numbers:
            self.counter.call = self.count
        return super().execute(_group_norm if call.function == "group_norm" else func, call)


def _group_norm(
    x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5, *_: bool
) -> Tensor:
    """Group norm as on a CPU; without data torch would first copy maps whose channels are last."""
    n, channels = x.shape[:2]
    return torch.native_group_norm(x, weight, bias, n, channels, x[0, 0].numel(), groups, eps)[0]


def laid_out_as(net: nn.Module, image: Tensor) -> Tensor:
    """Lay an image out with its channels last in memory, where the net's weights are."""
    if any(is_channels_last(p) for p in net.parameters()):
        return image.contiguous(memory_format=torch.channels_last if image.ndim == 4 else torch.channels_last_3d)
    return image
