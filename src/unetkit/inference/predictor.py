"""From an image to its mask: the one object through which every prediction of the package goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import replace
from itertools import groupby
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..data.readable import Readable
from ..io.block_store import BlockStore
from ..model.card import Card
from ..model.files import read_members
from ..nets.foreign import as_net
from ..nets.net import Net
from ..nets.unetpp import pruned
from ..progress import SILENT, Progress, subrange
from ..tiles import Slices
from .arrays import ArrayLike, Prediction, Sliceable, predict_array, predict_into
from .averaging import Member, average_symmetries, ensemble_parts
from .engines.engine import Engine, window_core, with_engine
from .engines.select import choose_engine
from .execution import Execution
from .input import ArrayInput, NetInput
from .outputs import Outputs, PixelRecords
from .prefetch import BackgroundWriter, Prefetcher
from .prepare import prepare
from .runner import Read
from .tiling import Tiling, choose, plan_tiles
from .work import PendingTile, all_tiles, join_rows, missing_tiles, whole_image

if TYPE_CHECKING:
    from .files import PredictionResult

__all__ = ["Prediction", "Predictor", "load_model"]

Existing = Literal["refuse", "overwrite", "resume"]


class Predictor:
    """A model, ready to run on images of any size: arrays in, masks out.

    Parameters
    ----------
    net : Module or sequence of Module
        A net of this package, or any Module that maps one tensor to one, or to a list, a tuple or a dict of them;
        several of one architecture are an ensemble, whose class probabilities are averaged. Taken as it is in
        evaluation mode; a copy is made ready to run. One that is not local (`is_local`) is run whole where that fits
        the memory, else in tiles that are blended.
    card : Card, optional
        How images are normalised, and what the classes are. Without one images are taken as they are, and labels are
        the index of the largest logit.
    execution : Execution
    source : path or sequence of path
        Where the model was read from; needed by engine int8, and to predict on a cluster.
    progress : Progress
        Told which engine was chosen.
    in_channels, ndim : int, optional
        Of a Module that does not show its number of channels, or of spatial axes.
    output : int or str, optional
        Which tensor, of a Module that returns several: its index or key; the first by default.

    Attributes
    ----------
    net : Module
        The first net as it was given: geometry, receptive fields, weights.
    card : Card or None
    execution : Execution
    engine, engine_key : str
        Name of what computes the net: "torch", "openvino float32", ...; and what `Execution` calls it.
    source : tuple of Path
    members : tuple of Member
        The nets, ready to run.

    Raises
    ------
    ValueError
        If a net cannot be read, the engine or device cannot run it, or averaging over flips would give wrong masks.
    ImportError
        If an engine is not installed.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    >>> result = Predictor(net)(np.zeros((300, 200), np.float32))
    >>> result.labels.shape, result.logits.shape
    ((300, 200), (2, 300, 200))
    """

    def __init__(
        self,
        net: nn.Module | Sequence[nn.Module],
        card: Card | None = None,
        execution: Execution = Execution(),  # noqa: B008 - frozen
        *,
        source: Path | str | Sequence[Path | str] = (),
        progress: Progress = SILENT,
        in_channels: int | None = None,
        ndim: int | None = None,
        output: int | str | None = None,
    ) -> None:
        modules = [net] if isinstance(net, nn.Module) else net
        nets = [as_net(module, in_channels=in_channels, ndim=ndim, output=output) for module in modules]
        if not nets:
            raise ValueError("got no net; expected one, or several of one architecture")
        if any(scale != 1 for scale in nets[0].geometry.scale):
            scale = " x ".join(str(1 / step) for step in nets[0].geometry.scale)
            raise ValueError(
                f"the net returns {scale} of the image's pixels per axis; expected all of them: wrap it in a module "
                "that resizes its output, such as nn.Sequential(net, nn.Upsample(scale_factor=...))"
            )
        flips = card.flips if card else None
        if execution.tta and flips is not None and not any(flips):
            raise ValueError(
                "the model was trained without flips, so averaging over flips would give wrong masks: predict without "
                "--tta"
            )
        if execution.level is not None:
            nets = [pruned(one, execution.level) for one in nets]
        self.net, self.card, self.execution = nets[0], card, execution
        self.source = tuple(map(Path, [source] if isinstance(source, Path | str) else source))
        device = execution.find_device()
        ready = [prepare(one, device=device) for one in nets]
        self.engine = self.engine_key = "torch"
        if execution.engine != "torch":
            if len(nets) > 1:
                raise ValueError(
                    f"engine is {execution.engine}, but an ensemble of {len(nets)} nets is computed by torch"
                )
            run = self.source[0] if self.source else None
            chosen = choose_engine(ready[0], run, execution.engine, progress=progress)
            self.engine, self.engine_key = chosen.name, chosen.key
            if chosen.name != "torch":
                ready = [with_engine(ready[0], chosen)]
        may_stream = device == "cpu" and self.engine == "torch"
        self.members = tuple(Member(one, may_stream) for one in ready)

    @classmethod
    def load(
        cls,
        models: Sequence[Path | str],
        execution: Execution = Execution(),  # noqa: B008 - frozen
        *,
        progress: Progress = SILENT,
    ) -> Predictor:
        """The models in some files or run folders as one; see `load_model`."""
        paths = [Path(model) for model in models]
        if not paths:
            raise ValueError("got no model; expected a run folder or a model file")
        nets: list[Net] = []
        cards: list[Card] = []
        for path in paths:
            members, card = read_members(path)
            nets += members
            cards.append(card)
        card = cards[0]
        for path, other in zip(paths[1:], cards[1:], strict=True):
            for name in ("architecture", "labels", "planes", "intensity"):
                if getattr(other, name) != getattr(card, name):
                    raise ValueError(f"{path}: its {name} is not that of {paths[0]}; an ensemble needs models alike")
        if len(cards) > 1:
            card = card.model_copy(update={"temperature": float(np.mean([other.temperature for other in cards]))})
        return cls(nets, card, execution, source=paths, progress=progress)

    def computed_by(self, engine: Engine) -> Predictor:
        """The same single net, computed by an engine that was made from it."""
        other = copy(self)
        other.engine, other.engine_key = engine.name, engine.key
        other.members = (Member(with_engine(self.members[0].net, engine), may_stream=False),)
        return other

    @property
    def file_card(self) -> Card:
        """The card, without which files cannot be read.

        Raises
        ------
        ValueError
            If there is none.
        """
        if self.card is None:
            raise ValueError(
                "the predictor has no card, so it is not known how files are normalised and what the classes are: "
                "call it on arrays, or load a trained model"
            )
        return self.card

    @property
    def planes(self) -> int | None:
        """Adjacent planes of a volume that a 2D net reads at a time; None where images have the net's own axes."""
        return self.card.planes if self.card else None

    @property
    def n_nets(self) -> int:
        """Nets of the ensemble; 1 for a single one."""
        return len(self.members)

    # --- how an image is run ---

    def plan(self, size: Sequence[int], *, most: int | None = None) -> Tiling:
        """How an image of `size`, or each plane of a volume that is run plane by plane, will be run.

        With `most`, blocks of a large image have at most so many pixels along each axis.

        Raises
        ------
        ValueError
            If no way fits the memory; the least that works is named.
        """
        net, size = self.members[0].net, tuple(size[-self.net.ndim :])
        memory_bytes = self.execution.memory_bytes // len(self.members)
        if self.engine != "torch":
            engine: Any = net.engine
            own = window_core(net.ndim, engine.values_per_float)
            most = own if most is None else min(own, most)
            tiling = plan_tiles(net, size, memory_bytes=memory_bytes * engine.values_per_float, most=most)
            return replace(tiling, memory_bytes=tiling.memory_bytes // engine.values_per_float)
        return choose(net, size, memory_bytes=memory_bytes, stream=self.members[0].stream_for(size), most=most)

    def describe(self, tiling: Tiling) -> str:
        """How an image is run, in one line for the user."""
        words = tiling.describe() if self.planes is None else f"plane by plane, each {tiling.describe()}"
        words += f", by {self.n_nets} nets" if self.n_nets > 1 else ""
        return words if self.engine == "torch" else f"{words}, by {self.engine}"

    def block_size(self, tiling: Tiling, size: tuple[int, ...]) -> tuple[int, ...]:
        """Pixels per axis of the blocks in which the mask of an image of `size` is made."""
        block = tiling.size if self.execution.tta else tiling.block
        return (1,) * (len(size) - len(block)) + block

    def missing_tiles(self, store: BlockStore, tiling: Tiling) -> list[PendingTile]:
        """What has to be run for the blocks that are not in a store."""
        places = self._places(store.size)
        if self.needs_whole(tiling):
            origin = (0,) * len(tiling.size)
            return [PendingTile(at, whole_image(tiling)) for at in places if (*at, *origin) not in store]
        geometry = self.net.geometry
        return [pending for at in places for pending in missing_tiles(geometry, store, at, tiling)]

    def needs_whole(self, tiling: Tiling) -> bool:
        """Whether an image comes out in one piece: averaged over its symmetries, or blended from tiles that overlap."""
        return self.execution.tta or not tiling.is_exact

    def _places(self, size: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [()] if self.planes is None else [(z,) for z in range(size[0])]

    # --- logits, and blocks of a mask ---

    def logits(
        self,
        image: NetInput,
        tiling: Tiling | None = None,
        pending: Sequence[PendingTile] | None = None,
        *,
        progress: Progress = SILENT,
    ) -> Iterator[tuple[Slices, Tensor]]:
        """Run the net over an image, and hand on each part of the result as soon as it is there.

        Parameters
        ----------
        image : NetInput
            Such as `ArrayInput`, for a normalised array.
        tiling : Tiling, optional
            From `plan`.
        pending : sequence of PendingTile, optional
            Parts of the image; all of it by default.
        progress : Progress
            In pixels.

        Yields
        ------
        (pixels, logits) : tuple of slice, Tensor of shape (K, *pixels)
            Every pixel once; of an ensemble, or with test-time averaging, logarithms of the mean probabilities.
        """
        tiling = tiling or self.plan(image.size)
        for place, parts in self._parts(image, tiling, pending, progress):
            lead = tuple(slice(z, z + 1) for z in place)
            for pixels, logits in parts:
                yield (*lead, *pixels), logits[(slice(None), *(None,) * len(lead))]

    def _parts(
        self, image: NetInput, tiling: Tiling, pending: Sequence[PendingTile] | None, progress: Progress
    ) -> Iterator[tuple[tuple[int, ...], Iterator[tuple[Slices, Tensor]]]]:
        """Place by place the parts of the result, with the axes of the net."""
        if pending is None:
            places = self._places(image.size)
            whole = [PendingTile(at, whole_image(tiling)) for at in places]
            pending = whole if self.needs_whole(tiling) else all_tiles(tiling, places)
        total = max(sum(prod(part.stop - part.start for part in one.tile.core) for one in pending), 1)
        done = 0
        for place, group in groupby(pending, key=lambda part: part.place):
            tiles = [one.tile for one in group]
            area = sum(prod(part.stop - part.start for part in tile.core) for tile in tiles)
            share = subrange(progress, done, done + area, total)
            done += area
            read: Read = image.plane(*place) if place else image
            if self.execution.tta:
                yield place, iter([(tiles[0].core, self._average(read(tiles[0].core), share))])
                continue
            # Of a stream it is known which rows come next.
            reader: AbstractContextManager[Read]
            reader = nullcontext(read) if tiling.slab is None else Prefetcher(read, tiling.size[0])
            with reader as ahead:
                yield place, _counted(ensemble_parts(self.members, ahead, tiling, tiles=tiles), area, share)

    def _average(self, image: Tensor, progress: Progress) -> Tensor:
        """Logarithms of the probabilities of one image, averaged over its symmetries and the nets."""
        flips, n = (self.card.flips if self.card else None), len(self.members)
        memory_bytes = self.execution.memory_bytes // n
        total = torch.zeros(())
        for i, member in enumerate(self.members):
            share = subrange(progress, i / n, (i + 1) / n)
            total = total + average_symmetries(member, image, memory_bytes=memory_bytes, flips=flips, progress=share)
        return (total / n).log()

    def run(self, image: Readable, finish: Callable[[Tensor], np.ndarray]) -> np.ndarray:
        """Run the net over a normalised image, and keep what `finish` makes of the logits.

        Parameters
        ----------
        image : array of shape (C, *spatial), float32
            A volume for a net that reads planes.
        finish : callable
            Called with logits (K, *pixels); returns values (..., *pixels), such as their argmax.

        Returns
        -------
        ndarray of shape (..., *spatial)
        """
        result: np.ndarray | None = None
        for pixels, logits in self.logits(ArrayInput(image, self.planes)):
            values = finish(logits)
            if result is None:
                result = np.empty((*values.shape[: values.ndim - len(pixels)], *image.shape[1:]), values.dtype)
            box: Any = (..., *pixels)
            result[box] = values
        if result is None:
            raise ValueError(f"the image of {image.shape[1:]} pixels is empty")
        return result

    def blocks(
        self,
        image: NetInput,
        tiling: Tiling,
        records: PixelRecords,
        pending: Sequence[PendingTile] | None = None,
        *,
        progress: Progress = SILENT,
    ) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        """Blocks of a mask: (first pixel, records); what a map holds no data for is marked.

        Parameters
        ----------
        image, tiling, pending, progress
            As `logits` takes them.
        records : PixelRecords
            What is kept of a pixel.
        """
        for place, parts in self._parts(image, tiling, pending, progress):
            encoded = ((pixels, records.encode(logits)) for pixels, logits in parts)
            height = tiling.size[0] if self.execution.tta else tiling.block[0]
            for pixels, values in join_rows(encoded, height, tiling.size[0]):
                if image.missing and not place:
                    records.erase(values, ~image.valid(pixels))
                yield (*place, *(part.start for part in pixels)), values[(None,) * len(place)]

    def fill(
        self, store: BlockStore, image: NetInput, tiling: Tiling, records: PixelRecords, progress: Progress = SILENT
    ) -> None:
        """Make the blocks of a mask that are not in the store yet, which has blocks of `block_size`."""
        share = subrange(progress, 1 - store.left_pixels / prod(image.size), 1.0)
        pending = self.missing_tiles(store, tiling)
        with BackgroundWriter() as write:
            for start, values in self.blocks(image, tiling, records, pending, progress=share):
                write(store.write, start, values)

    # --- arrays ---

    def __call__(self, image: ArrayLike, outputs: Outputs = Outputs()) -> Prediction:  # noqa: B008 - frozen
        """Segment one image.

        Parameters
        ----------
        image : array of shape (C, *spatial) or (*spatial), Tensor, or Image
            Any real dtype, finite. An array may be of numpy, or anything that has a shape and a dtype and can be sliced
            (a Zarr array, a memory map, a dataset of HDF5): it is read part by part. An `Image` also says its pixel
            size: it is resampled to that of the training images where the model asks for it; arrays are taken to have
            it.
        outputs : Outputs
            Maps that are wanted beside the labels.

        Returns
        -------
        Prediction
            Of the image's size.

        Raises
        ------
        TypeError
            If the values are complex numbers or objects.
        ValueError
            If the image is empty, has other axes or channels than the net takes, or a value is not finite.
        """
        return predict_array(self, image, outputs)

    def predict_into(
        self,
        image: ArrayLike,
        *,
        labels: Sliceable | None = None,
        logits: Sliceable | None = None,
        progress: Progress = SILENT,
    ) -> None:
        """Segment one image into arrays that are there, part by part, so that neither need fit into memory.

        Parameters
        ----------
        image
            As `__call__` takes it.
        labels : array of shape (*spatial), integer, optional
            Anything that can be sliced: of numpy, a memory map, Zarr, HDF5.
        logits : array of shape (K, *spatial), float, optional
            For the net's raw output.
        progress : Progress
            In pixels.

        Raises
        ------
        ValueError
            If there is neither, a shape is not that of the result, or the model separates objects, which needs the
            whole mask: see `predict_files`.
        """
        predict_into(self, image, labels=labels, logits=logits, progress=progress)

    # --- files ---

    def predict_files(
        self,
        inputs: Sequence[Path | str],
        out: Path | str,
        *,
        outputs: Outputs = Outputs(),  # noqa: B008 - frozen
        existing: Existing = "refuse",
        within: Path | str | None = None,
        cluster: str | None = None,
        progress: Progress = SILENT,
    ) -> list[PredictionResult]:
        """Segment image files of any size: masks of the same name, size, spacing and place; see `inference.files`."""
        from .files import predict_files

        return predict_files(
            self, inputs, out, outputs=outputs, existing=existing, within=within, cluster=cluster, progress=progress
        )


def _counted(parts: Iterator[tuple[Slices, Tensor]], total: int, progress: Progress) -> Iterator[tuple[Slices, Tensor]]:
    done = 0
    for pixels, logits in parts:
        yield pixels, logits
        done += prod(part.stop - part.start for part in pixels)
        progress.update(min(done, total), total)
    progress.update(total, total)  # the last tiles may reach into the padding


def load_model(
    model: Path | str | Sequence[Path | str],
    execution: Execution = Execution(),  # noqa: B008 - frozen
    *,
    progress: Progress = SILENT,
) -> Predictor:
    """Load a trained model, ready to run.

    Parameters
    ----------
    model : path or sequence of path
        A run folder, that of a cross-validation, or a model file; several are an ensemble, whose class probabilities
        are averaged.
    execution : Execution
        How it is run.
    progress : Progress
        Told which engine was chosen.

    Returns
    -------
    Predictor
        `predictor(array)` gives labels; `predictor.predict_files(inputs, out)` writes masks; `predictor.net` and
        `predictor.card` are the net and what is known of it.

    Raises
    ------
    FileNotFoundError
        If there is no such model.
    ValueError
        If a file is damaged, pickled or of a newer version, or the models of an ensemble do not fit one another.
    """
    return Predictor.load([model] if isinstance(model, Path | str) else model, execution, progress=progress)
