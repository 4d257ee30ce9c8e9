"""Tiles against the whole image, bit for bit.

Weights and images are small whole numbers in float64: every sum is exact, whatever the
order of its terms, so that equality can be asked for without a tolerance.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recorder import Recorder, Update
from torch import Tensor, nn

from unetkit import io
from unetkit.inference.prepare import prepare
from unetkit.inference.runner import run
from unetkit.inference.tiling import Tiling, plan_tiles
from unetkit.nets.architecture import Architecture
from unetkit.nets.papers import ronneberger2015
from unetkit.nets.unet import UNet
from unetkit.tiles import Tile

DATA = Path(os.environ.get("UNETKIT_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
EXACT = 2.0**53  # whole numbers up to here, and their sums, are exact in float64


def whole_numbers(architecture: Architecture, *, seed: int = 0) -> UNet:
    """A float64 net with weights of -1, 0 and 1."""
    net, generator = UNet(architecture), torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        draw = torch.randint(0, 100, parameter.shape, generator=generator)
        if parameter.ndim > 1:  # 30 % negative, 35 % positive: maps neither vanish behind ReLU nor grow past 2^53
            parameter.data = (draw >= 65).double() - (draw < 30).double()
        else:
            parameter.data = (draw % 2).double()
    assert net.is_local
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            module.register_forward_hook(_stays_exact)
    return net.double().eval()


def _stays_exact(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
    (x,) = inputs
    if x.is_meta:  # memory is predicted by a run without data
        return
    assert x.abs().max() * module.weight.abs().flatten(1).sum() < EXACT  # type: ignore[operator, union-attr]


def build(depth: int, ndim: int = 2, **options: Any) -> UNet:
    widths = (3, 4, 4, 4, 4) if depth < 3 and ndim == 2 else (2, 4, 4, 4, 4)
    defaults: dict[str, Any] = {"widths": widths[: depth + 1], "ndim": ndim, "norm": "none"}
    return whole_numbers(Architecture(**(defaults | options)))


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 8, shape, generator=torch.Generator().manual_seed(seed)).double()


def whole(net: UNet, image: Tensor) -> Tensor:
    """The oracle: one pass over the whole image; for a valid net over the image that numpy has mirrored."""
    if net.architecture.padding == "valid":
        pads = [(0, 0)]
        for n, axis in zip(image.shape[1:], net.geometry.axes, strict=True):
            before, after = axis.margin
            pads.append((before, axis.above(n + before + after) - n - before))
        image = torch.from_numpy(np.pad(image.numpy(), pads, mode="reflect"))
        size = [n - sum(pad) for n, pad in zip(image.shape[1:], pads[1:], strict=True)]
    else:
        size = list(image.shape[1:])
    with torch.no_grad():
        return net(image[None])[0][(slice(None), *(slice(n) for n in size))]


def assert_same(net: UNet, image: Tensor, core: Sequence[int]) -> None:
    expected, tiling = whole(net, image), plan_tiles(net, image.shape[1:], core=core)
    assert expected.std() > 0
    assert tiling.is_exact
    assert torch.equal(run(net, image, tiling), expected)


SHAPES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "2D, depth 1": ({"depth": 1}, (31, 23)),
    "2D, depth 2": ({"depth": 2}, (75, 61)),
    "2D, depth 3": ({"depth": 3}, (23, 151)),
    "2D, depth 4": ({"depth": 4}, (261, 17)),
    "3D, depth 1": ({"depth": 1, "ndim": 3}, (21, 16, 13)),
    "3D, depth 2": ({"depth": 2, "ndim": 3}, (67, 9, 10)),
    "3D, depth 3": ({"depth": 3, "ndim": 3}, (5, 6, 117)),
    "3D, depth 4": ({"depth": 4, "ndim": 3, "widths": (2,) * 5}, (5, 6, 227)),
    "nearest": ({"depth": 2, "up": "nearest"}, (77, 45)),
    "nearest, 3D": ({"depth": 1, "ndim": 3, "up": "nearest"}, (33, 10, 11)),
    "strides and kernels per axis": (
        {"depth": 2, "ndim": 3, "strides": ((1, 2, 2), (2, 2, 3)), "kernels": ((1, 3, 3), 3, (3, 1, 5))},
        (9, 27, 21),
    ),
    "strides of 3": ({"depth": 2, "strides": (3, 2), "kernels": (5, 3, 3)}, (97, 35)),
}
# A valid net mirrors its margin on every side (44 px for depth 3 in 3D): fewer and smaller images.
MIRRORED = {name: case for name, case in SHAPES.items() if not name.startswith("3D, depth")}
MIRRORED["3D, depth 1"] = ({"depth": 1, "ndim": 3}, (21, 6, 5))
MIRRORED["3D, depth 2"] = ({"depth": 2, "ndim": 3}, (21, 4, 5))
MIRRORED["3D, depth 3"] = ({"depth": 3, "ndim": 3}, (19, 3, 5))
MIRRORED["strides and kernels per axis"] = (SHAPES["strides and kernels per axis"][0], (5, 17, 13))
LONG = ("3D, depth 3", "3D, depth 4")
CASES = [(name, *case, "same") for name, case in SHAPES.items()]
CASES += [(name, *case, "valid") for name, case in MIRRORED.items()]


def cores(stride: tuple[int, ...], size: tuple[int, ...]) -> list[tuple[int, ...]]:
    """From the smallest tiles, over unaligned ones, to more than the image."""
    longest = size.index(max(size))
    smallest = tuple(s if i == longest else n for i, (s, n) in enumerate(zip(stride, size, strict=True)))
    odd = tuple(min(n, s + 3) for s, n in zip(stride, size, strict=True))
    some = tuple(2 * s if n > 2 * s else n for s, n in zip(stride, size, strict=True))
    return [smallest, some, odd, tuple(n + 5 for n in size)]


@pytest.mark.parametrize(
    "options, size, padding",
    [
        pytest.param(*case[1:], id=f"{case[3]}-{case[0]}", marks=pytest.mark.slow if case[0] in LONG else ())
        for case in CASES
    ],
)
def test_tiled_is_whole(options: dict[str, Any], size: tuple[int, ...], padding: str) -> None:
    net = build(**options, padding=padding)
    image = picture(1, *size)
    for core in cores(net.geometry.stride, size):
        assert_same(net, image, core)


@pytest.mark.parametrize("options, size", [({"depth": 3}, (131, 21)), ({"depth": 2, "ndim": 3}, (75, 7, 9))])
def test_linear_upsampling_is_exact_too(options: dict[str, Any], size: tuple[int, ...]) -> None:
    """Weights of 1/4 and 3/4 are whole numbers of binary fractions."""
    net = build(**options, up="linear")
    for core in cores(net.geometry.stride, size)[:2]:
        assert_same(net, picture(1, *size), core)


@pytest.mark.parametrize("residue", range(8))
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_every_residue_of_the_total_stride(residue: int, padding: str) -> None:
    net = build(3, padding=padding)
    assert_same(net, picture(1, 104 + residue, 16 - residue), (24, 16))


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (5, 30), (2, 2, 2), (1, 1, 1), (1, 5, 3), (9, 8, 7)])
def test_images_smaller_than_the_margin_in_the_smallest_tiles(size: tuple[int, ...], padding: str) -> None:
    net = build(2, len(size), padding=padding)
    for core in (net.geometry.stride, size):
        assert_same(net, picture(1, *size), core)


def test_mirroring_again_and_again_by_hand() -> None:
    """An image of 3 pixels in a margin of 20: 0 1 2 1 0 1 2 ..., the edge never repeated."""
    net = build(2, padding="valid")
    assert net.geometry.margin == ((20, 20), (20, 20))
    image = picture(1, 3, 3)
    position = torch.arange(-20, 24).remainder(4)
    position = torch.where(position > 2, 4 - position, position)
    mirrored = image[:, position][:, :, position]
    with torch.no_grad():
        expected = net(mirrored[None])[0][:, :3, :3]
    assert torch.equal(run(net, image, plan_tiles(net, (3, 3))), expected)


def test_channels_and_classes() -> None:
    net = build(2, in_channels=3, out_channels=5)
    image = picture(3, 50, 34)
    assert_same(net, image, (16, 16))
    labels = run(net, image, plan_tiles(net, (50, 34), core=(16, 16)), finish=lambda logits: logits.argmax(0))
    assert labels.dtype == torch.int64
    assert torch.equal(labels, whole(net, image).argmax(0))


def cut(net: UNet, size: tuple[int, ...], core: int, *, halo: int) -> Tiling:
    """Tiles along the first axis with a halo of one's own."""
    tiling, n, rest = plan_tiles(net, size), size[0], tuple(slice(0, m) for m in size[1:])
    rows = []
    for start in range(0, n, core):
        stop = min(start + core, n)
        low, high = max(0, start - halo), min(n, stop + halo)
        keep = slice(start - low, stop - low)
        rows.append(Tile((slice(start, stop), *rest), (slice(low, high), *rest), (keep, *rest)))
    return replace(tiling, tiles=tuple(rows))


