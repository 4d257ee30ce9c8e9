"""The order in which the layers of a net compute their rows for an image that comes slab by slab: integers only.

An image flows through the net along one axis. Every layer computes each of its rows once, as soon as the rows that it
reads are available, and a row is kept until the last layer that reads it has done so. Skips are queues that grow to the
depth of what lies below them, and no further: memory does not depend on the length of the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from ...geometry import Axis, Window

__all__ = ["ScheduledRows", "longest_queues", "schedule"]


@dataclass(frozen=True)
class ScheduledRows:
    """Rows `start ... stop - 1` of a layer are made from rows `low ... high - 1` of those that it reads.

    Attributes
    ----------
    layer, start, stop : int
        Layer 0 is the image: its rows are given.
    low, high : int
        Within the image; what lies beyond its borders is the layer's own padding.
    forget : tuple of (layer, row)
        Rows below `row` of `layer` are not read any more once this work is done.
    """

    layer: int
    start: int
    stop: int
    low: int = 0
    high: int = 0
    forget: tuple[tuple[int, int], ...] = ()


def schedule(axis: Axis, n: int, *, slab: int, mirrors: frozenset[int] = frozenset()) -> Iterator[ScheduledRows]:
    """Schedule all rows, in order, for an image of `n` rows that comes in slabs of `slab` rows.

    Parameters
    ----------
    axis : Axis
        The net along the axis of the slabs.
    n : int
        A number of rows that fits the net.
    slab : int
        Rows of the image that are given at a time, at least 1.
    mirrors : frozenset of int
        Layers that mirror rows at the borders (reflection padding).

    Yields
    ------
    ScheduledRows

    Raises
    ------
    ValueError
        If `n` does not fit; the nearest sizes are named.

    Examples
    --------
    >>> axis = Axis((Window(), Window(3, before=1, after=1)), ((), (0,)))
    >>> [(w.layer, w.start, w.stop) for w in schedule(axis, 5, slab=2)]
    [(0, 0, 2), (1, 0, 1), (0, 2, 4), (1, 1, 3), (0, 4, 5), (1, 3, 5)]
    """
    axis.output_size(n)  # raises, with the sizes that fit
    sizes = axis.sizes(n) or ()
    readers: list[list[int]] = [[] for _ in sizes]
    for i, inputs in enumerate(axis.inputs):
        for j in set(inputs):
            readers[j].append(i)
    made, free = [0] * len(sizes), [0] * len(sizes)
    most = [_most(window, ceil(slab / stride)) for window, (stride, _) in zip(axis.windows, axis.places, strict=True)]
    while made[-1] < sizes[-1]:
        for i, window in enumerate(axis.windows):
            if i == 0:
                stop = min(made[0] + slab, n)
            else:
                stop = min(_makes(window, made[j], sizes[j], sizes[i], i in mirrors) for j in axis.inputs[i])
                # Else all that waits below comes at once at the far end. A rest that might lie wholly beyond the
                # border, or in a gap, is not left for later: it would have nothing to read.
                if stop > made[i] + most[i] + window.extent + window.stride + max(window.after, 0):
                    stop = made[i] + most[i]
            if stop <= made[i]:
                continue
            start, made[i] = made[i], stop
            forget = []
            for j in set(axis.inputs[i]):
                needs = (
                    _first(axis.windows[r], made[r], sizes[j], r in mirrors) for r in readers[j] if made[r] < sizes[r]
                )
                needed = min(needs, default=sizes[j])
                if needed > free[j]:
                    free[j] = needed
                    forget.append((j, needed))
            low, high = _reads(window, start, stop, sizes[axis.inputs[i][0]], i in mirrors) if i else (0, 0)
            yield ScheduledRows(i, start, stop, low, high, tuple(forget))


def _most(window: Window, rows: int) -> int:
    """Rows that a layer makes at a time: what a slab is for it, in whole steps of a layer that enlarges."""
    step = window.stride if window.transposed else 1
    return max(-(-rows // step), 1) * step


def _makes(window: Window, have: int, n: int, size: int, mirrors: bool) -> int:
    """Rows of a layer that can be made, of `size` in all, when `have` of the `n` rows that it reads are there."""
    if have >= n:
        return size
    if have < 1 or (mirrors and have <= window.before):
        return 0  # a border repeats the first row, or shows the one that lies as far inside as itself outside
    if window.transposed:
        rows = have * window.stride - window.before
    else:
        rows = (have - window.extent + window.before) // window.stride + 1
    return min(max(rows, 0), size)


def _first(window: Window, row: int, n: int, mirrors: bool) -> int:
    """The first of `n` rows that row `row` of a layer, or any after it, reads."""
    low = window.reads(row, row)[0]
    if mirrors:  # rows beyond the far border show those as far inside
        low = min(low, n - 1 - max(window.after, 0))
    return min(max(low, 0), n - 1)


def _reads(window: Window, start: int, stop: int, n: int, mirrors: bool) -> tuple[int, int]:
    """First row, and last row plus one, of `n` that rows `start ... stop - 1` of a layer read."""
    low, high = window.reads(start, stop - 1)
    if mirrors:
        low, high = min(low, 2 * (n - 1) - high), max(high, -low)
    low = min(max(low, 0), n - 1)
    return low, min(max(high, low), n - 1) + 1


def longest_queues(axis: Axis, n: int, *, slab: int, mirrors: frozenset[int] = frozenset()) -> list[int]:
    """Most rows that each layer keeps at any time: what a stream needs of memory."""
    made, free = [0] * len(axis.windows), [0] * len(axis.windows)
    longest = list(made)
    for work in schedule(axis, n, slab=slab, mirrors=mirrors):
        made[work.layer] = work.stop
        longest[work.layer] = max(longest[work.layer], made[work.layer] - free[work.layer])
        for layer, row in work.forget:
            free[layer] = row
        if work.layer == len(made) - 1:  # handed on at once
            free[-1] = work.stop
    return longest
