"""Losses of a segmentation net: cross-entropy of pixels, overlap of regions, their variants and their sums.

All skip pixels that are not labelled, compute in float32 under any autocast, and are differentiable zeros where a
batch holds nothing to learn from. Where several processes train as one, they are the losses of the joint batch.

References
----------
.. [1] Ronneberger, Fischer, Brox, U-Net, MICCAI 2015, doi:10.1007/978-3-319-24574-4_28, eq. 1
.. [2] Milletari, Navab, Ahmadi, V-Net, 3DV 2016, doi:10.1109/3DV.2016.79
.. [3] Lin, Goyal, Girshick, He, Dollár, Focal loss for dense object detection, ICCV 2017, doi:10.1109/ICCV.2017.324
.. [4] Salehi, Erdogmus, Gholipour, Tversky loss function, MLMI 2017, doi:10.1007/978-3-319-67389-9_44
.. [5] Sudre et al., Generalised Dice overlap, DLMIA 2017, doi:10.1007/978-3-319-67558-9_28
.. [6] Shit et al., clDice, CVPR 2021, doi:10.1109/CVPR46437.2021.01629
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..labels.kind import IGNORE_INDEX
from .distributed import all_reduce

LOSSES = ("dice", "focal", "tversky", "generalised", "cldice")
_TINY = torch.finfo(torch.float32).tiny


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    class_weights: Sequence[float] | Tensor | None = None,
    gamma: float = 0.0,
    ignore: int = IGNORE_INDEX,
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
    gamma : float
        The focal loss [3]_, eq. 4: a pixel's part is multiplied by (1 - p) ** gamma, p the probability of its class, so
        that the many pixels that are right already count for little. 0 is plain cross-entropy, 2 is the paper's.
    ignore : int
        Label of pixels that are not labelled: they count for nothing.
    check : bool
        Check first for labels out of range, one pass over the integers. On a GPU that waits for the device: pass False
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
    if gamma:
        losses = losses * (1 - torch.exp(-losses)).clamp(min=torch.finfo(torch.float32).eps) ** gamma
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
    total = all_reduce(pixel_weights.sum())
    return all_reduce((losses * pixel_weights).sum()) / total.clamp(min=_TINY)


def soft_dice(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore: int = IGNORE_INDEX,
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
    return tversky(
        logits,
        labels,
        alpha=0.5,
        beta=0.5,
        ignore=ignore,
        include_background=include_background,
        smooth=smooth,
        check=check,
    )


def tversky(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    ignore: int = IGNORE_INDEX,
    include_background: bool = False,
    smooth: float = 1.0,
    check: bool = True,
) -> Tensor:
    """One minus the mean Tversky index [4]_: a Dice in which false negatives may weigh more than false positives.

    Per class, TP / (TP + alpha FP + beta FN), of soft counts. With 0.5 and 0.5 it is the Dice; the paper's 0.3 and 0.7
    find more of small structures.

    Parameters
    ----------
    logits, labels, ignore, include_background, smooth, check
        As `soft_dice` takes them.
    alpha, beta : float
        Weights of false positives and of false negatives.

    Returns
    -------
    Tensor of shape (), float32
        0 to 1, as `soft_dice`.

    Raises
    ------
    ValueError
        As `soft_dice` does.
    """
    _targets(logits, labels, ignore, check)
    shares, truth, labelled = _regions(logits, labels, ignore, include_background)
    overlap, predicted, true = _sums(shares, truth, labelled)
    wrong, missed = predicted - overlap, true - overlap
    index = (overlap + smooth / 2) / (overlap + alpha * wrong + beta * missed + smooth / 2).clamp(min=_TINY)
    return _mean_of_present(1 - index, true)


def generalised_dice(logits: Tensor, labels: Tensor, *, ignore: int = IGNORE_INDEX, check: bool = True) -> Tensor:
    """One minus the generalised Dice [5]_: all classes in one fraction, each weighted by 1 / its squared volume.

    Parameters
    ----------
    logits, labels, ignore, check
        As `soft_dice` takes them; background is a class among the others.

    Returns
    -------
    Tensor of shape (), float32
        0 to 1; classes without a pixel in the batch are left out.

    Raises
    ------
    ValueError
        As `soft_dice` does.
    """
    _targets(logits, labels, ignore, check)
    shares, truth, labelled = _regions(logits, labels, ignore, include_background=True)
    overlap, predicted, true = _sums(shares, truth, labelled)
    weights = torch.where(true > 0, 1 / true.clamp(min=1) ** 2, torch.zeros_like(true))
    total = (weights * (predicted + true)).sum()
    loss = 1 - 2 * (weights * overlap).sum() / total.clamp(min=_TINY)
    return loss * (total > 0)


def cl_dice(
    logits: Tensor,
    labels: Tensor,
    *,
    width: int = 3,
    ignore: int = IGNORE_INDEX,
    smooth: float = 1.0,
    check: bool = True,
) -> Tensor:
    """One minus the soft clDice [6]_: the overlap of the centre lines of each side with the other side's mask.

    A gap counts by its length.

    Parameters
    ----------
    logits, labels, ignore, smooth, check
        As `soft_dice` takes them.
    width : int
        Half the width of the widest structure in pixels, which is the number of erosions.

    Returns
    -------
    Tensor of shape (), float32
        0 to 1, mean over the foreground classes that are present.

    Raises
    ------
    ValueError
        As `soft_dice` does.
    """
    _targets(logits, labels, ignore, check)
    shares, truth, labelled = _regions(logits, labels, ignore, include_background=False)
    shares, truth = torch.where(labelled, shares, 0), truth.float()
    lines, true_lines = _skeleton(shares, width), _skeleton(truth, width)
    space = [0, *range(2, logits.ndim)]
    parts = (lines * truth, lines, true_lines * shares, true_lines)
    hits, predicted, true_hits, true = (all_reduce(part.sum(space)) for part in parts)
    precision, recall = (hits + smooth) / (predicted + smooth), (true_hits + smooth) / (true + smooth)
    index = 2 * precision * recall / (precision + recall).clamp(min=_TINY)
    return _mean_of_present(1 - index, true)


def _skeleton(mask: Tensor, n: int) -> Tensor:
    """Soft skeleton (N, K, *spatial): what an opening takes away, after 0 to n erosions ([6]_, algorithm 1)."""
    skeleton = F.relu(mask - _dilated(_eroded(mask)))
    for _ in range(n):
        mask = _eroded(mask)
        skeleton = skeleton + F.relu((mask - _dilated(_eroded(mask))) * (1 - skeleton))
    return skeleton


def _eroded(mask: Tensor) -> Tensor:
    """The least value of a pixel and its neighbours along the axes."""
    pool: Any = F.max_pool2d if mask.ndim == 4 else F.max_pool3d
    ndim = mask.ndim - 2
    sides = [tuple(3 if i == axis else 1 for i in range(ndim)) for axis in range(ndim)]
    parts = [-pool(-mask, side, 1, tuple(s // 2 for s in side)) for side in sides]
    return torch.stack(parts).amin(0)


def _dilated(mask: Tensor) -> Tensor:
    """The greatest value among a pixel and all its neighbours."""
    pool: Any = F.max_pool2d if mask.ndim == 4 else F.max_pool3d
    return pool(mask, 3, 1, 1)  # type: ignore[no-any-return]


def _regions(logits: Tensor, labels: Tensor, ignore: int, include_background: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities and truth (N, K or K - 1, *spatial), and where is labelled (N, 1, *spatial)."""
    first = 0 if include_background else 1
    shares = logits.float().softmax(dim=1)[:, first:]
    labelled = (labels != ignore)[:, None]
    classes = torch.arange(first, logits.shape[1], device=labels.device).reshape(-1, *[1] * (labels.ndim - 1))
    return shares, labelled & (labels[:, None] == classes), labelled


