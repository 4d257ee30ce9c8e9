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
from ..io import list_images, read, write_labels
from ..learn.checkpoint import Card, load_model
from ..learn.intensity import for_net
from ..learn.pairs import raise_all
from ..masks.labels import from_classes
from ..nets.unet import UNet
from .tiled import Tiling, plan_tiles, prepare, run, symmetries

DEFAULT_MEMORY = 2 * 2**30
_LOSSLESS = {".png": ".png", ".jpg": ".png", ".jpeg": ".png", ".tif": ".tif", ".tiff": ".tiff"}


@dataclass(frozen=True)
class Predicted:
    """One mask that was written.

    Attributes
    ----------
    source, mask : Path
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
    overwrite: bool = False,
    observer: Callable[[Step], None] | None = None,
) -> list[Predicted]:
    """Segment images of any size.

    Parameters
    ----------
    model : path
        A run folder or a model file.
    inputs : sequence of path
        Image files, or folders of them.
    out : path
        Folder for the masks. A mask has its image's name, size and pixel size, and the
        values that the training masks had; JPEG images get PNG masks.
    memory_bytes : int
        Budget for the net's maps; larger images are run in tiles that give exactly the
        same mask.
    average_symmetries : bool
        Average the class probabilities over all flips and quarter turns: 8 times the
        work in 2D, often a little better.
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
    jobs = _jobs(inputs, Path(out), overwrite)
    ready = prepare(net, device="cuda" if torch.cuda.is_available() else "cpu")
    tilings = _plan_all([source for source, _ in jobs], ready, memory_bytes)
    results = []
    for i, ((source, mask), tiling) in enumerate(zip(jobs, tilings, strict=True)):
        image = read(source)
        array = torch.from_numpy(for_net(image, channels=net.in_channels, ndim=net.ndim))
        for note in image.notes:
            say(Step(i, len(jobs), 0.0, f"{source.name}: {note}"))
        say(Step(i, len(jobs), 0.0, f"{source.name}: {' x '.join(map(str, image.size))} pixels, {tiling.describe()}"))

        def on_share(fraction: float, i: int = i) -> None:
            say(Step(i, len(jobs), fraction))

        start = time.perf_counter()
        classes = segment(ready, array, tiling, average_symmetries=average_symmetries, on_share=on_share)
        seconds = time.perf_counter() - start
        _write(mask, classes, image, card)
        results.append(Predicted(source, mask, image.size, tiling, seconds))
        say(Step(i + 1, len(jobs), 0.0))
    return results


def segment(
    net: UNet,
    image: Tensor,
    tiling: Tiling,
    *,
    average_symmetries: bool = False,
    on_share: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Class indices (*spatial), uint8, of one standardised image (C, *spatial).

    Parameters
    ----------
    net : UNet
        From `prepare`.
    image : Tensor of shape (C, *spatial), float32
    tiling : Tiling
        For the image as it is; turned copies are tiled with the same core.
    average_symmetries : bool
        Average class probabilities over flips and quarter turns.
    on_share : callable, optional
        Called with the share done, 0 to 1.
    """
    tell = on_share or (lambda share: None)
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


def _jobs(inputs: Sequence[Path | str], out: Path, overwrite: bool) -> list[tuple[Path, Path]]:
    """Pairs (image, mask to write); every conflict is named at once."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out}: is a file; name a folder for the masks")
    sources: list[Path] = []
    for item in map(Path, inputs):
        sources += list_images(item) if item.is_dir() else [item]
    raise_all((f"{s}: there is no such file" for s in sources if not s.exists()), "missing file")
    jobs = [(source, out / _mask_name(source)) for source in dict.fromkeys(sources)]
    by_mask: dict[Path, list[Path]] = {}
    for source, mask in jobs:
        by_mask.setdefault(mask, []).append(source)
    clashes = [f"{mask}: would hold {' and '.join(map(str, of))}" for mask, of in by_mask.items() if len(of) > 1]
    raise_all(clashes, "shared mask name")
    same = [str(mask) for source, mask in jobs if mask.resolve() == source.resolve()]
    raise_all((f"{mask}: the mask would replace its own image; name another folder" for mask in same), "conflict")
    existing = [mask for mask in by_mask if mask.exists()]
    if existing and not overwrite:
        listed = "\n".join(f"  {mask}" for mask in existing)
        number = "1 mask exists" if len(existing) == 1 else f"{len(existing)} masks exist"
        raise FileExistsError(f"{number}; add --overwrite, or name another folder:\n{listed}")
    return jobs


def _mask_name(source: Path) -> str:
    suffix = _LOSSLESS.get(source.suffix.lower(), source.suffix)
    return source.name[: len(source.name) - len(source.suffix)] + suffix


def _plan_all(sources: Sequence[Path], net: UNet, memory_bytes: int) -> list[Tiling]:
    """Read every image once before the work starts, so that a bad one is known now and not in an hour."""
    tilings, problems = [], []
    for source in sources:
        try:
            image = read(source)
            for_net(image, channels=net.in_channels, ndim=net.ndim)
            tilings.append(plan_tiles(net, image.size, memory_bytes=memory_bytes))
        except (ValueError, OSError, MemoryError) as error:
            text = str(error)
            problems.append(text if str(source) in text else f"{source}: {text}")
    raise_all(problems, "unusable image")
    return tilings


def _write(mask: Path, classes: np.ndarray, image: Image, card: Card) -> None:
    mask.parent.mkdir(parents=True, exist_ok=True)
    write_labels(mask, from_classes(classes, card.labels), like=image)
