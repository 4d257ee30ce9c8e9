"""Volumes through 2D nets, plane by plane: the neighbours of a plane are its further channels ("2.5D").

A plane and its neighbours are folded into channels here and nowhere else, so that what is
trained, validated and predicted is the same::

    volume (C, z, y, x)     planes 3, plane 0: z = 1 0 1 (mirrored without repeating the edge plane)
                                      plane 5: z = 4 5 6
    given to the net        (C * 3, y, x): first the 3 planes of channel 0, then those of channel 1, ...
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..geometry import mirror
from .readable import Readable


def check_planes(planes: int, ndim: int) -> None:
    """Raise ValueError unless images of `ndim` spatial axes can be given to a 2D net `planes` planes at a time."""
    if planes < 1 or planes % 2 == 0:
        raise ValueError(f"planes is {planes}; expected an odd number, such as 1, 3 or 5: the middle one is predicted")
    if ndim != 3:
        raise ValueError(
            f"planes is {planes}, but the images have {ndim} spatial axes: it is for volumes, leave it out"
        )


def fold(window: np.ndarray) -> np.ndarray:
    """Make adjacent planes (C, N, *plane) the channels of one image, (C * N, *plane); channel 0's planes come first.

    >>> fold(np.arange(12).reshape(2, 3, 1, 2))[:, 0, 0].tolist()
    [0, 2, 4, 6, 8, 10]
    """
    return window.reshape(-1, *window.shape[2:])


def around(volume: Readable, index: int, planes: int) -> np.ndarray:
    """Stack plane `index` of a volume (C, z, y, x) with its neighbours: (C * planes, y, x), edges mirrored."""
    at = mirror(index - planes // 2, planes, volume.shape[1])
    low = int(at.min())
    return fold(volume[:, low : int(at.max()) + 1][:, at - low])


def by_planes(volume: np.ndarray, planes: int, predict: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    """Predict a volume plane by plane.

    Parameters
    ----------
    volume : ndarray of shape (C, z, y, x), float32
        Standardised as a whole.
    planes : int
        Odd; number of adjacent planes that the net takes.
    predict : callable
        Called with (image of shape (C * planes, y, x), index of its middle plane); returns what
        is predicted for that plane, of shape (..., y, x).

    Returns
    -------
    ndarray of shape (z, ..., y, x)
    """
    return np.stack([predict(around(volume, z, planes), z) for z in range(volume.shape[1])])
