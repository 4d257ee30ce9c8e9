"""The plan by which an image of any size is run: at once, streamed, or in tiles; chosen before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod

from ..geometry import Geometry
from ..graph.memory import WindowMemory
from ..nets.net import Net
from ..tiles import Tile, fit_core, largest_window, redundancy, tiles
from .streaming.stream import Stream

__all__ = ["Tiling", "choose", "plan_stream", "plan_tiles"]

_BLEND_OVERLAP = 0.5
_SMALL = 2**18  # pixels that are run at once: a stream of a few slabs gains nothing
_SLAB = 2**16  # pixels that flow at a time, about; fewer cost calls, more cost memory and the processor's cache
_VALUES = 2**22  # more pixels, of a net whose largest map of them has no more values than these
_FEWEST, _MOST, _MOST_LIGHT = 4, 32, 64  # rows or planes of them: each 3 x 3 convolution reads two more
_BLOCK = 2**21  # pixels of a streamed tile that are handed on together


@dataclass(frozen=True)
class Tiling:
    """The plan of an image's run.

    Attributes
    ----------
    size : tuple of int
        The image, in pixels.
    padded : tuple of int
        The image with its border, mirrored at the far end ("same") or all around ("valid").
    tiles : tuple of Tile
        Over `padded`; a single tile is the whole image.
    is_exact : bool
        False only for tiles of a net that is not local.
    memory_bytes : int
        Peak memory of the net's maps and workspace: exact for windows that run at once (`graph.memory`), unless the
        budget was far above; for streams an upper bound.
    redundancy : float
        Pixels computed per pixel of the image.
    block : tuple of int
        Pixels that are handed on together, per axis: the image is a grid of such blocks, the last ones cut.
    slab : int or None
        Rows (2D) or planes (3D) of a tile that flow through the net at a time; None where the window runs at once.
    reason : str
        Why the tiles are not exact; empty where they are.
    """

    size: tuple[int, ...]
    padded: tuple[int, ...]
    tiles: tuple[Tile, ...]
    is_exact: bool
    memory_bytes: int
    redundancy: float
    block: tuple[int, ...]
    slab: int | None = None
    reason: str = ""

    def describe(self) -> str:
        """One line for the user."""
        n, about = len(self.tiles), f"about {self.memory_bytes / 2**30:.2f} GB"
        twice = f"{self.redundancy - 1:.0%} computed twice" if n > 1 else "nothing computed twice"
        core = [str(part.stop - part.start) for part in self.tiles[0].core]
        if self.slab is not None:
            slabs = f"streamed in slabs of {self.slab} {'rows' if len(self.size) == 2 else 'planes'}"
            strips = f", {n} strips of {' x '.join(core[1:])} pixels across" if n > 1 else ""
            return f"{slabs}{strips}, exact, {twice}, {about}"
        if n == 1:
            return f"whole image at once, {about}"
        kind = "exact" if self.is_exact else f"approximate, blended, since the net is not local: {self.reason}"
        return f"{n} tiles of {' x '.join(core)}, {kind}, {twice}, {about}"


def is_small(size: Sequence[int]) -> bool:
    """Whether an image is run at once: a stream of a few slabs gains nothing."""
    return prod(size) <= _SMALL


def choose(
    net: Net, size: Sequence[int], *, memory_bytes: int, stream: Stream | None = None, most: int | None = None
) -> Tiling:
    """Choose the fastest plan within the memory: small images at once, larger ones streamed, else in tiles.

    Parameters
    ----------
    net : Net
        From `inference.prepare`.
    size : sequence of int
        Spatial size of the image in pixels; any.
    memory_bytes : int
        Budget for the net's maps.
    stream : Stream, optional
        Of the same net, where it can be streamed.
    most : int, optional
        Pixels along each axis of the blocks of a larger image, at most.

    Raises
    ------
    ValueError
        If no plan fits the budget; the least that works is named.
    """
    if stream is not None and not is_small(size):
        try:
            return plan_stream(net, stream, size, memory_bytes=memory_bytes, most=most)
        except ValueError:  # too small for strips; tiles may still fit, or name the least that works
            pass
    return plan_tiles(net, size, memory_bytes=memory_bytes, most=None if is_small(size) else most)


def plan_stream(
    net: Net,
    stream: Stream,
    size: Sequence[int],
    *,
    memory_bytes: int | None = None,
    slab: int | None = None,
    most: int | None = None,
) -> Tiling:
    """Stream an image along its first axis, at full width where the memory allows, else in as few strips as possible.

    Parameters
    ----------
    net, stream
        Of the same prepared net.
    size : sequence of int
    memory_bytes : int, optional
        Budget for the net's maps.
    slab : int, optional
        Rows that flow at a time (default: 4 to 32, as many as make about 65,000 pixels; up to 64 of a light net).
    most : int, optional
        Pixels along each axis of a block, at most, and so of a strip across.

    Raises
    ------
    ValueError
        If not even the narrowest strips fit the budget; the least that works is named.
    """
    size, geometry = tuple(size), net.geometry
    padded = _padded(geometry, size)
    rows = slab or _rows(padded)

    def cost(window: tuple[int, ...], rows: int = rows) -> int:
        return stream.memory_bytes(window, slab=rows)

    budget = cost(padded, slab or _rows(padded, stream)) if memory_bytes is None else memory_bytes
    core = fit_core(geometry, padded, memory_bytes=budget, cost=cost, whole=(0,))
    if most is not None:
        parts = zip(core[1:], geometry.output_size(padded)[1:], geometry.stride[1:], strict=True)
        core = (core[0], *(min(c, _part(n, most, s)) for c, n, s in parts))
    covering = tiles(geometry, padded, core)
    windows = {tile.window_size for tile in covering}
    across, stride = tuple(min(c, n) for c, n in zip(core[1:], size[1:], strict=True)), geometry.stride[0]
    height = max(_BLOCK // (stride * max(prod(across), 1)), 1) * stride
    height = height if most is None else min(height, max(most // stride, 1) * stride)
    block = (max(min(height, size[0]), 1), *across)
    if slab is None:  # more rows of a light net, and of strips narrower than the image, where the memory allows
        taller = min(_rows(window, stream) for window in windows)
        while taller > rows and max(cost(window, taller) for window in windows) > budget:
            taller //= 2
        rows = max(taller, rows)
    peak = max(cost(window, rows) for window in windows)
    return Tiling(size, padded, tuple(covering), True, peak, redundancy(covering, padded), block, rows)


def _rows(window: tuple[int, ...], stream: Stream | None = None) -> int:
    """Rows of a window that flow at a time: as many as suit any net, or this one."""
    across = max(prod(window[1:]), 1)
    rows = max(min(_SLAB // across, _MOST), _FEWEST)
    if stream is not None:
        rows = max(rows, min(int(_VALUES / (across * stream.values_per_pixel)), _MOST_LIGHT))
    return 1 << (rows.bit_length() - 1)  # else deep layers make now more, now fewer rows, each time laid out anew


def plan_tiles(
    net: Net,
    size: Sequence[int],
    *,
    memory_bytes: int | None = None,
    core: Sequence[int] | None = None,
    most: int | None = None,
) -> Tiling:
    """Cover an image with windows that are run at once each, as few as the memory allows.

    Parameters
    ----------
    net : Net
    size : sequence of int
        Spatial size of the image in pixels; any.
    memory_bytes : int, optional
        Budget for the net's maps; the whole image at once if there is none.
    core : sequence of int, optional
        Pixels that a tile writes, per axis; takes the place of the budget.
    most : int, optional
        Pixels that a tile writes at most, along each axis; all windows then have one size.

    Raises
    ------
    ValueError
        If not even the smallest tile fits the budget; the least that works is named.
    """
    size, geometry, memory = tuple(size), net.geometry, net.memory
    if not net.is_local:
        return _plan_blended(net, size, memory_bytes=memory_bytes, core=core)
    padded = _padded(geometry, size)
    out = geometry.output_size(padded)
    if core is None:
        core = out if memory_bytes is None else _exact_core(geometry, padded, memory, memory_bytes)
    if most is not None:
        core = tuple(min(c, _part(n, most, s)) for c, n, s in zip(core, out, geometry.stride, strict=True))
    covering = tiles(geometry, padded, core, even=most is not None)
    largest = max((tile.window_size for tile in covering), key=prod)
    peak = memory.peak_bytes(largest, budget=memory_bytes)
    block = tuple(max(min(c, n), 1) for c, n in zip(core, size, strict=True))
    return Tiling(size, padded, tuple(covering), True, peak, redundancy(covering, padded), block)


def _plan_blended(net: Net, size: tuple[int, ...], *, memory_bytes: int | None, core: Sequence[int] | None) -> Tiling:
    """A net that is not local: the whole image where it fits, in the size that it has if the net takes that."""
    geometry, memory = net.geometry, net.memory
    only = [axis.only for axis in geometry.axes]
    if any(n is not None and n < m for n, m in zip(only, size, strict=True)):  # a net for one size, and a larger image
        padded = tuple(max(n or 0, m) for n, m in zip(only, size, strict=True))
        window = tuple(n or m for n, m in zip(only, padded, strict=True))
    else:
        padded = window = _padded(geometry, size)
        if core is not None:
            rows = zip(geometry.axes, core, padded, strict=True)
            window = tuple(
                min(n, axis.above(ceil(c / axis.stride) * axis.stride + sum(axis.margin))) for axis, c, n in rows
            )
        elif memory_bytes is not None:
            window = _blended_window(geometry, padded, memory, memory_bytes)
    peak = memory.peak_bytes(window, budget=memory_bytes)
    if window == padded:
        read, writes = padded, geometry.output_size(padded)
        if size != padded and not any(map(any, geometry.margin)) and net.takes(size):
            read = writes = size
        out, pixels = (tuple(slice(0, n) for n in extent) for extent in (writes, read))
        return Tiling(size, read, (Tile(out, pixels, out),), True, peak, prod(read) / prod(size), size)
    covering = _overlapping(geometry, padded, window)
    return Tiling(
        size,
        padded,
        tuple(covering),
        False,
        peak,
        redundancy(covering, padded),
        size,
        reason=net.graph.describe_reach(),
    )


def _blended_window(
    geometry: Geometry, padded: tuple[int, ...], memory: WindowMemory, memory_bytes: int
) -> tuple[int, ...]:
    """The largest window, of equal parts of the image, that fits the memory."""
    parts = [1] * len(padded)
    while True:
        rows = zip(geometry.axes, padded, parts, strict=True)
        window = tuple(n if p == 1 else min(axis.above(ceil(n / p)), n) for axis, n, p in rows)
        need = memory.peak_bytes(window, budget=memory_bytes)
        if need <= memory_bytes:
            return window
        divisible = [k for k, axis in enumerate(geometry.axes) if window[k] > axis.above(1)]
        if not divisible:
            raise ValueError(
                f"a memory budget of {memory_bytes / 2**20:.0f} MB is too small for this net: its smallest tile, "
                f"{window} pixels, needs {need / 2**20:.0f} MB"
            )
        widest = max(divisible, key=lambda k: window[k])
        parts[widest] += parts[widest] if need > 4 * memory_bytes else 1


def _exact_core(
    geometry: Geometry, padded: tuple[int, ...], memory: WindowMemory, memory_bytes: int
) -> tuple[int, ...]:
    """The largest core whose window fits: counts of maps rank the candidates, and the exact number decides."""
    out = geometry.output_size(padded)
    if memory.peak_bytes(padded, budget=memory_bytes) <= memory_bytes:
        return out
    ratio = 1.0  # of the exact number to the count
    smallest = largest_window(geometry, padded, tuple(map(min, geometry.stride, out)))

    def estimate(window: tuple[int, ...]) -> int:
        if window == smallest:  # named in an error
            return memory.peak_bytes(window, budget=memory_bytes)
        return ceil(ratio * memory.maps_bytes(window))

    while True:
        core = fit_core(geometry, padded, memory_bytes=memory_bytes, cost=estimate)
        window = largest_window(geometry, padded, core)
        peak = memory.peak_bytes(window, budget=memory_bytes)
        if peak <= memory_bytes:
            return core
        ratio = peak / memory.maps_bytes(window)  # that of windows a little smaller is about the same


def _part(n: int, most: int, stride: int) -> int:
    """Of `n` pixels in as few parts of at most `most` as will do, one: all about equal, on the grid of the stride."""
    parts = ceil(n / (max(most // stride, 1) * stride))
    return ceil(n / parts / stride) * stride


def _padded(geometry: Geometry, size: Sequence[int]) -> tuple[int, ...]:
    return geometry.above([n + sum(m) for n, m in zip(size, geometry.margin, strict=True)])


def _overlapping(geometry: Geometry, size: Sequence[int], window: Sequence[int]) -> list[Tile]:
    """Tiles of one size that overlap by half, each on the grid of the total stride, the last at the border."""
    windows, cores = [], []
    for axis, n, length in zip(geometry.axes, size, window, strict=True):
        writes = axis.output_size(length)
        step = max(axis.stride, int(writes * _BLEND_OVERLAP) // axis.stride * axis.stride)
        starts = [*range(0, n - length, step), n - length]
        windows.append([slice(start, start + length) for start in starts])
        cores.append([slice(start, start + writes) for start in starts])
    rows = zip(product(*cores), product(*windows), strict=True)
    return [Tile(c, w, tuple(slice(0, s.stop - s.start) for s in c)) for c, w in rows]
