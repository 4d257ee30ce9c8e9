"""Covers: every pixel written once, windows on the grid of the total stride, budgets kept."""

from functools import cache
from math import prod

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from unetkit.geometry import Axis, Geometry
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet
from unetkit.tiles import Tile, fit_core, redundancy, spans, tiles


@cache
def geometry(depth: int, padding: str, up: str = "transposed", ndim: int = 2) -> Geometry:
    widths = (1,) * (depth + 1)
    return UNet(Architecture(widths=widths, padding=padding, up=up, norm="none", ndim=ndim)).geometry  # type: ignore[arg-type]


nets = st.tuples(st.integers(1, 4), st.sampled_from(["same", "valid"]), st.sampled_from(["transposed", "nearest"]))


def needed(axis: Axis, n: int, first: int, last: int) -> tuple[int, int]:
    """Image pixels behind the outputs `first ... last`, one output at a time."""
    reads = [axis.reads(o, o) for o in range(first, last + 1)]
    return max(0, min(low for low, _ in reads)), min(n - 1, max(high for _, high in reads))


@given(nets, st.integers(1, 700), st.integers(1, 400))
def test_spans_cover_and_fit(net: tuple[int, str, str], n: int, core: int) -> None:
    axis = geometry(*net).axes[0]
    n = axis.above(n)
    row = spans(axis, n, core)
    assert [p for span in row for p in range(span.core.start, span.core.stop)] == list(range(axis.output_size(n)))
    assert all(span.core.stop - span.core.start <= core for span in row)
    assert row[-1].window.stop == n
    for span in row:
        size = span.window.stop - span.window.start
        assert span.window.start % axis.stride == 0
        assert 0 <= span.window.start < span.window.stop <= n
        assert axis.fits(size)
        assert span.keep == slice(span.core.start - span.window.start, span.core.stop - span.window.start)
        assert 0 <= span.keep.start < span.keep.stop <= axis.output_size(size)
        first, last = needed(axis, n, span.core.start, span.core.stop - 1)
        assert span.window.start <= first <= last < span.window.stop
        assert first - span.window.start < axis.stride  # no more than the alignment asks for


@given(st.integers(1, 4), st.sampled_from(["transposed", "nearest", "linear"]), st.integers(1, 12))
def test_aligned_cores_have_the_halo_around_them(depth: int, up: str, steps: int) -> None:
    axis = geometry(depth, "same", up).axes[0]
    core = steps * axis.stride
    n = 2 * axis.halo + 3 * core
    row = spans(axis, n, core)
    clear = [s for s in row if s.core.start >= axis.halo and s.core.stop + axis.halo <= n]
    assert clear
    for span in clear:
        around = span.core.start - span.window.start, span.window.stop - span.core.stop
        assert max(around) == axis.halo
        assert min(around) >= axis.halo - axis.stride


@given(
    st.integers(2, 3),
    st.sampled_from(["same", "valid"]),
    st.lists(st.integers(1, 50), min_size=3, max_size=3),
    st.lists(st.integers(3, 60), min_size=3, max_size=3),
)
def test_tiles_write_each_pixel_once(ndim: int, padding: str, size: list[int], core: list[int]) -> None:
    net = geometry(1, padding, ndim=ndim)
    size, core = list(net.above(size[:ndim])), core[:ndim]
    written = np.zeros(net.output_size(size), int)
    for tile in tiles(net, size, core):
        written[tile.core] += 1
        assert tile.window_size == tuple(w.stop - w.start for w in tile.window)
        assert net.fits(tile.window_size)
        assert all(c.stop - c.start == k.stop - k.start for c, k in zip(tile.core, tile.keep, strict=True))
    assert (written == 1).all()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_one_tile_does_nothing_twice(ndim: int, padding: str) -> None:
    net = geometry(1, padding, ndim=ndim)
    size = net.above((40,) * ndim)
    (tile,) = tiles(net, size, net.output_size(size))
    assert tile.window == tuple(slice(0, n) for n in size)
    assert redundancy([tile], size) == 1.0
    assert redundancy([tile, tile], size) == 2.0


