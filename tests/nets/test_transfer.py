"""Weights of one net for another of other channels and classes."""

import pytest
import torch

from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.nets.transfer import copy_weights


def net(seed, **options):
    torch.manual_seed(seed)
    return build(Architecture(**{"widths": (5, 8), "block": "residual"} | options)).eval()


def test_equal_nets_become_the_same():
    source, target = net(0), net(1)
    assert copy_weights(source, target) == []
    x = torch.randn(1, 1, 16, 16)
    assert torch.equal(source(x), target(x))


@pytest.mark.parametrize(("before", "now"), [(1, 3), (3, 1), (2, 4)])
def test_equal_channels_give_what_one_gave(before, now):
    source, target = net(0, in_channels=before), net(1, in_channels=now)
    (line,) = copy_weights(source, target)
    assert f"channels {before} to {now}" in line
    x = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(source(x.expand(-1, before, -1, -1)), target(x.expand(-1, now, -1, -1)))


def test_new_classes_begin_anew():
    source, target = net(0), net(1, out_channels=5)
    heads = {name: weight.clone() for name, weight in target.state_dict().items() if name.startswith("heads")}
    (line,) = copy_weights(source, target)
    assert "classes 2 to 5" in line
    for name, weight in target.state_dict().items():
        expected = heads[name] if name in heads else source.state_dict()[name]
        assert torch.equal(weight, expected)


@pytest.mark.parametrize("options", [{"widths": (5, 6)}, {"widths": (5, 8, 8)}, {"skip": "add"}])
def test_other_architectures_are_refused(options):
    with pytest.raises(ValueError, match=r"is .* there and .* here|the nets differ in"):
        copy_weights(net(0), net(1, **options))
