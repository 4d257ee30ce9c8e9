"""One image from a file per channel, and whether an image and its mask lie at the same place."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..image import Image
from ..io import read

SAME_SPACING = 1e-3  # relative: headers are float32, and some are rounded by hand
APART = 1.0  # voxels


def read_channels(files: Sequence[Path]) -> Image:
    """Read the files of one image and stack their channels, in the order given.

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
    for file, image in zip(files, images, strict=True):
        _check_same_grid(image, first, f"{file}: one channel of {files[0]}, but it has")
    notes = [note for image in images for note in image.notes]
    if max(apart(image, first) for image in images) >= APART:
        notes.append("by their headers the files of the channels lie a voxel or more apart: stacked as they are")
    notes.append(f"{len(images)} channels, each a file of its own")
    array = np.concatenate([image.array for image in images])
    return replace(first, array=array, notes=tuple(dict.fromkeys(notes)))


def _check_same_grid(image: Image, first: Image, start: str) -> None:
    if image.size != first.size:
        raise ValueError(f"{start} size {image.size}, not {first.size}; resample it to the same grid")
    if image.unit != first.unit or not np.allclose(image.spacing, first.spacing, rtol=SAME_SPACING, atol=0):
        spacings = [f"({', '.join(f'{step:g}' for step in one.spacing)}) {one.unit}" for one in (image, first)]
        raise ValueError(f"{start} spacing {spacings[0]}, not {spacings[1]}; resample it to the same grid")


def apart(image: Image, other: Image) -> float:
    """How far apart the same voxel of two volumes lies in the world, at most, in voxels of the first.

    Parameters
    ----------
    image, other : Image
        Of the same size.

    Returns
    -------
    float
        0 where one of them does not say where it lies.
    """
    if image.place is None or other.place is None:
        return 0.0
    # The farthest voxel is a corner, since the distance is that of an affine map.
    corners = np.array(list(itertools.product(*((0, length - 1) for length in reversed(image.size)))))
    gap = image.place.affine_in_memory - other.place.affine_in_memory
    distances = np.linalg.norm(corners @ gap[:3, :3].T + gap[:3, 3], axis=1)
    return float(distances.max() / min(image.spacing))


def mask_is_elsewhere(image: Image, mask: Image) -> str:
    """What is wrong with where a mask of the same size lies, in words; "" if nothing is, or it cannot be known.

    A mask whose header was lost on the way reads as another orientation, and is then turned away from its image.
    """
    distance = apart(image, mask)
    if distance < APART or image.place is None or mask.place is None:
        return ""
    ways = (mask.place.orientation, image.place.orientation)
    if ways[0] != ways[1]:
        return (
            f"is stored {ways[0]}, its image {ways[1]}, and their affines put them {distance:.3g} voxels apart: one of "
            "the headers is wrong; copy the image's affine into the mask, or the other way round"
        )
    return ""
