"""Cover an image with tiles so that each pixel is written once, exactly.

Solved on one axis, then multiplied out. Three words: the *core* of a tile is what it
writes, its *window* is what it reads (core, halo and, for unpadded nets, margin), and
`keep` is where the core lies in the window's output.

::

    input    |---------------- n ----------------|
    window         [ halo |   core   | halo ]         starts at a multiple of the total stride
    keep                  [  core   ]                 the rest of the window's output is dropped

A window that ends at the image's far border is cut there, never shifted back: a shift
would break the phase of the pooling grid, and with it the equality to the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod

from .geometry import Axis, Geometry

Slices = tuple[slice, ...]
_NEAR = 3  # tiles at a border whose windows may be cut by it, beyond those that the halo reaches over


@dataclass(frozen=True)
class Tile:
    """One tile: `output[core] = net(input[window])[keep]`, per spatial axis."""

    core: Slices
    window: Slices
    keep: Slices

    @property
    def window_size(self) -> tuple[int, ...]:
        """Size of the window in pixels."""
        return tuple(s.stop - s.start for s in self.window)


@dataclass(frozen=True)
class Span:
    """A tile along one axis: first and last-but-one pixel of core, window and kept part."""

    core: slice
    window: slice
    keep: slice


def spans(axis: Axis, n: int, core: int) -> list[Span]:
    """Tiles along one axis.

    Parameters
    ----------
    axis : Axis
        The net along this axis.
    n : int
        Input size in pixels; must fit the net.
    core : int
        Pixels that a tile writes.

    Returns
    -------
    list of Span
        In order; the cores cover the output without gap or overlap.

    Raises
    ------
    ValueError
        If `n` does not fit the net, or `core` is below 1.
    """
    if core < 1:
        raise ValueError(f"a tile of {core} pixels writes nothing; expected at least 1")
    size = axis.output_size(n)
    return [span(axis, n, slice(start, min(start + core, size))) for start in range(0, size, core)]


def span(axis: Axis, n: int, core: slice) -> Span:
    """The tile along one axis that writes the outputs of `core`, wherever it starts, for an input of `n` pixels."""
    first, last = axis.reads(core.start, core.stop - 1)
    low = max(first, 0) // axis.stride * axis.stride
    high = min(low + axis.above(min(last + 1, n) - low), n)
    return Span(core, slice(low, high), slice(core.start - low, core.stop - low))


def tile(geometry: Geometry, size: Sequence[int], core: Slices) -> Tile:
    """The tile that writes `core`, a region of the output of a net for an input of `size`."""
    (covering,) = _product([[span(a, n, part)] for a, n, part in zip(geometry.axes, size, core, strict=True)])
    return covering


def tiles(geometry: Geometry, size: Sequence[int], core: Sequence[int], *, even: bool = False) -> list[Tile]:
    """Cover the output of a net for an input of `size` with tiles of `core` pixels per axis.

    With `even`, all windows have one size, for what is compiled for a size: those at the borders read more than they
    need, and still end where the image ends.
    """
    rows = [spans(a, n, c) for a, n, c in zip(geometry.axes, size, core, strict=True)]
    if even:
        rows = [_even(row, n) for row, n in zip(rows, size, strict=True)]
    return list(_product(rows))


def _even(row: Sequence[Span], n: int) -> list[Span]:
    """The same cores in windows as long as the longest, each shifted inwards where it would leave the image.

    ::

        input    |-------------------- n --------------------|
        windows  [   |core|     ]               [     |core|  ]     cut at a border, and so shorter than others
        even     [   |core|        ]         [        |core|  ]
    """
    length = max(span.window.stop - span.window.start for span in row)
    even = []
    for part in row:
        low = min(part.window.start, n - length)  # sizes that fit differ by multiples of the total stride
        keep = slice(part.core.start - low, part.core.stop - low)
        even.append(Span(part.core, slice(low, low + length), keep))
    return even


def _product(per_axis: Sequence[Sequence[Span]]) -> Iterator[Tile]:
    for row in product(*per_axis):
        yield Tile(tuple(s.core for s in row), tuple(s.window for s in row), tuple(s.keep for s in row))


def redundancy(covering: Sequence[Tile], size: Sequence[int]) -> float:
    """Pixels read by all windows, divided by the pixels of the image: 1.0 means no work is done twice."""
    return sum(prod(tile.window_size) for tile in covering) / prod(size)


def fit_core(
    geometry: Geometry,
    size: Sequence[int],
    *,
    memory_bytes: int,
    cost: Callable[[tuple[int, ...]], int],
    whole: Sequence[int] = (),
) -> tuple[int, ...]:
    """Largest core, in equal parts of the image, whose window costs at most `memory_bytes`.

    Parameters
    ----------
    geometry : Geometry
    size : sequence of int
        Input size; must fit the net.
    memory_bytes : int
        Budget for one window.
    cost : callable
        Bytes needed for a window of a given size.
    whole : sequence of int
        Axes that are not divided.

    Raises
    ------
    ValueError
        If even the smallest tile does not fit; the least budget that works is named.
    """
    out = geometry.output_size(size)
    parts = [1] * len(out)
    while True:
        core = tuple(ceil(n / p / s) * s if p > 1 else n for n, p, s in zip(out, parts, geometry.stride, strict=True))
        need = cost(largest_window(geometry, size, core))
        if need <= memory_bytes:
            return core
        steps = zip(core, geometry.stride, strict=True)
        divisible = [i for i, (c, step) in enumerate(steps) if c > step and i not in whole]
        if not divisible:
            raise ValueError(
                f"a memory budget of {memory_bytes / 2**20:.0f} MB is too small for this net: its smallest tile, "
                f"{core} pixels and their surroundings, needs {need / 2**20:.0f} MB"
            )
        widest = max(divisible, key=lambda i: core[i])
        parts[widest] += parts[widest] if need > 4 * memory_bytes else 1  # half a tile needs more than a quarter


def largest_window(geometry: Geometry, size: Sequence[int], core: Sequence[int]) -> tuple[int, ...]:
    """Of tiles whose cores start on the grid of the total stride: those away from the borders are all alike."""
    largest = []
    for axis, n, c in zip(geometry.axes, size, core, strict=True):
        out = axis.output_size(n)
        starts = range(0, out, c)
        some = [*starts[: _NEAR + axis.halo // c], *starts[-_NEAR - axis.halo // c :]]
        row = [span(axis, n, slice(start, min(start + c, out))).window for start in some]
        largest.append(max(part.stop - part.start for part in row))
    return tuple(largest)
