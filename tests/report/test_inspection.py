"""The page on a net: every section for every kind of net, self-contained, and with a sentence to every picture."""

import json
import re
import shutil
import xml.etree.ElementTree as ET
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flat import train_flat
from torch import Tensor, nn

import unetkit
from unetkit.image import Image
from unetkit.insight.inspection import Inspection, inspect_array, inspect_noise
from unetkit.insight.summary import summarise
from unetkit.io import write, write_labels
from unetkit.model.files import read_model, save_model
from unetkit.nets.architecture import Architecture
from unetkit.nets.build import build
from unetkit.report.inspection.choose import choose_inspection, page_path
from unetkit.report.inspection.write import _header, write_inspection

TITLES = ["The net", "Receptive fields", "Paths of the net", "Frequencies", "Gradients", "Cost", "Shifts"]


def inspection_of(size: tuple[int, ...], *, truth: bool = True, **options: Any) -> Inspection:
    torch.manual_seed(0)
    net = build(Architecture(ndim=len(size), **{"widths": (3, 4, 6), **options}))
    image = np.random.default_rng(0).normal(size=(1, *size)).astype(np.float32)
    labels = (image[0] > 1).astype(np.uint8) if truth else None
    return inspect_array(net, image, name="a <net>", source="b.png", truth=labels)


