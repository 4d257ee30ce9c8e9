"""Integers against torch: windows, sizes, and what is asked of an axis."""

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from unetkit.geometry import Axis, Geometry, ReceptiveField, Window, interpolation

small = st.integers(1, 4)
pads = st.integers(0, 3)


def taps(window: Window, output: int) -> set[int]:
    """Inputs that an output reads, by counting out the definition."""
    if window.transposed:
        hits = {i: output + window.before - i * window.stride for i in range(-40, 80)}
        return {i for i, t in hits.items() if t % window.dilation == 0 and 0 <= t // window.dilation < window.kernel}
    return {output * window.stride - window.before + t * window.dilation for t in range(window.kernel)}


def chain(*windows: Window) -> Axis:
    """An axis whose layers follow one another."""
    return Axis((Window(), *windows), ((), *((i,) for i in range(len(windows)))))


@given(small, small, small, pads, st.integers(1, 30))
def test_size_is_that_of_a_convolution(kernel: int, stride: int, dilation: int, pad: int, n: int) -> None:
    window = Window(kernel, stride, dilation, pad, pad)
    if n + 2 * pad < window.extent:
        assert window.size(n) < 1
    else:
        x = torch.zeros(1, 1, n)
        y = F.conv1d(x, torch.zeros(1, 1, kernel), stride=stride, padding=pad, dilation=dilation)
        assert window.size(n) == y.shape[2]


@given(small, small, st.integers(1, 3), pads, st.integers(0, 2), st.integers(1, 20))
def test_size_is_that_of_a_transposed_convolution(
    kernel: int, stride: int, dilation: int, pad: int, extra: int, n: int
) -> None:
    extra = min(extra, max(stride, dilation) - 1)
    window = Window(kernel, stride, dilation, pad, pad - extra, transposed=True)
    if window.size(n) >= 1:
        x, weight = torch.zeros(1, 1, n), torch.zeros(1, 1, kernel)
        y = F.conv_transpose1d(x, weight, None, stride, pad, extra, 1, dilation)
        assert window.size(n) == y.shape[2]


@given(small, small, st.booleans(), st.integers(0, 2), st.integers(1, 30))
def test_size_is_that_of_a_pooling(kernel: int, stride: int, ceil: bool, pad: int, n: int) -> None:
    pad = min(pad, kernel // 2)
    window = Window(kernel, stride, before=pad, after=pad, ceil=ceil)
    if n + 2 * pad >= kernel:
        assert window.size(n) == F.max_pool1d(torch.zeros(1, 1, n), kernel, stride, pad, 1, ceil).shape[2]


@given(small, small, st.integers(-2, 3), st.integers(-2, 3), st.integers(1, 20))
def test_a_size_fits_when_every_pixel_is_read(kernel: int, stride: int, before: int, after: int, n: int) -> None:
    kernel = max(kernel, stride)  # a smaller kernel skips pixels at every size
    window = Window(kernel, stride, before=before, after=after)
    size = window.size(n)
    last = max((x for o in range(size) for x in taps(window, o)), default=None)
    assert window.fits(n) == (last is not None and last >= min(n, n + after) - 1)


def test_pixels_that_a_strided_crop_skips_anyway_do_not_count() -> None:
    every_second = Window(1, 2)
    assert all(every_second.fits(n) for n in range(1, 9))
    assert [every_second.size(n) for n in (7, 8)] == [4, 4]


@given(small, small, st.integers(1, 3), pads, st.booleans(), st.integers(0, 9), st.integers(0, 5))
def test_reads_is_the_hull_of_the_taps(
    kernel: int, stride: int, dilation: int, before: int, transposed: bool, first: int, more: int
) -> None:
    if transposed:
        kernel, dilation = max(kernel, stride), 1  # else some outputs read nothing
    window = Window(kernel, stride, dilation, before, before, transposed)
    read = set().union(*(taps(window, o) for o in range(first, first + more + 1)))
    assert window.reads(first, first + more) == (min(read), max(read))


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("mode, weighs", [("nearest", 1), ("linear", 2)])
def test_interpolation_reads_what_torch_weighs(factor: int, mode: str, weighs: int) -> None:
    n, window = 9, interpolation(factor, taps=weighs)
    assert window.size(n) == n * factor
    response = F.interpolate(torch.eye(n, dtype=torch.float64)[None], scale_factor=float(factor), mode=mode)[0]
    for output in range(2 * factor, (n - 2) * factor):  # away from the border, where torch repeats the edge
        weighed = (response[:, output].abs() > 1e-12).nonzero()
        assert window.reads(output, output) == (int(weighed[0]), int(weighed[-1]))


@pytest.mark.parametrize("factor", [2, 4])
def test_cubic_interpolation_reads_four_pixels(factor: int) -> None:
    n, window = 9, interpolation(factor, taps=4)
    image = torch.eye(n, dtype=torch.float64)[None, :, :, None].expand(1, n, n, 2)  # channel i shows pixel i
    response = F.interpolate(image, scale_factor=(float(factor), 1.0), mode="bicubic")[0, :, :, 0]
    for output in range(4 * factor, (n - 4) * factor):
        weighed = response[:, output].nonzero()
        assert window.reads(output, output) == (int(weighed[0]), int(weighed[-1]))


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("weighs", [1, 2])
def test_interpolation_keeps_half_pixel_centres(factor: int, weighs: int) -> None:
    axis = chain(Window(factor, factor), interpolation(factor, taps=weighs))
    assert axis.places == ((1, 0), (factor, Fraction(factor - 1, 2)), (1, 0))


def test_stride_is_the_least_common_multiple() -> None:
    assert chain(Window(2, 2), Window(3, 3), Window(6, 6, transposed=True)).stride == 6
    assert chain(Window(2, 2, transposed=True)).stride == 1
    assert chain(Window(3, 3), Window(2, 2, transposed=True)).stride == 3  # a pixel is 3/2 px: the net needs 3
    assert Axis((Window(), Window(4, 4), Window(6, 6)), ((), (0,), (0,))).stride == 12


def test_receptive_field_of_pooling_has_phases() -> None:
    axis = chain(Window(2, 2), Window(3, before=1, after=1), Window(2, 2, transposed=True))
    field = axis.receptive_field()
    assert field == ReceptiveField(sizes=(6, 6), left=(2, 3), right=(3, 2))
    assert (field.smallest, field.largest, field.mean, field.reach) == (6, 6, 6.0, 3)
    assert axis.receptive_field(1) == ReceptiveField(sizes=(2,), left=(0,), right=(1,))
    assert (axis.reach, axis.halo, axis.margin) == (2, 2, (0, 0))


def test_margin_is_lost_on_both_sides() -> None:
    axis = chain(Window(3), Window(4))
    assert axis.margin == (3, 2)  # centre of output 0 is 2.5
    assert axis.output_size(20) == 15


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 11, 12])
def test_above_and_below_enclose_a_size(n: int) -> None:
    axis = chain(Window(3), Window(4, 4))  # fits 6, 10, 14, ...
    fitting = [m for m in range(1, 40) if (m - 2) % 4 == 0 and m >= 6]
    assert axis.above(n) == min(m for m in fitting if m >= n)
    assert axis.below(n) == max((m for m in fitting if m <= n), default=None)


