"""From image files to mask files of the same size, spacing and name."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..image import Image
from ..io import list_images, open_lazy, write_labels
from ..io.names import suffix_of
from ..learn.channels import read_channels
from ..learn.checkpoint import Card, load_model
from ..learn.intensity import for_net
from ..learn.pairs import Cases, channel_number, group_channels, raise_all
from ..masks.labels import from_classes
from ..nets.net import Net
from ..nets.unetpp import pruned
from .planes import by_planes
from .tiled import Tiling, plan_tiles, prepare, run, symmetries

DEFAULT_MEMORY = 2 * 2**30
_LOSSLESS = {".jpg": ".png", ".jpeg": ".png"}  # the others hold ids as they are


@dataclass(frozen=True)
class Predicted:
    """One mask that was written.

    Attributes
    ----------
    source, mask : Path
        The image, or the first of its files.
    size : tuple of int
        In pixels.
    tiling : Tiling
    time_s : float
        Of the net alone, without reading and writing.
    """

    source: Path
    mask: Path
    size: tuple[int, ...]
    tiling: Tiling
    time_s: float


@dataclass(frozen=True)
class Step:
    """Progress of a prediction: file `file` of `files`, share `fraction` of it done, and a line for the user or ""."""

    file: int
    files: int
    fraction: float
    message: str = ""


def predict(
    model: Path | str,
    inputs: Sequence[Path | str],
    *,
    out: Path | str,
    memory_bytes: int = DEFAULT_MEMORY,
    average_symmetries: bool = False,
    prune: int | None = None,
    overwrite: bool = False,
    observer: Callable[[Step], None] | None = None,
) -> list[Predicted]:
    """Segment images of any size.

    Parameters
    ----------
    model : path
        A run folder or a model file.
    inputs : sequence of path
        Image files, or folders of them. Where the net takes k channels and all names end in
        _0000 to k - 1, case_0000.*, case_0001.*, ... are one image, and its mask is case.*.
    out : path
        Folder for the masks. A mask has its image's name, size and pixel size, lies where the
        image lies (NIfTI), and has the values that the training masks had; JPEG images get
        PNG masks.
    memory_bytes : int
        Budget for the net's maps; larger images are run in tiles that give exactly the
        same mask.
    average_symmetries : bool
        Average the class probabilities over all flips and quarter turns: 8 times the
        work in 2D, often a little better.
    prune : int, optional
        Of a UNet++ with a head on every depth: compute only the nodes that the head of this
        level needs, 1 (fastest) to its depth.
    overwrite : bool
        Replace masks that exist.
    observer : callable, optional
        Called with a `Step`.

    Returns
    -------
    list of Predicted

    Raises
    ------
    ValueError
        Naming every image that cannot be used, or not within the memory, before anything is
        computed.
    FileExistsError
        Naming every mask that exists, unless `overwrite`; or if `out` is a file.
    """
    say = observer or (lambda step: None)
    net, card = load_model(model)
    net = net if prune is None else pruned(net, prune)
    jobs = _jobs(inputs, Path(out), overwrite, channels=net.in_channels // (card.planes or 1))
    ready = prepare(net, device="cuda" if torch.cuda.is_available() else "cpu")
    tilings = _plan_all([files for files, _ in jobs], ready, card, memory_bytes)
    if average_symmetries and card.augmentation != "full":
        say(Step(0, len(jobs), 0.0, "the net was trained without flips: averaging over flipped images may do worse"))
    results = []
    for i, ((files, mask), tiling) in enumerate(zip(jobs, tilings, strict=True)):
        source, image = files[0], read_channels(files)
        array = torch.from_numpy(_for_net(image, net, card))
        for note in image.notes:
            say(Step(i, len(jobs), 0.0, f"{source.name}: {note}"))
        how = tiling.describe() if card.planes is None else f"plane by plane, each {tiling.describe()}"
        say(Step(i, len(jobs), 0.0, f"{source.name}: {' x '.join(map(str, image.size))} pixels, {how}"))

        def on_share(fraction: float, i: int = i) -> None:
            say(Step(i, len(jobs), fraction))

        start = time.perf_counter()
        classes = segment(
            ready, array, tiling, average_symmetries=average_symmetries, planes=card.planes, on_share=on_share
        )
        seconds = time.perf_counter() - start
        _write(mask, classes, image, card)
        results.append(Predicted(source, mask, image.size, tiling, seconds))
        say(Step(i + 1, len(jobs), 0.0))
    return results


def segment(
    net: Net,
    image: Tensor,
    tiling: Tiling,
    *,
    average_symmetries: bool = False,
    planes: int | None = None,
    on_share: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Class indices (*spatial), uint8, of one standardised image (C, *spatial).

    Parameters
    ----------
    net : Net
        From `prepare`.
    image : Tensor of shape (C, *spatial), float32
    tiling : Tiling
        For the image, or each of its planes, as it is; turned copies are tiled within the same memory.
    average_symmetries : bool
        Average class probabilities over flips and quarter turns.
    planes : int, optional
        The image is a volume (C, z, y, x) and the net a 2D one, which is given so many adjacent
        planes at a time and predicts the middle one.
    on_share : callable, optional
        Called with the share done, 0 to 1.
    """
    tell = on_share or (lambda share: None)
    if planes is not None:
        depth = image.shape[1]

        def on_plane(part: np.ndarray, z: int) -> np.ndarray:
            def on_part(share: float) -> None:
                tell((z + share) / depth)

            return segment(net, torch.from_numpy(part), tiling, average_symmetries=average_symmetries, on_share=on_part)

        return by_planes(image.numpy(), planes, on_plane)
    if not average_symmetries:
        done = run(net, image, tiling, finish=_argmax, progress=lambda i, n: tell(i / n))
        return done.cpu().numpy()
    views = list(symmetries(net.ndim))
    total = torch.zeros(())
    for k, (turn, back) in enumerate(views):
        turned = turn(image)
        plan = plan_tiles(net, turned.shape[1:], memory_bytes=tiling.memory_bytes)

        def on_tile(done: int, tiles: int, k: int = k) -> None:
            tell((k + done / tiles) / len(views))

        total = total + back(run(net, turned, plan, finish=_softmax, progress=on_tile))
    return _argmax(total).cpu().numpy()