HALOS = [(1, 2, "transposed", 8), (2, 2, "transposed", 24), (3, 2, "transposed", 48), (4, 2, "transposed", 96)]
HALOS += [(2, 3, "transposed", 24), (4, 2, "nearest", 112), (4, 2, "linear", 112), (2, 2, "linear", 28)]


@pytest.mark.parametrize("depth, ndim, up, halo", HALOS)
def test_the_halo_is_enough_and_one_stride_less_is_not(depth: int, ndim: int, up: str, halo: int) -> None:
    net = build(depth, ndim, up=up) if up != "linear" or depth < 4 else real_numbers(depth, up)
    stride = 2**depth
    assert net.geometry.halo == (halo,) * ndim
    size = (2 * halo + 6 * stride, *(2 * stride,) * (ndim - 1))
    image = picture(1, *size)
    expected = whole(net, image)
    tolerance = 0 if up != "linear" or depth < 4 else 1e-12 * expected.abs().max().item()
    enough = run(net, image, cut(net, size, stride, halo=halo))
    assert (enough - expected).abs().max() <= tolerance
    short = run(net, image, cut(net, size, stride, halo=halo - stride))
    assert (short - expected).abs().max() > 100 * tolerance
    if halo > 2 * stride:
        assert (short - expected).abs().max() < 0.1 * expected.abs().max()  # what is missing is a small share


