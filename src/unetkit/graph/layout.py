"""Which axes of the image lie along each axis of a tensor, through every permutation and reshape.

A map starts as (N, C, *spatial). Nets permute it to put the channels last, flatten space into a sequence of tokens,
cut it into windows. All that is followed as one rule: an axis of a tensor is a sequence of *parts*, each some digits of
an axis of the image or of the channels. What mixes the parts of space reads beyond its window; what does not is local.

::

    map         (N, C, H, W)                  (), (channel 8), (y 6), (x 4)
    tokens      (N, H * W, C)                 (), (y 6, x 4), (channel 8)
    windows     (N * H/2 * W/2, 2, 2, C)      (y 3 step 2, x 2 step 2), (y 2), (x 2), (channel 8)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import prod

__all__ = ["CHANNEL", "Layout", "Part", "Placement", "aligned", "channels_only", "has_space", "laid_out_as", "standard"]
__all__ += ["rescaled", "whole_axes"]

CHANNEL = -1  # in place of a spatial axis: channels, samples, heads, whatever is not space


@dataclass(frozen=True)
class Part:
    """Some digits of an axis: its elements `0, step, 2 * step, ...`, `length` of them."""

    axis: int
    length: int
    step: int = 1


Layout = tuple[tuple[Part, ...], ...]  # per axis of a tensor its parts, from slow to fast


@dataclass(frozen=True)
class Placement:
    """Where a tensor lies in the image.

    Attributes
    ----------
    size : tuple of int
        Of the map in the net's geometry, in pixels per axis. A map that is pooled over space, or was computed from such
        ones alone, has that of the map it was pooled from, over which it is laid.
    layout : Layout or None
        None where it is not known.
    """

    size: tuple[int, ...]
    layout: Layout | None

    @property
    def is_fixed(self) -> bool:
        """Whether nothing of the image lies along any axis: its size does not follow that of the image."""
        return self.layout is not None and not any(map(has_space, self.layout))

    @property
    def is_map(self) -> bool:
        """Whether the tensor is (N, C, *spatial), or one of a fixed size with as many axes."""
        if self.layout is None or len(self.layout) != len(self.size) + 2:
            return False
        return self.is_fixed or self.layout[2:] == standard((1, 1, *self.size))[2:]


def standard(shape: Sequence[int]) -> Layout:
    """Of a map of shape (N, C, *spatial)."""
    return (*channels_only(shape[:2]), *((Part(k, n),) for k, n in enumerate(shape[2:])))


def channels_only(shape: Iterable[int]) -> Layout:
    """Of a tensor without an axis of the image."""
    return tuple((Part(CHANNEL, n),) if n > 1 else () for n in shape)


def has_space(parts: Iterable[Part]) -> bool:
    """Whether a part of the image's axes is among some parts."""
    return any(part.axis != CHANNEL for part in parts)


def laid_out_as(layout: Layout, shape: Sequence[int], strides: Sequence[int]) -> Layout | None:
    """Of a view of a contiguous tensor that shows all its elements, from the strides of the view.

    Parameters
    ----------
    layout : Layout
        Of the contiguous tensor.
    shape, strides : sequence of int
        Of the view.

    Returns
    -------
    Layout or None
        None if an axis of the view cuts a part in a way that leaves no whole digits.
    """
    digits: list[tuple[int, Part]] = []
    stride = 1
    for part in (part for parts in reversed(layout) for part in reversed(parts)):
        digits.append((stride, part))
        stride *= part.length
    axes = [_parts_along(digits, n, step) for n, step in zip(shape, strides, strict=True)]
    return tuple(_joined(axis) for axis in axes if axis is not None) if None not in axes else None


