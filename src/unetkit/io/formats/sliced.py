"""A source on anything that can be sliced: a memory map, an HDF5 dataset, the planes of a microscope's file."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ..decoder_errors import Refused, decoding
from ..filenames import file_of, scene_of
from ..lazy import Region
from ..mapped import Mapped
from ..read_options import ReadOptions
from ..samples import Colour, Stored

__all__ = [
    "Framed",
    "Mapped",
    "SlicedSource",
    "assumed_order",
    "axis_letters",
    "check_time",
    "chosen_number",
    "read_whole",
]

_NAMED = 8  # images of a file, in an error
_MOST_CHANNELS = 4  # an axis at the end as short as this holds colours, not pixels


class Sliceable(Protocol):
    """An array, in memory or not, that basic slices can be taken of."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Of its values."""
        ...

    def __getitem__(self, index: tuple[slice | int, ...], /) -> np.ndarray:
        """The values of a region."""
        ...


class Framed:
    """An array that a library reads frame by frame, one at a time.

    Parameters
    ----------
    sizes : mapping of str to int
        Length of every axis, those of a frame last.
    n_frame_axes : int
        How many axes a frame has.
    dtype : dtype
    frame : callable
        Takes an index of each of the other axes, by name; gives a frame.
    kind : str
        Of the file, named where it is damaged.
    """

    def __init__(
        self,
        sizes: dict[str, int],
        n_frame_axes: int,
        dtype: np.dtype,
        frame: Callable[[dict[str, int]], np.ndarray],
        kind: str,
    ) -> None:
        self.shape, self.dtype = tuple(sizes.values()), np.dtype(dtype)
        self._loops = list(sizes)[: len(sizes) - n_frame_axes]
        self._frame, self._kind = frame, kind
        self._lock = threading.Lock()  # libraries seek in one file

    def __getitem__(self, index: tuple[slice | int, ...]) -> np.ndarray:
        n_loops = len(self._loops)
        ranges = [
            range(part, part + 1) if isinstance(part, int) else range(part.start, part.stop) for part in index[:n_loops]
        ]
        with self._lock, decoding(self._kind):
            frames = [
                np.array(self._frame(dict(zip(self._loops, at, strict=True)))[index[n_loops:]])
                for at in itertools.product(*ranges)
            ]
        values = np.stack(frames).reshape([*map(len, ranges), *frames[0].shape])
        return values[tuple(0 if isinstance(part, int) else slice(None) for part in index[:n_loops])]


class SlicedSource:
    """The channels of any region of an array whose axes are named.

    Parameters
    ----------
    stored : Sliceable
        Of numbers.
    order : str
        A letter per axis of it, of c, z, y and x; any other letter for an axis of length 1, which is left out. A z of
        length 1 is left out too.
    spacing : mapping of letter to float, optional
        Pixel size along z, y and x in `unit`; 1 px where it is missing.
    unit : str
    notes : sequence of str
    is_rgb : bool
        Whether the channels are red, green and blue.
    close : callable, optional
        Releases the file.
    time : int, optional
        The time point to read, from 1 on, of an axis t; 0 where none is asked for, None where the format has none.

    Raises
    ------
    ValueError
        If an axis is longer than 1 that is neither channels nor space, there are no pixels, or they are no numbers.
    """

    def __init__(
        self,
        stored: Sliceable,
        order: str,
        *,
        spacing: dict[str, float] | None = None,
        unit: str = "px",
        notes: Sequence[str] = (),
        is_rgb: bool = False,
        close: Callable[[], None] | None = None,
        time: int | None = None,
    ) -> None:
        lengths = dict(zip(order, stored.shape, strict=True))
        n_times = check_time(time or 0, lengths.get("t", 1))
        others = {letter: n for letter, n in lengths.items() if letter not in ("tczyx" if time else "czyx") and n > 1}
        listed = ", ".join(f"{letter}: {n}" for letter, n in lengths.items())
        if others:
            is_series = [*others] == ["t"] and time is not None
            way = "name one by its number, #t1 behind the name of the file" if is_series else ""
            raise Refused(
                f"axes {listed}: expected only channels and space, so that {', '.join(others)} cannot be read at once; "
                + (way or "save every point along it as an image of its own")
            )
        if 0 in stored.shape or not {"y", "x"} <= set(lengths):
            raise Refused(f"holds no pixels (axes {listed or 'none'})")
        if stored.dtype.kind not in "buif" or stored.dtype.itemsize > 8:
            raise Refused(f"pixels of dtype {stored.dtype}: expected integers, floats or bool")
        self._stored, self._order, self._close = stored, order, close
        self.spatial = "zyx" if lengths.get("z", 1) > 1 else "yx"
        self.axes = "c" + self.spatial
        self.shape = (lengths.get("c", 1), *(lengths[letter] for letter in self.spatial))
        self.dtype = stored.dtype.newbyteorder("=")
        self.spacing = tuple((spacing or {}).get(letter, 1.0) for letter in self.spatial)
        self.unit = unit if spacing else "px"
        self.notes, self.is_rgb = (*notes, *n_times), is_rgb
        self._time = max((time or 0) - 1, 0)
        self.format = "file"  # by its name, for messages

    @property
    def piece_bytes(self) -> int | None:
        """Bytes that are read at least: none of a memory map. None where that is not known."""
        return 0 if isinstance(self._stored, Mapped) else None

    def read(self, region: Region) -> np.ndarray:
        """Channels of a region."""
        parts = dict(zip(self.axes, region, strict=True))
        kept = [letter for letter in self._order if letter in parts]
        at = [self._time if letter == "t" else parts.get(letter, 0) for letter in self._order]
        with decoding(self.format):
            values = np.asarray(self._stored[tuple(at)])
        values = values.transpose([kept.index(letter) for letter in self.axes if letter in kept])
        return (values if "c" in kept else values[None]).astype(self.dtype, copy=False)

    def close(self) -> None:
        """Release the file."""
        if self._close is not None:
            self._close()


