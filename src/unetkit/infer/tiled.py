"""Run a net over an image of any size in bounded memory, exactly as if it had run on the whole.

"Same" nets: the image is padded once, at its far borders, to a size that fits; tiles
start at multiples of the total stride and carry the halo that the net's graph asks for.
"Valid" nets: the overlap-tile strategy of the 2015 paper; the image is mirrored at its
borders by the net's margin, and every output pixel has its full context. Nets that take
statistics over space (instance and group norm) cannot be tiled exactly: they run whole
where memory allows, else in overlapping tiles that are blended, and say so.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..geometry import Geometry
from ..nets.net import Net
from ..tiles import Tile, fit_core, redundancy, tiles

# What the process holds beyond the maps that are alive: copies in the kernels' own layout, and the allocator's slack.
_OVERHEAD = 1.5
_BLEND_OVERLAP = 0.5
Transform = Callable[[Tensor], Tensor]
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


@dataclass(frozen=True)
class Tiling:
    """How an image will be run, known before it starts.

    Attributes
    ----------
    size : tuple of int
        The image, in pixels.
    padded : tuple of int
        The image with its border (zeros at the far end, or mirrored all around).
    tiles : tuple of Tile
        Over `padded`; a single tile is the whole image.
    is_exact : bool
        False only for tiles of a net that is not local.
    memory_bytes : int
        Estimated peak for the net's maps.
    redundancy : float
        Pixels computed per pixel of the image.
    """

    size: tuple[int, ...]
    padded: tuple[int, ...]
    tiles: tuple[Tile, ...]
    is_exact: bool
    memory_bytes: int
    redundancy: float

    def describe(self) -> str:
        """One line for the user."""
        n, memory = len(self.tiles), f"{self.memory_bytes / 2**30:.2f} GB"
        if n == 1:
            return f"whole image at once, about {memory}"
        core = " x ".join(str(s.stop - s.start) for s in self.tiles[0].core)
        kind = "exact" if self.is_exact else "approximate, blended (the net takes statistics over space)"
        return f"{n} tiles of {core}, {kind}, {self.redundancy - 1:.0%} computed twice, about {memory}"


def prepare(net: Net, *, device: torch.device | str = "cpu") -> Net:
    """A copy of the net for inference: evaluation mode, batch norm folded into the convolutions, channels last.

    Folding changes float32 results by rounding only (about 1e-6 of their range).
    """
    net.geometry  # noqa: B018 - read the graph once, before the copy, so that copies share it
    ready = copy.deepcopy(net).eval().requires_grad_(False)
    for module in list(ready.modules()):
        if isinstance(module, nn.Sequential):
            _fold(module)
    return ready.to(device=device).to(memory_format=_CHANNELS_LAST[net.ndim])  # type: ignore[call-overload]


def _fold(block: nn.Sequential) -> None:
    for i in range(len(block) - 1):
        layer, norm = block[i], block[i + 1]
        is_norm = type(norm) in (nn.BatchNorm2d, nn.BatchNorm3d)  # exactly: some of timm's hold an activation too
        if is_norm and isinstance(layer, nn.Conv2d | nn.Conv3d) and isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
            block[i] = fuse_conv_bn_eval(layer, norm)
            block[i + 1] = nn.Identity()


def plan_tiles(
    net: Net,
    size: Sequence[int],
    *,
    memory_bytes: int | None = None,
    core: Sequence[int] | None = None,
) -> Tiling:
    """Choose how to run a net over an image of `size`.

    Parameters
    ----------
    net : Net
    size : sequence of int
        Spatial size of the image in pixels; any.
    memory_bytes : int, optional
        Budget for the net's maps; the whole image at once if there is none.
    core : sequence of int, optional
        Pixels that a tile writes, per axis; takes the place of the budget.

    Raises
    ------
    ValueError
        If not even the smallest tile fits the budget; the least that works is named.
    """
    size, geometry = tuple(size), net.geometry
    padded = geometry.above([n + sum(m) for n, m in zip(size, geometry.margin, strict=True)])

    def cost(window: tuple[int, ...]) -> int:
        return int(_OVERHEAD * net.graph.activation_bytes(window))

    if core is None:
        budget = memory_bytes if memory_bytes is not None else cost(padded)
        core = fit_core(geometry, padded, memory_bytes=budget, cost=cost)
    out = geometry.output_size(padded)
    whole = all(c >= n for c, n in zip(core, out, strict=True))
    covering = tiles(geometry, padded, core) if net.is_local or whole else _overlapping(geometry, padded, core)
    peak = max(cost(window) for window in {tile.window_size for tile in covering})
    return Tiling(size, padded, tuple(covering), net.is_local or whole, peak, redundancy(covering, padded))


def _overlapping(geometry: Geometry, size: Sequence[int], core: Sequence[int]) -> list[Tile]:
    """Tiles of one size that overlap by half, each on the grid of the total stride, the last at the border."""
    windows, cores = [], []
    for axis, n, c in zip(geometry.axes, size, core, strict=True):
        length = min(n, axis.above(ceil(c / axis.stride) * axis.stride + sum(axis.margin)))
        writes = axis.output_size(length)
        step = max(axis.stride, int(writes * _BLEND_OVERLAP) // axis.stride * axis.stride)
        starts = [*range(0, n - length, step), n - length]
        windows.append([slice(start, start + length) for start in starts])
        cores.append([slice(start, start + writes) for start in starts])
    rows = zip(product(*cores), product(*windows), strict=True)
    return [Tile(c, w, tuple(slice(0, s.stop - s.start) for s in c)) for c, w in rows]


@torch.inference_mode()
def run(
    net: Net,
    image: Tensor,
    tiling: Tiling,
    *,
    finish: Callable[[Tensor], Tensor] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Run a net over an image as planned.

    Parameters
    ----------
    net : Net
        In evaluation mode; see `prepare`.
    image : Tensor of shape (C, *spatial)
        On any device; windows travel to the net's device, results come back.
    tiling : Tiling
        From `plan_tiles` for this net and this size.
    finish : callable, optional
        Applied to the logits (K, *core) of each tile before they are kept, such as an
        argmax over classes; the memory of the result then shrinks with it.
    progress : callable, optional
        Called with (tiles done, tiles in all).

    Returns
    -------
    Tensor of shape (K, *spatial), or what `finish` makes of it
        Of the image's size.

    Raises
    ------
    ValueError
        If the image has not the size that was planned for.
    """
    if tuple(image.shape[1:]) != tiling.size:
        raise ValueError(f"the tiles were planned for an image of {tiling.size}, got {tuple(image.shape[1:])} pixels")
    parameter = next(net.parameters())
    if not tiling.is_exact:
        logits = _blend(net, image, tiling, parameter.device, progress)
        return finish(logits) if finish else logits
    result: Tensor | None = None
    sources = _sources(net, tiling)
    for done, tile in enumerate(tiling.tiles):
        core = tuple(slice(c.start, min(c.stop, n)) for c, n in zip(tile.core, tiling.size, strict=True))
        if all(c.stop > c.start for c in core):  # a core may lie in the padding
            logits = _logits(net, image, tile, sources, parameter.device)
            kept = logits[(slice(None), *(slice(0, c.stop - c.start) for c in core))]
            kept = (finish(kept) if finish else kept).to(image.device)
            if result is None:
                result = kept.new_empty((*kept.shape[: kept.ndim - len(core)], *tiling.size))
            result[(slice(None),) * (result.ndim - len(core)) + core] = kept
        if progress:
            progress(done + 1, len(tiling.tiles))
    if result is None:
        raise ValueError(f"the image of {tiling.size} pixels is empty")
    return result


