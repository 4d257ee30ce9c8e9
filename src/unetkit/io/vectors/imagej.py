"""ROIs of ImageJ, by roifile: a file of one, or a zip of many as its ROI manager writes it.

The corners of a ROI are points between pixels, as ImageJ fills it: a pixel belongs to it if its middle lies inside.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import roifile

from ..decoder_errors import Refused, logged
from .shapes import Outline, Shapes, ring

_MOST_ROI, _MOST_ALL, _MOST_ROIS = 2**26, 2**29, 1_000_000  # bytes of one, of all of a zip, and their number
_AREAS = ("RECT", "OVAL", "POLYGON", "FREEHAND", "TRACED")
_DAMAGE = (OSError, LookupError, ValueError, RuntimeError, EOFError, struct.error, zlib.error, zipfile.BadZipFile)
_DRAWN = ("TEXT", "ARROW", "IMAGE")  # subtypes that annotate a picture
_STEP = 0.5  # pixels between the points of an oval


def of_rois(path: Path) -> Shapes:
    """The areas among the ROIs of a file; lines and points are named.

    Positions count planes from 1, as they are stored and as roifile 2026.2.10 reads them; 0 stands for all planes.
    """
    outlines, left_out, notes = list[Outline](), Counter[str](), list[str]()
    with logged("roifile", notes):
        for i, (name, content) in enumerate(_contents(path, notes)):
            roi = _roi(content, name)
            where = f"ROI {roi.name or name}"
            rings = _rings(roi, where)
            if not rings:
                left_out[roi.roitype.name.lower() if roi.roitype.name not in _AREAS else "without an area"] += 1
                continue
            position = roi.z_position or roi.position
            plane = position - 1 if position > 0 else None
            # Of a stack that is not a hyperstack the position alone is stated: its planes may be times.
            time = roi.t_position - 1 if roi.t_position > 0 else None if roi.z_position else plane
            group = f"group {roi.group}" if roi.group else ""
            outlines.append(Outline(rings, name=group, part_of=str(i), plane=plane, time=time))
    if left_out:
        listed = ", ".join(f"{n} {kind}" for kind, n in left_out.items())
        if not outlines:
            raise Refused(f"holds no ROI with an area: {listed}")
        notes.append(f"ROIs without an area, left out: {listed}")
    return Shapes(outlines, notes=notes)


def _contents(path: Path, notes: list[str]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every ROI of a file."""
    if not zipfile.is_zipfile(path):
        yield path.stem, path.read_bytes()[: _MOST_ROI + 1]
        return
    try:
        yield from _unpacked(path, notes)
    except Refused:
        raise
    except _DAMAGE as error:
        raise Refused(f"a zip that is damaged or cannot be unpacked ({error})") from None


def _unpacked(path: Path, notes: list[str]) -> Iterator[tuple[str, bytes]]:
    """The ROIs of a zip; what they unpack to is bounded, whatever its directory says."""
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
        rois = [entry for entry in entries if entry.filename.lower().endswith(".roi")]
        if not rois:
            listed = ", ".join(entry.filename for entry in entries[:4]) or "nothing"
            raise Refused(f"a zip without ROIs of ImageJ (*.roi); it holds {listed}")
        if len(rois) > _MOST_ROIS:
            raise Refused(f"a zip of {len(rois)} ROIs: expected at most {_MOST_ROIS}")
        if len(rois) < len(entries):
            notes.append(f"{len(entries) - len(rois)} files of the zip are no ROIs: left out")
        total = 0
        for entry in rois:
            with archive.open(entry) as file:
                content = file.read(_MOST_ROI + 1)
            total += len(content)
            if len(content) > _MOST_ROI or total > _MOST_ALL:
                raise Refused(f"a zip that unpacks to more than {_MOST_ALL / 2**20:g} MB ({entry.filename})")
            yield Path(entry.filename).stem, content


def _roi(content: bytes, name: str) -> Any:
    try:
        return roifile.ImagejRoi.frombytes(content)
    except (ValueError, TypeError, OverflowError, struct.error) as error:  # of bytes that end early, numpy: TypeError
        raise Refused(f"ROI {name} is damaged, truncated or no ROI ({error})") from None


def _rings(roi: Any, where: str) -> tuple[np.ndarray, ...]:
    """The rings of an area, in pixels; empty for a line, points or a drawing."""
    if roi.roitype.name not in _AREAS or roi.subtype.name in _DRAWN:
        return ()
    if roi.composite and roi.multi_coordinates is not None:
        parts = roi.path2coords(roi.multi_coordinates)
    elif roi.roitype.name == "OVAL":
        parts = [_oval(*_box(roi))]
    elif roi.roitype.name == "RECT":
        x, y, width, height = _box(roi)
        parts = [np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)])]
    else:
        parts = [roi.coordinates()]
    rings = [ring(np.asarray(part, float), where) for part in parts]
    return tuple(each for each in rings if each is not None)


def _box(roi: Any) -> tuple[float, float, float, float]:
    """Left, top, width and height."""
    if roi.subpixelrect:
        return roi.xd, roi.yd, roi.widthd, roi.heightd
    return roi.left, roi.top, roi.right - roi.left, roi.bottom - roi.top


def _oval(x: float, y: float, width: float, height: float) -> np.ndarray:
    n = int(np.clip(np.pi * max(abs(width), abs(height)) / _STEP, 32, 100_000))
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    # A polygon within the oval is smaller: its corners lie as far outside as the middles of its sides inside.
    grown = 2 / (1 + np.cos(np.pi / n))
    return np.stack([x + width / 2 * (1 + grown * np.cos(angle)), y + height / 2 * (1 + grown * np.sin(angle))], -1)
