"""A net on real data, met layer by layer: maps are those of its hooks; what is changed is changed there alone."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unetkit.graph.hooks import run_with_hooks
from unetkit.graph.read import read
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build


def net_of(**options: Any) -> Any:
    torch.manual_seed(3)
    return build(Architecture(**{"widths": (4, 6, 8), **options})).eval()


VARIANTS: list[dict[str, Any]] = [
    {},
    {"ndim": 3},
    {"padding": "valid", "norm": "none"},
    {"block": "residual", "skip": "add"},
    {"block": "dense", "skip": "reduce", "convolutions": 2, "up": "linear"},
    {"skip": "attention", "down": "blur"},
    {"topology": "unet++", "heads": "all", "norm": "instance"},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_every_layer_is_met_once_with_its_shape_and_the_output_is_the_net_s(options: dict[str, Any]) -> None:
    net = net_of(**options)
    size = net.geometry.above((44, 40, 36)[: net.ndim])
    x = torch.randn(2, 1, *size)
    met: list[tuple[int, tuple[int, ...]]] = []
    with torch.no_grad():
        y = run_with_hooks(net, net.graph, x, on_layer=lambda i, m: met.append((i, tuple(m.shape))))
        assert torch.equal(y, net(x))
    sizes = list(zip(*(axis.sizes(n) or () for axis, n in zip(net.geometry.axes, size, strict=True)), strict=True))
    expected = [(i, (2, layer.channels, *sizes[i])) for i, layer in enumerate(net.graph.layers)]
    assert met == expected


def test_maps_are_those_that_hooks_see() -> None:
    net = net_of(norm="none", activation="prelu")
    x, seen, hooked = torch.randn(1, 1, 32, 32), {}, {}
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(lambda _m, _i, o, name=name: hooked.__setitem__(name, o.clone()))
    with torch.no_grad():
        run_with_hooks(net, net.graph, x, on_layer=lambda i, m: seen.__setitem__(net.graph.layers[i].name, m.clone()))
    assert hooked
    assert all(torch.equal(seen[name], found) for name, found in hooked.items())


def test_what_see_returns_takes_the_place_of_the_map() -> None:
    net = net_of()
    last = len(net.graph.layers) - 1
    y = run_with_hooks(
        net, net.graph, torch.randn(1, 1, 16, 16), on_layer=lambda i, m: torch.ones_like(m) if i == last else None
    )
    assert torch.equal(y, torch.ones_like(y))
    first = run_with_hooks(
        net, net.graph, torch.randn(1, 1, 16, 16), on_layer=lambda i, m: torch.zeros_like(m) if i == 0 else None
    )
    assert first.shape == y.shape


class Chunked(nn.Module):
    """One call that returns several maps, of which one is not needed, and an activation in place."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        one, two, _ = self.a(x).chunk(3, dim=1)
        two = two + one
        torch.relu_(two)
        return self.b(two) * 2


def test_several_maps_of_one_call_and_a_user_s_own_net() -> None:
    torch.manual_seed(0)
    net, x = Chunked(), torch.randn(1, 1, 8, 8)
    graph = read(net)
    names = [layer.function for layer in graph.layers]
    y = run_with_hooks(net, graph, x)
    assert torch.equal(y, net(x))
    join, chunk = names.index("add"), names.index("chunk") + 1
    assert graph.layers[join].inputs == (chunk, chunk - 1) or graph.layers[join].inputs == (chunk - 1, chunk)
    silent = run_with_hooks(net, graph, x, on_edge={(join, j): torch.zeros_like for j in graph.layers[join].inputs})
    assert torch.allclose(silent, (net.b(torch.zeros(1, 2, 8, 8))) * 2)


def test_an_edge_changes_what_one_reader_reads_and_nothing_else() -> None:
    """Zeroing the skip is the same net with the skip's weights zeroed: the first half of the joined channels."""
    net = net_of(norm="none")
    graph = net.graph
    join = max(i for i, layer in enumerate(graph.layers) if layer.function == "cat")
    skip = graph.layers[join].inputs[0]
    x = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        found = run_with_hooks(net, graph, x, on_edge={(join, skip): torch.zeros_like})
        bare = copy.deepcopy(net)
        reader = next(m for m in bare.decoder[0].modules() if isinstance(m, nn.Conv2d))
        reader.weight[:, : graph.layers[skip].channels] = 0
        torch.testing.assert_close(found, bare(x))
        assert not torch.allclose(found, net(x))


def test_gradients_pass_through() -> None:
    net = net_of()
    x = torch.randn(1, 1, 16, 16, requires_grad=True)
    (ours,) = torch.autograd.grad(run_with_hooks(net, net.graph, x).sum(), x)
    (theirs,) = torch.autograd.grad(net(x).sum(), x)
    torch.testing.assert_close(ours, theirs)


class Moody(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return torch.sigmoid(y) if x.is_meta else torch.tanh(y)


def test_what_does_not_fit_is_refused() -> None:
    net = net_of()
    with pytest.raises(ValueError, match="input size 30 does not fit the net: nearest sizes are 28 and 32"):
        run_with_hooks(net, net.graph, torch.zeros(1, 1, 30, 32))
    moody = Moody()
    with pytest.raises(RuntimeError, match=r"was read as sigmoid, but on data the net calls tanh there"):
        run_with_hooks(moody, read(moody), torch.zeros(1, 1, 8, 8))
