"""DICOM files that are masks: segments and contours, on the grid of their image, with the names of their classes."""

from __future__ import annotations

from pathlib import Path

from ...image import Image
from ..decoder_errors import Refused
from ..grid import Grid
from ..label_samples import ValueCode, as_coded_labels
from .contours import draw_contours
from .headers import content_of, read_header
from .on_grid import laid_on

__all__ = ["read_mask"]


def read_mask(path: Path, grid: Grid | None) -> tuple[Image, ValueCode | None]:
    """Read a segmentation or contours as a label image, with the names of its values.

    Parameters
    ----------
    path : Path
        For which `headers.is_mask` holds.
    grid : Grid, optional
        Of the image that it belongs to. Without one, a segmentation has the slices that its file holds; nor is it laid
        on an image that states no place, or on a picture, whose rows and columns it must have.

    Raises
    ------
    ImportError
        If pydicom, or highdicom for a segmentation, is not installed.
    ValueError
        If it cannot be read, does not lie on the grid, its classes overlap, or there is no image to draw contours on.
    """
    if content_of(read_header(path)) == "contours":
        if grid is None:
            raise Refused("contours, which have no voxels of their own: name the image that they are drawn on")
        labels, names, notes = draw_contours(path, grid)
        return grid.label_image(labels, tuple(notes)), ValueCode(names, is_numbered=True)
    from .segmentation import read_segmentation  # highdicom takes a while to import

    image, code = as_coded_labels(read_segmentation(path, is_plane=grid is not None and len(grid.size) == 2))
    if grid is not None and grid.place is not None and grid.place.is_stated and len(grid.size) == 3:
        image = grid.label_image(laid_on(image, grid), image.notes)
    return image, code
