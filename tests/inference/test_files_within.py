"""Predictions within a region: inside as without it, outside background or no data, and few blocks are run."""

import json

import numpy as np
import pytest
import torch
from recorder import Recorder

from unetkit import io
from unetkit.image import Image
from unetkit.inference.execution import Execution
from unetkit.inference.outputs import Outputs
from unetkit.inference.predictor import load_model
from unetkit.io.block_store import BlockStore
from unetkit.labels.instances import InstanceThresholds
from unetkit.labels.kind import LabelKind
from unetkit.model.card import Card
from unetkit.model.files import save_model
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet

CLASSES = LabelKind("classes", (3, 7, 9))
SMALL = Execution(memory_bytes=2**21)


def model(folder, *, kind=CLASSES, about=None, **options):
    torch.manual_seed(1)
    architecture = Architecture(widths=(4, 8), out_channels=len(kind.values), **options)
    net = UNet(architecture)
    with torch.no_grad():
        net.heads[0].weight.mul_(100)  # few pixels are then near a tie
        net.heads[0].bias.copy_(torch.linspace(0.5, 0, net.out_channels))
    card = Card(architecture=architecture.to_dict(), classes=["c"] * len(kind.values), labels=kind, **(about or {}))
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / "model.safetensors", net, card)
    return folder


def pixels(size, seed=0):
    smooth = np.random.default_rng(seed).normal(size=(1, *size)).cumsum(-1).cumsum(-2)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


def picture(path, array, **place):
    path.parent.mkdir(parents=True, exist_ok=True)
    ndim = array.ndim - 1
    io.write(path, Image(array, {2: "cyx", 3: "czyx"}[ndim], (1.0,) * ndim, **place))
    return path


def spot(size, centre, radius):
    """A ball, of which some pixels lie on no block's border."""
    away = [(index - c) ** 2 for index, c in zip(np.indices(size), centre, strict=True)]
    return sum(away) <= radius**2


def region(path, inside):
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write_labels(path, inside.astype(np.uint8) * 255)
    return path


def predicted(run, source, out, execution=SMALL, **options):
    recorder = Recorder()
    made = load_model(run, execution).predict_files([source], out, progress=recorder, **options)
    return made[0], io.read_labels(made[0].mask).array, recorder.messages


SIZES = {2: (460, 420), 3: (64, 66, 70)}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("unetkit.inference.restriction._SIDES", {2: (96,), 3: (16,)})
    monkeypatch.setattr("unetkit.inference.tiling._SMALL", 2**10)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("execution", [SMALL, Execution(), pytest.param(Execution(tta=True), marks=pytest.mark.slow)])
