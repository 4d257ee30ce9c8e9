"""Class indices of a mask that is read by region from its file: made where they are read, and kept nowhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..labels.kind import IGNORE_INDEX, LabelKind, check_values, to_classes
from ..labels.statistics import LabelStatistics
from .readable import ByRegion, Readable, Region

__all__ = ["EncodedLabels"]


class EncodedLabels(ByRegion):
    """Class indices (*spatial), uint8; 255 is not labelled.

    Parameters
    ----------
    mask : array of shape (*spatial), integer
        Values of the file.
    kind : LabelKind
        By which a pixel's class is that of its value alone: no distances.
    spacing : sequence of float
        As `to_classes` takes it.
    statistics : LabelStatistics
        Of the mask, counted in blocks.

    Raises
    ------
    ValueError
        If the mask holds values that `kind` does not have.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, mask: Readable, kind: LabelKind, spacing: Sequence[float], statistics: LabelStatistics) -> None:
        self._mask, self._kind, self._spacing, self.shape = mask, kind, spacing, mask.shape
        check_values(statistics.counts, kind)
        values = list(statistics.counts)
        classes = dict(zip(values, self._encode(np.array(values, np.int64)).tolist(), strict=True))
        self.label_blocks: list[tuple[Region, np.ndarray]] = []
        for space, pixels in statistics.blocks:
            counts = np.zeros(IGNORE_INDEX + 1, np.uint32)
            for value, n in pixels.items():
                counts[classes[value]] += n
            self.label_blocks.append((space, counts))

    @property
    def has_labels(self) -> bool:
        """Whether any pixel is labelled."""
        return any(bool(counts[:IGNORE_INDEX].any()) for _, counts in self.label_blocks)

    def _encode(self, values: np.ndarray) -> np.ndarray:
        return to_classes(values, self._kind, spacing=self._spacing)

    def _read(self, region: Region) -> np.ndarray:
        return self._encode(self._mask[region])
