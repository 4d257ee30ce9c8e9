"""Batches of patches that show every image equally often, or by its labels, and rare classes often enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.case import Case
from ..data.planes import fold
from ..data.readable import read_rows
from ..geometry import mirror
from ..labels.kind import IGNORE_INDEX
from .augment import spatial
from .augment.augment import Augmentation, augment, window_size
from .places import PlacesOfCases

_FOREGROUND_SHARE = 1 / 3  # of the patches are drawn around a pixel of a random foreground class (nnU-Net's share)
_PROCESSOR = torch.device("cpu")
_TRIES = 20  # to hit a labelled pixel at random before one is looked up; with 1 plane in 5 labelled, 1 % need that


@dataclass(frozen=True)
class Batch:
    """Patches, ready for the net.

    Attributes
    ----------
    images : Tensor of shape (N, C, *patch), float32
        On the sampler's device, as all of them.
    labels : Tensor of shape (N, *target), uint8
        The middle of the patch that the net predicts; 255 is not labelled.
    weights : Tensor of shape (N, *target), float32, or None
    """

    images: Tensor
    labels: Tensor
    weights: Tensor | None


@dataclass
class Sampler:
    """Batches by number: batch `step` is the same whenever it is drawn, so nothing needs to be saved to resume.

    Parameters
    ----------
    cases : sequence of Case
    patch : tuple of int
        Size of the net's input in pixels; images smaller than it are mirrored at their borders.
        In 2D if `planes` is given, whatever the cases.
    target : tuple of int
        Size of the net's output for such a patch.
    batch : int
        Patches per batch.
    augmentation : Augmentation
    seed : int
    planes : int, optional
        Cases are volumes, cut to this many adjacent planes for a 2D net (see `data.planes`); the
        labels are those of the middle plane, and each plane is as likely as any other.
    shares : sequence of float
        Of the patches, for every case, in any unit; () for all alike.
    device : torch.device
        Where patches are augmented, as they come from a processor's memory.
    """

    cases: Sequence[Case]
    patch: tuple[int, ...]
    target: tuple[int, ...]
    batch: int
    augmentation: Augmentation
    seed: int
    planes: int | None = None
    shares: Sequence[float] = ()
    device: torch.device = _PROCESSOR
    _places: PlacesOfCases = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._places = PlacesOfCases(self.seed)

    def draw(self, step: int) -> Batch:
        """The batch with number `step`, augmented."""
        rng = np.random.default_rng([self.seed, 1, step])
        window = window_size(self.patch, self.augmentation)
        crops = [self._crop(index, self._centre(index, rng), window) for index in self._chosen(step)]
        images = self._moved([crop[0] for crop in crops])
        labels = self._moved([crop[1] for crop in crops])
        weights = [crop[2] for crop in crops if crop[2] is not None]
        extra = self._moved(weights)[:, None] if weights else None
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        plain = [None if maps is None else spatial.centre_crop(maps, self.patch) for maps in (images, labels, extra)]
        images, labels, extra = augment(
            images, labels, self.patch, settings=self.augmentation, generator=generator, extra=extra
        )
        middle = [slice((p - t) // 2, (p - t) // 2 + t) for p, t in zip(self.patch, self.target, strict=True)]
        target: Any = (slice(None), *middle)
        # Warping may move the few labelled pixels of a sparse mask out of a patch: it then stays as it was cut.
        lost = (labels[target] == IGNORE_INDEX).flatten(1).all(1)
        if bool(lost.any()):
            for maps, cut in zip((images, labels, extra), plain, strict=True):
                if maps is not None and cut is not None:
                    maps[lost] = cut[lost]
        return Batch(images, labels[target], None if extra is None else extra[:, 0][target])

    def _moved(self, arrays: Sequence[np.ndarray]) -> Tensor:
        """Arrays of one shape as a tensor on the device, by memory that a GPU copies from while work goes on."""
        tensor = torch.from_numpy(np.stack(arrays))
        return (tensor.pin_memory() if self.device.type == "cuda" else tensor).to(self.device, non_blocking=True)

    def _chosen(self, step: int) -> list[int]:
        """The cases of a batch: each equally often, or by their shares."""
        n = len(self.cases)
        if self.shares:
            rng = np.random.default_rng([self.seed, 2, step])
            return [int(index) for index in rng.choice(n, self.batch, p=np.divide(self.shares, sum(self.shares)))]
        chosen = []
        for position in range(step * self.batch, (step + 1) * self.batch):
            epoch, place = divmod(position, n)  # cases in a new random order in every epoch
            chosen.append(int(np.random.default_rng([self.seed, 2, epoch]).permutation(n)[place]))
        return chosen

    def _centre(self, index: int, rng: np.random.Generator) -> tuple[int, ...]:
        case = self.cases[index]
        size, pixels = case.size, self._places(case, index)
        target = self.target if self.planes is None else (1, *self.target)
        around_foreground = rng.random() < _FOREGROUND_SHARE
        if around_foreground and pixels.n_classes:
            pixel = pixels.of_class(int(rng.integers(pixels.n_classes)), rng)
            centre = np.array(np.unravel_index(pixel, size))
            centre += [rng.integers(-(t // 4), t // 4 + 1) for t in target]
        else:
            centre = self._anywhere(index, rng)
        # Keep what is predicted inside the image where it fits, else the image inside of it, anywhere: a net that had
        # it always in the middle would learn how far the image's border is from the patch's, and predict with another.
        # The margin of a valid net may lie outside, mirrored, as in prediction: so the image's border is learned too.
        first, last = [t // 2 for t in target], [n - (t - t // 2) for n, t in zip(size, target, strict=True)]
        return tuple(
            int(min(max(c, a), b) if a <= b else rng.integers(b, a + 1))
            for c, a, b in zip(centre, first, last, strict=True)
        )

    def _anywhere(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """A random pixel that is labelled."""
        case = self.cases[index]
        labels, pixels = case.labels, self._places(case, index)
        centre = np.array([rng.integers(n) for n in labels.shape])
        if not pixels.is_partly_labelled:
            return centre
        for _ in range(_TRIES if case.n_labelled * _TRIES > prod(case.size) else 0):  # else it is hardly ever hit
            if labels[tuple(slice(c, c + 1) for c in centre)] != IGNORE_INDEX:
                return centre
            centre = np.array([rng.integers(n) for n in labels.shape])
        return np.array(np.unravel_index(pixels.labelled(rng), labels.shape))

    def _crop(
        self, index: int, centre: tuple[int, ...], window: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Cut a window around a pixel, the image mirrored at its borders, and its planes folded into channels."""
        case = self.cases[index]
        window = window if self.planes is None else (self.planes, *window)
        rows = [mirror(c - w // 2, w, n) for c, w, n in zip(centre, window, case.size, strict=True)]
        image, labels = read_rows(case.image, rows), read_rows(case.labels, rows)
        weights = None if case.pixel_weights is None else read_rows(case.pixel_weights, rows)
        if self.planes is None:
            return image, labels, weights
        middle = self.planes // 2
        return fold(image), labels[middle], None if weights is None else weights[middle]
