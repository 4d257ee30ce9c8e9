"""What is looked at: a net, and the image that it looks at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..data.channels import read_channels
from ..data.normalise import for_net
from ..data.planes import around
from ..graph.cost import cost
from ..graph.graph import Graph, read
from ..io import read_labels
from ..labels.kind import to_classes
from ..model.card import Card
from ..nets.net import Net

__all__ = ["Inspection", "image_subject", "noise_subject", "subject"]

_MOST_MACS = 4 * 10**10  # about half a second on two cores: every tool runs the net several times
_NOISE_SIDE = {2: 256, 3: 64}


@dataclass(frozen=True)
class Inspection:
    """A net and an image for it.

    Attributes
    ----------
    name : str
        Of the net.
    net : Module
        In evaluation mode, on the CPU.
    graph : Graph
    image : Tensor of shape (1, C, *spatial), float32
        Standardised, of a size that fits the net.
    source : str
        What the image is, in words: "21.png", "21.png, its middle 512 x 512 pixels", "noise".
    truth : ndarray of shape (*spatial), uint8, or None
        Class indices of the image's pixels, 255 where not labelled; of the image's size, for unpadded nets too.
    classes : tuple of str
        Names, background first.
    is_trained : bool
    """

    name: str
    net: nn.Module
    graph: Graph
    image: Tensor
    source: str
    truth: np.ndarray | None = None
    classes: tuple[str, ...] = ("background", "foreground")
    is_trained: bool = True

    @property
    def ndim(self) -> int:
        """Spatial axes."""
        return self.image.ndim - 2

    @property
    def size(self) -> tuple[int, ...]:
        """Of the image, in pixels."""
        return tuple(self.image.shape[2:])

    @property
    def is_noise(self) -> bool:
        """Whether there is no real image."""
        return self.source == "noise"

    @property
    def output_truth(self) -> np.ndarray | None:
        """The truth of the pixels that the net predicts: all of them, or for an unpadded net the middle ones."""
        if self.truth is None:
            return None
        size = self.graph.geometry.output_size(self.size)
        if size == self.size:
            return self.truth
        margins = zip(self.graph.geometry.margin, size, strict=True)
        return self.truth[tuple(slice(before, before + n) for (before, _), n in margins)]

    @torch.no_grad()
    def logits(self) -> Tensor:
        """What the net says of the image: (1, K, *spatial)."""
        result: Tensor = self.net(self.image)
        return result


def subject(
    net: nn.Module, image: np.ndarray, *, name: str, source: str, truth: np.ndarray | None = None
) -> Inspection:
    """Look at a net through an image, cropped to its middle to what fits the net and is quickly computed.

    Parameters
    ----------
    net : Module
        One that `graph.graph.read` can read.
    image : ndarray of shape (C, *spatial), float32
        As the net is given images: standardised, where it was trained so.
    name, source : str
        Of the net and of the image, for the pictures.
    truth : ndarray of shape (*spatial), integer, optional
        Classes of the pixels; 255 is not labelled.

    Raises
    ------
    ValueError
        If the net cannot be read, channels or axes are not the net's, or the image is smaller than what fits the net.
    """
    graph = net.graph if isinstance(net, Net) else read(net)
    ndim, channels = len(graph.geometry.axes), graph.layers[0].channels
    if image.ndim != ndim + 1 or image.shape[0] != channels:
        raise ValueError(
            f"the image has the shape {image.shape}; this {ndim}D net takes {channels} channels, as (C, *spatial)"
        )
    have = tuple(image.shape[1:])
    if truth is not None and truth.shape != have:
        raise ValueError(f"the truth has {truth.shape} pixels, the image {have}: expected the same")
    size = _size(graph, have)
    start = tuple((n - m) // 2 for n, m in zip(have, size, strict=True))
    middle = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
    said = source if size == have else f"{source}, its middle {' x '.join(map(str, size))} pixels"
    part = torch.from_numpy(np.ascontiguousarray(image[(slice(None), *middle)], dtype=np.float32))[None]
    return Inspection(name, net.eval(), graph, part, said, None if truth is None else truth[middle].astype(np.uint8))


def _size(graph: Graph, have: tuple[int, ...]) -> tuple[int, ...]:
    """The largest size within `have` that fits the net and costs little; its longest sides are cut first."""
    size = list(have)
    while True:
        fitting = graph.geometry.below(size)
        if None in fitting:
            least = graph.geometry.above((1,) * len(have))
            raise ValueError(
                f"the image has {' x '.join(map(str, have))} pixels; the smallest that this net takes is "
                f"{' x '.join(map(str, least))}: use a larger image"
            )
        found = tuple(n for n in fitting if n is not None)
        smallest = graph.geometry.above((1,) * len(have))
        if cost(graph, found).macs <= _MOST_MACS or all(n <= 2 * m for n, m in zip(found, smallest, strict=True)):
            return found
        longest = max(range(len(size)), key=lambda k: found[k])
        size[longest] = max(int(found[longest] * 0.8), smallest[longest])
        if tuple(size) == found:
            return found


def noise_subject(net: nn.Module, *, name: str, is_trained: bool = False, seed: int = 0) -> Inspection:
    """A net without an image: it is given Gaussian noise, which is enough for what follows from the net alone."""
    graph = net.graph if isinstance(net, Net) else read(net)
    ndim, channels = len(graph.geometry.axes), graph.layers[0].channels
    least = graph.geometry.above((1,) * ndim)
    size = graph.geometry.above([max(_NOISE_SIDE[ndim], n) for n in least])
    noise = np.random.default_rng(seed).normal(size=(channels, *size)).astype(np.float32)
    return replace(subject(net, noise, name=name, source="noise"), is_trained=is_trained)


def image_subject(net: Net, card: Card | None, files: tuple[Path, ...], *, mask: Path | None, name: str) -> Inspection:
    """A net and an image file, with its mask if there is one.

    Parameters
    ----------
    net : Net
    card : Card, optional
        Of a trained model: how images are given to it, and what masks hold.
    files : tuple of Path
        The image, or one file per channel.
    mask : Path, optional
        Its true mask.
    name : str
        Of the model.

    Raises
    ------
    ValueError
        If the image cannot be given to the net, or mask and image differ in size.
    """
    image = read_channels(files)
    planes = card.planes if card else None
    channels, ndim = (net.in_channels, net.ndim) if planes is None else (net.in_channels // planes, 3)
    array = for_net(image, channels=channels, ndim=ndim)
    truth = to_classes(read_labels(mask).array, card.labels) if mask and card else None
    source = files[0].name
    if truth is not None and truth.shape != array.shape[1:]:
        raise ValueError(f"{files[0]}: is {array.shape[1:]} pixels, its mask {mask} {truth.shape}")
    if planes is not None:  # of a volume, the plane with most foreground, or the middle one
        z = array.shape[1] // 2 if truth is None else int((truth % 255 > 0).reshape(len(truth), -1).sum(1).argmax())
        array, truth, source = around(array, z, planes), None if truth is None else truth[z], f"{source}, plane {z}"
    found = subject(net, array, name=name, source=source, truth=truth)
    return replace(found, classes=tuple(card.classes)) if card else found
