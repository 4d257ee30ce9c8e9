"""The input of every tool that shows a net at work: the net, and the image that it is inspected with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..data.channels import read_channels
from ..data.normalised import prepare_for_net
from ..graph.cost import cost
from ..graph.graph import Graph
from ..graph.read import read
from ..inference.input import InputImage
from ..io import read_coded_labels
from ..io.decoder_errors import naming
from ..io.grid import Grid
from ..io.placement import turned_onto
from ..io.resample import to_size
from ..labels.kind import to_classes
from ..labels.numbering import numbering_of
from ..model.card import Card
from ..nets.net import Net

__all__ = ["Inspection", "inspect_array", "inspect_image", "inspect_noise"]

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
        Description of the image: "21.png", "21.png, its middle 512 x 512 pixels", "noise".
    truth : ndarray of shape (*spatial), uint8, or None
        Class indices of the image's pixels, 255 where not labelled; of the image's size, for unpadded nets too.
    classes : tuple of str
        Names, background first.
    is_trained : bool
    notes : tuple of str
        Sentences for the user: how the image was chosen, and whether it was resampled.
    """

    name: str
    net: nn.Module
    graph: Graph
    image: Tensor
    source: str
    truth: np.ndarray | None = None
    classes: tuple[str, ...] = ("background", "foreground")
    is_trained: bool = True
    notes: tuple[str, ...] = ()

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
        """True if there is no real image."""
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
        """Run the net on the image: (1, K, *spatial)."""
        result: Tensor = self.net(self.image)
        return result


def inspect_array(
    net: nn.Module, image: np.ndarray, *, name: str, source: str, truth: np.ndarray | None = None
) -> Inspection:
    """Inspect a net with an array, cropped to the largest middle part that fits the net and is computed quickly.

    Parameters
    ----------
    net : Module
        One that `graph.read.read` can read.
    image : ndarray of shape (C, *spatial), float32
        As the net takes it: standardised, if it was trained so.
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
    whole = tuple(image.shape[1:])
    if truth is not None and truth.shape != whole:
        raise ValueError(f"the truth has {truth.shape} pixels, the image {whole}: expected the same")
    size = _inspected_size(graph, whole)
    middle = tuple(slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(whole, size, strict=True))
    if size != whole:
        source = f"{source}, its middle {' x '.join(map(str, size))} pixels"
    part = torch.from_numpy(np.ascontiguousarray(image[(slice(None), *middle)], dtype=np.float32))[None]
    return Inspection(name, net.eval(), graph, part, source, None if truth is None else truth[middle].astype(np.uint8))


def _inspected_size(graph: Graph, whole: tuple[int, ...]) -> tuple[int, ...]:
    """The largest size within `whole` that fits the net and costs little; its longest sides are cut first."""
    size, smallest = list(whole), graph.geometry.above((1,) * len(whole))
    while True:
        fitting = tuple(n for n in graph.geometry.below(size) if n is not None)
        if len(fitting) < len(size):
            raise ValueError(
                f"the image has {' x '.join(map(str, whole))} pixels; the smallest that this net takes is "
                f"{' x '.join(map(str, smallest))}: use a larger image"
            )
        if cost(graph, fitting).macs <= _MOST_MACS or all(n <= 2 * m for n, m in zip(fitting, smallest, strict=True)):
            return fitting
        longest = fitting.index(max(fitting))
        size[longest] = max(int(fitting[longest] * 0.8), smallest[longest])
        if tuple(size) == fitting:
            return fitting


def inspect_noise(net: nn.Module, *, name: str, is_trained: bool = False, seed: int = 0) -> Inspection:
    """Inspect a net with Gaussian noise, for the properties that follow from the net alone."""
    graph = net.graph if isinstance(net, Net) else read(net)
    ndim, channels = len(graph.geometry.axes), graph.layers[0].channels
    least = graph.geometry.above((1,) * ndim)
    size = graph.geometry.above([max(_NOISE_SIDE[ndim], n) for n in least])
    noise = np.random.default_rng(seed).normal(size=(channels, *size)).astype(np.float32)
    return replace(inspect_array(net, noise, name=name, source="noise"), is_trained=is_trained)


def inspect_image(
    net: Net, card: Card | None, files: tuple[Path, ...], *, mask: Path | None = None, name: str
) -> Inspection:
    """Inspect a net with an image file as `predict` gives it to the net, and with its mask if there is one.

    An image whose pixels have another size than the model's is resampled as in prediction, and its mask with it
    (nearest neighbour); a note tells the user.

    Parameters
    ----------
    net : Net
    card : Card, optional
        Of a trained model: how it takes images, and what masks hold.
    files : tuple of Path
        The image, or one file per channel.
    mask : Path, optional
        Its true mask; only with a card.
    name : str
        Of the model.

    Raises
    ------
    ValueError
        If the image does not suit the net, or mask and image differ in size.
    """
    source, truth = files[0].name, None
    notes: tuple[str, ...] = ()
    if card is None:
        with naming(*files):
            array = prepare_for_net(read_channels(files), channels=net.in_channels, ndim=net.ndim)
            return inspect_array(net, array, name=name, source=source)
    with InputImage.open(files, net, card) as image:
        whole = image.image.size
        spacing = [step * n / m for step, n, m in zip(image.image.spacing, whole, image.size, strict=True)]
        if image.size != whole:
            own, usual = (" x ".join(f"{step:g}" for step in steps) for steps in (image.image.spacing, card.spacing))
            notes = (
                f"the image has pixels of {own} {image.image.unit} and was resampled to the {usual} {card.unit} of the "
                f"model, {' x '.join(map(str, image.size))} pixels, as for prediction",
            )
        if mask is not None:
            stored, code = read_coded_labels(mask, grid=Grid.of(files[0], image.image, is_one_of_many=True))
            stored = replace(stored, array=numbering_of(card.labels, code).array(stored.array, code))
            try:
                labels = turned_onto(stored, image.image).array
            except ValueError as error:
                raise ValueError(f"{mask}: {error} (counterpart: {files[0]})") from None
            if labels.shape != whole:
                raise ValueError(f"{files[0]}: is {whole} pixels, its mask {mask} {labels.shape}")
            truth = to_classes(to_size(labels, image.size), card.labels, spacing=spacing)
        if card.planes is None:
            array = image(tuple(slice(0, n) for n in image.size)).numpy()
        else:  # of a volume, the plane with most foreground, or the middle one
            is_foreground = None if truth is None else ((truth > 0) & (truth < 255)).reshape(len(truth), -1)
            z = image.size[0] // 2 if is_foreground is None else int(is_foreground.sum(1).argmax())
            array = image.plane(z)(tuple(slice(0, n) for n in image.size[1:])).numpy()
            source, truth = f"{source}, plane {z}", None if truth is None else truth[z]
    with naming(*files):
        inspection = inspect_array(net, array, name=name, source=source, truth=truth)
    return replace(inspection, classes=tuple(card.classes), notes=notes)
