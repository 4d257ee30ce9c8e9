"""What is measured of every object of one label image: columns by their names, which end with their unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..image import Image
from .ground import Ground, ground_of
from .regions import Regions, number_ids, sum_gray_values, sum_regions

__all__ = ["columns_of", "ground_below", "measure_objects", "rows_of"]

_INTENSITIES = ("mean", "min", "max")


def measure_objects(
    ids: np.ndarray, *, spacing: Sequence[float] | None = None, unit: str = "px", image: np.ndarray | None = None
) -> list[dict[str, float]]:
    """Measure the objects of one label image.

    Parameters
    ----------
    ids : ndarray of shape (*spatial), integer
        2D or 3D; 0 is background.
    spacing : sequence of float, optional
        Pixel size per axis.
    unit : str
        Of the spacing; it ends the names of columns that have one, "area_um2".
    image : ndarray of shape (C, *spatial), optional
        Whose gray values are measured.

    Returns
    -------
    list of dict
        A row per object: "object" (its id), "pixels", area or volume, centre (0 is that of the first pixel), diameter
        (of the circle or ball of that area or volume), in 2D the axes of the ellipse of the same second moments,
        "at_border" (1 where the image cuts it), the box that holds it in pixels, and mean, smallest and largest gray
        value by channel.

    Raises
    ------
    ValueError
        If the image has another size.

    Examples
    --------
    >>> rows = measure_objects(np.array([[0, 2, 2], [0, 2, 2]]), spacing=(0.5, 0.5), unit="µm")
    >>> rows[0]["object"], rows[0]["area_um2"], rows[0]["x_um"], rows[0]["at_border"]
    (2, 1.0, 0.75, 1)
    """
    spacing = tuple(spacing or (1.0,) * ids.ndim)
    gray = None if image is None else Image(image, "cyx" if ids.ndim == 2 else "czyx", (1.0,) * ids.ndim)
    return rows_of(columns_of(ids, Image(ids, "zyx"[-ids.ndim :], spacing, unit), gray))


def rows_of(columns: dict[str, np.ndarray]) -> list[dict[str, float]]:
    """A row per object."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]


def columns_of(ids: np.ndarray, mask: Image, image: Image | None) -> dict[str, np.ndarray]:
    """The columns of the objects of a label image, in the unit and with the spacing of its mask."""
    if image is not None and image.size != ids.shape:
        raise ValueError(f"a mask of size {ids.shape} for an image of size {image.size}: they must be equal")
    ndim, axes = ids.ndim, "zyx"[-ids.ndim :]
    values, numbers = number_ids(ids)
    regions = sum_regions(numbers, len(values))
    unit, steps, middle = _steps(mask, regions)
    size = regions.pixels * steps.prod(1)
    columns = {"object": values, "pixels": regions.pixels}
    columns[f"{'area' if ndim == 2 else 'volume'}_{unit}{ndim}"] = size
    columns |= {f"{axis}_{unit}": regions.centre[:, i] * middle[i] for i, axis in enumerate(axes)}
    columns[f"diameter_{unit}"] = (2 * ndim * size / np.pi) ** (1 / ndim)
    if ndim == 2:  # of the ellipse of the same second moments: 4 times the deviation along its axes
        moments = regions.moments * steps[:, :, None] * steps[:, None, :]
        lengths = 4 * np.sqrt(np.linalg.eigvalsh(moments).clip(min=0))
        columns |= {f"major_axis_{unit}": lengths[:, 1], f"minor_axis_{unit}": lengths[:, 0]}
    cut = (regions.first == 0) | (regions.last == np.array(ids.shape) - 1)
    columns["at_border"] = cut.any(1).astype(int)
    columns |= {f"{axis}_first": regions.first[:, i] for i, axis in enumerate(axes)}
    columns |= {f"{axis}_last": regions.last[:, i] for i, axis in enumerate(axes)}
    valid = None if image is None else image.valid_mask()
    for i, channel in enumerate(() if image is None else image.array):
        gray = sum_gray_values(numbers, len(values), channel, valid)
        columns |= {f"{statistic}_{i}": column for statistic, column in zip(_INTENSITIES, gray, strict=True)}
    return columns


def _steps(mask: Image, regions: Regions) -> tuple[str, np.ndarray, np.ndarray]:
    """The unit, the size of a pixel (N, ndim) at every object, and (ndim,) in the middle of the image for positions."""
    ground = ground_below(mask)
    if ground is None:
        step = np.array(mask.spacing)
        return "um" if mask.unit == "µm" else mask.unit, np.broadcast_to(step, regions.centre.shape), step
    return "m", ground.steps(regions.centre), ground.steps((np.array([mask.size]) - 1) / 2)[0]


def ground_below(mask: Image) -> Ground | None:
    """The ground below a mask of a map whose unit is not a true metre."""
    return ground_of(mask.georeference) if mask.ndim == 2 else None
