"""Trainings on data that memory does not hold: the same nets to the last bit, whichever way the data lie."""

import numpy as np
import pytest
import tifffile
import torch

from unetkit import io
from unetkit.image import Image
from unetkit.model.files import read_model
from unetkit.training.loop import train
from unetkit.training.run import Run

SIZES = {2: (70, 64), 3: (12, 40, 36)}
WHOLE = {2: ".png", 3: ".nii"}  # formats that are decoded whole


class Lines:
    def __init__(self):
        self.lines = []

    def update(self, done=0.0, total=0.0, message="", **values):
        self.lines += [message] if message else []


def make(folder, ndim, is_tiled, has_ids):
    """Six images, as tiled TIFFs that are read by region, or as files that are decoded whole."""
    for i in range(6):
        rng = np.random.default_rng(i)
        ids = np.zeros(SIZES[ndim], np.uint16)
        for number in range(1, 13):
            start = [int(rng.integers(0, n - n // 5)) for n in SIZES[ndim]]
            ids[tuple(slice(s, s + n // 5) for s, n in zip(start, SIZES[ndim], strict=True))] = number
        image = (rng.integers(0, 120, SIZES[ndim]) + 100 * (ids > 0)).astype(np.uint8)
        mask = ids if has_ids else (ids > 0).astype(np.uint8)
        for part, array in (("images", image), ("masks", mask)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            if is_tiled:
                axes = {"axes": {2: "YX", 3: "ZYX"}[ndim]}
                path = folder / part / f"c{i}.tif"
                tifffile.imwrite(path, array, photometric="minisblack", tile=(16, 16), metadata=axes)
            elif part == "images":
                axes = {2: "cyx", 3: "czyx"}[ndim]
                io.write(folder / part / f"c{i}{WHOLE[ndim]}", Image(array[None], axes, (1.0,) * ndim))
            else:
                io.write_labels(folder / part / f"c{i}{WHOLE[ndim]}", array)


def trained(data, out, memory="", **options):
    settings = {
        "net": {"widths": (4, 8)},
        "patches": {"size": 16, "batch": 2},
        "device": {"precision": "float32", **({"memory": memory} if memory else {})},
    }
    lines = Lines()
    run = train(data / "images", data / "masks", out=out, steps=3, settings=settings, progress=lines, **options)
    (line,) = [line for line in lines.lines if line.startswith("memory: ")]
    return run, line


def assert_same_net(run, other):
    one, two = (read_model(each.paths.root)[0].state_dict() for each in (run, other))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert run.scores == other.scores


@pytest.mark.parametrize("ndim, has_ids", [(2, True), (2, False), (3, True)])
def test_memory_cache_and_regions_give_the_same_net(tmp_path, ndim, has_ids):
    make(tmp_path / "tiled", ndim, True, has_ids)
    held, line = trained(tmp_path / "tiled", tmp_path / "held")
    assert "cache" not in line
    assert "by region" not in line
    assert not held.paths.cache.exists()
    by_region, line = trained(tmp_path / "tiled", tmp_path / "by_region", memory="1K")
    assert "are read by region from their files" in line
    assert_same_net(held, by_region)
    make(tmp_path / "whole", ndim, False, has_ids)
    held, _ = trained(tmp_path / "whole", tmp_path / "held_whole")
    cached, line = trained(tmp_path / "whole", tmp_path / "cached", memory="1K")
    assert "lie in the cache" in line
    assert_same_net(held, cached)


def test_a_run_is_resumed_with_another_amount_of_memory(tmp_path):
    make(tmp_path / "data", 2, True, False)
    trained(tmp_path / "data", tmp_path / "run", memory="1K")
    run = train(
        tmp_path / "data/images",
        tmp_path / "data/masks",
        out=tmp_path / "run",
        steps=4,
        settings={"device": {"memory": "3K"}},
        resume=True,
    )
    assert run.steps == 4
    assert len(Run.open(tmp_path / "run").dataset().cases) == 6


def test_a_memory_that_is_none_is_refused(tmp_path):
    make(tmp_path / "data", 2, True, False)
    with pytest.raises(ValueError, match="'lots' is not a memory size"):
        trained(tmp_path / "data", tmp_path / "run", memory="lots")
    assert not (tmp_path / "run/plan.json").exists()