class Zigzag(nn.Module):
    """A user's own net of an unusual kind: no encoder by name, two poolings of other sizes, a product."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 5, padding=2), nn.Conv2d(4, 5, 3, padding=1)
        self.third, self.last = nn.Conv2d(5, 4, 3, padding=1), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.first(x))
        b = torch.relu(self.second(nn.functional.avg_pool2d(a, 3)))
        c = self.third(nn.functional.max_pool2d(b, 2))
        c = nn.functional.interpolate(c, scale_factor=6.0, mode="bilinear")
        return self.last(torch.sigmoid(c) * a + a)


class Bar:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.shares: list[float] = []

    def update(self, done: float = 0.0, total: float = 0.0, message: str = "", **values: float) -> None:
        self.messages.append(message)
        self.shares.append(done / total)


INSPECTIONS = {
    "2D": lambda: inspection_of((64, 64)),
    "3D": lambda: inspection_of((32, 32, 32)),
    "valid": lambda: inspection_of((92, 92), padding="valid", norm="none"),
    "nested, gated, not local": lambda: inspection_of(
        (64, 64), topology="unet++", heads="all", skip="attention", norm="instance", truth=False
    ),
    "no skips": lambda: inspection_of((64, 64), skip="none"),
    "noise": lambda: inspect_noise(build(Architecture(widths=(3, 4))), name="n"),
    "own": lambda: inspect_noise(Zigzag(), name="own"),
}


_KINDS = [
    pytest.param(make, id=name, marks=[] if name == "own" else pytest.mark.slow) for name, make in INSPECTIONS.items()
]


@pytest.mark.parametrize("make", _KINDS)
def test_every_kind_of_net_has_its_page(make: Any, tmp_path: Path) -> None:
    shown, bar = make(), Bar()
    weights = [p.detach().clone() for p in shown.net.parameters()]
    page = write_inspection(shown, tmp_path / "page.html", progress=bar)
    text = page.read_text()
    assert bar.messages == ["receptive fields", "paths", "frequencies", "gradients", "cost", "shifts", ""]
    assert bar.shares == pytest.approx(np.arange(7) / 6)
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert titles == TITLES
    figures = re.findall(r"<figure>.*?</figure>", text, re.S)
    assert len(figures) >= 8
    for one in figures:
        caption = re.search(r"<figcaption>(.+?)</figcaption>", one, re.S)
        assert caption
        assert len(caption[1]) > 30
        assert "nan" not in re.sub(r"[a-z]+nan|nan[a-z]+", "", caption[1])
        drawing = one[one.index("<svg") : one.rindex("</svg>") + 6]
        ET.fromstring(
            drawing.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1)
            if "xlink:href" in drawing and "xmlns:xlink" not in drawing
            else drawing
        )
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert "<net>" not in text
    assert all(torch.equal(a, b) for a, b in zip(weights, shown.net.parameters(), strict=True))
    assert all(p.grad is None for p in shown.net.parameters())
    assert not shown.net.training


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspected")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    generator = np.random.default_rng(0)
    for i in range(5):
        disc = np.add.outer((np.arange(64) - 20 - 5 * i) ** 2, (np.arange(64) - 30) ** 2) < 150
        image = (100 + 80 * disc + generator.normal(0, 9, disc.shape)).astype(np.uint8)
        write(folder / "images" / f"{i}.png", Image(image[None], "cyx", (1.0, 1.0), "px"))
        write_labels(folder / "masks" / f"{i}.png", Image(disc.astype(np.uint8) * 255, "yx", (1.0, 1.0), "px"))
    train_flat(folder / "images", folder / "masks", out=folder / "run", steps=2, widths=(3, 4, 6), compile="no")
    return folder


def test_the_run_knows_its_images_and_masks(run: Path) -> None:
    first, objects = choose_inspection(run / "run")
    assert "the first image that was held out for validation" in first.notes[0]
    assert first.truth is not None
    assert objects is not None
    assert len(objects.diameters) == 5
    held_out = first.notes[0].split(":")[0]
    for i in range(5):
        named, _ = choose_inspection(run / "run", image=run / "images" / f"{i}.png")
        is_first = held_out.endswith(f"{i}.png")
        assert ("held out from training" if is_first else "the net was trained on this image") in named.notes[0]
        assert named.truth is not None
        assert named.source == f"{i}.png"
    stranger = run / "other.png"
    stranger.write_bytes((run / "images" / "0.png").read_bytes())
    unknown, _ = choose_inspection(run / "run", image=stranger)
    assert (unknown.truth, unknown.notes) == (None, ())
    known, _ = choose_inspection(run / "run", image=stranger, mask=run / "masks" / "0.png")
    assert known.truth is not None
    assert known.truth.sum() > 0


def test_a_split_by_classes_is_told_as_it_was_made(run: Path, tmp_path: Path) -> None:
    """What was held out stands in the run: by the names alone it would be another image."""
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    record = moved / "run" / "data.json"
    content = json.loads(record.read_text())
    learned = next(row["name"] for row in content["cases"] if not row["held_out"])
    for row in content["cases"]:
        row["held_out"] = row["name"] == learned
    record.write_text(json.dumps(content))
    shown, objects = choose_inspection(moved / "run", data=moved)
    assert shown.source == f"{learned}.png"
    assert f"{moved / 'images' / shown.source}: the first image that was held out" in shown.notes[0]
    assert objects is not None


def test_a_model_file_and_a_net_by_name_are_shown_with_noise(run: Path) -> None:
    from_file, objects = choose_inspection(run / "run" / "model.safetensors")
    assert from_file.is_noise
    assert from_file.is_trained
    assert objects is None
    assert "a model file names no images" in from_file.notes[0]
    with torch.device("meta"):
        named = build(Architecture(widths=(3, 4)))
    untrained, _ = choose_inspection(named, name="unet")
    assert not untrained.is_trained
    assert "random weights" in untrained.notes[0]
    with_image, _ = choose_inspection(named, image=run / "images" / "0.png")
    assert with_image.source == "0.png"
    assert not with_image.is_trained


def test_an_image_of_another_pixel_size_says_so_on_the_page(run: Path, tmp_path: Path) -> None:
    net, card = read_model(run / "run")
    save_model(
        tmp_path / "model.safetensors",
        net,
        card.model_copy(update={"spacing": [0.5, 0.5], "unit": "µm", "resample": True}),
    )
    pixels = np.random.default_rng(0).integers(0, 255, (1, 32, 40)).astype(np.uint8)
    write(tmp_path / "a.tif", Image(pixels, "cyx", (1.0, 1.0), "µm"))
    inspection, _ = choose_inspection(tmp_path / "model.safetensors", image=tmp_path / "a.tif")
    assert inspection.size == (64, 80)
    header = unescape(_header(inspection, summarise(inspection.graph, inspection.size)))
    assert (
        "Note: the image has pixels of 1 x 1 µm and was resampled to the 0.5 x 0.5 µm of the model, 64 x 80 pixels"
        in header
    )


def test_wrong_use_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"0.png needs an image: add --image"):
        choose_inspection(run / "run", mask=run / "masks" / "0.png")
    with pytest.raises(ValueError, match=r"0.png needs a trained net"):
        choose_inspection(
            build(Architecture(widths=(3, 4))), image=run / "images" / "0.png", mask=run / "masks" / "0.png"
        )
    with pytest.raises(FileNotFoundError, match=r"none.png: there is no such file"):
        choose_inspection(run / "run", image=tmp_path / "none.png")
    with pytest.raises(FileNotFoundError, match=r"page.html: there is no folder .*none; make it first"):
        page_path(None, "unet", image=None, out=tmp_path / "none" / "page.html")


def test_where_the_page_goes(run: Path) -> None:
    model = run / "run" / "model.safetensors"
    assert page_path(run / "run", None, image=None, out=None) == run / "run" / "inspect.html"
    assert page_path(model, None, image=None, out=None) is None
    assert page_path(None, None, image=model, out=None) == Path("unet.html")
    assert page_path(None, "unet++", image=None, out=Path("p.html")) == Path("p.html")


@pytest.mark.slow
def test_from_python_any_net_and_array(run: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    image = np.random.default_rng(0).normal(size=(1, 66, 60)).astype(np.float32)
    page = unetkit.inspect(Zigzag(), image, mask=(image[0] > 0).astype(int), out=tmp_path / "own.html")
    assert "Zigzag" in page.read_text()
    assert unetkit.inspect(run / "run", out=tmp_path / "run.html").read_text().count("<h2>") == len(TITLES)
    with pytest.raises(ValueError, match="not known how a Module normalises files"):
        unetkit.inspect(Zigzag(), run / "images" / "0.png", out=page)
    with pytest.raises(ValueError, match="run normalises images itself: give image and mask as files"):
        unetkit.inspect(run / "run", image, out=page)
    with pytest.raises(ValueError, match=r"a mask of \(66, 60\) pixels was given without an image: give both"):
        unetkit.inspect(Zigzag(), mask=image[0] > 0, out=page)
