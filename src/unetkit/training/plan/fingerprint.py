"""How much of the data goes into a step: what the net sees of an image, the sides of a patch, patches per batch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from statistics import median

from ...data.dataset import Dataset
from ...data.planes import check_planes
from .pooling import fit_patch, fit_whole


@dataclass(frozen=True)
class Fingerprint:
    """What the net sees of the data: all axes of it, or adjacent planes of volumes as channels of a 2D image."""

    ndim: int
    channels: int
    classes: int
    typical: tuple[float, ...]
    spacing: tuple[float, ...]
    unit: str


def fingerprint(dataset: Dataset, planes: int | None) -> Fingerprint:
    """What a 3D net sees of volumes, or a 2D net of images or (with `planes`) of adjacent planes of volumes.

    Raises
    ------
    ValueError
        If `planes` is even or below 1, or the images are no volumes.
    """
    if planes is not None:
        check_planes(planes, dataset.ndim)
    ndim = dataset.ndim if planes is None else 2
    sizes = [case.size[-ndim:] for case in dataset.cases]
    typical = tuple(median(size[i] for size in sizes) for i in range(ndim))
    channels = dataset.channels * (planes or 1)
    return Fingerprint(ndim, channels, len(dataset.kind.values), typical, tuple(dataset.spacing[-ndim:]), dataset.unit)


def sides_in_2d(seen: Fingerprint, most: int) -> tuple[tuple[int, ...], str]:
    """Sides of a patch, and why."""
    return tuple(min(most, int(t)) for t in seen.typical), f"{_typical(seen)}; at most {most}, fitting the net"


def sides_in_3d(seen: Fingerprint, voxels: int, levels: int) -> tuple[tuple[int, ...], str]:
    """Sides of a patch of at most so many voxels for a net of so many levels, and why."""
    reason, typical = _typical(seen), [int(t) for t in seen.typical]
    all_of_it = fit_whole(typical, seen.spacing, levels=levels)
    if prod(all_of_it) <= voxels:
        return all_of_it, f"{reason}, which is seen whole: at most {voxels} voxels, fitting the net"
    sides = fit_patch(typical, seen.spacing, voxels=max(voxels, 1), levels=levels)
    return sides, f"{reason}; at most {voxels} voxels, longest side first, fitting the net"


def _typical(seen: Fingerprint) -> str:
    return f"the typical image is {' x '.join(f'{t:g}' for t in seen.typical)}"


def patches_per_batch(size: int, voxels: int, ndim: int, planes: int | None) -> tuple[int, str]:
    """Patches of `size` pixels per batch, and why."""
    if ndim == 3 and 4 * size > voxels:
        return 2, f"4 such patches are more than {voxels} voxels"
    n, pixels = 4, voxels // 4
    while planes is not None and n < 16 and 2 * n * size <= pixels:
        n *= 2
    return n, "steady gradients at many steps" if n == 4 else f"small planes: at most 16, and {pixels} pixels"
