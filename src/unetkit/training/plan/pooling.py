"""Rules for volumes: which axes a net pools, and how large its patches are, from voxel size, image size and budget.

Integers and spacings only; `plan` asks here for the shape of its 3D nets.

References
----------
.. [1] Isensee et al., nnU-Net, Nature Methods 2021, doi:10.1038/s41592-020-01008-z, supplementary note 2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

SMALLEST_MAP = 4  # voxels: pooling an axis further leaves mostly padding (nnU-Net's number)
COARSE = 2.0  # an axis this many times coarser than the finest is neither pooled nor convolved across yet (nnU-Net's)
MOST_LEVELS = 5

Size = tuple[int, ...]


@dataclass(frozen=True)
class PoolingPlan:
    """Per pooling its stride per axis, and per level its kernel per axis; one level more than there are poolings."""

    strides: tuple[Size, ...]
    kernels: tuple[Size, ...]

    @property
    def total_stride(self) -> Size:
        """Voxels per voxel of the coarsest level, per axis."""
        return tuple(prod(axis) for axis in zip(*self.strides, strict=True))


def plan_pooling(size: Sequence[int], spacing: Sequence[float], *, levels: int | None = None) -> PoolingPlan:
    """Choose strides and kernels so that voxels become as long as wide on the way down (nnU-Net's rule [1]_).

    At every level, an axis whose spacing is more than twice that of the finest axis that can
    still be pooled is left as it is: stride 1, and kernel 1 until the others have caught up.

    Parameters
    ----------
    size : sequence of int
        The patch in voxels; an axis is pooled only while its map keeps 4 voxels.
    spacing : sequence of float
        Voxel size per axis, in any unit.
    levels : int, optional
        How many; without it as many as can be pooled, 2 to 5.

    Examples
    --------
    >>> plan_pooling((8, 128, 128), (50, 4.6, 4.6), levels=5).strides
    ((1, 2, 2), (1, 2, 2), (1, 2, 2), (2, 2, 2))
    >>> plan_pooling((8, 128, 128), (50, 4.6, 4.6), levels=5).kernels
    ((1, 3, 3), (1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3))
    """
    size, spacing = list(size), list(spacing)
    strides: list[Size] = []
    kernels: list[Size] = []
    for level in range(levels or MOST_LEVELS):
        can_pool = [n // 2 >= SMALLEST_MAP for n in size]
        finest = min((s for s, can in zip(spacing, can_pool, strict=True) if can), default=min(spacing))
        is_near = [s <= COARSE * finest for s in spacing]
        before = kernels[-1] if kernels else (1,) * len(size)
        kernels.append(tuple(3 if near else k for near, k in zip(is_near, before, strict=True)))
        stride = tuple(2 if near and can else 1 for near, can in zip(is_near, can_pool, strict=True))
        is_last = level + 1 == levels or (levels is None and max(stride) == 1 and level > 0)
        if is_last:
            break
        strides.append(stride)
        size = [n // s for n, s in zip(size, stride, strict=True)]
        spacing = [a * s for a, s in zip(spacing, stride, strict=True)]
    return PoolingPlan(tuple(strides[: len(kernels) - 1]), tuple(kernels))


def fit_whole(size: Sequence[int], spacing: Sequence[float], *, levels: int | None = None) -> Size:
    """The smallest patch that holds an image and that its own pyramid fits.

    Examples
    --------
    >>> fit_whole((35, 50, 36), (1, 1, 1))
    (40, 56, 40)
    """
    size = tuple(size)
    while True:
        steps = plan_pooling(size, spacing, levels=levels).total_stride
        fitted = tuple(-(-n // step) * step for n, step in zip(size, steps, strict=True))
        if fitted == size:
            return fitted
        size = fitted


def fit_patch(size: Sequence[int], spacing: Sequence[float], *, voxels: int, levels: int | None = None) -> Size:
    """Shrink a patch to at most `voxels`, its physically longest axis first, in sizes that its own pyramid fits.

    So it ends up as close to a cube in space as the images allow, and sees equally far along every axis.

    Parameters
    ----------
    size : sequence of int
        The largest patch wanted, such as the typical image.
    spacing : sequence of float
    voxels : int
        At least 1.
    levels : int, optional
        As in `plan_pooling`.

    Examples
    --------
    >>> fit_patch((35, 50, 36), (1, 1, 1), voxels=2**16)
    (32, 48, 32)
    >>> fit_patch((11, 1024, 1024), (50, 4.6, 4.6), voxels=2**17, levels=4)
    (10, 112, 112)
    """
    size = [max(n, 1) for n in size]
    while True:
        steps = plan_pooling(size, spacing, levels=levels).total_stride
        fitted = tuple(n // step * step for n, step in zip(size, steps, strict=True))
        can_shrink = [i for i, (n, step) in enumerate(zip(fitted, steps, strict=True)) if n > max(step, SMALLEST_MAP)]
        if prod(fitted) <= voxels or not can_shrink:
            return fitted
        longest = max(can_shrink, key=lambda i: fitted[i] * spacing[i])
        size = list(fitted)
        size[longest] -= steps[longest]