def _sums(shares: Tensor, truth: Tensor, labelled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Overlap, predicted and true volume per class, over the whole batch."""
    space = [0, *range(2, shares.ndim)]
    overlap = all_reduce(torch.where(truth, shares, 0).sum(space))
    predicted = all_reduce(torch.where(labelled, shares, 0).sum(space))
    return overlap, predicted, all_reduce(truth.sum(space).float())


def _mean_of_present(losses: Tensor, true: Tensor) -> Tensor:
    """Mean over the classes with a pixel in the batch; 0, with gradient 0, if there is none."""
    present = (true > 0).float()
    return (losses * present).sum() / present.sum().clamp(min=1)


def dice_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    class_weights: Sequence[float] | Tensor | None = None,
    ignore: int = IGNORE_INDEX,
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


def compound(name: str, logits: Tensor, labels: Tensor, *, weights: Tensor | None = None, check: bool = True) -> Tensor:
    """The sum of a loss of pixels and a loss of regions, by its name.

    Parameters
    ----------
    name : {"dice", "focal", "tversky", "generalised", "cldice"}
        "dice" is `dice_cross_entropy`. "focal" has `gamma` 2 in place of cross-entropy; the others have `tversky`,
        `generalised_dice`, or half `soft_dice` and half `cl_dice`, in place of Dice.
    logits, labels, weights, check
        As `dice_cross_entropy` takes them.

    Raises
    ------
    ValueError
        As `dice_cross_entropy` does, or if the name is unknown.
    """
    if name not in LOSSES:
        raise ValueError(f"loss is {name!r}; expected {', '.join(LOSSES)}")
    entropy = cross_entropy(logits, labels, weights=weights, gamma=2.0 if name == "focal" else 0.0, check=check)
    if name == "tversky":
        return entropy + tversky(logits, labels, check=False)
    if name == "generalised":
        return entropy + generalised_dice(logits, labels, check=False)
    dice = soft_dice(logits, labels, check=False)
    if name == "cldice":
        return entropy + 0.5 * (dice + cl_dice(logits, labels, check=False))
    return entropy + dice


def _targets(logits: Tensor, labels: Tensor, ignore: int, check: bool) -> Tensor:
    """Labels as torch's cross-entropy wants them, int64, after checks."""
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
