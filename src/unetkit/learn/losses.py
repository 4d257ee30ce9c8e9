"""The two losses of a segmentation net, and their sum: weighted cross-entropy and soft Dice.

Both skip pixels that are not labelled, compute in float32 under any autocast, and are differentiable zeros where a
batch holds nothing to learn from. Where several processes train as one, they are the losses of the joint batch.

References
----------
.. [1] Ronneberger, Fischer, Brox, U-Net, MICCAI 2015, doi:10.1007/978-3-319-24574-4_28, eq. 1
.. [2] Milletari, Navab, Ahmadi, V-Net, 3DV 2016, doi:10.1109/3DV.2016.79
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .parallel import summed

IGNORE = 255


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    class_weights: Sequence[float] | Tensor | None = None,
    ignore: int = IGNORE,
    check: bool = True,
) -> Tensor:
    """Mean cross-entropy over labelled pixels, weighted per pixel and per class.

    The energy of the U-Net paper [1]_, eq. 1, as a mean: sum(w * ce) / sum(w), so that its size does not depend on the
    patch or on the scale of the weights. A pixel's w is its weight times that of its class.

    Parameters
    ----------
    logits : Tensor of shape (N, K, *spatial), float
        K of at least 2 classes, before softmax.
    labels : Tensor of shape (N, *spatial), uint8 or int64
        Class of each pixel, 0 to K - 1, or `ignore`.
    weights : Tensor of shape (N, *spatial), float, optional
        Not negative; for example `border_weights`.
    class_weights : sequence of K floats, optional
    ignore : int
        Label of pixels that are not labelled: they count for nothing.
    check : bool
        Look for labels out of range first, one pass over the integers. On a GPU that waits for the device: pass False
        in a training loop whose labels were checked when they were read.

    Returns
    -------
    Tensor of shape (), float32
        0 (with gradient 0) where nothing is labelled.

    Raises
    ------
    ValueError
        If the sizes differ, `logits` has one channel, a label is out of range, or there are not K class weights.
    """
    targets = _targets(logits, labels, ignore, check)
    losses = F.cross_entropy(logits.float(), targets, ignore_index=ignore, reduction="none")  # (N, *spatial)
    pixel_weights = (labels != ignore).float()
    if weights is not None:
        if weights.shape != labels.shape:
            raise ValueError(f"weights of shape {tuple(weights.shape)} do not cover labels {tuple(labels.shape)}")
        pixel_weights = pixel_weights * weights
    if class_weights is not None:
        per_class = torch.as_tensor(class_weights, dtype=torch.float32, device=logits.device)
        if per_class.shape != (logits.shape[1],):
            raise ValueError(f"{per_class.numel()} class weights for {logits.shape[1]} classes: give one per class")
        pixel_weights = pixel_weights * per_class[targets.where(targets != ignore, 0)]
    total = summed(pixel_weights.sum())
    return summed((losses * pixel_weights).sum()) / total.clamp(min=torch.finfo(torch.float32).tiny)


def soft_dice(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore: int = IGNORE,
    include_background: bool = False,
    smooth: float = 1.0,
    check: bool = True,
) -> Tensor:
    """One minus the mean soft Dice of the classes present, pooled over the batch.

    Per class, (2 sum(p y) + smooth) / (sum(p) + sum(y) + smooth), with p the softmax, y the labels, and sums over all
    labelled pixels of all samples: Dice of the batch, not the mean over samples, which would be noisy on patches that
    hold a few pixels of a class. V-Net [2]_ has squares in the denominator; without them the minimum is the same.

    Parameters
    ----------
    logits : Tensor of shape (N, K, *spatial), float
    labels : Tensor of shape (N, *spatial), uint8 or int64
    ignore : int
    include_background : bool
        Count class 0 too.
    smooth : float
        Pixels added to both sides: keeps the slope finite where a class covers a few pixels.
    check : bool
        As in `cross_entropy`.

    Returns
    -------
    Tensor of shape (), float32
        0 to 1. A class without a pixel in the batch is left out, as its Dice says nothing; 0 (with gradient 0) if none
        is left. Its false positives are cross-entropy's to punish.

    Raises
    ------
    ValueError
        If the sizes differ, `logits` has one channel, or a label is out of range.
    """
    _targets(logits, labels, ignore, check)
    first = 0 if include_background else 1
    shares = logits.float().softmax(dim=1)[:, first:]  # (N, K - first, *spatial)
    labelled = (labels != ignore)[:, None]
    classes = torch.arange(first, logits.shape[1], device=labels.device).reshape(-1, *[1] * (labels.ndim - 1))
    truth = labelled & (labels[:, None] == classes)
    space = [0, *range(2, logits.ndim)]
    overlap = summed(torch.where(truth, shares, 0).sum(space))  # (K - first,)
    predicted = summed(torch.where(labelled, shares, 0).sum(space))
    true = summed(truth.sum(space).float())
    dice = (2 * overlap + smooth) / (predicted + true + smooth).clamp(min=torch.finfo(torch.float32).tiny)
    present = (true > 0).float()
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)


def dice_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    class_weights: Sequence[float] | Tensor | None = None,
    ignore: int = IGNORE,
    include_background: bool = False,
    check: bool = True,
) -> Tensor:
    """Sum of `cross_entropy` and `soft_dice`: the first drives every pixel, the second the regions that are small.

    Parameters
    ----------
    logits : Tensor of shape (N, K, *spatial), float
    labels : Tensor of shape (N, *spatial), uint8 or int64
    weights : Tensor of shape (N, *spatial), float, optional
        Pixel weights, of the cross-entropy only.
    class_weights : sequence of K floats, optional
        Class weights, of the cross-entropy only.
    ignore : int
    include_background : bool
        Whether the Dice counts class 0.
    check : bool
        As in `cross_entropy`.

    Returns
    -------
    Tensor of shape (), float32

    Raises
    ------
    ValueError
        As `cross_entropy` does.
    """
    entropy = cross_entropy(logits, labels, weights=weights, class_weights=class_weights, ignore=ignore, check=check)
    return entropy + soft_dice(logits, labels, ignore=ignore, include_background=include_background, check=False)


def _targets(logits: Tensor, labels: Tensor, ignore: int, check: bool) -> Tensor:
    """Labels as torch's cross-entropy wants them, int64, after the checks at the door."""
    n, classes = logits.shape[:2]
    if (n, *logits.shape[2:]) != tuple(labels.shape):
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} cover samples and size {(n, *logits.shape[2:])} but labels have "
            f"{tuple(labels.shape)}: crop the labels to the logits (valid convolutions lose a margin)"
        )
    if classes < 2:
        raise ValueError(f"logits have {classes} channel: build the net with 2 classes, background and foreground")
    if labels.is_floating_point():
        raise ValueError(f"labels are {labels.dtype}: give class numbers as uint8 or int64")
    targets = labels.long()
    if check and targets.numel():
        low, high = (int(value) for value in targets.where(targets != ignore, 0).aminmax())
        if low < 0 or high >= classes:
            bad = low if low < 0 else high
            raise ValueError(f"label {bad} is none of the {classes} classes (0 to {classes - 1}, {ignore} is ignored)")
    return targets
