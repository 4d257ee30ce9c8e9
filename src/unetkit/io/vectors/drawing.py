"""Draw outlines: an id for every object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..decoder_errors import Refused
from ..label_samples import ValueCode
from .shapes import Outline

__all__ = ["covered", "drawn"]

NOT_LABELLED = -1
_HIGHEST = 2**31 - 1


def drawn(outlines: Sequence[Outline], size: tuple[int, ...], notes: list[str]) -> tuple[np.ndarray, ValueCode | None]:
    """Draw outlines in their order, so that later ones win where they overlap.

    Parameters
    ----------
    outlines : sequence of Outline
        With rings in pixels, or stamps.
    size : tuple of int
        Of the image, (y, x) or (z, y, x).
    notes : list of str
        Gets what is lost, and decided.

    Returns
    -------
    ndarray of shape `size`, int32
    ValueCode or None
        Names of the ids' classes; None where the file gives its outlines values.
    """
    if not outlines:
        notes.append("no outlines: background only")
    elif not any(outline.rings or outline.stamp for outline in outlines):
        raise Refused(f"all of its {len(outlines)} outlines lie outside of the image")
    has_values = bool(outlines) and all(o.value is not None and not o.name for o in outlines)
    numbers, code = _by_value(outlines) if has_values else _by_object(outlines, len(size) == 3)
    planes = _by_plane(outlines, numbers, size, notes)
    labels, overlap = np.zeros(size, np.int32), 0
    for plane, numbered in planes.items():
        part = labels if len(size) == 2 else labels[plane]
        overlap += _draw_rings(part, numbered) + _draw_stamps(part, numbered)
    _note_losses(labels, outlines, numbers, overlap, notes)
    if len(size) == 3 and not has_values and outlines:
        notes.append("outlines of planes do not say which of them are one object: read as foreground of their class")
    return labels, code


def covered(outlines: Sequence[Outline], size: tuple[int, int], at: tuple[int, int]) -> np.ndarray:
    """Where any outline lies in a window of `size` pixels of a plane whose first pixel is `at`, (y, x); bool."""
    window = np.zeros(size, np.int32)
    moved = [(_moved(outline, at), 1) for outline in outlines]
    _draw_rings(window, moved)
    _draw_stamps(window, moved)
    return window > 0


def _moved(outline: Outline, at: tuple[int, int]) -> Outline:
    rings, stamp = tuple(ring - (at[1], at[0]) for ring in outline.rings), outline.stamp
    if stamp is not None:
        stamp = replace(stamp, at=(stamp.at[0] - at[0], stamp.at[1] - at[1]))
    return replace(outline, rings=rings, stamp=stamp)


def _by_value(outlines: Sequence[Outline]) -> tuple[list[int], None]:
    values = [outline.value or 0 for outline in outlines]
    if min(values) < NOT_LABELLED or max(values) > _HIGHEST:
        raise Refused(f"values from {min(values)} to {max(values)}: expected 0 to {_HIGHEST}, and -1 for not labelled")
    return values, None


def _by_object(outlines: Sequence[Outline], are_planes: bool) -> tuple[list[int], ValueCode]:
    """A number for every object, or of a volume for every class."""
    known: dict[str, int] = {}
    numbers, keys, crowds = list[int](), dict[int, str | tuple[int, int, int]](), set[int]()
    for i, outline in enumerate(outlines):
        if outline.is_unsure:
            numbers.append(NOT_LABELLED)
            continue
        number = known.setdefault(outline.name if are_planes else outline.part_of or f"#{i}", len(known) + 1)
        numbers.append(number)
        keys[number] = outline.name
        if outline.is_crowd:
            crowds.add(number)
    return numbers, ValueCode(keys, are_objects=True, crowds=frozenset(crowds))


def _by_plane(
    outlines: Sequence[Outline], numbers: Sequence[int], size: tuple[int, ...], notes: list[str]
) -> dict[int, list[tuple[Outline, int]]]:
    """Outlines and their numbers for every plane; all on plane 0 of an image that has one."""
    planes: dict[int, list[tuple[Outline, int]]] = {}
    stated = sorted({outline.plane for outline in outlines if outline.plane is not None})
    if len(size) == 2:
        if len(stated) > 1:
            listed = ", ".join(str(plane + 1) for plane in stated[:8])
            raise Refused(f"outlines on several planes of a stack ({listed}), but the image has one")
        return {0: list(zip(outlines, numbers, strict=True))}
    if n := sum(outline.plane is None for outline in outlines):
        raise Refused(f"{n} of {len(outlines)} outlines state no plane (position), and the image is a volume of {size}")
    for outline, number in zip(outlines, numbers, strict=True):
        planes.setdefault(outline.plane or 0, []).append((outline, number))
    if outside := [plane + 1 for plane in planes if plane >= size[0]]:
        raise Refused(f"outlines on plane {max(outside)} of a volume of {size[0]} planes")
    return planes


def _draw_rings(labels: np.ndarray, numbered: Sequence[tuple[Outline, int]]) -> int:
    """Draw the outlines that have rings; number of pixels in several of them."""
    shapes = [
        ({"type": "Polygon", "coordinates": [ring.tolist() for ring in outline.rings]}, number)
        for outline, number in numbered
        if outline.rings
    ]
    if not shapes:
        return 0
    from rasterio.enums import MergeAlg
    from rasterio.features import rasterize

    labels[:] = rasterize(shapes, labels.shape, fill=0, dtype="int32")
    depth = rasterize([(shape, 1) for shape, _ in shapes], labels.shape, dtype="int32", merge_alg=MergeAlg.add)
    return int(np.count_nonzero(depth > 1))


def _draw_stamps(labels: np.ndarray, numbered: Sequence[tuple[Outline, int]]) -> int:
    """Draw the outlines that are pixels; number of pixels that another one has already."""
    overlap = 0
    for outline, number in numbered:
        if outline.stamp is None:
            continue
        mask, (top, left) = outline.stamp.mask, outline.stamp.at
        low = max(-top, 0), max(-left, 0)
        inside = mask[low[0] : labels.shape[0] - top, low[1] : labels.shape[1] - left]
        if not inside.size:
            continue
        rows, columns = inside.shape
        below = labels[top + low[0] : top + low[0] + rows, left + low[1] : left + low[1] + columns]
        overlap += int(np.count_nonzero(inside & (below > 0) & (below != number)))
        below[inside] = number
    return overlap


def _note_losses(
    labels: np.ndarray, outlines: Sequence[Outline], numbers: Sequence[int], overlap: int, notes: list[str]
) -> None:
    outside = sum(not outline.rings and outline.stamp is None for outline in outlines)
    if outside:
        notes.append(f"{outside} of {len(outlines)} outlines lie outside of the image")
    if overlap:
        notes.append(f"outlines overlap in {overlap} pixels: there the later ones win")
    on = {n for outline, n in zip(outlines, numbers, strict=True) if outline.rings or outline.stamp} - {0}
    if lost := on - set(np.unique(labels).tolist()):
        notes.append(f"{len(lost)} of {len(on)} objects have no pixel: below later ones, or smaller than a pixel")