def test_inside_as_without_a_region_and_background_outside(tmp_path, ndim, execution):
    run, size = model(tmp_path / "run", ndim=ndim), SIZES[ndim]
    source = picture(tmp_path / "a.tif", pixels(size))
    inside = spot(size, [n // 3 for n in size], 8)
    whole, labels, _ = predicted(run, source, tmp_path / "whole", execution)
    part, cut, messages = predicted(
        run, source, tmp_path / "part", execution, within=region(tmp_path / "roi.tif", inside)
    )
    assert np.array_equal(cut, np.where(inside, labels, 3))  # 3: the value of class 0
    assert len(np.unique(labels[inside])) > 1
    assert part.within == tmp_path / "roi.tif"
    if execution.tta:
        assert part.pixels == whole.pixels == labels.size
    else:
        assert part.pixels < labels.size / 4
        assert part.tiling.redundancy > whole.tiling.redundancy  # of a small region, mostly its surroundings
        (line,) = [line for line in messages if "within roi.tif" in line]
        assert f"{inside.mean():.2%} of the pixels" in line


def test_volumes_by_planes_skip_those_without_region(tmp_path):
    run, size = model(tmp_path / "run", about={"planes": 1}), (6, 70, 60)
    source = picture(tmp_path / "a.tif", pixels(size))
    inside = np.zeros(size, bool)
    inside[2, 10:40, 20:30] = True
    _, labels, _ = predicted(run, source, tmp_path / "whole")
    part, cut, messages = predicted(run, source, tmp_path / "part", within=region(tmp_path / "roi.tif", inside))
    assert np.array_equal(cut, np.where(inside, labels, 3))
    assert part.pixels <= 70 * 60
    assert any("blocks meet it" in line for line in messages)


def test_objects_are_those_of_the_cut_image_and_maps_hold_no_percentage(tmp_path):
    kind = LabelKind("instances", (0, 1, 2, 3, 4))
    about = {"decoding": InstanceThresholds()}
    run, size = model(tmp_path / "run", kind=kind, about=about), (110, 100)
    source, inside = picture(tmp_path / "a.tif", pixels(size)), np.zeros(size, bool)
    inside[30:70, 40:80] = True
    roi, outputs = region(tmp_path / "roi.tif", inside), Outputs(probabilities=True)
    made = [
        predicted(run, source, tmp_path / f"{i}", e, within=roi, outputs=outputs)
        for i, e in enumerate((SMALL, Execution()))
    ]
    assert np.array_equal(made[0][1], made[1][1])
    assert made[0][1][inside].any()
    assert not made[0][1][~inside].any()
    _, _, _ = predicted(run, source, tmp_path / "whole", outputs=outputs)
    percent, all_percent = (io.read_labels(tmp_path / f / "probability" / "a.tif").array for f in ("0", "whole"))
    assert np.array_equal(percent, np.where(inside, all_percent, 255))


def test_outlines_are_drawn_where_they_lie(tmp_path, monkeypatch):
    pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'unetkit[geo]'")
    monkeypatch.setattr("unetkit.io.region_of_interest._CELL", 50)
    run, source = model(tmp_path / "run"), picture(tmp_path / "a.png", pixels((300, 260)))
    ring = [[20.3, 30.8], [140.2, 61.1], [90.5, 190.4], [20.3, 30.8]]
    hole = [[60, 70], [90, 70], [90, 100], [60, 100], [60, 70]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring, hole]},
        "properties": {"objectType": "annotation"},
    }
    (tmp_path / "roi.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    inside = io.read_labels(tmp_path / "roi.geojson", image=source).array > 0
    assert 0.05 < inside.mean() < 0.2
    _, labels, _ = predicted(run, source, tmp_path / "whole")
    _, cut, _ = predicted(run, source, tmp_path / "part", within=tmp_path / "roi.geojson")
    assert np.array_equal(cut, np.where(inside, labels, 3))
    with pytest.raises(ValueError, match=r"roi\.geojson: outlines for several images must be those of a map"):
        load_model(run).predict_files(
            [source, picture(tmp_path / "b.png", pixels((300, 260)))], tmp_path / "two", within=tmp_path / "roi.geojson"
        )


def test_a_folder_has_a_region_for_every_image(tmp_path):
    run = model(tmp_path / "run")
    names = ["a.png", "b.png"]
    sources = [picture(tmp_path / "in" / name, pixels((90, 80), seed)) for seed, name in enumerate(names)]
    inside = [spot((90, 80), (30, 30 + 10 * i), 20) for i in range(2)]
    region(tmp_path / "roi/a_mask.png", inside[0])
    region(tmp_path / "roi/of_nobody.png", inside[0])
    with pytest.raises(ValueError, match=r"b\.png: no mask named b\.\*"):
        load_model(run).predict_files(sources, tmp_path / "out", within=tmp_path / "roi")
    region(tmp_path / "roi/b.png", inside[1])
    made = load_model(run).predict_files(sources, tmp_path / "out", within=tmp_path / "roi")
    alone = load_model(run).predict_files(sources, tmp_path / "alone")
    for one, other, area in zip(made, alone, inside, strict=True):
        assert np.array_equal(io.read_labels(one.mask).array, np.where(area, io.read_labels(other.mask).array, 3))


def test_regions_that_do_not_fit(tmp_path):
    run, source = model(tmp_path / "run"), picture(tmp_path / "a.png", pixels((90, 80)))
    predict = load_model(run).predict_files
    with pytest.raises(FileNotFoundError, match=r"none\.png: there is no such file or folder"):
        predict([source], tmp_path / "out", within=tmp_path / "none.png")
    small = region(tmp_path / "small.png", np.ones((80, 80), bool))
    with pytest.raises(ValueError, match=r"small\.png: is \(80, 80\) pixels, its image .*a\.png \(90, 80\)"):
        predict([source], tmp_path / "out", within=small)
    fitting = region(tmp_path / "roi.png", np.ones((90, 80), bool))
    other = picture(tmp_path / "b.png", pixels((90, 80)))
    with pytest.raises(ValueError, match=r"roi\.png: a mask for several images must state where it lies"):
        predict([source, other], tmp_path / "out", within=fitting)
    assert not (tmp_path / "out").exists()


def test_another_region_starts_over_and_the_same_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr("unetkit.inference.mask_file._STORED_FROM", 0)
    run, source = model(tmp_path / "run"), picture(tmp_path / "a.tif", pixels(SIZES[2]))
    first = region(tmp_path / "first.tif", spot(SIZES[2], (200, 200), 120))
    second = region(tmp_path / "second.tif", spot(SIZES[2], (300, 250), 120))
    real, written = BlockStore.write, []

    def write(store, start, labels):
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        real(store, start, labels)
        written.append(start)

    monkeypatch.setattr(BlockStore, "write", write)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            predicted(run, source, tmp_path / "out", within=first)
        assert len(written) == 2
    monkeypatch.setattr(BlockStore, "write", real)
    _, cut, messages = predicted(run, source, tmp_path / "out", within=first)
    assert any("resuming: " in line for line in messages)
    assert np.array_equal(cut, predicted(run, source, tmp_path / "again", within=first)[1])
    written.clear()
    monkeypatch.setattr(BlockStore, "write", write)
    with pytest.raises(OSError, match="No space left"):
        predicted(run, source, tmp_path / "other", within=first)
    monkeypatch.setattr(BlockStore, "write", real)
    _, cut, messages = predicted(run, source, tmp_path / "other", within=second)
    assert any("or for another region; starting over" in line for line in messages)
    assert np.array_equal(cut, predicted(run, source, tmp_path / "anew", within=second)[1])


@pytest.mark.parametrize("ndim", [2, 3])
def test_blocks_of_one_value_are_skipped(tmp_path, ndim):
    run, size = model(tmp_path / "run", ndim=ndim), SIZES[ndim]
    array = pixels(size)
    array[:, : size[0] // 2] = 17
    source = picture(tmp_path / "a.tif", array)
    whole, labels, messages = predicted(run, source, tmp_path / "whole")
    assert not any("have one value" in line for line in messages)
    skipping = Execution(memory_bytes=2**21, skip_empty=True)
    part, left, messages = predicted(run, source, tmp_path / "part", skipping)
    assert any("have one value, and are skipped" in line for line in messages)
    assert part.pixels < 0.7 * whole.pixels
    is_made = left == labels
    assert is_made[size[0] // 2 :].all()
    assert (left[: size[0] // 4] == 3).all()


def test_an_image_of_one_value_is_background(tmp_path):
    run, source = model(tmp_path / "run"), picture(tmp_path / "a.tif", np.full((1, 60, 50), 9, np.uint8))
    made, left, _ = predicted(run, source, tmp_path / "out", Execution(skip_empty=True))
    assert made.pixels == 0
    assert (left == 3).all()


def test_outside_of_a_region_a_map_holds_no_data(tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'unetkit[geo]'")
    run, bands = model(tmp_path / "run"), pixels((300, 260)).astype(np.float32)
    bands[:, :100] = -9999
    where = {"crs": "EPSG:32632", "transform": rasterio.transform.Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    size = {"count": 1, "height": 300, "width": 260}
    for name in ("a", "b"):
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", dtype="float32", nodata=-9999, **size, **where
        ) as file:
            file.write(bands)
    ring = [
        [500_300, 4_999_500],
        [501_500, 4_999_500],
        [501_500, 4_998_000],
        [500_300, 4_998_000],
        [500_300, 4_999_500],
    ]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {}}
    crs = {"type": "name", "properties": {"name": "EPSG:32632"}}
    (tmp_path / "roi.geojson").write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))
    inside = np.zeros((300, 260), bool)
    inside[50:200, 30:150] = True
    sources, outputs = [tmp_path / "a.tif", tmp_path / "b.tif"], Outputs(uncertainty=True)
    whole = load_model(run, SMALL).predict_files(sources, tmp_path / "whole")
    skipping = Execution(memory_bytes=2**21, skip_empty=True)
    made = load_model(run, skipping).predict_files(
        sources, tmp_path / "cut", outputs=outputs, within=tmp_path / "roi.geojson"
    )
    for one, other in zip(whole, made, strict=True):
        with rasterio.open(one.mask) as all_labels, rasterio.open(other.mask) as labels:
            nodata = int(labels.nodata)
            assert nodata == all_labels.nodata
            assert labels.transform == all_labels.transform
            assert np.array_equal(labels.read(1), np.where(inside, all_labels.read(1), nodata))
        with rasterio.open(tmp_path / "cut" / "uncertainty" / other.mask.name) as percent:
            assert ((percent.read(1) == 255) == ~inside | (np.arange(300) < 100)[:, None]).all()


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_region_of_an_image_at_another_pixel_size(tmp_path, ndim):
    about = {"resample": True, "spacing": (1.0,) * ndim, "unit": "µm"}
    run, size = model(tmp_path / "run", ndim=ndim, about=about), {2: (310, 290), 3: (60, 100, 90)}[ndim]
    source, axes = tmp_path / "a.ome.tif", {2: "cyx", 3: "czyx"}[ndim]
    io.write(source, Image(pixels(size), axes, (0.6,) * ndim, "µm"))
    inside = spot(size, [n // 3 for n in size], 9)
    whole, labels, _ = predicted(run, source, tmp_path / "whole")
    assert whole.tiling.size != size
    part, cut, _ = predicted(run, source, tmp_path / "part", within=region(tmp_path / "roi.tif", inside))
    assert np.array_equal(cut, np.where(inside, labels, 3))
    assert part.pixels < whole.pixels


def test_a_net_that_is_not_local_is_cut_afterwards(tmp_path):
    run, source = model(tmp_path / "run", norm="instance"), picture(tmp_path / "a.tif", pixels((150, 140)))
    inside = spot((150, 140), (50, 60), 20)
    _, labels, _ = predicted(run, source, tmp_path / "whole")
    part, cut, messages = predicted(run, source, tmp_path / "part", within=region(tmp_path / "roi.tif", inside))
    assert np.array_equal(cut, np.where(inside, labels, 3))
    assert part.pixels == labels.size
    assert any("1 of 1 blocks meet it" in line for line in messages)
    none, cut, messages = predicted(run, source, tmp_path / "none", within=region(tmp_path / "no.tif", inside & False))
    assert none.pixels == 0
    assert (cut == 3).all()
    assert any("none of the pixels: 0 of 1 blocks meet it" in line for line in messages)
