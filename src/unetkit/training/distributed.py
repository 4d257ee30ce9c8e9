"""Distributed training: several processes share every batch, and every sum is over all of them.

The joint batch is drawn by number, the same in every process, and cut. Batch-norm statistics and the sums of the losses
are added over the processes, with their gradients, so that the step is that of one process with the whole
batch, however it is cut. Processes are started by torchrun, or by `unetkit train --devices N`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..processors import count_processors
from .environment import is_started
from .interrupt import SIGNALS

if TYPE_CHECKING:
    from .sampler import Batch

__all__ = ["all_reduce", "broadcast", "has_lost_starter", "launch", "process_group", "rank", "shard", "world_size"]
__all__ += ["wrap_ddp"]

_SETTLE_S = 0.5
_STARTER = "UNETKIT_STARTER"  # process of `launch`


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """The number of this process, 0 for the one that writes and prints."""
    return dist.get_rank() if _is_joined() else 0


def world_size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if _is_joined() else 1


def has_lost_starter() -> bool:
    """Whether the process that started this one by `launch` has ended, even by SIGKILL; its job is then over."""
    starter = os.environ.get(_STARTER)
    return starter is not None and os.name == "posix" and int(starter) != os.getppid()


@contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes that torchrun started; does nothing in a single process."""
    if not is_started() or _is_joined():
        yield
        return
    has_cuda = torch.cuda.is_available()
    if has_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    else:
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        torch.set_num_threads(max(count_processors() // here, 1))
    dist.init_process_group("nccl" if has_cuda else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def broadcast(value: Any) -> Any:
    """The value that process 0 has of something small: a number, a flag, a text."""
    if not _is_joined():
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def shard(batch: Batch) -> Batch:
    """The samples of a joint batch that this process takes.

    Raises
    ------
    ValueError
        If there are fewer samples than processes.
    """
    if not _is_joined():
        return batch
    n = len(batch.images)
    if n < world_size():
        raise ValueError(
            f"a batch of {n} cannot be shared by {world_size()} processes: give --batch {world_size()} or more"
        )
    mine = slice(rank(), None, world_size())
    weights = None if batch.weights is None else batch.weights[mine]
    return replace(batch, images=batch.images[mine], labels=batch.labels[mine], weights=weights)


def all_reduce(x: Tensor) -> Tensor:
    """The sum of a tensor over all processes, with its gradient; the tensor itself in a single process.

    Every process then holds the same loss. Its gradient by the maps of one process is `world_size` times too large, as
    each of them passes it on, and is right again after `DistributedDataParallel` has averaged it over the parameters.
    """
    return _Summed.apply(x) if _is_joined() else x  # type: ignore[no-any-return]


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def wrap_ddp(net: nn.Module) -> nn.Module:
    """A net whose gradients are averaged, and whose batch norms are taken, over all processes; changed in place.

    In a single process the net is returned as it is.
    """
    if not _is_joined():
        return net
    _replace_norms(net)
    return DistributedDataParallel(net, broadcast_buffers=False, static_graph=True)  # some heads may not be trained


def _replace_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(module, name, JointBatchNorm.of(child))
        else:
            _replace_norms(child)


class JointBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm with the statistics of the joint batch (Ioffe and Szegedy, ICML 2015, arXiv:1502.03167)."""

    @classmethod
    def of(cls, norm: nn.modules.batchnorm._BatchNorm) -> JointBatchNorm:
        """A norm with the parameters and buffers of another."""
        made = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        for name in ("weight", "bias"):
            setattr(made, name, getattr(norm, name))
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            made.register_buffer(name, getattr(norm, name))
        return made.train(norm.training)

    def _check_input_dim(self, x: Tensor) -> None:
        """Maps of any number of axes."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise maps (N, C, *spatial) of this process."""
        if not self.training:
            return super().forward(x)
        over, shape = [0, *range(2, x.ndim)], (1, -1, *(1,) * (x.ndim - 2))
        values = x.float()
        n = all_reduce(values.new_tensor(float(x.numel() // x.shape[1])))
        mean = all_reduce(values.sum(over)) / n
        centred = values - mean.reshape(shape)
        variance = all_reduce(centred.square().sum(over)) / n
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach() * n / (n - 1))
        scaled = centred * (variance + self.eps).rsqrt().reshape(shape)
        if self.affine:
            scaled = scaled * self.weight.reshape(shape) + self.bias.reshape(shape)
        return scaled.to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        tracked, means, variances = self.num_batches_tracked, self.running_mean, self.running_var
        if tracked is None or means is None or variances is None:
            return
        tracked += 1
        weight = 1 / float(tracked) if self.momentum is None else self.momentum
        means.lerp_(mean, weight)
        variances.lerp_(variance, weight)


def launch(command: Sequence[str], n: int) -> int:
    """Run a command in `n` processes of this machine that join, as torchrun does; only the first one prints.

    At Ctrl-C or SIGTERM the processes save and end; at a second one they end at once.

    Parameters
    ----------
    command : sequence of str
    n : int
        Processes: one per GPU, or several that share a CPU.

    Returns
    -------
    int
        Exit status: 0 if all succeeded; else that of the first that failed, whose errors are then printed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes: list[subprocess.Popen[bytes]] = []
    with ExitStack() as stack:
        errors = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(n)]
        for i in range(n):
            numbers = {"RANK": i, "LOCAL_RANK": i, _STARTER: os.getpid()} | together
            environment = os.environ | {name: str(value) for name, value in numbers.items()}
            out, err = (None, None) if i == 0 else (subprocess.DEVNULL, errors[i])
            processes.append(subprocess.Popen(command, env=environment, stdout=out, stderr=err))
        try:
            with _passed_on(processes):
                first = _first_failure(processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        if first is None:
            return 0
        if first:  # process 0 has printed its own
            errors[first].seek(0)
            os.write(2, errors[first].read())
        return processes[first].returncode or 1


def _first_failure(processes: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all; the number of one that failed, the lowest of those that did at the same time."""
    while True:
        states = [process.poll() for process in processes]
        if any(state for state in states):
            time.sleep(_SETTLE_S)  # the others fail of the same: print the first
            states = [process.poll() for process in processes]
            return next(i for i, state in enumerate(states) if state)
        if all(state == 0 for state in states):
            return None
        time.sleep(0.05)


@contextmanager
def _passed_on(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Pass signals that end a job on to its processes, which save and end; the second one raises KeyboardInterrupt.

    Ctrl-C in a terminal reaches them by itself as well, so it is not passed on: a second one would stop them at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def on_signal(number: int, frame: Any) -> None:
        received.append(number)
        if number == signal.SIGTERM:
            for process in processes:
                process.send_signal(number)
        if len(received) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
