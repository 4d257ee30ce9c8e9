"""Nets that differ in one respect: each against the same net built and followed by hand."""

import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unetkit.insight import variants as variants_module
from unetkit.insight.gradient_flow import GradientFlow, StageFlow, gradient_flow, loss_against
from unetkit.insight.inspection import Inspection, inspect_array
from unetkit.insight.variants import Variant, compare_variants, draw_variants
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build

SETTINGS = ("batch norm", "no norm", "no norm, weights halved")
SIZE = {2: (40, 48), 3: (16, 24, 16)}


def inspection(ndim: int = 2, *, size: tuple[int, ...] | None = None, truth: bool = True, **options: Any) -> Inspection:
    torch.manual_seed(5)
    net = build(Architecture(ndim=ndim, **{"widths": (4, 6, 8)} | options))
    size = size or SIZE[ndim]
    rng = np.random.default_rng(0)
    labels = (rng.random(size) > 0.5).astype(np.uint8)
    array = rng.normal(size=(1, *size)).astype(np.float32)
    return inspect_array(net, array, name="net", source="image", truth=labels if truth else None)


def changes(one: Architecture, other: Architecture) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if value != asdict(other)[name]}


def only(monkeypatch: pytest.MonkeyPatch, *wanted: str) -> None:
    """Compare with these alone: each net takes a tenth of a second to read."""
    every = variants_module._architectures
    monkeypatch.setattr(
        variants_module, "_architectures", lambda *a: {n: x for n, x in every(*a).items() if n in wanted}
    )


def names(found: tuple[Variant, ...]) -> list[str]:
    return list(dict.fromkeys(one.name for one in found))


