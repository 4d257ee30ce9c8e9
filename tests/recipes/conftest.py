"""The recipes as modules, and tiny synthetic data in place of the real ones."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from unetkit import train
from unetkit.image import Image
from unetkit.io import write, write_labels
from unetkit.training.run import Run

RECIPES = Path(__file__).parents[2] / "recipes"


def _recipe(name: str) -> ModuleType:
    sys.path.insert(0, str(RECIPES))  # as for a script: what lies beside it can be imported
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="session")
def story() -> ModuleType:
    """The one that all recipes share."""
    return _recipe("story")


@pytest.fixture(scope="session")
def why_skips() -> ModuleType:
    return _recipe("why_skips")


@pytest.fixture(scope="session")
def small_data() -> ModuleType:
    return _recipe("small_data")


@pytest.fixture(scope="session")
def pooling() -> ModuleType:
    return _recipe("pooling")


@pytest.fixture(scope="session")
def vanishing() -> ModuleType:
    return _recipe("vanishing_gradients")


@pytest.fixture
def narrow(story: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan's nets, but with two levels only."""

    def narrow_train(*args: Any, settings: Any, **options: Any) -> Run:
        net = {"widths": (32, 64)} | settings.get("net", {})
        return train(*args, settings=settings | {"net": net}, **options)

    monkeypatch.setattr(story, "train", narrow_train)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 sections of blobs, and ten images of discs in two sizes and three colours."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in ("isbi2012", "nuclei"):
        for part in ("images", "masks"):
            (root / name / part).mkdir(parents=True)
    for i in range(24):
        y, x = np.indices((32, 32))
        cells = (np.sin((y + i) / 3) * np.sin(x / 3) > 0).astype(np.uint8) * 255
        image = (cells * 0.5 + rng.integers(0, 100, cells.shape)).astype(np.uint8)
        write(root / "isbi2012" / "images" / f"{i:02}.png", Image(image[None], "cyx", (1, 1), "px"))
        write_labels(root / "isbi2012" / "masks" / f"{i:02}.png", cells)
    for i in range(10):
        y, x = np.indices((40, 32 + 8 * (i % 2)))
        ids = 300 * ((y - 12) ** 2 + (x - 8 - i) ** 2 < 40) + 7 * ((y - 30) ** 2 + (x - 20) ** 2 < 30)
        image = (ids > 0) * 90 + rng.integers(0, 100, (3, *ids.shape))
        write(root / "nuclei" / "images" / f"{i}.png", Image(image.astype(np.uint8), "cyx", (1, 1), "px"))
        write_labels(root / "nuclei" / "masks" / f"{i}.png", ids.astype(np.uint16))
    return root
