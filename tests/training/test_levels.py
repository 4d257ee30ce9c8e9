"""Levels of a UNet++: each scored by itself, chosen by the user, and what predict then computes."""

import json
from pathlib import Path

import pytest
from flat import train_flat

from unetkit import io
from unetkit.data.synthetic import write_synthetic_cells
from unetkit.inference.execution import Execution
from unetkit.inference.predictor import load_model
from unetkit.model.files import read_model
from unetkit.nets.build import build
from unetkit.nets.papers import named
from unetkit.nets.unetpp import UNetPlusPlus, pruned
from unetkit.training.levels import compare_levels

SMALL = {"patch": (32, 32), "device": "cpu", "steps": 30, "batch": 2}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    write_synthetic_cells(folder, n=5, size=(64, 64))
    return folder


@pytest.fixture(scope="module")
def run(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "nested"
    train_flat(cells, out=out, net="unet++", widths=(4, 8, 8), **SMALL)
    return out


def test_every_head_has_learned_and_is_scored(run: Path) -> None:
    rows = compare_levels(run)
    assert [row.level for row in rows] == ["L1", "L2", "all"]
    counts = [row.parameters for row in rows]
    assert counts == sorted(counts)
    assert all(row.dice > 0.2 and 0 < row.pixel_error < 0.5 and row.s_per_image > 0 for row in rows)
    written = json.loads((run / "validation.json").read_text())
    assert rows[-1].pixel_error == pytest.approx(written["pixel_error"], abs=1e-9)  # as the training scored it
    assert json.loads((run / "plan.json").read_text())["net"]["deep_supervision"]


def test_predict_computes_the_chosen_level_alone(run: Path, cells: Path, tmp_path: Path) -> None:
    net, _ = read_model(run)
    assert isinstance(net, UNetPlusPlus)
    images = io.list_images(cells / "images")[:2]
    for level in (1, 2):
        done = load_model(run, Execution(level=level)).predict_files(images, tmp_path / f"L{level}")
        assert [p.source for p in done] == images
    one, two = (io.read_labels(tmp_path / f"L{level}" / images[0].name).array for level in (1, 2))
    assert (one != two).any()
    with pytest.raises(ValueError, match="level is 3; expected 1 to 2 for this net of depth 2"):
        load_model(run, Execution(level=3)).predict_files(images, tmp_path / "L3")
    assert not (tmp_path / "L3").exists()


def test_nets_without_levels_say_so(cells: Path, run: Path, tmp_path: Path) -> None:
    plain = build(named("unet", widths=(2, 2)))
    with pytest.raises(ValueError, match='level 2 cannot be cut out of a net of topology "unet"'):
        pruned(plain, 2)
    train_flat(cells, out=tmp_path / "plain", widths=(2, 2), **{**SMALL, "steps": 1})
    with pytest.raises(
        ValueError, match="its net has one head, so there are no levels to compare; train with --net unet"
    ):
        compare_levels(tmp_path / "plain")
    train_flat(cells, out=tmp_path / "whole", net="unet++", widths=(2, 2), validation=0.0, **{**SMALL, "steps": 1})
    with pytest.raises(ValueError, match="was trained with --validation 0, so no images are left to compare levels on"):
        compare_levels(tmp_path / "whole")


def test_heads_are_kept_and_the_supervision_of_a_plain_u_net_is_not(cells: Path, run: Path, tmp_path: Path) -> None:
    assert sum(name.startswith("heads.") for name in read_model(run)[0].state_dict()) == 4
    done = train_flat(cells, out=tmp_path / "deep", widths=(4, 6, 8), supervision=True, **SMALL)
    net, _ = read_model(done.paths.root)
    assert sum(name.startswith("heads.") for name in net.state_dict()) == 2
    state = (tmp_path / "deep" / "last" / "state.safetensors").read_bytes()
    assert b"heads.0.weight" in state.replace(b"net.heads", b"").replace(b"averaged.heads", b"")