def _argmax(logits: Tensor) -> Tensor:
    return logits.argmax(0).to(torch.uint8)


def _softmax(logits: Tensor) -> Tensor:
    return logits.float().softmax(0)


def _jobs(
    inputs: Sequence[Path | str], out: Path, overwrite: bool, *, channels: int
) -> list[tuple[tuple[Path, ...], Path]]:
    """Pairs (files of an image, mask to write); every conflict is named at once."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out}: is a file; name a folder for the masks")
    sources: list[Path] = []
    for item in map(Path, inputs):
        sources += list_images(item) if item.is_dir() else [item]
    raise_all((f"{s}: there is no such file" for s in sources if not s.exists()), "missing file")
    cases = _cases(list(dict.fromkeys(sources)), channels)
    jobs = [(files, out / _mask_name(name, files[0])) for name, files in cases]
    by_mask: dict[Path, list[Path]] = {}
    for (source, *_), mask in jobs:
        by_mask.setdefault(mask, []).append(source)
    clashes = [f"{mask}: would hold {' and '.join(map(str, of))}" for mask, of in by_mask.items() if len(of) > 1]
    raise_all(clashes, "shared mask name")
    same = [str(mask) for files, mask in jobs if mask.resolve() in [file.resolve() for file in files]]
    raise_all((f"{mask}: the mask would replace its own image; name another folder" for mask in same), "conflict")
    existing = [mask for mask in by_mask if mask.exists()]
    if existing and not overwrite:
        listed = "\n".join(f"  {mask}" for mask in existing)
        number = "1 mask exists" if len(existing) == 1 else f"{len(existing)} masks exist"
        raise FileExistsError(f"{number}; add --overwrite, or name another folder:\n{listed}")
    return jobs


def _cases(sources: list[Path], channels: int) -> Cases:
    """Name and files of every image: one file each, unless all are named as files of one channel each."""
    numbers = [channel_number(source) for source in sources]
    is_by_channel = bool(sources) and all(number is not None and number < channels for number in numbers)
    if is_by_channel and not (channels > 1 and _has_channels(sources[0])):
        return group_channels(sources, channels=channels)
    return [(source.name[: len(source.name) - len(suffix_of(source))], (source,)) for source in sources]


def _has_channels(source: Path) -> bool:
    """Whether a file has several channels itself, so that the number in its name is not that of a channel."""
    try:
        with open_lazy(source) as image:
            return image.shape[0] > 1
    except (ValueError, OSError, MemoryError):
        return False  # said with everything else that is wrong, when all images are read


def _mask_name(name: str, source: Path) -> str:
    suffix = suffix_of(source)
    return name + _LOSSLESS.get(suffix, suffix)


def _for_net(image: Image, net: Net, card: Card) -> np.ndarray:
    """What the net is given for an image, checked and standardised: a whole volume where it takes planes of one."""
    if card.planes is None:
        return for_net(image, channels=net.in_channels, ndim=net.ndim)
    if image.ndim != net.ndim + 1:
        raise ValueError(
            f"has {image.ndim} spatial axes, {' x '.join(map(str, image.size))}; this net was trained on volumes, "
            f"{card.planes} plane{'s'[: card.planes > 1]} at a time: give it volumes"
        )
    return for_net(image, channels=net.in_channels // card.planes, ndim=image.ndim)


def _plan_all(sources: Sequence[tuple[Path, ...]], net: Net, card: Card, memory_bytes: int) -> list[Tiling]:
    """Read every image once before the work starts, so that a bad one is known now and not in an hour."""
    tilings, problems = [], []
    for files in sources:
        try:
            image = read_channels(files)
            _for_net(image, net, card)
            tilings.append(plan_tiles(net, image.size[-net.ndim :], memory_bytes=memory_bytes))
        except (ValueError, OSError, MemoryError) as error:
            text = str(error)
            problems.append(text if any(str(file) in text for file in files) else f"{files[0]}: {text}")
    raise_all(problems, "unusable image")
    return tilings


def _write(mask: Path, classes: np.ndarray, image: Image, card: Card) -> None:
    mask.parent.mkdir(parents=True, exist_ok=True)
    write_labels(mask, from_classes(classes, card.labels), like=image)
