"""One image in memory, or anything that can be sliced, to its labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from math import lcm
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ..image import Image
from ..io.lazy import LazyImage, whole_lazy
from ..io.resample import resampled, to_size
from ..labels.instances import decode, unpack_maps
from ..progress import SILENT, Progress
from ..tiles import Slices
from .input import ArrayInput, InputImage, SlicedArray
from .outputs import Outputs, PixelRecords, entropy, most_likely, scored_probabilities
from .tiling import Tiling
from .work import join_rows

if TYPE_CHECKING:
    from .predictor import Predictor

__all__ = ["ArrayLike", "Prediction", "Sliceable", "predict_array", "predict_into"]


@runtime_checkable
class Sliceable(Protocol):
    """An array of any library: it has a shape and a dtype, and reads and writes regions."""

    @property
    def shape(self) -> Sequence[int]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, region: Any) -> Any: ...

    def __setitem__(self, region: Any, values: Any) -> None: ...


ArrayLike: TypeAlias = "np.ndarray | Tensor | Image | LazyImage | Sliceable"


@dataclass(frozen=True)
class Prediction:
    """What a predictor says of one image.

    Attributes
    ----------
    labels : ndarray of shape (*spatial), integer
        Values as in the training masks: of classes, or an id for each object; without a card the index of the largest
        logit. Of the image's size.
    probabilities : ndarray of shape (K, *spatial), float32, or None
        Of the classes, or of background and object; calibrated.
    uncertainty : ndarray of shape (*spatial), float32, or None
        Entropy of the probabilities as a share of the largest possible, 0 to 1.
    logits : ndarray of shape (K, *spatial), float32, or None
        The net's own output, of a predictor without a card.
    image : Image
        What was predicted, for its spacing and place.
    """

    labels: np.ndarray
    probabilities: np.ndarray | None
    uncertainty: np.ndarray | None
    logits: np.ndarray | None
    image: Image

    def to_image(self) -> Image:
        """The labels as an `Image` with the spacing, unit and place of the image, ready for `write_labels`."""
        axes = self.image.axes.removeprefix("c")
        return replace(self.image, array=self.labels, axes=axes, notes=())


def predict_array(predictor: Predictor, image: ArrayLike, outputs: Outputs) -> Prediction:
    """Segment one image; see `Predictor.__call__`."""
    shown = _as_image(predictor, image)
    if predictor.card is None:
        logits = predictor.run(shown.array, lambda k: k.float().cpu().numpy())
        values = torch.from_numpy(logits)
        has_maps = outputs.probabilities or outputs.uncertainty
        probabilities = values.softmax(0).numpy() if has_maps else None
        uncertainty = entropy(probabilities) if outputs.uncertainty and probabilities is not None else None
        labels = most_likely(values).numpy().astype(_label_dtype(len(logits)))
        return Prediction(labels, probabilities if outputs.probabilities else None, uncertainty, logits, shown)
    with InputImage(whole_lazy(Path("image"), shown), predictor.net, predictor.card) as read:
        return _predict(predictor, read, shown, outputs)


def _label_dtype(n_classes: int) -> np.dtype:
    return np.min_scalar_type(max(n_classes - 1, 1))


def _predict(predictor: Predictor, read: InputImage, image: Image, outputs: Outputs) -> Prediction:
    card, size, has_maps = predictor.file_card, read.size, outputs.probabilities or outputs.uncertainty
    records = PixelRecords(card, Outputs())
    labels = np.empty(size, records.dtype)
    n_scored = 2 if card.labels.has_distance else len(card.labels.values)
    probabilities = np.empty((n_scored, *size), np.float32) if has_maps else None
    for pixels, logits in predictor.logits(read):
        labels[pixels] = records.encode(logits)
        if probabilities is not None:
            probabilities[(slice(None), *pixels)] = scored_probabilities(logits, card)
    missing = ~read.valid(tuple(slice(0, n) for n in size)) if read.missing and predictor.planes is None else None
    if missing is not None:
        records.erase(labels, missing)
    if card.decoding:
        labels = decode(*unpack_maps(labels), card.decoding)
    labels = to_size(labels, image.size)
    if probabilities is not None:
        probabilities = resampled(probabilities, image.size, (1.0,) * len(size), nearest=True)
        if missing is not None:
            probabilities[:, missing] = np.nan
    uncertainty = entropy(probabilities) if outputs.uncertainty and probabilities is not None else None
    return Prediction(labels, probabilities if outputs.probabilities else None, uncertainty, None, image)


def _as_image(predictor: Predictor, image: ArrayLike) -> Image:
    """The image with channels first, checked for everything that can be known without its pixels' meaning."""
    array: Any = image
    if isinstance(image, Image):
        array = image.array
    elif isinstance(image, LazyImage):
        array = image[(slice(None),)]
    elif isinstance(image, Tensor):
        array = image.detach().cpu().to(torch.float32 if image.dtype == torch.bfloat16 else image.dtype).numpy()
    array = np.asarray(array)
    has_channels = _check_shape(predictor, array.shape, array.dtype, getattr(image, "axes", ""))
    array = array if has_channels else array[None]
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    axes = "czyx"[-array.ndim :] if array.ndim == 4 else "cyx"
    if isinstance(image, Image):
        return replace(image, array=array, axes=axes)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        raise ValueError(f"{bad} of {array.size} values are NaN or infinite: replace them first")
    return Image(array, axes, (1.0,) * (array.ndim - 1))