def check_time(time: int, n: int) -> list[str]:
    """A note on the time point that is asked for, none where time is 0; Refused where there are fewer."""
    if time > n or (time and n == 1):
        raise Refused(f"holds {n} time point{'s'[: n > 1]}, numbered from 1: there is no {time}")
    return [f"a series of {n} time points, each an image of its own"] if time else []


def chosen_number(path: Path, noun: str, numbers: Sequence[int], names: Sequence[str] = ()) -> int:
    """The number of the image that a path names, of a file that holds several; its only one where it names none."""
    number = scene_of(path)
    if number in numbers or (not number and len(numbers) == 1):
        return number or numbers[0]
    named = [f"{n} {name}".rstrip() for n, name in itertools.zip_longest(numbers, names, fillvalue="")]
    listed = ", ".join(named[:_NAMED]) + (", ..." * (len(named) > _NAMED)) if numbers else "none"
    way = f"name one, such as {file_of(path).name}#{numbers[-1]}" if numbers else "there is no image to read"
    raise Refused(f"holds {len(numbers)} {noun}s ({listed}), each an image of its own: {way}")


def read_whole(source: SlicedSource) -> Stored:
    """All samples of a source, which is closed."""
    try:
        array = source.read(tuple(slice(0, n) for n in source.shape))
    finally:
        source.close()
    colour = Colour("rgb") if source.is_rgb and len(array) == 3 else Colour()
    return Stored(np.array(array), source.spatial, colour, source.spacing, source.unit, source.notes)


def axis_letters(names: Sequence[str]) -> str:
    """A letter for every axis of a file of a microscope; the samples of a colour (S) are channels.

    Examples
    --------
    >>> axis_letters(["T", "Z", "Y", "X", "S"])
    'tzyxc'
    """
    letters = [{"S": "c"}.get(name, name.lower()) for name in names]
    if any(len(letter) != 1 for letter in letters) or len(set(letters)) < len(letters):
        raise Refused(f"axes {', '.join(names)}: expected at most one of channels, and those of space")
    return "".join(letters)


def assumed_order(shape: tuple[int, ...], options: ReadOptions, notes: list[str]) -> str:
    """Axes of an array that does not name them: as told, or in words by its shape, channels being short."""
    if options.axes:
        return options.order(shape)
    if len(shape) == 2:
        return "yx"
    if len(shape) not in (3, 4):
        raise Refused(
            f"an array of shape {shape} that names none of its {len(shape)} axes: expected (y, x), (z, y, x), or these "
            "with channels first or last; or name them with --axes"
        )
    space = "zyx"[-(len(shape) - 1) :]
    if shape[-1] <= _MOST_CHANNELS < shape[0]:
        order = f"{space}c"
    elif shape[0] <= _MOST_CHANNELS < shape[-1]:
        order = f"c{space}"
    elif len(shape) == 3:
        order = "zyx"
    else:
        raise Refused(
            f"an array of shape {shape}: no axis at either end is short enough to be that of the channels; name the "
            "axes with --axes, such as zcyx"
        )
    notes.append(f"axes not stated: an array of shape {shape} is read as {', '.join(order)}")
    return order
