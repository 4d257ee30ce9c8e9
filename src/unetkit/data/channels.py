"""One image from a file per channel, and whether an image and its mask lie at the same place."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..image import Image
from ..io import LazyImage, open_lazy, read
from ..io.lazy import Region

SAME_SPACING = 1e-3  # relative: headers are float32, and some are rounded by hand
MISPLACED_FROM = 1.0  # voxels


def read_channels(files: Sequence[Path]) -> Image:
    """Read the files of one image and stack their channels, in this order.

    Parameters
    ----------
    files : sequence of Path
        One file, or several such as case_0000.nii.gz and case_0001.nii.gz.

    Returns
    -------
    Image of shape (C, *spatial)
        Spacing, unit and place of the first file; the dtype that holds the values of all.

    Raises
    ------
    ValueError
        If a file cannot be read, or its size, spacing or unit is not that of the first; one line that names both.
    """
    images = [read(file) for file in files]
    first = images[0]
    if len(images) == 1:
        return first
    notes = _check_alike(files, images)
    array = np.concatenate([image.array for image in images])
    return replace(first, array=array, notes=notes)


def open_channels(files: Sequence[Path]) -> LazyImage:
    """Open the files of one image, so that regions of all its channels can be read; as `read_channels` otherwise."""
    images: list[LazyImage] = []
    try:
        for file in files:
            images.append(open_lazy(file))
        if len(images) == 1:
            return images[0]
        first, stacked = images[0], _Stacked(images, _check_alike(files, images))
        return LazyImage(files[0], stacked, first.place, first.georeference)
    except BaseException:
        for image in images:
            image.close()
        raise


class _Stacked:
    """The channels of several files, one after the other."""

    def __init__(self, images: Sequence[LazyImage], notes: tuple[str, ...]) -> None:
        first, self._images, self.notes = images[0], images, notes
        self.axes, self.spacing, self.unit = first.axes, first.spacing, first.unit
        self.shape = (sum(image.shape[0] for image in images), *first.size)
        self.dtype = np.result_type(*(image.dtype for image in images))

    def read(self, region: Region) -> np.ndarray:
        """Channels of a region."""
        wanted, *space = region
        parts, at = [], 0
        for image in self._images:
            n = image.shape[0]
            low, high = max(wanted.start - at, 0), min(wanted.stop - at, n)
            if low < high:
                parts.append(image[(slice(low, high), *space)])
            at += n
        return np.concatenate(parts).astype(self.dtype, copy=False)

    def close(self) -> None:
        """Close all files."""
        for image in self._images:
            image.close()


def _check_alike(files: Sequence[Path], images: Sequence[Image | LazyImage]) -> tuple[str, ...]:
    """Notes about channels in files of their own; ValueError where they do not have the grid of the first."""
    first = images[0]
    for file, image in zip(files, images, strict=True):
        start = f"{file}: one channel of {files[0]}, but it has"
        if image.size != first.size:
            raise ValueError(f"{start} size {image.size}, not {first.size}; resample it to the same grid")
        if image.unit != first.unit or not np.allclose(image.spacing, first.spacing, rtol=SAME_SPACING, atol=0):
            own, other = (f"({', '.join(f'{step:g}' for step in each.spacing)}) {each.unit}" for each in (image, first))
            raise ValueError(f"{start} spacing {own}, not {other}; resample it to the same grid")
    notes = [note for image in images for note in image.notes]
    if max(distance_voxels(image, first) for image in images) >= MISPLACED_FROM:
        notes.append("by their headers the files of the channels lie a voxel or more apart: stacked as they are")
    notes.append(f"{len(images)} channels, each a file of its own")
    return tuple(dict.fromkeys(notes))


def distance_voxels(image: Image | LazyImage, other: Image | LazyImage) -> float:
    """Largest distance in the world between the same voxel of two volumes, in voxels of the first.

    Parameters
    ----------
    image, other : Image or LazyImage
        Of the same size.

    Returns
    -------
    float
        0 where one of them does not state its place.
    """
    if image.place is None or other.place is None:
        return 0.0
    # The farthest voxel is a corner, since the distance is that of an affine map.
    corners = np.array(list(itertools.product(*((0, length - 1) for length in reversed(image.size)))))
    gap = image.place.affine_in_memory - other.place.affine_in_memory
    distances = np.linalg.norm(corners @ gap[:3, :3].T + gap[:3, 3], axis=1)
    return float(distances.max() / min(image.spacing))


def misplacement(image: Image, mask: Image) -> str:
    """Describe how the place of a mask contradicts that of its image; "" if it does not, or it cannot be known.

    A mask whose header was lost on the way reads as another orientation, and then no longer lies on its image.
    """
    distance = distance_voxels(image, mask)
    if distance < MISPLACED_FROM or image.place is None or mask.place is None:
        return ""
    own, other = mask.place.orientation, image.place.orientation
    if own != other:
        return (
            f"is stored {own}, its image {other}, and their affines put them {distance:.3g} voxels apart: one of "
            "the headers is wrong; copy the image's affine into the mask, or the other way round"
        )
    return ""
