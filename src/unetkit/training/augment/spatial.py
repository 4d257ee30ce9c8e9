"""Spatial changes of a batch by one sampling grid: matrices and displacement fields in pixels, 2D and 3D alike.

Random draws and settings are in `augment`.

References
----------
.. [1] Keys, Cubic convolution interpolation, IEEE TASSP 29(6), 1981, doi:10.1109/TASSP.1981.1163711
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# Rotation planes in the order of the angles: about the only normal in 2D; about z, y, x in 3D.
PLANES = {2: ((0, 1),), 3: ((1, 2), (0, 2), (0, 1))}


def rotations(angles: Tensor, pitch: list[float]) -> Tensor:
    """Turn angles into matrices that act on pixels.

    Parameters
    ----------
    angles : Tensor of shape (N, planes)
        In radians, one per plane of `PLANES`, the first plane turned last.
    pitch : list of float
        Pixel size per axis: the rotation is rigid in space, hence sheared in anisotropic pixels.

    Returns
    -------
    Tensor of shape (N, ndim, ndim)
    """
    n, ndim = len(angles), len(pitch)
    matrix = torch.eye(ndim).repeat(n, 1, 1)
    for (i, j), angle in zip(PLANES[ndim], angles.unbind(1), strict=True):
        turn = torch.eye(ndim).repeat(n, 1, 1)
        turn[:, i, i] = turn[:, j, j] = angle.cos()
        turn[:, i, j], turn[:, j, i] = -angle.sin() * pitch[j] / pitch[i], angle.sin() * pitch[i] / pitch[j]
        matrix = matrix @ turn
    return matrix


def smooth_field(vectors: Tensor, size: tuple[int, ...]) -> Tensor:
    """Interpolate coarse vectors, the outer ones on the corners, to every pixel by cubic convolution [1]_.

    Axis by axis, so bicubic in 2D (equal to torch's) and tricubic in 3D.

    Parameters
    ----------
    vectors : Tensor of shape (N, D, *points)
    size : tuple of int

    Returns
    -------
    Tensor of shape (N, D, *size)
    """
    for side in size:  # each turn takes the first coarse axis and appends the fine one: the order is kept
        vectors = torch.tensordot(vectors, _cubic_weights(side, vectors.shape[2]), dims=([2], [1]))
    return vectors


@lru_cache(maxsize=64)
def _cubic_weights(side: int, points: int) -> Tensor:
    """Weights of `points` values in each of `side` pixels, (side, points); coefficient -0.75, edge values repeated."""
    position = torch.linspace(0, points - 1, side, dtype=torch.float64)
    first = position.floor().clamp(max=points - 2)
    weights = torch.zeros(side, points, dtype=torch.float64)
    for offset in (-1, 0, 1, 2):
        t = (position - first - offset).abs()
        near = 1.25 * t**3 - 2.25 * t**2 + 1
        far = -0.75 * (t**3 - 5 * t**2 + 8 * t - 4)
        index = (first + offset).clamp(0, points - 1).long()
        weights.scatter_add_(1, index[:, None], torch.where(t <= 1, near, far)[:, None])
    return weights.float()


def sampling_grid(matrix: Tensor, shift: Tensor | None, *, size: tuple[int, ...], window: tuple[int, ...]) -> Tensor:
    """Grid of the places in a window that a patch is read from: `A p + u(p)` from the middle for a pixel `p` from it.

    Parameters
    ----------
    matrix : Tensor of shape (N, ndim, ndim)
        A, in pixels.
    shift : Tensor of shape (N, ndim, *size), optional
        u, in pixels.
    size, window : tuple of int
        Patch and window in pixels; the patch's middle is that of `centre_crop`.

    Returns
    -------
    Tensor of shape (N, *size, ndim)
        In the units and order of `grid_sample` with corners aligned: -1 to 1, x first.
    """
    n, ndim = matrix.shape[:2]
    ones = [1] * ndim
    to_unit = 2 / torch.tensor([max(have - 1, 1) for have in window], device=matrix.device)
    middle = [(have - side) // 2 + (side - 1) / 2 for have, side in zip(window, size, strict=True)]
    place = (torch.tensor(middle, device=matrix.device) * to_unit - 1).expand(n, ndim).reshape(n, ndim, *ones)
    for axis, side in enumerate(size):
        steps = torch.arange(side, device=matrix.device) - (side - 1) / 2
        column = (matrix[:, :, axis] * to_unit).reshape(n, ndim, *ones)
        place = place + column * steps.reshape(-1, *ones[axis + 1 :])
    if shift is not None:
        place = place + shift * to_unit.reshape(-1, *ones)
    return place.flip(1).movedim(1, -1)


def centre_crop(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Crop the middle of the last axes; half a pixel towards the start where the difference is odd.

    Parameters
    ----------
    maps : Tensor of shape (..., *window)
    size : tuple of int

    Returns
    -------
    Tensor of shape (..., *size)
        A view.
    """
    for axis, side in enumerate(size, start=maps.ndim - len(size)):
        maps = maps.narrow(axis, (maps.shape[axis] - side) // 2, side)
    return maps


def sample_linear(maps: Tensor, grid: Tensor) -> Tensor:
    """Read maps of shape (N, C, *window), float, at a grid: (N, C, *size). Beyond the window it is mirrored."""
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="reflection", align_corners=True)


def sample_nearest(labels: Tensor, grid: Tensor) -> Tensor:
    """Read labels of shape (N, *window), integer, at a grid: (N, *size), each value one of the window's."""
    # float32 holds every integer up to 2**24, enough for the short types; float64 every one up to 2**53.
    exact = torch.float64 if labels.dtype in (torch.int32, torch.int64) else torch.float32
    values = labels[:, None].to(exact)
    values = F.grid_sample(values, grid.to(exact), mode="nearest", padding_mode="reflection", align_corners=True)
    return values[:, 0].to(labels.dtype)
