"""Images as a net reads them, kept as they are stored: of the net's channels, and normalised where they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from threading import Lock

import numpy as np

from ..georeference import holds_data
from ..image import Image, to_channels
from .normalise import Normalisation, measure_normalisation
from .opened import OpenedImage
from .readable import ByRegion, Readable, Region

__all__ = ["NormalisedImage", "holds_data_of", "normalise_image", "prepare_for_net"]

HoldsData = Callable[[np.ndarray, Region], np.ndarray]  # of stored samples and their region over space


class NormalisedImage(ByRegion):
    """An image (C, *spatial) that is kept in the dtype of its file, and read as float32 with mean 0 and deviation 1.

    A region of it is, to the last bit, that region of the whole image normalised.

    Parameters
    ----------
    stored : array of shape (C, *spatial), any real dtype
        Of one channel where gray is repeated.
    channels : int
        That the net is given.
    measure : callable
        Gives the scale and offset of as many channels; called when the image is first read.
    holds_data : callable, optional
        Of a map with gaps: takes stored samples and their region over space; which samples hold data.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        stored: Readable,
        channels: int,
        measure: Callable[[], Normalisation],
        holds_data: HoldsData | None = None,
    ) -> None:
        self.stored, self._measure, self._holds_data = stored, measure, holds_data
        self.shape = (channels, *stored.shape[1:])
        self._scaling: Normalisation | None = None
        self._lock = Lock()

    @property
    def scaling(self) -> Normalisation:
        """Scale and offset, measured once, by whichever thread is the first."""
        with self._lock:
            if self._scaling is None:
                self._scaling = self._measure()
            return self._scaling

    def _read(self, region: Region) -> np.ndarray:
        channels, *space = region
        own = slice(None) if self.stored.shape[0] == 1 else channels
        values = self.stored[(own, *space)]
        valid = None if self._holds_data is None else self._holds_data(values, tuple(space))
        scaling, whole = self.scaling, channels == slice(0, self.shape[0])
        if not whole:
            scaling = replace(scaling, mean=scaling.mean[channels], std=scaling.std[channels])
        return scaling(values, valid)


def normalise_image(
    image: Image,
    *,
    channels: int,
    ndim: int,
    remember: Callable[[Callable[[], Normalisation]], Normalisation] | None = None,
) -> NormalisedImage:
    """Check an image for a net of `channels` channels, and measure its scale and offset.

    `remember` is called with what measures them, and what it returns is taken: of an image of integers, which are all
    finite, when it is first read.

    Samples of a map that hold no data (NaN, the file's nodata value, or by its mask) are left out of the statistics and
    become 0.

    Raises
    ------
    ValueError
        If the image's axes or channels cannot be made the net's, or a value is not finite.
    """
    if image.ndim != ndim:
        raise ValueError(f"has {image.ndim} spatial axes, {' x '.join(map(str, image.size))}; this is a {ndim}D net")
    if image.channels != channels:  # or raises; gray is repeated where it is read
        to_channels(replace(image, array=np.asarray(image.array[(slice(None), *(slice(1),) * ndim)])), channels)
    array, holds = image.array, holds_data_of(image)
    whole: Readable = array if image.channels == channels else _Repeated(array, channels)
    is_valid = None if holds is None else partial(_holds_rows, holds, image.size)
    measure = partial(measure_normalisation, whole, is_valid)
    if remember is not None:
        measure = partial(remember, measure)
        if holds is None and array.dtype.kind in "ui":
            return NormalisedImage(array, channels, measure)
    scaling = measure()
    is_in_memory = not isinstance(array, ByRegion)
    if is_in_memory and array.dtype.itemsize > 4 and not scaling.is_wide and image.georeference is None:
        array = array.astype(np.float32)  # as it is read in any case; the nodata of a map may be a number of 64 bits
    return NormalisedImage(array, channels, lambda: scaling, holds if scaling.has_gaps else None)


def _holds_rows(holds: HoldsData, size: tuple[int, ...], stored: np.ndarray, rows: slice) -> np.ndarray:
    return holds(stored, (rows, *(slice(0, n) for n in size[1:])))


class _Repeated(ByRegion):
    """One channel as several that are equal."""

    def __init__(self, gray: Readable, channels: int) -> None:
        self._gray, self.shape, self.dtype = gray, (channels, *gray.shape[1:]), gray.dtype

    def _read(self, region: Region) -> np.ndarray:
        channels, *space = region
        values = self._gray[(slice(0, 1), *space)]
        return np.broadcast_to(values, (channels.stop - channels.start, *values.shape[1:]))


def holds_data_of(image: Image) -> HoldsData | None:
    """Tells of regions of a map which samples hold data, as `Image.holds_data`; None where all do."""
    if image.georeference is None:
        return None
    if isinstance(image.array, OpenedImage):
        return image.array.holds_data
    nodata, valid = image.georeference.nodata, image.valid
    return lambda stored, space: holds_data(stored, nodata, None if valid is None else valid[space])


def prepare_for_net(image: Image, *, channels: int, ndim: int) -> np.ndarray:
    """Make an image the input of a net: checked, converted to `channels` channels, standardised; see `normalise_image`.

    Returns
    -------
    ndarray of shape (channels, *spatial), float32
    """
    return np.asarray(normalise_image(image, channels=channels, ndim=ndim))
