"""What a prediction keeps of every pixel until the files are written: its label, and if asked how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..io.block_store import BlockStore
from ..io.lazy import Region
from ..model.card import Card

__all__ = ["MISSING", "NOTHING", "Outputs", "StoredMap", "stored_dtype"]

MISSING = 255  # in percent, where a map holds no data


@dataclass(frozen=True)
class Outputs:
    """Maps of percentages that are wanted beside the masks.

    Attributes
    ----------
    probabilities : bool
        How likely every class but the first is; of objects, how likely a pixel is of one.
    uncertainty : bool
        Entropy of the probabilities, as a share of the largest there is: 0 where one class is certain, 100 where all
        are as likely.
    """

    probabilities: bool = False
    uncertainty: bool = False

    def folders(self, card: Card) -> list[str]:
        """Folders beside the masks, one per map; those of several classes are named by their values."""
        values = [1] if card.labels.has_distance else card.labels.values[1:]
        classes = ["probability"] if len(values) == 1 else [f"probability_{value}" for value in values]
        return classes * self.probabilities + ["uncertainty"] * self.uncertainty

    def percentages(self, probabilities: np.ndarray, card: Card) -> np.ndarray:
        """The maps, uint8 of shape (*spatial, n), 0 to 100, from class probabilities of shape (K, *spatial), 0 to 1."""
        if card.labels.has_distance:
            probabilities = np.stack([probabilities[0], 1 - probabilities[0]])
        maps = [*probabilities[1:]] if self.probabilities else []
        if self.uncertainty:
            logs = np.log(probabilities.clip(1e-7, 1))
            maps.append(-(probabilities * logs).sum(0) / np.log(len(probabilities)))
        return np.rint(np.stack(maps, -1).clip(0, 1) * 100).astype(np.uint8)


NOTHING = Outputs()


def stored_dtype(label: np.dtype, n: int) -> np.dtype:
    """Of a pixel: a label, and `n` percentages; the label alone where there are none."""
    return label if n == 0 else np.dtype([("label", label), ("percent", np.uint8, (n,))])


class StoredMap:
    """The labels of a store of records, or one map of percentages: a source like any image.

    Parameters
    ----------
    store : BlockStore
    index : int, optional
        Of the map; None for the labels.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, store: BlockStore, index: int | None = None) -> None:
        self._store, self._index = store, index
        self.axes, self.shape, self.spacing, self.unit = store.axes, store.shape, store.spacing, store.unit
        names = store.dtype.names
        self.dtype = store.dtype if not names else store.dtype["label"] if index is None else np.dtype(np.uint8)

    def read(self, region: Region) -> np.ndarray:
        """Values of a region of (1, *size); 0 where no block is there yet."""
        found = self._store.read(region)
        if not found.dtype.names:
            return found
        return found["label"] if self._index is None else found["percent"][..., self._index]

    def close(self) -> None:
        """Nothing to release: the store is its owner's."""
