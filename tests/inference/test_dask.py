"""A prediction over two workers is that of one machine, to the last pixel, whatever happens to a worker."""

import os
import signal
import sys

import numpy as np
import pytest
import torch
from recorder import Recorder

from unetkit import io
from unetkit.image import Image
from unetkit.inference import dask as clusters
from unetkit.inference.execution import Execution
from unetkit.inference.predictor import load_model
from unetkit.io.block_store import BlockStore
from unetkit.labels.kind import LabelKind
from unetkit.model.card import Card
from unetkit.model.files import save_model
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet

pytestmark = pytest.mark.slow

distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install 'unetkit[cluster]'")


@pytest.fixture(scope="module")
def address():
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": None}
    with distributed.LocalCluster(**options, silence_logs=50) as local:
        yield local.scheduler_address


@pytest.fixture
def run(tmp_path):
    return model(tmp_path / "run")


def model(folder, **options):
    torch.manual_seed(1)
    architecture = Architecture(widths=(4, 8, 8), out_channels=3, **options)
    net = UNet(architecture)
    with torch.no_grad():
        net.heads[0].weight.mul_(100)
    planes = 3 if options.get("in_channels") == 3 else None
    labels = LabelKind("classes", (0, 7, 300))
    folder.mkdir(parents=True)
    card = Card(architecture=architecture.to_dict(), classes=list("abc"), labels=labels, planes=planes)
    save_model(folder / "model.safetensors", net, card)
    return folder


def picture(path, size, seed=0):
    smooth = np.random.default_rng(seed).normal(size=(1, *size)).cumsum(-1).cumsum(-2)
    array = ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write(path, Image(array, {2: "cyx", 3: "czyx"}[len(size)], (1.0,) * len(size)))
    return path


def same(first, second):
    arrays = [io.read_labels(done.mask).array for done in (first, second)]
    assert len(np.unique(arrays[0])) > 1
    return np.array_equal(*arrays)


@pytest.fixture
def small_portions(monkeypatch):
    monkeypatch.setattr(clusters, "_TASK_PIXELS", 64 * 600)
    monkeypatch.setattr("unetkit.inference.tiling._BLOCK", 32 * 600)
    monkeypatch.setattr("unetkit.inference.tiling._SMALL", 0)


@pytest.mark.parametrize("execution", [Execution(), Execution(tta=True), Execution(memory_bytes=2**20)], ids=str)
def test_several_images_in_one_call(execution, run, address, small_portions, tmp_path):
    sources = [picture(tmp_path / f"in/{i}.tif", size, i) for i, size in enumerate([(500, 600), (40, 30), (333, 200)])]
    seen = []
    predictor = load_model(run, execution)
    alone = predictor.predict_files(sources, tmp_path / "alone")
    together = predictor.predict_files(sources, tmp_path / "out", cluster=address, progress=Recorder(seen))
    assert [done.mask.name for done in together] == ["0.tif", "1.tif", "2.tif"]
    assert all(same(one, other) for one, other in zip(alone, together, strict=True))
    assert sorted(os.listdir(tmp_path / "out")) == ["0.tif", "1.tif", "2.tif"]
    assert seen[0].message.startswith("2 workers at tcp://")
    shares = [step.share for step in seen if step.total]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(set(shares)) > 3


@pytest.mark.parametrize(
    ("options", "size"),
    [({"ndim": 3}, (30, 40, 45)), ({"in_channels": 3}, (5, 120, 90)), ({"padding": "valid"}, (200, 90))],
)
def test_volumes_planes_and_valid_nets(options, size, address, small_portions, tmp_path):
    run, source = model(tmp_path / "run", **options), picture(tmp_path / "a.ome.tif", size)
    (alone,) = load_model(run).predict_files([source], tmp_path / "alone")
    (together,) = load_model(run).predict_files([source], tmp_path / "out", cluster=address)
    assert same(alone, together)


def test_a_worker_that_is_killed_half_way(run, address, small_portions, tmp_path, monkeypatch):
    source = picture(tmp_path / "a.ome.zarr", (2000, 600))
    real, killed = BlockStore.write, []

    def write(store, start, labels):
        real(store, start, labels)
        if len(store) == 30 and not killed:  # of 63
            with distributed.Client(address) as client:
                killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(BlockStore, "write", write)
    (together,) = load_model(run).predict_files([source], tmp_path / "out", cluster=address)
    monkeypatch.undo()
    (alone,) = load_model(run).predict_files([source], tmp_path / "alone")
    assert killed
    assert same(alone, together)
    files = [path.relative_to(alone.mask) for path in alone.mask.rglob("*") if path.is_file()]
    assert len(files) > 2
    assert all((alone.mask / file).read_bytes() == (together.mask / file).read_bytes() for file in files)


def test_what_is_there_already_is_not_made_again(run, address, small_portions, tmp_path, monkeypatch):
    source = picture(tmp_path / "a.tif", (500, 600))
    monkeypatch.setattr("unetkit.inference.mask_file._STORED_FROM", 0)
    real, written = BlockStore.write, []

    def write(store, start, labels):
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        real(store, start, labels)
        written.append(start)

    monkeypatch.setattr(BlockStore, "write", write)
    with pytest.raises(OSError, match="No space left"):
        load_model(run).predict_files([source], tmp_path / "out", cluster=address)
    assert os.listdir(tmp_path / "out") == [".a.tif.partial"]
    monkeypatch.setattr(BlockStore, "write", lambda *a: (written.append(a[1]), real(*a)))
    (done,) = load_model(run).predict_files([source], tmp_path / "out", cluster=address)
    assert os.listdir(tmp_path / "out") == ["a.tif"]
    assert len(written) == len(set(written))  # a portion that was cut off within is made from its first missing row
    (alone,) = load_model(run).predict_files([source], tmp_path / "alone")
    assert same(alone, done)


def test_within_a_region(run, address, tmp_path, monkeypatch):
    monkeypatch.setattr("unetkit.inference.restriction._SIDES", {2: (64,), 3: (16,)})
    source, inside = picture(tmp_path / "a.tif", (500, 600)), np.zeros((500, 600), np.uint8)
    inside[150:210, 100:190] = 1
    io.write_labels(tmp_path / "region.tif", inside)
    execution = Execution(skip_empty=True)
    (alone,) = load_model(run).predict_files([source], tmp_path / "alone")
    (cut,) = load_model(run, execution).predict_files(
        [source], tmp_path / "cut", within=tmp_path / "region.tif", cluster=address
    )
    labels, expected = io.read_labels(cut.mask).array, io.read_labels(alone.mask).array
    assert np.array_equal(labels, np.where(inside, expected, 0))
    assert cut.pixels < alone.pixels / 4


def test_no_cluster(run, tmp_path, monkeypatch):
    source = picture(tmp_path / "a.tif", (40, 30))
    with pytest.raises(ValueError, match=r"cluster 'local:x': expected local, local:N with N workers, or a scheduler"):
        load_model(run).predict_files([source], tmp_path / "out", cluster="local:x")
    monkeypatch.setattr(clusters, "_CONNECT_S", 0.5)
    with pytest.raises(
        OSError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9: .*start one with dask sched"
    ):
        load_model(run).predict_files([source], tmp_path / "out", cluster="tcp://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"a cluster needs Dask: pip install 'unetkit\[cluster\]'"):
        load_model(run).predict_files([source], tmp_path / "out", cluster="local")