def test_a_size_that_does_not_fit_is_answered_with_the_nearest() -> None:
    axis = chain(Window(3), Window(4, 4))
    with pytest.raises(ValueError, match="input size 12 does not fit the net: nearest sizes are 10 and 14"):
        axis.output_size(12)
    with pytest.raises(ValueError, match=r"input size 5 does not fit the net: nearest sizes are 6 \(the smallest\)"):
        axis.output_size(5)


def test_branches_that_never_agree_are_refused_and_not_searched_for_ever() -> None:
    odd, even = Window(2, 2, before=-1), Window(2, 2)
    axis = Axis((Window(), odd, even, Window()), ((), (0,), (0,), (1, 2)))
    assert axis.below(50) is None
    with pytest.raises(ValueError, match=r"no size from 7 to \d+ pixels fits the net"):
        axis.above(7)


@pytest.mark.parametrize("ndim", [2, 3])
def test_geometry_asks_every_axis(ndim: int) -> None:
    axes = tuple(chain(Window(3), Window(2 + i, 2 + i)) for i in range(ndim))
    geometry = Geometry(axes, ("input", "conv", "pool"))
    size = (10,) * ndim
    assert geometry.stride == (2, 3, 4)[:ndim]
    assert geometry.scale == geometry.stride
    assert geometry.above(size) == (10, 11, 10)[:ndim]
    assert geometry.below(size) == (10, 8, 10)[:ndim]
    assert geometry.below((1,) * ndim) == (None,) * ndim
    assert geometry.fits(geometry.above(size))
    assert not geometry.fits(size)
    assert geometry.output_size((10, 11, 14)[:ndim]) == (4, 3, 3)[:ndim]
    assert [field.sizes for field in geometry.receptive_field()] == [(4,), (5,), (6,)][:ndim]
    assert [field.sizes for field in geometry.receptive_field("conv")] == [(3,) * s for s in geometry.stride]
    assert geometry.halo == tuple(axis.halo for axis in axes)
    assert geometry.margin == tuple(axis.margin for axis in axes)
    with pytest.raises(ValueError, match="input size 10 does not fit the net: nearest sizes are 8 and 11"):
        geometry.output_size(size)
    with pytest.raises(KeyError, match="no layer is named 'pol'; the layers are input, conv, pool"):
        geometry.receptive_field("pol")
