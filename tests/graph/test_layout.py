"""Where the axes of an image lie after permutations and reshapes: what the layout says against the elements."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unetkit.graph.layout import CHANNEL, Layout, Part, aligned, laid_out_as, rescaled, standard, whole_axes

SIZES = {2: (6, 8), 3: (4, 6, 8)}


def coordinates(layout: Layout, shape: torch.Size, axis: int) -> Tensor:
    """Coordinate along an axis of the image of every element, as a layout says it."""
    total = torch.zeros(shape, dtype=torch.long)
    for at, parts in enumerate(layout):
        index = torch.arange(shape[at])
        for part in reversed(parts):
            digit, index = index % part.length, index // part.length
            if part.axis == axis:
                total += (digit * part.step).view(-1, *(1,) * (len(shape) - at - 1))
    return total


def windows_of_two(x: Tensor) -> Tensor:
    n, c, *size = x.shape
    d = len(size)
    x = x.reshape(n, c, *(k for m in size for k in (m // 2, 2)))
    return x.permute(0, *range(2, 2 * d + 2, 2), *range(3, 2 * d + 2, 2), 1)


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels last": lambda x: x.movedim(1, -1),
    "tokens": lambda x: x.flatten(2).transpose(1, 2),
    "windows": windows_of_two,
    "heads": lambda x: x.unflatten(1, (2, 3)).unsqueeze(0),
    "last axis cut": lambda x: x.unflatten(-1, (2, 4)).transpose(-1, -2),
}


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_the_layout_of_views_is_where_their_elements_are(view: Callable[[Tensor], Tensor], ndim: int) -> None:
    shape, layout = (1, 6, *SIZES[ndim]), standard((1, 6, *SIZES[ndim]))
    for axis in range(ndim):
        where = torch.arange(shape[axis + 2]).view(-1, *(1,) * (ndim - axis - 1)).expand(shape).contiguous()
        plain = view(torch.empty(shape))
        assert plain._is_view()
        followed = laid_out_as(layout, plain.shape, plain.stride())
        assert followed is not None
        assert torch.equal(coordinates(followed, plain.shape, axis), view(where))
        again = torch.empty(plain.shape).reshape(-1, 2)
        in_pairs = laid_out_as(followed, again.shape, again.stride())
        assert in_pairs is not None
        assert torch.equal(coordinates(in_pairs, again.shape, axis), view(where).reshape(-1, 2))


def test_views_that_cut_no_whole_digits_are_unknown() -> None:
    layout = standard((1, 1, 6, 8))
    assert laid_out_as(layout, (48,), (1,)) == ((Part(0, 6), Part(1, 8)),)
    assert laid_out_as(layout, (16, 3), (3, 1)) is None  # of 8 pixels in a row, 3 at a time
    assert laid_out_as(layout, (4, 12), (12, 1)) is None


def test_axes_that_meet() -> None:
    tokens: Layout = ((), (Part(0, 6), Part(1, 8)), (Part(CHANNEL, 3),))
    assert aligned([tokens, ((Part(CHANNEL, 3),),)]) == tokens
    assert aligned([tokens, ((), (), ())]) == tokens
    assert aligned([tokens, ((), (Part(1, 8), Part(0, 6)), ())]) is None
    assert aligned([tokens, ((), (Part(CHANNEL, 48),), ())]) is None


def test_pixels_that_became_channels() -> None:
    size = (6, 8)
    outer = ((Part(0, 3, 2),), (Part(1, 2, 4),))
    first: Layout = ((), (Part(CHANNEL, 3), Part(0, 2), Part(1, 4)), *outer)
    assert rescaled(first, size) == ((2, 4), ((), (Part(CHANNEL, 24),), (Part(0, 3),), (Part(1, 2),)))
    last: Layout = ((), *outer, (Part(1, 4), Part(0, 2), Part(CHANNEL, 3)))
    assert rescaled(last, size) == ((2, 4), ((), (Part(0, 3),), (Part(1, 2),), (Part(CHANNEL, 24),)))
    windows: Layout = ((), (Part(0, 3, 2),), (Part(0, 2),), (Part(1, 2, 4),), (Part(1, 4),), (Part(CHANNEL, 3),))
    assert rescaled(windows, size) is None  # pixels of a window, not yet joined with channels
    assert rescaled(((), (), (Part(0, 3, 2),), (Part(1, 8),)), size) is None  # half of the rows are nowhere


def test_channels_that_became_pixels() -> None:
    size, grown = (6, 8), ((Part(0, 12),), (Part(1, 32),))
    axes = ((Part(0, 6), Part(CHANNEL, 2)), (Part(1, 8), Part(CHANNEL, 4)))
    assert rescaled(((), (), *axes), size) == ((-2, -4), ((), (), *grown))
    assert rescaled(((), *axes, (Part(CHANNEL, 3),)), size) == ((-2, -4), ((), *grown, (Part(CHANNEL, 3),)))
    assert rescaled(standard((1, 3, 6, 8)), size) is None
    assert rescaled(((), (Part(0, 6),), (Part(1, 8), Part(CHANNEL, 3))), size) is None  # rows of features


def test_whole_axes() -> None:
    assert dict(whole_axes(((), (Part(1, 8),), (Part(0, 3, 2),), (Part(CHANNEL, 6),)), (6, 8))) == {1: 1}
