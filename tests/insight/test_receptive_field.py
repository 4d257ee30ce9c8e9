"""What a net sees: the textbook's numbers, and gradients measured two ways."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unetkit.insight.inspection import Inspection, inspect_array, inspect_noise
from unetkit.insight.receptive_field import (
    EffectiveField,
    draw_boxes,
    draw_energy,
    draw_profiles,
    effective_fields,
    skip_edges,
    stage_fields,
)
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.nets.papers import PAPERS


def look(size: tuple[int, ...] = (96, 96), seed: int = 0, **options: Any) -> Inspection:
    """A net of random weights, and noise."""
    torch.manual_seed(seed)
    net = build(Architecture(ndim=len(size), **{"widths": (4, 6, 8), **options}))
    noise = np.random.default_rng(seed).normal(size=(net.in_channels, *size)).astype(np.float32)
    return inspect_array(net, noise, name="net", source="noise")


def test_the_net_of_2015_sees_5_14_32_68_by_its_skips_and_140_at_the_bottom() -> None:
    with torch.device("meta"):
        fields = stage_fields(build(PAPERS["ronneberger2015"]()).graph)
    assert [one.name for one in fields] == ["encoder 0", "encoder 1", "encoder 2", "encoder 3", "bottom", "output"]
    assert [one.field[0].largest for one in fields[:-1]] == [5, 14, 32, 68, 140]
    assert [one.is_skipped for one in fields] == [True] * 4 + [False] * 2
    out = fields[-1].field[0]
    assert (out.smallest, out.largest, out.mean) == (188, 204, 200)


def test_a_net_without_skips_has_none() -> None:
    net = look(skip="none")
    assert not any(one.is_skipped for one in stage_fields(net.graph))
    assert skip_edges(net.graph) == {}


@pytest.mark.parametrize("size", [(64, 64), (24, 24, 24)], ids=["2D", "3D"])
def test_energy_of_one_convolution_is_that_of_its_weights(size: tuple[int, ...]) -> None:
    """A second road: with one output channel the squared gradient is the squared kernel."""
    conv: Any = {2: nn.Conv2d, 3: nn.Conv3d}[len(size)]
    torch.manual_seed(0)
    net = conv(1, 1, 3, padding=1)
    image = np.random.default_rng(0).normal(size=(1, *size)).astype(np.float32)
    (found,) = effective_fields(inspect_array(net, image, name="one", source="noise"), probes=3)
    expected = net.weight[0, 0].double().square().detach().numpy()
    np.testing.assert_allclose(found.energy, expected / expected.sum(), rtol=1e-5)
    assert found.theoretical == (3,) * len(size)
    assert not found.is_cut


def test_no_energy_lies_outside_the_theoretical_field_and_some_at_its_edge() -> None:
    shown = look((160, 160), widths=(4, 6, 8), norm="none")
    for place, found in zip(stage_fields(shown.graph), effective_fields(shown, probes=24), strict=True):
        axis = place.field[0]
        reach = found.energy.shape[0] // 2
        assert reach == axis.reach
        columns = found.energy.sum(0)
        assert columns[reach - max(axis.left)] > 0
        assert columns[reach + max(axis.right)] > 0
        assert found.energy.sum() == pytest.approx(1)


def test_summary_numbers_of_a_known_energy() -> None:
    energy = np.zeros((9, 9))
    energy[4, 4], energy[4, 2], energy[4, 6] = 0.5, 0.25, 0.25
    found = EffectiveField("x", energy, (9, 9))
    assert found.std == pytest.approx(np.sqrt((0 + 0.5 * 4) / 2))  # variances 0 and 2, mean of both axes
    assert [found.side(s) for s in (0.4, 0.5, 0.51, 1.0)] == [1, 1, 5, 5]
    nothing = EffectiveField("x", np.zeros((3, 3)), (3, 3))
    assert np.isnan(nothing.std)
    assert nothing.side(0.5) == 0
    with pytest.raises(ValueError, match=r"share is 1\.5; expected a part of the energy"):
        found.side(1.5)


def test_skips_shrink_the_effective_field_as_measured_before() -> None:
    """Measured before: without skips half of the energy lies within 55 px, std 24.8; encoder levels double from 1.1 on.

    With skips the field is smaller; by how much depends on how the up-convolutions are initialised.
    """
    options: dict[str, Any] = {"widths": (12, 24, 48, 96, 192), "norm": "none", "size": (240, 240)}
    with_skips, without = look(**options), look(**options, skip="none")
    found = effective_fields(with_skips, probes=4)
    (bare,) = effective_fields(without, probes=4, output_only=True)
    assert found[-1].std < 0.85 * bare.std
    assert found[-1].side(0.5) < 0.7 * bare.side(0.5)
    assert bare.std == pytest.approx(24.8, rel=0.05)
    assert bare.side(0.5) == pytest.approx(55, abs=4)
    stds = [one.std for one in found[:-1]]
    assert all(1.6 < b / a < 2.6 for a, b in pairwise(stds))
    assert stds[0] == pytest.approx(1.1, abs=0.15)
    assert found[0].side(0.95) == 5
    assert found[1].side(0.95) in (11, 13)
    # Silencing the skips of the same net has the same effect.
    (silenced,) = effective_fields(with_skips, probes=4, without_skips=True, output_only=True)
    assert found[-1].side(0.5) < 0.7 * silenced.side(0.5)


def test_the_same_seed_gives_the_same_probes() -> None:
    shown = look()
    one, two, other = (effective_fields(shown, probes=2, seed=s) for s in (1, 1, 2))
    assert all(np.array_equal(a.energy, b.energy) for a, b in zip(one, two, strict=True))
    assert any(not np.array_equal(a.energy, b.energy) for a, b in zip(one, other, strict=True))
    with pytest.raises(ValueError, match="probes is 0; expected 1 or more"):
        effective_fields(shown, probes=0)


class Twins(nn.Module):
    """A user's own net: two branches of other depths, one dilated, multiplied and added; nothing is called encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Conv2d(2, 4, 3, padding=2, dilation=2), nn.ReLU(), nn.Conv2d(4, 4, 1))
        self.right = nn.Sequential(nn.MaxPool2d(3), nn.Conv2d(2, 4, 3, padding=1), nn.Upsample(scale_factor=3))
        self.out = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.left(x), self.right(x)
        return self.out(a * torch.sigmoid(b) + a)


def test_a_user_s_own_net() -> None:
    torch.manual_seed(0)
    shown = inspect_noise(Twins(), name="twins")
    fields, found = stage_fields(shown.graph), effective_fields(shown, probes=4)
    assert [one.name for one in found] == [one.name for one in fields]
    assert found[-1].theoretical == (9, 9)
    assert found[-1].energy.sum() == pytest.approx(1)


@pytest.mark.parametrize("size", [(64, 64), (32, 32, 32)], ids=["2D", "3D"])
def test_pictures_show_every_place(size: tuple[int, ...]) -> None:
    shown = look(size, widths=(2, 3, 4))
    fields, found = stage_fields(shown.graph), effective_fields(shown, probes=2)
    boxes = draw_boxes(shown, fields, found).axes[0]
    assert len(boxes.patches) == 2 * len(fields)
    widths = [patch.get_width() for patch in boxes.patches[::2]]  # type: ignore[attr-defined]
    assert widths == [one.field[-1].largest for one in fields]
    assert sum(axis.get_visible() for axis in draw_energy(found).axes) == len(fields)
    assert len(draw_profiles(found[-2:]).axes[0].lines) == 2