def _sources(net: Net, tiling: Tiling) -> list[np.ndarray]:
    """Per axis, for each position of the padded image, the pixel of the image that it shows (-1 for a zero)."""
    sources = []
    for n, padded, (before, _) in zip(tiling.size, tiling.padded, net.geometry.margin, strict=True):
        after = padded - n - before
        if net.architecture.padding == "same":
            sources.append(np.pad(np.arange(n), (0, after), constant_values=-1))
        else:  # mirrored without repeating the edge pixel, over and over where the margin is wider than the image
            sources.append(np.pad(np.arange(n), (before, after), mode="reflect" if n > 1 else "edge"))
    return sources


def _logits(net: Net, image: Tensor, tile: Tile, sources: Sequence[np.ndarray], device: torch.device) -> Tensor:
    window = image
    zeros = []
    for axis, (source, part) in enumerate(zip(sources, tile.window, strict=True), start=1):
        at = source[part]
        inside = at[at >= 0]
        zeros.append(len(at) - len(inside))
        if len(inside) and (np.diff(inside) == 1).all():
            window = window.narrow(axis, int(inside[0]), len(inside))
        else:
            window = window.index_select(axis, torch.from_numpy(inside).to(image.device))
    if any(zeros):
        window = F.pad(window, [p for z in reversed(zeros) for p in (0, z)])
    batch = window[None].to(device).contiguous(memory_format=_CHANNELS_LAST[net.ndim])
    return net.body(batch)[0][(slice(None), *tile.keep)]


def _blend(
    net: Net,
    image: Tensor,
    tiling: Tiling,
    device: torch.device,
    progress: Callable[[int, int], None] | None,
) -> Tensor:
    """Average overlapping tiles, their middle weighing most (Gaussian of 1/8 of the tile, as nnU-Net has it)."""
    sources = _sources(net, tiling)
    size = net.geometry.output_size(tiling.padded)
    total = image.new_zeros((net.out_channels, *size))
    weights = image.new_zeros(size)
    for done, tile in enumerate(tiling.tiles):
        weight = _gaussian([s.stop - s.start for s in tile.core]).to(image)
        total[(slice(None), *tile.core)] += weight * _logits(net, image, tile, sources, device).to(image.device)
        weights[tile.core] += weight
        if progress:
            progress(done + 1, len(tiling.tiles))
    return (total / weights)[(slice(None), *(slice(n) for n in tiling.size))]


def _gaussian(size: Sequence[int]) -> Tensor:
    weight = torch.ones(())
    for n in size:
        x = (torch.arange(n) - (n - 1) / 2) / (n / 8)
        weight = weight[..., None] * torch.exp(-0.5 * x**2)
    return weight.clamp_min(1e-4)


def symmetries(ndim: int) -> Iterator[tuple[Transform, Transform]]:
    """Flips, and quarter turns of the last two axes: (transform, its inverse) on (..., *spatial) tensors.

    2D: the 8 symmetries of the square. 3D: those of each plane, with and without a flip of the first axis.
    """
    for turns, flip, *first in product(range(4), (False, True), *((False, True),) * (ndim - 2)):
        axes = ([-1] if flip else []) + ([-3] if first and first[0] else [])

        def forward(x: Tensor, turns: int = turns, axes: list[int] = axes) -> Tensor:
            return torch.rot90(x.flip(axes) if axes else x, turns, (-2, -1))

        def inverse(x: Tensor, turns: int = turns, axes: list[int] = axes) -> Tensor:
            x = torch.rot90(x, -turns, (-2, -1))
            return x.flip(axes) if axes else x

        yield forward, inverse
