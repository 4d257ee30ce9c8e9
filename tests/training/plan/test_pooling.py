"""Rules for volumes: no map below 4 voxels, coarse axes later, patches within the budget and near to cubes in space."""

from itertools import pairwise
from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.training.plan.pooling import SMALLEST_MAP, fit_patch, plan_pooling

sizes = st.lists(st.integers(1, 300), min_size=3, max_size=3)
spacings = st.lists(st.floats(0.1, 60), min_size=3, max_size=3)


def maps(size, strides):
    """Size of every level's map, finest first."""
    rows = [tuple(size)]
    for stride in strides:
        rows.append(tuple(n // s for n, s in zip(rows[-1], stride, strict=True)))
    return rows


@given(sizes, spacings)
def test_no_axis_is_pooled_below_4_voxels(size, spacing):
    shape = plan_pooling(size, spacing)
    rows = maps(size, shape.strides)
    assert 2 <= len(rows) == len(shape.kernels) <= 5
    for before, after in pairwise(rows):
        assert all(b == a or a >= SMALLEST_MAP for b, a in zip(before, after, strict=True))
    if len(rows) < 5 and max(map(max, shape.strides)) > 1:  # it stops only where nothing can be pooled
        assert all(n // 2 < SMALLEST_MAP for n in rows[-1])


@given(sizes, spacings)
def test_coarse_axes_wait(size, spacing):
    """Along the way down, an axis is pooled only within twice the finest spacing of those that can be."""
    shape, at = plan_pooling(size, spacing), list(spacing)
    for row, stride in zip(maps(size, shape.strides), shape.strides, strict=False):
        finest = min((s for s, n in zip(at, row, strict=True) if n // 2 >= SMALLEST_MAP), default=None)
        for s, n, by in zip(at, row, stride, strict=True):
            assert by == (2 if finest and s <= 2 * finest and n // 2 >= SMALLEST_MAP else 1)
        at = [s * by for s, by in zip(at, stride, strict=True)]


@given(sizes, spacings)
def test_kernels_only_grow_and_a_pooled_axis_has_one(size, spacing):
    shape = plan_pooling(size, spacing)
    for fine, coarse in pairwise(shape.kernels):
        assert all(k in (1, 3) and k <= j for k, j in zip(fine, coarse, strict=True))
    for kernel, stride in zip(shape.kernels, shape.strides, strict=False):
        assert all(k == 3 for k, s in zip(kernel, stride, strict=True) if s == 2)


def test_isotropic_and_anisotropic_volumes():
    assert plan_pooling((32, 48, 32), (1, 1, 1)).strides == ((2, 2, 2),) * 3
    assert plan_pooling((32, 48, 32), (1, 1, 1)).kernels == ((3, 3, 3),) * 4
    sections = plan_pooling((10, 112, 112), (50, 4.6, 4.6), levels=4)
    assert sections.strides == ((1, 2, 2),) * 3
    assert sections.kernels == ((1, 3, 3),) * 3 + ((3, 3, 3),)
    assert sections.total_stride == (1, 8, 8)
    assert plan_pooling((64, 64, 64), (2, 1, 1)).strides[0] == (2, 2, 2)  # twice is not more than twice
    assert plan_pooling((64, 64, 64), (2.1, 1, 1)).strides[:2] == ((1, 2, 2), (2, 2, 2))
    assert plan_pooling((3, 3, 3), (1, 1, 1)).strides == ((1, 1, 1),)
    assert plan_pooling((64, 64, 64), (1, 1, 1), levels=2).strides == ((2, 2, 2),)
    assert plan_pooling((8, 8, 8), (1, 1, 1), levels=4).strides == ((2, 2, 2), (1, 1, 1), (1, 1, 1))


@given(sizes, spacings, st.integers(500, 2**18))
def test_patches_are_within_image_and_budget_and_fit_their_net(size, spacing, voxels):
    patch = fit_patch(size, spacing, voxels=voxels)
    assert all(1 <= p <= n for p, n in zip(patch, size, strict=True))
    assert prod(patch) <= voxels or max(p for p, n in zip(patch, size, strict=True) if n > 4) <= 32
    total = plan_pooling(patch, spacing).total_stride
    assert all(p % s == 0 for p, s in zip(patch, total, strict=True))


@given(spacings, st.integers(2**14, 2**18))
def test_large_images_give_patches_as_long_as_wide(spacing, voxels):
    spacing = [max(s, max(spacing) / 4) for s in spacing]
    patch = fit_patch((300, 300, 300), spacing, voxels=voxels)
    steps = plan_pooling(patch, spacing).total_stride
    lengths = [p * s for p, s in zip(patch, spacing, strict=True)]
    if all(p < 280 for p in patch):  # no axis was all there is
        tallest = max(range(3), key=lambda i: lengths[i])
        assert all(
            lengths[tallest] <= length + 2 * max(steps[i] * spacing[i], steps[tallest] * spacing[tallest])
            for i, length in enumerate(lengths)
        )


def test_sizes_of_real_sets():
    assert fit_patch((35, 50, 36), (1, 1, 1), voxels=2**17) == (32, 48, 32)  # hippocampus
    for levels in (None, 4):  # 50 nm sections; with z left whole, 11 x 104 x 112 would be 550 x 480 x 520 nm
        assert fit_patch((11, 1024, 1024), (50, 4.6, 4.6), voxels=2**17, levels=levels) == (10, 112, 112)
    assert fit_patch((300, 300, 300), (4, 1, 1), voxels=2**17, levels=4) == (20, 80, 80)
    assert fit_patch((60, 40, 300), (1, 1, 1), voxels=2**16, levels=3) == (40, 40, 40)


@pytest.mark.parametrize(("size", "spacing"), [((10, 48, 48), (50.0, 4.6, 4.6)), ((9, 20, 17), (1.0, 1.0, 1.0))])
def test_the_net_takes_its_patch(size, spacing):
    patch = fit_patch(size, spacing, voxels=2**18)
    shape = plan_pooling(patch, spacing)
    widths = (2,) * len(shape.kernels)
    net = build(Architecture(ndim=3, widths=widths, strides=shape.strides, kernels=shape.kernels))
    assert net.geometry.stride == shape.total_stride
    with torch.no_grad():
        assert net.eval().body(torch.zeros(1, 1, *patch)).shape == (1, 2, *patch)
