"""For all tests: repeatable examples, a second road to receptive fields (pixels with gradient), a stand-in for timm."""

import copy
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
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


class _Residual(nn.Module):
    """Two 3x3 convolutions, a shortcut, and optionally squeeze and excitation, as timm writes them."""

    def __init__(self, inner: int, outer: int, stride: int, *, gated: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.gate = nn.Conv2d(outer, outer, 1) if gated else None
        self.downsample = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.gate is not None:
            y = y * self.gate(y.mean((2, 3), keepdim=True)).sigmoid()
        y += self.downsample(x)
        return torch.relu(y)


class _FeatureInfo:
    def __init__(self, rows: list[tuple[int, int]]) -> None:
        self.rows = rows

    def channels(self) -> list[int]:
        return [channels for channels, _ in self.rows]

    def reduction(self) -> list[int]:
        return [reduction for _, reduction in self.rows]


class _Features(nn.ModuleDict):
    """A tiny ResNet as timm's `features_only=True` gives it: a list of maps, and `feature_info`."""

    def __init__(self, name: str, in_chans: int, out_indices: tuple[int, ...]) -> None:
        gated = name == "tiny_se"
        rows = [(4, 2), (6, 4), (8, 8)]
        stem: dict[str, nn.Module] = {"conv1": nn.Conv2d(in_chans, 4, 7, 2, 3, bias=False), "bn1": nn.BatchNorm2d(4)}
        layers = stem | {"act1": nn.ReLU(inplace=True), "maxpool": nn.MaxPool2d(3, 2, 1)}
        layers |= {"layer1": _Residual(4, 6, 1, gated=gated), "layer2": _Residual(6, 8, 2, gated=gated)}
        ends = ["act1", "layer1", "layer2"]
        if name == "tiny_patch4":  # some models begin by dividing by 4
            rows, ends = rows[1:], ends[1:]
            layers = {"conv1": nn.Conv2d(in_chans, 4, 4, 4), **{end: layers[end] for end in ends}}
        if name == "tiny_flat":  # as vision transformers: every map of one stride
            rows = [(4, 2), (6, 2), (8, 2)]
        self.ends = [ends[i] for i in out_indices] if out_indices else ends
        self.feature_info = _FeatureInfo([rows[ends.index(end)] for end in self.ends])
        super().__init__({key: layers[key] for key in list(layers)[: list(layers).index(self.ends[-1]) + 1]})

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for key, layer in self.items():
            x = layer(x)
            maps += [x] if key in self.ends else []
        return maps


class FakeTimm(ModuleType):
    """In place of timm, which needs torchvision: its one function that is called, over tiny nets.

    Attributes
    ----------
    calls : list of dict
        What was asked for.
    is_offline : bool
        Whether fetching weights fails.
    """

    def __init__(self) -> None:
        super().__init__("timm")
        self.calls: list[dict[str, Any]] = []
        self.is_offline = False

    def create_model(
        self,
        name: str,
        *,
        features_only: bool,
        in_chans: int,
        pretrained: bool,
        out_indices: tuple[int, ...] = (),
    ) -> nn.Module:
        self.calls.append({"name": name, "in_chans": in_chans, "pretrained": pretrained, "out_indices": out_indices})
        if not name.startswith("tiny") or not features_only:
            raise RuntimeError(f"Unknown model ({name})\nand a second line")
        if pretrained and self.is_offline:
            raise ConnectionError("no route to the hub\nand a second line")
        model = _Features(name, in_chans, out_indices)
        if pretrained:
            state = self.weights(name)
            first = state["conv1.weight"]
            copies = [first[:, i % 3] * 3 / in_chans for i in range(in_chans)]
            state["conv1.weight"] = torch.stack([first.sum(1)] if in_chans == 1 else copies, dim=1)
            model.load_state_dict({key: state[key] for key in model.state_dict()})
        return model

    def weights(self, name: str) -> dict[str, Tensor]:
        """The pretrained weights of a model of three channels."""
        generator = torch.Generator().manual_seed(7)
        state = _Features(name, 3, ()).state_dict()
        return {
            key: torch.rand(t.shape, generator=generator) - 0.4 * ("var" not in key) if t.is_floating_point() else t
            for key, t in state.items()
        }


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> FakeTimm:
    """A stand-in for timm with the encoders tiny, tiny_se, tiny_patch4 and tiny_flat."""
    module = FakeTimm()
    monkeypatch.setitem(sys.modules, "timm", module)
    return module
