"""Outlines of objects as ROIs of ImageJ: a polygon each, or a composite where an object has holes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..io.atomic import replace_file
from .polygons import outlines

__all__ = ["import_roifile", "object_rois", "write_rois"]

_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0  # segments of a path (java.awt.geom.PathIterator)


def object_rois(ids: np.ndarray, value: int | None) -> Iterator[Any]:
    """An ROI for every connected part of an object, named class-object-part."""
    roifile, parts = import_roifile(), Counter[int]()
    for number, geometry in outlines(ids):
        parts[number] += 1
        # columns and rows of pixel corners; the last point of a ring is the first
        rings = [np.asarray(ring[:-1], np.float32) for ring in geometry["coordinates"]]
        name = "-".join([*([] if value is None else [str(value)]), f"{number:05d}", str(parts[number])])
        if len(rings) == 1:
            yield roifile.ImagejRoi.frompoints(rings[0], name=name)
        else:
            yield _composite(rings, name)


def _composite(rings: Sequence[np.ndarray], name: str) -> Any:
    """An outer ring and its holes: ImageJ fills a composite by the even-odd rule."""
    roifile, path = import_roifile(), []
    for ring in rings:
        kinds = np.where(np.arange(len(ring)) == 0, _MOVE, _LINE)
        path += [*np.column_stack([kinds, ring]).ravel(), _CLOSE]
    roi = roifile.ImagejRoi.frompoints(rings[0], name=name)  # for its box
    roi.roitype, roi.n_coordinates = roifile.ROI_TYPE.RECT, 0
    roi.integer_coordinates = roi.subpixel_coordinates = None
    roi.multi_coordinates = np.asarray(path, np.float32)
    roi.shape_roi_size = len(path)
    return roi


def write_rois(path: Path, rois: Sequence[Any]) -> None:
    """Write a zip file for ImageJ's ROI manager, whole or not at all."""
    with replace_file(path) as temporary:
        archive = temporary.with_suffix(".zip")  # roifile chooses the format by the suffix
        try:
            import_roifile().roiwrite(archive, list(rois), mode="w")
            archive.rename(temporary)
        finally:
            archive.unlink(missing_ok=True)


def import_roifile() -> Any:
    """The module, or an ImportError that says how to install it."""
    try:
        import roifile
    except ImportError:
        raise ImportError("outlines for ImageJ need roifile: pip install 'unetkit[rois]'") from None
    return roifile