def test_redundancy_of_a_long_image_is_its_halos() -> None:
    """4096 pixels in cores of 512, 96 on each inner side: 7 x 2 x 96 pixels twice."""
    net = geometry(4, "same")
    assert redundancy(tiles(net, (4096, 16), (512, 16)), (4096, 16)) == (4096 + 7 * 2 * 96) / 4096


def test_nothing_to_write_is_refused() -> None:
    with pytest.raises(ValueError, match="a tile of 0 pixels writes nothing; expected at least 1"):
        spans(geometry(1, "same").axes[0], 8, 0)
    with pytest.raises(ValueError, match="input size 9 does not fit the net: nearest sizes are 8 and 10"):
        spans(geometry(1, "same").axes[0], 9, 4)
    with pytest.raises(ValueError, match="argument"):
        tiles(geometry(1, "same"), (8, 8), (4,))


def largest(covering: list[Tile]) -> int:
    return max(prod(tile.window_size) for tile in covering)


@settings(max_examples=40)
@given(
    st.integers(1, 3), st.sampled_from(["same", "valid"]), st.integers(40, 500), st.integers(1, 200), st.floats(0.01, 1)
)
def test_fit_core_keeps_the_budget(depth: int, padding: str, height: int, width: int, share: float) -> None:
    net = geometry(depth, padding)
    size = net.above((height, width))
    smallest = largest(tiles(net, size, net.stride))
    budget = int(share * prod(size)) + 1
    assume(budget >= smallest)
    core = fit_core(net, size, memory_bytes=budget, cost=prod)
    covering = tiles(net, size, core)
    assert largest(covering) <= budget
    whole = all(c >= n for c, n in zip(core, net.output_size(size), strict=True))
    assert whole == (budget >= prod(size))
    assert all(c % s == 0 or c >= n for c, s, n in zip(core, net.stride, net.output_size(size), strict=True))


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_budget_too_small_names_what_the_smallest_tile_needs(ndim: int) -> None:
    net = geometry(1, "same", ndim=ndim)
    size = (24,) * ndim
    megabyte = 2**20
    smallest = largest(tiles(net, size, net.stride)) * megabyte
    assert fit_core(net, size, memory_bytes=smallest, cost=lambda w: prod(w) * megabyte) == (2,) * ndim
    message = rf"budget of 9 MB is too small for this net: its smallest tile, {(2,) * ndim} pixels .* needs {{}} MB"
    message = message.replace("(", r"\(").replace(")", r"\)").format(smallest // megabyte)
    with pytest.raises(ValueError, match=message):
        fit_core(net, size, memory_bytes=9 * megabyte, cost=lambda w: prod(w) * megabyte)
    with pytest.raises(ValueError, match=rf"needs {smallest // megabyte} MB"):
        fit_core(net, size, memory_bytes=smallest - 1, cost=lambda w: prod(w) * megabyte)


def test_the_longest_side_is_cut_first() -> None:
    net = geometry(1, "same")
    assert fit_core(net, (1000, 20), memory_bytes=20 * 400, cost=prod) == (334, 20)


@settings(max_examples=40)
@given(
    st.integers(1, 3), st.sampled_from(["same", "valid"]), st.integers(40, 400), st.integers(1, 200), st.integers(1, 9)
)
def test_even_windows_have_one_size_and_hold_the_others(
    depth: int, padding: str, height: int, width: int, steps: int
) -> None:
    net = geometry(depth, padding)
    size = net.above((height, width))
    core = [steps * s for s in net.stride]
    plain, even = tiles(net, size, core), tiles(net, size, core, even=True)
    assert len({tile.window_size for tile in even}) == 1
    for one, other in zip(plain, even, strict=True):
        assert one.core == other.core
        for n, a, b, axis, keep in zip(size, one.window, other.window, net.axes, other.keep, strict=True):
            assert b.start % axis.stride == 0
            assert 0 <= b.start <= a.start < a.stop <= b.stop <= n
            assert axis.fits(b.stop - b.start)
            assert 0 <= keep.start < keep.stop <= axis.output_size(b.stop - b.start)
