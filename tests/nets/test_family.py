"""Every member of the family: it builds, learns, tiles exactly, is saved and read, or is refused with a reason."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from unetkit.inference.prepare import prepare
from unetkit.inference.runner import run
from unetkit.inference.tiling import plan_tiles
from unetkit.labels.kind import LabelKind
from unetkit.model.card import Card
from unetkit.model.files import read_model, save_model
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.training.losses import dice_cross_entropy

BLOCKS = ("plain", "residual", "preactivation", "dense")
FAMILY = list(
    product(
        ("unet", "unet++"),
        BLOCKS,
        ("concat", "reduce", "add", "attention", "none"),
        (2, 3),
        ("same", "valid"),
    )
)
MEANINGLESS = {("unet++", "none")}
OTHERS: list[dict[str, Any]] = [
    {"down": "strided"},
    {"down": "first"},
    {"down": "blur"},
    {"down": "transition"},
    {"up": "nearest"},
    {"up": "linear"},
    {"up": "overlapping"},
    {"icnr": True},
    {"up_keeps_channels": True},
    {"widen": "last"},
    {"stem": 3},
    {"decoder_widths": (6, 8)},
    {"convolutions": (1, 2, 3)},
    {"dropout": 0.2, "dropout_at": "convolutions"},
    {"activation": "prelu", "norm": "none"},
    {"strides": ((1, 2), (2, 2)), "kernels": ((1, 3), (3, 3), (3, 3))},
]


def _is_slow(topology: str, block: str, ndim: int) -> bool:
    """3D shares all code with 2D but the convolutions: two kinds of it stand for the others in the quick tests."""
    return ndim == 3 and (topology, block) not in (("unet", "residual"), ("unet++", "plain"))


_MEMBERS = [pytest.param(*m, marks=[pytest.mark.slow] * _is_slow(m[0], m[1], m[3])) for m in FAMILY]


@pytest.mark.parametrize("topology, block, skip, ndim, padding", _MEMBERS)
def test_every_combination(tmp_path: Path, topology: str, block: str, skip: str, ndim: int, padding: str) -> None:
    options = {"topology": topology, "block": block, "skip": skip, "ndim": ndim, "padding": padding}
    if (topology, skip) in MEANINGLESS:
        with pytest.raises(ValueError, match='skip="none" leaves nothing of it'):
            Architecture(**options)
        return
    _learns_and_tiles(Architecture(widths=(4, 6) if ndim == 3 else (4, 6, 8), **options), tmp_path)


@pytest.mark.parametrize("options", OTHERS, ids=[str(options) for options in OTHERS])
@pytest.mark.parametrize("block", ["plain", *(pytest.param(b, marks=pytest.mark.slow) for b in BLOCKS[1:])])
def test_every_option_with_every_block(tmp_path: Path, block: str, options: dict[str, Any]) -> None:
    widths = (6, 6, 12) if "convolutions" in options else (4, 6, 8)
    _learns_and_tiles(Architecture(widths=widths, block=block, **options), tmp_path)


def _learns_and_tiles(architecture: Architecture, folder: Path) -> None:
    torch.manual_seed(0)
    net, ndim = build(architecture), architecture.ndim
    geometry = net.geometry  # read by the graph
    size = geometry.above([12 + sum(margin) for margin in geometry.margin])
    images = torch.randn(2, 1, *size)
    labels = (torch.arange(geometry.output_size(size)[-1]) > 5).expand(2, *geometry.output_size(size)).long()
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-3)
    losses = []
    for _ in range(3):
        loss = dice_cross_entropy(net.body(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    net.eval().double()
    assert net.body(images.double()).shape[2:] == labels.shape[1:]
    if not architecture.dropout:
        assert losses[2] < losses[0]
    image = torch.randn(1, *(21, 26, 10)[-ndim:] if ndim == 2 else (9, 11, 10), dtype=torch.double)
    ready = prepare(net)
    whole = run(ready, image, plan_tiles(ready, image.shape[1:]))
    tiling = plan_tiles(ready, image.shape[1:], core=(8,) * ndim)
    assert tiling.is_exact
    assert len(tiling.tiles) > 1
    torch.testing.assert_close(run(ready, image, tiling), whole, rtol=1e-12, atol=1e-10)
    card = Card(
        architecture=architecture.to_dict(), classes=["background", "foreground"], labels=LabelKind("binary", (0, 255))
    )
    save_model(folder / "model.safetensors", net.float(), card)
    again, _ = read_model(folder)
    assert again.architecture == architecture
    assert torch.equal(again.body(images), net.body(images))
