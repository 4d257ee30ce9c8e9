"""Feature maps, attention and heads, against the modules that compute them."""

from typing import Any

import numpy as np
import pytest
import torch

from unetkit.graph.stages import structure
from unetkit.insight.activations import (
    attention_maps,
    draw_attention,
    draw_heads,
    draw_stages,
    head_masks,
    stage_maps,
)
from unetkit.insight.inspection import Inspection, inspect_array
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build


def inspection_of(size: tuple[int, ...], **options: Any) -> Inspection:
    torch.manual_seed(2)
    net = build(Architecture(ndim=len(size), **{"widths": (4, 6, 8), **options}))
    image = np.random.default_rng(0).normal(size=(1, *size)).astype(np.float32)
    return inspect_array(net, image, name="net", source="noise.png")


@pytest.mark.parametrize("size", [(32, 32), (16, 16, 16)], ids=["2D", "3D"])
def test_the_most_active_channels_come_first_and_are_the_net_s_own(size: tuple[int, ...]) -> None:
    shown = inspection_of(size)
    rows = stage_maps(shown, n=2)
    assert [row.name for row in rows] == [structure(shown.graph).name(s.key) for s in structure(shown.graph).stages]
    net: Any = shown.net
    with torch.no_grad():
        features = net.encoder(shown.image)
    for row, feature in zip(rows, features, strict=False):
        deviation = feature[0].flatten(1).std(1, unbiased=False).numpy()
        np.testing.assert_allclose(row.activity, deviation, rtol=1e-5)
        assert row.channels == tuple(np.argsort(-deviation, kind="stable")[:2])
        np.testing.assert_array_equal(row.maps, feature[0][list(row.channels)].numpy())
    assert rows[-1].maps.shape == (2, *size)


def test_silent_channels_are_counted() -> None:
    shown = inspection_of((32, 32), norm="none")
    net: Any = shown.net
    with torch.no_grad():
        net.encoder.blocks[0][-2].weight[1:3] = 0
        net.encoder.blocks[0][-2].bias[1:3] = 0.5
    assert stage_maps(shown)[0].silent == 2


@pytest.mark.parametrize("size", [(32, 32), (16, 16, 16)], ids=["2D", "3D"])
def test_attention_is_that_of_the_gates(size: tuple[int, ...]) -> None:
    shown = inspection_of(size, skip="attention", widths=(4, 6, 8, 10))  # the finest skip has no gate
    caught: list[np.ndarray] = []
    net: Any = shown.net
    for skip in net.skips[1:]:
        for gate in skip.gates:
            attend = gate.attention
            gate.attention = lambda x, g, attend=attend: caught.append(attend(x, g)[0, 0].numpy()) or attend(x, g)
    with torch.no_grad():
        net(shown.image)
        for skip in net.skips[1:]:
            for gate in skip.gates:
                del gate.attention
    found = attention_maps(shown)
    assert len(found) == len(caught) == 2
    for row, alpha in zip(found, caught, strict=True):
        np.testing.assert_allclose(row.alpha, alpha, rtol=1e-6)
        assert 0 < row.alpha.min() <= row.alpha.max() < 1
    assert {row.name for row in found} == {"skips.1.gates.0", "skips.2.gates.0"}


def test_a_net_without_gates_has_no_attention() -> None:
    assert attention_maps(inspection_of((32, 32))) == ()


@pytest.mark.parametrize(
    "size, padding", [((32, 32), "same"), ((44, 44), "valid"), ((16, 16, 16), "same")], ids=["same", "valid", "3D"]
)
def test_heads_are_those_of_the_pruned_nets(size: tuple[int, ...], padding: str) -> None:
    shown = inspection_of(size, topology="unet++", heads="all", padding=padding, norm="none")
    found = head_masks(shown)
    assert found is not None
    net: Any = shown.net
    for level, classes in enumerate(found.classes, start=1):
        with torch.no_grad():
            whole = net.prune(level)(shown.image)[0].argmax(0).numpy()
        cut = [(n - m) // 2 for n, m in zip(whole.shape, classes.shape, strict=True)]
        middle = tuple(slice(c, c + m) for c, m in zip(cut, classes.shape, strict=True))
        np.testing.assert_array_equal(classes, whole[middle])
    differ = found.classes[0] != found.classes[1]
    np.testing.assert_array_equal(found.disagreement > 0, differ)
    assert found.disputed == pytest.approx(differ.mean())
    assert 0 < found.disputed < 1


def test_other_nets_have_no_heads() -> None:
    assert head_masks(inspection_of((32, 32))) is None
    assert head_masks(inspection_of((32, 32), topology="unet++")) is None


def test_pictures_show_everything() -> None:
    shown = inspection_of((32, 32), skip="attention", topology="unet++", heads="all")
    rows = stage_maps(shown)
    assert sum(axis.get_visible() for axis in draw_stages(rows).axes) == sum(len(row.channels) for row in rows)
    gates = attention_maps(shown)
    pictures = [axis for axis in draw_attention(gates).axes if axis.get_visible() and axis.images]
    assert len(pictures) == len(gates)
    heads = head_masks(shown)
    assert heads is not None
    assert sum(axis.get_visible() for axis in draw_heads(heads).axes) == len(heads.classes) + 1
