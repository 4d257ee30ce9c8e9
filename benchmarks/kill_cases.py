"""What benchmarks/kills.py kills: trainings, predictions, exports and tables of a few seconds."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from unetkit import io
from unetkit.data.synthetic import synthetic_cells, write_synthetic_cells
from unetkit.export import export_model
from unetkit.image import Image
from unetkit.inference import tiling
from unetkit.inference.predictor import load_model
from unetkit.measurements.table import measure
from unetkit.training import loop
from unetkit.training.writer import RunWriter

__all__ = ["CASES", "Case", "save_often"]

_STEPS = 40
_SIDE, _DEEP_SIZE = 2100, (48, 300, 310)  # pixels: finished blocks of masks of 4.2 million and more are kept on disk
_NETS: dict[str, dict[str, Any]] = {
    "unet": {"net": {"widths": (4, 8)}, "patches": {"size": (32, 32), "batch": 2}},
    "unet++": {"net": {"name": "unet++", "widths": (4, 8, 8)}, "patches": {"size": (32, 32), "batch": 2}},
    "residual": {"net": {"widths": (4, 8), "block": "residual"}, "patches": {"size": (16, 16)}},
    "3D": {"net": {"widths": (4, 8)}, "patches": {"size": (8, 16, 16), "batch": 2}},
}


@dataclass(frozen=True)
class Case:
    """Something to do, in a folder that is empty at first, and what it leaves there.

    Attributes
    ----------
    name : str
    work : callable
        Does it, or goes on with it, in a folder.
    result : callable
        A digest of what it left; "" where it is not done.
    has_workers : bool
        Whether other processes do the work, of which one may be killed and the rest go on.
    """

    name: str
    work: Callable[[Path], object]
    result: Callable[[Path], str]
    has_workers: bool = False


def save_often() -> None:
    """Save the state of a training after every step, and give a prediction small blocks: many moments to be killed."""
    loop._SAVE_EVERY_S = 0.0
    write_state = RunWriter.state
    RunWriter.state = lambda writer, training: 0.0 * write_state(writer, training)  # type: ignore[method-assign]
    tiling._BLOCK = 32 * _SIDE


def digest(*paths: Path) -> str:
    """Of the bytes of files, and of all files of folders; "" where one is missing."""
    if not all(path.exists() for path in paths):
        return ""
    own = sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                own.update(file.relative_to(path.parent).as_posix().encode() + file.read_bytes())
    return own.hexdigest()


def training(work: Path) -> list[Case]:
    """A few seconds each."""
    write_synthetic_cells(work / "flat", n=3, size=(64, 64))
    for i in range(3):
        ids = np.stack([synthetic_cells((48, 48), seed=i, n_cells=5)[1]] * 12)
        image = (ids > 0) * 90 + np.random.default_rng(i).integers(0, 40, ids.shape)
        for part in ("images", "masks"):
            (work / "deep" / part).mkdir(parents=True, exist_ok=True)
        io.write(work / "deep/images" / f"{i}.tif", Image(image[None].astype(np.uint8), "czyx", (1.0,) * 3))
        io.write_labels(work / "deep/masks" / f"{i}.tif", (ids > 0).astype(np.uint8))

    def case(name: str, settings: dict[str, Any]) -> Case:
        data = work / ("deep" if name == "3D" else "flat")
        settings = settings | {"data": {"validation_fraction": 0.34}, "device": {"name": "cpu"}}

        def go_on(folder: Path) -> object:
            return loop.train(data, out=folder / "run", steps=_STEPS, settings=settings, resume=True)

        def result(folder: Path) -> str:
            run = folder / "run"
            return digest(run / "model.safetensors") if (run / "validation.json").exists() else ""

        return Case(name, go_on, result)

    return [case(name, settings) for name, settings in _NETS.items()]


def model(work: Path, *, ndim: int = 2) -> Path:
    """A run folder of a net that was trained for a few steps."""
    cases = {case.name: case for case in training(work / f"data_{ndim}")}
    cases["3D" if ndim == 3 else "unet"].work(work / f"model_{ndim}")
    return work / f"model_{ndim}" / "run"


def prediction(work: Path, cluster: str | None = None) -> list[Case]:
    """A mask of each format that is written block by block, and of a volume."""
    runs = {ndim: model(work, ndim=ndim) for ndim in ((2,) if cluster else (2, 3))}
    scene = synthetic_cells((_SIDE, _SIDE), seed=1, n_cells=900)[0]
    deep = np.random.default_rng(0).integers(0, 255, _DEEP_SIZE).astype(np.uint8)
    place = io.GeoReference((2.0, 2.0, 0.0), (0.0, 0.0, 0.0, 5e5, 4e6, 0.0), keys=(1, 1, 0, 1, 1024, 0, 1, 1))
    (work / "in").mkdir()
    io.write(work / "in/plain.tif", Image(scene[None], "cyx", (1.0, 1.0)))
    io.write(work / "in/map.tif", Image(scene[None], "cyx", (2.0, 2.0), "m", georeference=place))
    io.write(work / "in/cells.ome.zarr", Image(scene[None], "cyx", (0.5, 0.5), "µm"))
    io.write(work / "in/deep.ome.tif", Image(deep[None], "czyx", (1.0, 1.0, 1.0), "µm"))

    def case(source: Path, ndim: int) -> Case:
        def go_on(folder: Path) -> object:
            return load_model(runs[ndim]).predict_files([source], folder / "out")

        def go_on_cluster(folder: Path) -> object:
            words = ["predict", str(runs[ndim]), str(source), "--out", str(folder / "out"), "--cluster", cluster or ""]
            return os.execv(sys.executable, [sys.executable, "-m", "unetkit", *words])

        work_on = go_on_cluster if cluster else go_on
        return Case(source.name, work_on, lambda folder: digest(folder / "out" / source.name), cluster is not None)

    names = ("plain.tif", "map.tif", "cells.ome.zarr", *(() if cluster else ("deep.ome.tif",)))
    return [case(work / "in" / name, 3 if name.startswith("deep") else 2) for name in names]


def int8(work: Path) -> list[Case]:
    """The export of a run; its weights depend on nothing but the run."""
    run = model(work)

    def go_on(folder: Path) -> object:
        return export_model(run, out=folder / "int8", allowed_loss=1.0)

    def result(folder: Path) -> str:
        return digest(folder / "int8" / "model.bin") if (folder / "int8" / "model.xml").exists() else ""

    return [Case("int8", go_on, result)]


def table(work: Path) -> list[Case]:
    """A table of a few masks, with outlines."""
    for i in range(6):
        (work / "masks").mkdir(parents=True, exist_ok=True)
        ids = synthetic_cells((400, 400), seed=i, n_cells=60)[1]
        io.write_labels(work / "masks" / f"{i}.tif", ids.astype(np.uint16))

    def go_on(folder: Path) -> object:
        return measure([work / "masks"], folder / "out", rois=True, overwrite=True)

    archives = [f"{i}_rois.zip" for i in range(6)]
    return [
        Case("table", go_on, lambda folder: digest(*(folder / "out" / name for name in ("objects.csv", *archives))))
    ]


CASES: dict[str, Callable[[Path], list[Case]]] = {
    "training": training,
    "prediction": prediction,
    "cluster": partial(prediction, cluster="local:2"),
    "int8": int8,
    "table": table,
}
