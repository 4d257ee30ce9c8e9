"""What a prediction keeps of every pixel: its label, and where asked for how likely its class is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..io.block_store import BlockStore
from ..io.lazy import Region
from ..labels.instances import CODE, pack_maps
from ..labels.kind import from_classes, nodata_value, written_values
from ..model.card import Card

__all__ = ["MISSING", "Outputs", "PixelRecords", "StoredMap", "most_likely"]

MISSING = 255  # in percent, where a map holds no data


@dataclass(frozen=True)
class Outputs:
    """Maps that are wanted beside the labels.

    Attributes
    ----------
    probabilities : bool
        How likely every class is, calibrated on the validation images; of objects, how likely a pixel is of one.
        As files: every class but the first, in percent, uint8 (255: no data), in folders `probability`, or
        `probability_1`, ... by the classes' values where they are several.
    uncertainty : bool
        Entropy of the probabilities as a share of the largest possible: 0 where one class is certain, 1 where all are
        equally likely. As files: in percent, in the folder `uncertainty`. With test-time averaging, or the nets of
        several folds, it tells more than with one net.
    """

    probabilities: bool = False
    uncertainty: bool = False

    def folders(self, card: Card) -> list[str]:
        """Folders beside the masks, one per map; those of several classes are named by their values."""
        values = [1] if card.labels.has_distance else card.labels.values[1:]
        classes = ["probability"] if len(values) == 1 else [f"probability_{value}" for value in values]
        return classes * self.probabilities + ["uncertainty"] * self.uncertainty


def most_likely(logits: Tensor) -> Tensor:
    """The class of every pixel, integer (*pixels), of logits (K, *pixels): the first of the largest.

    By `max`, since `argmax` along channels that lie far apart takes 15 to 35 times as long on a processor, as long as a
    small net (torch 2.13.0 and 2.14.1; pytorch issue 140000).
    """
    return logits.max(0).indices


def scored_probabilities(logits: Tensor, card: Card) -> np.ndarray:
    """Calibrated probabilities (K, *pixels), 0 to 1, float32; of a net for objects those of background and object."""
    probabilities: np.ndarray = (logits / card.temperature).softmax(0).cpu().numpy()
    if card.labels.has_distance:
        return np.stack([probabilities[0], 1 - probabilities[0]])
    return probabilities


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy of probabilities (K, *pixels) as a share of the largest possible, (*pixels), 0 to 1."""
    logs = np.log(probabilities.clip(1e-7, 1))
    share: np.ndarray = -(probabilities * logs).sum(0) / np.log(len(probabilities))
    return share


class PixelRecords:
    """The values that the blocks of a mask hold: labels, or maps that become objects, with percentages where wanted.

    Parameters
    ----------
    card : Card
    outputs : Outputs

    Attributes
    ----------
    dtype : dtype
        Of a pixel: that of the values that stand for the classes, or of packed maps that become objects; a record of
        "label" and "percent" where maps are wanted beside it.
    folders : list of str
        Of the maps, beside the masks.
    nodata : int
        Where a map holds no data: a value that means no class, and among objects background.
    """

    def __init__(self, card: Card, outputs: Outputs) -> None:
        self.card, self.outputs, self.folders = card, outputs, outputs.folders(card)
        label = CODE if card.decoding else from_classes(np.zeros(1, np.uint8), card.labels).dtype
        n = len(self.folders)
        self.dtype = np.dtype([("label", label), ("percent", np.uint8, (n,))]) if n else label
        self.nodata = 0 if card.decoding else nodata_value(card.labels)

    def encode(self, logits: Tensor) -> np.ndarray:
        """Records (*pixels) of logits (K, *pixels)."""
        if self.card.decoding:
            labels = pack_maps(logits.softmax(0).cpu().numpy())
        else:
            labels = from_classes(most_likely(logits).to(torch.uint8).cpu().numpy(), self.card.labels)
        if not self.folders:
            return labels
        records = np.empty(labels.shape, self.dtype)
        records["label"] = labels
        probabilities = scored_probabilities(logits, self.card)
        maps = [*probabilities[1:]] if self.outputs.probabilities else []
        maps += [entropy(probabilities)] if self.outputs.uncertainty else []
        records["percent"] = np.rint(np.stack(maps, -1).clip(0, 1) * 100).astype(np.uint8)
        return records

    def blank_label(self, *, is_map: bool) -> int:
        """The label of a pixel that is not predicted: background, or no data in a map."""
        return self.nodata if is_map or self.card.decoding else written_values(self.card.labels)[0]

    def blank(self, *, is_map: bool) -> np.ndarray:
        """The record of a pixel that is not predicted, of shape (): its label, and no percentage."""
        record, label = np.zeros((), self.dtype), self.blank_label(is_map=is_map)
        if self.folders:
            record["label"], record["percent"] = label, MISSING
        else:
            record[...] = label
        return record

    def erase(self, records: np.ndarray, missing: np.ndarray) -> None:
        """Mark pixels where the map holds no data."""
        if not self.folders:
            records[missing] = self.nodata
            return
        records["label"][missing] = self.nodata
        records["percent"][missing] = MISSING


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
        """Values of a region of (1, *size); blank where no block is there."""
        records = self._store.read(region)
        if not records.dtype.names:
            return records
        return records["label"] if self._index is None else records["percent"][..., self._index]

    def close(self) -> None:
        """Nothing to release: the store is its owner's."""
