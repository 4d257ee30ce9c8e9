"""A run keeps how its images were read, so that new ones are read alike."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import unetkit
from unetkit import cli
from unetkit.model.files import read_model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five-channel pictures that name no axes, of which the fourth shows the objects."""
    folder = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for i in range(4):
        mask = np.zeros((32, 40), np.uint8)
        mask[8 + i : 20 + i, 10:26] = 1
        image = draw.integers(0, 50, (5, 32, 40)).astype(np.uint8)
        image[3] += 150 * mask
        np.save(folder / "images" / f"{i}.npy", image)
        np.save(folder / "masks" / f"{i}.npy", mask)
    return folder


def test_a_run_reads_new_images_as_its_own(data: Path, tmp_path: Path) -> None:
    settings: unetkit.PlanSettings = {"data": {"axes": "cyx", "channels": (4, 2)}, "device": {"compile": "no"}}
    run = unetkit.train(data, out=tmp_path / "run", steps=3, settings=settings)
    net, card = read_model(run.paths.model)
    assert net.in_channels == 2
    assert card.axes == "cyx"
    assert card.channels == [4, 2]
    masks = unetkit.load_model(run.paths.root).predict_files([data / "images"], tmp_path / "masks")
    assert len(masks) == 4
    assert masks[0].size == (32, 40)
    more = unetkit.train(data, out=tmp_path / "run", steps=4, resume=True)
    assert more.plan.data.channels == (4, 2)
    assert more.steps == 4


def run_check(*words: object) -> str:
    result = CliRunner().invoke(cli.app, ["check", *map(str, words)])
    return (result.output if result.exception is None else f"{result.output} {result.exception}").replace("\n", " ")


def test_check_says_what_was_told(data: Path) -> None:
    printed = run_check(data, "--axes", "cyx", "--channels", "4")
    assert "4 images, 1 channel" in printed
    assert "channels 4 of 5, as told" in printed


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--axes", "czx"), "expected y and x"),
        (("--axes", "tyx"), "0.npy: axes t: 5, y: 32, x: 40: expected only"),  # a file of NumPy is no series
        (("--channels", "0"), "from 1"),
    ],
)
def test_statements_that_cannot_be(words: tuple[str, str], expected: str, data: Path) -> None:
    assert expected in run_check(data, *words)
