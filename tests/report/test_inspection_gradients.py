"""The section on gradients says what the numbers say, for every kind of net."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unetkit.insight import variants
from unetkit.insight.gradient_flow import GradientFlow, StageFlow, gradient_flow, loss_against
from unetkit.insight.inspection import Inspection, inspect_array, inspect_noise
from unetkit.insight.variants import Variant
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.report.inspection import gradients
from unetkit.report.inspection.gradients import gradients_section

SIZE = {2: (48, 56), 3: (16, 24, 24)}


class Own(nn.Module):
    """Two branches of different depth, no attribute but forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.down = nn.Conv2d(4, 8, 2, stride=2)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.last = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu_(self.first(x))
        result: Tensor = self.last(torch.cat([y, self.up(torch.relu_(self.down(y)))], 1))
        return result


def inspection(ndim: int = 2, *, has_truth: bool = True, size: tuple[int, ...] = (), **options: Any) -> Inspection:
    torch.manual_seed(0)
    net = build(Architecture(ndim=ndim, **{"widths": (4, 8, 8)} | options))
    rng = np.random.default_rng(0)
    size = size or SIZE[ndim]
    array = rng.normal(size=(1, *size)).astype(np.float32)
    truth = rng.integers(0, 2, size).astype(np.uint8) if has_truth else None
    return inspect_array(net, array, name="net", source="image", truth=truth)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare with the net itself and that without skips alone, for speed."""
    every = variants._architectures
    monkeypatch.setattr(variants, "_architectures", lambda own, size: dict(list(every(own, size).items())[:2]))


def read(markup: str) -> str:
    """The text of a section, whose every figure must say something and hold no word that is no number."""
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", markup)
    assert len(captions) == markup.count("<svg ") == markup.count("<figure>")
    assert all(caption.endswith(".") and len(caption) > 40 for caption in captions)
    assert not re.search(r"\b(nan|inf|None)\b", re.sub(r"<svg.*?</svg>", "", markup, flags=re.S))
    return markup


@pytest.mark.parametrize(
    "options, figures",
    [
        ({}, 2),
        ({"ndim": 3}, 2),
        ({"padding": "valid", "size": (92, 92), "has_truth": False}, 2),
        ({"topology": "unet++", "heads": "all", "norm": "instance"}, 2),
        ({"skip": "attention", "norm": "none", "has_truth": False}, 2),
    ],
    ids=str,
)
def test_every_net_gets_its_figures(options: dict[str, Any], figures: int, few: None) -> None:
    inspected = inspection(**options)
    text = read(gradients_section(inspected))
    assert text.count("<svg ") == figures
    assert ("the true mask" in text) == (inspected.truth is not None)
    assert ("the net&#x27;s own mask" in text) == (inspected.truth is None)
    found = gradient_flow(inspected.net, inspected.graph, inspected.image, loss=loss_against(inspected.output_truth))
    for stage in found.stages:
        assert f"<td>{stage.name}</td>" in text
    assert f"loss of {found.loss:.3g}" in text
    assert ("Batch norms use the statistics of this image" in text) == ("norm" not in options)


def test_a_net_of_ones_own_and_noise_are_enough(few: None) -> None:
    torch.manual_seed(0)
    own = inspect_array(Own(), np.ones((1, 32, 32), np.float32), name="own", source="ones")
    text = read(gradients_section(own))
    assert text.count("<svg ") == 1
    assert "<td>encoder 0</td>" in text
    noise = inspect_noise(build(Architecture(widths=(2, 4))), name="net")
    assert read(gradients_section(noise)).count("<svg ") == 2


def test_a_net_that_learns_nothing_has_no_picture() -> None:
    inspected = inspection()
    nn.init.zeros_(inspected.net.heads[0].weight)
    text = read(gradients_section(inspected))
    assert "All gradients are zero" in text
    assert "<svg " not in text
    assert text.count("<tr class=quiet>") == 5


def stage(name: str, gradient: float) -> StageFlow:
    return StageFlow(name, 0, 1.0, gradient, 2.0, 0.5)


@pytest.mark.parametrize(
    "first, last, words",
    [
        (1e-6, 1e-3, "1,000 times less: it all but vanishes"),
        (4e-4, 1e-3, "2.5 times less: it reaches"),
        (1.1e-3, 1e-3, "about as much: it reaches"),
        (5.0, 1e-3, "5,000 times more: it grows"),
    ],
)
def test_the_verdict_follows_the_numbers(first: float, last: float, words: str) -> None:
    found = GradientFlow((stage("encoder 0", first), stage("bottom", 1.0), stage("decoder 0", last)), 1.0, True)
    text = gradients._describe_flow(found)
    assert words in text
    assert f"{last:.2g} at decoder 0 and {first:.2g} at encoder 0" in text


def test_a_stage_without_gradient_is_named() -> None:
    found = GradientFlow((stage("encoder 0", 0.0), stage("bottom", 0.0), stage("decoder 0", 1.0)), 1.0, True)
    text = gradients._describe_flow(found)
    assert "No gradient at all reaches encoder 0, bottom" in text
    assert "it reaches" not in text
    assert "There is one stage" in gradients._describe_flow(GradientFlow((stage("encoder 0", 1.0),), 1.0, True))


def test_variants_are_compared_with_the_net() -> None:
    def made(name: str, norm: Any, reach: float) -> Variant:
        flow = GradientFlow((stage("encoder 0", reach), stage("decoder 0", 1.0)), 1.0, True)
        return Variant(name, Architecture(norm=norm), flow)

    rows = [
        ("as it is", "batch", 1.0),
        ("as it is", "none", 0.2),
        ("no skips", "batch", 1.2),
        ("no skips", "none", 1e-3),
    ]
    found = [made(*row) for row in rows]
    assert [gradients._words(setting) for setting in ("group norm", "no norm", "no norm, weights halved")] == [
        "with group norm",
        "without norm",
        "without norm, weights halved",
    ]
    words = gradients._describe_variants(found)
    assert "With batch norm it is 1 (as it is) to 1.2 (no skips); removing the skips gives about as much." in words
    assert "Without norm it is 0.001 (no skips) to 0.2 (as it is); removing the skips gives 200 times less." in words
    assert "It vanishes (below a hundredth): no skips (without norm)." in words
    assert "xplode" not in words
    assert (
        "is 1.2 times the smallest with batch norm, 200 times the smallest without norm."
        in gradients._effect_of_norm(found)
    )
    nested = [made("as it is", "batch", 9.0), made("as a U-Net", "batch", 2.0), made("no skips", "batch", 8.0)]
    words = gradients._describe_variants(nested)
    assert "With batch norm it is 2 (as a U-Net) to 9 (as it is); removing the skips gives 4 times more." in words
    assert "In none does it vanish" in words
    assert "explodes (above a hundred): as it is" in gradients._describe_variants([made("as it is", "batch", 2e3)])
    table = gradients._variants_table(found[:3])
    assert '<td>as it is</td><td class="number">1</td><td class="number">0.2</td>' in table
    assert '<td>no skips</td><td class="number">1.2</td><td class="number">-</td>' in table
