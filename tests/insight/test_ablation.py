"""Paths silenced one by one, against nets that were built to depend on one of them alone."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unetkit.insight.ablation import ablate_paths, draw_effects, draw_masks
from unetkit.insight.inspection import Inspection, inspect_array
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build


def picture(size: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(1, *size)).astype(np.float32)


def look(size: tuple[int, ...], *, truth: bool = True, **options: Any) -> Inspection:
    torch.manual_seed(1)
    net = build(Architecture(ndim=len(size), **{"widths": (4, 6, 8), **options}))
    image = picture(size)
    labels = (image[0] > 0).astype(np.uint8) if truth else None
    with torch.no_grad():  # random weights may put every pixel into one class
        logits = inspect_array(net, image, name="net", source="").logits()[0]
        net.heads[0].bias[1] -= (logits[1] - logits[0]).median()
    return inspect_array(net, image, name="net", source="noise.png", truth=labels)


@pytest.mark.parametrize(
    "options, skips",
    [
        ({}, 2),
        ({"skip": "add", "block": "residual"}, 2),
        ({"skip": "attention"}, 2),
        ({"padding": "valid", "norm": "none"}, 2),
        ({"skip": "reduce"}, 2),
        ({"skip": "none"}, 0),
        ({"topology": "unet++"}, 4),
    ],
    ids=str,
)
@pytest.mark.parametrize("ndim", [2, 3])
def test_every_skip_and_the_bottom_are_silenced(ndim: int, options: dict[str, Any], skips: int) -> None:
    side = 44 if "padding" in options else 20
    shown = look((side,) * ndim, widths=(2, 3, 4), **options)
    found = ablate_paths(shown)
    paths = [mask.path for mask in found.by("mean")]
    assert len(paths) == skips + 1 + (skips > 1)
    assert ("all skips" in paths) == (skips > 1)
    assert "the bottom" in paths
    assert [mask.path for mask in found.by("zero")] == paths
    plain = shown.logits()[0].argmax(0).numpy()
    assert np.array_equal(found.whole.classes, plain)
    assert found.whole.classes.shape == shown.output_truth.shape  # type: ignore[union-attr]
    assert any(mask.changed > 0 for mask in found.masks)


class Threshold(nn.Module):
    """Copies the image by its skip: what comes from below adds a constant that is never enough to change a class."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse, self.head = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.Conv2d(2, 2, 1)
        for layer in (self.fine, self.coarse):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0]])[:, :, None, None])
            self.head.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        skip = self.fine(x)
        below = nn.functional.interpolate(self.coarse(nn.functional.max_pool2d(skip, 2)), scale_factor=2.0)
        return self.head(torch.cat([skip, below], 1))


def test_a_net_that_lives_by_its_skip_loses_all_without_it_and_nothing_without_the_bottom() -> None:
    image = picture((32, 32))
    truth = (image[0] > 0).astype(np.uint8)
    found = ablate_paths(inspect_array(Threshold(), image, name="own", source="noise", truth=truth))
    assert (found.whole.dice, found.whole.boundary_f1, found.is_scored) == (1.0, 1.0, True)
    by_path = {(mask.path, mask.replacement): mask for mask in found.masks}
    skip = by_path["encoder 0 to decoder 0", "zero"]
    assert skip.dice == 0.0  # all background
    assert skip.changed == pytest.approx(truth.mean())
    bottom = by_path["the bottom", "zero"]
    assert (bottom.dice, bottom.changed) == (1.0, 0.0)
    mean = by_path["encoder 0 to decoder 0", "mean"]
    assert len(np.unique(mean.classes)) == 1  # one value everywhere


def test_without_a_truth_scores_are_agreement_with_the_net_itself() -> None:
    found = ablate_paths(look((32, 32), truth=False))
    assert not found.is_scored
    assert found.whole.dice in (1.0, pytest.approx(float("nan"), nan_ok=True))
    assert all(mask.changed == 0 or mask.dice != 1.0 for mask in found.masks)


def test_pixels_that_are_not_labelled_do_not_count() -> None:
    shown = look((32, 32))
    assert shown.truth is not None
    half = shown.truth.copy()
    half[:, 16:] = 255
    partly = ablate_paths(inspect_array(shown.net, picture((32, 32)), name="n", source="s", truth=half))
    whole = ablate_paths(
        inspect_array(shown.net, picture((32, 32)), name="n", source="s", truth=np.where(half == 255, 0, half))
    )
    assert partly.whole.dice != whole.whole.dice


@pytest.mark.parametrize("size", [(32, 32), (16, 16, 16)], ids=["2D", "3D"])
def test_pictures(size: tuple[int, ...]) -> None:
    shown = look(size)
    found = ablate_paths(shown)
    bars = draw_effects(found).axes[0].patches
    assert len(bars) == 2 * len(found.by("mean"))
    heights = [bar.get_width() for bar in bars[: len(bars) // 2]]  # type: ignore[attr-defined]
    np.testing.assert_allclose(heights, [mask.dice - found.whole.dice for mask in found.by("mean")])
    masks = draw_masks(shown, found)
    assert sum(axis.get_visible() for axis in masks.axes) == 3 + len(found.by("mean"))