def _check_shape(predictor: Predictor, shape: Sequence[int], dtype: Any, axes: str) -> bool:
    """Whether an image has an axis of channels; a ValueError says what was expected of one that does not fit."""
    ndim = predictor.net.ndim + (predictor.planes is not None)
    channels = predictor.net.in_channels // (predictor.planes or 1)
    letters, shape = "zyx"[-ndim:], tuple(shape)
    expected = f"({channels}, {', '.join(letters)})" + (f" or ({', '.join(letters)})" if channels == 1 else "")
    if np.dtype(dtype).kind not in "buif":
        raise TypeError(f"the image has dtype {dtype}; expected real numbers: integers, floats or booleans")
    if 0 in shape:
        raise ValueError(f"the image of shape {shape} is empty; expected {expected}")
    if len(shape) == ndim and not axes.startswith("c"):
        if channels not in (1, 3) or (predictor.card is None and channels != 1):
            raise ValueError(f"the image has shape {shape}; expected {expected}")
        return False
    if len(shape) != ndim + 1:
        raise ValueError(f"the image has shape {shape}; expected {expected} for this model")
    if predictor.card is None and shape[0] != channels:
        raise ValueError(f"the image has shape {shape}; expected {expected}: channels come first")
    if shape[0] not in (channels, 1, 3):
        last = ", channels first: move the last axis to the front" if shape[-1] in (channels, 3, 4) else ""
        raise ValueError(f"the image has shape {shape}; expected {expected}{last}")
    return True


# --- into arrays that are there ---


def predict_into(
    predictor: Predictor,
    image: ArrayLike,
    *,
    labels: Sliceable | None,
    logits: Sliceable | None,
    progress: Progress = SILENT,
) -> None:
    """Segment one image part by part; see `Predictor.predict_into`."""
    if labels is None and logits is None:
        raise ValueError("got neither labels nor logits: give an array to write to")
    card = predictor.card
    if card is not None and (card.decoding or logits is not None):
        does = "separates objects, which needs the whole mask" if card.decoding else "gives labels, not raw output"
        raise ValueError(f"the model {does}: call it on the image, or use predict_files")
    with _open(predictor, image) as read:
        size, n_classes = read.size, predictor.net.out_channels
        for name, target, expected in (("labels", labels, size), ("logits", logits, (n_classes, *size))):
            if target is not None and tuple(target.shape) != expected:
                raise ValueError(f"{name} has shape {tuple(target.shape)}; expected {expected} for this image")
        records = None if card is None else PixelRecords(card, Outputs())
        highest = n_classes - 1 if card is None else max(card.labels.values)
        if labels is not None and not _holds(np.dtype(labels.dtype), highest):
            raise ValueError(f"labels has dtype {labels.dtype}, which does not hold {highest}")
        tiling = predictor.plan(size)
        for pixels, values in _bands(predictor.logits(read, tiling, progress=progress), tiling, (labels, logits)):
            if labels is not None:
                written = records.encode(values) if records else most_likely(values).to(torch.int32).cpu().numpy()
                if records and read.missing and predictor.planes is None:
                    records.erase(written, ~read.valid(pixels))
                labels[pixels] = written.astype(labels.dtype)
            if logits is not None:
                logits[(slice(None), *pixels)] = values.float().cpu().numpy()


def _holds(dtype: np.dtype, value: int) -> bool:
    return dtype.kind in "ui" and value <= np.iinfo(dtype).max


def _bands(
    parts: Iterator[tuple[Slices, Tensor]], tiling: Tiling, targets: Sequence[Sliceable | None]
) -> Iterator[tuple[Slices, Tensor]]:
    """Rows of a stream joined until they fill chunks of the arrays that they are written to."""
    if tiling.slab is None:
        yield from parts
        return
    rows = [int(chunks[-len(tiling.size)]) for t in targets if (chunks := getattr(t, "chunks", None))]
    height = lcm(*rows) if rows else tiling.block[0]
    height *= max(tiling.block[0] // height, 1)
    last = ((pixels, logits.movedim(0, -1).numpy()) for pixels, logits in parts)
    for pixels, values in join_rows(last, height, tiling.size[0]):
        yield pixels, torch.from_numpy(values).movedim(-1, 0)


def _open(predictor: Predictor, image: ArrayLike) -> AbstractContextManager[ArrayInput | InputImage]:
    """The image as the net reads it, by region."""
    if isinstance(image, Image | Tensor | np.ndarray):
        source = whole_lazy(Path("image"), _as_image(predictor, image))
    elif isinstance(image, LazyImage):
        _check_shape(predictor, image.shape, image.dtype, image.axes)
        source = image
    else:
        has_channels = _check_shape(predictor, image.shape, image.dtype, "")
        source = LazyImage(Path("image"), SlicedArray(image, has_channels))
    if predictor.card is None:
        return nullcontext(ArrayInput(source, predictor.planes))
    read = InputImage(source, predictor.net, predictor.card)
    if read.size != source.size:
        raise ValueError("the image is resampled to the pixel size of the training images: use predict_files")
    return read
