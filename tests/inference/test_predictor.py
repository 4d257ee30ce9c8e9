"""Blocks of a mask: the same whether made in one go, streamed, in strips, or after any interruption."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from recorder import Recorder

from unetkit import io
from unetkit.image import Image
from unetkit.inference import files as predicting
from unetkit.inference.input import InputImage
from unetkit.inference.outputs import Outputs, PixelRecords
from unetkit.inference.predictor import load_model
from unetkit.inference.tiling import plan_stream, plan_tiles
from unetkit.io.block_store import BlockStore
from unetkit.labels.kind import LabelKind
from unetkit.model.card import Card
from unetkit.model.files import save_model
from unetkit.nets.architecture import Architecture
from unetkit.nets.unet import UNet

LABELS = LabelKind("classes", (0, 7, 300))


def model(folder, **options):
    torch.manual_seed(1)
    architecture = Architecture(widths=(4, 8, 8), out_channels=3, **options)
    net = UNet(architecture)
    with torch.no_grad():
        net.heads[0].weight.mul_(100)
    folder.mkdir(parents=True, exist_ok=True)
    planes = 3 if options.get("in_channels") == 3 else None
    card = Card(architecture=architecture.to_dict(), classes=list("abc"), labels=LABELS, planes=planes)
    save_model(folder / "model.safetensors", net, card)
    return folder


def picture(path, size=(150, 90), seed=0):
    smooth = np.random.default_rng(seed).normal(size=(1, *size)).cumsum(-1).cumsum(-2)
    array = ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write(path, Image(array, {2: "cyx", 3: "czyx"}[len(size)], (1.0,) * len(size)))
    return path


class Stopped(Exception):
    pass


class Fails(BlockStore):
    """Fails after so many blocks."""

    left = 10**9

    def write(self, start, labels):
        if self.left == 0:
            raise Stopped
        self.left -= 1
        super().write(start, labels)


def ways(predictor, size):
    """Tilings of an image: streamed, streamed in strips, tiles."""
    net, flat = predictor.members[0].net, size[-predictor.net.ndim :]
    stride, stream = net.geometry.stride, predictor.members[0].stream
    narrow = plan_stream(net, stream, flat, slab=stride[0], memory_bytes=2 * 10**6 if net.ndim == 2 else 10**7)
    tiles = plan_tiles(net, flat, core=tuple(4 * s for s in stride))
    return {"streamed": plan_stream(net, stream, flat, slab=2 * stride[0]), "strips": narrow, "tiles": tiles}


def everything(store):
    return store.read(tuple(slice(0, n) for n in store.shape))[0]


CASES = {
    "2D": ({}, (150, 90)),
    "valid": ({"padding": "valid"}, (131, 77)),
    "3D": ({"ndim": 3}, (30, 21, 18)),
    "planes": ({"in_channels": 3}, (3, 70, 50)),
}


@pytest.mark.parametrize("case", CASES)
def test_every_way_gives_the_mask_of_the_whole_and_goes_on_where_it_was_stopped(case, tmp_path, monkeypatch):
    options, size = CASES[case]
    run, source = model(tmp_path / "run", **options), picture(tmp_path / "a.tif", size)
    predictor = load_model(run)
    records = PixelRecords(predictor.card, Outputs())
    monkeypatch.setattr("unetkit.inference.tiling._BLOCK", 16 * size[-1])
    whole = plan_tiles(predictor.net, size[-predictor.net.ndim :])
    masks = {}
    for name, tiling in {"whole": whole, **ways(predictor, size)}.items():
        store = Fails(None, size, block=predictor.block_size(tiling, size), dtype=records.dtype)
        with InputImage.open([source], predictor.net, predictor.card) as image:
            for stop_after in () if name == "whole" else (1, 2):
                store.left, before = stop_after, len(store)
                with pytest.raises(Stopped):
                    predictor.fill(store, image, tiling, records)
                assert len(store) == before + stop_after
            store.left, updates = 10**9, []
            predictor.fill(store, image, tiling, records, Recorder(updates))
        assert store.pixels == np.prod(size)
        assert updates[-1].share == 1.0
        masks[name] = everything(store)
        store.close()
    assert set(np.unique(masks["whole"])) == {0, 7, 300}
    for name, mask in masks.items():
        assert (mask != masks["whole"]).mean() < 1e-3, name  # but for ties in float32


@pytest.mark.slow
def test_a_killed_prediction_goes_on_and_gives_the_identical_mask(tmp_path, monkeypatch):
    run, source = model(tmp_path / "run"), picture(tmp_path / "in/a.tif", (1300, 300))
    code = f"""
