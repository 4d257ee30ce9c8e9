"""For all tests: repeatable examples, and a second road to receptive fields (which pixels carry gradient)."""

import copy
import os
from collections.abc import Callable, Sequence
from typing import Any

# Before torch is loaded, for this process and those that tests start: tiny nets are faster on one thread, and two
# workers share two cores without getting in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")

MEAN_POOL: dict[Any, Any] = {nn.MaxPool2d: nn.AvgPool2d, nn.MaxPool3d: nn.AvgPool3d}


def _all_paths_open(net: nn.Module) -> nn.Module:
    """A float64 copy through which every tap carries gradient: positive weights, means in place of maxima."""
    opened = copy.deepcopy(net).double().eval()
    for module in list(opened.modules()):
        children: list[tuple[str, Any]] = list(module.named_children())
        for name, child in children:
            if type(child) in MEAN_POOL:
                pool = MEAN_POOL[type(child)](child.kernel_size, child.stride, child.padding, child.ceil_mode)
                setattr(module, name, pool)
    for parameter in opened.parameters():
        nn.init.constant_(parameter, 1 / parameter[0].numel() if parameter.ndim > 1 else 1.0)
    return opened


def _probe(
    net: nn.Module, size: Sequence[int], *, axis: int, outputs: Sequence[int], channels: int = 1, layer: str = ""
) -> list[tuple[int, int]]:
    opened = _all_paths_open(net)
    caught: list[Tensor] = []
    opened.get_submodule(layer).register_forward_hook(lambda module, inputs, output: caught.append(output))
    x = torch.ones(len(outputs), channels, *size, dtype=torch.float64, requires_grad=True)
    opened(x)
    y = caught[0].sum(1).movedim(axis + 1, 1)  # one sample per output, the probed axis next
    for other in range(y.ndim - 1, 1, -1):
        y = y.select(other, y.shape[other] // 2)
    (gradient,) = torch.autograd.grad(y[range(len(outputs)), list(outputs)].sum(), x)
    seen = gradient.movedim(axis + 2, 1).flatten(2).ne(0).any(2)
    return [(int(row.nonzero()[0]), int(row.nonzero()[-1])) for row in seen]


@pytest.fixture(scope="session")
def probe() -> Callable[..., list[tuple[int, int]]]:
    """`probe(net, size, axis=, outputs=, channels=1, layer="")`: per output the first and last pixel with gradient."""
    return _probe
