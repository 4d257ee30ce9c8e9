"""Flips and quarter turns, and the way back."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unetkit.inference.averaging import symmetries


@pytest.mark.parametrize("ndim, count", [(2, 8), (3, 16)])
def test_symmetries_are_all_different_and_have_inverses(ndim: int, count: int) -> None:
    image = torch.arange(2 * 4**ndim).reshape(2, *(4,) * ndim)
    views: list[tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = list(symmetries(ndim))
    turned = [forward(image) for forward, _ in views]
    assert len(turned) == count
    assert len({tuple(view.flatten().tolist()) for view in turned}) == count
    assert all(torch.equal(back(view), image) for (_, back), view in zip(views, turned, strict=True))
    assert all(torch.equal(view.flatten(1).sort().values, image.flatten(1)) for view in turned)  # channels stay
    assert torch.equal(turned[0], image)


@pytest.mark.parametrize("flips", [(True, False), (False, True), (True, True), (True, False, True), (False,) * 3])
def test_flips_along_the_axes_that_are_free(flips: tuple[bool, ...]) -> None:
    image = torch.arange(4 ** len(flips)).reshape(1, *(4,) * len(flips))
    views = list(symmetries(len(flips), flips))
    assert len(views) == 2 ** sum(flips)
    axes = [axis for axis, free in enumerate(flips, start=1) if free]
    assert torch.equal(views[-1][0](image), image.flip(axes))
    assert all(torch.equal(back(forward(image)), image) for forward, back in views)


@pytest.mark.parametrize("ndim", [2, 3])
def test_symmetries_of_oblong_images(ndim: int) -> None:
    image = torch.rand(1, *(3, 4, 5)[-ndim:])
    for forward, back in symmetries(ndim):
        assert torch.equal(back(forward(image)), image)
        assert forward(image).shape[:-2] == image.shape[:-2]
