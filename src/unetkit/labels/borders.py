"""The border weights of the U-Net paper, by which a net learns the thin background between touching cells.

References
----------
.. [1] Ronneberger, Fischer, Brox, U-Net, MICCAI 2015, doi:10.1007/978-3-319-24574-4_28, eq. 2
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import ndimage
from skimage.segmentation import relabel_sequential

# The border term is dropped where it would be below this: far under float32 noise in a loss, and it keeps work local.
NEGLIGIBLE = 1e-5


def border_weights(
    instances: np.ndarray,
    *,
    w0: float = 10.0,
    sigma: float = 5.0,
    spacing: Sequence[float] | None = None,
    class_weights: tuple[float, float] | Literal["balanced"] | None = None,
) -> np.ndarray:
    """Weigh each pixel by how narrow the gap between its two nearest cells is.

    ``w = w_c + w0 exp(-(d1 + d2)^2 / (2 sigma^2))``, eq. 2 of [1]_, with d1 and d2 the distances to the nearest and
    the second nearest cell; inside a cell d1 is 0. Cells that touch should first be parted by `separate_touching`.
    Each cell's distances are computed only in the box where they matter, so hundreds of cells cost little more than
    one distance transform.

    Parameters
    ----------
    instances : ndarray of shape (*spatial), integer
        Ids of the cells in 2D or 3D, 0 background.
    w0 : float
        Weight at distance 0, not negative.
    sigma : float
        Width of the border term: pixels, or the unit of `spacing` where that is given. The paper: about 5 px.
    spacing : sequence of float, optional
        Pixel size per axis.
    class_weights : (float, float), "balanced" or None
        w_c of background and cells; None is 1 for both; "balanced" makes both classes of this image weigh the same,
        with mean 1.

    Returns
    -------
    ndarray of shape (*spatial), float32
        Within 1e-4 of the formula (for `w0` of order 10).

    Raises
    ------
    ValueError
        If `instances` is not an integer array in 2D or 3D, or a number has the wrong sign or length.

    Examples
    --------
    Two cells with a gap of three pixels: the middle one is 2 from both, 10 exp(-4^2 / 50) = 7.26.

    >>> print(border_weights(np.array([[1, 0, 0, 0, 2]])).round(2))
    [[8.26 8.26 8.26 8.26 8.26]]
    """
    spacing = _check(instances, spacing)
    if w0 < 0 or sigma <= 0:
        raise ValueError(f"w0 is {w0} and sigma is {sigma}: w0 must not be negative, sigma must be above 0")
    cells, *_ = relabel_sequential(np.asarray(instances))
    # Beyond this distance w0 exp(-d^2 / (2 sigma^2)) is below `NEGLIGIBLE`.
    reach = sigma * math.sqrt(2 * math.log(max(w0 / NEGLIGIBLE, 1.0)))
    sums = _two_nearest(cells, spacing, reach=reach)
    term = w0 * np.exp(-(sums**2) / (2 * sigma**2))
    background, cell = _class_weights(cells > 0, class_weights)
    return (np.where(cells > 0, cell, background) + term).astype(np.float32)


def separate_touching(instances: np.ndarray) -> np.ndarray:
    """Set to background the pixels where two cells touch, along edges, sides or corners: a gap two pixels wide.

    The separation border that the U-Net paper [1]_ computes "by morphological operations". Both cells give the pixel
    next to the other, so the result does not depend on the ids; a cell one pixel wide along the contact loses it.

    Parameters
    ----------
    instances : ndarray of shape (*spatial), integer
        Ids in 2D or 3D, 0 background.

    Returns
    -------
    ndarray of shape (*spatial), dtype as given
        A new array in which no two ids are neighbours.

    Raises
    ------
    ValueError
        If `instances` is not an integer array in 2D or 3D.

    Examples
    --------
    >>> separate_touching(np.array([[1, 1, 1, 2, 2, 0, 3]])).tolist()
    [[1, 1, 0, 0, 2, 0, 3]]
    """
    _check(instances, None)
    highest = ndimage.maximum_filter(instances, size=3, mode="nearest")
    no_cell = instances.max(initial=0)  # hides background from the minimum: no id is above it
    lowest = ndimage.minimum_filter(np.where(instances == 0, no_cell, instances), size=3, mode="nearest")
    return np.where(highest == lowest, instances, np.zeros_like(instances))


def _check(instances: np.ndarray, spacing: Sequence[float] | None) -> tuple[float, ...]:
    if instances.dtype.kind not in "iu" or instances.ndim not in (2, 3):
        raise ValueError(f"instances are {instances.dtype} with {instances.ndim} axes: give integer ids in 2D or 3D")
    if instances.size and instances.min() < 0:
        raise ValueError(f"instances hold the id {instances.min()}: ids start at 1, 0 is background")
    steps = tuple(float(step) for step in spacing) if spacing is not None else (1.0,) * instances.ndim
    if len(steps) != instances.ndim or min(steps) <= 0:
        raise ValueError(f"spacing is {steps} for {instances.ndim} axes: give one number above 0 per axis")
    return steps


def _two_nearest(cells: np.ndarray, spacing: tuple[float, ...], *, reach: float) -> np.ndarray:
    """d1 + d2 wherever that is at most `reach`, and something larger elsewhere.

    d1 + d2 <= reach needs both cells within reach of the pixel, hence the pixel inside both of their padded boxes.
    """
    nearest = np.full(cells.shape, np.inf)
    second = np.full(cells.shape, np.inf)
    pads = [math.ceil(reach / step) for step in spacing]
    for cell, box in enumerate(ndimage.find_objects(cells), start=1):
        around = tuple(slice(max(side.start - pad, 0), side.stop + pad) for side, pad in zip(box, pads, strict=True))
        distance = ndimage.distance_transform_edt(cells[around] != cell, sampling=spacing)
        near, next_ = nearest[around], second[around]  # views
        np.minimum(next_, np.maximum(near, distance), out=next_)
        np.minimum(near, distance, out=near)
    return nearest + second


def _class_weights(
    inside: np.ndarray, class_weights: tuple[float, float] | Literal["balanced"] | None
) -> tuple[float, float]:
    """w_c of background and cells."""
    if class_weights is None:
        return 1.0, 1.0
    if class_weights == "balanced":
        cells = int(np.count_nonzero(inside))
        return inside.size / (2 * max(inside.size - cells, 1)), inside.size / (2 * max(cells, 1))
    if isinstance(class_weights, str) or len(class_weights) != 2 or min(class_weights) < 0:
        raise ValueError(f'class_weights is {class_weights!r}: give (background, cells), "balanced" or None')
    return class_weights
