"""Levels and metadata of a pyramid, before a pixel is written."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.io.zarr.pyramid import CHUNK, Level, attributes, label_attributes, plan_levels


def test_a_small_image_is_one_level() -> None:
    assert plan_levels((512, 512), (0.5, 0.5)) == [Level((512, 512), (0.5, 0.5), (1, 1))]
    assert len(plan_levels((512, 513), (0.5, 0.5))) == 2


@pytest.mark.parametrize(
    ("size", "spacing", "expected"),
    [
        ((4096, 1001), (1.0, 1.0), [(4096, 1001), (2048, 501), (1024, 251)]),
        ((1, 10**6), (1.0, 1.0), [(1, 10**6), (1, 500000), (1, 250000)]),
        ((4096, 4096), (4.0, 1.0), [(4096, 4096), (4096, 2048), (4096, 1024), (2048, 512), (1024, 256)]),
        ((100, 512, 512), (1.0, 1.0, 1.0), [(100, 512, 512), (50, 256, 256), (25, 128, 128)]),
        ((100, 512, 512), (1.9, 1.0, 1.0), [(100, 512, 512), (100, 256, 256), (50, 128, 128), (25, 64, 64)]),
        ((64, 512, 512), (0.5, 1.0, 1.0), [(64, 512, 512), (32, 512, 512), (16, 256, 256), (8, 128, 128)]),
    ],
)
def test_axes_are_halved_as_their_pixel_sizes_allow(
    size: tuple[int, ...], spacing: tuple[float, ...], expected: list[tuple[int, ...]]
) -> None:
    levels = plan_levels(size, spacing)
    found = [level.size for level in levels]
    assert found == expected


@settings(max_examples=40)
@given(
    sides=st.lists(st.tuples(st.integers(1, 10**6), st.floats(1e-3, 1e3)), min_size=2, max_size=3),
)
def test_levels_end_and_are_consistent(sides: list[tuple[int, float]]) -> None:
    size, spacing = (tuple(values) for values in zip(*sides, strict=True))
    levels = plan_levels(size, spacing)
    assert math.prod(levels[-1].size) <= math.prod(CHUNK[len(size)])
    for above, below in itertools.pairwise(levels):
        assert 2 in below.step
        for axis, step in enumerate(below.step):
            assert below.size[axis] == -(-above.size[axis] // step)
            assert below.spacing[axis] == above.spacing[axis] * step
    for level in levels:
        for length, chunk, shard in zip(level.size, level.chunk, level.shard, strict=True):
            assert chunk <= length
            assert shard % chunk == 0
            assert shard < length + chunk


def test_chunks_and_shards() -> None:
    level = Level((9000, 300), (1.0, 1.0), (1, 1))
    assert (level.chunk, level.shard) == ((512, 300), (4096, 300))
    level = Level((20, 700, 90), (1.0,) * 3, (1, 1, 1))
    assert (level.chunk, level.shard) == ((20, 128, 90), (20, 256, 90))


def test_metadata_of_an_image() -> None:
    levels = [Level((8, 6), (0.5, 0.25), (1, 1)), Level((4, 3), (1.0, 0.5), (2, 2))]
    said = attributes("scan", "cyx", levels, "µm")
    assert said["version"] == "0.5"
    (image,) = said["multiscales"]
    assert image["name"] == "scan"
    assert image["axes"] == [
        {"name": "c", "type": "channel"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    assert [level["path"] for level in image["datasets"]] == ["0", "1"]
    scales = [level["coordinateTransformations"] for level in image["datasets"]]
    assert scales == [[{"type": "scale", "scale": [1.0, 0.5, 0.25]}], [{"type": "scale", "scale": [1.0, 1.0, 0.5]}]]
    assert attributes("a", "yx", levels, "px")["multiscales"][0]["axes"][0] == {"name": "y", "type": "space"}
    assert attributes("a", "yx", levels, "furlong")["multiscales"][0]["axes"][0]["unit"] == "furlong"


def test_colours_of_classes() -> None:
    seen = np.zeros(256, bool)
    seen[[0, 1, 2, 3, 255]] = True
    said = label_attributes(seen)["image-label"]
    assert said["version"] == "0.5"
    assert [entry["label-value"] for entry in said["colors"]] == [0, 1, 2, 3, 255]
    colours = [entry["rgba"] for entry in said["colors"]]
    assert colours[0] == [0, 0, 0, 0]
    assert all(colour[3] == 255 and all(0 <= part <= 255 for part in colour) for colour in colours[1:])
    apart = [max(abs(a - b) for a, b in zip(one, two, strict=True)) for one in colours for two in colours if one != two]
    assert len(apart) == 20
    assert min(apart) > 50


def test_no_colours_for_many_ids() -> None:
    many = np.arange(256) < 65
    assert label_attributes(many) == label_attributes(None) == {"image-label": {"version": "0.5"}}
    assert len(label_attributes(np.arange(256) < 64)["image-label"]["colors"]) == 64