import unetkit.inference.predictor as p, unetkit.inference.tiling as t, unetkit.inference.mask_file as u
u._STORED_FROM, t._BLOCK = 0, 32 * 300
p.load_model({str(run)!r}).predict_files([{str(source)!r}], {str(tmp_path / "killed")!r})
"""
    partial = tmp_path / "killed" / ".a.tif.partial"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        while process.poll() is None:
            if partial.exists() and partial.stat().st_size > 25_000:  # two of its pages, and some blocks
                process.send_signal(signal.SIGKILL)
            time.sleep(0.002)
    assert process.returncode == -signal.SIGKILL
    locks = {".a.tif.lock", ".a.tif.writer"}  # of the killed process, which hold nobody
    assert set(os.listdir(partial.parent)) - {f"{partial.name}-journal"} == {partial.name, *locks}
    monkeypatch.setattr("unetkit.inference.mask_file._STORED_FROM", 0)
    monkeypatch.setattr("unetkit.inference.tiling._BLOCK", 32 * 300)
    seen = []
    (done,) = load_model(run).predict_files([source], partial.parent, progress=Recorder(seen))
    assert any("a.tif: resuming: " in step.message for step in seen)
    assert os.listdir(partial.parent) == ["a.tif"]
    (anew,) = load_model(run).predict_files([source], tmp_path / "anew")
    assert np.array_equal(io.read_labels(done.mask).array, io.read_labels(anew.mask).array)


def test_blocks_of_another_model_are_made_anew(tmp_path, monkeypatch):
    run, source = model(tmp_path / "run"), picture(tmp_path / "a.tif", (600, 500))
    monkeypatch.setattr("unetkit.inference.mask_file._STORED_FROM", 0)
    job, out = tmp_path / "out/.a.tif.partial", tmp_path / "out"
    out.mkdir()
    BlockStore(job, (600, 500), block=(600, 500), dtype=np.dtype("uint16"), key="another").close()
    seen = []
    load_model(run).predict_files([source], out, progress=Recorder(seen))
    assert any("a.tif: found a partial mask made with another model, image or settings" in s.message for s in seen)
    assert not any("resuming" in step.message for step in seen)
    assert os.listdir(out) == ["a.tif"]


def test_masks_that_exist_are_left_out_on_resuming(tmp_path):
    run = model(tmp_path / "run")
    sources = [picture(tmp_path / f"in/{name}.tif", (40, 50)) for name in "ab"]
    (tmp_path / "out").mkdir()
    io.write_labels(tmp_path / "out/a.tif", np.zeros((2, 2), np.uint8))
    (done,) = load_model(run).predict_files(sources, tmp_path / "out", existing="resume")
    assert done.mask.name == "b.tif"
    assert io.read_labels(tmp_path / "out/a.tif").size == (2, 2)
    assert load_model(run).predict_files(sources, tmp_path / "out", existing="resume") == []


def test_an_image_that_changes_between_check_and_work_is_refused(tmp_path, monkeypatch):
    run, source = model(tmp_path / "run"), picture(tmp_path / "a.tif", (40, 50))
    real = predicting.plan_masks

    def early(*arguments, **options):
        masks = real(*arguments, **options)
        picture(source, (40, 60))
        return masks

    monkeypatch.setattr(predicting, "plan_masks", early)
    with pytest.raises(ValueError, match=r"a\.tif: was \(40, 50\) pixels when it was checked and is \(40, 60\) now"):
        load_model(run).predict_files([source], tmp_path / "out")
