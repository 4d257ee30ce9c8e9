"""Statements by a person about image files: the order of axes that a file does not name, and the channels to read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..image import Image
from .decoder_errors import Refused
from .lazy import Region, Source
from .samples import Colour, Stored, as_image

__all__ = ["AS_STATED", "ReadOptions", "chosen", "parse_channels", "read_options", "told_image"]


_SHOWN = 20  # letters, or numbers, in an error


@dataclass(frozen=True)
class ReadOptions:
    """What a person says of files.

    Attributes
    ----------
    axes : str
        A letter per axis in the order of the file, of t, c, z, y and x; for files that do not name theirs. "" where
        they are read by their shape. With t, pages of a TIFF (else its slices) are the time points of a series.
    channels : tuple of int
        Samples of a pixel that are its channels, in this order, counted from 1 as in GDAL, QGIS and Fiji; none of them
        is then alpha. () for all, as the file says.
    """

    axes: str = ""
    channels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        letters = sorted(self.axes)
        if self.axes and (len(set(letters)) != len(letters) or not {"y", "x"} <= set(letters) <= set("tczyx")):
            raise ValueError(
                f"axes {self.axes[:_SHOWN]!r}: expected y and x, and c, z and t where there are such, each once: zyxc"
            )
        if len(set(self.channels)) != len(self.channels) or any(number < 1 for number in self.channels):
            raise ValueError(f"channels {self.channels[:_SHOWN]}: expected numbers from 1 on, each once, such as 1,2,4")

    def order(self, shape: Sequence[int]) -> str:
        """Letters of the axes of an array that names none, as told; a mask may be without c."""
        letters = self.axes.replace("c", "") if len(shape) == len(self.axes) - 1 else self.axes
        if len(letters) != len(shape):
            raise Refused(f"an array of shape {tuple(shape)}, told to have the axes {', '.join(letters)}")
        return letters

    def colour(self, colour: Colour) -> Colour:
        """The meaning of samples: where channels are told, none is alpha, and three equal ones stay three."""
        return Colour() if self.channels and colour.is_direct else colour

    def indices(self, available: int) -> list[int]:
        """The channels to take of those that there are, from 0."""
        missing = [number for number in self.channels if number > available]
        if missing:
            raise Refused(f"holds {available} channel{'s'[: available > 1]}, told to read number {missing[0]}")
        return [number - 1 for number in self.channels]

    def channel_note(self, available: int) -> str:
        """What was chosen, in words."""
        return f"channels {', '.join(map(str, self.channels))} of {available}, as told"


AS_STATED = ReadOptions()


def read_options(axes: str, channels: Sequence[int]) -> ReadOptions:
    """The options of settings, of a plan or of a card."""
    return ReadOptions(axes, tuple(channels))


def parse_channels(text: str) -> tuple[int, ...]:
    """Numbers and ranges of channels, from 1 on.

    >>> parse_channels("1-3,5"), parse_channels("")
    ((1, 2, 3, 5), ())
    """
    numbers: list[int] = []
    for part in text.replace(" ", "").split(",") if text.strip() else ():
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        if match is None:
            raise ValueError(f"{text!r} names no channels: expected numbers from 1 on, such as 1,2,4 or 1-4")
        numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
    return ReadOptions(channels=tuple(numbers)).channels


def told_image(stored: Stored, options: ReadOptions) -> Image:
    """The image of stored samples, of which the channels that are told are taken."""
    if not options.channels:
        return as_image(stored)
    image = as_image(replace(stored, colour=options.colour(stored.colour)))
    array = np.ascontiguousarray(image.array[options.indices(image.channels)])
    return replace(image, array=array, notes=(*image.notes, options.channel_note(image.channels)))


def chosen(source: Source, options: ReadOptions) -> Source:
    """A source of the channels that are told; itself where none are."""
    if not options.channels:
        return source
    try:
        return _Chosen(source, options)
    except ValueError:
        source.close()
        raise


class _Chosen:
    """Some channels of a source."""

    def __init__(self, source: Source, options: ReadOptions) -> None:
        self._source, self._indices = source, options.indices(source.shape[0])
        self.axes, self.dtype, self.spacing, self.unit = source.axes, source.dtype, source.spacing, source.unit
        self.shape = (len(self._indices), *source.shape[1:])
        self.notes = (*source.notes, options.channel_note(source.shape[0]))

    def read(self, region: Region) -> np.ndarray:
        """Channels of a region."""
        wanted = self._indices[region[0]]
        low = min(wanted)
        return self._source.read((slice(low, max(wanted) + 1), *region[1:]))[[index - low for index in wanted]]

    def close(self) -> None:
        """Release the file."""
        self._source.close()
