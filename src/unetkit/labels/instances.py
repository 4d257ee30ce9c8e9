"""From what a net predicts of objects to one id per object: whole, or block by block with the same result.

A net for objects predicts where they are, and how deep inside of one a pixel lies: 0 at its border, 1 at its middle,
whatever its size. Touching objects are one foreground, but a valley of depths lies between them: where that is much
shallower than both, each has a seed of its own, from which a watershed gives every pixel of the foreground to one.

Parts of the foreground that do not touch have nothing to do with each other, so each is decoded by itself, once and
whole, in whichever blocks it lies: borders of blocks leave no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from ..tiles import Slices

__all__ = ["InstanceThresholds", "decode", "decode_blocks", "distance_levels", "pack_maps", "unpack_maps"]

_SMOOTH = 1.0  # pixels: what a net says of neighbours is not alike enough for one peak per object
CODE = np.dtype(np.uint16)  # of a pixel: its probability of an object in the upper byte, its depth in the lower

Maps = tuple[np.ndarray, np.ndarray]  # probability of foreground, depth; of one shape
Read = Callable[[Slices], Maps]
Room = Callable[[np.dtype], np.ndarray]  # an array of zeros as large as the image, in memory or on disk


@dataclass(frozen=True)
class InstanceThresholds:
    """How maps become objects.

    Attributes
    ----------
    foreground : float
        Probability above which a pixel is of an object, 0 to 1.
    split_ratio : float
        Two peaks of depth are of one object if the way between them stays above this share of the lower one, 0 to 1.
    min_size : int
        Pixels of the smallest object; smaller ones are background.
    confidence : float
        Least mean probability of the pixels of an object, 0 to 1; less sure ones are background.
    """

    foreground: float = 0.5
    split_ratio: float = 0.55
    min_size: int = 10
    confidence: float = 0.0

    def __post_init__(self) -> None:
        for name in ("foreground", "split_ratio", "confidence"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 to 1")


def distance_levels(ids: np.ndarray, *, spacing: Sequence[float] | None = None) -> np.ndarray:
    """How deep inside of its object every pixel lies: the distance to what is not of it, as a share of the largest.

    Parameters
    ----------
    ids : ndarray of shape (*spatial), integer
        0 is background.
    spacing : sequence of float, optional
        Pixel size per axis, in any unit.

    Returns
    -------
    ndarray of shape (*spatial), float32
        0 outside of objects, above 0 to 1 inside; 1 in the middle of each.

    Examples
    --------
    >>> depths(np.array([[0, 4, 4, 4, 7, 7, 0]] * 5))[2].tolist()
    [0.0, 0.5, 1.0, 0.5, 1.0, 1.0, 0.0]
    """
    found = np.zeros(ids.shape, np.float32)
    names, index = np.unique(ids, return_inverse=True)
    numbered = np.where(names == 0, 0, np.arange(1, len(names) + 1))[index.reshape(ids.shape)]
    for number, box in enumerate(ndimage.find_objects(numbered), start=1):
        if box is None:
            continue
        inside = np.pad(numbered[box] == number, 1)  # the image's border is a border of objects
        distance = ndimage.distance_transform_edt(inside, sampling=spacing)[(slice(1, -1),) * ids.ndim]
        found[box] += (distance / distance.max()).astype(np.float32)
    return found


def pack_maps(probabilities: np.ndarray) -> np.ndarray:
    """What a net says of pixels, in two bytes each: how likely one is of an object, and how deep inside on average.

    Parameters
    ----------
    probabilities : ndarray of shape (1 + L, *spatial), float
        Of background and of L levels of depth, from the rim to the middle.

    Returns
    -------
    ndarray of shape (*spatial), uint16
        See `unpack_maps`.
    """
    levels = len(probabilities) - 1
    middles = (np.arange(levels, dtype=np.float32) + 0.5) / levels
    depth = np.tensordot(middles, probabilities[1:], 1)
    foreground = 1 - probabilities[0]
    upper, lower = (np.rint(part.clip(0, 1) * 255).astype(CODE) for part in (foreground, depth))
    return np.asarray(upper << 8 | lower, CODE)


def unpack_maps(codes: np.ndarray) -> Maps:
    """Foreground and depth, 0 to 1, float32, in steps of 1/255."""
    return (codes >> 8).astype(np.float32) / 255, (codes & 255).astype(np.float32) / 255


def decode(foreground: np.ndarray, depth: np.ndarray, how: InstanceThresholds | None = None) -> np.ndarray:
    """Objects of an image.

    Parameters
    ----------
    foreground : ndarray of shape (*spatial), float
        Probability of an object, 0 to 1.
    depth : ndarray of shape (*spatial), float
        As `distance_levels` defines it, predicted.
    how : Decoding, optional

    Returns
    -------
    ndarray of shape (*spatial), int32
        0 is background; objects are numbered 1 to n in the order of their first pixels.
    """
    how = how or InstanceThresholds()
    parts, _ = ndimage.label(foreground > how.foreground)
    found, n = np.zeros(foreground.shape, np.int32), 0
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        ids = _decoded(parts[box] == number, foreground[box], depth[box], how)
        n = _add(found[box], ids, n)
    return _in_order(found)


def decode_blocks(
    read: Read,
    size: tuple[int, ...],
    block: tuple[int, ...],
    how: InstanceThresholds | None = None,
    *,
    room: Room | None = None,
) -> np.ndarray:
    """Objects of an image that is read in blocks; the same ids as `decode` gives for the whole.

    Parameters
    ----------
    read : callable
        Called with pixels, a slice per axis; returns their foreground and depth.
    size, block : tuple of int
        Of the image, and of what is read at a time. A part of the foreground that does not fit into a block is read in
        one piece.
    how : Decoding, optional
    room : callable, optional
        Called with a dtype, gives an array of the image's size, all 0: for images that do not fit into memory.

    Returns
    -------
    ndarray of shape (*spatial), uint16, or uint32 for more than 65535 objects
        From `room`.
    """
    how, room = how or InstanceThresholds(), room or (lambda dtype: np.zeros(size, dtype))
    parts = _Parts(read, size, block, how, room(np.dtype(np.int32)))
    found = room(np.dtype(np.int32))
    first = [np.zeros(0, np.int64)]  # pixel of every object, counted row by row
    n = 0
    for hull, members in parts.groups():
        foreground, depth = read(hull)
        for number, box in members:
            inside = tuple(slice(s.start - h.start, s.stop - h.start) for s, h in zip(box, hull, strict=True))
            ids = _decoded(parts.labels[box] == number, foreground[inside], depth[inside], how)
            n = _add(found[box], ids, n)
            first.append(_first_pixels(ids, box, size))
    order = np.zeros(n + 1, np.uint32)
    order[1 + np.argsort(np.concatenate(first))] = np.arange(1, n + 1)
    result = room(np.dtype(np.uint16 if len(order) <= 2**16 else np.uint32))
    for box in _boxes(size, block):
        result[box] = order[found[box]]
    return result


def _first_pixels(ids: np.ndarray, box: Slices, size: tuple[int, ...]) -> np.ndarray:
    """Where in the whole image, counted row by row, each of the ids 1 to n in a box has its first pixel."""
    names, at = np.unique(ids, return_index=True)
    inside = np.unravel_index(at[names > 0], ids.shape)
    return np.ravel_multi_index(tuple(p + s.start for p, s in zip(inside, box, strict=True)), size).astype(np.int64)


def _decoded(inside: np.ndarray, foreground: np.ndarray, depth: np.ndarray, how: InstanceThresholds) -> np.ndarray:
    """Ids from 1 to n of one connected part of the foreground, by itself: what ties are decided by is then its own."""
    depth = ndimage.gaussian_filter(np.where(inside, depth, 0).clip(0), _SMOOTH, mode="constant")
    seeds, n = _seeds(depth, how.split_ratio)
    ids = inside.astype(np.int32) if n < 2 else np.asarray(watershed(-depth, markers=seeds, mask=inside), np.int32)
    sizes = np.bincount(ids.ravel())
    sizes[0] = 0
    sums = np.bincount(ids.ravel(), foreground.ravel().astype(np.float64))
    is_kept = (sizes >= max(how.min_size, 1)) & (sums >= how.confidence * sizes)
    return np.where(is_kept, np.cumsum(is_kept), 0).astype(np.int32)[ids]


def _seeds(depth: np.ndarray, valley: float) -> tuple[np.ndarray, int]:
    """Numbered peaks of depth, those left out from which a higher one is reached above `valley` of their own depth.

    Maxima of the reconstruction by dilation (Vincent, IEEE Trans. Image Process. 2, 1993, doi:10.1109/83.217222) of so
    much of the depth below it: the h-maxima, with a factor in place of a difference, as small objects are as deep.
    """
    connected = np.ones((3,) * depth.ndim)
    peaks, n = ndimage.label(local_maxima(depth), connected)
    if n > 1:
        filled = reconstruction(depth * valley, depth, footprint=connected)
        peaks, n = ndimage.label(local_maxima(filled), connected)
    return peaks, n


def _add(found: np.ndarray, ids: np.ndarray, n: int) -> int:
    """Write objects 1 to m into `found` as n + 1 to n + m, and return n + m."""
    found[ids > 0] = ids[ids > 0] + n
    return n + int(ids.max(initial=0))


def _in_order(ids: np.ndarray) -> np.ndarray:
    """Ids 1 to n in the order of their first pixels."""
    names, first, index = np.unique(ids, return_index=True, return_inverse=True)
    order = np.zeros(len(names), np.int32)
    objects = np.flatnonzero(names != 0)
    order[objects[np.argsort(first[objects])]] = np.arange(1, len(objects) + 1)
    return order[index.reshape(ids.shape)]


class _Parts:
    """Connected parts of the foreground over all blocks.

    Attributes
    ----------
    labels : ndarray of shape (*spatial), int32
        A number for every part of the foreground, the same in whichever blocks it lies; 0 is background.
    """

    def __init__(
        self, read: Read, size: tuple[int, ...], block: tuple[int, ...], how: InstanceThresholds, labels: np.ndarray
    ) -> None:
        self.labels, self._block = labels, block
        n = 0
        for box in _boxes(size, block):
            found, here = ndimage.label(read(box)[0] > how.foreground)
            self.labels[box] = np.where(found > 0, found + n, 0)
            n += here
        same = _Same(n + 1)
        for axis, step in enumerate(block):
            for at in range(step, size[axis], step):
                before, after = (np.asarray(self.labels[(slice(None),) * axis + (i,)]) for i in (at - 1, at))
                touching = (before > 0) & (after > 0)
                for pair in np.unique(np.stack([before[touching], after[touching]], 1), axis=0):
                    same.join(*pair)
        names = same.names()
        for box in _boxes(size, block):
            self.labels[box] = names[self.labels[box]]

    def groups(self) -> Iterator[tuple[Slices, list[tuple[int, Slices]]]]:
        """The box that holds all parts that begin in one block, and their numbers, each with its own box."""
        found: dict[tuple[int, ...], list[tuple[int, Slices]]] = {}
        for number, box in enumerate(ndimage.find_objects(self.labels), start=1):
            if box is not None:
                key = tuple(side.start // step for side, step in zip(box, self._block, strict=True))
                found.setdefault(key, []).append((number, box))
        for parts in found.values():
            sides = list(zip(*(box for _, box in parts), strict=True))
            yield tuple(slice(min(s.start for s in side), max(s.stop for s in side)) for side in sides), parts


class _Same:
    """Numbers that turned out to name the same thing: a forest, each tree named by its root (union-find)."""

    def __init__(self, n: int) -> None:
        self.parent = np.arange(n, dtype=np.int32)

    def root(self, i: int) -> int:
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]
            i = int(self.parent[i])
        return i

    def join(self, i: int, j: int) -> None:
        i, j = self.root(int(i)), self.root(int(j))
        self.parent[max(i, j)] = min(i, j)

    def names(self) -> np.ndarray:
        """The root of every number."""
        return np.array([self.root(i) for i in range(len(self.parent))], np.int32)


def _boxes(size: tuple[int, ...], block: tuple[int, ...]) -> Iterator[Slices]:
    starts = (range(0, n, step) for n, step in zip(size, block, strict=True))
    for corner in product(*starts):
        yield tuple(slice(i, min(i + step, n)) for i, step, n in zip(corner, block, size, strict=True))
