"""MetaImage (MHA, MHD), by SimpleITK: a volume turned and placed as a NIfTI volume is, or a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..decoder_errors import Refused
from ..samples import Colour, Stored
from .placed import placed_volume


def read(path: Path) -> Stored:
    """Read all of a file; components of a pixel are channels."""
    image = sitk.ReadImage(str(path))
    ndim, n_channels = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if ndim not in (2, 3):
        raise Refused(f"an image of {ndim} axes: expected two or three in space")
    values = sitk.GetArrayFromImage(image)  # z, y, x and channels
    if ndim == 2:
        array = np.moveaxis(values, -1, 0) if n_channels > 1 else values[None]
        return Stored(array, "yx", Colour(), tuple(reversed(image.GetSpacing())), "mm")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # left, posterior to right, anterior
    volume = values.transpose(2, 1, 0, 3) if n_channels > 1 else values.T
    return placed_volume(volume, affine, "mm")
