"""Segments that 3D Slicer describes in the header of a NRRD: their names, and where their voxels are.

Segments that overlap lie in layers; each has a value in its layer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np

from ..decoder_errors import Refused
from ..segments import combined

_FIELD = re.compile(r"Segment([0-9]{1,9})_(ID|Name|LabelValue|Layer)\s*:=(.*)")
_NUMBER = re.compile("[0-9]{1,9}")


@dataclass(frozen=True)
class Segment:
    """A segment: the voxels of a layer that have a value."""

    name: str
    layer: int
    value: int


def segments_of(path: Path) -> list[Segment]:
    """The segments that a header describes; empty for any other NRRD."""
    stated: dict[int, dict[str, str]] = {}
    with path.open("rb") as file:  # pynrrd leaves out letters that are not ASCII, so that two names may become one
        for line in takewhile(bytes.strip, file):
            if field := _FIELD.match(line.decode("utf-8", "replace")):
                stated.setdefault(int(field[1]), {})[field[2]] = field[3].strip()
    return [_segment(number, fields) for number, fields in sorted(stated.items()) if fields.keys() & {"ID", "Name"}]


def _segment(number: int, fields: dict[str, str]) -> Segment:
    # Before Slicer 4.11 each segment had a layer of its own, with value 1, and the header did not say so.
    layer, value = fields.get("Layer", str(number)), fields.get("LabelValue", "1")
    name = fields.get("Name") or fields.get("ID") or f"segment {number}"
    if not _NUMBER.fullmatch(layer) or not _NUMBER.fullmatch(value) or int(value) == 0:
        raise Refused(f"segment {name}: layer {layer!r}, label value {value!r}: expected numbers, the value from 1 on")
    return Segment(name, int(layer), int(value))


def labels_of(layers: np.ndarray, segments: list[Segment]) -> tuple[np.ndarray, dict[int, str]]:
    """Draw segments into one label image, with their own values where no two have the same, else numbered from 1.

    Parameters
    ----------
    layers : ndarray of shape (x, y, z, layers)
    segments : list of Segment

    Returns
    -------
    labels : ndarray of shape (x, y, z)
    names : dict of int to str
        Of its values.

    Raises
    ------
    ValueError
        If segments overlap, or if voxels and header do not fit to each other.
    """
    n = layers.shape[-1]
    for layer in range(n):
        own = [segment.value for segment in segments if segment.layer == layer]
        if len(set(own)) < len(own):
            raise Refused(f"two segments of layer {layer} have one label value ({', '.join(map(str, own))})")
        is_other = ~np.isin(layers[..., layer], [0, *own])
        if is_other.any():
            raise Refused(
                f"holds {layers[..., layer][is_other][0]} in {int(is_other.sum())} voxels of layer {layer}, which is "
                "none of the values of its segments; load it in 3D Slicer, which leaves them out, and save it again"
            )
    beyond = [segment.name for segment in segments if segment.layer >= n]
    if beyond:
        raise Refused(f"segments {', '.join(beyond[:8])} lie in a layer beyond the last, of {n}")
    is_unique = len({segment.value for segment in segments}) == len(segments)
    numbered = {segment.value if is_unique else i: segment for i, segment in enumerate(segments, start=1)}
    names = {number: segment.name for number, segment in numbered.items()}
    if n == 1:
        return layers[..., 0], names
    parts = ((number, layers[..., segment.layer] == segment.value) for number, segment in numbered.items())
    return combined(parts, names), names