def _parts_along(digits: Sequence[tuple[int, Part]], n: int, stride: int) -> list[Part] | None:
    """The parts, from slow to fast, that an axis of `n` elements, `stride` apart, runs through."""
    if n > 1 and stride == 0:
        return [Part(CHANNEL, n)]  # repeated
    parts: list[Part] = []
    while n > 1:
        first, part = next(((s, p) for s, p in digits if s <= stride < s * p.length), (0, Part(CHANNEL, 1)))
        if not first or stride % first or part.length % (stride // first):
            return None
        skipped = stride // first
        length = min(part.length // skipped, n)
        if n % length or (part.length // skipped) % length:
            return None
        parts.insert(0, Part(part.axis, length, part.step * skipped if part.axis != CHANNEL else 1))
        n, stride = n // length, stride * length
    return parts


def _joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Parts with neighbours that make up one written as one."""
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if last and last.axis == part.axis and part.axis == CHANNEL:
            joined[-1] = Part(CHANNEL, last.length * part.length)
        elif last and last.axis == part.axis and last.step == part.step * part.length:
            joined[-1] = Part(part.axis, last.length * part.length, part.step)
        else:
            joined.append(part)
    return tuple(joined)


def aligned(layouts: Sequence[Layout]) -> Layout | None:
    """Of the result of tensors that are broadcast against each other; None where axes of the image meet others."""
    result: list[tuple[Part, ...]] = []
    for column in zip_longest(*(reversed(layout) for layout in layouts), fillvalue=()):
        filled = {parts for parts in column if parts}
        spatial = {parts for parts in filled if has_space(parts)}
        if len(spatial) > 1 or (spatial and len(filled) > 1):
            return None
        result.append(next(iter(spatial or filled), ()))
    return tuple(reversed(result))


def whole_axes(layout: Layout, size: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(axis of the tensor, axis of the image) where one whole axis of the image lies along one of the tensor."""
    for at, parts in enumerate(layout):
        if len(parts) == 1 and parts[0].axis != CHANNEL and parts[0] == Part(parts[0].axis, size[parts[0].axis]):
            yield at, parts[0].axis


def rescaled(layout: Layout, size: Sequence[int]) -> tuple[tuple[int, ...], Layout] | None:
    """Per axis how many neighbouring pixels became channels (negative: channels became pixels), and what that leaves.

    What `pixel_unshuffle` and `pixel_shuffle` do, written as reshapes and permutations, with the channels anywhere.
    None if the layout is neither.

    ::

        (), (y 3 step 2), (x 2 step 2), (y 2, x 2, channel 8)    ->    (), (y 3), (x 2), (channel 32)
    """
    is_standard = len(layout) == len(size) + 2 and all(
        parts and parts[0].axis == k for k, parts in enumerate(layout[2:])
    )
    axes, factors = list(layout), []
    for k, n in enumerate(size):
        places = [(at, part) for at, parts in enumerate(layout) for part in parts if part.axis == k]
        if not places:
            return None
        at, outer = max(places, key=lambda place: place[1].step)
        inner = [(i, part) for i, part in places if part != outer]
        others = tuple(part for part in layout[at] if part != outer)
        if outer.length * outer.step != n or prod(part.length for _, part in inner) != outer.step:
            return None
        if not others and all((is_standard and i == 1) or _has_channels(layout[i]) for i, _ in inner):
            factors.append(outer.step)
            axes[at] = (Part(k, outer.length),)
        elif not inner and layout[at] == (outer, *others) and len(others) == 1 and others[0].axis == CHANNEL:
            factors.append(-others[0].length)
            axes[at] = (Part(k, n * others[0].length),)
        else:
            return None
    grows, shrinks = [f < -1 for f in factors], [f > 1 for f in factors]
    if any(grows) == any(shrinks) or (any(grows) and not is_standard and not all(grows)):
        return None
    for at, parts in enumerate(axes):
        if _has_channels(parts) or at not in {i for i, _ in whole_axes(tuple(axes), _sizes(axes, size))}:
            axes[at] = _joined([part if part.axis == CHANNEL else Part(CHANNEL, part.length) for part in parts])
    return tuple(factors), tuple(axes)


def _sizes(axes: Sequence[Sequence[Part]], size: Sequence[int]) -> tuple[int, ...]:
    whole = {part.axis: part.length for parts in axes for part in parts if len(parts) == 1 and part.step == 1}
    return tuple(whole.get(k, n) for k, n in enumerate(size))


def _has_channels(parts: Iterable[Part]) -> bool:
    return any(part.axis == CHANNEL for part in parts)