@pytest.mark.parametrize("ndim", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_each_is_the_net_with_that_difference_built_from_the_seed(ndim: int) -> None:
    inspected = inspection(ndim)
    found = compare_variants(inspected, seed=3)
    own = inspected.net.architecture
    deeper = "two levels deeper" if ndim == 2 else "one level deeper"
    kin = ["as it is", "no skips", "residual blocks", "residual blocks, no skips", deeper, f"{deeper}, no skips"]
    assert [(one.name, one.setting) for one in found] == [(n, s) for n in kin for s in SETTINGS]
    expected: list[dict[str, Any]] = [{}, {"skip": "none"}, {"block": "residual"}]
    expected.append({"block": "residual", "skip": "none"})
    for one, change in zip(found[::3], expected, strict=False):
        assert changes(one.architecture, own) == change
        assert changes(found[found.index(one) + 1].architecture, own) == change | {"norm": "none"}
        assert found[found.index(one) + 2].architecture == found[found.index(one) + 1].architecture
    torch.manual_seed(3)
    net = build(replace(own, skip="none"))
    truth = loss_against(inspected.truth)
    assert gradient_flow(net, net.graph, inspected.image, loss=truth) == found[3].flow
    torch.manual_seed(3)
    net = build(replace(own, skip="none", norm="none"))
    net.load_state_dict({name: tensor / 2 for name, tensor in net.state_dict().items()})
    assert gradient_flow(net, net.graph, inspected.image, loss=truth) == found[5].flow


@pytest.mark.parametrize(
    "size, name, widths",
    [((32, 64), "two levels deeper", (4, 6, 8, 8, 8)), ((28, 28), "one level deeper", (4, 6, 8, 8))],
)
def test_as_deep_as_the_image_allows(
    size: tuple[int, int], name: str, widths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "one level deeper", "two levels deeper")
    deep, *_ = compare_variants(inspection(size=size))
    assert deep.name == name
    assert deep.architecture.widths == widths
    assert len(deep.architecture.strides) == len(widths) - 1  # type: ignore[arg-type]
    assert max(stage.level for stage in deep.flow.stages) == len(widths) - 1
    assert compare_variants(inspection(size=(12, 12))) == ()


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"topology": "unet++", "heads": "all"}, ["as it is", "as a U-Net", "no skips", "residual blocks"]),
        (
            {"skip": "none", "norm": "none"},
            ["as it is", "with skips", "residual blocks", "residual blocks, with skips"],
        ),
        (
            {"block": "preactivation", "norm": "group"},
            ["as it is", "no skips", "plain blocks", "plain blocks, no skips"],
        ),
        ({"block": "dense"}, ["as it is", "no skips", "two levels deeper", "two levels deeper, no skips"]),
        (
            {"convolutions": (1, 2, 3), "decoder_widths": (6, 8), "kernels": ((3, 3), (5, 3), (3, 3))},
            ["as it is", "no skips", "residual blocks", "residual blocks, no skips"],
        ),
    ],
    ids=str,
)
def test_what_a_net_is_compared_with(
    options: dict[str, Any], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inspected = inspection(truth=False, **options)
    assert list(variants_module._architectures(inspected.net.architecture, inspected.size))[: len(expected)] == expected
    only(monkeypatch, expected[-1])
    norm = options.get("norm", "batch")
    found = compare_variants(inspected)
    wanted = ("no norm", "no norm, weights halved", "batch norm") if norm == "none" else (f"{norm} norm", *SETTINGS[1:])
    assert tuple(one.setting for one in found) == wanted
    assert all(math.isfinite(one.flow.reach) and one.flow.reach > 0 for one in found)


def test_no_net_is_compared_whose_bottom_is_a_pixel() -> None:
    assert compare_variants(inspection(size=(4, 8))) == ()


def test_an_unpadded_net_is_compared_where_the_image_is_large_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth 1 loses 16 pixels, depth 3 loses 88."""
    only(monkeypatch, "as it is", "two levels deeper")
    assert names(compare_variants(inspection(size=(52, 52), padding="valid", widths=(2, 4)))) == ["as it is"]
    found = compare_variants(inspection(size=(100, 100), padding="valid", widths=(2, 4)))
    assert names(found) == ["as it is", "two levels deeper"]


def test_only_the_middle_is_used_and_of_it_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    inspected = inspection(size=(64, 56))
    only(monkeypatch, "as it is")
    monkeypatch.setattr(variants_module, "_SIDES", {2: (24, 16)})
    torch.manual_seed(0)
    net = build(inspected.net.architecture)
    middle = (slice(20, 44), slice(16, 40))
    part = loss_against(inspected.truth[middle])  # type: ignore[index]
    expected = gradient_flow(net, net.graph, inspected.image[(..., *middle)], loss=part)
    assert compare_variants(inspected)[0].flow == expected
    monkeypatch.setattr(variants_module, "_MOST_MACS", 10)
    smaller = gradient_flow(
        net, net.graph, inspected.image[..., 24:40, 20:36], loss=loss_against(inspected.truth[24:40, 20:36])
    )  # type: ignore[index]
    assert compare_variants(inspected)[0].flow == smaller


def test_neither_the_net_nor_the_generator_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "as it is", "no skips")
    inspected = inspection()
    state, random = {k: t.clone() for k, t in inspected.net.state_dict().items()}, torch.random.get_rng_state()
    compare_variants(inspected)
    assert torch.equal(random, torch.random.get_rng_state())
    assert all(torch.equal(state[k], t) for k, t in inspected.net.state_dict().items())


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x)
        return result


def test_a_net_of_ones_own_has_none() -> None:
    assert compare_variants(inspect_array(Own(), np.zeros((1, 9, 9), np.float32), name="own", source="zeros")) == ()


def relative(name: str, norm: Any, first: float, last: float) -> Variant:
    stages = tuple(StageFlow(f"stage {i}", 0, 1.0, g, 1.0, 1.0) for i, g in enumerate((first, last)))
    return Variant(name, Architecture(norm=norm), GradientFlow(stages, 1.0, True))


def test_the_picture_has_a_mark_for_each_that_gets_a_gradient() -> None:
    rows = [
        ("one", "batch", 2.0, 4.0),
        ("one", "none", 1.0, 100.0),
        ("other", "batch", 0.0, 1.0),
        ("other", "none", 5, 1),
    ]
    figure = draw_variants([relative(*row) for row in rows])
    batch, none, *_ = figure.axes[0].lines
    assert (list(batch.get_xdata()), list(batch.get_ydata())) == ([0.5], [0])
    assert (list(none.get_xdata()), list(none.get_ydata())) == ([0.01, 5.0], [0, 1])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["batch norm", "no norm"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["one", "other"]
