"""Sizes, strides and receptive fields of a net, in integers.

A net is described along one axis at a time, as a small directed graph of 1-D windows: each
layer says which of its inputs an output reads. Everything else follows from that:
output sizes, the sizes that fit, the total stride, receptive fields with their phase,
and the halo of a tile. Free of torch; `graph.graph` reads nets into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from math import ceil, floor, lcm

import numpy as np


@dataclass(frozen=True)
class Window:
    """The inputs of a layer that one of its outputs reads, along one axis.

    Plain (`transposed=False`): output `o` reads `o * stride - before + t * dilation` for
    `t` in `0 ... kernel - 1` (convolution, pooling; a crop is a negative padding).
    Transposed: input `i` is written to outputs `i * stride - before + t * dilation`
    (transposed convolution; interpolation is one with a fixed kernel).

    ::

        kernel 3, stride 2, before 1      input   . 0 1 2 3 4 5      output 1 reads 1, 2, 3
                                          output   [--0--]
                                                       [--1--]
    """

    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0
    transposed: bool = False
    ceil: bool = False

    @property
    def extent(self) -> int:
        """Distance from the first to the last tap, plus one, in pixels."""
        return self.dilation * (self.kernel - 1) + 1

    def size(self, n: int) -> int:
        """Output size in pixels for an input of `n` pixels; below 1 where none fits."""
        if self.transposed:
            return (n - 1) * self.stride + self.extent - self.before - self.after
        span = n + self.before + self.after - self.extent
        if self.ceil:
            steps = -(-span // self.stride)
            return steps + 1 if steps * self.stride < n + self.before else steps
        return span // self.stride + 1

    def fits(self, n: int) -> bool:
        """Whether no pixel of an input of `n` pixels is left out at its far end."""
        if self.transposed or self.ceil:
            return self.size(n) >= 1
        left_over = (n + self.before + self.after - self.extent) % self.stride
        gap = max(0, self.stride - self.extent)  # pixels that such a layer skips between any two outputs
        return self.size(n) >= 1 and left_over <= max(self.after, 0) + gap

    def reads(self, first: int, last: int) -> tuple[int, int]:
        """First and last input read by the outputs `first ... last` (borders ignored)."""
        if self.transposed:
            return -(-(first + self.before - self.extent + 1) // self.stride), (last + self.before) // self.stride
        return first * self.stride - self.before, last * self.stride - self.before + self.extent - 1

    def place(self, stride: Fraction, centre: Fraction) -> tuple[Fraction, Fraction]:
        """Stride and centre (of output 0, in pixels of the net's input) behind this layer."""
        offset = Fraction(self.extent - 1, 2) - self.before
        if self.transposed:
            return stride / self.stride, centre - stride * offset / self.stride
        return stride * self.stride, centre + stride * offset


def mirror(start: int, length: int, n: int) -> np.ndarray:
    """Indices `start ... start + length - 1` of an axis of `n` pixels, mirrored at its ends without repeating the edge.

    >>> mirror(-2, 6, 3).tolist()
    [2, 1, 0, 1, 2, 1]
    """
    if n == 1:
        return np.zeros(length, dtype=np.intp)
    at = np.arange(start, start + length) % (2 * n - 2)
    return np.where(at < n, at, 2 * n - 2 - at)


def interpolation(factor: int, *, taps: int) -> Window:
    """Window of an interpolation that enlarges by a whole `factor`, half-pixel centres.

    Parameters
    ----------
    factor : int
        Enlargement, at least 1.
    taps : int
        Inputs that weigh in on one output: 1 nearest, 2 linear, 4 cubic.
    """
    if taps == 1:
        return Window(factor, factor, transposed=True)
    kernel = taps * factor - factor % 2  # odd factors hit an input exactly, and the outermost tap is zero
    return Window(kernel, factor, before=(kernel - factor) // 2, after=(kernel - factor) // 2, transposed=True)


@dataclass(frozen=True)
class ReceptiveField:
    """Pixels of the input that one layer's outputs depend on, along one axis, by phase.

    Pooling makes neighbouring outputs depend on different numbers of pixels; the pattern
    repeats with the total stride. Entry `p` belongs to the outputs `p, p + period, ...`.

    Attributes
    ----------
    sizes : tuple of int
        Pixels in all.
    left, right : tuple of int
        Pixels before and after the output's own position in the input.
    """

    sizes: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]

    @property
    def smallest(self) -> int:
        """Smallest size over the phases, in pixels."""
        return min(self.sizes)

    @property
    def largest(self) -> int:
        """Largest size over the phases, in pixels."""
        return max(self.sizes)

    @property
    def mean(self) -> float:
        """Mean size over the phases, in pixels."""
        return sum(self.sizes) / len(self.sizes)

    @property
    def reach(self) -> int:
        """Largest one-sided reach over the phases, in pixels."""
        return max(self.left + self.right)


@dataclass(frozen=True)
class Axis:
    """A net along one axis: windows in order of computation.

    Attributes
    ----------
    windows : tuple of Window
        One per layer; entry 0 is the net's input (`Window()`).
    inputs : tuple of tuple of int
        Per layer the layers that it reads; several where maps are joined.
    multiple : int
        Only multiples of it pass: that of a net whose resizes to the size of another map are whole factors only there.
    only : int or None
        The one size that passes, of a net that takes no other.
    """

    windows: tuple[Window, ...]
    inputs: tuple[tuple[int, ...], ...]
    multiple: int = 1
    only: int | None = None

    @cached_property
    def places(self) -> tuple[tuple[Fraction, Fraction], ...]:
        """Per layer: pixels of the input per step, and the position of its element 0."""
        places = [(Fraction(1), Fraction(0))]
        for window, inputs in zip(self.windows[1:], self.inputs[1:], strict=True):
            places.append(window.place(*places[inputs[0]]))
        return tuple(places)

    @cached_property
    def stride(self) -> int:
        """Total stride: the smallest shift of the input, in pixels, that shifts every layer by whole steps."""
        return lcm(*(stride.numerator for stride, _ in self.places))

    def sizes(self, n: int) -> tuple[int, ...] | None:
        """Size of every layer for an input of `n` pixels, or None where `n` does not fit."""
        if n % self.multiple or self.only not in (None, n):
            return None
        sizes = [n]
        for window, inputs in zip(self.windows[1:], self.inputs[1:], strict=True):
            joined = {sizes[i] for i in inputs}
            if len(joined) > 1 or not window.fits(sizes[inputs[0]]):
                return None
            sizes.append(window.size(sizes[inputs[0]]))
        return tuple(sizes)

    @lru_cache(maxsize=4096)  # noqa: B019 - a frozen value; nets keep few of them alive
    def fits(self, n: int) -> bool:
        """Whether an input of `n` pixels passes: every join agrees, no pixel is left out."""
        return n >= 1 and self.sizes(n) is not None

    def above(self, n: int) -> int:
        """Smallest size of at least `n` pixels that fits.

        Raises
        ------
        ValueError
            If none fits, because branches of the net never agree in size.
        """
        if self.only is not None:
            if n <= self.only:
                return self.only
            raise ValueError(f"no size from {n} pixels on fits the net: it takes {self.only} pixels alone")
        last = max(n, 1) + self._settled
        for m in range(max(n, 1), last + 1):
            if self.fits(m):
                return m
        raise ValueError(f"no size from {n} to {last} pixels fits the net: the maps that it joins never agree in size")

    @cached_property
    def _settled(self) -> int:
        """From this size on every layer has outputs, and what fits repeats with the total stride; the two added."""
        steps = zip(self.windows[1:], self.inputs[1:], strict=True)
        spans = ((w.extent + abs(w.before) + abs(w.after)) * ceil(self.places[i[0]][0]) for w, i in steps)
        return sum(spans) + 2 * self.stride

    def below(self, n: int) -> int | None:
        """Largest size of at most `n` pixels that fits, None where there is none."""
        return next((m for m in range(n, 0, -1) if self.fits(m)), None)

    def output_size(self, n: int) -> int:
        """Output size in pixels for an input of `n` pixels.

        Raises
        ------
        ValueError
            If `n` does not fit; the two nearest sizes are named.
        """
        sizes = self.sizes(n)
        if sizes is None and self.only is not None:
            raise ValueError(f"input size {n} does not fit the net: it takes {self.only} pixels alone")
        if sizes is None:
            below, above = self.below(n), self.above(n)
            nearest = f"{below} and {above}" if below else f"{above} (the smallest)"
            raise ValueError(f"input size {n} does not fit the net: nearest sizes are {nearest}")
        return sizes[-1]

    def reads(self, first: int, last: int, layer: int = -1) -> tuple[int, int]:
        """First and last input pixel that elements `first ... last` of a layer read (borders ignored)."""
        target = layer % len(self.windows)
        needed: dict[int, tuple[int, int]] = {target: (first, last)}
        for i in range(target, 0, -1):
            if i not in needed:
                continue
            low, high = self.windows[i].reads(*needed.pop(i))
            for j in self.inputs[i]:
                known = needed.get(j, (low, high))
                needed[j] = min(low, known[0]), max(high, known[1])
        return needed[0]

    def receptive_field(self, layer: int = -1) -> ReceptiveField:
        """Exact receptive field of a layer's elements, for each phase of the pooling grid."""
        stride, centre = self.places[layer]
        phases = range(int(self.stride / stride))
        reads = [self.reads(phase, phase, layer) for phase in phases]
        at = [floor(centre + phase * stride) for phase in phases]
        return ReceptiveField(
            sizes=tuple(high - low + 1 for low, high in reads),
            left=tuple(x - low for x, (low, _) in zip(at, reads, strict=True)),
            right=tuple(high - x for x, (_, high) in zip(at, reads, strict=True)),
        )

    @cached_property
    def margin(self) -> tuple[int, int]:
        """Pixels lost before and after by unpadded layers (0, 0 for a "same" net)."""
        n = self.above(self.stride)
        scale, centre = self.places[-1]
        before, lost = ceil(centre), n - self.output_size(n)
        if (
            scale == 1
        ):  # centres drift where a net shrinks and enlarges by different rules, but its pixels are the image's
            before = min(max(before, 0), max(lost, 0))
        return before, lost - before

    @cached_property
    def reach(self) -> int:
        """Pixels needed on a side of an output tile whose edges lie on multiples of the total stride."""
        first = self.reads(0, 0)[0] - self.margin[0]
        last = self.reads(self.stride - 1, self.stride - 1)[1] - self.margin[0]
        return max(-first, last - self.stride + 1)

    @property
    def halo(self) -> int:
        """`reach`, rounded up to the total stride so that the tile's origin stays aligned."""
        return ceil(self.reach / self.stride) * self.stride


@dataclass(frozen=True)
class Geometry:
    """Sizes, strides and receptive fields of a net, per spatial axis.

    Attributes
    ----------
    axes : tuple of Axis
        One per spatial axis, all over the same layers.
    names : tuple of str
        Layer names, in order; `names[0]` is "input".
    """

    axes: tuple[Axis, ...]
    names: tuple[str, ...]

    @property
    def stride(self) -> tuple[int, ...]:
        """Total stride per axis, in pixels."""
        return tuple(axis.stride for axis in self.axes)

    @property
    def margin(self) -> tuple[tuple[int, int], ...]:
        """Pixels lost before and after, per axis."""
        return tuple(axis.margin for axis in self.axes)

    @property
    def halo(self) -> tuple[int, ...]:
        """Halo per axis, in pixels: what an aligned tile needs around it to be exact."""
        return tuple(axis.halo for axis in self.axes)

    @property
    def scale(self) -> tuple[Fraction, ...]:
        """Pixels of the input per pixel of the output, per axis: 1 for segmentation."""
        return tuple(axis.places[-1][0] for axis in self.axes)

    def fits(self, size: Sequence[int]) -> bool:
        """Whether an input of `size` passes through as it is."""
        return all(axis.fits(n) for axis, n in zip(self.axes, size, strict=True))

    def above(self, size: Sequence[int]) -> tuple[int, ...]:
        """Smallest fitting size that holds `size`."""
        return tuple(axis.above(n) for axis, n in zip(self.axes, size, strict=True))

    def below(self, size: Sequence[int]) -> tuple[int | None, ...]:
        """Largest fitting size within `size`; None on an axis where there is none."""
        return tuple(axis.below(n) for axis, n in zip(self.axes, size, strict=True))

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Output size for an input of `size`; a ValueError names the nearest sizes if it does not fit."""
        return tuple(axis.output_size(n) for axis, n in zip(self.axes, size, strict=True))

    def receptive_field(self, name: str | None = None) -> tuple[ReceptiveField, ...]:
        """Exact receptive field per axis, of the output or of the named layer."""
        if name is not None and name not in self.names:
            raise KeyError(f"no layer is named {name!r}; the layers are {', '.join(self.names)}")
        layer = -1 if name is None else self.names.index(name)
        return tuple(axis.receptive_field(layer) for axis in self.axes)