def real_numbers(depth: int, up: str) -> UNet:
    torch.manual_seed(0)
    widths = (3, *(4,) * depth)
    return UNet(Architecture(widths=widths, up=up, norm="none")).double().eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("depth, ndim", [(1, 2), (2, 2), (4, 2), (2, 3)])
def test_a_window_off_the_pooling_grid_is_not_equal(depth: int, ndim: int) -> None:
    net, stride = build(depth, ndim), 2**depth
    core, halo = 2 * stride, net.geometry.halo[0]
    image = picture(1, 2 * halo + 8 * stride, *(2 * stride,) * (ndim - 1))
    expected, start = whole(net, image), halo + 2 * stride
    equal = {}
    with torch.no_grad():
        for shift in range(0, stride + 1, max(1, stride // 4)):
            low, around = start - halo - shift, halo + shift
            window = image[:, low : low + core + 2 * halo + stride]
            part = net(window[None])[0][:, around : around + core]
            equal[shift] = torch.equal(part, expected[:, start : start + core])
    assert equal == {shift: shift in (0, stride) for shift in equal}
    assert stride // 2 in equal


def test_the_released_tile_step_is_off_the_grid() -> None:
    """Tiles laid at steps of their own output size drift off the pooling grid, for outputs are never whole strides.

    At depth 3 outputs are 4 mod 8 (at depth 4, 4 mod 16), so every second tile is off; cut
    to 24 of their 28 pixels all of them agree.
    """
    net = build(3, padding="valid")
    window = 116
    written = net.geometry.axes[0].output_size(window)
    assert written == 28
    image = picture(1, 92 + 8 * 14, 92)
    with torch.no_grad():
        expected = net(image[None])[0]

        def matches(start: int, core: int) -> bool:
            part = net(image[None, :, start : start + window])[0][:, :core]
            return torch.equal(part, expected[:, start : start + core])

        assert expected.shape[1] >= 2 * 28 + 28
        assert [matches(start, 28) for start in range(0, 85, 28)] == [True, False, True, False]
        assert all(matches(start, 24) for start in range(0, 85, 24))


def test_the_paper_net_in_steps_of_384_but_not_of_388() -> None:
    """One axis at the paper's own sizes: tiles of 572 pixels write 388, of which 384 may be kept."""
    architecture = replace(ronneberger2015(), widths=(2, 4, 4, 4, 4), dropout=0.0)
    net = whole_numbers(architecture)
    image = picture(1, 572 + 400, 188)
    with torch.no_grad():
        expected = net(image[None])[0]
        for step, equal in ((384, True), (388, False), (192, True), (196, False)):
            tile = net(image[None, :, step : step + 572])[0]
            assert tile.shape[1] == 388
            assert torch.equal(tile[:, :384], expected[:, step : step + 384]) == equal


def with_statistics(ndim: int, norm: str = "batch", **options: Any) -> UNet:
    """A float32 net whose batch norms have seen data."""
    torch.manual_seed(0)
    defaults: dict[str, Any] = {"widths": (8, 16, 16), "ndim": ndim, "norm": norm}
    net = UNet(Architecture(**(defaults | options)))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return net.eval()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_folded_batch_norm_gives_the_same_to_rounding(ndim: int, padding: str) -> None:
    net = with_statistics(ndim, padding=padding).train()
    ready = prepare(net)
    assert (net.training, ready.training) == (True, False)
    kinds = (nn.BatchNorm2d, nn.BatchNorm3d)
    assert not any(isinstance(m, kinds) for m in ready.modules())
    assert sum(isinstance(m, kinds) for m in net.modules()) == 10
    assert not any(p.requires_grad for p in ready.parameters())
    assert all(p.requires_grad for p in net.parameters())
    size = (71, 45) if ndim == 2 else (37, 12, 10)
    image = torch.rand(1, *size, generator=torch.Generator().manual_seed(1))
    expected = whole(net.eval(), image)
    tiling = plan_tiles(ready, size, core=(16,) * ndim)
    assert len(tiling.tiles) > 2
    assert (run(ready, image, tiling) - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("norm", ["instance", "group"])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_statistics_over_space_are_never_called_exact(ndim: int, norm: str, padding: str) -> None:
    net = prepare(with_statistics(ndim, norm, padding=padding, widths=(8, 16)))
    size = (151, 90) if ndim == 2 else (61, 24, 25)
    image = torch.rand(1, *size, generator=torch.Generator().manual_seed(2))
    expected = whole(net, image)
    once = plan_tiles(net, size)
    assert once.is_exact
    assert len(once.tiles) == 1
    assert torch.allclose(run(net, image, once), expected, rtol=0, atol=1e-5)
    tiling = plan_tiles(net, size, core=(48, 48) if ndim == 2 else (32, 20, 26))
    assert not tiling.is_exact
    written = torch.zeros(size)
    for tile in tiling.tiles:
        written[tile.core] += 1
    assert written.min() >= 1
    assert written.mean() > 1.5  # neighbours overlap
    words = f"approximate, blended, since the net is not local: 'encoder.blocks.0.1' ({norm}_norm): it takes the mean"
    assert words in tiling.describe()
    blended = run(net, image, tiling)
    assert blended.shape == expected.shape
    middle: Any = (..., *(slice(n // 4, -n // 4) for n in size))
    error = (blended - expected)[middle]
    assert 1e-6 < error.square().mean().sqrt() < 0.5 * expected.std()
    labels = run(net, image, tiling, finish=lambda logits: logits.argmax(0))
    assert torch.equal(labels, blended.argmax(0))


def test_blending_a_net_that_is_local_anyway_changes_nothing_inside() -> None:
    """The blend's own arithmetic: overlapping tiles of one and the same map average to that map."""
    net = with_statistics(2, "none", kernels=1, strides=1, widths=(4, 4))
    image = torch.rand(1, 40, 33)
    expected = whole(net, image)
    row = [slice(0, 16), slice(8, 24), slice(16, 32), slice(24, 40)]
    column = [slice(0, 16), slice(8, 24), slice(17, 33)]
    tiles = [Tile(w, w, (slice(0, 16),) * 2) for w in product(row, column)]
    tiling = replace(plan_tiles(net, (40, 33)), tiles=tuple(tiles), is_exact=False)
    assert torch.allclose(run(net, image, tiling), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_budget_is_kept(ndim: int, padding: str) -> None:
    net = build(2, ndim, padding=padding)
    size = (301, 123) if ndim == 2 else (141, 7, 5)
    everything = plan_tiles(net, size)
    assert len(everything.tiles) == 1
    assert everything.redundancy == 1.0
    assert everything.describe().startswith("whole image at once, about ")
    budget = everything.memory_bytes * 2 // 3
    tiling = plan_tiles(net, size, memory_bytes=budget)
    assert len(tiling.tiles) > 1
    assert tiling.memory_bytes <= budget
    core = " x ".join(str(s.stop - s.start) for s in tiling.tiles[0].core)
    assert (
        f"{len(tiling.tiles)} tiles of {core}, exact, {tiling.redundancy - 1:.0%} computed twice" in tiling.describe()
    )
    image = picture(1, *size)
    assert torch.equal(run(net, image, tiling), whole(net, image))


def test_a_budget_too_small_is_refused_with_what_is_needed() -> None:
    net = build(4)
    least = plan_tiles(net, (512, 512), core=(16, 16)).memory_bytes
    with pytest.raises(
        ValueError, match=rf"budget of 1 MB is too small.*\(16, 16\) pixels.* needs {least / 2**20:.0f} MB"
    ):
        plan_tiles(net, (512, 512), memory_bytes=2**20)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_windows_of_one_size_give_the_whole(padding: str) -> None:
    net = build(2, padding=padding)
    image = picture(1, 61, 75)
    tiling = plan_tiles(net, (61, 75), most=17)  # rounded down to the total stride
    assert len({tile.window_size for tile in tiling.tiles}) == 1
    assert tiling.block == (16, 16)
    assert torch.equal(run(net, image, tiling), whole(net, image))


def test_an_image_of_another_size_is_refused() -> None:
    net = build(1)
    with pytest.raises(ValueError, match=r"planned for an image of \(8, 8\), got \(8, 9\) pixels"):
        run(net, picture(1, 8, 9), plan_tiles(net, (8, 8)))


def test_an_empty_image_is_refused() -> None:
    net = build(1)
    with pytest.raises(ValueError, match=r"image of \(0, 8\) pixels is empty"):
        run(net, picture(1, 0, 8), plan_tiles(net, (0, 8)))


@pytest.mark.parametrize("norm", ["none", "instance"])
def test_progress_counts_the_pixels(norm: str) -> None:
    net = with_statistics(2, norm)
    tiling = plan_tiles(net, (60, 30), core=(16, 32))
    updates: list[Update] = []
    run(net, torch.rand(1, 60, 30), tiling, progress=Recorder(updates))
    blended = [8, 16, 24, 32, 40, 44, 60]  # rows that no later tile writes
    rows = blended if norm == "instance" else [16, 32, 48, 60]
    assert [(update.done, update.total) for update in updates] == [(n * 30, 60 * 30) for n in rows]


@pytest.mark.parametrize("folder, suffix", [("isbi2012", ".png"), ("nuclei", ".png"), ("vnc_em", ".tif")])
def test_real_images(folder: str, suffix: str) -> None:
    paths = sorted(p for p in (DATA / folder).rglob(f"*{suffix}") if "image" in str(p.parent))
    if not paths:
        pytest.skip(f"no images in {DATA / folder}: set UNETKIT_DATA to the folder of real images")
    image = torch.from_numpy(io.read(paths[-1]).array.astype(np.float64))[..., :90, :101]
    channels, *size = image.shape
    net = build(2, len(size), in_channels=channels, norm="none", padding="valid" if folder == "nuclei" else "same")
    assert_same(net, image, (40,) * len(size))
