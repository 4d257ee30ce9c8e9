"""Maps in, maps out: masks lie where the images lie and hold no data where they hold none, from training to scores."""

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from flat import train_flat
from rasterio.transform import Affine
from recorder import Recorder

from unetkit import io
from unetkit.inference.predictor import load_model
from unetkit.labels.kind import LabelKind
from unetkit.metrics.folders import evaluate
from unetkit.model.card import Card
from unetkit.model.files import read_model, save_model
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet

DATA = Path(os.environ.get("UNETKIT_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
SIZE = (48, 64)


def chip(path, array, *, epsg=4326, nodata=np.nan):
    """Bands (C, y, x) written by GDAL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    step = 9e-5 if epsg == 4326 else 10.0
    where = {"crs": f"EPSG:{epsg}", "transform": Affine(step, 0, 2.5, 0, -step, 41.25), "nodata": nodata}
    profile = {"driver": "GTiff", "count": len(array), "height": array.shape[1], "width": array.shape[2]}
    with rasterio.open(path, "w", **profile, dtype=array.dtype, **where) as file:
        file.write(array)
    return path


def floods(folder, n=4, size=SIZE):
    """Tiny chips like those of Sen1Floods11: water is dark, a corner has no data, and the last chip has none at all."""
    for i in range(n):
        rng = np.random.default_rng(i)
        water = np.add.outer(np.arange(size[0]), np.arange(size[1])) > 30 + 8 * i
        bands = np.stack([rng.normal(level - 8 * water, 1) for level in (-8, -14)]).astype(np.float32)
        bands[:, -12:, :16] = np.nan
        if i == n - 1:
            bands[:] = np.nan
        labels = water.astype(np.int16)
        labels[:6] = -1
        chip(folder / f"images/chip{i}.tif", bands)
        chip(folder / f"masks/chip{i}.tif", labels[None], nodata=None)
    return folder


def model(folder, kind, channels=2):
    torch.manual_seed(1)
    architecture = Architecture(widths=(2, 4), in_channels=channels, out_channels=len(kind.values))
    card = Card(architecture=architecture.to_dict(), classes=["c"] * len(kind.values), labels=kind)
    folder.mkdir()
    save_model(folder / "model.safetensors", UNet(architecture), card)
    return folder


def assert_lies_like(mask, image, nodata):
    with rasterio.open(mask) as ours, rasterio.open(image) as theirs:
        assert (ours.crs, ours.transform) == (theirs.crs, theirs.transform)
        assert ours.nodata == nodata
        gone = theirs.dataset_mask() == 0
        labels = ours.read(1)
        assert (labels[gone] == nodata).all()
        assert (labels[~gone] != nodata).all()
        return labels, gone


def test_from_training_to_scores(tmp_path):
    data = floods(tmp_path)
    recorder = Recorder()
    small = {"patch": (32, 32), "widths": (4, 8), "device": "cpu"}
    train_flat(data, out=tmp_path / "run", steps=20, progress=recorder, **small)
    assert f"left out, since no pixel holds data and is labelled: {data / 'images/chip3.tif'}" in recorder.messages
    assert read_model(tmp_path / "run")[1].labels.ignore == -1
    steps = []
    done = load_model(tmp_path / "run").predict_files([data / "images"], tmp_path / "out", progress=Recorder(steps))
    said = [step.message for step in steps]
    assert len(done) == 4
    for one in done:
        labels, gone = assert_lies_like(one.mask, one.source, 255)
        assert set(np.unique(labels)) <= {0, 1, 255}
        count = int(gone.sum())
        assert f"{one.source.name}: {count} of {gone.size} pixels hold no data: 255 in the mask" in said
    assert gone.all()
    result = evaluate(tmp_path / "out", data / "masks")
    assert "not counted, without a labelled pixel: chip3" in result.notes
    assert sum(map(sum, result.per_image[0].confusion)) == SIZE[0] * SIZE[1] - 6 * 64 - 12 * 16


@pytest.mark.parametrize(
    "kind, nodata",
    [
        (LabelKind("binary", (0, 1), ignore=-1), 255),
        (LabelKind("binary", (0, 255)), 254),
        (LabelKind("classes", (0, 5, 700)), 255),
        (LabelKind("binary", (0, 1), ignore=9), 9),
    ],
)
def test_no_data_has_a_value_of_its_own(tmp_path, kind, nodata):
    array = np.random.default_rng(0).normal(size=(2, *SIZE)).astype(np.float32)
    array[0, :5] = np.nan
    source = chip(tmp_path / "in/a.tif", array, epsg=32630)
    (done,) = load_model(model(tmp_path / "run", kind)).predict_files([source], tmp_path / "out")
    labels, _ = assert_lies_like(done.mask, source, nodata)
    assert set(np.unique(labels)) <= {*kind.values, nodata}
    assert (io.read_labels(done.mask).spacing, io.read_labels(done.mask).unit) == ((10.0, 10.0), "m")


def test_a_map_with_all_its_data_says_the_same(tmp_path):
    array = np.random.default_rng(0).integers(1, 255, (3, *SIZE), np.uint8)
    source = chip(tmp_path / "in/a.tif", array, nodata=0)
    run = model(tmp_path / "run", LabelKind("binary", (0, 1)), channels=3)
    steps = []
    (done,) = load_model(run).predict_files([source], tmp_path / "out", progress=Recorder(steps))
    _, gone = assert_lies_like(done.mask, source, 255)
    assert not gone.any()
    assert not any("hold no data" in step.message for step in steps)


def test_the_net_sees_pixels_without_data_as_the_mean(tmp_path):
    """Whatever stands there: the rest of the mask is the same."""
    run = model(tmp_path / "run", LabelKind("binary", (0, 1)), channels=1)
    array = np.random.default_rng(0).normal(size=(1, *SIZE)).astype(np.float32)
    array[0, 20:30] = np.nan
    first = chip(tmp_path / "in/a.tif", array)
    second = chip(tmp_path / "in/b.tif", np.nan_to_num(array, nan=-9999.0), nodata=-9999.0)
    masks = [io.read_labels(done.mask) for done in load_model(run).predict_files([first, second], tmp_path / "out")]
    assert np.array_equal(masks[0].array, masks[1].array)
    assert masks[0].georeference == masks[1].georeference


@pytest.mark.slow
def test_real_floods(tmp_path):
    if not (DATA / "floods").is_dir():
        pytest.skip(f"no images in {DATA / 'floods'}: set UNETKIT_DATA to the folder of real images")
    recorder = Recorder()
    train_flat(
        DATA / "floods/images",
        DATA / "floods/masks",
        out=tmp_path / "run",
        steps=2,
        patch=(64, 64),
        device="cpu",
        widths=(4, 8),
        progress=recorder,
    )
    (line,) = (line for line in recorder.messages if "no pixel holds data" in line)
    assert all(name in line for name in ("Ghana_83483.tif", "Paraguay_34417.tif"))
    chips = [DATA / f"floods/images/{name}.tif" for name in ("Paraguay_34417", "USA_905409")]
    for done in load_model(tmp_path / "run").predict_files(chips, tmp_path / "out"):
        labels, gone = assert_lies_like(done.mask, done.source, 255)
        assert gone.all() == (done.source == chips[0])
        assert set(np.unique(labels)) <= {0, 1, 255}
