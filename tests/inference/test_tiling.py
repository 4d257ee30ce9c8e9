"""How an image is run: small ones at once, large ones streamed, within the memory, and said in a line."""

import pytest

from unetkit.inference.prepare import prepare
from unetkit.inference.streaming.stream import Stream
from unetkit.inference.tiling import choose, plan_stream, plan_tiles
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build


def ready(**options):
    net = prepare(build(Architecture(**({"widths": (4, 8, 8)} | options))))
    return net, Stream(net) if net.is_local else None


def test_small_images_run_at_once_and_large_ones_are_streamed():
    net, stream = ready()
    assert choose(net, (512, 512), memory_bytes=2**31, stream=stream).slab is None
    tiling = choose(net, (2000, 1500), memory_bytes=2**31, stream=stream)
    assert (tiling.slab, len(tiling.tiles), tiling.redundancy, tiling.is_exact) == (64, 1, 1.0, True)
    assert choose(net, (9000, 8000), memory_bytes=2**31, stream=stream).slab == 64
    heavy, wide = ready(widths=(32, 64, 128))
    assert choose(heavy, (9000, 8000), memory_bytes=2**31, stream=wide).slab == 8
    assert tiling.memory_bytes < plan_tiles(net, (2000, 1500)).memory_bytes / 4
    assert choose(net, (2000, 1500), memory_bytes=2**31).slab is None  # without a stream


def test_strips_keep_to_the_memory():
    net, stream = ready()
    whole = plan_stream(net, stream, (5000, 4000), slab=16)
    strips = choose(net, (5000, 4000), memory_bytes=whole.memory_bytes // 3, stream=stream)
    assert plan_stream(net, stream, (5000, 4000)).slab == 64
    assert 16 <= strips.slab <= 64
    assert len(strips.tiles) in (3, 4)
    assert strips.memory_bytes <= whole.memory_bytes // 3
    assert 1 < strips.redundancy < 1.1
    assert [tile.core[0] for tile in strips.tiles] == [slice(0, 5000)] * len(strips.tiles)


def test_a_budget_too_small_for_any_strip_is_that_of_tiles_or_refused():
    net, stream = ready()
    with pytest.raises(ValueError, match=r"a memory budget of 0 MB is too small for this net: its smallest tile, \("):
        choose(net, (5000, 4000), memory_bytes=1000, stream=stream)


def test_blocks_are_a_grid_over_the_image():
    net, stream = ready()
    wide = plan_stream(net, stream, (5000, 4000))
    assert wide.block[1] == 4000
    assert wide.block[0] % net.geometry.stride[0] == 0
    assert 2**20 < wide.block[0] * 4000 <= 2**21
    assert plan_stream(net, stream, (90, 70)).block == (90, 70)
    tiled = plan_tiles(net, (90, 70), core=(32, 32))
    assert tiled.block == (32, 32)
    assert plan_tiles(net, (90, 70)).block == (90, 70)
    deep, _ = ready(norm="instance")
    blended = plan_tiles(deep, (90, 70), core=(32, 32))
    assert (blended.is_exact, blended.block) == (False, (90, 70))


def test_said_in_a_line():
    net, stream = ready()
    line = plan_stream(net, stream, (2000, 1500)).describe()
    assert line.startswith("streamed in slabs of 64 rows, exact, nothing computed twice, about 0.0")
    strips = plan_stream(net, stream, (5000, 4000), memory_bytes=10**7)
    n, width = len(strips.tiles), strips.tiles[0].core[1].stop
    assert f"slabs of {strips.slab} rows, {n} strips of {width} pixels across, exact, " in strips.describe()
    assert "% computed twice" in strips.describe()
    deep, flow = ready(ndim=3)
    assert plan_stream(deep, flow, (40, 30, 20)).describe().startswith("streamed in slabs of 64 planes, exact")
    assert plan_stream(deep, flow, (400, 300, 200)).slab == 8
    assert plan_tiles(net, (64, 64)).describe() == "whole image at once, about 0.00 GB"
    tiles = plan_tiles(net, (64, 64), core=(32, 32)).describe()
    assert tiles.startswith("4 tiles of 32 x 32, exact, ")


def test_windows_of_one_size_are_as_few_and_as_small_as_will_do():
    net, _ = ready()
    tiling = plan_tiles(net, (4500, 900), most=1024)
    assert tiling.block == (900, 900)
    assert len(tiling.tiles) == 5
    assert len({tile.window_size for tile in tiling.tiles}) == 1
