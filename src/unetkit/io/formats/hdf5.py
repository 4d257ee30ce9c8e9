"""HDF5, by h5py and by region: as ilastik, pytorch-3dunet and people write it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...json_text import parse_json
from ..decoder_errors import Refused
from ..filenames import file_of, time_of
from ..read_options import ReadOptions
from .sliced import SlicedSource, assumed_order

# pytorch-3dunet has raw and label, ilastik exported_data and volume/data.
_IMAGES = ("raw", "volume/data", "exported_data", "data", "image")
_MASKS = ("label", "labels", "mask", "masks", "exported_data", "volume/data", "data")


def image_numbers(path: Path) -> Sequence[int]:
    """One: of several datasets one is chosen by its name."""
    return (1,)


def time_points(path: Path) -> Sequence[int]:
    """Of the image, where its axes are stated."""
    with h5py.File(path, "r") as file:
        data = _chosen(file, _IMAGES, [])
        lengths = dict(zip(_stated_order(data), data.shape, strict=False))
        return (int(lengths.get("t", 1)),)


def open_source(path: Path, *, is_mask: bool, options: ReadOptions) -> SlicedSource:
    """The dataset of a file: its only one, or the one that is named as images or masks are."""
    time, path = time_of(path), file_of(path)
    file = h5py.File(path, "r")
    try:
        notes: list[str] = []
        data = _chosen(file, _MASKS if is_mask else _IMAGES, notes)
        stored = _Chunked(data) if data.chunks else data
        notes += stored.missing() if isinstance(stored, _Chunked) else []
        order = _stated_order(data) or assumed_order(data.shape, options, notes)
        size, close = _spacing(data, order), file.close
        return SlicedSource(stored, order, spacing=size, unit="µm", notes=notes, close=close, time=time)
    except BaseException:
        file.close()
        raise


def _chosen(file: h5py.File, names: tuple[str, ...], notes: list[str]) -> h5py.Dataset:
    held: dict[str, h5py.Dataset] = {}
    file.visititems(lambda name, item: held.update({name: item}) if _is_image(item) else None)
    name = next(iter(held), "") if len(held) == 1 else next((name for name in names if name in held), "")
    if not name:
        listed = ", ".join(f"{name} {data.shape}" for name, data in list(held.items())[:8]) or "none"
        raise Refused(f"its datasets of two axes and more are {listed}: expected one, or one named {names[0]}")
    if len(held) > 1:
        notes.append(f"dataset {name} of {', '.join(held)}")
    return held[name]


class _Chunked:
    """A dataset in chunks, whose index is not trusted: most files have no checksum of it.

    A chunk that the index does not find reads as the fill value, without an error.
    """

    def __init__(self, data: h5py.Dataset) -> None:
        self._data, self.shape, self.dtype = data, data.shape, data.dtype
        self._stored: set[tuple[int, ...]] = set()
        data.id.chunk_iter(lambda chunk: self._stored.add(tuple(chunk.chunk_offset)))

    def missing(self) -> list[str]:
        """Note the chunks that are not stored, as their pixels have the fill value."""
        steps, stored = self._data.chunks, len(self._stored)
        total = math.prod(-(-length // step) for length, step in zip(self.shape, steps, strict=True))
        if any(at % step for place in self._stored for at, step in zip(place, steps, strict=True)) or stored > total:
            raise Refused(f"damaged: its chunks do not lie on a grid of {steps}")
        text = f"{total - stored} of {total} chunks not stored: their pixels are the fill value {self._data.fillvalue}"
        return [text] if stored < total else []

    def __getitem__(self, index: tuple[slice | int, ...]) -> np.ndarray:
        values: np.ndarray = self._data[index]
        if (values == self._data.fillvalue).any():
            self._check(index)
        return values

    def _check(self, index: tuple[slice | int, ...]) -> None:
        """Raise where a stored chunk of a region is not found; each that holds nothing but the fill value is asked."""
        parts = [slice(part, part + 1) if isinstance(part, int) else part for part in index]
        steps = self._data.chunks
        grid = (range(part.start // n * n, part.stop, n) for part, n in zip(parts, steps, strict=True))
        for place in self._stored.intersection(product(*grid)):
            inside = tuple(slice(at, at + n) for at, n in zip(place, steps, strict=True))
            if (self._data[inside] == self._data.fillvalue).all():
                self._data.id.read_direct_chunk(place)  # raises where it is not found


def _is_image(item: Any) -> bool:
    return isinstance(item, h5py.Dataset) and len(item.shape) >= 2 and item.dtype.kind in "buif"


def _stated_order(data: h5py.Dataset) -> str:
    """Letters of the axes: of vigra's axistags, which ilastik writes, or the labels of dimensions."""
    tags = data.attrs.get("axistags")
    if tags is not None:
        try:
            keys = [str(axis["key"]).lower() for axis in parse_json(tags)["axes"]]
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(f"its axistags cannot be read ({error})") from None
    else:
        keys = [dimension.label.lower() for dimension in data.dims]
    if not all(keys) or any(len(key) != 1 for key in keys) or len(set(keys)) != len(keys):
        return ""
    if len(keys) != len(data.shape):
        raise Refused(f"names {len(keys)} axes ({', '.join(keys)}) for a dataset of shape {data.shape}")
    return "".join(keys)


def _spacing(data: h5py.Dataset, order: str) -> dict[str, float] | None:
    """Of element_size_um (z, y, x), which pytorch-3dunet and Fiji's HDF5 plugins write."""
    sizes = np.asarray(data.attrs.get("element_size_um", ()), float).ravel()
    spatial = [letter for letter in "zyx" if letter in order]
    if len(sizes) < len(spatial) or not (np.isfinite(sizes) & (sizes > 0)).all():
        return None
    return dict(zip(spatial, sizes[-len(spatial) :].tolist(), strict=True))
